// The server's log of alerts of the session that is shown; this browser's notifications and sound.

import { ask, paths, why } from "./api.js";
import { byId, make, write } from "./dom.js";
import { say } from "./explain.js";
import { words } from "./format.js";
import { muteRule } from "./rules.js";
import { clock, isoDay, moment } from "./time.js";

const SETTINGS = "flow.alerts";
// The server finds events by itself. Who wants to hear them here asks for them more often.
const LOOK_MS = 120000;
const LISTENING_MS = 30000;
const LEAST_MS = 3000;
const LIMIT = 200;
// The figure that a rule of a kind judges; of a wall the event says which one.
const FIGURES = { regime: "net_gex", flip_cross: "gamma_flip", magnet: "magnet", pin_score: "pin_score", hedge_flow: "hedge_flow_cumulative_all" };
// In which order the numbers of an event are said; others come after these.
const ORDER = ["from", "to", "lead"];
const place = (name) => (ORDER.indexOf(name) + ORDER.length + 1) % (ORDER.length + 1);
const figureOf = (kind, figures) => (kind === "wall" ? figures.level : FIGURES[kind]);
// What one press of a button mutes a rule for. [hours]
const MUTED = 1;
const CHOICES = { notify: "Browser notifications", sound: "Sound", mute: "Mute both" };

function stored() {
  try {
    return JSON.parse(localStorage.getItem(SETTINGS)) ?? {};
  } catch {
    return {};
  }
}

export class Bell {
  #settings = { notify: false, sound: false, mute: false, ...stored() };
  #events = [];
  // The session that the events are of, and which of them are known to this page.
  #session = "";
  #known = new Set();
  #asked = -Infinity;
  #busy = false;
  #failure = "";
  #listed = null;
  // The chosen feed, "" without a choice, and the one that is shown.
  #feeds = ["", ""];
  // Rules that were muted here, by name: until when, in words.
  #muted = new Map();

