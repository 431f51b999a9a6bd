// Explain: a click on a number opens its formula with this sample's inputs, its flags in words, and
// what the number is not. Any element with ``data-figure`` is such a number; ``data-at`` is its moment,
// ``data-strike`` its strike, ``data-symbol`` its symbol where that is not the shown one.

import { ask, paths, why } from "./api.js";
import { make, options } from "./dom.js";
import { NONE, fixed, money, words } from "./format.js";
import { PAGE_FIGURES } from "./meanings.js";
import { PANELS } from "./panels.js";
import { TILES } from "./tiles.js";
import { clock, moment } from "./time.js";

// Quotes lie nearer to their own slot than to the next one.
const NEAREST_MS = 14000;
const MORE = ["regime", "regime_confidence", "hedging", "remaining_1sd", "charm_horizon_seconds", "flags"];
// Figures that the page works out of bars, and no sample has.
const OWN = ["flow_bar", "flow_rate", "held_call_wall", "held_put_wall", "held_magnet", "held_gamma_flip"];
// What the page shows of a sample, and so offers to explain.
export const FIGURES = [...new Set([
  ...TILES.map(({ field }) => field), ...MORE,
  ...PANELS.flatMap(({ lines }) => lines.map(({ field }) => field)),
])].filter((figure) => !OWN.includes(figure));
// Of a strike alone; the settled book is this morning's open interest.
const BY_STRIKE = ["settled_call_gex", "settled_put_gex", "settled_call_dex", "settled_put_dex", "settled_vex", "settled_chex", "iv", "gamma"];

// Explains a number that is no element, such as one of a chart; the opener gets the focus back.
let shown = null;
export const explainNow = (wanted, opener, byKeyboard = false) => shown.explain(wanted, opener, byKeyboard);

const SHORT = /\b(gex|dex|vex|chex|iv|oi|atm|se)\b/g;
// Returns a figure's name as people write it.
const nameOf = (figure) => (PAGE_FIGURES[figure]?.name ?? words(figure)).replace(SHORT, (short) => short.toUpperCase());

// Returns a value as people say it.
export function say(value, unit) {
  if (value === null || value === undefined) return NONE;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.length ? value.map((each) => say(each, unit)).join(", ") : "none";
  if (typeof value === "object") return Object.entries(value).map(([name, each]) => `${words(name)} ${say(each, unit)}`).join(", ") || "none";
  if (typeof value === "string") return unit === "UTC" ? `${clock(moment(value))} ET` : words(value);
  if (unit.startsWith("$")) return Math.abs(value) >= 1e5 ? money(value) : `${fixed(value)} $`;
  const number = value.toLocaleString("en-US", { maximumSignificantDigits: 6 }).replace("-", "−");
  return ["decimal", "0–1", "0–100", "text", "ratio", "count"].includes(unit) ? number : `${number} ${unit}`;
}

// Numbers by level and time are drawn, not written.
const isSurface = (value) => value !== null && typeof value === "object" && Object.values(value).some((each) => Array.isArray(each?.[0]) && each[0].length > 4);

const row = (...texts) => {
  const line = make("tr");
  line.append(...texts.map((text, k) => (k ? make("td", text) : make("th", text, "", { scope: "row" }))));
  return line;
};

function table(rows) {
  const made = make("table");
  made.append(make("tbody"));
  made.firstChild.append(...rows);
  return made;
}

const listOf = (texts) => {
  const list = make("ul");
  list.append(...texts.map((text) => make("li", text.replaceAll("`", ""))));
  return list;
};

export class Explain {
  #box = null;
  #opener = null;
  #asked = 0;
  #of = null;

  // ``now`` gives the shown session and its newest bar.
  constructor(now) {
    this.now = now;
    shown = this;
    document.addEventListener("click", (event) => this.#clicked(event));
    document.addEventListener("keydown", (event) => this.#pressed(event), { capture: true });
  }

  #clicked(event) {
    const number = event.target.closest?.("[data-figure]");
    if (!number) return;
    const { figure, at, strike = "", symbol = "", note = "", inputs = "" } = number.dataset;
    // A click by keyboard takes the focus along.
    this.explain({ figure, at: at ? Number(at) : null, strike, symbol, note, inputs }, number, event.detail === 0);
  }

  explain({ figure, ...of }, opener, byKeyboard) {
    this.open(figure, of);
    this.#opener = opener;
    if (byKeyboard) this.#box.focus();
  }

  #pressed(event) {
    if (event.key === "Escape" && this.#box && !this.#box.hidden && !document.querySelector("dialog[open]")) {
      event.stopPropagation();
      this.close();
    }
    if (event.key === "Enter" && event.target.matches?.("[data-figure]:not(button, a)")) event.target.click();
  }

