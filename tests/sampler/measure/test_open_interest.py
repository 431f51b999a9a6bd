"""Which open interest counts: sequences by hand, and walks beside a slow program."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from chains import TEN_FOURTEEN, frame

from sampler.chain import chain_of_record, select_chain
from sampler.measure.snapshot import measure_slot
from sampler.sources.recorded import read_chain
from storage.market.calendar import market_day, session_on
from storage.record.row import SlotRecord
from tests import independent

STRIKES = [7680.0, 7690.0, 7700.0, 7710.0, 7720.0]
N = 2 * len(STRIKES)
#: Two days' files: calls, then puts.
TODAY = [10.0, 20.0, 30.0, 40.0, 50.0, 15.0, 25.0, 35.0, 45.0, 55.0]
YESTERDAY = [value + 7.0 for value in TODAY]
NAN = math.nan
#: A quarter to ten, New York: a file may still be replaced.
EARLY = TEN_FOURTEEN - timedelta(minutes=29)
SESSION = session_on(market_day(TEN_FOURTEEN))


def walk(*sets: list[float], start: datetime = TEN_FOURTEEN, step: int = 30, **columns):
    """Records of samples that are sent these sets, one after another."""
    records: list[SlotRecord] = []
    for i, sent in enumerate(sets):
        sent_frame = frame(
            strikes=STRIKES,
            quoted_at=start + timedelta(seconds=step * i),
            open_interest=sent,
            volume=[50.0 + 10 * i] * N,
            **columns,
        )
        chain = select_chain(sent_frame, SESSION)
        records.append(measure_slot(chain, records[-1] if records else None, oi_confidence=0.43))
    return records


def used(record: SlotRecord) -> list[float]:
    """The open interest that a record's position is built on: calls, then puts."""
    return [*record.profile["call_oi"].tolist(), *record.profile["put_oi"].tolist()]


def flags(record: SlotRecord) -> set[str]:
    about = {"no_open_interest", "oi_partial", "oi_changed", "oi_recovered"}
    return about & set(record.row.flags)


def amounts(record: SlotRecord, flag: str) -> dict[str, float]:
    return record.row.detail.flag_amounts[flag]


def test_the_first_complete_set_stands():
    """Later sets that differ are flagged with how many and by how much, and are not used."""
    first, same, other = walk(TODAY, TODAY, [11.0, *TODAY[1:]])
    assert [used(r) for r in (first, same, other)] == [TODAY] * 3
    assert [flags(r) for r in (first, same, other)] == [set(), set(), {"oi_changed"}]
    assert amounts(other, "oi_changed") == {"contracts": 1, "open_interest": 1.0, "adopted": 0}
    assert other.row.settled.net_gex == pytest.approx(
        walk(TODAY, TODAY, TODAY)[2].row.settled.net_gex, rel=1e-12
    )


def test_alternating_sets_never_take_over():
    """Two servers with two days' files: for 25 minutes of the morning the first set counts."""
    records = walk(*[TODAY, YESTERDAY] * 25, start=EARLY)
    assert {tuple(used(r)) for r in records} == {tuple(TODAY)}
    assert [flags(r) for r in records] == [set(), {"oi_changed"}] * 25
    assert amounts(records[1], "oi_changed")["open_interest"] == 70.0


def test_yesterdays_file_is_replaced_once():
    """A set that stands for ten minutes takes over before 10:30, in a row that says so."""
    records = walk(YESTERDAY, *[TODAY] * 22, *[YESTERDAY] * 22, start=EARLY)
    # The first other set came in slot 1; ten minutes later it is slot 21.
    assert [used(r) for r in records[:21]] == [YESTERDAY] * 21
    assert [used(r) for r in records[21:]] == [TODAY] * 24
    adopted = [
        i
        for i, r in enumerate(records)
        if "adopted" in str(r.row.detail.flag_amounts) and amounts(r, "oi_changed")["adopted"]
    ]
    assert adopted == [21]
    assert flags(records[22]) == set()
    assert flags(records[-1]) == {"oi_changed"}, "and no second time"


def test_after_half_past_ten_nothing_takes_over():
    """Ten minutes that end at 10:30 or later are too late."""
    start = TEN_FOURTEEN + timedelta(minutes=6, seconds=0)
    late = walk(YESTERDAY, *[TODAY] * 30, start=start)
    assert {tuple(used(r)) for r in late} == {tuple(YESTERDAY)}


