"""Prices, volatilities and greeks against published vectors and 50-digit arithmetic (mpmath)."""

from __future__ import annotations

import csv
import json
import math
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sampler.metrics import black
from tests.real_chains import DATA, volkit

YEAR = 31_536_000.0
SECOND = 1 / YEAR
MICROSECOND = 1e-6 * SECOND
GREEKS = ("call_delta", "put_delta", "gamma", "vega", "theta", "vanna", "charm")


@pytest.fixture(autouse=True)
def _fifty_digits():
    with mp.workdps(50):
        yield


def close(value, rel):
    """Relative only: approx alone would let anything below 1e-12 pass."""
    return pytest.approx(value, rel=rel, abs=0)


def exact_price(forward, strike, years, sigma, call):
    """Black (1976) as in any textbook, at mpmath's precision."""
    f, k, t, s = map(mp.mpf, (forward, strike, years, sigma))
    d1 = mp.log(f / k) / (s * mp.sqrt(t)) + s * mp.sqrt(t) / 2
    d2 = d1 - s * mp.sqrt(t)
    return f * mp.ncdf(d1) - k * mp.ncdf(d2) if call else k * mp.ncdf(-d2) - f * mp.ncdf(-d1)


def exact_volatility(price, forward, strike, years, near):
    """The volatility that an exactly given out-of-the-money price has, by Newton in ln σ."""
    call, target = forward <= strike, mp.log(mp.mpf(price))
    sigma, root = mp.mpf(near), mp.sqrt(mp.mpf(years))
    for _ in range(200):
        value = exact_price(forward, strike, years, sigma, call)
        d1 = mp.log(mp.mpf(forward) / strike) / (sigma * root) + sigma * root / 2
        slope = forward * mp.npdf(d1) * root * sigma / value
        step = (target - mp.log(value)) / slope
        sigma *= mp.exp(max(min(step, 1), -1))
        if abs(step) < mp.mpf(10) ** -25:
            return sigma
    raise AssertionError("no exact volatility found")


def contracts(n=300, seed=1976):
    """Forward, strike, years, sigma over the stated domain: at random, and its corners."""
    rng = np.random.default_rng(seed)
    years = np.exp(rng.uniform(math.log(SECOND), 0, n))
    sigma = np.exp(rng.uniform(math.log(0.01), math.log(10), n))
    forward = np.exp(rng.uniform(math.log(0.01), math.log(1e5), n))
    away = rng.uniform(-10, 10, n)
    away[::5] = rng.normal(size=len(away[::5])) * 10.0 ** -rng.integers(0, 9, len(away[::5]))
    away[::17] = 0
    cases = list(
        zip(forward, forward * np.exp(away * sigma * years**0.5), years, sigma, strict=True)
    )
    for t in (MICROSECOND, SECOND, 60 * SECOND, 20_739 * SECOND, 0.0576, 1.0):
        for s in (0.01, 0.15, 10.0):
            for z in (-10, -1, -1e-9, 0, 1e-9, 1, 10):
                cases.append((7711.95, 7711.95 * math.exp(z * s * t**0.5), t, s))
    return [tuple(map(float, row)) for row in cases]


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


# Published answers


def test_strata_prices_to_the_last_digit():
    """63 undiscounted calls of OpenGamma Strata, 16 digits less what F·N - K·N cost them."""
    table = rows(DATA / "vectors/strata/strata_black_call_prices.csv")
    f, k, t, s, expected = (
        np.array([float(v) for v in c]) for c in zip(*(r.values() for r in table), strict=True)
    )
    actual = black.price(f, k, t, s, True)
    assert len(table) == 63
    assert expected == pytest.approx(actual, rel=2e-14, abs=2e-16)


def test_strata_volatilities_come_back():
    """Each printed price gives the volatility it was made with, as far as its digits know it."""
    for row in rows(DATA / "vectors/strata/strata_black_call_prices.csv"):
        f, k, t, s, p = (float(v) for v in row.values())
        nudge = 1e-12 * s
        vega = (exact_price(f, k, t, s + nudge, True) - exact_price(f, k, t, s, True)) / nudge
        known = (1e-14 * p + 2e-16) / (s * float(vega)) + 1e-15
        assert s == close(float(black.implied_volatility(p, f, k, t, True)), known)


