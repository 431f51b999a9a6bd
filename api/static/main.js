// Entry point: loads the chosen session, keeps it up to date, and draws the page.

import { Refused, ask, paths, troubleOf } from "./api.js";
import { Bell } from "./bell.js";
import { Choice } from "./choice.js";
import { cadencesDiffer, loadOther } from "./compare.js";
import { showChosen, showReplay, tie } from "./controls.js";
import { byId, write } from "./dom.js";
import { Explain } from "./explain.js";
import { Feed } from "./feed.js";
import { First } from "./first.js";
import { money, price } from "./format.js";
import { Frames } from "./frames.js";
import { showAbout, showLink, showMarket, showNotice, showSessions, showSimulated, showSymbols } from "./header.js";
import { showLadder } from "./ladder.js";
import { Layout } from "./layout.js";
import { showParts, startParts } from "./parts.js";
import { Replay } from "./replay.js";
import "./scorecard.js";
import { Screen } from "./screen.js";
import { Session } from "./session.js";
import { Starting } from "./starting.js";
import { Snapshots } from "./snapshots.js";
import { REASONS, inHours, live, server, simulated, spanOf, state, view } from "./state.js";
import { Strikes } from "./strikes.js";
import { showGaps, showTable } from "./tables.js";
import { Export } from "./export.js";
import { showTiles } from "./tiles.js";
import "./tour.js";
import { showVerdict } from "./verdict.js";
import { dayName, toTheMinute } from "./time.js";
import { WHOLE } from "./view.js";

const TICK_MS = 1000;
// Requests are rare, because a key may have a daily quota; a simulated day lasts only minutes.
const MARKET_MS = 300000;
const SIMULATED_MARKET_MS = 5000;
const SYMBOLS_MS = 900000;
// After so long out of sight, the server's clock is read anew.
const AWAY_MS = 60000;
// Shorter while nothing is sampled yet: a user is waiting for the first sample, but not all day.
const NO_SYMBOLS_MS = 2000;
const WAITING_MS = 600000;
const NO_SYMBOLS_LATER_MS = 60000;

const replay = new Replay(() => {
  view.set({ at: replay.on && !replay.playing ? `${Math.round(replay.at / 1000)}` : "" }, { quiet: true });
  later();
});
const feed = new Feed({
  hear: (link) => { state.link = link; showLink(link, replay.on); },
  changed: () => { state.trouble = ""; later(); },
  failed: trouble,
  replaced: () => { sessions = askSessions().catch(trouble); load(); },
  isOpen: inHours,
});
const axis = {
  span: () => spanOf(replay.at),
  zoom: (from, to) => view.set({ from: `${Math.round(from)}`, to: `${Math.round(to)}` }),
  reset: () => view.set(WHOLE),
};
const screen = new Screen({ ...axis, move: (pane) => view.set(pane) });
const layout = new Layout({ ...axis, lead: () => {} }, later);
const bell = new Bell(later);
const choice = new Choice(view, load);
const first = new First(load);
const starting = new Starting();
const snapshots = new Snapshots(later);
const shownBars = () => state.session?.upTo(replay.at) ?? [];
new Explain(() => ({ session: state.session, bar: shownBars().at(-1) ?? null }));
// The moment of a replay and its newest bar, null without one.
const replayed = () => (replay.on ? { at: replay.at, bar: shownBars().at(-1) ?? null } : null);
const exporting = new Export(() => ({ session: state.session, bar: shownBars().at(-1), view, replay, screen, simulated: simulated() }));

const frames = new Frames(show, (hidden, away) => {
  // The machine may have slept, and the page's clock with it.
  if (!hidden && away > AWAY_MS) asked.market = -Infinity;
  feed.turn(hidden);
  if (hidden) {
    first.stop();
  } else if (state.session && !live() && !view.day && !first.waiting) {
    first.wait();
  }
});

function later() {
  frames.later();
}

