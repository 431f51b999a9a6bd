"""How far a gamma flip moves with the rule that it is told by: a table of docs/definitions.md.

``python -m tests.benchmarks.study_levels`` (seconds). Reads the recorded chains beside the
checkout; without them it says so and prints nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sampler.chain import YEAR_SECONDS, Chain, Frame, select
from sampler.errors import Refused
from sampler.market import read_market
from sampler.metrics import black, levels
from sampler.metrics.smile import forward, smile
from sampler.sources.recorded import read
from storage.session import at_new_york, market_day, new_york, session_on

Floats = NDArray[np.float64]

CHAINS = Path(__file__).resolve().parents[2].parent / "shared/data/chains"
#: Frames of the last minutes are left out: there is hardly a chain left.
CLOSING = timedelta(minutes=5)
#: Where the rule of the first sign change begins to look, as a part of spot.
NEAR = 0.02
#: Points of a dense grid over the reach of a flip.
POINTS = 8001
#: What the free feed's gammas are rounded to.
DECIMALS = 4
#: Frames that the docs show; the summary is over all.
SHOWN = (
    "SPX 2026-07-16 14:18",
    "SPX 2026-07-17 10:32",
    "SPX 2026-08-18 14:18",
    "SPX 2026-08-19 10:14",
    "SPY 2026-08-19 10:14",
    "QQQ 2026-08-19 14:15",
)


class Scene:
    """One recorded frame: its chain, forward and smile, and the book on settled open interest."""

    def __init__(self, frame: Frame, chain: Chain) -> None:
        self.frame, self.chain = frame, chain
        market = read_market(chain)
        self.name = f"{chain.symbol} {new_york(chain.quoted_at):%Y-%m-%d %H:%M}"
        self.spot, self.forward = market.spot, market.forward.level
        self.strike, self.sigma = chain.strike, market.smile.filled
        self.net = chain.open_interest[0] - chain.open_interest[1]

    @cached_property
    def gamma(self) -> Floats:
        """By strike, at the smile's volatility."""
        return black.greeks(
            self.spot, self.forward, self.strike, self.chain.years, self.sigma
        ).gamma

    @cached_property
    def vendor_gamma(self) -> Floats:
        """By contract, at the feed's own volatility; 0 where it has none. (2, n)"""
        iv = np.where(self.chain.source_iv > 0, self.chain.source_iv, 0.0)
        return black.greeks(self.spot, self.forward, self.strike, self.chain.years, iv).gamma

    @property
    def total(self) -> Floats:
        """Each strike's σ√T."""
        return self.sigma * math.sqrt(self.chain.years)

    def root(self, net: Floats, center: Floats, total: Floats) -> float | None:
        """Where a repriced book turns; ``center`` is K·S/F, which may differ by expiry."""
        return levels.flip(
            net, spot=self.spot, forward=self.spot, strike=center, years=1.0, sigma=total
        ).level

    @property
    def center(self) -> Floats:
        """K·S/F: the spot level at which each strike is at the money."""
        return self.strike * (self.spot / self.forward)

    def dense(self, gamma_at: Callable[[float], Floats]) -> float | None:
        """Where net gamma crosses zero on a dense grid, by the rule of the flip: 1 % on both sides.

        ``gamma_at`` gives each strike's gamma at a spot level.
        """
        grid = np.linspace(*self.spot * np.array([1 - levels.REACH, 1 + levels.REACH]), POINTS)
        book = np.array([self.net @ gamma_at(x) for x in grid]) * grid**2
        clear = np.flatnonzero(np.abs(book) > levels.SIGNIFICANT * np.abs(book).max())
        found = []
        for i, j in zip(clear, clear[1:], strict=False):
            if np.sign(book[i]) != np.sign(book[j]):
                step = book[i] / (book[i] - book[j])
                found.append(float(grid[i] + step * (grid[j] - grid[i])))
        return min(found, key=lambda x: abs(x - self.spot), default=None)


def ours(scene: Scene) -> float | None:
    """Every contract repriced at each level, own volatility, time to the close."""
    return scene.root(scene.net, scene.center, scene.total)


def one_day(scene: Scene) -> float | None:
    """The same with a day of time left, whatever the clock says."""
    return scene.root(scene.net, scene.center, scene.sigma * math.sqrt(1 / 365))


