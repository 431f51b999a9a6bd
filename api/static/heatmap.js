// The heatmap: a canvas with one pixel per cell, stretched under the axes of a chart.

import { colour } from "./dom.js";
import { count, money } from "./format.js";

const SHADES = 255;
const SLOT_MS = 30000;
// The colours of a logarithmic scale span so many powers of ten.
const DECADES = 3;
// Negative cells of this part of the full colour and more are hatched.
const HATCHED = 0.1;

function channels(hex) {
  const n = parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

// Colours from the panel's background to the full colour, as pixels. Linear ones rise faster for small
// values, which a screen would hide.
function shadesOf(name) {
  const [to, from] = [channels(colour(name)), channels(colour("panel"))];
  return Uint32Array.from({ length: SHADES + 1 }, (_, k) => {
    const [r, g, b] = to.map((c, i) => Math.round(from[i] + (c - from[i]) * (k / SHADES)));
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });
}

// Returns the part of the full colour of a size, 0 to 1.
export function partOf(size, scale, tone) {
  if (tone === "log") return Math.min(Math.max(1 + Math.log10(size / scale) / DECADES, 0), 1);
  return Math.min(size / scale, 1) ** 0.65;
}

let hatching = { ink: "", size: 0, canvas: null };

// Diagonal lines in the colour of the ground, so that negative cells are told from positive ones without hue.
function hatch(context) {
  const [ink, size] = [colour("panel"), Math.round(5 * devicePixelRatio)];
  if (hatching.ink !== ink || hatching.size !== size) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [size, size];
    const tile = canvas.getContext("2d");
    tile.strokeStyle = ink;
    tile.lineWidth = 1.1 * devicePixelRatio;
    for (const shift of [-size, 0, size]) {
      tile.beginPath();
      tile.moveTo(shift, size);
      tile.lineTo(shift + size, 0);
      tile.stroke();
    }
    hatching = { ink, size, canvas };
  }
  return context.createPattern(hatching.canvas, "repeat");
}

export class Heatmap {
  #cells = document.createElement("canvas");
  // The negative cells alone, and these as hatched on the screen.
  #negative = document.createElement("canvas");
  #hatched = document.createElement("canvas");
  #painted = "";
  #runs = [];
  #falls = false;
  scale = 1;