function show() {
  const { session, other, strikes } = state;
  const until = replay.at;
  const bars = shownBars();
  const bar = bars.at(-1) ?? null;
  const unlike = session && other ? cadencesDiffer(state.sessions, session.day, other.day) : "";
  const snapshot = snapshots.of(session, bar, replay);
  showParts(session, bars, until, replay.playing, later);
  showVerdict(session, bar, snapshot, replay.on);
  showLadder(session, snapshot);
  showTiles(bars, session?.openingAt(until) ?? null);
  screen.show({
    session, bars, until, other: unlike ? null : other,
    ...strikes?.of(view), view, refused: strikes?.refused ?? "",
  });
  showChosen(view);
  showReplay(replay, session);
  showAbout(session, state.sessions, view.feed, replay.on ? bar ?? {} : null);
  showLink(state.link, replay.on);
  showSimulated(simulated());
  if (state.market) showMarket(state.market, server, session, replayed());
  starting.show(state.market, session, simulated());
  document.body.classList.toggle("pending", choice.pending);
  showNotice([choice.notice(session), starting.note(state, session), unlike, state.trouble].filter(Boolean).join(" "));
  bell.show(until);
  layout.show(until);
  showTable(bars);
  showGaps(session, until);
  write(byId("heading"), session ? `${session.symbol}, ${dayName(session.day)}` : "Zero-DTE Flow");
  // A hidden page is some minutes late, so its title says when.
  document.title = bar ? `${session.symbol} ${price(bar.spot)} · ${money(bar.net_gex)}${document.hidden ? ` at ${toTheMinute(bar.at)}` : ""}` : "Zero-DTE Flow";
}

const compare = () => loadOther(later, trouble);
function askForKey(error) {
  if (error instanceof Refused && error.status === 401 && !byId("key-dialog").open) byId("key-dialog").showModal();
}

function trouble(error) {
  askForKey(error);
  state.trouble = troubleOf(error);
  later();
}

let loading = 0;
// Promise of the list of stored sessions while it is loading.
let sessions = null;

// Loads the chosen session; if today has no samples yet, the newest stored session instead.
async function load() {
  const [mine, wanted] = [++loading, choice.begin()];
  [state.note, state.trouble] = ["", ""];
  feed.stop();
  first.stop();
  if (!view.symbol) {
    choice.done(wanted);
    state.note = "Nothing has been sampled yet. Start a sampler; this page then updates by itself.";
    return later();
  }
  const get = (day) => ask(paths.series(view.symbol, { bar: view.bar, feed: view.feed, date: day }));
  // Starts both requests at once; the heatmap of a session without samples is empty.
  const values = (day) => ask(paths.heatmap(view.symbol, { metric: "gex", mode: "raw", bar: view.bar, feed: view.feed, date: day }));
  try {
    const day = view.day || state.market.session.date;
    let early = values(day);
    early.catch(() => {});
    let body = await get(day);
    let note = "";
    if (body.bars.length === 0) {
      note = `${body.symbol}, ${day}${view.feed && `, feed ${view.feed}`}: ${REASONS[body.reason] ?? "no samples."}`;
      await sessions;
      const older = state.sessions.map((one) => one.date).filter((one) => one < day).sort().at(-1);
      if (!view.day && older) {
        early = values(older);
        early.catch(() => {});
        body = await get(older);
        note += ` Showing the newest stored session, ${older}.`;
      }
    }
    if (mine !== loading) return;
    choice.done(wanted);
    accept(body, note, early);
  } catch (error) {
    if (mine !== loading) return;
    askForKey(error);
    choice.failed(error);
    later();
  }
}

function accept(body, note, early) {
  const same = state.session?.symbol === body.symbol && state.session.day === body.expiration;
  // A new day may have brought symbols that were not sampled before.
  if (state.session && !same) asked.symbols = -Infinity;
  const stood = view.at ? Number(view.at) * 1000 : same ? replay.at : null;
  state.strikes?.close();
  state.session = new Session(body, view.bar, view.feed);
  state.strikes = new Strikes(state.session, () => server.now(), later);
  state.strikes.start("gex", "raw", early);
  replay.load(state.session, null);
  if (stood) replay.seek(stood);
  frames.hold(Promise.all([early.catch(() => {}), startParts(state.session, shownBars(), later)]));
  [state.note, state.trouble] = [note, ""];
  if (live()) feed.follow(state.session);
  else if (!view.day) first.wait();
  later();
}

