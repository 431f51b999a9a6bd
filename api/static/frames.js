// Redraws at most once per frame, and tells when the page is hidden and shown.

const HIDDEN_MS = 250;
// Nobody waits longer for what could be drawn together.
const HOLD_MS = 150;

export class Frames {
  #due = false;
  #holds = 0;
  #hiddenAt = Date.now();

  // ``draw`` draws the page. ``turned`` is called when the page is hidden or shown, with whether it
  // is hidden, and for how long it was. [ms]
  constructor(draw, turned) {
    this.draw = draw;
    document.addEventListener("visibilitychange", () => {
      // A frame requested before the page was hidden or shown may never arrive.
      this.#due = false;
      if (document.hidden) this.#hiddenAt = Date.now();
      turned(document.hidden, Date.now() - this.#hiddenAt);
      this.later();
    });
  }

  // A hidden page gets no frames, so a timer redraws it: its title must still be right.
  later() {
    if (this.#due) return;
    this.#due = true;
    if (this.#holds) return;
    const go = () => {
      if (!this.#due || this.#holds) return;
      this.#due = false;
      this.draw();
    };
    requestAnimationFrame(go);
    if (document.hidden) setTimeout(go, HIDDEN_MS);
  }

  // Draws nothing until a promise has settled, so that answers that come together are drawn once.
  hold(promise) {
    this.#holds++;
    let held = true;
    const free = () => {
      if (!held) return;
      held = false;
      this.#holds--;
      if (this.#holds || !this.#due) return;
      this.#due = false;
      this.later();
    };
    promise.then(free, free);
    setTimeout(free, HOLD_MS);
  }
}
