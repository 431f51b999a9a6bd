"""Past sessions filled and measured again: the bytes that the daemon would have made, whoever works."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import distributed
import psycopg
import pytest
from chains import frame
from factories import DAY, OPEN, at

from sampler import __main__ as program
from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused
from sampler.history import diff, executors, jobs
from sampler.history.backfill import BackfillOptions, BackfillResult, backfill_session
from sampler.history.jobs import JobOptions, SessionJob
from sampler.history.recompute import recompute_session
from sampler.history.report import Progress
from sampler.live.tick import Tick
from sampler.measure import snapshot
from sampler.sources import open_source, recorded
from storage.market.calendar import session_on
from storage.parquet.read import ParquetPartition
from storage.parquet.write import ParquetWriter
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from storage.record.row import Gap, Reason
from storage.redis.channel import NoChannel
from tests import forked

SESSION = session_on(DAY)
KAPPA = 0.43
SLOTS = 40
DAYS = ("--from", "2026-08-17", "--to", "2026-08-19")


class Short:
    """The first slots of a simulated day, or some of them."""

    name = "synthetic"
    synthetic = True
    remote = False
    delay_seconds = 0

    def __init__(self, *, without: set[int] = frozenset(), slots: int = SLOTS, source="synthetic"):
        self._whole = open_source("synthetic:?seed=5")
        self._slots = [i for i in range(slots) if i not in without]
        self._source = source

    async def live(self, symbol, now) -> Frame:
        return await self._whole.live(symbol, now)

    async def history(self, symbol, session):
        for i in self._slots:
            frame = await self._whole.live(symbol, session.open + timedelta(seconds=30 * i))
            object.__setattr__(frame, "source", self._source)
            yield frame


async def sampled(store: Store, source: Short) -> None:
    """What a daemon does at each slot that its source has."""
    tick = Tick(source, store, NoChannel(), oi_confidence=KAPPA, budget=5, quiet=True)
    for i in source._slots:
        await tick.sample("SPX", now=at(i), target=at(i))


async def filled(store: Store, source: object, **options: object) -> tuple[BackfillResult, object]:
    """What a backfill does."""
    wanted = BackfillOptions(oi_confidence=KAPPA, **options)
    return await backfill_session(
        source, store, NoChannel(), symbol="SPX", session=SESSION, options=wanted
    )


def content(database: str, dataset: str = "live", *, revisions: bool = False) -> list[tuple]:
    """All that is kept of each slot, to the bit."""
    with psycopg.connect(database) as connection:
        connection.execute(f"set search_path to {dataset}")
        columns = connection.execute("select * from rows limit 0").description
        ours = ", ".join(
            f"r.{c.name}"
            for c in columns
            if c.name != "backfilled" and (revisions or c.name != "revision")
        )
        return connection.execute(
            f"select {ours}, md5(p::text), c.evidence from rows r"
            " join profiles p using (symbol, expiration, slot)"
            " join chains c using (symbol, expiration, slot) order by symbol, slot"
        ).fetchall()


def revisions_of(database: str) -> list[int]:
    with psycopg.connect(database) as connection:
        return [revision for (revision,) in connection.execute("select revision from live.rows")]


def gaps(database: str) -> dict[str, int]:
    with psycopg.connect(database) as connection:
        counted = "select reason, count(*) from live.gaps group by 1"
        return dict(connection.execute(counted).fetchall())


def drop(database: str, *slots: int) -> None:
    """Take slots away as if they had never been sampled."""
    with psycopg.connect(database) as connection:
        for table in ("rows", "profiles", "chains"):
            moments = [at(i) for i in slots]
            connection.execute(f"delete from live.{table} where slot = any(%s)", [moments])


class TestSameBytes:
    """The same chains in the same order give the same bytes, whoever measures them."""

    async def test_live_backfill_parquet_recompute(self, database, empty_database, tmp_path):
        """A daemon's rows, a backfill's, and a backfill's from their export; a recomputation agrees."""
        async with Store.open(database, "live") as store:
            await sampled(store, Short())
            live = content(database)
            assert len(live) == SLOTS - 1
            with ParquetWriter(ParquetPartition(tmp_path, DAY, "SPX"), "live") as writer:
                writer.write([record async for record in store.records("SPX", DAY)])
            again = await recompute_session(store, NoChannel(), symbol="SPX", session=SESSION)
            assert (again.rewritten, again.already_there, again.diff.fields) == (0, SLOTS - 1, {})
        for source in (Short(), open_source(f"parquet:{tmp_path}")):
            await migrate(empty_database, "live")
            async with Store.open(empty_database, "live") as store:
                done, first = await filled(store, source)
                assert (done.written, first) == (SLOTS - 1, at(1))
                assert content(empty_database) == live
                more, first = await filled(store, source)
                assert (more.written, more.already_there, first) == (0, SLOTS - 1, None)
            with psycopg.connect(empty_database) as connection:
                connection.execute("drop schema live cascade")

    async def test_what_was_dropped_comes_along(self, shared, database, empty_database, tmp_path):
        """Real chains with twins, other expiries and unusable quotes: from their export, the same."""
        files = sorted((shared / "chains/SPX").glob("SPX_2026-07-17*.json"))

        class Files:
            name = "recorded"

            async def history(self, symbol, session):
                for file in files:
                    yield recorded.read_chain(file)

        session = session_on(recorded.read_chain(files[0]).quoted_at.date())
        dropped = {
            "symbol": "SPX",
            "session": session,
            "options": BackfillOptions(oi_confidence=KAPPA),
        }
        await migrate(empty_database, "live")
        async with (
            Store.open(database, "live") as store,
            Store.open(empty_database, "live") as other,
        ):
            await backfill_session(Files(), store, NoChannel(), **dropped)
            records = [record async for record in store.records("SPX", session.day)]
            assert records[0].row.dropped["am_settled"] > 900
            assert records[0].row.detail.total_chain_net_gex is not None
            with ParquetWriter(ParquetPartition(tmp_path, session.day, "SPX"), "live") as writer:
                writer.write(records)
            await backfill_session(
                open_source(f"parquet:{tmp_path}"), other, NoChannel(), **dropped
            )
        assert content(empty_database) == content(database)

    async def test_newer_quotes_of_the_last_slot(self, store, database):
        """They replace the slot's row, as they do live; with --missing the row stays."""
        closing = [
            frame(quoted_at=SESSION.close - timedelta(seconds=s), volume=[v] * 42)
            for s, v in ((60, 10.0), (28, 20.0), (3, 30.0))
        ]

        class Closing:
            def __init__(self, frames):
                self.frames = frames

            async def history(self, symbol, session):
                for sent in self.frames:
                    yield sent

        await filled(store, Closing(closing[:2]))
        filled_again, _ = await filled(store, Closing(closing), missing=True)
        assert filled_again.written == 0
        done, first = await filled(store, Closing(closing))
        assert (done.written, first) == (1, SESSION.last_slot)
        newest = await store.before("SPX", DAY, SESSION.close)
        assert newest.row.quoted_at == SESSION.close - timedelta(seconds=3)
        assert newest.row.differenced_from == SESSION.last_slot - timedelta(seconds=30)


