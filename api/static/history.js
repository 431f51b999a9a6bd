// History: each stored day's shape to choose from, days over each other, and days like the shown one.

import { ask, paths, why } from "./api.js";
import { byId, colour, make, sharp, write } from "./dom.js";
import { brief, count, fixed, percent, plus, price, vol } from "./format.js";
import { state, view } from "./state.js";
import { clock, dayName } from "./time.js";

const MOST = 100;
// Fewer days like the shown one say nothing.
const LEAST_ALIKE = 10;
// Volatilities within this part of the shown day's are like it.
const IV_WITHIN = 0.2;
const SAME_CADENCE = 1.5;
const AGAIN_MS = 900000;
const FAILED_MS = 60000;
const SVG = "http://www.w3.org/2000/svg";
const SHAPE = { width: 130, height: 30 };
const LINES = {
  spot: ["Price since the open", (value, day) => (value / day.open - 1) * 100, (value) => `${plus(value, (n) => fixed(n, 2))} %`],
  net_gex: ["Net GEX", (value) => value, brief],
  hedge_flow: ["Hedge flow", (value) => value, brief],
  atm_iv: ["ATM IV", (value) => value * 100, (value) => `${fixed(value, 1)} %`],
};

let kept = { name: "", sessions: [], at: -Infinity };
let shown = "", busy = false, visible = false, changed = () => {}, drawn = null;

const there = (value) => value !== null && value !== undefined;

// Returns a summary as it was known at a moment of its own day; null before its first quarter of an hour.
function knownAt(day, until) {
  const points = Math.floor((until - Date.parse(day.session_open)) / 1000 / kept.step);
  if (points >= day.course.spot.length) return day;
  const course = Object.fromEntries(Object.entries(day.course).map(([name, values]) => [name, values.map((value, k) => (k < points ? value : null))]));
  const spot = course.spot.filter(there);
  if (!spot.length) return { ...day, course, complete: false, high: day.open, low: day.open, close: day.open, running: true };
  return { ...day, course, complete: false, high: Math.max(day.open, ...spot), low: Math.min(day.open, ...spot), close: spot.at(-1), running: true };
}

const move = (day) => day.close / day.open - 1;
const range = (day) => (day.high - day.low) / day.open;
const sigmas = (day) => (day.opening.remaining_1sd ? (day.close - day.open) / day.opening.remaining_1sd : null);

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return low + (high - low) * (at - Math.floor(at));
}

// Returns the earlier complete days of the same feed and cadence that opened like a day, and how many
// were looked at. [{ alike, of }]
export function daysLike(day, sessions) {
  const earlier = sessions.filter((one) => one.date < day.date && one.complete && one.feed === day.feed && one.cadence_seconds && day.cadence_seconds
    && Math.max(one.cadence_seconds, day.cadence_seconds) <= SAME_CADENCE * Math.min(one.cadence_seconds, day.cadence_seconds));
  const { regime, atm_iv: iv } = day.opening;
  const alike = earlier.filter(({ opening }) => opening.regime === regime && opening.atm_iv && Math.abs(opening.atm_iv / iv - 1) <= IV_WITHIN);
  return { alike: regime !== "unknown" && iv ? alike : [], of: earlier.length };
}

// Returns what followed on days like one, in words.
export function likeWords(day, sessions) {
  const { regime, atm_iv: iv } = day.opening;
  if (regime === "unknown" || !iv) return "The opening's regime or volatility is not known: no day can be called like it.";
  const { alike, of } = daysLike(day, sessions);
  const opened = `opened in ${regime === "positive_gamma" ? "long" : "short"} gamma with an ATM IV within a fifth of ${vol(iv)}`;
  const n = `${alike.length} of ${of} earlier sessions of this feed and cadence ${opened}`;
  if (alike.length < LEAST_ALIKE) return `${n}: fewer than ${LEAST_ALIKE}, which says nothing yet.`;
  const moves = alike.map((one) => move(one) * 100);
  const signed = (value) => `${plus(value, (v) => fixed(v, 2))} %`;
  const expected = alike.map(sigmas).filter(there).map(Math.abs);
  const parts = [
    `${n}.`,
    `From open to close the middle half of them went ${signed(quantile(moves, 0.25))} to ${signed(quantile(moves, 0.75))}, the median ${signed(quantile(moves, 0.5))}; ${moves.filter((value) => value > 0).length} closed higher.`,
    expected.length ? `The median size was ${fixed(quantile(expected, 0.5), 2)} σ of what was expected at the open.` : "",
    `High to low: ${fixed(quantile(alike.map((one) => range(one) * 100), 0.5), 2)} % in the median.`,
    "This is what followed on those days; it forecasts nothing.",
  ];
  return parts.filter(Boolean).join(" ");
}

