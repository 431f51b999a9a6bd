"""How often the sign of live net GEX is right, by what ``regime_confidence`` says of it.

``python -m tests.benchmarks.study_confidence`` (three minutes): 60 simulated sessions of two
symbols, whose true sides are known, of seeds that nothing else was chosen or tried with. The true
live book is made with the true signed volume, the same κ and the same dealer convention as the
measured one, so the difference is what the sides of trades leave in doubt and nothing else. Behind
that, the coin's spread on the recorded SPX frames beside the checkout.
"""

from __future__ import annotations

import lzma
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Chain, Frame, select_chain
from sampler.errors import ChainRefused
from sampler.measure.snapshot import measure_slot
from sampler.sources.recorded import read_chain
from sampler.sources.synthetic import day as market
from storage.market.calendar import market_day, session_on, to_new_york
from storage.market.constants import GRID_SECONDS, MULTIPLIER
from storage.record.row import SlotRecord

Floats = NDArray[np.float64]

DATA = Path(__file__).resolve().parents[2].parent / "shared/data"
DAY = date(2026, 8, 19)
#: κ of the books. [0-1]
KAPPA = 0.43
#: Simulated sessions: symbol and seed.
SESSIONS = tuple((symbol, seed) for seed in range(501, 531) for symbol in ("SPX", "QQQ"))


class Scored(NamedTuple):
    """Rows of simulated sessions beside the truth; arrays of one length."""

    #: Which session the row is of.
    session: NDArray[np.int64]
    #: ``regime_confidence``. [0-1]
    confidence: Floats
    #: The same, if each side were a coin toss. [0-1]
    coin: Floats
    #: |live net GEX| over its measured standard error: orders rows as the confidence does.
    sigmas: Floats
    #: Measured less true live net GEX over the measured standard error.
    error: Floats
    #: The true live book has the measured sign.
    right: NDArray[np.bool_]


def frame_of(symbol: str, day: market.SyntheticDay, slot: int, moment: datetime) -> Frame:
    """What a delayed chain shows of a simulated day: no sides."""
    return Frame.of(
        symbol=symbol,
        source="synthetic",
        delay_seconds=0,
        quoted_at=moment,
        fetched_at=moment,
        spot=day.spot(slot),
        columns=day.columns(slot),
    )


def true_net_gex(record: SlotRecord, bought: Floats) -> float:
    """Live net GEX with true sides. [$ per 1 %]

    Parameters
    ----------
    record : of the same slot: its settled book, gamma and spot.
    bought : contracts truly bought less sold since the baseline, of each strike. (n,)
    """
    row = record.row
    gamma_dollars = record.profile["gamma"] * MULTIPLIER * row.spot * row.spot * 0.01
    return float(row.settled.net_gex - KAPPA * (bought @ gamma_dollars))


def score(
    sessions: Iterable[tuple[str, int]],
    *,
    every: int = 1,
    frames: Callable[..., Frame] = frame_of,
    progress: Callable[[int], None] = lambda done: None,
) -> Scored:
    """Sessions sampled each ``every`` slots, from the second slot on."""
    columns: dict[str, list[float]] = defaultdict(list)
    for number, (symbol, seed) in enumerate(sessions):
        session = session_on(DAY)
        assert session is not None
        day = market.build_day(symbol, session, seed)
        today = day.columns(0)["expiry"] == np.datetime64(DAY)
        record, begin = None, None
        # Not the last two minutes: some of these sessions have no volatility left by then.
        for slot in range(1, len(session.slots) - 4, every):
            frame = frames(symbol, day, slot, session.slots[slot])
            record = measure_slot(select_chain(frame, session), record, oi_confidence=KAPPA)
            sides = day.signed_volume(slot)[today]
            if begin is None:
                begin = sides
                continue
            calls, puts = np.split((sides - begin).astype(np.float64), 2)
            row, true = record.row, true_net_gex(record, calls + puts)
            spread = row.net_gex_se_measured or row.net_gex_se
            if not spread or row.regime_confidence is None:
                continue
            columns["session"].append(number)
            columns["confidence"].append(row.regime_confidence)
            columns["coin"].append(0.5 * math.erfc(-abs(row.net_gex) / row.net_gex_se / 2**0.5))
            columns["sigmas"].append(abs(row.net_gex) / spread)
            columns["error"].append((row.net_gex - true) / spread)
            columns["right"].append(row.net_gex * true > 0)
        progress(number + 1)
    return Scored(**{name: np.array(values) for name, values in columns.items()})


class Decile(NamedTuple):
    """A tenth of the rows, by confidence."""

    rows: int
    #: The lowest and the highest confidence in it, and its mean. [%]
    low: float
    high: float
    mean: float
    #: By the coin's spread. [%]
    coin: float
    #: How often the sign was right, and the standard error between sessions. [%]
    right: float
    error: float


