"""The row: THE contract between sampler, store and API.

A row is one 30-second sample of one symbol's expiring options. Money is US dollars, volatility is a
decimal, times are UTC. "Live" figures belong to the dealer position that this morning's open
interest and today's signed volume imply; "settled" figures to the one that open interest alone
implies. ``docs/definitions.md`` has every formula.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from math import isfinite
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from storage.record import packing
from storage.record.figures import (
    DetailFigures,
    Figures,
    SettledFigures,
    significant,
    unchecked,
)

#: Version of the formulas, raised with every change of one. Each row says by which it was made.
DEFINITIONS = "3"


class Reason(StrEnum):
    """Why a slot has no row, or why a frame was refused. There are no other reasons."""

    SOURCE_DOWN = "source_down"  #: the source did not answer in time, or answered an error
    BAD_ANSWER = "bad_answer"  #: the source's answer is not a chain
    STALE = "stale"  #: quotes are older than the feed's declared delay allows, or do not change
    UNCHANGED = "unchanged"  #: the source has nothing newer than what is stored
    LATE = "late"  #: the sample was not there before the slot's time was over
    NOT_OPEN = "not_open"  #: the session is open but the options do not trade yet
    BEFORE_OPEN = "before_open"  #: quoted before the session
    AFTER_CLOSE = "after_close"  #: quoted after the session
    MARKET_CLOSED = "market_closed"  #: quoted on a weekend or a holiday
    NO_ZERO_DTE = "no_zero_dte"  #: nothing of this symbol expires today
    NO_SPOT = "no_spot"  #: neither the source nor put-call parity gives a price of the underlying
    NO_IV = "no_iv"  #: no quote gives an implied volatility
    OTHER_FEED = "other_feed"  #: of earlier releases: quotes of another feed than the session's
    STANDBY = "standby"  #: the feed is a fallback, and the first feed gave rows
    NOT_RUNNING = "not_running"  #: no sampler was running
    NOT_SAMPLED = "not_sampled"  #: nothing is stored here, and nothing says why
    NO_STATE = "no_state"  #: the database was away, so the slot's predecessor was not known
    NO_ROOM = "no_room"  #: sampled, but neither the database nor the spool had room for it
    FAILED = "failed"  #: a defect of this program; the log has the trace


class Flag(StrEnum):
    """What limits how far a row can be trusted, each with what it means."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """Make a member that is its name and knows its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    BASELINE = "baseline", "flow counts from this slot: there is no earlier state"
    STALE_SPOT = "stale_spot", "the source's spot contradicts parity; the forward is used"
    CLOCK_SKEW = "clock_skew", "spot and parity disagree by less than for stale_spot"
    AFTER_GAP = "after_gap", "the flow of the missed slots before it is in this row too"
    VOLUME_REBASED = "volume_rebased", "the feed began the day's count anew after the open"
    VOLUME_HELD = "volume_held", "volumes fell or are unreadable: the earlier ones count"
    VOLUME_RECOVERED = "volume_recovered", "held volumes are back; their flow is in this row"
    VOLUME_CORRECTED = "volume_corrected", "volume of earlier rows is taken out, or put back"
    VOLUME_UNKNOWN = "volume_unknown", "contracts without a readable volume until now"
    CONTRACTS_MISSING = "contracts_missing", "contracts of earlier rows are not in this one"
    FORWARD_IS_SPOT = "forward_is_spot", "fewer than three strikes give a parity forward"
    SPOT_FROM_PARITY = "spot_from_parity", "no usable spot of the source: parity's is used"
    SPOT_SPIKE = "spot_spike", "spot jumped against parity, or for one slot only"
    VOLATILITY_SPIKE = "volatility_spike", "the ATM volatility jumped for one slot only"
    OPTIONS_UNCHANGED = "options_unchanged", "no option shows anything newer than an earlier slot"
    OPTIONS_AHEAD = "options_ahead", "options traded later than the time of their answer"
    WIDE_QUOTES = "wide_quotes", "too wide quotes: all are weighted by their width"
    QUOTES_CONTRADICT = "quotes_contradict", "no prices between bid and ask agree with all quotes"
    NO_OPEN_INTEREST = "no_open_interest", "no open interest is known: there is no position"
    OI_CHANGED = "oi_changed", "the source sent another set of open interest"
    OI_PARTIAL = "oi_partial", "open interest is missing for some contracts"
    OI_RECOVERED = "oi_recovered", "open interest that was missing is back"
    REVISED = "revised", "a later sample showed what was wrong here, and added a flag"


