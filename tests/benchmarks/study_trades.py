"""Flow by the last print beside flow by each trade, of the same trades: how wrong is the cheap way?

``python -m tests.benchmarks.study_trades`` (minutes): the tables of docs/signing.md, *The cheap way
and the dear one*. Prints of the simulated market with a true side each; real minutes; one recorded
file of trades with their quotes. Every source is measured by the product itself, from its frames.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from sampler.chain import Frame, select_chain
from sampler.measure.snapshot import measure_slot
from sampler.metrics.flow import Quote, aggressor_sign, trade_signs
from sampler.sources.synthetic import day as market
from sampler.sources.synthetic import trading
from sampler.sources.theta.conditions import MULTI_LEG
from sampler.sources.trades import PrintKind, Prints, TradeTally
from storage.market.calendar import session_on
from storage.market.constants import GRID_SECONDS, MULTIPLIER, YEAR_SECONDS
from storage.market.instruments import instrument_of
from storage.record.row import SlotRecord
from tests import real_chains
from tests.benchmarks.study_signing import Minutes, correlation, four_prints

Floats = NDArray[np.float64]

DAY = date(2026, 8, 19)
#: Simulated sessions that nothing was chosen or tried with.
SEEDS = tuple(range(501, 507))
#: Part of the contracts that trade as legs of spreads, where there are any. An assumption.
LEGS = 0.3
#: A leg's price lies around the middle of its quote by so much of its half-spread.
LEG_SCATTER = 0.25


@dataclass(frozen=True, kw_only=True)
class Tape:
    """A session's prints in the order of time; columns of one length."""

    day: market.SyntheticDay
    #: Of the contracts that expire today. [s after the open]
    contract: NDArray[np.int64]
    second: NDArray[np.int64]
    #: Who started it: +1 a buyer, -1 a seller. The truth.
    side: Floats
    size: Floats
    price: Floats
    bid: Floats
    ask: Floats
    leg: NDArray[np.bool_]

    @property
    def slot(self) -> NDArray[np.int64]:
        """The first slot that shows each print."""
        return -(-self.second // GRID_SECONDS)

    def signed(self, amount: Floats) -> Floats:
        """Amounts of all prints up to each slot, by contract: (slots, contracts)."""
        slots = len(self.day.trades.volume)
        table = np.zeros((slots, len(self.day.tape.contracts.strike)))
        within = self.slot < slots
        np.add.at(table, (self.slot[within], self.contract[within]), amount[within])
        return np.cumsum(table, axis=0)


def make_tape(symbol: str, seed: int, *, legs: float) -> Tape:
    """Prints of a simulated day: as many, and where, as the product's own simulation has them.

    Each print has its own second, side and size, at the bid or ask of that second, some at the
    middle. Sides of one contract within half a minute lean alike. Legs come in pairs of
    neighbouring strikes, one bought and one sold by the same customer, near the middle of their quotes.
    """
    session = session_on(DAY)
    assert session is not None
    day = market.build_day(symbol, session, seed)
    tape = day.tape
    _, pace = market.simulate_prices(symbol, session, seed)
    rng = np.random.default_rng(seed)
    slots = len(tape.spot) // GRID_SECONDS
    slot, which, count = trading._prints(tape, pace, slots, rng)
    today = tape.contracts.expiry == np.datetime64(DAY)
    keep = today[which]
    slot, which, count = slot[keep], which[keep], count[keep]
    lean = trading._lean(slots, rng)[(tape.contracts.right[which] < 0).astype(int), slot]
    buying = np.clip(0.5 + lean / 2 + 0.35 * rng.standard_normal(len(slot)), 0.03, 0.97)
    slot, which, buying = (np.repeat(values, count) for values in (slot, which, buying))
    n = len(slot)
    second = GRID_SECONDS * slot + np.ceil(GRID_SECONDS * (1 - rng.random(n))).astype(np.int64)
    size = 1 + np.floor((trading.SIZE - 1) * rng.exponential(size=n))
    bid, ask, _ = tape.quotes(second, which)
    side = np.where(rng.random(n) < np.where(bid == 0, 1.0, buying), 1.0, -1.0)
    at_mid = (rng.random(n) < trading.AT_MID) & ((bid + ask) % 2 == 0) & (bid > 0)
    price = np.where(at_mid, (bid + ask) / 2, np.where(side > 0, ask, bid))
    leg = np.zeros(n, bool)
    if legs:
        # The first leg of a pair is a print that is there; the other is a strike beside it.
        strike, right = tape.contracts.strike, tape.contracts.right
        first = np.flatnonzero((rng.random(n) < legs / (2 - legs)) & (bid > 0))
        shift = rng.choice([-2, -1, 1, 2], len(first))
        other = np.clip(which[first] + shift, 0, int(today.sum()) - 1)
        near = np.abs(strike[other] - strike[which[first]]) <= 4 * tape.traits.step
        fits = (right[other] == right[which[first]]) & (other != which[first]) & near
        first, other = first[fits], other[fits]
        leg[first] = True
        which = np.r_[which, other]
        second, size = np.r_[second, second[first]], np.r_[size, size[first]]
        # Customers buy and sell spreads alike.
        side[first] = rng.choice([-1.0, 1.0], len(first))
        side, leg = np.r_[side, -side[first]], np.r_[leg, np.ones(len(first), bool)]
        bid, ask, _ = tape.quotes(second, which)
        off = np.clip(LEG_SCATTER * rng.standard_normal(len(which)), -1, 1)
        price = np.where(
            leg,
            np.rint((bid + ask) / 2 + off * (ask - bid) / 2),
            np.r_[price, np.zeros(len(first))],
        )
    order = np.lexsort((rng.random(len(which)), second))
    return Tape(
        day=day,
        contract=which[order],
        second=second[order],
        side=side[order],
        size=size[order],
        price=price[order] / 100,
        bid=bid[order] / 100,
        ask=ask[order] / 100,
        leg=leg[order],
    )


def sources_of(tape: Tape) -> dict[str, dict[str, Any]]:
    """What each kind of source shows of the same prints: columns by slot, (slots, contracts)."""
    slots = len(tape.day.trades.volume)
    contracts = len(tape.day.tape.contracts.strike)
    session = tape.day.session
    opens = session.open.timestamp()
    volume = tape.signed(tape.size)
    last, last_at = np.full((slots, contracts), np.nan), np.full((slots, contracts), np.nan)
    within = tape.slot < slots
    where = tape.slot[within], tape.contract[within]
    # In order of time: of several in a cell the last assignment stands.
    last[where], last_at[where] = tape.price[within], opens + tape.second[within]
    for slot in range(1, slots):
        old = np.isnan(last[slot])
        last[slot, old], last_at[slot, old] = last[slot - 1, old], last_at[slot - 1, old]
    shown = {"volume": volume, "last": last}
    sources = {
        "last print, its time known": shown | {"last_at": last_at},
        "last print alone": shown,
        "each trade": shown | {"signed_volume": tallied(tape, legs_have_sides=False)},
    }
    if tape.leg.any():
        sources["each trade, legs signed too"] = shown | {
            "signed_volume": tallied(tape, legs_have_sides=True)
        }
    sources["the truth"] = shown | {"signed_volume": tape.signed(tape.side * tape.size)}
    return sources


def tallied(tape: Tape, *, legs_have_sides: bool) -> Floats:
    """Signed volume up to each slot, by the product's own tally of trades."""
    session = tape.day.session
    tally = TradeTally(
        opens=session.open,
        closes=session.close,
        price_steps=instrument_of(tape.day.tape.traits.root.removesuffix("W")).price_steps,
        contracts=len(tape.day.tape.contracts.strike),
    )
    kind = np.where(tape.leg & (not legs_have_sides), PrintKind.MULTI_LEG, PrintKind.SIDED)
    prints = Prints(
        contract=tape.contract,
        at=session.open.timestamp() + tape.second,
        price=tape.price,
        size=tape.size,
        bid=tape.bid,
        ask=tape.ask,
        kind=kind.astype(np.int8),
    )
    table = []
    ends = np.searchsorted(tape.slot, np.arange(len(tape.day.trades.volume)), side="right")
    begin = 0
    for end in ends.tolist():
        tally.add(prints.take(slice(begin, end)))
        table.append(tally.signed_volume.copy())
        begin = end
    return np.array(table)


def measured(
    symbol: str, day: market.SyntheticDay, shown: Mapping[str, Floats]
) -> list[SlotRecord]:
    """The product's records of a session, from what a source shows."""
    session, records = day.session, []
    record: SlotRecord | None = None
    # Not the last two minutes: some of these sessions have no volatility left by then.
    for slot, moment in list(enumerate(session.slots))[1:-4]:
        columns = day.columns(slot)
        for name in ("last", "last_at", "volume"):
            columns.pop(name)
        frame = Frame.of(
            symbol=symbol,
            source="study",
            delay_seconds=0,
            quoted_at=moment,
            fetched_at=moment,
            spot=day.spot(slot),
            columns=columns | {name: table[slot] for name, table in shown.items()},
        )
        record = measure_slot(select_chain(frame, session), record, oi_confidence=0.43)
        records.append(record)
    return records


def signed_of(records: list[SlotRecord]) -> Floats:
    """Signed volume added in each slot, by contract: (slots, contracts)."""
    tables = [np.concatenate([r.profile["call_signed"], r.profile["put_signed"]]) for r in records]
    return np.diff(np.array(tables), axis=0)


def flow_of(records: list[SlotRecord]) -> Floats:
    """Hedge flow of each slot. [$]"""
    return np.diff([record.row.hedge_flow_cumulative_all for record in records])


@dataclass(frozen=True)
class Score:
    """How well a source's flow agrees with the truth, over one session."""

    #: Of the volume that got a side: what really was on it, and its part of all volume. [0-1]
    accuracy: float
    classified: float
    #: Of hedge flow a slot, and of its running sum, with the truth.
    correlation: float
    running: float
    #: Errors of hedge flow, root mean square a slot, and of the session's sum; the truth's own. [$]
    error: float
    size: float
    end_error: float
    end: float


def score(records: list[SlotRecord], truth: list[SlotRecord], volume: Floats) -> Score:
    """One source against the truth; ``volume`` is what traded in each slot, as ``signed_of``."""
    ours, theirs = signed_of(records), signed_of(truth)
    side = np.sign(ours)
    right = np.where(side > 0, volume + theirs, volume - theirs)[side != 0].sum() / 2
    flow, true = flow_of(records), flow_of(truth)
    return Score(
        accuracy=float(right / volume[side != 0].sum()),
        classified=float(volume[side != 0].sum() / volume.sum()),
        correlation=correlation(flow, true),
        running=correlation(flow.cumsum(), true.cumsum()),
        error=float(np.sqrt(((flow - true) ** 2).mean())),
        size=float(np.sqrt((true**2).mean())),
        end_error=float(flow.sum() - true.sum()),
        end=float(true.sum()),
    )


def volume_of(tape: Tape, records: list[SlotRecord]) -> Floats:
    """Volume of each slot by contract, in the order of ``signed_of``."""
    contracts = tape.day.tape.contracts
    strikes = records[0].profile["strike"]
    today = contracts.expiry == np.datetime64(DAY)
    place = np.searchsorted(strikes, contracts.strike) + np.where(
        contracts.right > 0, 0, len(strikes)
    )
    table = np.zeros((len(records), 2 * len(strikes)))
    table[:, place[today]] = tape.signed(tape.size)[1 : len(records) + 1, today]
    return np.diff(table, axis=0)


def greeks_at_the_trade(tape: Tape) -> tuple[Floats, Floats]:
    """True hedge flow a slot, at each print's own second and at its slot's end. [$]"""
    within = tape.slot < len(tape.day.trades.volume)
    which, side = tape.contract[within], (tape.side * tape.size)[within]
    slot = tape.slot[within]

    def dollars(second: NDArray[np.int64]) -> Floats:
        """Σ side·size·Δ·M·S of the prints of each slot, with greeks of a second each."""
        listed, about = tape.day.tape.contracts, tape.day.tape
        _, _, sigma = about.quotes(second, which)
        years = np.maximum(about.life - second, 1) / YEAR_SECONDS
        forward = about.spot[second] * (1 + trading.CARRY * years)
        total = sigma * np.sqrt(years)
        call = ndtr(np.log(forward / listed.strike[which]) / total + total / 2)
        delta = np.where(listed.right[which] > 0, call, call - 1)
        worth = side * delta * MULTIPLIER * about.spot[second]
        return np.bincount(slot, worth, len(tape.day.trades.volume))[2:-4]

    return dollars(tape.second[within]), dollars(slot * GRID_SECONDS)


def lean_minutes() -> Iterator[tuple[str, list[SlotRecord], list[SlotRecord]]]:
    """Real days by the last print of each minute, and by the four prints that a bar names."""
    for day in real_chains.LEAN_DAYS:
        session = session_on(day)
        quotes, trades = (real_chains._lean_bars(day, kind) for kind in ("quote", "trade"))
        signed = {key: _by_four_prints(quotes[key], trades[key]) for key in quotes}
        last: list[SlotRecord] = []
        each: list[SlotRecord] = []
        for chain in real_chains.lean_minutes(day):
            frame = chain.frame
            minute = chain.quoted_at.hour * 60 + chain.quoted_at.minute - 1
            sums = [
                sum(values for moment, values in signed[k, int(r)].items() if moment <= minute)
                for k, r in zip(frame.strike, frame.right, strict=True)
            ]
            for records, shown in (
                (last, frame),
                (each, dataclasses.replace(frame, signed_volume=np.array(sums))),
            ):
                previous = records[-1] if records else None
                records.append(
                    measure_slot(select_chain(shown, session), previous, oi_confidence=0.43)
                )
        yield str(day), last, each


def _by_four_prints(
    quotes: Mapping[int, list[float]], trades: Mapping[int, list[float]]
) -> dict[int, float]:
    """Signed volume of each traded minute of a contract."""
    traded = [minute for minute in trades if minute in quotes]
    bars = np.array([quotes[minute] + trades[minute] for minute in traded])
    minutes = Minutes(
        contract=np.zeros(len(traded), np.int64),
        minute=np.array(traded),
        trade=bars[:, 10:14] / 1e4,
        bid=bars[:, 0:4] / 1e4,
        ask=bars[:, 5:9] / 1e4,
        volume=bars[:, 14],
    )
    signed = np.nan_to_num(four_prints(minutes).sum(axis=1))
    return dict(zip(traded, signed.tolist(), strict=True))


def recorded_trades() -> str:
    """The one recorded file of trades with quotes: each by its own quote, and in half minutes."""
    path = real_chains.EXTRA / "vendors/theta/csv/option_history_trade_quote.csv"
    if not path.exists():
        return "the recorded file of trades with quotes is not here"
    with path.open() as lines:
        rows = list(csv.DictReader(lines))
    price, size, bid, ask = (
        np.array([float(row[name]) for row in rows]) for name in ("price", "size", "bid", "ask")
    )
    leg = np.isin([int(row["condition"]) for row in rows], MULTI_LEG)
    second = np.array(
        [np.datetime64(row["trade_timestamp"]).astype("datetime64[ms]").astype(int) for row in rows]
    )
    slot = second // (1000 * GRID_SECONDS)
    mid, half, tick = (bid + ask) / 2, (ask - bid) / 2, np.full(len(bid), 0.01)
    own = trade_signs(price, size, mid, half, tick=tick)
    ends = np.flatnonzero(np.r_[slot[1:] != slot[:-1], True])
    begins = np.r_[0, ends[:-1] + 1]
    added = np.add.reduceat(size, begins)
    # The quote before an interval is that of its first print; the one after it, of its last.
    cheap = aggressor_sign(
        added,
        price[ends],
        second[ends] / 1000,
        before=Quote(mid[begins], half[begins]),
        now=Quote(mid[ends], half[ends]),
        before_at=0.0,
        now_at=float(GRID_SECONDS),
        tick=tick[ends],
        modelled=np.full(len(ends), np.nan),
    )
    return (
        f"{len(rows)} prints in {len(ends)} half minutes: {size.sum():.0f} contracts, of which"
        f" {size[leg].sum():.0f} legs; each trade without legs {own[~leg].sum():.1f}, with legs"
        f" {own.sum():.1f}, last print of each half minute {(cheap * added).sum():.1f}"
    )


def main() -> None:
    """Print the tables."""
    for symbol in ("SPX", "QQQ"):
        for legs in (0.0, LEGS):
            scores: dict[str, list[Score]] = {}
            timing = []
            for seed in SEEDS:
                tape = make_tape(symbol, seed, legs=legs)
                sources = sources_of(tape)
                records = {name: measured(symbol, tape.day, s) for name, s in sources.items()}
                truth = records["the truth"]
                volume = volume_of(tape, truth)
                for name, of_source in records.items():
                    scores.setdefault(name, []).append(score(of_source, truth, volume))
                timing.append(greeks_at_the_trade(tape))
            share = tape.size[tape.leg].sum() / tape.size.sum()
            print(f"\n{symbol}, {len(SEEDS)} sessions, legs {share:.0%} of the last one's volume")
            print(
                "| source | accuracy | sided | corr. | running | error a slot | of | end error | of |"
            )
            print("|---|---|---|---|---|---|---|---|---|")
            for name, some in scores.items():
                mean = {f: np.mean([getattr(s, f) for s in some]) for f in Score.__annotations__}
                rms = {
                    f: math.sqrt(np.mean([getattr(s, f) ** 2 for s in some]))
                    for f in ("error", "size", "end_error", "end")
                }
                print(
                    f"| {name} | {mean['accuracy']:.1%} | {mean['classified']:.0%} |"
                    f" {mean['correlation']:.2f} | {mean['running']:.2f} |"
                    f" {rms['error'] / 1e6:.1f} | {rms['size'] / 1e6:.1f} |"
                    f" {rms['end_error'] / 1e9:.2f} | {rms['end'] / 1e9:.2f} |"
                )
            trade, slot = (np.concatenate(some) for some in zip(*timing, strict=True))
            ends = np.array([(t.sum(), s.sum()) for t, s in timing])
            print(
                f"greeks at the trade against at the slot: correlation {correlation(trade, slot):.4f},"
                f" rms difference a slot {np.sqrt(((trade - slot) ** 2).mean()) / 1e6:.1f} of"
                f" {np.sqrt((trade**2).mean()) / 1e6:.1f} million $; of a session's sum"
                f" {np.sqrt(((ends[:, 0] - ends[:, 1]) ** 2).mean()) / 1e9:.3f} of"
                f" {np.sqrt((ends[:, 0] ** 2).mean()) / 1e9:.2f} bn $"
            )
    for name, last, each in lean_minutes():
        cheap, dear = flow_of(last), flow_of(each)
        print(
            f"real minutes {name}: {len(dear)}, correlation {correlation(cheap, dear):.2f}, running"
            f" {correlation(cheap.cumsum(), dear.cumsum()):.2f}, rms difference"
            f" {np.sqrt(((cheap - dear) ** 2).mean()) / 1e6:.1f} of"
            f" {np.sqrt((dear**2).mean()) / 1e6:.1f} million $; sums {cheap.sum() / 1e6:.0f} and"
            f" {dear.sum() / 1e6:.0f}"
        )
    print(recorded_trades())


if __name__ == "__main__":
    main()
