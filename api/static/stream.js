// One connection to the stream, read by fetch: EventSource cannot send the key in a header.

import { Refused, headers } from "./api.js";

// The server sends a comment line every 15 s: a stream that is silent for longer is dead.
const SILENCE_MS = 45000;

export class Stream {
  #ended = new AbortController();
  #heard = performance.now();
  // The event that is being read.
  #event = { id: "", name: "", data: [] };
  open = false;

  // With ``since`` the server first sends what has changed after that cursor.
  // ``opened`` is called when the server answers, ``take`` with each event's name, id and data, and
  // ``lost`` once when the stream has ended by itself, with the refusal if there was one; ``heard``
  // whenever anything has come.
  constructor(path, { since, opened, take, lost, heard = () => {} }) {
    [this.take, this.heard] = [take, heard];
    this.#run(path, since, opened).catch((error) => error).then((error) => {
      this.open = false;
      if (!this.#ended.signal.aborted) lost(error instanceof Refused ? error : null);
    });
  }

  close() {
    this.open = false;
    this.#ended.abort();
  }

  get silent() {
    return performance.now() - this.#heard > SILENCE_MS;
  }

  async #run(path, since, opened) {
    const sent = await fetch(path, {
      headers: {
        ...headers(), Accept: "text/event-stream",
        ...(since === undefined ? {} : { "Last-Event-ID": `${since}` }),
      },
      cache: "no-store",
      signal: this.#ended.signal,
    });
    if (!sent.ok) throw new Refused(sent.status, await sent.json().catch(() => ({})));
    if (!sent.headers.get("Content-Type")?.startsWith("text/event-stream")) return;
    this.open = true;
    this.#heard = performance.now();
    opened();
    const reader = sent.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done || this.#ended.signal.aborted) return;
      this.#heard = performance.now();
      this.heard();
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) this.#line(line.replace(/\r$/, ""));
    }
  }

  #line(line) {
    if (line === "") {
      const { id, name, data } = this.#event;
      this.#event = { id, name: "", data: [] };
      if (data.length) this.take({ id, name: name || "message", data: data.join("\n") });
      return;
    }
    const [, field, value] = line.match(/^([^:]*):? ?(.*)$/);
    if (field === "data") this.#event.data.push(value);
    if (field === "id") this.#event.id = value;
    if (field === "event") this.#event.name = value;
  }
}
