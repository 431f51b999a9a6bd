"""The roles of ``flow-store grants``: what each may do, and both programs at work with them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from psycopg import errors as pg

from storage.embedded.attach import Servers
from storage.market.calendar import session_on
from storage.market.clock import Clock
from storage.postgres.grants import ROLES
from tests import forked
from tests.reverse_proxy import free_port

PREFIX = f"t{os.getpid()}_"


def run(*command: str, **settings: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    done = forked.run(
        [sys.executable, "-m", *command],
        env=environment | settings, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def granted(database: str) -> Iterator[Callable[[str], str]]:
    """The database's URL for each of the roles; the printed SQL is run as psql would."""
    text = run("storage", "grants", "--prefix", PREFIX, FLOW_DATABASE_URL=database)
    with psycopg.connect(database, autocommit=True) as admin:
        for _ in range(2):
            admin.execute(text.encode())
    yield lambda role: database.replace("postgres@", f"{PREFIX}{role}@")
    with psycopg.connect(database, autocommit=True) as admin:
        for role in ROLES:
            admin.execute(f"drop owned by {PREFIX}{role}; drop role {PREFIX}{role}".encode())


ROW = "update {}.rows set spot = 0 where false"
ALLOWED = [
    ("sampler", ROW),
    ("sampler", "delete from {}.gaps where false"),
    ("sampler", "select nextval('{}.revision')"),
    ("sampler", "create temp table probe (x int)"),
    ("sampler", "update {}.alerts set ended_at = now() where false"),
    ("sampler", "insert into {}.forecasts select * from {}.forecasts where false"),
    ("sampler", "update {}.scores set method = 1 where false"),
    ("api", "select * from {}.keys, {}.rows"),
    ("api", "select * from {}.forecasts, {}.settlements, {}.scores"),
    ("api", "update {}.keys set last_used_at = now() where false"),
    ("api", "update {}.alerts set ended_at = now() where false"),
    ("analyst", "select * from {}.rows, {}.profiles, {}.chains, {}.gaps, {}.alerts"),
    ("analyst", "select * from {}.bars_30s, {}.bars_1m, {}.bars_5m, {}.bars_15m"),
    ("analyst", "select * from {}.strikes, {}.missing_slots, {}.stored_sessions, {}.interface"),
    ("analyst", "select * from flow.bars_30s, flow.bars_1m, flow.bars_5m, flow.bars_15m"),
    ("analyst", "select * from flow_synthetic.strikes, flow_synthetic.interface"),
]
FORBIDDEN = [
    ("sampler", "select * from {}.keys"),
    ("sampler", "drop table {}.rows"),
    ("sampler", "create table {}.mine (x int)"),
    ("sampler", "update {}.schema_version set version = 1"),
    ("sampler", "update {}.forecasts set content = ''"),
    ("sampler", "delete from {}.forecasts"),
    ("sampler", "update {}.settlements set price = 1"),
    ("api", "insert into {}.forecasts select * from {}.forecasts"),
    ("api", ROW),
    ("api", "delete from {}.gaps"),
    ("api", "update {}.keys set plan = 'Enterprise'"),
    ("api", "insert into {}.keys select * from {}.keys"),
    ("api", "delete from {}.alerts"),
    ("analyst", "select * from {}.keys"),
    ("analyst", ROW),
    ("analyst", "delete from {}.stored_sessions"),
    ("api", "select * from {}.bars_1m"),
    ("api", "select * from flow.bars_1m"),
    ("analyst", "delete from flow.stored_sessions"),
    ("analyst", "create view flow.mine as select 1"),
    ("analyst", "insert into {}.gaps select * from {}.gaps"),
]


def test_what_each_may(granted: Callable[[str], str]) -> None:
    """In both datasets: what the program needs, and nothing of what would harm another."""
    for role in ROLES:
        with psycopg.connect(granted(role), autocommit=True) as connection:
            for dataset in ("live", "synthetic"):
                for other, text in ALLOWED:
                    if other == role:
                        connection.execute(text.replace("{}", dataset).encode())
                        connection.execute("drop table if exists probe")
                for other, text in FORBIDDEN:
                    if other == role:
                        with pytest.raises(pg.InsufficientPrivilege):
                            connection.execute(text.replace("{}", dataset).encode())


def test_a_privilege_too_many_is_taken_away(granted: Callable[[str], str], database: str) -> None:
    """Run again, the SQL leaves a role what its list says; ``--apply`` runs it itself."""
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"grant select on live.keys to {PREFIX}analyst".encode())
    run("storage", "grants", "--prefix", PREFIX, "--apply", FLOW_DATABASE_URL=database)
    with psycopg.connect(granted("analyst")) as analyst, pytest.raises(pg.InsufficientPrivilege):
        analyst.execute("select * from live.keys")


