"""Whether pins and ranges of simulated sessions are calibrated, by the law that made the market.

``python -m tests.benchmarks.study_simulated_pins`` (some five minutes) prints what docs/scorecard.md
says of it. At each freeze time the simulated market is continued from its spot and variance, in
steps of a minute and with no code of the product: how often the close then lies in the pin range
is the true probability. Forecasts are of the settled book.
"""

from __future__ import annotations

import asyncio
import math
import statistics
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from sampler.chain import select_chain
from sampler.measure.snapshot import measure_slot
from sampler.sources.synthetic.day import (
    JUMP_SHARE,
    JUMPS,
    LEVERAGE,
    VOL_OF_VARIANCE,
    simulate_prices,
)
from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import Session, next_session, session_on
from storage.scorecard.forecast import freeze_moments
from storage.scorecard.statistics import Forecast, agreement_p_value

Floats = NDArray[np.float64]

SYMBOL, SESSIONS, PATHS, STEP = "SPX", 60, 4000, 60
#: A whole session; no true probability is computed for a short one. [s]
DAY_SECONDS = 23_400
#: Seed and first day of the records in docs/scorecard.md, with true probabilities; and of others.
DOCUMENTED = ((7, date(2026, 6, 1)), (11, date(2026, 3, 2)))
OTHERS = tuple((seed, date(2025, 1, 6)) for seed in range(101, 113))


@dataclass(frozen=True, slots=True)
class Judged:
    """A forecast, what happened, and the true probabilities; NaN where they were not computed."""

    day: date
    strikes: tuple[float | None, float | None]
    predicted: float
    happened: bool
    within: tuple[bool, bool]
    true: float
    true_within: tuple[float, float]


def continued(rng: np.random.Generator, spot: float, left: float, pace: Floats) -> Floats:
    """Closes of a market with so much variance left, spread over seconds as ``pace`` says. [$]"""
    log_spot, log_swell = np.zeros(PATHS), np.zeros(PATHS)
    jump = math.sqrt(JUMP_SHARE * DAY_SECONDS / JUMPS)
    for start in range(0, len(pace), STEP):
        stretch = pace[start : start + STEP]
        seconds = len(stretch)
        variance = left / pace.sum() * stretch.sum() * np.exp(log_swell)
        jumps = rng.poisson(JUMPS * seconds / DAY_SECONDS, PATHS)
        shocks = math.sqrt(1 - JUMP_SHARE) * rng.standard_normal(PATHS)
        shocks += jump * np.sqrt(jumps / seconds) * rng.standard_normal(PATHS)
        other = rng.standard_normal(PATHS)
        width = VOL_OF_VARIANCE * math.sqrt(seconds / DAY_SECONDS)
        log_spot += np.sqrt(variance) * shocks - variance / 2
        log_swell += width * (LEVERAGE * shocks + math.sqrt(1 - LEVERAGE**2) * other)
        log_swell -= width**2 / 2
    return np.round(spot * np.exp(log_spot), 2)


async def judge(seed: int, session: Session, rng: np.random.Generator | None) -> list[Judged]:
    """A session's forecasts; with true probabilities if there are random numbers for them."""
    source, results = Synthetic(seed=seed), []
    tape, pace = simulate_prices(SYMBOL, session, seed)
    length = round((session.close - session.open).total_seconds())
    close = float(tape.spot[length])
    for moment in freeze_moments(session):
        chain = select_chain(await source.live(SYMBOL, moment), session)
        row = measure_slot(chain, None, oi_confidence=0.43).row
        low, high = row.detail.pin_lower, row.detail.pin_upper
        if row.pin_probability_pct is None or row.remaining_1sd is None:
            continue
        ranges = (row.remaining_1sd, 2 * row.remaining_1sd)
        true, true_within = math.nan, (math.nan, math.nan)
        if rng is not None and length == DAY_SECONDS:
            second = round((moment - session.open).total_seconds())
            left = float(tape.variance[second])
            closes = continued(rng, float(tape.spot[second]), left, pace[second:length])
            inside = (closes > (-math.inf if low is None else low)) & (
                closes <= (math.inf if high is None else high)
            )
            true = float(inside.mean())
            first, other = (float((abs(closes - row.spot) <= width).mean()) for width in ranges)
            true_within = (first, other)
        results.append(
            Judged(
                session.day,
                (low, high),
                row.pin_probability_pct,
                (low is None or close > low) and (high is None or close <= high),
                (abs(close - row.spot) <= ranges[0], abs(close - row.spot) <= ranges[1]),
                true,
                true_within,
            )
        )
    return results


def chance(judged: list[Judged], *, true: bool) -> float:
    """The scorecard's test, of the forecasts or of the true probabilities."""
    forecasts = [
        Forecast(e.day, 100 * e.true if true else e.predicted, None, e.happened, e.strikes)
        for e in judged
    ]
    return agreement_p_value(forecasts) or 0.0


def main() -> None:
    """Print a line for each seed."""
    mean = statistics.fmean
    everything: list[Judged] = []
    for seed, first in (*DOCUMENTED, *OTHERS):
        rng = np.random.default_rng(seed) if (seed, first) in DOCUMENTED else None
        session = session_on(first) or next_session(first)
        judged: list[Judged] = []
        for _ in range(SESSIONS):
            judged += asyncio.run(judge(seed, session, rng))
            session = next_session(session.day)
        print(
            f"seed {seed}: {len(judged)} forecasts, predicted {mean(e.predicted for e in judged):.1f} %,"
            f" came true {100 * mean(e.happened for e in judged):.1f} %,"
            f" chance {chance(judged, true=False):.3f},"
            f" within {100 * mean(e.within[0] for e in judged):.1f} %"
            f" and {100 * mean(e.within[1] for e in judged):.1f} %"
        )
        known = [e for e in judged if not math.isnan(e.true)]
        if known:
            print(
                f"  true {100 * mean(e.true for e in known):.1f} %,"
                f" chance {chance(known, true=True):.3f}, a forecast is off by"
                f" {statistics.pstdev(e.predicted - 100 * e.true for e in known):.1f} points, within"
                f" {100 * mean(e.true_within[0] for e in known):.1f} %"
                f" and {100 * mean(e.true_within[1] for e in known):.1f} %"
            )
        else:
            everything += judged
    print(
        f"others together: predicted {mean(e.predicted for e in everything):.1f} %,"
        f" came true {100 * mean(e.happened for e in everything):.1f} %,"
        f" within {100 * mean(e.within[0] for e in everything):.1f} %"
        f" and {100 * mean(e.within[1] for e in everything):.1f} %"
    )


if __name__ == "__main__":
    main()
