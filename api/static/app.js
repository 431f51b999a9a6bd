"use strict";
// A first view of one symbol's session. It asks again every few seconds with the ETag it has, so
// that an unchanged session costs nothing.

const POLL_MS = 5000;
const SYMBOLS_MS = 60000;
const NONE = "—";
const SVG = "http://www.w3.org/2000/svg";
const REASONS = {
  no_zero_dte: "Nothing of this symbol expires on this day.",
  before_open: "The session has not begun for this feed.",
  holiday: "The market is closed: a holiday.",
  closed: "The session is over and nothing was sampled.",
  not_sampled: "No sampler has stored anything for this session yet.",
  stale: "The feed's quotes stand still: nothing is stored until they move again.",
  unknown_symbol: "This symbol was never sampled.",
};

// What was chosen; ``body`` is the answer on the screen.
const shown = { symbol: "", bar: "1m", day: "", body: null };
// Answers and their ETags by path.
const answers = new Map();
let market = null;
// The day of the newest row there is.
let stored = "";

// --- numbers and times as people write them -----------------------------------------------

const minus = (text) => text.replace("-", "−");
const fixed = (value, digits = 2) =>
  minus(value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const price = (value) => (value === null ? NONE : fixed(value));
const strike = (value) =>
  value === null ? NONE : minus(value.toLocaleString("en-US", { maximumFractionDigits: 2 }));
const percent = (value, digits = 1) => (value === null ? NONE : `${fixed(value, digits)} %`);

function money(value, signed = true) {
  if (value === null) return NONE;
  const [size, unit] = Math.abs(value) >= 999.5e6 ? [1e9, "bn"] : [1e6, "mm"];
  const text = fixed(Math.abs(value) / size, unit === "bn" ? 2 : 1);
  const sign = value < 0 ? "−" : signed ? "+" : "";
  return `${Number(text.replace(/,/g, "")) === 0 ? "" : sign}$${text} ${unit}`;
}

// For an axis: no more digits than a tick has.
function brief(value) {
  const [size, unit] = Math.abs(value) >= 1e9 ? [1e9, " bn"] : [1e6, " mm"];
  return value === 0 ? "0" : minus((value / size).toLocaleString("en-US", { maximumFractionDigits: 2 })) + unit;
}

const clockOf = (seconds) =>
  new Intl.DateTimeFormat("en-GB", {
    timeZone: "America/New_York", hour: "2-digit", minute: "2-digit",
    ...(seconds ? { second: "2-digit" } : {}), hourCycle: "h23",
  });
const WITH_SECONDS = clockOf(true);
const TO_THE_MINUTE = clockOf(false);
const DAY = new Intl.DateTimeFormat("en-US", {
  timeZone: "America/New_York", weekday: "short", month: "short", day: "numeric",
});
const ISO_DAY = new Intl.DateTimeFormat("en-CA", { timeZone: "America/New_York" });
const at = (text) => WITH_SECONDS.format(new Date(text));

function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

const words = (name) => name.replaceAll("_", " ");
const byId = (id) => document.getElementById(id);

function make(tag, text = "", kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = kind;
  return made;
}

function draw(parent, tag, attributes, text = "") {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  parent.append(made);
  return made;
}

// --- tiles ----------------------------------------------------------------------------------

const tone = (value) => (value === null || value === 0 ? "" : value > 0 ? "good" : "bad");

function away(level, spot) {
  if (level === null) return "";
  const off = ((level - spot) / spot) * 100;
  return `${off >= 0 ? "+" : ""}${fixed(off)} % from spot`;
}

function tiles(bar) {
  const list = bar === null ? [] : [
    ["Spot", price(bar.spot), `${DAY.format(new Date(bar.sampled_at))}, ${at(bar.sampled_at)}`],
    ["Net GEX, per 1 %", money(bar.net_gex), words(bar.regime), tone(bar.net_gex)],
    ["Gamma flip", price(bar.gamma_flip),
      bar.gamma_flip === null ? words(bar.gamma_flip_status) : away(bar.gamma_flip, bar.spot)],
    ["Call wall", strike(bar.call_wall), away(bar.call_wall, bar.spot)],
    ["Put wall", strike(bar.put_wall), away(bar.put_wall, bar.spot)],
    ["Magnet", strike(bar.magnet), away(bar.magnet, bar.spot)],
    ["Pin score", `${bar.pin_score}`, "of 100"],
    ["Pin probability", percent(bar.pin_probability_pct), "market-implied"],
    ["ATM IV", bar.atm_iv === null ? NONE : percent(bar.atm_iv * 100), "annualised"],
    ["Charm, next hour", money(bar.charm_dollars_per_hour),
      bar.charm_dollars_per_hour === null ? "" : bar.charm_dollars_per_hour >= 0 ? "dealers buy" : "dealers sell",
      tone(bar.charm_dollars_per_hour)],
    ["Hedge flow", money(bar.hedge_flow_cumulative_all),
      bar.hedge_flow_cumulative_all >= 0 ? "dealers bought" : "dealers sold",
      tone(bar.hedge_flow_cumulative_all)],
    ["Flow from calls", money(bar.hedge_flow_call_cumulative), `from puts ${money(bar.hedge_flow_put_cumulative)}`],
  ];
  byId("tiles").replaceChildren(...list.map(([name, value, note, kind = ""]) => {
    const tile = make("div", "", "tile");
    tile.append(make("h3", name), make("b", value), make("small", note, kind));
    return tile;
  }));
}

// --- charts ---------------------------------------------------------------------------------

// Beyond such a jump the nearest flip is another one: no line leads from one to the other.
const LEAP = 0.005;
const CHARTS = [
  {
    id: "spot", title: "Spot and levels", write: strike, axis: strike, level: true,
    lines: [
      { field: "call_wall", name: "call wall", kind: "c-good thin dashed", step: true },
      { field: "put_wall", name: "put wall", kind: "c-bad thin dashed", step: true },
      { field: "magnet", name: "magnet", kind: "c-violet thin dashed", step: true },
      { field: "gamma_flip", name: "gamma flip", kind: "c-warn", write: price, leaps: true },
      { field: "spot", name: "spot", kind: "c-text", write: price },
    ],
  },
  {
    id: "gex", title: "Net GEX, $ per 1 % move", write: money, axis: brief,
    lines: [{ field: "net_gex", name: "net GEX", kind: "c-blue", area: true }],
  },
  {
    id: "flow", title: "Hedge flow; positive: dealers buy", write: money, axis: brief,
    lines: [
      { field: "hedge_flow_call_cumulative", name: "calls", kind: "c-good thin" },
      { field: "hedge_flow_put_cumulative", name: "puts", kind: "c-bad thin" },
      { field: "hedge_flow_cumulative_all", name: "all", kind: "c-text" },
    ],
  },
];

function ticksOf(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const ticks = [];
  for (let y = Math.ceil(low / step) * step; y <= high + step * 1e-9; y += step) ticks.push(y);
  return ticks;
}

function rangeOf(chart, bars) {
  const of = (line) => bars.map((bar) => bar[line.field]).filter((value) => value !== null);
  const sure = chart.level ? of(chart.lines.at(-1)) : [0, ...chart.lines.flatMap(of)];
  let low = Math.min(...sure), high = Math.max(...sure);
  if (chart.level) {
    // A level far away must not press the price flat; the legend tells its number all the same.
    const room = Math.max((high - low) * 0.75, high * 0.002);
    for (const value of chart.lines.slice(0, -1).flatMap(of)) {
      if (value > low - room && value < low) low = value;
      if (value < high + room && value > high) high = value;
    }
  }
  const pad = (high - low) * 0.06 || Math.abs(high) * 0.01 || 1;
  return [low - pad, high + pad];
}

function pathOf(line, bars, x, y) {
  let path = "", last = null;
  for (const bar of bars) {
    const value = bar[line.field];
    if (value === null) { last = null; continue; }
    const [px, py] = [x(Date.parse(bar.sampled_at)).toFixed(1), y(value).toFixed(1)];
    const leap = line.leaps && last !== null && Math.abs(value - last) > LEAP * last;
    path += last === null || leap ? `M${px} ${py}` : line.step ? `H${px}V${py}` : `L${px} ${py}`;
    last = value;
  }
  return path;
}

function plot(chart, body, hours, [low, high], marked) {
  const svg = byId(`chart-${chart.id}`);
  const { width, height } = svg.getBoundingClientRect();
  const right = 74, bottom = 20, wide = width - right, tall = height - bottom;
  if (width < right) return;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const [from, to] = [Date.parse(hours.open), Date.parse(hours.close)];
  const x = (moment) => ((moment - from) / (to - from)) * wide;
  const bars = body.bars;
  const clip = draw(draw(svg, "defs", {}), "clipPath", { id: `clip-${chart.id}` });
  draw(clip, "rect", { width: wide, height: tall });
  const inside = { "clip-path": `url(#clip-${chart.id})` };

  const apart = wide < 420 ? 7200e3 : 3600e3;
  for (let hour = Math.ceil(from / 1800e3) * 1800e3; hour <= to; hour += 1800e3) {
    if ((hour - to) % apart) continue;
    const anchor = hour === to ? "end" : "middle";
    draw(svg, "line", { class: "grid", x1: x(hour), x2: x(hour), y1: 0, y2: tall });
    draw(svg, "text", { x: x(hour), y: height - 5, "text-anchor": anchor }, TO_THE_MINUTE.format(hour));
  }
  for (const gap of body.gap_intervals) {
    const [begin, end] = [x(Date.parse(gap.from)), x(Date.parse(gap.to))];
    const band = draw(svg, "rect", { class: "gap", x: begin, width: Math.max(end - begin, 1), height: tall });
    draw(band, "title", {}, `${words(gap.reason)}, ${at(gap.from)} to ${at(gap.to)}`);
  }
  if (bars.length === 0) return;
  const y = (value) => tall - ((value - low) / (high - low)) * tall;
  for (const value of ticksOf(low, high, height > 220 ? 6 : 4)) {
    draw(svg, "line", { class: "grid", x1: 0, x2: wide, y1: y(value), y2: y(value) });
    draw(svg, "text", { x: wide + 7, y: y(value) + 4 }, chart.axis(Math.abs(value) < 1e-6 ? 0 : value));
  }
  if (low < 0 && high > 0) draw(svg, "line", { class: "zero", x1: 0, x2: wide, y1: y(0), y2: y(0) });
  for (const line of chart.lines) {
    const path = pathOf(line, bars, x, y);
    if (line.area && path) {
      const [first, last] = [bars[0], bars.at(-1)].map((bar) => x(Date.parse(bar.sampled_at)).toFixed(1));
      draw(svg, "path", { class: `area ${line.kind}`, d: `${path}L${last} ${y(0)}L${first} ${y(0)}Z`, ...inside });
    }
    draw(svg, "path", { class: `curve ${line.kind}`, d: path, ...inside });
  }
  const bar = marked ?? bars.at(-1);
  const when = x(Date.parse(bar.sampled_at));
  if (marked) draw(svg, "line", { class: "cross", x1: when, x2: when, y1: 0, y2: tall });
  const main = chart.lines.at(-1);
  draw(svg, "circle", { class: main.kind, fill: "currentColor", cx: when, cy: y(bar[main.field]), r: 3.2 });
}

function legend(chart, bar, [low, high]) {
  const keys = [...chart.lines].reverse().map((line) => {
    const key = make("span", "", `key ${line.kind.split(" ")[0]}`);
    const value = bar === null ? null : bar[line.field];
    const beyond = value === null ? "" : value > high ? " ↑" : value < low ? " ↓" : "";
    key.append(make("i"), make("span", `${line.name} `, "muted"));
    key.append(make("span", (value === null ? NONE : (line.write ?? chart.write)(value)) + beyond));
    if (beyond) key.title = "beyond the chart";
    return key;
  });
  const when = bar === null ? "" : at(bar.sampled_at);
  byId(`legend-${chart.id}`).replaceChildren(make("strong", chart.title), ...keys, make("span", when, "at"));
}

function charts(marked = null) {
  const { body } = shown;
  if (body === null) return;
  const hours = body.session;
  for (const chart of CHARTS) {
    const range = body.bars.length ? rangeOf(chart, body.bars) : [0, 0];
    legend(chart, marked ?? body.bars.at(-1) ?? null, range);
    if (hours !== null) plot(chart, body, hours, range, marked);
  }
}

function pointed(event) {
  const bars = shown.body?.bars ?? [];
  const hours = shown.body?.session;
  if (bars.length === 0 || !hours) return;
  const box = event.currentTarget.getBoundingClientRect();
  const [from, to] = [Date.parse(hours.open), Date.parse(hours.close)];
  const when = from + ((event.clientX - box.left) / (box.width - 74)) * (to - from);
  const off = (bar) => Math.abs(Date.parse(bar.sampled_at) - when);
  charts(bars.reduce((best, bar) => (off(bar) < off(best) ? bar : best)));
}

// --- table, gaps, state ---------------------------------------------------------------------

const COLUMNS = [
  ["New York", (bar) => at(bar.t)],
  ["Spot", (bar) => price(bar.spot)],
  ["Net GEX", (bar) => money(bar.net_gex), (bar) => tone(bar.net_gex)],
  ["Flip", (bar) => price(bar.gamma_flip)],
  ["Put wall", (bar) => strike(bar.put_wall)],
  ["Call wall", (bar) => strike(bar.call_wall)],
  ["Magnet", (bar) => strike(bar.magnet)],
  ["Pin", (bar) => `${bar.pin_score}`],
  ["Prob.", (bar) => percent(bar.pin_probability_pct)],
  ["ATM IV", (bar) => (bar.atm_iv === null ? NONE : percent(bar.atm_iv * 100))],
  ["Charm/h", (bar) => money(bar.charm_dollars_per_hour)],
  ["Flow calls", (bar) => money(bar.hedge_flow_call_cumulative)],
  ["Flow puts", (bar) => money(bar.hedge_flow_put_cumulative)],
  ["Flow all", (bar) => money(bar.hedge_flow_cumulative_all), (bar) => tone(bar.hedge_flow_cumulative_all)],
];

function table(bars) {
  byId("columns").replaceChildren(...COLUMNS.map(([name]) => make("th", name)));
  byId("rows").replaceChildren(...bars.slice(-12).reverse().map((bar) => {
    const row = make("tr");
    row.append(...COLUMNS.map(([, write, kind]) => make("td", write(bar), kind ? kind(bar) : "")));
    return row;
  }));
}

function gaps(intervals, any) {
  const slots = intervals.reduce((n, gap) => n + (Date.parse(gap.to) - Date.parse(gap.from)) / 30000, 0);
  byId("gap-count").textContent = slots ? `${slots} ${slots === 1 ? "slot" : "slots"} of 30 s` : "";
  const list = [...intervals].reverse().map((gap) => {
    const item = make("li");
    item.append(make("span", `${at(gap.from)} – ${at(gap.to)}`), make("span", words(gap.reason), "muted"));
    return item;
  });
  const none = any ? "None: every slot that was due is here." : "Nothing was due.";
  byId("gaps").replaceChildren(...(list.length ? list : [make("li", none, "muted")]));
}

function madeOf(body) {
  const parts = [];
  if (body.source) parts.push(`Source ${body.source}`);
  if (body.delay_seconds) parts.push(`delayed by ${span(body.delay_seconds)}`);
  if (body.flow_since) parts.push(`hedge flow since ${at(body.flow_since)}`);
  if (body.classified_share !== null) parts.push(`${percent(body.classified_share * 100)} of its volume classified`);
  if (body.oi_confidence !== null) parts.push(`κ ${body.oi_confidence}`);
  parts.push(`definitions ${body.definitions}`, `node ${body.data_as_of.node}`);
  byId("made-of").textContent = parts.join(" · ");
}

function state() {
  const open = market.state === "open";
  const pill = byId("market");
  pill.textContent = { open: "Market open", pre: "Before the open", closed: "Market closed", holiday: "Holiday" }[market.state];
  pill.className = `pill ${open ? "good" : ""}`;
  const now = new Date(market.server_time);
  byId("clock").textContent = `${DAY.format(now)}, ${WITH_SECONDS.format(now)} New York`;
  const newest = shown.body?.newest;
  const age = byId("age");
  age.textContent = "";
  if (!newest || shown.body.expiration !== market.session.date) return;
  const seconds = Math.max((now - Date.parse(newest)) / 1000, 0);
  const late = open && seconds > (shown.body.delay_seconds ?? 0) + 120;
  age.textContent = `Data ${span(seconds)} old`;
  age.className = `pill ${late ? "bad" : open ? "good" : ""}`;
}

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

function simulated(is) {
  if (is) byId("simulated").hidden = false;
}

function show(body) {
  shown.body = body;
  const newest = body.bars.at(-1) ?? null;
  simulated(body.source === "synthetic");
  tiles(newest);
  table(body.bars);
  gaps(body.gap_intervals, newest !== null);
  madeOf(body);
  charts();
  byId("raw").href = pathOfDay(body.expiration);
  document.title = newest === null ? "Zero-DTE Flow" : `${body.symbol} ${price(newest.spot)} · ${money(newest.net_gex)}`;
}

// --- asking -----------------------------------------------------------------------------------

async function ask(path, headers = {}) {
  const sent = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(15000) });
  if (sent.status === 304) return { sent, body: null };
  const body = await sent.json();
  if (!sent.ok) throw new Error(body.message ?? `${sent.status}`);
  return { sent, body };
}

