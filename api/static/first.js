// The stream that waits for today's first sample while an earlier session is shown.

import { paths } from "./api.js";
import { SharedStream } from "./shared.js";
import { state, view } from "./state.js";
import { isoDay, moment } from "./time.js";

export class First {
  #stream = null;

  // ``came`` is called when the sample is there.
  constructor(came) {
    this.came = came;
  }

  get waiting() {
    return this.#stream !== null;
  }

  wait() {
    if (document.hidden) return;
    const mine = new SharedStream(paths.stream(view.symbol, { bar: view.bar, feed: view.feed }), {
      opened: () => {},
      take: ({ data }) => {
        const { t } = JSON.parse(data);
        if (mine !== this.#stream || !t || isoDay(moment(t)) !== state.market?.session.date) return;
        this.stop();
        this.came();
      },
      // The next look at the market loads the session anew.
      lost: () => {},
    });
    this.#stream = mine;
  }

  stop() {
    this.#stream?.close();
    this.#stream = null;
  }
}
