// What the page knows: what is chosen, what the server says, and the sessions on the screen.

import { ServerClock } from "./time.js";
import { View } from "./view.js";

// Why a session has no samples, as the end of a sentence.
export const REASONS = {
  no_zero_dte: "nothing of this symbol expires on this day.",
  before_open: "the session has not begun for this feed.",
  holiday: "the market was closed, a holiday.",
  closed: "there was no session, or nothing of it was sampled.",
  not_sampled: "no sampler has stored anything of this session yet.",
  stale: "the feed's quotes stand still; nothing is stored until they move again.",
  unknown_symbol: "this symbol was never sampled.",
};

export const view = new View(location.hash);
export const server = new ServerClock();
export const state = { market: null, symbols: [], sessions: [], session: null, other: null, strikes: null, link: "off", dataset: "", trouble: "", note: "" };

export const simulated = () => state.dataset === "synthetic" || state.session?.about.source === "synthetic";