class Drop(StrEnum):
    """Why a contract was left out of a chain."""

    BAD_STRIKE = "bad_strike"
    BAD_RIGHT = "bad_right"
    DUPLICATE = "duplicate"
    AM_SETTLED = "am_settled"
    ADJUSTED = "adjusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sample of one symbol. Floats are rounded to 12 significant digits when a row is made.

    Raises
    ------
    ValueError
        If a time has no zone, or a number is not finite.
    """

    symbol: str
    #: The day that the options expire, New York.
    expiration: date
    #: The grid point that this row stands for: the one nearest to ``quoted_at``.
    slot: datetime
    #: When the source says the quotes were made.
    quoted_at: datetime
    #: When the quotes were fetched.
    fetched_at: datetime
    #: Which feed: cboe, recorded, synthetic ...; each has sessions of its own.
    source: str
    #: By how much the source declares its quotes to be delayed. [s]
    delay_seconds: int
    #: Version of the formulas.
    definitions: str
    #: κ, the part of signed volume taken to have opened positions. [0-1]
    oi_confidence: float

    #: Underlying price that everything is measured with: the source's, or the forward where the
    #: source's is stale or missing. [$]
    spot: float
    #: Underlying price as the source gave it. [$]
    source_spot: float | None
    #: Parity forward for the expiry. [$]
    forward: float
    #: Time from the quotes to the last trade, ACT/365. [years]
    years_to_expiry: float

    #: Live gamma exposure, $ of delta per 1 % move; positive: dealers dampen moves. [$]
    net_gex: float
    #: Its parts from calls and from puts; positive: dealers dampen moves. [$]
    call_gex: float
    put_gex: float
    #: Sum of absolute gamma exposures; net/gross says how strongly signed the book is. [$]
    gross_gex: float
    #: Holders' delta on effective open interest; positive: holders are long. [$]
    net_dex: float
    #: Its parts from calls and from puts; positive: holders are long. [$]
    call_dex: float
    put_dex: float
    #: $ of delta per vol point; positive: vol up makes dealers sell. [$]
    net_vex: float
    #: $ of delta that half of the time left makes dealers trade; positive: they buy. [$]
    net_chex: float
    #: The dealers' options before hedging; positive: long. [$]
    dealer_delta: float
    #: $ of delta that time makes dealers trade within charm_horizon_seconds, not scaled to an hour;
    #: positive: they buy. Null in the last minute. [$]
    charm_dollars_per_hour: float | None
    #: The time that charm_dollars_per_hour looks ahead: an hour, or half of what is left; null in
    #: the last minute. [s]
    charm_horizon_seconds: float | None = None
    #: net_gex with today's volume in place of open interest; positive: dealers dampen moves. [$]
    net_gex_volume: float
    #: Standard deviation of net_gex if the side of every trade were a coin toss; null in rows of
    #: definitions 2 and earlier. [$]
    net_gex_se: float | None = None
    #: The same at the accuracy that was measured of this way of signing; null where none was. [$]
    net_gex_se_measured: float | None = None

    #: Spot level nearest to spot where the repriced net gamma crosses zero. [$]
    gamma_flip: float | None
    #: available, no_boundary or insufficient_local_coverage.
    gamma_flip_status: str
    #: |gamma_flip − spot| / remaining_1sd; null without either. [standard deviations]
    distance_to_flip_sigmas: float | None = None
    #: Whether the flip is more than four standard deviations of what is left away: price does not
    #: get there today.
    flip_out_of_reach: bool | None = None
    #: positive_gamma, negative_gamma or unknown: the sign of gamma at spot.
    regime: str
    #: Probability that the sign of net_gex is right, given κ and the dealer convention. [0-1]
    regime_confidence: float | None = None
    #: Strike of the largest call gamma exposure. [$]
    call_wall: float | None
    #: Strike of the largest absolute put gamma exposure. [$]
    put_wall: float | None
    #: Strike of the largest absolute net gamma exposure. [$]
    magnet: float | None
    magnet_gex: float | None
    #: Settlement at which holders receive least. [$]
    max_pain: float | None

    #: Weighted sum of the four parts below, rounded half up. [0-100]
    pin_score: int
    pin_oi: float
    pin_proximity: float
    pin_time: float
    pin_gamma: float
    #: Implied probability of settling between the magnet's neighbours. [%]
    pin_probability_pct: float | None

    #: Implied volatility at the forward; null in the last minute. [decimal]
    atm_iv: float | None
    #: One standard deviation of what is left of the session. [$]
    remaining_1sd: float | None

    #: Delta-dollars that customers made dealers trade since ``flow_since``; positive: buy. [$]
    hedge_flow_call_cumulative: float
    hedge_flow_put_cumulative: float
    #: The sum of the two, exact to the cent; positive: buy. [$]
    hedge_flow_cumulative_all: float
    #: Standard deviation of that flow if the side of every trade were a coin toss. [$]
    hedge_flow_se: float
    #: Part of the volume since ``flow_since`` whose side is known; null before any volume. [0-1]
    classified_share: float | None
    #: The baseline: the slot that flow counts from.
    flow_since: datetime
    #: The slot that this one's flow was differenced against; null on a baseline.
    differenced_from: datetime | None

    #: Contracts of the chain, their strikes, and the strikes with a volatility of their own.
    contracts: int
    strikes: int
    strikes_with_iv: int
    #: Settled open interest and volume of the day. [contracts]
    total_oi: int
    call_oi: int
    put_oi: int
    total_volume: int
    call_volume: int
    put_volume: int
    #: Contracts left out, by reason; see ``Drop``. [count]
    dropped: dict[str, int]
    #: Quotes that gave no volatility, by reason. [count]
    quotes_unused: dict[str, int]
    #: See ``Flag``.
    flags: tuple[str, ...]
    #: Age of the quotes when they were fetched. [s]
    quote_age_seconds: float

    #: The settled book: the figures from net_gex to pin_probability_pct on this morning's open
    #: interest alone, and what that book makes dealers do.
    settled: SettledFigures
    #: What a snapshot shows beside the series: hedges, decay, expected move, skew, liquidity,
    #: other expiries. Of the live book where it depends on a position.
    detail: DetailFigures

    def __post_init__(self) -> None:
        for name in MOMENTS:
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{name} has no time zone")
        change = object.__setattr__
        for name, value in zip(FLOATS, _floats(self), strict=True):
            if value is None:
                continue
            if not isfinite(value):
                raise ValueError(f"{name} is {value}")
            if name not in CENTS:
                change(self, name, significant(float(value)))

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> Self:
        """Read a row from the columns of its table, which were checked and rounded when stored.

        Parameters
        ----------
        columns : values by name, as the driver gives them; times with a zone.

        Returns
        -------
        Row
            The row.

        Raises
        ------
        KeyError
            If a column is missing.
        ValueError
            If ``settled`` or ``detail`` has a key that this release does not know.
        """
        return cls.from_fields(
            {
                **columns,
                "flags": tuple(columns["flags"]),
                "settled": SettledFigures.from_json(columns["settled"]),
                "detail": DetailFigures.from_json(columns["detail"]),
            }
        )

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Make a row of fields that are checked and rounded already, each as the row holds it.

        Parameters
        ----------
        fields : a value for each field. Other names are left out.

        Returns
        -------
        Row
            The row.

        Raises
        ------
        KeyError
            If a field is missing.
        """
        row: Self = _make(_read(fields))
        return row

    def as_json(self) -> dict[str, Any]:
        """The row as plain values: times as ``2026-06-05T18:44:00Z``, dates as ISO."""
        return {f: _plain(getattr(self, f)) for f in COLUMNS}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        """Read a row from plain values, times and dates as ISO text.

        Parameters
        ----------
        values : the fields by name, as ``as_json`` writes them.

        Returns
        -------
        Row
            The row, checked and rounded again.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a field is missing, unknown, or not what it should be.
        """
        typed = _typed(values)
        typed["settled"] = SettledFigures.from_json(typed["settled"])
        typed["detail"] = DetailFigures.from_json(typed["detail"])
        return cls(**typed)

    @classmethod
    def from_wire(cls, values: Mapping[str, Any]) -> Row:
        """Read a row that was checked and rounded before it was sent.

        Fields of ``ADDED_COLUMNS`` may be missing.

        Parameters
        ----------
        values : the fields by name, as ``storage.record.wire`` writes them.

        Returns
        -------
        Row
            The row, equal to the one that was sent.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the values have other fields than a row, or one is not what it should be.
        """
        if len(values) != len(COLUMNS):
            values = {**_NOT_ADDED, **values}
        if len(values) != len(COLUMNS):
            raise ValueError(f"{len(values)} fields, not {len(COLUMNS)}")
        return cls.from_columns(_typed(values))


