"""Two feeds of one session, through all that the store is for: nothing of one is in the other."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from rig import STEP, FailingStore, open_store, rig

from sampler.errors import ChainRefused
from sampler.history.recompute import recompute_session
from sampler.live.slots import SlotTracker
from sampler.live.tick import Tick
from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import session_on
from storage.parquet.archive import export_sessions, import_sessions
from storage.postgres import retention
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from storage.record.row import Reason
from storage.redis.channel import NoChannel

SESSION, BEFORE = session_on(date(2026, 11, 27)), session_on(date(2026, 11, 25))
SLOTS = SESSION.slots[1:26]
#: A new process begins with these slots. The database is away for some, and over a restart too.
RESTARTS, AWAY = {6, 13, 19}, range(10, 15)
DATASET = "synthetic"
TABLES = ("rows", "profiles", "chains", "gaps", "sessions")


class Feed:
    """A simulated market under a name. Its open interest is another one from a slot on."""

    synthetic, remote, delay_seconds = True, False, 0

    def __init__(self, name: str, seed: int, factor: float, changes: int, down: int) -> None:
        self.name, self.factor, self.changes, self.down = name, factor, changes, down
        self._market = Synthetic(seed=seed)

    async def live(self, symbol, now):
        frame = await self._market.live(symbol, now)
        slot = (now - SESSION.open) // STEP - 1
        if slot == self.down and now > SESSION.open:
            raise ChainRefused(Reason.SOURCE_DOWN, f"{symbol}: {self.name} does not answer")
        interest = frame.open_interest * self.factor + 1000 * (slot >= self.changes)
        return dataclasses.replace(frame, source=self.name, open_interest=interest)


FEEDS = {
    "first": lambda: Feed("first", 3, 1.0, changes=4, down=16),
    "second": lambda: Feed("second", 11, 7.0, changes=9, down=8),
}


async def sampled(url: str, folder: Path, names: Iterable[str]) -> None:
    """Sample ``SLOTS`` of some feeds, in turn, by one process after another."""
    feeds = {name: FEEDS[name]() for name in names}
    async with open_store(url) as opened:
        for name, feed in feeds.items():
            # A session of two days before.
            tick = Tick(feed, opened, NoChannel(), oi_confidence=0.43, budget=5, quiet=True)
            for slot in BEFORE.slots[1:4]:
                assert (await tick.sample("SPX", now=slot, target=slot)).stored, name
    begins = [0, *sorted(RESTARTS), len(SLOTS)]
    for begin, end in itertools.pairwise(begins):
        async with open_store(url) as opened:
            store = FailingStore(opened)
            store.away = begin in AWAY
            async with rig(None, store, folder, batch_seconds=0.001) as rigged:
                trackers = {}
                for name, feed in feeds.items():
                    tick = Tick(
                        feed, rigged.writer, NoChannel(), oi_confidence=0.43, budget=5, quiet=True
                    )
                    trackers[name] = SlotTracker(
                        tick, store, rigged.writer, delay=timedelta(0), fallback=name != "first"
                    )
                    now = SLOTS[begin] + timedelta(seconds=1)
                    assert await trackers[name].add_symbols(["SPX"], now) == ["SPX"]
                for i in range(begin, end):
                    if store.away and i not in AWAY:
                        store.away = False
                        await asyncio.wait_for(rigged.writer.drained(), 60)
                    store.away = i in AWAY
                    now = SLOTS[i] + timedelta(seconds=1)
                    # Together, so that one batch has slots of both feeds.
                    steps = (tracker.step("SPX", now) for tracker in trackers.values())
                    outcomes = await asyncio.gather(*steps)
                    assert all(outcome is not None for outcome in outcomes)
                    for tracker in trackers.values():
                        await tracker.account_sessions(now)


def content(url: str, feed: str, tables: Iterable[str] = TABLES) -> dict[str, list[Any]]:
    """All that is stored of a feed, as text, but for revisions and for when rows were fetched."""
    by_table = {}
    with psycopg.connect(url) as connection:
        connection.execute(f"set search_path to {DATASET}")
        connection.execute("set timezone to 'UTC'")
        for table in tables:
            lines = connection.execute(
                f"select to_jsonb(t) - '{{revision,shown,fetched_at,quote_age_seconds,backfilled}}'::text[]"
                f' from {table} t where source = %s order by t.*::text collate "C"',
                [feed],
            ).fetchall()
            by_table[table] = sorted(map(str, lines))
    return by_table


def counts(url: str, feed: str) -> dict[str, int]:
    return {table: len(lines) for table, lines in content(url, feed).items()}


async def interest(url: str, feed: str) -> list[float]:
    """The open interest that each row of a feed's session counts with."""
    async with open_store(url) as store:
        records = [r async for r in store.of_feed(feed).records("SPX", SESSION.day)]
    assert any("oi_changed" in record.row.flags for record in records)
    return [record.row.total_oi for record in records]


