// The window of the price chart in time and strike: moved, zoomed, and kept within its limits. Pure.

// A window is ``{from, to, low, high}``, in unix seconds and dollars; ``x`` and ``y`` are shares of its
// width and height.
export function panned(pane, x, y) {
  const [later, higher] = [(pane.to - pane.from) * x, (pane.high - pane.low) * y];
  return { from: pane.from + later, to: pane.to + later, low: pane.low + higher, high: pane.high + higher };
}

// ``byTime`` and ``byStrike`` multiply width and height; the point at ``x``, ``y`` stays where it is.
export function zoomed(pane, x, y, byTime, byStrike) {
  const at = pane.from + (pane.to - pane.from) * x;
  const level = pane.low + (pane.high - pane.low) * y;
  return {
    from: at - (at - pane.from) * byTime, to: at + (pane.to - at) * byTime,
    low: level - (level - pane.low) * byStrike, high: level + (pane.high - level) * byStrike,
  };
}

function clamped(low, high, [least, most], narrowest) {
  const wide = Math.min(Math.max(high - low, Math.min(narrowest, most - least)), most - least);
  const start = Math.min(Math.max(low + (high - low - wide) / 2, least), most - wide);
  return [start, start + wide];
}

// ``limits``: ``time`` and ``strike`` as ``[least, most]``, and the narrowest window of each.
export function within(pane, limits) {
  const [from, to] = clamped(pane.from, pane.to, limits.time, limits.shortest);
  const [low, high] = clamped(pane.low, pane.high, limits.strike, limits.lowest);
  return { from, to, low, high };
}
