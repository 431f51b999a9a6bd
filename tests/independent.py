"""A slow program that computes what docs/definitions.md defines, and shares no code with the product.

It exists to be compared with. Volatilities come from bisection, flips from a dense grid and
bisection, sums from plain loops. Nothing is imported from ``sampler``, ``storage`` or ``api``, and
nothing is fast. One function computes one definition; its docstring quotes the rule. Change a
definition in the docs, then here, then in the product, and the comparison says whether all agree.

Prices and strikes are in dollars, times in seconds, volatilities decimal. NaN is "not known".
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import erfcx

NAN = math.nan
SHARES = 100
YEAR = 365 * 24 * 3600
CALL, PUT = 1, -1
#: Fractions of spot that hedges are given for, by the name of their field.
MOVES = {
    "spot_up_10bp": 0.001,
    "spot_down_10bp": -0.001,
    "spot_up_25bp": 0.0025,
    "spot_down_25bp": -0.0025,
    "spot_up_half_pct": 0.005,
    "spot_down_half_pct": -0.005,
    "spot_up_1pct": 0.01,
    "spot_down_1pct": -0.01,
}


class Contract(NamedTuple):
    """One option of one sample, as a feed gives it."""

    strike: float
    #: +1 for a call, -1 for a put.
    right: int
    bid: float
    ask: float
    last: float = NAN
    #: When the last trade was, unix time.
    last_at: float = NAN
    open_interest: float = 0.0
    #: Contracts traded today.
    volume: float = 0.0
    #: Day of expiry, ISO.
    expiry: str = ""
    #: Of ``volume``, legs of spreads.
    multi_leg: float = NAN


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the program is given: the contracts that expire today, and when they were quoted."""

    contracts: Sequence[Contract]
    spot: float
    #: Unix time of the quotes.
    quoted_at: float
    #: From the quotes to the last trade.
    seconds_left: float
    #: From the session's open to the quotes, and from open to close.
    seconds_gone: float
    session_seconds: float
    #: The contract's price step at a price.
    tick: Callable[[float], float] = lambda price: 0.01

    @property
    def years(self) -> float:
        """T, ACT/365."""
        return self.seconds_left / YEAR

    @property
    def strikes(self) -> list[float]:
        """Ascending, each once."""
        return sorted({c.strike for c in self.contracts})

    def volume_of_today(self, contract: Contract) -> float:
        """A contract's volume, as far as it is this session's.

        None of it is, if the last trade was before 20:00 of the evening before, 13.5 hours before the
        open. It cannot be read in the last 15 minutes if the last trade was after the close.
        """
        opened = self.quoted_at - self.seconds_gone
        closed = opened + self.session_seconds
        if math.isnan(contract.volume) or math.isnan(contract.last_at):
            return contract.volume
        if contract.last_at < opened - 13.5 * 3600:
            return 0.0
        late = contract.last_at >= closed and closed - self.quoted_at <= 900
        return NAN if late else contract.volume

    def contract(self, strike: float, right: int) -> Contract | None:
        """One contract; None where it is not listed."""
        return next((c for c in self.contracts if (c.strike, c.right) == (strike, right)), None)


def without_morning_twins(contracts: Sequence[Contract]) -> list[Contract]:
    """Where an index feed drops the root and keys repeat, what has neither quote nor volume is AM."""
    count = Counter((c.strike, c.right) for c in contracts)
    if max(count.values()) == 1:
        return list(contracts)
    return [c for c in contracts if c.bid > 0 or c.ask > 0 or c.volume > 0]


# Quotes and forward


def mid(contract: Contract | None) -> float:
    """(a + b)/2 of a quote with a ≥ b ≥ 0 and a > 0."""
    if contract is None or not (contract.ask > 0 and contract.ask >= contract.bid >= 0):
        return NAN
    return (contract.ask + contract.bid) / 2


def two_sided(contract: Contract | None) -> bool:
    """A quote with a bid and an ask that is not below it."""
    return contract is not None and contract.bid > 0 and contract.ask >= contract.bid


def forward(sample: Sample) -> tuple[float, float, int]:
    """Median of K + C − P over the 12 strikes with the smallest |C − P|; S if fewer than 3.

    Mids of quotes of which one at least has a bid. Also the scatter of the estimates, half their
    interquartile range, and how many there were.
    """
    nearest = [estimate for estimate, _ in parity_estimates(sample)]
    if len(nearest) < 3:
        return sample.spot, 0.0, len(nearest)
    low, middle, high = statistics.quantiles(nearest, n=4, method="inclusive")
    return middle, (high - low) / 2, len(nearest)


def parity_estimates(sample: Sample) -> list[tuple[float, float]]:
    """K + C − P at the 12 strikes with the smallest |C − P|, each with the sum of both widths."""
    pairs = []
    for strike in sample.strikes:
        call, put = sample.contract(strike, CALL), sample.contract(strike, PUT)
        gap = mid(call) - mid(put)
        if not math.isnan(gap) and (call.bid > 0 or put.bid > 0):
            width = call.ask - call.bid + put.ask - put.bid
            pairs.append((abs(gap), strike + gap, width))
    return [pair[1:] for pair in sorted(pairs, key=lambda pair: pair[0])[:12]]


def weighted_forward(sample: Sample) -> tuple[float, float, int]:
    """The forward of a row with wide quotes: each estimate weighs 1/w², w both widths, 0.01 $ at least.

    Median and quartiles are linear between the estimates at the middles of their weights.
    """
    nearest = sorted(parity_estimates(sample), key=lambda pair: pair[0])
    if len(nearest) < 3:
        return sample.spot, 0.0, len(nearest)
    weights = [1 / max(width, 0.01) ** 2 for _, width in nearest]
    middles = [
        (math.fsum(weights[:i]) + weight / 2) / math.fsum(weights)
        for i, weight in enumerate(weights)
    ]
    low, middle, high = (
        linear(quarter, middles, [estimate for estimate, _ in nearest])
        for quarter in (0.25, 0.5, 0.75)
    )
    return middle, (high - low) / 2, len(nearest)


def spot_to_use(sample: Sample, parity: tuple[float, float, int]) -> tuple[float, list[str]]:
    """S, or F where |F − S| > 0.10 % of S and > 3 scatters: ``stale_spot``.

    F too where there is no S: ``spot_from_parity``.

    From 0.01 % on, and beyond three scatters, the row says ``clock_skew`` and keeps S.
    """
    level, scatter, estimates = parity
    if estimates < 3:
        return sample.spot, ["forward_is_spot"]
    if math.isnan(sample.spot):
        return level, ["spot_from_parity"]
    off = abs(level - sample.spot)
    if off > 0.001 * sample.spot and off > 3 * scatter:
        return level, ["stale_spot"]
    if off > 0.0001 * sample.spot and off > 3 * scatter:
        return sample.spot, ["clock_skew"]
    return sample.spot, []


# Black (1976), undiscounted


def normal(x: float) -> float:
    """N(x), with all digits in both tails."""
    return math.erfc(-x / math.sqrt(2)) / 2


def bell(x: float) -> float:
    """n(x)."""
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def d1(level: float, strike: float, years: float, sigma: float) -> float:
    """d₁ = ln(F/K)/σ√T + σ√T/2."""
    total = sigma * math.sqrt(years)
    return math.log(level / strike) / total + total / 2


def mills(x: float) -> float:
    """N(−x)/n(x)."""
    return math.sqrt(math.pi / 2) * float(erfcx(x / math.sqrt(2)))


