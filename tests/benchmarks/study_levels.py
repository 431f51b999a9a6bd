"""How far a gamma flip moves with the rule that it is told by: a table of docs/definitions.md.

``python -m tests.benchmarks.study_levels`` (seconds). Reads the recorded chains beside the
checkout; without them it says so and prints nothing else.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Chain, Frame, select_chain
from sampler.errors import ChainRefused
from sampler.measure.market import read_market
from sampler.metrics import black
from sampler.metrics.crossings import REACH, SIGNIFICANT
from sampler.metrics.flip import find_flips
from sampler.metrics.smile import forward, smile
from sampler.sources.recorded import read_chain
from storage.market.calendar import market_day, new_york_time, session_on, to_new_york
from storage.market.constants import YEAR_SECONDS

Floats = NDArray[np.float64]

CHAINS = Path(__file__).resolve().parents[2].parent / "shared/data/chains"
#: Frames of the last minutes are left out: there is hardly a chain left.
CLOSING = timedelta(minutes=5)
#: Where the rule of the first sign change begins to look, as a part of spot.
NEAR = 0.02
#: Points of a dense grid over the reach of a flip.
POINTS = 4001
#: What the free feed's gammas are rounded to.
DECIMALS = 4
#: Frames that the docs show; the summary is over all.
SHOWN = (
    "SPX 2026-07-16 14:18",
    "SPX 2026-07-17 10:32",
    "SPX 2026-08-19 10:14",
    "SPY 2026-08-19 10:14",
    "QQQ 2026-08-19 14:15",
)


class Scene:
    """One recorded frame: its chain, forward and smile, and the book on settled open interest."""

    def __init__(self, frame: Frame, chain: Chain) -> None:
        self.frame, self.chain = frame, chain
        market = read_market(chain)
        self.name = f"{chain.symbol} {to_new_york(chain.quoted_at):%Y-%m-%d %H:%M}"
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
        (flip,) = find_flips(
            net[None],
            spot=self.spot,
            moneyness=np.log(self.spot / center),
            years=1.0,
            sigma=total,
        )
        return flip.level

    @property
    def center(self) -> Floats:
        """K·S/F: the spot level at which each strike is at the money."""
        return self.strike * (self.spot / self.forward)

    def dense(self, gamma: Floats) -> float | None:
        """Where net gamma turns on ``self.grid``, by the flip's rule: 1 % on both sides."""
        book = (gamma @ self.net) * self.grid[:, 0] ** 2
        clear = np.flatnonzero(np.abs(book) > SIGNIFICANT * np.abs(book).max())
        roots = []
        for i, j in itertools.pairwise(clear):
            if np.sign(book[i]) == np.sign(book[j]):
                continue
            k = i + np.flatnonzero(np.sign(book[i : j + 1]) != np.sign(book[i]))[0]
            low, high = self.grid[k - 1, 0], self.grid[k, 0]
            roots.append(float(low + (high - low) * book[k - 1] / (book[k - 1] - book[k])))
        return min(roots, key=lambda x: abs(x - self.spot), default=None)

    @cached_property
    def grid(self) -> Floats:
        """Spot levels over the reach of a flip, one a row."""
        ends = self.spot * (1 - REACH), self.spot * (1 + REACH)
        return np.linspace(*ends, num=POINTS, dtype=np.float64)[:, None]

    def repriced(self, sigma: Floats) -> Floats:
        """Gamma at each level of the grid and strike; ``sigma`` may differ by level."""
        total = sigma * math.sqrt(self.chain.years)
        d1 = np.log(self.grid / self.center) / total + total / 2
        gamma: Floats = np.exp(-d1 * d1 / 2) / (math.sqrt(2 * math.pi) * self.grid * total)
        return gamma


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
        expires = new_york_time(day.item(), 16)
        years = (expires - frame.quoted_at).total_seconds() / YEAR_SECONDS
        if (gamma := _expiry(scene, sound & (frame.expiry == day), years)) is not None:
            parts.append(gamma)
    net, center, total = (np.concatenate(column) for column in zip(*parts, strict=True))
    return scene.root(net, center, total)


