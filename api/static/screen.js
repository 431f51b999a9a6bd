// All panels together: one time axis, one crosshair, one zoom.

import { Chart } from "./chart.js";
import { byId, write } from "./dom.js";
import { words } from "./format.js";
import { Legend } from "./legend.js";
import { FIELDS, METRIC_NAMES, PANELS } from "./panels.js";
import { explainCharts } from "./pointing.js";
import { drawToss, showGauge } from "./pressure.js";
import { gapBands } from "./price.js";
import { PriceMap } from "./pricemap.js";
import { columns, otherColumn, pointsOf } from "./session.js";
import { clock, utc } from "./time.js";

// Flags of samples that the axes do not follow.
const SPIKES = ["spot_spike", "volatility_spike", "revised"];

export class Screen {
  #charts = new Map();
  #legends = new Map();
  #data = null;
  #marked = null;
  #inSight = new Set();
  // What is shown: see ``show``.
  now = null;

  #parts;

  constructor({ span, zoom, reset, move }) {
    this.#parts = { span: () => this.map.span, zoom, reset };
    this.map = new PriceMap({ span, zoom: move, moving: () => this.#moving() });
  }

  // Makes the charts, just before they first show something: without a session they would be drawn empty,
  // and a browser takes longer to put six canvases on the screen than to draw on them.
  #build() {
    const all = {
      ...this.#parts, lead: (share, top) => this.#lead(share, top),
      cursor: (chart, k, top) => this.#cursor(chart, k, top),
    };
    const gaps = (u, context) => this.now?.session && gapBands(u, context, this.now.gaps);
    const special = {
      price: this.map.options,
      flow: {
        below: (u, context) => {
          gaps(u, context);
          if (this.now?.session) drawToss(u, context, this.now.bars, this.now.session.step);
        },
      },
      vol: { labels: true },
    };
    for (const panel of PANELS) {
      const chart = new Chart(panel, byId(`plot-${panel.id}`), { below: gaps, ...all, ...special[panel.id] });
      this.#charts.set(panel.id, chart);
      const lines = chart.lines.map((line, k) => ({ ...line, optional: k === panel.lines.length, compare: k === panel.lines.length }));
      this.#legends.set(panel.id, new Legend(panel, lines));
      chart.plot.over.addEventListener("mouseleave", () => this.unpoint());
    }
    this.map.tie(this.#charts.get("price"));
    explainCharts(this.charts, this.map, () => (this.#marked === null ? this.marked : (this.#data?.bars?.[this.#marked] ?? null)));
    const watch = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this.#inSight[isIntersecting ? "add" : "delete"](target);
    });
    for (const { place } of this.#charts.values()) watch.observe(place);
  }

  get charts() {
    return [...this.#charts.values()];
  }

  // ``{session, bars, until, other, view}`` and the grids by strike: the session's bars up to a moment
  // of replay (null: all), and another session to compare with.
  show(now) {
    if (this.#charts.size === 0) this.#build();
    const { session, bars, other, until } = now;
    // In a replay, of the gaps and of the values by strike only those of before are known.
    this.now = { ...now, gaps: session?.gapsTo(until) ?? [], known: until === null ? null : (bars.at(-1)?.start ?? -Infinity) };
    this.map.now = this.now;
    const shift = other && session.hours ? session.hours.open - other.hours.open : 0;
    const others = other ? pointsOf(other, other.bars, shift) : [];
    const data = session ? columns(pointsOf(session, bars), others, FIELDS) : { x: [] };
    this.#data = data;
    const spikes = (data.bars ?? []).map((bar) => Boolean(bar?.flags?.some((flag) => SPIKES.includes(flag))));
    for (const { panel, lines } of this.#charts.values()) {
      const values = lines.map((line, k) => {
        if (k === panel.lines.length) return this.#then(data, others, line, session, other);
        return data[line.field] ?? [];
      });
      const chart = this.#charts.get(panel.id);
      chart.opened = session?.openingAt(now.until)?.spot;
      chart.values = values;
      chart.spikes = spikes;
      chart.ends = (session?.hours?.close ?? Infinity) / 1000;
      [chart.bars, chart.step] = [data.bars, (session?.step ?? 0) / 1000];
      chart.show(data.x, values);
    }
    // uPlot works its scales out at the end of this turn; what lies beyond them is known then.
    queueMicrotask(() => this.#tell());
    this.#describe();
  }

  // The session that is compared with; its spot is scaled so that both opens coincide.
  #then(data, others, line, session, other) {
    if (!other) return data.x.map(() => undefined);
    const scale = line.field === "spot" && session?.opening && other.opening ? session.opening.spot / other.opening.spot : 1;
    return otherColumn(data, others, (bar) => (bar[line.field] === null ? null : bar[line.field] * scale));
  }

  redraw() {
    for (const chart of this.#charts.values()) chart.redraw();
  }

  // The bar that numbers are shown of: at the crosshair, else the newest.
  get marked() {
    return this.#data?.bars?.[this.#marked] ?? this.now?.bars.at(-1) ?? null;
  }

  // A frame of a drag: the price, and of the other panels those in sight.
  #moving() {
    for (const chart of this.#charts.values()) if (this.#inSight.has(chart.place)) chart.redraw();
  }

  #cursor(chart, k, top) {
    const price = chart.panel.id === "price";
    if (chart.plot.cursor.event && price) this.map.point.top = top;
    const marked = k === null || k === undefined || chart.plot.cursor.left < 0 ? null : k;
    if (marked === this.#marked && !price) return;
    this.#marked = marked;
    this.#pending ??= requestAnimationFrame(() => {
      this.#pending = null;
      this.#tell();
      this.map.drawProfile();
    });
  }

  #pending = null;

  // Values beside the panels, and the moment they are of.
  #tell() {
    const data = this.#data;
    if (!data) return;
    const k = this.#marked;
    Object.assign(this.map.point, { k, bar: k === null ? null : (data.bars[k] ?? null) });
    for (const [id, legend] of this.#legends) {
      const chart = this.#charts.get(id);
      const at = k ?? lastOf(data);
      const { min, max } = chart.plot.scales.y;
      legend.show(chart.values.map((values) => values[at]), [min, max]);
    }
    const bar = this.marked;
    const x = k === null ? bar?.at : data.x[k] * 1000;
    write(byId("moment"), x ? `${clock(x)} ET · ${utc(x)} UTC${k === null ? "" : this.#missing(k)}` : "");
    byId("moment").classList.toggle("at", k !== null);
    this.map.tell();
    showGauge(this.now.bars, k === null ? null : (data.bars[k] ?? {}));
  }

  #missing(k) {
    const x = this.#data.x[k] * 1000;
    const gap = this.#data.bars[k] === null && this.now.gaps.find(({ from, to }) => from <= x && x < to);
    return gap ? ` · no sample: ${words(gap.reason)}` : "";
  }

  // What a screen reader says of each chart.
  #describe() {
    const bar = this.now.bars.at(-1);
    for (const { panel, place } of this.#charts.values()) {
      const said = bar
        ? panel.lines.map((line) => `${line.name} ${line.write(bar[line.field] ?? null)}`).join(", ")
        : "no samples";
      const { metric } = this.now.view;
      const title = panel.id === "price" && metric !== "none" ? `${panel.title}, over ${METRIC_NAMES[metric]} by strike and time` : panel.title;
      place.setAttribute("aria-label", `${title}${bar ? ` at ${clock(bar.at)}` : ""}: ${said}`);
    }
  }

  // The crosshair by keyboard, some bars on or back; says what it stands on.
  walk(by) {
    const bars = this.#data?.bars ?? [];
    if (bars.length === 0) return;
    const last = lastOf(this.#data);
    const from = this.#marked ?? (by < 0 ? last + 1 : last);
    const price = this.#charts.get("price");
    const { over } = price.plot;
    this.#lead(price.leftOf(Math.min(Math.max(from + by, 0), last)) / over.clientWidth, over.clientHeight / 2);
    const bar = this.marked;
    if (bar) write(byId("said"), `${clock(bar.at)}: ${PANELS[0].lines.map((line) => `${line.name} ${line.write(bar[line.field])}`).join(", ")}`);
  }

  unpoint() {
    this.#lead(-1, -10);
  }

  // The crosshair of all charts, at a share of their widths: they have one time axis.
  #lead(share, top) {
    for (const chart of this.#charts.values()) chart.point(share * chart.plot.over.clientWidth, top);
  }
}

// The last point that has a bar of the session itself.
function lastOf(data) {
  return (data.bars ?? []).findLastIndex((bar) => Boolean(bar));
}
