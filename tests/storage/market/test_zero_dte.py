"""Which sessions surely have an expiry: days by hand."""

from __future__ import annotations

import json
import lzma
from datetime import UTC, date, datetime

import pytest

from storage.market.zero_dte import listed_today, surely_expires


@pytest.mark.parametrize(
    ("symbol", "day", "known"),
    [
        # A Thursday before Thursdays were listed, the first day after, and today.
        ("SPX", date(2022, 5, 5), False),
        ("SPX", date(2022, 5, 12), True),
        ("SPX", date(2026, 8, 18), True),
        ("QQQ", date(2022, 10, 18), False),
        ("QQQ", date(2026, 8, 20), True),
        ("SPY", date(2023, 1, 3), True),
        # The weekly expiry of a Friday is sure; a Monday or a Wednesday may be left out.
        ("NVDA", date(2026, 8, 21), True),
        ("NVDA", date(2026, 8, 19), False),
        ("TSLA", date(2026, 1, 23), False),
        # XSP's days were all listed by 2022-12-11; RUT's Tuesdays and Thursdays since 2024-01-08.
        ("XSP", date(2022, 12, 6), False),
        ("XSP", date(2023, 1, 3), True),
        ("XSP", date(2026, 8, 20), True),
        ("RUT", date(2024, 1, 4), False),
        ("RUT", date(2024, 2, 1), True),
        ("RUT", date(2026, 8, 18), True),
        # Third Fridays of RUT before 2026, and the Thursday before Good Friday, which was one: all
        # that is sure to expire settled in the morning. The Fridays beside them are weekly ones.
        ("RUT", date(2024, 2, 16), False),
        ("RUT", date(2025, 3, 21), False),
        ("RUT", date(2025, 4, 17), False),
        ("RUT", date(2025, 12, 19), False),
        ("RUT", date(2024, 2, 9), True),
        ("RUT", date(2024, 2, 23), True),
        ("RUT", date(2025, 3, 14), True),
        ("RUT", date(2025, 4, 10), True),
        ("RUT", date(2025, 4, 24), True),
        # Third Fridays since then, and the day before 2026-06-19, a holiday.
        ("RUT", date(2026, 1, 16), True),
        ("RUT", date(2026, 6, 18), True),
        ("RUT", date(2026, 8, 21), True),
        ("RUT", date(2026, 11, 20), True),
        # Nobody says so of these: the feed is believed.
        ("SMCI", date(2026, 8, 21), False),
        ("VIX", date(2026, 8, 19), False),
    ],
)
def test_days(symbol, day, known):
    """A symbol that is not in the table, or a day before it, is unknown."""
    assert surely_expires(symbol, day) is known


def test_what_is_listed_on_a_day():
    """A Wednesday: funds for sure, shares perhaps; on a Friday both, and of SMCI nobody says so."""
    symbols = ("SPX", "SPY", "NVDA", "SMCI")
    assert listed_today(symbols, date(2026, 8, 19)) == (
        "on Wednesday, 2026-08-19, something expires of SPX, SPY; the feed tells whether of NVDA, SMCI"
    )
    assert listed_today(symbols[:3], date(2026, 8, 21)) == (
        "on Friday, 2026-08-21, something expires of SPX, SPY, NVDA"
    )
    assert "of no symbol for sure; the feed" in listed_today(("SMCI",), date(2026, 8, 21))


def test_recorded_sessions_had_one(shared):
    """An extra: each chain recorded during a session that the table covers has contracts of it.

    A file of the close may be fetched in the night, when what has expired is gone.
    """
    covered = 0
    for folder in ("chains", "chains-more"):
        for path in sorted((shared / folder).rglob("*_20*")):
            symbol, moment = path.name.split("_")
            day, clock = date.fromisoformat(moment[:10]), moment[11:17]
            if surely_expires(symbol, day) and clock < "155900":
                text = path.read_bytes()
                text = lzma.decompress(text) if path.suffix == ".xz" else text
                expiries = {contract["e"] for contract in json.loads(text)["o"]}
                assert day in {datetime.fromtimestamp(e, UTC).date() for e in expiries}, path
                covered += 1
    assert covered > 200
