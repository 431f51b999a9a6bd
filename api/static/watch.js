// The watchlist: every sampled symbol with its price, verdict, distances to the levels and course; and
// which of them leads by a figure.

import { ask, paths, why } from "./api.js";
import { byId, make, options, write } from "./dom.js";
import { fixed, money, plus, price, sigma, strike } from "./format.js";
import { HeldOfMany, levelOf, ownOf } from "./held.js";
import { Many } from "./many.js";
import { state, view } from "./state.js";
import { sparkOf } from "./tiles.js";
import { clock, moment } from "./time.js";
import { clausesOf } from "./verdict.js";

// A course needs no finer bars, and a day of them is small.
const BAR = "5m";
const PAUSE_MS = 60000;
// A request names 50 symbols at most.
const MOST = 50;
const BOARD_MS = 300000;
const BOARDS = {
  heat: ["Hedge flow to gamma", (value) => fixed(value), "hedge_flow_cumulative_all", "The ranking divides this by the size of net GEX: "],
  pin_risk: ["Pin score", (value) => `${value}`, "pin_score", "The ranking is by this: "],
  abs_flow: ["Hedge flow, either way", (value) => money(value, false), "hedge_flow_cumulative_all", "The ranking is by the size of this: "],
  charm_intensity: ["Charm, either way", (value) => money(value, false), "charm_dollars_per_hour", "The ranking is by the size of this: "],
};
const SVG = "http://www.w3.org/2000/svg";
const there = (value) => value !== null && value !== undefined;

function distance(bar, field, name) {
  const [level, own] = [levelOf(bar, field), ownOf(bar, field)];
  if (!there(level)) return `${name} —`;
  const sigmas = bar.remaining_1sd ? (level - bar.spot) / bar.remaining_1sd : null;
  const far = there(sigmas) ? sigma(sigmas) : `${plus((level / bar.spot - 1) * 100, (n) => fixed(n))} %`;
  return `${name} ${strike(level)} ${far}${own === null ? "" : ` (now ${strike(own)})`}`;
}

export class Watch {
  #cards = new Map();
  #held = new HeldOfMany(() => this.changed());
  #board = { asked: -Infinity, metric: "", entries: [], note: "" };

  constructor(changed) {
    this.changed = changed;
    this.many = new Many(changed, PAUSE_MS);
    byId("open-watch").addEventListener("click", () => view.set({ watch: view.watch ? "" : "1" }));
    options(byId("board"), [["", "Off"], ...Object.entries(BOARDS).map(([name, [text]]) => [name, text])], "");
    byId("board").addEventListener("change", () => {
      this.#board = { asked: -Infinity, metric: byId("board").value, entries: [], note: "" };
      this.look();
      this.changed();
    });
  }

  // Once a second: asks for what is due.
  look() {
    const day = state.session?.day ?? state.market?.session.date;
    this.many.follow(view.watch ? state.symbols.slice(0, MOST) : [], BAR, day);
    this.many.look();
    if (view.watch) this.#held.look(state.symbols.slice(0, MOST));
    this.#lookAtBoard(day);
  }

