// Layers of the price chart: regime bands, gaps, the cone of the expected move, flip crossings.

import { colour } from "./dom.js";
import { words } from "./format.js";

const CONE_STEPS = 48;
const SLOT_MS = 30000;
// A larger jump of the flip (share of its level) means that another flip is now the nearest: no cross.
const LEAP = 0.005;

// A band of the plot from one time to another; ``foot``: only so high, at the lower edge. [px]
function band(u, context, from, to, fill, foot = null) {
  const left = Math.max(u.valToPos(from / 1000, "x", true), u.bbox.left);
  const right = Math.min(u.valToPos(to / 1000, "x", true), u.bbox.left + u.bbox.width);
  if (right <= left) return;
  context.fillStyle = fill;
  const tall = foot ?? u.bbox.height;
  context.fillRect(left, u.bbox.top + u.bbox.height - tall, Math.max(right - left, 1), tall);
}

// The panel's ground in each gap: a heatmap's bar may be longer than what was sampled of it.
export function gapGround(u, context, gaps) {
  for (const gap of gaps) band(u, context, gap.from, gap.to, colour("panel"));
}

export function gapBands(u, context, gaps, shift = 0) {
  for (const gap of gaps) band(u, context, gap.from + shift, gap.to + shift, colour("gap"));
}

// Writes the reason into each gap that is wide enough.
export function gapReasons(u, context, gaps) {
  const ratio = devicePixelRatio;
  context.font = `${11 * ratio}px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "top";
  context.fillStyle = colour("muted");
  for (const gap of gaps) {
    const left = Math.max(u.valToPos(gap.from / 1000, "x", true), u.bbox.left);
    const right = Math.min(u.valToPos(gap.to / 1000, "x", true), u.bbox.left + u.bbox.width);
    const text = words(gap.reason);
    if (context.measureText(text).width + 8 * ratio < right - left) {
      context.fillText(text, (left + right) / 2, u.bbox.top + 6 * ratio);
    }
  }
}

// Diagonal lines, so that short gamma is told from long gamma without colours.
const hatchings = new Map();

function hatch(context, name) {
  const ink = colour(name);
  const size = Math.round((name === "panel" ? 6 : 9) * devicePixelRatio);
  const known = `${ink} ${size}`;
  if (!hatchings.has(known)) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [size, size];
    const tile = canvas.getContext("2d");
    tile.strokeStyle = ink;
    tile.lineWidth = (name === "panel" ? 1.6 : 1) * devicePixelRatio;
    for (const shift of [-size, 0, size]) {
      tile.beginPath();
      tile.moveTo(shift, size);
      tile.lineTo(shift + size, 0);
      tile.stroke();
    }
    hatchings.set(known, canvas);
  }
  return context.createPattern(hatchings.get(known), "repeat");
}

// ``foot``: as a ribbon so high at the lower edge, on the panel's ground. [px]
export function regimeBands(u, context, bars, step, foot = null) {
  for (let k = 0; k < bars.length;) {
    let end = k;
    while (end + 1 < bars.length && bars[end + 1].regime === bars[k].regime && bars[end + 1].at - bars[end].at <= 2 * step) end++;
    const name = { positive_gamma: "regime-up", negative_gamma: "regime-down" }[bars[k].regime];
    const until = bars[end + 1] && bars[end + 1].at - bars[end].at <= 2 * step ? bars[end + 1].at : bars[end].at + SLOT_MS;
    if (name && foot) {
      band(u, context, bars[k].at, until, colour("panel"), foot + devicePixelRatio);
      band(u, context, bars[k].at, until, colour(name.replace("regime-", "")), foot);
    } else if (name) {
      band(u, context, bars[k].at, until, colour(name));
    }
    if (name === "regime-down") band(u, context, bars[k].at, until, hatch(context, foot ? "panel" : "regime-line"), foot);
    k = end + 1;
  }
}

// The cone: one standard deviation of the expected move, from the newest bar to the close.
export function coneOf(bar, close) {
  if (!bar?.remaining_1sd || bar.at >= close) return [];
  return Array.from({ length: CONE_STEPS + 1 }, (_, k) => {
    // More points where the curve bends most.
    const part = (k / CONE_STEPS) ** 2;
    const half = bar.remaining_1sd * Math.sqrt(part);
    return { x: bar.at + (close - bar.at) * part, low: bar.spot - half, high: bar.spot + half };
  });
}

export function drawCone(u, context, cone) {
  if (cone.length === 0) return;
  const at = (point, side) => [u.valToPos(point.x / 1000, "x", true), u.valToPos(point[side], "y", true)];
  context.save();
  context.beginPath();
  context.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  context.clip();
  context.beginPath();
  for (const point of cone) context.lineTo(...at(point, "high"));
  for (const point of [...cone].reverse()) context.lineTo(...at(point, "low"));
  context.closePath();
  context.fillStyle = colour("cone");
  context.fill();
  context.strokeStyle = colour("muted");
  context.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const side of ["low", "high"]) {
    context.beginPath();
    for (const point of cone) context.lineTo(...at(point, side));
    context.stroke();
  }
  context.restore();
}

function crossings(bars) {
  const crossed = [];
  for (let k = 1; k < bars.length; k++) {
    const [a, b] = [bars[k - 1], bars[k]];
    if (a.gamma_flip === null || b.gamma_flip === null) continue;
    if (Math.abs(b.gamma_flip - a.gamma_flip) > LEAP * a.gamma_flip) continue;
    const [before, after] = [Math.sign(a.spot - a.gamma_flip), Math.sign(b.spot - b.gamma_flip)];
    if (before * after < 0) crossed.push({ bar: b, up: after > 0 });
  }
  return crossed;
}

// A triangle where spot crossed the flip: up into one regime, down into the other.
export function drawCrossings(u, context, bars) {
  const size = 5 * devicePixelRatio;
  context.save();
  for (const { bar, up } of crossings(bars)) {
    const x = u.valToPos(bar.at / 1000, "x", true);
    const y = u.valToPos(bar.spot, "y", true) + (up ? 2.6 : -2.6) * size;
    if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
    context.beginPath();
    context.moveTo(x, y + (up ? -size : size));
    context.lineTo(x - size, y + (up ? size : -size));
    context.lineTo(x + size, y + (up ? size : -size));
    context.closePath();
    context.fillStyle = colour("flip");
    context.strokeStyle = colour("panel");
    context.fill();
    context.stroke();
  }
  context.restore();
}
