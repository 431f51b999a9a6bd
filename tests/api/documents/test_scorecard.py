"""The scorecard over HTTP and in a snapshot: nothing is shown as right before enough is scored."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.documents.sample import Sample
from api.documents.scorecard import probabilities_block
from storage.market.calendar import session_on, sessions_between
from storage.postgres.store import Store
from storage.scorecard.forecast import FORECAST_COLUMNS, freeze, freeze_moments
from storage.scorecard.summary import FROZEN, scorecard
from tests.api.conftest import Caller
from tests.api.rows import FRIDAY, record, utc

PATH = "/v1/scorecard/SPY"
SESSIONS = sessions_between(FRIDAY - timedelta(days=60), FRIDAY - timedelta(days=1))


async def write_record(store: Store, count: int) -> list[str]:
    """A frozen and scored forecast at 10:00 of each of some sessions; the digests."""
    digests = []
    row = record(utc("14:00"), pin_probability_pct=40.0).row
    values = {name: getattr(row, name) for name in FORECAST_COLUMNS}
    values["detail"] = row.detail.as_json()
    for number, session in enumerate(SESSIONS[-count:]):
        moment = freeze_moments(session)[0]
        own = values | {"expiration": session.day, "slot": moment}
        forecast = freeze(own, moment, frozen_at=moment, simulated=True, flow_before=None)
        await store.forecasts.freeze(forecast, moment)
        await store.forecasts.settle(
            "SPY", session.day, 600.0, origin="entered", quoted_at=session.close
        )
        settled = await store.forecasts.settlements("SPY", session.day, session.day)
        await store.forecasts.score(
            [
                {
                    "symbol": "SPY",
                    "expiration": session.day,
                    "source": forecast.source,
                    "kind": FROZEN,
                    "freeze_time": moment,
                    "definitions": forecast.definitions,
                    "content": forecast.content,
                    "digest": forecast.digest,
                    "settlement": settled[session.day]["sequence"],
                    "method": 1,
                    # Two of five pins, and seven of ten ranges.
                    "outcome": {
                        "pin_hit": number % 5 < 2,
                        "within_1sigma": number % 10 < 7,
                        "within_2sigma": True,
                        "walls": [],
                        "realised_vol": None,
                        "autocorrelation": None,
                        "return_bp": {"5": None, "15": None, "30": None},
                    },
                }
            ]
        )
        digests.append(forecast.digest)
    return digests


async def test_nothing_is_scored(caller: Caller, store: Store) -> None:
    """An unknown symbol is 404; one with rows alone has no kind."""
    assert (await caller.get(PATH)).status_code == 404
    await store.write([record(utc("14:00"))])
    body = (await caller.get(PATH)).json()
    assert body["kinds"] == {"frozen": None, "backfilled": None, "recorded": None}
    assert body["forecasts"] == []
    assert body["freeze_times"] == ["10:00", "12:00", "14:00", "15:00", "15:30"]


async def test_a_record(caller: Caller, store: Store) -> None:
    """30 sessions: rates by hand; the text of the newest day has its digest."""
    digests = await write_record(store, 30)
    body = (await caller.get(PATH)).json()
    card = body["kinds"]["frozen"]
    assert (card["n"], card["sessions"], card["simulated"]) == (30, 30, True)
    assert card["pin"]["happened_pct"] == 40.0
    # On paper: 0.4 · 0.6² + 0.6 · 0.4².
    assert card["pin"]["brier"] == pytest.approx(0.24)
    assert card["pin"]["verdict"] == "agrees"
    assert card["range_1sigma"]["within_pct"] == 70.0
    # Four set times of each day have no line.
    assert card["missed"] == {"no line": 120}
    assert (body["kinds"]["backfilled"], body["enough_sessions"]) == (None, 30)
    (line,) = body["forecasts"]
    assert hashlib.sha256(line["content"].encode()).hexdigest() == line["sha256"] == digests[-1]
    assert line["expiration"] == str(SESSIONS[-1].day)
    assert line["outcome"]["within_2sigma"] is True


async def test_days_and_kinds(caller: Caller, store: Store) -> None:
    """A period, and a kind; what is no day, no period and no kind is refused."""
    await write_record(store, 10)
    period = {"from": str(SESSIONS[-3].day), "to": str(SESSIONS[-2].day)}
    body = (await caller.get(PATH, params=period)).json()
    assert body["kinds"]["frozen"]["sessions"] == 2
    assert body["forecasts"][0]["expiration"] == str(SESSIONS[-2].day)
    other = (await caller.get(PATH, params={"kind": "backfilled"})).json()
    assert other["kinds"] == {"frozen": None, "backfilled": None, "recorded": None}
    for wrong, error in (
        ({"kind": "best"}, "invalid_kind"),
        ({"from": "yesterday"}, "invalid_date"),
        ({"from": "2026-06-02", "to": "2026-06-01"}, "invalid_to"),
    ):
        answer = await caller.get(PATH, params=wrong)
        assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_the_snapshot_shows_no_probability_without_a_score(
    caller: Caller, store: Store
) -> None:
    """29 sessions: values and bounds are null, the reason says how many there are."""
    await store.write([record(utc("14:29:30"), pin_probability_pct=40.0)])
    await write_record(store, 29)
    body = (await caller.get("/v1/flow/zero-dte/snapshot/SPY")).json()
    probabilities = body["probabilities"]
    for name in ("pin", "range_1sigma", "range_2sigma"):
        entry = probabilities[name]
        assert entry["value"] is None
        assert entry["reason"] == ("null until 30 frozen sessions of SPY are scored: there are 29")
        assert entry["score"]["sessions"] == 29
    assert probabilities["range_1sigma"]["low"] is probabilities["range_1sigma"]["high"] is None


def sample(**changes: Any) -> Sample:
    session = session_on(FRIDAY)
    assert session is not None
    stored = record(utc("14:30"), **{"spot": 600.0, "remaining_1sd": 2.5} | changes)
    return Sample(record=stored, session=session, moment=utc("14:30:05"))


def card(count: int) -> dict[str, Any]:
    line = {
        "kind": FROZEN,
        "source": "synthetic",
        "definitions": "3",
        "origin": "entered",
        "content": '{"pin_probability_pct":40.0,"pin_lower":1.0,"pin_upper":2.0,'
        '"regime":"unknown","atm_iv":null,'
        '"hedge_flow_30m":null,"simulated":false}',
        "outcome": {
            "pin_hit": True,
            "within_1sigma": True,
            "within_2sigma": True,
            "walls": [],
            "realised_vol": None,
            "autocorrelation": None,
            "return_bp": {"5": None, "15": None, "30": None},
        },
    }
    lines = [
        line | {"expiration": s.day, "freeze_time": datetime(2026, 6, 1, 14, tzinfo=UTC)}
        for s in SESSIONS[:count]
    ]
    made_up = scorecard(lines, [], now=SESSIONS[-1].close, kinds=(FROZEN,))[FROZEN]
    assert made_up is not None
    return made_up


def test_probabilities_with_a_score() -> None:
    """From 30 sessions on: the market's own probability, the normal law's, and how they came out."""
    block = probabilities_block(sample(pin_probability_pct=40.0), card(30))
    assert (block["pin"]["value"], block["pin"]["reason"]) == (0.4, None)
    # Every pin came true: 40 % is wrong, and the verdict beside it says so.
    assert block["pin"]["score"]["verdict"] == "disagrees"
    assert block["pin"]["score"]["happened_pct"] == 100.0
    single, double = block["range_1sigma"], block["range_2sigma"]
    assert (single["value"], single["low"], single["high"]) == (
        pytest.approx(0.6826895),
        597.5,
        602.5,
    )
    assert (double["value"], double["low"], double["high"]) == (
        pytest.approx(0.9544997),
        595.0,
        605.0,
    )
    assert single["score"]["within_pct"] == 100.0
    json.dumps(block)


def test_what_the_sample_does_not_say() -> None:
    """In the last minute there is no width, and without a strike no pin, whatever the score."""
    block = probabilities_block(sample(pin_probability_pct=None, remaining_1sd=None), card(30))
    for entry in block.values():
        assert entry["value"] is None
        assert "the sample does not say" in entry["reason"]
    nothing = probabilities_block(sample(), None)
    assert nothing["pin"]["score"] is None
    assert nothing["pin"]["reason"].endswith("there are 0")
