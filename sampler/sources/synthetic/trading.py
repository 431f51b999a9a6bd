"""What is listed of a made-up market and how it trades: quotes around a smile, and prints.

Pure, as ``market`` is, which makes the day that they belong to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Floats
from storage.market.constants import GRID_SECONDS, YEAR_SECONDS

Ints = NDArray[np.int64]

#: Variance at the standardised strike x = ln(K/F)/sd, as a multiple of that at x = 0, is
#: 1 + TILT·x + BEND·(√(x² + ROUND²) - ROUND). Slopes of 0.62 (puts) and 0.22 (calls) are near
#: SPX at 10:14 on 2026-08-19; nowhere does it leave an arbitrage between strikes.
TILT, BEND, ROUND = -0.20, 0.42, 1.2
#: Forward's growth over spot. [1/year]
CARRY = 0.03
#: Variance from one close to the next open, as a part of a session's.
OVERNIGHT = 0.35
#: Mean contracts a print, and how many prints try for the mid.
SIZE, AT_MID = 4.0, 0.12
#: How many slots customers' leaning persists, and its standard deviation.
LEAN_SLOTS, LEAN = 60, 0.15


@dataclass(frozen=True, slots=True)
class Traits:
    """What does not change from day to day about a symbol's options."""

    root: str
    #: Around which spot wanders. [$]
    level: float
    #: Between strikes within ±3 % of the open, and beyond. [$]
    step: float
    far_step: float
    #: Of quotes under and above $3. [cents]
    ticks: tuple[int, int]
    #: Bid to ask, as a part of the price; never less than a tick.
    spread: float
    #: Correlation with the market.
    market: float
    #: Volatility as a multiple of the market's.
    volatility: float
    #: Contracts that trade on a full day.
    volume: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contracts:
    """What is listed: today's expiry in full, a few strikes of the next session's."""

    expiry: NDArray[np.datetime64]
    strike: Floats
    right: NDArray[np.int8]
    open_interest: Floats
    #: Variance and time from today's last trade to the contract's. [-, years]
    more_variance: Floats
    more_years: Floats
    #: How readily a contract trades, moneyness apart.
    lure: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trades:
    """All that traded. Tables are (slots, contracts), at and up to each slot."""

    #: Contracts traded since the open.
    volume: NDArray[np.int32]
    #: Of these, customers' buys less their sells.
    signed: NDArray[np.int32]
    #: Which of ``price`` and ``second`` is the last trade; -1 before the first.
    newest: NDArray[np.int32]
    #: Each interval's and contract's last trade. [cents, s after the open]
    price: NDArray[np.int32]
    second: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tape:
    """A day's prices: spot each second, and quotes as a function of it."""

    traits: Traits
    #: From the open to the last trade of what expires today. [s]
    life: int
    #: By second since the open. [$]
    spot: Floats
    #: Variance of ln spot until today's last trade, as expected at each second.
    variance: Floats
    contracts: Contracts

    def quotes(self, second: Any, which: Any = slice(None)) -> tuple[Ints, Ints, Floats]:
        """Bid and ask in cents, and implied volatility, at seconds after the open.

        Parameters
        ----------
        second : seconds since the open, whole; of any shape that fits ``which``.
        which : indices of contracts; all of them by default.

        Returns
        -------
        tuple of Ints, Ints and Floats
            Bid and ask [cents], and implied volatility [decimal], a contract each.
        """
        listed = self.contracts
        strike, right = listed.strike[which], listed.right[which]
        years = (self.life - second) / YEAR_SECONDS + listed.more_years[which]
        forward = self.spot[second] * (1 + CARRY * years)
        atm = np.sqrt(self.variance[second] + listed.more_variance[which])
        x = np.log(strike / forward) / atm
        sd = atm * np.sqrt(1 + TILT * x + BEND * (np.sqrt(x * x + ROUND**2) - ROUND))
        cents = 100 * black_price(forward, strike, right, sd)
        width = cents * self.traits.spread * (1 + np.minimum(np.abs(x), 20) / 10)
        fine, coarse = self.traits.ticks
        tick = np.where(cents + width / 2 < 300, fine, coarse)
        below = np.floor(cents / tick)
        # Ticks beyond the two around the price, so that it lies between bid and ask: parity holds.
        beyond = np.rint(np.maximum(width / tick - 1, 0) / 2)
        bid = np.maximum(below - beyond, 0) * tick
        ask = (below + beyond + 1) * tick
        return bid.astype(np.int64), ask.astype(np.int64), sd / np.sqrt(years)