def _expiry(
    scene: Scene, contracts: NDArray[np.bool_], years: float
) -> tuple[Floats, Floats, Floats] | None:
    """Net position, K·S/F and σ√T of a later expiry; None without a volatility."""
    frame = scene.frame
    strike, column = np.unique(frame.strike[contracts], return_inverse=True)
    side = np.where(frame.right[contracts] > 0, 0, 1)
    oi, bid, ask = np.zeros((2, len(strike))), *np.full((2, 2, len(strike)), np.nan)
    np.add.at(oi, (side, column), frame.open_interest[contracts])
    # Where the feed drops roots a third Friday has two contracts to a key; one of them is quoted.
    quoted = frame.ask[contracts] > 0
    bid[side[quoted], column[quoted]] = frame.bid[contracts][quoted]
    ask[side[quoted], column[quoted]] = frame.ask[contracts][quoted]
    usable = (bid >= 0) & (ask >= bid)
    mid = np.where(usable, (bid + ask) / 2, np.nan)
    level = forward(strike, mid, bid, scene.spot).level
    fitted = smile(strike, mid, bid, forward=level, years=years)
    if fitted is None:
        return None
    return oi[0] - oi[1], strike * (scene.spot / level), fitted.filled * math.sqrt(years)


def with_twins(scene: Scene) -> float | None:
    """Repriced, with the contracts that settled at the open; None on days that have none."""
    if "am_settled" not in scene.chain.dropped:
        return None
    frame = scene.frame
    contracts = (frame.expiry == np.datetime64(scene.chain.expiration)) & (frame.open_interest >= 0)
    strike, column = np.unique(frame.strike[contracts], return_inverse=True)
    net = np.zeros(len(strike))
    np.add.at(net, column, frame.right[contracts] * frame.open_interest[contracts])
    sigma = np.interp(strike, scene.strike, scene.sigma)
    total = sigma * math.sqrt(scene.chain.years)
    return scene.root(net, strike * (scene.spot / scene.forward), total)


def rounded_gamma(scene: Scene) -> float | None:
    """Repriced, with every gamma rounded to four decimals."""
    return scene.dense(scene.repriced(scene.sigma).round(DECIMALS))


def sticky_moneyness(scene: Scene) -> float | None:
    """Repriced, with a smile that moves along with spot."""
    moved = np.interp(scene.strike * scene.spot / scene.grid, scene.strike, scene.sigma)
    return scene.dense(scene.repriced(moved))


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
    chosen = []
    for path in sorted(folder.rglob("*.json")):
        frame = read_chain(path)
        session = session_on(market_day(frame.quoted_at))
        try:
            chain = select_chain(frame, session)
        except ChainRefused:
            continue
        if session and frame.quoted_at < session.close - CLOSING:
            chosen.append(Scene(frame, chain))
    return chosen


def measure(chosen: list[Scene]) -> list[dict[str, float | None]]:
    """The flip of each frame by each rule."""
    return [{name: rule(scene) for name, rule in RULES.items()} for scene in chosen]


def table(chosen: list[Scene], figures: list[dict[str, float | None]]) -> list[list[str]]:
    """The docs' table: a row a rule; flips of ``SHOWN``, then the summary over all frames.

    The summary: frames with a level, those where it lies on spot's other side than ours, median
    and maximum difference in % of spot.
    """
    names = [scene.name for scene in chosen]
    rows = [["rule", *SHOWN, "found", "other side", "median", "maximum"]]
    for rule in RULES:
        flips = [figures[names.index(name)][rule] for name in SHOWN]
        row = [rule, *("–" if level is None else f"{level:.2f}" for level in flips)]
        pairs = [
            (level, reference, scene.spot)
            for scene, figure in zip(chosen, figures, strict=True)
            if (level := figure[rule]) is not None and (reference := figure["ours"]) is not None
        ]
        off = [100 * abs(level - reference) / spot for level, reference, spot in pairs]
        other = sum((level > spot) != (reference > spot) for level, reference, spot in pairs)
        row += [f"{len(pairs)}", f"{other}", f"{np.median(off):.3f}", f"{max(off):.3f}"]
        rows.append(row)
    return rows


def main() -> None:
    """Print flips by rule and frame with their differences, and the docs' table."""
    if not CHAINS.is_dir():
        print(f"the recorded chains are not beside this checkout ({CHAINS}): nothing to measure")
        return
    chosen = scenes()
    figures = measure(chosen)
    print(f"{len(chosen)} frames; each rule's flip, and how far it lies from ours, in points")
    for scene, levels in zip(chosen, figures, strict=True):
        net = scene.net @ scene.gamma
        print(f"\n{scene.name}  spot {scene.spot:.2f}  net GEX {'+' if net > 0 else '-'}")
        for name, level in levels.items():
            if level is None or levels["ours"] is None:
                print(f"  {name:32}{'none':>10}")
            else:
                print(f"  {name:32}{level:10.2f}{level - levels['ours']:+10.2f}")
    head, *rows = table(chosen, figures)
    print(f"\nFor the docs, {datetime.now():%Y-%m-%d}:\n")
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
