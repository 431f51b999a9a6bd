// The headline tiles: a number, its meaning now, its change and its course since the open.

import { byId, make, write } from "./dom.js";
import { NONE, far, fixed, money, moneyLike, percent, plus, points, price, sigma, strike, vol, words } from "./format.js";
import { levelOf, ownOf } from "./held.js";
import { state } from "./state.js";

const SPARK = { width: 100, height: 22, points: 100 };
const there = (value) => value !== null && value !== undefined;

// A flip farther away is out of reach today. [standard deviations]
const REACH = 4;
// The sample's own flip has it stored; a held one is as far as it is.
export const outOfReach = (bar, sigmas) => (ownOf(bar, "gamma_flip") === null ? bar.flip_out_of_reach : Math.abs(sigmas) > REACH);
const NO_FLIP = { no_boundary: "none within 10 %", insufficient_local_coverage: "too few quotes" };

const index = () => state.indices.includes(state.session?.symbol);

// The sample's own level, where another one is held.
function own(bar, field, write) {
  const now = ownOf(bar, field);
  return now === null ? "" : ` · now ${write(now)}`;
}

function away(bar, field) {
  const level = levelOf(bar, field);
  return there(level) ? far(level - bar.spot, index()) + (own(bar, field, strike) || " from spot") : "";
}

function toFlip(bar) {
  const flip = levelOf(bar, "gamma_flip");
  if (!there(flip)) return NO_FLIP[bar.gamma_flip_status] ?? "";
  const off = flip - bar.spot;
  const sigmas = bar.remaining_1sd ? off / bar.remaining_1sd : null;
  const reach = outOfReach(bar, sigmas) ? " · out of reach" : there(sigmas) ? ` · ${sigma(sigmas)}` : "";
  return far(off, index()) + (own(bar, "gamma_flip", price) || reach);
}

// Never 100 %: that the sides of trades leave no doubt is more than a spread can say.
function sureness(bar) {
  if (!there(bar.regime_confidence)) return words(bar.regime);
  const sure = Math.round(bar.regime_confidence * 100);
  return `${words(bar.regime)}, ${sure > 99 ? ">99" : sure} % sure`;
}

const oneSigma = (bar) => (there(bar.remaining_1sd) ? `1σ to the close ±\u2060${far(bar.remaining_1sd, index()).slice(1)}` : "");

const dealers = (value, done) => (!there(value) || value === 0 ? "" : `dealers ${value > 0 ? (done ? "bought" : "buy") : done ? "sold" : "sell"}`);
const moved = (write) => (now, then) => plus(now - then, write);
const dollars = (now, then) => moneyLike([now, now - then])(now - then);

// ``write`` formats the number, ``note`` says what it means now, ``change`` its change since the open.
export const TILES = [
  { field: "spot", name: "Spot", write: price, note: (bar, opened) => (opened ? `${plus((bar.spot / opened.spot - 1) * 100)} %` : ""),
    change: moved(fixed), tells: "Price of the underlying; its forward price where the source's price is stale." },
  { field: "net_gex", name: "Net GEX per 1 %", write: money, note: sureness, change: dollars, signed: true,
    tells: "Dollars of delta that dealers must trade for a move of 1 %; positive: their hedging dampens moves, negative: it amplifies them. Below: the regime, and how sure its sign is given κ and the dealer convention, by what the sides of trades leave in doubt." },
  { field: "gamma_flip", name: "Gamma flip", write: price, note: toFlip, change: moved(fixed),
    tells: "Level nearest spot at which net gamma changes sign once every contract is repriced there. After a leap the old one stays until the new one has led for two minutes; the sample's own then stands beside it. Below: how far it is from spot, also in standard deviations (σ) of the move expected until the close; out of reach today beyond four of them." },
  { field: "call_wall", name: "Call wall", write: strike, note: (bar) => away(bar, "call_wall"), change: moved(fixed),
    tells: "Strike with the largest gamma exposure of calls. It stays until another strike has led by 10 % for two minutes; the sample's own then stands beside it." },
  { field: "put_wall", name: "Put wall", write: strike, note: (bar) => away(bar, "put_wall"), change: moved(fixed),
    tells: "Strike with the largest gamma exposure of puts. It stays until another strike has led by 10 % for two minutes; the sample's own then stands beside it." },
  { field: "magnet", name: "Magnet", write: strike, note: (bar) => away(bar, "magnet"), change: moved(fixed),
    tells: "Strike with the largest net gamma exposure, held like the walls. Where it is positive, hedging tends to hold the price there; where negative, to push it through." },
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
  const values = bars.map((bar) => levelOf(bar, field));
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
    const now = bar ? (levelOf(bar, tile.field) ?? null) : null;
    const then = opened?.[tile.field] ?? null;
    write(value, bar === null ? NONE : tile.write(now));
    write(note, bar === null ? "" : tile.note(bar, opened));
    write(change, bar?.at === opened?.at || now === null || then === null ? "" : now === then ? "unchanged" : tile.change(now, then));
    box.classList.toggle("up", Boolean(tile.signed) && now > 0);
    box.classList.toggle("down", Boolean(tile.signed) && now !== null && now < 0);
    spark.setAttribute("d", sparkOf(bars, tile.field));
  }
}
