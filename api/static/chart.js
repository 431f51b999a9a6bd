// The chart of one panel: uPlot with the page's axes, colours and hooks. All charts share crosshair and zoom.

import { colour, make } from "./dom.js";
import { drawColumns } from "./columns.js";
import { alignedAtZero, rangeOf } from "./range.js";
import { toTheMinute } from "./time.js";

const Plot = globalThis.uPlot;
const RIGHT = 66;
const LEFT = 62;
const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const STEPS = [60, 120, 300, 600, 900, 1800, 3600, 7200];

// Ticks at round New York times: its offset is whole hours.
function timeSplits(u, axis, from, to) {
  const room = Math.max(u.bbox.width / devicePixelRatio / 78, 2);
  const step = STEPS.find((s) => (to - from) / s <= room) ?? 14400;
  const splits = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) splits.push(t);
  return splits;
}

// Draws a level as horizontal strokes without risers: risers of a level that alternates between two
// strikes would fill the area between them.
function levels(u, series, first, last) {
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
function leaping(leap) {
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

// Runs a paint function and restores the canvas state, which uPlot relies on.
function apart(u, paint) {
  u.ctx.save();
  paint(u, u.ctx);
  u.ctx.restore();
}

export class Chart {
  // Scales without a value.
  #blank = null;

  // ``draw.below`` and ``draw.above`` paint on the canvas under and over the lines; ``span`` gives
  // the time axis, ``extra`` further numbers that the main scale must hold. ``range`` gives the main
  // scale from the fitting one, and ``halo`` whether lines stand on a coloured ground. ``drag``: whether
  // a drag selects a time.
  constructor(panel, place, { span, cursor, zoom, reset, extra, below, above, lead, labels = false, range, drag = true, halo }) {
    this.panel = panel;
    this.place = place;
    this.span = span;
    this.extra = extra;
    // The time axis has no numbers later than this. [unix seconds]
    this.ends = Infinity;
    // Which samples are spikes: they are drawn, but the axes do not follow them.
    this.spikes = [];
    const lines = panel.lines;
    this.lines = panel.compare ? [...lines, { ...panel.compare, colour: "other", dash: [1, 3], width: 1.5 }] : lines;
    const scaleOf = (line) => line.scale ?? "y";
    const columnsOf = (u, name, near) =>
      u.data.filter((_, k) => k > 0 && scaleOf(this.lines[k - 1]) === name && Boolean(this.lines[k - 1].step || this.lines[k - 1].leaps) === near);
    const scales = { x: { time: true, range: () => span() } };
    const names = [...new Set(this.lines.map(scaleOf))];
    const fit = (u, name) => (name === "y" && panel.range) || rangeOf(columnsOf(u, name, false), this.#visible(u),
      { zero: panel.zero && name === "y", near: columnsOf(u, name, true), more: this.extra?.(name) ?? [], skip: this.spikes });
    names.forEach((name, place) => {
      scales[name] = {
        range: (u) => {
          const fitted = panel.aligned ? alignedAtZero(names.map((each) => fit(u, each)))[place] : fit(u, name);
          return name === "y" && range ? range(fitted) : fitted;
        },
      };
    });
    const grid = { show: panel.grid ?? true, stroke: () => colour("grid"), width: 1 };
    const axis = { stroke: () => colour("muted"), font: FONT, grid, ticks: { show: false } };
    this.plot = new Plot(
      {
        width: Math.max(place.clientWidth, 50),
        height: Math.max(place.clientHeight, 50),
        padding: [8, 0, labels ? 0 : 4, 0],
        legend: { show: false },
        scales,
        series: [{}, ...this.lines.map((line) => this.#series(line, scaleOf(line)))],
        axes: [
          { ...axis, splits: (...of) => timeSplits(...of).filter((time) => time <= this.ends), values: (u, at) => at.map((t) => (labels ? toTheMinute(t * 1000) : "")),
            size: labels ? 24 : 4, gap: 4 },
          { ...axis, scale: "y", side: 1, size: RIGHT, gap: 6, space: 30,
            values: (u, at) => at.map((value) => (this.#empty("y") ? "" : panel.axis(Math.abs(value) < 1e-9 ? 0 : value))) },
          this.#left(axis, panel.left),
        ],
        cursor: {
          sync: { key: "day", setSeries: false, scales: ["x", null] },
          drag: { x: drag, y: false, setScale: false },
          points: { size: 6 },
          bind: { dblclick: () => () => { reset(); return null; } },
        },
        select: { show: true },
        hooks: {
          drawClear: below ? [(u) => apart(u, below)] : [],
          drawAxes: [
            ...(halo ? [(u) => halo() && apart(u, () => this.#halo(u))] : []),
            ...this.lines.flatMap((line, k) => (line.columns ? [(u) => apart(u, () => drawColumns(this, u, k + 1, line.colour, line.columns))] : [])),
          ],
          draw: [(u) => this.#zeroLine(u), ...(above ? [(u) => apart(u, above)] : [])],
          setCursor: [(u) => {
            this.#point(u);
            cursor(this, u.cursor.idx, u.cursor.top);
          }],
          setSelect: [(u) => this.#selected(u, zoom)],
        },
      },
      [[], ...this.lines.map(() => [])],
      place,
    );
    // A finger moves the crosshair sideways; up and down it scrolls the page.
    this.plot.over.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") return;
      const box = this.plot.over.getBoundingClientRect();
      lead((event.clientX - box.left) / box.width, event.clientY - box.top);
    });
    this.tag = this.plot.over.appendChild(make("span", "", "tag", { "aria-hidden": "true" }));
    this.observer = new ResizeObserver(() => this.#resize());
    this.observer.observe(place);
  }

  // The left axis, for lines with their own scale. Panels without one keep the space, to stay aligned.
  #left(axis, left) {
    const wide = () => innerWidth >= 760;
    return {
      ...axis, scale: left?.scale ?? "y", side: 3, size: () => (wide() ? LEFT : 4), gap: 6, space: 30,
      stroke: () => colour(left && left.colour !== "faint" ? left.colour : "muted"), grid: { show: false },
      ...(left?.splits && {
        splits: (u, axis, low, high) =>
          this.opened ? left.splits(u, low, high, this.opened, u.bbox.height / devicePixelRatio / 30) : [],
      }),
      values: (u, at) => at.map((value) => (left && wide() && !this.#empty(left.scale) ? left.write(value, this) : "")),
    };
  }

  // Whether no line of a scale has a value: its axis then has no numbers.
  #empty(scale) {
    return !this.lines.some((line, k) => (line.scale ?? "y") === scale && this.plot?.data[k + 1].some((value) => value !== null && value !== undefined));
  }

  #series(line, scale) {
    return {
      scale,
      stroke: () => colour(line.colour),
      width: line.width ?? 1.25,
      dash: line.dash,
      // Columns are drawn under the lines, with the axes.
      paths: line.columns ? () => null : line.step ? levels : line.leaps ? leaping(line.leaps) : undefined,
      fill: line.area ? () => colour(`${line.colour}-area`) : undefined,
      fillTo: line.area ? 0 : undefined,
      points: { show: false, filter: (u, k) => alone(u.data[k]), size: 4, fill: () => colour(line.colour) },
      spanGaps: false,
      show: true,
    };
  }

  #visible(u) {
    const [from, to] = this.span();
    const x = u.data[0];
    let [first, last] = [0, x.length - 1];
    while (first < last && x[first] < from) first++;
    while (last > first && x[last] > to) last--;
    return [first, last];
  }

  // A seam in the panel's colour around each line, so that it is seen on any colour of a heatmap.
  #halo(u) {
    const { ctx, bbox } = u;
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    [ctx.strokeStyle, ctx.lineJoin] = [colour("panel"), "round"];
    const [first, last] = this.#visible(u);
    this.lines.forEach((line, k) => {
      if (u.data[0].length === 0) return;
      const make = line.step ? levels : leaping(line.leaps ?? Infinity);
      const path = make(u, k + 1, Math.max(first - 1, 0), Math.min(last + 1, u.data[0].length - 1));
      ctx.lineWidth = ((line.width ?? 1.25) + 2.5) * devicePixelRatio;
      ctx.globalAlpha = 0.75;
      ctx.stroke(path.stroke);
    });
  }

  // The value at the crosshair's height, on the axis.
  #point(u) {
    if (!this.tag) return;
    const { top, left } = u.cursor;
    const shown = left >= 0 && top >= 0 && this.place.matches(":hover") && !this.#empty("y");
    this.tag.hidden = !shown;
    if (!shown) return;
    this.tag.textContent = this.panel.axis(u.posToVal(top, "y"));
    this.tag.style.top = `${top}px`;
  }

  #zeroLine(u) {
    const { min, max } = u.scales.y;
    if (!this.panel.zero || min === null || min >= 0 || max <= 0) return;
    const y = Math.round(u.valToPos(0, "y", true)) + 0.5;
    u.ctx.save();
    u.ctx.strokeStyle = colour("muted");
    u.ctx.globalAlpha = 0.7;
    u.ctx.beginPath();
    u.ctx.moveTo(u.bbox.left, y);
    u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
    u.ctx.stroke();
    u.ctx.restore();
  }

  #selected(u, zoom) {
    const { left, width } = u.select;
    if (width > 6) zoom(u.posToVal(left, "x"), u.posToVal(left + width, "x"));
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  #resize() {
    const [width, height] = [this.place.clientWidth, this.place.clientHeight];
    if (width > 20 && height > 20 && (width !== this.plot.width || height !== this.plot.height)) {
      this.plot.setSize({ width, height });
    }
  }

  // New columns, aligned with ``x``.
  show(x, values) {
    this.plot.setData([x, ...values]);
    // uPlot writes an axis anew only where its range has changed.
    const blank = [...new Set(this.lines.map((line) => line.scale ?? "y"))].filter((scale) => this.#empty(scale)).join();
    if (blank !== this.#blank) this.plot.redraw(false, true);
    this.#blank = blank;
  }

  redraw() {
    this.plot.redraw(true, true);
  }

  // Returns the x position of a point on the plot. [px]
  leftOf(k) {
    return this.plot.valToPos(this.plot.data[0][k], "x");
  }

  // Moves the crosshair of this chart; uPlot synchronises charts only for a mouse.
  point(left, top) {
    this.plot.setCursor({ left, top });
  }
}

// Finds values between two gaps, which a line would not show: they are drawn as points.
function alone(values) {
  const there = (value) => value !== null && value !== undefined;
  const found = [];
  for (let k = 0; k < values.length; k++) {
    if (there(values[k]) && (k === 0 || values[k - 1] === null) && (k + 1 >= values.length || values[k + 1] === null)) found.push(k);
  }
  return found;
}
