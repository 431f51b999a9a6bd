// Redraws at most once per frame, and tells when the page is hidden and shown.

const HIDDEN_MS = 250;

export class Frames {
  #due = false;
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
    const go = () => {
      if (!this.#due) return;
      this.#due = false;
      this.draw();
    };
    requestAnimationFrame(go);
    if (document.hidden) setTimeout(go, HIDDEN_MS);
  }
}
