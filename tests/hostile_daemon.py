"""A hostile vendor: whole answers that lie, through the daemon's parts and a real store.

``tests.hostile`` corrupts frames and measures them by a loop. Here a loopback server sends Cboe's
own format, the daemon's source, scheduler and writer do what they do in production, and what is
judged is what lies in the database. So it plays the kinds that live in time: feeds that stand, days
that are missing, hosts that refuse, processes that die, feeds that are slower than the grid.

The clean rows are those of the same answers, read and measured by hand in a loop. Each slot of the
corrupted session must be one of:

- a row whose every figure is the clean one within 1e-9 of itself;
- a gap with a reason that its corruption allows, and never later than one slot after its end;
- a row with a flag that the clean one lacks and that names every figure which differs;
- a row whose signed volume, contract by contract, is off by no more than twice what traded while
  its contract could not be seen, and in which only figures of flow and of the live book differ. From
  the second slot after the end on, each row adds what the clean one adds, to two cents.

Run ``python -m tests.hostile_daemon`` for many cases.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psycopg
import structlog
from numpy.typing import NDArray

from sampler.chain import select_chain
from sampler.live.tick import STALE_AFTER
from sampler.measure.market import CLOCK_SKEW
from sampler.measure.snapshot import measure_slot
from sampler.sources.cboe import Cboe
from sampler.sources.cboe_json import parse_chain
from sampler.sources.synthetic.source import Synthetic
from storage.embedded.attach import attach
from storage.market.calendar import Session, session_on
from storage.postgres.migrate import TABLES, migrate
from storage.postgres.store import Store
from storage.record.flag_figures import FIGURE_GROUPS, FLAG_FIGURES
from storage.record.row import SlotRecord
from tests.cboe_server import Answer, CboeServer, from_frame
from tests.hostile import differs, figures_of, flagged_name, pick
from tests.rig import STEP, rig

KAPPA = 0.43
DAY = date(2026, 8, 19)
#: How far the vendor's quotes lie behind, as Cboe's do.
DELAY = timedelta(seconds=900)
#: Figures that the sides and sizes of trades decide.
OF_FLOW = {*FIGURE_GROUPS["flow"], *FIGURE_GROUPS["live book"], "call_gex", "put_gex"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Clean:
    """A clean session: the vendor's answer of each slot, and the record that it makes."""

    symbol: str
    session: Session
    slots: tuple[datetime, ...]
    #: How many slots of the grid lie between two answers of the feed.
    cadence: int
    answers: tuple[Json, ...]
    #: By slot; a slower feed has none at the slots between.
    records: dict[datetime, SlotRecord]
    figures: dict[datetime, dict[str, Any]]

    def fetched(self, index: int) -> datetime:
        """When the answer of a slot is fetched: a second after the vendor sends it."""
        return self.slots[index] + DELAY + timedelta(seconds=1)


@lru_cache(maxsize=12)
def clean_session(symbol: str, first: int, length: int, cadence: int = 1) -> Clean:
    """A made-up session from its slot ``first`` on: today's contracts, and those of the next day."""
    session = session_on(DAY)
    assert session is not None
    slots = session.slots[first : first + length]

    async def frames() -> list[Any]:
        source = Synthetic(seed=11)
        return [await source.live(symbol, slot) for slot in slots]

    answers: list[Json] = []
    for index, frame in enumerate(asyncio.run_coroutine_threadsafe(frames(), _loop()).result()):
        if index % cadence:
            answers.append(answers[-1])
            continue
        nearest = np.unique(frame.expiry)[:2]
        answers.append(from_frame(pick(frame, frame.expiry <= nearest[-1])))
    records: dict[datetime, SlotRecord] = {}
    previous = None
    for index in range(0, length, cadence):
        body = orjson.dumps(answers[index])
        now = slots[index] + DELAY
        frame = parse_chain(body, symbol=symbol, now=now, delay_seconds=900)
        previous = measure_slot(select_chain(frame, session), previous, oi_confidence=KAPPA)
        records[slots[index]] = previous
    figures = {slot: without_others(figures_of(record)) for slot, record in records.items()}
    return Clean(symbol, session, slots, cadence, tuple(answers), records, figures)


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    """A loop in a thread of its own, for callers that run in one already."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


#: Figures of the source's other expiries, which a loop over today's contracts does not measure.
OTHER_EXPIRIES = {"total_chain_net_gex", "seven_dte_atm_iv", "iv_ratio_0dte_7dte", "vix"}


def without_others(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures without those of other expiries, and without the store's own numbering."""
    return {n: v for n, v in figures.items() if n not in OTHER_EXPIRIES and n != "revision"}