def time_value(level: float, strike: float, years: float, sigma: float) -> float:
    """The out-of-the-money price: F·N(d₁) − K·N(d₂) of a call from F on, the put's below F.

    F·n(d₁) = K·n(d₂), so the difference is one of Mills' ratios, and keeps its digits far out.
    """
    if sigma * math.sqrt(years) <= 0:
        return 0.0
    first = d1(level, strike, years, sigma)
    second = first - sigma * math.sqrt(years)
    if strike >= level:
        return level * bell(first) * (mills(-first) - mills(-second))
    return level * bell(first) * (mills(second) - mills(first))


def call_delta(level: float, strike: float, years: float, sigma: float) -> float:
    """N(d₁); at T ≤ 0 intrinsic, one half at the money."""
    if years <= 0:
        return 0.5 if level == strike else float(level > strike)
    return normal(d1(level, strike, years, sigma))


def gamma(level: float, strike: float, years: float, sigma: float, spot: float) -> float:
    """Γ = n(d₁)/(S·σ√T)."""
    if years <= 0:
        return 0.0
    return bell(d1(level, strike, years, sigma)) / (spot * sigma * math.sqrt(years))


def vanna(level: float, strike: float, years: float, sigma: float) -> float:
    """−n(d₁)·d₂/σ, per 1.00 of volatility."""
    first = d1(level, strike, years, sigma)
    return -bell(first) * (first - sigma * math.sqrt(years)) / sigma


def theta(level: float, strike: float, years: float, sigma: float) -> float:
    """−F·n(d₁)·σ/(2√T), dollars a year."""
    return -level * bell(d1(level, strike, years, sigma)) * sigma / (2 * math.sqrt(years))


def volatility(price: float, level: float, strike: float, years: float) -> float:
    """σ of an out-of-the-money price, by bisection to the last bit; NaN where there is none."""
    bound = min(level, strike)
    if not (0 < price < bound) or years <= 0:
        return NAN
    low, high = 0.0, 1.0
    while time_value(level, strike, years, high) < price:
        high *= 2
        if high > 1e6:
            return NAN
    while low < (middle := (low + high) / 2) < high:
        if time_value(level, strike, years, middle) < price:
            low = middle
        else:
            high = middle
    return high


# Smile


def out_of_the_money(sample: Sample, level: float) -> list[Contract | None]:
    """By strike, the put below F, the call from F on."""
    return [sample.contract(k, CALL if k >= level else PUT) for k in sample.strikes]


def own_volatilities(sample: Sample, level: float) -> list[float]:
    """By strike, of the out-of-the-money side's mid where that quote is two-sided; else NaN.

    The put below F, the call from F on. A volatility below 1e-6 is none.
    """
    volatilities = []
    for strike, contract in zip(sample.strikes, out_of_the_money(sample, level), strict=True):
        sigma = NAN
        if two_sided(contract):
            sigma = volatility(mid(contract), level, strike, sample.years)
        volatilities.append(sigma if sigma >= 1e-6 else NAN)
    return volatilities


def linear(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """Linear between known points, flat outside. ``xs`` ascend."""
    if x <= xs[0]:
        return ys[0]
    for (x0, y0), (x1, y1) in zip(
        zip(xs, ys, strict=False), zip(xs[1:], ys[1:], strict=False), strict=False
    ):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return ys[-1]


def filled(strikes: Sequence[float], own: Sequence[float]) -> list[float]:
    """Missing volatilities are linear in K between known strikes, flat outside."""
    known = [(k, s) for k, s in zip(strikes, own, strict=True) if not math.isnan(s)]
    return [linear(k, [a for a, _ in known], [b for _, b in known]) for k in strikes]


def uncertainties(sample: Sample, level: float) -> list[float]:
    """By strike, half the difference between the volatilities at the ask and at the bid, out of the
    money; NaN where that quote is not two-sided or a price has none.
    """
    errors = []
    for strike, c in zip(sample.strikes, out_of_the_money(sample, level), strict=True):
        half = NAN
        if two_sided(c):
            high, low = (volatility(price, level, strike, sample.years) for price in (c.ask, c.bid))
            half = (high - low) / 2
        errors.append(half)
    return errors


def wide_quotes(sample: Sample, level: float, remaining: float) -> bool:
    """Whether an out-of-the-money quote, wider than 0.50 $, is too wide.

    Its half-width is more than a fifth of σ_rem/√(2π), or within 6 σ_rem of F more than eight
    times the median of the two on each side of it, two in all at least.
    """
    quotes = [
        (strike, (c.ask - c.bid) / 2)
        for strike, c in zip(sample.strikes, out_of_the_money(sample, level), strict=True)
        if not math.isnan(mid(c))
    ]
    for i, (strike, half) in enumerate(quotes):
        if not half * 2 > 0.50:
            continue
        beside = [h for _, h in quotes[max(i - 2, 0) : i] + quotes[i + 1 : i + 3]]
        usual = statistics.median(beside) if len(beside) >= 2 else math.inf
        near = abs(strike - level) <= 6 * remaining
        if half > 0.2 * remaining / math.sqrt(2 * math.pi) or (near and half > 8 * usual):
            return True
    return False


def contradicts(sample: Sample, level: float, atm: float) -> bool:
    """Whether quotes contradict each other, by definitions.md's three conditions."""
    return bool(contradictions(sample, level, atm))


def contradictions(sample: Sample, level: float, atm: float) -> dict[float, float]:
    """By strike, the most by which its quotes miss what the others allow, in dollars.

    Only strikes that miss it by more than moments that lie apart explain.
    """
    second = level * atm / math.sqrt(365 * 86400)
    quoted = {(c.strike, c.right): c for c in sample.contracts if c.ask > 0 and c.ask >= c.bid >= 0}
    pairs = [
        (k, quoted[k, CALL], quoted[k, PUT])
        for k in sample.strikes
        if (k, CALL) in quoted and (k, PUT) in quoted
    ]
    if len(pairs) < 3:
        return {}
    misses: list[tuple[float, float]] = []
    lowest = max(k + c.bid - p.ask for k, c, p in pairs)
    highest = min(k + c.ask - p.bid for k, c, p in pairs)
    common = sorted((lowest, level, highest))[1]
    if lowest - highest > 2 * second + 0.02:
        # No level is in all ranges: those count that lie further from F than half of that.
        common = level
        ranges = [(k, k + c.bid - p.ask, k + c.ask - p.bid) for k, c, p in pairs]
        far = [(k, max(low - level, level - high)) for k, low, high in ranges]
        misses += [(k, miss) for k, miss in far if miss > second + 0.01]
    elif lowest > highest:
        common = (lowest + highest) / 2
    # Calls, and puts as the calls that parity makes of them: no bid above any line of two asks.
    points = []
    for k in sample.strikes:
        c = quoted.get((k, CALL if k >= common else PUT))
        if c is not None:
            more = common - k if c.right == PUT else 0.0
            points.append((k, c.bid + more, c.ask + more))
    xs = np.array([0.0, *(p[0] for p in points)])
    asks = np.array([common, *(p[2] for p in points)])
    for i, (k, bid, _) in enumerate(points, 1):
        left, right = slice(0, i + 1), slice(i + 1, None)
        most = float(asks[left].min())
        if i + 1 < len(xs):
            share = (k - xs[left, None]) / (xs[None, right] - xs[left, None])
            lines = asks[left, None] + share * (asks[None, right] - asks[left, None])
            most = min(most, float(lines.min()))
        if bid - most > second / 2 + 0.02:
            misses.append((k, bid - most))
    smile = []
    for k, c in zip(sample.strikes, out_of_the_money(sample, level), strict=True):
        if two_sided(c):
            ends = [volatility(price, level, k, sample.years) for price in (c.bid, c.ask)]
            if not any(map(math.isnan, ends)):
                smile.append((k, c, *ends))
    for i in range(2, len(smile) - 2):
        k, c = smile[i][:2]
        beside = [smile[i + j] for j in (-2, -1, 1, 2)]
        # The cubic's value here, as a sum of the four volatilities.
        weights = np.linalg.solve(
            np.array([[((b[0] - k) / (beside[3][0] - k)) ** n for b in beside] for n in range(4)]),
            np.array([1.0, 0.0, 0.0, 0.0]),
        )
        low = sum(w * b[2 if w > 0 else 3] for w, b in zip(weights, beside, strict=True))
        high = sum(w * b[3 if w > 0 else 2] for w, b in zip(weights, beside, strict=True))
        beyond = c.bid - time_value(level, k, sample.years, max(high, 1e-9))
        if low > 0:
            beyond = max(beyond, time_value(level, k, sample.years, low) - c.ask)
        if beyond > second / 2 + 0.02 + abs(common - level):
            misses.append((k, beyond))
    return {k: max(miss for other, miss in misses if other == k) for k, _ in misses}


def weighted_volatilities(
    strikes: Sequence[float], own: Sequence[float], uncertain: Sequence[float]
) -> list[float]:
    """The s of least Σ((s − σ)/u)² + Σ((s − line)/0.02)² at the strikes that have an own IV.

    The line is the straight one between both neighbours' s. u is 0.0001 at least; a strike without
    one counts for nothing. Below three strikes, or two that have a u, the volatilities stay.
    """
    known = [
        (k, s, u) for k, s, u in zip(strikes, own, uncertain, strict=True) if not math.isnan(s)
    ]
    if len(known) < 3 or sum(not math.isnan(u) for _, _, u in known) < 2:
        return list(own)
    rows, right = [], []
    for i, (k, s, u) in enumerate(known):
        if not math.isnan(u):
            row = [0.0] * len(known)
            row[i] = 1 / max(u, 0.0001)
            rows.append(row)
            right.append(s / max(u, 0.0001))
        if 0 < i < len(known) - 1:
            before, after = known[i - 1][0], known[i + 1][0]
            row = [0.0] * len(known)
            row[i] = 1 / 0.02
            row[i - 1] = -(after - k) / (after - before) / 0.02
            row[i + 1] = -(k - before) / (after - before) / 0.02
            rows.append(row)
            right.append(0.0)
    solved = iter(np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0])
    return [NAN if math.isnan(s) else max(float(next(solved)), 1e-6) for s in own]


