"""A hostile feed: clean sessions corrupted at random, and an oracle that knows the clean rows.

A case is a seed. It draws a clean session, up to three kinds of corruption, the slots that they
last and the contracts that they hit. The corrupted session is measured slot by slot with the state
carried over, and later doubts revise earlier rows, as the sampler does. Each slot is then one of:

- ``equal``: every figure is the clean one within 1e-9 of itself;
- ``gap``: the slot was refused, or no frame came;
- ``flagged``: a flag that the clean row does not have names every figure that differs;
- ``within``: what differs could not be known. Flow and the live book differ by no more than what
  nobody could observe; quotes were lost, or wrong by less than spreads leave open; a volume was
  wrong without ever falling; open interest was replaced for ten minutes, as a new file would;
- ``lie``: anything else.

Run ``python -m tests.hostile`` for many cases, ``--seed N`` for one with what it did.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import multiprocessing
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from itertools import islice
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused
from sampler.measure.market import CLOCK_SKEW
from sampler.measure.revision import doubts_of, revise
from sampler.measure.snapshot import measure_slot
from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import Session, market_day, session_on
from storage.market.constants import MULTIPLIER
from storage.record.flag_figures import FIGURE_GROUPS, FLAG_FIGURES
from storage.record.row import SlotRecord
from tests.real_chains import LEAN_DAYS, lean_minutes

KAPPA = 0.43
#: Slots of a clean session, by where they lie.
SLOTS = 44
SESSIONS = (
    *((symbol, first) for symbol in ("SPY", "SPX") for first in (1, 300, 735)),
    *(("NVDA", first) for first in (1, 300, 600)),
    *((f"lean {day}", 30) for day in LEAN_DAYS[:3]),
)
QUOTES = ("bid", "ask", "last", "last_at", "volume")
#: Fields that identify a row or say what happened, and are no figures of the market.
NO_FIGURES = {
    "flags", "flag_amounts", "fetched_at", "differenced_from", "quote_age_seconds", "dropped",
    "source", "delay_seconds",
}  # fmt: skip
#: Slots after the end of a corruption in which its recovery may still show: one, unless named.
RECOVERY = {"oi_replaced": 22, "bust": 22}
OF_VOLUME = set(FIGURE_GROUPS["volume"])
OF_BOOKS = {*FIGURE_GROUPS["live book"], *FIGURE_GROUPS["settled book"], "call_oi", "put_oi"}
#: Figures that flow decides, and those that lost quotes decide.
OF_FLOW = {*FIGURE_GROUPS["flow"], *FIGURE_GROUPS["live book"], "call_gex", "put_gex"}
OF_QUOTES = {
    name
    for group in ("smile", "flow", "live book", "settled book", "spot")
    for name in FIGURE_GROUPS[group]
} | {"weighted_spread_pct"}


@dataclass(frozen=True)
class Clean:
    """A clean session: frames, records and compared figures by slot."""

    session: Session
    frames: list[Frame]
    records: list[SlotRecord]
    figures: list[dict[str, Any]]


@dataclass
class Corruption:
    """One kind of corruption, the frames that it hits and the contracts."""

    kind: str
    first: int
    last: int
    contracts: NDArray[np.bool_]
    seed: int

    def covers(self, index: int) -> bool:
        """Whether it hits a frame."""
        return self.first <= index <= self.last


@dataclass
class Outcome:
    """What became of a case: verdicts by slot, and the first lie."""

    seed: int
    session: str
    corruptions: list[Corruption]
    verdicts: Counter[str] = field(default_factory=Counter)
    beyond: int = 0
    lies: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> str:
        """The kinds, joined."""
        return "+".join(sorted(c.kind for c in self.corruptions))


@lru_cache(maxsize=len(SESSIONS))
def clean_session(symbol: str, first: int) -> Clean:
    """Frames and records of a clean session, from its slot ``first`` on."""
    frames = list(_frames(symbol, first))
    session = session_on(market_day(frames[0].quoted_at))
    assert session is not None
    records: list[SlotRecord] = []
    for frame in frames:
        before = records[-1] if records else None
        chain = select_chain(frame, session)
        records.append(measure_slot(chain, before, oi_confidence=KAPPA))
    return Clean(session, frames, records, [figures_of(r) for r in records])


def _frames(symbol: str, first: int) -> Iterator[Frame]:
    if symbol.startswith("lean "):
        day = date.fromisoformat(symbol.removeprefix("lean "))
        for chain in islice(lean_minutes(day), first, first + SLOTS):
            yield chain.frame
        return
    session = session_on(date(2026, 8, 19))
    assert session is not None

    async def take() -> list[Frame]:
        source = Synthetic(seed=11)
        return [await source.live(symbol, slot) for slot in session.slots[first : first + SLOTS]]

    today = np.datetime64(session.day)
    for frame in asyncio.run(take()):
        yield pick(frame, frame.expiry == today)


def columns_of(frame: Frame) -> list[str]:
    """Names of the columns of a frame."""
    return [
        f.name for f in dataclasses.fields(frame) if isinstance(getattr(frame, f.name), np.ndarray)
    ]


def pick(frame: Frame, rows: Any) -> Frame:
    """A frame's contracts by mask or index."""
    return dataclasses.replace(frame, **{n: getattr(frame, n)[rows] for n in columns_of(frame)})


