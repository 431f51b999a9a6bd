"""The eight live answers beside the snapshot: each a part of the live book, under its own names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from api.documents.book import Book, read_book
from api.documents.direction import adjustment, shift, touched, verdict
from api.documents.positioning import components
from api.documents.rounding import distance, dollars, whole, wholes
from api.documents.sample import SHORTEST, Seen

_LABELS = {"positive_gamma": "positive", "negative_gamma": "negative"}


def levels(seen: Seen) -> dict[str, Any]:
    """Flip, walls and max pain of the live book."""
    return _shared(seen) | _levels(read_book(seen.record, live=True))


def _levels(live: Book) -> dict[str, Any]:
    return {
        "live_gamma_flip": live.figure("gamma_flip"),
        "gamma_flip_status": live.figure("gamma_flip_status"),
        "live_call_wall": live.figure("call_wall"),
        "live_put_wall": live.figure("put_wall"),
        "live_max_pain": live.figure("max_pain"),
    }


def pin_risk(seen: Seen) -> dict[str, Any]:
    """The pin score and its parts; the time to the close is never said to be below 0.1 hours."""
    live = read_book(seen.record, live=True)
    magnet = live.figure("magnet")
    return _shared(seen) | {
        "live_pin_risk": live.figure("pin_score"),
        "magnet_strike": magnet,
        "distance_to_magnet_pct": distance(magnet, live.row.spot),
        "time_to_close_hours": max(round(seen.seconds_left / 3600, 4), SHORTEST),
        "breakdown": components(live),
    }


def gex(seen: Seen) -> dict[str, Any]:
    """Gamma exposure by strike, every strike; open interest is the effective one.

    Changes from one day's open interest to the next are not known: null.
    """
    live = read_book(seen.record, live=True)
    columns = {
        "strike": live.strike,
        "call_gex": dollars(live.call_gex),
        "put_gex": dollars(live.put_gex),
        "net_gex": dollars(live.net_gex),
        "call_oi": live.call_oi,
        "put_oi": live.put_oi,
        "call_volume": wholes(live.profile["call_volume"]),
        "put_volume": wholes(live.profile["put_volume"]),
    }
    unknown = {"call_oi_change": None, "put_oi_change": None}
    return _shared(seen) | {
        "live_net_gex": live.figure("net_gex"),
        "live_net_gex_label": _LABELS.get(live.figure("regime"), "neutral"),
        "live_gamma_flip": live.figure("gamma_flip"),
        "gamma_flip_status": live.figure("gamma_flip_status"),
        "strikes": [row | unknown for row in _rows(columns)],
    }


def dex(seen: Seen) -> dict[str, Any]:
    """Holders' delta by strike, every strike."""
    live = read_book(seen.record, live=True)
    columns = {
        "strike": live.strike,
        "call_dex": dollars(live.call_dex),
        "put_dex": dollars(live.put_dex),
        "net_dex": dollars(live.net_dex),
    }
    return _shared(seen) | {"live_net_dex": live.figure("net_dex"), "strikes": _rows(columns)}


def summary(seen: Seen) -> dict[str, Any]:
    """What flow has changed, in six figures."""
    row = seen.record.row
    return _shared(seen) | {
        "flow_direction": verdict(row)[0],
        "intraday_oi_delta": _oi(seen)["intraday_oi_delta"],
        "contracts_with_flow": touched(row)["contracts_with_flow"],
        "contracts_total": row.contracts,
        "live_gex": row.net_gex,
        "flow_gex_pct_shift": shift(row.settled.net_gex, row.net_gex),
    }


def oi(seen: Seen) -> dict[str, Any]:
    """Open interest: this morning's, with flow, and what the live book uses."""
    row = seen.record.row
    return _shared(seen) | {
        **_oi(seen),
        "contracts_total": row.contracts,
        "contracts_with_flow": touched(row)["contracts_with_flow"],
    }


def _oi(seen: Seen) -> dict[str, Any]:
    """``simulated_oi`` adds κB as it is, ``effective_oi`` lets no contract fall below 0."""
    row, profile = seen.record.row, seen.record.profile
    bought = (
        np.nan_to_num(profile["call_signed"]).sum() + np.nan_to_num(profile["put_signed"]).sum()
    )
    moved = whole(row.oi_confidence * float(bought))
    return {
        "official_oi": row.total_oi,
        "simulated_oi": row.total_oi + moved,
        "intraday_oi_delta": moved,
        "oi_delta_confidence": row.oi_confidence,
        "effective_oi": int(read_book(seen.record, live=True).oi.sum()),
    }


def dealer_risk(seen: Seen) -> dict[str, Any]:
    """Settled and live exposures side by side."""
    moved = touched(seen.record.row)
    return _shared(seen) | _risk(seen) | {"contracts_with_flow": moved["contracts_with_flow"]}


def _risk(seen: Seen) -> dict[str, Any]:
    settled, live = read_book(seen.record, live=False), read_book(seen.record, live=True)
    name, said = verdict(live.row)
    return {
        **adjustment("gex", settled, live),
        **adjustment("dex", settled, live),
        "total_abs_delta_contracts": touched(live.row)["total_abs_delta_contracts"],
        "flow_direction": name,
        "description": said,
    }


def everything(seen: Seen) -> dict[str, Any]:
    """The bundle: open interest, live exposures and levels, pin, dealers' risk."""
    live = read_book(seen.record, live=True)
    return _shared(seen) | {
        "contracts": live.row.contracts,
        "contracts_with_flow": touched(live.row)["contracts_with_flow"],
        **_oi(seen),
        "live_gex": live.figure("net_gex"),
        "live_gex_delta": live.figure("net_dex"),
        **_levels(live),
        "live_pin_risk": live.figure("pin_score"),
        "flow_adjusted_dealer_risk": _risk(seen),
    }


def _shared(seen: Seen) -> dict[str, Any]:
    row = seen.record.row
    return {
        "symbol": row.symbol,
        "as_of": seen.moment,
        "underlying_price": row.spot,
        "expiry": row.expiration,
        **seen.origin(),
    }


def _rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
    names = list(columns)
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(names, row, strict=True)) for row in values]


#: By the last part of their paths.
SIBLINGS: dict[str, Callable[[Seen], dict[str, Any]]] = {
    "levels": levels,
    "pin-risk": pin_risk,
    "gex": gex,
    "dex": dex,
    "summary": summary,
    "dealer-risk": dealer_risk,
    "oi": oi,
    "live": everything,
}