@dataclass(frozen=True, kw_only=True)
class Market:
    """What no position enters: spot, forward and smile. Lists are by strike."""

    sample: Sample
    strikes: list[float]
    spot: float
    level: float
    own: list[float]
    #: The same, weighted where quotes are too wide: what the smile is made of.
    quoted: list[float]
    uncertain: list[float]
    sigma: list[float]
    flags: list[str]

    @property
    def years(self) -> float:
        """T."""
        return self.sample.years

    @property
    def atm(self) -> float:
        """The smile at F, linear in K."""
        return linear(self.level, self.strikes, self.sigma)

    @property
    def remaining(self) -> float:
        """σ_rem = F·atm_iv·√T."""
        return self.level * self.atm * math.sqrt(self.years)

    def by_strike(self, formula: Callable[..., float], *more: float) -> list[float]:
        """A greek of every strike, now."""
        return [
            formula(self.level, k, self.years, s, *more)
            for k, s in zip(self.strikes, self.sigma, strict=True)
        ]

    def of_contract(self, strike: float) -> int:
        """Where a strike stands."""
        return self.strikes.index(strike)


def market_of(sample: Sample) -> Market:
    """Spot, forward and smile of a sample."""
    parity = forward(sample)
    own = quoted = own_volatilities(sample, parity[0])
    uncertain = uncertainties(sample, parity[0])
    sigma = filled(sample.strikes, own)
    atm = linear(parity[0], sample.strikes, sigma)
    wide = wide_quotes(sample, parity[0], parity[0] * atm * math.sqrt(sample.years))
    if wide:
        parity = weighted_forward(sample)
        own, uncertain = own_volatilities(sample, parity[0]), uncertainties(sample, parity[0])
        quoted = weighted_volatilities(sample.strikes, own, uncertain)
        sigma = filled(sample.strikes, quoted)
    spot, flags = spot_to_use(sample, parity)
    atm = linear(parity[0], sample.strikes, sigma)
    flags += ["wide_quotes"] if wide else []
    flags += ["quotes_contradict"] if contradicts(sample, parity[0], atm) else []
    return Market(
        sample=sample,
        strikes=sample.strikes,
        spot=spot,
        level=parity[0],
        own=own,
        quoted=quoted,
        uncertain=uncertain,
        sigma=sigma,
        flags=flags,
    )


# Books. A position is {(strike, right): contracts}.

Position = dict[tuple[float, int], float]


def settled_position(sample: Sample) -> Position:
    """φ·OI: dealers are long calls and short puts."""
    return {(c.strike, c.right): c.right * c.open_interest for c in sample.contracts}


def live_position(sample: Sample, bought: Position, confidence: float) -> Position:
    """φ·OI − κ·B."""
    return {
        key: q - confidence * bought.get(key, 0.0) for key, q in settled_position(sample).items()
    }


def effective_open_interest(sample: Sample, bought: Position, confidence: float) -> Position:
    """max(0, OI + κ·B)."""
    return {
        (c.strike, c.right): max(
            0.0, c.open_interest + confidence * bought.get((c.strike, c.right), 0.0)
        )
        for c in sample.contracts
    }


def weighted(
    position: Position, market: Market, values: Sequence[float], right: int
) -> list[float]:
    """Position times a figure of the strike, for the calls or the puts of every strike."""
    return [position.get((k, right), 0.0) * v for k, v in zip(market.strikes, values, strict=True)]


def net(position: Position, strike: float) -> float:
    """Calls and puts of one strike."""
    return position.get((strike, CALL), 0.0) + position.get((strike, PUT), 0.0)


def gex(position: Position, market: Market, right: int) -> list[float]:
    """q·Γ·M·S²·0.01 by strike."""
    scale = SHARES * market.spot**2 * 0.01
    values = [g * scale for g in market.by_strike(gamma, market.spot)]
    return weighted(position, market, values, right)


def dex(held: Position, market: Market, right: int) -> list[float]:
    """Δ·OI·M·S by strike; a put's delta is N(d₁) − 1 = −N(−d₁)."""
    if right == CALL:
        deltas = market.by_strike(call_delta)
    else:
        deltas = [-normal(-x) for x in market.by_strike(d1)]
    return weighted(held, market, [d * SHARES * market.spot for d in deltas], right)


def vex(position: Position, market: Market) -> list[float]:
    """q·vanna·M·S·0.01 by strike, call and put."""
    return [
        net(position, k) * v * SHARES * market.spot * 0.01
        for k, v in zip(market.strikes, market.by_strike(vanna), strict=True)
    ]


def delta_lost(market: Market, hours: float) -> list[float]:
    """Δ(T) − Δ(max(T − hours, T/2)) by strike, at fixed forward and smile."""
    later = max(market.years - hours * 3600 / YEAR, market.years / 2)
    return [
        call_delta(market.level, k, market.years, s) - call_delta(market.level, k, later, s)
        for k, s in zip(market.strikes, market.sigma, strict=True)
    ]


