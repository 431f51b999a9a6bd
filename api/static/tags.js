// Labels of the levels at the right edge of the price chart, and tags on its axis.

import { make } from "./dom.js";
import { moneyLike, price, sigma, strike } from "./format.js";
import { levelOf, ownOf } from "./held.js";

const LEVELS = [
  ["call_wall", "Call wall", "up"], ["put_wall", "Put wall", "down"],
  ["magnet", "Magnet", "magnet"], ["gamma_flip", "Gamma flip", "flip"],
];
const TALL = 16;
// A narrower plot has room for names and strikes only.
const WIDE = 560;

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

function textOf({ names, level, gex, sigmas, flip, now }, money, wide, arrow) {
  const parts = [`${arrow}${(wide ? names : names.map((name) => name.replace(" wall", "").replace("Gamma f", "F"))).join(" = ")} ${flip ? price(level) : strike(level)}`];
  if (wide && there(gex)) parts.push(money(gex));
  if (there(sigmas)) parts.push(sigma(sigmas));
  if (wide && there(now)) parts.push(`now ${flip ? price(now) : strike(now)}`);
  return parts.join(" · ");
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
  // that lies outside.
  show(tags, spot) {
    const { over, scales } = this.plot;
    const { min, max } = scales.y;
    const height = over.clientHeight;
    const known = there(min) && there(max) && height > TALL;
    const y = (level) => ((max - level) / (max - min)) * height;
    const money = moneyLike(tags.map(({ gex }) => gex));
    const placed = (known ? tags : []).map((tag) => {
      const arrow = tag.level > max ? "↑ " : tag.level < min ? "↓ " : "";
      return { ...tag, text: textOf(tag, money, over.clientWidth >= WIDE, arrow), top: Math.min(Math.max(y(tag.level), TALL / 2), height - TALL / 2) };
    }).sort((a, b) => b.level - a.level);
    for (let k = 1; k < placed.length; k++) placed[k].top = Math.max(placed[k].top, placed[k - 1].top + TALL);
    // What was pushed over the lower edge pushes back.
    for (let k = placed.length - 1, edge = height - TALL / 2; k >= 0; k--, edge -= TALL) placed[k].top = Math.min(placed[k].top, edge);
    while (this.#list.children.length > placed.length) this.#list.lastChild.remove();
    placed.forEach(({ text, top, colour, field, at }, k) => {
      const item = this.#list.children[k] ?? this.#list.appendChild(make("li", "", "", { tabindex: "0" }));
      Object.assign(item.dataset, { figure: field, at, symbol: this.symbol });
      if (item.textContent !== text) item.textContent = text;
      item.className = `t-${colour}`;
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