def test_py_vollib_prices_and_greeks():
    """101 rows of spot prices and five greeks with 6 to 10 digits, undiscounted by their rate."""
    table = json.loads((DATA / "vectors/py_vollib/py_vollib_test_data.json").read_text())
    v = dict(zip(table["columns"], np.array(table["data"], float).T, strict=True))
    discount = np.exp(-v["R"] * v["t"])
    forward = v["S"] / discount
    # What carry adds to their theta, from their own price and delta.
    call_carry = v["R"] * (v["S"] * v["CD"] - v["bs_call"])
    g = black.greeks(v["S"], forward, v["K"], v["t"], v["v"])
    near = {"rel": 2e-5, "abs": 6e-10}
    assert len(v["S"]) == 101
    for right, name in ((True, "bs_call"), (False, "bs_put")):
        actual = discount * black.price(forward, v["K"], v["t"], v["v"], right)
        assert v[name] == pytest.approx(actual, **near)
    assert v["CD"] == pytest.approx(g.call_delta, **near)
    assert v["PD"] == pytest.approx(g.put_delta, **near)
    assert v["CG"] == pytest.approx(g.gamma, **near)
    assert v["CV"] == pytest.approx(discount * g.vega, **near)
    assert v["CT"] == pytest.approx(discount * g.theta - call_carry, rel=2e-5, abs=1e-6)


def test_haug_prices():
    """43 prices of Haug's tables (generalised Black-Scholes, carry r - q)."""
    table = rows(DATA / "vectors/haug/haug_european_values.csv")
    right = np.array([r["type"] == "Call" for r in table])
    names = ("strike", "spot", "q", "r", "t", "vol", "value", "tol")
    k, spot, q, r, t, vol, expected, tol = (np.array([float(x[n]) for x in table]) for n in names)
    actual = np.exp(-r * t) * black.price(spot * np.exp((r - q) * t), k, t, vol, right)
    assert len(table) == 43
    assert np.abs(expected - actual).max() <= tol.max()


def test_haug_greeks():
    """Haug's delta, gamma and vega to the four digits printed."""
    table = rows(DATA / "vectors/haug/haug_european_greeks.csv")
    for row, name in (
        (0, "call_delta"),
        (1, "put_delta"),
        (3, "gamma"),
        (4, "gamma"),
        (5, "vega"),
        (6, "vega"),
    ):
        k, spot, q, r, t, vol, expected = (
            float(table[row][n]) for n in ("strike", "spot", "q", "r", "t", "vol", "value")
        )
        growth = math.exp((r - q) * t)
        actual = float(getattr(black.greeks(spot, spot * growth, k, t, vol), name))
        # Theirs are per $ of spot and discounted: delta and gamma by q, vega by r.
        actual *= math.exp(-r * t) if name == "vega" else math.exp(-q * t)
        assert expected == pytest.approx(actual, abs=0.5e-4)


# Fifty digits


@pytest.mark.parametrize("call", [True, False])
def test_price_over_the_whole_domain(call):
    """Every price to 1e-13 of the exact one of the same doubles; in the money it is no worse."""
    table = contracts()
    exact = [exact_price(*c, call) for c in table]
    actual = black.price(*np.array(table).T, call)
    assert [float(e) for e in exact] == close(actual, 1e-13)


def test_volatility_over_the_whole_domain():
    """The volatility of a rounded out-of-the-money price to 1e-14, and its price to 1e-12."""
    for forward, strike, years, sigma in contracts():
        call = forward <= strike
        value = float(exact_price(forward, strike, years, sigma, call))
        expected = exact_volatility(value, forward, strike, years, sigma)
        actual = float(black.implied_volatility(value, forward, strike, years, call))
        assert float(expected) == close(actual, 1e-14)
        again = float(exact_price(forward, strike, years, actual, call))
        assert value == close(again, 1e-12)


