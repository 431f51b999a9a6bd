"""A made-up trading day: a path of spot; ``trading`` adds quotes, and trades of known side.

Pure: a day is a function of symbol, session and seed, in any process. Nothing of
``sampler.metrics`` is used, so that what we compute from a chain can be compared with what the
chain was made from.

Spot moves each second with variance v = base(t)·M, base U-shaped over the day and M a martingale
that rises as spot falls. So the variance left to expiry, as expected at t, is M(t)·∫base: that is
what at-the-money options are priced with.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from sampler.chain import Floats
from sampler.sources.synthetic.trading import (
    Ints,
    Tape,
    Trades,
    Traits,
    list_contracts,
    simulate_trades,
)
from storage.market.calendar import Session, expiry_moment, next_session
from storage.market.constants import GRID_SECONDS, YEAR_SECONDS

#: Jumps a day, and their part of the day's variance.
JUMPS, JUMP_SHARE = 1.5, 0.08
#: Volatility of the log of variance over a day, and its correlation with spot.
VOL_OF_VARIANCE, LEVERAGE = 0.3, -0.7

KNOWN = {
    "SPX": Traits("SPXW", 7700.0, 5.0, 25.0, (5, 10), 0.008, 0.999, 1.0, 2.5e6),
    "XSP": Traits("XSP", 770.0, 1.0, 5.0, (1, 1), 0.010, 0.999, 1.0, 1e5),
    "SPY": Traits("SPY", 770.0, 1.0, 1.0, (1, 1), 0.008, 0.999, 1.0, 4e6),
    "QQQ": Traits("QQQ", 715.0, 1.0, 1.0, (1, 1), 0.008, 0.93, 1.3, 2.5e6),
    "NDX": Traits("NDXP", 29300.0, 25.0, 100.0, (5, 10), 0.012, 0.93, 1.3, 6e4),
    "IWM": Traits("IWM", 250.0, 1.0, 1.0, (1, 1), 0.010, 0.85, 1.3, 4e5),
    "RUT": Traits("RUTW", 2500.0, 5.0, 25.0, (5, 10), 0.012, 0.85, 1.3, 4e4),
}


def traits(symbol: str) -> Traits:
    """A symbol's traits: from ``KNOWN``, or derived from the symbol's name.

    Parameters
    ----------
    symbol : the underlying.

    Returns
    -------
    Traits
        Price, volatility and activity.
    """
    if symbol in KNOWN:
        return KNOWN[symbol]
    rng = random_stream(symbol)
    level = 20 * 45 ** rng.random()
    step = next(step for top, step in ((50, 0.5), (200, 1), (400, 2.5), (900, 5)) if level <= top)
    market, volatility, volume = rng.random(3)
    return Traits(
        symbol, level, step, step, (1, 5), 0.03,
        0.3 + 0.4 * market, 1.2 + 0.8 * volatility, 1e4 * 30**volume,
    )  # fmt: skip


def random_stream(*key: object) -> np.random.Generator:
    """Random numbers that depend on the key alone, whatever the process.

    Parameters
    ----------
    *key : what names the stream; equal keys give equal numbers.

    Returns
    -------
    Generator
        The random numbers.
    """
    digest = sha256("|".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticDay:
    """One symbol's simulated session, read by the number of a slot, 0 at the open."""

    session: Session
    tape: Tape
    trades: Trades

    def columns(self, slot: int) -> dict[str, Any]:
        """The columns of a ``Frame`` as quoted at a slot.

        Parameters
        ----------
        slot : the number of the slot, from 0 at the open.

        Returns
        -------
        dict
            Columns of one length: one value a contract.
        """
        bid, ask, iv = self.tape.quotes(slot * GRID_SECONDS)
        newest = self.trades.newest[slot]
        traded = newest >= 0
        start = self.session.open.timestamp()
        listed = self.tape.contracts
        last, last_at = np.full(len(newest), np.nan), np.full(len(newest), np.nan)
        last[traded] = self.trades.price[newest[traded]] / 100
        last_at[traded] = start + self.trades.second[newest[traded]]
        return {
            "expiry": listed.expiry,
            "root": np.full(len(newest), self.tape.traits.root),
            "strike": listed.strike,
            "right": listed.right,
            "bid": bid / 100,
            "ask": ask / 100,
            "last": last,
            "last_at": last_at,
            "open_interest": listed.open_interest,
            "volume": self.trades.volume[slot],
            "source_iv": iv,
        }

    def spot(self, slot: int) -> float:
        """The underlying at a slot, in dollars.

        Parameters
        ----------
        slot : the number of the slot, from 0 at the open.

        Returns
        -------
        float
            The price. [$]
        """
        return float(self.tape.spot[slot * GRID_SECONDS])

    def remaining_sd(self, slot: int) -> float:
        """Expected standard deviation of ln spot from a slot to today's last trade.

        Parameters
        ----------
        slot : the number of the slot, from 0 at the open.

        Returns
        -------
        float
            The standard deviation, as a part of spot. [decimal]
        """
        return float(np.sqrt(self.tape.variance[slot * GRID_SECONDS]))

    def signed_volume(self, slot: int) -> Ints:
        """Contracts that customers bought less sold since the open, as simulated, not estimated.

        Parameters
        ----------
        slot : the number of the slot, from 0 at the open.

        Returns
        -------
        Ints
            Of shape (n,): one number a contract. [contracts]
        """
        signed: Ints = self.trades.signed[slot].astype(np.int64)
        return signed


