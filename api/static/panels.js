// The panels: the lines of each, their colours, and the format of their numbers.

import { brief, fixed, money, percent, plus, price, strike, vol } from "./format.js";

const whole = (value) => (value === null || value === undefined ? "—" : `${value}`);

const since = (value, opened) => {
  if (!opened) return "";
  const share = +((value / opened - 1) * 100).toFixed(3);
  return share === 0 ? "0 %" : `${plus(share, (n) => fixed(n, Math.abs(share * 10) % 1 > 1e-6 ? 2 : 1))} %`;
};

// Levels at round shares of the first price.
function roundShares(u, low, high, opened, room) {
  const [from, to] = [(low / opened - 1) * 100, (high / opened - 1) * 100];
  const step = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5].find((n) => (to - from) / n <= room) ?? 10;
  const found = [];
  for (let share = Math.ceil(from / step) * step; share <= to; share += step) found.push(opened * (1 + share / 100));
  return found;
}

// ``colour`` names a colour of the style sheet; dashes keep lines apart for readers who cannot tell the colours.
export const PANELS = [
  {
    id: "price", title: "Price", axis: strike, grid: false,
    // The price scale again, as the change since the open.
    left: { scale: "y", colour: "muted", write: (value, chart) => since(value, chart.opened), splits: roundShares },
    lines: [
      { field: "spot", name: "Spot", colour: "text", width: 2, write: price },
      // Levels of each sample by itself, thin; the held ones stand over them.
      { field: "gamma_flip", name: "Gamma flip", colour: "flip", width: 0.75, write: price, leaps: 0.005 },
      { field: "call_wall", name: "Call wall", colour: "up", dash: [7, 4], width: 0.75, step: true, write: strike },
      { field: "put_wall", name: "Put wall", colour: "down", dash: [7, 4], width: 0.75, step: true, write: strike },
      { field: "magnet", name: "Magnet", colour: "magnet", dash: [2, 4], width: 1, step: true, write: strike },
      { field: "held_gamma_flip", name: "Gamma flip, held", colour: "flip", width: 1.75, write: price, leaps: 0.005, held: "gamma_flip" },
      { field: "held_call_wall", name: "Call wall, held", colour: "up", dash: [7, 4], width: 2, step: true, write: strike, held: "call_wall" },
      { field: "held_put_wall", name: "Put wall, held", colour: "down", dash: [7, 4], width: 2, step: true, write: strike, held: "put_wall" },
      { field: "held_magnet", name: "Magnet, held", colour: "magnet", dash: [2, 4], width: 2.5, step: true, write: strike, held: "magnet" },
    ],
    compare: { field: "spot", name: "Spot (compared, scaled)", write: price },
  },
  {
    id: "flow", title: "Hedge flow since the open", axis: brief, zero: true,
    left: { scale: "spot", colour: "faint", write: strike },
    lines: [
      { field: "hedge_flow_cumulative_all", name: "All", colour: "text", width: 2, write: money },
      { field: "hedge_flow_call_cumulative", name: "Calls", colour: "up", write: money },
      { field: "hedge_flow_put_cumulative", name: "Puts", colour: "down", dash: [6, 4], write: money },
      { field: "spot", name: "Spot", colour: "faint", dash: [2, 3], write: price, scale: "spot" },
    ],
    compare: { field: "hedge_flow_cumulative_all", name: "All (compared)", write: money },
  },
  {
    id: "pressure", title: "Pressure", axis: brief, zero: true,
    lines: [
      { field: "flow_bar", name: "Bar", colour: "up", write: money, columns: "down" },
      { field: "flow_rate", name: "10 min mean", colour: "text", width: 1.75, write: money },
    ],
  },
  {
    id: "exposure", title: "Exposure", axis: brief, zero: true, aligned: true,
    left: { scale: "second", colour: "down", write: brief },
    lines: [
      { field: "net_gex", name: "Net GEX", colour: "up", width: 2, write: money, area: true },
      { field: "net_dex", name: "Net DEX", colour: "down", dash: [6, 4], write: money, scale: "second" },
    ],
    compare: { field: "net_gex", name: "Net GEX (compared)", write: money },
  },
  {
    id: "pin", title: "Pin", axis: (value) => `${+value.toFixed(1)}`, range: [0, 100],
    lines: [
      { field: "pin_score", name: "Score", colour: "magnet", width: 2, write: whole },
      { field: "pin_probability_pct", name: "Probability", colour: "flip", dash: [6, 4], write: percent },
    ],
    compare: { field: "pin_score", name: "Score (compared)", write: whole },
  },
  {
    id: "vol", title: "Volatility and charm", axis: (value) => `${+(value * 100).toFixed(2)} %`,
    left: { scale: "second", colour: "up", write: brief },
    lines: [
      { field: "atm_iv", name: "ATM IV", colour: "flip", width: 2, write: vol },
      { field: "charm_dollars_per_hour", name: "Charm", colour: "up", dash: [6, 4], write: money, scale: "second" },
    ],
    compare: { field: "atm_iv", name: "ATM IV (compared)", write: vol },
  },
];

export const FIELDS = [...new Set(PANELS.flatMap((panel) => panel.lines.map((line) => line.field)))];

export const METRIC_NAMES = {
  gex: "GEX", dex: "DEX", vex: "Vanna", chex: "Charm", oi: "Open interest", volume: "Volume", signed_flow: "Signed flow",
  none: "Nothing",
};
export const MODE_NAMES = { raw: "Level at each bar", delta: "Change per bar", since_open: "Change since the open" };
export const TONE_NAMES = { linear: "Linear colours", log: "Logarithmic" };
export const BESIDE_NAMES = {
  live: "Live book", settled: "Settled book", volume: "Volume", since_open: "Change since the open", since_crosshair: "Change since the crosshair",
};
// The meaning of the heatmap's two colours: positive values, negative values.
const METRIC_MEANS = {
  gex: ["dampens moves", "amplifies moves"],
  dex: ["positive delta", "negative delta"],
  vex: ["vol up: dealers sell", "vol up: dealers buy"],
  chex: ["dealers buy", "dealers sell"],
  oi: ["contracts", ""],
  volume: ["contracts today", ""],
  signed_flow: ["dealers bought", "dealers sold"],
};

// A change says nothing of the level's sign; signed flow is a change by itself, and volume only grows.
export function meansOf(metric, mode) {
  const span = { raw: "", delta: " in the bar", since_open: " since the open" }[mode];
  if (metric === "volume" && mode !== "raw") return [`contracts${span}`, ""];
  if (metric === "signed_flow") return METRIC_MEANS.signed_flow.map((text) => text + (mode === "since_open" ? span : ""));
  return mode === "raw" ? METRIC_MEANS[metric] : [`risen${span}`, `fallen${span}`];
}
