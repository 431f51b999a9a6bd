// Flip, walls and magnet as the server holds them: a level moves when another one has led for two minutes.

import { ask, paths } from "./api.js";
import { moment } from "./time.js";
import { server } from "./state.js";

// A key may have a daily quota: it asks for what the bars themselves do not tell, and not often.
const PAUSE_MS = 60000;
const FAILED_MS = 300000;
// No level moves before another one has led for so long, and a slot is the shortest step.
const HOLD_MS = 120000;
const SLOT_MS = 30000;
// A flip that moves by more than this part of itself in a slot is another one.
const LEAP = 0.005;
// A level that may have moved meanwhile is shown for so long, until the server has been asked.
const LAST_MS = 300000;
const LEVELS = ["gamma_flip", "call_wall", "put_wall", "magnet"];

const there = (value) => value !== null && value !== undefined;

// Returns the level to show of a bar: as it is held, or the sample's own where that is not known yet.
export function levelOf(bar, field) {
  const held = bar[`held_${field}`];
  return held === undefined ? bar[field] : held;
}

// Returns the sample's own level where it differs from the one that is shown, else null.
export function ownOf(bar, field) {
  const own = bar[field];
  return there(own) && own !== levelOf(bar, field) ? own : null;
}

// Whether a sample's level speaks for another one than the held; undefined where more samples would tell.
function rival(field, own, held, slots) {
  if (field !== "gamma_flip" || !there(own) || !there(held)) return own !== held;
  const step = Math.abs(own - held) / held;
  return step <= LEAP ? false : step > 1.1 * LEAP * slots ? true : undefined;
}

// Returns what a level is by the sample before, since when it is not the sample's own, and up to when that is
// sure: nothing can have moved it within two minutes. Later than that it is the one that was known last.
function follow(field, bar, before) {
  const [own, held] = [bar[field], before?.levels[field]];
  if (!there(own)) return [null, bar.at, bar.at];
  if (held === undefined) return [undefined, -Infinity, -Infinity];
  const next = bar.at - before.at <= SLOT_MS;
  if (held === null) return next ? [own, bar.at, bar.at] : [undefined, -Infinity, -Infinity];
  const [agreed, sure] = [before.agreed?.[field] ?? -Infinity, before.sure?.[field] ?? before.at];
  const other = rival(field, own, held, Math.max((bar.at - before.at) / SLOT_MS, 1));
  if (other === false && (next || bar.at - agreed <= HOLD_MS)) return [own, bar.at, bar.at];
  if (other && bar.at - agreed <= HOLD_MS) return [held, agreed, bar.at];
  return bar.at - sure <= LAST_MS ? [held, agreed, sure] : [undefined, -Infinity, -Infinity];
}

const byField = (read) => Object.fromEntries(LEVELS.map((field) => [field, read(field)]));

// The held levels of one session.
export class Held {
  // A bucket's start → its last sample: its levels, and of each what ``follow`` returns beside it.
  #known = new Map();
  #name = "";
  #next = 0;
  #busy = false;

  // Puts the levels into the bars; returns whether some are not surely known.
  put(session, bars) {
    const name = `${session.symbol} ${session.day} ${session.about.feed} ${session.bar}`;
    if (this.#name !== name) [this.#name, this.#known, this.#next] = [name, new Map(), 0];
    let missing = false;
    let before = null;
    for (const bar of bars) {
      let known = this.#known.get(bar.start);
      if (known?.at !== bar.at) {
        const last = known && known.at < bar.at ? known : before;
        const made = byField((field) => follow(field, bar, last));
        const later = known?.at > bar.at;
        known = { at: bar.at, levels: byField((field) => made[field][0]), agreed: byField((field) => made[field][1]), sure: byField((field) => made[field][2]) };
        // A replay may show less of a bucket than what is known of it.
        if (!later) this.#known.set(bar.start, known);
      } else if (!known.agreed) {
        known.agreed = byField((field) => (rival(field, bar[field], known.levels[field], 1) ? (before?.agreed?.[field] ?? -Infinity) : bar.at));
      }
      for (const field of LEVELS) {
        bar[`held_${field}`] = known.levels[field];
        missing ||= known.sure !== undefined && known.sure[field] !== bar.at;
      }
      before = known;
    }
    return missing;
  }

  // How long until it may ask; 0 if at once. [ms]
  get wait() {
    return this.#busy ? Infinity : Math.max(this.#next - performance.now(), 0);
  }

  async load(session) {
    const name = this.#name;
    this.#busy = true;
    try {
      const { symbol, feed, bar, day } = session;
      const body = await ask(paths.heldLevels(symbol, { bar, feed, date: day, minutes: 390 }));
      if (name === this.#name) {
        for (const one of body.bars) this.#known.set(moment(one.t), { at: moment(one.sampled_at), levels: one });
        this.#next = performance.now() + PAUSE_MS / Math.max(server.speed, 1);
      }
    } catch {
      // The levels of each sample are shown without it.
      if (name === this.#name) this.#next = performance.now() + FAILED_MS;
    }
    this.#busy = false;
  }
}

const shown = new Held();
let timer = 0;

// Puts the held levels into the bars of the session that is shown, and asks for those that are not known;
// ``changed`` is called when they have come. While a replay is playing nothing is asked for.
export function showHeld(session, bars, playing, changed) {
  if (!session || !shown.put(session, bars) || playing || timer || document.hidden) return;
  const { wait } = shown;
  if (wait === 0) shown.load(session).then(changed);
  else if (wait < Infinity) timer = setTimeout(() => { timer = 0; changed(); }, wait);
}

// The held levels of several sessions, asked for one after the other.
export class HeldOfMany {
  #held = new Map();
  #wanted = new Map();
  #busy = false;

  constructor(changed) {
    this.changed = changed;
  }

  put(session, bars) {
    if (!this.#held.has(session.symbol)) this.#held.set(session.symbol, new Held());
    if (this.#held.get(session.symbol).put(session, bars)) this.#wanted.set(session.symbol, session);
    else this.#wanted.delete(session.symbol);
  }

  // Once a second: asks for one that is due, of those that are shown.
  async look(symbols) {
    if (this.#busy || document.hidden) return;
    const name = symbols.find((symbol) => this.#wanted.has(symbol) && this.#held.get(symbol).wait === 0);
    if (name === undefined) return;
    this.#busy = true;
    await this.#held.get(name).load(this.#wanted.get(name));
    this.#busy = false;
    this.changed();
  }
}
