"""Flags of every recorded frame, held against what plain loops over the files say.

A clean feed must not be flagged for nothing. These frames are what a vendor sent, so each flag is
either a fact about them, which a few lines can count, or wrong.
"""

from __future__ import annotations

import lzma
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import pytest

from sampler.chain import select_chain
from sampler.errors import ChainRefused
from sampler.measure.revision import doubts_of, revise
from sampler.measure.snapshot import measure_slot
from storage.market.calendar import session_on
from storage.record.row import SlotRecord
from tests.independent import CALL, PUT, Contract, mid, spot_to_use
from tests.real_chains import LEAN_DAYS, RealChain, compact, lean_minutes

#: Rows of each symbol: frames within a session that have options of the day.
ROWS = {"IWM": 64, "NDX": 45, "QQQ": 65, "SPX": 41, "SPY": 56}

Key = tuple[float, int]


def sessions_of(shared: Path, symbol: str, folder: Path) -> dict[date, list[RealChain]]:
    """The recorded frames of a symbol by session, in order."""
    packed = sorted((shared / "chains-more" / symbol).glob("*.json.xz"))
    files = sorted((shared / "chains" / symbol).glob("*.json"))
    for path in packed:
        plain = folder / path.name.removesuffix(".xz")
        plain.write_bytes(lzma.decompress(path.read_bytes()))
        files.append(plain)
    sessions: dict[date, list[RealChain]] = defaultdict(list)
    for file in files:
        chain = replace(compact(file), root="")
        sessions[chain.quoted_at.date()].append(chain)
    return {day: sorted(chains, key=lambda c: c.quoted_at) for day, chains in sessions.items()}


def measured(chains: list[RealChain]) -> list[tuple[RealChain, SlotRecord]]:
    """The rows of a session with what later ones say of them; frames without a row are left out."""
    records: list[tuple[RealChain, SlotRecord]] = []
    for chain in chains:
        before = records[-1][1] if records else None
        try:
            ours = select_chain(chain.frame, session_on(chain.quoted_at.date()))
            record = measure_slot(ours, before, oi_confidence=0.43)
        except ChainRefused:
            continue
        if doubts := doubts_of(record):
            when = record.row.quoted_at
            records = [(c, revise(r, doubts, when)) for c, r in records]
        records.append((chain, record))
    return records


@dataclass
class Session:
    """What plain loops know of a session's earlier frames."""

    #: The last volume of each contract.
    volume: dict[Key, float] = field(default_factory=dict)
    #: Contracts of any earlier frame.
    listed: set[Key] = field(default_factory=set)
    missing: set[Key] = field(default_factory=set)
    quoted_at: float = 0.0
    #: Seconds between its frames; before the second one, the grid's.
    intervals: list[float] = field(default_factory=lambda: [30.0])

    def facts(self, chain: RealChain) -> dict[str, float]:
        """What is to be said of the next frame: by flag, how many contracts or how much volume."""
        today = {(c.strike, c.right): c for c in chain.today}
        facts: dict[str, float] = {}
        if not self.volume:
            facts["baseline"] = 0
        else:
            interval = chain.quoted_at.timestamp() - self.quoted_at
            if interval > 1.5 * statistics.median(self.intervals[-5:]):
                facts["after_gap"] = 0
            self.intervals.append(interval)
        if gone := self.listed - today.keys():
            facts["contracts_missing"] = len(gone)
        first = sum(c.volume for key, c in today.items() if key not in self.volume)
        if self.volume and first:
            facts["volume_unknown"] = first
        back = {key: today[key].volume for key in self.missing & today.keys()}
        if traded := sum(max(v - self.volume[key], 0) for key, v in back.items()):
            facts["volume_recovered"] = traded
        if any(c.volume < self.volume.get(key, 0) for key, c in today.items()):
            facts["volume_held"] = 0
        for flag in spot_to_use(chain.sample, parity(today))[1]:
            facts[flag] = 0
        self.volume |= {key: c.volume for key, c in today.items()}
        self.listed |= today.keys()
        self.missing, self.quoted_at = gone, chain.quoted_at.timestamp()
        return facts


def parity(today: dict[Key, Contract]) -> tuple[float, float, int]:
    """As ``independent.forward``, without looking each contract up in a list."""
    pairs = []
    for strike in sorted({strike for strike, _ in today}):
        call, put = today.get((strike, CALL)), today.get((strike, PUT))
        if call and put and (call.bid > 0 or put.bid > 0):
            gap = mid(call) - mid(put)
            pairs += [(abs(gap), strike + gap)] if gap == gap else []
    nearest = [estimate for _, estimate in sorted(pairs, key=lambda pair: pair[0])[:12]]
    if len(nearest) < 3:
        return 0.0, 0.0, len(nearest)
    low, middle, high = statistics.quantiles(nearest, n=4, method="inclusive")
    return middle, (high - low) / 2, len(nearest)


def amounts(record: SlotRecord) -> dict[str, float]:
    """The flags of a row, and the contracts or the volume that each one means."""
    stored = record.row.detail.flag_amounts or {}
    sizes: dict[str, float] = {}
    for flag in record.row.flags:
        name = "volume" if flag.startswith("volume") else "contracts"
        # A spot that jumps and that parity contradicts is a stale one, and says which kind.
        sizes["stale_spot" if flag == "spot_spike" else flag] = stored.get(flag, {}).get(name, 0)
    return sizes


@pytest.mark.parametrize("symbol", ROWS)
def test_no_frame_is_flagged_for_nothing(shared: Path, tmp_path: Path, symbol: str) -> None:
    """Each row of every recorded session has the flags that are facts, with their amounts, and no
    other one."""
    rows = 0
    for chains in sessions_of(shared, symbol, tmp_path).values():
        session = Session()
        for chain, record in measured(chains):
            rows += 1
            assert amounts(record) == session.facts(chain), chain.name
    assert rows == ROWS[symbol]


def minutes() -> Iterator[SlotRecord]:
    """The rows of all recorded minutes."""
    for day in LEAN_DAYS:
        for _, record in measured(list(lean_minutes(day))):
            yield record


def test_one_of_1122_minutes_is_flagged_that_could_be_the_markets() -> None:
    """A volatility of 0.44 between 0.31 and 0.31. Two strikes have no parity, and each row says so;
    a feed of 60 seconds has one row after a gap a session, before its cadence is known."""
    count: dict[str, int] = defaultdict(int)
    for record in minutes():
        for flag in record.row.flags:
            count[flag] += 1
    assert count == {
        "forward_is_spot": 1122, "baseline": 3, "after_gap": 3, "volatility_spike": 1, "revised": 1
    }  # fmt: skip
