"""Past sessions from recorded chains, by the command a nightly job runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC

import psycopg
import pytest

from tests import forked
from tests.real_chains import schwab, volkit

FROM_TO = ("--from", "2026-07-16", "--to", "2026-08-19")


def flow(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return forked.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def parts(servers, database) -> dict[str, str]:
    return {
        "FLOW_DATABASE_URL": database,
        "FLOW_REDIS_URL": servers.redis_url,
        "FLOW_LOG_LEVEL": "error",
    }


def test_licensed_chains_become_rows_once(parts, database, tmp_path):
    """A row for each chain within its session, a reason for the one after it; again changes nothing."""
    after = volkit().compact() | {"asof": "2019-06-26T16:14:59"}
    for name, chain in (
        ("SPX_2019-06-26T154500", volkit().compact()),
        ("SPX_2019-06-26T161459", after),
        ("SPX_2024-10-15T111556", schwab().compact()),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(chain))
    for day, rows, refused in (("2019-06-26", 1, 1), ("2024-10-15", 1, 0)):
        span = ("--from", day, "--to", day, "--symbols", "SPX")
        command = ("sampler", "backfill", *span, "--source", f"recorded:{tmp_path}")
        done, again = flow(*command, **parts), flow(*command, **parts)
        assert (done.returncode, again.returncode) == (0, 0), done.stderr
        end = f"{rows} rows written, 0 there already, {refused} frames refused\n"
        assert done.stdout.endswith(end), done.stdout
        assert f"0 rows written, {rows} there already" in again.stdout
        assert "nothing changed" in again.stdout
    with psycopg.connect(database) as connection:
        stored = connection.execute(
            "select slot, contracts, total_oi from live.rows order by slot"
        ).fetchall()
    # Counted in the recordings by hand: 161 strikes of two sides; ten calls and ten puts.
    assert [(f"{slot.astimezone(UTC):%F %T}", n) for slot, n, _ in stored] == [
        ("2019-06-26 19:45:00", 322),
        ("2024-10-15 15:16:00", 20),
    ]
    for (_, _, total), chain in zip(stored, (volkit(), schwab()), strict=True):
        assert total == sum(contract.open_interest for contract in chain.today)


def test_recorded_chains_become_rows_once(shared, parts, database):
    """A row for each intraday snapshot, a reason for each other file; again changes nothing."""
    command = ("sampler", "backfill", *FROM_TO, "--source", f"recorded:{shared / 'chains'}")
    done = flow(*command, **parts)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("24 rows written, 0 there already, 7 frames refused\n")
    assert done.stdout.count("at or after the close of 16:00") == 7
    with psycopg.connect(database) as connection:
        count = "select symbol, count(*) from live.rows group by 1 order by 1"
        assert connection.execute(count).fetchall() == [("QQQ", 6), ("SPX", 8), ("SPY", 10)]
        before = connection.execute("select * from live.rows order by revision").fetchall()
        connection.commit()
        again = flow(*command, **parts)
        assert again.returncode == 0
        assert again.stdout.endswith(
            "0 rows written, 24 there already, 7 frames refused; nothing changed\n"
        )
        assert connection.execute("select * from live.rows order by revision").fetchall() == before

    check = flow("storage", "check", "--json", *FROM_TO, **parts)
    assert {line["state"] for line in json.loads(check.stdout)} == {"partial"}
    assert check.returncode == 0


def test_a_feed_without_history_says_so(parts):
    """Nothing to fill from cboe: a nightly job exits 0, a person who asked for it gets 2."""
    command = ("sampler", "backfill", *FROM_TO, "--source", "cboe:")
    nightly, person = flow(*command, "--missing", **parts), flow(*command, **parts)
    assert (nightly.returncode, person.returncode) == (0, 2)
    assert "keeps no history" in nightly.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "2026-08-19", "--to", "2026-08-18", "--source", "synthetic:"), "is before"),
        (("--from", "yesterday", "--to", "2026-08-18", "--source", "synthetic:"), "--from"),
        ((*FROM_TO, "--source", "recorded:/nowhere"), "no such file or folder"),
        (
            (*FROM_TO, "--source", "tape:x"),
            "the known ones are cboe:, recorded:, parquet:, synthetic:",
        ),
        ((*FROM_TO, "--source", "auto"), "make run only"),
        (FROM_TO, "no source is named"),
        ((*FROM_TO, "--source", "synthetic:", "--symbols", "S P X"), "is not a symbol"),
        ((*FROM_TO, "--source", "synthetic:", "--dataset", "live"), "belong to synthetic alone"),
    ],
)
def test_wrong_usage_is_told_in_a_line(arguments, message, parts):
    """Exit 2 and one sentence, no traceback."""
    done = flow("sampler", "backfill", *arguments, **parts)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_once_needs_no_database(tmp_path):
    """A dry run of a recorded chain prints the whole row at the chain's own time."""
    file = tmp_path / "chain.json"
    file.write_text(json.dumps(volkit().compact()))
    done = flow(
        "sampler",
        "once",
        "--symbols",
        "SPX",
        "--source",
        f"recorded:{file}",
        "--dry-run",
        "--json",
        FLOW_DATABASE_URL="postgresql://127.0.0.1:1/none",
    )
    assert (done.returncode, done.stderr) == (0, "")
    row = json.loads(done.stdout)
    assert (row["slot"], row["quoted_at"]) == ("2019-06-26T19:45:00Z", "2019-06-26T19:45:00Z")
    assert row["contracts"] == 322


def test_once_says_why_a_chain_is_refused(tmp_path):
    """After the close: the reason on both channels, exit 1."""
    file = tmp_path / "chain.json"
    file.write_text(json.dumps(volkit().compact() | {"asof": "2019-06-26T16:14:59"}))
    done = flow(
        "sampler", "once", "--symbols", "SPX", "--source", f"recorded:{file}", "--dry-run", "--json"
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["reason"] == "after_close"
    assert "at or after the close of 16:00" in done.stderr


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"<html>",
        b"\x1f\x8b\x00",
        b'{"sym":"SPX","o":3}',
        b'{"sym":"SPX","spot":1,"asof":"x","fetched":"y","o":[]}',
    ],
)
def test_a_file_that_is_no_chain(content, tmp_path):
    """Whatever is in the file: one line that names it, exit 1 or 2, no traceback."""
    file = tmp_path / "chain.json"
    file.write_bytes(content)
    done = flow("sampler", "once", "--symbols", "SPX", "--source", f"recorded:{file}", "--dry-run")
    assert done.returncode == 1
    assert "chain.json" in done.stderr
    assert "Traceback" not in done.stderr