def change(frame: Frame, **columns: Any) -> Frame:
    """A frame with other values."""
    return dataclasses.replace(frame, **columns)


def figures_of(record: SlotRecord) -> dict[str, Any]:
    """Every figure of a record by name: fields, those of settled and detail, arrays by strike."""
    plain = record.row.as_json()
    settled, detail = plain.pop("settled"), plain.pop("detail")
    # A name of the detail never repeats one of the row; settled ones get a prefix.
    figures = {n: v for n, v in (plain | detail).items() if n not in NO_FIGURES}
    figures |= {f"settled.{name}": value for name, value in settled.items()}
    strikes = record.profile["strike"]
    for name, values in record.profile.items():
        figures[f"[{name}]"] = (strikes, np.asarray(values, np.float64))
    return figures


def differs(ours: Any, clean: Any) -> bool:
    """Whether two figures differ by more than 1e-9 of the larger one."""
    if isinstance(ours, tuple) and len(ours) == 2 and isinstance(ours[1], np.ndarray):
        if len(ours[1]) != len(clean[1]) or not np.array_equal(ours[0], clean[0]):
            return True
        scale = max(float(np.nanmax(np.abs(clean[1]), initial=0.0)), 1e-9)
        return not np.allclose(ours[1], clean[1], rtol=1e-9, atol=1e-9 * scale, equal_nan=True)
    if isinstance(ours, float | int) and isinstance(clean, float | int):
        return abs(ours - clean) > 1e-9 * max(abs(ours), abs(clean), 1.0)
    if isinstance(ours, dict) and isinstance(clean, dict):
        return ours.keys() != clean.keys() or any(differs(ours[k], clean[k]) for k in ours)
    if isinstance(ours, list) and isinstance(clean, list):
        return len(ours) != len(clean) or any(map(differs, ours, clean))
    return bool(ours != clean)


def flagged_name(figure: str) -> str:
    """The name under which flags name a figure."""
    if figure.startswith("settled."):
        return "settled"
    name = figure.strip("[]")
    return "strikes" if name == "strike" else name


def _some(rng: random.Random, c: Corruption, values: NDArray[Any], new: Any) -> NDArray[Any]:
    return np.where(c.contracts, new, values)


Change = Callable[[Frame, list[Frame], int, Corruption, random.Random], Frame | None]