# Corruptions


@dataclass
class Corruption:
    """One kind, the slots that it hits, and what it draws its choices from."""

    kind: str
    first: int
    last: int
    seed: int

    def covers(self, index: int) -> bool:
        """Whether it hits a slot's answer."""
        return self.first <= index <= self.last

    @property
    def chosen(self) -> random.Random:
        """The same choices in every slot."""
        return random.Random(self.seed)


@dataclass(frozen=True)
class Kind:
    """What a kind sends in place of an answer, and which gaps that may make."""

    send: Callable[[Vendor, Corruption, int, Json], Json | Answer]
    #: Reasons that its slots may have.
    gaps: frozenset[str] = frozenset()
    #: How many slots it lasts at least and at most.
    length: tuple[int, int] = (1, 12)
    #: Of how many slots at most; None: of all.
    gap_slots: int | None = None
    #: Slots after its end in which its recovery may still show.
    recovery: int = 1


def _data(answer: Json, **changes: Any) -> Json:
    return answer | {"data": answer["data"] | changes}


def _options(answer: Json, edit: Callable[[Json], Json]) -> Json:
    return _data(answer, options=[edit(option) for option in answer["data"]["options"]])


def _expires_today(option: Json) -> bool:
    return f"{DAY:%y%m%d}" in option["option"]


