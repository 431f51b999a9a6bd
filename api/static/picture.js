// Draws the headline and all panels into one PNG.

import { colour } from "./dom.js";
import { levelOf } from "./held.js";
import { TILES } from "./tiles.js";
import { clock, dayName } from "./time.js";

const MARGIN = 16;
const TITLE = 26;
const SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

// A label of the chart, which is no part of its canvas.
function drawLabel(context, label, place, left, top) {
  const [box, frame] = [label.getBoundingClientRect(), place.getBoundingClientRect()];
  const style = getComputedStyle(label);
  const [x, y] = [left + box.left - frame.left, top + box.top - frame.top];
  context.fillStyle = style.backgroundColor;
  context.fillRect(x, y, box.width, box.height);
  const edge = parseFloat(style.borderLeftWidth);
  context.fillStyle = style.borderLeftColor;
  context.fillRect(x, y, edge, box.height);
  context.font = `${style.fontWeight} ${style.fontSize} ${SANS}`;
  context.fillStyle = style.color;
  context.fillText(label.textContent, x + edge + parseFloat(style.paddingLeft), y + box.height / 2 + 4);
}

export function picture(session, bar, screen, simulated) {
  const charts = screen.charts.map(({ panel, place, plot }) => ({ panel, place, canvas: plot.ctx.canvas }));
  const profile = document.getElementById("profile");
  const wide = Math.max(...charts.map(({ place }) => place.clientWidth));
  const side = profile.clientWidth;
  const width = wide + side + 3 * MARGIN;
  const rows = Math.ceil(TILES.length / 5);
  const head = 56 + rows * 58;
  const height = head + charts.reduce((sum, { place }) => sum + place.clientHeight + TITLE, 0) + MARGIN;
  const canvas = document.createElement("canvas");
  const ratio = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = colour("panel");
  context.fillRect(0, 0, width, height);
  const say = (text, x, y, font, ink = "text") => {
    context.font = `${font} ${SANS}`;
    context.fillStyle = colour(ink);
    context.fillText(text, x, y);
  };
  const when = bar ? `${dayName(session.day)} ${session.day.slice(0, 4)}, ${clock(bar.at)} New York` : "no samples";
  say(`${session?.symbol ?? ""} 0DTE flow`, MARGIN, 30, "600 18px");
  say(`${when}${simulated ? "   SIMULATED MARKET: no number here is a real price" : ""}`, MARGIN, 48, "12px", simulated ? "warn" : "muted");
  TILES.forEach((tile, k) => {
    const [x, y] = [MARGIN + (k % 5) * ((width - 2 * MARGIN) / 5), 72 + Math.floor(k / 5) * 58];
    say(tile.name, x, y, "11px", "muted");
    say(bar ? tile.write(levelOf(bar, tile.field)) : "", x, y + 18, "600 15px");
    say(bar ? tile.note(bar, session.opening) : "", x, y + 33, "11px", "muted");
  });
  let y = head;
  for (const { panel, place, canvas: drawn } of charts) {
    const title = panel.id === "price" ? place.getAttribute("aria-label").split(/ at |:/)[0] : panel.title;
    say(title, MARGIN, y + 17, "600 12px");
    let x = MARGIN + context.measureText(title).width + 18;
    for (const line of panel.lines.filter(({ held }) => !held)) {
      say(line.name, x, y + 17, "11px", line.colour);
      x += context.measureText(line.name).width + 12;
    }
    y += TITLE;
    context.drawImage(drawn, MARGIN, y, place.clientWidth, place.clientHeight);
    for (const label of place.querySelectorAll(".tags li, .tag.spot:not([hidden])")) drawLabel(context, label, place, MARGIN, y);
    if (panel.id === "price") context.drawImage(profile, 2 * MARGIN + wide, y, side, profile.clientHeight);
    y += place.clientHeight;
  }
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
