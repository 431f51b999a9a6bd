// One symbol's session as it is known: bars by time, gaps, and what they are made of.

import { BARS } from "./view.js";
import { moment } from "./time.js";

// The grid of samples.
const SLOT = 30000;

export class Session {
  #bars = new Map();
  #sorted = null;

  // ``body`` is a whole answer of the series, ``feed`` the feed that was asked for; "" for the shown one.
  constructor(body, bar, feed) {
    this.symbol = body.symbol;
    this.feed = feed;
    this.day = body.expiration;
    this.bar = bar;
    this.step = BARS[bar] * 1000;
    this.#take(body);
  }

  #take(body) {
    this.hours = body.session && { open: moment(body.session.open), close: moment(body.session.close) };
    for (const bar of body.bars) this.merge(bar);
    this.gaps = body.gap_intervals.map((gap) => ({ from: moment(gap.from), to: moment(gap.to), reason: gap.reason }));
    this.cursor = body.cursor;
    // The session's first 30 s sample, whatever the bar size: changes since the open count from it.
    this.opening = body.opening && { ...body.opening, at: moment(body.opening.sampled_at) };
    this.reason = body.reason ?? "";
    this.about = body;
  }

  // A later answer with what changed since the cursor.
  update(body) {
    this.#take(body);
  }

  // A bar that has come or changed. A finer bar than ours goes into its bucket; older samples
  // never replace newer ones. Whether anything has changed.
  merge(bar) {
    const start = Math.floor(moment(bar.t) / this.step) * this.step;
    const at = moment(bar.sampled_at ?? bar.t);
    // A stream goes on into the next session, and may begin in the one before.
    if (!this.#within(at)) return false;
    const known = this.#bars.get(start);
    if (known && known.at > at) return false;
    this.#bars.set(start, { ...bar, start, at });
    this.#sorted = null;
    // What has a bar is no gap any more.
    if (this.gaps?.some((gap) => gap.from <= at && at < gap.to)) this.gaps = without(this.gaps, at);
    return true;
  }

  #within(at) {
    return Boolean(this.hours) && this.hours.open <= at && at < this.hours.close;
  }

  addGap(gap) {
    const [from, to] = [moment(gap.from), moment(gap.to)];
    if (!this.#within(from)) return;
    // What was only overdue so far has its reason now.
    for (let at = from; at < to; at += SLOT) this.gaps = without(this.gaps, at);
    const before = this.gaps.find((known) => known.to === from && known.reason === gap.reason);
    if (before) before.to = to;
    else this.gaps.push({ from, to, reason: gap.reason });
    this.gaps.sort((a, b) => a.from - b.from);
  }

  // In order of time.
  get bars() {
    this.#sorted ??= [...this.#bars.values()].sort((a, b) => a.start - b.start);
    return this.#sorted;
  }

  get newest() {
    return this.bars.at(-1) ?? null;
  }

  // The first sample, if it was known at a moment of replay.
  openingAt(until) {
    return this.opening && (until === null || this.opening.at <= until) ? this.opening : null;
  }

  // The gaps that were known at a moment of replay, all of them without one.
  gapsTo(until) {
    if (until === null) return this.gaps;
    const end = Math.floor(until / SLOT) * SLOT + SLOT;
    return this.gaps.filter(({ from }) => from < end).map((gap) => ({ ...gap, to: Math.min(gap.to, end) }));
  }

  // The bars that were known at a moment of replay, all of them without one.
  upTo(until) {
    return until === null ? this.bars : this.bars.filter((bar) => bar.at <= until);
  }
}

function without(gaps, at) {
  return gaps.flatMap((gap) =>
    gap.from <= at && at < gap.to
      ? [{ ...gap, to: at }, { ...gap, from: at + SLOT }].filter((part) => part.from < part.to)
      : [gap]);
}

// Points of a chart: each bar where it was sampled, and an empty one in every gap that is at
// least a bar long, so that no line leads over it.
export function pointsOf(session, bars, shift = 0) {
  const points = bars.map((bar) => ({ x: bar.at + shift, bar }));
  const last = bars.at(-1)?.at ?? 0;
  for (const gap of session.gaps) {
    if (gap.to - gap.from >= session.step && gap.from < last) points.push({ x: gap.from + shift, bar: null });
  }
  return points.sort((a, b) => a.x - b.x);
}

// A line that was broken stays so until its own next point, wherever the other session has some.
function keepBroken(values) {
  let cut = false;
  return values.map((value) => {
    if (value === undefined) return cut ? null : undefined;
    cut = value === null;
    return value;
  });
}

// Columns for the charts: x in seconds and, by field, values. null breaks a line, undefined does
// not: that is a moment at which only the other session has a point.
export function columns(points, others, fields) {
  const moments = others.length ? [...new Set([...points, ...others].map((p) => p.x))].sort((a, b) => a - b) : null;
  const x = moments ?? points.map((point) => point.x);
  const byMoment = moments ? new Map(points.map((point) => [point.x, point])) : null;
  const at = (k) => (moments ? byMoment.get(x[k]) : points[k]);
  const bars = keepBroken(x.map((_, k) => at(k)?.bar));
  const data = { x: x.map((ms) => ms / 1000), bars };
  for (const field of fields) {
    data[field] = bars.map((bar) => (bar === undefined ? undefined : bar === null ? null : (bar[field] ?? null)));
  }
  return data;
}

export function otherColumn(data, others, read) {
  const found = new Map(others.map((point) => [point.x / 1000, point.bar]));
  return keepBroken(data.x.map((x) => found.get(x))).map((bar) => (bar ? read(bar) : bar));
}