def chex(position: Position, market: Market) -> list[float]:
    """q·M·S·(Δ(T) − Δ(T/2)) by strike, call and put."""
    return [
        net(position, k) * SHARES * market.spot * lost
        for k, lost in zip(market.strikes, delta_lost(market, math.inf), strict=True)
    ]


def charm_horizon_seconds(market: Market) -> float | None:
    """An hour, or half of what is left; None in the last minute."""
    left = market.sample.seconds_left
    return None if left < 60 else min(3600.0, left / 2)


def charm_curve(position: Position, market: Market) -> list[list[float]] | None:
    """Σ q·M·x·(Δ(T) − Δ(0)) with spot at x, at nine levels from −2 to 2 standard deviations."""
    if market.sample.seconds_left < 60:
        return None
    curve = []
    for step in range(-4, 5):
        x = market.spot + market.remaining * step / 2
        if x <= 0:
            continue
        level = market.level * x / market.spot
        total = 0.0
        for k, sigma in zip(market.strikes, market.sigma, strict=True):
            at_expiry = 1.0 if level > k else 0.0 if level < k else 0.5
            lost = call_delta(level, k, market.years, sigma) - at_expiry
            total += net(position, k) * SHARES * x * lost
        curve.append([x, total])
    return curve


def charm_dollars_per_hour(position: Position, market: Market) -> float | None:
    """Σ q·M·S·(Δ(T) − Δ(max(T − 1 h, T/2))); None in the last minute."""
    if market.sample.seconds_left < 60:
        return None
    return math.fsum(
        net(position, k) * SHARES * market.spot * lost
        for k, lost in zip(market.strikes, delta_lost(market, 1), strict=True)
    )


def dealer_delta(position: Position, market: Market) -> float:
    """Σ q·Δ·M·S."""
    return math.fsum([*dex(position, market, CALL), *dex(position, market, PUT)])


def hedging(position: Position, market: Market) -> dict[str, float]:
    """Shares = −Σ q·(Δ(S(1 + p)) − Δ(S))·M, every contract repriced; F moves in proportion."""
    now = market.by_strike(call_delta)
    shares = {}
    for name, move in MOVES.items():
        moved = [
            call_delta(market.level * (1 + move), k, market.years, s)
            for k, s in zip(market.strikes, market.sigma, strict=True)
        ]
        shares[name] = -math.fsum(
            net(position, k) * (after - before) * SHARES
            for k, after, before in zip(market.strikes, moved, now, strict=True)
        )
    return shares


def convexity_at_spot(position: Position, market: Market) -> float:
    """Σ q·Γ·M."""
    gammas = market.by_strike(gamma, market.spot)
    return math.fsum(
        net(position, k) * g * SHARES for k, g in zip(market.strikes, gammas, strict=True)
    )


def net_theta_dollars(position: Position, market: Market) -> float:
    """−Σ q·(price − intrinsic value)·M; the same for a call and a put."""
    values = market.by_strike(time_value)
    return -math.fsum(
        net(position, k) * v * SHARES for k, v in zip(market.strikes, values, strict=True)
    )


def gamma_acceleration(position: Position, market: Market) -> float:
    """Σ|q|·Γ at max(T − 1 h, T/2) over Σ|q|·Γ at T."""
    later = max(market.years - 3600 / YEAR, market.years / 2)

    def size(years: float) -> float:
        return math.fsum(
            abs(q) * gamma(market.level, k, years, market.sigma[market.of_contract(k)], market.spot)
            for (k, _), q in position.items()
        )

    return size(later) / size(market.years)


# Levels


def repriced(position: Position, market: Market, level: float) -> float:
    """G(x) = Σ q·Γ(x)·M·x²·0.01 with each contract's own IV; F moves with x in proportion."""
    moved = market.level * level / market.spot
    root = math.sqrt(market.years)
    total = 0.0
    for k, s in zip(market.strikes, market.sigma, strict=True):
        q = net(position, k)
        if q:
            x = math.log(moved / k) / (s * root) + s * root / 2
            if abs(x) < 38:
                total += q * math.exp(-x * x / 2) / (s * root)
    return total * SHARES * level * 0.01 / math.sqrt(2 * math.pi)


def crossings(position: Position, market: Market) -> list[float]:
    """Every level within ±10 % of S where G(x) crosses zero, ascending.

    One counts if |G| passes 1 % of its maximum on both sides of it, before the next one.
    """
    narrowest = min(market.sigma) * math.sqrt(market.years)
    steps = math.ceil(0.2 / narrowest * 8)
    xs = [market.spot * (0.9 + 0.2 * i / steps) for i in range(steps + 1)]
    values = [repriced(position, market, x) for x in xs]
    signed = [(x, g) for x, g in zip(xs, values, strict=True) if g != 0]
    turns = [i for i in range(1, len(signed)) if (signed[i][1] > 0) != (signed[i - 1][1] > 0)]
    edges = [0, *turns, len(signed)]
    peaks = [max(abs(g) for _, g in signed[a:b]) for a, b in itertools.pairwise(edges)]
    enough = 0.01 * max(peaks)
    levels = []
    for i, turn in enumerate(turns):
        if peaks[i] > enough and peaks[i + 1] > enough:
            low, high = signed[turn - 1][0], signed[turn][0]
            rising = repriced(position, market, high) > 0
            while low < (middle := (low + high) / 2) < high:
                if (repriced(position, market, middle) > 0) == rising:
                    high = middle
                else:
                    low = middle
            levels.append(high)
    return levels


def near_strikes(market: Market, fraction: float) -> list[float]:
    """Strikes within a part of spot."""
    return [k for k in market.strikes if abs(k - market.spot) <= fraction * market.spot]


def wider_strikes(market: Market, fraction: float) -> list[float]:
    """Strikes within a part of spot, and the five listed next to it on each side."""
    below = sorted(k for k in market.strikes if k < market.spot)[-5:]
    above = sorted(k for k in market.strikes if k > market.spot)[:5]
    near = {k for k in market.strikes if abs(k - market.spot) <= fraction * market.spot}
    first, last = min(near | set(below)), max(near | set(above))
    return [k for k in market.strikes if first <= k <= last]


def covered(market: Market) -> bool:
    """Whether a flip can be told: five near strikes whose out-of-the-money quote is two-sided, and
    ``remaining_1sd`` of at least half their median step.
    """
    near = near_strikes(market, 0.02)
    quoted = [
        two_sided(market.sample.contract(k, CALL if k >= market.level else PUT)) for k in near
    ]
    if sum(quoted) < 5:
        near = wider_strikes(market, 0.02)
    quoted = [
        k for k in near if two_sided(market.sample.contract(k, CALL if k >= market.level else PUT))
    ]
    if len(quoted) < 5:
        return False
    step = statistics.median(b - a for a, b in itertools.pairwise(near))
    return market.remaining >= step / 2


def flip(position: Position, market: Market) -> tuple[float | None, str, list[float]]:
    """The crossing nearest S, its status, and all of them."""
    if not covered(market):
        return None, "insufficient_local_coverage", []
    levels = crossings(position, market)
    if not levels:
        return None, "no_boundary", []
    return min(levels, key=lambda x: abs(x - market.spot)), "available", levels


def strongest(market: Market, sizes: Iterable[float]) -> float | None:
    """The strike of the largest size; ties go to the strike nearest S; None if none is positive."""
    best = max(
        zip(sizes, market.strikes, strict=True),
        key=lambda pair: (pair[0], -abs(pair[1] - market.spot)),
    )
    return best[1] if best[0] > 0 else None


