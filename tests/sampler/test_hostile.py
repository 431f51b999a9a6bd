"""A corrupted feed never becomes a number: see ``tests/hostile.py``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sampler.chain import chain_of_record
from sampler.measure.snapshot import measure_slot
from storage.record.row import SlotRecord
from tests import hostile
from tests.hostile import KAPPA, Corruption, clean_session, corrupt, describe, figures_of, play

#: Cases of each kind here; ``make hostile`` plays 10,000 of kinds and combinations.
CASES = 8
SPY = ("SPY", 300)


def _corruption(kind: str, first: int, last: int) -> Corruption:
    volume = clean_session(*SPY).frames[0].volume
    return Corruption(kind, first, last, volume >= np.sort(volume)[-10], 3)


@pytest.mark.parametrize("kind", sorted(hostile.KINDS))
def test_equal_a_gap_or_flagged(kind: str) -> None:
    """Each slot of a corrupted session is equal to the clean one, a gap, or says what is in doubt."""
    for seed in range(CASES):
        where, corruptions = hostile.draw_kind(kind, seed)
        outcome = hostile.judge(seed, where, corruptions)
        assert not outcome.lies, describe(outcome)


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        # Puts that stand for nine minutes at 15:50; an old answer with newer options.
        (None, 5915),
        (None, 9571),
        (None, 3071),
        # Wrong volumes.
        (None, 2850),
        (None, 3025),
        (None, 3171),
        # Volumes that are lower in each slot by another part look like a day that begins anew, twice.
        (None, 746),
        # A block of strikes that stands until the close: parity holds again where spot comes back.
        ("partly_frozen", 199),
        ("partly_frozen", 579),
    ],
)
def test_cases_that_lied(kind: str | None, seed: int) -> None:
    """Cases of many thousands with a row that was wrong without a flag."""
    outcome = hostile.judge(seed, *(hostile.draw_kind(kind, seed) if kind else hostile.draw(seed)))
    assert not outcome.lies, describe(outcome)


def test_a_lie_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the figures that flags name, the same cases are lies."""
    assert not hostile.judge(0, SPY, [_corruption("volume_zero", 5, 7)]).lies
    monkeypatch.setattr(hostile, "FLAG_FIGURES", {})
    assert hostile.judge(0, SPY, [_corruption("volume_zero", 5, 7)]).lies


@pytest.mark.parametrize(("kind", "seed"), [("wrong_quotes", 11), ("partly_frozen", 270)])
def test_quotes_beyond_spreads_lie_without_their_flag(
    monkeypatch: pytest.MonkeyPatch, kind: str, seed: int
) -> None:
    """What spreads leave open does not cover these cases: it is the flag that does."""
    where, corruptions = hostile.draw_kind(kind, seed)
    outcome = hostile.judge(seed, where, corruptions)
    assert not outcome.lies, describe(outcome)
    monkeypatch.setattr(hostile, "FLAG_FIGURES", {})
    assert hostile.judge(seed, where, corruptions).lies


@pytest.mark.parametrize(
    ("kind", "flag"),
    [("volume_zero", "volume_held"), ("volume_null", "volume_held"), ("oi_zero", "oi_changed")],
)
def test_measured_again_a_flag_stays(kind: str, flag: str) -> None:
    """The evidence has volumes as they were sent: measured again, a row has the same flags."""
    clean = clean_session(*SPY)
    rows = play(clean, corrupt(clean, [_corruption(kind, 5, 7)]))
    for index in (5, 6, 7, 8):
        row, before = rows[index], rows[index - 1]
        assert isinstance(row, SlotRecord)
        assert isinstance(before, SlotRecord)
        again = measure_slot(chain_of_record(row, clean.session), before, oi_confidence=KAPPA)
        assert again.row == row.row
        assert (flag in row.row.flags) is (index < 8)


def test_volumes_too_high_in_the_opening_window_are_no_reset() -> None:
    """What has just risen in the whole chain and falls back was too high: the day goes on."""
    clean = clean_session("NVDA", 1)
    everything = np.ones(len(clean.frames[0].strike), np.bool_)
    rows = play(clean, corrupt(clean, [Corruption("volume_high", 6, 7, everything, 1)]))
    after, right = rows[9], clean.records[9]
    assert isinstance(after, SlotRecord)
    assert "volume_rebased" not in rows[8].row.flags  # type: ignore[union-attr]
    assert after.row.total_volume == right.row.total_volume
    ours, flow = figures_of(after), "hedge_flow_cumulative_all"
    _, dollars = hostile.unobservable(clean, [Corruption("volume_high", 6, 7, everything, 1)], 9)
    assert abs(ours[flow] - figures_of(right)[flow]) <= dollars


def test_an_unreadable_volume_that_is_back_says_how_much_was_held_back() -> None:
    """Volumes read null for a slot: held in that row, recovered in the next, nothing after it."""
    clean = clean_session(*SPY)
    rows = play(clean, corrupt(clean, [_corruption("volume_null", 5, 5)]))
    before, during, back, after = (rows[index].row for index in (4, 5, 6, 7))  # type: ignore[union-attr]
    assert before.flags == after.flags == ()
    assert during.flags == ("volume_held",)
    assert back.flags == ("volume_recovered",)
    hit = _corruption("volume_null", 5, 5).contracts
    traded = (clean.frames[6].volume - clean.frames[4].volume)[hit].sum()
    amounts = back.detail.flag_amounts["volume_recovered"]
    assert amounts["contracts"] == hit.sum()
    assert amounts["volume"] == traded


@pytest.mark.parametrize("moment", [np.inf, 1e300, -1.0, -np.inf])
def test_a_trade_at_an_impossible_time_is_one_without_a_time(moment: float) -> None:
    """A last trade before 1970 or after the answer by a day or more is as if no time was sent."""
    clean = clean_session(*SPY)

    def row(value: float) -> object:
        frames = list(clean.frames)
        frames[5] = replace(frames[5], last_at=np.full_like(frames[5].last_at, value))
        return play(clean, frames)[5].row  # type: ignore[union-attr]

    assert row(moment) == row(np.nan)


def test_volumes_that_read_less_and_stand_are_options_that_stand() -> None:
    """A frame that is sent again with its wrong volumes has changed nothing."""
    clean = clean_session(*SPY)
    frames = list(corrupt(clean, [_corruption("volume_zero", 5, 7)]))
    held = frames[5]
    frames[6] = replace(held, quoted_at=frames[6].quoted_at, fetched_at=frames[6].fetched_at)
    row = play(clean, frames)[6].row  # type: ignore[union-attr]
    assert "options_unchanged" in row.flags
