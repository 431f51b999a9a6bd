// The headline tiles: a number, its meaning now, its change and its course since the open.

import { byId, make, write } from "./dom.js";
import { NONE, fixed, money, percent, plus, points, price, strike, vol, words } from "./format.js";

const SPARK = { width: 100, height: 22, points: 100 };
const there = (value) => value !== null && value !== undefined;

const NO_FLIP = { no_boundary: "none within 10 %", insufficient_local_coverage: "too few quotes" };

function away(level, bar) {
  if (!there(level)) return "";
  return `${plus(level - bar.spot)} from spot`;
}

function toFlip(bar) {
  if (!there(bar.gamma_flip)) return NO_FLIP[bar.gamma_flip_status] ?? "";
  const off = bar.spot - bar.gamma_flip;
  const sigmas = bar.flip_out_of_reach ? " · out of reach today" : bar.remaining_1sd ? ` · ${plus(off / bar.remaining_1sd, (n) => fixed(n, Math.abs(n) < 10 ? 1 : 0))} σ` : "";
  return `${plus(off, (n) => fixed(n, Math.abs(n) < 100 ? 2 : 0))} $${sigmas}`;
}

// Never 100 %: that the sides of trades leave no doubt is more than a spread can say.
function sureness(bar) {
  if (!there(bar.regime_confidence)) return words(bar.regime);
  const sure = Math.round(bar.regime_confidence * 100);
  return `${words(bar.regime)}, ${sure > 99 ? ">99" : sure} % sure`;
}

const oneSigma = (bar) => (there(bar.remaining_1sd) ? `1σ to the close ±$${fixed(bar.remaining_1sd)}` : "");

const dealers = (value, done) => (!there(value) || value === 0 ? "" : `dealers ${value > 0 ? (done ? "bought" : "buy") : done ? "sold" : "sell"}`);
const moved = (write) => (now, then) => plus(now - then, write);
const dollars = (now, then) => money(now - then);

// ``write`` formats the number, ``note`` says what it means now, ``change`` its change since the open.
export const TILES = [
  { field: "spot", name: "Spot", write: price, note: (bar, opened) => (opened ? `${plus((bar.spot / opened.spot - 1) * 100)} %` : ""),
    change: moved(fixed), tells: "Price of the underlying; its forward price where the source's price is stale." },
  { field: "net_gex", name: "Net GEX per 1 %", write: money, note: sureness, change: dollars, signed: true,
    tells: "Dollars of delta that dealers must trade for a move of 1 %; positive: their hedging dampens moves, negative: it amplifies them. Below: the regime, and how sure its sign is given κ and the dealer convention, by what the sides of trades leave in doubt." },
  { field: "gamma_flip", name: "Gamma flip", write: price, note: toFlip, change: moved(fixed),
    tells: "Level nearest spot at which net gamma changes sign once every contract is repriced there. Below: how far spot is from it, in dollars and in standard deviations (σ) of the move expected until the close; out of reach today beyond four of them." },
  { field: "call_wall", name: "Call wall", write: strike, note: (bar) => away(bar.call_wall, bar), change: moved(fixed),
    tells: "Strike with the largest gamma exposure of calls." },
  { field: "put_wall", name: "Put wall", write: strike, note: (bar) => away(bar.put_wall, bar), change: moved(fixed),
    tells: "Strike with the largest gamma exposure of puts." },
  { field: "magnet", name: "Magnet", write: strike, note: (bar) => away(bar.magnet, bar), change: moved(fixed),
    tells: "Strike with the largest net gamma exposure. Where it is positive, hedging tends to hold the price there; where negative, to push it through." },
  { field: "pin_score", name: "Pin score", write: (value) => `${value}`, note: (bar) => (there(bar.pin_probability_pct) ? `${percent(bar.pin_probability_pct)} probability` : ""),
    change: moved((n) => fixed(n, 0)), tells: "0 to 100, from open interest, distance to the magnet, time to the close and gamma; rises with the time of day. Below: the market-implied probability of settling around the magnet." },
  { field: "atm_iv", name: "ATM IV", write: vol, note: (bar) => (there(bar.atm_iv) ? oneSigma(bar) : "none in the last minute"),
    change: (now, then) => points(now - then), tells: "Implied volatility at the forward price, annualised. Below: one standard deviation (1σ) of the move expected until the close, in dollars." },
  { field: "charm_dollars_per_hour", name: "Charm", write: money, note: (bar) => (there(bar.charm_dollars_per_hour) ? `${dealers(bar.charm_dollars_per_hour, false)}${there(bar.charm_horizon_seconds) ? ` within ${Math.round(bar.charm_horizon_seconds / 60)} min` : ""}` : "none in the last minute"), change: dollars, signed: true,
    tells: "Dollars of the underlying that dealers must trade because time passes, at unchanged price, in the next hour or in half of the time that is left; positive: they buy." },
  { field: "hedge_flow_cumulative_all", name: "Hedge flow", write: money, note: (bar) => dealers(bar.hedge_flow_cumulative_all, true), change: dollars, signed: true,
    tells: "Dollars of the underlying that dealers have traded since the open to hedge customers' option trades; positive: they bought." },
];