  close() {
    if (this.#box.contains(document.activeElement)) this.#opener?.focus?.();
    this.#box.hidden = true;
    this.#asked++;
  }

  #build() {
    this.#box = make("section", "", "explain", { id: "explain", role: "dialog", "aria-labelledby": "explain-title", tabindex: "-1" });
    const head = make("div", "", "field");
    this.title = make("h2", "", "", { id: "explain-title" });
    const shut = make("button", "Close", "", { type: "button" });
    shut.addEventListener("click", () => this.close());
    head.append(this.title, shut);
    const form = make("form", "", "rules");
    const figure = make("label", "Figure ");
    this.figure = make("select", "", "", { id: "explain-figure" });
    figure.append(this.figure);
    const strike = make("label", "Strike ");
    this.strike = make("input", "", "", { id: "explain-strike", inputmode: "decimal", size: "7", placeholder: "all" });
    strike.append(this.strike);
    form.append(figure, strike);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => this.open(this.figure.value, { ...this.#of, note: "", strike: this.strike.value.replaceAll(",", "").trim() }));
    this.body = make("div", "", "", { id: "explain-body", "aria-live": "polite" });
    this.#box.append(head, form, this.body);
    document.body.append(this.#box);
  }

  async open(figure, { at = null, strike = "", symbol = "", note = "", inputs = "" } = {}) {
    if (!this.#box) this.#build();
    const { session, bar } = this.now();
    const mine = ++this.#asked;
    this.#of = { at, symbol };
    options(this.figure, [...new Set([...FIGURES, ...BY_STRIKE, figure])].map((name) => [name, nameOf(name)]), figure);
    this.strike.value = strike;
    this.title.textContent = nameOf(figure);
    this.#box.hidden = false;
    if (PAGE_FIGURES[figure]) return this.#showOwn(figure, note, inputs);
    const when = at ?? bar?.at;
    if (!session || !when) return this.body.replaceChildren(make("p", "There is no sample."));
    if (!strike && BY_STRIKE.includes(figure)) return this.body.replaceChildren(make("p", "A figure by strike: enter a strike above."));
    this.body.replaceChildren(make("p", "Loading …", "muted"));
    try {
      const body = await ask(paths.explain(symbol || session.symbol, {
        figure, strike, feed: symbol && symbol !== session.symbol ? "" : session.feed, at: new Date(when + NEAREST_MS).toISOString(),
      }));
      if (mine !== this.#asked) return;
      this.#show(body);
      if (note) this.body.children[1].after(make("p", note, "muted"));
    } catch (error) {
      if (mine === this.#asked) this.body.replaceChildren(make("p", why(error), "warn"));
    }
  }

  // A figure that the page works out: ``inputs`` are names and values in words, as JSON.
  #showOwn(figure, note, inputs) {
    const { formula, means, not } = PAGE_FIGURES[figure];
    const parts = [make("h3", "Formula"), ...formula.map((text) => make("p", text, "formula")), make("p", means)];
    if (note) parts.unshift(make("p", note, "muted"));
    if (inputs) parts.push(make("h3", "Inputs"), table(JSON.parse(inputs).map(([name, value]) => row(name, value))));
    this.body.replaceChildren(...parts, make("h3", "What it is not"), listOf(not));
  }

  #show(body) {
    const { symbol, slot, figure, strike, value, unit, formula, check } = body;
    this.title.textContent = `${nameOf(figure)}${strike === null ? "" : ` at ${say(strike, "text")}`}`;
    const parts = [
      make("p", isSurface(value) ? "A surface" : say(value, unit), "value"),
      make("p", `${symbol}, ${body.expiration}, sample of ${clock(moment(slot))} ET${["text", "list", "object", "UTC", "date"].includes(unit) ? "" : `, ${unit}`}`, "muted"),
      make("h3", "Formula"),
      make("p", formula, "formula"),
    ];
    if (body.positive_means) parts.push(make("p", `A positive value: ${body.positive_means}.`));
    if (check) parts.push(make("p", `${check.expression === formula ? "" : `${check.expression} `}= ${say(check.value, unit)}`, "formula"));
    if (body.inputs.length) {
      const rows = body.inputs.map(({ name, value: input, unit: of, meaning }) => row(nameOf(name), say(input, of), meaning));
      parts.push(make("h3", "Inputs of this sample"), table(rows));
    }
    if (body.strikes.length) {
      const names = Object.keys(body.strikes[0]);
      const head = make("tr");
      head.append(...names.map((name) => make("th", nameOf(name), "", { scope: "col" })));
      const rows = body.strikes.map((each) => row(...names.map((name) => say(each[name], name.includes("gex") || name.includes("dex") || name.includes("flow") || name.endsWith("ex") ? "$ " : "text"))));
      const scroll = make("div", "", "scroll", { tabindex: "0", role: "region", "aria-label": "Strikes" });
      scroll.append(table([head, ...rows]));
      parts.push(make("h3", strike === null ? "The strikes with the largest parts" : "The strike"), scroll);
    }
    parts.push(make("h3", "What it is not"), listOf(body.is_not.length ? body.is_not : ["Nothing more is to be said: it is as the source gave it, or a count."]));
    const flags = body.flag_meanings.map(({ flag, meaning, limits_this: limits, amounts }) =>
      `${words(flag)}: ${meaning}.${limits ? " Do not rely on this figure." : ""}${amounts ? ` (${say(amounts, "text")})` : ""}`);
    parts.push(make("h3", "Flags of the sample"), flags.length ? listOf(flags) : make("p", "None."));
    const end = make("p", "", "muted");
    end.append(make("a", "Definition", "", { href: body.definition, target: "_blank", rel: "noopener" }), ` · formulas version ${body.definitions} · every step from the stored chain: `, make("code", body.steps));
    parts.push(end);
    this.body.replaceChildren(...parts);
  }
}
