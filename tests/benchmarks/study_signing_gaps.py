"""What a print is worth after a hole: the shrunk sign against the whole one, out of sample.

``python -m tests.benchmarks.study_signing_gaps`` (ten minutes): sessions of the simulated market,
whose true sides are known, of seeds that nothing else was chosen or tried with. The divisor √n
comes from real minutes (docs/signing.md), not from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Frame, select_chain
from sampler.measure.snapshot import measure_slot
from sampler.sources.synthetic import day as market
from storage.market.calendar import session_on
from storage.market.constants import MULTIPLIER
from storage.record.row import SlotRecord

Floats = NDArray[np.float64]

#: Slots from one frame to the next: holes of a feed of 30 s, and feeds of 60 s to 10 minutes.
LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20)
#: Simulated sessions: symbol and seed.
SEEDS = tuple(("SPX", seed) for seed in range(301, 309)) + tuple(
    ("QQQ", seed) for seed in range(301, 309)
)
DAY = date(2026, 8, 19)


class Session:
    """One simulated session: its frames, and what dealers truly hedged up to each slot."""

    def __init__(self, symbol: str, seed: int) -> None:
        session = session_on(DAY)
        assert session is not None
        self.symbol, self.session = symbol, session
        self.day = market.build_day(symbol, session, seed)
        # Not the last two minutes: some of these sessions have no volatility left by then.
        self.slots = list(session.slots)[:-4]
        self._today = self.day.columns(0)["expiry"] == np.datetime64(DAY)
        record, true = None, [0.0]
        for slot in range(1, len(self.slots)):
            record = self.measure(slot, record)
            if slot > 1:
                bought = self.day.signed_volume(slot) - self.day.signed_volume(slot - 1)
                true.append(true[-1] + self._worth(record, bought[self._today]))
        #: Hedge flow of every true side since slot 1, the first that is open; by slot from 1 on.
        self.true = np.array(true)

    def measure(self, slot: int, previous: SlotRecord | None) -> SlotRecord:
        """The product's record of a slot."""
        moment = self.slots[slot]
        frame = Frame.of(
            symbol=self.symbol,
            source="synthetic",
            delay_seconds=0,
            quoted_at=moment,
            fetched_at=moment,
            spot=self.day.spot(slot),
            columns=self.day.columns(slot),
        )
        return measure_slot(select_chain(frame, self.session), previous, oi_confidence=0.43)

    def _worth(self, record: SlotRecord, bought: NDArray[np.int64]) -> float:
        """Σ net·M·Δ·S of what was truly bought. [$]"""
        calls, puts = bought[: len(bought) // 2], bought[len(bought) // 2 :]
        delta = record.profile["call_delta"]
        return float((calls @ delta + puts @ (delta - 1.0)) * MULTIPLIER * record.row.spot)

    def sampled(self, length: int) -> tuple[Floats, Floats]:
        """Each interval's hedge flow as the product measures it, and the true one. [$]"""
        looks = range(1, len(self.slots), length)
        record, flow = None, []
        for slot in looks:
            record = self.measure(slot, record)
            flow.append(record.row.hedge_flow_cumulative_all)
        return np.diff(flow), np.diff(self.true[[slot - 1 for slot in looks]])


class Outcome(NamedTuple):
    """Root mean square errors over intervals of one length, by what a sign counts for. [$]"""

    intervals: int
    #: As measured: 1/√n.
    shrunk: float
    #: One print's sign for all of the volume.
    whole: float
    #: No sign at all: what there was to tell.
    nothing: float
    #: The divisor that would have been best here, in place of √n.
    best_divisor: float
    #: Errors of the session's sum, shrunk and whole.
    day_shrunk: float
    day_whole: float


def outcome(sessions: Iterable[Session], length: int) -> Outcome:
    """All sessions sampled every ``length`` slots."""
    flows, trues, ends = [], [], []
    for session in sessions:
        flow, true = session.sampled(length)
        flows.append(flow)
        trues.append(true)
        ends.append((flow.sum(), true.sum()))
    flow, true = np.concatenate(flows), np.concatenate(trues)
    whole = flow * math.sqrt(length)
    end, end_true = np.array(ends).T

    def rms(error: Floats) -> float:
        return float(np.sqrt((error**2).mean()))

    return Outcome(
        intervals=len(flow),
        shrunk=rms(flow - true),
        whole=rms(whole - true),
        nothing=rms(true),
        best_divisor=float(whole @ whole / (whole @ true)),
        day_shrunk=rms(end - end_true),
        day_whole=rms(end * math.sqrt(length) - end_true),
    )


def main() -> None:
    """Print the table, in millions of dollars."""
    for symbol in ("SPX", "QQQ"):
        sessions = [Session(name, seed) for name, seed in SEEDS if name == symbol]
        print(f"\n{symbol}, {len(sessions)} sessions")
        print(
            "| slots | intervals | 1/√n | whole | none | best divisor | √n | day 1/√n | day whole |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for length in LENGTHS:
            results = outcome(sessions, length)
            million = [
                f"{value / 1e6:.1f}" for value in (results.shrunk, results.whole, results.nothing)
            ]
            print(
                f"| {length} | {results.intervals} | {' | '.join(million)} |"
                f" {results.best_divisor:.2f} | {math.sqrt(length):.2f} |"
                f" {results.day_shrunk / 1e6:.0f} | {results.day_whole / 1e6:.0f} |"
            )


if __name__ == "__main__":
    main()
