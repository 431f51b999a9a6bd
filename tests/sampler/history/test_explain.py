"""Explain and recompute over stored records."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
from chains import TEN_FOURTEEN

from sampler.chain import select_chain
from sampler.history.explain import explain_record
from sampler.live.outcome import Outcome
from sampler.live.tick import Tick
from sampler.measure.remeasure import changed_fields, remeasure
from sampler.measure.snapshot import measure_slot
from sampler.sources import open_source
from storage.market.calendar import market_day, session_on
from storage.postgres.store import Store
from storage.redis.channel import NoChannel
from tests import forked, real_chains

DAY = TEN_FOURTEEN.date()
SESSION = session_on(DAY)
STEP = timedelta(seconds=30)


async def fill(store: Store, slots: int) -> None:
    """The first slots of a simulated session."""
    source = open_source("synthetic:?seed=11")
    tick = Tick(source, store, NoChannel(), oi_confidence=0.43, budget=5)
    async for frame in source.history("SPX", SESSION):
        if frame.quoted_at >= SESSION.open + slots * STEP:
            break
        if frame.quoted_at > SESSION.open:
            await tick.store_frame(frame, Outcome(symbol="SPX"))


async def test_a_stored_row_recomputes_to_the_same_bytes(store):
    """Read back from the database, each record's chain gives its row and its evidence again."""
    await fill(store, 12)
    previous = None
    for step in range(1, 12):
        record = await store.before("SPX", DAY, SESSION.open + (step + 1) * STEP)
        again = remeasure(record, previous, SESSION)
        assert changed_fields(record, again) == {}
        assert again.evidence == record.evidence
        previous = record


async def test_a_changed_row_is_told(store):
    """Another κ is another row: the fields that differ are named, with both values."""
    await fill(store, 4)
    record = await store.before("SPX", DAY, SESSION.close)
    previous = await store.before("SPX", DAY, record.row.slot)
    object.__setattr__(record.row, "oi_confidence", 0.9)
    changed = changed_fields(record, remeasure(record, previous, SESSION))
    assert {"net_gex", "net_dex", "dealer_delta"} <= set(changed)
    assert "spot" not in changed


def explain(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return forked.run(
        [sys.executable, "-m", "sampler", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_explain_as_a_person_and_as_a_program_reads_it(store, servers, database):
    """Every step is there; the data has the same figures as the row; both exit 0."""
    await fill(store, 6)
    record = await store.before("SPX", DAY, SESSION.close)
    parts = {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": servers.redis_url}
    options = ("--symbol", "spx", "--at", f"{DAY}T09:32:30", "--dataset", "live")
    text = explain("explain", *options, **parts)
    assert text.returncode == 0, text.stderr
    for title in ("INPUTS", "FORWARD", "SMILE", "TOP STRIKES", "LEVELS", "PIN", "FLOW"):
        assert title in text.stdout
    assert text.stdout.endswith("every field equal\n")
    data = json.loads(explain("explain", *options, "--json", **parts).stdout)
    assert data["recomputed"] == "equal"
    assert data["exposures"]["net_gex"] == record.row.net_gex
    # The weights of the definitions' table; the score is what they make of the components.
    weights = {"oi": 0.3, "proximity": 0.25, "time": 0.25, "gamma": 0.2}
    shown = {name: data["pin"][name] for name in weights}
    assert {name: weight for name, (weight, _) in shown.items()} == weights
    score = sum(weight * component for weight, component in shown.values())
    assert data["pin"]["score"] == pytest.approx(score, abs=0.51)
    lines = [line for line in text.stdout.splitlines() if "(weight " in line]
    assert [(line.split()[0], float(line.split()[-1][:-1])) for line in lines] == [*weights.items()]
    assert data["flow"]["all"] == record.row.hedge_flow_cumulative_all
    shown = data["flow"]["largest_of_this_interval"]
    assert shown
    assert all(-1 <= contract["sign"] <= 1 for contract in shown)


def test_weights_of_the_forward():
    """With wide quotes each estimate weighs 1/w², w both quotes' widths; else none has a weight."""
    frame = real_chains.volkit().frame
    session = session_on(market_day(frame.quoted_at))
    clean = measure_slot(select_chain(frame, session), None, oi_confidence=0.43)
    estimates = explain_record(clean, None, session)["forward"]["estimates"]
    assert len(estimates) == 12
    assert not any("weight" in estimate for estimate in estimates)
    today = frame.expiry == np.datetime64(session.day)
    widened = today & (frame.strike == estimates[6]["strike"])
    ask = np.where(widened, frame.ask + 4.0, frame.ask)
    bid = np.where(widened, np.maximum(frame.bid - 4.0, 0.05), frame.bid)
    wide = dataclasses.replace(frame, bid=bid, ask=ask)
    record = measure_slot(select_chain(wide, session), None, oi_confidence=0.43)
    assert "wide_quotes" in record.row.flags
    estimates = explain_record(record, None, session)["forward"]["estimates"]
    assert len(estimates) == 12
    for estimate in estimates:
        both = today & (frame.strike == estimate["strike"])
        width = (ask - bid)[both].sum()
        assert both.sum() == 2
        assert estimate["weight"] == pytest.approx(1 / width**2, abs=1e-6)


@pytest.mark.parametrize(
    ("moment", "code", "message"),
    [
        ("2026-08-19T11:00", 1, "none before it either"),
        ("2026-08-19T16:00", 2, "outside the session"),
        ("2026-08-22T11:00", 2, "no session"),
        ("eleven", 2, "--at"),
    ],
)
def test_explain_says_what_is_not_there(moment, code, message, servers, database):
    """No row, no session, no time: one line, the right exit status."""
    parts = {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": servers.redis_url}
    done = explain("explain", "--symbol", "SPX", "--at", moment, **parts)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
