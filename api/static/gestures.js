// Wheel, mouse and fingers on the price chart: zoom about a point, pan, pinch.

import { panned, within, zoomed } from "./pane.js";

// Zoom by one pixel of the wheel; a wheel that counts lines turns so many pixels a line.
const WHEEL = 0.0016;
const LINE = 33;
// A drag sideways keeps the heights: strikes move only after so many pixels up or down.
const SIDEWAYS = 10;
// A page that is being scrolled goes on when the chart comes under the pointer.
const SCROLLING_MS = 300;
const SETTLED_MS = 160;

// ``chart.pane`` is the window that is shown, and ``chart.limits`` what it must stay in (null: nothing to
// move). ``moved`` gets each new window, and whether it fixes the strikes; ``settled`` is called after.
export function listen(chart, { pane, limits, moved, settled }) {
  const { place, plot: { over } } = chart;
  let [timer, scrolled] = [0, -Infinity];
  const go = (wanted, heights) => {
    moved(within(wanted, limits()), heights);
    clearTimeout(timer);
    timer = setTimeout(settled, SETTLED_MS);
  };

  addEventListener("wheel", (event) => { if (!place.contains(event.target)) scrolled = performance.now(); }, { passive: true });
  place.addEventListener("wheel", (event) => {
    const now = pane();
    if (!now || !limits()) return;
    if (performance.now() - scrolled < SCROLLING_MS) {
      scrolled = performance.now();
      return;
    }
    const box = over.getBoundingClientRect();
    const unit = event.deltaMode === 1 ? LINE : event.deltaMode === 2 ? box.height : 1;
    const [x, y] = [(event.clientX - box.left) / box.width, (box.bottom - event.clientY) / box.height];
    const heights = event.shiftKey || event.ctrlKey || x > 1 || x < 0;
    const times = !event.shiftKey && x >= 0 && x <= 1;
    // A browser may turn the wheel sideways for the shift key.
    const turn = (event.shiftKey ? event.deltaY || event.deltaX : event.deltaY) * unit;
    const by = Math.exp(Math.min(Math.max(turn * WHEEL * (event.ctrlKey ? 4 : 1), -1), 1));
    let wanted = zoomed(now, Math.min(Math.max(x, 0), 1), Math.min(Math.max(y, 0), 1), times ? by : 1, heights ? by : 1);
    if (!event.shiftKey && event.deltaX) wanted = panned(wanted, (event.deltaX * unit) / box.width, 0);
    const next = within(wanted, limits());
    // Where there is no further out, the page scrolls.
    const same = ["from", "to", "low", "high"].every((name) => Math.abs(next[name] - now[name]) < 1e-6 * Math.abs(now[name]));
    if (same && !event.ctrlKey) return;
    event.preventDefault();
    go(next, heights);
  }, { passive: false });

  const fingers = new Map();
  let start = null;
  const begin = () => {
    const points = [...fingers.values()];
    start = pane() && limits() ? { pane: pane(), points: points.map((point) => ({ ...point })), heights: false } : null;
  };
  over.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    // One finger moves the crosshair or scrolls the page; one mouse drags.
    if (event.pointerType === "mouse" || fingers.size === 2) begin();
  });
  addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger || !start) return;
    [finger.x, finger.y] = [event.clientX, event.clientY];
    const box = over.getBoundingClientRect();
    const now = [...fingers.values()];
    if (now.length !== start.points.length) return;
    const middle = (points, axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length;
    const [sideways, up] = [middle(now, "x") - middle(start.points, "x"), middle(now, "y") - middle(start.points, "y")];
    start.heights ||= now.length === 2 || Math.abs(up) > SIDEWAYS;
    let wanted = start.pane;
    if (now.length === 2) {
      const apart = (points, axis) => Math.abs(points[0][axis] - points[1][axis]);
      const by = (axis) => (apart(start.points, axis) > 30 ? apart(start.points, axis) / Math.max(apart(now, axis), 10) : 1);
      wanted = zoomed(wanted, (middle(start.points, "x") - box.left) / box.width, (box.bottom - middle(start.points, "y")) / box.height, by("x"), by("y"));
    }
    over.classList.add("dragged");
    go(panned(wanted, -sideways / box.width, start.heights ? up / box.height : 0), start.heights);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    addEventListener(name, (event) => {
      if (!fingers.delete(event.pointerId)) return;
      start = null;
      over.classList.remove("dragged");
    });
  }
}