const SVG = "http://www.w3.org/2000/svg";
const made = new Map();

function build() {
  for (const tile of TILES) {
    const box = make("div", "", "tile", { tabindex: "0", role: "button", "data-field": tile.field, "data-figure": tile.field, "aria-describedby": `tells-${tile.field}` });
    const parts = {
      box,
      value: make("b"), note: make("span", "", "note"), change: make("span", "", "change"),
      spark: document.createElementNS(SVG, "path"),
    };
    const svg = document.createElementNS(SVG, "svg");
    for (const [name, value] of [["viewBox", `0 0 ${SPARK.width} ${SPARK.height}`], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
    svg.append(parts.spark);
    const foot = make("div", "", "foot");
    foot.append(parts.change, svg);
    box.append(make("h2", tile.name), parts.value, parts.note, foot,
      make("span", tile.tells, "tells", { id: `tells-${tile.field}`, role: "tooltip" }));
    made.set(tile.field, parts);
    byId("tiles").append(box);
  }
}

// Draws at most a hundred of the values as a line that breaks where values are missing.
export function sparkOf(bars, field) {
  const values = bars.map((bar) => bar[field]);
  const known = values.filter(there);
  if (known.length < 2) return "";
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const stride = Math.max(Math.ceil(values.length / SPARK.points), 1);
  let path = "";
  let pen = "M";
  for (let k = (values.length - 1) % stride; k < values.length; k += stride) {
    if (!there(values[k])) {
      pen = "M";
      continue;
    }
    const x = (k / (values.length - 1)) * SPARK.width;
    const y = 2 + (high > low ? (high - values[k]) / (high - low) : 0.5) * (SPARK.height - 4);
    path += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  }
  return path;
}

// ``opened`` is the session's first sample: the first bar of a large size is a later one.
export function showTiles(bars, opened) {
  if (made.size === 0) build();
  const bar = bars.at(-1) ?? null;
  for (const tile of TILES) {
    const { box, value, note, change, spark } = made.get(tile.field);
    const now = bar?.[tile.field] ?? null;
    const then = opened?.[tile.field] ?? null;
    write(value, bar === null ? NONE : tile.write(now));
    write(note, bar === null ? "" : tile.note(bar, opened));
    write(change, bar?.at === opened?.at || now === null || then === null ? "" : now === then ? "unchanged" : tile.change(now, then));
    box.classList.toggle("up", Boolean(tile.signed) && now > 0);
    box.classList.toggle("down", Boolean(tile.signed) && now !== null && now < 0);
    spark.setAttribute("d", sparkOf(bars, tile.field));
  }
}