def test_an_interruption_begins_the_ten_minutes_anew():
    """One slot with the old set between: unbroken means unbroken."""
    records = walk(YESTERDAY, *[TODAY] * 15, YESTERDAY, *[TODAY] * 15, start=EARLY)
    assert {tuple(used(r)) for r in records} == {tuple(YESTERDAY)}


def test_what_nobody_saw_is_not_unbroken():
    """Two samples eleven minutes apart do not tell what was sent between; five minutes apart do."""
    apart = walk(YESTERDAY, TODAY, TODAY, start=EARLY - timedelta(minutes=5), step=660)
    assert {tuple(used(r)) for r in apart} == {tuple(YESTERDAY)}
    for step, stands in ((300, TODAY), (330, TODAY), (331, YESTERDAY)):
        slow = walk(YESTERDAY, TODAY, TODAY, TODAY, start=EARLY - timedelta(minutes=5), step=step)
        assert used(slow[-1]) == stands, "up to 330 s are told of"


def test_a_record_of_an_earlier_release_stands():
    """Such a record says nothing of its set: what it was measured with is what counts."""
    (old,) = walk(TODAY)
    columns, notes = old.state
    notes = {name: value for name, value in notes.items() if not name.startswith("oi_")}
    old = SlotRecord(row=old.row, profile=old.profile, state=(columns, notes))
    sent_frame = frame(
        strikes=STRIKES,
        quoted_at=TEN_FOURTEEN + timedelta(seconds=30),
        open_interest=YESTERDAY,
        volume=[60.0] * N,
    )
    record = measure_slot(select_chain(sent_frame, SESSION), old, oi_confidence=0.43)
    assert used(record) == TODAY
    assert flags(record) == {"oi_changed"}


def test_one_contract_is_some():
    """A single open contract in all of the chain is a set like any other; it stands."""
    single = [1.0, *[0.0] * (N - 1)]
    first, other = walk(single, TODAY)
    assert (flags(first), used(first)) == (set(), single)
    assert (flags(other), used(other)) == ({"oi_changed"}, single)
    columns, notes = first.state
    notes = {name: value for name, value in notes.items() if not name.startswith("oi_")}
    old = SlotRecord(row=first.row, profile=first.profile, state=(columns, notes))
    sent = frame(
        strikes=STRIKES, quoted_at=TEN_FOURTEEN + timedelta(seconds=30), open_interest=TODAY
    )
    record = measure_slot(select_chain(sent, SESSION), old, oi_confidence=0.43)
    assert (flags(record), used(record)) == ({"oi_changed"}, single)


@pytest.mark.parametrize(("unreadable", "stands"), [(0, True), (2, True), (3, False)])
def test_a_set_is_complete_at_ninety_nine_in_a_hundred(unreadable, stands):
    """Of 200 contracts two may be unreadable: 99 %. A third makes the set a part."""
    strikes = [7000.0 + 14 * i for i in range(100)]
    sent = [NAN] * unreadable + [10.0] * (200 - unreadable)
    sent_frame = frame(strikes=strikes, open_interest=sent)
    record = measure_slot(select_chain(sent_frame, SESSION), None, oi_confidence=0.43)
    assert bool(record.state[1]["oi_stands"]) is stands


def test_a_part_never_replaces_a_whole():
    """Missing, unreadable and zero figures: the standing set fills them, and the row says so."""
    partial = [NAN, NAN, *TODAY[2:]]
    empty = [0.0] * N
    whole, incomplete, none, back = walk(TODAY, partial, empty, TODAY)
    assert [used(r) for r in (whole, incomplete, none, back)] == [TODAY] * 4
    assert [flags(r) for r in (whole, incomplete, none, back)] == [
        set(),
        {"oi_partial"},
        {"oi_partial"},
        {"oi_recovered"},
    ]
    assert amounts(incomplete, "oi_partial") == {"contracts": 2, "open_interest": 30.0}
    assert amounts(none, "oi_partial") == {"contracts": 10, "open_interest": sum(TODAY)}


