// The newest bars as a table, and every stretch without samples.

import { byId, make } from "./dom.js";
import { money, percent, price, strike, vol, words } from "./format.js";
import { clock } from "./time.js";

const ROWS = 12;
const COLUMNS = [
  ["New York", (bar) => clock(bar.at)],
  ["Spot", (bar) => price(bar.spot), "spot"],
  ["Net GEX", (bar) => money(bar.net_gex), "net_gex"],
  ["Regime", (bar) => words(bar.regime), "regime"],
  ["Flip", (bar) => price(bar.gamma_flip), "gamma_flip"],
  ["Put wall", (bar) => strike(bar.put_wall), "put_wall"],
  ["Call wall", (bar) => strike(bar.call_wall), "call_wall"],
  ["Magnet", (bar) => strike(bar.magnet), "magnet"],
  ["Pin", (bar) => `${bar.pin_score}`, "pin_score"],
  ["Prob.", (bar) => percent(bar.pin_probability_pct), "pin_probability_pct"],
  ["ATM IV", (bar) => vol(bar.atm_iv), "atm_iv"],
  ["Charm", (bar) => money(bar.charm_dollars_per_hour), "charm_dollars_per_hour"],
  ["Flow", (bar) => money(bar.hedge_flow_cumulative_all), "hedge_flow_cumulative_all"],
];

export function showTable(bars) {
  // The closed table is not drawn.
  if (!byId("bars").open) return;
  if (!byId("columns").firstChild) byId("columns").append(...COLUMNS.map(([name]) => make("th", name, "", { scope: "col" })));
  byId("rows").replaceChildren(...bars.slice(-ROWS).reverse().map((bar) => {
    const row = make("tr");
    row.append(...COLUMNS.map(([, say, figure]) => make("td", say(bar), "", figure ? { tabindex: "0", "data-figure": figure, "data-at": `${bar.at}` } : {})));
    return row;
  }));
}

let listed = null;

export function showGaps(session, until) {
  const known = session?.gapsTo(until) ?? [];
  const name = known.map(({ from, to, reason }) => `${from}${to}${reason}`).join();
  if (name === listed) return;
  listed = name;
  const slots = known.reduce((n, gap) => n + (gap.to - gap.from) / 30000, 0);
  byId("gap-count").textContent = slots ? `${slots} ${slots === 1 ? "slot" : "slots"} of 30 s` : "";
  byId("gap-list").replaceChildren(...[...known].reverse().map((gap) => {
    const item = make("li");
    item.append(make("time", `${clock(gap.from)} to ${clock(gap.to)}`), make("span", words(gap.reason)));
    return item;
  }));
  if (known.length === 0) byId("gap-list").append(make("li", "None: every slot so far has a sample.", "muted"));
}
