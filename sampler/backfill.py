"""The same step over past slots; repeatable: a second run changes nothing and says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date

from sampler.chain import place
from sampler.errors import Refused
from sampler.outcome import Outcome
from sampler.sources import Source
from sampler.tick import Tick
from storage.row import Gap, Reason
from storage.session import Session, market_day, session_on, sessions_between
from storage.store import Store


@dataclass(slots=True, kw_only=True)
class Filled:
    """What a backfill did for one symbol and session."""

    symbol: str
    day: date
    written: int = 0
    there_already: int = 0
    #: Frames that made no row, by reason; and each with its sentence.
    refused: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """How many frames the source had."""
        return self.written + self.there_already + self.refused.total()


async def backfill(
    source: Source,
    tick: Tick,
    store: Store,
    *,
    symbols: Iterable[str],
    first: date,
    last: date,
    progress: Callable[[Filled], None],
) -> list[Filled]:
    """Fill sessions from a source's history, oldest first; slots with a row are left alone.

    ``progress`` is called after each symbol and session that the source had something for.

    Raises
    ------
    UsageError
        If the source keeps no history.
    StoreError
        If the store goes away; what was written stays, a second run goes on from there.
    """
    results = []
    for symbol in symbols:
        for session in sessions_between(first, last):
            filled = Filled(symbol=symbol, day=session.day)
            await _fill(source, tick, store, session, filled)
            if filled.frames:
                progress(filled)
                results.append(filled)
    return results


async def _fill(source: Source, tick: Tick, store: Store, session: Session, filled: Filled) -> None:
    there = set(await store.slots(filled.symbol, session.day))
    async for frame in source.history(filled.symbol, session):
        if isinstance(frame, Refused):
            _refuse(filled, frame)
            continue
        slot = None
        try:
            slot = place(frame, session_on(market_day(frame.quoted_at)))
            if slot in there and slot != session.last_slot:
                filled.there_already += 1
                continue
            outcome = Outcome(symbol=filled.symbol)
            await tick.take(frame, outcome)
            filled.written += outcome.stored
            filled.there_already += not outcome.stored
            there.add(slot)
        except Refused as refused:
            if refused.reason is Reason.UNCHANGED:
                filled.there_already += 1
                continue
            _refuse(filled, refused)
            if slot is not None:
                gap = Gap(
                    symbol=filled.symbol,
                    expiration=session.day,
                    slot=slot,
                    reason=refused.reason,
                    detail=str(refused),
                )
                await store.write(gaps=[gap])


def _refuse(filled: Filled, refused: Refused) -> None:
    filled.refused[str(refused.reason)] += 1
    filled.details.append(str(refused))


def span(first: str, last: str) -> tuple[date, date]:
    """A period from two ISO dates.

    Raises
    ------
    ValueError
        If one is no date, or they stand the wrong way round.
    """
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    if end < begin:
        raise ValueError(f"{last} is before {first}")
    return begin, end
