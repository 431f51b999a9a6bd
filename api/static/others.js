// Further price charts beside the big one: two or four symbols on one time axis.

import { Chart } from "./chart.js";
import { byId, make, options, write } from "./dom.js";
import { HeldOfMany } from "./held.js";
import { Many } from "./many.js";
import { FIELDS, PANELS } from "./panels.js";
import { coneOf, drawCone, drawCrossings, gapBands, regimeBands } from "./price.js";
import { columns, pointsOf } from "./session.js";
import { state, view } from "./state.js";
import { Tags, besideLabels, tagsOf } from "./tags.js";
import { clock } from "./time.js";
import { clausesOf } from "./verdict.js";

const PAUSE_MS = 30000;

// Returns the symbols of the charts beside the big one: the chosen ones, then the next of the list.
export function othersOf() {
  const count = view.charts ? Number(view.charts) - 1 : 0;
  const chosen = view.others ? view.others.split(",") : [];
  const rest = state.symbols.filter((name) => name !== view.symbol && !chosen.includes(name));
  return [...chosen, ...rest].slice(0, count);
}

class Other {
  #chart = null;
  #tags = null;
  #now = null;

  constructor(k, { span, zoom, reset, lead, held }, choose) {
    this.box = make("figure", "", "panel other", { "data-other": `${k}` });
    const caption = make("figcaption");
    const label = make("label", "", "", {});
    label.append(make("span", "Symbol of this chart", "unseen"));
    this.picker = label.appendChild(make("select", "", "", { id: `other-${k}` }));
    this.picker.addEventListener("change", () => choose(k, this.picker.value));
    this.says = make("p");
    caption.append(label, this.says);
    this.place = make("div", "", "plot", { role: "group", "aria-roledescription": "chart" });
    this.box.append(caption, this.place);
    this.held = held;
    this.parts = { span: () => this.#beside(span()), zoom, reset, lead };
  }

  #beside(span) {
    const bar = this.#now?.bars.at(-1);
    if (!bar || !this.#chart || (view.from && view.to) || this.#cone(this.#now).length === 0) return span;
    return besideLabels(span, bar.at / 1000, tagsOf(bar, null, []), this.#chart.plot.bbox.width / devicePixelRatio);
  }

  #cone({ session, bars, until }) {
    return session.hours && (until !== null || session.newest?.at < session.hours.close) ? coneOf(bars.at(-1), session.hours.close) : [];
  }

  #draw() {
    const known = (paint) => (u, context) => this.#now && paint(u, context, this.#now);
    const panel = { ...PANELS[0], id: "other", left: undefined, compare: undefined };
    this.#chart = new Chart(panel, this.place, {
      ...this.parts, labels: true, cursor: () => {},
      extra: (scale) => (scale === "y" && this.#now ? this.#cone(this.#now).flatMap(({ low, high }) => [low, high]) : []),
      below: known((u, context, { session, bars, until }) => {
        regimeBands(u, context, bars, session.step);
        gapBands(u, context, session.gapsTo(until));
        drawCone(u, context, this.#cone(this.#now));
      }),
      above: known((u, context, { bars }) => {
        drawCrossings(u, context, bars);
        const bar = bars.at(-1);
        this.#tags ??= new Tags(u);
        this.#tags.symbol = this.#now.session.symbol;
        this.#tags.show(tagsOf(bar ?? null, null, []), bar?.spot, bar?.at);
      }),
    });
  }

  get chart() {
    return this.#chart;
  }

  show(symbol, session, until, trouble) {
    options(this.picker, [...new Set([...state.symbols, symbol])].map((name) => [name, name]), symbol);
    if (!this.#chart) this.#draw();
    const bars = session?.upTo(until) ?? [];
    const bar = bars.at(-1);
    if (session) this.held.put(session, bars);
    this.#now = session ? { session, bars, until } : null;
    const text = bar ? clausesOf(bar, null).filter(({ name }) => ["gamma", "flip", "sure"].includes(name)).map((clause) => clause.text).join(" ") : trouble || (session ? "No samples yet." : "Loading …");
    write(this.says, text);
    this.place.setAttribute("aria-label", `Price of ${symbol}${bar ? ` at ${clock(bar.at)}: ${text}` : ""}`);
    const data = session ? columns(pointsOf(session, bars), [], FIELDS) : { x: [] };
    this.#chart.ends = (session?.hours?.close ?? Infinity) / 1000;
    this.#chart.spikes = (data.bars ?? []).map((each) => Boolean(each?.flags?.length));
    this.#chart.show(data.x, this.#chart.lines.map((line) => data[line.field] ?? []));
  }
}

export class Others {
  #shown = [];
  #state = "";

  constructor(parts, changed) {
    this.held = new HeldOfMany(() => { this.#state = ""; changed(); });
    this.parts = { ...parts, held: this.held };
    this.many = new Many(changed, PAUSE_MS);
    byId("charts").addEventListener("change", (event) => view.set({ charts: event.target.value }));
  }

  // Once a second: asks for what is due.
  look() {
    this.many.follow(othersOf(), view.bar, state.session?.day ?? "");
    this.many.look();
    this.held.look(othersOf());
  }

  // The charts that are there now.
  get charts() {
    return this.#shown.map(({ chart }) => chart).filter(Boolean);
  }

  show(until) {
    const symbols = othersOf();
    options(byId("charts"), [["", "One"], ["2", "Two"], ["4", "Four"]], view.charts);
    document.body.classList.toggle("several", symbols.length > 0);
    write(byId("price-of"), symbols.length ? (state.session?.symbol ?? "") : "");
    while (this.#shown.length > symbols.length) this.#shown.pop().box.remove();
    while (this.#shown.length < symbols.length) {
      const k = this.#shown.length;
      const other = new Other(k, this.parts, (at, symbol) => {
        const chosen = othersOf();
        // A symbol that another chart has changes places with this one's.
        const there = chosen.indexOf(symbol);
        if (there >= 0) chosen[there] = chosen[at];
        chosen[at] = symbol;
        view.set({ others: chosen.join() });
      });
      (this.#shown.at(-1)?.box ?? byId("plot-price").closest(".panel")).after(other.box);
      this.#shown.push(other);
    }
    // Charts are drawn anew only for something new.
    const now = symbols.map((symbol) => `${symbol} ${this.many.sessions.get(symbol)?.cursor} ${this.many.sessions.get(symbol)?.newest?.at}`).join() + until + this.many.trouble + this.parts.span().join() + state.symbols.join();
    if (now === this.#state) return;
    this.#state = now;
    symbols.forEach((symbol, k) => this.#shown[k].show(symbol, this.many.sessions.get(symbol), until, this.many.trouble));
  }

  redraw() {
    this.#state = "";
    for (const chart of this.charts) chart.redraw();
  }
}