def black_price(forward: Floats, strike: Floats, right: Any, sd: Floats) -> Floats:
    """Undiscounted Black (1976) price in dollars for a total standard deviation.

    Parameters
    ----------
    forward : forward price. [$]
    strike : strike. [$]
    right : +1 for a call, -1 for a put.
    sd : standard deviation of ln price until expiry. [decimal]

    Returns
    -------
    Floats
        Prices, in the shape that the arguments broadcast to. [$]
    """
    d = np.log(forward / strike) / sd + sd / 2
    price = right * (forward * normal_cdf(right * d) - strike * normal_cdf(right * (d - sd)))
    # Differences of nothing can come out below it.
    floored: Floats = np.maximum(price, 0.0)
    return floored


def normal_cdf(x: Floats) -> Floats:
    """Return N(x) = erfc(-x/√2)/2 of each; it keeps its digits far below 0.

    Parameters
    ----------
    x : any. [standard deviations]

    Returns
    -------
    Floats
        Probabilities, in the shape of ``x``. [0-1]
    """
    # SciPy has this for arrays, in 100 MB that nothing else here needs.
    each = map(math.erfc, np.ravel(x * -math.sqrt(0.5)).tolist())
    return np.fromiter(each, np.float64, np.size(x)).reshape(np.shape(x)) / 2


def list_contracts(
    *,
    about: Traits,
    spot: float,
    total: float,
    days: tuple[date, date],
    later_years: float,
    rng: np.random.Generator,
) -> Contracts:
    """Contracts and their open interest.

    Parameters
    ----------
    about : the symbol's traits.
    spot : price at the open. [$]
    total : variance of ln spot until today's last trade.
    days : today, and the later day on which contracts expire.
    later_years : from today's last trade to that of the later day. [years]
    rng : random numbers.

    Returns
    -------
    Contracts
        Columns of one length: calls and puts of today, then of the later day.
    """
    step, far = about.step, about.far_step
    wide = far * np.arange(np.floor(0.9 * spot / far), np.ceil(1.1 * spot / far) + 1)
    near = step * np.arange(np.ceil(0.97 * spot / step), np.floor(1.03 * spot / step) + 1)
    today = np.union1d(wide, near)
    ahead = step * (np.rint(spot / step) + np.arange(-5, 6))
    strike = np.r_[today, today, ahead, ahead]
    right = np.repeat(np.array([1, -1, 1, -1], np.int8), [len(today)] * 2 + [len(ahead)] * 2)
    later = np.arange(len(strike)) >= 2 * len(today)
    lumps = 1 + sum((strike % (k * step) == 0) * extra for k, extra in ((5, 1), (10, 2), (20, 3)))
    out = right * np.log(strike / spot) / np.sqrt(total)
    crowd = (0.02 + np.exp(-(((out - 2) / 5) ** 2) / 2)) * np.where(right > 0, 1.0, 1.8) * lumps
    held = crowd * rng.lognormal(0.0, 0.7, len(strike))
    return Contracts(
        expiry=np.array(days, "datetime64[D]")[later.astype(np.int64)],
        strike=strike,
        right=right,
        open_interest=np.floor(0.14 * about.volume * held / held.sum()),
        more_variance=np.where(later, (1 + OVERNIGHT) * total, 0.0),
        more_years=np.where(later, later_years, 0.0),
        lure=np.where(later, 0.05, 1.0) * np.sqrt(lumps),
    )


