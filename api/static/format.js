// Numbers as people say them: bn, mm, bp. A number that is not there is a dash.

export const NONE = "—";
const minus = (text) => text.replace("-", "−");

// Writers by their fraction digits, least and most: making one takes longer than a whole label.
const writers = new Map();

function grouped(value, least, most) {
  const name = 100 * least + most;
  if (!writers.has(name)) writers.set(name, new Intl.NumberFormat("en-US", { minimumFractionDigits: least, maximumFractionDigits: most }));
  return minus(writers.get(name).format(value));
}

export const fixed = (value, digits = 2) => grouped(value, digits, digits);

const there = (value) => value !== null && value !== undefined;

export const price = (value) => (there(value) ? fixed(value) : NONE);

export const strike = (value) =>
  there(value) ? grouped(value, 0, 2) : NONE;

export const percent = (value, digits = 1) => (there(value) ? `${fixed(value, digits)} %` : NONE);

// How far a level is from the price, signed: an index has points, a fund or a share dollars.
export function far(value, index) {
  const digits = Math.abs(value) < 100 ? 2 : 0;
  if (index) return `${plus(value, (n) => fixed(n, digits))} points`;
  return `${value < 0 ? "−" : "+"}$${fixed(Math.abs(value), digits)}`;
}

// A distance in standard deviations: what rounds to nothing has no sign.
export function sigma(value) {
  const text = fixed(value, Math.abs(value) < 10 ? 1 : 0);
  return Number(text.replace("−", "-").replaceAll(",", "")) === 0 ? "0.0 σ" : `${value > 0 ? "+" : ""}${text} σ`;
}

export const plus = (value, write = fixed) => (value > 0 ? `+${write(value)}` : write(value));

const unitOf = (whole) => (whole >= 999.95e6 ? [1e9, "bn", 2] : whole >= 0.05e6 ? [1e6, "mm", 1] : [1e3, "k", 0]);

// Dollars: +$1.25 bn, −$120.4 mm, +$38 k, $0; ``unit`` is another one than the number's own.
export function money(value, signed = true, unit = null) {
  if (!there(value)) return NONE;
  const whole = Math.abs(value);
  if (whole < 500) return "$0";
  const [size, name, digits] = unit ?? unitOf(whole);
  return `${value < 0 ? "−" : signed ? "+" : ""}$${fixed(whole / size, digits)} ${name}`;
}

// Returns how the dollars of one panel are written: in the unit of the largest of some numbers. What is
// less than a part of that unit keeps its own, since it would be written as next to nothing.
export function moneyLike(values, least = 0.01) {
  const unit = unitOf(Math.max(0, ...values.filter(there).map(Math.abs)));
  return (value, signed = true) => money(value, signed, there(value) && Math.abs(value) >= least * unit[0] ? unit : null);
}

// The same for an axis: no more digits than its ticks need.
export function brief(value) {
  const size = Math.abs(value);
  if (size < 1) return "0";
  if (size < 1e3) return grouped(value, 0, 0);
  const [unit, name] = size >= 1e9 ? [1e9, " bn"] : size >= 1e6 ? [1e6, " mm"] : [1e3, " k"];
  return grouped(value / unit, 0, 2) + name;
}

// Volatility is a decimal on the wire and a percentage in speech; its changes are basis points.
export const vol = (value) => percent(there(value) ? value * 100 : null, 2);
export const points = (change) => `${plus(change * 1e4, (n) => fixed(n, 0))} bp`;

export const words = (name) => (name ?? "").replaceAll("_", " ");

export const count = (value) =>
  there(value) ? grouped(Math.round(value), 0, 0) : NONE;