def test_volatility_of_in_the_money_prices():
    """In the money the double's volatility is found to the last digit too, where it has one."""
    solved = 0
    for forward, strike, years, sigma in contracts(200, seed=7):
        call = forward > strike
        value = float(exact_price(forward, strike, years, sigma, call))
        time_value = Fraction(value) - abs(Fraction(forward) - Fraction(strike))
        actual = float(black.implied_volatility(value, forward, strike, years, call))
        if not 0 < time_value < min(forward, strike):
            assert math.isnan(actual)
            continue
        time_value = mp.mpf(time_value.numerator) / time_value.denominator
        expected = exact_volatility(time_value, forward, strike, years, actual)
        assert float(expected) == close(actual, 1e-14)
        solved += 1
    assert solved > 150


@pytest.mark.parametrize("digits", [24, 100, 200, 300, 307])
def test_volatility_of_vanishing_prices(digits):
    """Prices down to the smallest normal double: finite, and right to 1e-12."""
    for strike, years in ((7712.0, SECOND), (7800.0, 20_739 * SECOND), (4e4, 1.0)):
        value = 7711.95 * 10.0**-digits
        actual = float(black.implied_volatility(value, 7711.95, strike, years, True))
        expected = exact_volatility(value, 7711.95, strike, years, actual)
        assert float(expected) == close(actual, 1e-12)


@pytest.mark.parametrize("digits", [12, 100, 252, 290])
def test_vanishing_prices_at_the_money(digits):
    """There F·σ·√(T/2π) is the price, to a part in 1/(24·σ²T)."""
    value = 10.0**-digits
    expected = value * math.sqrt(2 * math.pi / 0.09) / 100
    assert expected == close(black.implied_volatility(value, 100.0, 100.0, 0.09, False), 1e-15)


@pytest.mark.parametrize("missing", [0.9, 0.76, 0.74, 0.5, 1e-3, 1e-9, 2.0**-52])
@pytest.mark.parametrize("strike", [100.0, 100.001, 130.0, 1e4, 1e12])
def test_volatility_of_prices_near_their_bound(missing, strike):
    """A call worth almost its forward: the answer for the double that was given, to 1e-14."""
    value = 100.0 * (1.0 - missing)
    actual = float(black.implied_volatility(value, 100.0, strike, 0.25, True))
    expected = exact_volatility(value, 100.0, strike, 0.25, actual)
    assert float(expected) == close(actual, 1e-14)


def test_subnormal_prices_have_a_volatility():
    """5e-324 is inside the bounds, so it has a finite volatility, at the money and far from it."""
    strike = np.array([7711.95, 7712.0, 8000.0, 1e6, 3.0])
    actual = black.implied_volatility(5e-324, 7711.95, strike, 0.001, strike >= 7711.95)
    assert np.isfinite(actual).all()
    assert (actual[1:] > 0).all()


def test_immense_volatility_is_worth_the_bound():
    """A call tends to F and a put to K, without overflow on the way."""
    for sigma in (50.0, 1e3, 1e150):
        assert black.price(100.0, 130.0, 1.0, sigma, True) == close(100.0, 1e-15)
        assert black.price(100.0, 130.0, 1.0, sigma, False) == close(130.0, 1e-15)


def differenced(name, spot, forward, strike, years, sigma):
    """A greek by central differences of exact prices, good to about 1e-20."""
    h = mp.mpf(10) ** -20
    right = name == "call_delta" or (name != "put_delta" and forward <= strike)

    def value(df=0, dt=0, ds=0):
        moved = forward * (1 + df * h), strike, years * (1 + dt * h), sigma * (1 + ds * h)
        return exact_price(*moved, right)

    def delta(**moved):
        return (value(df=1, **moved) - value(df=-1, **moved)) / (2 * h * forward)

    if name in ("call_delta", "put_delta"):
        return delta()
    if name == "gamma":  # of the forward, which is to spot as F/S
        second = (value(df=1) - 2 * value() + value(df=-1)) / (h * forward) ** 2
        return second * mp.mpf(forward) / mp.mpf(spot)
    if name == "vega":
        return (value(ds=1) - value(ds=-1)) / (2 * h * sigma)
    if name == "theta":
        return -(value(dt=1) - value(dt=-1)) / (2 * h * years)
    if name == "vanna":
        return (delta(ds=1) - delta(ds=-1)) / (2 * h * sigma)
    return -(delta(dt=1) - delta(dt=-1)) / (2 * h * years)


