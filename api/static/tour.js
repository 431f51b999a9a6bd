// The tour: names each panel once, with what a trader reads from it. It is offered, never forced, and
// explains whatever is on the page: simulated, live, stored, or nothing yet.

import { byId, write } from "./dom.js";
import { simulated, state } from "./state.js";
import { dayName, span } from "./time.js";

// "taken" or "declined": then the page offers it no more. Help and footer lead to it at any time.
const KEPT = "flow.tour";
const LOOK_MS = 500;

function whatIsShown() {
  const next = "Next, or →, goes on; Esc ends the tour.";
  if (simulated()) return `A simulated market: every price here is made up, by the same formulas as real ones. A simulated day takes minutes. ${next}`;
  const about = state.session?.about;
  if (!state.session?.newest) return `Nothing has been sampled yet: the panels fill with the first sample. ${next}`;
  const delay = about.delay_seconds ? `${span(about.delay_seconds)} behind the market` : "without a declared delay";
  return `${state.session.symbol} on ${dayName(state.session.day)}, as this server sampled it from the feed ${about.feed}, ${delay}. ${next}`;
}

// In the order of the page: the element, the panel's name, and what is read from it.
const STEPS = [
  ["#controls", "What you see", whatIsShown],
  ["#verdict", "Verdict", "Start here. What dealers must do from now on, in words. Every number opens its formula, with this sample's inputs."],
  ["#open-watch", "Watchlist", "All sampled symbols side by side, and ranked. Choose one to see its day."],
  ["#tiles", "Headline figures", "The newest sample in ten numbers, each with its course since the open."],
  [".panel.price", "Price", "Price over a map of strikes by time. Blue strikes dampen moves, hatched orange ones feed them. Walls may hold; across the flip, hedging turns."],
  [".panel.flow", "Hedge flow since the open", "What dealers had to buy or sell because customers traded options. The grey band is what coin tosses alone would give."],
  [".panel.pressure", "Pressure", "The same flow bar by bar: is it pushing now, and is that much for this time of day?"],
  [".panel.exposure", "Exposure", "Net GEX above zero: dealers sell rises and buy falls. Below zero they chase the move."],
  [".panel.pin", "Pin", "How strongly price is held at the magnet strike, and the options market's own odds of settling there."],
  [".panel.vol", "Volatility and charm", "What options cost now, and what dealers must trade merely because time passes."],
  [".box.ladder", "If the price moves", "A table to plan with: at each move, how much dealers would have to buy or sell."],
  ["section[aria-labelledby=alerts-title]", "Alerts", "What has happened today by rules that you set: flips, walls, flow."],
  ["section[aria-labelledby=gaps-title]", "Gaps", "Every slot without a sample, with its reason. Nothing is filled in."],
  ["#futures", "Futures and cash", "The same levels in prices of the future or fund that you trade."],
  ["#projection", "Until the close", "Where gamma and the flip go by time alone, if nobody trades. Not a forecast."],
  ["#history", "Stored days", "Earlier days, drawn over today, and days that opened like this one."],
  ["#scorecard", "Scorecard", "How right the levels were, judged after each close. Too few days: it says nothing yet."],
  ["#bars", "Newest bars as a table", "The numbers behind the charts."],
  ["#open-export", "Export", "Files, a picture, a lasting link, and levels for other programs."],
  ["nav.replay", "Replay", "Any stored day again, at any speed. That was all: the page is yours."],
];

const card = byId("tour"), next = byId("tour-next"), back = byId("tour-back");
let at = 0, opener = null;
const still = matchMedia("(prefers-reduced-motion: reduce)");

function mark(target) {
  const marked = document.querySelector(".toured");
  if (marked === target) return;
  marked?.classList.remove("toured");
  target?.classList.add("toured");
}

// Writes the step, and marks its panel where that is shown; returns the panel then.
function describe() {
  const [selector, name, words] = STEPS[at];
  const target = document.querySelector(selector);
  const there = target.getClientRects().length > 0;
  const text = typeof words === "string" ? words : words();
  const why = selector.startsWith(".panel") ? "Hidden now: choose it under Panels." : "Shown once there is a sample.";
  write(byId("tour-title"), name);
  write(byId("tour-words"), there ? text : `${text} ${why}`);
  write(byId("tour-step"), `${at + 1} of ${STEPS.length}`);
  write(next, at === STEPS.length - 1 ? "Finish" : "Next");
  back.disabled = at === 0;
  mark(there ? target : null);
  return there ? target : null;
}

function show(step) {
  at = Math.min(Math.max(step, 0), STEPS.length - 1);
  const target = describe();
  if (target && getComputedStyle(target).position !== "fixed") target.scrollIntoView({ block: "start", behavior: still.matches ? "auto" : "smooth" });
}

function begin(from = document.activeElement) {
  if (card.open) return;
  opener = from;
  byId("tour-offer").hidden = true;
  document.querySelector("dialog[open]")?.close();
  document.body.classList.add("touring");
  card.show();
  show(0);
  next.focus();
}

function remember(word) {
  byId("tour-offer").hidden = true;
  try {
    localStorage.setItem(KEPT, word);
  } catch {
    // Without storage it is offered again next time.
  }
}

function end() {
  remember("taken");
  card.close();
  mark(null);
  document.body.classList.remove("touring");
  // The address of the page itself: a reload does not begin the tour again.
  if (location.pathname.endsWith("/tour")) history.replaceState(history.state, "", `./${location.hash}`);
  scrollTo({ top: 0, behavior: still.matches ? "auto" : "smooth" });
  const there = opener?.isConnected && opener.getClientRects().length > 0;
  (there ? opener : byId("open-help")).focus({ preventScroll: true });
}

next.addEventListener("click", () => (at === STEPS.length - 1 ? end() : show(at + 1)));
back.addEventListener("click", () => {
  show(at - 1);
  if (back.disabled) next.focus();
});
byId("tour-skip").addEventListener("click", end);
byId("tour-no").addEventListener("click", () => {
  remember("declined");
  byId("open-help").focus();
});
document.addEventListener("keydown", (event) => {
  if (!card.open || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = { ArrowRight: () => next.click(), ArrowLeft: () => show(at - 1), Escape: end }[event.key];
  // A field of the page keeps its own keys while the tour is open.
  if (!act || (event.key !== "Escape" && event.target.matches("input, select, textarea"))) return;
  event.preventDefault();
  act();
});
for (const link of document.querySelectorAll("a[href=tour]")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    begin(link);
  });
}

let kept = null;
try {
  kept = localStorage.getItem(KEPT);
} catch {
  // The browser stores nothing: it is offered each time.
}
byId("tour-offer").hidden = kept !== null;
if (location.pathname.endsWith("/tour")) begin();
// What is shown may change under an open step: the first sample may come, or another day be chosen.
setInterval(() => card.open && describe(), LOOK_MS);
