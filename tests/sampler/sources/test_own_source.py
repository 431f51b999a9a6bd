"""The example of docs/sources.md: sixty-odd lines make a source that samples, refuses and recovers."""

from __future__ import annotations

import importlib.util
import json
import random
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import orjson
import pytest

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused
from sampler.live.tick import DryRunStore, Tick
from sampler.sources import SOURCES, open_source
from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import session_on
from storage.record.row import Flag, Reason
from storage.redis.channel import NoChannel
from tests.vendors import server as faults
from tests.vendors.server import Answer, Request, VendorServer

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "docs/examples/own_source.py"
MOMENT = datetime(2026, 8, 19, 14, 30, tzinfo=UTC)


def acme_json(frame: Frame) -> dict:
    """A frame as the made-up vendor writes it."""
    days = frame.expiry.tolist()
    return {
        "at": frame.quoted_at.timestamp(),
        "options": [
            {
                "root": str(frame.root[i]),
                "day": days[i].isoformat(),
                "cp": "C" if frame.right[i] > 0 else "P",
                "k": frame.strike[i],
                "b": frame.bid[i],
                "a": frame.ask[i],
                "oi": frame.open_interest[i],
                "v": frame.volume[i],
            }
            for i in range(len(days))
        ],
    }


class AcmeVendor(VendorServer):
    """The made-up vendor."""

    base_path = "/v1"

    def respond(self, request: Request) -> Answer:
        frame = self.newest(request.path.removeprefix("/"))
        if frame is None:
            return Answer(404)
        return Answer(200, {}, orjson.dumps(acme_json(frame), option=orjson.OPT_SERIALIZE_NUMPY))


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example, with its line in ``SOURCES``."""
    spec = importlib.util.spec_from_file_location("own_source", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(SOURCES, "acme", module.Acme.open)
    return module


@pytest.fixture
async def server() -> AsyncIterator[AcmeVendor]:
    async with AcmeVendor() as server:
        yield server


def test_the_page_shows_the_file() -> None:
    """What docs/sources.md prints is what this test runs, and it is short."""
    text = FILE.read_text()
    page = (ROOT / "docs/sources.md").read_text()
    assert text in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len([line for line in text.splitlines() if line.strip()]) <= 60


async def test_the_example_samples_a_session(acme: ModuleType, server: AcmeVendor) -> None:
    """Rows from parity, as the format has no price; faults are gaps with a sentence."""
    source = open_source(f"acme:{server.url}")
    tick = Tick(source, DryRunStore(), NoChannel(), oi_confidence=0.43, budget=5, quiet=True)
    samples = {}
    for number in range(6):
        slot = MOMENT + number * timedelta(seconds=30)
        server.put(frame := await Synthetic(seed=7).live("SPX", slot))
        server.heal()
        if number in (2, 4):
            server.inject({2: faults.html(), 4: faults.status(404)}[number])
        samples[number] = (frame, await tick.sample("SPX", now=slot, target=slot))
    await source.close()
    reasons = {number: outcome.reason for number, (_, outcome) in samples.items()}
    assert reasons == {
        0: None,
        1: None,
        2: Reason.BAD_ANSWER,
        3: None,
        4: Reason.SOURCE_DOWN,
        5: None,
    }
    assert "acme answered what is no chain" in samples[2][1].detail
    assert "acme has no such symbol" in samples[4][1].detail
    frame, outcome = samples[5]
    row = outcome.record.row
    chain = select_chain(frame, session_on(MOMENT.date()))
    assert (row.source, row.slot) == ("acme", MOMENT + timedelta(seconds=150))
    assert Flag.SPOT_FROM_PARITY in row.flags
    assert row.spot == pytest.approx(frame.spot, rel=1e-3)
    assert row.total_oi == chain.open_interest.sum()
    assert row.total_volume == chain.volume.sum()


def test_nonsense_is_refused(acme: ModuleType) -> None:
    """Two thousand answers with an error in them: a frame or a refusal, never another exception."""
    dice = random.Random(5)
    good = {
        "at": MOMENT.timestamp(),
        "options": [
            {
                "root": "SPXW",
                "day": "2026-08-19",
                "cp": "C",
                "k": 7700,
                "b": 1,
                "a": 2,
                "oi": 5,
                "v": 3,
            }
        ],
    }
    text = json.dumps(good).encode()
    refused = 0
    for _ in range(2000):
        body = bytearray(text)
        for _ in range(dice.randrange(1, 4)):
            body[dice.randrange(len(body))] = dice.choice(b'0129-"{}[]:,.eNaul \xff')
        try:
            acme.parse_acme_chain(bytes(body), "SPX", MOMENT)
        except ChainRefused:
            refused += 1
    assert 500 < refused < 2000