@pytest.mark.parametrize("name", GREEKS)
def test_greek_is_the_difference_of_exact_prices(name):
    """Each greek by its definition, without its closed form: units, sign and twelve digits."""
    mp.mp.dps = 160
    for forward, strike, years, sigma in contracts(60, seed=3):
        spot = forward * 0.9993
        expected = float(differenced(name, spot, forward, strike, years, sigma))
        g = black.greeks(spot, forward, strike, years, sigma)
        # Vanna and charm pass through 0 where d2 does: there, digits of n(d1)/σ and n(d1)/T.
        density = float(g.vega) / (forward * math.sqrt(years))
        zero = {"vanna": density / sigma, "charm": density / years}.get(name, 0.0)
        actual = float(getattr(g, name))
        assert expected == pytest.approx(actual, rel=1e-12, abs=1e-14 * zero)


# Refusals and edges


@pytest.mark.parametrize(
    ("price", "forward", "strike", "years", "call"),
    [
        (0.0, 100, 110, 0.1, True),
        (0.0, 100, 100, 0.1, True),
        (0.0, 100, 100, 0.1, False),
        (-1.0, 100, 110, 0.1, True),
        (10.0, 110, 100, 0.1, True),
        (9.99, 110, 100, 0.1, True),
        (10.0, 100, 110, 0.1, False),
        (100.0, 100, 110, 0.1, True),
        (101.0, 100, 90, 0.1, True),
        (90.0, 100, 90, 0.1, False),
        (math.inf, 100, 90, 0.1, False),
        (math.nan, 100, 110, 0.1, True),
        (1.0, math.nan, 110, 0.1, True),
        (1.0, 100, math.nan, 0.1, True),
        (1.0, 100, 110, math.nan, True),
        (1.0, 100, 110, 0.0, True),
        (1.0, 100, 110, -0.1, True),
        (1.0, 100, 110, math.inf, True),
        (1.0, 0, 110, 0.1, True),
        (1.0, -100, 110, 0.1, True),
        (1.0, 100, 0, 0.1, False),
        (1.0, 100, -110, 0.1, True),
        (1.0, math.inf, 110, 0.1, True),
        (1.0, 100, math.inf, 0.1, True),
    ],
)
def test_what_has_no_volatility_is_nan_and_leaves_its_neighbours(
    price, forward, strike, years, call
):
    """Refused by mask: NaN in its place of a column, the others solved, nothing raised."""
    column = black.implied_volatility(
        np.array([5.0, price, 5.0]),
        np.array([100.0, forward, 100.0]),
        np.array([101.0, strike, 101.0]),
        np.array([0.1, years, 0.1]),
        np.array([True, call, True]),
    )
    assert np.isnan(column).tolist() == [False, True, False]
    assert math.isnan(black.implied_volatility(price, forward, strike, years, call))


@pytest.mark.parametrize("years", [0.0, -1e-9, -1.0])
@pytest.mark.parametrize("sigma", [0.2, 0.0, math.nan])
def test_at_expiry_only_intrinsic_is_left(years, sigma):
    """T <= 0: max(±(F - K), 0), deltas 1, ½ and 0, all else 0, whatever the volatility."""
    strike = np.array([90.0, 100.0, 110.0])
    g = black.greeks(100.0, 100.0, strike, years, sigma)
    assert black.price(100.0, strike, years, sigma, True).tolist() == [10.0, 0.0, 0.0]
    assert black.price(100.0, strike, years, sigma, False).tolist() == [0.0, 0.0, 10.0]
    assert g.call_delta.tolist() == [1.0, 0.5, 0.0]
    assert g.put_delta.tolist() == [0.0, -0.5, -1.0]
    assert all(getattr(g, name).tolist() == [0.0, 0.0, 0.0] for name in GREEKS[2:])


@pytest.mark.parametrize(("years", "sigma"), [(0.0, 0.2), (0.1, 0.0)])
@pytest.mark.parametrize("unit", [1.0, 0.01, 1e-9])
def test_intrinsic_deltas_of_prices_below_a_dollar(years, sigma, unit):
    """Deltas have no unit: whether a price is 100 $ or 100 billionths, they are 1, ½ and 0."""
    strike = unit * np.array([90.0, 100.0, 110.0])
    g = black.greeks(100.0 * unit, 100.0 * unit, strike, years, sigma)
    assert g.call_delta.tolist() == [1.0, 0.5, 0.0]
    assert g.put_delta.tolist() == [0.0, -0.5, -1.0]