  // Paints the grid up to the column that starts at ``known`` (null: all of it), in colours of the
  // scale of what it paints; returns whether there is anything to show.
  paint(grid, hours, step, tone, known) {
    if (!grid || grid.strikes.length === 0 || !hours) return false;
    const columns = Math.ceil((hours.close - hours.open) / step);
    const last = grid.columns.findLast(({ start }) => known === null || start <= known);
    if (!last) return false;
    const name = [tone, columns, grid.version, last.start, colour("panel")].join();
    if (name === this.#painted && this.grid === grid) return true;
    [this.grid, this.#painted] = [grid, name];
    // The newest column ends where it was sampled: the rest of its bucket is not known yet.
    this.until = Math.min(last.at + SLOT_MS, hours.close);
    this.scale = grid.scale(known);
    const rows = grid.strikes.length;
    for (const canvas of [this.#cells, this.#negative]) [canvas.width, canvas.height] = [columns, rows];
    const [cells, negative] = [this.#cells, this.#negative].map((canvas) => canvas.getContext("2d"));
    const [image, mask] = [cells.createImageData(columns, rows), negative.createImageData(columns, rows)];
    const [pixels, masked] = [new Uint32Array(image.data.buffer), new Uint32Array(mask.data.buffer)];
    const [above, below] = [shadesOf("heat-up"), shadesOf("heat-down")];
    this.#falls = false;
    for (const column of grid.columns) {
      const x = Math.floor((column.start - hours.open) / step);
      if (known !== null && column.start > known) break;
      if (x < 0 || x >= columns) continue;
      // The highest strike is the image's first row.
      for (let k = 0, cell = (rows - 1) * columns + x; k < rows; k++, cell -= columns) {
        const value = column.values[k];
        const part = value === 0 ? 0 : partOf(Math.abs(value), this.scale, tone);
        pixels[cell] = (value < 0 ? below : above)[Math.round(part * SHADES)];
        if (value < 0 && part >= HATCHED) {
          masked[cell] = 0xff000000;
          this.#falls = true;
        }
      }
    }
    cells.putImageData(image, 0, 0);
    negative.putImageData(mask, 0, 0);
    this.#runs = runsOf(grid.strikes);
    return true;
  }

  // Draws the heatmap under a chart's lines.
  draw(u, context, hours) {
    const box = u.bbox;
    const [left, right] = [hours.open, hours.close].map((time) => u.valToPos(time / 1000, "x", true));
    const end = Math.min(u.valToPos(this.until / 1000, "x", true), box.left + box.width);
    if (end <= box.left) return;
    context.save();
    context.beginPath();
    context.rect(box.left, box.top, end - box.left, box.height);
    context.clip();
    context.imageSmoothingEnabled = false;
    this.#stretch(u, context, this.#cells, left, right, 0);
    if (this.#falls) {
      const [wide, tall] = [Math.ceil(box.width), Math.ceil(box.height)];
      if (this.#hatched.width !== wide || this.#hatched.height !== tall) [this.#hatched.width, this.#hatched.height] = [wide, tall];
      const screen = this.#hatched.getContext("2d");
      screen.globalCompositeOperation = "source-over";
      screen.clearRect(0, 0, wide, tall);
      screen.imageSmoothingEnabled = false;
      this.#stretch(u, screen, this.#negative, left - box.left, right - box.left, box.top);
      // Lines where the cells are, and nothing elsewhere.
      screen.globalCompositeOperation = "source-in";
      screen.fillStyle = hatch(screen);
      screen.fillRect(0, 0, wide, tall);
      context.globalAlpha = 0.5;
      context.drawImage(this.#hatched, box.left, box.top);
    }
    context.restore();
  }

  // Draws the rows of one spacing as one image: strikes are not evenly spaced far from spot.
  #stretch(u, context, canvas, left, right, down) {
    for (const { first, count: n, low, high } of this.#runs) {
      const [top, bottom] = [u.valToPos(high, "y", true), u.valToPos(low, "y", true)];
      if (bottom < u.bbox.top || top > u.bbox.top + u.bbox.height) continue;
      context.drawImage(canvas, 0, canvas.height - first - n, canvas.width, n, left, top - down, right - left, bottom - top);
    }
  }

  // The row of the strike nearest to a level.
  nearest(level) {
    return nearestRow(this.grid.strikes, level);
  }
}

export function nearestRow(strikes, level) {
  let best = 0;
  for (let k = 1; k < strikes.length; k++) if (Math.abs(strikes[k] - level) < Math.abs(strikes[best] - level)) best = k;
  return best;
}

// Runs of evenly spaced strikes, with their outer edges: half-way to the neighbouring strike.
function runsOf(strikes) {
  if (strikes.length === 1) return [{ first: 0, count: 1, low: strikes[0] - 0.5, high: strikes[0] + 0.5 }];
  const gap = (k) => strikes[k + 1] - strikes[k];
  const edge = (k) => (k === 0 ? strikes[0] - gap(0) / 2 : k === strikes.length ? strikes[k - 1] + gap(k - 2) / 2 : (strikes[k - 1] + strikes[k]) / 2);
  const runs = [];
  for (let first = 0; first < strikes.length;) {
    const tall = edge(first + 1) - edge(first);
    let next = first + 1;
    while (next < strikes.length && Math.abs(edge(next + 1) - edge(next) - tall) < 1e-6 * tall) next++;
    runs.push({ first, count: next - first, low: edge(first), high: edge(next) });
    first = next;
  }
  return runs;
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

const COUNTED = ["oi", "volume"];
export const writeCell = (metric, value) => (COUNTED.includes(metric) ? count(value) : money(value));
