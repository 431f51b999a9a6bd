// The top line: symbol and session, market hours, age of the data, and the state of the connection.

import { byId, options, write } from "./dom.js";
import { percent, words } from "./format.js";
import { LATE_MS } from "./state.js";
import { clock, countdown, dayName, dayOf, moment, span } from "./time.js";

const STATES = { open: "Open", pre: "Before the open", closed: "Closed", holiday: "Holiday" };
const LINKS = {
  off: ["Not updating", ""], connecting: ["Connecting", ""], live: ["Live", "good"],
  resting: ["Resting while hidden", ""], reconnecting: ["Reconnecting", "warn"], polling: ["Polling", "warn"],
};

function pill(id, text, kind = "") {
  const node = byId(id);
  write(node, text);
  node.className = `pill ${kind}`;
}

// ``replayed``: the moment of a replay and its newest bar, null without one.
export function showMarket(market, server, followed, replayed) {
  const now = server.now();
  const stored = market.state === "open" && followed && followed.day !== market.session.date;
  if (market.waiting) {
    pill("market", "Today has not begun");
    write(byId("clock"), "");
    return pill("age", "");
  }
  const [next, word] = market.state === "open" ? [market.next_close, "closes"] : [market.next_open, "opens"];
  const today = `${STATES[market.state]}, ${word} in ${countdown((moment(next) - now) / 1000)}`;
  pill("market", stored ? `Stored session of ${dayName(followed.day)}` : today, market.state === "open" && !stored ? "good" : "");
  write(byId("clock"), `${dayOf(now)}, ${clock(now)} New York`);
  byId("clock").title = `${new Date(now).toISOString().slice(0, 19).replace("T", " ")} UTC, the server's time${server.speed > 1.5 ? `, running ${Math.round(server.speed)} times as fast` : ""}`;
  if (replayed) showReplayedAge(followed, replayed);
  else showAge(market, now, followed);
}

// In a replay the data are as old as they were at its moment.
function showReplayedAge(session, { at, bar }) {
  document.body.classList.remove("stale");
  if (!bar) return pill("age", "No sample yet at this moment", "warn");
  const late = at - bar.at > LATE_MS + session.step;
  return pill("age", `Data ${span(Math.max(at - bar.at, 0) / 1000)} old at ${clock(at)}`, late ? "warn" : "");
}

function showAge(market, now, session) {
  const newest = session?.about.newest;
  if (!newest || session.day !== market.session.date) return pill("age", "");
  const quoted = Math.max(moment(newest), session.newest?.at ?? 0);
  const seconds = Math.max((now - quoted) / 1000, 0);
  const late = market.state === "open" && seconds > (session.about.delay_seconds ?? 0) + LATE_MS / 1000;
  const last = session.gaps.at(-1);
  const why = late && last && session.newest && last.from > session.newest.at ? last.reason : "";
  const reason = why ? `: ${why === "stale" ? "the feed is not updating" : words(why)}` : "";
  const text = late ? `STALE, data ${span(seconds)} old${reason}` : market.state === "open" ? `Data ${span(seconds)} old` : `Last sample ${clock(quoted)}`;
  pill("age", text, late ? "bad loud" : market.state === "open" ? "good" : "");
  document.body.classList.toggle("stale", late);
}

// Returns the feed's name; which feed it stands in for, or which other ones are stored of the day.
function feedWords(feed, chosen, stored) {
  if (!chosen && stored?.first_feed && stored.first_feed !== feed) return `Feed ${feed} in place of ${stored.first_feed}`;
  const others = (stored?.feeds ?? []).filter((name) => name !== feed);
  return `Feed ${feed}${others.length ? ` (also stored: ${others.join(", ")})` : ""}`;
}

// ``replayed`` is the newest bar of a replay: the share of known sides is the one of that moment then.
export function showAbout(session, sessions, chosen, replayed) {
  const about = session?.about;
  showFeeds(session, sessions, chosen);
  const parts = [];
  if (about?.feed) {
    const stored = sessions.find((one) => one.date === session.day);
    parts.push(`${feedWords(about.feed, session.feed, stored)}${about.delay_seconds ? `, ${span(about.delay_seconds)} behind` : ""}`);
  }
  const share = (replayed || about)?.classified_share;
  if (share !== null && share !== undefined) {
    parts.push(`${percent(share * 100)} of volume with known side`);
  }
  write(byId("source"), parts.join(" · "));
  const more = [];
  if (about?.flow_since) more.push(`Hedge flow counts from ${clock(moment(about.flow_since))}`);
  if (about?.oi_confidence) more.push(`${percent(about.oi_confidence * 100, 0)} of signed volume counted as new positions`);
  if (about) more.push(`Formulas version ${about.definitions}`, `Server ${about.data_as_of.node}`);
  write(byId("made-of"), more.join(" · "));
}

export function showLink(state, replaying) {
  if (replaying) return pill("link", "Replay", "warn");
  pill("link", ...LINKS[state]);
}

export function showSimulated(is) {
  byId("simulated").hidden = !is;
}

export function showSymbols(symbols, chosen) {
  const names = [...new Set([...symbols, ...(chosen ? [chosen] : [])])];
  options(byId("symbol"), names.map((name) => [name, name]), chosen);
}

// Lists the stored sessions, newest first, and the chosen one even if it is not stored.
export function showSessions(sessions, view, current) {
  const known = new Map(sessions.map((one) => [one.date, one.coverage_pct]));
  const named = (day) => {
    const share = known.get(day);
    const part = share === undefined || share === null || share > 99 || day === current ? "" : ` (${Math.floor(share)} %)`;
    return `${dayName(day)}${day.slice(0, 4) === current?.slice(0, 4) ? "" : `, ${day.slice(0, 4)}`}${part}`;
  };
  const days = [...new Set([...known.keys(), ...(view.day ? [view.day] : [])])].sort().reverse();
  options(byId("day"), [["", "Newest"], ...days.map((day) => [day, named(day)])], view.day);
  const others = [...new Set([...known.keys(), ...(view.compare ? [view.compare] : [])])].sort().reverse();
  options(byId("compare"), [["", "None"], ...others.map((day) => [day, named(day)])], view.compare);
}

// Lists the feeds that have samples of the day. A choice is offered where there are several, or one was made.
function showFeeds(session, sessions, chosen) {
  const stored = sessions.find((one) => one.date === session?.day);
  const names = [...new Set([...(stored?.feeds ?? []), ...(chosen ? [chosen] : [])])].sort();
  const shown = !chosen && session?.about.feed ? ` (${session.about.feed})` : "";
  options(byId("feed"), [["", `Auto${shown}`], ...names.map((name) => [name, name])], chosen);
  byId("feeds").hidden = names.length < 2 && !chosen;
}

export function showNotice(text) {
  write(byId("notice"), text);
  byId("notice").hidden = !text;
}
