"""One dealer position in a chain: its exposures, levels, pin and hedges."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import CALL, PUT, Chain
from sampler.measure.market import MarketState
from sampler.metrics import pin
from sampler.metrics.book_figures import BookFigures, book_figures
from sampler.metrics.exposure import GreeksByMove, charm_horizon
from sampler.metrics.flip import NO_COVERAGE, Flip, find_flips
from sampler.metrics.levels import NEAR
from storage.market.strikes import strikes_for_concentration

Floats = NDArray[np.float64]

#: A flip farther away than this is a level that price does not get to today. [standard deviations]
FLIP_REACH = 4.0


class DealerBook:
    """One dealer position in a chain, live or settled: headline figures and what lies behind."""

    __slots__ = ("exposures", "flip", "headline", "net", "pin_noise", "pinned")

    def __init__(
        self,
        figures: BookFigures,
        flip: Flip,
        headline: dict[str, Any],
        pinned: tuple[float | None, float | None],
        pin_noise: float | None,
    ) -> None:
        #: Dealers' contracts of each strike, calls and puts together. (n,)
        self.net = figures.net
        self.exposures = figures.exposures
        self.flip = flip
        #: The fields of a row that depend on the position.
        self.headline = headline
        #: The magnet's neighbouring strikes. [$]
        self.pinned = pinned
        #: What its quotes' widths leave uncertain in the pin probability. [points of %]
        self.pin_noise = pin_noise

    def extras(self) -> dict[str, Any]:
        """What a snapshot shows of the book beside its headline."""
        hedging = self.exposures.hedging
        return {
            "crossings": self.flip.crossings,
            "pin_lower": self.pinned[0],
            "pin_upper": self.pinned[1],
            "pin_probability_noise": self.pin_noise,
            "hedging": hedging.shares,
            "convexity_at_spot": hedging.convexity,
            "net_theta_dollars": hedging.net_theta_dollars,
            "theta_per_hour_remaining": hedging.theta_per_hour_remaining,
            "gamma_acceleration": hedging.gamma_acceleration,
        }


def measure_books(
    chain: Chain,
    market: MarketState,
    scene: GreeksByMove,
    signed: Floats | None,
    *,
    oi_confidence: float,
) -> list[DealerBook]:
    """Measure the settled book of a chain, and the live one where there is flow.

    Parameters
    ----------
    chain : today's contracts, with the open interest that counts.
    market : spot, forward and smile of the chain.
    scene : greeks of each contract at spot and at each move of spot.
    signed : contracts that customers bought, less those that they sold; None: no flow. (2, n)
    oi_confidence : κ, the part of signed volume taken to have opened positions. [0-1]

    Returns
    -------
    list of DealerBook
        The settled book, then the live one.
    """
    books, net = book_figures(
        chain.open_interest,
        signed,
        chain.listed,
        oi_confidence=oi_confidence,
        scene=scene,
        strike=chain.strike,
        near=strikes_for_concentration(chain.strike, market.spot, NEAR),
    )
    flips = [NO_COVERAGE] * len(books)
    if market.covered:
        flips = find_flips(
            net,
            spot=market.spot,
            moneyness=scene.moneyness,
            years=chain.years,
            sigma=market.smile.filled,
        )
    pins: dict[int, pin.PinProbability] = {}
    return [
        _measure(chain, market, figures, flip, pins)
        for figures, flip in zip(books, flips, strict=True)
    ]


def _measure(
    chain: Chain,
    market: MarketState,
    figures: BookFigures,
    flip: Flip,
    pins: dict[int, pin.PinProbability],
) -> DealerBook:
    """Headline and pin of one dealer position.

    ``pins`` has the pin probability and its noise of each magnet so far: books often share one.
    """
    strike, spot = chain.strike, market.spot
    book, levels = figures.exposures, figures.levels
    magnet_index, magnet_gex = levels.magnet, None
    if magnet_index is not None:
        magnet_gex = float(book.gex[CALL, magnet_index]) + float(book.gex[PUT, magnet_index])
    magnet = _strike(strike, magnet_index)
    score = pin.pin_score(
        levels,
        spot=spot,
        magnet=magnet,
        magnet_gex=magnet_gex,
        remaining=market.remaining,
        elapsed=chain.session.elapsed(chain.quoted_at),
    )
    distance = None
    if flip.level is not None and not market.last_minute:
        distance = abs(flip.level - spot) / market.remaining
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
        "charm_dollars_per_hour": None if market.last_minute else book.charm,
        "charm_horizon_seconds": None if market.last_minute else charm_horizon(chain.years),
        "gamma_flip": flip.level,
        "gamma_flip_status": str(flip.status),
        "distance_to_flip_sigmas": distance,
        "flip_out_of_reach": None if distance is None else distance > FLIP_REACH,
        "regime": _regime(book.call_gex + book.put_gex),
        "call_wall": _strike(strike, levels.call_wall),
        "put_wall": _strike(strike, levels.put_wall),
        "magnet": magnet,
        "magnet_gex": magnet_gex,
        "max_pain": _strike(strike, levels.max_pain),
        # Without open interest the score is 0, whatever part of the session has passed.
        "pin_score": score.score if figures.held else 0,
        "pin_oi": score.oi,
        "pin_proximity": score.proximity,
        "pin_time": score.time,
        "pin_gamma": score.gamma,
        "pin_probability_pct": None,
    }
    around: tuple[float | None, float | None] = (None, None)
    noise = None
    if magnet_index is not None:
        around = (
            _strike(strike, magnet_index - 1 if magnet_index else None),
            _strike(strike, magnet_index + 1 if magnet_index + 1 < len(strike) else None),
        )
        if magnet_index not in pins:
            pins[magnet_index] = pin.pin_probability(
                magnet_index,
                strike=strike,
                own=market.quoted_sigma,
                uncertainty=market.uncertainty,
                atm=market.atm,
                atm_uncertainty=market.atm_uncertainty,
                forward=market.forward.level,
                years=chain.years,
            )
        headline["pin_probability_pct"], noise = pins[magnet_index]
    return DealerBook(figures, flip, headline, around, noise)


def _strike(strike: Floats, index: int | None) -> float | None:
    return None if index is None else float(strike[index])


def _regime(net_gex: float) -> str:
    if net_gex == 0:
        return "unknown"
    return "positive_gamma" if net_gex > 0 else "negative_gamma"
