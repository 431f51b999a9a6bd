"""What happens next: the expected move, dealers' hedges, decay, and volatility."""

from __future__ import annotations

from typing import Any

import numpy as np

from api.documents.book import PositionBook, figure_or_zero
from api.documents.rounding import money_text, nearest_int, percent_of, rounded
from api.documents.sample import Sample
from storage.market.constants import MOVES
from storage.record.figures import HedgeShares

#: Charm that looks ahead a whole hour is another figure than charm over half of what is left. [s]
HOUR = 3600.0

_CHARM = {
    "time_decay_dealers_buy": "Time alone makes dealers buy {half} in half of the time that is"
    " left: support.",
    "time_decay_dealers_sell": "Time alone makes dealers sell {half} in half of the time that is"
    " left: pressure.",
    "neutral": "Time alone makes dealers trade nothing in half of the time that is left.",
}
_VANNA = {
    "vol_up_dealers_sell": "Rising volatility makes dealers sell {size} per point, falling"
    " volatility makes them buy.",
    "vol_up_dealers_buy": "Rising volatility makes dealers buy {size} per point, falling"
    " volatility makes them sell.",
    "neutral": "Volatility moves no dealer hedge.",
}


def expected_move_block(sample: Sample) -> dict[str, Any]:
    """Return one standard deviation of a whole session, and of what is left of it.

    Parameters
    ----------
    sample : the sample.

    Returns
    -------
    dict
        The block ``expected_move``; moves in $ and %, ``atm_iv`` a decimal.
    """
    spot, left, day = sample.record.row.spot, sample.remaining, sample.whole_day
    return {
        "implied_1sd_dollars": rounded(day, 4),
        "implied_1sd_pct": percent_of(day, spot),
        "remaining_1sd_dollars": rounded(left, 4),
        "remaining_1sd_pct": percent_of(left, spot),
        "upper_bound": None if left is None else rounded(spot + left, 4),
        "lower_bound": None if left is None else rounded(spot - left, 4),
        "straddle_price": _straddle(sample),
        "atm_iv": rounded(sample.atm_iv, 12),
        "atm_iv_uncertainty": sample.record.row.detail.atm_iv_uncertainty,
    }


def _straddle(sample: Sample) -> float | None:
    """Mids of the strike nearest the forward; its intrinsic value where one is not quoted."""
    row, strike = sample.record.row, sample.record.profile["strike"]
    quoted = row.detail.straddle_price
    if quoted is None and len(strike):
        quoted = float(np.abs(strike - row.forward).min())
    return rounded(quoted, 4)


def hedging_block(book: PositionBook) -> dict[str, Any]:
    """Return the shares that dealers trade after a move of spot, every contract repriced.

    Parameters
    ----------
    book : the live or the settled book.

    Returns
    -------
    dict
        The block ``hedging``; shares are positive where dealers buy.
    """
    stored: HedgeShares | None = book.figure("hedging")
    hedges: dict[str, Any] = {}
    for move in MOVES:
        shares = nearest_int(figure_or_zero(None if stored is None else getattr(stored, move)))
        hedges[move] = {
            "dealer_shares_to_trade": shares,
            "direction": "buy" if shares >= 0 else "sell",
            "notional_usd": rounded(shares * book.row.spot),
        }
    return hedges | {"convexity_at_spot": book.figure("convexity_at_spot")}


def decay_block(sample: Sample, book: PositionBook) -> dict[str, Any]:
    """Return what the passing of time takes from the book, and what it makes dealers trade.

    Parameters
    ----------
    sample : the sample.
    book : its live or its settled book.

    Returns
    -------
    dict
        The block ``decay``; dollars, positive where dealers buy.
    """
    half = figure_or_zero(book.figure("net_chex"))
    name = _signed(half, "time_decay_dealers_buy", "time_decay_dealers_sell")
    text = _CHARM[name].format(half=money_text(abs(half)))
    soon, horizon = book.figure("charm_dollars_per_hour"), book.figure("charm_horizon_seconds")
    if half and soon is not None and horizon is not None and horizon >= HOUR:
        # In the next hour the flow may go the other way.
        text += f" In the next hour they {'buy' if soon > 0 else 'sell'} {money_text(abs(soon))}."
    return {
        "net_theta_dollars": book.figure("net_theta_dollars"),
        "theta_per_hour_remaining": book.figure("theta_per_hour_remaining"),
        "charm_regime": name,
        "charm_description": text,
        "gamma_acceleration": book.figure("gamma_acceleration"),
        "description": _decaying(sample, book),
        "charm_dollars_per_hour": book.figure("charm_dollars_per_hour"),
        "charm_horizon_seconds": book.figure("charm_horizon_seconds"),
        "charm_curve": book.row.detail.charm_curve if book.live else None,
    }


def _decaying(sample: Sample, book: PositionBook) -> str:
    theta = book.figure("net_theta_dollars")
    hourly = book.figure("theta_per_hour_remaining")
    faster = book.figure("gamma_acceleration")
    if theta is None or hourly is None:
        return "No time value is left."
    does = "gains" if theta >= 0 else "loses"
    sentence = (
        f"With {sample.seconds_left / 3600:.2f} hours left, the dealers' book {does}"
        f" {money_text(abs(theta))} of time value until the close,"
        f" {money_text(abs(hourly))} an hour."
    )
    if faster is not None:
        sentence += f" In an hour, or half of what is left, gamma is {faster:.1f} times what it is."
    return sentence


def vol_context_block(sample: Sample, book: PositionBook) -> dict[str, Any]:
    """Return today's volatility beside next week's, and what a change of it makes dealers do.

    Parameters
    ----------
    sample : the sample.
    book : its live or its settled book.

    Returns
    -------
    dict
        The block ``vol_context``; volatilities are in % here.
    """
    detail = book.row.detail
    vanna = figure_or_zero(book.figure("net_vex"))
    name = _signed(vanna, "vol_up_dealers_sell", "vol_up_dealers_buy")
    now, week = percent_of(sample.atm_iv, 1), percent_of(detail.seven_dte_atm_iv, 1)
    ratio = rounded(detail.iv_ratio_0dte_7dte, 6)
    return {
        "zero_dte_atm_iv": now,
        "seven_dte_atm_iv": week,
        "iv_ratio_0dte_7dte": ratio,
        "vix": detail.vix,
        "skew_25d": percent_of(detail.skew_25d, 1),
        "vanna_exposure": vanna,
        "vanna_interpretation": name,
        "description": _volatile(now, week, ratio)
        + " "
        + _VANNA[name].format(size=money_text(abs(vanna))),
    }


def _volatile(now: float | None, week: float | None, ratio: float | None) -> str:
    if now is None:
        return "There is no volatility to tell."
    sentence = f"Today's at-the-money volatility is {now:.1f} %"
    if week is None:
        return f"{sentence}."
    sentence += f", that of the expiry about seven days away {week:.1f} %"
    if ratio is None:
        return f"{sentence}."
    dear = "dearer" if ratio > 1 else "cheaper"
    return f"{sentence}; a session's worth of it, today is {dear} ({ratio:.2f})."


def _signed(value: float, positive: str, negative: str) -> str:
    return positive if value > 0 else negative if value < 0 else "neutral"
