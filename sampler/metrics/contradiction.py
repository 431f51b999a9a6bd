"""Quotes of one expiry that contradict each other: no prices between bid and ask agree with all.

Three conditions are checked. By put-call parity each strike's call and put leave a
range for the forward, and all ranges have a level in common. A call's price falls with the strike,
and is convex in it. The third is no law of arbitrage, but holds in recorded books: a
strike's volatility lies within the range that the bids and asks of the four strikes beside it
leave. Conditions are judged by bids and asks, so that a wide quote contradicts nothing, and with
a tolerance for quotes of slightly different moments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.metrics import black
from sampler.metrics.smile import LEAST
from sampler.metrics.special import (
    LEVEL,
    READ,
    READ_TABLE,
    WRITE,
    compiled,
    load_once,
    scalar,
)
from storage.market.constants import YEAR_SECONDS

Floats = NDArray[np.float64]

#: Quotes of one frame are of moments that lie apart. Ranges of the forward may miss each other by
#: this many standard deviations of what the underlying moves in one second, other prices by the
#: second number; both by some cents more. On 273 recorded frames they miss by 1.01, and by less
#: than the cents.
PARITY_MOVES, SHAPE_MOVES, CENTS = 2.0, 0.5, 0.02


class Contradiction(NamedTuple):
    """Strikes whose quotes contradict others, and the worst of them."""

    strikes: int
    worst_strike: float
    #: How far the quote at ``worst_strike`` lies outside the range that other quotes allow. [$]
    worst_dollars: float

    def as_detail(self) -> dict[str, float]:
        """Plain values for the row's flag details."""
        return {
            "strikes": self.strikes,
            "worst_strike": self.worst_strike,
            "worst_dollars": round(self.worst_dollars, 4),
        }


def contradiction(
    strike: Floats,
    bid: Floats,
    ask: Floats,
    at_bid: Floats,
    at_ask: Floats,
    *,
    forward: float,
    atm: float,
    years: float,
) -> Contradiction | None:
    """Look for quotes that contradict each other.

    Parameters
    ----------
    strike : ascending. (n,) [$]
    bid, ask : calls first; NaN where unreadable. (2, n) [$]
    at_bid, at_ask : volatilities of the out-of-the-money quotes' two prices; NaN where there is
        none. (n,) [decimal]
    forward : the median that parity gives. [$]
    atm : the volatility at the forward. [decimal]
    years : time to expiry. [years]

    Returns
    -------
    Contradiction or None
        How many strikes, and the worst one. It is that strike's quote which is wrong, or one
        beside it. None where the quotes agree.
    """
    move = forward * atm / math.sqrt(YEAR_SECONDS)
    excess = np.empty(len(strike))
    tables = map(np.ascontiguousarray, (bid, ask))
    _loops()[0](forward, years, move, strike, *tables, at_bid, at_ask, excess)
    worst = int(excess.argmax())
    if excess[worst] <= 0.0:
        return None
    return Contradiction(int(np.count_nonzero(excess)), float(strike[worst]), float(excess[worst]))


@load_once
def _loops() -> tuple[Callable[..., None]]:
    types = (*[LEVEL] * 3, READ, READ_TABLE, READ_TABLE, READ, READ, WRITE)
    return (compiled(contradiction_loop, *types),)


@scalar
def contradiction_loop(
    forward: float,
    years: float,
    move: float,
    strike: Floats,
    bid: Floats,
    ask: Floats,
    at_bid: Floats,
    at_ask: Floats,
    excess: Floats,
) -> None:
    """Fill ``excess`` with dollars beyond what other quotes allow, 0 where none do.

    Parameters
    ----------
    forward, years, strike, bid, ask, at_bid, at_ask : as ``contradiction`` has them.
    move : what the underlying moves in a second, one standard deviation. [$]
    excess : by strike. (n,) [$]
    """
    excess[:] = 0.0
    apart = PARITY_MOVES * move + CENTS
    level = _check_parity(forward, apart, strike, bid, ask, excess)
    apart = SHAPE_MOVES * move + CENTS
    _check_convexity(level, apart, strike, bid, ask, excess)
    # These volatilities are those of the median, which may lie beside what bids and asks allow.
    apart += abs(level - forward)
    _check_smile(forward, years, apart, strike, bid, ask, at_bid, at_ask, excess)


