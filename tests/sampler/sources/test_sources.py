"""A source is a module, an entry of ``SOURCES``, a server of its format, and a section of the docs."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sampler.sources import SOURCES
from storage.config.vendor_keys import VENDOR_SETTINGS
from storage.market.clock import Clock
from tests import forked
from tests.vendors.feeds import FEEDS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/sources.md").read_text()
SECTIONS = dict(re.findall(r"^## `([a-z]+):`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
#: Sources that read files or nothing at all, with their modules.
FILES = {
    "recorded": "recorded",
    "parquet": "exported",
    "synthetic": "synthetic",
    "datashop": "datashop",
    "databento": "databento",
}
#: Modules that are no source: what several sources share.
SHARED = {
    "__init__", "assembler", "by_symbol", "http", "day_files", "json_fields", "later_expiries", "live_only", "polling",
    "print_stream", "protocol", "sides", "slot_table", "trades", "url", "websocket",
}  # fmt: skip
#: A second module of a source that is no folder.
PARTS = {"cboe_json"}


@pytest.mark.parametrize("scheme", SOURCES)
def test_a_source_is_whole(scheme: str) -> None:
    """Its module, its line of the table and its section exist; a live one has its server."""
    module = FILES.get(scheme, scheme)
    folder = ROOT / "sampler/sources"
    assert (folder / f"{module}.py").is_file() or (folder / module / "source.py").is_file()
    assert re.search(rf"^\| \[`{scheme}:`\]\(#{scheme}\) \|", PAGE, re.MULTILINE)
    assert f'<a id="{scheme}"></a>' in SECTIONS[scheme]
    assert "flow-sampler" in SECTIONS[scheme]
    if scheme not in FILES:
        assert (ROOT / f"tests/vendors/{scheme}.py").is_file()
        assert FEEDS[scheme].scheme == scheme
        assert "erified" in SECTIONS[scheme]


def test_nothing_else_is_there() -> None:
    """Each module of the folder, each section, each server and each key belongs to a source."""
    modules = {
        path.stem
        for path in (ROOT / "sampler/sources").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert modules == {FILES.get(scheme, scheme) for scheme in SOURCES} | SHARED | PARTS
    assert set(SECTIONS) == set(SOURCES)
    assert {feed.scheme for feed in FEEDS.values()} == set(SOURCES) - set(FILES)


@pytest.mark.parametrize("name", VENDOR_SETTINGS)
def test_every_setting_of_a_vendor_is_described(name: str) -> None:
    """The section of the source that reads it names it."""
    scheme = VENDOR_SETTINGS[name].scheme
    if scheme in FEEDS:
        assert f"FLOW_{name.upper()}" in SECTIONS[scheme]


def test_the_list_says_what_the_symbols_take() -> None:
    """With a source named, the requests of the symbols, and what surely expires, stand below the list."""
    url = "tradier:http://127.0.0.1:1/v1"  # a live vendor refuses another clock than the real one
    clock = Clock(datetime(2026, 8, 19, 14, tzinfo=UTC), 1.0, datetime.now(UTC))
    done = forked.run(
        [sys.executable, "-m", "sampler", "sources", "--source", url, "--symbols", "@all"],
        cwd=ROOT, env={"FLOW_TRADIER_TOKEN": "x", "FLOW_CLOCK": str(clock)}, capture_output=True, text=True, check=True,
        timeout=120,
    )  # fmt: skip
    requests, listed = done.stdout.splitlines()[-2:]
    assert requests.startswith("tradier: 16 symbols take up to 17 requests a slot, 34 a minute")
    assert requests in PAGE
    assert listed in PAGE


def test_the_list_says_what_each_offers_and_which_keys_are_set(tmp_path: Path) -> None:
    """Delay, past sessions and settings of each source; where a key stands, never the key."""
    (tmp_path / "key").write_text("canary-1d2c3b4a")
    environment = {"FLOW_MASSIVE_KEY_FILE": str(tmp_path / "key"), "FLOW_TRADIER_TOKEN": "canary-x"}
    done = forked.run(
        [sys.executable, "-m", "sampler", "sources"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    about = dict(
        re.findall(r"^([a-z]+):\n(.*?)(?=^[a-z]+:\n|\Z)", done.stdout, re.MULTILINE | re.DOTALL)
    )
    assert set(about) == set(SOURCES)
    for text in about.values():
        assert re.search(r"^  Offers .*(past|session).*\.$", text, re.MULTILINE), text
    assert "FLOW_MASSIVE_KEY: set, by FLOW_MASSIVE_KEY_FILE" in about["massive"]
    assert "FLOW_TRADIER_TOKEN: set, by FLOW_TRADIER_TOKEN\n" in about["tradier"]
    assert "FLOW_SCHWAB_APP_SECRET: not set" in about["schwab"]
    assert "FLOW_" not in about["cboe"].replace("FLOW_SOURCE", "")
    assert "canary" not in done.stdout + done.stderr
