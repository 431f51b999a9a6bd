"""A corrupted feed never becomes a number, whatever format it comes in: see ``tests/hostile.py``.

Each frame of a corrupted session is written in a vendor's format and read again. The clean session
is the same session through the same format.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused
from sampler.measure.snapshot import measure_slot
from storage.record.row import SlotRecord
from tests import hostile
from tests.hostile import KAPPA, Clean, change, describe, figures_of
from tests.vendors.formats import FORMATS

#: Cases of each kind and format.
CASES = 1
#: A stream has one state a name: a second, dead listing of a contract is its newest state there.
#: ORATS sends no time of a trade, so nothing tells the volume of the session before from today's.
UNKNOWN_TO = {("dxlink", "dead_twins_last"), ("orats", "prior_session_volume")}


def through(name: str, frame: Frame) -> Frame | None:
    """A frame as a format carries it; None where it is refused or lists nothing."""
    # These formats tell morning and evening contracts apart by their root, and a strike that is no
    # number has no place in a symbol.
    evening = "SPXW" if frame.symbol == "SPX" else frame.symbol
    roots = np.where(frame.root == "", evening, frame.root)
    rooted = change(frame, root=roots, strike=np.nan_to_num(frame.strike))
    try:
        return FORMATS[name].read(FORMATS[name].write(rooted), rooted)
    except ChainRefused:
        return None


_clean_session, _corrupt = hostile.clean_session, hostile.corrupt


@lru_cache(maxsize=32)
def clean_through(name: str, symbol: str, first: int) -> Clean:
    """A clean session as a format carries it."""
    whole = _clean_session(symbol, first)
    frames, records = [], []
    previous: SlotRecord | None = None
    for sent in whole.frames:
        frame = through(name, sent)
        assert frame is not None
        previous = measure_slot(select_chain(frame, whole.session), previous, oi_confidence=KAPPA)
        frames.append(frame)
        records.append(previous)
    return Clean(whole.session, frames, records, [figures_of(record) for record in records])


def judge_through(name: str, kind: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play one case through a format; fail with what became a number."""

    def corrupt_through(clean: Clean, corruptions: list[hostile.Corruption]) -> list[Frame | None]:
        return [
            corrupted if corrupted is None or corrupted is good else through(name, corrupted)
            for corrupted, good in zip(_corrupt(clean, corruptions), clean.frames, strict=True)
        ]

    monkeypatch.setattr(hostile, "clean_session", lambda *where: clean_through(name, *where))
    monkeypatch.setattr(hostile, "corrupt", corrupt_through)
    where, corruptions = hostile.draw_kind(kind, seed)
    outcome = hostile.judge(seed, where, corruptions)
    assert not outcome.lies, describe(outcome)


def test_sides_that_are_told_by_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without prints absent contracts turn sides of others, by no more than these have traded.

    NVDA at midday: 6 of 36 contracts are absent in the slots 24 and 25; the call of 425 trades 7 and
    4 contracts in the slots 25 and 26, which have no side in the clean session.
    """
    # An ordinary judgement, and one for which no contract may have another side at all.
    judge_through("orats", "contracts_absent", 9, monkeypatch)
    beyond = hostile.sides_beyond
    monkeypatch.setattr(hostile, "sides_beyond", lambda clean, _, *rest: beyond(clean, [], *rest))
    with pytest.raises(AssertionError, match=r"side of \(425.0, 'call'\)"):
        judge_through("orats", "contracts_absent", 9, monkeypatch)


@pytest.mark.parametrize(
    ("name", "kind"),
    sorted({(name, kind) for name in FORMATS for kind in hostile.KINDS} - UNKNOWN_TO),
)
def test_equal_a_gap_or_flagged(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each slot of a corrupted session is equal to the clean one, a gap, or says what is in doubt."""
    for seed in range(CASES):
        judge_through(name, kind, seed, monkeypatch)