def simulate_trades(tape: Tape, pace: Floats, rng: np.random.Generator) -> Trades:
    """Make the trades between the slots, each at the quotes of its second.

    Parameters
    ----------
    tape : spot, volatility and contracts of a day.
    pace : part of the day's activity in each second, shape (seconds,).
    rng : random numbers.

    Returns
    -------
    Trades
        Tables of shape (slots, contracts), and the trades in them.
    """
    listed = tape.contracts
    slots, width = len(tape.spot) // GRID_SECONDS, len(listed.strike)
    slot, which, prints = _prints(tape, pace, slots, rng)
    # The last of n moments is distributed as the n-th root of one.
    moment = (1 - rng.random(len(slot))) ** (1 / prints)
    second = GRID_SECONDS * slot + np.ceil(GRID_SECONDS * moment).astype(np.int64)
    bid, ask, _ = tape.quotes(second, which)
    lean = _lean(slots, rng)[(listed.right[which] < 0).astype(np.int64), slot]
    # Prints of one contract within half a minute are often parts of one order: they lean alike.
    buying = np.clip(0.5 + lean / 2 + 0.35 * rng.standard_normal(len(slot)), 0.03, 0.97)
    buying[bid == 0] = 1.0
    bought = rng.binomial(prints, buying) / prints
    traded = prints + (prints * (SIZE - 1) * rng.exponential(size=len(slot))).astype(np.int64)
    on_side = np.where(rng.random(len(slot)) < bought, ask, bid)
    at_mid = (rng.random(len(slot)) < AT_MID) & ((bid + ask) % 2 == 0) & (bid > 0)
    price = np.where(at_mid, (bid + ask) // 2, on_side)

    def table(values: Ints | int, before: int) -> NDArray[np.int32]:
        cells = np.full((slots, width), before, np.int32)
        cells[slot + 1, which] = values
        return cells

    signed = 2 * np.rint(traded * bought).astype(np.int64) - traded
    return Trades(
        volume=np.cumsum(table(traded, 0), axis=0, dtype=np.int32),
        signed=np.cumsum(table(signed, 0), axis=0, dtype=np.int32),
        newest=np.maximum.accumulate(table(np.arange(len(slot)), -1), axis=0),
        price=price.astype(np.int32),
        second=second.astype(np.int32),
    )


def _prints(
    tape: Tape, pace: Floats, slots: int, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    """Intervals, contracts and numbers of prints, where there are any, in order of time."""
    listed = tape.contracts
    each = slice(GRID_SECONDS, slots * GRID_SECONDS, GRID_SECONDS)
    # Trading closes in on spot as the day's range does, though not all the way.
    reach = np.sqrt(np.maximum(tape.variance[each, None], 0.15 * tape.variance[0]))
    out = listed.right * np.log(listed.strike / tape.spot[each, None]) / reach
    spread = 1 + (out / 1.6) ** 2
    weight = listed.lure / (spread * np.sqrt(spread))
    weight /= np.where(out < 0, 1 + (out / 0.6) ** 2, 1.0)
    # A short day is a slow one: as many contracts an hour.
    busy = pace[: (slots - 1) * GRID_SECONDS].reshape(-1, GRID_SECONDS).sum(axis=1) * (slots / 780)
    rate = tape.traits.volume / SIZE * busy[:, None] * weight / weight.sum(axis=1, keepdims=True)
    prints = rng.poisson(rate)
    slot, which = prints.nonzero()
    return slot, which, prints[slot, which]


def _lean(slots: int, rng: np.random.Generator) -> Floats:
    """How far customers lean to buying, by (calls and puts, slot): 0 is even, 1 all buys."""
    sums = np.cumsum(rng.standard_normal((2, slots + LEAN_SLOTS)), axis=1)
    slow = LEAN * (sums[:, LEAN_SLOTS:] - sums[:, :-LEAN_SLOTS]) / np.sqrt(LEAN_SLOTS)
    up, volatility = slow
    return np.stack([volatility + up, volatility - up])
