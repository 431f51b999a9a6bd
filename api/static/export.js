// Export: files of the session, a picture, a link to the view, levels for other programs.

import { askFile, key, paths, why } from "./api.js";
import { byId, write } from "./dom.js";
import { askLevels, basisWords, listTargets } from "./futures.js";
import { pine, plainText } from "./levels.js";
import { picture } from "./picture.js";
import { writeFixedAddress } from "./view.js";

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export class Export {
  // ``now`` gives ``{session, bar, view, replay, screen, simulated}`` of the moment.
  constructor(now) {
    this.now = now;
    byId("export-in").addEventListener("change", () => this.#map());
    byId("export-png").addEventListener("click", () => this.png());
    for (const button of document.querySelectorAll("[data-copy]")) {
      button.addEventListener("click", () => this.#copy(button));
    }
    for (const format of ["csv", "parquet", "json"]) {
      byId(`export-${format}`).addEventListener("click", (event) => this.#file(event, format));
    }
  }

  get #name() {
    const { session } = this.now();
    return session ? `${session.symbol}-${session.day}${session.feed && `-${session.feed}`}` : "zero-dte-flow";
  }

  open() {
    const { session, bar, view, replay, simulated } = this.now();
    for (const format of ["csv", "parquet", "json"]) {
      const link = byId(`export-${format}`);
      link.href = session ? paths.series(session.symbol, { bar: session.bar, feed: session.feed, date: session.day, format }) : paths.symbols();
      link.download = `${this.#name}-${view.bar}.${format}`;
    }
    const stands = replay.at ?? bar?.at;
    const address = session && stands ? writeFixedAddress(view, session, stands) : view.address;
    byId("export-link").value = `${location.origin}${location.pathname}${address}`;
    listTargets(byId("export-in"), session);
    this.#levels(session, bar, simulated);
    write(byId("export-note"), "");
    byId("export").showModal();
  }

  #levels(session, bar, simulated, mapped = null) {
    byId("export-plain").value = session && bar ? plainText(session, bar, simulated, mapped) : "";
    byId("export-pine").value = session && bar ? pine(session, bar, simulated, mapped) : "";
  }

  // The levels in the prices of the chosen instrument.
  async #map() {
    const { session, bar, simulated } = this.now();
    const target = byId("export-in").value;
    if (!session || !bar) return;
    try {
      const body = target === session.symbol ? null : await askLevels(session, bar, target);
      if (byId("export-in").value !== target) return;
      if (body?.basis.reason) {
        this.#levels(null);
        write(byId("export-note"), body.basis.reason);
        return;
      }
      this.#levels(session, bar, simulated, body && { ...body, words: basisWords(session.symbol, target, body) });
      write(byId("export-note"), "");
    } catch (error) {
      this.#levels(null);
      write(byId("export-note"), why(error));
    }
  }

  // Without a key the browser follows the link. With a key the page downloads the file, because a link cannot send a header.
  async #file(event, format) {
    if (!key.get()) return;
    event.preventDefault();
    const { href, download } = byId(`export-${format}`);
    try {
      save(await askFile(href), download);
    } catch (error) {
      write(byId("export-note"), why(error));
    }
  }

  async png() {
    const { session, bar, screen, simulated } = this.now();
    const blob = await picture(session, bar, screen, simulated);
    save(blob, `${this.#name}.png`);
  }

  async #copy(button) {
    const field = byId(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(field.value);
      write(byId("export-note"), "Copied.");
    } catch {
      field.select();
      write(byId("export-note"), "Selected: copy it with Ctrl-C.");
    }
  }
}