def test_without_volatility_only_intrinsic_is_left():
    """σ = 0 before expiry is the same limit."""
    g = black.greeks(100.0, 100.0, np.array([90.0, 100.0, 110.0]), 0.1, 0.0)
    assert g.call_delta.tolist() == [1.0, 0.5, 0.0]
    assert all(getattr(g, name).tolist() == [0.0, 0.0, 0.0] for name in GREEKS[2:])
    assert black.price(110.0, 100.0, 0.1, 0.0, True) == 10.0


@pytest.mark.parametrize(
    ("forward", "strike", "years", "sigma"),
    [
        (math.nan, 100, 0.1, 0.2),
        (0, 100, 0.1, 0.2),
        (-100, 100, 0.1, 0.2),
        (math.inf, 100, 0.1, 0.2),
        (100, math.nan, 0.1, 0.2),
        (100, 0, 0.1, 0.2),
        (100, -100, 0.1, 0.2),
        (100, math.inf, 0.1, 0.2),
        (100, 100, math.nan, 0.2),
        (100, 100, math.inf, 0.2),
        (100, 100, 0.1, math.nan),
        (100, 100, 0.1, -0.2),
        (100, 100, 0.1, math.inf),
        (0, 100, 0.0, 0.2),
        (math.inf, 100, 0.0, 0.2),
        (100, math.nan, 0.0, 0.2),
    ],
)
def test_unusable_inputs_give_nan(forward, strike, years, sigma):
    """Price and all seven greeks, never an exception or a number that looks right."""
    g = black.greeks(100.0, float(forward), float(strike), years, sigma)
    assert math.isnan(black.price(forward, strike, years, sigma, True))
    assert all(math.isnan(greek) for greek in g)


@pytest.mark.parametrize("spot", [math.nan, 0.0, -1.0, math.inf])
def test_unusable_spot_gives_nan(spot):
    """Greeks without a spot would be half a truth."""
    assert all(math.isnan(greek) for greek in black.greeks(spot, 100.0, 100.0, 0.1, 0.2))


@given(
    forward=st.floats(1e-3, 1e6),
    away=st.floats(-1, 1) | st.just(0.0),
    years=st.floats(MICROSECOND, 2.0) | st.sampled_from([MICROSECOND, SECOND]),
    sigma=st.floats(1e-4, 20.0),
)
@example(forward=7711.95, away=0.0, years=MICROSECOND, sigma=1e-4)
@example(forward=7711.95, away=1e-9, years=MICROSECOND, sigma=0.15)
def test_greeks_are_finite_to_the_last_microsecond(forward, away, years, sigma):
    """However short the time and far the strike: finite, deltas in bounds, gamma not negative."""
    g = black.greeks(forward, forward, forward * math.exp(away), years, sigma)
    assert np.isfinite(np.array(g)).all()
    assert 0 <= g.call_delta <= 1
    assert -1 <= g.put_delta <= 0
    assert g.gamma >= 0 >= g.theta


@pytest.mark.parametrize("sigma", [1e-4, 0.15])
def test_gamma_at_the_money_grows_without_limit(sigma):
    """One microsecond before expiry it is still 1/(√(2π)·S·σ√T), not cut off."""
    expected = 1 / (math.sqrt(2 * math.pi) * 7711.95 * sigma * math.sqrt(MICROSECOND))
    assert expected == close(
        black.greeks(7711.95, 7711.95, 7711.95, MICROSECOND, sigma).gamma, 1e-14
    )


# Properties


DOMAIN = {
    "forward": st.floats(0.01, 1e5),
    "away": st.floats(-10, 10) | st.just(0.0),
    "years": st.floats(math.log(SECOND), 0).map(math.exp),
    "sigma": st.floats(0.01, 10),
}


def strike_of(forward, away, years, sigma):
    return forward * math.exp(away * sigma * math.sqrt(years))


@given(**DOMAIN)
def test_put_call_parity(forward, away, years, sigma):
    """C - P = F - K, to the rounding of the larger."""
    strike = strike_of(forward, away, years, sigma)
    call, put = black.price(forward, strike, years, sigma, np.array([True, False]))
    assert forward - strike == pytest.approx(call - put, abs=4e-16 * max(forward, strike))


