"""Rows that a later sample puts in doubt get their flag, whichever way they were stored."""

from __future__ import annotations

from datetime import timedelta

import psycopg
from cboe_server import CboeServer, from_frame
from chains import DAY, TEN_FOURTEEN, frame
from rig import FailingStore, open_store, rig

from sampler.history.backfill import BackfillOptions, backfill_session
from sampler.history.recompute import recompute_session
from sampler.live.tick import Tick
from sampler.sources.cboe import Cboe
from storage.market.calendar import session_on
from storage.postgres.store import Store
from storage.redis.channel import NoChannel

STEP = timedelta(seconds=30)
SESSION = session_on(DAY)
#: One contract's volume above 50: two frames are 9,900 too high.
VOLUMES = (0, 10, 9950, 9960, 30, 40)
CORRECTED = ("volume_corrected", "revised")
#: What each row says in the end, whoever stored it.
FLAGS = [("baseline",), (), CORRECTED, CORRECTED, ("volume_corrected",), ()]


def sample(i: int):
    """The i-th frame; each has a spot of its own."""
    volume = [50.0] * 42
    volume[10] += VOLUMES[i]
    return frame(quoted_at=TEN_FOURTEEN + i * STEP, spot=7700.0 + i, volume=volume)


class Dirty:
    """A source of those frames."""

    name, delay_seconds, synthetic, remote = "test", 0, False, False

    async def live(self, symbol, now):
        return sample(min(int((now - TEN_FOURTEEN) / STEP), len(VOLUMES) - 1))

    async def history(self, symbol, session):
        for i in range(len(VOLUMES)):
            yield sample(i)


class Heard(NoChannel):
    """A live channel that remembers what it was sent."""

    def __init__(self) -> None:
        self.changes: list = []

    async def publish(self, changes):
        self.changes += changes


def now(i: int):
    return TEN_FOURTEEN + i * STEP + timedelta(seconds=1)


def stored(database: str, dataset: str = "live") -> list[tuple]:
    """Flags, how much later a revision came, and the revision, by slot."""
    with psycopg.connect(database) as connection:
        return connection.execute(
            "select flags, detail->'flag_amounts'->'revised'->>'volume_corrected', revision"
            f" from {dataset}.rows order by slot"
        ).fetchall()


def flags(database: str, dataset: str = "live") -> list[tuple]:
    return [tuple(row_flags) for row_flags, _, _ in stored(database, dataset)]


async def test_a_single_sampler_revises(store: Store, database) -> None:
    """As ``flow-sampler once`` writes: the rows between the rise and its withdrawal."""
    tick = Tick(Dirty(), store, NoChannel(), oi_confidence=0.43, budget=5)
    for i in range(len(VOLUMES)):
        await tick.sample("SPX", now=now(i), target=TEN_FOURTEEN + i * STEP)
    assert flags(database) == FLAGS
    # 60 and 30 seconds later.
    assert [later for _, later, _ in stored(database)[2:4]] == ["60.0", "30.0"]


async def test_the_daemons_writer_revises_and_publishes(database, tmp_path) -> None:
    """The changed rows come again under new revisions, and are published in order."""
    live = Heard()
    async with (
        open_store(database, "live") as store,
        rig(Dirty(), store, tmp_path, live=live) as rigged,
    ):
        for i in range(len(VOLUMES)):
            await rigged.step(["SPX"], now(i))
    assert flags(database) == FLAGS
    sent = [(revision, row) for change in live.changes for revision, row in change.rows]
    assert [revision for revision, _ in sent] == sorted(revision for revision, _ in sent)
    again = [row.slot for _, row in sent if "revised" in row.flags]
    assert sorted(again) == [TEN_FOURTEEN + 2 * STEP, TEN_FOURTEEN + 3 * STEP]
    head = 0
    for change in live.changes:
        assert change.after == head
        head = change.revision


async def test_what_waited_in_the_spool_is_revised_too(database, tmp_path) -> None:
    """The database goes away after the second row: the batches revise when they are committed."""
    async with open_store(database, "live") as store:
        broken = FailingStore(store)
        async with rig(Dirty(), broken, tmp_path) as rigged:
            for i in range(len(VOLUMES)):
                broken.away = i >= 2
                await rigged.step(["SPX"], now(i))
            assert flags(database) == FLAGS[:2]
            broken.away = False
            await rigged.writer.drained()
    assert flags(database) == FLAGS


async def test_rows_that_are_stored_are_revised_by_what_waited(database, tmp_path) -> None:
    """The wrong rows are in the database already, and the correcting one is spooled."""
    async with open_store(database, "live") as store:
        broken = FailingStore(store)
        async with rig(Dirty(), broken, tmp_path) as rigged:
            for i in range(len(VOLUMES)):
                broken.away = i == 4
                await rigged.step(["SPX"], now(i))
                if i == 4:
                    assert flags(database)[2:] == [(), ()]
                    broken.away = False
                    await rigged.writer.drained()
    assert flags(database) == FLAGS


