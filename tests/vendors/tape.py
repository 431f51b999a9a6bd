"""Trades in the order of their times, as streams send them: what happens while one is connected."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Print:
    """One trade with the quote before it."""

    strike: float
    right: int
    at: datetime
    size: int
    price: float
    bid: float
    ask: float
    condition: int = 18


class Tape:
    """All symbols' trades of a day."""

    def __init__(self) -> None:
        self._prints: list[tuple[datetime, str, Print]] = []

    def put(self, symbol: str, prints: Sequence[Print]) -> None:
        """Add trades; of equal times the earlier added comes first."""
        self._prints += [(trade.at, symbol, trade) for trade in prints]
        self._prints.sort(key=lambda entry: entry[0])

    def between(self, since: datetime, until: datetime) -> list[tuple[int, str, Print]]:
        """The trades after one time and up to another, each with its number on the tape."""
        first = bisect_right(self._prints, since, key=lambda entry: entry[0])
        end = bisect_right(self._prints, until, key=lambda entry: entry[0])
        return [
            (number, symbol, trade)
            for number, (_, symbol, trade) in enumerate(self._prints[first:end], first + 1)
        ]


def root_of(symbol: str) -> str:
    """The root of a symbol's contracts that settle in the evening."""
    return {"SPX": "SPXW", "NDX": "NDXP", "RUT": "RUTW"}.get(symbol, symbol)