async function symbols() {
  const { body } = await ask("/v1/symbols");
  simulated(body.dataset === "synthetic");
  stored = body.last_updated ? ISO_DAY.format(new Date(body.last_updated)) : "";
  const picker = byId("symbol");
  const names = [...new Set([...body.symbols, ...(shown.symbol ? [shown.symbol] : [])])].sort();
  if (names.join() !== [...picker.options].map((option) => option.value).join()) {
    picker.replaceChildren(...names.map((name) => make("option", name)));
  }
  if (!shown.symbol) shown.symbol = names.includes("SPX") ? "SPX" : (names[0] ?? "");
  picker.value = shown.symbol;
}

const pathOfDay = (day) =>
  `/v1/flow/zero-dte/series/${encodeURIComponent(shown.symbol)}?bar=${shown.bar}&date=${day}`;

async function load(day) {
  const path = pathOfDay(day);
  const had = answers.get(path);
  const { sent, body } = await ask(path, had ? { "If-None-Match": had.etag } : {});
  if (body === null) return had.body;
  if (answers.size > 8) answers.clear();
  answers.set(path, { etag: sent.headers.get("ETag") ?? "", body });
  return body;
}

async function series() {
  if (!shown.symbol) {
    notice("Nothing has been sampled yet. Start a sampler; this page will notice.");
    return;
  }
  const day = shown.day || market.session.date;
  const chosen = pathOfDay(day);
  let body = await load(day);
  let why = "";
  if (body.bars.length === 0) {
    why = `${body.symbol}, ${day}: ${REASONS[body.reason] ?? "No bars."}`;
    if (!shown.day && stored && stored < day) {
      const older = await load(stored);
      if (older.bars.length) [body, why] = [older, `${why} Shown is the newest stored session, ${stored}.`];
    }
  }
  // Somebody chose something else meanwhile.
  if (chosen !== pathOfDay(shown.day || market.session.date)) return;
  notice(why);
  if (body !== shown.body) show(body);
}

