// The range of an axis: what its lines need, without spikes, outliers and distant levels.

// Fewer values have no outliers.
const OUTLIERS_FROM = 40;

// Returns the bounds beyond which values are outliers: as far beyond 1 and 99 % of a column's values
// as those lie apart. Few values, or equal ones, have none.
function fenceOf(values) {
  if (values.length < OUTLIERS_FROM) return [-Infinity, Infinity];
  const sorted = Float64Array.from(values).sort();
  const [low, high] = [0.01, 0.99].map((share) => sorted[Math.round((sorted.length - 1) * share)]);
  return high > low ? [2 * low - high, 2 * high - low] : [-Infinity, Infinity];
}

// The range of some columns, with a margin. Outliers count only if they are the newest value. Values of ``near`` columns count only if they are close to the rest;
// those of samples for which ``skip`` is true count only if there are no others.
export function rangeOf(columns, [first, last], { zero = false, near = [], more = [], skip = [] } = {}) {
  let [low, high] = [Infinity, -Infinity];
  const take = (value) => {
    if (value < low) low = value;
    if (value > high) high = value;
  };
  const each = (column, call) => {
    for (let k = first; k <= last; k++) if (!skip[k] && column[k] !== null && column[k] !== undefined) call(column[k]);
  };
  for (const column of columns) {
    const values = [];
    each(column, (value) => values.push(value));
    const [least, most] = fenceOf(values);
    for (const value of values) if (value >= least && value <= most) take(value);
    if (values.length) take(values.at(-1));
  }
  if (low > high && skip.some(Boolean)) return rangeOf(columns, [first, last], { zero, near, more });
  if (zero) take(0);
  more.forEach(take);
  if (low > high) return [0, 1];
  // A distant level must not flatten the price line.
  const room = Math.max((high - low) * 0.6, high * 0.0015);
  const [lower, upper] = [low - room, high + room];
  for (const column of near) each(column, (value) => { if (value > lower && value < upper) take(value); });
  const pad = (high - low) * 0.07 || Math.abs(high) * 0.01 || 1;
  return [low - pad, high + pad];
}

// Returns ranges that all have 0 at the same height, each as narrow as that allows: two scales of a panel then
// share one line of zero.
export function alignedAtZero(ranges) {
  const shares = ranges.map(([low, high]) => [Math.max(-low, 0), Math.max(high, 0)].map((size) => size / (Math.max(high, 0) - Math.min(low, 0) || 1)));
  const [down, up] = [0, 1].map((side) => Math.max(...shares.map((share) => share[side])));
  return ranges.map(([low, high]) => {
    const whole = Math.max(high, 0) - Math.min(low, 0) || 1;
    return [-down * whole, up * whole];
  });
}
