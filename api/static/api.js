// Requests to the public endpoints, as any client makes them.

const KEY = "flow.key";
const PATIENCE_MS = 20000;
// The server's root, whatever path prefix a proxy serves it under: this file is in ``static/`` of it.
const BASE = new URL("..", import.meta.url).pathname;
const ROOT = `${BASE}v1/flow/zero-dte`;

// A server on loopback needs no key. Any other gets the key that was entered on this page.
export const key = {
  get: () => localStorage.getItem(KEY) ?? "",
  set: (text) => {
    if (text) localStorage.setItem(KEY, text);
    else localStorage.removeItem(KEY);
    // What was asked for early had the former key.
    globalThis.early?.clear();
  },
};

export class Refused extends Error {
  constructor(status, body) {
    super(body.message ?? body.detail ?? `The server answered ${status}.`);
    this.status = status;
    this.error = body.error ?? "";
  }
}

const query = (path, parameters) => {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
};
const of = (what) => (symbol, parameters = {}) =>
  query(`${ROOT}/${what}/${encodeURIComponent(symbol)}`, parameters);

export const paths = {
  symbols: () => `${BASE}v1/symbols`,
  alerts: (parameters) => query(`${BASE}v1/alerts`, parameters),
  rules: () => `${BASE}v1/alerts/rules`,
  levels: (symbol, parameters) => query(`${BASE}v1/levels/${encodeURIComponent(symbol)}`, parameters),
  market: () => `${BASE}v1/market`,
  series: of("series"),
  many: (symbols, parameters) => query(`${ROOT}/series`, { symbols: symbols.join(), ...parameters }),
  leaderboard: (parameters) => query(`${ROOT}/leaderboard`, parameters),
  heatmap: of("heatmap"),
  pressure: of("pressure"),
  heldLevels: of("held-levels"),
  sessions: of("sessions"),
  history: of("history"),
  projection: of("projection"),
  snapshot: of("snapshot"),
  scorecard: (symbol) => `${BASE}v1/scorecard/${encodeURIComponent(symbol)}`,
  explain: (symbol, parameters) => query(`${BASE}v1/explain/${encodeURIComponent(symbol)}`, parameters),
  stream: (symbol, parameters) => query(`${ROOT}/series/${encodeURIComponent(symbol)}/stream`, parameters),
};

// The key goes with each request in a header, and never into an address: proxies log addresses.
export const headers = () => (key.get() ? { "X-Api-Key": key.get() } : {});

// Returns an answer; throws Refused for any status but success.
export async function askResponse(path, signal) {
  const limit = AbortSignal.timeout(PATIENCE_MS);
  const either = signal ? AbortSignal.any([signal, limit]) : limit;
  const early = globalThis.early?.get(path);
  globalThis.early?.delete(path);
  const sent = (await early?.catch(() => null)) ?? await fetch(path, { headers: headers(), cache: "no-store", signal: either });
  if (!sent.ok) throw new Refused(sent.status, await sent.json().catch(() => ({})));
  return sent;
}

// Returns the body of an answer, {} of one that is no JSON.
export async function ask(path, signal) {
  return (await askResponse(path, signal)).json().catch(() => ({}));
}

// Returns an answer as a file; throws Refused for any status but success.
export async function askFile(path) {
  const sent = await fetch(path, { headers: headers() });
  if (!sent.ok) throw new Refused(sent.status, await sent.json().catch(() => ({})));
  return sent.blob();
}

// Returns the reason of a failure as a sentence.
export function why(error) {
  if (error instanceof Refused) return error.message;
  return "The server does not answer.";
}

// Returns the notice of a failed request, "" of a feed that is not there: the load of its session says that.
export function troubleOf(error) {
  if (error.error === "invalid_feed") return "";
  return error instanceof Refused ? why(error) : `${why(error)} Showing the last answer; retrying.`;
}
