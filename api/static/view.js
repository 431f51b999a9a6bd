// The view: symbol, feed, session, window and so on. It is stored in the page's address, so that a link restores it.

export const BARS = { "30s": 30, "1m": 60, "5m": 300, "15m": 900 };
export const METRICS = ["gex", "dex", "vex", "chex", "oi", "volume", "signed_flow", "none"];
export const MODES = ["raw", "delta", "since_open"];
export const TONES = ["linear", "log"];
export const BESIDE = ["live", "settled", "volume", "since_open", "since_crosshair"];
export const WINDOWS = [["", "Session"], ["auto", "From the open"], ["180", "3 h"], ["120", "2 h"], ["60", "1 h"], ["30", "30 min"]];
// Neither zoomed nor moved.
export const WHOLE = { from: "", to: "", low: "", high: "" };
const START = {
  symbol: "",
  feed: "", // the one that the server shows of each session
  day: "", // the newest session, live
  bar: "1m", window: "", metric: "gex", mode: "raw", tone: "linear", beside: "live", compare: "",
  from: "", to: "", // a zoom, unix seconds
  low: "", high: "", // the same in strikes, dollars
  at: "", // where replay stands, the same
  panels: "", // which ones are shown, with commas; all of them without a choice
  charts: "", // how many price charts: one, or "2" or "4"
  others: "", // the symbols of the others, with commas; without a choice the next ones of the list
  watch: "", // "1" with the watchlist
};
export const PANEL_NAMES = { price: "Price and strikes", flow: "Hedge flow", pressure: "Pressure", exposure: "Exposure", pin: "Pin", vol: "Volatility and charm" };
// What is nothing of its own any more: in older links.
const FORMER_PANELS = { heat: "price" };
const LEVEL = /^\d{1,7}(\.\d{1,2})?$/;
const DAY = /^\d{4}-\d{2}-\d{2}$/;
const VALID = {
  symbol: (text) => text.length <= 32,
  feed: (text) => /^[a-z0-9_.-]{1,40}$/.test(text),
  day: (text) => DAY.test(text),
  compare: (text) => DAY.test(text),
  bar: (text) => text in BARS,
  window: (text) => WINDOWS.some(([minutes]) => minutes === text),
  metric: (text) => METRICS.includes(text),
  mode: (text) => MODES.includes(text),
  tone: (text) => TONES.includes(text),
  beside: (text) => BESIDE.includes(text),
  low: (text) => LEVEL.test(text),
  high: (text) => LEVEL.test(text),
  from: (text) => /^\d{1,10}$/.test(text),
  to: (text) => /^\d{1,10}$/.test(text),
  at: (text) => /^\d{1,10}$/.test(text),
  panels: (text) => text.split(",").every((name) => name in PANEL_NAMES),
  charts: (text) => text === "2" || text === "4",
  others: (text) => text.length <= 99 && text.split(",").every((name) => /^[A-Z0-9.^]{1,32}$/.test(name)),
  watch: (text) => text === "1",
};
// The layout is kept in the browser too; an address that names a part of it goes first.
const LAYOUT = ["panels", "charts", "others", "watch", "window"];
const KEPT = "flow.layout";

const present = (panels) => [...new Set(panels.split(",").map((name) => FORMER_PANELS[name] ?? name))].join();

function keptLayout() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    if (kept.panels) kept.panels = present(kept.panels);
    return Object.fromEntries(LAYOUT.filter((name) => typeof kept[name] === "string" && VALID[name](kept[name])).map((name) => [name, kept[name]]));
  } catch {
    return {};
  }
}

export function readAddress(hash) {
  const view = { ...START, ...keptLayout() };
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    const value = name === "panels" ? present(text) : text;
    if (VALID[name]?.(value)) view[name] = name === "symbol" ? value.trim().toUpperCase() : value;
  }
  return view;
}

// Returns an address that shows the same again at any later time: it names the day, the moment and
// the bar size, also where the page would choose them by itself.
export function writeFixedAddress(view, session, at) {
  const all = { ...view, symbol: session.symbol, day: session.day, at: `${Math.round(at / 1000)}` };
  return `#${new URLSearchParams(Object.entries(all).filter(([, value]) => value))}`;
}

export function writeAddress(view) {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(view)) {
    if (value && value !== START[name]) parts.set(name, value);
  }
  return `#${parts}`;
}

export class View {
  #heard = [];

  constructor(hash) {
    Object.assign(this, readAddress(hash));
  }

  // Calls back with the names of what has changed.
  listen(call) {
    this.#heard.push(call);
  }

  set(changes, { quiet = false } = {}) {
    const changed = Object.keys(changes).filter((name) => this[name] !== changes[name]);
    if (changed.length === 0) return;
    Object.assign(this, changes);
    history.replaceState(null, "", this.address);
    if (changed.some((name) => LAYOUT.includes(name))) {
      localStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(LAYOUT.map((name) => [name, this[name]]))));
    }
    if (!quiet) for (const call of this.#heard) call(new Set(changed));
  }

  // Applies the view of a followed link.
  follow(hash) {
    this.set(readAddress(hash));
  }

  get address() {
    return writeAddress({ ...this });
  }
}
