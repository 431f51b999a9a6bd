"""Rows and slot records for tests: every figure a value of its own, any of them replaceable."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from storage.record.figures import DetailFigures, SettledFigures
from storage.record.result import WriteResult
from storage.record.row import Change, Gap, Reason, Row, SlotRecord

#: A Wednesday with a full session.
DAY = date(2026, 8, 19)
#: Its open, 09:30 New York.
OPEN = datetime(2026, 8, 19, 13, 30, tzinfo=UTC)


def at(step: int) -> datetime:
    """A slot of ``DAY``: 0 is its open, each further one 30 seconds later."""
    return OPEN + timedelta(seconds=30 * step)


def made_up() -> dict[str, Any]:
    """A value of its own for each plain field of a row, so that a new figure needs no line here."""
    kinds = {
        "float": lambda number: number + 0.5,
        "int": int,
        "str": str,
        "bool": lambda number: bool(number % 2),
    }
    plain = {f.name: str(f.type).partition(" | ")[0] for f in dataclasses.fields(Row)}
    return {
        name: kinds[kind](number)
        for number, (name, kind) in enumerate(plain.items())
        if kind in kinds
    }


def row(**changes: Any) -> Row:
    """A row of SPX at the open of ``DAY``; times that are not given follow the slot."""
    slot = changes.get("slot", OPEN)
    columns = {
        "symbol": "SPX",
        "expiration": DAY,
        "slot": slot,
        "quoted_at": slot - timedelta(seconds=9),
        "fetched_at": slot + timedelta(seconds=2, microseconds=250_000),
        "source": "test",
        "delay_seconds": 900,
        "definitions": "1",
        "oi_confidence": 0.43,
        "spot": 7700.5,
        "source_spot": 7700.25,
        "forward": 7701.75,
        "years_to_expiry": 0.00074,
        "net_gex": 1.25e9,
        "call_gex": 3.5e9,
        "put_gex": -2.25e9,
        "gross_gex": 5.75e9,
        "net_dex": 8.5e9,
        "call_dex": 9.75e9,
        "put_dex": -1.125e9,
        "net_vex": 2.5e7,
        "net_chex": -3.75e8,
        "dealer_delta": 4.5e8,
        "charm_dollars_per_hour": -5.5e7,
        "net_gex_volume": 6.25e8,
        "gamma_flip": 7650.5,
        "gamma_flip_status": "available",
        "regime": "positive_gamma",
        "call_wall": 7750.0,
        "put_wall": 7600.0,
        "magnet": 7700.0,
        "magnet_gex": 7.5e8,
        "max_pain": 7690.0,
        "pin_score": 61,
        "pin_oi": 62.5,
        "pin_proximity": 63.5,
        "pin_time": 64.5,
        "pin_gamma": 65.5,
        "pin_probability_pct": 12.5,
        "atm_iv": 0.155,
        "remaining_1sd": 32.5,
        "hedge_flow_call_cumulative": 100_000_000_000.37,
        "hedge_flow_put_cumulative": -30_000_000_000.12,
        "hedge_flow_cumulative_all": 70_000_000_000.25,
        "hedge_flow_se": 1_234_567.89,
        "classified_share": 0.875,
        "flow_since": OPEN,
        "differenced_from": slot - timedelta(seconds=30),
        "contracts": 520,
        "strikes": 260,
        "strikes_with_iv": 250,
        # More than 32 bits hold.
        "total_oi": 3_000_000_003,
        "call_oi": 1_000_000_001,
        "put_oi": 2_000_000_002,
        "total_volume": 6_000_000_006,
        "call_volume": 2_500_000_002,
        "put_volume": 3_500_000_004,
        "dropped": {"am_settled": 7, "duplicate": 2},
        "quotes_unused": {"one_sided": 11},
        "flags": ("after_gap", "clock_skew"),
        "quote_age_seconds": 11.25,
        "settled": {"net_gex": 1.5e9, "gamma_flip": None, "regime": "positive_gamma"},
        "detail": {"crossings": [7650.5, 7810.25], "hedging": {"spot_up_1pct": -2.5e6}},
    }
    values = made_up() | columns | changes
    if isinstance(values["settled"], dict):
        values["settled"] = SettledFigures.from_json(values["settled"])
    if isinstance(values["detail"], dict):
        values["detail"] = DetailFigures.from_json(values["detail"])
    return Row(**values)


#: What a profile of two strikes holds; a NaN where no volatility could be had.
PROFILE: dict[str, list[float]] = {
    "strike": [7695.0, 7700.0],
    "iv": [0.16, float("nan")],
    "own_iv": [41.0, 41.5],
    "call_delta": [42.0, 42.5],
    "gamma": [43.0, 43.5],
    "theta": [44.0, 44.5],
    "call_bid": [45.0, 45.5],
    "call_ask": [46.0, 46.5],
    "put_bid": [47.0, 47.5],
    "put_ask": [48.0, 48.5],
    "call_oi": [17.0, 18.0],
    "put_oi": [19.0, 20.0],
    "call_volume": [21.0, 22.0],
    "put_volume": [23.0, 24.0],
    "call_signed": [25.0, -26.5],
    "put_signed": [-27.0, 28.5],
    "call_flow": [29.01, 1e-17],
    "put_flow": [-0.0, 1e300],
    "gamma_flow": [0.1, -0.3],
    "call_gex": [1.0, 2.5],
    "put_gex": [-3.0, -4.5],
    "call_dex": [9.0, 10.5],
    "put_dex": [-11.0, -12.5],
    "vex": [13.0, 14.5],
    "chex": [15.0, 16.5],
    "settled_call_gex": [5.0, 6.5],
    "settled_put_gex": [-7.0, -8.5],
    "settled_call_dex": [66.0, 66.5],
    "settled_put_dex": [67.0, 67.5],
    "settled_vex": [68.0, 68.5],
    "settled_chex": [69.0, 69.5],
}


def record(
    *,
    profile: dict[str, list[float]] | None = None,
    evidence: bytes = b"chain\x00\xff",
    **changes: Any,
) -> SlotRecord:
    """All that is kept of a slot; ``changes`` are its row's, ``profile`` replaces single arrays."""
    arrays = {k: np.array(v, np.float64) for k, v in (PROFILE | (profile or {})).items()}
    return SlotRecord(row=row(**changes), profile=arrays, evidence=evidence)


def gap(step: int, reason: Reason = Reason.SOURCE_DOWN, detail: str = "", **changes: Any) -> Gap:
    """A slot of SPX on ``DAY`` that has no row."""
    columns = {"symbol": "SPX", "expiration": DAY, "slot": at(step)} | changes
    return Gap(**columns, reason=reason, detail=detail)


class Kept(NamedTuple):
    """A row or a gap that was written, and its revision."""

    row: Any
    revision: int


def _changes(written: WriteResult | Sequence[Change]) -> Sequence[Change]:
    return written.changes if isinstance(written, WriteResult) else written


def rows_of(written: WriteResult | Sequence[Change]) -> list[Kept]:
    """Rows of changes in the order in which they were stored."""
    stored = [Kept(row, revision) for change in _changes(written) for revision, row in change.rows]
    return sorted(stored, key=lambda entry: entry.revision)


def gaps_of(written: WriteResult | Sequence[Change]) -> list[Kept]:
    """The same of gaps."""
    stored = [Kept(gap, revision) for change in _changes(written) for revision, gap in change.gaps]
    return sorted(stored, key=lambda entry: entry.revision)