let listed = 0, waiting = 0;

async function refresh() {
  clearTimeout(waiting);
  try {
    if (Date.now() - listed > SYMBOLS_MS) {
      await symbols();
      listed = Date.now();
    }
    market = (await ask("/v1/market")).body;
    byId("day").max = market.session.date;
    await series();
    state();
  } catch (error) {
    const why = error instanceof TypeError || error.name === "TimeoutError" ? "The server does not answer." : error.message;
    notice(`${why} What is shown is the last answer; trying again.`);
  }
  clearTimeout(waiting);
  waiting = setTimeout(refresh, POLL_MS);
}

function remember() {
  location.replace(`#${[shown.symbol, shown.bar, shown.day].filter(Boolean).join("/")}`);
}

function begin() {
  const [symbol, bar, day] = decodeURIComponent(location.hash.slice(1)).split("/");
  if (symbol) shown.symbol = symbol.toUpperCase();
  if ([...byId("bar").options].some((option) => option.value === bar)) shown.bar = bar;
  if (/^\d{4}-\d{2}-\d{2}$/.test(day ?? "")) shown.day = day;
  byId("bar").value = shown.bar;
  byId("day").value = shown.day;
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["symbol", "bar", "day"]) {
    byId(name).addEventListener("change", (event) => {
      shown[name] = event.target.value;
      remember();
      refresh();
    });
  }
  for (const chart of CHARTS) {
    const svg = byId(`chart-${chart.id}`);
    svg.addEventListener("pointermove", pointed);
    svg.addEventListener("pointerleave", () => charts());
  }
  addEventListener("resize", () => charts());
  refresh();
}

begin();
