"""All loops over a chain's quotes in one call give what the single functions give, to the bit."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from sampler.chain import Chain, select_chain
from sampler.metrics.contradiction import contradiction
from sampler.metrics.flow import quote
from sampler.metrics.quotes import judge_by, read_quotes
from sampler.metrics.smile import LEAST, forward, smile
from sampler.metrics.width import LEAST_WIDE, out_of_the_money, quoted_range
from tests.hostile import clean_session

NAN = math.nan
#: What is done to a chain's quotes: to which part of them, and by how much bid and ask change.
DAMAGE = {
    "none": (0.0, 1.0, 1.0),
    "wide": (0.2, 0.5, 4.0),
    "contradicting": (0.1, 1.4, 1.4),
    "crossed": (0.2, 2.0, 1.0),
    "unreadable": (0.5, NAN, 1.0),
    "few": (0.97, NAN, NAN),
    "nothing": (1.0, NAN, NAN),
}


def damaged(damage: str) -> Iterator[tuple[Chain, np.ndarray, np.ndarray]]:
    """Chains of two symbols, with bids and asks of which some are wrong."""
    share, of_bid, of_ask = DAMAGE[damage]
    dice = np.random.default_rng(3)
    for symbol, first in (("SPX", 300), ("NVDA", 300)):
        clean = clean_session(symbol, first)
        for frame in clean.frames[::8]:
            chain = select_chain(frame, clean.session)
            wrong = dice.random(chain.bid.shape) < share
            bid = np.where(wrong, chain.bid * of_bid, chain.bid)
            yield chain, bid, np.where(wrong, chain.ask * of_ask, chain.ask)


def check(strike, bid, ask, *, spot: float, years: float, usual_atm: float) -> str:
    """Compare one chain's quotes; returns what they were."""
    read = read_quotes(strike, bid, ask, spot=spot, years=years, usual_atm=usual_atm)
    quoted = quote(bid, ask)
    assert [c.tobytes() for c in read.quote] == [c.tobytes() for c in quoted]
    fwd = forward(strike, quoted.mid, bid, spot)
    assert repr(read.forward) == repr(fwd)
    if not fwd.level > 0:
        assert read.smile is None
        return "no forward"
    fitted = smile(strike, quoted.mid, bid, forward=fwd.level, years=years)
    if fitted is None:
        assert read.smile is None
        return "no volatility"
    assert read.smile is not None
    assert [c.tobytes() for c in read.smile] == [c.tobytes() for c in fitted]
    ranged = quoted_range(strike, bid, ask, forward=fwd.level, years=years)
    assert [c.tobytes() for c in read.ranged] == [c.tobytes() for c in ranged]
    atm = float(np.interp(fwd.level, strike, fitted.filled))
    assert read.atm == atm
    known = np.isfinite(ranged.uncertainty)
    if known.any():
        expected = float(np.interp(fwd.level, strike[known], ranged.uncertainty[known]))
        assert read.atm_uncertainty == expected
    else:
        assert math.isnan(read.atm_uncertainty)
    width = 2.0 * out_of_the_money(strike, quoted.half, fwd.level)
    assert read.suspect == bool((width > LEAST_WIDE).any())
    if fwd.estimates < LEAST:
        assert read.contradiction is None
        return "no parity"
    sides = (bid, ask, ranged.at_bid, ranged.at_ask)
    judged = judge_by(atm, usual_atm)
    expected = contradiction(strike, *sides, forward=fwd.level, atm=judged, years=years)
    assert read.contradiction == expected
    return "sound" if expected is None else "contradicting"


@pytest.mark.parametrize("damage", DAMAGE)
def test_in_one_call_as_one_by_one(damage: str) -> None:
    """Sound chains and damaged ones, with and without the source's spot and a usual volatility."""
    outcomes = set()
    for chain, bid, ask in damaged(damage):
        for spot in (chain.spot, NAN):
            for usual in (math.inf, 0.05):
                outcomes.add(
                    check(chain.strike, bid, ask, spot=spot, years=chain.years, usual_atm=usual)
                )
    assert (
        outcomes
        >= {
            "none": {"sound"},
            "wide": {"sound"},
            "contradicting": {"contradicting"},
            "crossed": {"sound"},
            "unreadable": {"sound"},
            "few": {"no parity", "no forward"},
            "nothing": {"no volatility", "no forward"},
        }[damage]
    )


def test_the_volatility_that_quotes_are_judged_by() -> None:
    """The usual one where it is lower, but no less than half of this slot's."""
    assert judge_by(0.2, math.inf) == 0.2
    assert judge_by(0.2, 0.3) == 0.2
    assert judge_by(0.2, 0.15) == 0.15
    assert judge_by(0.2, 0.05) == 0.1
