"""Which quotes are wider than makes sense, and what weighing them by their width is worth.

``python -m tests.benchmarks.study_wide_quotes`` (a minute): the tables of docs/definitions.md. Reads
the recorded chains beside the checkout. A reopening is made of each: a part of its quotes gets bids
0.3 times and asks 2 times + 3 $.
"""

from __future__ import annotations

import dataclasses
import lzma
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Chain, select_chain
from sampler.errors import ChainRefused
from sampler.measure.market import MarketState, read_market
from sampler.metrics import black
from sampler.metrics.flow import quote
from sampler.metrics.smile import forward, smile
from sampler.metrics.width import LEAST_WIDE, out_of_the_money
from sampler.sources.recorded import read_chain
from storage.market.calendar import market_day, session_on

Floats = NDArray[np.float64]

DATA = Path(__file__).resolve().parents[2].parent / "shared/data"
#: Parts of the quotes that are widened.
PARTS = (0.02, 0.05, 0.1, 0.3, 0.6, 1.0)


def recorded() -> Iterator[tuple[str, Chain, MarketState]]:
    """Every recorded frame that makes a row."""
    with TemporaryDirectory() as folder:
        for path in sorted([*DATA.glob("chains/*/*.json"), *DATA.glob("chains-more/*/*.xz")]):
            plain = path
            if path.suffix == ".xz":
                plain = Path(folder) / path.stem
                plain.write_bytes(lzma.decompress(path.read_bytes()))
            frame = read_chain(plain)
            try:
                chain = select_chain(frame, session_on(market_day(frame.quoted_at)))
                yield plain.stem, chain, read_market(chain)
            except ChainRefused:
                continue


def widest(chain: Chain, market: MarketState) -> float:
    """The largest half-width out of the money, as a part of the value at the money."""
    half = out_of_the_money(chain.strike, market.quote.half, market.forward.level)
    half = half[2 * half > LEAST_WIDE]
    return float(half.max(initial=0.0)) * math.sqrt(2 * math.pi) / market.remaining


def net_gamma(chain: Chain, spot: float, level: float, sigma: Floats) -> tuple[float, float]:
    """Net and gross gamma of the settled book, but for their common factor."""
    gamma = black.greeks(spot, level, chain.strike, chain.years, sigma).gamma
    by_strike = (chain.open_interest[0] - chain.open_interest[1]) * gamma
    return float(by_strike.sum()), float(np.abs(by_strike).sum())


def by_mids_alone(chain: Chain) -> tuple[float, Floats]:
    """Forward and smile as a row without wide quotes has them."""
    quoted = quote(chain.bid, chain.ask)
    level = forward(chain.strike, quoted.mid, chain.bid, chain.spot).level
    fitted = smile(chain.strike, quoted.mid, chain.bid, forward=level, years=chain.years)
    assert fitted is not None
    return level, fitted.filled


def main() -> None:
    """Print the tables."""
    if not DATA.is_dir():
        print("the recorded chains are not beside this checkout")
        return
    dice = np.random.default_rng(4)
    clean: list[tuple[float, str]] = []
    flagged: list[str] = []
    errors: dict[float, list[tuple[float, ...]]] = {share: [] for share in PARTS}
    unflagged: dict[float, list[float]] = {share: [] for share in PARTS}
    for name, chain, market in recorded():
        clean.append((widest(chain, market), name))
        flagged += [name] if "wide_quotes" in market.flags else []
        level, sigma = market.forward.level, market.smile.filled
        net, gross = net_gamma(chain, market.spot, level, sigma)
        for share in PARTS:
            hit = dice.random(chain.bid.shape) < share
            dirty = dataclasses.replace(
                chain,
                bid=np.where(hit, 0.3 * chain.bid, chain.bid),
                ask=np.where(hit, 2 * chain.ask + 3, chain.ask),
            )
            try:
                measured_market = read_market(dirty)
            except ChainRefused:
                continue
            both: list[float] = []
            for f, s in (
                by_mids_alone(dirty),
                (measured_market.forward.level, measured_market.smile.filled),
            ):
                atm = float(np.interp(f, chain.strike, s))
                off = net_gamma(chain, market.spot, f, s)[0] - net
                both += [1e4 * abs(f / level - 1), 100 * abs(atm / market.atm - 1)]
                both += [100 * abs(off) / gross]
            if "wide_quotes" in measured_market.flags:
                errors[share].append(tuple(both))
            else:
                unflagged[share].append(both[2])
    clean.sort(reverse=True)
    print(f"{len(clean)} frames, {len(flagged)} flagged {flagged}; widest half-widths:")
    print(", ".join(f"{name} {share:.3f}" for share, name in clean[:3]))
    print("\nerrors of 90 % of the flagged rows stay below: by mids alone → weighted")
    print(
        "| widened | rows | flagged | forward, bp | atm_iv, % | net GEX, % of gross | unflagged |"
    )
    print("|---|---|---|---|---|---|---|")
    for share, found_errors in errors.items():
        f0, a0, g0, f1, a1, g1 = np.quantile(np.array(found_errors), 0.9, axis=0)
        worst = max(unflagged[share], default=0.0)
        rows = len(found_errors) + len(unflagged[share])
        print(
            f"| {100 * share:.0f} % | {rows} | {len(found_errors)} | {f0:.2f} → {f1:.2f} |"
            f" {a0:.1f} → {a1:.1f} | {g0:.1f} → {g1:.1f} | {worst:.1f} |"
        )


if __name__ == "__main__":
    main()
