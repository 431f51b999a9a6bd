// Pressure: hedge flow per bar, its rate, where both stand among stored sessions, and its noise.

import { ask, paths } from "./api.js";
import { byId, colour, make, write } from "./dom.js";
import { money, percent } from "./format.js";
import { clock, moment } from "./time.js";
import { inHours, live, server, state } from "./state.js";

// Of a live session it asks rarely, because a key may have a daily quota; more so where the page polls.
const LIVE_MS = 150000;
const ALONE_MS = 600000;
const FAILED_MS = 60000;
const REFUSED_MS = 300000;

// What a session's bars have from the answer.
const FIELDS = ["hedge_flow_se", "percentile", "sessions", "rate_per_minute", "rate_percentile", "rate_sessions", "classified_share", "multi_leg_share"];

let kept = { name: "" };
let asked = -Infinity, rests = -Infinity, timer = 0, busy = false;

// Puts what is known of pressure into the bars, shows the gauge, and asks for what is due; ``changed``
// is called when it has come. ``playing`` says that a replay is running: nothing is asked for then.
export function showPressure(session, bars, playing, changed) {
  if (!session) return;
  const name = `${session.symbol} ${session.day} ${session.about.feed} ${session.bar}`;
  if (kept.name !== name) {
    kept = { name, known: new Map(), newest: -Infinity, answer: null };
    asked = rests = -Infinity;
  }
  bars.forEach((bar, k) => {
    const before = bars[k - 1];
    const known = kept.known.get(bar.start);
    for (const field of FIELDS) bar[field] = known?.at === bar.at ? known[field] : null;
    bar.flow_bar = bar.hedge_flow_cumulative_all - (before?.hedge_flow_cumulative_all ?? 0);
    bar.flow_rate = bar.rate_per_minute === null ? null : (bar.rate_per_minute * session.step) / 60000;
    // A column that has the flow of missing bars too is drawn as an outline.
    bar.flow_hole = Boolean(before) && bar.start - before.start > session.step;
  });
  if (session.newest && session.newest.at > kept.newest && !playing) want(session, changed);
}

function want(session, changed) {
  if (document.hidden || busy || timer) return;
  const pause = live() && inHours() && kept.answer ? (state.link === "live" ? LIVE_MS : ALONE_MS) / Math.max(server.speed, 1) : 0;
  const wait = Math.max(asked + pause, rests) - performance.now();
  const { known } = kept;
  const go = () => {
    timer = 0;
    if (known === kept.known) load(session, changed);
    else changed();
  };
  if (wait > 0) timer = setTimeout(go, wait);
  else go();
}

async function load(session, changed) {
  [busy, asked] = [true, performance.now()];
  const mine = kept;
  const { symbol, feed, bar, day, step, newest } = session;
  const last = Math.max(...mine.known.keys());
  const until = Math.max(newest.at, Math.min(server.now(), session.hours.close));
  const minutes = mine.known.size ? Math.min(Math.ceil((until - last + 2 * step) / 60000) + 1, 390) : 390;
  try {
    const body = await ask(paths.pressure(symbol, { bar, feed, date: day, minutes }));
    for (const one of body.bars) mine.known.set(moment(one.t), { ...one, at: moment(one.sampled_at) });
    [mine.newest, mine.answer] = [newest.at, body];
  } catch (error) {
    rests = performance.now() + ([401, 403, 429].includes(error.status) ? REFUSED_MS : FAILED_MS);
  }
  busy = false;
  changed();
}

const there = (value) => value !== null && value !== undefined;

// Returns what a percentile says in words; ``[more, less]`` are the two verbs.
export function placeWords(place, sessions, least, [more, less]) {
  if (!there(place)) return sessions ? `${sessions} stored session${sessions === 1 ? " compares" : "s compare"}, fewer than ${least}: that says nothing yet` : "no stored session compares";
  const share = Math.floor(place >= 50 ? place : 100 - place);
  return `${place >= 50 ? more : less} than on ${share === 100 ? "all" : `${share} %`} of ${sessions} stored sessions`;
}

function showMeter(id, place) {
  const mark = byId(id).firstElementChild;
  byId(id).classList.toggle("none", !there(place));
  mark.style.left = `${there(place) ? place : 50}%`;
}

let built = false;

function build() {
  built = true;
  for (const id of ["meter-flow", "meter-rate"]) byId(id).append(make("i"));
}

// The gauge beside the panel: of the bar at the crosshair, without one of the newest bar that it is known of.
export function showGauge(bars, pointed) {
  if (!built) build();
  const newest = bars.findLast((one) => there(one.hedge_flow_se)) ?? null;
  const bar = pointed ?? newest;
  const { answer } = kept;
  byId("gauge").hidden = !newest;
  if (!newest || !answer) return;
  for (const id of ["gauge-flow", "gauge-rate", "gauge-shares"]) byId(id).dataset.at = bar.at ?? "";
  if (!there(bar.hedge_flow_se)) {
    write(byId("gauge-of"), bar.at ? `Not known of ${clock(bar.at)} yet` : "No sample");
    for (const id of ["meter-flow", "meter-rate"]) showMeter(id, null);
    for (const id of ["gauge-flow", "gauge-rate", "gauge-shares"]) write(byId(id), "");
    return;
  }
  const least = answer.least_sessions;
  write(byId("gauge-of"), `At ${clock(bar.at)}, by this time of day`);
  showMeter("meter-flow", bar.percentile);
  showMeter("meter-rate", bar.rate_percentile);
  write(byId("gauge-flow"), `Since the open: ${placeWords(bar.percentile, bar.sessions, least, ["more bought", "more sold"])}`);
  const rate = there(bar.rate_per_minute) ? `${money(bar.rate_per_minute)} a minute: ` : "";
  write(byId("gauge-rate"), `${rate}${there(bar.rate_per_minute) ? placeWords(bar.rate_percentile, bar.rate_sessions, least, ["faster buying", "faster selling"]) : "no rate in the first ten minutes"}`);
  const noise = Math.abs(bar.hedge_flow_cumulative_all) / bar.hedge_flow_se;
  const toss = bar.hedge_flow_se > 0 ? `${noise.toFixed(1)} times its coin-toss size` : "";
  const legs = there(bar.multi_leg_share) ? `${percent(bar.multi_leg_share * 100, 0)} legs of spreads` : "legs of spreads not known";
  const sides = there(bar.classified_share) ? `${percent(bar.classified_share * 100, 0)} with known side` : "";
  write(byId("gauge-shares"), [toss, sides, legs].filter(Boolean).join(" · "));
}

// The band that flow would have if the side of every trade were a coin toss: one standard deviation.
export function drawToss(u, context, bars, step) {
  let run = [];
  const paint = () => {
    if (run.length > 1) {
      context.beginPath();
      for (const [sign, points] of [[1, run], [-1, [...run].reverse()]]) {
        for (const bar of points) context.lineTo(u.valToPos(bar.at / 1000, "x", true), u.valToPos(sign * bar.hedge_flow_se, "y", true));
      }
      context.fill();
    }
    run = [];
  };
  context.beginPath();
  context.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  context.clip();
  context.fillStyle = colour("cone");
  for (const bar of bars) {
    if (run.length && (!there(bar.hedge_flow_se) || bar.start - run.at(-1).start > step)) paint();
    if (there(bar.hedge_flow_se)) run.push(bar);
  }
  paint();
}
