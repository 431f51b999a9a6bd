// One stream for all windows of a browser that show the same: one of them leads, holds the connection,
// and hands each event on. Who leads is whoever holds a lock, so that a window that closes or hides is
// followed by the next at once. Without locks (a page that is neither https nor of this machine) every
// window has a stream of its own.

import { Refused } from "./api.js";
import { Stream } from "./stream.js";

// A browser has six connections to an HTTP/1.1 server. Streams leave half of them to requests; who
// finds none free polls until one is.
const CONNECTIONS = 3;
// The newest events that a leader keeps for windows that join later.
const KEPT = 240;
// A leader that does not answer for so long stands still: another window takes its place.
const ANSWER_MS = 5000;
// As for a stream of one's own.
const SILENCE_MS = 45000;

const able = () => Boolean(navigator.locks) && typeof BroadcastChannel === "function";
let count = 0;

export class SharedStream {
  #path;
  #calls;
  #cursor;
  #name = `${Math.random().toString(36).slice(2)}-${++count}`;
  #ended = new AbortController();
  #channel = null;
  // Of a leader: the connection, what frees its locks, the newest events, and the cursor before them.
  #stream = null;
  #release = null;
  #kept = [];
  #floor = Infinity;
  #leads = false;
  #term = null;
  #queued = false;
  // Of a follower: whether a leader feeds it, and when one was heard last.
  #joined = false;
  #heard = performance.now();
  #timer = 0;

  // As for ``Stream``; ``queued`` is called when no connection is free, and the page has to poll.
  constructor(path, { since, opened, take, lost, queued = () => {} }) {
    [this.#path, this.#cursor] = [path, since];
    this.#calls = { opened, take, lost, queued };
    if (!able()) {
      this.#stream = new Stream(path, { since, opened, take, lost });
      return;
    }
    this.#channel = new BroadcastChannel("flow.streams");
    this.#channel.onmessage = ({ data }) => data.path === path && !this.#ended.signal.aborted && this.#hear(data);
    this.#queue();
    this.#join();
  }

  get open() {
    return this.#stream ? this.#stream.open : this.#joined;
  }

  get silent() {
    return this.#stream ? this.#stream.silent : performance.now() - this.#heard > SILENCE_MS;
  }

  close() {
    this.#ended.abort();
    clearTimeout(this.#timer);
    this.#stream?.close();
    this.#release?.();
    this.#channel?.close();
    this.#joined = false;
  }

  #say(kind, more = {}) {
    if (!this.#ended.signal.aborted) this.#channel.postMessage({ path: this.#path, kind, from: this.#name, ...more });
  }

  #queue() {
    this.#request({ signal: this.#ended.signal });
  }

  // Waits for the lead, or takes it, and holds it until it is let go of or taken away.
  #request(options) {
    navigator.locks.request(`flow.stream ${this.#path}`, options, () => this.#lead()).catch(() => {
      // The stream was closed; or another window has taken the lead because this one stood still.
      if (this.#ended.signal.aborted || !this.#leads) return;
      this.#leads = false;
      this.#release?.();
      this.#stream?.close();
      this.#stream = null;
      this.#queue();
      this.#join();
    });
  }

  async #lead() {
    if (this.#ended.signal.aborted) return;
    [this.#leads, this.#joined] = [true, false];
    clearTimeout(this.#timer);
    const freed = new Promise((done) => { this.#release = done; });
    this.#term = freed;
    // The others need not take this one for dead while it connects.
    this.#say("alive");
    this.#connection(freed);
    await freed;
  }

  // Takes one of the connections that streams may have, and opens the stream on it.
  async #connection(freed) {
    const use = async (lock) => {
      if (!lock) return false;
      if (this.#term === freed && this.#leads && !this.#ended.signal.aborted) {
        this.#queued = false;
        this.#connect(this.#cursor);
        await freed;
      }
      return true;
    };
    for (let k = 0; k < CONNECTIONS; k++) {
      if (await navigator.locks.request(`flow.connection ${k}`, { ifAvailable: true }, use)) return;
    }
    if (!this.#leads || this.#ended.signal.aborted) return;
    this.#queued = true;
    this.#calls.queued();
    this.#say("waiting", { queued: true });
    const any = Math.floor(Math.random() * CONNECTIONS);
    navigator.locks.request(`flow.connection ${any}`, { signal: this.#ended.signal }, use).catch(() => {});
  }

  #connect(since) {
    this.#stream?.close();
    [this.#kept, this.#floor] = [[], since ?? Infinity];
    const stream = new Stream(this.#path, {
      since,
      heard: () => this.#say("alive"),
      opened: () => {
        if (stream !== this.#stream) return;
        this.#calls.opened();
        this.#say("leading");
      },
      take: (event) => {
        if (stream !== this.#stream) return;
        this.#keep(event);
        this.#say("event", { event });
        this.#take(event);
      },
      lost: (refused) => {
        if (stream === this.#stream) this.#lose(refused);
      },
    });
    this.#stream = stream;
  }

  #keep(event) {
    this.#kept.push(event);
    if (this.#kept.length > KEPT) this.#floor = Number(this.#kept.shift().id);
  }

  #take(event) {
    const id = Number(event.id);
    if (!(id <= this.#cursor)) this.#cursor = id;
    this.#calls.take(event);
  }

  // The connection has ended: every window hears why, and asks anew in its own time.
  #lose(refused) {
    const { lost } = this.#calls;
    this.#say("lost", { refused: refused && { status: refused.status, error: refused.error, message: refused.message } });
    this.close();
    lost(refused);
  }

  #join() {
    this.#say("join", { since: this.#cursor });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#request({ steal: true }), ANSWER_MS);
  }

  #hear({ kind, from, to, since, event, events, queued, refused }) {
    if (this.#leads) {
      if (kind === "join") this.#admit(from, since);
      return;
    }
    if (kind === "join") return;
    this.#heard = performance.now();
    clearTimeout(this.#timer);
    if (kind === "leading") this.#join();
    else if (kind === "event" && this.#joined) this.#take(event);
    else if (kind === "waiting" && queued) this.#calls.queued();
    else if (kind === "joined" && to === this.#name && !this.#joined) {
      this.#joined = true;
      this.#calls.opened();
      for (const each of events) this.#take(each);
    } else if (kind === "lost") {
      const { lost } = this.#calls;
      this.close();
      lost(refused && new Refused(refused.status, refused));
    }
  }

  // Hands a window that joins what it lacks; the stream begins anew where that is not at hand.
  #admit(to, since) {
    if (!this.#stream?.open) return this.#say("waiting", { queued: this.#queued });
    if (since !== undefined && since < this.#floor) return this.#connect(since);
    this.#say("joined", { to, events: since === undefined ? [] : this.#kept.filter(({ id }) => Number(id) > since) });
  }
}
