"""``flow-store doctor`` as a process: a good set-up, and set-ups that are broken in one way each."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from storage.config.settings import Settings
from storage.doctor import examine as examination
from storage.doctor import machine
from storage.doctor.finding import State
from storage.doctor.product import check_retention, check_source
from storage.embedded.attach import Servers
from storage.errors import StoreUnavailable
from storage.postgres.retention import RetentionReport, overdue_tables
from storage.postgres.store import Store
from storage.redis.channel import RedisChannel
from tests import forked
from tests.api.rows import record, utc

NOWHERE = "127.0.0.1:1"


def examine(servers: Servers, database: str, *options: str, **settings: str):
    """Exit status, and the findings by check: the worst of each."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    environment |= {
        "FLOW_DATABASE_URL": database,
        "FLOW_REDIS_URL": servers.redis_url,
        "FLOW_SOURCE": "cboe:",
        "FLOW_SYMBOLS": "SPX",
        "FLOW_DATASET": "live",
        "FLOW_PORT": str(free_port()),
        "FLOW_METRICS_PORT": "0",
        **settings,
    }
    done = forked.run(
        [sys.executable, "-m", "storage", "doctor", "--json", "--no-source", *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout, done.stderr
    findings: dict[str, dict[str, str]] = {}
    severity = ["ok", "warn", "fail"]
    for finding in json.loads(done.stdout):
        known = findings.get(finding["check"])
        if known is None or severity.index(known["state"]) < severity.index(finding["state"]):
            findings[finding["check"]] = finding
    return done.returncode, findings


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def failed(findings: dict[str, dict[str, str]]) -> set[str]:
    return {name for name, finding in findings.items() if finding["state"] == "fail"}


def test_a_good_set_up(servers: Servers, database: str, tmp_path: Path) -> None:
    """Nothing fails; what is not there yet (rows, backups) is a warning with advice."""
    status, findings = examine(servers, database)
    assert (status, failed(findings)) == (0, set())
    assert {"database", "schema", "rights", "redis", "disk", "port", "files", "calendar", "cache",
            "keys", "coverage", "retention", "backups", "settings", "rules"} <= set(findings)  # fmt: skip
    warned = {name for name, finding in findings.items() if finding["state"] == "warn"}
    assert warned <= {"coverage", "backups", "files"}
    assert all(finding["advice"] for finding in findings.values() if finding["state"] != "ok")


def test_the_lines_for_a_person(servers: Servers, database: str) -> None:
    """A line a check, and what to do below it; no password of a URL is shown."""
    secret = database.replace("postgres@", "postgres:hunter2@")
    environment = os.environ | {"FLOW_DATABASE_URL": secret, "FLOW_REDIS_URL": servers.redis_url}
    done = forked.run(
        [sys.executable, "-m", "storage", "doctor", "--no-source"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    assert any(line.startswith("ok    database") for line in lines)
    assert lines[-1].endswith("warnings")
    assert "hunter2" not in done.stdout + done.stderr


def test_a_source_that_answers(servers: Servers, database: str) -> None:
    """The source is asked for one chain; a recording is read as of its own newest quotes."""
    environment = os.environ | {
        "FLOW_DATABASE_URL": database,
        "FLOW_REDIS_URL": servers.redis_url,
        "FLOW_SOURCE": "recorded:example",
        "FLOW_SYMBOLS": "SPX",
    }
    done = forked.run(
        [sys.executable, "-m", "storage", "doctor"],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    (line,) = [line for line in done.stdout.splitlines() if "  source  " in line]
    assert "SPX at" in line


def broken(check: str, servers: Servers, database: str, *words: str, **settings: str) -> None:
    """The check fails, alone of all, its sentence has the words, and the status is 1."""
    status, findings = examine(servers, database, **settings)
    assert status == 1
    assert failed(findings) == {check}, findings
    shown = f"{findings[check]['sentence']} {findings[check]['advice']}"
    for word in words:
        assert word in shown


def test_a_setting_that_does_not_exist(servers: Servers, database: str) -> None:
    """A misspelt name is told with the nearest one."""
    broken("settings", servers, database, "FLOW_SYMBOLS", FLOW_SIMBOLS="SPX")


def test_a_setting_of_a_newer_release(servers: Servers, database: str) -> None:
    """A name that resembles none is a warning: the programs go on without it."""
    status, findings = examine(servers, database, FLOW_OF_NEXT_YEAR="1")
    assert (status, findings["settings"]["state"]) == (0, "warn")
    assert findings["settings"]["sentence"].startswith("FLOW_OF_NEXT_YEAR: not a setting")


def test_a_setting_that_cannot_be_read(servers: Servers, database: str) -> None:
    """A bad value is told with its setting."""
    broken("settings", servers, database, "FLOW_PORT", "99999", FLOW_PORT="99999")


def test_a_dataset_that_is_not_the_sources(servers: Servers, database: str) -> None:
    """Simulated rows are not written among real ones: the sampler would refuse it."""
    wrong = {"FLOW_SOURCE": "synthetic:", "FLOW_DATASET": "live"}
    broken("settings", servers, database, "FLOW_DATASET", "synthetic alone", **wrong)


def test_no_database_there(servers: Servers) -> None:
    """Nobody listens at the URL."""
    url = f"postgresql://flow@{NOWHERE}/flow"
    broken("database", servers, url, "cannot be reached", "start the server")


def test_a_database_that_is_not_migrated(servers: Servers, empty_database: str) -> None:
    """The schema is missing: the command that makes it is named."""
    broken("schema", servers, empty_database, "flow-store migrate")


def test_a_schema_of_a_newer_release(servers: Servers, database: str) -> None:
    """A newer release has been here: nothing is touched."""
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("insert into live.schema_version (version) values (9999)")
    broken("schema", servers, database, "9999", "newer release")


def test_a_database_that_takes_no_writes(servers: Servers, database: str) -> None:
    """A read-only database is one that cannot store."""
    name = urlsplit(database).path.removeprefix("/")
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"alter database {name} set default_transaction_read_only = on")
    broken("rights", servers, database, "read-only")


def test_a_role_without_rights(servers: Servers, database: str) -> None:
    """A role that may read, and not write, is told what it lacks."""
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("drop role if exists doctor_reader")
        admin.execute("create role doctor_reader login")
        admin.execute("grant usage on schema live to doctor_reader")
        admin.execute("grant select on all tables in schema live to doctor_reader")
    try:
        url = database.replace("postgres@", "doctor_reader@")
        broken("rights", servers, url, "INSERT")
    finally:
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute("drop owned by doctor_reader")
            admin.execute("drop role doctor_reader")


def test_rules_that_cannot_be_read(servers: Servers, database: str, tmp_path: Path) -> None:
    """A file of rules is read as the API reads it: what is wrong in it is said."""
    path = tmp_path / "rules.json"
    path.write_text('{"rules": [{"kind": "gap", "secs": 9}]}')
    broken("rules", servers, database, "docs/alerts.md", FLOW_ALERT_RULES=str(path))


def test_a_role_that_sees_nothing(servers: Servers, database: str) -> None:
    """A role without any right is told whose role to use."""
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("drop role if exists doctor_nobody")
        admin.execute("create role doctor_nobody login")
    try:
        url = database.replace("postgres@", "doctor_nobody@")
        broken("database", servers, url, "flow-store grants")
    finally:
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute("drop role doctor_nobody")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FLOW_NOTIFY_SECRET_FILE", "/nowhere/secret", "FLOW_NOTIFY_SECRET_FILE: /nowhere/secret"),
        ("FLOW_NOTIFY_FILE", "/nowhere/targets", "FLOW_NOTIFY_FILE: /nowhere/targets"),
        ("FLOW_NOTIFY", "nosuchservice://canary-token", "nosuchservice://..."),
    ],
)
def test_a_target_that_cannot_be_used(servers, database, name, value, words) -> None:
    """What the API would refuse at its start is said, and no secret of an address with it."""
    _, findings = examine(servers, database, **{name: value})
    assert failed(findings) == {"notify"}
    assert words in findings["notify"]["sentence"]
    assert "canary-token" not in str(findings)


def test_targets(servers: Servers, database: str) -> None:
    """Targets that can be used are shown by scheme and host, and nothing is sent to them."""
    _, findings = examine(servers, database, FLOW_NOTIFY="https://hook.example/canary-path")
    assert findings["notify"]["state"] == "ok"
    assert "https://hook.example;" in findings["notify"]["sentence"]
    assert "canary-path" not in str(findings)


def test_no_redis_there(servers: Servers, database: str) -> None:
    """Nobody listens at the channel's URL."""
    broken("redis", servers, database, "start the server", FLOW_REDIS_URL=f"redis://{NOWHERE}/0")


async def test_whose_channel_it_is(servers: Servers, database: str, second_database: str) -> None:
    """The line names the channel of this database, and says that others are there."""
    for url in (database, second_database):
        async with (
            Store.open(url, "live", size=1) as store,
            RedisChannel.open(servers.redis_url, "flow:live", store.identity) as channel,
        ):
            await channel.publish((await store.write([record(utc("14:00"))])).changes)
            identity = await store.identity()
    _, findings = await asyncio.to_thread(examine, servers, second_database)
    sentence = findings["redis"]["sentence"]
    assert f"2 keys of the dataset live in the channel flow:live:{identity} of this" in sentence
    assert "other databases have channels there" in sentence


def test_a_redis_that_is_full(servers: Servers, database: str) -> None:
    """At maxmemory a server answers PING, and takes no writes."""
    with closing(redis.Redis.from_url(servers.redis_url)) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", "1")
        try:
            broken("redis", servers, database, "takes no writes")
        finally:
            client.config_set("maxmemory", before)


def test_a_port_of_another_program(servers: Servers, database: str) -> None:
    """A program that is not ours has the API's port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        broken("port", servers, database, port, "taken", FLOW_PORT=port)


def test_keys_that_are_required_and_not_there(servers: Servers, database: str) -> None:
    """An API beyond loopback without a key serves nobody."""
    broken("keys", servers, database, "flow-api keys create", FLOW_HOST="0.0.0.0")


def test_a_key_that_is_missing(servers: Servers, database: str) -> None:
    """A vendor without its key: the setting is named."""
    environment = os.environ | {
        "FLOW_DATABASE_URL": database,
        "FLOW_REDIS_URL": servers.redis_url,
        "FLOW_SOURCE": "tradier:",
        "FLOW_PORT": str(free_port()),
        "FLOW_METRICS_PORT": "0",
    }
    done = forked.run(
        [sys.executable, "-m", "storage", "doctor"],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    assert "source" in line
    assert "FLOW_TRADIER_TOKEN" in line


@pytest.mark.parametrize(
    ("reason", "new_york", "state"),
    [
        ("stale", "10:00", State.WARN),
        ("after_close", "15:59", State.WARN),
        ("stale", "09:45", State.OK),  # a feed 15 minutes late has its first quotes of the day
        ("stale", "16:00", State.OK),
        ("stale", "04:00", State.OK),
        ("unchanged", "10:00", State.OK),
        ("source_down", "04:00", State.FAIL),
    ],
)
async def test_old_quotes(tmp_path, monkeypatch, reason, new_york, state) -> None:
    """Quotes of another time are a warning while the market is open, and nothing out of hours."""
    program = tmp_path / "sampler"
    program.mkdir()
    (program / "__init__.py").touch()
    answer = json.dumps({"reason": reason, "message": "quotes are 4000 s old"})
    (program / "__main__.py").write_text(f"print({answer!r})")
    # A module is looked for in the present folder first.
    monkeypatch.chdir(tmp_path)
    hour, minute = map(int, new_york.split(":"))
    # New York is four hours behind UTC on that Wednesday.
    start = datetime(2026, 8, 19, hour + 4, minute, tzinfo=UTC)
    clock = f"simulated:{start.isoformat()}@0.001@{datetime.now(UTC).isoformat()}"
    settings = Settings.read({
        "FLOW_SOURCE": "cboe:", "FLOW_SYMBOLS": "SPX", "FLOW_DATA_DIR": str(tmp_path),
        "FLOW_CLOCK": clock,
    })  # fmt: skip
    assert (await check_source(settings, os.environ)).state is state


def test_compiled_formulas(tmp_path: Path) -> None:
    """A folder without compiled formulas is a warning before the first start takes a minute."""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    finding = machine.check_cache(environment, tmp_path / "sampler")
    assert finding.state is State.WARN
    assert "flow-sampler warm" in finding.advice
    (tmp_path / "metrics_1").mkdir()
    (tmp_path / "metrics_1" / "black.iv.py311.nbi").touch()
    assert machine.check_cache(environment, tmp_path / "sampler").state is State.OK


def test_a_spool_on_another_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With an embedded database and a spool elsewhere, both disks are looked at."""
    looked: list[Path] = []
    monkeypatch.setattr(machine, "check_disk", lambda folder, _: looked.append(folder) or "disk")

    @asynccontextmanager
    async def none(_):
        raise StoreUnavailable("no servers here")
        yield

    monkeypatch.setattr(examination, "server_urls", none)

    async def look(**more: str) -> list[Path]:
        settings = Settings.read({"FLOW_DATA_DIR": str(tmp_path / "data")} | more)
        looked.clear()
        async for _ in examination.examine(settings, {}, source=False):
            pass
        return [*looked]

    spool = {"FLOW_SPOOL_DIR": str(tmp_path / "spool")}
    elsewhere = {"FLOW_DATABASE_URL": f"postgresql://{NOWHERE}/flow"}
    assert asyncio.run(look()) == [tmp_path / "data"]
    assert asyncio.run(look(**spool)) == [tmp_path / "spool", tmp_path / "data"]
    assert asyncio.run(look(**spool, **elsewhere)) == [tmp_path / "spool"]


def test_a_folder_of_backups(tmp_path: Path) -> None:
    """A folder that is missing fails; one that is empty or a week old is a warning."""
    today = datetime(2026, 8, 19, tzinfo=UTC).date()

    def judge(folder: Path) -> State:
        return machine.check_backups(folder, today, embedded=False).state

    assert judge(tmp_path / "nowhere") is State.FAIL
    assert judge(tmp_path) is State.WARN
    dump = tmp_path / "flow.dump"
    dump.write_bytes(b"x")
    for days, state in ((1, State.OK), (7, State.OK), (8, State.WARN)):
        dumped_at = datetime(2026, 8, 19, 12, tzinfo=UTC) - timedelta(days=days)
        os.utime(dump, (dumped_at.timestamp(), dumped_at.timestamp()))
        assert judge(tmp_path) is state


def test_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under 500 MB fails; less than 60 sessions' room is a warning."""
    for free, growth, state in (
        (400e6, None, State.FAIL),
        (50e9, None, State.OK),
        (50e9, 100e6, State.OK),
        (5e9, 100e6, State.WARN),
    ):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _, usage=usage: usage)
        assert machine.check_disk(tmp_path / "spool", growth).state is state


async def test_rows_that_should_be_deleted(store: Store, database: str) -> None:
    """A session 40 days before the newest one, where 30 are kept, waits for prune; 32 days may."""
    newest = utc("14:00")
    await store.write([record(newest), record(newest - timedelta(days=32))])
    keep = {"rows": 30, "profiles": 0, "chains": 0, "gaps": 0}
    assert await overdue_tables(database, "live", keep) == []
    await store.write([record(newest - timedelta(days=40))])
    assert await overdue_tables(database, "live", keep) == ["rows", "profiles", "chains"]
    report = RetentionReport(table="rows", before=None, dropped=0, unit="rows", size=1_000_000)
    assert check_retention([report], ["rows"]).state is State.WARN
    assert check_retention([report], []).state is State.OK


def test_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hard limit of 1,024 is a warning; 65,536 is enough, also if the soft one is lower."""
    for limits, state in (((1024, 1024), State.WARN), ((1024, 65_536), State.OK)):
        monkeypatch.setattr(machine.resource, "getrlimit", lambda _, limits=limits: limits)
        assert machine.check_files().state is state


def test_after_a_failure_only_what_is_wrong(servers: Servers, tmp_path: Path) -> None:
    """A unit's doctor prints failures alone, leaves out what it is to skip, and nothing on a stop."""
    url = f"postgresql://flow@{NOWHERE}/flow"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    environment |= {
        "FLOW_DATABASE_URL": url,
        "FLOW_REDIS_URL": servers.redis_url,
        "FLOW_BACKUP_DIR": str(tmp_path / "nowhere"),
        "FLOW_METRICS_PORT": "0",
        "FLOW_PORT": str(free_port()),
    }

    def after(result: str, *options: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "storage", "doctor", "--after-failure", "--no-source"]
        done = forked.run(
            [*command, *options], env=environment | {"SERVICE_RESULT": result},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout

    status, output = after("exit-code")
    names = [line.split()[1] for line in output.splitlines() if line.startswith("fail ")]
    assert (status, names) == (1, ["database", "backups"])
    assert "ok  " not in output
    assert "backups" not in after("exit-code", "--skip", "backups")[1]
    assert after("success") == (0, "")
    environment["FLOW_SIMBOLS"] = "SPX"
    assert after("success") == (0, "")
    assert "FLOW_SYMBOLS" in after("exit-code")[1]
