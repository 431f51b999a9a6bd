// The verdict: what dealers must do from here, which side is which, how sure that is. Every clause is
// made of stored figures, leads to its panel, and explains itself; a figure that is missing says so.

import { byId, make } from "./dom.js";
import { fixed, moneyLike, percent, price, words } from "./format.js";
import { levelOf, ownOf } from "./held.js";
import { LATE_MS, live, server } from "./state.js";
import { TILES, outOfReach } from "./tiles.js";
import { clock, dayName, span, toTheMinute } from "./time.js";

const there = (value) => value !== null && value !== undefined;
// Less than this part of the largest amount is said in a smaller unit.
const OWN_UNIT = 0.1;
// Below this a sign is little better than a guess. [%]
const GUESS = 65;
const trade = (dollars, size) => (Math.abs(dollars) < 500 ? "trade next to nothing" : `${dollars < 0 ? "sell" : "buy"} ${size(dollars)}`);

const MOVE_MEANS = "Dollars of the underlying that dealers must trade after a move of spot, every contract priced anew there. At the same volatilities; the exact figure, not gamma times the move.";
const SURE_MEANS = "Probability that the sign of net GEX is right, given κ and the dealer convention, by what the sides of trades leave in doubt.";

function gamma(bar, size) {
  if (!there(bar.net_gex) || bar.regime === "unknown") return ["The sign of dealers' gamma is not known", ""];
  const long = bar.regime === "positive_gamma";
  return [`${long ? "Long" : "Short"} gamma ${bar.net_gex < 0 ? "−" : "+"}${size(bar.net_gex)} per 1 %`, long ? "up" : "down"];
}

// A book whose eight moves are all zero has none stored.
function moves(snapshot, size) {
  const hedging = snapshot?.body.hedging;
  if (!hedging) return "";
  const all = Object.entries(hedging).filter(([name]) => name.startsWith("spot_"));
  if (all.every(([, move]) => move.dealer_shares_to_trade === 0)) return "What a move makes them trade is not stored for this sample.";
  const [fall, rise] = [hedging.spot_down_half_pct.notional_usd, hedging.spot_up_half_pct.notional_usd];
  return `A fall of 0.5 % makes dealers ${trade(fall, size)}, a rise ${trade(rise, size)}.`;
}

const sigmasAway = (sigmas) => (sigmas < 0.05 ? "less than 0.1 σ away" : `${fixed(sigmas, sigmas < 10 ? 1 : 0)} σ away`);

function flip(bar) {
  const [level, own] = [levelOf(bar, "gamma_flip"), ownOf(bar, "gamma_flip")];
  if (!there(level)) {
    return bar.gamma_flip_status === "no_boundary" ? "Gamma keeps its sign at every level within 10 %." : "Too few quotes to say where gamma changes sign.";
  }
  // Which side the held one turns to is not sure while another crossing is the sample's.
  const sides = bar.regime === "unknown" || own !== null ? "Gamma turns at" : `${bar.regime === "positive_gamma" ? "Short" : "Long"} gamma ${level > bar.spot ? "above" : "below"}`;
  const sigmas = own === null ? bar.distance_to_flip_sigmas : bar.remaining_1sd ? Math.abs(level - bar.spot) / bar.remaining_1sd : null;
  const far = there(sigmas) ? sigmasAway(sigmas) : `${percent(Math.abs(level / bar.spot - 1) * 100, 2)} away`;
  return `${sides} ${price(level)}, ${far}${outOfReach(bar, sigmas) ? ": out of reach today" : ""}${own === null ? "" : `; by this sample alone at ${price(own)}${bar.remaining_1sd ? `, ${sigmasAway(Math.abs(own - bar.spot) / bar.remaining_1sd)}` : ""}`}.`;
}

function charm(bar, size) {
  if (!there(bar.charm_dollars_per_hour)) return "What time alone makes them trade is not measured for this sample.";
  const ends = bar.at + bar.charm_horizon_seconds * 1000;
  // Of the last minutes the seconds matter.
  const until = there(bar.charm_horizon_seconds) ? ` by ${bar.charm_horizon_seconds < 120 ? clock(ends) : toTheMinute(ends)}` : "";
  return `Time alone makes them ${trade(bar.charm_dollars_per_hour, size)}${until}.`;
}

