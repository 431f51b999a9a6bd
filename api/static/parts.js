// The parts of the page that ask for answers of their own, beside the series and the heatmap.

import { showFutures } from "./futures.js";
import { showHeld } from "./held.js";
import { showHistory } from "./history.js";
import { showPressure } from "./pressure.js";
import { showProjection } from "./projection.js";

// ``until`` is the moment of a replay, else null; ``playing`` whether it runs. ``changed`` is called
// when an answer has come. Levels and pressure put figures into the bars, which the charts then draw.
export function showParts(session, bars, until, playing, changed) {
  showHeld(session, bars, playing, changed);
  showPressure(session, bars, playing, changed);
  showFutures(session, bars.at(-1), playing, changed);
  showProjection(session, bars.at(-1), playing, changed);
  showHistory(session, until, changed);
}

// Starts what puts figures into the bars of a session that has just come; resolves when both answers are there.
export function startParts(session, bars, changed) {
  const once = (show) => new Promise((done) => show(session, bars, false, () => { done(); changed(); }));
  return Promise.all([once(showHeld), once(showPressure)]);
}
