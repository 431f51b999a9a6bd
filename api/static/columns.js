// Columns of a chart: from zero up in one colour, and down in another.

import { colour } from "./dom.js";

// Columns from zero, as wide as a bar; outlines where a column has the flow of missing bars too.
export function columnsOf(chart) {
  return (u, series, first, last) => {
    const [x, values] = [u.data[0], u.data[series]];
    const [fill, stroke] = [new Path2D(), new Path2D()];
    const wide = Math.max((u.valToPos(chart.step, "x", true) - u.valToPos(0, "x", true)) * 0.8, 1);
    const zero = Math.round(u.valToPos(0, "y", true));
    for (let k = first; k <= last; k++) {
      if (values[k] === null || values[k] === undefined) continue;
      const [left, top] = [u.valToPos(x[k], "x", true) - wide / 2, Math.round(u.valToPos(values[k], "y", true))];
      (chart.bars?.[k]?.flow_hole ? stroke : fill).rect(left, Math.min(top, zero), wide, Math.max(Math.abs(top - zero), 1));
    }
    return { stroke, fill, clip: null, band: null, gaps: null, flags: 1 | 2 };
  };
}

// One colour above zero, another one below it.
export function twoColours(u, above, below) {
  const { top, height } = u.bbox;
  const share = Math.min(Math.max((u.valToPos(0, "y", true) - top) / height, 0), 1);
  const shade = u.ctx.createLinearGradient(0, top, 0, top + height);
  for (const [at, name] of [[0, above], [share, above], [share, below], [1, below]]) shade.addColorStop(at, colour(name));
  return shade;
}