def max_pain(held: Position, market: Market) -> float | None:
    """The settlement, among the strikes, of least Σ OI·intrinsic value; ties nearest S."""
    if not any(held.values()):
        return None

    def paid(settlement: float) -> float:
        return math.fsum(oi * max(right * (settlement - k), 0.0) for (k, right), oi in held.items())

    return min(market.strikes, key=lambda k: (paid(k), abs(k - market.spot)))


# Pin


def excess_share(held: Position, market: Market) -> float:
    """e = (share − 3/n)/(1 − 3/n): the top three strikes' part of the OI of the near ones, ±1 %."""
    strikes = near_strikes(market, 0.01)
    if len(strikes) <= 3:
        strikes = wider_strikes(market, 0.01)
    near = [held.get((k, CALL), 0.0) + held.get((k, PUT), 0.0) for k in strikes]
    if len(near) <= 3 or sum(near) == 0:
        return 0.0
    share = sum(sorted(near)[-3:]) / sum(near)
    return (share - 3 / len(near)) / (1 - 3 / len(near))


def clip(value: float) -> float:
    """To 0-1."""
    return min(max(value, 0.0), 1.0)


def half_up(value: float) -> int:
    """Rounded, halves up."""
    return math.floor(value + 0.5)


def pin_parts(
    held: Position, market: Market, magnet: float | None, by_strike: Sequence[float]
) -> dict[str, float]:
    """The four parts of the pin score, each 0-100."""
    proximity = strength = 0.0
    if magnet is not None:
        proximity = math.exp(-0.5 * ((market.spot - magnet) / market.remaining) ** 2)
        at_magnet = by_strike[market.of_contract(magnet)]
        strength = clip(max(at_magnet, 0.0) / (0.45 * math.fsum(map(abs, by_strike))))
    return {
        "pin_oi": 100 * clip(excess_share(held, market) / 0.277),
        "pin_proximity": 100 * proximity,
        "pin_time": 100 * clip(market.sample.seconds_gone / market.sample.session_seconds),
        "pin_gamma": 100 * strength,
    }


def pin_score(parts: dict[str, float]) -> int:
    """0.30·oi + 0.25·proximity + 0.25·time + 0.20·gamma, rounded half up."""
    return half_up(
        0.30 * parts["pin_oi"]
        + 0.25 * parts["pin_proximity"]
        + 0.25 * parts["pin_time"]
        + 0.20 * parts["pin_gamma"]
    )


def smile_slope(market: Market, i: int) -> float:
    """σ′(K) by three points over uneven steps, two at the ends; NaN where one has no own IV."""
    if len(market.strikes) == 1:
        return 0.0
    if i in (0, len(market.strikes) - 1):
        j = 1 if i == 0 else i - 1
        return (market.quoted[j] - market.quoted[i]) / (market.strikes[j] - market.strikes[i])
    before, after = (
        market.strikes[i] - market.strikes[i - 1],
        market.strikes[i + 1] - market.strikes[i],
    )
    # The slope at the middle of the parabola through three points.
    return (
        -after / (before * (before + after)) * market.quoted[i - 1]
        + (after - before) / (before * after) * market.quoted[i]
        + before / (after * (before + after)) * market.quoted[i + 1]
    )


def chance_above(market: Market, i: int, *, lognormal: bool) -> float:
    """P(S_T > K) = N(d₂) − F·n(d₁)·√T·σ′(K); 1 below the lowest strike, 0 above the highest."""
    if i < 0:
        return 1.0
    if i >= len(market.strikes):
        return 0.0
    sigma = market.atm if lognormal else market.quoted[i]
    first = d1(market.level, market.strikes[i], market.years, sigma)
    chance = normal(first - sigma * math.sqrt(market.years))
    if lognormal:
        return chance
    slope = smile_slope(market, i)
    return chance - market.level * bell(first) * math.sqrt(market.years) * slope


def pin_probability_pct(
    market: Market, magnet: float | None, *, lognormal: bool = False
) -> float | None:
    """P(S_T > pin_lower) − P(S_T > pin_upper), by the smile; lognormal where that is none."""
    if magnet is None:
        return None
    index = market.of_contract(magnet)
    chance = chance_above(market, index - 1, lognormal=lognormal) - chance_above(
        market, index + 1, lognormal=lognormal
    )
    if not 0 <= chance <= 1 and not lognormal:
        return pin_probability_pct(market, magnet, lognormal=True)
    return 100 * chance


def pin_probability_noise(market: Market, magnet: float | None) -> float | None:
    """√Σ(∂P/∂σ·u)² over the volatilities of the smile's probability, by differences.

    The lognormal one's |∂P/∂σ|·u where a strike has no volatility of its own. None where a u that
    enters is not known.
    """
    if magnet is None:
        return None
    index = market.of_contract(magnet)

    def moved(i: int, by: float) -> float:
        quoted = [s + by * (i == j) for j, s in enumerate(market.quoted)]
        other = replace(market, quoted=quoted)
        return chance_above(other, index - 1, lognormal=False) - chance_above(
            other, index + 1, lognormal=False
        )

    def flat(by: float) -> float:
        other = replace(market, sigma=[market.atm + by] * len(market.strikes))
        return pin_probability_pct(other, magnet, lognormal=True) / 100

    if math.isnan(moved(index, 0.0)):
        known = [
            (k, u)
            for k, u in zip(market.strikes, market.uncertain, strict=True)
            if not math.isnan(u)
        ]
        if not known:
            return None
        noise = abs(derivative(flat, market.atm)) * linear(
            market.level, [k for k, _ in known], [u for _, u in known]
        )
        return 100 * noise
    variance = 0.0
    for i in range(max(index - 2, 0), min(index + 3, len(market.strikes))):
        slope = derivative(lambda by, i=i: moved(i, by), market.quoted[i])
        if slope:
            variance += (slope * market.uncertain[i]) ** 2
    return None if math.isnan(variance) else 100 * math.sqrt(variance)


def derivative(function: Callable[[float], float], scale: float) -> float:
    """At 0, by five points: the error falls with the fourth power of the step."""
    step = 1e-3 * scale
    near, far = (function(n * step) - function(-n * step) for n in (1, 2))
    return (8 * near - far) / (12 * step)


def atm_iv_uncertainty(market: Market) -> float | None:
    """u at F, linear in K between strikes that have one."""
    known = [
        (k, u) for k, u in zip(market.strikes, market.uncertain, strict=True) if not math.isnan(u)
    ]
    if not known or market.sample.seconds_left < 60:
        return None
    return linear(market.level, [k for k, _ in known], [u for _, u in known])


# Quotes as a whole


def spread_pct(contract: Contract) -> float:
    """100·(a − b)/mid."""
    return 100 * (contract.ask - contract.bid) / mid(contract)


def nearest_strike(market: Market, level: float) -> float:
    """The strike nearest a level; the lower of two."""
    return min(market.strikes, key=lambda k: (abs(k - level), k))


def straddle_price(market: Market) -> float | None:
    """C + P (mids) at the strike nearest F."""
    strike = nearest_strike(market, market.level)
    value = mid(market.sample.contract(strike, CALL)) + mid(market.sample.contract(strike, PUT))
    return None if math.isnan(value) else value


def atm_spread_pct(market: Market) -> float | None:
    """Mean of both sides' spreads at the strike nearest F, of two-sided quotes."""
    strike = nearest_strike(market, market.level)
    both = [market.sample.contract(strike, right) for right in (CALL, PUT)]
    spreads = [spread_pct(c) for c in both if two_sided(c)]
    return statistics.fmean(spreads) if spreads else None


