// Until the close: the live book's gamma or charm by level and time, as a surface, and the flip's way.

import { ask, paths, why } from "./api.js";
import { byId, colour, make, sharp, write } from "./dom.js";
import { money, price, strike } from "./format.js";
import { inHours, live, server } from "./state.js";
import { clock, moment } from "./time.js";

// The sampler makes one with the first sample of each five minutes.
const EVERY_MS = 300000;
const STILL_MS = 400;
const FAILED_MS = 60000;
// Quotes lie nearer to their own slot than to the next one.
const NEAREST_MS = 14000;
// A larger jump of the flip, as a share of its level.
const LEAP = 0.003;
const PLOT = { right: 62, bottom: 20, top: 6 };
const KINDS = { gamma: ["Gamma", " per 1 %"], charm: ["Charm from now", ""] };

let answer = null, shown = "", wanted = "", timer = 0, visible = false, rests = -Infinity, changed = () => {};

const there = (value) => value !== null && value !== undefined;
const kind = () => byId("projection-kind").value;

async function load(name, symbol, query) {
  try {
    const body = await ask(paths.projection(symbol, query));
    if (name !== wanted) return;
    answer = body.slot ? { name, times: body.times.map(moment), slot: moment(body.slot), body } : null;
    write(byId("projection-none"), body.reason ?? "");
  } catch (error) {
    if (name !== wanted) return;
    answer = null;
    write(byId("projection-none"), why(error));
    [rests, wanted] = [performance.now() + FAILED_MS, ""];
  }
  shown = "";
  changed();
}

// Asks for the projection that was newest at a bar: of a replay the one of its moment.
function want(session, bar, playing) {
  const five = Math.floor(bar.at / EVERY_MS);
  const name = `${session.symbol} ${session.day} ${session.about.feed} ${five}`;
  if (name === wanted || playing || document.hidden || performance.now() < rests) return;
  wanted = name;
  clearTimeout(timer);
  const at = live() && inHours() && bar === session.newest ? "" : new Date(bar.at + NEAREST_MS).toISOString();
  timer = setTimeout(() => load(name, session.symbol, { feed: session.feed, ...(at ? { at } : { date: session.day }) }), answer ? STILL_MS : 0);
}

// The value below which a share of the sizes lie, so that spikes before the close do not fade the rest.
function scaleOf(surface) {
  const sizes = surface.flat().map(Math.abs).filter(Boolean).sort((a, b) => a - b);
  return sizes.length ? sizes[Math.floor((sizes.length - 1) * 0.95)] : 1;
}

// Where each time's column begins, and where the last one ends.
function edgesOf(times) {
  if (times.length === 1) return [times[0] - EVERY_MS / 2, times[0] + EVERY_MS / 2];
  const inner = times.slice(1).map((at, k) => (at + times[k]) / 2);
  return [times[0], ...inner, times.at(-1)];
}

function axes() {
  const canvas = byId("projection-plot");
  const { levels } = answer.body;
  const edges = edgesOf(answer.times);
  const half = (levels[1] - levels[0]) / 2;
  const [low, high] = [levels[0] - half, levels.at(-1) + half];
  const [width, height] = [canvas.clientWidth - PLOT.right, canvas.clientHeight - PLOT.bottom - PLOT.top];
  return {
    edges, half, width, height,
    x: (at) => (width * (at - edges[0])) / (edges.at(-1) - edges[0]),
    y: (level) => PLOT.top + (height * (high - level)) / (high - low),
    at: (left, top) => ({ time: edges[0] + ((edges.at(-1) - edges[0]) * left) / width, level: high - ((high - low) * (top - PLOT.top)) / height }),
  };
}

function draw() {
  const canvas = byId("projection-plot");
  const context = sharp(canvas, canvas.clientWidth, canvas.clientHeight);
  if (!answer) return;
  const { levels, flip, underlying_price: spot } = answer.body;
  const surface = answer.body[kind()];
  const { edges, half, width, height, x, y } = axes();
  const scale = scaleOf(surface);
  surface.forEach((column, i) => {
    // Whole pixels: neighbouring cells would shine through each other.
    const [left, right] = [x(edges[i]), x(edges[i + 1])].map(Math.round);
    column.forEach((value, j) => {
      const [top, bottom] = [y(levels[j] + half), y(levels[j] - half)].map(Math.round);
      context.globalAlpha = Math.min(Math.abs(value) / scale, 1) ** 0.65;
      context.fillStyle = colour(value < 0 ? "heat-down" : "heat-up");
      context.fillRect(left, top, right - left, bottom - top);
    });
  });
  // Lines where the sign changes tell the sides apart without colours.
  context.globalAlpha = 0.75;
  context.strokeStyle = colour("text");
  context.lineWidth = 1;
  context.beginPath();
  surface.forEach((column, i) => {
    column.forEach((value, j) => {
      const [left, right, top, bottom] = [x(edges[i]), x(edges[i + 1]), y(levels[j] + half), y(levels[j] - half)];
      if (value * (column[j + 1] ?? 0) < 0) context.moveTo(left, top), context.lineTo(right, top);
      if (value * (surface[i + 1]?.[j] ?? 0) < 0) context.moveTo(right, top), context.lineTo(right, bottom);
    });
  });
  context.stroke();
  context.globalAlpha = 1;
  context.save();
  context.beginPath();
  context.rect(0, PLOT.top, width, height);
  context.clip();
  context.strokeStyle = colour("text");
  context.setLineDash([3, 4]);
  context.beginPath();
  context.moveTo(0, y(spot));
  context.lineTo(width, y(spot));
  context.stroke();
  context.setLineDash([]);
  for (const [ink, wide] of [["panel", 5], ["flip", 2.5]]) {
    [context.strokeStyle, context.lineWidth] = [colour(ink), wide];
    context.beginPath();
    let pen = false;
    flip.forEach((level, i) => {
      // A jump means that another flip has become the nearest: no line leads there.
      const joined = pen && Math.abs(level - flip[i - 1]) <= LEAP * level;
      if (there(level)) context[joined ? "lineTo" : "moveTo"](x(answer.times[i]), y(level));
      if (there(level) && !joined) context.lineTo(x(answer.times[i]) + 5, y(level));
      pen = there(level);
    });
    context.stroke();
  }
  context.restore();
  context.font = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
  context.fillStyle = colour("muted");
  context.textBaseline = "middle";
  const step = Math.max(Math.round(levels.length / (height / 30)), 1);
  for (let j = 0; j < levels.length; j += step) context.fillText(strike(+levels[j].toFixed(levels[0] < 1000 ? 1 : 0)), width + 6, y(levels[j]));
  const room = Math.max(width / 64, 1);
  const every = Math.ceil(answer.times.length / room);
  context.textBaseline = "alphabetic";
  answer.times.forEach((at, i) => {
    if (i % every || (i && x(at) < 40)) return;
    context.textAlign = i === 0 ? "left" : x(at) > width - 20 ? "right" : "center";
    context.fillText(clock(at).slice(0, 5), Math.min(x(at), width), canvas.clientHeight - 5);
  });
  context.textAlign = "left";
  canvas.setAttribute("aria-label", `${KINDS[kind()][0]} by level and time until the close`);
  write(byId("projection-high"), `${money(scale)}${KINDS[kind()][1]}: ${kind() === "gamma" ? "dampens moves" : "dealers buy"}`);
  write(byId("projection-low"), `${money(-scale)}${KINDS[kind()][1]}: ${kind() === "gamma" ? "amplifies moves" : "dealers sell"}`);
}