def _options_stand(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
    return _data(answer, options=vendor.sent(c.first - 1)["data"]["options"])


def _index_stands(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
    old = vendor.sent(c.first - 1)["data"]
    return _data(answer, current_price=old["current_price"], last_trade_time=old["last_trade_time"])


def _price_stands(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
    return _data(answer, current_price=vendor.sent(c.first - 1)["data"]["current_price"])


def _answer_stands(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
    return vendor.sent(c.first - 1)


def _dated_anew(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
    return vendor.sent(c.first - 1) | {"timestamp": answer["timestamp"]}


def _without_today(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
    left = [option for option in answer["data"]["options"] if not _expires_today(option)]
    return _data(answer, options=left)


def _today_unreadable(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
    def edit(option: Json) -> Json:
        return option | {"option": "?" * 20} if _expires_today(option) else option

    return _options(answer, edit)


def _no_options(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
    return _data(answer, options=[])


def _changed(option: Json, name: str, change: Callable[[float], float | None]) -> Json:
    """An option with another count, unless another corruption has taken it."""
    value = option[name]
    return option | {name: None if value is None else change(value)}


def _interest(change: Callable[[float], float | None], *, every: int = 1) -> Any:
    def send(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
        if (i - c.first) % every:
            return answer
        return _options(answer, lambda option: _changed(option, "open_interest", change))

    return send


def _volume(change: Callable[[float], float | None]) -> Any:
    def send(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
        rng = c.chosen
        portion = rng.choice((0.05, 0.3, 1.1))
        # Contracts that trade while it lasts: of the others there is nothing to see.
        names = sorted(_trading(vendor.clean, c))
        hit = {name for name in names if rng.random() < portion} | {rng.choice(names)}
        return _options(
            answer, lambda o: _changed(o, "volume", change) if o["option"] in hit else o
        )

    return send


def _trading(clean: Clean, c: Corruption) -> set[str]:
    """Names of today's contracts that trade while a corruption lasts; of all if none does."""
    before, after = (
        {o["option"]: o["volume"] for o in clean.answers[i]["data"]["options"]}
        for i in (c.first - 1, c.last + 1)
    )
    today = {o["option"] for o in clean.answers[0]["data"]["options"] if _expires_today(o)}
    return {name for name in today if after[name] != before[name]} or today


def _contracts_away(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
    rng = c.chosen
    left = [o for o in answer["data"]["options"] if rng.random() > 0.1 or not _expires_today(o)]
    return _data(answer, options=left)


def _no_price(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
    return _data(answer, current_price=None)


def _status(code: int, body: bytes = b"", **headers: str) -> Any:
    named = {name.replace("_", "-"): text for name, text in headers.items()}

    def send(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Answer:
        return Answer(code, named, body)

    return send


def _cut(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Answer:
    body = orjson.dumps(answer)
    return Answer(200, {"Content-Type": "application/json"}, body[: len(body) * 2 // 3])


def _of_another(vendor: Vendor, c: Corruption, i: int, answer: Json) -> Json:
    return _data(answer, symbol="XYZ") | {"symbol": "XYZ"}


HTML = b"<!DOCTYPE html><html><body><h1>Sorry, you have been blocked</h1></body></html>"
DENIED = b"<Error>AccessDenied</Error>"
DOWN = frozenset({"source_down"})
BAD = frozenset({"bad_answer"})
STANDING = frozenset({"unchanged", "stale"})
KINDS: dict[str, Kind] = {
    "options_stand": Kind(_options_stand, frozenset({"stale"}), (1, 16)),
    # Until enough prints, or two minutes, tell the quotes' time, it is the underlying's: no new slot.
    "index_stands": Kind(_index_stands, STANDING, (1, 16), gap_slots=4),
    "price_stands": Kind(_price_stands, length=(1, 16)),
    "answer_stands": Kind(_answer_stands, STANDING, (1, 16)),
    "dated_anew": Kind(_dated_anew, STANDING, (1, 16)),
    "without_today": Kind(_without_today, BAD, (1, 6)),
    "today_unreadable": Kind(_today_unreadable, BAD, (1, 6)),
    "no_options": Kind(_no_options, BAD, (1, 6)),
    "interest_alternates": Kind(_interest(lambda oi: oi * 0.7 // 1 + 13, every=2), length=(6, 30)),
    "interest_zero": Kind(_interest(lambda oi: 0.0), length=(1, 12)),
    "interest_null": Kind(_interest(lambda oi: None), length=(1, 12)),
    "volume_zero": Kind(_volume(lambda v: 0.0), length=(1, 15)),
    "volume_lower": Kind(_volume(lambda v: v * 0.6 // 1), length=(1, 15)),
    "volume_null": Kind(_volume(lambda v: None), length=(1, 15)),
    "volume_high_once": Kind(_volume(lambda v: v + 3000.0), length=(1, 1)),
    "contracts_away": Kind(_contracts_away, length=(1, 12)),
    "no_price": Kind(_no_price, length=(1, 12)),
    "blocked": Kind(_status(403, HTML, Content_Type="text/html"), DOWN, (1, 5)),
    "denied": Kind(_status(403, DENIED, Content_Type="application/xml"), DOWN, (1, 5)),
    "too_many": Kind(_status(429, Retry_After="1"), DOWN, (1, 4)),
    "overloaded": Kind(_status(503), DOWN, (1, 3)),
    "gone": Kind(_status(404), DOWN, (1, 3)),
    "cut": Kind(_cut, BAD | DOWN, (1, 4)),
    "a_page": Kind(_status(200, HTML), BAD, (1, 4)),
    "empty": Kind(_status(200), BAD, (1, 4)),
    "of_another": Kind(_of_another, BAD, (1, 4)),
}
#: Reasons of slots between two answers of a slow feed: of a clean one; and near a corruption, where
#: an answer may come a slot later than it was sent, or be another one of the same quotes, or of a
#: feed so slow that its quotes grow older than the sampler takes.
BETWEEN = {False: {"unchanged"}, True: {"unchanged", "late", "stale"}}
#: Kinds whose price of the underlying stands.
PRICES = {"price_stands", "index_stands"}
#: Kinds that the vendor says with a status: its host asks for a pause, in seconds of the machine.
PAUSES = {"too_many", "overloaded"}


def draw(seed: int, kinds: Sequence[str], length: int) -> list[Corruption]:
    """Corruptions of these kinds at random slots, for random times."""
    rng = random.Random(seed)
    drawn = []
    for kind in kinds:
        shortest, longest = KINDS[kind].length
        lasts = rng.randint(shortest, min(longest, length - 8))
        first = rng.randrange(3, length - lasts - 3)
        drawn.append(Corruption(kind, first, first + lasts - 1, rng.randrange(2**31)))
    return drawn


# Playing


@dataclass
class Vendor:
    """What a vendor that lies sends, slot by slot."""

    clean: Clean
    corruptions: Sequence[Corruption]

    def answer(self, index: int) -> Json | Answer:
        """What it sends in a slot."""
        answer = self.clean.answers[index]
        for c in self.corruptions:
            if c.covers(index):
                corrupted = KINDS[c.kind].send(self, c, index, answer)
                if isinstance(corrupted, Answer):
                    return corrupted
                answer = corrupted
        return answer

    def sent(self, index: int) -> Json:
        """The last answer of the feed that it has sent by a slot: what stands, stands there."""
        while isinstance(answer := self.answer(index), Answer):
            index -= 1
        return answer


@dataclass
class Stored:
    """What lies in the database after a session."""

    records: dict[datetime, SlotRecord]
    #: Reasons and sentences by slot.
    gaps: dict[datetime, tuple[str, str]]


async def stored(store: Store, clean: Clean) -> Stored:
    """The rows and gaps of a session's slots."""
    records = {r.row.slot: r async for r in store.records(clean.symbol, clean.session.day)}
    gaps = await store.gaps(clean.symbol, clean.session.day)
    return Stored(
        {slot: record for slot, record in records.items() if slot in clean.slots},
        {g["slot"]: (g["reason"], g["detail"]) for g in gaps if g["slot"] in clean.slots},
    )


async def play(store: Store, folder: Path, clean: Clean, corruptions: Sequence[Corruption]) -> None:
    """Step the daemon's parts through a session of a vendor that lies."""
    async with CboeServer() as server:
        vendor = Vendor(clean, corruptions)
        source = Cboe.open(f"{server.url}?delay=900&pace=0&timeout=0.5&budget=0.6")
        async with rig(source, store, folder, delay=DELAY, batch_seconds=0.05) as rigged:
            for index in range(len(clean.slots)):
                server.frames[clean.symbol] = vendor.answer(index)
                await rigged.step([clean.symbol], clean.fetched(index))
                pausing = [c for c in corruptions if c.kind in PAUSES and c.last == index]
                if pausing:
                    await asyncio.sleep(1.1)
            await rigged.writer.drained()
        await source.close()


# Judging


@dataclass
class Verdict:
    """What became of each slot."""

    counts: Counter[str] = field(default_factory=Counter)
    gaps: Counter[str] = field(default_factory=Counter)
    lies: list[str] = field(default_factory=list)


def judge(clean: Clean, corruptions: Sequence[Corruption], in_store: Stored) -> Verdict:
    """Hold each slot of a session against its clean row."""
    verdict = Verdict()
    before: SlotRecord | None = None
    for index, slot in enumerate(clean.slots):
        record, gap = in_store.records.get(slot), in_store.gaps.get(slot)
        if (record is None) == (gap is None):
            verdict.lies.append(f"slot {index}: {'neither' if record is None else 'both'}")
            continue
        if record is None:
            assert gap is not None
            reason, detail = gap
            verdict.counts["gap"] += 1
            verdict.gaps[reason] += 1
            if why := _wrong_gap(clean, corruptions, index, reason):
                verdict.lies.append(f"slot {index}: gap {reason} ({detail}): {why}")
            continue
        what, why = _row_verdict(clean, corruptions, index, record, before)
        verdict.counts[what] += 1
        if what == "lie":
            verdict.lies.append(f"slot {index}: {why}")
        before = record
    return verdict


def _wrong_gap(
    clean: Clean, corruptions: Sequence[Corruption], index: int, reason: str
) -> str | None:
    near = [c for c in corruptions if c.first <= index <= c.last + clean.cadence]
    # Between two answers of a slow feed no row is missing, whatever the reason says.
    slow = clean.cadence * STEP > timedelta(seconds=STALE_AFTER)
    if index % clean.cadence and reason in BETWEEN[bool(near) or slow]:
        return None
    for c in near:
        most = KINDS[c.kind].gap_slots
        if reason in KINDS[c.kind].gaps and (most is None or index < c.first + most):
            return None
    return "no corruption allows it" if near else "nothing is wrong here"


def _row_verdict(
    clean: Clean,
    corruptions: Sequence[Corruption],
    index: int,
    record: SlotRecord,
    before: SlotRecord | None,
) -> tuple[str, str]:
    slot = record.row.slot
    if slot not in clean.records:
        return "lie", "the feed has no quotes of this slot"
    ours, right = without_others(figures_of(record)), clean.figures[slot]
    other = [
        name
        for name in ours
        if differs(ours[name], right.get(name))
        and not (name.startswith("hedge_flow") and abs(ours[name] - right[name]) <= 0.02)
    ]
    if not other:
        return "equal", ""
    clean_row = clean.records[slot].row
    amounts, usual = record.row.detail.flag_amounts or {}, clean_row.detail.flag_amounts or {}
    new = [
        flag
        for flag in record.row.flags
        if flag not in clean_row.flags or amounts.get(flag) != usual.get(flag)
    ]
    named = {name for flag in new for name in FLAG_FIGURES.get(flag, ())}
    unnamed = [name for name in other if flagged_name(name) not in named]
    if not unnamed:
        return "flagged", ""
    if why := _standing_price(clean, corruptions, index, record):
        return why, ""
    shown = f"{unnamed[:6]}, flags {list(record.row.flags)}"
    if beyond := [name for name in unnamed if flagged_name(name) not in OF_FLOW]:
        name = beyond[0]
        values = "" if name.startswith("[") else f" {ours[name]!r:.50} for {right[name]!r:.50}"
        return "lie", f"{len(beyond)} figures: {name}{values}; {shown}"
    if why := _wrong_flow(clean, corruptions, index, record, before, bool(new)):
        return "lie", f"{why}; {shown}"
    return "within", ""


def _standing_price(
    clean: Clean,
    corruptions: Sequence[Corruption],
    index: int,
    record: SlotRecord,
) -> str | None:
    """What a price that stands makes of a row whose figures differ by it alone, or None.

    While parity agrees with it to a basis point it is no fault.
    """
    if not any(c.covers(index) and c.kind in PRICES for c in corruptions):
        return None
    off = abs(record.row.spot / clean.records[record.row.slot].row.forward - 1)
    return "within" if off <= CLOCK_SKEW else None


def _wrong_flow(
    clean: Clean,
    corruptions: Sequence[Corruption],
    index: int,
    record: SlotRecord,
    before: SlotRecord | None,
    flagged: bool,
) -> str | None:
    """Why signed volume is off by more than what nobody could see; None if it is not."""
    slot = record.row.slot
    right = clean.records[slot]
    for side in ("call", "put"):
        off = np.abs(record.profile[f"{side}_signed"] - right.profile[f"{side}_signed"])
        most = unseen(clean, corruptions, index, side)
        if (off > most + 1e-6).any():
            worst = int(np.argmax(off - most))
            strike = record.profile["strike"][worst]
            return f"{side} {strike:g}: signed volume off by {off[worst]:.1f}, at most {most[worst]:.1f}"
    quiet = all(
        index <= c.first - 1 or index > c.last + KINDS[c.kind].recovery + clean.cadence
        for c in corruptions
    )
    if quiet and not flagged and before is not None and before.row.slot in clean.records:
        ours = record.row.hedge_flow_cumulative_all - before.row.hedge_flow_cumulative_all
        theirs = (
            right.row.hedge_flow_cumulative_all
            - clean.records[before.row.slot].row.hedge_flow_cumulative_all
        )
        if abs(ours - theirs) > 0.02:
            return f"adds {ours:.2f} $ of hedge flow, where the clean row adds {theirs:.2f}"
    return None


def unseen(
    clean: Clean, corruptions: Sequence[Corruption], index: int, side: str
) -> NDArray[np.float64]:
    """Twice what traded of each contract while a corruption hid it, until a slot. [contracts]"""
    first = clean.records[clean.slots[0]].profile[f"{side}_volume"]
    most = np.zeros_like(first)
    for c in corruptions:
        if c.first > index:
            continue
        begin = _volume_at(clean, max(c.first - 1, 0), side)
        end = _volume_at(clean, min(c.last + clean.cadence, index), side)
        most += 2.0 * np.maximum(end - begin, 0.0)
    return most


def _volume_at(clean: Clean, index: int, side: str) -> NDArray[np.float64]:
    index -= index % clean.cadence
    return clean.records[clean.slots[index]].profile[f"{side}_volume"]


def describe(clean: Clean, corruptions: Sequence[Corruption], verdict: Verdict) -> str:
    """A case in a few lines."""
    what = "; ".join(f"{c.kind} in slots {c.first}-{c.last}" for c in corruptions)
    lines = [f"{clean.symbol} every {clean.cadence}: {what}", f"{dict(verdict.counts)}"]
    return "\n  ".join([*lines, *verdict.lies[:4]])


async def case(
    store: Store, seed: int, kinds: Sequence[str], *, clean: Clean
) -> tuple[list[Corruption], Verdict]:
    """Play and judge one case in an empty store."""
    corruptions = draw(seed, kinds, len(clean.slots))
    with tempfile.TemporaryDirectory(prefix="flow-hostile-") as folder:
        await play(store, Path(folder), clean, corruptions)
    return corruptions, judge(clean, corruptions, await stored(store, clean))


# Many cases


def draw_kinds(seed: int) -> list[str]:
    """One to three kinds by a seed."""
    rng = random.Random(seed)
    return rng.sample(sorted(KINDS), rng.choice((1, 1, 2, 3)))


def market_of(seed: int, length: int) -> Clean:
    """The clean session of a seed."""
    rng = random.Random(seed * 7919 + 1)
    symbol, first = rng.choice((("NVDA", 30), ("SPX", 30), ("NVDA", 420), ("SPX", 640)))
    return clean_session(symbol, first, length, rng.choice((1, 1, 2)))


async def _many(database: str, seeds: Sequence[int], length: int) -> int:
    table: dict[str, Counter[str]] = {}
    lying = 0
    with psycopg.connect(database, autocommit=True) as connection:
        # A server of its own, that is thrown away: what is not on disk yet is not lost here.
        connection.execute("alter system set fsync to off")
        connection.execute("alter system set synchronous_commit to off")
        connection.execute("select pg_reload_conf()")
    async with Store.open(database, "live", size=4) as store:
        for done, seed in enumerate(seeds):
            if done and done % 20 == 0:
                print(f"{done} cases, {lying} with a lie", flush=True)
            with psycopg.connect(database) as connection:
                for name in (*TABLES, "heads", "sessions", "watched"):
                    connection.execute(f"truncate live.{name} cascade")
            clean, kinds = market_of(seed, length), draw_kinds(seed)
            corruptions, verdict = await case(store, seed, kinds, clean=clean)
            line = table.setdefault(
                kinds[0] if len(kinds) == 1 else f"{len(kinds)} kinds", Counter()
            )
            line["cases"] += 1
            line.update(verdict.counts)
            line["lying cases"] += bool(verdict.lies)
            if verdict.lies:
                lying += 1
                print(f"seed {seed}", describe(clean, corruptions, verdict), flush=True)
    columns = ("cases", "equal", "gap", "flagged", "within", "lie", "lying cases")
    print("kind".ljust(20), *(name.rjust(12) for name in columns))
    for kind, counts in sorted(table.items()):
        print(kind.ljust(20), *(str(counts[name]).rjust(12) for name in columns))
    print(f"{lying} of {len(seeds)} cases lie")
    return lying


def main(arguments: list[str]) -> int:
    """Play cases through the daemon and print a table by kind; the database is emptied for each."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile_daemon", description=main.__doc__
    )
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--slots", type=int, default=60)
    options = parser.parse_args(arguments)
    logging.disable()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="flow-hostile-") as folder:
        Path(folder).chmod(0o755)
        with attach(Path(folder), wait=True) as servers:
            asyncio.run(migrate(servers.database_url, "live"))
            seeds = range(options.first, options.first + options.cases)
            return int(bool(asyncio.run(_many(servers.database_url, seeds, options.slots))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
