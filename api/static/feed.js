// Keeps a session up to date: by the stream, and by a slow poll for what the stream does not send.

import { ask, paths } from "./api.js";
import { SharedStream } from "./shared.js";

// A key may have 2,500 requests a day. While the stream is open, a poll brings only what the stream
// does not send; out of hours hardly anything changes.
const POLL_MS = 120000;
const CLOSED_POLL_MS = 900000;
// Without the stream, polls grow rarer from the first pause to the last one.
const ALONE_MS = 3000;
const ALONE_MOST_MS = 30000;
const ALONE_CLOSED_MS = 300000;
const WAIT_MS = 1000;
const WAIT_MOST_MS = 120000;
// A stream that lasted for so long was a good one: the next one is opened soon after it.
const GOOD_MS = 30000;
// How many polls in a row may bring newer bars than the open stream before the stream counts as dead.
const OVERTAKEN = 2;
// A page that was left for less keeps its stream.
const LEFT_MS = 3000;

export class Feed {
  #stream = null;
  #opened = 0;
  #timer = 0;
  #overtaken = 0;
  #lastPoll = 0;
  #polling = false;
  #alone = ALONE_MS;
  #session = null;
  #again = 0;
  #cut = false;
  #waits = WAIT_MS;
  #hidden = document.hidden;
  #leaving = 0;

  // ``hear`` is called with the state of the connection, ``changed`` when the session has changed.
  // ``replaced`` when the server shows another vendor's feed of it: the bars here are not that one's.
  // ``isOpen`` says whether rows may come: the market is open, or has just closed.
  constructor({ hear, changed, failed, replaced, isOpen }) {
    this.hear = hear;
    this.changed = changed;
    this.failed = failed;
    this.replaced = replaced;
    this.isOpen = isOpen;
  }

  follow(session) {
    this.stop();
    this.#session = session;
    this.#lastPoll = performance.now();
    this.#cut = false;
    [this.#alone, this.#waits] = [ALONE_MS, WAIT_MS];
    this.#connect();
    this.#timer = setInterval(() => this.#look(), 1000);
  }

  stop() {
    this.#stream?.close();
    this.#stream = null;
    clearInterval(this.#timer);
    clearTimeout(this.#again);
    this.#session = null;
    this.hear("off");
  }

  // A hidden page keeps no connection, because a browser has six to a server: more pages would stall
  // all of them. It polls now and then, and goes on from its cursor once it is shown.
  turn(hidden) {
    clearTimeout(this.#leaving);
    if (hidden) {
      this.#leaving = setTimeout(() => this.#rest(), LEFT_MS);
    } else if (this.#hidden) {
      this.#hidden = false;
      if (!this.#session) return;
      this.#waits = WAIT_MS;
      this.#connect();
      if (!this.#polling) this.poll();
    }
  }

  #rest() {
    this.#hidden = true;
    clearTimeout(this.#again);
    this.#stream?.close();
    this.#stream = null;
    if (this.#session) this.hear("resting");
  }

  #connect() {
    if (this.#hidden) return this.hear("resting");
    const session = this.#session;
    this.#overtaken = 0;
    this.hear("connecting");
    const stream = new SharedStream(paths.stream(session.symbol, { bar: session.bar, feed: session.feed }), {
      since: session.cursor,
      opened: () => {
        if (stream !== this.#stream) return;
        this.#opened = performance.now();
        this.hear("live");
        // The server ends a stream when it shows another feed: its name is asked for.
        if (this.#cut && !this.#polling) this.poll();
        this.#cut = false;
      },
      queued: () => stream === this.#stream && this.hear("polling"),
      take: (event) => stream === this.#stream && this.#take(session, event),
      lost: (refused) => {
        if (stream !== this.#stream) return;
        this.hear("reconnecting");
        if (refused && refused.status !== 503) this.failed(refused);
        this.#reconnect();
      },
    });
    this.#stream = stream;
  }

  #take(session, event) {
    this.#overtaken = 0;
    this.hear("live");
    const cursor = Number(event.id);
    if (cursor > session.cursor) session.cursor = cursor;
    const body = JSON.parse(event.data);
    let changed = false;
    if (event.name === "gap") {
      session.addGap(body);
      changed = true;
    } else if ("t" in body) {
      changed = session.merge(body);
    }
    if (changed) this.changed(session);
    // The stream does not name the session's first sample.
    if (changed && !session.opening && !this.#polling) this.poll();
  }

  #reconnect() {
    this.#cut ||= this.#opened > 0;
    if (this.#opened && performance.now() - this.#opened > GOOD_MS) this.#waits = WAIT_MS;
    this.#opened = 0;
    this.#stream?.close();
    this.#stream = null;
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.#session && this.#connect(), this.#waits);
    this.#waits = Math.min(this.#waits * 2, WAIT_MOST_MS);
  }

  get #pause() {
    if (this.#stream?.open || this.#hidden) return this.isOpen() ? POLL_MS : CLOSED_POLL_MS;
    return this.isOpen() || this.#alone < ALONE_MOST_MS ? this.#alone : ALONE_CLOSED_MS;
  }

  #look() {
    if (this.#stream?.silent) {
      this.hear("reconnecting");
      this.#reconnect();
    }
    if (!this.#polling && performance.now() - this.#lastPoll > this.#pause) this.poll();
  }

  async poll() {
    const session = this.#session;
    if (!session) return;
    this.#polling = true;
    this.#lastPoll = performance.now();
    this.#alone = this.#stream?.open ? ALONE_MS : Math.min(this.#alone * 1.5, ALONE_MOST_MS);
    try {
      const path = paths.series(session.symbol, { bar: session.bar, feed: session.feed, date: session.day, since: session.cursor });
      const body = await ask(path);
      if (session !== this.#session) return;
      const { feed } = session.about;
      if (feed && body.feed && body.feed !== feed) {
        this.replaced();
        return;
      }
      const before = session.newest?.at ?? 0;
      session.update(body);
      this.changed(session);
      if (this.#stream?.open && (session.newest?.at ?? 0) > before && ++this.#overtaken >= OVERTAKEN) {
        this.hear("reconnecting");
        this.#reconnect();
      }
    } catch (error) {
      if (session === this.#session) this.failed(error);
    } finally {
      this.#polling = false;
    }
  }
}