@given(**DOMAIN, more=st.floats(1e-6, 1.0))
def test_price_grows_with_volatility(forward, away, years, sigma, more):
    """Strictly between the intrinsic value and the bound, and rising."""
    strike = strike_of(forward, away, years, sigma)
    call = forward <= strike
    less, greater = black.price(forward, strike, years, np.array([sigma, sigma * (1 + more)]), call)
    assert 0 < less <= greater <= min(forward, strike)
    assert less < greater or less > min(forward, strike) * (1 - 1e-6)


@given(**DOMAIN)
def test_volatility_comes_back(forward, away, years, sigma):
    """price → volatility → price is the identity to 1e-12 of the price."""
    strike = strike_of(forward, away, years, sigma)
    call = forward <= strike
    value = black.price(forward, strike, years, sigma, call)
    assume(value < min(forward, strike))
    volatility = black.implied_volatility(value, forward, strike, years, call)
    assert value == close(black.price(forward, strike, years, volatility, call), 1e-12)


@given(**DOMAIN, power=st.integers(-30, 30))
def test_scale_does_not_matter(forward, away, years, sigma, power):
    """Quoting in another unit (a power of two) scales prices and leaves volatility bit for bit."""
    strike, unit = strike_of(forward, away, years, sigma), 2.0 ** (2 * power)
    value = black.price(forward, strike, years, sigma, True)
    scaled = black.price(forward * unit, strike * unit, years, sigma, True)
    assert value * unit == scaled
    np.testing.assert_array_equal(
        black.implied_volatility(value, forward, strike, years, True),
        black.implied_volatility(value * unit, forward * unit, strike * unit, years, True),
    )


@given(**DOMAIN, unit=st.floats(1e-3, 1e3))
def test_any_scale_gives_the_same_volatility(forward, away, years, sigma, unit):
    """The same for any unit, to the rounding of forward and strike."""
    strike = strike_of(forward, away, years, sigma)
    call = forward <= strike
    value = black.price(forward, strike, years, sigma, call)
    scaled = black.price(forward * unit, strike * unit, years, sigma, call)
    # An ulp of the strike moves ln(F/K) by 1e-16, and that d1 by 1e-16/(σ√T), |d1| <= 15.
    assert value * unit == close(scaled, 1e-14 + 1e-14 / (sigma * math.sqrt(years)))


def chain(n):
    """A chain that crosses every path of the solver: narrow, wide, near a bound, refused."""
    z = np.linspace(-9, 9, n)
    sigma = np.geomspace(0.01, 10, n)
    strike = 100 * np.exp(z * sigma * 0.3)
    call = strike >= 100
    price = black.price(100.0, strike, 0.09, sigma, call)
    price[::7] *= 1.5
    price[3::11] = np.nan
    return price, strike, sigma, call


@pytest.mark.parametrize("n", [2, 3, 5, 8, 17, 100, 333])
def test_a_scalar_gives_the_bits_of_an_array(n):
    """Alone, first, last or in the middle of a column, a contract has the same answer."""
    price, strike, sigma, call = chain(n)
    columns = [
        black.price(100.0, strike, 0.09, sigma, call),
        black.implied_volatility(price, 100.0, strike, 0.09, call),
        *black.greeks(100.0, 100.0, strike, 0.09, sigma),
    ]
    for i in range(n):
        alone = [
            black.price(100.0, strike[i], 0.09, sigma[i], call[i]),
            black.implied_volatility(price[i], 100.0, strike[i], 0.09, bool(call[i])),
            *black.greeks(100.0, 100.0, strike[i], 0.09, sigma[i]),
        ]
        np.testing.assert_array_equal(alone, [column[i] for column in columns])


