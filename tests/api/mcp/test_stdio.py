"""``flow-api mcp`` as a process, with the official client at its other end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from api.access.keys import key_digest, make_key
from storage.postgres.store import Store
from tests import forked
from tests.api.mcp.clients import call, refusal
from tests.api.rows import every, utc
from tests.api.serving import served

ROOT = Path(__file__).resolve().parents[3]
#: Time all but stands still at 14:30 UTC on the Friday.
CLOCK = "simulated:2026-06-05T14:30:00+00:00@0.001"


def command(*arguments: str, **settings: str) -> Any:
    """A client of the command with some settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    return Client(
        stdio_client(
            StdioServerParameters(
                command=sys.executable,
                args=["-m", "api", "mcp", *arguments],
                env=environment | settings,
                cwd=str(ROOT),
            )
        )
    )


async def test_on_a_database(store: Store, database: str) -> None:
    """Without an address the database is read directly."""
    await store.write(every("14:20", "14:29:30"))
    settings = {"FLOW_DATABASE_URL": database, "FLOW_CLOCK": CLOCK, "FLOW_DATASET": "live"}
    async with command(**settings) as client:
        levels = await call(client, "get_flow_levels", symbol="SPY")
        assert levels["status"]["session"]["rows"] == 20
        assert levels["status"]["simulated"] is False
        assert "No data for NOPE" in await refusal(client, "get_flow_levels", symbol="NOPE")


async def test_on_a_server(store: Store, database: str, tmp_path: Path) -> None:
    """With an address a server is asked, with the key of a file."""
    await store.write(every("14:20", "14:29:30"))
    key_id, key = make_key()
    await store.keys.insert(
        key_id, key_digest(key), name="desk", email="", plan="Growth", expires_at=None
    )
    file = tmp_path / "key"
    file.write_text(f"{key}\n")
    with served(database, "live", utc("14:30")) as (url, _):
        async with command("--url", url, "--key-file", str(file)) as client:
            levels = await call(client, "get_flow_levels", symbol="SPY")
    assert levels["status"]["session"]["rows"] == 20


async def test_a_server_that_is_away() -> None:
    """The assistant hears which address does not answer."""
    async with command("--url", "http://127.0.0.1:1") as client:
        sentence = await refusal(client, "get_account")
    assert "http://127.0.0.1:1 does not answer" in sentence


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--url", "127.0.0.1:8000"], "must begin with http:// or https://"),
        (["--url", "http://"], "must begin with http:// or https:// and name a host"),
        (["--key-file", "/nowhere"], "--url, which is not given"),
        (["--url", "http://127.0.0.1:1", "--key-file", "/nowhere"], "No such file"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str) -> None:
    """A sentence on standard error, nothing on standard output, and status 2."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")}
    ended = forked.run(
        [sys.executable, "-m", "api", "mcp", *arguments],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (2, "")
    assert says in ended.stderr
