// A stored session played from its open: where it stands, and how fast it goes.

const FRAME_MS = 80;

export class Replay {
  // The moment that is played, milliseconds; null while the session is shown whole.
  at = null;
  playing = false;
  speed = 60;
  #timer = 0;
  #last = 0;

  constructor(changed) {
    this.changed = changed;
    this.session = null;
  }

  get on() {
    return this.at !== null;
  }

  load(session, at = null) {
    this.pause();
    this.session = session;
    this.at = at;
  }

  get #span() {
    const { hours, newest } = this.session;
    return [hours.open, Math.min(newest?.at ?? hours.open, hours.close)];
  }

  seek(at) {
    if (!this.session?.hours) return;
    const [first, last] = this.#span;
    this.at = Math.min(Math.max(at, first), last);
    this.changed();
  }

  // One bar on or back, to where it was sampled.
  step(by) {
    if (!this.session?.newest) return;
    this.pause();
    const { bars } = this.session;
    const now = this.at ?? bars.at(-1).at;
    let k = bars.findLastIndex((bar) => bar.at <= now);
    if (by < 0 && k >= 0 && bars[k].at < now) k++;
    this.seek(bars[Math.min(Math.max(k + by, 0), bars.length - 1)].at);
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  play() {
    if (!this.session?.newest) return;
    const [first, last] = this.#span;
    if (this.at === null || this.at >= last) this.at = first;
    this.playing = true;
    this.#last = performance.now();
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#frame(), FRAME_MS);
    this.changed();
  }

  pause() {
    clearInterval(this.#timer);
    if (!this.playing) return;
    this.playing = false;
    this.changed();
  }

  leave() {
    this.pause();
    this.at = null;
    this.changed();
  }

  #frame() {
    const now = performance.now();
    const to = this.at + (now - this.#last) * this.speed;
    this.#last = now;
    const last = this.#span[1];
    if (to >= last) this.pause();
    this.seek(to);
  }
}
