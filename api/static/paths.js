// How lines are drawn: levels as strokes, lines that break at jumps, columns, and values that stand alone.

import { colour } from "./dom.js";

// Draws a level as horizontal strokes without risers: risers of a level that alternates between two
// strikes would fill the area between them.
export function levels(u, series, first, last) {
  const [x, values] = [u.data[0], u.data[series]];
  const path = new Path2D();
  const at = (k) => Math.round(u.valToPos(x[k], "x", true));
  for (let k = first; k <= last;) {
    const value = values[k];
    if (value === null || value === undefined) {
      k++;
      continue;
    }
    let end = k + 1;
    while (end <= last && (values[end] === value || values[end] === undefined)) end++;
    // Before a gap, and at the newest point, the stroke ends where the level was last sampled.
    const until = end <= last && values[end] !== null ? at(end) : Math.max(at(end - 1), at(k) + 2);
    const y = Math.round(u.valToPos(value, "y", true)) + 0.5;
    path.moveTo(at(k), y);
    path.lineTo(until, y);
    k = end;
  }
  return { stroke: path, fill: null, clip: null, band: null, gaps: null, flags: 0 };
}

// A line that breaks at jumps, where another flip has become the nearest.
export function leaping(leap) {
  return (u, series, first, last) => {
    const [x, values] = [u.data[0], u.data[series]];
    const path = new Path2D();
    let before = null;
    for (let k = first; k <= last; k++) {
      const value = values[k];
      if (value === undefined) continue;
      if (value !== null) {
        const at = [u.valToPos(x[k], "x", true), u.valToPos(value, "y", true)];
        const joined = before !== null && Math.abs(value - before) <= leap * before;
        if (joined) path.lineTo(...at);
        else path.moveTo(...at);
      }
      before = value;
    }
    return { stroke: path, fill: null, clip: null, band: null, gaps: null, flags: 0 };
  };
}

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

// Finds values between two gaps, which a line would not show: they are drawn as points.
export function alone(values) {
  const there = (value) => value !== null && value !== undefined;
  const found = [];
  for (let k = 0; k < values.length; k++) {
    if (there(values[k]) && (k === 0 || values[k - 1] === null) && (k + 1 >= values.length || values[k + 1] === null)) found.push(k);
  }
  return found;
}
