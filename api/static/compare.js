// The session to compare with: loaded beside the shown one, and whether the two compare.

import { ask, paths } from "./api.js";
import { Session } from "./session.js";
import { REASONS, state, view } from "./state.js";

// Two sessions have one cadence if neither was sampled so many times less often.
const SAME_CADENCE = 1.5;

// Returns why two sessions do not compare: one was sampled less often, so its flow says less.
export function cadencesDiffer(stored, day, other) {
  const [here, there] = [day, other].map((date) => stored.find((one) => one.date === date)?.cadence_seconds);
  if (!here || !there || Math.max(here, there) <= SAME_CADENCE * Math.min(here, there)) return "";
  return `${day} was sampled every ${here} s, ${other} every ${there} s: only sessions of one cadence compare.`;
}

// Loads the chosen session; ``changed`` is called when it is there or gone, ``failed`` with an error.
export async function loadOther(changed, failed) {
  state.other = null;
  changed();
  if (!view.compare || !view.symbol) return;
  const chosen = () => `${view.symbol} ${view.feed} ${view.compare} ${view.bar}`;
  const wanted = chosen();
  try {
    const body = await ask(paths.series(view.symbol, { bar: view.bar, feed: view.feed, date: view.compare }));
    if (wanted !== chosen()) return;
    if (body.bars.length) state.other = new Session(body, view.bar, view.feed);
    else state.note = `${body.symbol}, ${view.compare}: ${REASONS[body.reason] ?? "no samples."}`;
  } catch (error) {
    failed(error);
  }
  changed();
}
