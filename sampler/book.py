"""One dealer position in a chain: its exposures, levels, pin and hedges."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import CALL, PUT, Chain
from sampler.market import Market
from sampler.metrics import levels, pin
from sampler.metrics.exposure import Exposures, Sheet, exposures

Floats = NDArray[np.float64]


class Book:
    """One dealer position in a chain, live or settled: headline figures and what lies behind."""

    __slots__ = ("exposures", "flip", "headline", "pinned", "position")

    def __init__(
        self,
        position: Floats,
        exposures: Exposures,
        flip: levels.Flip,
        headline: dict[str, Any],
        pinned: tuple[float | None, float | None],
    ) -> None:
        self.position = position
        self.exposures = exposures
        self.flip = flip
        #: The fields of a row that depend on the position.
        self.headline = headline
        #: The magnet's neighbouring strikes. [$]
        self.pinned = pinned

    def extras(self) -> dict[str, Any]:
        """What a snapshot shows of the book beside its headline."""
        hedging = self.exposures.hedging
        return {
            "crossings": self.flip.crossings.tolist(),
            "pin_lower": self.pinned[0],
            "pin_upper": self.pinned[1],
            "hedging": hedging.shares,
            "convexity_at_spot": hedging.convexity,
            "net_theta_dollars": hedging.net_theta_dollars,
            "theta_per_hour_remaining": hedging.theta_per_hour_remaining,
            "gamma_acceleration": hedging.gamma_acceleration,
        }


def measure_book(
    chain: Chain, market: Market, scene: Sheet, *, position: Floats, open_interest: Floats
) -> Book:
    """Exposures, levels and pin of one dealer position, and of the open interest behind it."""
    strike, spot = chain.strike, market.spot
    book = exposures(position, open_interest, scene)
    net = book.gex[CALL] + book.gex[PUT]
    flip = levels.UNTOLD
    if market.covered:
        flip = levels.flip(
            position[CALL] + position[PUT],
            spot=spot,
            forward=market.forward.level,
            strike=strike,
            years=chain.years,
            sigma=market.smile.filled,
        )
    magnet = levels.strongest(strike, np.abs(net), spot)
    pinned = pin.pin_score(
        strike,
        open_interest[CALL] + open_interest[PUT],
        net,
        spot=spot,
        magnet=None if magnet is None else float(strike[magnet]),
        magnet_gex=None if magnet is None else float(net[magnet]),
        remaining=market.remaining,
        elapsed=chain.session.elapsed(chain.quoted_at),
    )
    headline = {
        "net_gex": book.call_gex + book.put_gex,
        "call_gex": book.call_gex,
        "put_gex": book.put_gex,
        "gross_gex": book.gross_gex,
        "net_dex": book.call_dex + book.put_dex,
        "call_dex": book.call_dex,
        "put_dex": book.put_dex,
        "net_vex": book.net_vex,
        "net_chex": book.net_chex,
        "dealer_delta": book.dealer_delta,
        "charm_dollars_per_hour": book.charm_per_hour,
        "gamma_flip": flip.level,
        "gamma_flip_status": str(flip.status),
        "regime": _regime(book.call_gex + book.put_gex),
        "call_wall": _strike(strike, levels.strongest(strike, book.gex[CALL], spot)),
        "put_wall": _strike(strike, levels.strongest(strike, np.abs(book.gex[PUT]), spot)),
        "magnet": _strike(strike, magnet),
        "magnet_gex": None if magnet is None else float(net[magnet]),
        "max_pain": levels.max_pain(strike, open_interest, spot),
        "pin_score": pinned.score,
        "pin_oi": pinned.oi,
        "pin_proximity": pinned.proximity,
        "pin_time": pinned.time,
        "pin_gamma": pinned.gamma,
        "pin_probability_pct": None,
    }
    around: tuple[float | None, float | None] = (None, None)
    if magnet is not None:
        around = (
            _strike(strike, magnet - 1 if magnet else None),
            _strike(strike, magnet + 1 if magnet + 1 < len(strike) else None),
        )
        headline["pin_probability_pct"] = pin.pin_probability(
            magnet,
            strike=strike,
            own=market.smile.own,
            atm=market.atm,
            forward=market.forward.level,
            years=chain.years,
        )
    return Book(position, book, flip, headline, around)


def _strike(strike: Floats, at: int | None) -> float | None:
    return None if at is None else float(strike[at])


def _regime(net_gex: float) -> str:
    if net_gex == 0:
        return "unknown"
    return "positive_gamma" if net_gex > 0 else "negative_gamma"
