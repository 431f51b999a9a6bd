// New York time, and what time it is on the server: a simulated market has a clock of its own.

const clockOf = (zone, seconds) =>
  new Intl.DateTimeFormat("en-GB", {
    timeZone: zone, hour: "2-digit", minute: "2-digit",
    ...(seconds ? { second: "2-digit" } : {}), hourCycle: "h23",
  });
const NEW_YORK = "America/New_York";
const SECONDS = clockOf(NEW_YORK, true);
const MINUTES = clockOf(NEW_YORK, false);
const UTC = clockOf("UTC", true);
const DAY = new Intl.DateTimeFormat("en-US", {
  timeZone: NEW_YORK, weekday: "short", month: "short", day: "numeric",
});
const ISO_DAY = new Intl.DateTimeFormat("en-CA", { timeZone: NEW_YORK });

// Moments are milliseconds.
export const moment = (text) => Date.parse(text);
export const clock = (at) => SECONDS.format(at);
export const toTheMinute = (at) => MINUTES.format(at);
export const utc = (at) => UTC.format(at);
export const dayOf = (at) => DAY.format(at);
export const isoDay = (at) => ISO_DAY.format(at);
export const dayName = (iso) => DAY.format(Date.parse(`${iso}T17:00:00Z`));

export function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function countdown(seconds) {
  const left = Math.max(Math.round(seconds), 0);
  const two = (n) => String(n).padStart(2, "0");
  if (left >= 36 * 3600) return `${Math.floor(left / 86400)} d ${Math.floor((left % 86400) / 3600)} h`;
  return `${Math.floor(left / 3600)}:${two(Math.floor(left / 60) % 60)}:${two(left % 60)}`;
}

// The server's time between two answers, from the speed at which it has been running.
export class ServerClock {
  #wall = 0;
  #server = 0;
  #speed = 1;

  observe(serverTime, wall = performance.now()) {
    const server = Date.parse(serverTime);
    const passed = wall - this.#wall;
    if (this.#server && passed > 1500) {
      const speed = (server - this.#server) / passed;
      // A simulated clock jumps over nights; a real one runs at 1.
      this.#speed = Math.abs(speed - 1) < 0.5 ? 1 : speed > 0 && speed <= 3700 ? speed : this.#speed;
      [this.#wall, this.#server] = [wall, server];
    } else if (!this.#server) {
      [this.#wall, this.#server] = [wall, server];
    }
  }

  get known() {
    return this.#server > 0;
  }

  get speed() {
    return this.#speed;
  }

  now(wall = performance.now()) {
    return this.#server + (wall - this.#wall) * this.#speed;
  }
}