async def test_a_backfill_and_a_recomputation_come_to_the_same(store: Store, database) -> None:
    """Neither a second backfill nor a recomputation changes a byte."""
    options = BackfillOptions(oi_confidence=0.43)
    whole = {"symbol": "SPX", "session": SESSION}
    await backfill_session(Dirty(), store, NoChannel(), options=options, **whole)
    assert flags(database) == FLAGS
    before = stored(database)
    await backfill_session(Dirty(), store, NoChannel(), options=options, **whole)
    done = await recompute_session(store, NoChannel(), **whole)
    assert (done.rewritten, done.already_there) == (0, len(VOLUMES))
    assert stored(database) == before


async def test_a_recomputation_finds_doubts_that_no_one_had(store: Store, database) -> None:
    """Rows of a release that revised nothing get their flags when they are measured again."""
    options = BackfillOptions(oi_confidence=0.43)
    whole = {"symbol": "SPX", "session": SESSION}
    await backfill_session(Dirty(), store, NoChannel(), options=options, **whole)
    with psycopg.connect(database) as connection:
        connection.execute(
            "update live.rows set flags = '{}', detail = detail || '{\"flag_amounts\": null}'"
            " where 'revised' = any(flags)"
        )
    assert flags(database)[2:4] == [(), ()]
    await recompute_session(store, NoChannel(), **whole)
    assert flags(database) == FLAGS


def answer(i: int, *, frozen: bool):
    """Cboe's answer at a slot; a frozen one has the index of slot 2 and its time."""
    measured = frame(quoted_at=TEN_FOURTEEN + i * STEP, spot=7700.0 + i)
    object.__setattr__(measured, "last_at", measured.last_at - 2)
    sent = from_frame(measured)
    if frozen:
        index = from_frame(frame(quoted_at=TEN_FOURTEEN + 2 * STEP, spot=7702.0))["data"]
        for name in ("current_price", "last_trade_time"):
            sent["data"][name] = index[name]
    return sent


async def test_the_series_goes_on_while_cboes_index_stands(database, tmp_path) -> None:
    """Over HTTP, by the daemon's parts: the index value stands for four slots, its options trade."""
    async with CboeServer() as server, open_store(database, "live") as store:
        source = Cboe.open(f"{server.url}?delay=0&pace=0")
        async with rig(source, store, tmp_path) as rigged:
            for i in range(9):
                server.frames["SPX"] = answer(i, frozen=3 <= i <= 6)
                await rigged.step(["SPX"], now(i))
        await source.close()
    with psycopg.connect(database) as connection:
        stored_rows = connection.execute(
            "select slot, flags, spot, source_spot from live.rows order by slot"
        ).fetchall()
        gaps = connection.execute("select slot from live.gaps where slot >= %s", [TEN_FOURTEEN])
        assert gaps.fetchall() == []
    assert [slot for slot, *_ in stored_rows] == [TEN_FOURTEEN + i * STEP for i in range(9)]
    parity = ["spot_from_parity" in names for _, names, _, _ in stored_rows]
    assert parity == [False] * 3 + [True] * 4 + [False] * 2
    for i, (_, _, spot, source_spot) in enumerate(stored_rows):
        assert abs(spot - (7700.0 + i)) < 0.02
        assert source_spot == (7702.0 if 3 <= i <= 6 else 7700.0 + i)


async def test_an_answer_that_is_only_dated_anew_is_no_row(database, tmp_path) -> None:
    """The whole feed stands, and its server writes a new time on the same answer."""
    async with CboeServer() as server, open_store(database, "live") as store:
        source = Cboe.open(f"{server.url}?delay=0&pace=0")
        async with rig(source, store, tmp_path) as rigged:
            for i in range(9):
                server.frames["SPX"] = answer(0, frozen=False)
                made_at = TEN_FOURTEEN + i * STEP
                server.frames["SPX"]["timestamp"] = made_at.strftime("%Y-%m-%d %H:%M:%S")
                await rigged.step(["SPX"], now(i))
        await source.close()
    with psycopg.connect(database) as connection:
        rows = connection.execute("select slot from live.rows").fetchall()
        reasons = connection.execute(
            "select reason from live.gaps where slot >= %s order by slot", [TEN_FOURTEEN]
        ).fetchall()
    assert rows == [(TEN_FOURTEEN,)]
    assert [reason for (reason,) in reasons] == ["unchanged"] * 3 + ["stale"] * 5
