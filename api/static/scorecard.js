// The scorecard: how right the levels of the shown symbol were. It is asked for when it is opened.

import { ask, paths, why } from "./api.js";
import { byId, make, write } from "./dom.js";
import { fixed, percent, plus } from "./format.js";
import { view } from "./state.js";

const TITLES = {
  frozen: "Frozen before the outcome",
  backfilled: "Made afterwards from stored rows: no record",
  recorded: "Made afterwards from recorded frames: no record",
};
const WORDS = {
  says_nothing_yet: "says nothing yet", agrees: "agrees", disagrees: "disagrees",
  no_difference: "no difference beyond chance", difference: "a difference beyond chance",
};
const COLUMNS = ["Forecast", "Came out", "n", "Sessions", "Verdict"];

const between = (low, high, say) => (low === null || high === null ? "" : ` (${say(low)} to ${say(high)})`);
const rate = (body, name) => `${percent(body[`${name}_pct`])}${between(body[`${name}_low_pct`], body[`${name}_high_pct`], percent)}`;
const signed = (digits, unit) => (value) => `${plus(value, (n) => fixed(n, digits))}${unit}`;

// Returns the rows of one kind: texts of the columns, and what explains them.
export function rowsOf(card) {
  const rows = [];
  const add = (figure, name, body, text) => body.n && rows.push({ figure, texts: [name, text, `${body.n}`, `${body.sessions}`, WORDS[body.verdict] ?? ""] });
  const { pin, walls, regime } = card;
  add("scored_pin", "Pin", pin, `predicted ${percent(pin.predicted_pct)}, came true ${rate(pin, "happened")}`);
  if (pin.n) add("scored_brier", "Brier score", pin, `${fixed(pin.brier, 4)}${between(pin.brier_low, pin.brier_high, (n) => fixed(n, 4))}, base rate ${fixed(pin.brier_of_base_rate, 4)}`);
  for (const bin of pin.deciles) add("scored_pin", `Pin, ${bin.from_pct} to ${bin.to_pct} %`, bin, `predicted ${percent(bin.predicted_pct)}, came true ${rate(bin, "happened")}`);
  for (const times of [1, 2]) {
    const range = card[`range_${times}sigma`];
    add("scored_range", `${times}σ range`, range, `held ${rate(range, "within")}, expected ${percent(range.expected_pct)}`);
  }
  for (const [name, text] of [["touched", "Walls touched"], ["broken_once_touched", "Walls broken, once touched"]]) {
    const both = walls[name];
    if (both.walls.n) add("scored_walls", text, { ...both.walls, verdict: both.verdict }, `${rate(both.walls, "rate")}; other levels as far ${rate(both.other_levels, "rate")}`);
  }
  for (const [name, text, say] of [
    ["volatility_difference_pct", "Volatility after positive gamma", signed(1, " %")],
    ["autocorrelation_difference", "Autocorrelation after positive gamma", signed(3, "")],
  ]) {
    const { raw, conditioned } = regime[name];
    if (conditioned.value !== null) {
      add("scored_regime", text, { ...regime, verdict: conditioned.verdict }, `${say(conditioned.value)}${between(conditioned.low, conditioned.high, say)} at the same ATM IV and time; plain ${say(raw.value)}`);
    }
  }
  for (const [span, flow] of Object.entries(card.flow)) {
    if (flow.n) add("scored_flow", `Flow, ${span.replace("m", " min")} later`, flow, `${signed(2, " bp")(flow.mean_bp)}${between(flow.mean_low_bp, flow.mean_high_bp, signed(2, ""))} along it, same sign ${rate(flow, "same_sign")}`);
  }
  return rows;
}

function tableOf(kind, card) {
  const table = make("table");
  table.append(make("caption", `${TITLES[kind]}: ${card.n} forecasts of ${card.sessions} sessions${card.simulated ? ", simulated market" : ""}`));
  const head = make("tr");
  head.append(...COLUMNS.map((text) => make("th", text, "", { scope: "col" })));
  const body = make("tbody");
  body.append(...rowsOf(card).map(({ figure, texts }) => {
    const row = make("tr");
    const why = { tabindex: "0", "data-figure": figure, "data-note": `${TITLES[kind]}. ${texts[0]}: ${texts[1]}; ${texts[2]} forecasts of ${texts[3]} sessions.` };
    row.append(...texts.map((text, k) => (k ? make("td", text, "", k === 1 ? why : {}) : make("th", text, "", { scope: "row" }))));
    return row;
  }));
  table.append(make("thead"), body);
  table.tHead.append(head);
  return table;
}

let shown = "";

async function show() {
  const { symbol } = view;
  if (!byId("scorecard").open || !symbol || symbol === shown) return;
  shown = symbol;
  write(byId("scorecard-note"), "Loading …");
  byId("scorecard-tables").replaceChildren();
  try {
    const body = await ask(paths.scorecard(symbol));
    if (symbol !== view.symbol) return;
    const cards = Object.entries(body.kinds).filter(([, card]) => card?.n);
    write(byId("scorecard-note"), cards.length
      ? `${symbol}. Intervals are of 95 % and count sessions; below ${body.enough_sessions} sessions a figure says nothing yet.`
      : `${symbol}: nothing is scored yet. Forecasts are frozen at ${body.freeze_times.join(", ")} New York, and scored after the close.`);
    byId("scorecard-tables").replaceChildren(...cards.map(([kind, card]) => tableOf(kind, card)));
  } catch (error) {
    // The next opening tries again.
    shown = "";
    write(byId("scorecard-note"), why(error));
  }
}

byId("scorecard").addEventListener("toggle", () => {
  if (!byId("scorecard").open) shown = "";
  show();
});
view.listen((changed) => {
  if (changed.has("symbol")) show();
});
