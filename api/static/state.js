// The page's state: the user's choices, the server's answers, and the sessions on the screen.

import { ServerClock } from "./time.js";
import { View } from "./view.js";

// Why a session has no samples, by the answer's `reason`; each ends a sentence.
export const REASONS = {
  no_zero_dte: "nothing of this symbol expires on this day.",
  before_open: "the feed has not reached the session's open yet.",
  holiday: "the market was closed for a holiday.",
  closed: "the market was closed, or no sample of the session was stored.",
  not_sampled: "no sampler has stored a sample of this session yet.",
  spooled: "the samples wait at the sampler until the database takes them.",
  stale: "the feed repeats old quotes; samples are stored again once the quotes change.",
  unknown_symbol: "this symbol was never sampled.",
};

export const view = new View(location.hash);
export const server = new ServerClock();
export const state = { market: null, symbols: [], indices: [], sessions: [], session: null, other: null, strikes: null, link: "off", dataset: "", trouble: "", note: "" };

export const simulated = () => state.dataset === "synthetic" || state.session?.about.source === "synthetic";

// Data are late when they are this much older than the feed's declared delay.
export const LATE_MS = 120000;

// A delayed feed's rows come for so long after the close.
const AFTER_CLOSE_MS = 1500000;
const BEFORE_OPEN_MS = 60000;
// The window from the open begins with so much.
const FIRST_WINDOW_MS = 1800000;

// Whether rows may come: the market is open, or has just closed.
export function inHours() {
  if (!state.market) return false;
  const { open, close } = state.market.session;
  return server.now() < Date.parse(close) + AFTER_CLOSE_MS && server.now() > Date.parse(open) - BEFORE_OPEN_MS;
}

// Whether today's session is shown.
export const live = () => state.session !== null && state.session.day === state.market?.session.date;

// Returns the range of the time axis of all panels; ``replayAt`` is null without a replay. [unix seconds]
export function spanOf(replayAt) {
  if (view.from && view.to) return [Number(view.from), Number(view.to)];
  const { session, market } = state;
  const hours = session?.hours ?? (market && { open: Date.parse(market.session.open), close: Date.parse(market.session.close) });
  if (!hours) return [0, 1];
  if (!view.window) return [hours.open / 1000, hours.close / 1000];
  const newest = replayAt ?? session?.newest?.at ?? hours.close;
  if (view.window === "auto") {
    const passed = Math.max(newest - hours.open, 0);
    return [hours.open / 1000, Math.min(hours.open + Math.max(passed * 1.15, FIRST_WINDOW_MS), hours.close) / 1000];
  }
  const wide = Number(view.window) * 60000;
  // Leaves room to the right of the newest bar for the cone of the expected move.
  const end = Math.min(Math.max(newest + wide * 0.12, hours.open + wide), hours.close);
  return [(end - wide) / 1000, end / 1000];
}
