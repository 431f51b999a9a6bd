// The server's rules of market events: shown and edited as the file that they are.

import { Refused, askResponse, headers, paths, why } from "./api.js";
import { byId, write } from "./dom.js";

let tag = "";

async function open() {
  write(byId("rules-note"), "");
  byId("rules").showModal();
  try {
    const sent = await askResponse(paths.rules());
    const body = await sent.json();
    tag = sent.headers.get("ETag") ?? "";
    byId("rules-text").value = JSON.stringify({ rules: body.rules }, null, 2);
    const built = body.source === "built-in" ? "These are the built-in rules. To change them, set FLOW_ALERT_RULES to a file on the server." : "";
    write(byId("rules-note"), body.problem ?? built);
  } catch (error) {
    write(byId("rules-note"), why(error));
  }
}

// The server checks the rules, and refuses what another one has changed meanwhile.
async function save() {
  try {
    const sent = await fetch(paths.rules(), {
      method: "PUT", body: byId("rules-text").value,
      headers: { ...headers(), "Content-Type": "application/json", "If-Match": tag },
    });
    if (!sent.ok) throw new Refused(sent.status, await sent.json().catch(() => ({})));
    tag = sent.headers.get("ETag") ?? "";
    write(byId("rules-note"), "Saved: the server judges by these rules from now on.");
  } catch (error) {
    write(byId("rules-note"), why(error));
  }
}

byId("open-rules").addEventListener("click", open);
byId("rules-save").addEventListener("click", save);
