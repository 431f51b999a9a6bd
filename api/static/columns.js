// Columns of a chart: from zero up in one colour, and down in another.

import { colour } from "./dom.js";

// Draws columns from zero, as wide as a bar; outlines where a column has the flow of missing bars too. Each is
// a rectangle of its own: one path of a day's columns took the browser twenty times as long to fill.
export function drawColumns(chart, u, series, above, below) {
  const { ctx: context, bbox } = u;
  const [x, values] = [u.data[0], u.data[series]];
  const [first, last] = u.series[0].idxs ?? [0, -1];
  const wide = Math.max((u.valToPos(chart.step, "x", true) - u.valToPos(0, "x", true)) * 0.8, 1);
  const zero = Math.round(u.valToPos(0, "y", true));
  context.beginPath();
  context.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  context.clip();
  context.lineWidth = devicePixelRatio;
  for (const [side, name] of [[1, above], [-1, below]]) {
    context.fillStyle = context.strokeStyle = colour(name);
    for (let k = first; k <= last; k++) {
      const value = values[k];
      if (value === null || value === undefined || value * side < 0 || (value === 0 && side < 0)) continue;
      const [left, top] = [u.valToPos(x[k], "x", true) - wide / 2, Math.round(u.valToPos(value, "y", true))];
      context[chart.bars?.[k]?.flow_hole ? "strokeRect" : "fillRect"](left, Math.min(top, zero), wide, Math.max(Math.abs(top - zero), 1));
    }
  }
}
