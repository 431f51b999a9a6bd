// The shown levels as prices of futures and related funds, and related chains' own levels beside them.

import { ask, paths, why } from "./api.js";
import { byId, make, options, write } from "./dom.js";
import { fixed, plus } from "./format.js";
import { levelOf, ownOf } from "./held.js";
import { inPrices } from "./levels.js";
import { inHours, live, server, state } from "./state.js";
import { clock, dayName, moment, span } from "./time.js";

// Instruments that follow one index: first the index itself, whose options may tell the forward of its future,
// which is the last of each and is not sampled here.
const FAMILIES = [["SPX", "SPY", "XSP", "ES"], ["NDX", "QQQ", "XND", "NQ"], ["RUT", "IWM", "MRUT", "RTY"], ["DJX", "DIA", "YM"]];
const KEYS = ["spot", "gamma_flip", "call_wall", "put_wall", "magnet", "max_pain", "sigma_upper", "sigma_lower"];
const STORED = "flow.basis";
const LIVE_MS = 60000;
const STILL_MS = 400;
const REFUSED_MS = 300000;
// Quotes lie nearer to their own slot than to the next one.
const NEAREST_MS = 14000;
// A basis that is older is pointed out: it decays with the days to the future's expiry.
const OLD_S = 6 * 3600;

const familyOf = (symbol) => FAMILIES.find((family) => family.includes(symbol)) ?? [];
export const futureOf = (symbol) => familyOf(symbol).at(-1) ?? "";
// Whether a symbol's samples may have the forward of its future.
const mayKnow = (symbol) => familyOf(symbol)[0] === symbol;
const related = (symbol) => familyOf(symbol).slice(0, -1).filter((name) => name !== symbol && state.symbols.includes(name));

const stored = () => JSON.parse(localStorage.getItem(STORED) ?? "{}");
// The basis that was given for a symbol's future: ``{kind, amount, at}``; undefined without one.
const basisOf = (symbol) => stored()[`${symbol} ${futureOf(symbol)}`];

function keep(symbol, basis) {
  const all = stored();
  if (basis) all[`${symbol} ${futureOf(symbol)}`] = basis;
  else delete all[`${symbol} ${futureOf(symbol)}`];
  localStorage.setItem(STORED, JSON.stringify(all));
}

// Returns the instruments that a symbol's levels can be shown in, itself first.
export const targetsOf = (symbol) => [symbol, ...(basisOf(symbol) || mayKnow(symbol) ? [futureOf(symbol)] : []), ...related(symbol)];

// Asks for the levels of a bar's sample in the prices of an instrument.
export function askLevels(session, bar, target, from = session.symbol) {
  const basis = target === futureOf(session.symbol) ? basisOf(session.symbol) : null;
  const amount = basis && { [basis.kind === "ratio" ? "ratio" : "basis"]: basis.amount };
  const feed = from === session.symbol ? session.feed : "";
  return ask(paths.levels(from, { to: target, ...amount, feed, at: new Date(bar.at + NEAREST_MS).toISOString() }));
}

// Returns what a basis is and where it is from, in words, with its age; the reason where there is none.
export function basisWords(symbol, target, body) {
  const { kind, amount, reason, from, settles, scatter, age_seconds: age } = body.basis;
  if (reason) return reason;
  const size = kind === "ratio" ? `times ${fixed(amount, 5)}` : `${plus(amount, (n) => fixed(n, 2))} points`;
  if (from === "parity") return `${size}, by put-call parity of the options of ${dayName(settles)}, when it settles (within ${fixed(scatter ?? 0, 2)}), quotes ${span(age)} old`;
  const given = target === futureOf(symbol) ? basisOf(symbol) : null;
  return given ? `${size}, given ${span(Math.max((server.now() - given.at) / 1000, 0))} ago` : `${size}, by both sampled prices`;
}

let answers = { name: "", columns: [] };
let wanted = "", timer = 0, visible = false, shown = "", asked = -Infinity, changed = () => {};
const rests = new Map();