// The flip's way in words, and as a list.
function tell() {
  const { flip, underlying_price: spot } = answer.body;
  write(byId("projection-of"), `by the sample of ${clock(answer.slot)}`);
  // What was worked out some time ago is not of now.
  const now = live() && server.now() - answer.slot < 2 * EVERY_MS ? "now" : `at ${clock(answer.slot).slice(0, 5)}`;
  const known = flip.filter(there).length;
  const last = flip.findLastIndex(there);
  const way = !known ? "No flip can be told at any time until the close."
    : last === 0 ? `The flip is ${price(flip[0])} ${now}; for later none can be told.`
      : `${there(flip[0]) ? `The flip is ${price(flip[0])} ${now}` : `There is no flip ${now}`}; if spot stays near ${price(spot)}, it is at ${price(flip[last])} by ${clock(answer.times[last]).slice(0, 5)}.`;
  write(byId("projection-way"), way);
  byId("projection-flips").replaceChildren(...answer.times.map((at, i) => {
    const item = make("li", "", "", { tabindex: "0", "data-figure": "projection", "data-at": `${answer.slot}`, "data-note": `At ${clock(at).slice(0, 5)}: ${there(flip[i]) ? `the level nearest the price now at which the projected gamma of that time changes sign, ${price(flip[i])}` : "no level of the grid at which the projected gamma changes sign"}.` });
    item.append(make("time", i ? clock(at).slice(0, 5) : now.replace("at ", "")), make("span", there(flip[i]) ? price(flip[i]) : "no flip"));
    return item;
  }));
}

function point(event) {
  if (!answer) return;
  const box = byId("projection-plot").getBoundingClientRect();
  const { at, edges, half } = axes();
  const { time, level } = at(event.clientX - box.left, event.clientY - box.top);
  const { levels } = answer.body;
  const i = edges.findLastIndex((edge) => edge <= time);
  const j = levels.findIndex((one) => Math.abs(one - level) <= half);
  const inside = i >= 0 && i < answer.times.length && j >= 0;
  byId("projection-plot").dataset.note = inside ? `One cell of it, ${clock(answer.times[i]).slice(0, 5)} at ${strike(+levels[j].toFixed(1))}: ${money(answer.body[kind()][i][j])}${KINDS[kind()][1]}.` : "";
  write(byId("projection-cell"), inside ? `${clock(answer.times[i]).slice(0, 5)} at ${strike(+levels[j].toFixed(1))}: ${money(answer.body[kind()][i][j])}${KINDS[kind()][1]}` : "");
}

// Shows the surface once it has come into sight; ``bar`` is the newest bar, of a replay its moment's.
export function showProjection(session, bar, playing, later) {
  changed = later;
  if (!visible || !session || !bar) return;
  want(session, bar, playing);
  const mine = `${session.symbol} ${session.day} ${session.about.feed}`;
  if (answer && (!answer.name.startsWith(mine) || answer.slot > bar.at)) answer = null;
  const name = `${answer?.name} ${kind()}`;
  if (name === shown) return;
  shown = name;
  byId("projection-body").hidden = !answer;
  if (!answer) return;
  draw();
  tell();
}

export function redrawProjection() {
  if (visible) draw();
}

byId("projection-kind").append(...Object.entries(KINDS).map(([value, [text]]) => make("option", text, "", { value })));
byId("projection-kind").addEventListener("change", () => changed());
byId("projection-plot").addEventListener("pointermove", point);
byId("projection-plot").addEventListener("pointerleave", () => write(byId("projection-cell"), ""));
new ResizeObserver(redrawProjection).observe(byId("projection-plot"));
new IntersectionObserver((entries) => {
  if (!entries.some((entry) => entry.isIntersecting)) return;
  visible = true;
  changed();
}).observe(byId("projection"));
