// The server's rules of market events: a form a rule, or the file as text. The server says which
// numbers a kind has, and checks what is sent.

import { Refused, askResponse, headers, paths, why } from "./api.js";
import { byId, make, options, write } from "./dom.js";
import { words } from "./format.js";
import { server } from "./state.js";
import { isoDay, toTheMinute } from "./time.js";

// How long a rule can be muted. [hours]
const MUTES = [[0.25, "a quarter of an hour"], [1, "an hour"], [8, "8 hours"], [24, "a day"], [168, "a week"]];
const WALLS = ["call_wall", "put_wall"];

const atTime = (moment) => `${isoDay(moment) === isoDay(server.now()) ? "" : `${isoDay(moment).slice(5)} `}${toTheMinute(moment)} ET`;

let tag = "";
// Kind → its numbers, by the server.
let kinds = {};

function field(text, title, input) {
  const label = make("label", "", "", { title });
  label.append(make("span", text), input);
  return label;
}

function box(rule) {
  const made = make("fieldset", "", "rule", { "data-kind": rule.kind });
  made.append(make("legend", words(rule.kind)));
  const name = make("input", "", "", { name: "name", maxlength: "40", spellcheck: "false" });
  name.value = rule.name ?? rule.kind;
  const symbols = make("input", "", "", { name: "symbols", placeholder: "every symbol", spellcheck: "false" });
  symbols.value = (rule.symbols ?? []).join(", ");
  made.append(field("name", "Tells it from other rules of its kind", name), field("symbols", "With commas; every symbol if it is empty", symbols));
  if (rule.kind === "wall") {
    for (const level of WALLS) {
      const input = make("input", "", "", { type: "checkbox", name: level });
      input.checked = (rule.levels ?? WALLS).includes(level);
      made.append(field(words(level), "Whether this wall is followed", input));
    }
  }
  for (const { name: number, meaning, default: usual, least, most, whole } of kinds[rule.kind] ?? []) {
    const input = make("input", "", "", { type: "number", name: number, min: `${least}`, max: `${most}`, step: whole ? "1" : "any", placeholder: `${usual}` });
    input.value = rule[number] ?? usual;
    made.append(field(words(number), `${meaning}; ${least} to ${most}, ${usual} if it is empty`, input));
  }
  const until = rule.muted_until && Date.parse(rule.muted_until) > server.now() ? rule.muted_until : "";
  const mute = make("select", "", "", { name: "muted_until" });
  options(mute, [...(until ? [[until, `until ${atTime(Date.parse(until))}`]] : []), ["", "no"], ...MUTES.map(([hours, text]) => [`${hours}`, `for ${text}`])], until);
  made.append(field("muted", "While it is muted its events are written to the log, and sent to nobody", mute));
  const remove = make("button", "Remove", "", { type: "button" });
  remove.addEventListener("click", () => {
    made.remove();
    tell();
  });
  made.append(remove);
  return made;
}

// Returns a form's rule as the file has it.
function ruleOf(made) {
  const value = (name) => made.querySelector(`[name=${name}]`);
  const { kind } = made.dataset;
  const rule = { kind };
  const name = value("name").value.trim();
  if (name && name !== kind) rule.name = name;
  const symbols = value("symbols").value.split(",").map((symbol) => symbol.trim().toUpperCase()).filter(Boolean);
  if (symbols.length) rule.symbols = symbols;
  if (kind === "wall") rule.levels = WALLS.filter((level) => value(level).checked);
  const muted = value("muted_until").value;
  if (muted) rule.muted_until = muted.includes("T") ? muted : new Date(server.now() + Number(muted) * 3600000).toISOString().replace(/\.\d+Z/, "Z");
  for (const { name: number } of kinds[kind] ?? []) {
    const text = value(number).value.trim();
    if (text !== "") rule[number] = Number(text);
  }
  return rule;
}

