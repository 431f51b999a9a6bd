// Values by strike and time from the heatmap endpoint, kept up to date column by column.

import { ask, paths } from "./api.js";
import { moment } from "./time.js";

// Wait after a failure: redrawing asks for the values many times a second.
const PAUSE_MS = 5000;
// Wait after a refusal: a key's plan does not change soon.
const REFUSED_MS = 300000;

// A grid: strikes ascending, one column a bar.
export class Grid {
  strikes = [];
  #columns = new Map();
  #sorted = null;

  take(body) {
    const merged = [...new Set([...this.strikes, ...body.strikes_grid])].sort((a, b) => a - b);
    const moved = merged.length !== this.strikes.length;
    if (moved) {
      // New strikes were listed: the stored columns move to the rows of the new grid.
      for (const column of this.#columns.values()) column.values = spread(column.values, this.strikes, merged);
      this.strikes = merged;
    }
    const same = body.strikes_grid.length === merged.length;
    for (const bar of body.bars) {
      const start = moment(bar.t);
      const values = same ? Float64Array.from(bar.values) : spread(bar.values, body.strikes_grid, merged);
      this.#columns.set(start, { start, spot: bar.spot, values });
    }
    this.#sorted = null;
  }

  get columns() {
    this.#sorted ??= [...this.#columns.values()].sort((a, b) => a.start - b.start);
    return this.#sorted;
  }

  column(start) {
    return this.#columns.get(start) ?? null;
  }

  // The scale of the colours: the 98.5th percentile of all sizes, so that one outlier does not fade the rest.
  scale(until) {
    const sizes = [];
    for (const column of this.columns) {
      if (until !== null && column.start > until) break;
      for (const value of column.values) if (value !== 0) sizes.push(Math.abs(value));
    }
    if (sizes.length === 0) return 1;
    const sorted = Float64Array.from(sizes).sort();
    return sorted[Math.floor((sorted.length - 1) * 0.985)];
  }
}

function spread(values, from, to) {
  const at = new Map(to.map((strike, k) => [strike, k]));
  const placed = new Float64Array(to.length);
  from.forEach((strike, k) => { placed[at.get(strike)] = values[k]; });
  return placed;
}

// The grids of one session, by metric and mode; the newest columns are asked for as bars arrive.
export class Strikes {
  #grids = new Map();
  #busy = new Set();
  #rests = new Map();

  // ``now`` is the server's time: a window of the endpoint ends there.
  constructor(session, now, changed) {
    this.session = session;
    this.now = now;
    this.changed = changed;
    this.ended = new AbortController();
    // Why the server refuses values by strike to this key.
    this.refused = "";
  }

  get(metric, mode) {
    return this.#grids.get(`${metric} ${mode}`)?.grid ?? null;
  }

  close() {
    this.ended.abort();
  }

  // Takes the answer to a request for the whole session that was started earlier.
  async start(metric, mode, asked) {
    const name = `${metric} ${mode}`;
    this.#busy.add(name);
    const body = await asked.catch((error) => {
      if (error.status === 403) this.#rests.set(name, performance.now() + REFUSED_MS);
      if (error.status === 403) this.refused = error.message;
    });
    this.#busy.delete(name);
    if (body?.bars.length && !this.ended.signal.aborted) {
      const grid = new Grid();
      grid.take(body);
      this.#grids.set(name, { grid, at: moment(body.bars.at(-1).sampled_at) });
    }
    if (!this.ended.signal.aborted) this.changed();
  }

  // Loads a grid, or its new columns, if it is older than the session.
  async want(metric, mode) {
    const name = `${metric} ${mode}`;
    const newest = this.session.newest;
    const kept = this.#grids.get(name);
    if (!newest || this.#busy.has(name) || (kept && kept.at >= newest.at)) return;
    if (performance.now() < (this.#rests.get(name) ?? 0)) return;
    this.#busy.add(name);
    const { symbol, feed, bar, day, step } = this.session;
    // Requests only the columns from the last stored one on, which may still have been growing.
    const last = kept?.grid.columns.at(-1)?.start;
    const until = Math.max(newest.at, Math.min(this.now(), this.session.hours.close));
    const minutes = last === undefined ? 390 : Math.ceil((until - last + 2 * step) / 60000) + 1;
    try {
      const body = await ask(
        paths.heatmap(symbol, { metric, mode, bar, feed, date: day, minutes }), this.ended.signal);
      const grid = kept?.grid ?? new Grid();
      // In delta mode, the first bar of a partial answer is not a change.
      if (kept && mode === "delta") body.bars.shift();
      grid.take(body);
      this.#grids.set(name, { grid, at: newest.at });
    } catch (error) {
      if (this.ended.signal.aborted) return;
      const refused = [401, 403, 429].includes(error.status);
      if (refused) this.refused = error.message;
      this.#rests.set(name, performance.now() + (refused ? REFUSED_MS : PAUSE_MS));
      // The samples were stored without values by strike: retrying would not help.
      if (error.error === "no_strike_data_for_window") this.#grids.set(name, { grid: kept?.grid ?? new Grid(), at: newest.at });
    } finally {
      this.#busy.delete(name);
    }
    if (!this.ended.signal.aborted) this.changed();
  }
}
