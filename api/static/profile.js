// The profile: one figure by strike beside the price chart, on the same axis.

import { colour, sharp } from "./dom.js";
import { strike as writeStrike } from "./format.js";
import { partOf } from "./heatmap.js";

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
// One or two strikes that are so many times the third largest are cut, so that the rest keeps its shape.
const OUTLIER = 4;

// ``profile``: strikes and values, the price, the row under the pointer (null: none), how a value is
// written, and whether lengths are linear or logarithmic.
export function drawProfile(canvas, u, profile) {
  const { strikes, values, spot, row, write, tone } = profile;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (width < 20 || height < 20) return;
  const context = sharp(canvas, width, height);
  const { min, max } = u.scales.y;
  if (min === null || min === undefined) return;
  const ratio = devicePixelRatio || 1;
  const [top, tall] = [u.bbox.top / ratio, u.bbox.height / ratio];
  const y = (level) => top + ((max - level) / (max - min)) * tall;
  const shown = strikes.map((strike, k) => ({ strike, value: values[k], k })).filter(({ strike }) => strike >= min && strike <= max);
  const sizes = shown.map(({ value }) => Math.abs(value)).sort((a, b) => b - a);
  const most = Math.max(Math.min(sizes[0] ?? 0, sizes[2] ? OUTLIER * sizes[2] : Infinity), 1e-9);
  const signed = shown.some(({ value }) => value < 0);
  // What has one sign only grows from the left edge.
  const middle = signed ? Math.round(width / 2) : 4;
  const room = width - middle - 6;
  const apart = shown.length > 1 ? Math.abs(y(shown[0].strike) - y(shown[1].strike)) : 12;
  const thick = Math.max(Math.min(apart * 0.72, 12), 1);
  const long = (value) => (value === 0 ? 0 : (tone === "log" ? partOf(Math.abs(value), most, "log") : Math.min(Math.abs(value) / most, 1)) * room);
  context.save();
  context.beginPath();
  context.rect(0, top, width, tall);
  context.clip();
  for (const { strike, value, k } of shown) {
    const length = long(value);
    const left = value < 0 ? middle - length : middle;
    if (k === row) {
      context.fillStyle = colour("grid");
      context.fillRect(0, y(strike) - Math.max(thick, 8) / 2 - 1, width, Math.max(thick, 8) + 2);
    }
    context.fillStyle = colour(value < 0 ? "down" : "up");
    if (value !== 0) context.fillRect(left, y(strike) - thick / 2, Math.max(length, 0.5), thick);
    if (Math.abs(value) > most * 1.001) cut(context, value < 0 ? middle - room * 0.85 : middle + room * 0.85, y(strike), thick);
  }
  context.strokeStyle = colour("line");
  context.beginPath();
  context.moveTo(middle + 0.5, top);
  context.lineTo(middle + 0.5, top + tall);
  context.stroke();
  if (spot >= min && spot <= max) {
    context.strokeStyle = colour("text");
    context.setLineDash([4, 3]);
    context.beginPath();
    context.moveTo(0, y(spot));
    context.lineTo(width, y(spot));
    context.stroke();
    context.setLineDash([]);
  }
  context.restore();
  // A narrow canvas, as on a phone, has no room for numbers.
  if (width >= 150) label(context, shown, { width, middle, y, top, tall, most, row, write, signed, thick });
}

// A bar that is longer than there is room for is broken by two strokes.
function cut(context, x, y, thick) {
  context.strokeStyle = colour("panel");
  context.lineWidth = 2;
  for (const shift of [-2.5, 2.5]) {
    context.beginPath();
    context.moveTo(x + shift - 2, y + thick);
    context.lineTo(x + shift + 2, y - thick);
    context.stroke();
  }
  context.lineWidth = 1;
}

// Writes the number of the strike under the pointer, else of the largest bar of each sign, on the empty side.
function label(context, shown, { width, middle, y, top, tall, most, row, write, signed, thick }) {
  context.font = FONT;
  context.textBaseline = "middle";
  const pointed = shown.find(({ k }) => k === row);
  const largest = (sign) => shown.reduce((best, one) => (one.value * sign > (best?.value ?? 0) * sign ? one : best), null);
  const marked = pointed ? [pointed] : [largest(1), largest(-1)].filter((one) => one && Math.abs(one.value) >= most / 50);
  for (const { strike, value } of marked) {
    const text = `${writeStrike(strike)}  ${write(value)}`;
    const right = signed && value >= 0;
    context.textAlign = right || !signed ? "right" : "left";
    const room = signed ? width / 2 - 4 : width - 8;
    // Beside the bar where the other side is empty, else above it, at the far edge.
    const level = signed ? y(strike) : y(strike) - Math.max(thick, 6) / 2 - 7;
    const height = Math.min(Math.max(level, top + 7), top + tall - 7);
    const lines = context.measureText(text).width > room ? text.split("  ") : [text];
    const x = signed ? middle + (right ? -4 : 4) : width - 4;
    lines.forEach((line, k) => {
      const off = height + (k - (lines.length - 1) / 2) * 12;
      // A ground of its own: the line of the price must not strike it through.
      const wide = context.measureText(line).width;
      context.fillStyle = colour("panel");
      context.fillRect(context.textAlign === "right" ? x - wide - 2 : x - 2, off - 7, wide + 4, 13);
      context.fillStyle = colour("text");
      context.fillText(line, x, off);
    });
  }
}