async function load(name, session, bar) {
  asked = performance.now();
  const { symbol } = session;
  const jobs = [
    ...targetsOf(symbol).map((target) => ({ head: target === symbol ? symbol : `in ${target}`, target, from: symbol })),
    ...related(symbol).map((from) => ({ head: `${from}'s own, in ${symbol}`, target: symbol, from })),
  ].filter(({ head }) => (rests.get(`${symbol} ${head}`) ?? 0) < performance.now());
  const columns = await Promise.all(jobs.map(async (job) => {
    try {
      return { ...job, body: await askLevels(session, bar, job.target, job.from) };
    } catch (error) {
      // A refusal stands for a while, such as prices that are too far apart in time.
      rests.set(`${symbol} ${job.head}`, performance.now() + REFUSED_MS);
      return { ...job, refused: why(error) };
    }
  }));
  if (name !== wanted) return;
  answers = { name, columns };
  changed();
}

function want(session, bar, playing) {
  const given = basisOf(session.symbol);
  const name = `${session.symbol} ${session.day} ${session.feed} ${bar.at} ${given?.amount} ${related(session.symbol)}`;
  if (name === wanted || playing || document.hidden) return;
  const running = live() && inHours() && bar === session.newest && answers.name.split(" ", 2).join() === name.split(" ", 2).join() && answers.given === given?.amount;
  wanted = name;
  clearTimeout(timer);
  const pause = running ? Math.max(asked + LIVE_MS / Math.max(server.speed, 1) - performance.now(), STILL_MS) : answers.columns.length ? STILL_MS : 0;
  timer = setTimeout(() => load(name, session, bar).then(() => { answers.given = given?.amount; }), pause);
}

const HELD = ["gamma_flip", "call_wall", "put_wall", "magnet"];
// Samples of two symbols are compared as far as they are this near to each other.
const APART_MS = 60000;
const FIGURE_OF = { sigma_upper: "remaining_1sd", sigma_lower: "remaining_1sd" };

// When another symbol's sample is that is not of the shown moment: its levels then are no levels of now. Null where it is.
function apart({ body, from }) {
  if (!body || from === current.session.symbol) return null;
  const at = moment(body.slot);
  return Math.abs(at - current.bar.at) > APART_MS ? at : null;
}

function cell(column, key) {
  const level = column.body?.levels.find((one) => one.key === key);
  if (!level || apart(column)) return make("td", "—");
  const say = (price) => (price === null ? "—" : fixed(price, 2));
  // The chart's levels are those that the server holds: the table has them too, and the sample's own beside.
  const held = HELD.includes(key) && column.from === current.session.symbol ? ownOf(current.bar, key) !== null || levelOf(current.bar, key) === null : false;
  const text = held ? `${say(inPrices(column.body, levelOf(current.bar, key)))} · now ${say(level.price)}` : say(level.price);
  const doubts = level.doubts.length ? { title: `Flagged: ${level.doubts.join(", ").replaceAll("_", " ")}` } : {};
  return make("td", level.doubts.length ? `${text} ?` : text, "", { ...doubts, tabindex: "0", "data-figure": FIGURE_OF[key] ?? key, "data-symbol": column.from, "data-at": `${current.bar.at}` });
}

function draw(session) {
  // A future without a basis has no prices to show: the line above the table says why.
  const columns = answers.columns.filter(({ body, target }) => !body || body.basis.kind || target !== futureOf(session.symbol));
  const names = columns.find(({ body }) => body)?.body.levels ?? [];
  byId("futures-table").hidden = names.length === 0;
  byId("futures-columns").replaceChildren(make("th", "Level", "", { scope: "col" }), ...columns.map(({ head }) => make("th", head, "", { scope: "col" })));
  byId("futures-rows").replaceChildren(...KEYS.filter((key) => names.some((one) => one.key === key)).map((key) => {
    const row = make("tr");
    row.append(make("th", names.find((one) => one.key === key).name, "", { scope: "row" }), ...columns.map((column) => cell(column, key)));
    return row;
  }));
  const notes = columns.filter(({ head }) => head !== session.symbol).map((column) => [column, apart(column)]).map(([{ head, target, from, body, refused }, other]) =>
    `${head}: ${refused ?? (other === null ? basisWords(from === session.symbol ? session.symbol : from, target, body) : `its newest sample of then is of ${clock(other)}`)}`);
  const held = "Flip, walls and magnet are as held, which move when another has led for two minutes; “now” is the sample’s own";
  write(byId("futures-notes"), [...notes, ...(names.length ? [held] : [])].join(" · "));
}

