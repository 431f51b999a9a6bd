// Calls every function that orval has generated, once compiled. Runs beside what it made.
import { readFileSync } from "node:fs";
import * as flow from "./flow.js";

const camel = (id) => id.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
for (const [id, operation] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
  const { arguments: named, path, body, json } = operation;
  const rest = Object.fromEntries(Object.entries(named).filter(([name]) => !path.includes(name)));
  const values = path.map((name) => named[name]);
  if (body) values.push(body);
  if (Object.keys(rest).length) values.push(rest);
  const name = camel(id);
  let status, read;
  if (!json) {
    // The generated function takes every body for JSON, and waits for its end.
    const address = flow[`get${name[0].toUpperCase()}${name.slice(1)}Url`](...values);
    const sent = await fetch(address);
    const { value } = await sent.body.getReader().read();
    [status, read] = [sent.status, new TextDecoder().decode(value)];
  } else {
    const sent = await flow[name](...values);
    [status, read] = [sent.status, typeof sent.data === "string" ? sent.data.slice(0, 20) : Object.keys(sent.data)[0]];
  }
  console.log(JSON.stringify({ id, status, read }));
}
process.exit(0);