const asText = () => JSON.stringify({ rules: [...byId("rules-list").children].map(ruleOf) }, null, 2);

function tell() {
  const count = byId("rules-list").children.length;
  write(byId("rules-none"), count ? "" : "No rule: market events are off.");
}

function fill(rules) {
  byId("rules-list").replaceChildren(...rules.map(box));
  byId("rules-text").value = asText();
  tell();
}

async function open() {
  write(byId("rules-note"), "");
  byId("rules").showModal();
  try {
    const sent = await askResponse(paths.rules());
    const body = await sent.json();
    tag = sent.headers.get("ETag") ?? "";
    kinds = body.kinds;
    options(byId("rules-kind"), Object.keys(kinds).map((kind) => [kind, words(kind)]), Object.keys(kinds)[0]);
    fill(body.rules);
    const built = body.source === "built-in" ? "These are the built-in rules. To change them, set FLOW_ALERT_RULES to a file on the server." : "";
    write(byId("rules-note"), body.problem ?? built);
  } catch (error) {
    write(byId("rules-note"), why(error));
  }
}

// The server checks the rules, and refuses what another one has changed meanwhile.
async function save() {
  const wrong = byId("rules-as-text").open ? null : byId("rules-list").querySelector("input:invalid");
  if (wrong) {
    wrong.reportValidity();
    return write(byId("rules-note"), `${words(wrong.name)}: ${wrong.validationMessage}`);
  }
  try {
    const [body, known] = await put(byId("rules-as-text").open ? byId("rules-text").value : asText(), tag);
    tag = known;
    fill(body.rules);
    write(byId("rules-note"), "Saved: the server judges by these rules from now on.");
  } catch (error) {
    write(byId("rules-note"), why(error));
  }
  return undefined;
}

// Mutes the rule of a name for some hours, or no longer at 0; returns until when, in words. Throws what the server refuses.
export async function muteRule(name, hours) {
  const sent = await askResponse(paths.rules());
  const { rules } = await sent.json();
  const rule = rules.find((one) => (one.name ?? one.kind) === name);
  if (!rule) throw new Refused(404, { message: `The server has no rule “${name}” any more.` });
  const until = server.now() + hours * 3600000;
  if (hours) rule.muted_until = new Date(until).toISOString().replace(/\.\d+Z/, "Z");
  else delete rule.muted_until;
  await put(JSON.stringify({ rules }), sent.headers.get("ETag") ?? "");
  return hours ? atTime(until) : "";
}

async function put(text, known) {
  const sent = await fetch(paths.rules(), { method: "PUT", body: text, headers: { ...headers(), "Content-Type": "application/json", "If-Match": known } });
  const body = await sent.json().catch(() => ({}));
  if (!sent.ok) throw new Refused(sent.status, body);
  return [body, sent.headers.get("ETag") ?? ""];
}

// The text is the form's when it is opened; what was written there goes into the form when it is closed.
function turn() {
  if (!byId("rules-as-text").open) {
    byId("rules-text").value = asText();
    return;
  }
  try {
    fill(JSON.parse(byId("rules-text").value).rules.filter(({ kind }) => kind in kinds));
  } catch {
    write(byId("rules-note"), "The text is no file of rules; the form has those of before.");
  }
}

byId("open-rules").addEventListener("click", open);
byId("rules-save").addEventListener("click", save);
// At the click itself: the event of the change comes some time later, when something may have been written.
byId("rules-as-text").querySelector("summary").addEventListener("click", turn);
byId("rules-add").addEventListener("click", () => {
  const kind = byId("rules-kind").value;
  const taken = [...byId("rules-list").querySelectorAll("[name=name]")].map((input) => input.value);
  let name = kind;
  for (let k = 2; taken.includes(name); k++) name = `${kind}-${k}`;
  byId("rules-list").append(box({ kind, name }));
  byId("rules-list").lastChild.querySelector("input").focus();
  tell();
});
