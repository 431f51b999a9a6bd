// What the page says while the product starts: the sampler compiles the formulas, once on a machine, and a
// simulated market waits for it.

import { byId, write } from "./dom.js";
import { dayName } from "./time.js";

// How often the page asks how far it is; two answers so far apart tell how fast the server's clock runs.
const LOOK_MS = 1600;
// For so long after a start the page looks for the open.
const OPENS_MS = 60000;
// For so long it asks again in any case: a clock that stood runs now, and two answers tell how fast.
const RUNS_MS = 4 * LOOK_MS;

export class Starting {
  #asked = -Infinity;
  #started = -Infinity;

  // Whether something still starts, by the server's last answer.
  static of(market) {
    return Boolean(market && (market.waiting || market.formulas));
  }

  // Whether to ask again now.
  due(market, now) {
    const starts = Starting.of(market);
    if (starts) this.#started = now;
    const opens = now - this.#started < (market?.state === "open" ? RUNS_MS : OPENS_MS);
    if (!(starts || opens) || now - this.#asked < LOOK_MS) return false;
    this.#asked = now;
    return true;
  }

  // The page's note of a session that is not there, unless the line of the start says why.
  note({ note, market }, session) {
    return Starting.of(market) && (market.waiting || !session) ? "" : note;
  }

  show(market, session, simulated) {
    byId("starting").hidden = !Starting.of(market);
    if (!Starting.of(market)) return;
    const { formulas, waiting } = market;
    const stored = waiting && session?.newest
      ? `You see ${simulated ? "a simulated" : "the stored"} session of ${dayName(session.day)}, ${session.day.slice(0, 4)}. ` : "";
    const what = formulas ? "The formulas are being compiled, once on this machine" : "The sampler starts";
    const then = waiting ? "today's simulated session begins then, on this page" : "samples come then";
    write(byId("starting-words"), `${stored}${what}; ${then}.`);
    const part = byId("starting-part");
    part.hidden = !formulas;
    if (formulas) [part.max, part.value] = [formulas.total, formulas.done];
    write(byId("starting-time"), formulas ? `${formulas.done} of ${formulas.total} parts, ${formulas.seconds} of about ${formulas.expected_seconds} s` : "");
  }
}