def _dip(portion: float | None) -> Change:
    def apply(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
        share = r.random() * 0.99 if portion is None else portion
        return change(f, volume=_some(r, c, f.volume, np.floor(f.volume * share)))

    return apply


def _set(name: str, value: float) -> Change:
    def apply(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
        return change(f, **{name: _some(r, c, getattr(f, name), value)})

    return apply


def _extra(c: Corruption) -> int:
    return random.Random(c.seed).choice((50, 1000, 100_000))


def _passes(clean: Clean, c: Corruption, index: int) -> NDArray[np.bool_]:
    """Contracts that trade, soon after a volume that was too high, up to that volume by one slot."""
    volumes = np.stack([f.volume for f in clean.frames[c.last : index + 1]])
    return np.asarray(np.nanmax(np.diff(volumes, axis=0), axis=0) >= 0.5 * _extra(c))


def _high(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    return change(f, volume=_some(r, c, f.volume, f.volume + _extra(c)))


def _absent(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    return pick(f, ~c.contracts)


def _flicker(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    return pick(f, ~c.contracts) if (i - c.first) % 2 == 0 else f


def _yesterday(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    return change(f, last_at=_some(r, c, f.last_at, f.quoted_at.timestamp() - 86_400.0))


def _prior_volume(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    """Contracts that have not traded still show the volume and the print of the last session."""
    idle = c.contracts & (f.volume == 0)
    return change(
        f,
        volume=np.where(idle, 5000.0, f.volume),
        last=np.where(idle, 1.0, f.last),
        last_at=np.where(idle, f.quoted_at.timestamp() - 86_400.0, f.last_at),
    )


def _oi_alternating(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    if (i - c.first) % 2:
        return f
    return change(f, open_interest=np.floor(f.open_interest * 0.7) + 13.0)


def _oi_replaced(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    return change(f, open_interest=np.floor(f.open_interest * 0.7) + 13.0)


def _frozen(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    old = clean[max(c.first - 1, 0)]
    return change(f, **{name: getattr(old, name) for name in columns_of(old)})


def _index_frozen(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    return change(f, spot=clean[max(c.first - 1, 0)].spot)


def _spot(factor: float) -> Change:
    def apply(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
        up = random.Random(c.seed).choice((1, -1))
        return change(f, spot=f.spot * (1 + up * factor))

    return apply


def _spot_missing(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    return change(f, spot=r.choice((float("nan"), 0.0, -1.0, float("inf"), 1e300)))


def _volatility(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    """Every time value doubles, on both sides of each strike alike."""
    value = np.maximum((f.spot - f.strike) * f.right, 0.0)
    mid = (f.bid + f.ask) / 2
    more = np.where((f.bid > 0) & (mid > value), mid - value, 0.0)
    return change(f, bid=f.bid + more, ask=f.ask + more)


def _tomorrow(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    return change(f, expiry=f.expiry + np.timedelta64(1, "D"))


def _all_dropped(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    if r.random() < 0.5:
        return change(f, right=np.zeros_like(f.right))
    return change(f, strike=np.full_like(f.strike, np.nan))


def _wide(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    return change(f, bid=f.bid * 0.3, ask=f.ask * 2 + 3)


def _crossed(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    return change(f, bid=_some(r, c, f.bid, f.ask + 1.0))


def _twins(dead_first: bool) -> Change:
    def apply(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
        bare = change(f, root=np.full(len(f.root), ""))
        dead = pick(bare, c.contracts)
        zero = np.zeros(len(dead.strike))
        dead = change(dead, bid=zero, ask=zero, last=zero, volume=zero, open_interest=zero)
        pair = (dead, bare) if dead_first else (bare, dead)
        both = {n: np.concatenate([getattr(p, n) for p in pair]) for n in columns_of(f)}
        return change(bare, **both)

    return apply


def _adjusted(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    extra = pick(f, c.contracts)
    extra = change(extra, root=np.full(len(extra.root), f"{f.symbol}1"), bid=extra.bid * 9)
    both = {n: np.concatenate([getattr(p, n) for p in (extra, f)]) for n in columns_of(f)}
    return change(f, **both)


def _missing(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> None:
    return None


def _out_of_order(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    return clean[max(i - 2, 0)]


def _garbage(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    name = random.Random(c.seed).choice(
        ("bid", "ask", "last", "last_at", "open_interest", "volume")
    )
    bad = random.Random(c.seed + 1).choice((float("nan"), float("inf"), -float("inf"), -7.0, 1e300))
    return change(f, **{name: _some(r, c, getattr(f, name), bad)})


def _partly_frozen(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    """Some contracts stand; their volumes and prints too, or they go on, by the case."""
    old = clean[max(c.first - 1, 0)]
    names = QUOTES if c.seed % 2 else ("bid", "ask")
    return change(f, **{n: _some(r, c, getattr(f, n), getattr(old, n)) for n in names})


def _wrong(f: Frame, clean: list[Frame], i: int, c: Corruption, r: random.Random) -> Frame:
    """Quotes that are neither crossed nor wide, and not those of their contract."""
    case = random.Random(c.seed)
    how = case.choice(("shift", "times ten", "of another", "earlier"))
    if how == "shift":
        by = case.choice((-1, 1)) * case.uniform(1.5, 8.0) * (f.ask - f.bid)
        ask = np.maximum(f.ask + by, f.ask - f.bid)
        bid = ask - (f.ask - f.bid)
    elif how == "times ten":
        bid, ask = f.bid * 10, f.ask * 10
    elif how == "of another":
        other = np.random.default_rng(c.seed).permutation(len(f.bid))
        bid, ask = f.bid[other], f.ask[other]
    else:
        bid, ask = clean[max(i - 40, 0)].bid, clean[max(i - 40, 0)].ask
    return change(f, bid=_some(r, c, f.bid, bid), ask=_some(r, c, f.ask, ask))


#: Kind → what it does to a frame.
KINDS: dict[str, Change] = {
    "volume_zero": _dip(0.0),
    "volume_lower": _dip(None),
    "volume_null": _set("volume", float("nan")),
    "volume_high": _high,
    "volume_high_once": _high,
    "prior_session_volume": _prior_volume,
    "last_trade_of_another_day": _yesterday,
    "contracts_absent": _absent,
    "contracts_flicker": _flicker,
    "newly_listed": _absent,
    "oi_zero": _set("open_interest", 0.0),
    "oi_absent": _set("open_interest", float("nan")),
    "oi_alternating": _oi_alternating,
    "oi_replaced": _oi_replaced,
    "options_frozen": _frozen,
    "index_frozen": _index_frozen,
    "spot_missing": _spot_missing,
    "spot_spike": _spot(0.01),
    "volatility_spike": _volatility,
    "without_today": _tomorrow,
    "all_dropped": _all_dropped,
    "wide_quotes": _wide,
    "crossed_quotes": _crossed,
    "dead_twins_first": _twins(True),
    "dead_twins_last": _twins(False),
    "adjusted": _adjusted,
    "frames_missing": _missing,
    "frames_out_of_order": _out_of_order,
    "garbage": _garbage,
    "partly_frozen": _partly_frozen,
    "wrong_quotes": _wrong,
}
#: Kinds that last one frame by their definition, and those that begin with the session.
ONCE = {"volume_high_once", "spot_spike", "volatility_spike"}
FROM_START = {"newly_listed", "prior_session_volume"}
#: Kinds whose frames lose quotes: of their smile only less is known.
LOSES_QUOTES = {"crossed_quotes", "garbage"}
#: Kinds whose quotes may be wrong by less than others contradict.
OF_SOME_QUOTES = {"partly_frozen", "wrong_quotes"}
#: Kinds that change nothing that a contract's flow is made of.
OF_INTEREST = {"oi_zero", "oi_absent", "oi_alternating", "oi_replaced"}


def draw(seed: int) -> tuple[tuple[str, int], list[Corruption]]:
    """The session and the corruptions of a seed, up to three of different kinds."""
    rng = random.Random(seed)
    where = rng.choice(SESSIONS)
    return where, _draw(rng, where, rng.sample(sorted(KINDS), rng.choice((1, 1, 1, 2, 3))))


def draw_kind(kind: str, seed: int) -> tuple[tuple[str, int], list[Corruption]]:
    """The session and the corruption of a seed for one kind."""
    rng = random.Random(seed)
    where = rng.choice(SESSIONS)
    return where, _draw(rng, where, [kind])


def _draw(rng: random.Random, where: tuple[str, int], chosen: list[str]) -> list[Corruption]:
    clean = clean_session(*where)
    count, frames = len(clean.frames[0].strike), len(clean.frames)
    drawn = []
    for kind in chosen:
        first = 0 if kind in FROM_START else rng.randrange(1, frames - 6)
        length = 1 if kind in ONCE else rng.choice((1, 1, 2, 3, 5, 12, 18))
        if kind == "volatility_spike":
            first = max(first, 7)
        if kind.startswith("volume") or kind == "last_trade_of_another_day":
            # What lasts ten minutes is a correction, and one that is never withdrawn no fault.
            most = 9 if where[0].startswith("lean") else 18
            length = min(length, most, frames - 3 - first)
        sure = rng.randrange(count)
        portion = rng.choice((0.0, 0.1, 0.5, 1.1))
        if kind == "newly_listed":
            portion = min(portion, 0.1)
        contracts = np.array([rng.random() < portion for _ in range(count)])
        contracts[sure] = True
        if kind in {"contracts_absent", "contracts_flicker", "newly_listed"} and (
            contracts.all() or where[0].startswith("lean")
        ):
            contracts[:] = False
            contracts[sure] = True
        if kind == "partly_frozen":
            f = clean.frames[first]
            above = f.strike > np.nanmedian(f.spot)
            contracts = rng.choice((f.right > 0, f.right < 0, above, ~above, contracts))
        if kind == "wrong_quotes" and contracts.sum() > 0.2 * count:
            contracts[:] = False
            contracts[rng.sample(range(count), min(3, count))] = True
        last = min(first + length - 1, frames - 1)
        drawn.append(Corruption(kind, first, last, contracts, rng.randrange(2**31)))
    return drawn


def corrupt(clean: Clean, corruptions: list[Corruption]) -> list[Frame | None]:
    """The corrupted session, a frame a slot, None where none comes."""
    frames: list[Frame | None] = []
    for index, good in enumerate(clean.frames):
        corrupted: Frame | None = good
        for c in corruptions:
            if corrupted is not None and c.covers(index):
                if len(corrupted.strike) != len(c.contracts):
                    continue  # an earlier kind has taken contracts, or added some
                rng = random.Random(c.seed * 1009 + index)
                corrupted = KINDS[c.kind](corrupted, clean.frames, index, c, rng)
        frames.append(corrupted)
    return frames


def play(clean: Clean, frames: list[Frame | None]) -> list[SlotRecord | ChainRefused | None]:
    """Measure a session as the sampler does, and revise rows by what later ones say of them."""
    results: list[SlotRecord | ChainRefused | None] = []
    previous: SlotRecord | None = None
    for index, frame in enumerate(frames):
        if frame is None:
            results.append(None)
            continue
        if frame is clean.frames[index] and (index == 0 or previous is clean.records[index - 1]):
            previous = clean.records[index]
            results.append(previous)
            continue
        try:
            chain = select_chain(frame, clean.session)
            if previous is not None and chain.slot <= previous.row.slot:
                results.append(None)  # no slot is measured twice
                continue
            record = measure_slot(chain, previous, oi_confidence=KAPPA)
        except ChainRefused as refused:
            results.append(refused)
            continue
        if doubts := doubts_of(record):
            said_at = record.row.quoted_at
            results = [
                revise(r, doubts, said_at) if isinstance(r, SlotRecord) else r for r in results
            ]
        previous = record
        results.append(record)
    return results


def unobservable(clean: Clean, corruptions: list[Corruption], index: int) -> tuple[float, float]:
    """Contracts and hedge dollars that may have been signed otherwise until a slot.

    What traded from the first frame of a corruption to the first good one after it, at delta 1, and
    twice, since a sign may be the opposite one.
    """
    contracts = dollars = 0.0
    for c in corruptions:
        if c.kind in OF_INTEREST or c.first > index:
            continue
        begin, end = max(c.first - 1, 0), min(c.last + 1, index, len(clean.frames) - 1)
        if c.kind in {"volume_lower", "volume_zero"}:
            # A low report looks like the end of a rise of the last ten minutes; it is signed anew.
            fell = clean.frames[min(c.first, end)].quoted_at
            earlier = (
                i for i, f in enumerate(clean.frames) if fell - f.quoted_at <= timedelta(minutes=10)
            )
            begin = max(min(begin, next(earlier) - 1), 0)
        # Frames that come after a hole, or quotes that were wrong, touch every contract.
        whole = not c.kind.startswith(("volume", "contracts", "newly", "prior", "last"))
        # A print's time decides its sign, and a dispute decides after ten minutes.
        moved = clean.frames[end].volume - clean.frames[begin].volume
        # Strikes that are missing leave the volatilities of the others to be filled otherwise.
        for_dollars = whole or c.kind.startswith(("contracts", "newly"))
        moved = np.nan_to_num(moved)
        # A session before a listing has fewer contracts: any of them may be the corrupted ones.
        hit = c.contracts if len(c.contracts) == len(moved) else np.ones(len(moved), np.bool_)
        # Without a print a side is told by the quotes of all: forward and smile say what a move is.
        for_sides = whole or (for_dollars and _leaves_no_prints(clean))
        contracts += 2.0 * float(moved[hit | for_sides].sum())
        if c.kind.startswith("volume_high") and index > c.last and len(hit) == len(c.contracts):
            # A rise that is withdrawn and then traded in one slot may look like the same rise.
            extra = 2.0 * float(hit[_passes(clean, c, index)].sum()) * _extra(c)
            contracts += extra
            dollars += extra * MULTIPLIER * clean.frames[index].spot * 1.02
        traded = float(moved[hit | for_dollars].sum())
        dollars += 2.0 * traded * MULTIPLIER * clean.frames[index].spot * 1.02
    return contracts, dollars


def _leaves_no_prints(clean: Clean) -> bool:
    """Whether the feed sends no last prices, so that sides are told by the moves of quotes."""
    return all(bool(np.isnan(f.last).all()) for f in clean.frames[:2])


def sides_beyond(
    clean: Clean, corruptions: list[Corruption], index: int, got: SlotRecord
) -> list[tuple[float, str]]:
    """Contracts whose signed volume is off by more than twice what traded while it was in doubt."""
    allowed: dict[tuple[float, int], float] = {}
    for c in corruptions:
        if c.first > index:
            continue
        begin, end = max(c.first - 1, 0), min(c.last + 1, index, len(clean.frames) - 1)
        first, last = _volumes(clean.frames[begin]), _volumes(clean.frames[end])
        for contract, volume in last.items():
            doubted = 2.0 * (volume - first.get(contract, 0.0))
            allowed[contract] = allowed.get(contract, 0.0) + doubted
    ours, right = _signed(got), _signed(clean.records[index])
    return [
        (strike, "call" if side > 0 else "put")
        for (strike, side), signed in right.items()
        if abs(ours.get((strike, side), signed) - signed) > allowed.get((strike, side), 0.0) + 1e-9
    ]


def _signed(record: SlotRecord) -> dict[tuple[float, int], float]:
    columns, _ = record.state
    return {
        (float(strike), side): float(columns["signed"][row, k])
        for k, strike in enumerate(columns["strike"])
        for row, side in ((0, 1), (1, -1))
    }


def silent_volume(clean: Clean, frames: Sequence[Frame | None], index: int) -> float:
    """By how much volumes may be wrong at a slot without any report that betrays it. [contracts]

    A report that is too low but not below the earlier ones looks like little trading; one that is
    too high, and that the later ones pass, like much.
    """
    frame = frames[index]
    if frame is None or frame is clean.frames[index]:
        return 0.0
    right, wrong = _volumes(clean.frames[index]), 0.0
    sent = [(f.quoted_at.timestamp(), _volumes(f)) for f in frames if f is not None]
    for contract, volume in _volumes(frame).items():
        if volume == right.get(contract):
            continue
        reports = [(now, volumes.get(contract, np.nan)) for now, volumes in sent]
        count = sum(f is not None for f in frames[:index])
        # What is withdrawn ten minutes later at the earliest is no rise that was wrong.
        risen = next((now for now, v in reports if v >= volume), 0.0)
        later = [v for now, v in reports[count + 1 :] if v == v and now - risen <= 600.0]
        off = volume - right.get(contract, np.nan)
        low = off < 0 and volume >= _mark(reports[:count])
        high = off > 0 and volume <= min(later, default=np.inf)
        if low or high:
            wrong += abs(off)
    return wrong


def _mark(reports: list[tuple[float, float]]) -> float:
    """The highest volume that reports have left standing: one rise may be withdrawn in time."""
    reports = [report for report in reports if report[1] == report[1]]
    mark, rise, risen_at = reports[0][1] if reports else 0.0, 0.0, 0.0
    for now, volume in reports:
        if now - risen_at > 600.0:
            rise = 0.0
        if volume > mark:
            if volume - mark >= rise:
                rise, risen_at = volume - mark, now
            mark = volume
        elif mark - rise <= volume < mark:
            mark, rise = volume, 0.0
    return mark


def _volumes(frame: Frame) -> dict[tuple[float, int], float]:
    """Each contract's volume of the day as it was sent; prints of another day make it 0."""
    today = ~(frame.last_at < frame.quoted_at.timestamp() - 80_000.0)
    volumes: dict[tuple[float, int], float] = {}
    for strike, right, volume in zip(
        frame.strike.tolist(), frame.right.tolist(), (frame.volume * today).tolist(), strict=True
    ):
        key = (strike, right)
        if volume >= volumes.get(key, 0.0) and volume < 1e300:
            volumes[key] = volume
    return volumes


def judge(seed: int, where: tuple[str, int], corruptions: list[Corruption]) -> Outcome:
    """Play a case and say what became of each of its slots."""
    clean = clean_session(*where)
    outcome = Outcome(seed, f"{where[0]} {where[1]}", corruptions)
    frames = corrupt(clean, corruptions)
    results = play(clean, frames)
    # What makes no row is not seen by later ones.
    measured = [
        f if isinstance(r, SlotRecord) else None for f, r in zip(frames, results, strict=True)
    ]
    shorter = _before_listing(clean, corruptions, frames)
    first = min(c.first for c in corruptions)
    for index, got in enumerate(results[first:], first):
        verdict, why = _verdict(clean, corruptions, index, got, measured)
        if verdict == "lie" and shorter and index < len(shorter.records):
            verdict, why = _verdict(shorter, corruptions, index, got, measured)
        # Late: the first good slot after it, and the slots that the kind states.
        late = all(index < c.first or index > c.last + RECOVERY.get(c.kind, 1) for c in corruptions)
        if late and verdict == "gap":
            verdict, why = "lie", f"a gap after the end: {got}"
        if verdict == "flagged" and all(not c.covers(index) for c in corruptions):
            outcome.beyond += 1
        outcome.verdicts[verdict] += 1
        if verdict == "lie":
            outcome.lies.append(f"slot {index}: {why}")
    return outcome


def _before_listing(
    clean: Clean, corruptions: list[Corruption], sent: list[Frame | None]
) -> Clean | None:
    """The clean session without contracts that are listed later, up to then; None: all are there.

    Before its first listing a contract is no part of the market.
    """
    listed = [c for c in corruptions if c.kind == "newly_listed"]
    if not listed:
        return None
    whole = len(listed[0].contracts)
    longer = (i for i, f in enumerate(sent) if f is not None and len(f.strike) == whole)
    frames = [pick(f, ~listed[0].contracts) for f in clean.frames[: next(longer, len(sent))]]
    records: list[SlotRecord] = []
    refused = 0
    for frame in frames:
        chain = select_chain(frame, clean.session)
        before = records[-1] if records else None
        try:
            records.append(measure_slot(chain, before, oi_confidence=KAPPA))
        except ChainRefused:
            refused += 1
    if not records:
        return None
    # A slot without a row is never looked up: the first record stands in its place.
    records = [records[0]] * refused + records
    return Clean(clean.session, frames, records, [figures_of(r) for r in records])


def _verdict(
    clean: Clean,
    corruptions: list[Corruption],
    index: int,
    got: SlotRecord | ChainRefused | None,
    frames: list[Frame | None],
) -> tuple[str, str]:
    if not isinstance(got, SlotRecord):
        return "gap", ""
    # A frame that comes late belongs to its own slot.
    arrived = index
    index = next((i for i, r in enumerate(clean.records) if r.row.slot == got.row.slot), index)
    if got is clean.records[index]:
        return "equal", ""
    ours, right = figures_of(got), clean.figures[index]
    other = [
        name
        for name in ours
        if differs(ours[name], right.get(name))
        # Sums of corrections are exact to the cent.
        and not (name.startswith("hedge_flow") and abs(ours[name] - right[name]) <= 0.020001)
    ]
    if not other:
        return "equal", ""
    row, before = got.row, clean.records[index].row
    amounts, usual = row.detail.flag_amounts or {}, before.detail.flag_amounts or {}
    new = [f for f in row.flags if f not in before.flags or amounts.get(f) != usual.get(f)]
    if "forward_is_spot" in row.flags and any(c.covers(index) for c in corruptions):
        new.append("forward_is_spot")  # says that no parity can check spot and smile
    named = {name for flag in new for name in FLAG_FIGURES.get(flag, ())}
    unnamed = [name for name in other if flagged_name(name) not in named]
    if not unnamed:
        return "flagged", ""
    contracts, dollars = unobservable(clean, corruptions, index)
    since = next((i for i, r in enumerate(clean.records) if r.row.slot == row.flow_since), 0)
    if row.flow_since > before.flow_since:
        # The slots before a later baseline belong to nobody, and the row says from when it counts.
        traded = 2.0 * float(np.nansum(clean.frames[since].volume - clean.frames[0].volume))
        contracts += traded
        dollars += traded * MULTIPLIER * before.spot * 1.02
    allowed = set(OF_FLOW) if contracts else set(FIGURE_GROUPS["flow"]) if dollars else set()
    if any(c.kind in LOSES_QUOTES and (c.covers(index) or c.covers(arrived)) for c in corruptions):
        allowed |= OF_QUOTES
    if any(c.kind in OF_SOME_QUOTES and c.covers(arrived) for c in corruptions) and spreads_allow(
        clean, frames[arrived], index, row.forward
    ):
        allowed |= OF_QUOTES
    since_first = any(c.kind in OF_INTEREST and c.covers(since) for c in corruptions)
    if since_first or any(_has_replaced(c, clean, index) for c in corruptions):
        # Another complete set has stood for ten minutes, or was the first one: it is the day's.
        allowed |= {*FIGURE_GROUPS["open interest"], *OF_BOOKS}
    silent = silent_volume(clean, frames, index) if set(unnamed) & OF_VOLUME else 0.0
    # What is reported a slot too early is signed in that slot.
    dollars += 2.0 * silent * MULTIPLIER * before.spot * 1.02
    if silent and abs(row.total_volume - before.total_volume) <= silent + 1e-6:
        allowed |= OF_VOLUME
    if any(c.kind == "newly_listed" for c in corruptions):
        # The volume that a contract had when it was first listed; a baseline without it is later.
        allowed |= {"volume_unattributed", "flow_since"}
    frozen = any(c.covers(index) and c.kind == "index_frozen" for c in corruptions)
    if frozen and not _contradicted(clean.frames[index], row.spot):
        # A price that stands while parity cannot tell it from the market's is no fault.
        return "within", ""
    stand = any(
        c.kind == "partly_frozen" and c.covers(arrived) and c.contracts.all() for c in corruptions
    )
    if stand and (sent := frames[arrived]) is not None and not _contradicted(sent, row.spot):
        # Nor is it if every quote stands.
        return "within", ""
    if any(_first_sight(c, clean, frames, index) for c in corruptions):
        # Options that stood before anybody saw them look like new ones.
        return "within", ""
    left = [name for name in unnamed if flagged_name(name) not in allowed]
    if not left and _leaves_no_prints(clean):
        left = [f"side of {c}" for c in sides_beyond(clean, corruptions, index, got)]
    if not left:
        off = row.hedge_flow_cumulative_all - before.hedge_flow_cumulative_all
        if abs(off) <= dollars + 0.02 or "hedge_flow_cumulative_all" not in unnamed:
            return "within", ""
        left = [f"hedge_flow_cumulative_all off by {off:.0f}, at most {dollars:.0f}"]
    shown = left[0]
    values = (
        f" clean {right[shown]!r:.60} got {ours[shown]!r:.60}"
        if shown in ours and not shown.startswith("[")
        else ""
    )
    return "lie", f"{len(left)} figures, {shown}{values}, flags {list(row.flags)}; {left[:8]}"


def spreads_allow(clean: Clean, frame: Frame | None, index: int, level: float) -> bool:
    """Whether wrong quotes, and a forward, are off by no more than spreads leave open.

    Quotes of one frame are of moments that lie apart, by which parity of recorded frames fails: by
    two moves of a second and 2 cents. If all calls stand while the underlying moves by x, the
    forward is off by x/2, and the levels that two strikes give differ by x times the difference of
    their deltas: that has to exceed both pairs' widths too, since a right price lies anywhere
    between bid and ask. A forward may be off by x/2 and
    by the width of the pair at the money, within which its median lies. A quote out of the money
    may be off by as much, by its own width besides and by the widest of the four beside it, which
    would have to contradict it; one in the money by twice as much, x, and by its pair's width.
    """
    if frame is None:
        return False
    row = clean.records[index].row
    right, sent = _by_strike(clean.frames[index]), _by_strike(frame)
    strikes = np.array(sorted(k for k in right if len(right[k]) == 2 and len(sent.get(k, ())) == 2))
    # Bid and ask of the call, bid and ask of the put.
    good, got = (
        np.array([[*quotes[k][1], *quotes[k][-1]] for k in strikes.tolist()])
        for quotes in (right, sent)
    )
    widths = np.maximum(good[:, 1::2] - good[:, ::2], got[:, 1::2] - got[:, ::2])
    off = np.abs(good[:, ::2] + good[:, 1::2] - got[:, ::2] - got[:, 1::2]) / 2
    usual = good[:, 1::2] - good[:, ::2]
    sigma = row.remaining_1sd or row.forward * 0.01
    second = sigma / np.sqrt(row.years_to_expiry * 365 * 86_400)
    money = int(np.argmin(np.abs(strikes - row.forward)))
    delta = np.array([NormalDist().cdf((row.forward - k) / sigma) for k in strikes.tolist()])
    pair = usual.sum(axis=1)
    needed = 2 * second + 0.02 + pair[:, None] + pair[None, :]
    apart = np.abs(delta[:, None] - delta[None, :])
    common = max(2 * second + 0.02, float(np.min(needed / np.maximum(2 * apart, 1e-9))))
    common += pair[money]
    outer = np.where(strikes >= row.forward, 0, 1)
    n = np.arange(len(strikes))
    beside = np.pad(usual[n, outer], 2, mode="edge")
    beside = np.max([beside[i : i + len(n)] for i in (0, 1, 3, 4)], axis=0)
    fits_outer = off[n, outer] <= common + widths[n, outer] + beside + 1e-9
    fits_inner = off[n, 1 - outer] <= 2 * common + widths.sum(axis=1) + 1e-9
    return bool(abs(level - row.forward) <= common and fits_outer.all() and fits_inner.all())


def _by_strike(frame: Frame) -> dict[float, dict[int, tuple[float, float]]]:
    """Bid and ask by strike and right."""
    quotes: dict[float, dict[int, tuple[float, float]]] = {}
    for k, right, bid, ask, root in zip(
        frame.strike.tolist(), frame.right.tolist(), frame.bid.tolist(), frame.ask.tolist(),
        frame.root.tolist(), strict=True,
    ):  # fmt: skip
        if root[-1:].isdigit():
            continue  # an adjusted contract is none of today's
        # Of twins the live one, which somebody bids more for.
        quotes.setdefault(k, {}).setdefault(right, (bid, ask))
        quotes[k][right] = max(quotes[k][right], (bid, ask))
    return quotes


def _contradicted(frame: Frame, spot: float) -> bool:
    """Whether parity of the clean quotes contradicts a spot beyond its own scatter and a point."""
    calls = {k: v for k, v in _mids(frame, 1).items() if abs(k / spot - 1) < 0.02}
    puts = _mids(frame, -1)
    levels = [k + c - puts[k] for k, c in sorted(calls.items()) if k in puts]
    if len(levels) < 3:
        return False
    scatter = float(np.subtract(*np.percentile(levels, [75, 25]))) / 2
    away = abs(float(np.median(levels)) - spot)
    return away > 1.5 * CLOCK_SKEW * spot and away > 3.5 * scatter


def _mids(frame: Frame, right: int) -> dict[float, float]:
    use = (frame.right == right) & (frame.bid > 0) & (frame.ask >= frame.bid)
    mids = (frame.bid + frame.ask)[use] / 2
    return dict(zip(frame.strike[use].tolist(), mids.tolist(), strict=True))


def _first_sight(c: Corruption, clean: Clean, frames: list[Frame | None], index: int) -> bool:
    """Whether options that froze look new: the last frame that was seen has others."""
    if c.kind != "options_frozen" or not c.covers(index):
        return False
    before = [f for f in frames[:index] if f is not None]
    old = clean.frames[max(c.first - 1, 0)]
    return not before or not (
        len(before[-1].bid) == len(old.bid)
        and np.array_equal(before[-1].volume, old.volume, equal_nan=True)
        and np.array_equal(before[-1].bid, old.bid, equal_nan=True)
        and np.array_equal(before[-1].ask, old.ask, equal_nan=True)
    )


def _has_replaced(c: Corruption, clean: Clean, index: int) -> bool:
    """Whether another set of open interest has stood for ten minutes, as a new file would."""
    frames = clean.frames
    if c.kind != "oi_replaced" or index < c.first:
        return False
    lasted = frames[min(index, c.last)].quoted_at - frames[c.first].quoted_at
    return lasted >= timedelta(minutes=10)


def run(seed: int) -> Outcome:
    """Play the case of a seed."""
    return judge(seed, *draw(seed))


def shrink(outcome: Outcome) -> Outcome:
    """The smallest case that still lies: one kind, one contract, one slot, as far as it goes."""
    symbol, first = outcome.session.rsplit(" ", 1)
    where, best = (symbol, int(first)), outcome
    trying = True
    while trying:
        trying = False
        for smaller in _smaller(best.corruptions):
            again = judge(best.seed, where, smaller)
            if again.lies:
                best, trying = again, True
                break
    return best


def _smaller(corruptions: list[Corruption]) -> Iterator[list[Corruption]]:
    if len(corruptions) > 1:
        for index in range(len(corruptions)):
            yield [c for i, c in enumerate(corruptions) if i != index]
    for index, c in enumerate(corruptions):
        rest = corruptions[:index], corruptions[index + 1 :]
        if c.last > c.first:
            half = c.first + (c.last - c.first) // 2
            yield [*rest[0], dataclasses.replace(c, last=half), *rest[1]]
        rows = np.flatnonzero(c.contracts)
        if len(rows) > 1:
            for half_rows in np.array_split(rows, 2):
                mask = np.zeros_like(c.contracts)
                mask[half_rows] = True
                yield [*rest[0], dataclasses.replace(c, contracts=mask), *rest[1]]


def describe(outcome: Outcome) -> str:
    """A failing case in a few lines."""
    what = "; ".join(
        f"{c.kind} in frames {c.first}-{c.last}, {int(c.contracts.sum())} contracts"
        for c in outcome.corruptions
    )
    return f"seed {outcome.seed}, {outcome.session}: {what}\n  " + "\n  ".join(outcome.lies[:3])


def main(arguments: list[str]) -> int:
    """Play cases on every core and print a table by kind."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=main.__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this one alone, and shrink it")
    parser.add_argument("--processes", type=int, default=None)
    options = parser.parse_args(arguments)
    if options.seed is not None:
        outcome = run(options.seed)
        print(describe(outcome), dict(outcome.verdicts))
        if outcome.lies:
            print("smallest:", describe(shrink(outcome)))
        return bool(outcome.lies)
    seeds = range(options.first, options.first + options.cases)
    print(f"seeds {seeds.start} to {seeds.stop - 1}", flush=True)
    table: dict[str, Counter[str]] = {}
    lies: list[Outcome] = []
    with multiprocessing.Pool(options.processes) as pool:
        for done, outcome in enumerate(pool.imap_unordered(run, seeds, chunksize=8), 1):
            for c in outcome.corruptions if len(outcome.corruptions) == 1 else [None]:
                line = table.setdefault(c.kind if c else "two or three kinds", Counter())
                line["cases"] += 1
                line.update(outcome.verdicts)
                line["beyond"] += outcome.beyond
                line["lying cases"] += bool(outcome.lies)
            if outcome.lies:
                lies.append(outcome)
                print(describe(outcome), flush=True)
            if done % 500 == 0:
                print(f"{done} cases, {len(lies)} with a lie", flush=True)
    columns = ("cases", "equal", "gap", "flagged", "within", "lie", "beyond", "lying cases")
    print("kind".ljust(28), *(name.rjust(12) for name in columns))
    for kind, counts in sorted(table.items()):
        print(kind.ljust(28), *(str(counts[name]).rjust(12) for name in columns))
    for outcome in sorted(lies, key=lambda o: (len(o.corruptions), o.kinds, o.seed))[:200]:
        print(describe(outcome))
    print(f"{len(lies)} of {options.cases} cases lie")
    return bool(lies)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
