// All panels together: one time axis, one crosshair, one zoom.

import { Chart } from "./chart.js";
import { byId, sharp, write } from "./dom.js";
import { strike, words } from "./format.js";
import { Heatmap, strikeRange, writeCell } from "./heatmap.js";
import { Legend } from "./legend.js";
import { FIELDS, METRIC_NAMES, PANELS, meansOf } from "./panels.js";
import { drawToss } from "./pressure.js";
import { coneOf, drawCone, drawCrossings, gapBands, gapReasons, regimeBands } from "./price.js";
import { drawProfile } from "./profile.js";
import { columns, otherColumn, pointsOf } from "./session.js";
import { Tags, tagsOf } from "./tags.js";
import { clock, utc } from "./time.js";

const HEAT = {
  id: "heat", title: "Heatmap", axis: strike, grid: false,
  lines: [{ field: "spot", name: "Spot", colour: "text", width: 1.75, write: strike }],
};

// Flags of samples that the axes do not follow.
const SPIKES = ["spot_spike", "volatility_spike", "revised"];

export class Screen {
  #charts = new Map();
  #legends = new Map();
  #heatmap = new Heatmap();
  #tags = null;
  #data = null;
  #marked = null;
  #top = 0;
  // What is shown: see ``show``.
  now = null;

  constructor({ span, zoom, reset }) {
    const all = {
      span, zoom, reset, lead: (left, top) => this.#lead(left, top),
      cursor: (chart, k, top) => this.#cursor(chart, k, top),
    };
    const gaps = (u, context) => this.now?.session && gapBands(u, context, this.now.gaps);
    const special = {
      price: {
        labels: true,
        extra: (scale) => (scale === "y" ? this.#coneEdges() : []),
        below: (u, context) => {
          if (!this.now?.session) return;
          regimeBands(u, context, this.now.bars, this.now.session.step);
          gaps(u, context);
          gapReasons(u, context, this.now.gaps);
          drawCone(u, context, this.#cone());
        },
        above: (u, context) => {
          if (this.now?.session) drawCrossings(u, context, this.now.bars);
          this.#drawProfile();
          this.#placeTags();
        },
      },
      heat: {
        range: () => (this.now?.grid ? strikeRange(this.now.bars, this.now.grid.strikes) : null),
        below: (u, context) => {
          this.#drawHeat(u, context);
          gaps(u, context);
        },
      },
      flow: {
        below: (u, context) => {
          gaps(u, context);
          if (this.now?.session) drawToss(u, context, this.now.bars, this.now.session.step);
        },
      },
      vol: { labels: true },
    };
    for (const panel of [...PANELS.slice(0, 4), HEAT, ...PANELS.slice(4)]) {
      const chart = new Chart(panel, byId(`plot-${panel.id}`), { below: gaps, ...all, ...special[panel.id] });
      this.#charts.set(panel.id, chart);
      const lines = chart.lines.map((line, k) => ({ ...line, optional: k === panel.lines.length, compare: k === panel.lines.length }));
      if (panel.id !== "heat") this.#legends.set(panel.id, new Legend(panel, lines));
      chart.plot.over.addEventListener("mouseleave", () => this.unpoint());
    }
    new ResizeObserver(() => this.#drawProfile()).observe(byId("profile"));
  }

  get charts() {
    return [...this.#charts.values()];
  }

  // ``{session, bars, until, other, grid, gex, metric, mode}``: the session's bars up to a moment
  // of replay (null: all), another session to compare with, and the grids by strike.
  show(now) {
    const { session, bars, other, until } = now;
    // In a replay, of the gaps and of the values by strike only those of before are known.
    this.now = { ...now, gaps: session?.gapsTo(until) ?? [], known: until === null ? null : (bars.at(-1)?.start ?? -Infinity) };
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
      [chart.bars, chart.step] = [data.bars, (session?.step ?? 0) / 1000];
      chart.show(data.x, values);
    }
    // uPlot works its scales out at the end of this turn; what lies beyond them is known then.
    queueMicrotask(() => this.#tell());
    this.#describe();
  }

  #paintHeat() {
    const { session, grid, metric, mode, known } = this.now ?? {};
    return Boolean(session) && this.#heatmap.paint(grid, session.hours, session.step, `${metric} ${mode}`, known);
  }

  // The session that is compared with; its spot is scaled so that both opens coincide.
  #then(data, others, line, session, other) {
    if (!other) return data.x.map(() => undefined);
    const scale = line.field === "spot" && session?.opening && other.opening ? session.opening.spot / other.opening.spot : 1;
    return otherColumn(data, others, (bar) => (bar[line.field] === null ? null : bar[line.field] * scale));
  }

  redraw() {
    for (const chart of this.#charts.values()) chart.redraw();
    this.#drawProfile();
  }

  // The bar that numbers are shown of: at the crosshair, else the newest.
  get marked() {
    return this.#data?.bars?.[this.#marked] ?? this.now?.bars.at(-1) ?? null;
  }

  #cone() {
    const { bars, session, until } = this.now;
    const live = until !== null || session.newest?.at < session.hours?.close;
    return live && session.hours ? coneOf(bars.at(-1), session.hours.close) : [];
  }

  #coneEdges() {
    if (!this.now?.session) return [];
    const [from, to] = this.#charts.get("price").span();
    return this.#cone().filter(({ x }) => x >= from * 1000 && x <= to * 1000).flatMap(({ low, high }) => [low, high]);
  }

  #drawHeat(u, context) {
    if (this.#paintHeat()) this.#heatmap.draw(u, context, this.now.session.hours);
  }

  // The levels of the newest bar, also while the crosshair stands on another one.
  #placeTags() {
    const price = this.#charts.get("price");
    if (!price) return;
    this.#tags ??= new Tags(price.plot);
    const { gex, bars } = this.now ?? {};
    const bar = bars?.at(-1) ?? null;
    this.#tags.show(tagsOf(bar, bar && gex?.column(bar.start), gex?.strikes ?? []), bar?.spot);
  }

