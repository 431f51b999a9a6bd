// Connects buttons, menus, keys and the address to their actions.

import { redrawHistory } from "./history.js";
import { redrawProjection } from "./projection.js";
import { key } from "./api.js";
import { byId, forgetColours, make, options, write } from "./dom.js";
import { listen } from "./keys.js";
import { BESIDE_NAMES, METRIC_NAMES, MODE_NAMES, TONE_NAMES } from "./panels.js";
import { clock } from "./time.js";
import { BARS, BESIDE, METRICS, MODES, PANEL_NAMES, TONES, WHOLE, WINDOWS } from "./view.js";

const SPEEDS = [1, 10, 30, 60, 120, 300, 600];

export function tie({ view, replay, screen, exporting, sessions, again }) {
  const choose = (name) => byId(name).addEventListener("change", (event) => {
    const more = name === "symbol" || name === "day" ? { ...WHOLE, at: "" } : name === "window" ? { from: "", to: "" } : {};
    // Another symbol may have other feeds.
    if (name === "symbol") more.feed = "";
    view.set({ [name]: event.target.value, ...more });
  });
  for (const name of ["symbol", "feed", "day", "bar", "window", "compare", "metric", "mode", "tone", "beside"]) choose(name);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  options(byId("speed"), SPEEDS.map((speed) => [`${speed}`, `${speed}×`]), `${replay.speed}`);
  byId("speed").addEventListener("change", (event) => { replay.speed = Number(event.target.value); });
  byId("scrub").addEventListener("input", (event) => replay.seek(Number(event.target.value) * 1000));
  const press = (name, act) => byId(name).addEventListener("click", act);
  press("play", () => replay.toggle());
  press("back", () => replay.step(-1));
  press("on", () => replay.step(1));
  press("leave", () => replay.leave());
  press("open-export", () => exporting.open());
  press("open-help", () => byId("help").showModal());
  press("open-key", () => byId("key-dialog").showModal());
  press("theme", theme);
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  byId("key-form").addEventListener("submit", () => {
    key.set(byId("key").value.trim());
    again();
  });
  for (const [name, text] of Object.entries(PANEL_NAMES)) {
    const label = make("label");
    const box = make("input", "", "", { type: "checkbox", name });
    box.addEventListener("change", () => {
      const chosen = Object.keys(PANEL_NAMES).filter((one) => panelBox(one).checked);
      view.set({ panels: chosen.length === Object.keys(PANEL_NAMES).length ? "" : chosen.join() || name });
    });
    label.append(box, ` ${text}`);
    byId("panel-choices").append(label);
  }
  addEventListener("hashchange", () => view.follow(location.hash));
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", repaint);

  function theme() {
    const light = getComputedStyle(document.documentElement).colorScheme === "light";
    const chosen = light ? "dark" : "light";
    localStorage.setItem("flow.theme", chosen);
    document.documentElement.dataset.theme = chosen;
    repaint();
  }

  function repaint() {
    forgetColours();
    screen.redraw();
    redrawHistory();
    redrawProjection();
  }

  function window(by) {
    const names = WINDOWS.map(([minutes]) => minutes);
    const at = Math.min(Math.max(names.indexOf(view.window) + by, 0), names.length - 1);
    view.set({ window: names[at], from: "", to: "" });
  }

  function day(by) {
    const days = sessions();
    const at = view.day ? days.indexOf(view.day) : days.length - 1;
    const next = days[at + by];
    if (next) view.set({ ...WHOLE, day: next, at: "" });
    else if (by > 0) view.set({ ...WHOLE, day: "", at: "" });
  }

  const walk = (by) => () => (replay.on ? replay.step(by) : screen.walk(by));
  listen({
    "/": () => byId("symbol").focus(),
    " ": () => replay.toggle(),
    ArrowLeft: walk(-1), ArrowRight: walk(1),
    "Shift+ArrowLeft": walk(-10), "Shift+ArrowRight": walk(10),
    ArrowUp: () => window(1), ArrowDown: () => window(-1),
    "[": () => day(-1), "]": () => day(1),
    l: () => { replay.leave(); view.set({ ...WHOLE, day: "", at: "" }); },
    e: () => exporting.open(),
    t: theme,
    "?": () => byId("help").showModal(),
    Escape: () => {
      screen.unpoint();
      view.set(WHOLE);
    },
  });
}

const panelBox = (name) => document.querySelector(`#panel-choices input[name=${name}]`);

export function showChosen(view) {
  for (const name of Object.keys(PANEL_NAMES)) {
    const shown = !view.panels || view.panels.split(",").includes(name);
    panelBox(name).checked = shown;
    byId(`plot-${name}`).closest(".panel").hidden = !shown;
  }
  options(byId("bar"), Object.keys(BARS).map((bar) => [bar, bar]), view.bar);
  options(byId("window"), [...WINDOWS, ...(view.from ? [["zoom", "Zoomed"]] : [])], view.from ? "zoom" : view.window);
  options(byId("metric"), METRICS.map((metric) => [metric, METRIC_NAMES[metric]]), view.metric);
  options(byId("mode"), MODES.map((mode) => [mode, MODE_NAMES[mode]]), view.mode);
  options(byId("tone"), TONES.map((tone) => [tone, TONE_NAMES[tone]]), view.tone);
  options(byId("beside"), BESIDE.map((beside) => [beside, BESIDE_NAMES[beside]]), view.beside);
}

export function showReplay(replay, session) {
  const hours = session?.hours;
  const none = !session?.newest;
  for (const name of ["play", "back", "on", "scrub", "speed"]) byId(name).disabled = none;
  byId("leave").hidden = !replay.on;
  write(byId("play"), replay.playing ? "❚❚" : "▶");
  byId("play").setAttribute("aria-label", replay.playing ? "Pause" : "Play from the open");
  if (none || !hours) return write(byId("stands"), "");
  const scrub = byId("scrub");
  const at = replay.at ?? session.newest.at;
  scrub.min = hours.open / 1000;
  scrub.max = Math.min(session.newest.at, hours.close) / 1000;
  scrub.step = 30;
  if (document.activeElement !== scrub || replay.playing || Number(scrub.value) * 1000 !== at) scrub.value = at / 1000;
  scrub.setAttribute("aria-valuetext", `${clock(at)} New York`);
  return write(byId("stands"), clock(at));
}
