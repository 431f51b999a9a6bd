// What the page works out by itself of answers, and no sample has: how, and what it is not.

export const PAGE_FIGURES = {
  stored_day: {
    name: "a stored day",
    formula: [
      "change = last price / first price − 1",
      "range = (highest price − lowest price) / first price",
      "stored = slots with a sample / slots of the session that could have one",
    ],
    means: "Prices are those of the day's samples. The regime and the IV are of its first sample, which the list above explains. The ribbon is the sign of net GEX at the end of each quarter of an hour: high and blue for long gamma, low and orange for short.",
    not: ["The high and low of the market: a price between two samples is not known.", "A day whose change is written as “so far” is not over, or is shown as it was known at the moment of a replay."],
  },
  days_like: {
    name: "days like this one",
    formula: [
      "alike = earlier complete days of the same feed and cadence, with the same opening regime, and |ATM IV / this day's ATM IV − 1| ≤ 20 %",
      "σ of a day = |last price − first price| / 1σ to the close, by its first sample",
    ],
    means: "The middle half lies between the first and the third quarter of the sorted changes from open to close. Below ten days like it nothing is said.",
    not: ["A forecast: it is what followed on those days."],
  },
  gaps: {
    name: "gaps",
    formula: ["slots of 30 s since the open that have no sample, and why there is none"],
    means: "A line of a chart is never drawn across a gap. The reasons are words of the glossary.",
    not: ["A fault in each case: before the options trade there is nothing to sample."],
  },
  scored_pin: {
    name: "how often pins came true",
    formula: [
      "came true = forecasts whose close lay above the pin's lower strike and not above its upper one / forecasts",
      "predicted = mean of their pin probabilities",
    ],
    means: "A line with tenths of the probability has only the forecasts of that probability. The interval is Wilson's of 95 % and counts sessions, because the forecasts of one day share one close.",
    not: ["A proof that the probability is right: forecasts that agree on average can be wrong one by one."],
  },
  scored_brier: {
    name: "Brier score of the pins",
    formula: ["Brier score = mean of (probability − 1 where it came true, else 0)²", "base rate: the same with the rate of all forecasts as each one's probability"],
    means: "Smaller is better. A forecast that is not below the base rate tells days apart no better than their average does.",
    not: ["Comparable between symbols: rare pins have small scores."],
  },
  scored_range: {
    name: "how often the ranges held",
    formula: ["held = forecasts whose close was at most one (two) remaining 1σ away from spot / forecasts", "expected = 68.3 % (95.4 %), of a normal distribution"],
    means: "1σ is what was left of the session by the options' prices at that time. The interval is Wilson's of 95 % and counts sessions.",
    not: ["Whether price left the range on its way: the close counts alone."],
  },
  scored_walls: {
    name: "how often walls were touched and broken",
    formula: [
      "touched = walls that a later sample or the close reached / walls",
      "broken = touched walls beyond which the close lay / touched walls",
    ],
    means: "Beside them stand the same rates of the level as far away on the other side of spot, where no wall is. Only a difference from those says something of walls. A wall nearer than 0.1 σ is not judged.",
    not: ["The reason of a turn: a level holds by chance too."],
  },
  scored_regime: {
    name: "what followed positive gamma",
    formula: [
      "realised volatility and lag-one autocorrelation of the 5-minute returns until the close",
      "at the same ATM IV and time = coefficient of the regime in a regression with a constant for each time of day and ln(ATM IV)",
    ],
    means: "Of positive less negative gamma; a volatility in % of that after negative gamma. Quiet days have a low IV and often positive gamma, so the plain difference says little.",
    not: ["An effect of the gamma: what else differed on those days is not known."],
  },
  scored_flow: {
    name: "returns after hedge flow",
    formula: ["mean of ln(later price / price), in bp, with the sign of the hedge flow of the 30 minutes before", "same sign = returns that have that sign / returns"],
    means: "Positive: price went on in the direction in which dealers had traded. Intervals are between sessions.",
    not: ["A return that could have been earned: it has no costs."],
  },
};
