"""Whether a smoothed slope of the smile would make the pin probability better: a table of docs.

``python -m tests.benchmarks.study_pin_slopes`` (half a minute). Reads the recorded chains of SPX
and NDX beside the checkout, each with its session's close, which the frame of 16:14 has. The rule
was written down before the trial: a smoothed slope replaces the raw one only if neither the Brier
score nor the reliability gets worse on either index, and SPX moves by less than half a point.
"""

from __future__ import annotations

import itertools
import lzma
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Frame, select_chain
from sampler.measure.market import MarketState, read_market
from sampler.measure.snapshot import measure_slot
from sampler.metrics.width import weighted_smile
from sampler.sources.recorded import read_chain
from storage.market.calendar import market_day, session_on

Floats = NDArray[np.float64]

DATA = Path(__file__).resolve().parents[2].parent / "shared/data"
SYMBOLS = ("SPX", "NDX")
#: Widths of the local fit, in standard deviations of what is left; least strikes of a fit.
WIDTHS, LEAST = (0.25, 0.5, 1.0), 5
#: How far a volatility may lie from its neighbours' line where the smile is weighted. [decimal]
WITHINS = (0.02, 0.01, 0.005)
#: Edges of the reliability curve. [%]
EDGES = (0.0, 5.0, 10.0, 20.0, 100.0)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The pin probability of one frame by each rule, and what happened."""

    symbol: str
    day: date
    #: By rule. [%]
    by: dict[str, float]
    noise: float
    happened: bool


def probability(
    strike: Floats,
    own: Floats,
    slope: Callable[[int], float],
    index: int,
    market: MarketState,
    t: float,
) -> float:
    """P(S_T > strike below) − P(S_T > strike above) with a slope of one's own. [%]"""

    def over(i: int) -> float:
        if not 0 <= i < len(strike):
            return 1.0 if i < 0 else 0.0
        total = float(own[i]) * math.sqrt(t)
        d1 = math.log(market.forward.level / strike[i]) / total + total / 2
        density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
        tail = math.erfc((total - d1) / math.sqrt(2)) / 2
        return tail - market.forward.level * density * math.sqrt(t) * slope(i)

    return 100 * (over(index - 1) - over(index + 1))


def local_slope(strike: Floats, own: Floats, width: float) -> Callable[[int], float]:
    """The slope of the parabola that fits all volatilities within a distance best."""
    known = np.isfinite(own)

    def slope(i: int) -> float:
        off = np.where(known, np.abs(strike - strike[i]), np.inf)
        used = off <= max(width, float(np.sort(off)[min(LEAST, len(off)) - 1]))
        return float(np.polyfit(strike[used] - strike[i], own[used], 2)[1])

    return slope


def three_points(strike: Floats, own: Floats) -> Callable[[int], float]:
    """The slope of the parabola through a strike and both neighbours."""

    def slope(i: int) -> float:
        near = slice(max(i - 1, 0), i + 2)
        return float(np.polyfit(strike[near] - strike[i], own[near], len(strike[near]) - 1)[-2])

    return slope


def forecasts() -> Iterator[Forecast]:
    """Each frame within a session whose close is known."""
    closes: dict[tuple[str, date], float] = {}
    frames: dict[tuple[str, date], list[Frame]] = defaultdict(list)
    with TemporaryDirectory() as folder:
        for path in sorted(DATA.glob("chains*/[SN][PD]X/*")):
            plain = path
            if path.suffix == ".xz":
                plain = Path(folder) / path.stem
                plain.write_bytes(lzma.decompress(path.read_bytes()))
            frame = read_chain(plain)
            key = frame.symbol, market_day(frame.quoted_at)
            session = session_on(key[1])
            assert session is not None
            if frame.quoted_at >= session.close:
                closes[key] = frame.spot
            else:
                frames[key].append(frame)
    for (symbol, day), recorded in frames.items():
        for frame in recorded:
            if (symbol, day) in closes:
                yield forecast(frame, closes[symbol, day])


def forecast(frame: Frame, close: float) -> Forecast:
    """One frame by each rule."""
    chain = select_chain(frame, session_on(market_day(frame.quoted_at)))
    market, row = read_market(chain), measure_slot(chain, None, oi_confidence=0.43).row
    strike, own, t = chain.strike, market.smile.own, chain.years
    index = int(np.searchsorted(strike, row.magnet or 0.0))
    flat = np.full(len(strike), market.atm)
    lognormal = probability(strike, flat, lambda _: 0.0, index, market, t)
    by = {
        "raw: three points": row.pin_probability_pct or 0.0,
        "lognormal, no slope": lognormal,
    }
    for within in WITHINS:
        smoothed = weighted_smile(strike, market.smile, market.uncertainty, within=within)
        smooth = np.where(np.isnan(own), np.nan, smoothed.filled)
        slope = three_points(strike, smooth)
        by[f"smile weighted, {within:g}"] = probability(strike, smooth, slope, index, market, t)
    for width in WIDTHS:
        slope = local_slope(strike, own, width * market.remaining)
        by[f"local parabola, ±{width:g} σ"] = probability(strike, own, slope, index, market, t)
    low, high = row.detail.pin_lower, row.detail.pin_upper
    return Forecast(
        symbol=chain.symbol,
        day=chain.session.day,
        by={name: p if 0 <= p <= 100 else lognormal for name, p in by.items()},
        noise=row.detail.pin_probability_noise or math.nan,
        happened=(low is None or close > low) and (high is None or close <= high),
    )


def unreliability(foretold: list[float], happened: list[bool]) -> float:
    """Mean squared distance between an interval's mean forecast and what happened. [decimal²]"""
    total = 0.0
    for low, high in itertools.pairwise(EDGES):
        inside = [(p, h) for p, h in zip(foretold, happened, strict=True) if low < p <= high]
        if inside:
            off = statistics.fmean(p for p, _ in inside) / 100
            off -= statistics.fmean(h for _, h in inside)
            total += len(inside) * off * off
    return total / len(foretold)


def main() -> None:
    """Print the tables."""
    if not DATA.is_dir():
        print("the recorded chains are not beside this checkout")
        return
    everything = list(forecasts())
    print("| index | slope | foretold | Brier | unreliability | median move | largest move |")
    print("|---|---|---|---|---|---|---|")
    for symbol in SYMBOLS:
        own = [f for f in everything if f.symbol == symbol]
        happened = [f.happened for f in own]
        rate = statistics.fmean(happened)
        raw = [f.by["raw: three points"] for f in own]
        for name in own[0].by:
            p = [f.by[name] for f in own]
            brier = statistics.fmean((x / 100 - h) ** 2 for x, h in zip(p, happened, strict=True))
            moves = [abs(a - b) for a, b in zip(p, raw, strict=True)]
            print(
                f"| {symbol} | {name} | {statistics.fmean(p):.1f} % | {brier:.4f} |"
                f" {unreliability(p, happened):.4f} | {statistics.median(moves):.2f} |"
                f" {max(moves):.2f} |"
            )
        error = 100 * math.sqrt(rate * (1 - rate) / len(own))
        noise = statistics.quantiles([f.noise for f in own], n=4)
        print(
            f"{symbol}: {len(own)} frames of {len({f.day for f in own})} sessions, happened"
            f" {100 * rate:.1f} ± {error:.1f} %, Brier of the base rate {rate * (1 - rate):.4f};"
            f" noise {noise[0]:.1f}, {noise[1]:.1f}, {noise[2]:.1f} points (quartiles)"
        )


if __name__ == "__main__":
    main()
