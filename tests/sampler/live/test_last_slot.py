"""A session's last slot is a row or a gap, whatever happens at the close."""

from __future__ import annotations

from datetime import date, timedelta

import psycopg
import pytest
from rig import STEP, FailingStore, gaps, open_store, rig, rows

from sampler.history.backfill import BackfillOptions, backfill_session
from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import session_on
from storage.redis.channel import NoChannel

SESSION = session_on(date(2026, 8, 19))
NEXT = session_on(date(2026, 8, 20))
CLOSE = SESSION.close
LAST = SESSION.last_slot
SOURCE = Synthetic(seed=3)
SECOND = timedelta(seconds=1)


def accounted(database: str) -> set:
    return {slot for _, slot in [*rows(database), *gaps(database)]}


async def sampled_to(rigged, moment) -> None:
    """A sampler that began with the second to last slot but one, and steps until a moment."""
    begin = CLOSE - 3 * STEP
    await rigged.tracker.add_symbols(["SPX"], begin + SECOND)
    for number in range(3):
        if begin + number * STEP + SECOND <= moment:
            await rigged.step(["SPX"], begin + number * STEP + SECOND)
            await rigged.tracker.account_sessions(begin + number * STEP + 2 * SECOND)


@pytest.mark.parametrize("again", [CLOSE - 5 * SECOND, CLOSE + 2 * SECOND, CLOSE + 3600 * SECOND])
@pytest.mark.parametrize("killed", [CLOSE - 10 * SECOND, CLOSE - 40 * SECOND])
async def test_killed_before_the_close(database, tmp_path, killed, again):
    """At 15:59:50 or in the slot before; started again just before or some time after the close."""
    async with open_store(database) as store:
        async with rig(SOURCE, store, tmp_path / "a") as rigged:
            await sampled_to(rigged, killed)
        async with rig(SOURCE, store, tmp_path / "b") as rigged:
            await rigged.tracker.add_symbols(["SPX"], again)
    assert accounted(database) == set(SESSION.slots)
    last_is_row = ("SPX", LAST) in rows(database)
    assert last_is_row == (killed == CLOSE - 10 * SECOND)


async def test_killed_and_started_days_later(database, tmp_path):
    """In the last slot, with no row of it: it is a gap after a start of the next session."""
    async with open_store(database) as store:
        async with rig(SOURCE, store, tmp_path / "a") as rigged:
            await sampled_to(rigged, CLOSE - 40 * SECOND)
        assert LAST not in accounted(database)
        async with rig(SOURCE, store, tmp_path / "b") as rigged:
            await rigged.tracker.add_symbols(["SPX"], NEXT.open - 60 * SECOND)
    assert accounted(database) == set(SESSION.slots)
    assert gaps(database)["SPX", LAST] == "not_running"


@pytest.mark.parametrize("moment", [CLOSE + 40 * SECOND, NEXT.open - 3600 * SECOND])
async def test_no_step_at_the_close(database, tmp_path, moment):
    """The last step still ran at the close, or the process stood still over night."""
    async with open_store(database) as store, rig(SOURCE, store, tmp_path) as rigged:
        await sampled_to(rigged, CLOSE - 40 * SECOND)
        await rigged.tracker.account_sessions(CLOSE + 10 * SECOND)
        assert LAST not in accounted(database)
        await rigged.tracker.account_sessions(moment)
    assert accounted(database) == set(SESSION.slots)
    assert gaps(database)["SPX", LAST] == "not_running"


async def test_stopped_just_after_the_close(database, tmp_path):
    """Told to stop at 16:00:05, within the last step: the step ends, and its slot is a row."""
    async with open_store(database) as store:
        async with rig(SOURCE, store, tmp_path) as rigged:
            await sampled_to(rigged, CLOSE)
            await rigged.step(["SPX"], CLOSE + 5 * SECOND)
        assert ("SPX", LAST) in rows(database)
        async with rig(SOURCE, store, tmp_path) as rigged:
            await rigged.tracker.add_symbols(["SPX"], CLOSE + 60 * SECOND)
    assert accounted(database) == set(SESSION.slots)


