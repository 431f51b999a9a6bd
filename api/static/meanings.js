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
};
