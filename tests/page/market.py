"""Sessions made by hand for the page: every figure moves, so that a mix-up shows."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from storage.market.calendar import session_on
from storage.record.row import PROFILE, Gap, Reason, SlotRecord
from tests.api.rows import record

#: A full session on the Tuesday, none on Thanksgiving's Thursday, half a one on the Friday.
TUESDAY, THURSDAY, FRIDAY = date(2026, 11, 24), date(2026, 11, 26), date(2026, 11, 27)
STRIKES = np.arange(5900.0, 6101.0, 5.0)


def sample(slot: datetime, k: int, *, symbol: str = "SPX", base: float = 6000.0) -> SlotRecord:
    """The record of a session's k-th slot."""
    spot = round(base + 18 * math.sin(k / 90) + 3 * math.sin(k / 7) + k / 60, 2)
    flip = round(base + 4 + 6 * math.sin(k / 200), 2)
    wave = math.sin(k / 130)
    calls, puts = round(9e8 * math.sin(k / 150) + k * 1e5, 2), round(-6e8 * wave - k * 2e5, 2)
    columns: dict[str, Any] = {
        "symbol": symbol,
        "source": "test",
        "quoted_at": slot,
        "spot": spot,
        "forward": spot,
        "gamma_flip": flip,
        "net_gex": 4e8 * (spot - flip),
        "net_dex": 2e10 * wave + 1e9,
        "regime": "positive_gamma" if spot > flip else "negative_gamma",
        "regime_confidence": round(0.75 + 0.24 * wave, 4),
        "flip_out_of_reach": False,
        "call_wall": base + 25 if k < 400 else base + 30,
        "put_wall": base - 25 if k < 500 else base - 20,
        "magnet": base if k < 300 else base + 10,
        "pin_score": 20 + k // 12,
        "pin_probability_pct": 8 + k / 100,
        "atm_iv": 0.12 + 0.02 * math.sin(k / 100),
        "remaining_1sd": 30 * math.sqrt(max(780 - k, 1) / 780),
        "charm_dollars_per_hour": 2e9 * math.cos(k / 120),
        "hedge_flow_call_cumulative": calls,
        "hedge_flow_put_cumulative": puts,
        "hedge_flow_cumulative_all": round(calls + puts, 2),
        "classified_share": 0.9375,
    }
    measured = record(slot, **columns)
    near = np.exp(-(((STRIKES - spot) / 25) ** 2))
    measured.profile = {name: np.zeros(len(STRIKES)) for name in ("strike", *PROFILE)} | {
        "strike": STRIKES,
        "call_gex": 6e8 * near * (1 + np.sin(STRIKES / 11)),
        "put_gex": -6e8 * near * (1 + np.cos(STRIKES / 17 + k / 200)),
        "call_oi": np.round(2000 * near),
        "put_oi": np.round(1500 * near),
        "call_flow": 1e6 * k * near,
    }
    return measured


def day(
    when: date, *, until: int | None = None, missing: Collection[int] = (), **changes: Any
) -> list[SlotRecord]:
    """A session's records up to a slot, but for those that are missing."""
    session = session_on(when)
    assert session is not None
    slots = session.slots[:until]
    return [sample(slot, k, **changes) for k, slot in enumerate(slots) if k not in missing]


def gaps(when: date, missing: Collection[int], reason: Reason, symbol: str = "SPX") -> list[Gap]:
    """What says that those slots are missing."""
    session = session_on(when)
    assert session is not None
    return [
        Gap(symbol=symbol, expiration=when, slot=session.slots[k], reason=reason) for k in missing
    ]


def slot_time(when: date, k: int) -> datetime:
    """The k-th slot of a session."""
    session = session_on(when)
    assert session is not None
    return session.open + timedelta(seconds=30 * k)
