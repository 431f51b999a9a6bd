// The heatmap: a canvas with one pixel per cell, stretched under the axes of a chart.

import { colour } from "./dom.js";
import { count, money } from "./format.js";

const SHADES = 255;

function channels(hex) {
  const n = parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

// Colours from the panel's background to the full colour, in smaller steps for small values.
function shadesOf(name) {
  const [to, from] = [channels(colour(name)), channels(colour("panel"))];
  return Array.from({ length: SHADES + 1 }, (_, k) => {
    const part = (k / SHADES) ** 0.65;
    return to.map((c, i) => Math.round(from[i] + (c - from[i]) * part));
  });
}

export class Heatmap {
  #canvas = document.createElement("canvas");
  #painted = "";
  #edges = [];
  scale = 1;

  // Paints the grid up to the column that starts at ``known`` (null: all of it), in colours of the
  // scale of what it paints; returns whether there is anything to show.
  paint(grid, hours, step, look, known) {
    if (!grid || grid.strikes.length === 0 || !hours) return false;
    const columns = Math.round((hours.close - hours.open) / step);
    const last = grid.columns.findLast(({ start }) => known === null || start <= known);
    if (!last) return false;
    const name = [look, columns, grid.strikes.length, grid.columns.length, last.start, last.spot, colour("panel")].join();
    if (name === this.#painted && this.grid === grid) return true;
    [this.grid, this.#painted] = [grid, name];
    const rows = grid.strikes.length;
    this.scale = grid.scale(known);
    this.#canvas.width = columns;
    this.#canvas.height = rows;
    const context = this.#canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    const [above, below] = [shadesOf("heat-up"), shadesOf("heat-down")];
    for (const column of grid.columns) {
      const x = Math.round((column.start - hours.open) / step);
      if (known !== null && column.start > known) break;
      if (x < 0 || x >= columns) continue;
      for (let k = 0; k < rows; k++) {
        const value = column.values[k];
        const shade = (value < 0 ? below : above)[Math.min(Math.round((Math.abs(value) / this.scale) * SHADES), SHADES)];
        // The highest strike is the image's first row.
        const at = 4 * ((rows - 1 - k) * columns + x);
        image.data[at] = shade[0];
        image.data[at + 1] = shade[1];
        image.data[at + 2] = shade[2];
        image.data[at + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
    this.#edges = edgesOf(grid.strikes);
    return true;
  }

  // Draws the heatmap under a chart's lines.
  draw(u, context, hours) {
    const { strikes } = this.grid;
    const [left, right] = [hours.open, hours.close].map((at) => u.valToPos(at / 1000, "x", true));
    context.save();
    context.beginPath();
    context.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    context.clip();
    context.imageSmoothingEnabled = false;
    for (let k = 0; k < strikes.length; k++) {
      const bottom = Math.round(u.valToPos(this.#edges[k], "y", true));
      const top = Math.round(u.valToPos(this.#edges[k + 1], "y", true));
      if (bottom < u.bbox.top || top > u.bbox.top + u.bbox.height || bottom === top) continue;
      context.drawImage(this.#canvas, 0, strikes.length - 1 - k, this.#canvas.width, 1, left, top, right - left, bottom - top);
    }
    context.restore();
  }

  // The strike nearest to a level.
  nearest(level) {
    const { strikes } = this.grid;
    let best = 0;
    for (let k = 1; k < strikes.length; k++) if (Math.abs(strikes[k] - level) < Math.abs(strikes[best] - level)) best = k;
    return best;
  }
}

// Edges of the rows, half-way between neighbouring strikes, which are not evenly spaced far from spot.
function edgesOf(strikes) {
  if (strikes.length === 1) return [strikes[0] - 0.5, strikes[0] + 0.5];
  const inner = strikes.slice(1).map((strike, k) => (strike + strikes[k]) / 2);
  return [2 * strikes[0] - inner[0], ...inner, 2 * strikes.at(-1) - inner.at(-1)];
}

// The range of strikes to show: where spot has been, with room on both sides.
export function strikeRange(bars, strikes) {
  if (bars.length === 0 || strikes.length === 0) return null;
  let [low, high] = [Infinity, -Infinity];
  for (const bar of bars) {
    if (bar.spot < low) low = bar.spot;
    if (bar.spot > high) high = bar.spot;
  }
  const room = Math.max(low * 0.006, (high - low) * 0.35);
  return [Math.max(low - room, strikes[0]), Math.min(high + room, strikes.at(-1))];
}

export const writeCell = (metric, value) => (metric === "oi" ? count(value) : money(value));