def test_levels_may_be_columns():
    """Forward and years as arrays, per contract, give the bits of the scalars."""
    price, strike, sigma, call = chain(50)
    forward, years = np.full(50, 100.0), np.full(50, 0.09)
    for whole, scalar in (
        (
            black.price(forward, strike, years, sigma, call),
            black.price(100.0, strike, 0.09, sigma, call),
        ),
        (
            black.implied_volatility(price, forward, strike, years, call),
            black.implied_volatility(price, 100.0, strike, 0.09, call),
        ),
        (
            np.array(black.greeks(forward, forward, strike, years, sigma)),
            np.array(black.greeks(100.0, 100.0, strike, 0.09, sigma)),
        ),
    ):
        np.testing.assert_array_equal(whole, scalar)


def test_shapes_broadcast_as_in_numpy():
    """Scalars give (), a row of strikes against a column of rights a table, none an empty one."""
    strike, right = np.array([90.0, 100.0, 110.0]), np.array([[True], [False]])
    table = black.price(100, strike, 1, 0.2, right)
    assert black.price(100, 100, 1, 0.2, True).shape == ()
    assert black.price(100.0, [100.0], 1.0, 0.2, True).shape == (1,)
    assert table.shape == (2, 3)
    np.testing.assert_array_equal(table[1], black.price(100.0, strike, 1.0, 0.2, False))
    assert black.greeks(100.0, 100.0, strike, 1.0, np.full((2, 1), 0.2)).charm.shape == (2, 3)
    np.testing.assert_array_equal(
        table, black.price(100.0, np.tile(strike, (2, 1)), 1.0, 0.2, np.tile(right, 3))
    )
    assert black.implied_volatility(np.empty(0), 100.0, np.empty(0), 1.0, True).shape == (0,)
    with pytest.raises(ValueError, match="broadcast"):
        black.price(100.0, np.ones(3), 1.0, np.ones(2), True)


def test_memory_layout_does_not_matter():
    """Read-only, strided, reversed, integer and float32 columns are read for what they hold."""
    strike = np.arange(90, 111)
    expected = black.price(100.0, strike.astype(float), 1.0, 0.2, True)
    frozen = strike.astype(float)
    frozen.flags.writeable = False
    strided = np.repeat(strike.astype(float), 3)[::3]
    for layout in (strike, frozen, strided, strike.astype(np.float32), list(strike)):
        np.testing.assert_array_equal(expected, black.price(100, layout, np.float32(1), 0.2, 1))
    np.testing.assert_array_equal(expected[::-1], black.price(100.0, frozen[::-1], 1.0, 0.2, True))


def test_arguments_are_left_alone():
    """The solver works on copies of its own."""
    price, strike, sigma, call = chain(20)
    before = [a.copy() for a in (price, strike, sigma, call)]
    black.implied_volatility(price, 100.0, strike, 0.09, call)
    black.greeks(100.0, 100.0, strike, 0.09, sigma)
    for old, new in zip(before, (price, strike, sigma, call), strict=True):
        np.testing.assert_array_equal(old, new)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_two_sided_quotes_of_any_day_are_solved(seed):
    """A random chain in cents, out of the money: all solved, and every mid comes back."""
    rng = np.random.default_rng(seed)
    years = float(rng.uniform(60, 23_400)) * SECOND
    strike = np.arange(7000.0, 8400.0, 5.0)
    call = strike >= 7711.95
    value = black.price(7711.95, strike, years, rng.uniform(0.05, 2.0, strike.size), call)
    mid = np.maximum(np.ceil(value * 20), 1) / 20
    sigma = black.implied_volatility(mid, 7711.95, strike, years, call)
    again = black.price(7711.95, strike, years, sigma, call)
    np.testing.assert_allclose(again, mid, rtol=1e-12)


def test_a_real_chain_is_solved():
    """Every two-sided out-of-the-money quote of a real chain: its price comes back to 1e-12."""
    quotes = volkit().retold("2019-06-28", 10).contracts
    forward, years = 2917.7, 20_700 * SECOND
    usable = sorted(
        (q.strike, (q.bid + q.ask) / 2)
        for q in quotes
        if q.ask >= q.bid > 0 and (q.right > 0) == (q.strike >= forward)
    )
    strike, mid = np.array(usable).T
    sigma = black.implied_volatility(mid, forward, strike, years, strike >= forward)
    exact = [
        exact_price(forward, k, years, s, k >= forward) for k, s in zip(strike, sigma, strict=True)
    ]
    assert len(usable) == 68
    assert mid.tolist() == close([float(e) for e in exact], 1e-12)
