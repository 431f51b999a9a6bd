"""What of each symbol's sessions is there: coverage, judged. Pure; the door asks and prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from storage.market.calendar import Session, market_day, session_on, sessions_between
from storage.record.row import Reason

#: Gaps that are nobody's fault: there was nothing to sample.
EXCUSED_REASONS = frozenset({Reason.UNCHANGED, Reason.NOT_OPEN, Reason.NO_ZERO_DTE})
#: A slot may take so long to its row beyond the feed's delay.
_GRACE = timedelta(seconds=30)
#: Every such span has a session.
_RECENT = timedelta(days=10)
#: What a person or a cron job should hear of.
FAILING_STATES = ("thin", "missing", "nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """One symbol's session."""

    symbol: str
    #: None where the symbol has nothing in the whole period.
    session: date | None
    #: Slots that are due by now.
    slots: int = 0
    rows: int = 0
    #: Slots without a row, by reason.
    gaps: dict[str, int] = field(default_factory=dict)
    #: Rows as a part of the slots at which there was something to sample. [0-1]
    coverage: float = 0.0
    #: ok; thin: below the threshold; partial: the same of a session that no daemon owned; missing:
    #: a whole session without a trace, after an owned one; nothing: the same of all the period.
    state: str
    sources: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        known = self.rows + sum(self.gaps.values())
        return {
            "symbol": self.symbol,
            "session": self.session and self.session.isoformat(),
            "slots": self.slots,
            "rows": self.rows,
            "gaps": self.gaps,
            "unaccounted": max(self.slots - known, 0),
            "coverage": round(self.coverage, 4),
            "state": self.state,
            "sources": list(self.sources),
        }

    def __str__(self) -> str:
        if self.session is None:
            return f"{self.symbol:6} nothing stored"
        gaps = "".join(f", {n} {why}" for why, n in sorted(self.gaps.items()))
        return (
            f"{self.symbol:6} {self.session}  {self.rows} of {self.slots} slots"
            f" ({self.coverage:.1%}, {self.state}){gaps}"
        )


def assess_coverage(
    found: Sequence[Mapping[str, Any]],
    *,
    first: date,
    last: date,
    now: datetime,
    symbols: Sequence[str] | None,
    least: float,
) -> list[Coverage]:
    """Judge what the store has of a period, by session and symbol.

    Parameters
    ----------
    found : of each symbol and session: symbol, expiration, rows, gaps, reasons, sources, owned
        (by a daemon), delay (of its feed, in seconds, None without rows).
    symbols : those asked for, whose silence is an answer too; None for whatever there is.
    least : the coverage below which a session is thin, or partial. [0-1]
    """
    lines = []
    owned: dict[str, date] = {}
    delays: dict[str, timedelta] = {}
    for row in found:
        session = session_on(row["expiration"])
        if session is None:
            continue
        symbol = row["symbol"]
        if row["delay"] is not None:
            delays[symbol] = timedelta(seconds=row["delay"])
        due = _due(session, now, delays.get(symbol))
        if row["owned"]:
            owned.setdefault(symbol, session.day)
        lines.append(_judge(row, session, due, least=least))
    if symbols is not None:
        # Before a symbol's first owned session nothing is missed.
        since = max(first, min(owned.values(), default=last - _RECENT))
        sessions = sessions_between(since, min(last, market_day(now)))
        lines += _silent(lines, owned, delays, sessions, now, symbols)
    return sorted(lines, key=lambda line: (line.session or first, line.symbol))


def _judge(row: Mapping[str, Any], session: Session, due: int, *, least: float) -> Coverage:
    gaps: dict[str, int] = row["reasons"] or {}
    # Rows that lie after the clock, such as those of a simulated market, are due too.
    due = max(due, row["rows"])
    # Nothing to sample is nothing lost.
    possible = due - sum(n for why, n in gaps.items() if why in EXCUSED_REASONS)
    share = min(row["rows"] / possible, 1.0) if possible > 0 else 1.0
    short = "thin" if row["owned"] else "partial"
    return Coverage(
        symbol=row["symbol"],
        session=session.day,
        slots=due,
        rows=row["rows"],
        gaps=gaps,
        coverage=share,
        state="ok" if share >= least or possible <= 0 else short,
        sources=tuple(row["sources"] or ()),
    )


def _silent(
    lines: Sequence[Coverage],
    owned: Mapping[str, date],
    delays: Mapping[str, timedelta],
    sessions: Sequence[Session],
    now: datetime,
    symbols: Sequence[str],
) -> list[Coverage]:
    """Sessions and symbols that have left no trace where there should be one."""
    known = {(line.symbol, line.session) for line in lines}
    seen = {line.symbol for line in lines}
    silent = []
    for symbol in symbols:
        due = {s.day: n for s in sessions if (n := _due(s, now, delays.get(symbol)))}
        if symbol not in seen:
            if due:
                silent.append(Coverage(symbol=symbol, session=None, state="nothing"))
            continue
        silent += [
            Coverage(symbol=symbol, session=day, slots=slots, state="missing")
            for day, slots in due.items()
            if symbol in owned and day > owned[symbol] and (symbol, day) not in known
        ]
    return silent


def _due(session: Session, now: datetime, delay: timedelta | None) -> int:
    """How many slots should have been a row or a gap by now."""
    until = now - _GRACE - (delay or timedelta())
    return sum(1 for slot in session.slots if slot <= until)
