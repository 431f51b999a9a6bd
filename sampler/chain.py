"""From a source's frame to today's chain: what is expiring, by strike, with what was dropped.

A ``Frame`` is what a source delivers: every contract, as columns. A ``Chain`` is the part that
expires today, validated, one column a strike with calls in row 0 and puts in row 1, so that
parity, shared volatility and net exposure are plain array arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.errors import ChainRefused
from storage.market.calendar import Session, closed_day_kind, expiry_moment, market_day, to_new_york
from storage.market.constants import YEAR_SECONDS
from storage.market.instruments import AM_ROOTS, instrument_of
from storage.record.row import Drop, Reason, SlotRecord

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: No strike or spot is below the first, no price above the second [$]; no count above what a float
#: holds exactly.
LOWEST_STRIKE, HIGHEST_PRICE, HIGHEST_COUNT = 1e-4, 1e8, 2.0**53
#: No trade is later than its answer by more than this. [s]
LATEST_TRADE = 86_400.0
CALL, PUT = 0, 1
#: The per-contract columns of a frame and of a chain.
QUOTES = ("bid", "ask", "last", "last_at", "open_interest", "volume", "source_iv", "signed_volume")
#: The column of a source that sees each trade: legs of spreads in today's volume. It is absent,
#: from the evidence too, where the source does not tell them.
MULTI_LEG_VOLUME = "multi_leg_volume"
#: The column of the evidence with volumes as they were sent, where the marks are not the same.
REPORTED_VOLUME = "reported_volume"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One answer of a source: contracts as columns of one length, missing numbers as NaN."""

    symbol: str
    #: The source's name, as rows will carry it.
    source: str
    #: How far the source declares its quotes to lie behind. [s]
    delay_seconds: int
    quoted_at: datetime
    fetched_at: datetime
    #: Underlying price; NaN where the source has none. [$]
    spot: float
    #: When the source says that the underlying's price was made; None: it does not say.
    underlying_at: datetime | None
    #: Day of expiry, New York.
    expiry: NDArray[np.datetime64]
    #: Option root (SPXW); empty strings where the source drops it.
    root: NDArray[np.str_]
    strike: Floats
    #: +1 call, -1 put, 0 unreadable.
    right: NDArray[np.int8]
    bid: Floats
    ask: Floats
    last: Floats
    #: Unix time of the last trade. [s]
    last_at: Floats
    open_interest: Floats
    #: Contracts traded today.
    volume: Floats
    #: The source's own implied volatility, kept beside ours for comparison only.
    source_iv: Floats
    #: Contracts bought less sold today, where the source sees each trade.
    signed_volume: Floats
    #: Of ``volume``, contracts that traded as legs of a spread; None: the source does not tell.
    multi_leg_volume: Floats | None = None
    #: Contracts that were left out before it was kept, by reason.
    dropped: Mapping[str, int] = field(default_factory=dict)
    #: What other expiries added when they were still there; None: they are, or never were.
    other_expiries: Mapping[str, float | None] | None = None
    #: From the request of the first page to that of the last, where an answer comes in pages that
    #: are not one instant; None: it comes in one piece. [s]
    pages_seconds: float | None = None
    #: Days whose contracts the source knows of and does not have here.
    missing_expirations: tuple[date, ...] = ()
    #: How old the oldest answer for another expiration is, where each has an answer of its own;
    #: None: all are of this answer, or there are none. [s]
    other_expiries_age_seconds: float | None = None

    @classmethod
    def of(
        cls,
        *,
        symbol: str,
        source: str,
        delay_seconds: int,
        quoted_at: datetime,
        fetched_at: datetime,
        spot: float,
        columns: Mapping[str, Any],
        underlying_at: datetime | None = None,
        dropped: Mapping[str, int] | None = None,
        other_expiries: Mapping[str, float | None] | None = None,
        pages_seconds: float | None = None,
    ) -> Frame:
        """A frame from whatever columns a source has; those it lacks are NaN, its roots empty.

        ``columns`` must have ``expiry`` (days), ``strike`` and ``right``. Strikes are rounded to
        thousandths of a dollar, the finest that the exchanges list: what a vendor's arithmetic
        adds to 607.5 does not make it another strike.

        Parameters
        ----------
        symbol : the underlying.
        source : the source's name, as rows carry it.
        delay_seconds : how far the source declares its quotes to lie behind. [s]
        quoted_at, fetched_at : when the quotes were made, and fetched; with a zone.
        spot : underlying price; NaN where the source has none. [$]
        columns : columns of one length n by name; ``expiry`` (days), ``strike`` ($) and ``right``
            are required.
        dropped : contracts that were left out before, by reason. [count]
        other_expiries : what other expiries added, where they are not in the frame.
        pages_seconds : from the request of the first page to that of the last. [s]

        Returns
        -------
        Frame
            The frame; columns that are missing are NaN, and roots empty.
        """
        n = len(columns["strike"])
        numbers: dict[str, Any] = {
            name: np.asarray(columns[name], np.float64) if name in columns else np.full(n, np.nan)
            for name in ("strike", *QUOTES)
        }
        numbers["strike"] = _exact_strikes(numbers["strike"])
        return cls(
            symbol=symbol,
            source=source,
            delay_seconds=delay_seconds,
            quoted_at=quoted_at.astimezone(UTC),
            fetched_at=fetched_at.astimezone(UTC),
            spot=spot,
            underlying_at=None if underlying_at is None else underlying_at.astimezone(UTC),
            expiry=np.asarray(columns["expiry"], "datetime64[D]"),
            root=np.asarray(columns["root"], np.str_) if "root" in columns else np.full(n, ""),
            right=np.asarray(columns["right"], np.int8),
            dropped=dropped or {},
            other_expiries=other_expiries,
            pages_seconds=pages_seconds,
            multi_leg_volume=(
                np.asarray(columns[MULTI_LEG_VOLUME], np.float64)
                if MULTI_LEG_VOLUME in columns
                else None
            ),
            **numbers,
        )

    @property
    def expirations(self) -> list[date]:
        """The days on which anything of this frame expires, in order."""
        return [day for day in np.unique(self.expiry).tolist() if day is not None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """Today's expiring contracts of one symbol. Arrays of contracts are (2, strikes)."""

    symbol: str
    source: str
    delay_seconds: int
    quoted_at: datetime
    fetched_at: datetime
    slot: datetime
    session: Session
    #: From the quotes to the last trade, ACT/365. [years]
    years: float
    #: Underlying price of the source, NaN where it has none. [$]
    spot: float
    #: When the source says that this price was made; None: it does not say.
    underlying_at: datetime | None
    #: Ascending, each once. [$]
    strike: Floats
    #: Whether the contract is in the frame; its open interest is 0 if not, the rest NaN. A listed
    #: contract's open interest is NaN where it is unreadable.
    listed: Bools
    bid: Floats
    ask: Floats
    last: Floats
    last_at: Floats
    open_interest: Floats
    volume: Floats
    source_iv: Floats
    signed_volume: Floats
    #: None: the source does not tell.
    multi_leg_volume: Floats | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    #: See ``Frame``. [s]
    pages_seconds: float | None = None

    @property
    def expiration(self) -> date:
        """The day, New York."""
        return self.session.day

    @property
    def two_sided(self) -> Bools:
        """Quotes with both a bid and an ask, not crossed."""
        return (self.bid > 0) & (self.ask >= self.bid)


def slot_of_frame(frame: Frame, session: Session | None) -> datetime:
    """The slot that a frame belongs to.

    Parameters
    ----------
    frame : the frame.
    session : the session of the frame's day; None on a closed day.

    Returns
    -------
    datetime
        The grid point nearest to the quotes' time, UTC.

    Raises
    ------
    ChainRefused
        ``market_closed``, ``before_open`` or ``after_close``.
    """
    wall_time = to_new_york(frame.quoted_at).strftime("%Y-%m-%d %H:%M:%S")
    if session is None:
        why = closed_day_kind(market_day(frame.quoted_at))
        raise ChainRefused(
            Reason.MARKET_CLOSED, f"{frame.symbol}: quoted {wall_time} New York, a {why}"
        )
    slot = session.slot_of(frame.quoted_at)
    if slot is None:
        early = frame.quoted_at < session.open
        edge = to_new_york(session.open if early else session.close).strftime("%H:%M")
        raise ChainRefused(
            Reason.BEFORE_OPEN if early else Reason.AFTER_CLOSE,
            f"{frame.symbol}: quoted {wall_time} New York,"
            f" {'before the open' if early else 'at or after the close'} of {edge}",
        )
    return slot


def select_chain(frame: Frame, session: Session | None) -> Chain:
    """Today's expiring contracts of a frame, validated.

    A contract is dropped, and counted by reason, when it is AM-settled or adjusted, or when its
    strike or right is unusable. Its quotes, volume and open interest need not be readable.

    Parameters
    ----------
    frame : the frame: contracts as columns of one length.
    session : the session of the frame's day; None on a closed day.

    Returns
    -------
    Chain
        Arrays of shape (2, strikes): calls in row 0, puts in row 1.

    Raises
    ------
    ChainRefused
        Outside a session, or ``no_zero_dte`` when nothing expires today.
    """
    slot = slot_of_frame(frame, session)
    assert session is not None
    today = frame.expiry == np.datetime64(session.day)
    keep, dropped = _valid(frame, today)
    if not keep.any():
        upcoming = next((day for day in frame.expirations if day > session.day), None)
        then = f"; next expiry {upcoming}" if upcoming else ""
        lost = "".join(f", {n} {why}" for why, n in dropped.items())
        raise ChainRefused(
            Reason.NO_ZERO_DTE,
            f"{frame.symbol}: nothing expires on {session.day}{lost}{then}",
            next_expiry=upcoming,
        )
    rows = np.flatnonzero(keep)
    strike, strike_index = np.unique(frame.strike[rows], return_inverse=True)
    # Cells of a table of calls, then puts, in one index: two would take three times as long.
    cell = np.where(frame.right[rows] > 0, strike_index, strike_index + len(strike))
    listed = np.zeros((2, len(strike)), np.bool_)
    listed.reshape(-1)[cell] = True
    columns = {}
    for name in (*QUOTES, MULTI_LEG_VOLUME):
        values = getattr(frame, name)
        if values is not None:
            column = np.full((2, len(strike)), np.nan)
            column.reshape(-1)[cell] = values[rows]
            columns[name] = column
    for name in ("bid", "ask", "last"):
        columns[name] = mask_outside(columns[name], HIGHEST_PRICE)
    # A trade before 1970, or a day after the answer, has no time that could be compared.
    latest = frame.fetched_at.timestamp() + LATEST_TRADE
    columns["last_at"] = mask_outside(columns["last_at"], latest)
    # An unreadable open interest is unknown: an earlier slot may have had it.
    readable = mask_outside(columns["open_interest"], HIGHEST_COUNT)
    columns["open_interest"] = np.where(listed, readable, 0.0)
    # An unreadable volume is unknown, not 0: a zero would look like a reset, and its end like a
    # day's volume traded at once.
    columns["volume"] = mask_outside(columns["volume"], HIGHEST_COUNT)
    if MULTI_LEG_VOLUME in columns:
        columns[MULTI_LEG_VOLUME] = mask_outside(columns[MULTI_LEG_VOLUME], HIGHEST_COUNT)
    signed = columns["signed_volume"]
    signed[~(np.abs(signed) <= HIGHEST_COUNT)] = np.nan
    expires = expiry_moment(frame.symbol, session)
    return Chain(
        symbol=frame.symbol,
        source=frame.source,
        delay_seconds=frame.delay_seconds,
        quoted_at=frame.quoted_at,
        fetched_at=frame.fetched_at,
        slot=slot,
        session=session,
        years=(expires - frame.quoted_at).total_seconds() / YEAR_SECONDS,
        spot=frame.spot if LOWEST_STRIKE <= frame.spot <= HIGHEST_PRICE else math.nan,
        underlying_at=frame.underlying_at,
        strike=strike,
        listed=listed,
        dropped={
            why: frame.dropped.get(why, 0) + dropped.get(why, 0)
            for why in {**frame.dropped, **dropped}
        },
        pages_seconds=frame.pages_seconds,
        **columns,
    )


def chain_of_record(record: SlotRecord, session: Session) -> Chain:
    """The chain that a stored record was measured from.

    Parameters
    ----------
    record : the stored record.
    session : the session of its row.

    Returns
    -------
    Chain
        Arrays of shape (2, strikes), equal to the bit to those that were measured.

    Raises
    ------
    ValueError
        If the record's evidence is not readable.
    """
    evidence, notes = record.state
    listed = evidence["listed"].any(axis=0)
    quoted_at = datetime.fromisoformat(notes["quoted_at"])
    # Picking columns lays a table out by columns; rows are what is worked on.
    columns = {
        name: np.ascontiguousarray(evidence[name][:, listed])
        for name in (*QUOTES, MULTI_LEG_VOLUME)
        if name != MULTI_LEG_VOLUME or name in evidence
    }
    if REPORTED_VOLUME in evidence:
        columns["volume"] = np.ascontiguousarray(evidence[REPORTED_VOLUME][:, listed])
    expires = expiry_moment(notes["symbol"], session)
    return Chain(
        symbol=notes["symbol"],
        source=notes["source"],
        delay_seconds=notes["delay_seconds"],
        quoted_at=quoted_at,
        fetched_at=datetime.fromisoformat(notes["fetched_at"]),
        slot=record.row.slot,
        session=session,
        years=(expires - quoted_at).total_seconds() / YEAR_SECONDS,
        spot=math.nan if notes["spot"] is None else notes["spot"],
        underlying_at=_moment(notes.get("underlying_at")),
        strike=evidence["strike"][listed],
        listed=np.ascontiguousarray(evidence["listed"][:, listed]),
        dropped=notes["dropped"],
        pages_seconds=notes.get("pages_seconds"),
        **columns,
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _valid(frame: Frame, today: Bools) -> tuple[Bools, dict[str, int]]:
    """Which of today's contracts are kept, and how many were not, by reason."""
    keep = today.copy()
    dropped: dict[str, int] = {}

    def drop(why: Drop, bad: Bools) -> None:
        lost = keep & bad
        if lost.any():
            dropped[str(why)] = int(lost.sum())
            keep[lost] = False

    roots = np.unique(frame.root[today])
    for why, these in (
        (Drop.ADJUSTED, [root for root in roots if root[-1:].isdigit()]),
        (Drop.AM_SETTLED, [root for root in roots if root in AM_ROOTS]),
    ):
        if these:
            drop(why, np.isin(frame.root, these))
    drop(
        Drop.BAD_STRIKE,
        ~((frame.strike >= LOWEST_STRIKE) & (frame.strike <= HIGHEST_PRICE)),
    )
    drop(Drop.BAD_RIGHT, frame.right == 0)
    drop(Drop.AM_SETTLED, am_twins(frame, keep))
    drop(Drop.DUPLICATE, weaker_twins(frame, keep))
    return keep, dropped


def am_twins(frame: Frame, among: Bools) -> Bools:
    """Contracts that settled this morning, in a feed that drops the root which would tell them.

    Where an index's keys repeat among some contracts of one expiry, what has neither quote nor
    volume is the AM-settled twin.

    Parameters
    ----------
    frame : the frame: contracts as columns of length n.
    among : contracts of one expiry, as a mask of shape (n,).

    Returns
    -------
    Bools
        Which of them settled this morning, as a mask of shape (n,).
    """
    none = np.zeros(len(among), np.bool_)
    if not instrument_of(frame.symbol).am_roots or np.char.str_len(frame.root[among]).any():
        return none
    repeated = _repeats(frame, among)
    if not repeated.any():
        return none
    lifeless = among & ~((frame.bid > 0) | (frame.ask > 0) | (frame.volume > 0))
    return lifeless if (repeated & lifeless).any() else none


def mask_outside(values: Floats, highest: float) -> Floats:
    """Replace by NaN each value that is not a number from 0 to ``highest``, both included.

    Parameters
    ----------
    values : numbers, of any shape.
    highest : the largest number that stays, in the values' unit.

    Returns
    -------
    Floats
        The numbers, with NaN in place of the others; of the same shape.
    """
    return np.where((values >= 0) & (values <= highest), values, np.nan)


def weaker_twins(frame: Frame, among: Bools) -> Bools:
    """Contracts of one expiry that another of their strike and right replaces.

    The twin with the most life stays: first by its quote (bid and ask, an ask alone, none), then
    by whether anything traded. Of two AM- and PM-settled contracts of an index, both alive, the
    dearer one stays: it lives until the close. Then the larger volume and open interest count, and
    at last every other number. The order in which the contracts stand never counts.

    Parameters
    ----------
    frame : the frame: contracts as columns of length n.
    among : contracts of one expiry, as a mask of shape (n,).

    Returns
    -------
    Bools
        Which of them another one replaces, as a mask of shape (n,).
    """
    weaker = np.zeros(len(among), np.bool_)
    twins = np.flatnonzero(_repeats(frame, among))
    if len(twins):
        key = frame.strike[twins] * frame.right[twins]
        order = np.lexsort((*_signs_of_life(frame, twins), key))
        weaker[twins[order[:-1][np.diff(key[order]) == 0]]] = True
    return weaker


def _signs_of_life(frame: Frame, which: NDArray[np.intp]) -> list[Floats]:
    """What twins are compared by, the most important last; what is unknown counts least."""
    bid, ask, volume = frame.bid[which], frame.ask[which], frame.volume[which]
    quoted = (ask > 0) & (ask >= bid) & (bid >= 0)
    middle = np.where(quoted, bid + ask, -1.0)
    later = middle if instrument_of(frame.symbol).am_roots else np.zeros(len(which))
    columns = [
        *(getattr(frame, name)[which] for name in ("source_iv", "signed_volume", "last_at")),
        *(frame.last[which], bid, ask, -(ask - bid)),
        *(frame.open_interest[which], volume, later),
        *(volume > 0, quoted, quoted & (bid > 0)),
    ]
    return [np.where(np.isnan(column), -np.inf, column) for column in columns]


def _exact_strikes(strike: Floats) -> Floats:
    """Strikes to the thousandth of a dollar; what is no strike stays as it is."""
    sane = (strike > 0) & (strike <= HIGHEST_PRICE)
    return np.where(sane, np.round(np.where(sane, strike, 0.0) * 1000.0) / 1000.0, strike)


def _repeats(frame: Frame, among: Bools) -> Bools:
    """Contracts whose strike and right stand more than once."""
    repeated = np.zeros(len(among), np.bool_)
    # Strikes are positive, so the sign tells calls from puts in one key.
    keys = frame.strike[among] * frame.right[among]
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():
        return repeated
    _, key_index, count = np.unique(keys, return_inverse=True, return_counts=True)
    repeated[among] = count[key_index] > 1
    return repeated
