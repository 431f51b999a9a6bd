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
  stale: "the feed repeats old quotes; samples are stored again once the quotes change.",
  unknown_symbol: "this symbol was never sampled.",
};

export const view = new View(location.hash);
export const server = new ServerClock();
export const state = { market: null, symbols: [], sessions: [], session: null, other: null, strikes: null, link: "off", dataset: "", trouble: "", note: "" };

export const simulated = () => state.dataset === "synthetic" || state.session?.about.source === "synthetic";
