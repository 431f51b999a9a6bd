"""How well the side of trades is told: the tables of docs/signing.md.

``python -m tests.benchmarks.study_signing`` (seconds): simulated prints, a synthetic day, and the
real minutes of ``tests/data/lean``.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.measure.signing import EachTrade, LastPrint
from sampler.metrics.flow import Quote, trade_signs
from sampler.sources.synthetic import day as market
from storage.market.calendar import session_on
from storage.market.constants import GRID_SECONDS

Floats = NDArray[np.float64]

LEAN = Path(__file__).resolve().parents[1] / "data/lean"
#: The mid's standard deviation over an interval, in half-spreads: what the traded minutes of
#: ``lean`` make of 30 s, weighted by volume (3.05).
SPEED = 3.0
#: Of the simulation: [$, s]
HALF, TICK, SECONDS = 0.10, 0.10, 30.0
#: How customers' part of buys varies between intervals where their prints lean alike.
LEANING = 0.35
#: The minute's quote: bid and ask in the order of a LEAN bar.
OPEN, HIGH, LOW, CLOSE = range(4)


class Sample(NamedTuple):
    """Contracts over an interval, as a delayed chain shows them. [$, s after the first quote]"""

    added: Floats
    last: Floats
    last_at: Floats
    before: Quote
    now: Quote
    tick: Floats

    @property
    def move(self) -> Floats:
        """The mid's move in half-spreads, half a tick at least."""
        half = np.maximum((self.before.half + self.now.half) / 2, self.tick / 2)
        return (self.now.mid - self.before.mid) / half

    def signer(self, last_at: Floats | float) -> LastPrint:
        """Of the last print, had it traded then; NaN for unknown."""
        return LastPrint(
            last=self.last,
            last_at=np.zeros_like(self.last) + last_at,
            before=self.before,
            now=self.now,
            before_at=0.0,
            now_at=SECONDS,
            tick=self.tick,
            modelled=np.full_like(self.last, np.nan),
        )

    def signs(self, last_at: Floats | float) -> Floats:
        """By that signer."""
        return self.signer(last_at).signs(self.added)

    def counted(self, signed: Floats) -> Floats:
        """Signs by a source that has counted ``signed`` over the interval."""
        return EachTrade(np.zeros_like(signed), signed, self.signer(np.nan)).signs(self.added)


#: The rules compared: the interpolated mid with and without the print's time, and the two naive
#: ones, which judge every print as if it had traded with the first quote, or with the second.
RULES: dict[str, Callable[[Sample], Floats]] = {
    "interpolated, time known": lambda sample: sample.signs(sample.last_at),
    "interpolated, time unknown": lambda sample: sample.signs(np.nan),
    "against the old quote": lambda sample: sample.signs(0.0),
    "against the new quote": lambda sample: sample.signs(SECONDS),
}


class Simulated(NamedTuple):
    """Intervals whose trades are known. Trades are (intervals, prints), in order of time."""

    sample: Sample
    price: Floats
    #: The mid when it traded. [$]
    mid: Floats
    #: +1 bought at the ask, -1 sold at the bid.
    side: Floats
    size: Floats

    @property
    def net(self) -> Floats:
        """Contracts truly bought less sold."""
        net: Floats = (self.side * self.size).sum(axis=1)
        return net


def simulate(
    prints: int,
    *,
    intervals: int = 40_000,
    speed: float = SPEED,
    leaning: float = 0.0,
    seed: int = 7,
) -> Simulated:
    """Prints at the bid or ask of a mid that walks at random, blind to what trades.

    ``speed`` is the walk's standard deviation over the interval, in half-spreads; sides are fair
    coins, or lean alike within an interval with standard deviation ``leaning``.
    """
    rng = np.random.default_rng(seed)
    steps = 60
    walk = np.zeros((intervals, steps + 1))
    walk[:, 1:] = rng.standard_normal((intervals, steps)).cumsum(axis=1)
    walk = 10.0 + walk * speed * HALF / np.sqrt(steps)
    moment = np.sort(rng.random((intervals, prints)), axis=1)
    step, fraction = np.divmod(moment * steps, 1)
    row, step = np.arange(intervals)[:, None], step.astype(np.int64)
    mid = walk[row, step] * (1 - fraction) + walk[row, step + 1] * fraction
    buying = np.clip(0.5 + leaning * rng.standard_normal((intervals, 1)), 0.03, 0.97)
    side = np.where(rng.random((intervals, prints)) < buying, 1.0, -1.0)
    size = rng.geometric(0.5, (intervals, prints)).astype(np.float64)
    price = mid + side * HALF
    half = np.full(intervals, HALF)
    sample = Sample(
        added=size.sum(axis=1),
        last=price[:, -1],
        last_at=moment[:, -1] * SECONDS,
        before=Quote(walk[:, 0], half),
        now=Quote(walk[:, -1], half),
        tick=np.full(intervals, TICK),
    )
    return Simulated(sample, price, mid, side, size)


