// The price chart as a map of strikes by time: a heatmap under price, levels and cone, and beside it the
// profile of one moment on the same axis. Wheel, drag and pinch move it.

import { byId, sharp, write } from "./dom.js";
import { strike } from "./format.js";
import { listen } from "./gestures.js";
import { Heatmap, nearestRow, strikeRange, writeCell } from "./heatmap.js";
import { BESIDE_NAMES, METRIC_NAMES, meansOf } from "./panels.js";
import { coneOf, drawCone, drawCrossings, gapBands, gapGround, gapReasons, regimeBands } from "./price.js";
import { drawProfile } from "./profile.js";
import { Tags, besideLabels, tagsOf } from "./tags.js";
import { clock } from "./time.js";

// Under a heatmap, the regime is a ribbon at the foot. [px]
const RIBBON = 9;
// The narrowest window: so many bars, and so much of the price.
const FEWEST_BARS = 10;
const NARROWEST = 0.0008;
// Beside the session's strikes, so much of the price can be seen when nothing is stored by strike.
const ROOM = 0.05;
// A session's last sample comes this long before its close. [ms]
const LAST_MS = 30000;

// The figure whose part by strike a cell is.
const FIGURE_OF = {
  gex: "net_gex", dex: "net_dex", vex: "net_vex", chex: "net_chex", oi: "total_oi", volume: "total_volume",
  signed_flow: "hedge_flow_cumulative_all",
};
// The same of the settled book, which has calls and puts apart; ``#`` is the side that is out of the money.
const BOTH_SIDES = "The bar beside the price is calls and puts together; this is the side that is out of the money. The other one can be chosen above.";
const SETTLED_OF = { gex: ["settled_#_gex", BOTH_SIDES], dex: ["settled_#_dex", BOTH_SIDES], vex: ["settled_vex", ""], chex: ["settled_chex", ""], oi: ["total_oi", ""] };

export class PriceMap {
  #heatmap = new Heatmap();
  #tags = null;
  #drag = null;
  #frame = 0;
  chart = null;
  now = null;
  // Where the crosshair stands: index, bar (null: in a gap) and height; index null without one.
  point = { k: null, bar: null, top: 0 };

  // ``span`` is the time axis without the drag that is going on; ``zoom`` stores a window, and ``moving``
  // draws the other panels during a drag.
  constructor({ span, zoom, moving }) {
    Object.assign(this, { storedSpan: span, zoom, moving });
    new ResizeObserver(() => this.drawProfile()).observe(byId("profile"));
    byId("profile").addEventListener("pointermove", (event) => this.#fromProfile(event));
    byId("profile").addEventListener("pointerleave", () => this.#fromProfile(null));
  }

  // What the chart of the price needs beside what all charts need.
  get options() {
    return {
      labels: true, drag: false, halo: () => this.#shown,
      extra: (scale) => (scale === "y" ? this.#coneEdges() : []),
      range: (fitted) => this.#heights(fitted),
      below: (u, context) => this.#below(u, context),
      above: (u, context) => {
        if (this.now?.session) drawCrossings(u, context, this.now.bars);
        this.drawProfile();
        this.#placeTags();
      },
    };
  }

  tie(chart) {
    this.chart = chart;
    this.#tags = new Tags(chart.plot);
    listen(chart, {
      pane: () => this.#pane, limits: () => this.#limits,
      moved: (pane, heights) => this.#moved(pane, heights),
      settled: () => this.#settled(),
    });
  }

  get span() {
    if (this.#drag) return [this.#drag.from, this.#drag.to];
    const { from, to } = this.now?.view ?? {};
    return from && to ? this.storedSpan() : this.#beside(this.storedSpan());
  }

  #beside(span) {
    const { bars, session, until } = this.now ?? {};
    // Of a day that is over, all of the width is its prices'.
    if (!this.chart || !bars?.length || (until === null && session.newest.at >= session.hours?.close - LAST_MS)) return span;
    return besideLabels(span, bars.at(-1).at / 1000, this.#levels(), this.chart.plot.bbox.width / devicePixelRatio);
  }

  // The levels of the newest bar, also while the crosshair stands on another one.
  #levels() {
    const { gex, bars } = this.now ?? {};
    const bar = bars?.at(-1) ?? null;
    return tagsOf(bar, bar && gex?.column(bar.start), gex?.strikes ?? []);
  }

  get #shown() {
    return Boolean(this.now?.session && this.#paint());
  }

  #paint() {
    const { session, under, known, view } = this.now;
    return this.#heatmap.paint(under, session.hours, session.step, view.tone, known);
  }

  // The heights: of the drag, of the view if there is anything, or what price, cone and near levels need.
  #heights(fitted) {
    if (this.#drag?.high) return [this.#drag.low, this.#drag.high];
    const { view, under, bars } = this.now ?? {};
    if (!bars?.length) return fitted;
    const [low, high] = [Number(view.low), Number(view.high)];
    const limits = this.#limits;
    if (view.high && low < high && limits && low < limits.strike[1] && high > limits.strike[0]) return [low, high];
    const [from, to] = this.span;
    // The fitting range leaves spikes and outliers out; so does what is made wider.
    const usual = bars.filter(({ spot }) => spot >= fitted[0] && spot <= fitted[1]);
    const inside = usual.filter(({ at }) => at >= from * 1000 && at <= to * 1000);
    const wide = under && strikeRange(inside.length ? inside : usual, under.strikes);
    return wide ? [Math.min(fitted[0], wide[0]), Math.max(fitted[1], wide[1])] : fitted;
  }

  get #pane() {
    const { min: low, max: high } = this.chart.plot.scales.y;
    if (!this.now?.bars.length || low === null || low === undefined) return null;
    const [from, to] = this.span;
    return { from, to, low, high };
  }

  get #limits() {
    const { session, bars, under, gex } = this.now ?? {};
    const strikes = (under ?? gex)?.strikes ?? [];
    if (!session?.hours || !bars.length) return null;
    const { spot } = bars.at(-1);
    const ends = strikes.length ? [strikes[0], strikes.at(-1)] : [spot, spot];
    return {
      time: this.#beside([session.hours.open / 1000, session.hours.close / 1000]),
      strike: [Math.min(ends[0], spot * (1 - ROOM)), Math.max(ends[1], spot * (1 + ROOM))],
      shortest: Math.max((FEWEST_BARS * session.step) / 1000, 300), lowest: spot * NARROWEST,
    };
  }