class TestMissing:
    """Gaps are filled; what stands after them stays, unless told otherwise."""

    HOLES = frozenset({5, 6, 20, SLOTS - 1})

    async def test_rows_after_a_filled_gap_stay(self, store, database):
        """Only slots without a row are written; the others keep bytes and revisions."""
        await sampled(store, Short(without=self.HOLES))
        await store.write(
            gaps=[
                Gap(symbol="SPX", expiration=DAY, slot=at(i), reason=Reason.SOURCE_DOWN)
                for i in self.HOLES
            ]
        )
        before = content(database, revisions=True)
        done, first = await filled(store, Short(), missing=True)
        assert (done.written, done.already_there) == (4, SLOTS - 5)
        assert first == at(5)
        # 09:30 itself has no row: the options are not open yet.
        assert gaps(database) == {"not_open": 1}
        slots = {at(i) for i in self.HOLES}
        after = content(database, revisions=True)
        assert [row for row in after if row[2] not in slots] == before
        seven = await store.before("SPX", DAY, at(8))
        assert (seven.row.differenced_from, seven.row.flags) == (at(4), ("after_gap",))
        six = await store.before("SPX", DAY, at(7))
        assert (six.row.differenced_from, six.row.flags) == (at(5), ())

    async def test_rewrite_gives_the_faultless_run(self, store, database, empty_database):
        """With --rewrite all rows are as if no slot had been missed; a second time nothing changes."""
        await migrate(empty_database, "live")
        async with Store.open(empty_database, "live") as whole:
            await sampled(whole, Short())
        await sampled(store, Short(without=self.HOLES))
        options = JobOptions(
            database_url=database,
            redis_url="",
            dataset="live",
            source="synthetic:",
            backfill=BackfillOptions(oi_confidence=KAPPA, missing=True, rewrite=True),
        )
        task = SessionJob(options=options, symbol="SPX", day=DAY, slots=780)
        first = await jobs.run_job(task, Short(), store, NoChannel())
        # All from slot 7 on: also the filled ones, whose flow so far is another now.
        assert (first.written, first.rewritten) == (4, SLOTS - 7)
        assert content(database) == content(empty_database)
        again = await jobs.run_job(task, Short(), store, NoChannel())
        assert (again.written, again.rewritten) == (0, 0)

    async def test_the_source_wins_when_told_so(self, store, database):
        """--rewrite without --missing replaces rows by the source's, and what follows from them."""
        await sampled(store, Short())
        theirs = Short()
        original = theirs._whole.live

        async def moved(symbol, now):
            frame = await original(symbol, now)
            if now == at(10):
                object.__setattr__(frame, "volume", frame.volume + 5)
            return frame

        theirs._whole.live = moved
        stayed, _ = await filled(store, theirs)
        assert stayed.written == 0
        done, first = await filled(store, theirs, rewrite=True)
        assert (done.written > 0, first is not None) == (True, True)
        ten = await store.before("SPX", DAY, at(11))
        assert ten.row.total_volume > 0

    async def test_two_feeds_are_never_mixed(self, store):
        """Another feed's history fills a session of its own; the sampled one stays as it is."""
        await sampled(store, Short(without={7}))
        before = await store.before("SPX", DAY, at(9))
        done, first = await filled(store, Short(source="other"), missing=True)
        assert (done.feed, dict(done.refused), first) == ("other", {"not_open": 1}, at(1))
        assert done.written > 1
        assert at(7) not in await store.of_feed("synthetic").slots("SPX", DAY)
        other = await store.of_feed("other").before("SPX", DAY, at(8))
        assert (other.row.slot, other.row.source) == (at(7), "other")
        assert other.row.differenced_from == at(6)
        assert (await store.of_feed("synthetic").before("SPX", DAY, at(9))).row == before.row

    async def test_frames_that_make_no_row_become_gaps(self, store, database):
        """With the reason; one that cannot be read has a gap too where its time is known."""

        class Odd:
            async def history(self, symbol, session):
                yield frame(quoted_at=OPEN + timedelta(minutes=5))
                yield ChainRefused(Reason.BAD_ANSWER, "chain.json: not a chain")
                for minute in (5, 7):  # of the first one's slot, and of a slot without a row
                    quoted_at = OPEN + timedelta(minutes=minute)
                    yield ChainRefused(Reason.BAD_ANSWER, "not a chain", quoted_at=quoted_at)
                yield frame(quoted_at=OPEN + timedelta(minutes=6), bid=[0.0] * 42, ask=[0.0] * 42)
                yield frame(quoted_at=SESSION.close)

        done, _ = await filled(store, Odd())
        assert done.written == 1
        assert dict(done.refused) == {"bad_answer": 3, "no_iv": 1, "after_close": 1}
        assert gaps(database) == {"no_iv": 1, "bad_answer": 1}


