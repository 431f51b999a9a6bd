"""Backup and restore as a user does them: the embedded database, while it is in use, and others."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from factories import at, record
from psycopg import sql

from storage.embedded import attach as embedded
from storage.postgres.migrate import migrate
from storage.postgres.store import Store


def flow_store(*words: str | Path, **settings: str) -> tuple[int, str, str]:
    """Run a command in an environment of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    done = subprocess.run(
        [sys.executable, "-m", "storage", *map(str, words)],
        env=inherited | settings, capture_output=True, text=True, check=False, timeout=170,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def everything(url: str) -> dict[str, list[tuple]]:
    """Every row of every table of both datasets, as text."""
    with psycopg.connect(url) as opened:
        tables = opened.execute(
            "select schemaname, tablename from pg_tables"
            " where schemaname in ('live', 'synthetic') order by 1, 2"
        ).fetchall()
        return {
            f"{schema}.{table}": sorted(
                opened.execute(
                    sql.SQL("select t::text from {} t").format(sql.Identifier(schema, table))
                ).fetchall()
            )
            for schema, table in tables
        }


async def fill(url: str) -> None:
    for dataset in ("live", "synthetic"):
        await migrate(url, dataset)
    async with Store.open(url, "live") as store:
        await store.write([record(slot=at(i)) for i in range(3)])


def test_the_embedded_database_comes_back(data_dir: Path, tmp_path: Path) -> None:
    """A dump made while the server is used brings every row of every table into a new folder."""
    first, second = data_dir / "dumped", data_dir / "restored"
    backups = tmp_path / "backups"
    with embedded.attach(first, wait=True) as servers:
        asyncio.run(fill(servers.database_url))
        status, output, _ = flow_store(
            "backup", FLOW_DATA_DIR=str(first), FLOW_BACKUP_DIR=str(backups)
        )
        before = everything(servers.database_url)
    assert status == 0
    (file,) = backups.iterdir()
    assert output.startswith(f"{file}, ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(before["live.rows"]) == 3

    status, output, complaint = flow_store("restore", file, FLOW_DATA_DIR=str(second))
    assert (status, complaint) == (0, "")
    assert "live: 1 days with sessions restored" in output
    with embedded.attach(second, wait=True) as servers:
        assert everything(servers.database_url) == before
        # A database that has rows is not mixed with a dump's.
        status, _, complaint = flow_store("restore", file, FLOW_DATA_DIR=str(second))
        assert status == 1
        assert "already: restore into an empty one" in complaint
        assert everything(servers.database_url) == before


def test_what_cannot_be_dumped_or_restored(
    database: str, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a sentence: no folder, a folder that is a file, a file that is no dump, no file."""
    place = {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": "redis://127.0.0.1:1/0"}
    empty = place | {"FLOW_DATABASE_URL": empty_database}
    assert "FLOW_BACKUP_DIR" in flow_store("backup", **place)[2]
    file = tmp_path / "file"
    file.write_text("no dump")
    status, _, complaint = flow_store("backup", file / "below", **place)
    assert (status, "cannot hold a dump" in complaint) == (1, True)
    status, _, complaint = flow_store("restore", file, **empty)
    assert (status, "pg_restore failed" in complaint) == (1, True)
    assert "is no file" in flow_store("restore", tmp_path / "none", **empty)[2]
    assert everything(empty_database) == {}
    # A draft of a dump that failed is not left behind.
    away = place | {"FLOW_DATABASE_URL": "postgresql://nobody:hunter2@127.0.0.1:1/flow"}
    status, output, complaint = flow_store("backup", tmp_path / "kept", **away)
    assert (status, "pg_dump failed" in complaint) == (1, True)
    assert "hunter2" not in output + complaint
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_dump_with_timescaledb_is_refused(empty_database: str, tmp_path: Path) -> None:
    """It is refused by what the dump holds: the database that it is to come into has nothing yet."""
    stub = tmp_path / "pg_restore"
    # As pg_restore 15 lists the dump of a database with TimescaleDB.
    stub.write_text("#!/bin/sh\n[ $1 = --list ] && echo '2; 3079 18720 EXTENSION - timescaledb '\n")
    stub.chmod(0o755)
    place = {"FLOW_DATABASE_URL": empty_database, "FLOW_REDIS_URL": "redis://127.0.0.1:1/0"}
    status, _, complaint = flow_store(
        "restore", stub, **place, PATH=f"{tmp_path}:{os.environ['PATH']}"
    )
    assert (status, "between two functions of its own" in complaint) == (1, True)
    assert everything(empty_database) == {}


def test_timescaledb_comes_back_by_hand(
    empty_database: str, second_database: str, tmp_path: Path
) -> None:
    """The three commands of docs/operations.md, as they stand there, bring everything back."""
    with psycopg.connect(empty_database) as opened:
        offers = "select from pg_available_extensions where name = 'timescaledb'"
        if not opened.execute(offers).fetchall():
            pytest.skip("this server does not offer TimescaleDB")
    asyncio.run(fill(second_database))
    place = {"FLOW_DATABASE_URL": second_database, "FLOW_REDIS_URL": "redis://127.0.0.1:1/0"}
    assert flow_store("backup", tmp_path, **place)[0] == 0
    (file,) = tmp_path.iterdir()
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
    (commands,) = re.findall(r"Do it by hand:\n\n```sh\n(.*?)```", page, re.DOTALL)
    subprocess.run(
        ["bash", "-euc", commands.replace("FILE", f"'{file}'")],
        env=os.environ | {"FLOW_DATABASE_URL": empty_database}, check=True, timeout=120,
    )  # fmt: skip
    assert everything(empty_database) == everything(second_database)
    tables = "select * from timescaledb_information.hypertables order by 2, 3"
    jobs = "select proc_name, hypertable_schema, hypertable_name, schedule_interval, config \
            from timescaledb_information.jobs order by job_id"
    for query in (tables, jobs):
        answers = []
        for url in (second_database, empty_database):
            with psycopg.connect(url) as opened:
                answers.append(opened.execute(query).fetchall())
        assert answers[0] == answers[1]
        assert answers[0]
