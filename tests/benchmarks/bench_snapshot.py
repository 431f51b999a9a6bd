"""A whole snapshot of a real chain, from columns to row, and one tick of 600 symbols. ``make bench``

Settled and live book, both flips, hedging table, per-strike profile. The peer in the same run is
the usual way to find a flip alone: net gamma repriced on an even grid, in numpy. Medians and
bests; nothing is asserted, machines are noisy: compare ratios.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta

import numpy as np

from sampler import metrics
from sampler.chain import Chain, Frame, select_chain
from sampler.measure.market import read_market
from sampler.measure.projection import EVERY
from sampler.measure.snapshot import measure_slot
from storage.market.calendar import market_day, session_on
from storage.record.row import SlotRecord
from tests.benchmarks.bench_tick import frame

SYMBOLS = 600


def timed(work: Callable[[], object], repeats: int = 200) -> tuple[float, float]:
    """Median and best of some repeats. [ms]"""
    work()
    took = []
    for _ in range(repeats):
        since = time.perf_counter()
        work()
        took.append((time.perf_counter() - since) * 1e3)
    return statistics.median(took), min(took)


def pair(read: Frame, *, projected: bool = False) -> tuple[Frame, Chain, SlotRecord]:
    """A frame a slot later, with new volume on most contracts, its chain, the record before it.

    Both are in the five minutes after the frame's own; ``projected``: the later one is the first
    of them, which has a projection.
    """
    wait = -(read.quoted_at.timestamp() + (30 if projected else 0)) % EVERY
    read = replace(read, quoted_at=read.quoted_at + timedelta(seconds=wait))
    session = session_on(market_day(read.quoted_at))
    first = measure_slot(select_chain(read, session), None, oi_confidence=0.43)
    later = replace(
        read,
        quoted_at=read.quoted_at + timedelta(seconds=30),
        volume=read.volume + np.arange(len(read.strike)) % 7,
    )
    return later, select_chain(later, session), first


def grid_flip(chain: Chain, points: int) -> float | None:
    """The flip by repricing every strike on an even grid of ±10 %: what most programs do."""
    market = read_market(chain)
    levels = np.linspace(0.9 * market.spot, 1.1 * market.spot, points)
    total = market.smile.filled * np.sqrt(chain.years)
    d1 = np.log(levels[:, None] / chain.strike) / total + total / 2
    net = chain.open_interest[0] - chain.open_interest[1]
    gamma = levels * (np.exp(-d1 * d1 / 2) @ (net / total))
    turn = np.flatnonzero(np.diff(np.sign(gamma)))
    if not len(turn):
        return None
    return float(levels[turn[np.argmin(np.abs(levels[turn] - market.spot))]])


def many(count: int) -> tuple[float, float]:
    """Seconds for one tick's arithmetic of some symbols, and of the processor's time in them."""
    metrics.load_compiled()
    _, later, first = pair(asyncio.run(frame())[0])
    measure_slot(later, first, oi_confidence=0.43)
    since, worked = time.perf_counter(), time.process_time()
    for _ in range(count):
        measure_slot(later, first, oi_confidence=0.43)
    return time.perf_counter() - since, time.process_time() - worked


def start(code: str) -> float:
    """Seconds that a fresh interpreter takes for some code."""
    since = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - since


def main() -> None:
    """Print the tables."""
    metrics.load_compiled()
    read, what = asyncio.run(frame())
    newer, later, first = pair(read)
    print(f"{what}: {later.listed.sum()} contracts, {len(later.strike)} strikes\n")
    whole = timed(lambda: measure_slot(later, first, oi_confidence=0.43))
    print(f"{'':46}   median      best")
    print(f"{'snapshot, live and settled':46} {whole[0]:8.3f}  {whole[1]:8.3f} ms")
    _, fifth, before = pair(read, projected=True)
    surface = timed(lambda: measure_slot(fifth, before, oi_confidence=0.43))
    print(
        f"{'the same with a projection, one slot of ten':46} {surface[0]:8.3f}  {surface[1]:8.3f} ms"
    )
    baseline = timed(lambda: measure_slot(later, None, oi_confidence=0.43))
    print(f"{'baseline: one book, with a projection':46} {baseline[0]:8.3f}  {baseline[1]:8.3f} ms")
    session = session_on(market_day(newer.quoted_at))
    columns = timed(lambda: measure_slot(select_chain(newer, session), first, oi_confidence=0.43))
    print(f"{'the same from all columns of the source':46} {columns[0]:8.3f}  {columns[1]:8.3f} ms")
    for points in (801, 4001):
        peer = timed(lambda n=points: grid_flip(later, n), 20)
        print(
            f"{f'peer: one flip alone on {points} levels, numpy':46} {peer[0]:8.3f}  {peer[1]:8.3f} ms"
            f"   snapshot/peer {whole[0] / peer[0]:.3f}"
        )
    print(f"\n{'':46}  by clock   working")
    single = many(SYMBOLS)
    print(f"{'one tick of 600 symbols, one process':46} {single[0]:8.3f}  {single[1]:8.3f} s")
    with ProcessPoolExecutor(2) as pool:
        pooled = pool.map(many, [SYMBOLS // 2] * 2)
        two = [max(seconds) for seconds in zip(*pooled, strict=True)]
    print(
        f"{'one tick of 600 symbols, two samplers':46} {two[0]:8.3f}  {two[1]:8.3f} s (the slower)"
    )
    bare = start("import numpy")
    ready = start("from sampler import metrics; metrics.load_compiled()")
    print(f"{'formulas loaded from the cache, beyond numpy':46} {ready - bare:8.3f} s")


if __name__ == "__main__":
    main()
