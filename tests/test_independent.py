"""The independent program itself: against arithmetic of 40 digits, and a third program's answers."""

from __future__ import annotations

import json
import math

import mpmath
import pytest

from tests import independent, real_chains
from tests.independent import CALL, PUT

mpmath.mp.dps = 40


def exact(level: float, strike: float, years: float, sigma: float) -> mpmath.mpf:
    """The out-of-the-money price, by the textbook and 40 digits."""
    f, k, t, s = map(mpmath.mpf, (level, strike, years, sigma))
    total = s * mpmath.sqrt(t)
    first = mpmath.log(f / k) / total + total / 2
    call = f * mpmath.ncdf(first) - k * mpmath.ncdf(first - total)
    return call if strike >= level else call - f + k


@pytest.mark.parametrize("expiry", ["2019-06-28", "2019-07-26", "2019-12-31"])
def test_its_volatilities_give_the_quoted_prices_back(expiry):
    """Every volatility of a real chain, priced with 40 digits, is the mid to 1e-9."""
    market = independent.market_of(real_chains.volkit().retold(expiry, 14).sample)
    tried = 0
    for strike, sigma in zip(market.strikes, market.own, strict=True):
        if math.isnan(sigma):
            continue
        contract = market.sample.contract(strike, CALL if strike >= market.level else PUT)
        price = exact(market.level, strike, market.years, sigma)
        assert abs(price / mpmath.mpf(independent.mid(contract)) - 1) < 1e-9
        tried += 1
    assert tried > 60


def test_its_greeks_are_derivatives():
    """Delta, gamma, vanna and theta are what differences of 40-digit prices give."""
    level, strike, years, sigma = 4000.0, 4010.0, 0.002, 0.15

    def price(f=0.0, t=0.0, s=0.0):
        return exact(level + f, strike, years + t, sigma + s)

    h = mpmath.mpf("1e-10")

    def slope(name):
        return (price(**{name: h}) - price(**{name: -h})) / (2 * h)

    assert independent.call_delta(level, strike, years, sigma) == pytest.approx(float(slope("f")))
    assert independent.theta(level, strike, years, sigma) == pytest.approx(-float(slope("t")))
    curve = (price(f=h) - 2 * price() + price(f=-h)) / h**2
    assert independent.gamma(level, strike, years, sigma, level) == pytest.approx(float(curve))
    up, down = ((price(f=h, s=step) - price(f=-h, s=step)) / (2 * h) for step in (h, -h))
    cross = (up - down) / (2 * h)
    assert independent.vanna(level, strike, years, sigma) == pytest.approx(float(cross), rel=1e-5)


def test_it_agrees_with_a_third_program(shared):
    """An extra: 20 chains that another slow program measured, on settled open interest.

    That program takes gamma per $ of forward, this one per $ of spot: F/S apart, no more.
    """
    lines = (shared / "reference/snapshots.jsonl").read_text().splitlines()
    assert len(lines) == 20
    for line in lines:
        other = json.loads(line)
        chain = real_chains.compact(shared / "chains" / other["file"][:3] / other["file"])
        answer = independent.answer(chain.sample)
        figures = answer.figures | answer.settled | {"roots": answer.settled["crossings"]}
        for name in ("net_gex", "call_gex", "put_gex", "gross_gex", "magnet_gex"):
            other[name] *= other["forward"] / other["spot"]
        for name in ("contracts", "total_oi", "call_wall", "put_wall", "magnet", "max_pain"):
            assert (other["file"], name, other.pop(name)) == (other["file"], name, figures[name])
        assert other.pop("pin_score") == figures["pin_score"]
        parts = {f"pin_{name}": points for name, points in other.pop("pin_parts").items()}
        lognormal = other.pop("pin_probability_lognormal_pct")
        probability = independent.pin_probability_pct(
            answer.market, figures["magnet"], lognormal=True
        )
        assert lognormal == pytest.approx(probability, rel=1e-9)
        for name, value in (other | parts).items():
            # Of these two that program has an earlier definition.
            if name not in ("file", "at", "net_chex", "charm_dollars_per_hour"):
                assert value == pytest.approx(figures[name], rel=1e-9, abs=1e-9), (
                    other["file"],
                    name,
                )
