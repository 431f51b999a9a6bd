// Asks what the page needs first while its script is still loading: the market, the symbols, and all of the
// session that the address names. Market and symbols stand in the page where the server wants no key.
// Each answer is taken once, by ``ask``, which asks anew where there is none.
{
  const KEPT_MS = 20000;
  const key = localStorage.getItem("flow.key");
  const base = new URL("..", document.currentScript.src).pathname;
  const early = globalThis.early = new Map();
  const ask = (path) => {
    const answer = fetch(base + path, { headers: key ? { "X-Api-Key": key } : {}, cache: "no-store" });
    // What fails is asked for again by the page, which says so.
    answer.catch(() => {});
    early.set(base + path, answer);
    return answer;
  };
  const view = new URLSearchParams(location.hash.slice(1));
  const choice = (name, otherwise) => (/^[\w.^-]{1,40}$/.test(view.get(name) ?? "") ? view.get(name) : otherwise);
  const [bar, feed] = [choice("bar", "1m"), choice("feed", "")];
  const askSession = (market, symbols) => {
    const symbol = choice("symbol", symbols.includes("SPX") ? "SPX" : symbols[0])?.toUpperCase();
    // The page says in words that nobody samples a symbol; asking for it here would be an error in the console.
    if (!symbols.includes(symbol)) return;
    const date = choice("day", market.session.date);
    const session = (what, parameters) => {
      const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
      ask(`v1/flow/zero-dte/${what}/${encodeURIComponent(symbol)}${query.size ? `?${query}` : ""}`);
    };
    session("series", { bar, feed, date });
    session("heatmap", { metric: "gex", mode: "raw", bar, feed, date });
    session("held-levels", { bar, feed, date, minutes: 390 });
    session("pressure", { bar, feed, date, minutes: 390 });
    session("sessions", { feed });
  };
  const inPage = JSON.parse(document.querySelector("meta[name=first-answers]").content || "null");
  const read = (path) => ask(path).then((sent) => sent.clone().json());
  if (inPage) {
    for (const [path, answer] of Object.entries(inPage)) early.set(base + path, Promise.resolve(Response.json(answer)));
    askSession(inPage["v1/market"], inPage["v1/symbols"].symbols);
  } else {
    // Resolves once all is asked for.
    early.ready = Promise.all([read("v1/market"), read("v1/symbols")])
      .then(([market, { symbols }]) => askSession(market, symbols)).catch(() => {});
  }
  // An answer that nobody has taken would hold its connection.
  setTimeout(() => {
    for (const answer of early.values()) answer.then((sent) => sent.body?.cancel()).catch(() => {});
    early.clear();
  }, KEPT_MS);
}
