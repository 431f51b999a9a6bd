"""A chain by strike, within a range of spot; and how well it is quoted there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.documents.book import PositionBook, figure_or_zero
from api.documents.rounding import (
    PERCENT,
    Floats,
    dollars,
    nearest_int,
    nearest_ints,
    rounded,
    rounded_list,
    strike_text,
)
from storage.market.constants import QUALITY_REACH, SMOOTH_WITHIN, YEAR_DAYS

Bools = NDArray[np.bool_]

#: Part of spot that a table reaches to either side, unless asked otherwise.
DEFAULT_RANGE = QUALITY_REACH
#: Decimals of volatilities and deltas, of gammas, and of quotes.
_GREEK, _GAMMA, _QUOTE = 6, 9, 4


def strike_table(book: PositionBook, reach: float = DEFAULT_RANGE) -> list[dict[str, Any]]:
    """Return the strikes near spot, each with its contracts, exposures, greeks and quotes.

    Shares are of the whole chain. Theta is dollars a calendar day; call and put share a volatility,
    by parity. What has no quote is None.

    Parameters
    ----------
    book : the live or the settled book.
    reach : part of spot that the strikes reach to, on either side. [0-1]

    Returns
    -------
    list[dict[str, Any]]
        One entry a strike, ascending.
    """
    within = near_spot(book.strike, book.row.spot, reach)
    numbers = _numbers(book)
    columns = {
        name: values[within].tolist()
        if isinstance(values, np.ndarray)
        else [value for value, there in zip(values, within, strict=True) if there]
        for name, values in numbers.items()
    }
    day = book.row.expiration.strftime("%y%m%d")
    entries = []
    for index, strike in enumerate(book.strike[within].tolist()):
        contract = f"{book.row.symbol}-{day}-{{}}-{strike_text(strike)}"
        figures = {name: column[index] for name, column in columns.items()}
        entries.append(
            {
                "strike": strike,
                "distance_from_spot_pct": rounded(
                    100 * (strike - book.row.spot) / book.row.spot, PERCENT
                ),
                "call_symbol": contract.format("C"),
                "put_symbol": contract.format("P"),
                **figures,
            }
        )
    return entries


def _numbers(book: PositionBook) -> dict[str, Any]:
    profile = book.profile
    volume = np.nan_to_num(profile["call_volume"]) + np.nan_to_num(profile["put_volume"])
    delta = profile["call_delta"]
    theta = profile["theta"] / YEAR_DAYS
    return {
        "call_gex": dollars(book.call_gex),
        "put_gex": dollars(book.put_gex),
        "net_gex": dollars(book.net_gex),
        "call_dex": dollars(book.call_dex),
        "put_dex": dollars(book.put_dex),
        "net_dex": dollars(book.net_dex),
        "net_vex": dollars(book.vex),
        "net_chex": dollars(book.chex),
        "call_oi": book.call_oi,
        "put_oi": book.put_oi,
        "call_volume": nearest_ints(profile["call_volume"]),
        "put_volume": nearest_ints(profile["put_volume"]),
        "gex_share_pct": _shares(np.abs(book.net_gex)),
        "oi_share_pct": _shares(book.oi.astype(np.float64)),
        "volume_share_pct": _shares(volume),
        "call_iv": rounded_list(profile["iv"], _GREEK),
        "put_iv": rounded_list(profile["iv"], _GREEK),
        "call_delta": rounded_list(delta, _GREEK),
        "put_delta": rounded_list(delta - 1, _GREEK),
        "call_gamma": rounded_list(profile["gamma"], _GAMMA),
        "put_gamma": rounded_list(profile["gamma"], _GAMMA),
        "call_theta": rounded_list(theta, _QUOTE),
        "put_theta": rounded_list(theta, _QUOTE),
        "call_mid": rounded_list(_mid(profile["call_bid"], profile["call_ask"]), _QUOTE),
        "put_mid": rounded_list(_mid(profile["put_bid"], profile["put_ask"]), _QUOTE),
        "call_spread_pct": rounded_list(_spread(profile["call_bid"], profile["call_ask"]), PERCENT),
        "put_spread_pct": rounded_list(_spread(profile["put_bid"], profile["put_ask"]), PERCENT),
    }


def near_spot(strike: Floats, spot: float, reach: float) -> Bools:
    """Say which strikes lie within a part of spot.

    Parameters
    ----------
    strike : ascending. (n,) [$]
    spot : price of the underlying. [$]
    reach : part of spot. [0-1]

    Returns
    -------
    ndarray of bool
        True for those that do. (n,)
    """
    within: Bools = np.abs(strike - spot) <= reach * spot
    return within


def _shares(values: Floats) -> Floats:
    total = float(values.sum())
    return np.round(100 * values / total, PERCENT) if total > 0 else np.zeros_like(values)


def _mid(bid: Floats, ask: Floats) -> Floats:
    return np.where((ask > 0) & (bid >= 0) & (ask >= bid), (bid + ask) / 2, np.nan)


def _two_sided(bid: Floats, ask: Floats) -> Bools:
    both: Bools = (bid > 0) & (ask >= bid)
    return both


def _spread(bid: Floats, ask: Floats) -> Floats:
    spread = np.full_like(bid, np.nan)
    np.divide(200 * (ask - bid), ask + bid, out=spread, where=_two_sided(bid, ask))
    return spread


def _bid_over_ask(bid: Floats, ask: Floats) -> Floats:
    ratio = np.zeros_like(bid)
    np.divide(bid, ask, out=ratio, where=_two_sided(bid, ask))
    return ratio


def quote_quality(book: PositionBook, reach: float) -> dict[str, int]:
    """Return the two scores of how a chain is quoted near spot.

    ``data_quality_score`` is the mean of bid/ask, 0 for a contract without a bid and an ask;
    ``greek_smoothness_score`` that of the strikes with a volatility of their own which lie within
    0.02 of the line between their neighbours. What cannot be told (no contract, fewer than three
    strikes) scores 0. What was stored for ±3 % is taken as it is.

    Parameters
    ----------
    book : the live or the settled book.
    reach : part of spot. [0-1]

    Returns
    -------
    dict
        ``data_quality_score`` and ``greek_smoothness_score``. [0-100]
    """
    stored = book.row.detail
    if reach == DEFAULT_RANGE and stored.data_quality_score is not None:
        return {
            "data_quality_score": stored.data_quality_score,
            "greek_smoothness_score": figure_or_zero(stored.greek_smoothness_score),
        }
    profile, within = book.profile, near_spot(book.strike, book.row.spot, reach)
    sides = [
        (profile[f"{side}_bid"][within], profile[f"{side}_ask"][within]) for side in ("call", "put")
    ]
    sound = np.stack([_bid_over_ask(bid, ask) for bid, ask in sides])
    known = within & np.isfinite(profile["own_iv"])
    return {
        "data_quality_score": nearest_int(100 * float(sound.mean())) if sound.size else 0,
        "greek_smoothness_score": _smoothness(book.strike[known], profile["own_iv"][known]),
    }


def _smoothness(strike: Floats, own: Floats) -> int:
    if len(strike) < 3:
        return 0
    place = (strike[1:-1] - strike[:-2]) / (strike[2:] - strike[:-2])
    line = own[:-2] + place * (own[2:] - own[:-2])
    return nearest_int(100 * float((np.abs(own[1:-1] - line) <= SMOOTH_WITHIN).mean()))