def best(run: Simulated, *, timed: bool, speed: float = SPEED, points: int = 200) -> Floats:
    """What somebody would answer who knew how ``simulate`` makes its prints: no rule tells more.

    The chance that the last print was a buy less that it was a sale, by Bayes: the mid on its way
    is a Brownian bridge between both quotes, its speed, the half-spread and the number of prints
    are given, and where the print's time is not, it is weighed over all of them.
    """
    sample, count = run.sample, run.side.shape[1]
    if timed:
        way, weight = sample.last_at[:, None] / SECONDS, np.ones(1)
    else:
        way = (np.arange(points)[None, :] + 0.5) / points
        weight = way[0] ** (count - 1)
    mid = sample.before.mid[:, None] * (1 - way) + sample.now.mid[:, None] * way
    scatter = speed * HALF * np.sqrt(way * (1 - way)) + 1e-9

    def likely(side: float) -> Floats:
        off = (sample.last[:, None] - side * HALF - mid) / scatter
        likelihood: Floats = (weight * np.exp(-off * off / 2) / scatter).sum(axis=1)
        return likelihood

    buy, sale = likely(1.0), likely(-1.0)
    answer: Floats = (buy - sale) / np.maximum(buy + sale, np.finfo(np.float64).tiny)
    return answer


class Minutes(NamedTuple):
    """Minutes of contracts, in order. Tables are (minutes, open high low close)."""

    #: Which contract and day, and the minute of the day that the bar begins with.
    contract: NDArray[np.int64]
    minute: NDArray[np.int64]
    #: NaN where nothing traded. [$]
    trade: Floats
    bid: Floats
    ask: Floats
    volume: Floats

    def where(self, keep: NDArray[np.bool_]) -> Minutes:
        """Some of them."""
        return Minutes(**{name: column[keep] for name, column in self._asdict().items()})

    @property
    def tick(self) -> Floats:
        """The step of SPX options: a nickel below $3, a dime above."""
        return np.where((self.bid[:, CLOSE] + self.ask[:, CLOSE]) / 2 < 3, 0.05, 0.10)

    def quote(self, minute: int) -> Quote:
        """Of the minute's open, high, low or close."""
        bid, ask = self.bid[:, minute], self.ask[:, minute]
        return Quote((bid + ask) / 2, (ask - bid) / 2)

    def sample(self) -> Sample:
        """Each minute by itself; when its last trade was is not in the data."""
        return Sample(
            added=self.volume,
            last=self.trade[:, CLOSE],
            last_at=np.full_like(self.volume, np.nan),
            before=self.quote(OPEN),
            now=self.quote(CLOSE),
            tick=self.tick,
        )


def read_lean(folder: Path = LEAN, *, zero_dte: bool = True) -> tuple[Minutes, float]:
    """The minutes with usable quotes at both ends, and the volume of the files, those or others.

    LEAN bars are ms since midnight, then open, high, low, close (bid, its size, ask, its size in
    quotes; one and the volume in trades), prices ×10,000. A quote's open is the previous close.
    """
    days_read = []
    read = 0.0
    for n, (quotes, trades) in enumerate(_bars(folder, zero_dte=zero_dte)):
        read += trades[:, 5].sum()
        traded = np.full((len(quotes), 5), np.nan)
        traded[:, 4] = 0.0
        _, here, there = np.intersect1d(quotes[:, 0], trades[:, 0], return_indices=True)
        traded[here] = trades[there, 1:]
        days_read.append(np.hstack([np.full((len(quotes), 1), n), quotes, traded]))
    bars = np.concatenate(days_read)
    bid, ask, trade = bars[:, 2:6] / 1e4, bars[:, 7:11] / 1e4, bars[:, 12:16] / 1e4
    usable = (bid >= 0) & (ask > 0) & (ask >= bid)
    minutes = Minutes(
        contract=bars[:, 0].astype(np.int64),
        minute=(bars[:, 1] / 60_000).astype(np.int64),
        trade=trade,
        bid=bid,
        ask=ask,
        volume=bars[:, 16],
    )
    fit = usable[:, OPEN] & usable[:, CLOSE] & np.isfinite(bid + ask).all(axis=1)
    return minutes.where(fit), float(read)


def _bars(folder: Path, *, zero_dte: bool) -> Iterator[tuple[Floats, Floats]]:
    """Quotes and trades of each contract and day."""
    for path in sorted(folder.glob("*_quote_european.zip")):
        day = path.name[:8]
        beside = path.with_name(path.name.replace("quote", "trade"))
        with zipfile.ZipFile(path) as quotes, zipfile.ZipFile(beside) as trades:
            for name in sorted(quotes.namelist()):
                if name.endswith(f"{day}.csv") or not zero_dte:
                    yield _csv(quotes, name), _csv(trades, name.replace("quote", "trade"))