  #moved(pane, heights) {
    const fixed = heights || this.#drag?.high || this.now.view.high;
    this.#drag = fixed ? pane : { from: pane.from, to: pane.to };
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#drag) this.moving();
    });
  }

  // The address has the window once it rests: browsers limit how often it may change.
  #settled() {
    const { from, to, low, high } = this.#drag ?? {};
    if (from === undefined) return;
    const [open, close] = this.now?.session?.hours ? [this.now.session.hours.open / 1000, this.now.session.hours.close / 1000] : [from, to];
    const whole = from <= open + 1 && to >= close - 1;
    const heights = high === undefined ? { low: "", high: "" } : { low: low.toFixed(2), high: high.toFixed(2) };
    this.#drag = null;
    this.zoom({ from: whole ? "" : `${Math.round(from)}`, to: whole ? "" : `${Math.round(to)}`, ...heights });
  }

  #cone() {
    const { bars, session, until } = this.now;
    const live = until !== null || session.newest?.at < session.hours?.close;
    return live && session.hours ? coneOf(bars.at(-1), session.hours.close) : [];
  }

  #coneEdges() {
    if (!this.now?.session) return [];
    const [from, to] = this.span;
    return this.#cone().filter(({ x }) => x >= from * 1000 && x <= to * 1000).flatMap(({ low, high }) => [low, high]);
  }

  #below(u, context) {
    const { session, bars, gaps } = this.now ?? {};
    if (!session) return;
    const heated = this.#shown;
    if (heated) {
      this.#heatmap.draw(u, context, session.hours);
      gapGround(u, context, gaps);
    }
    regimeBands(u, context, bars, session.step, heated ? RIBBON * devicePixelRatio : null);
    gapBands(u, context, gaps);
    gapReasons(u, context, gaps);
    drawCone(u, context, this.#cone());
  }

  #placeTags() {
    const bar = this.now?.bars.at(-1);
    this.#tags?.show(this.#levels(), bar?.spot, bar?.at);
  }

  // The values beside the price and the moment that they are of; null where there is none.
  #profile() {
    const { profile: grid, bars, view } = this.now;
    const { k, bar } = this.point;
    const newest = bars.at(-1);
    if (!grid || !newest || (k !== null && !bar)) return null;
    const column = grid.columnBy((bar ?? newest).start);
    if (!column) return null;
    if (view.beside !== "since_crosshair") return { column, values: column.values };
    const last = grid.columnBy(newest.start);
    return k === null ? null : { column, values: last.values.map((value, row) => value - column.values[row]) };
  }

  drawProfile() {
    const canvas = byId("profile");
    const { bars, view, profile: grid, figure, book, change } = this.now ?? {};
    const drawn = this.chart && bars?.length ? this.#profile() : null;
    const what = figure && METRIC_NAMES[figure];
    const name = !what ? "" : book === "settled" ? `${what}, settled book` : change === "since_open" ? `${what} since the open` : what;
    const none = this.point.k === null ? "Point at a bar" : "No sample";
    const title = !what ? "" : view.beside === "since_crosshair"
      ? (drawn ? `${what} since ${clock(drawn.column.at)}` : `${none}: ${BESIDE_NAMES.since_crosshair.toLowerCase()}`)
      : drawn ? `${name}, ${clock(drawn.column.at)}` : this.point.k !== null ? "No sample" : "";
    write(byId("profile-of"), title);
    canvas.setAttribute("aria-label", title ? `By strike, on the price's axis: ${title}` : "Profile by strike: no values");
    if (!drawn) return void sharp(canvas, canvas.clientWidth, canvas.clientHeight);
    const row = this.#row(grid);
    drawProfile(canvas, this.chart.plot, {
      strikes: grid.strikes, values: drawn.values, spot: (this.point.bar ?? bars.at(-1)).spot, row,
      write: (value) => writeCell(figure, value), tone: view.tone,
    });
  }

  // What explains the cell under the pointer, or that of the price; null where nothing is under the price.
  cell(atPrice) {
    const { under, view, bars } = this.now ?? {};
    if (!under || !this.#shown) return null;
    const bar = this.point.k === null ? bars.at(-1) : this.point.bar;
    const row = atPrice && bar ? nearestRow(under.strikes, bar.spot) : this.#row(under);
    if (!bar || row === null || !under.column(bar.start)) return null;
    const note = view.mode === "raw" ? "" : view.mode === "delta" ? "The cell is the change of this figure in the bar." : "The cell is the change of this figure since the open.";
    return { figure: FIGURE_OF[view.metric], at: bar.at, strike: `${under.strikes[row]}`, note };
  }

  // The same of the profile beside the price.
  profileCell(atPrice) {
    const { profile: grid, figure, book, bars, change, view } = this.now ?? {};
    const drawn = grid && bars?.length ? this.#profile() : null;
    if (!drawn) return null;
    const bar = this.point.bar ?? bars.at(-1);
    const row = atPrice ? nearestRow(grid.strikes, bar.spot) : this.#row(grid);
    if (row === null) return null;
    const strike = grid.strikes[row];
    const changes = change === "since_open" || view.beside === "since_crosshair";
    if (book !== "settled") return { figure: FIGURE_OF[figure], at: bar.at, strike: `${strike}`, note: changes ? "The bar beside the price is a change of this figure." : "" };
    const [name, note] = SETTLED_OF[figure];
    const sided = name.replace("#", strike < bar.spot ? "put" : "call");
    return { figure: sided, at: bar.at, strike: `${strike}`, note };
  }

  // The strike under the pointer, in the chart or in the profile.
  #row(grid) {
    const { plot, place } = this.chart;
    if (!place.matches(":hover") && !byId("profile").matches(":hover")) return null;
    const level = plot.posToVal(this.point.top, "y");
    return Number.isFinite(level) && grid.strikes.length ? nearestRow(grid.strikes, level) : null;
  }

  #fromProfile(event) {
    const { over } = this.chart.plot;
    this.point.top = event ? event.clientY - over.getBoundingClientRect().top : 0;
    this.drawProfile();
  }

  // The scale of the colours, and the cell under the pointer.
  tell() {
    const { under, bars, view, refused, session } = this.now ?? {};
    if (!session) return;
    const painted = this.#shown;
    const { metric, mode } = view;
    byId("heat-none").hidden = painted || metric === "none" || !bars.length;
    write(byId("heat-none"), refused || "No values by strike for this session.");
    const [plus, minus] = metric === "none" ? ["", ""] : meansOf(metric, mode);
    const { scale } = this.#heatmap;
    byId("heat-scale").hidden = !painted;
    write(byId("heat-high"), painted ? `${writeCell(metric, scale)} ${plus}` : "");
    write(byId("heat-low"), painted && minus ? `${writeCell(metric, -scale)} ${minus}` : "0");
    byId("heat-scale").classList.toggle("one", !minus);
    const { k, bar } = this.point;
    const column = painted && bar ? under.column(bar.start) : null;
    const row = column && k !== null && this.chart.place.matches(":hover") ? this.#row(under) : null;
    write(byId("heat-cell"), row === null ? "" : `${strike(under.strikes[row])}: ${writeCell(metric, column.values[row])}`);
    if (row !== null) Object.assign(byId("heat-cell").dataset, { figure: FIGURE_OF[metric], at: `${bar.at}`, strike: `${under.strikes[row]}` });
  }
}
