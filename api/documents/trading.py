"""What was traded, how well it is quoted, and what the answer rests on."""

from __future__ import annotations

from typing import Any

import numpy as np

from api.documents.book import PositionBook, figure_or_zero
from api.documents.rounding import rounded, share_pct
from api.documents.sample import Sample
from api.documents.strikes import near_spot, quote_quality

#: At the money, for volume.
AT_THE_MONEY = 0.005
#: (ask - bid)/mid of a quote without a bid. [%]
UNQUOTED = 200.0
_RATIO = 6


def flow_block(book: PositionBook) -> dict[str, Any]:
    """Return the day's volume, and the open interest of the document's book.

    Parameters
    ----------
    book : the live or the settled book.

    Returns
    -------
    dict
        The block ``flow``; contracts, ratios and shares in %.
    """
    row = book.row
    call_oi, put_oi = int(book.call_oi.sum()), int(book.put_oi.sum())
    volume = np.nan_to_num(book.profile["call_volume"]) + np.nan_to_num(book.profile["put_volume"])
    traded = float(volume.sum())
    at_the_money = float(volume[near_spot(book.strike, row.spot, AT_THE_MONEY)].sum())
    return {
        "total_volume": row.total_volume,
        "call_volume": row.call_volume,
        "put_volume": row.put_volume,
        "net_call_minus_put_volume": row.call_volume - row.put_volume,
        "total_oi": call_oi + put_oi,
        "call_oi": call_oi,
        "put_oi": put_oi,
        "pc_ratio_volume": _ratio(row.put_volume, row.call_volume),
        "pc_ratio_oi": _ratio(put_oi, call_oi),
        "volume_to_oi_ratio": _ratio(row.total_volume, call_oi + put_oi),
        "atm_volume_share_pct": share_pct(at_the_money, traded),
        "top3_strike_volume_pct": share_pct(float(np.sort(volume)[-3:].sum()), traded),
    }


def _ratio(numerator: float, denominator: float) -> float | None:
    return rounded(numerator / denominator, _RATIO) if denominator else None


def liquidity_block(book: PositionBook) -> dict[str, Any]:
    """Return the spreads in % of mid, and a score of them.

    Where no quote qualifies, what a quote without a bid has: 200 %, and no score.

    Parameters
    ----------
    book : the live or the settled book.

    Returns
    -------
    dict
        The block ``liquidity``.
    """
    detail = book.row.detail
    return {
        "atm_spread_pct": _spread_pct(detail.atm_spread_pct),
        "weighted_spread_pct": _spread_pct(detail.weighted_spread_pct),
        "median_spread_pct": rounded(detail.median_spread_pct, 4),
        "execution_score": figure_or_zero(detail.execution_score),
    }


def _spread_pct(stored: float | None) -> float | None:
    return UNQUOTED if stored is None else rounded(stored, 4)


def metadata_block(sample: Sample, book: PositionBook, reach: float) -> dict[str, Any]:
    """Return the age of the quotes, the size of the chain, and how well it is quoted near spot.

    Parameters
    ----------
    sample : the sample.
    book : its live or its settled book.
    reach : part of spot that the two scores reach to. [0-1]

    Returns
    -------
    dict
        The block ``metadata``.
    """
    row = book.row
    return {
        "snapshot_age_seconds": round(sample.age, 3),
        "chain_contract_count": row.contracts,
        **quote_quality(book, reach),
        "quoted_at": row.quoted_at,
        "fetched_at": row.fetched_at,
        "strikes": row.strikes,
        "strikes_with_iv": row.strikes_with_iv,
        "dropped": row.dropped,
        "quotes_unused": row.quotes_unused,
    }


def closing_warnings(sample: Sample) -> dict[str, Any]:
    """Return ``warnings`` in the session's last five minutes, nothing before.

    Parameters
    ----------
    sample : the sample.

    Returns
    -------
    dict
        ``warnings``, or an empty dictionary.
    """
    if not sample.closing:
        return {}
    left = f"{sample.seconds_left:.0f} seconds are left to the close"
    sentences = [
        f"{left}: gamma and theta change within seconds, and a stale quote moves them far."
    ]
    if sample.record.row.atm_iv is None:
        sentences.append("In the last minute at-the-money volatility is auction noise.")
    return {"warnings": sentences}
