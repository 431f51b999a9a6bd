"""Judge how much of each symbol's sessions is stored. Pure; the command reads and prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from storage.market.calendar import Session, market_day, session_on, sessions_between
from storage.market.zero_dte import surely_expires
from storage.record.row import Reason

#: Reasons of gaps at which there was nothing to sample; they do not lower the coverage.
EXCUSED_REASONS = frozenset({Reason.UNCHANGED, Reason.NOT_OPEN, Reason.NO_ZERO_DTE, Reason.STANDBY})
#: How long after its time a slot may get its row, beyond the feed's delay.
_GRACE = timedelta(seconds=30)
#: A span that always has a session.
_RECENT = timedelta(days=10)
#: The states at which ``flow-store check`` exits with 1.
FAILING_STATES = ("thin", "missing", "nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of one symbol's session is stored of one feed."""

    symbol: str
    #: None where the symbol has nothing in the whole period.
    session: date | None
    #: How many slots are due by now.
    slots: int = 0
    rows: int = 0
    #: How many slots have a gap, by its reason.
    gaps: dict[str, int] = field(default_factory=dict)
    #: Rows as a share of the slots at which there was something to sample. [0-1]
    coverage: float = 0.0
    #: ``ok``: at or above the threshold. ``thin``: below it, in a session that a daemon sampled.
    #: ``partial``: below it, in another session. ``missing``: neither row nor gap, after the first
    #: session that a daemon sampled. ``nothing``: the symbol has nothing in the whole period.
    state: str
    feed: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the values as JSON has them."""
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
            "feed": self.feed,
        }

    def __str__(self) -> str:
        if self.session is None:
            return f"{self.symbol:6} nothing stored"
        gaps = "".join(f", {n} {why}" for why, n in sorted(self.gaps.items()))
        return (
            f"{self.symbol:6} {self.session}  {self.feed}{' ' * bool(self.feed)}"
            f"{self.rows} of {self.slots} slots"
            f" ({self.coverage:.1%}, {self.state}){gaps}"
        )


def assess_coverage(
    counts: Sequence[Mapping[str, Any]],
    *,
    first: date,
    last: date,
    now: datetime,
    symbols: Sequence[str] | None,
    least: float,
) -> list[Coverage]:
    """Judge what is stored of each session and symbol of a period.

    Parameters
    ----------
    counts : one mapping a symbol, session and feed: symbol, expiration, source, rows, gaps,
        reasons, owned (whether a daemon sampled it), delay (of its feed, in seconds; None without
        rows).
    first, last : the period.
    now : sessions and slots are due up to this moment.
    symbols : symbols that should have something; None to judge only what is stored.
    least : the coverage below which a session is thin, or partial. [0-1]

    Returns
    -------
    list of Coverage
        In order of session, symbol and feed.
    """
    judged = []
    owned: dict[str, date] = {}
    delays: dict[str, timedelta] = {}
    by_feed: dict[tuple[str, str], timedelta] = {}
    for row in counts:
        session = session_on(row["expiration"])
        if session is None:
            continue
        symbol = row["symbol"]
        if row["delay"] is not None:
            delay = timedelta(seconds=row["delay"])
            delays[symbol] = max(delay, delays.get(symbol, delay))
            by_feed[symbol, row["source"]] = delay
        due = _due(session, now, by_feed.get((symbol, row["source"]), delays.get(symbol)))
        if row["owned"]:
            owned.setdefault(symbol, session.day)
        judged.append(_judge(row, session, due, least=least))
    if symbols is not None:
        # Before the first session that a daemon sampled, nothing can be missing.
        since = max(first, min(owned.values(), default=last - _RECENT))
        sessions = sessions_between(since, min(last, market_day(now)))
        judged += _silent(judged, owned, delays, sessions, now, symbols)
    return sorted(judged, key=lambda item: (item.session or first, item.symbol, item.feed))


def _judge(row: Mapping[str, Any], session: Session, due: int, *, least: float) -> Coverage:
    gaps: dict[str, int] = row["reasons"] or {}
    # Rows that lie after the clock, such as those of a simulated market, are due too.
    due = max(due, row["rows"])
    excused = EXCUSED_REASONS
    if row["rows"] or surely_expires(row["symbol"], session.day):
        # The session has an expiry: answers without it were wrong.
        excused = EXCUSED_REASONS - {Reason.NO_ZERO_DTE}
    possible = due - sum(n for why, n in gaps.items() if why in excused)
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
        feed=row["source"],
    )


def _silent(
    judged: Sequence[Coverage],
    owned: Mapping[str, date],
    delays: Mapping[str, timedelta],
    sessions: Sequence[Session],
    now: datetime,
    symbols: Sequence[str],
) -> list[Coverage]:
    """Return the sessions and symbols of which neither a row nor a gap is stored, but should be."""
    known = {(line.symbol, line.session) for line in judged}
    stored = {line.symbol for line in judged}
    silent = []
    for symbol in symbols:
        due = {s.day: n for s in sessions if (n := _due(s, now, delays.get(symbol)))}
        if symbol not in stored:
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
    """Return how many slots of a session should be a row or a gap by now."""
    until = now - _GRACE - (delay or timedelta())
    return sum(1 for slot in session.slots if slot <= until)
