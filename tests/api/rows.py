"""Rows by hand: whatever a test does not name is some harmless value of its type."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from storage.record.figures import DetailFigures, SettledFigures
from storage.record.row import PROFILE, Gap, Reason, Row, SlotRecord

#: A full session: 13:30 to 20:00 UTC.
FRIDAY = date(2026, 6, 5)
_BLANK: dict[str, Any] = {
    "float": 0.0,
    "int": 0,
    "str": "",
    "dict[str, int]": {},
    "SettledFigures": SettledFigures.from_json({}),
    "DetailFigures": DetailFigures.from_json({}),
    "tuple[str, ...]": (),
}


def utc(text: str) -> datetime:
    """A moment: ``14:00`` of the Friday, ``14:00:30``, or with a day before it."""
    if " " not in text:
        text = f"{FRIDAY} {text}"
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def record(slot: datetime, **changes: Any) -> SlotRecord:
    """A slot record of SPY whose figures differ from slot to slot: spot counts the minutes."""
    minutes = (slot - slot.replace(hour=13, minute=30, second=0)).total_seconds() / 60
    flow = {
        "hedge_flow_call_cumulative": minutes * 1000.25,
        "hedge_flow_put_cumulative": -minutes * 400.25,
        "hedge_flow_cumulative_all": minutes * 600.0,
    }
    known = {
        "symbol": "SPY",
        "expiration": slot.date(),
        "slot": slot,
        "quoted_at": slot + timedelta(seconds=2),
        "fetched_at": slot + timedelta(seconds=3),
        "source": "cboe",
        "definitions": "1",
        "oi_confidence": 0.43,
        "spot": 600.0 + minutes,
        "net_gex": -7.25e9,
        "regime": "negative_gamma",
        "gamma_flip": 605.5,
        "gamma_flip_status": "available",
        "call_wall": 610.0,
        "put_wall": 595.0,
        "magnet": 600.0,
        "pin_score": 82,
        "pin_probability_pct": 12.5,
        "atm_iv": 0.14735,
        "charm_dollars_per_hour": -1.5e8,
        "classified_share": 0.93,
        "flow_since": slot.replace(hour=13, minute=30, second=0),
    }
    wanted = {f.name: str(f.type) for f in dataclasses.fields(Row)}
    filled = {
        name: None if kind.endswith("None") else _BLANK.get(kind) for name, kind in wanted.items()
    }
    values = filled | known | flow | changes
    profile = {name: np.array([600.0]) for name in ("strike", *PROFILE)}
    return SlotRecord(row=Row(**values), profile=profile, evidence=b"")


def every(first: str, last: str, step: int = 30, **changes: Any) -> list[SlotRecord]:
    """Records from one slot to another, both included."""
    count = int((utc(last) - utc(first)).total_seconds()) // step
    return [record(utc(first) + timedelta(seconds=step * i), **changes) for i in range(count + 1)]


def gap(slot: str, reason: Reason, symbol: str = "SPY", source: str = "") -> Gap:
    """A gap of the slot's own day."""
    day = utc(slot).date()
    return Gap(symbol=symbol, expiration=day, slot=utc(slot), reason=reason, source=source)