def weighted_spread_pct(market: Market) -> float | None:
    """Spread of two-sided quotes within ±2 % of S, weighted by volume."""
    near = [
        c
        for c in market.sample.contracts
        if two_sided(c) and abs(c.strike - market.spot) <= 0.02 * market.spot
    ]
    volume = math.fsum(c.volume for c in near)
    return math.fsum(c.volume * spread_pct(c) for c in near) / volume if volume else None


def execution_score(market: Market) -> int | None:
    """100·clip(1 − weighted_spread_pct/20), half up."""
    spread = weighted_spread_pct(market)
    return None if spread is None else half_up(100 * clip(1 - spread / 20))


def data_quality_score(market: Market) -> int | None:
    """Of the calls and puts at the strikes within ±3 % of S, the mean of b/a; 0 if not two-sided."""
    near = [k for k in market.strikes if abs(k - market.spot) <= 0.03 * market.spot]
    quotes = [market.sample.contract(k, right) for k in near for right in (CALL, PUT)]
    parts = [c.bid / c.ask if two_sided(c) else 0.0 for c in quotes]
    return half_up(100 * math.fsum(parts) / len(parts)) if parts else None


def median_spread_pct(market: Market) -> float | None:
    """Median spread of the two-sided quotes within ±2 % of S."""
    spreads = [
        spread_pct(c)
        for c in market.sample.contracts
        if two_sided(c) and abs(c.strike - market.spot) <= 0.02 * market.spot
    ]
    return statistics.median(spreads) if spreads else None


def greek_smoothness_score(market: Market) -> int | None:
    """Of the inner strikes there with an own IV, the part within 0.02 of their neighbours' line."""
    near = [
        (k, s)
        for k, s in zip(market.strikes, market.own, strict=True)
        if abs(k - market.spot) <= 0.03 * market.spot and not math.isnan(s)
    ]
    if len(near) < 3:
        return None
    smooth = 0
    for (k0, s0), (k1, s1), (k2, s2) in zip(near, near[1:], near[2:], strict=False):
        smooth += abs(s1 - linear(k1, [k0, k2], [s0, s2])) <= 0.02
    return half_up(100 * smooth / (len(near) - 2))


def skew_25d(market: Market) -> float | None:
    """σ where Δ_put = −0.25 less σ where Δ_call = 0.25, linear in delta; None beyond the strikes."""
    deltas = list(reversed(market.by_strike(call_delta)))
    sigmas = list(reversed(market.sigma))
    if deltas[0] > 0.25 or deltas[-1] < 0.75:
        return None
    return linear(0.75, deltas, sigmas) - linear(0.25, deltas, sigmas)


def quotes_unused(sample: Sample) -> dict[str, int]:
    """Quotes that are unreadable, crossed or one-sided."""
    counts: Counter[str] = Counter()
    for c in sample.contracts:
        if not (c.bid >= 0 and c.ask >= 0):
            counts["unreadable"] += 1
        elif c.bid > c.ask:
            counts["crossed"] += 1
        elif c.bid == 0 or c.ask == 0:
            counts["one_sided"] += 1
    return dict(counts)


# Flow


def trade_sign(price: float, middle: float, half: float, tick: float) -> float:
    """clip((l − m)/h, −1, 1), h at least half a tick; a locked quote gives the bare sign."""
    off = price - middle
    if math.isnan(off) or math.isnan(half):
        return 0.0
    if half == 0:
        return float((off > 0) - (off < 0))
    return min(max(off / max(half, tick / 2), -1.0), 1.0)


def aggressor_sign(
    before: Contract | None,
    now: Contract,
    added: float,
    *,
    before_at: float,
    now_at: float,
    tick: Callable[[float], float],
    modelled: float,
) -> float:
    """s of a contract's new volume: the last print against where the mid stood when it printed.

    m* = m₀ + w·(m₁ − m₀), w by the trade's time, else n/(n + 1) with n = max(1, ΔV/2); w = 1 where
    the previous quote is older than 90 s. Where one of both quotes is missing the other stands for
    both. Without a print: the sign of the mid's move beyond ``modelled`` if that is more than h.
    """
    if not added > 0:
        return 0.0
    mids = [mid(before), mid(now)]
    halves = [
        NAN if math.isnan(m) else (c.ask - c.bid) / 2
        for c, m in zip((before, now), mids, strict=True)
    ]
    m0, m1 = (a if not math.isnan(a) else b for a, b in (mids, mids[::-1]))
    h0, h1 = (a if not math.isnan(a) else b for a, b in (halves, halves[::-1]))
    half, step = (h0 + h1) / 2, tick(mid(now))
    if now.last > 0:
        way = 1.0
        if 0 < now_at - before_at <= 90:
            prints = max(1.0, added / 2)
            way = prints / (prints + 1)
            if not math.isnan(now.last_at):
                way = clip((now.last_at - before_at) / (now_at - before_at))
        return trade_sign(now.last, m0 + way * (m1 - m0), half, step)
    off = m1 - modelled
    return math.copysign(1.0, off) if abs(off) > max(half, step / 2) else 0.0


@dataclass
class Flow:
    """Signed volume and hedge flow since the baseline. Mutable: ``add`` goes through a session."""

    #: The sample that the next one is differenced against.
    market: Market | None = None
    volume: Position = field(default_factory=dict)
    #: When each contract's volume was last readable. [unix s]
    counted_at: Position = field(default_factory=dict)
    #: B: contracts that customers bought, less those that they sold.
    bought: Position = field(default_factory=dict)
    #: Hedge flow by contract, and gamma flow.
    dollars: Position = field(default_factory=dict)
    gamma_dollars: Position = field(default_factory=dict)
    call: float = 0.0
    put: float = 0.0
    traded: float = 0.0
    classified: float = 0.0
    variance: float = 0.0
    #: Σ ΔV² of each contract.
    squares: Position = field(default_factory=dict)
    #: Volume at each contract's first readable figure, after the baseline.
    unattributed: float = 0.0
    #: Multi-leg volume of each contract in the last sample, and of the last slot all that rose,
    #: and of how much volume.
    multi_leg: Position = field(default_factory=dict)
    slot_multi_leg: float = 0.0
    slot_told: float = 0.0

    def add(self, market: Market) -> None:
        """Go on by one sample. A contract's first readable volume is its own baseline."""
        sample, first = market.sample, self.market is None
        interval = {CALL: 0.0, PUT: 0.0}
        legs_before, self.multi_leg = self.multi_leg, {}
        self.slot_multi_leg = self.slot_told = 0.0
        for c in sample.contracts:
            key = (c.strike, c.right)
            was = self.volume.get(key, NAN)
            volume = sample.volume_of_today(c)
            now = was if math.isnan(volume) else volume
            if now < was:
                raise NotImplementedError("disputes about a fall are not in this program")
            self.volume[key] = now
            if not first and math.isnan(was) and not math.isnan(now):
                self.unattributed += now
            self.multi_leg[key] = c.multi_leg
            since = self.counted_at.get(key, NAN)
            if not math.isnan(volume):
                self.counted_at[key] = sample.quoted_at
            added = 0.0 if first or math.isnan(now - was) else now - was
            if not added:
                continue
            legs = c.multi_leg - legs_before.get(key, NAN)
            if not math.isnan(legs):
                self.slot_multi_leg += min(max(legs, 0.0), added)
                self.slot_told += added
            sign = self._sign(market, c, added, since)
            index = market.of_contract(c.strike)
            delta = call_delta(market.level, c.strike, market.years, market.sigma[index])
            if c.right == PUT:
                delta = -normal(-d1(market.level, c.strike, market.years, market.sigma[index]))
            bought, worth = sign * added, delta * SHARES * market.spot
            curve = gamma(market.level, c.strike, market.years, market.sigma[index], market.spot)
            for total, more in (
                (self.bought, bought),
                (self.dollars, bought * worth),
                (self.gamma_dollars, bought * curve * SHARES * market.spot**2 * 0.01),
            ):
                total[key] = total.get(key, 0.0) + more
            self.squares[key] = self.squares.get(key, 0.0) + added**2
            interval[c.right] += bought * worth
            self.traded += added
            self.classified += added if sign else 0.0
            self.variance += (added * worth) ** 2
        # "to the cent".
        self.call = round(self.call + interval[CALL], 2)
        self.put = round(self.put + interval[PUT], 2)
        self.market = market

    def _sign(self, market: Market, contract: Contract, added: float, since: float) -> float:
        previous = self.market
        modelled = NAN
        if contract.strike in previous.strikes:
            sigma = previous.sigma[previous.of_contract(contract.strike)]
            value = time_value(market.level, contract.strike, market.years, sigma)
            intrinsic = contract.right * (market.level - contract.strike)
            modelled = value + max(intrinsic, 0.0)
        # One print speaks for less of a longer time: 1/√n of n slots. The slots are those between
        # the samples, or those in which this contract's own volume could not be read.
        now, before = market.sample.quoted_at, previous.sample.quoted_at
        slots = max(round((now - before) / 30), round((now - since) / 30) - 1, 1)
        sign = aggressor_sign(
            previous.sample.contract(contract.strike, contract.right),
            contract,
            added,
            before_at=previous.sample.quoted_at,
            now_at=market.sample.quoted_at,
            tick=market.sample.tick,
            modelled=modelled,
        )
        return sign / math.sqrt(slots)

    @property
    def headline(self) -> dict[str, Any]:
        """The row's fields of flow."""
        return {
            "hedge_flow_call_cumulative": self.call,
            "hedge_flow_put_cumulative": self.put,
            "hedge_flow_cumulative_all": round(self.call + self.put, 2),
            "hedge_flow_se": round(math.sqrt(self.variance), 2),
            "classified_share": self.classified / self.traded if self.traded else None,
            "volume_unattributed": self.unattributed,
            "multi_leg_share": self.slot_multi_leg / self.slot_told if self.slot_told else None,
        }