def test_the_doctor_of_the_samplers_role(
    granted: Callable[[str], str], servers: Servers, tmp_path: Path
) -> None:
    """The role that its service has is good enough: that it may not read keys is no failure."""
    done = forked.run(
        [sys.executable, "-m", "storage", "doctor", "--json", "--no-source"],
        env={k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
        | {
            "FLOW_DATABASE_URL": granted("sampler"), "FLOW_REDIS_URL": servers.redis_url,
            "FLOW_SOURCE": "synthetic:?seed=3", "FLOW_ACCESS": "keys",
            "FLOW_SPOOL_DIR": str(tmp_path), "FLOW_PORT": str(free_port()),
            "FLOW_METRICS_PORT": "0",
        },
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert "this role may not read them" in findings["keys"]["sentence"]
    # What comes after the keys is checked too.
    assert {"coverage", "retention"} <= set(findings)
    assert [f for f in findings.values() if f["state"] == "fail"] == []
    assert done.returncode == 0


def test_passwords(granted: Callable[[str], str], database: str, tmp_path: Path) -> None:
    """A role's password is set from its file, as a hash; nothing prints it."""
    (tmp_path / "sampler").write_text("canary-1\n")
    shown = run(
        *("storage", "grants", "--prefix", PREFIX, "--apply", "--passwords", str(tmp_path)),
        FLOW_DATABASE_URL=database,
    )
    assert "canary" not in shown
    with psycopg.connect(database) as admin:
        stored = admin.execute(
            "select right(rolname, 7), left(rolpassword, 14) from pg_authid"
            " where rolname in (%s, %s)",
            [f"{PREFIX}sampler", f"{PREFIX}api"],
        ).fetchall()
    assert dict(stored) == {"sampler": "SCRAM-SHA-256$", PREFIX[-4:] + "api": None}


@pytest.mark.clocked
def test_both_programs_at_work(
    granted: Callable[[str], str], database: str, servers: Servers, tmp_path: Path
) -> None:
    """Sampler and API in keys mode, each with its role: rows come, and neither complains."""
    session = session_on(datetime(2026, 8, 19, tzinfo=UTC).date())
    assert session is not None
    clock = Clock(session.open + timedelta(minutes=10), 6.0, datetime.now(UTC))
    common = {
        "FLOW_REDIS_URL": servers.redis_url,
        "FLOW_CLOCK": str(clock),
        "FLOW_SOURCE": "synthetic:?seed=3",
        "FLOW_SYMBOLS": "SPX",
        "FLOW_LOG": "json",
    }
    key = run(
        *("api", "keys", "create", "--name", "grants", "--plan", "Growth"),
        FLOW_DATABASE_URL=database, FLOW_DATASET="synthetic",
    ).strip()  # fmt: skip
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")} | common
    logs = {name: tmp_path / name for name in ("sampler", "api")}
    running = []
    try:
        for name, command, settings in (
            ("sampler", ("sampler", "run"), {"FLOW_SPOOL_DIR": str(tmp_path / "spool"),
                                             "FLOW_METRICS_PORT": "0"}),
            ("api", ("api", "serve"), {"FLOW_ACCESS": "keys", "FLOW_PORT": str(port)}),
        ):  # fmt: skip
            with logs[name].open("w") as log:
                running.append(forked.Popen(
                    [sys.executable, "-m", *command], stdout=log, stderr=log,
                    env=environment | settings | {"FLOW_DATABASE_URL": granted(name)},
                ))  # fmt: skip
        url = f"http://127.0.0.1:{port}/v1/flow/zero-dte/series/SPX?minutes=390"
        used = "select last_used_at is not null from synthetic.keys"
        ends = time.monotonic() + 150
        with closing(psycopg.connect(database, autocommit=True)) as admin:
            bars: list[Any] = []
            noted = False
            while len(bars) < 3 or not noted:
                assert time.monotonic() < ends, {n: p.read_text()[-2000:] for n, p in logs.items()}
                assert [process.poll() for process in running] == [None, None], logs
                time.sleep(0.5)
                try:
                    sent = requests.get(url, headers={"X-Api-Key": key}, timeout=10)
                except requests.ConnectionError:
                    continue
                assert sent.status_code in (200, 404), sent.text
                bars = sent.json().get("bars", [])
                noted = bool((admin.execute(used).fetchone() or [False])[0])
            assert requests.get(url, timeout=10).status_code == 401
            counted = admin.execute("select count(*) from synthetic.watched").fetchone()
        assert counted == (1,)
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(40) for process in running]
    assert codes == [0, 0]
    outputs = [
        json.loads(line)
        for log in logs.values()
        for line in log.read_text().splitlines()
        if line.startswith("{")
    ]
    loud = [line for line in outputs if line["level"] in ("warning", "error", "critical")]
    assert [line["event"] for line in loud if line["event"] not in ("missed", "late")] == []


async def test_an_api_that_may_only_read_keys(granted: Callable[[str], str], database: str) -> None:
    """Keys are current all the same: the log says that their use is not noted, and nothing else."""
    from structlog.testing import capture_logs

    from api.access.keys import KeyRing
    from storage.postgres.store import Store

    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"revoke update (last_used_at) on live.keys from {PREFIX}api".encode())
    key = run(
        *("api", "keys", "create", "--name", "reader", "--plan", "Growth"),
        FLOW_DATABASE_URL=database, FLOW_DATASET="live",
    ).strip()  # fmt: skip
    async with Store.open(granted("api"), "live", size=1) as store:
        ring = KeyRing(store.keys, lambda: datetime.now(UTC))
        with capture_logs() as lines:
            async with ring.current(0.05, 0.05):
                import asyncio

                for _ in range(20):
                    assert ring.find(key) is not None
                    await asyncio.sleep(0.05)
    assert {line["event"] for line in lines} == {"last use of keys is not noted"}
    assert len(lines) == 1


def test_views_that_the_migrations_might_not_make(database: str) -> None:
    """The role that migrates may not make schemas: the printed SQL makes the views' schemas."""
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("drop schema flow cascade; drop schema flow_synthetic cascade")
        admin.execute(
            run("storage", "grants", "--prefix", PREFIX, FLOW_DATABASE_URL=database).encode()
        )
        try:
            with psycopg.connect(database.replace("postgres@", f"{PREFIX}analyst@")) as analyst:
                assert analyst.execute("select version from flow.interface").fetchone() == (1,)
                assert analyst.execute("select * from flow_synthetic.bars_1m").fetchall() == []
        finally:
            for role in ROLES:
                admin.execute(f"drop owned by {PREFIX}{role}; drop role {PREFIX}{role}".encode())
