// Keeps a session up to date: by the stream, and by a slow poll for what the stream does not send.

import { ask, paths } from "./api.js";

const POLL_MS = 30000;
const POLL_ALONE_MS = 3000;
// How many polls in a row may bring newer bars than the open stream before the stream counts as dead.
const OVERTAKEN = 2;

export class Feed {
  #source = null;
  #timer = 0;
  #overtaken = 0;
  #lastPoll = 0;
  #polling = false;
  #session = null;
  #again = 0;
  #waits = 1000;

  // ``hear`` is called with the state of the connection, ``changed`` when the session has changed.
  constructor({ hear, changed, failed }) {
    this.hear = hear;
    this.changed = changed;
    this.failed = failed;
  }

  follow(session) {
    this.stop();
    this.#session = session;
    this.#connect();
    this.#timer = setInterval(() => this.#look(), 1000);
  }

  stop() {
    this.#source?.close();
    this.#source = null;
    clearInterval(this.#timer);
    clearTimeout(this.#again);
    this.#session = null;
    this.hear("off");
  }

  #connect() {
    const session = this.#session;
    // A browser that reconnects by itself sends Last-Event-ID, which is newer than this cursor.
    const source = new EventSource(paths.stream(session.symbol, { bar: session.bar, since: session.cursor }));
    this.#source = source;
    this.#overtaken = 0;
    this.hear("connecting");
    source.onopen = () => {
      this.#waits = 1000;
      this.hear("live");
    };
    const tell = (take) => (event) => {
      this.#overtaken = 0;
      this.hear("live");
      if (session !== this.#session) return;
      const cursor = Number(event.lastEventId);
      if (cursor > session.cursor) session.cursor = cursor;
      if (event.data && take(JSON.parse(event.data))) this.changed(session);
    };
    const bar = tell((body) => "t" in body && session.merge(body));
    const gap = tell((body) => {
      for (const one of body.gap_intervals ?? [body]) if (one.from) session.addGap(one);
      return true;
    });
    source.addEventListener("message", bar);
    source.addEventListener("bar", bar);
    source.addEventListener("gap", gap);
    source.onerror = () => {
      if (source !== this.#source) return;
      // The browser gives up on an answer that is no stream; a server that restarts gives one.
      this.hear("reconnecting");
      if (source.readyState === EventSource.CLOSED) this.#reconnect();
    };
  }

  #reconnect() {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.#session && this.#connect(), this.#waits);
    this.#waits = Math.min(this.#waits * 2, 15000);
  }

  get #open() {
    return this.#source?.readyState === EventSource.OPEN;
  }

  #look() {
    const every = this.#open ? POLL_MS : POLL_ALONE_MS;
    if (!this.#polling && performance.now() - this.#lastPoll > every) this.poll();
  }

  async poll() {
    const session = this.#session;
    if (!session) return;
    this.#polling = true;
    this.#lastPoll = performance.now();
    try {
      const path = paths.series(session.symbol, { bar: session.bar, date: session.day, since: session.cursor });
      const body = await ask(path);
      if (session !== this.#session) return;
      const before = session.newest?.at ?? 0;
      session.update(body);
      this.changed(session);
      if (this.#open && (session.newest?.at ?? 0) > before && ++this.#overtaken >= OVERTAKEN) {
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