def net_gex_of(position: Position, market: Market) -> float:
    """Σ q·Γ·M·S²·0.01."""
    return math.fsum([*gex(position, market, CALL), *gex(position, market, PUT)])


def sureness(net_gex: float, flow: Flow, market: Market, confidence: float) -> dict[str, Any]:
    """How far net GEX may be off by the sides of trades, and how sure its sign is.

    The side of a last print is right for 68 % of the volume (docs/signing.md); a coin's for half.
    """
    squares = math.fsum(
        flow.squares.get((c.strike, c.right), 0.0)
        * gamma(
            market.level,
            c.strike,
            market.years,
            market.sigma[market.of_contract(c.strike)],
            market.spot,
        )
        ** 2
        for c in market.sample.contracts
    )
    coin = confidence * SHARES * market.spot**2 * 0.01 * math.sqrt(squares)
    measured = coin * math.sqrt(1 - (2 * 0.68 - 1) ** 2)
    sure = None
    if net_gex:
        sure = normal(abs(net_gex) / measured) if measured else 1.0
    return {"net_gex_se": coin, "net_gex_se_measured": measured, "regime_confidence": sure}


class StandingInterest:
    """The open interest that counts, of a session's sets in their order. Mutable.

    A complete set has 99 % of the listed contracts and a total above 0. The first one stands. Another
    complete one that is sent for ten minutes without a break, or a hole of over 330 s, takes its place
    once, before 10:30. An incomplete set replaces nothing; what the standing set does not know is
    taken from what is sent.
    """

    def __init__(self) -> None:
        self.standing: dict[int, float] | None = None
        self.others: list[tuple[float, dict[int, float]]] = []
        self.replaced = False
        self.lacking = False
        self.flags: set[str] = set()

    def add(
        self, sent: dict[int, float], *, listed: set[int], moment: float, minutes: float
    ) -> dict[int, float]:
        """The set that counts, of one more that is sent; ``minutes`` since midnight in New York."""
        complete = len(sent) >= 0.99 * len(listed) and sum(sent.values()) > 0
        self.flags = set()
        if self.standing is None:
            if sum(sent.values()) == 0:
                self.flags.add("no_open_interest")
            elif not complete:
                self.flags.add("oi_partial")
            counts = dict(sent)
            if complete:
                self.standing = dict(sent)
        else:
            if not complete:
                self.flags.add("oi_partial")
                self.others = []
            elif any(self.standing.get(key, value) != value for key, value in sent.items()):
                self.flags.add("oi_changed")
                if self.others and (
                    self.others[-1][1] != sent or moment - self.others[-1][0] > 330
                ):
                    self.others = []
                self.others.append((moment, dict(sent)))
                stood = moment - self.others[0][0]
                held = [key for key, value in self.standing.items() if value > 0]
                emptied = sum(sent.get(key) == 0 for key in held) > 0.1 * len(held)
                if stood >= 600 and minutes < 10.5 * 60 and not self.replaced and not emptied:
                    self.standing = {**self.standing, **sent}
                    self.replaced, self.others = True, []
            else:
                self.others = []
            self.standing = {**sent, **self.standing}
            counts = {key: value for key, value in self.standing.items() if key in listed}
        if not self.flags & {"no_open_interest", "oi_partial"} and listed - counts.keys():
            self.flags.add("oi_partial")
        lacking = bool(self.flags & {"no_open_interest", "oi_partial"})
        if self.lacking and not lacking:
            self.flags.add("oi_recovered")
        self.lacking = lacking
        return counts


# Other expiries


def expiry_gex_and_iv(sample: Sample, spot: float) -> tuple[float, float]:
    """Settled net GEX of an expiry at its own forward, smile and T, at today's S; and its ATM IV."""
    market = market_of(sample)
    gammas = market.by_strike(gamma, spot)
    position = settled_position(sample)
    total = math.fsum(
        net(position, k) * g * SHARES * spot**2 * 0.01
        for k, g in zip(market.strikes, gammas, strict=True)
    )
    return total, market.atm


def volatility_of_a_session(sigma: float, years: float, sessions: float) -> float:
    """√(σ²T/n), n the sessions left."""
    return math.sqrt(sigma**2 * years / sessions)


# All of it


