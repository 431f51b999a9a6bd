// The levels of a bar for other programs: plain text, and a TradingView Pine script. Pure.

import { fixed, money, percent, words } from "./format.js";
import { levelOf, ownOf } from "./held.js";
import { clock, utc } from "./time.js";

const LEVELS = [
  ["call_wall", "Call wall", "color.blue"], ["put_wall", "Put wall", "color.orange"],
  ["gamma_flip", "Gamma flip", "color.yellow"], ["magnet", "Magnet", "color.purple"],
];

const there = (value) => value !== null && value !== undefined;
const plain = (value) => String(+value.toFixed(4));

// Returns a level in the prices of an answer's target, as the server rounds them; null without a basis.
export function inPrices({ basis: { kind, amount }, price_step: step }, level) {
  if (!there(level) || !kind) return null;
  const price = kind === "ratio" ? level * amount : level + amount;
  return Number((Math.floor(price / step + 0.5) * step).toFixed(6));
}

// Name, level, colour and, where it differs, the sample's own level. A level is the one that the server holds,
// as on the chart. ``mapped`` is the server's answer with the same sample's levels in another instrument's prices.
function levelsOf(bar, mapped) {
  const other = (key) => mapped.levels.find((level) => level.key === key)?.price;
  const read = (level) => (mapped ? inPrices(mapped, level) : level);
  const levels = LEVELS.map(([field, name, colour]) => [name, read(levelOf(bar, field)), colour, read(ownOf(bar, field))])
    .filter(([, level]) => there(level));
  const ends = mapped ? [other("sigma_upper"), other("sigma_lower")] : there(bar.remaining_1sd) ? [bar.spot + bar.remaining_1sd, bar.spot - bar.remaining_1sd] : [];
  ends.filter(there).forEach((value, k) => levels.push([`${k ? "-" : "+"}1 sigma to the close`, value, "color.gray"]));
  return levels;
}

// What the levels are: as on the chart, and not the sample's own.
const HELD = "Flip, walls and magnet as held (moved when another has led for two minutes); now: the sample's own";
const title = (session, bar, mapped) => `${session.symbol} 0DTE levels${mapped ? ` in ${mapped.target} prices (${mapped.words})` : ""}, ${session.day} ${clock(bar.at)} New York (${utc(bar.at)} UTC)${session.feed && `, feed ${session.feed}`}`;

export function plainText(session, bar, simulated, mapped = null) {
  const spot = mapped ? mapped.levels.find((level) => level.key === "spot").price : bar.spot;
  const rows = [["Spot", spot], ...levelsOf(bar, mapped)].map(([name, value, , own]) =>
    `${name.padEnd(24)}${fixed(value).padStart(12)}${there(own) ? `  now ${fixed(own)}` : ""}`);
  return [
    title(session, bar, mapped),
    ...(simulated ? ["SIMULATED MARKET: no number here is a real price"] : []),
    ...rows,
    HELD,
    `${"Net GEX per 1 %".padEnd(24)}${money(bar.net_gex).padStart(12)}  ${words(bar.regime)}`,
    `${"Pin score".padEnd(24)}${String(bar.pin_score).padStart(12)}  ${percent(bar.pin_probability_pct)} probability`,
    `${"Hedge flow".padEnd(24)}${money(bar.hedge_flow_cumulative_all).padStart(12)}`,
    "",
  ].join("\n");
}

// Pine reads text in double quotes; what could end one is left out.
export function pine(session, bar, simulated, mapped = null) {
  const quoted = (text) => `"${text.replace(/["\\\n]/g, "")}"`;
  const lines = levelsOf(bar, mapped).map(([name, value, colour, own]) =>
    `hline(${plain(value)}, ${quoted(name)}, color = ${colour}, linestyle = hline.style_dashed)${there(own) ? `  // now ${plain(own)}` : ""}`);
  return [
    "//@version=6",
    `// ${title(session, bar, mapped)}${simulated ? ", SIMULATED MARKET" : ""}`,
    `// ${HELD}`,
    `indicator(${quoted(`${session.symbol} 0DTE levels ${session.day}${simulated ? " SIMULATED" : ""}`)}, overlay = true)`,
    ...lines,
    "",
  ].join("\n");
}