  async #lookAtBoard(day) {
    const board = this.#board;
    if (!view.watch || !board.metric || document.hidden || performance.now() - board.asked < BOARD_MS) return;
    board.asked = performance.now();
    try {
      const body = await ask(paths.leaderboard({ metric: board.metric, n: 10, date: day }));
      board.entries = body.entries;
      board.note = body.entries.length ? "" : "No symbol has it.";
    } catch (error) {
      board.note = why(error);
    }
    this.changed();
  }

  // ``until``: the moment of a replay, null without one.
  show(until) {
    byId("watch").hidden = !view.watch;
    byId("open-watch").setAttribute("aria-pressed", String(Boolean(view.watch)));
    if (!view.watch) return;
    const names = state.symbols.slice(0, MOST);
    for (const [name, { slot }] of this.#cards) {
      if (!names.includes(name)) {
        slot.remove();
        this.#cards.delete(name);
      }
    }
    names.forEach((name, k) => {
      if (!this.#cards.has(name)) this.#cards.set(name, this.#build(name));
      const { slot } = this.#cards.get(name);
      if (byId("watch-list").children[k] !== slot) byId("watch-list").insertBefore(slot, byId("watch-list").children[k] ?? null);
      this.#tell(name, until);
    });
    write(byId("watch-note"), names.length ? this.many.trouble : "Nothing has been sampled yet.");
    const { metric, entries, note } = this.#board;
    this.#showBoard(metric, until !== null && metric ? "A replay has none: it is the newest samples'." : note, entries);
  }

  #showBoard(metric, note, entries) {
    const list = byId("board-list");
    const name = JSON.stringify([metric, note, entries]);
    if (list.dataset.shown === name) return;
    list.dataset.shown = name;
    const [, say, figure, means] = BOARDS[metric] ?? [];
    list.replaceChildren(...(note ? [note] : entries.map(({ rank, symbol, value, slot }) =>
      make("button", `${rank}. ${symbol} ${say(value)}`, "plain", { type: "button", "data-figure": figure, "data-symbol": symbol, "data-at": `${moment(slot)}`, "data-note": `${means}${say(value)}.` }))));
  }

  #build(name) {
    const card = make("button", "", "card", { type: "button", "data-symbol": name });
    card.addEventListener("click", () => name !== view.symbol && view.set({ symbol: name, feed: "", from: "", to: "", at: "" }));
    const slot = make("div", "", "slot");
    const why = make("button", "?", "why", { type: "button", "aria-label": `Explain the figures of ${name}`, title: "How these figures are made", "data-figure": "net_gex", "data-symbol": name });
    slot.append(card, why);
    const parts = { slot, card, why };
    const head = make("span", "", "head");
    for (const part of ["spot", "change"]) parts[part] = make("span", "", part);
    head.append(make("b", name), parts.spot, parts.change);
    for (const part of ["verdict", "flip", "levels", "when"]) parts[part] = make("span", "", part);
    const svg = document.createElementNS(SVG, "svg");
    for (const [key, value] of [["viewBox", "0 0 100 22"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) svg.setAttribute(key, value);
    parts.spark = svg.appendChild(document.createElementNS(SVG, "path"));
    card.append(head, svg, parts.verdict, parts.flip, parts.levels, parts.when);
    return parts;
  }

  #tell(name, until) {
    const parts = this.#cards.get(name);
    const session = this.many.sessions.get(name);
    const bars = session?.upTo(until) ?? [];
    const bar = bars.at(-1);
    const chosen = state.session?.symbol === name;
    parts.card.classList.toggle("chosen", chosen);
    parts.why.hidden = !bar;
    parts.why.dataset.at = bar?.at ?? "";
    parts.card.setAttribute("aria-pressed", String(chosen));
    if (!bar) {
      for (const part of ["spot", "change", "flip", "levels", "when"]) write(parts[part], "");
      write(parts.verdict, this.many.trouble || (session || this.many.sessions.size ? "no samples" : "…"));
      parts.spark.setAttribute("d", "");
      return;
    }
    this.#held.put(session, bars);
    const clauses = new Map(clausesOf(bar, null).map((clause) => [clause.name, clause]));
    const opened = session.openingAt(until);
    write(parts.spot, price(bar.spot));
    write(parts.change, opened ? `${plus((bar.spot / opened.spot - 1) * 100)} %` : "");
    const sure = there(bar.regime_confidence) ? `, ${bar.regime_confidence > 0.99 ? ">99" : Math.round(bar.regime_confidence * 100)} % sure` : "";
    write(parts.verdict, `${clauses.get("gamma").text.replace(/\.$/, "")}${sure}`);
    parts.verdict.className = `verdict-of ${clauses.get("gamma").kind}`;
    write(parts.flip, clauses.get("flip").text);
    write(parts.levels, [["call_wall", "Call"], ["put_wall", "Put"], ["magnet", "Magnet"]].map(([field, text]) => distance(bar, field, text)).join(" · "));
    write(parts.when, `${clock(bar.at)}${bar.flags?.length ? " · flagged" : ""}`);
    parts.spark.setAttribute("d", sparkOf(bars, "spot"));
  }
}
