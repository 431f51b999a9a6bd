// Labels of the levels at the right edge of the price chart, and tags on its axis.

import { make } from "./dom.js";
import { moneyLike, price, sigma, strike } from "./format.js";
import { levelOf, ownOf } from "./held.js";

const LEVELS = [
  ["call_wall", "Call wall", "up"], ["put_wall", "Put wall", "down"],
  ["magnet", "Magnet", "magnet"], ["gamma_flip", "Gamma flip", "flip"],
];
// How tall a label is, in one line and in two. [px]
const TALL = [16, 31];
// A narrower plot has room for names and strikes only.
const WIDE = 560;

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
// Labels that are wider than this part of a plot stand over prices.
const MOST = 0.5;

const there = (value) => value !== null && value !== undefined;

// Returns the levels of a bar, those that coincide as one: names, level, colour, and how far it is in
// standard deviations of what is left. A level is the one that the server holds, where that is known, and
// ``now`` the sample's own where it differs. ``column`` and ``strikes``: net GEX by strike, if known.
export function tagsOf(bar, column, strikes) {
  const tags = [];
  for (const [field, name, colour] of bar ? LEVELS : []) {
    const [level, now] = [levelOf(bar, field), ownOf(bar, field)];
    if (!there(level)) continue;
    const same = tags.find((tag) => tag.level === level);
    if (same) {
      same.names.push(name.toLowerCase());
      same.now ??= now;
      continue;
    }
    const row = column ? strikes.indexOf(level) : -1;
    tags.push({
      names: [name], level, colour, field, at: `${bar.at}`, gex: row < 0 ? null : column.values[row],
      sigmas: bar.remaining_1sd ? (level - bar.spot) / bar.remaining_1sd : null, flip: field === "gamma_flip", now,
    });
  }
  return tags;
}

// Returns a label's two parts: name and level, and what is known of it.
function textOf({ names, level, gex, sigmas, flip, now }, money, wide, arrow) {
  const parts = [];
  if (wide && there(gex)) parts.push(money(gex));
  if (there(sigmas)) parts.push(sigma(sigmas));
  if (wide && there(now)) parts.push(`now ${flip ? price(now) : strike(now)}`);
  return [`${arrow}${(wide ? names : names.map((name) => name.replace(" wall", "").replace("Gamma f", "F"))).join(" = ")} ${flip ? price(level) : strike(level)}`, parts.join(" · ")];
}

const measured = new Map();
let ruler = null;

// Returns how wide a label is. [px]
function widthOf(text) {
  if (!measured.has(text)) {
    ruler ??= document.createElement("canvas").getContext("2d");
    ruler.font = FONT;
    if (measured.size > 500) measured.clear();
    measured.set(text, ruler.measureText(text).width + 26);
  }
  return measured.get(text);
}

// Returns how wide the widest of some labels is, in one line or in two. [px]
function widest(tags, wide, two) {
  const money = moneyLike(tags.map(({ gex }) => gex));
  const texts = tags.map((tag) => textOf(tag, money, wide >= WIDE, ""));
  return Math.max(0, ...texts.map((text) => (two ? Math.max(...text.map(widthOf)) : widthOf(text.filter(Boolean).join(" · ")))));
}

// Returns a time axis on which the newest price stands left of the labels at the right edge: late in a day it
// goes on after the close, and the labels have two lines. ``wide`` is the plot's width. [unix seconds, px]
export function besideLabels([from, to], newest, tags, wide) {
  if (!(newest >= from && newest <= to) || !(wide > 0) || tags.length === 0) return [from, to];
  if (wide - (wide * (newest - from)) / (to - from) >= widest(tags, wide, false)) return [from, to];
  const room = Math.min(widest(tags, wide, true), wide * MOST);
  return [from, Math.max(to, from + ((newest - from) * wide) / (wide - room))];
}

export class Tags {
  #list = make("ul", "", "tags", { "aria-label": "Levels" });
  #spot = make("span", "", "tag spot");

  constructor(plot) {
    this.plot = plot;
    // Whose levels these are; "" for those of the session that is shown.
    this.symbol = "";
    plot.over.append(this.#list, this.#spot);
  }

  // Labels stand at their levels, below each other where those are close; an arrow points to a level
  // that lies outside. ``at``: the newest price's time; where a line of text would cover it, labels have two.
  show(tags, spot, at) {
    const { over, scales } = this.plot;
    const { min, max } = scales.y;
    const [height, wide] = [over.clientHeight, over.clientWidth];
    const two = there(at) && wide - this.plot.valToPos(at / 1000, "x") < widest(tags, wide, false);
    const tall = TALL[Number(two)];
    const known = there(min) && there(max) && height > tall;
    const y = (level) => ((max - level) / (max - min)) * height;
    const money = moneyLike(tags.map(({ gex }) => gex));
    const placed = (known ? tags : []).map((tag) => {
      const arrow = tag.level > max ? "↑ " : tag.level < min ? "↓ " : "";
      return { ...tag, text: textOf(tag, money, wide >= WIDE, arrow), top: Math.min(Math.max(y(tag.level), tall / 2), height - tall / 2) };
    }).sort((a, b) => b.level - a.level);
    for (let k = 1; k < placed.length; k++) placed[k].top = Math.max(placed[k].top, placed[k - 1].top + tall);
    // What was pushed over the lower edge pushes back.
    for (let k = placed.length - 1, edge = height - tall / 2; k >= 0; k--, edge -= tall) placed[k].top = Math.min(placed[k].top, edge);
    while (this.#list.children.length > placed.length) this.#list.lastChild.remove();
    placed.forEach(({ text: [first, rest], top, colour, field, at: of }, k) => {
      const item = this.#list.children[k] ?? this.#list.appendChild(make("li", "", "", { tabindex: "0" }));
      Object.assign(item.dataset, { figure: field, at: of, symbol: this.symbol });
      if (item.textContent !== [first, rest].filter(Boolean).join(" · ")) item.replaceChildren(make("span", first), ...(rest ? [make("i", " · "), make("span", rest)] : []));
      item.className = `t-${colour}${two ? " two" : ""}`;
      item.style.top = `${top}px`;
    });
    this.#list.hidden = placed.length === 0;
    const inside = known && there(spot) && spot >= min && spot <= max;
    this.#spot.hidden = !inside;
    if (inside) {
      this.#spot.textContent = price(spot);
      this.#spot.style.top = `${y(spot)}px`;
    }
  }
}
