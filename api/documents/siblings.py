"""The eight live answers beside the snapshot: each a part of the live book, under its own names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from api.documents.book import PositionBook, read_book
from api.documents.direction import describe_direction, flow_adjustment, flow_shift, flow_totals
from api.documents.positioning import pin_components
from api.documents.rounding import distance_pct, dollars, nearest_int, nearest_ints
from api.documents.sample import SHORTEST_HOURS, Sample

_LABELS = {"positive_gamma": "positive", "negative_gamma": "negative"}


def levels(sample: Sample) -> dict[str, Any]:
    """Answer with the flip, the walls and max pain of the live book.

    Parameters
    ----------
    sample : the sample.

    Returns
    -------
    dict
        The answer. [$]
    """
    return _shared(sample) | _levels(read_book(sample.record, live=True))


def _levels(live: PositionBook) -> dict[str, Any]:
    return {
        "live_gamma_flip": live.figure("gamma_flip"),
        "gamma_flip_status": live.figure("gamma_flip_status"),
        "live_call_wall": live.figure("call_wall"),
        "live_put_wall": live.figure("put_wall"),
        "live_max_pain": live.figure("max_pain"),
    }


def pin_risk(sample: Sample) -> dict[str, Any]:
    """Answer with the pin score and its parts; the time to the close is 0.1 hours at least.

    Parameters
    ----------
    sample : the sample.

    Returns
    -------
    dict
        The answer.
    """
    live = read_book(sample.record, live=True)
    magnet = live.figure("magnet")
    return _shared(sample) | {
        "live_pin_risk": live.figure("pin_score"),
        "magnet_strike": magnet,
        "distance_to_magnet_pct": distance_pct(magnet, live.row.spot),
        "time_to_close_hours": max(round(sample.seconds_left / 3600, 4), SHORTEST_HOURS),
        "breakdown": pin_components(live),
    }


def gex(sample: Sample) -> dict[str, Any]:
    """Answer with gamma exposure by strike, every strike; open interest is the effective one.

    Changes from one day's open interest to the next are not known, so they are null.

    Parameters
    ----------
    sample : the sample.

    Returns
    -------
    dict
        The answer. [$ per 1 %, contracts]
    """
    live = read_book(sample.record, live=True)
    columns = {
        "strike": live.strike,
        "call_gex": dollars(live.call_gex),
        "put_gex": dollars(live.put_gex),
        "net_gex": dollars(live.net_gex),
        "call_oi": live.call_oi,
        "put_oi": live.put_oi,
        "call_volume": nearest_ints(live.profile["call_volume"]),
        "put_volume": nearest_ints(live.profile["put_volume"]),
    }
    unknown = {"call_oi_change": None, "put_oi_change": None}
    return _shared(sample) | {
        "live_net_gex": live.figure("net_gex"),
        "live_net_gex_label": _LABELS.get(live.figure("regime"), "neutral"),
        "live_gamma_flip": live.figure("gamma_flip"),
        "gamma_flip_status": live.figure("gamma_flip_status"),
        "strikes": [row | unknown for row in _rows(columns)],
    }


def dex(sample: Sample) -> dict[str, Any]:
    """Answer with holders' delta by strike, every strike.

    Parameters
    ----------
    sample : the sample.

    Returns
    -------
    dict
        The answer. [$]
    """
    live = read_book(sample.record, live=True)
    columns = {
        "strike": live.strike,
        "call_dex": dollars(live.call_dex),
        "put_dex": dollars(live.put_dex),
        "net_dex": dollars(live.net_dex),
    }
    return _shared(sample) | {"live_net_dex": live.figure("net_dex"), "strikes": _rows(columns)}


def summary(sample: Sample) -> dict[str, Any]:
    """Answer with what flow has changed, in six figures.

    Parameters
    ----------
    sample : the sample.

    Returns
    -------
    dict
        The answer.
    """
    row = sample.record.row
    return _shared(sample) | {
        "flow_direction": describe_direction(row)[0],
        "intraday_oi_delta": _oi(sample)["intraday_oi_delta"],
        "contracts_with_flow": flow_totals(row)["contracts_with_flow"],
        "contracts_total": row.contracts,
        "live_gex": row.net_gex,
        "flow_gex_pct_shift": flow_shift(row.settled.net_gex, row.net_gex),
    }


def oi(sample: Sample) -> dict[str, Any]:
    """Answer with open interest: this morning's, with flow, and what the live book uses.

    Parameters
    ----------
    sample : the sample.

    Returns
    -------
    dict
        The answer. [contracts]
    """
    row = sample.record.row
    return _shared(sample) | {
        **_oi(sample),
        "contracts_total": row.contracts,
        "contracts_with_flow": flow_totals(row)["contracts_with_flow"],
    }


def _oi(sample: Sample) -> dict[str, Any]:
    """``simulated_oi`` adds κB as it is, ``effective_oi`` lets no contract fall below 0."""
    row, profile = sample.record.row, sample.record.profile
    bought = (
        np.nan_to_num(profile["call_signed"]).sum() + np.nan_to_num(profile["put_signed"]).sum()
    )
    moved = nearest_int(row.oi_confidence * float(bought))
    return {
        "official_oi": row.total_oi,
        "simulated_oi": row.total_oi + moved,
        "intraday_oi_delta": moved,
        "oi_delta_confidence": row.oi_confidence,
        "effective_oi": int(read_book(sample.record, live=True).oi.sum()),
    }


def dealer_risk(sample: Sample) -> dict[str, Any]:
    """Answer with settled and live exposures side by side.

    Parameters
    ----------
    sample : the sample.

    Returns
    -------
    dict
        The answer. [$]
    """
    moved = flow_totals(sample.record.row)
    return _shared(sample) | _risk(sample) | {"contracts_with_flow": moved["contracts_with_flow"]}


def _risk(sample: Sample) -> dict[str, Any]:
    settled, live = read_book(sample.record, live=False), read_book(sample.record, live=True)
    name, sentence = describe_direction(live.row)
    return {
        **flow_adjustment("gex", settled, live),
        **flow_adjustment("dex", settled, live),
        "total_abs_delta_contracts": flow_totals(live.row)["total_abs_delta_contracts"],
        "flow_direction": name,
        "description": sentence,
    }


def live_bundle(sample: Sample) -> dict[str, Any]:
    """Answer with open interest, live exposures and levels, pin, and dealers' risk together.

    Parameters
    ----------
    sample : the sample.

    Returns
    -------
    dict
        The answer.
    """
    live = read_book(sample.record, live=True)
    return _shared(sample) | {
        "contracts": live.row.contracts,
        "contracts_with_flow": flow_totals(live.row)["contracts_with_flow"],
        **_oi(sample),
        "live_gex": live.figure("net_gex"),
        "live_gex_delta": live.figure("net_dex"),
        **_levels(live),
        "live_pin_risk": live.figure("pin_score"),
        "flow_adjusted_dealer_risk": _risk(sample),
    }


def _shared(sample: Sample) -> dict[str, Any]:
    row = sample.record.row
    return {
        "symbol": row.symbol,
        "as_of": sample.moment,
        "underlying_price": row.spot,
        "expiry": row.expiration,
        **sample.provenance_fields(),
    }


def _rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
    names = list(columns)
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(names, row, strict=True)) for row in values]


#: By the last part of their paths.
SIBLINGS: dict[str, Callable[[Sample], dict[str, Any]]] = {
    "levels": levels,
    "pin-risk": pin_risk,
    "gex": gex,
    "dex": dex,
    "summary": summary,
    "dealer-risk": dealer_risk,
    "oi": oi,
    "live": live_bundle,
}
