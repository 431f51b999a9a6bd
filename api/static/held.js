// Walls and magnet as the server holds them: a level moves when another strike has led for two minutes.

import { ask, paths } from "./api.js";
import { moment } from "./time.js";
import { server } from "./state.js";

// A key may have a daily quota: it asks for what the bars themselves do not tell, and not often.
const PAUSE_MS = 120000;
const FAILED_MS = 300000;
// Between two bars that are no farther apart a level whose strike leads in both has not moved.
const SURE_MS = 120000;
const LEVELS = ["call_wall", "put_wall", "magnet"];

let kept = { name: "" };
let next = 0, busy = false, timer = 0;

// Puts the held levels into the bars, and asks for those that are not known; ``changed`` is called
// when they have come. While a replay is playing nothing is asked for.
export function showHeld(session, bars, playing, changed) {
  if (!session) return;
  const name = `${session.symbol} ${session.day} ${session.about.feed} ${session.bar}`;
  if (kept.name !== name) [kept, next] = [{ name, known: new Map() }, 0];
  let missing = false;
  bars.forEach((bar, k) => {
    const before = bars[k - 1];
    const known = kept.known.get(bar.start);
    const sure = before && bar.at - before.at <= SURE_MS && LEVELS.every((level) => before[`held_${level}`] !== undefined && before[`held_${level}`] === bar[level]);
    for (const level of LEVELS) bar[`held_${level}`] = known?.at === bar.at ? known[level] : sure ? bar[level] : undefined;
    missing ||= bar.held_call_wall === undefined;
  });
  if (missing && !playing) want(session, changed);
}

function want(session, changed) {
  if (busy || timer || document.hidden) return;
  const wait = next - performance.now();
  if (wait <= 0) load(session, changed);
  else timer = setTimeout(() => { timer = 0; changed(); }, wait);
}

async function load(session, changed) {
  const mine = kept;
  busy = true;
  try {
    const { symbol, feed, bar, day } = session;
    const body = await ask(paths.heldLevels(symbol, { bar, feed, date: day, minutes: 390 }));
    for (const one of body.bars) mine.known.set(moment(one.t), { ...one, at: moment(one.sampled_at) });
    if (mine === kept) next = performance.now() + PAUSE_MS / Math.max(server.speed, 1);
  } catch {
    // The levels of each sample are shown without it.
    if (mine === kept) next = performance.now() + FAILED_MS;
  }
  busy = false;
  changed();
}