async function askMarket() {
  const before = state.market?.session.date;
  state.market = await ask(paths.market());
  server.observe(state.market.server_time);
  return before !== undefined && before !== state.market.session.date;
}

async function askSymbols() {
  const body = await ask(paths.symbols());
  [state.symbols, state.indices, state.dataset] = [body.symbols, body.indices ?? [], body.dataset ?? ""];
  const none = !view.symbol;
  if (none && body.symbols.length) view.set({ symbol: body.symbols.includes("SPX") ? "SPX" : body.symbols[0] }, { quiet: true });
  showSymbols(body.symbols, view.symbol);
  return none && Boolean(view.symbol);
}

async function askSessions() {
  if (!view.symbol) return;
  const { symbol, feed: chosen } = view;
  // A symbol that was never sampled has no sessions.
  const body = state.symbols.includes(symbol) ? await ask(paths.sessions(symbol, { feed: chosen })) : { sessions: [] };
  if (symbol !== view.symbol || chosen !== view.feed) return;
  state.sessions = body.sessions;
  showSessions(body.sessions, view, state.market?.session.date);
}

// Whether the market has opened or closed since it was asked for.
function turned() {
  const { market } = state;
  if (!market || performance.now() - asked.market < 2 * TICK_MS) return false;
  return server.now() >= Date.parse(market.state === "open" ? market.next_close : market.next_open);
}

let asked = { market: -Infinity, symbols: -Infinity }, busy = false;

// Runs once a second; requests only what is due.
async function tick() {
  if (state.market && server.known) showMarket(state.market, server, state.session, replayed());
  if (busy || byId("key-dialog").open) return;
  bell.look(state.session, { live: live() && inHours(), spare: ["live", "resting"].includes(state.link), speed: Math.max(server.speed, 1) });
  busy = true;
  const now = performance.now();
  try {
    let anew = false;
    const without = now < WAITING_MS ? NO_SYMBOLS_MS : NO_SYMBOLS_LATER_MS;
    if (now - asked.symbols > (state.symbols.length ? SYMBOLS_MS : without)) {
      asked.symbols = now;
      anew = await askSymbols();
      if (state.market) await askSessions();
    }
    if (now - asked.market > (server.speed > 1.5 ? SIMULATED_MARKET_MS : MARKET_MS) || turned()) {
      asked.market = now;
      anew = (await askMarket()) && !view.day || anew;
      // Today's first sample may have been stored since.
      if (!view.day && state.session && state.session.day !== state.market.session.date) anew = true;
    }
    if (starting.due(state.market, now)) {
      // What starts has no other samples to ask for; the newest session changes once a market opens.
      anew = (await askMarket()) && !view.day || anew;
      later();
    }
    if (anew) await Promise.all([(sessions = askSessions()), load()]);
    if (state.trouble && !live()) [state.trouble] = [""], later();
  } catch (error) {
    trouble(error);
  } finally {
    busy = false;
  }
}

async function begin() {
  try {
    const known = Promise.all([askMarket(), askSymbols(), globalThis.early?.ready]);
    frames.hold(known);
    await known;
    // Asks a second time soon, to measure how fast the server's clock runs.
    asked = { market: performance.now() - MARKET_MS + 2000, symbols: performance.now() };
    sessions = askSessions();
    const loaded = load();
    frames.hold(loaded);
    await Promise.all([sessions, loaded, compare()]);
  } catch (error) {
    trouble(error);
  }
}

view.listen(async (changed) => {
  if (changed.has("symbol") || changed.has("feed")) {
    showSymbols(state.symbols, view.symbol);
    sessions = askSessions().catch(trouble);
  }
  showSessions(state.sessions, view, state.market?.session.date);
  if (["symbol", "feed", "day", "bar"].some((name) => changed.has(name))) load();
  else if (changed.has("at") && view.at) replay.seek(Number(view.at) * 1000);
  if (["symbol", "feed", "compare", "bar"].some((name) => changed.has(name))) compare();
  later();
});
tie({ view, replay, screen, exporting, sessions: () => state.sessions.map((one) => one.date).sort(), again: begin });
byId("bars").addEventListener("toggle", later);
showChosen(view);
write(byId("link"), "Connecting");
begin();
setInterval(tick, TICK_MS);
