// The scenario ladder: what dealers must trade after a move of spot, by the snapshot of the sample.

import { byId, make, write } from "./dom.js";
import { count, moneyLike, plus, price } from "./format.js";
import { clock } from "./time.js";

const MOVES = [
  ["spot_up_1pct", 1], ["spot_up_half_pct", 0.5], ["spot_up_25bp", 0.25], ["spot_up_10bp", 0.1],
  ["spot_down_10bp", -0.1], ["spot_down_25bp", -0.25], ["spot_down_half_pct", -0.5], ["spot_down_1pct", -1],
];
// Futures on an index: their name, and dollars a point.
const FUTURES = { SPX: ["ES", 50], XSP: ["ES", 50, 10], NDX: ["NQ", 20], RUT: ["RTY", 50], DJX: ["YM", 5, 100] };

let shown = "";

// Returns rows of texts; empty where the sample has no moves, or a book that has none stored.
export function rowsOf(symbol, body) {
  const { hedging, underlying_price: spot } = body;
  if (!hedging || MOVES.every(([name]) => hedging[name].dealer_shares_to_trade === 0)) return [];
  const [, dollars, tenth = 1] = FUTURES[symbol] ?? [];
  const dollarsOf = moneyLike(MOVES.map(([name]) => hedging[name].notional_usd));
  return MOVES.map(([name, percent]) => {
    const { dealer_shares_to_trade: shares, notional_usd: notional } = hedging[name];
    const row = [
      `${plus(percent, (n) => `${n}`.replace("-", "−"))} %`, price(spot * (1 + percent / 100)), shares < 0 ? "sell" : "buy",
      dollarsOf(Math.abs(notional), false), count(Math.abs(shares)),
    ];
    return dollars ? [...row, count(Math.abs(notional) / (spot * tenth * dollars))] : row;
  });
}

export function showLadder(session, snapshot) {
  const rows = snapshot ? rowsOf(session.symbol, snapshot.body) : [];
  const name = `${session?.symbol} ${snapshot?.slot} ${rows.length}`;
  if (name === shown) return;
  shown = name;
  const [future] = FUTURES[session?.symbol] ?? [];
  write(byId("ladder-of"), snapshot ? `at ${clock(snapshot.slot)}` : "");
  byId("ladder-none").hidden = rows.length > 0;
  byId("ladder-table").hidden = rows.length === 0;
  byId("ladder-columns").replaceChildren(...["Move", "Price", "Dealers", "Dollars", "Shares", ...(future ? [future] : [])].map((text) => make("th", text, "", { scope: "col" })));
  byId("ladder-rows").replaceChildren(...rows.map((texts) => {
    const row = make("tr", "", texts[2] === "buy" ? "buys" : "sells");
    row.append(...texts.map((text, k) => make("td", text, "", k > 1 ? { tabindex: "0", "data-figure": "hedging", "data-at": `${snapshot.slot}` } : {})));
    return row;
  }));
}
