// Values by strike and time from the heatmap endpoint, kept up to date column by column.

import { ask, paths } from "./api.js";
import { moment } from "./time.js";

// Wait after a failure: redrawing asks for the values many times a second.
const PAUSE_MS = 5000;
// Wait after a refusal: a key's plan does not change soon.
const REFUSED_MS = 300000;
// What part of the price the scale of the colours looks at.
const NEAR = 0.01;
// What the settled book has a value of.
const BOOKED = ["gex", "dex", "vex", "chex", "oi"];

// A grid: strikes ascending, one column a bar.
export class Grid {
  strikes = [];
  // Counts the answers that were taken: what was made of the grid before is old.
  version = 0;
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
      this.#columns.set(start, { start, at: moment(bar.sampled_at), spot: bar.spot, values });
    }
    this.#sorted = null;
    this.version++;
  }

  get columns() {
    this.#sorted ??= [...this.#columns.values()].sort((a, b) => a.start - b.start);
    return this.#sorted;
  }

  column(start) {
    return this.#columns.get(start) ?? null;
  }

  // The newest column that was known at a start of a bar.
  columnBy(start) {
    return this.#columns.get(start) ?? this.columns.findLast((column) => column.start <= start) ?? null;
  }

  // The scale of the colours: the 98.5th percentile of the sizes within 1 % of the price, so that neither one
  // outlier fades the rest nor strikes far off, where there is next to nothing, flood the near ones with colour.
  scale(until) {
    const columns = this.columns.filter(({ start }) => until === null || start <= until);
    const sizes = new Float64Array(columns.length * this.strikes.length);
    let n = 0;
    for (const reach of [NEAR, Infinity]) {
      for (const { values, spot } of n ? [] : columns) {
        const [low, high] = [spot * (1 - reach), spot * (1 + reach)];
        for (let k = 0; k < values.length; k++) {
          if (values[k] !== 0 && this.strikes[k] >= low && this.strikes[k] <= high) sizes[n++] = Math.abs(values[k]);
        }
      }
    }
    return n === 0 ? 1 : ranked(sizes.subarray(0, n), Math.floor((n - 1) * 0.985));
  }
}

// The value that would stand at a place if the numbers were sorted; reorders them. Sorting a whole
// day takes ten times as long.
function ranked(numbers, place) {
  for (let [low, high] = [0, numbers.length - 1]; low < high;) {
    const pivot = numbers[(low + high) >> 1];
    let [i, j] = [low, high];
    while (i <= j) {
      while (numbers[i] < pivot) i++;
      while (numbers[j] > pivot) j--;
      if (i <= j) {
        const kept = numbers[i];
        numbers[i++] = numbers[j];
        numbers[j--] = kept;
      }
    }
    if (place <= j) high = j;
    else if (place >= i) low = i;
    else return numbers[place];
  }
  return numbers[place];
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

  get(metric, mode, book = "live") {
    return this.#grids.get(`${metric} ${mode} ${book}`)?.grid ?? null;
  }

  // The grids that a view shows under and beside the price, and GEX of the live book for the labels;
  // asks for what is missing or old. Beside the price: flow since the open, anything else as it stands.
  of({ metric, mode, beside }) {
    const figure = beside === "volume" ? "volume" : metric === "none" ? "gex" : metric;
    const since = beside === "since_open" || figure === "signed_flow";
    const wanted = {
      gex: ["gex", "raw", "live"],
      under: metric === "none" ? null : [metric, mode, "live"],
      profile: [figure, since ? "since_open" : "raw", beside === "settled" && BOOKED.includes(figure) ? "settled" : "live"],
    };
    const grids = {};
    for (const [name, what] of Object.entries(wanted)) {
      if (what) this.want(...what);
      grids[name] = what && this.get(...what);
    }
    const [, change, book] = wanted.profile;
    return { ...grids, figure, change, book };
  }

  close() {
    this.ended.abort();
  }

  // Takes the answer to a request for the whole session that was started earlier.
  async start(metric, mode, asked) {
    const name = `${metric} ${mode} live`;
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
  async want(metric, mode, book = "live") {
    const name = `${metric} ${mode} ${book}`;
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
        paths.heatmap(symbol, { metric, mode, book: book === "live" ? "" : book, bar, feed, date: day, minutes }), this.ended.signal);
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