#: Field names in the order of the table's columns.
COLUMNS: tuple[str, ...] = tuple(f.name for f in dataclasses.fields(Row))
#: Fields that release 0.1 did not have: they are None where they are missing.
ADDED_COLUMNS: tuple[str, ...] = tuple(f.name for f in dataclasses.fields(Row) if f.default is None)
FLOATS: tuple[str, ...] = tuple(
    f.name for f in dataclasses.fields(Row) if str(f.type).startswith("float")
)
#: Dollars that are exact to the cent: 12 digits would not be enough.
CENTS = frozenset(name for name in FLOATS if name.startswith("hedge_flow"))
#: Fields that are kept as JSON objects.
JSON_COLUMNS: tuple[str, ...] = tuple(
    f.name for f in dataclasses.fields(Row) if str(f.type).startswith(("dict", "Settled", "Detail"))
)
MOMENTS: tuple[str, ...] = tuple(
    f.name for f in dataclasses.fields(Row) if str(f.type).startswith("datetime")
)


_NOT_ADDED: dict[str, Any] = dict.fromkeys(ADDED_COLUMNS)
_floats = operator.attrgetter(*FLOATS)
#: What reads all fields out of a mapping, and what makes a row of them.
_read, _make = operator.itemgetter(*COLUMNS), unchecked(Row)