// Shows the table once it has come into sight; ``bar`` is the newest bar, of a replay its moment's.
export function showFutures(session, bar, playing, later) {
  changed = later;
  byId("futures").hidden = Boolean(session) && !futureOf(session.symbol);
  if (!visible || !session || !bar || !futureOf(session.symbol)) return;
  current = { session, bar };
  want(session, bar, playing);
  const future = futureOf(session.symbol);
  const given = basisOf(session.symbol);
  const delayed = (session.about.delay_seconds ?? 0) > 0;
  for (const node of document.querySelectorAll("[data-future]")) write(node, future);
  byId("futures-price").disabled = delayed || !live() || bar !== session.newest;
  byId("futures-price").title = byId("futures-price").disabled ? "Only beside a price of now: not on a delayed feed, nor for an earlier moment" : "";
  byId("futures-forget").hidden = !given;
  const age = given ? (server.now() - given.at) / 1000 : 0;
  write(byId("futures-age"), given ? `${future}: ${given.kind === "ratio" ? `times ${fixed(given.amount, 5)}` : `${plus(given.amount, (n) => fixed(n, 2))} points`}, given ${span(Math.max(age, 0))} ago${age > OLD_S ? ": give it anew" : ""}` : unknown(session, future));
  byId("futures-age").classList.toggle("warn", age > OLD_S);
  const name = `${answers.name} ${answers.columns.length} ${HELD.map((key) => [levelOf(bar, key), ownOf(bar, key)])}`;
  if (name === shown) return;
  shown = name;
  draw(session);
}

// What is known of a future's basis that nobody gave: by parity, or why it is not.
function unknown(session, future) {
  const body = answers.columns.find(({ target, from }) => target === future && from === session.symbol)?.body;
  if (body && body.symbol === session.symbol) return `${future}: ${basisWords(session.symbol, future, body)}`;
  return mayKnow(session.symbol) ? "" : `No basis of ${future} is known: no feed here has the future.`;
}

let current = null;

async function give(event) {
  event.preventDefault();
  if (!current) return;
  const { session, bar } = current;
  const [price, points] = ["futures-price", "futures-points"].map((id) => byId(id).value);
  if (!price && !points) return;
  try {
    const amount = points ? { basis: points } : { price };
    const at = new Date(bar.at + NEAREST_MS).toISOString();
    const body = await ask(paths.levels(session.symbol, { to: futureOf(session.symbol), ...amount, feed: session.feed, at }));
    keep(session.symbol, { kind: body.basis.kind, amount: body.basis.amount, at: server.now() });
    write(byId("futures-trouble"), "");
    byId("futures-form").reset();
  } catch (error) {
    write(byId("futures-trouble"), why(error));
  }
  changed();
}

// Fills the list of instruments that exports can be in.
export function listTargets(picker, session) {
  options(picker, session ? targetsOf(session.symbol).map((name) => [name, name]) : [], session?.symbol ?? "");
}

byId("futures-form").addEventListener("submit", give);
byId("futures-forget").addEventListener("click", () => {
  if (current) keep(current.session.symbol, null);
  changed();
});
new IntersectionObserver((entries) => {
  if (!entries.some((entry) => entry.isIntersecting)) return;
  visible = true;
  changed();
}).observe(byId("futures"));
