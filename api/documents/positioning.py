"""Where dealers stand: regime, exposures, pin, and the levels that their gamma makes."""

from __future__ import annotations

from typing import Any

import numpy as np

from api.documents.book import PositionBook, figure_or_zero
from api.documents.rounding import (
    Floats,
    distance_pct,
    money_text,
    nearest_int,
    percent_of,
    rounded,
    share_pct,
    strike_text,
)
from api.documents.sample import Sample
from storage.market.strikes import strikes_for_concentration

#: Open interest counts as near the money within this part of spot.
NEAR = 0.01
_REGIMES = {
    "positive_gamma": "Dealers are long gamma: they sell rallies and buy dips,"
    " so moves are dampened.",
    "negative_gamma": "Dealers are short gamma: they buy rallies and sell dips,"
    " so moves are amplified.",
    "unknown": "Today's chain has no gamma to tell a regime by.",
}


def regime_block(sample: Sample, book: PositionBook) -> dict[str, Any]:
    """Return the sign of gamma at spot, and how far the level is where it turns.

    Without a flip, ``spot_vs_flip`` says on which side of one spot would lie by its regime: above
    with positive gamma, below with negative.

    Parameters
    ----------
    sample : the sample.
    book : its live or its settled book.

    Returns
    -------
    dict
        The block ``regime``; distances in $, % of spot, and standard deviations of what is left.
    """
    name, flip, spot = book.figure("regime") or "unknown", book.figure("gamma_flip"), book.row.spot
    above = spot >= flip if flip is not None else figure_or_zero(book.figure("net_gex")) >= 0
    sentence = _REGIMES[name]
    if flip is not None:
        sentence += f" Gamma turns at {flip:,.2f}, {abs(100 * (spot - flip) / spot):.2f} % "
        sentence += "below spot." if above else "above spot."
    sigma = sample.remaining
    away = None if flip is None else abs(spot - flip)
    return {
        "label": name,
        "description": sentence,
        "gamma_flip": flip,
        "gamma_flip_status": book.figure("gamma_flip_status"),
        "spot_vs_flip": "above" if above else "below",
        "spot_to_flip_pct": None if flip is None else percent_of(spot - flip, spot),
        "distance_to_flip_dollars": rounded(away, 4),
        "distance_to_flip_sigmas": rounded(away / sigma, 4) if away is not None and sigma else None,
        "flip_out_of_reach": book.figure("flip_out_of_reach"),
        "crossings": [
            {
                "level": level,
                "distance_sigmas": rounded(abs(level - spot) / sigma, 4) if sigma else None,
            }
            for level in book.figure("crossings") or ()
        ],
        # Settled open interest is taken as given: only the live book's sign is in doubt.
        "regime_confidence": book.row.regime_confidence if book.live else None,
    }


def exposures_block(book: PositionBook) -> dict[str, Any]:
    """Return the net exposures of a book, and today's part in those of every expiry.

    Where the source brings only today's expiry, or not all that it lists, the sum is today's alone,
    as ``total_chain_covers`` says, and the part is None.

    Parameters
    ----------
    book : the live or the settled book.

    Returns
    -------
    dict
        The block ``exposures``. [$]
    """
    whole_chain = book.row.detail.total_chain_net_gex
    return {
        **{name: book.figure(name) for name in ("net_gex", "net_dex", "net_vex", "net_chex")},
        "pct_of_total_gex": percent_of(book.figure("net_gex"), whole_chain),
        "total_chain_net_gex": _first_known(
            whole_chain, book.row.settled.net_gex, book.row.net_gex
        ),
        "total_chain_covers": "today" if whole_chain is None else "every_expiry",
        "net_gex_se": book.row.net_gex_se if book.live else None,
        "net_gex_se_measured": book.row.net_gex_se_measured if book.live else None,
        "gross_gex": book.figure("gross_gex"),
        "dealer_delta": book.figure("dealer_delta"),
    }