def _typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A row's plain values with times and dates as such."""
    typed = dict(values)
    for name in MOMENTS:
        if typed[name] is not None:
            typed[name] = datetime.fromisoformat(typed[name])
    typed["expiration"] = date.fromisoformat(typed["expiration"])
    typed["flags"] = tuple(typed["flags"])
    return typed


def utc_text(moment: datetime) -> str:
    """Write a time as ``2026-06-05T18:44:00Z``; microseconds are left out.

    Parameters
    ----------
    moment : a time with a zone.

    Returns
    -------
    str
        The time in UTC, to the second.
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Figures):
        return value.as_json()
    return list(value) if isinstance(value, tuple) else value


#: Per-strike arrays of a profile beside ``strike``; flows and contracts count from the baseline.
PROFILE: tuple[str, ...] = (
    # Market.
    "iv",
    "own_iv",
    "call_delta",
    "gamma",
    "theta",
    "call_bid",
    "call_ask",
    "put_bid",
    "put_ask",
    "call_oi",
    "put_oi",
    "call_volume",
    "put_volume",
    # Flow.
    "call_signed",
    "put_signed",
    "call_flow",
    "put_flow",
    "gamma_flow",
    # Exposures of the live book, and of the settled one.
    "call_gex",
    "put_gex",
    "call_dex",
    "put_dex",
    "vex",
    "chex",
    "settled_call_gex",
    "settled_put_gex",
    "settled_call_dex",
    "settled_put_dex",
    "settled_vex",
    "settled_chex",
)


#: All arrays of a profile, as its table and its files have them.
PROFILE_ARRAYS = ("strike", *PROFILE)


class SlotRecord:
    """Everything that is stored of one slot, in one transaction.

    The evidence is the chain's columns and each contract's signed volume so far. The next slot is
    measured against it. It is packed when it is stored and unpacked when it is read.
    """

    __slots__ = ("_packed", "_state", "profile", "row")

    def __init__(
        self,
        *,
        row: Row,
        profile: dict[str, NDArray[np.float64]],
        evidence: bytes | None = None,
        state: tuple[dict[str, NDArray[Any]], dict[str, Any]] | None = None,
    ) -> None:
        """Take ``evidence`` as it was stored, or ``state``: named columns and their notes.

        With neither, the record has no chain, and its profile may be empty.
        """
        self.row = row
        #: ``strike`` ascending, and the arrays of ``PROFILE`` aligned with it.
        self.profile = profile
        self._packed = evidence
        self._state = state

    @property
    def has_chain(self) -> bool:
        """Whether the record has evidence."""
        return self._packed is not None or self._state is not None

    @property
    def evidence(self) -> bytes:
        """The evidence as it is stored; the same state gives the same bytes."""
        if self._packed is None:
            assert self._state is not None
            self._packed = packing.pack(self._state[0], **self._state[1])
        return self._packed

    @property
    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The evidence's columns and notes; ValueError if the stored bytes cannot be read."""
        if self._state is None:
            assert self._packed is not None
            self._state = packing.unpack(self._packed)
        return self._state


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A slot that has no row, and why."""

    symbol: str
    expiration: date
    slot: datetime
    reason: Reason
    #: What happened, in a sentence of at most 500 characters; empty where the reason is enough.
    detail: str = ""
    #: Where nothing expires on the day (``no_zero_dte``): the next day on which something of the
    #: symbol does, New York. None: the source lists none, or an older release wrote the gap.
    next_expiry: date | None = None
    #: The feed that gave no row. Empty where an older release wrote the gap: the store takes the
    #: feed that it shows of the session.
    source: str = ""

    def __post_init__(self) -> None:
        # The words may come from a vendor: characters that no database stores are replaced.
        words = self.detail[:500].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
        object.__setattr__(self, "detail", words)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Gap:
        """Read a gap from plain values, times and dates as ISO text.

        Parameters
        ----------
        values : the fields by name.

        Returns
        -------
        Gap
            The gap.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a field is missing, or not what it should be. ``next_expiry`` and ``source`` may be
            missing: older releases did not write them.
        """
        upcoming = values.get("next_expiry")
        return cls(
            symbol=values["symbol"],
            expiration=date.fromisoformat(values["expiration"]),
            slot=datetime.fromisoformat(values["slot"]),
            reason=Reason(values["reason"]),
            detail=values["detail"],
            next_expiry=None if upcoming is None else date.fromisoformat(upcoming),
            source=values.get("source", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one transaction changed of one symbol, of all its feeds.

    Consecutive changes may be merged into one. A reader whose cursor is ``after`` sets it to
    ``revision`` once it has applied the change. A row removes the gap of its slot. A row or gap
    that changed comes again, whole, under its new revision.
    """

    symbol: str
    #: The symbol's newest revision before the change; 0 for none.
    after: int
    #: The symbol's newest revision after the change.
    revision: int
    #: Revision and row, ascending by revision.
    rows: tuple[tuple[int, Row], ...] = ()
    #: Revision and gap, ascending by revision.
    gaps: tuple[tuple[int, Gap], ...] = ()
