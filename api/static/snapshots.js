// The snapshot of the sample that is shown: what the bars do not have, such as hedging after a move.

import { ask, paths } from "./api.js";
import { inHours, live, server, state } from "./state.js";

// Moving through a replay asks for nothing until the moment stands still for so long.
const STILL_MS = 400;
// Quotes lie nearer to their own slot than to the next one.
const NEAREST_MS = 14000;
const FAILED_MS = 60000;
// Of a live session it asks rarely, because a key may have a daily quota; more so where the page polls.
const LIVE_MS = 60000;
const ALONE_MS = 300000;

export class Snapshots {
  #latest = null;
  #wanted = "";
  #asked = -Infinity;
  #timer = 0;
  #busy = false;
  #rests = -Infinity;

  constructor(changed) {
    this.changed = changed;
  }

  // Returns the newest snapshot at hand that was known at a bar, asking for the bar's own one if that is
  // due: never while a replay is playing.
  of(session, bar, replay) {
    if (!session || !bar) return null;
    const name = `${session.symbol} ${session.day} ${session.about.feed}`;
    const latest = this.#latest?.name === name && this.#latest.slot <= bar.at ? this.#latest : null;
    if (latest?.slot !== bar.at && !replay.playing) this.#want(session, bar, name, latest && !replay.on ? this.#pause : STILL_MS);
    return latest;
  }

  get #pause() {
    if (!live() || !inHours()) return STILL_MS;
    return Math.max((state.link === "live" ? LIVE_MS : ALONE_MS) / Math.max(server.speed, 1), STILL_MS);
  }

  #want(session, bar, name, pause) {
    const wanted = `${name} ${bar.at}`;
    if (wanted === this.#wanted || document.hidden) return;
    this.#wanted = wanted;
    clearTimeout(this.#timer);
    const wait = Math.max(this.#asked + pause, this.#rests + FAILED_MS, performance.now() + (pause === STILL_MS ? STILL_MS : 0)) - performance.now();
    this.#timer = setTimeout(() => this.#load(session, bar, name), Math.max(wait, 0));
  }

  async #load(session, bar, name) {
    if (this.#busy) {
      this.#timer = setTimeout(() => this.#load(session, bar, name), STILL_MS);
      return;
    }
    [this.#busy, this.#asked] = [true, performance.now()];
    try {
      const at = new Date(bar.at + NEAREST_MS).toISOString();
      const body = await ask(paths.snapshot(session.symbol, { at, feed: session.feed }));
      if (body.slot) this.#latest = { name, slot: Date.parse(body.slot), body };
    } catch {
      // The figures of the bars are shown without it.
      this.#rests = performance.now();
      this.#wanted = "";
    }
    this.#busy = false;
    this.changed();
  }
}