def first_change(scene: Scene) -> float | None:
    """The lowest strike within ±2 % whose net GEX is positive and the one below it negative."""
    near = np.abs(scene.strike - scene.spot) <= NEAR * scene.spot
    gex, strike = (scene.net * scene.gamma)[near], scene.strike[near]
    turn = np.flatnonzero((gex[:-1] < 0) & (gex[1:] > 0))
    return float(strike[turn[0] + 1]) if len(turn) else None


def first_of_all(scene: Scene) -> float | None:
    """The same from the chain's lowest strike on."""
    gex = scene.net * scene.gamma
    turn = np.flatnonzero((gex[:-1] < 0) & (gex[1:] > 0))
    return float(scene.strike[turn[0] + 1]) if len(turn) else None


def running_sum(scene: Scene) -> float | None:
    """The strike nearest spot at which the sum of net GEX from the lowest strike changes sign."""
    return _turn_of_sum(scene, scene.net * scene.gamma)


def rounded_sum(scene: Scene) -> float | None:
    """The same with the feed's gammas, which have four decimals."""
    gamma = scene.vendor_gamma.round(DECIMALS)
    oi = scene.chain.open_interest
    return _turn_of_sum(scene, oi[0] * gamma[0] - oi[1] * gamma[1])


def _turn_of_sum(scene: Scene, gex: Floats) -> float | None:
    so_far = np.cumsum(gex)
    held = np.flatnonzero(so_far != 0)
    side = np.sign(so_far[held])
    turn = scene.strike[held[1:]][side[1:] != side[:-1]]
    return float(turn[np.argmin(np.abs(turn - scene.spot))]) if len(turn) else None


def vendor_iv(scene: Scene) -> float | None:
    """Repriced by the feed's volatility of each contract; one without has no gamma."""
    iv = scene.chain.source_iv
    has = iv > 0
    net = np.array([[1.0], [-1.0]]) * scene.chain.open_interest
    center = np.broadcast_to(scene.center, iv.shape)
    return scene.root(net[has], center[has], iv[has] * math.sqrt(scene.chain.years))


def volume(scene: Scene) -> float | None:
    """Repriced, with the day's volume in place of open interest."""
    traded = np.nan_to_num(scene.chain.volume)
    return scene.root(traded[0] - traded[1], scene.center, scene.total)


def all_expiries(scene: Scene) -> float | None:
    """Repriced, with every expiry of the file at its own forward, smile and time."""
    frame = scene.frame
    parts = [(scene.net, scene.center, scene.total)]
    today = np.datetime64(scene.chain.expiration)
    sound = (frame.right != 0) & (frame.open_interest >= 0) & (frame.strike > 0)
    for day in np.unique(frame.expiry[sound & (frame.expiry > today)]):
        expires = at_new_york(day.item(), 16)
        years = (expires - frame.quoted_at).total_seconds() / YEAR_SECONDS
        if (part := _expiry(scene, sound & (frame.expiry == day), years)) is not None:
            parts.append(part)
    net, center, total = (np.concatenate(column) for column in zip(*parts, strict=True))
    return scene.root(net, center, total)


def _expiry(
    scene: Scene, of: NDArray[np.bool_], years: float
) -> tuple[Floats, Floats, Floats] | None:
    """Net position, K·S/F and σ√T of a later expiry; None without a volatility."""
    frame = scene.frame
    strike, at = np.unique(frame.strike[of], return_inverse=True)
    side = np.where(frame.right[of] > 0, 0, 1)
    oi, bid, ask = np.zeros((2, len(strike))), *np.full((2, 2, len(strike)), np.nan)
    np.add.at(oi, (side, at), frame.open_interest[of])
    # Where the feed drops roots a third Friday has two contracts to a key; one of them is quoted.
    quoted = frame.ask[of] > 0
    bid[side[quoted], at[quoted]] = frame.bid[of][quoted]
    ask[side[quoted], at[quoted]] = frame.ask[of][quoted]
    usable = (bid >= 0) & (ask >= bid)
    mid = np.where(usable, (bid + ask) / 2, np.nan)
    level = forward(strike, mid, bid, scene.spot).level
    found = smile(strike, mid, usable & (bid > 0), forward=level, years=years)
    if found is None:
        return None
    return oi[0] - oi[1], strike * (scene.spot / level), found.filled * math.sqrt(years)