@pytest.mark.parametrize("nothing", [[0.0] * N, [NAN] * N, [-1.0] * N])
def test_without_any_there_is_no_position(nothing):
    """Figures of the position are 0, levels unknown, the score 0; the flow goes on."""
    # Prints far above every quote: customers bought.
    bought = {"last": [900.0] * N}
    _, second, third = walk(nothing, nothing, TODAY, **bought)
    row = second.row
    assert flags(second) == {"no_open_interest"}
    assert amounts(second, "no_open_interest") == {"contracts": N}
    for book in (row, row.settled):
        assert (book.net_gex, book.gross_gex, book.net_dex, book.net_vex) == (0, 0, 0, 0)
        assert (book.net_chex, book.dealer_delta) == (0, 0)
        assert book.regime == "unknown"
        assert (book.gamma_flip, book.call_wall, book.put_wall, book.magnet) == (None,) * 4
        assert (book.max_pain, book.pin_probability_pct, book.pin_score) == (None, None, 0)
    assert (row.total_oi, row.regime_confidence) == (0, None)
    assert row.hedge_flow_call_cumulative != 0, "the flow goes on"
    assert flags(third) == {"oi_recovered"}
    assert used(third) == TODAY
    assert third.row.regime != "unknown"
    assert third.row.hedge_flow_call_cumulative == pytest.approx(
        walk(TODAY, TODAY, TODAY, **bought)[2].row.hedge_flow_call_cumulative
    )


def test_before_there_is_a_whole_the_part_counts():
    """What is readable counts, flagged; the first complete set takes its place at once."""
    incomplete, whole = walk([NAN, *TODAY[1:]], TODAY)
    assert used(incomplete) == [0.0, *TODAY[1:]]
    assert flags(incomplete) == {"oi_partial"}
    assert (used(whole), flags(whole)) == (TODAY, {"oi_recovered"})


def test_one_unreadable_contract_of_many_is_said():
    """Of 202 contracts one is unreadable: the set is complete, and the row says that one is missing."""
    strikes = [7600.0 + 2 * i for i in range(101)]
    sent = [10.0 + i for i in range(202)]
    records: list[SlotRecord] = []
    for i, first in enumerate((NAN, NAN, sent[0])):
        sent_frame = frame(
            strikes=strikes,
            quoted_at=TEN_FOURTEEN + timedelta(seconds=30 * i),
            open_interest=[first, *sent[1:]],
        )
        chain = select_chain(sent_frame, SESSION)
        records.append(measure_slot(chain, records[-1] if records else None, oi_confidence=0.43))
    assert [flags(r) for r in records] == [{"oi_partial"}, {"oi_partial"}, {"oi_recovered"}]
    assert amounts(records[0], "oi_partial") == {"contracts": 1}
    assert [r.row.total_oi for r in records] == [sum(sent) - 10, sum(sent) - 10, sum(sent)]


def test_a_taken_over_set_keeps_what_it_lacks():
    """Of 202 contracts the new file lacks one: its figure is still known from the old set."""
    strikes = [7600.0 + 2 * i for i in range(101)]
    old = [10.0 + i for i in range(202)]
    new = [NAN, *(value + 5 for value in old[1:])]
    record = None
    for i in range(24):
        sent_frame = frame(
            strikes=strikes,
            quoted_at=EARLY + timedelta(seconds=30 * i),
            open_interest=new if i else old,
        )
        record = measure_slot(select_chain(sent_frame, SESSION), record, oi_confidence=0.43)
        adopted = i >= 21
        expected = old[0] + sum(new[1:]) if adopted else sum(old)
        assert record.row.total_oi == expected, i


def test_a_set_that_lost_contracts_to_zero_never_takes_over():
    """Six of ten contracts read 0 for a quarter of an hour: a part is missing, not another day."""
    emptied = [0.0] * 6 + YESTERDAY[6:]
    records = walk(TODAY, *[emptied] * 30, start=EARLY)
    assert {tuple(used(r)) for r in records} == {tuple(TODAY)}
    assert {tuple(flags(r)) for r in records[1:]} == {("oi_changed",)}


def test_a_new_strike_counts_with_what_is_sent():
    """The standing set does not know it: its newest figure counts, and no flag is set."""
    first = walk(TODAY)[0]
    wider = frame(
        strikes=[*STRIKES, 7730.0],
        quoted_at=TEN_FOURTEEN + timedelta(seconds=30),
        open_interest=[*TODAY[:5], 60.0, *TODAY[5:], 65.0],
    )
    second = measure_slot(select_chain(wider, SESSION), first, oi_confidence=0.43)
    assert flags(second) == set()
    assert used(second) == [*TODAY[:5], 60.0, *TODAY[5:], 65.0]