class TestRecompute:
    """Stored chains, measured again."""

    async def test_dry_run_tells_and_stores_nothing(self, store, database):
        """Another κ: which fields change, in how many rows, by how much; the store is as it was."""
        await sampled(store, Short())
        before = content(database, revisions=True)
        whole = {"symbol": "SPX", "session": SESSION}
        dry = await recompute_session(store, NoChannel(), oi_confidence=0.5, dry_run=True, **whole)
        assert content(database, revisions=True) == before
        changed = dry.diff.fields
        assert changed["oi_confidence"].rows == SLOTS - 1
        assert changed["oi_confidence"].largest == pytest.approx(0.07)
        assert changed["oi_confidence"].largest_relative == pytest.approx(0.07 / 0.43)
        assert changed["oi_confidence"].example == "0.43 → 0.5"
        assert {"net_gex", "net_dex", "profile.call_gex", "detail.net_theta_dollars"} <= set(
            changed
        )
        # Settled figures know no κ, and neither does the flow.
        assert {n for n in changed if n.startswith(("settled", "hedge_flow", "evidence"))} == set()

    async def test_new_definitions_rewrite_the_rows(self, store, database, monkeypatch):
        """In order, with new revisions; then there is nothing left to change."""
        await sampled(store, Short(without={9, 10}))
        before = max(revisions_of(database))
        monkeypatch.setattr(snapshot, "DEFINITIONS", "next")
        whole = {"symbol": "SPX", "session": SESSION}
        dry = await recompute_session(store, NoChannel(), dry_run=True, **whole)
        assert (dry.rewritten, set(dry.diff.fields)) == (SLOTS - 3, {"definitions"})
        done = await recompute_session(store, NoChannel(), **whole)
        assert done.rewritten == SLOTS - 3
        after = [r async for r in store.records("SPX", DAY)]
        assert {r.row.definitions for r in after} == {"next"}
        # Each stays differenced against the slot that it named.
        assert {r.row.slot: r.row.differenced_from for r in after}[at(11)] == at(8)
        assert min(revisions_of(database)) > before
        again = await recompute_session(store, NoChannel(), **whole)
        assert (again.rewritten, again.diff.changed) == (0, 0)

    async def test_a_spoilt_profile_is_mended(self, store, database):
        """Also what no headline figure shows is compared, and written again."""
        await sampled(store, Short())
        before = content(database)
        with psycopg.connect(database) as connection:
            spoil = "update live.profiles set vex[3] = 1e9 where slot = %s"
            connection.execute(spoil, [at(12)])
        whole = {"symbol": "SPX", "session": SESSION}
        dry = await recompute_session(store, NoChannel(), dry_run=True, **whole)
        assert (dry.rewritten, list(dry.diff.fields)) == (1, ["profile.vex"])
        done = await recompute_session(store, NoChannel(), **whole)
        assert done.rewritten == 1
        assert content(database) == before

    async def test_a_chain_that_makes_no_row_any_more(self, store, database, monkeypatch):
        """The row stays, and it is told."""
        await sampled(store, Short())
        before = content(database, revisions=True)
        ours = snapshot.read_market

        def strict(chain, previous):
            if chain.slot == at(3):
                raise ChainRefused(Reason.NO_IV, "SPX: not by the new rules")
            return ours(chain, previous)

        monkeypatch.setattr(snapshot, "read_market", strict)
        done = await recompute_session(store, NoChannel(), symbol="SPX", session=SESSION)
        assert (dict(done.refused), done.rewritten) == ({"no_iv": 1}, 0)
        assert content(database, revisions=True) == before

    def test_shifts_add_up(self):
        """Sums of rows, the larger of two changes, the first example."""
        first, other = (
            diff.DiffSummary(records=2, changed=1),
            diff.DiffSummary(records=3, changed=2),
        )
        first.fields["spot"] = diff.FieldDiff(1, 0.5, 0.1, "1 → 1.5")
        other.fields["spot"] = diff.FieldDiff(2, 0.25, 0.2, "2 → 2.25")
        other.fields["regime"] = diff.FieldDiff(1, None, None, "a → b")
        first.add(other)
        assert (first.records, first.changed) == (5, 3)
        assert first.fields["spot"] == diff.FieldDiff(3, 0.5, 0.2, "1 → 1.5")
        table = first.table_lines()
        assert [line.split() for line in table] == [
            ["field", "rows", "max", "change", "relative", "first", "change"],
            ["spot", "3", "0.5", "2.00e-01", "1", "→", "1.5"],
            ["regime", "1", "a", "→", "b"],
        ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestProgress:
    """One line that is rewritten, for whoever watches."""

    def test_time_left(self):
        """As much time is left as what is left takes at the rate so far."""
        clock = iter([0.0, 10.0, 10.0, 7000.0])
        watched = Terminal()
        progress = Progress(4000, watched, seconds=lambda: next(clock))
        progress.advance(1000)
        shown = watched.getvalue()
        assert shown == "\r\x1b[K 25%  1,000 of 4,000 slots, 100 a second, 30 s left"
        progress.advance(1000)
        assert progress.line().endswith("0 a second, 1 h 56 min left")
        progress.clear()
        assert watched.getvalue().endswith("\r\x1b[K")

    def test_nobody_watches(self):
        """Into a file nothing is written."""
        file = io.StringIO()
        progress = Progress(10, file)
        progress.advance(5)
        progress.clear()
        assert file.getvalue() == ""


@pytest.fixture
def command(database) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The command, as cron would run it; what is still running is ended with the test."""
    started = []

    def start(*words: str, **environment: str) -> subprocess.Popen[str]:
        started.append(_start(database, *words, **environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _start(database: str, *words: str, **environment: str) -> subprocess.Popen[str]:
    return forked.Popen(
        [sys.executable, "-m", "sampler", "backfill", *words],
        env=os.environ
        | {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": "redis://127.0.0.1:1/0"}
        | {"FLOW_LOG_LEVEL": "error"}
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=100)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Exported chains of three short sessions of two symbols."""
    folder = tmp_path_factory.mktemp("exported")
    for day in (17, 18, 19):
        session = session_on(DAY.replace(day=day))
        for symbol in ("SPX", "QQQ"):
            records = asyncio.run(_measured(symbol, session))
            with ParquetWriter(ParquetPartition(folder, session.day, symbol), "live") as writer:
                writer.write(records)
    return folder


async def _measured(symbol, session):
    records = [None]
    source = Short(slots=60, source="feed")
    async for sent in source.history(symbol, session):
        if sent.quoted_at > session.open:
            chain = select_chain(sent, session)
            records.append(snapshot.measure_slot(chain, records[-1], oi_confidence=KAPPA))
    return records[1:]


class TestJobs:
    """Several processes, or machines, do what one does."""

    def test_two_jobs(self, command, database, recordings):
        """The same rows; a second run changes nothing."""
        words = (*DAYS, "--symbols", "SPX,QQQ", "--source", f"parquet:{recordings}")
        code, out, err = finish(command(*words, "--jobs", "2"))
        assert (code, err) == (0, "")
        assert out.endswith("354 rows written, 0 there already, 0 frames refused\n")
        rows = content(database)
        records = {r.row.slot: r for r in asyncio.run(_measured("SPX", SESSION))}
        assert {row[2]: row[-1] for row in rows if row[0] == "SPX" and row[1] == DAY} == {
            slot: r.evidence for slot, r in records.items()
        }
        code, out, err = finish(command(*words, "--missing"))
        assert (code, err) == (0, "")
        assert out.endswith("nothing changed\n")
        assert content(database) == rows

    LONG = ("--from", "2026-06-01", "--to", "2026-08-19", "--symbols", "SPX", "--jobs", "2")

    def test_interrupted(self, command, database):
        """Ctrl-C ends it and its processes with a sentence; what was written stays, whole.

        A terminal sends it to every process.
        """
        process = command(*self.LONG, "--source", "synthetic:")
        workers = _at_work(process, database)
        for worker in workers:
            os.kill(worker, signal.SIGINT)
        # Workers that it had ended would be noticed by now.
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
        assert code == 1
        assert err.startswith("flow-sampler: interrupted after ")
        assert "what was written stays" in err
        assert err.count("\n") == 1
        _require_gone(workers)
        assert len(content(database, "synthetic")) == _count(database, "rows") > 0
        assert {_count(database, table) for table in ("rows", "profiles", "chains")} == {
            _count(database, "rows")
        }

    def test_killed(self, command, database):
        """When the command is killed its processes go too."""
        process = command(*self.LONG, "--source", "synthetic:")
        workers = _at_work(process, database)
        process.kill()
        process.communicate()
        _require_gone(workers)

    def test_dask(self, command, database, recordings):
        """On a cluster of processes, one of them killed on the way: the same rows."""
        words = (*DAYS, "--symbols", "SPX,QQQ", "--source", f"parquet:{recordings}")
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster:
            process = command(*words, "--dask", cluster.scheduler_address)
            process.stdout.readline()
            os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
            code, out, err = finish(process)
        assert (code, err) == (0, "")
        assert "354 rows" in out.splitlines()[-1] or "there already" in out.splitlines()[-1]
        assert len(content(database)) == 354
        alone = {r.row.slot: r.evidence for r in asyncio.run(_measured("QQQ", SESSION))}
        stored = {r[2]: r[-1] for r in content(database) if r[0] == "QQQ" and r[1] == DAY}
        assert stored == alone

    @pytest.mark.parametrize(
        ("words", "environment", "code", "message"),
        [
            (("--dask", "tcp://127.0.0.1:1", "--recompute"), {}, 2, "no scheduler answers at tcp"),
            (("--dask", "nonsense", "--recompute"), {}, 2, "--dask: 'nonsense' is not an address"),
            (
                ("--dask", "tcp://127.0.0.1:1", "--recompute"),
                {"FLOW_DATABASE_URL": ""},
                2,
                "--dask: FLOW_DATABASE_URL is not set",
            ),
            (
                ("--dask", "tcp://x:1", "--jobs", "2", "--recompute"),
                {},
                2,
                "--jobs: the Dask cluster decides",
            ),
            (("--jobs", "0", "--recompute"), {}, 2, "--jobs: 0 is not between 1 and 256"),
            (("--dry-run", "--source", "synthetic:"), {}, 2, "--dry-run: shows what --recompute"),
            (
                ("--recompute", "--rewrite"),
                {},
                2,
                "--rewrite: --recompute reads no source",
            ),
            (("--source", "parquet:/nowhere"), {}, 2, "parquet: no such folder: /nowhere"),
            (("--source", "parquet:/tmp"), {}, 2, "/tmp has no folder 'chains'"),
        ],
    )
    def test_wrong_usage(self, words, environment, code, message, database, monkeypatch, capsys):
        """One sentence that names the option."""
        # The log's configuration is a whole process's.
        monkeypatch.setattr("storage.config.log.configure", lambda *_: None)
        for name, value in ({"FLOW_DATABASE_URL": database} | environment).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(executors, "_SCHEDULER_TIMEOUT", 0.5)
        assert program.main(["backfill", *DAYS, *words]) == code
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert message in err


def _children(pid: int) -> list[int]:
    listed = forked.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


def _count(database: str, table: str) -> int:
    with psycopg.connect(database) as connection:
        return connection.execute(f"select count(*) from synthetic.{table}").fetchone()[0]


def _at_work(process: subprocess.Popen[str], database: str) -> list[int]:
    """The processes of a command that has begun to write."""
    deadline = time.monotonic() + 60
    while not _count(database, "rows"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return _children(process.pid)


def _require_gone(workers: list[int]) -> None:
    assert len(workers) >= 2
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
