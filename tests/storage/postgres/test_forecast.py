"""The size of each table a year ahead: arithmetic on paper, and a database with two sessions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date, timedelta

import pytest
from factories import DAY, at, record

from storage.postgres.retention import RetentionReport, bytes_a_session, forecast, forecast_table
from storage.postgres.store import Store
from tests import forked

KEEP = {"rows": 0, "profiles": 60, "chains": 730, "gaps": 0, "alerts": 730}


def report(size: int) -> RetentionReport:
    return RetentionReport(table="rows", before=None, dropped=0, unit="rows", size=size)


@pytest.mark.parametrize(
    ("size", "sessions", "keep", "ahead"),
    [
        # From Thursday 31 December 2026 the next 365 days end on Friday 31 December 2027. 2027 has
        # 261 weekdays and ten holidays (1 and 18 January, 15 February, 26 March, 31 May, 18 June,
        # 5 July, 6 September, 25 November, 24 December): 251 sessions.
        (10_000, 10, 0, 1_000 * (10 + 251)),
        # 60 days back from that day, 1 November to 31 December: 45 weekdays less two holidays,
        (10_000, 10, 60, 1_000 * 43),
        # and a table that is that large already stays so.
        (90_000, 90, 60, 90_000),
        (500, 0, 0, None),
    ],
)
def test_on_paper(size: int, sessions: int, keep: int, ahead: float | None) -> None:
    """Bytes a session times the sessions that are there in a year; nothing is made up without any."""
    line = forecast_table(report(size), sessions, float(sessions), keep, date(2026, 12, 31))
    assert line.ahead == ahead
    assert line.growth == (size / sessions if sessions else None)


def test_a_session_under_way() -> None:
    """Four whole sessions and a quarter of one: 100 bytes each, in a year 5 + 251 of them."""
    line = forecast_table(report(425), 5, 4.25, 0, date(2026, 12, 31))
    assert (line.sessions, line.growth, line.ahead) == (5, 100, 100 * 256)


def test_the_first_minutes() -> None:
    """Where nearly nothing is stored, empty pages are most of the size: nothing is forecast."""
    line = forecast_table(report(80_000), 1, 0.09, 0, date(2026, 12, 31))
    assert (line.sessions, line.growth, line.ahead) == (1, None, None)


async def test_a_database(database: str) -> None:
    """Sessions are counted by table; what has none has no forecast."""
    async with Store.open(database, "live") as store:
        await store.write([record(slot=at(0)), record(slot=at(779))])
        later = DAY + timedelta(days=1)
        following = timedelta(days=1)
        # Half of the next one: the first 390 of its 780 slots.
        await store.write(
            [
                record(slot=at(0) + following, expiration=later),
                record(slot=at(389) + following, expiration=later),
            ]
        )
    by_table = {line.table: line for line in await forecast(database, "live", KEEP)}
    assert {name: line.sessions for name, line in by_table.items()} == {
        "rows": 2, "profiles": 2, "chains": 2, "gaps": 0, "alerts": 0
    }  # fmt: skip
    rows = by_table["rows"]
    assert rows.growth == rows.size / 1.5
    assert rows.ahead is not None
    assert rows.ahead > 250 * rows.growth
    assert by_table["gaps"].ahead is None
    # The doctor's figure: one and a half sessions are stored.
    parts = sum(by_table[name].size for name in ("rows", "profiles", "chains"))
    assert await bytes_a_session(database, "live") == pytest.approx(parts / 1.5)


async def test_an_empty_database(database: str) -> None:
    """Nothing is known of a session's size."""
    async with Store.open(database, "live"):
        assert await bytes_a_session(database, "live") is None


def test_the_command(database: str) -> None:
    """It prints a line a table and deletes nothing; a cap that will be passed is a warning."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    environment |= {
        "FLOW_DATABASE_URL": database,
        "FLOW_DATASET": "live",
        "FLOW_DISK_CAP": "0.00001",
    }

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return forked.run(
            [sys.executable, "-m", "storage", "prune", "--forecast", *options],
            env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    done = run()
    assert done.returncode == 0, done.stderr
    assert "FLOW_DISK_CAP" in done.stderr
    tables = [line.split()[1] for line in done.stdout.splitlines()[1:-1]]
    assert tables == ["rows", "profiles", "chains", "gaps", "alerts"]
    assert {line["ahead"] for line in json.loads(run("--json").stdout)} == {None}