@scalar
def _check_parity(
    forward: float, apart: float, strike: Floats, bid: Floats, ask: Floats, excess: Floats
) -> float:
    """Return the level nearest to the forward that all strikes' ranges allow, else the forward."""
    lowest, highest, count = -math.inf, math.inf, 0
    for k in range(strike.size):
        if _is_quoted(bid[0, k], ask[0, k]) and _is_quoted(bid[1, k], ask[1, k]):
            lowest = max(lowest, strike[k] + (bid[0, k] - ask[1, k]))
            highest = min(highest, strike[k] + (ask[0, k] - bid[1, k]))
            count += 1
    if count < LEAST:
        return forward
    if lowest - highest > apart:
        for k in range(strike.size):
            if _is_quoted(bid[0, k], ask[0, k]) and _is_quoted(bid[1, k], ask[1, k]):
                low = strike[k] + (bid[0, k] - ask[1, k]) - forward
                high = forward - strike[k] - (ask[0, k] - bid[1, k])
                beyond = max(low, high)
                # One of the two that miss each other misses the forward by half of it.
                if beyond > 0.5 * apart:
                    excess[k] = beyond
        return forward
    if lowest > highest:
        return 0.5 * (lowest + highest)
    return min(max(forward, lowest), highest)


@scalar
def _check_convexity(
    forward: float, apart: float, strike: Floats, bid: Floats, ask: Floats, excess: Floats
) -> None:
    """Compare bids with the highest falling, convex curve that lies nowhere above the asks.

    Out of the money, with puts as the calls that parity makes of them.
    """
    n = strike.size
    known_strike, curve, count = np.empty(n + 1), np.empty(n + 1), 1
    known_strike[0], curve[0] = 0.0, forward
    for k in range(n):
        side = 0 if strike[k] >= forward else 1
        if not _is_quoted(bid[side, k], ask[side, k]):
            continue
        value = ask[side, k] + (forward - strike[k] if side == 1 else 0.0)
        while count >= 2 and (curve[count - 1] - curve[count - 2]) * (
            strike[k] - known_strike[count - 1]
        ) >= (value - curve[count - 1]) * (known_strike[count - 1] - known_strike[count - 2]):
            count -= 1
        known_strike[count], curve[count] = strike[k], value
        count += 1
    place = 0
    for k in range(n):
        side = 0 if strike[k] >= forward else 1
        if not _is_quoted(bid[side, k], ask[side, k]):
            continue
        while (
            place + 1 < count
            and known_strike[place + 1] <= strike[k]
            and curve[place + 1] <= curve[place]
        ):
            place += 1
        most = curve[place]
        if place + 1 < count and curve[place + 1] < most:
            slope = (curve[place + 1] - most) / (known_strike[place + 1] - known_strike[place])
            most += slope * (strike[k] - known_strike[place])
        value = bid[side, k] + (forward - strike[k] if side == 1 else 0.0)
        if value - most > apart:
            excess[k] = max(excess[k], value - most)


@scalar
def _check_smile(
    forward: float,
    years: float,
    apart: float,
    strike: Floats,
    bid: Floats,
    ask: Floats,
    at_bid: Floats,
    at_ask: Floats,
    excess: Floats,
) -> None:
    """Compare each volatility with the cubic through two others on each side of it."""
    n, count = strike.size, 0
    known = np.empty(n, np.int64)
    for k in range(n):
        if math.isfinite(at_bid[k]) and math.isfinite(at_ask[k]):
            known[count] = k
            count += 1
    for i in range(2, count - 2):
        k, a, b, c, d = known[i], known[i - 2], known[i - 1], known[i + 1], known[i + 2]
        x, xa, xb, xc, xd = strike[k], strike[a], strike[b], strike[c], strike[d]
        # The weights of the inner two are positive, those of the outer two negative.
        if xd - xc == x - xb == xb - xa == xc - x:
            inner = 2.0 / 3.0 * (at_ask[b] + at_ask[c]), 2.0 / 3.0 * (at_bid[b] + at_bid[c])
            high = inner[0] - (at_bid[a] + at_bid[d]) / 6.0
            low = inner[1] - (at_ask[a] + at_ask[d]) / 6.0
        else:
            wa = (x - xb) * (x - xc) * (x - xd) / ((xa - xb) * (xa - xc) * (xa - xd))
            wb = (x - xa) * (x - xc) * (x - xd) / ((xb - xa) * (xb - xc) * (xb - xd))
            wc = (x - xa) * (x - xb) * (x - xd) / ((xc - xa) * (xc - xb) * (xc - xd))
            wd = (x - xa) * (x - xb) * (x - xc) / ((xd - xa) * (xd - xb) * (xd - xc))
            high = wa * at_bid[a] + wb * at_ask[b] + wc * at_ask[c] + wd * at_bid[d]
            low = wa * at_ask[a] + wb * at_bid[b] + wc * at_bid[c] + wd * at_ask[d]
        side = 0 if x >= forward else 1
        beyond = 0.0
        if at_bid[k] > high:
            most = black.one_price(forward, x, years, max(high, 0.0), 1.0 - side)
            beyond = bid[side, k] - most
        elif at_ask[k] < low:
            beyond = black.one_price(forward, x, years, low, 1.0 - side) - ask[side, k]
        if beyond > apart:
            excess[k] = max(excess[k], beyond)


@scalar
def _is_quoted(bid: float, ask: float) -> bool:
    """Whether a quote says anything: an ask, and no bid above it."""
    return ask > 0.0 and ask >= bid >= 0.0