function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// A day's ribbon of regimes with its price on it; the ribbon is blue for long gamma, orange and lower for short.
function shapeOf(day) {
  const { width, height } = SHAPE;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const { spot, net_gex: gex } = day.course;
  const wide = width / spot.length;
  gex.forEach((value, k) => {
    if (!there(value) || value === 0) return;
    picture.append(svg("rect", { x: k * wide, width: wide + 0.2, y: value > 0 ? height - 7 : height - 4, height: value > 0 ? 7 : 4, class: value > 0 ? "long" : "short" }));
  });
  const [low, high] = [day.low, day.high];
  let path = "", pen = "M";
  spot.forEach((value, k) => {
    if (!there(value)) return void (pen = "M");
    path += `${pen}${((k + 0.5) * wide).toFixed(1)} ${(2 + (high > low ? (high - value) / (high - low) : 0.5) * (height - 13)).toFixed(1)}`;
    pen = "L";
  });
  picture.append(svg("path", { d: path }));
  return picture;
}

function row(day) {
  const item = make("li");
  const chosen = day.date === state.session?.day;
  const button = make("button", "", chosen ? "day chosen" : "day", { type: "button", ...(chosen && { "aria-current": "true" }) });
  const gone = `${plus(move(day) * 100, (n) => fixed(n, 2))} %`;
  const side = { positive_gamma: "long gamma", negative_gamma: "short gamma" }[day.opening.regime] ?? "sign unknown";
  button.append(
    make("b", dayName(day.date)), shapeOf(day),
    make("span", `${day.running ? `${gone} so far` : gone}, range ${percent(range(day) * 100, 2)}`),
    make("span", `opened ${side}, IV ${vol(day.opening.atm_iv)}${day.running ? "" : `, ${percent(day.coverage_pct, 0)} stored`}`, day.coverage_pct < 95 && !day.running ? "warn" : "muted"),
  );
  button.addEventListener("click", () => view.set({ day: day.date, from: "", to: "", at: "" }));
  const inputs = [["first price", price(day.open)], ["highest", price(day.high)], ["lowest", price(day.low)], ["last price", price(day.close)], ["samples", count(day.rows)], ["stored", percent(day.coverage_pct, 1)]];
  const why = make("button", "?", "why", {
    type: "button", "aria-label": `Explain the figures of ${dayName(day.date)}`, title: "How these figures are made", "data-figure": "stored_day",
    "data-at": `${Date.parse(day.opening.sampled_at)}`, "data-inputs": JSON.stringify(inputs), "data-note": `${state.session?.symbol}, ${dayName(day.date)}${day.running ? ", so far" : ""}`,
  });
  item.append(button, why);
  return item;
}

// Returns the newest days up to the shown one, as they were known.
function known(until) {
  const day = state.session?.day;
  return kept.sessions.map((one) => (until !== null && one.date === day ? knownAt(one, until) : one)).filter((one) => until === null || one.date <= day);
}

// The least round step of at least a size.
function niceStep(size) {
  const power = 10 ** Math.floor(Math.log10(size));
  return [1, 2, 5, 10].find((n) => n * power >= size) * power;
}

