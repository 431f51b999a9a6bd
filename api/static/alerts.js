// Alerts computed from bars. Pure: the same bars give the same alerts.

import { fixed, money, strike, words } from "./format.js";

// A larger jump of the flip (share of its level) means that another flip is now the nearest: no cross.
const LEAP = 0.005;
// A level must keep its new value for this many bars before it counts as moved.
const HOLD = 2;
export const RULES = {
  regime: "Regime changes", flip: "Spot crosses the gamma flip",
  walls: "A wall moves", magnet: "The magnet moves", pin: "Pin score rises above",
};
export const DEFAULTS = { regime: true, flip: true, walls: true, magnet: true, pin: true, pinLevel: 70 };

export function crossings(bars) {
  const found = [];
  for (let k = 1; k < bars.length; k++) {
    const [a, b] = [bars[k - 1], bars[k]];
    if (a.gamma_flip === null || b.gamma_flip === null) continue;
    if (Math.abs(b.gamma_flip - a.gamma_flip) > LEAP * a.gamma_flip) continue;
    const [before, after] = [Math.sign(a.spot - a.gamma_flip), Math.sign(b.spot - b.gamma_flip)];
    if (before * after < 0) found.push({ bar: b, up: after > 0 });
  }
  return found;
}

// The bars at which a field has settled on a new value, with the old value and the new one.
function moves(bars, field) {
  const found = [];
  let settled = null;
  for (let k = 0; k < bars.length; k++) {
    const value = bars[k][field];
    if (value === null || value === settled) continue;
    const stands = settled === null || bars.slice(Math.max(k - HOLD + 1, 0), k + 1).every((bar) => bar[field] === value);
    if (!stands) continue;
    if (settled !== null) found.push({ bar: bars[k], from: settled, to: value });
    settled = value;
  }
  return found;
}

// All alerts that match the rules, oldest first: ``{at, kind, text}``.
export function eventsOf(bars, rules) {
  const found = [];
  const add = (bar, kind, text) => found.push({ at: bar.at, kind, text });
  for (let k = 1; k < bars.length; k++) {
    const [a, b] = [bars[k - 1], bars[k]];
    if (rules.regime && a.regime !== b.regime && b.regime !== "unknown") {
      add(b, "regime", `Regime turned ${words(b.regime)}, net GEX ${money(b.net_gex)}`);
    }
    if (rules.pin && a.pin_score < rules.pinLevel && b.pin_score >= rules.pinLevel) {
      add(b, "pin", `Pin score rose to ${b.pin_score}, magnet ${strike(b.magnet)}`);
    }
  }
  if (rules.flip) {
    for (const { bar, up } of crossings(bars)) {
      add(bar, "flip", `Spot ${fixed(bar.spot)} crossed ${up ? "above" : "below"} the gamma flip ${fixed(bar.gamma_flip)}`);
    }
  }
  const watched = [
    ...(rules.walls ? [["call_wall", "Call wall"], ["put_wall", "Put wall"]] : []),
    ...(rules.magnet ? [["magnet", "Magnet"]] : []),
  ];
  for (const [field, name] of watched) {
    for (const { bar, from, to } of moves(bars, field)) {
      add(bar, field, `${name} moved from ${strike(from)} to ${strike(to)}`);
    }
  }
  return found.sort((a, b) => a.at - b.at);
}