  constructor(changed) {
    this.changed = changed;
    const form = byId("alert-choices");
    for (const [name, text] of Object.entries(CHOICES)) {
      const label = make("label");
      const input = make("input", "", "", { type: "checkbox", name });
      input.checked = this.#settings[name];
      input.addEventListener("change", () => this.#choose(name, input));
      label.append(input, ` ${text}`);
      form.append(label);
    }
    const test = make("button", "Test", "", { type: "button", title: "Show a notification and play the sound, as chosen" });
    test.addEventListener("click", () => this.#announce([{ title: "0DTE", kind: "test", message: "This is what an alert is like." }]));
    form.append(test);
  }

  async #choose(name, input) {
    if (name === "notify" && input.checked) {
      const allowed = "Notification" in globalThis && (await Notification.requestPermission()) === "granted";
      input.checked = allowed;
      write(byId("alerts-note"), allowed ? "" : "This browser does not allow notifications for this page.");
    }
    this.#settings[name] = input.checked;
    localStorage.setItem(SETTINGS, JSON.stringify(this.#settings));
  }

  async #mute(rule) {
    try {
      const until = await muteRule(rule, this.#muted.has(rule) ? 0 : MUTED);
      if (until) this.#muted.set(rule, until);
      else this.#muted.delete(rule);
      write(byId("alerts-note"), until ? `The rule “${words(rule)}” is muted until ${until}: its events are written to the log, and sent to nobody.` : `The rule “${words(rule)}” is muted no longer.`);
    } catch (error) {
      write(byId("alerts-note"), why(error));
    }
    this.#listed = null;
    this.changed();
  }

  // An event of the market: a press on its words explains the figure that it was judged by.
  #event({ at, kind, category, message, figures }, symbol, day, current) {
    const item = make("li", "", `${kind} ${category}`);
    const text = message.replace(`${symbol}: `, "") + (figures.feed && current && figures.feed !== current ? ` (feed ${figures.feed})` : "") + (figures.muted ? " (muted)" : "");
    const { rule = "", feed, muted, level, ...measured } = figures;
    const figure = figureOf(kind, figures);
    const numbers = Object.entries(measured).sort(([a], [b]) => place(a) - place(b)).map(([name, value]) => `${words(name)} ${say(value, "text")}`).join(", ");
    const said = figure && rule
      ? make("button", text, "plain", { type: "button", "data-figure": figure, "data-at": `${at}`, "data-note": `The rule “${words(rule)}” judged by: ${numbers}.` })
      : make("span", text);
    item.append(make("time", isoDay(at) === day ? clock(at) : `${isoDay(at).slice(5)} ${clock(at)}`), said);
    if (rule) {
      const silent = this.#muted.has(rule);
      const button = make("button", silent ? "Unmute" : "Mute", "mute", { type: "button", "aria-pressed": String(silent), title: silent ? `Let the rule “${words(rule)}” speak again` : `Mute the rule “${words(rule)}” for an hour, for everybody whom this server tells` });
      button.addEventListener("click", () => this.#mute(rule));
      item.append(button);
    }
    return item;
  }

  get listening() {
    return !this.#settings.mute && (this.#settings.notify || this.#settings.sound);
  }

  // Asks for the session's alerts if that is due. ``live``: more may come; of other sessions it asks
  // once. ``spare``: the page makes few other requests. ``speed`` is how fast the market's clock runs.
  async look(session, { live, spare, speed }) {
    if (!session) return;
    const feeds = [session.feed, session.about.feed ?? ""];
    if (feeds.join() !== this.#feeds.join()) [this.#feeds, this.#listed] = [feeds, null], this.changed();
    if (this.#busy) return;
    const name = `${session.symbol} ${session.day}`;
    const pause = live ? Math.max((this.listening && spare ? LISTENING_MS : LOOK_MS) / speed, LEAST_MS) : Infinity;
    if (name === this.#session && performance.now() - this.#asked < pause) return;
    const first = name !== this.#session;
    if (first) [this.#session, this.#events] = [name, []];
    [this.#busy, this.#asked] = [true, performance.now()];
    try {
      const { alerts } = await ask(paths.alerts({ symbol: session.symbol, date: session.day, limit: LIMIT }));
      this.#failure = "";
      if (name === this.#session) this.#take(alerts, session, live && !first);
    } catch (error) {
      this.#failure = why(error);
    } finally {
      this.#busy = false;
    }
    this.changed();
  }

  #take(alerts, session, announced) {
    this.#events = alerts.map(({ id, kind, category, message, slot, began, figures }) => ({ id, kind, category, message, figures, at: moment(slot ?? began) }));
    const news = this.#events.filter(({ id }) => !this.#known.has(id));
    for (const { id } of news) this.#known.add(id);
    // The server sends nobody the events of a rule that is muted; neither does this page.
    const heard = news.filter(({ figures }) => !figures.muted);
    if (announced && heard.length) this.#announce(heard.map((event) => ({ ...event, title: `${session.symbol} 0DTE` })));
  }

  #announce(news) {
    if (this.#settings.mute) return;
    byId("said").textContent = news[0].message;
    const failed = [];
    const attempt = (what, act) => {
      try {
        act();
      } catch {
        failed.push(what);
      }
    };
    if (this.#settings.sound) attempt("plays no sound", () => this.#ring(news.some(({ category }) => category === "operational")));
    if (this.#settings.notify && globalThis.Notification?.permission === "granted") {
      // Browsers of phones allow the permission and refuse the notification.
      attempt("shows no notifications of pages", () => {
        for (const { title, kind, message } of news.slice(0, 3)) new Notification(title, { body: message, tag: `${title} ${kind}` });
      });
    }
    write(byId("alerts-note"), failed.length ? `This browser ${failed.join(", and ")}.` : "");
  }

  // Lists the alerts that were known at a moment of replay, all of them without one; the newest first.
  show(until) {
    const [chosen, current] = this.#feeds;
    // Events of the product are of no feed.
    const shown = this.#events.filter(({ at, figures }) => (until === null || at <= until) && (!chosen || !figures.feed || figures.feed === chosen));
    const name = `${chosen} ${current} ${this.#session} ${this.#failure} ${shown.map(({ id }) => id).join()}`;
    if (name === this.#listed) return;
    this.#listed = name;
    const [symbol, day] = this.#session.split(" ");
    byId("alert-count").textContent = shown.length ? `${shown.length} in this session` : "";
    const items = shown.map((event) => this.#event(event, symbol, day, current));
    const none = this.#failure || "No alert of this session in the server's log. Its rules judge samples as they come: a session that was filled in later has none.";
    byId("alert-list").replaceChildren(...(items.length ? items : [make("li", none, "muted")]));
  }

  // Faults of the product sound an octave lower than events of the market.
  #ring(fault) {
    const audio = new AudioContext();
    const [tone, volume] = [audio.createOscillator(), audio.createGain()];
    tone.frequency.value = fault ? 440 : 880;
    volume.gain.setValueAtTime(0.15, audio.currentTime);
    volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.4);
    tone.connect(volume).connect(audio.destination);
    tone.start();
    tone.stop(audio.currentTime + 0.4);
    tone.onended = () => audio.close();
  }
}