function sure(bar) {
  if (!there(bar.regime_confidence)) return "How sure the sign is was not measured.";
  const share = Math.round(bar.regime_confidence * 100);
  return `Confidence of the sign ${share > 99 ? ">99" : share < GUESS ? `only ${share}` : share} %${share < GUESS ? ", little better than a guess" : ""}.`;
}

const tells = (field) => TILES.find((tile) => tile.field === field).tells;

// What must be known first: that all of it is past. "" while it is not, and in a replay.
function past(session, bar, replaying) {
  if (replaying || !session.hours || !server.known) return "";
  const [now, delay] = [server.now(), (session.about.delay_seconds ?? 0) * 1000];
  if (now >= session.hours.close + delay) return `${live() ? "Today's session" : "This session"} is over; by its last sample:`;
  const late = now - bar.at - delay;
  return late > LATE_MS + session.step ? `No newer sample for ${span((now - bar.at) / 1000)}; at ${clock(bar.at)} it was:` : "";
}

// Returns the clauses of a bar and of a snapshot that is not newer: name, figure, text, colour, panel, meaning.
export function clausesOf(bar, snapshot) {
  // One unit for all of them, as far as that can be read.
  const { spot_down_half_pct: fall, spot_up_half_pct: rise } = snapshot?.body.hedging ?? {};
  const money = moneyLike([bar.net_gex, fall?.notional_usd, rise?.notional_usd], OWN_UNIT);
  const size = (value) => money(Math.abs(value), false);
  const [sign, kind] = gamma(bar, size);
  const of = snapshot && snapshot.slot !== bar.at ? ` (at ${clock(snapshot.slot)})` : "";
  return [
    { name: "gamma", figure: "net_gex", text: `${sign}.`, kind, panel: "exposure", means: tells("net_gex") },
    { name: "move", figure: "hedging", text: moves(snapshot, size).replace(/\.$/, `${of}.`), kind: "", panel: "exposure", means: MOVE_MEANS },
    { name: "flip", figure: "gamma_flip", text: flip(bar), kind: "", panel: "price", means: tells("gamma_flip") },
    { name: "charm", figure: "charm_dollars_per_hour", text: charm(bar, size), kind: "", panel: "vol", means: tells("charm_dollars_per_hour") },
    { name: "sure", figure: "regime_confidence", text: sure(bar), kind: "", panel: "exposure", means: SURE_MEANS },
    { name: "flags", figure: "flags", text: bar.flags?.length ? `Flagged: ${bar.flags.map(words).join(", ")}.` : "", kind: "warn", panel: "price", means: "Caveats of this sample; the glossary explains each." },
  ].filter(({ text }) => text);
}

function lead(panel) {
  const place = byId(`plot-${panel}`).closest(".panel");
  const target = place.hidden ? byId("tiles") : place;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  target.scrollIntoView({ block: "center", behavior: still ? "auto" : "smooth" });
  target.classList.add("led");
  setTimeout(() => target.classList.remove("led"), 1600);
}

let shown = "";

export function showVerdict(session, bar, snapshot, replaying) {
  const over = bar ? past(session, bar, replaying) : "";
  const first = over ? [{ name: "past", text: over, kind: "", panel: "price", means: "What follows was so then; it is not known how it is now." }] : [];
  const clauses = bar ? [...first, ...clausesOf(bar, snapshot)] : [];
  const name = bar ? `${session.symbol} ${clock(bar.at)}: ${clauses.map(({ text }) => text).join(" ")}` : "";
  if (name === shown) return;
  shown = name;
  byId("verdict").hidden = !bar;
  if (!bar) return;
  // Clauses stay where they are, so that the one with the focus keeps it.
  const known = new Map([...byId("clauses").children].map((item) => [item.dataset.clause, item]));
  byId("verdict-of").textContent = `${session.symbol} ${live() ? "" : `${dayName(session.day)}, `}${clock(bar.at)}`;
  const items = clauses.map(({ name: clause, figure, text, kind, panel, means }) => {
    const item = known.get(clause) ?? make("button", "", "", { type: "button", "data-clause": clause, ...(figure && { "data-figure": figure }) });
    if (!known.has(clause)) item.addEventListener("click", () => lead(panel));
    item.className = `clause ${kind}`;
    item.title = means;
    if (item.textContent !== text) item.textContent = text;
    return item;
  });
  const same = items.length === known.size && items.every((item) => known.has(item.dataset.clause));
  if (!same) byId("clauses").replaceChildren(...items);
}