def build_day(symbol: str, session: Session, seed: int) -> SyntheticDay:
    """Simulate the day of a symbol. This takes tens of milliseconds and a few megabytes.

    Parameters
    ----------
    symbol : the underlying.
    session : the session.
    seed : the number that the simulated market is made from.

    Returns
    -------
    SyntheticDay
        The day; equal for equal arguments.
    """
    tape, pace = simulate_prices(symbol, session, seed)
    trades = simulate_trades(tape, pace, random_stream(seed, symbol, session.day, "trades"))
    return SyntheticDay(session=session, tape=tape, trades=trades)


def simulate_prices(symbol: str, session: Session, seed: int) -> tuple[Tape, Floats]:
    """Simulate a day's prices, and each second's part of the activity, in a few milliseconds.

    Parameters
    ----------
    symbol : the underlying.
    session : the session.
    seed : the number that the simulated market is made from.

    Returns
    -------
    tuple of Tape and Floats
        Spot and volatility at each second, and the part of the day's activity that falls into
        each second.
    """
    about = traits(symbol)
    rng = random_stream(seed, symbol, session.day)
    level, volatility = _climate(about, session, seed, rng)
    life = round((expiry_moment(symbol, session) - session.open).total_seconds())
    length = round((session.close - session.open).total_seconds())
    pace = _pace(life, length)
    total = volatility**2 * life / YEAR_SECONDS
    common = random_stream(seed, "market", session.day)
    spot, variance = _walk(
        level=level, total=total, pace=pace, about=about, common=common, own=rng, length=length
    )
    after = next_session(session.day)
    later = (expiry_moment(symbol, after) - expiry_moment(symbol, session)).total_seconds()
    contracts = list_contracts(
        about=about,
        spot=spot[0],
        total=total,
        days=(session.day, after.day),
        later_years=later / YEAR_SECONDS,
        rng=rng,
    )
    tape = Tape(traits=about, life=life, spot=spot, variance=variance, contracts=contracts)
    return tape, pace


def _climate(
    about: Traits, session: Session, seed: int, own: np.random.Generator
) -> tuple[float, float]:
    """Spot and ATM volatility at the open: sine waves over the days, and some noise."""
    slow, quick, stormy = random_stream(seed).uniform(0, 2 * np.pi, 3)
    day = session.day.toordinal()
    common = random_stream(seed, "climate", session.day).standard_normal(2)
    noise = _blend(about.market, common, own.standard_normal(2))
    drift = 0.025 * np.sin(day / 37 + slow) + 0.006 * np.sin(day / 5.3 + quick) + 0.001 * noise[0]
    storm = 0.3 * np.sin(day / 11 + stormy) + 0.15 * noise[1]
    volatility = np.clip(0.15 * about.volatility * np.exp(storm), 0.10, 0.30)
    return about.level * float(np.exp(drift)), float(volatility)


def _pace(life: int, length: int) -> Floats:
    """Each second's part of the activity until the last trade: a U, quiet after the close."""
    passed = np.arange(life) / length
    shape = 0.6 + 2.2 * np.exp(-passed / 0.06) + 0.9 * np.exp((passed - 1) / 0.05)
    shape[length:] = 0.4
    pace: Floats = shape / shape.sum()
    return pace


def _walk(
    *,
    level: float,
    total: float,
    pace: Floats,
    about: Traits,
    common: np.random.Generator,
    own: np.random.Generator,
    length: int,
) -> tuple[Floats, Floats]:
    """Spot by second, to the cent, and the variance left."""
    shocks = _blend(about.market, _shocks(common, length), _shocks(own, length))
    other = _blend(about.market, common.standard_normal(length), own.standard_normal(length))
    steps = VOL_OF_VARIANCE / np.sqrt(length) * _blend(LEVERAGE, shocks, other)
    swell = np.exp(np.r_[0.0, np.cumsum(steps - VOL_OF_VARIANCE**2 / length / 2)])
    variance = total * pace[:length] * swell[:-1]
    returns = np.r_[0.0, np.cumsum(np.sqrt(variance) * shocks - variance / 2)]
    left = np.r_[np.cumsum(pace[::-1])[::-1], 0.0]
    return np.round(level * np.exp(returns), 2), total * left[: length + 1] * swell


def _shocks(rng: np.random.Generator, length: int) -> Floats:
    """Independent shocks, one a second, of mean 0 and variance 1; a few a day are jumps."""
    shocks: Floats = np.sqrt(1 - JUMP_SHARE) * rng.standard_normal(length)
    size = np.sqrt(JUMP_SHARE * length / JUMPS)
    seconds = np.flatnonzero(rng.random(length) < JUMPS / length)
    shocks[seconds] += size * rng.standard_normal(len(seconds))
    return shocks


def _blend(share: float, first: Floats, second: Floats) -> Floats:
    """Mix two series of unit variance into one, correlated with the first by ``share``."""
    blend: Floats = share * first + np.sqrt(1 - share**2) * second
    return blend
