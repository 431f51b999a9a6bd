// The layout: the watchlist, and further charts beside the big one.

import { Others } from "./others.js";
import { Watch } from "./watch.js";

const LOOK_MS = 1000;

export class Layout {
  // ``parts``: what the charts share, see ``Chart``; ``changed`` is called when something new has come.
  constructor(parts, changed) {
    this.watch = new Watch(changed);
    this.others = new Others(parts, changed);
    setInterval(() => this.#look(), LOOK_MS);
    for (const event of ["change", "click"]) document.addEventListener(event, () => queueMicrotask(() => this.#look()));
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => this.others.redraw());
    new MutationObserver(() => this.others.redraw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  #look() {
    this.watch.look();
    this.others.look();
  }

  // ``until``: the moment of a replay, null without one.
  show(until) {
    this.#look();
    this.watch.show(until);
    this.others.show(until);
  }
}