def _csv(archive: zipfile.ZipFile, name: str) -> Floats:
    return np.genfromtxt(io.BytesIO(archive.read(name)), delimiter=",", ndmin=2)


def four_prints(minutes: Minutes) -> Floats:
    """Signed volume of each minute, by the four prints that its bar names. [contracts]

    The nearest to trade by trade that minute bars allow: a quarter of the volume each at the
    open, high, low and close. The first and the last stand at 1/(n+1) and n/(n+1) of the mid's
    way, n = max(1, ΔV/2); the highest against the highest bid and ask, the lowest against the
    lowest. On simulated prints this comes nearer to the truth than the last print does.
    """
    first, end = minutes.quote(OPEN), minutes.quote(CLOSE)
    count = np.maximum(1.0, minutes.volume / 2)
    early, way = 1 / (count + 1), end.mid - first.mid
    half = (first.half + end.half) / 2
    mid = np.stack(
        [
            first.mid + early * way,
            minutes.quote(HIGH).mid,
            minutes.quote(LOW).mid,
            first.mid + (1 - early) * way,
        ],
        axis=1,
    )
    return trade_signs(
        minutes.trade,
        minutes.volume[:, None] / 4,
        mid,
        half[:, None],
        tick=minutes.tick[:, None],
    )


def several(minutes: Minutes, length: int) -> tuple[Sample, Floats]:
    """Intervals of several minutes as a chain shows them, and the signed volume of each minute.

    Time is told as if an interval were ``SECONDS``: otherwise the rule for quotes older than 90 s
    would answer.
    """
    traded = minutes.volume > 0
    window = minutes.contract * 10_000 + minutes.minute // length
    minutes = minutes.where(np.isin(window, window[traded]))
    traded = minutes.volume > 0
    window = minutes.contract * 10_000 + minutes.minute // length
    _, first, bars = np.unique(window, return_index=True, return_counts=True)
    end = first + bars - 1
    newest = np.maximum.accumulate(np.where(traded, np.arange(len(traded)), 0))[end]
    alone = minutes.sample()
    sample = Sample(
        added=np.add.reduceat(minutes.volume, first),
        last=alone.last[newest],
        last_at=np.full(len(first), np.nan),
        before=Quote(*(column[first] for column in alone.before)),
        now=Quote(*(column[end] for column in alone.now)),
        tick=alone.tick[end],
    )
    return sample, np.add.reduceat(alone.signs(np.nan) * minutes.volume, first)


def synthetic_day(symbol: str = "SPX", seed: int = 7) -> tuple[Sample, Floats]:
    """Every interval and contract of a made-up day that traded, and what was truly bought."""
    session = session_on(date(2026, 8, 19))
    assert session is not None
    day = market.build_day(symbol, session, seed)
    columns: list[list[Floats]] = []
    old = day.columns(0)
    for slot in range(1, len(day.trades.volume)):
        new = day.columns(slot)
        added = (new["volume"] - old["volume"]).astype(np.float64)
        net = (day.signed_volume(slot) - day.signed_volume(slot - 1)).astype(np.float64)
        seconds = new["last_at"] - session.open.timestamp() - (slot - 1) * GRID_SECONDS
        sides = [quotes[side] for quotes in (old, new) for side in ("bid", "ask")]
        traded = added > 0
        columns.append([column[traded] for column in (added, new["last"], seconds, *sides, net)])
        old = new
    added, last, seconds, bid0, ask0, bid1, ask1, net = map(
        np.concatenate, zip(*columns, strict=True)
    )
    mid = (bid1 + ask1) / 2
    before, now = Quote((bid0 + ask0) / 2, (ask0 - bid0) / 2), Quote(mid, (ask1 - bid1) / 2)
    return Sample(added, last, seconds, before, now, np.where(mid < 3, 0.05, 0.10)), net


def correlation(x: Floats, y: Floats) -> float:
    """Pearson's."""
    return float(np.corrcoef(x, y)[0, 1])


def equal_sign(x: Floats, y: Floats, volume: Floats) -> float:
    """The part of the volume with equal signs, of that which has one by both."""
    signed = (x != 0) & (y != 0)
    return float(volume[signed & (np.sign(x) == np.sign(y))].sum() / volume[signed].sum())


def named_side(sign: Floats, net: Floats, volume: Floats) -> float:
    """The part of the volume that really was on the side that the sign names."""
    right = np.where(sign > 0, volume + net, volume - net)[sign != 0] / 2
    return float(right.sum() / volume[sign != 0].sum())


def classified(sign: Floats, volume: Floats) -> float:
    """The part of the volume with a sign."""
    return float(volume[sign != 0].sum() / volume.sum())