def deciles(scored: Scored, parts: int = 10) -> Iterator[Decile]:
    """Rows in equal parts, those of the least confidence first."""
    for rows in np.array_split(np.argsort(scored.sigmas, kind="stable"), parts):
        right, sure = scored.right[rows], scored.confidence[rows]
        # Rows of one session share their trades: what is independent is a session.
        off = [
            (right[scored.session[rows] == session] - right.mean()).sum()
            for session in np.unique(scored.session[rows])
        ]
        yield Decile(
            rows=len(rows),
            low=100 * float(sure.min()),
            high=100 * float(sure.max()),
            mean=100 * float(sure.mean()),
            coin=100 * float(scored.coin[rows].mean()),
            right=100 * float(right.mean()),
            error=100 * float(np.sqrt(np.square(off).sum())) / len(rows),
        )


class CoinSpread(NamedTuple):
    """The coin's spread on one recorded frame."""

    frame: str
    settled: float
    #: The whole day's volume of each contract as one toss: the most. [$ per 1 %]
    tossed_once: float
    #: Each rise since the day's frame before as one toss. [$ per 1 %]
    tossed: float
    #: The day's volume evenly over its slots, one toss each: the least. [$ per 1 %]
    tossed_evenly: float


def coin_spreads(symbol: str = "SPX") -> Iterator[CoinSpread]:
    """κ·M·S²·0.01·√Σ(Γ²·ΣΔV²) on the recorded frames within their session."""
    days: dict[date, list[Frame]] = defaultdict(list)
    with TemporaryDirectory() as folder:
        for path in sorted(DATA.glob(f"chains*/{symbol}/*")):
            plain = path
            if path.suffix == ".xz":
                plain = Path(folder) / path.stem
                plain.write_bytes(lzma.decompress(path.read_bytes()))
            frame = read_chain(plain)
            days[market_day(frame.quoted_at)].append(frame)
    for day, frames in sorted(days.items()):
        squares: dict[tuple[int, float], float] = defaultdict(float)
        before: dict[tuple[int, float], float] = {}
        for frame in frames:
            try:
                chain = select_chain(frame, session_on(day))
                record = measure_slot(chain, None, oi_confidence=KAPPA)
            except ChainRefused:
                continue
            volume = volumes(chain)
            for key, now in volume.items():
                squares[key] += max(now - before.get(key, 0.0), 0.0) ** 2
            before = volume
            gamma = dict(zip(chain.strike, record.profile["gamma"], strict=True))
            unit = KAPPA * MULTIPLIER * chain.spot**2 * 0.01
            once = unit * math.sqrt(sum((gamma[k] * v) ** 2 for (_, k), v in volume.items()))
            slots = (chain.slot - chain.session.open).total_seconds() / GRID_SECONDS
            yield CoinSpread(
                f"{to_new_york(frame.quoted_at):%m-%d %H:%M}",
                record.row.settled.net_gex,
                once,
                unit * math.sqrt(sum(gamma[k] ** 2 * squares[side, k] for side, k in volume)),
                once / math.sqrt(slots),
            )


def volumes(chain: Chain) -> dict[tuple[int, float], float]:
    """The day's volume by side and strike. [contracts]"""
    known = np.nan_to_num(chain.volume)
    return {
        (side, strike): float(known[side, i])
        for side in (0, 1)
        for i, strike in enumerate(chain.strike)
    }


def main() -> None:
    """Print the tables."""

    def progress(done: int) -> None:
        print(f"\r{done} of {len(SESSIONS)} sessions", end="", file=sys.stderr, flush=True)

    scored = score(SESSIONS, progress=progress)
    print(file=sys.stderr)
    print("| rows | confidence, % | mean | by the coin's spread | sign right, % |")
    print("|---|---|---|---|---|")
    for decile in deciles(scored):
        print(
            f"| {decile.rows:,} | {decile.low:.1f}–{decile.high:.1f} | {decile.mean:.1f} | {decile.coin:.1f} |"
            f" {decile.right:.1f} ± {decile.error:.1f} |"
        )
    print(
        f"all: {len(scored.right):,} rows, mean confidence {100 * scored.confidence.mean():.1f} %,"
        f" sign right {100 * scored.right.mean():.1f} %; error over standard error: rms"
        f" {np.sqrt(np.square(scored.error).mean()):.2f}, mean {scored.error.mean():+.2f}"
    )
    for n, symbol in enumerate(("SPX", "QQQ")):
        its = scored.session % 2 == n
        print(
            f"{symbol}: mean confidence {100 * scored.confidence[its].mean():.1f} %, sign right"
            f" {100 * scored.right[its].mean():.1f} %, rms"
            f" {np.sqrt(np.square(scored.error[its]).mean()):.2f}, mean"
            f" {scored.error[its].mean():+.2f}"
        )
    if not DATA.is_dir():
        print("the recorded chains are not beside this checkout")
        return
    print("\n| SPX frame | settled net GEX, bn $ | day as one toss | by frame | even slots |")
    print("|---|---|---|---|---|")
    for frame in coin_spreads():
        size = abs(frame.settled)
        print(
            f"| {frame.frame} | {frame.settled / 1e9:.1f} | {frame.tossed_once / size:.2f} |"
            f" {frame.tossed / size:.2f} | {frame.tossed_evenly / size:.2f} |"
        )


if __name__ == "__main__":
    main()