async def market_interest(seed: int) -> tuple[float, int]:
    """What the simulated market has of today's contracts: open interest, and how many they are."""
    frame = await Synthetic(seed=seed).live("SPX", SLOTS[0])
    today = frame.open_interest[frame.expiry == np.datetime64(SESSION.day)]
    return float(today.sum()), len(today)


async def test_nothing_is_mixed(database, empty_database, tmp_path):
    """Rows, memory, spool, recomputation, files and pruning of two feeds, as of each one alone."""
    alone = {}
    for name in FEEDS:
        await migrate(empty_database, DATASET)
        await sampled(empty_database, tmp_path / f"{name} alone", [name])
        alone[name] = content(empty_database, name)
        with psycopg.connect(empty_database, autocommit=True) as connection:
            connection.execute(f"drop schema {DATASET} cascade")
    await sampled(database, tmp_path / "both", FEEDS)
    # Every slot is there: restarts, and the spool, cost none.
    for name in FEEDS:
        assert counts(database, name) == {
            "rows": len(SLOTS) - 1 + 3,
            "profiles": len(SLOTS) - 1 + 3,
            "chains": len(SLOTS) - 1 + 3,
            # The open and the refused slot.
            "gaps": 2,
            "sessions": 2,
        }
        assert content(database, name) == alone[name]
    # Each feed's first set of open interest stands over the restarts, whatever the other one sends.
    # The first feed's new set came with slot 4, and is taken over ten minutes later, with slot 24.
    (some, contracts), (other, _) = await market_interest(3), await market_interest(11)
    assert await interest(database, "first") == [some] * 23 + [some + 1000 * contracts]
    assert await interest(database, "second") == [7 * other] * 24

    async with open_store(database) as store:
        # Measured again, nothing changes; with another κ one feed's rows do, and no other's.
        for name in FEEDS:
            done = await recompute_session(
                store, NoChannel(), symbol="SPX", session=SESSION, feed=name
            )
            assert (done.rewritten, done.already_there) == (0, len(SLOTS) - 1)
        done = await recompute_session(
            store, NoChannel(), symbol="SPX", session=SESSION, feed="second", oi_confidence=0.2
        )
        assert done.rewritten > 20
        assert content(database, "first") == alone["first"]
        changed = content(database, "second")
        assert changed["gaps"] == alone["second"]["gaps"]
        assert changed["rows"] != alone["second"]["rows"]

        # Out to files and into an empty store.
        period = {"first": BEFORE.day, "last": SESSION.day}
        folder = tmp_path / "files"
        sizes = await export_sessions(store, DATASET, folder, symbols=["SPX"], **period)
        assert (sizes.sessions, sizes.slots) == (4, 2 * (len(SLOTS) - 1 + 3))
    await migrate(empty_database, DATASET)
    async with Store.open(empty_database, DATASET) as other:
        async for _ in import_sessions(other, DATASET, folder, symbols=None, **period):
            pass
        assert await other.feeds("SPX", SESSION.day) == {"first": True, "second": False}
    everything = ("rows", "profiles", "chains", "gaps")
    for name in FEEDS:
        assert content(empty_database, name, everything) == content(database, name, everything)

    # The older session goes, of both feeds and of every table; the newer one stays as it is.
    keep = dict.fromkeys(("rows", "profiles", "chains", "gaps"), 1)
    before = {name: content(database, name) for name in FEEDS}
    await retention.prune(database, DATASET, keep)
    for name in FEEDS:
        stored = content(database, name)
        assert counts(database, name) == {
            "rows": len(SLOTS) - 1,
            "profiles": len(SLOTS) - 1,
            "chains": len(SLOTS) - 1,
            "gaps": 2,
            "sessions": 1,
        }
        for table, lines in stored.items():
            assert set(lines) < set(before[name][table]) or table == "gaps", table
