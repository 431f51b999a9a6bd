"""Which source ``make run`` takes when nobody names one, and what it says about that."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from sampler.errors import ChainRefused
from storage.config.settings import Settings
from storage.errors import UsageError
from storage.record.row import Reason

ROOT = Path(__file__).resolve().parents[2]
#: 10:30, 16:05 and 20:00 New York of a Wednesday.
OPEN, JUST_CLOSED, NIGHT = (
    datetime(2026, 8, 19, 14, 30, tzinfo=UTC),
    datetime(2026, 8, 19, 20, 5, tzinfo=UTC),
    datetime(2026, 8, 20, 0, 0, tzinfo=UTC),
)
TRADIER = {"FLOW_TRADIER_TOKEN": "token"}
MASSIVE = {"FLOW_MASSIVE_KEY": "key"}
SCHWAB = {"FLOW_SCHWAB_TOKEN_FILE": "x", "FLOW_SCHWAB_APP_KEY": "k", "FLOW_SCHWAB_APP_SECRET": "s"}


class Feed:
    """Stands for a vendor: answers, or refuses."""

    def __init__(self, delay_seconds: int, refusal: str) -> None:
        self.delay_seconds = delay_seconds
        self.refusal = refusal
        self.closed = False

    async def live(self, symbol: str, now: datetime) -> None:
        if self.refusal:
            raise ChainRefused(Reason.SOURCE_DOWN, self.refusal)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # As for a script, whose own folder comes first.
    monkeypatch.syspath_prepend(ROOT / "deploy")
    spec = importlib.util.spec_from_file_location("deploy_run", ROOT / "deploy/run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def choose(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Choose with feeds that refuse in the given words; each that was opened is closed."""

    async def chosen(environment: dict, now: datetime, **refusals: str) -> tuple[str, str]:
        opened = []

        def open_feed(url: str, keys: object) -> Feed:
            scheme = url.removesuffix(":")
            if refusals.get(scheme) == "usage":
                raise UsageError(f"{scheme}: its token file is gone")
            feed = Feed(900 if scheme == "cboe" else 0, refusals.get(scheme, ""))
            opened.append(feed)
            return feed

        monkeypatch.setattr("sampler.sources.open_source", open_feed)
        source = await run._choose_source(Settings.read(environment), now)
        assert all(feed.closed for feed in opened)
        return source

    return chosen


@pytest.mark.parametrize(
    ("environment", "now", "refusals", "source", "words"),
    [
        (
            {},
            OPEN,
            {},
            "cboe:",
            "it needs no key, and the market is open, its quotes are 15 minutes",
        ),
        ({}, JUST_CLOSED, {}, "cboe:", "it needs no key"),
        ({}, NIGHT, {}, "synthetic:?seed=7", "the market is closed"),
        ({}, OPEN, {"cboe": "SPX: no"}, "synthetic:?seed=7", "cboe: cannot be used here: SPX: no"),
        (TRADIER, OPEN, {}, "tradier:", "it has its keys set, and the market is open"),
        (TRADIER, JUST_CLOSED, {}, "cboe:", "it needs no key"),
        (TRADIER, NIGHT, {}, "synthetic:?seed=7", "the market is closed"),
        (
            TRADIER,
            OPEN,
            {"tradier": "SPX: gone"},
            "cboe:",
            "tradier: cannot be used here: SPX: gone",
        ),
        (TRADIER | MASSIVE, OPEN, {}, "tradier:", "keys set"),
        (TRADIER | MASSIVE, OPEN, {"tradier": "x"}, "massive:", "tradier: cannot be used here: x"),
        (SCHWAB, OPEN, {}, "schwab:", "keys set"),
        (SCHWAB, OPEN, {"schwab": "usage"}, "cboe:", "schwab: its token file is gone"),
        ({"FLOW_SCHWAB_APP_KEY": "k"}, OPEN, {}, "cboe:", "needs no key"),
    ],
)
async def test_choice(
    choose: Callable, environment: dict, now: datetime, refusals: dict, source: str, words: str
) -> None:
    """A vendor whose keys are set, the free feed, the simulated market; and why not the others."""
    chosen, why = await choose(environment, now, **refusals)
    assert chosen == source
    assert words in why