def _first_known(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def pin_components(book: PositionBook) -> dict[str, int]:
    """Return the four parts of the pin score.

    Parameters
    ----------
    book : the live or the settled book.

    Returns
    -------
    dict
        Name of the part → whole points. [0-100]
    """
    return {
        f"{component}_score": nearest_int(figure_or_zero(book.figure(f"pin_{component}")))
        for component in ("oi", "proximity", "time", "gamma")
    }


def pin_risk_block(book: PositionBook) -> dict[str, Any]:
    """Return how strongly price is held at the magnet, or driven through it.

    Parameters
    ----------
    book : the live or the settled book.

    Returns
    -------
    dict
        The block ``pin_risk``; strikes in $, distances in %, the score in points.
    """
    magnet, gex, spot = book.figure("magnet"), book.figure("magnet_gex"), book.row.spot
    top = _top_share(book)
    return {
        "magnet_strike": magnet,
        "magnet_gex": gex,
        "distance_to_magnet_pct": distance_pct(magnet, spot),
        "pin_score": figure_or_zero(book.figure("pin_score")),
        "components": pin_components(book),
        "max_pain": book.figure("max_pain"),
        "oi_concentration_top3_pct": top,
        "description": _pinned(book, magnet, gex, top),
        "pin_probability_pct": book.figure("pin_probability_pct"),
        "pin_probability_noise": book.figure("pin_probability_noise"),
        "pin_lower": book.figure("pin_lower"),
        "pin_upper": book.figure("pin_upper"),
    }


def _top_share(book: PositionBook) -> float | None:
    """The part of the open interest near spot that its top three strikes have. [%]"""
    low, high = strikes_for_concentration(book.strike, book.row.spot, NEAR)
    oi = np.sort(book.oi[low:high])
    return percent_of(float(oi[-3:].sum()), float(oi.sum()))


def _pinned(book: PositionBook, magnet: float | None, gex: float | None, top: float | None) -> str:
    if magnet is None or gex is None:
        return "No strike has gamma: nothing holds price."
    score = figure_or_zero(book.figure("pin_score"))
    if gex < 0:
        sentence = (
            f"{strike_text(magnet)} is an accelerator, not a pin: its gamma of {money_text(gex)}"
            " per 1 % is negative, so price is pushed through it."
        )
    else:
        how = "Strong" if score >= 70 else "Weak" if score < 30 else "Moderate"
        sentence = (
            f"{how} pin at {strike_text(magnet)}: its gamma of {money_text(gex)} per 1 %"
            " holds price."
        )
    sentence += f" Score {score} of 100."
    if top is not None:
        sentence += f" The top three strikes have {top:.0f} % of the open interest near spot."
    return sentence


def levels_block(sample: Sample, book: PositionBook) -> dict[str, Any]:
    """Return the walls, the magnet and the extremes by strike.

    Parameters
    ----------
    sample : the sample.
    book : its live or its settled book.

    Returns
    -------
    dict
        The block ``levels``; strikes in $, distances in % of spot.
    """
    spot, magnet = book.row.spot, book.figure("magnet")
    block: dict[str, Any] = {}
    for side, gex in (("call", book.call_gex), ("put", book.put_gex)):
        wall = book.figure(f"{side}_wall")
        index = _index_of(book.strike, wall)
        wall_gex = None if index is None else float(gex[index])
        block |= {
            f"{side}_wall": wall,
            f"{side}_wall_gex": rounded(wall_gex),
            f"{side}_wall_strength": None if wall_gex is None else _strength(wall_gex, gex),
            f"distance_to_{side}_wall_pct": distance_pct(wall, spot),
        }
    most = _strongest(book, book.oi.astype(np.float64))
    block |= {
        "distance_to_magnet_dollars": None if magnet is None else rounded(abs(spot - magnet), 4),
        "highest_oi_strike": None if most is None else float(book.strike[most]),
        "highest_oi_total": None if most is None else int(book.oi[most]),
        "max_positive_gamma": _extreme(book, book.net_gex),
        "max_negative_gamma": _extreme(book, -book.net_gex),
    }
    around = [book.figure("gamma_flip"), magnet, book.figure("max_pain")]
    around += [block["highest_oi_strike"], block["call_wall"], block["put_wall"]]
    return block | {"level_cluster_score": _cluster(around, sample.remaining)}


def _index_of(strike: Floats, level: float | None) -> int | None:
    if level is None:
        return None
    index = int(np.searchsorted(strike, level))
    return index if index < len(strike) and strike[index] == level else None


def _strength(wall_gex: float, gex: Floats) -> float | None:
    """A wall's part of its side's gamma. [0-1]"""
    share = share_pct(abs(wall_gex), float(np.abs(gex).sum()))
    return rounded(share / 100, 6)


def _strongest(book: PositionBook, values: Floats) -> int | None:
    """Where a positive value is largest; ties to the strike nearest spot."""
    if not len(values) or not values.max() > 0:
        return None
    tied = np.flatnonzero(values == values.max())
    return int(tied[np.argmin(np.abs(book.strike[tied] - book.row.spot))])


def _extreme(book: PositionBook, values: Floats) -> float | None:
    index = _strongest(book, values)
    return None if index is None else float(book.strike[index])


def _cluster(around: list[float | None], sigma: float | None) -> int | None:
    """Mean of 100·exp(−½((level − median)/σ)²), σ what is left of the session's move."""
    known = np.array([level for level in around if level is not None])
    if len(known) < 2 or not sigma:
        return None
    off = (known - np.median(known)) / sigma
    return nearest_int(100 * float(np.exp(-0.5 * off * off).mean()))