def with_twins(scene: Scene) -> float | None:
    """Repriced, with the contracts that settled at the open; None on days that have none."""
    if "am_settled" not in scene.chain.dropped:
        return None
    frame = scene.frame
    of = (frame.expiry == np.datetime64(scene.chain.expiration)) & (frame.open_interest >= 0)
    strike, at = np.unique(frame.strike[of], return_inverse=True)
    net = np.zeros(len(strike))
    np.add.at(net, at, frame.right[of] * frame.open_interest[of])
    sigma = np.interp(strike, scene.strike, scene.sigma)
    total = sigma * math.sqrt(scene.chain.years)
    return scene.root(net, strike * (scene.spot / scene.forward), total)


def rounded_gamma(scene: Scene) -> float | None:
    """Repriced, with every gamma rounded to four decimals."""
    return scene.dense(lambda x: _gamma(scene, x, scene.sigma).round(DECIMALS))


def sticky_moneyness(scene: Scene) -> float | None:
    """Repriced, with a smile that moves along with spot."""

    def at(x: float) -> Floats:
        moved = np.interp(scene.strike * (scene.spot / x), scene.strike, scene.sigma)
        return _gamma(scene, x, moved)

    return scene.dense(at)


def _gamma(scene: Scene, x: float, sigma: Floats) -> Floats:
    level = scene.forward * x / scene.spot
    return black.greeks(x, level, scene.strike, scene.chain.years, sigma).gamma


#: The rules, ours first.
RULES: dict[str, Callable[[Scene], float | None]] = {
    "ours": ours,
    "T fixed at one day": one_day,
    "first sign change, ±2 %": first_change,
    "first sign change, whole chain": first_of_all,
    "running sum": running_sum,
    "running sum, feed's gammas": rounded_sum,
    "the feed's volatilities": vendor_iv,
    "volume for open interest": volume,
    "all expiries": all_expiries,
    "AM-settled twins counted": with_twins,
    "gammas of four decimals": rounded_gamma,
    "smile moves with spot": sticky_moneyness,
}


def scenes(folder: Path = CHAINS) -> list[Scene]:
    """Every recorded frame of a session, the last minutes apart, in order."""
    found = []
    for path in sorted(folder.rglob("*.json")):
        frame = read(path)
        session = session_on(market_day(frame.quoted_at))
        try:
            chain = select(frame, session)
        except Refused:
            continue
        if session and frame.quoted_at < session.close - CLOSING:
            found.append(Scene(frame, chain))
    return found


def summary(told: list[dict[str, float | None]], spots: list[float], rule: str) -> tuple[str, ...]:
    """Frames with a level, on spot's other side, median and maximum difference. [% of spot]"""
    differences, other = [], 0
    for levels_of, spot in zip(told, spots, strict=True):
        here, reference = levels_of[rule], levels_of["ours"]
        if here is None or reference is None:
            continue
        differences.append(100 * abs(here - reference) / spot)
        other += (here > spot) != (reference > spot)
    if not differences:
        return "0", "-", "-", "-"
    median, most = np.median(differences), max(differences)
    return str(len(differences)), str(other), f"{median:.3f}", f"{most:.3f}"


def main() -> None:
    """Print flips by rule and frame, their differences, and the docs' table."""
    if not CHAINS.is_dir():
        print(f"the recorded chains are not beside this checkout ({CHAINS}): nothing to measure")
        return
    found = scenes()
    told = [{name: rule(scene) for name, rule in RULES.items()} for scene in found]
    spots = [scene.spot for scene in found]
    print(f"{len(found)} frames; flip, and its difference from ours, in points")
    for scene, flips in zip(found, told, strict=True):
        print(f"\n{scene.name}  spot {scene.spot:.2f}  net GEX sign {np.sign(scene.net @ scene.gamma):+.0f}")
        for name, level in flips.items():
            off = "" if level is None or flips["ours"] is None else f"{level - flips['ours']:+10.2f}"
            print(f"  {name:32}{'none' if level is None else f'{level:.2f}':>10}{off}")
    at = [[scene.name for scene in found].index(name) for name in SHOWN]
    print(f"\nfor the docs, {datetime.now():%Y-%m-%d}\n")
    heads = ["rule", *SHOWN, "found", "other side", "median", "maximum"]
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for name in RULES:
        shown = [told[i][name] for i in at]
        cells = ["none" if level is None else f"{level:.2f}" for level in shown]
        print("| " + " | ".join([name, *cells, *summary(told, spots, name)]) + " |")


if __name__ == "__main__":
    main()
