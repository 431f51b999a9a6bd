"""A session in memory against a slow copy of it: a dictionary of rows, one of gaps, plain loops."""

from __future__ import annotations

import dataclasses
import itertools
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import pytest

from api.series.bars import FIGURES, PROVENANCE, SessionBars
from storage.market.calendar import session_on
from storage.record.row import Gap, Reason, Row
from tests.api.rows import FRIDAY, gap, record, utc

SESSION = session_on(FRIDAY)
OPEN, CLOSE = utc("13:30"), utc("20:00")
WIDTHS = (30, 60, 300, 900)


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def text(slot: int) -> str:
    return f"{datetime.fromtimestamp(slot, UTC):%Y-%m-%dT%H:%M:%SZ}"


class Slow:
    """What a session holds: by slot, a row or a gap, each with its revision."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int, Row]] = {}
        self.gaps: dict[int, tuple[int, str]] = {}

    @property
    def cursor(self) -> int:
        return max([0, *(n for n, _ in self.rows.values()), *(n for n, _ in self.gaps.values())])

    def put(self, revision: int, stored: Row | Gap) -> None:
        slot = seconds(stored.slot)
        if isinstance(stored, Row):
            self.rows[slot] = revision, stored
            self.gaps.pop(slot, None)
        elif slot not in self.rows:
            self.gaps[slot] = revision, str(stored.reason)

    def bars(self, width: int) -> list[tuple[int, int, dict[str, Any]]]:
        """Of each bucket its newest sample: start, newest revision, and the bar."""
        bars = []
        for start in sorted({slot - slot % width for slot in self.rows}):
            inside = [slot for slot in self.rows if start <= slot < start + width]
            row = self.rows[max(inside)][1]
            figures = {name: getattr(row, name) for name in FIGURES}
            figures["flags"] = list(row.flags)
            body = {"t": text(start)} | figures | {"sampled_at": text(max(inside))}
            bars.append((start, max(self.rows[slot][0] for slot in inside), body))
        return bars

    def changed(self, width: int, since: int, first: int, until: int) -> list[int]:
        """Bars whose newest sample lies in a window, a sample in which is newer than a cursor."""
        changed = []
        for i, (start, _, _) in enumerate(self.bars(width)):
            inside = [slot for slot in self.rows if start <= slot < start + width]
            newer = [n for n in inside if n >= first and self.rows[n][0] > since]
            if first <= max(inside) < until and newer:
                changed.append(i)
        return changed

    def missing(self, due: int) -> list[tuple[str, int]]:
        """Slots without a row that have a reason or have passed."""
        missing = []
        for slot in range(seconds(OPEN), seconds(CLOSE), 30):
            if slot in self.rows:
                continue
            if slot in self.gaps:
                missing.append((self.gaps[slot][1], slot))
            elif slot <= due:
                missing.append(("not_sampled", slot))
        return missing


def filled(slow: Slow) -> SessionBars:
    """A session as it is read from the store."""
    bars = SessionBars("SPY", FRIDAY, SESSION)
    rows = [
        (n, slot, *(getattr(row, name) for name in FIGURES))
        for slot, (n, row) in sorted(slow.rows.items())
    ]
    newest = slow.rows[max(slow.rows)][1] if slow.rows else None
    gaps = [
        {"slot": datetime.fromtimestamp(slot, UTC), "revision": n, "reason": reason}
        for slot, (n, reason) in slow.gaps.items()
    ]
    facts = {name: getattr(newest, name) for name in PROVENANCE} if newest else None
    bars.fill(rows, facts, gaps, "cboe" if rows or gaps else None)
    return bars


def some(dice: random.Random, revision: int) -> tuple[int, Row | Gap]:
    """A row or a gap of one of the first forty slots, or of the last two."""
    step = dice.choice([*range(40), 778, 779])
    slot = OPEN + timedelta(seconds=30 * step)
    if dice.random() < 0.3:
        return revision, gap(f"{slot:%Y-%m-%d %H:%M:%S}", dice.choice([Reason.LATE, Reason.STALE]))
    row = record(slot, spot=float(revision), flags=dice.choice([(), ("after_gap",)])).row
    return revision, row


def check(session: SessionBars, slow: Slow, dice: random.Random) -> None:
    """Everything that a session says is what the slow copy has."""
    assert session.cursor == slow.cursor
    assert session.newest_slot == max(slow.rows, default=None)
    newest = slow.rows[max(slow.rows)][1] if slow.rows else None
    assert session.newest == ({n: getattr(newest, n) for n in PROVENANCE} if newest else {})
    assert session.delay == (None if newest is None else timedelta(seconds=newest.delay_seconds))
    assert session.gap_reasons() == [slow.gaps[slot][1] for slot in sorted(slow.gaps)]
    for width in WIDTHS:
        bars, expected = session.bars(width), slow.bars(width)
        assert bars.starts == [start for start, _, _ in expected]
        assert bars.revisions == [revision for _, revision, _ in expected]
        assert [orjson.loads(body) for body in bars.bodies] == [body for _, _, body in expected]
        for since in {0, slow.cursor, dice.randint(0, slow.cursor), dice.randint(0, slow.cursor)}:
            events = session.events(width, since)
            shown = [(n, body) for _, n, body in expected if n > since]
            marked = [
                (n, {"from": text(slot), "to": text(slot + 30), "reason": reason})
                for slot, (n, reason) in slow.gaps.items()
                if n > since
            ]
            assert [event.revision for event in events] == sorted(n for n, _ in shown + marked)
            by_number = dict(shown + marked)
            for event in events:
                assert orjson.loads(event.body) == by_number[event.revision]
                assert event.gap == (event.revision in dict(marked))
            for _ in range(4):
                first = seconds(OPEN) + 30 * dice.randint(-2, 42)
                until = first + 30 * dice.choice([1, 2, 7, 800])
                changed = session.changed(width, since, first, until)
                assert changed == slow.changed(width, since, first, until)
    for due in (seconds(OPEN) - 1, seconds(OPEN) + 30 * dice.randint(0, 45), seconds(CLOSE)):
        missing, unexplained = session.missing_slots(due)
        slots = [(run.reason, slot) for run in missing for slot in range(run.first, run.until, 30)]
        assert slots == slow.missing(due)
        assert unexplained == sum(1 for reason, _ in slots if reason == "not_sampled")
        for run, after in itertools.pairwise(missing):
            assert run.until < after.first or run.reason != after.reason


@pytest.mark.parametrize("seed", range(40))
def test_filled_and_changed(seed: int) -> None:
    """Some of it from the store, the rest as it comes; some of what comes was there already."""
    dice = random.Random(seed)
    slow, changes = Slow(), []
    for revision in range(1, dice.randint(2, 60)):
        changes.append(some(dice, revision))
        slow.put(*changes[-1])
        if dice.random() < 0.2:
            break
    session = filled(slow)
    check(session, slow, dice)
    for _ in range(6):
        begin = slow.cursor + 1
        batch = [some(dice, begin + i) for i in range(dice.randint(1, 6))]
        for change in batch:
            slow.put(*change)
        # A change that is read twice is applied once, and a batch comes in any order of kinds.
        sent = dice.sample(changes, min(len(changes), 2)) + batch
        session.apply_changes(
            [(n, stored) for n, stored in sent if isinstance(stored, Row)],
            [(n, stored) for n, stored in sent if isinstance(stored, Gap)],
        )
        changes += batch
        check(session, slow, dice)


def test_nothing_stored() -> None:
    """A session without a row or a gap: nothing is known, and slots are missing once they pass."""
    session = filled(Slow())
    assert (session.cursor, session.newest_slot, session.delay, session.feed) == (0,) + (None,) * 3
    assert session.changed(60, 0, 0, 1 << 40) == session.events(60, 0) == []
    assert session.missing_slots(seconds(OPEN) - 1) == ([], 0)
    missing, unexplained = session.missing_slots(seconds(OPEN))
    assert (len(missing), unexplained) == (1, 1)
    assert (missing[0].first, missing[0].until) == (seconds(OPEN), seconds(OPEN) + 30)


def test_a_day_without_a_session() -> None:
    """No slot is missing of a Saturday."""
    saturday = date(2026, 6, 6)
    session = SessionBars("SPY", saturday, None)
    assert session.missing_slots(1 << 40) == ([], 0)


@pytest.mark.parametrize("awkward", [0.1 + 0.2, 1e22, 5e-324, -7.25e9, None])
def test_both_encoders_write_the_same(awkward: float | None) -> None:
    """A row that was read with others has the bytes of one that came alone."""
    rows = [record(utc("14:00"), spot=awkward, gamma_flip=awkward).row, record(utc("14:01")).row]
    rows[1] = dataclasses.replace(rows[1], flags=("baseline", "stale_spot"), regime="neutral")
    slow, alone = Slow(), SessionBars("SPY", FRIDAY, SESSION)
    for revision, row in enumerate(rows, 1):
        slow.put(revision, row)
    alone.apply_changes(list(enumerate(rows, 1)), [])
    assert filled(slow).bars(30).bodies == alone.bars(30).bodies