def main() -> None:
    """Print the tables."""
    counts = (1, 2, 4, 8)
    fair = {n: simulate(n) for n in counts}
    lean_alike = {n: simulate(n, leaning=LEANING) for n in counts}
    print(f"Simulated: the mid moves {SPEED} half-spreads rms in {SECONDS:.0f} s")
    print("\ncorrelation of s with the move, by prints in the interval")
    for name, rule in RULES.items():
        scores = (correlation(rule(run.sample), run.sample.move) for run in fair.values())
        print(f"  {name:28}" + "".join(f"{value:8.3f}" for value in scores))
    print("\nlast print's side right, by volume")
    for name, rule in RULES.items():
        scores = (
            equal_sign(rule(run.sample), run.side[:, -1], run.sample.added) for run in fair.values()
        )
        print(f"  {name:28}" + "".join(f"{value:8.3f}" for value in scores))
    for name, timed in (
        ("best possible, time known", True),
        ("best possible, time unknown", False),
    ):
        scores = (
            equal_sign(best(run, timed=timed), run.side[:, -1], run.sample.added)
            for run in fair.values()
        )
        print(f"  {name:28}" + "".join(f"{value:8.3f}" for value in scores))
    for what, runs in (("fair coins", fair), ("leaning", lean_alike)):
        print(f"\nvolume on the side that s names, sides {what}")
        for name, rule in RULES.items():
            scores = (named_side(rule(o.sample), o.net, o.sample.added) for o in runs.values())
            print(f"  {name:28}" + "".join(f"{value:8.3f}" for value in scores))
    print("\none print, side right, by the mid's rms move in half-spreads: 1, 2, 3, 4, 5")
    speeds = [simulate(1, speed=speed) for speed in (1.0, 2.0, 3.0, 4.0, 5.0)]
    for name, rule in RULES.items():
        scores = (equal_sign(rule(run.sample), run.net, run.sample.added) for run in speeds)
        print(f"  {name:28}" + "".join(f"{value:8.3f}" for value in scores))

    sample, net = synthetic_day()
    print(f"\nSynthetic SPX day: {len(net)} intervals and contracts with trades")
    for name, rule in RULES.items():
        s = rule(sample)
        print(
            f"  {name:28} rho {correlation(s, sample.move):6.3f}"
            f"  named side {named_side(s, net, sample.added):.3f}"
            f"  with true net/volume {correlation(s, net / sample.added):.3f}"
        )

    for zero_dte in (True, False):
        report(*read_lean(zero_dte=zero_dte), "0DTE only" if zero_dte else "all expiries")


def report(quoted: Minutes, read: float, title: str) -> None:
    """Print the tables of real minutes."""
    minutes = quoted.where(quoted.volume > 0)
    sample, volume = minutes.sample(), minutes.volume
    spans = np.ptp(minutes.trade, axis=1)
    print(
        f"\nlean, {title}: {minutes.contract.max() + 1} contract-days, {len(volume)} traded minutes,"
        f" {volume.sum():.0f} of {read:.0f} contracts"
        f"\n  contracts a minute: median {np.median(volume):.0f}; one price only:"
        f" {(spans == 0).mean():.2f}; one contract only: {(volume == 1).mean():.2f}"
        f"\n  move a minute in half-spreads: rms {np.sqrt((sample.move**2).mean()):.2f}, by volume"
        f" {np.sqrt(np.average(sample.move**2, weights=volume)):.2f}"
        f", median {np.median(abs(sample.move)):.2f}"
    )
    each = four_prints(minutes)
    whole = sample.counted(each.sum(axis=1))
    rest = each[:, [OPEN, HIGH, LOW]].sum(axis=1) * 4 / 3 / volume
    print(f"  four prints: rho {correlation(whole, sample.move):.3f}")
    for name, rule in list(RULES.items())[1:]:
        s = rule(sample)
        print(
            f"  {name:28} rho {correlation(s, sample.move):6.3f}"
            f"  classified {classified(s, volume):.3f}"
            f"  with four prints: equal sign {equal_sign(s, whole, volume):.3f}"
            f" corr {correlation(s, whole):.3f}; without the close:"
            f" {equal_sign(s, rest, volume):.3f} {correlation(s, rest):.3f}"
        )
    for length in (2, 5):
        longer, signed = several(quoted, length)
        minute_by_minute = longer.counted(signed)
        for name, rule in list(RULES.items())[1:]:
            s = rule(longer)
            print(
                f"  {length} min, {name:28} rho {correlation(s, longer.move):6.3f}"
                f"  with each minute: equal sign"
                f" {equal_sign(s, minute_by_minute, longer.added):.3f}"
                f" corr {correlation(s, minute_by_minute):.3f}"
            )


if __name__ == "__main__":
    main()