def test_measuring_again_gives_the_same():
    """The evidence holds what was sent, so a stored chain and its predecessor give the same row."""
    records = walk(YESTERDAY, TODAY, [NAN, *TODAY[1:]], [0.0] * N, TODAY)
    for previous, record in zip([None, *records], records, strict=False):
        stored = SlotRecord(row=record.row, profile=record.profile, evidence=record.evidence)
        before = previous and SlotRecord(
            row=previous.row, profile=previous.profile, evidence=previous.evidence
        )
        again = measure_slot(chain_of_record(stored, SESSION), before, oi_confidence=0.43)
        assert again.row == record.row
        assert again.evidence == record.evidence


def test_a_session_of_one_set_stores_no_second_column():
    """The set that stands costs bytes only where it is not what was sent."""
    plain, other = walk(TODAY, YESTERDAY)
    assert "standing_open_interest" not in plain.state[0]
    assert "standing_open_interest" in other.state[0]


@pytest.mark.parametrize("seed", range(12))
def test_random_walks_beside_a_slow_program(seed):
    """Sets of every kind in any order, with restarts between: both programs use the same one."""
    dice = random.Random(seed)
    kinds = {
        "today": TODAY,
        "yesterday": YESTERDAY,
        "part": [value if i % 3 else NAN for i, value in enumerate(TODAY)],
        "empty": [0.0] * N,
        "none": [NAN] * N,
    }
    sets: list[list[float]] = []
    while len(sets) < 110:
        sets += [kinds[dice.choice(list(kinds))]] * dice.choice([1, 1, 2, 5, 21, 25])
    start = EARLY - timedelta(minutes=dice.choice([0, 5, 10]))
    # Now and then the feed is away for some minutes.
    holes = [dice.choice([150.0, 330.0, 420.0]) if dice.random() < 0.02 else 0.0 for _ in sets]
    rule = independent.StandingInterest()
    previous = None
    for i, sent in enumerate(sets):
        moment = start + timedelta(seconds=30 * i + sum(holes[: i + 1]))
        sent_frame = frame(strikes=STRIKES, quoted_at=moment, open_interest=sent)
        record = measure_slot(select_chain(sent_frame, SESSION), previous, oi_confidence=0.43)
        # New York is four hours behind in August.
        minutes = (moment.hour - 4) * 60 + moment.minute
        expected = rule.add(
            {k: v for k, v in enumerate(sent) if not math.isnan(v)},
            listed=set(range(N)),
            moment=moment.timestamp(),
            minutes=minutes,
        )
        assert used(record) == [expected.get(k, 0.0) for k in range(N)], (i, moment)
        assert flags(record) == rule.flags, (i, moment)
        previous = SlotRecord(row=record.row, profile=record.profile, evidence=record.evidence)


# Feeds that lie


def session_of(folder: Path, pattern: str) -> list[SlotRecord]:
    records: list[SlotRecord] = []
    for path in sorted(folder.glob(pattern)):
        sent_frame = read_chain(path)
        chain = select_chain(sent_frame, session_on(market_day(sent_frame.quoted_at)))
        records.append(measure_slot(chain, records[-1] if records else None, oi_confidence=0.43))
    return records


def test_open_interest_of_nothing(shared):
    """OIZR: no regime, walls or magnet made of nothing, in any of its rows that has none."""
    records = session_of(shared / "faults/OIZR", "*.json")
    assert records
    for record in records:
        sent = np.nansum(record.state[0]["open_interest"])
        row = record.row
        if "no_open_interest" in row.flags:
            assert (row.regime, row.call_wall, row.magnet, row.gamma_flip) == (
                "unknown",
                None,
                None,
                None,
            )
            assert (row.net_gex, row.settled.net_gex, row.pin_score) == (0, 0, 0)
        else:
            assert sent > 0 or "oi_partial" in row.flags
    assert "no_open_interest" in records[0].row.flags or np.nansum(
        records[0].state[0]["open_interest"]
    )


def test_open_interest_of_two_days_in_turn(shared):
    """OIFL: the position is built on one set; every other row says that another was sent."""
    records = session_of(shared / "faults/OIFL", "*.json")
    assert {r.row.total_oi for r in records} == {records[0].row.total_oi}
    assert ["oi_changed" in r.row.flags for r in records] == [False, True] * 3


def test_open_interest_that_comes_late(shared):
    """OIVF: what was missing at first is flagged, then recovers."""
    records = session_of(shared / "faults/seq3", "OIVF_*.json")
    nothing = [not np.nansum(r.state[0]["open_interest"]) for r in records]
    assert any(nothing)
    for record, none in zip(records, nothing, strict=True):
        assert not none or flags(record) & {"no_open_interest", "oi_partial"}