async def test_database_away_at_the_close(database, tmp_path):
    """The last minutes come from the spool, and what nobody sampled is marked when it is back."""
    async with open_store(database) as store:
        broken = FailingStore(store)
        async with rig(SOURCE, broken, tmp_path) as rigged:
            await sampled_to(rigged, CLOSE - 70 * SECOND)
            broken.away = True
            await rigged.step(["SPX"], CLOSE - 59 * SECOND)
            await rigged.tracker.account_sessions(CLOSE + 40 * SECOND)
            assert rigged.writer.database_away
            broken.away = False
            await rigged.writer.drained()
            await rigged.tracker.account_sessions(CLOSE + 60 * SECOND)
    assert accounted(database) == set(SESSION.slots)
    assert ("SPX", CLOSE - 2 * STEP) in rows(database)
    assert gaps(database)["SPX", LAST] == "not_running"


async def test_a_session_that_only_the_spool_knows(database, tmp_path):
    """The database was away from the start to the kill; days later the spool's session is whole."""
    async with open_store(database) as store:
        broken = FailingStore(store)
        broken.away = True
        async with rig(SOURCE, broken, tmp_path) as rigged:
            await sampled_to(rigged, CLOSE - 40 * SECOND)
        assert accounted(database) == set()
        async with rig(SOURCE, store, tmp_path) as rigged:
            rigged.tracker.note_spooled(["SPX"])
            await rigged.writer.drained()
            await rigged.tracker.add_symbols(["SPX"], NEXT.open - 60 * SECOND)
            await rigged.tracker.account_sessions(NEXT.open - 59 * SECOND)
    assert accounted(database) == set(SESSION.slots)
    assert len(rows(database)) == 2
    assert gaps(database)["SPX", LAST] == "not_running"


async def test_a_start_without_a_database_looks_back_later(database, tmp_path):
    """Started while the database is away: yesterday's last slot is marked once it is back."""
    async with open_store(database) as store:
        async with rig(SOURCE, store, tmp_path) as rigged:
            await sampled_to(rigged, CLOSE - 40 * SECOND)
        broken = FailingStore(store)
        broken.away = True
        async with rig(SOURCE, broken, tmp_path) as rigged:
            await rigged.tracker.add_symbols(["SPX"], NEXT.open - 60 * SECOND)
            await rigged.tracker.account_sessions(NEXT.open - 59 * SECOND)
            assert LAST not in accounted(database)
            broken.away = False
            await rigged.tracker.account_sessions(NEXT.open - 58 * SECOND)
    assert accounted(database) == set(SESSION.slots)


async def test_a_backfill_marks_what_it_cannot_fill(database, tmp_path):
    """A past session of a sampler that never came back: what the source lacks becomes a gap."""
    past = session_on(date(2026, 8, 19))

    class Few:
        """A source whose history has one frame."""

        name, delay_seconds, synthetic = "synthetic", 0, True

        async def history(self, symbol, session):
            yield await SOURCE.live(symbol, session.open + 40 * STEP)

    options = BackfillOptions(oi_confidence=0.43, missing=True)
    async with open_store(database) as store:
        await store.own({"SPX": "synthetic"}, past.day)
        for symbol in ("SPX", "SPY"):
            await backfill_session(
                Few(), store, NoChannel(), symbol=symbol, session=past, options=options
            )
    # SPY was no sampler's: its one row is all there is.
    spx = {slot for symbol, slot in [*rows(database), *gaps(database)] if symbol == "SPX"}
    assert spx == set(past.slots)
    assert [symbol for symbol, _ in [*rows(database), *gaps(database)] if symbol == "SPY"] == [
        "SPY"
    ]
    assert gaps(database)["SPX", past.last_slot] == "not_running"
    with psycopg.connect(database) as connection:
        assert connection.execute("select count(*) from synthetic.rows").fetchone() == (2,)
