// What is wanted and what is shown are two things: the figures are always those of the session that
// has been loaded last, and a choice of another one is only wanted until that one is here.

import { Refused, why } from "./api.js";

// A failed load is tried again after so long, each time twice as long.
const FIRST_MS = 1000;
const LONGEST_MS = 60000;

const keyOf = (view) => `${view.symbol} ${view.feed} ${view.day} ${view.bar}`;
const named = ({ symbol, feed, day, bar }) => `${symbol}, ${day || "the newest session"}, bars of ${bar}${feed ? `, feed ${feed}` : ""}`;

export class Choice {
  #shown = "";
  #timer = 0;
  #wait = FIRST_MS;
  #tried = "";
  #failure = "";

  // ``load`` loads what the view wants.
  constructor(view, load) {
    this.view = view;
    this.load = load;
  }

  // A load begins; returns what it is of.
  begin() {
    clearTimeout(this.#timer);
    const wanted = keyOf(this.view);
    if (wanted !== this.#tried) [this.#wait, this.#failure] = [FIRST_MS, ""];
    this.#tried = wanted;
    return wanted;
  }

  // What was wanted is shown from now on.
  done(wanted) {
    [this.#shown, this.#failure, this.#wait] = [wanted, "", FIRST_MS];
  }

  // The load has failed: it is tried again, unless the server has refused it for good.
  failed(error) {
    this.#failure = why(error);
    if (error instanceof Refused && error.status < 500 && error.status !== 429) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.load, this.#wait);
    this.#failure += " Trying again.";
    this.#wait = Math.min(this.#wait * 2, LONGEST_MS);
  }

  // Whether what is shown is not what is wanted.
  get pending() {
    return Boolean(this.view.symbol) && keyOf(this.view) !== this.#shown;
  }

  // What a reader must know of that, "" where what is shown is what is wanted.
  notice(session) {
    if (!this.pending) return "";
    const wanted = named(this.view);
    const state = this.#failure ? `${wanted} cannot be shown: ${this.#failure}` : `Loading ${wanted}.`;
    return session ? `${state} The figures below are still those of ${named(session)}.` : state;
  }
}
