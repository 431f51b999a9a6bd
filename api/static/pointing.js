// A click on a chart, or Enter while it has the focus, explains the number there.

import { explainNow } from "./explain.js";

// A pointer that moves farther while it is down is a drag. [px]
const STILL = 4;
// A second click within so long resets the zoom instead.
const SECOND_MS = 280;
const OF_BARS = "A column is the change of this figure since the bar before, and the line its mean over ten minutes, per bar.";

// A line's figure, at the bar that is pointed at.
function ofLine({ field }, bar) {
  const own = field === "flow_bar" || field === "flow_rate" ? "hedge_flow_cumulative_all" : field.replace(/^held_/, "");
  return { figure: own, at: bar.at, note: own !== field && !field.startsWith("held_") ? OF_BARS : "" };
}

// Returns the line that is nearest to a height, or the first one; null where none has a value there.
function lineAt({ plot, lines, values }, k, top) {
  const known = lines.map((line, i) => ({ line, value: values[i]?.[k] })).filter(({ value }) => value !== null && value !== undefined);
  const far = ({ line, value }) => (top === null ? 0 : Math.abs(plot.valToPos(value, line.scale ?? "y") - top));
  return known.reduce((best, one) => (best === null || far(one) < far(best) ? one : best), null)?.line ?? null;
}

// ``find`` returns what to explain; ``opener`` gets the focus back.
function onClick(place, opener, find) {
  let [x, y, timer] = [0, 0, 0];
  place.addEventListener("pointerdown", (event) => { [x, y] = [event.clientX, event.clientY]; });
  place.addEventListener("click", (event) => {
    clearTimeout(timer);
    // A finger moves the crosshair; the numbers beside the chart are explained by a tap on them.
    const still = Math.hypot(event.clientX - x, event.clientY - y) <= STILL;
    if (event.detail > 1 || event.pointerType === "touch" || !still || event.target.closest("[data-figure]")) return;
    const wanted = find(event);
    if (wanted) timer = setTimeout(() => explainNow(wanted, opener), SECOND_MS);
  });
  opener.tabIndex = 0;
  opener.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target !== opener) return;
    const wanted = find(null);
    if (wanted) explainNow(wanted, opener, true);
  });
}

// Makes the numbers of the charts explain themselves; ``marked`` gives the bar at the crosshair, else the newest.
export function explainCharts(charts, map, marked) {
  for (const chart of charts) {
    onClick(chart.plot.over, chart.place, (event) => {
      const price = chart.panel.id === "price";
      const cell = price && map.cell(event === null);
      if (cell) return cell;
      const bar = marked();
      const k = bar ? (chart.bars?.indexOf(bar) ?? -1) : -1;
      const line = k < 0 ? null : lineAt(chart, k, event && event.clientY - chart.plot.over.getBoundingClientRect().top);
      return line && ofLine(line, bar);
    });
  }
  const profile = document.getElementById("profile");
  onClick(profile, profile, (event) => map.profileCell(event === null));
}
