// The profile: net GEX by strike beside the price chart, on the same axis.

import { colour, sharp } from "./dom.js";
import { money, strike as writeStrike } from "./format.js";

export function drawProfile(canvas, u, grid, column, spot) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (width < 20 || height < 20) return;
  const context = sharp(canvas, width, height);
  const { min, max } = u.scales.y;
  if (!column || min === null || min === undefined) return;
  const ratio = devicePixelRatio || 1;
  const [top, tall] = [u.bbox.top / ratio, u.bbox.height / ratio];
  const y = (level) => top + ((max - level) / (max - min)) * tall;
  const shown = grid.strikes.map((strike, k) => ({ strike, value: column.values[k] }))
    .filter(({ strike }) => strike >= min && strike <= max);
  const most = Math.max(...shown.map(({ value }) => Math.abs(value)), 1);
  const middle = Math.round(width / 2);
  const apart = shown.length > 1 ? Math.abs(y(shown[0].strike) - y(shown[1].strike)) : 12;
  const thick = Math.max(Math.min(apart * 0.72, 12), 1);
  for (const { strike, value } of shown) {
    const long = (Math.abs(value) / most) * (middle - 6);
    context.fillStyle = colour(value < 0 ? "down" : "up");
    context.fillRect(value < 0 ? middle - long : middle, y(strike) - thick / 2, Math.max(long, 0.5), thick);
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
  // A narrow canvas, as on a phone, has no room for numbers.
  if (width >= 150) label(context, shown, { width, middle, y, top, tall, most });
}

// Writes the number of the largest bar of each sign on the empty side of the bar.
function label(context, shown, { width, middle, y, top, tall, most }) {
  context.font = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
  context.textBaseline = "middle";
  for (const sign of [1, -1]) {
    const best = shown.reduce((largest, one) => (one.value * sign > (largest?.value ?? 0) * sign ? one : largest), null);
    // What is nothing at the chart's scale has no number.
    if (!best || Math.abs(best.value) < most / 50) continue;
    const text = `${writeStrike(best.strike)}  ${money(best.value)}`;
    context.textAlign = sign > 0 ? "right" : "left";
    const room = width / 2 - 4;
    const at = Math.min(Math.max(y(best.strike), top + 7), top + tall - 7);
    const lines = context.measureText(text).width > room ? text.split("  ") : [text];
    lines.forEach((line, k) => {
      const off = (k - (lines.length - 1) / 2) * 12;
      context.strokeStyle = colour("panel");
      context.lineWidth = 3;
      context.lineJoin = "round";
      context.strokeText(line, middle - sign * 4, at + off);
      context.fillStyle = colour("text");
      context.fillText(line, middle - sign * 4, at + off);
    });
    context.lineWidth = 1;
  }
}