  #drawProfile() {
    const canvas = byId("profile");
    const { gex, session } = this.now ?? {};
    const bar = this.marked;
    const price = this.#charts.get("price");
    if (!gex || !bar || !price) {
      sharp(canvas, canvas.clientWidth, canvas.clientHeight);
      return;
    }
    const column = gex.column(bar.start) ?? gex.columns.findLast(({ start }) => start <= bar.start);
    drawProfile(canvas, price.plot, gex, column, bar.spot, session);
  }

  #cursor(chart, k, top) {
    if (chart.plot.cursor.event) this.#top = chart.panel.id === "heat" ? top : this.#top;
    const marked = k === null || k === undefined || chart.plot.cursor.left < 0 ? null : k;
    if (marked === this.#marked && chart.panel.id !== "heat") return;
    this.#marked = marked;
    this.#pending ??= requestAnimationFrame(() => {
      this.#pending = null;
      this.#tell();
      this.#drawProfile();
    });
  }

  #pending = null;

  // Values beside the panels, and the moment they are of.
  #tell() {
    const data = this.#data;
    if (!data) return;
    const k = this.#marked;
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
    this.#tellHeat(bar);
  }

  #missing(k) {
    const x = this.#data.x[k] * 1000;
    const gap = this.#data.bars[k] === null && this.now.gaps.find(({ from, to }) => from <= x && x < to);
    return gap ? ` · no sample: ${words(gap.reason)}` : "";
  }

  #tellHeat(bar) {
    const { grid, metric, session } = this.now ?? {};
    const chart = this.#charts.get("heat");
    const [plus, minus] = meansOf(metric ?? "gex", this.now?.mode);
    const painted = this.#paintHeat();
    byId("heat-none").hidden = painted || !this.now?.bars.length;
    write(byId("heat-none"), this.now?.refused || "No values by strike for this session.");
    const scale = this.#heatmap.scale;
    write(byId("heat-high"), painted ? `${writeCell(metric, scale)} ${plus}` : "");
    write(byId("heat-low"), painted && minus ? `${writeCell(metric, -scale)} ${minus}` : "0");
    byId("heat-scale").classList.toggle("one", !minus);
    const column = grid && bar && session ? grid.column(bar.start) : null;
    if (!column || this.#marked === null || !chart.place.matches(":hover") || grid.strikes.length === 0) return write(byId("heat-cell"), "");
    const level = chart.plot.posToVal(this.#top, "y");
    const row = this.#heatmap.nearest(Number.isFinite(level) ? level : bar.spot);
    return write(byId("heat-cell"), `${strike(grid.strikes[row])}: ${writeCell(metric, column.values[row])}`);
  }

  // What a screen reader says of each chart.
  #describe() {
    const bar = this.now.bars.at(-1);
    for (const { panel, place } of this.#charts.values()) {
      const said = bar
        ? panel.lines.map((line) => `${line.name} ${line.write(bar[line.field] ?? null)}`).join(", ")
        : "no samples";
      const title = panel.id === "heat" ? `Heatmap of ${METRIC_NAMES[this.now.metric]} by strike` : panel.title;
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
    this.#lead(price.leftOf(Math.min(Math.max(from + by, 0), last)), price.plot.over.clientHeight / 2);
    const bar = this.marked;
    if (bar) write(byId("said"), `${clock(bar.at)}: ${PANELS[0].lines.map((line) => `${line.name} ${line.write(bar[line.field])}`).join(", ")}`);
  }

  unpoint() {
    this.#lead(-10, -10);
  }

  // The crosshair of all charts; they are as wide as each other.
  #lead(left, top) {
    for (const chart of this.#charts.values()) chart.point(left, top);
  }
}

// The last point that has a bar of the session itself.
function lastOf(data) {
  return (data.bars ?? []).findLastIndex((bar) => Boolean(bar));
}
