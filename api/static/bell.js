// The list of alerts, browser notifications and sound. Announced alerts are stored in this browser.

import { DEFAULTS, RULES, eventsOf } from "./alerts.js";
import { byId, make } from "./dom.js";
import { clock, isoDay } from "./time.js";

const SETTINGS = "flow.alerts";
const LOG = "flow.alerts.log";
const KEPT = 200;
const SHOWN = 60;

function stored(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export class Bell {
  #settings = { ...DEFAULTS, notify: false, sound: false, ...stored(SETTINGS, {}) };
  #log = stored(LOG, []);
  // Time of the newest bar checked while live, by symbol and day: only later bars are announced.
  #judged = new Map();
  #listed = "";

  constructor(changed) {
    this.changed = changed;
    this.#build();
  }

  #build() {
    const form = byId("alert-rules");
    const box = (name, text) => {
      const label = make("label");
      const input = make("input", "", "", { type: "checkbox", name });
      input.checked = this.#settings[name];
      input.addEventListener("change", () => this.#choose(name, input));
      label.append(input, ` ${text}`);
      return label;
    };
    for (const [name, text] of Object.entries(RULES)) {
      const label = box(name, text);
      if (name === "pin") {
        const level = make("input", "", "", { type: "number", min: "1", max: "100", "aria-label": "Pin score level" });
        level.value = this.#settings.pinLevel;
        level.addEventListener("change", () => {
          this.#settings.pinLevel = Math.min(Math.max(Math.round(Number(level.value)) || DEFAULTS.pinLevel, 1), 100);
          level.value = this.#settings.pinLevel;
          this.#save();
        });
        label.append(" ", level);
      }
      form.append(label);
    }
    form.append(box("notify", "Browser notifications"), box("sound", "Sound"));
    byId("alerts-clear").addEventListener("click", () => {
      this.#log = [];
      localStorage.removeItem(LOG);
      this.changed();
    });
  }

  async #choose(name, input) {
    if (name === "notify" && input.checked) {
      const allowed = "Notification" in globalThis && (await Notification.requestPermission()) === "granted";
      input.checked = allowed;
      byId("alerts-note").textContent = allowed ? "" : "This browser does not allow notifications for this page.";
    }
    this.#settings[name] = input.checked;
    if (name === "sound" && input.checked) this.#ring();
    this.#save();
  }

  #save() {
    localStorage.setItem(SETTINGS, JSON.stringify(this.#settings));
    this.changed();
  }

  // Lists the alerts of a session; in a live session, announces the new ones.
  judge(session, bars, live) {
    const found = eventsOf(bars, this.#settings);
    if (live && bars.length) {
      const name = `${session.symbol} ${session.day}`;
      const since = this.#judged.get(name);
      // First, so that an alert is announced once even where announcing it fails.
      this.#judged.set(name, Math.max(since ?? 0, bars.at(-1).at));
      // Alerts that happened before the session was opened on this page are not announced.
      if (since !== undefined) this.#announce(session, found.filter(({ at }) => at > since));
    }
    this.#list(session, found);
  }

  #announce(session, news) {
    if (news.length === 0) return;
    for (const { at, kind, text } of news) this.#log.push({ symbol: session.symbol, day: session.day, at, kind, text });
    this.#log = this.#log.slice(-KEPT);
    byId("said").textContent = news.at(-1).text;
    const failed = [];
    const attempt = (what, act) => {
      try {
        act();
      } catch {
        failed.push(what);
      }
    };
    attempt("stores no alerts", () => localStorage.setItem(LOG, JSON.stringify(this.#log)));
    if (this.#settings.sound) attempt("plays no sound", () => this.#ring());
    if (this.#settings.notify && globalThis.Notification?.permission === "granted") {
      // Browsers of phones allow the permission and refuse the notification.
      attempt("shows no notifications of pages", () => {
        for (const { kind, text } of news.slice(-3)) new Notification(`${session.symbol} 0DTE`, { body: text, tag: `${session.symbol} ${kind}` });
      });
    }
    byId("alerts-note").textContent = failed.length ? `This browser ${failed.join(", and ")}.` : "";
  }

  #list(session, found) {
    const here = found.map((event) => ({ ...event, symbol: session.symbol, day: session.day }));
    const same = ({ symbol, day }) => symbol === session?.symbol && day === session?.day;
    const all = [...this.#log.filter((event) => !same(event)), ...here].sort((a, b) => a.at - b.at);
    const shown = all.slice(-SHOWN).reverse();
    const name = shown.map(({ symbol, at, kind }) => `${symbol}${at}${kind}`).join();
    if (name === this.#listed) return;
    this.#listed = name;
    byId("alert-count").textContent = here.length ? `${here.length} in this session` : "";
    byId("alert-list").replaceChildren(...shown.map((event) => {
      const item = make("li", "", same(event) ? event.kind : `${event.kind} elsewhere`);
      const when = same(event) ? clock(event.at) : `${event.symbol} ${isoDay(event.at).slice(5)} ${clock(event.at)}`;
      item.append(make("time", when), make("span", event.text));
      return item;
    }));
    if (shown.length === 0) byId("alert-list").append(make("li", "No alert: nothing in this session matches the rules above.", "muted"));
  }

  #ring() {
    const audio = new AudioContext();
    const [tone, volume] = [audio.createOscillator(), audio.createGain()];
    tone.frequency.value = 880;
    volume.gain.setValueAtTime(0.15, audio.currentTime);
    volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.4);
    tone.connect(volume).connect(audio.destination);
    tone.start();
    tone.stop(audio.currentTime + 0.4);
    tone.onended = () => audio.close();
  }
}
