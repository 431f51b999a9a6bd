// The legend beside each panel: its lines and their values at the crosshair, else of the newest bar.

import { byId, make, write } from "./dom.js";
import { FIGURES } from "./explain.js";
import { NONE, money, moneyLike } from "./format.js";

export class Legend {
  #values = [];

  constructor(panel, lines) {
    const place = byId(`legend-${panel.id}`);
    const list = make("dl");
    for (const line of lines) {
      const key = make("dt", "", `key c-${line.colour}`);
      key.append(make("i", "", line.dash ? (line.dash[0] <= 2 ? "dotted" : "dashed") : ""), make("span", line.name));
      const value = make("dd", NONE, "", { ...(line.compare ? {} : { tabindex: "0" }), "data-field": line.compare ? "" : line.field, ...(!line.compare && FIGURES.includes(line.field) ? { "data-figure": line.field } : {}), ...(line.held ? { "data-figure": line.held } : {}), ...(line.field.startsWith("flow_") ? { "data-figure": "hedge_flow_cumulative_all" } : {}) });
      const row = make("div", "", "row");
      row.append(key, value);
      list.append(row);
      this.#values.push({ line, row, value });
    }
    place.replaceChildren(list);
  }

  // ``[low, high]`` is the visible range of the main scale: a value outside it gets an arrow.
  show(values, [low, high] = [null, null]) {
    // One unit a panel.
    const dollars = moneyLike(values.filter((_, k) => this.#values[k]?.line.write === money));
    this.#values.forEach(({ line, row, value }, k) => {
      const now = values[k];
      const say = line.write === money ? dollars : line.write;
      const none = now === null || now === undefined;
      const beyond = none || low === null || line.scale ? "" : now > high ? " ↑" : now < low ? " ↓" : "";
      write(value, none ? NONE : say(now) + beyond);
      value.title = beyond ? "Outside the visible range of the chart" : "";
      // A held level has a line of its own where it is another one than the sample's.
      const same = line.held && (none || now === values[this.#values.findIndex((other) => other.line.field === line.held)]);
      row.hidden = (Boolean(line.optional) && none) || Boolean(same);
    });
  }
}
