"""A slot in which no volume fell is measured in one compiled call: to the bit as step by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sampler.chain import Frame, select_chain
from sampler.measure import flow_state
from sampler.measure.snapshot import measure_slot
from storage.record.row import SlotRecord
from tests.hostile import KAPPA, clean_session


def trades_signed(frame: Frame) -> Frame:
    """A source that signs its trades, but knows no side of every fifth contract."""
    contracts = np.arange(len(frame.strike))
    signed = np.rint(frame.volume * np.cos(contracts))
    return replace(frame, signed_volume=np.where(contracts % 5 == 0, np.nan, signed))


def one_falls(frame: Frame) -> Frame:
    """The most traded contract is reported with half of its volume."""
    highest = np.arange(len(frame.volume)) == np.argmax(frame.volume)
    return replace(frame, volume=np.where(highest, frame.volume // 2, frame.volume))


def unreadable(frame: Frame) -> Frame:
    """Every third volume cannot be read: what trades meanwhile is counted later, and weighs less."""
    third = np.arange(len(frame.volume)) % 3 == 0
    return replace(frame, volume=np.where(third, np.nan, frame.volume))


def play(frames: list[Frame]) -> list[SlotRecord]:
    """Measure frames one after another; every third time on evidence that was stored and read."""
    session = clean_session("SPY", 300).session
    records: list[SlotRecord] = []
    before: SlotRecord | None = None
    for i, frame in enumerate(frames):
        record = measure_slot(select_chain(frame, session), before, oi_confidence=KAPPA)
        records.append(record)
        before = record
        if i % 3 == 0:
            before = SlotRecord(row=record.row, profile=record.profile, evidence=record.evidence)
    return records


@pytest.mark.parametrize("signs_trades", [False, True])
def test_in_one_call_as_step_by_step(monkeypatch: pytest.MonkeyPatch, signs_trades: bool) -> None:
    """Rows, profiles and evidence are the same, after missing slots, unreadable volumes, a fall and a restart too."""
    clean = clean_session("SPY", 300).frames[:24]
    # One slot is missing, then three.
    frames = [frame for i, frame in enumerate(clean) if i not in (5, 9, 10, 11)]
    frames[2:4] = map(unreadable, frames[2:4])
    frames[14] = one_falls(frames[14])
    if signs_trades:
        frames = [trades_signed(frame) for frame in frames]
    ordinary: list[bool] = []
    in_one_call = flow_state._ordinary_slot

    def counting(*arguments):
        moved = in_one_call(*arguments)
        ordinary.append(moved is not None)
        return moved

    monkeypatch.setattr(flow_state, "_ordinary_slot", counting)
    ours = play(frames)
    # Neither the baseline, nor the fall, nor the slots while it is in dispute.
    assert ordinary[:15] == [False, *[True] * 13, False]
    monkeypatch.setattr(flow_state, "_ordinary_slot", lambda *_: None)
    for ordinary_record, other in zip(ours, play(frames), strict=True):
        assert ordinary_record.row == other.row
        assert ordinary_record.evidence == other.evidence
        assert ordinary_record.profile.keys() == other.profile.keys()
        for name, column in ordinary_record.profile.items():
            assert column.tobytes() == other.profile[name].tobytes(), name
    assert any(record.row.hedge_flow_cumulative_all for record in ours)