function drawOver(days, mine) {
  const canvas = byId("history-over");
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const context = sharp(canvas, width, height);
  const [name, read, say] = LINES[byId("history-line").value];
  const lines = [...days, mine].filter(Boolean).map((day) => ({ day, values: day.course[byId("history-line").value].map((value) => (there(value) ? read(value, day) : null)) }));
  const all = lines.flatMap(({ values }) => values).filter(there);
  canvas.setAttribute("aria-label", `${name} of ${lines.length} days by time of day`);
  if (all.length === 0) return;
  let [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
  if (byId("history-line").value === "atm_iv") low = Math.min(...all);
  if (high === low) high = low + 1;
  const step = niceStep((high - low) / 4);
  [low, high] = [Math.floor(low / step) * step, Math.ceil(high / step) * step];
  const points = Math.max(...lines.map(({ values }) => values.length));
  const [left, right, top, bottom] = [6, width - 62, 8, height - 20];
  const x = (k) => left + ((right - left) * k) / points;
  const y = (value) => bottom - ((bottom - top) * (value - low)) / (high - low);
  context.font = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
  context.textBaseline = "middle";
  for (let value = low; value < high + step / 2; value += step) {
    const zero = Math.abs(value) < step / 1e6;
    context.strokeStyle = colour(zero ? "muted" : "grid");
    context.beginPath();
    context.moveTo(left, y(value));
    context.lineTo(right, y(value));
    context.stroke();
    context.fillStyle = colour("muted");
    context.fillText(say(zero ? 0 : value), right + 6, y(value));
  }
  const opened = Date.parse((mine ?? days[0]).session_open);
  for (let k = 2; k < points; k += width < 500 ? 8 : 4) {
    context.fillText(clock(opened + k * kept.step * 1000).slice(0, 5), x(k) - 14, height - 8);
  }
  for (const { day, values } of lines) {
    const own = day === mine;
    [context.strokeStyle, context.lineWidth, context.globalAlpha] = [colour(own ? "text" : "accent"), own ? 2.25 : 1, own ? 1 : 0.45];
    context.beginPath();
    // Price and flow begin at the open.
    let pen = ["spot", "hedge_flow"].includes(byId("history-line").value) && there(values[0]);
    if (pen) context.moveTo(x(0), y(0));
    values.forEach((value, k) => {
      // A point is the last sample of its quarter of an hour.
      if (there(value)) context[pen ? "lineTo" : "moveTo"](x(k + 1), y(value));
      pen = there(value);
    });
    context.stroke();
  }
  context.globalAlpha = 1;
}

function draw(until) {
  const days = known(until);
  const mine = days.find((day) => day.date === state.session?.day) ?? null;
  byId("history-days").replaceChildren(...[...days].reverse().map(row));
  const before = days.filter((day) => !mine || day.date < mine.date);
  const choice = byId("history-count").value;
  const over = choice === "like" ? (mine ? daysLike(mine, days).alike : []) : before.slice(-Number(choice));
  write(byId("history-like"), mine ? likeWords(mine, days) : "");
  write(byId("history-key"), `${over.length} earlier ${over.length === 1 ? "day" : "days"}, thin; ${mine ? dayName(mine.date) : "none"}, bold`);
  drawOver(over, mine);
  drawn = () => drawOver(over, mine);
}

async function load(symbol, feed, date) {
  busy = true;
  const name = `${symbol} ${feed}`;
  try {
    const body = await ask(paths.history(symbol, { n: MOST, feed, date }));
    kept = { name, sessions: body.sessions, step: body.course_seconds, at: performance.now() };
    write(byId("history-note"), "");
  } catch (error) {
    kept = { name, sessions: [], at: performance.now() - AGAIN_MS + FAILED_MS };
    write(byId("history-note"), why(error));
  }
  [busy, shown] = [false, ""];
  changed();
}

// Shows the days once the panel has come into sight. ``until`` is the moment of a replay, else null.
export function showHistory(session, until, later) {
  changed = later;
  if (!visible || !session || document.hidden) return;
  const { symbol, feed, day } = session;
  const missing = kept.sessions.length && !kept.sessions.some((one) => one.date === day);
  const old = kept.name !== `${symbol} ${feed}` || performance.now() - kept.at > AGAIN_MS;
  if (!busy && (old || (missing && kept.tried !== day))) {
    load(symbol, feed, missing && !old && day < kept.sessions[0].date ? day : "").then(() => { kept.tried = day; });
    return;
  }
  const quarter = until === null ? "" : Math.floor(until / 900000);
  const name = [symbol, feed, day, quarter, kept.at, byId("history-line").value, byId("history-count").value].join();
  if (name === shown) return;
  shown = name;
  draw(until);
}

export function redrawHistory() {
  drawn?.();
}

byId("history-line").append(...Object.entries(LINES).map(([value, [text]]) => make("option", text, "", { value })));
byId("history-count").append(...[["5", "5 days before"], ["10", "10 days before"], ["20", "20 days before"], ["60", "60 days before"], ["like", "Days like this one"]].map(([value, text]) => make("option", text, "", { value })));
byId("history-count").value = "10";
for (const id of ["history-line", "history-count"]) byId(id).addEventListener("change", () => changed());
new ResizeObserver(redrawHistory).observe(byId("history-over"));
new IntersectionObserver((entries) => {
  if (!entries.some((entry) => entry.isIntersecting)) return;
  visible = true;
  changed();
}).observe(byId("history"));