def book_figures(position: Position, held: Position, market: Market) -> dict[str, Any]:
    """Every figure of a row that depends on the dealers' position, and those beside the headline."""
    calls, puts = gex(position, market, CALL), gex(position, market, PUT)
    by_strike = [a + b for a, b in zip(calls, puts, strict=True)]
    level, status, all_levels = flip(position, market)
    magnet = strongest(market, map(abs, by_strike))
    parts = pin_parts(held, market, magnet, by_strike)
    index = None if magnet is None else market.of_contract(magnet)
    net_gex = math.fsum(by_strike)
    away = None
    if level is not None and market.sample.seconds_left >= 60:
        away = abs(level - market.spot) / market.remaining
    theta_dollars = net_theta_dollars(position, market)
    call_dex, put_dex = (math.fsum(dex(held, market, right)) for right in (CALL, PUT))
    return {
        "net_gex": net_gex,
        "call_gex": math.fsum(calls),
        "put_gex": math.fsum(puts),
        "gross_gex": math.fsum(map(abs, [*calls, *puts])),
        "net_dex": call_dex + put_dex,
        "call_dex": call_dex,
        "put_dex": put_dex,
        "net_vex": math.fsum(vex(position, market)),
        "net_chex": math.fsum(chex(position, market)),
        "dealer_delta": dealer_delta(position, market),
        "charm_dollars_per_hour": charm_dollars_per_hour(position, market),
        "charm_horizon_seconds": charm_horizon_seconds(market),
        "gamma_flip": level,
        "gamma_flip_status": status,
        "distance_to_flip_sigmas": away,
        "flip_out_of_reach": None if away is None else away > 4,
        "regime": "positive_gamma" if net_gex > 0 else "negative_gamma" if net_gex else "unknown",
        "call_wall": strongest(market, calls),
        "put_wall": strongest(market, map(abs, puts)),
        "magnet": magnet,
        "magnet_gex": None if index is None else by_strike[index],
        "max_pain": max_pain(held, market),
        "pin_score": pin_score(parts),
        **parts,
        "pin_probability_pct": pin_probability_pct(market, magnet),
        "pin_probability_noise": pin_probability_noise(market, magnet),
        "crossings": all_levels,
        "pin_lower": market.strikes[index - 1] if index else None,
        "pin_upper": (
            market.strikes[index + 1]
            if index is not None and index + 1 < len(market.strikes)
            else None
        ),
        "hedging": hedging(position, market),
        "convexity_at_spot": convexity_at_spot(position, market),
        "net_theta_dollars": theta_dollars,
        "theta_per_hour_remaining": theta_dollars / (market.sample.seconds_left / 3600),
        "gamma_acceleration": gamma_acceleration(position, market),
    }


def market_figures(market: Market) -> dict[str, Any]:
    """Every figure of a row that no position enters."""
    sample = market.sample
    quiet = sample.seconds_left < 60
    by_volume = {(c.strike, c.right): c.right * c.volume for c in sample.contracts}
    sums = {
        f"{kind}_{name}": sum(getattr(c, column) for c in sample.contracts if c.right == right)
        for kind, right in (("call", CALL), ("put", PUT))
        for name, column in (("oi", "open_interest"), ("volume", "volume"))
    }
    whole_day = market.level * market.atm * math.sqrt(sample.session_seconds / YEAR)
    return {
        "spot": market.spot,
        "source_spot": None if math.isnan(sample.spot) else sample.spot,
        "forward": market.level,
        "years_to_expiry": market.years,
        "atm_iv": None if quiet else market.atm,
        "remaining_1sd": None if quiet else market.remaining,
        "net_gex_volume": math.fsum([*gex(by_volume, market, CALL), *gex(by_volume, market, PUT)]),
        "contracts": len(sample.contracts),
        "strikes": len(market.strikes),
        "strikes_with_iv": sum(not math.isnan(s) for s in market.own),
        **sums,
        "total_oi": sums["call_oi"] + sums["put_oi"],
        "total_volume": sums["call_volume"] + sums["put_volume"],
        "quotes_unused": quotes_unused(sample),
        "implied_1sd": None if quiet else whole_day,
        "straddle_price": straddle_price(market),
        "skew_25d": skew_25d(market),
        "atm_spread_pct": atm_spread_pct(market),
        "weighted_spread_pct": weighted_spread_pct(market),
        "execution_score": execution_score(market),
        "data_quality_score": data_quality_score(market),
        "greek_smoothness_score": greek_smoothness_score(market),
        "median_spread_pct": median_spread_pct(market),
        "atm_iv_uncertainty": atm_iv_uncertainty(market),
    }


@dataclass(frozen=True, kw_only=True)
class Answer:
    """All that the program says of one sample, by the names of the glossary."""

    #: Fields of the row, and of its ``detail``.
    figures: dict[str, Any]
    #: The settled book's.
    settled: dict[str, Any]
    #: Arrays by strike.
    profile: dict[str, list[float]]
    market: Market


def marks_of(flow: Flow) -> Position:
    """Each contract's volume of the day; 0 where none has been readable."""
    return {key: 0.0 if math.isnan(mark) else mark for key, mark in flow.volume.items()}


def answer(sample: Sample, flow: Flow | None = None, *, confidence: float = 0.43) -> Answer:
    """Measure a sample. ``flow`` goes on by it; without one the sample is a baseline."""
    flow = flow or Flow()
    flow.add(market_of(sample))
    # A volume that cannot be read is taken as unchanged.
    marks = marks_of(flow)
    known = [c._replace(volume=marks[c.strike, c.right]) for c in sample.contracts]
    sample = replace(sample, contracts=known)
    market = market_of(sample)
    # What is not listed counts nowhere; its volume and B wait for it.
    bought = {key: flow.bought.get(key, 0.0) for key in settled_position(sample)}
    listed = {(c.strike, c.right): c.open_interest for c in sample.contracts}
    settled = settled_position(sample)
    live = live_position(sample, bought, confidence)
    effective = effective_open_interest(sample, bought, confidence)
    deltas = {CALL: market.by_strike(call_delta), PUT: [-normal(-x) for x in market.by_strike(d1)]}
    size = math.fsum(
        abs(bought.get((k, right), 0.0) * d)
        for right in (CALL, PUT)
        for k, d in zip(market.strikes, deltas[right], strict=True)
    )
    return Answer(
        figures={
            **market_figures(market),
            **book_figures(live, effective, market),
            "charm_curve": charm_curve(live, market),
            **sureness(net_gex_of(live, market), flow, market, confidence),
            **flow.headline,
            "contracts_with_flow": sum(b != 0 for b in bought.values()),
            "total_abs_delta_contracts": size,
        },
        settled=book_figures(settled, listed, market),
        profile=profile(market, flow, live, effective, settled, listed),
        market=market,
    )


def profile(
    market: Market,
    flow: Flow,
    live: Position,
    effective: Position,
    settled: Position,
    listed: Position,
) -> dict[str, list[float]]:
    """The arrays by strike."""
    strikes, sample = market.strikes, market.sample

    def column(name: str, right: int, missing: float) -> list[float]:
        contracts = [sample.contract(k, right) for k in strikes]
        return [missing if c is None else getattr(c, name) for c in contracts]

    def flowed(total: Position, right: int) -> list[float]:
        return [total.get((k, right), 0.0) for k in strikes]

    def listed_only(total: Position, right: int) -> list[float]:
        return [total.get((k, right), 0.0) if sample.contract(k, right) else 0.0 for k in strikes]

    sides = {"call": CALL, "put": PUT}
    arrays = {
        "strike": list(strikes),
        "iv": market.sigma,
        "own_iv": market.own,
        "call_delta": market.by_strike(call_delta),
        "gamma": market.by_strike(gamma, market.spot),
        "theta": market.by_strike(theta),
        "gamma_flow": [net(flow.gamma_dollars, k) for k in strikes],
    }
    for name, right in sides.items():
        arrays[f"{name}_bid"] = column("bid", right, NAN)
        arrays[f"{name}_ask"] = column("ask", right, NAN)
        arrays[f"{name}_oi"] = column("open_interest", right, 0.0)
        # The volume of what is not listed counts nowhere.
        arrays[f"{name}_volume"] = listed_only(marks_of(flow), right)
        arrays[f"{name}_signed"] = flowed(flow.bought, right)
        arrays[f"{name}_flow"] = flowed(flow.dollars, right)
    for prefix, position, held in (("", live, effective), ("settled_", settled, listed)):
        for name, right in sides.items():
            arrays[f"{prefix}{name}_gex"] = gex(position, market, right)
            arrays[f"{prefix}{name}_dex"] = dex(held, market, right)
        arrays[f"{prefix}vex"] = vex(position, market)
        arrays[f"{prefix}chex"] = chex(position, market)
    return arrays
