// The sessions of several symbols, by one request for all of them, kept up to date by another one.

import { ask, paths } from "./api.js";
import { Session } from "./session.js";
import { inHours, server } from "./state.js";

const MINUTES = 390;
// A key may have a daily quota.
const CLOSED_MS = 900000;
const FAILED_MS = 30000;

export class Many {
  #wanted = "";
  #symbols = [];
  #cursor = "";
  #next = 0;
  #busy = false;
  sessions = new Map();
  trouble = "";

  // ``changed`` is called when something new has come; ``pause``: time between two requests. [ms]
  constructor(changed, pause) {
    this.changed = changed;
    this.pause = pause;
  }

  // Follows some symbols' sessions of a day; an empty list follows nothing.
  follow(symbols, bar, day) {
    const wanted = `${symbols.join()} ${bar} ${day}`;
    if (wanted === this.#wanted) return;
    [this.#wanted, this.#symbols, this.#cursor, this.#next, this.trouble] = [wanted, symbols, "", 0, ""];
    [this.bar, this.day] = [bar, day];
    this.sessions = new Map();
    this.look();
  }

  // Asks if that is due; a hidden page asks for nothing.
  async look() {
    if (this.#busy || !this.#symbols.length || !this.day || document.hidden || performance.now() < this.#next) return;
    const wanted = this.#wanted;
    this.#busy = true;
    try {
      const body = await ask(paths.many(this.#symbols, { bar: this.bar, minutes: MINUTES, date: this.day, since: this.#cursor }));
      if (wanted === this.#wanted) this.#take(body);
    } catch (error) {
      if (wanted === this.#wanted) {
        this.trouble = error.message;
        this.#next = performance.now() + FAILED_MS;
        this.changed();
      }
    }
    this.#busy = false;
    // Others may have been chosen meanwhile.
    if (wanted !== this.#wanted) this.look();
  }

  #take(body) {
    for (const each of body.series) {
      const known = this.sessions.get(each.symbol);
      if (known && known.about.feed === each.feed) known.update(each);
      else if (each.bars.length) this.sessions.set(each.symbol, new Session(each, this.bar, ""));
      // What is new of another feed is not all that there is of it.
      if (known && known.about.feed !== each.feed) this.#cursor = null;
    }
    this.#next = this.#cursor === null ? 0 : performance.now() + (inHours() ? Math.max(this.pause / Math.max(server.speed, 1), 2000) : CLOSED_MS);
    if (this.#cursor === null) this.sessions = new Map();
    this.#cursor = this.#cursor === null ? "" : body.cursor;
    this.trouble = "";
    this.changed();
  }
}
