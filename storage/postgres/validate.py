"""Which records of a batch can be stored, and which one counts of several of a slot."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from psycopg import errors as pg

from storage.record.mode import WriteMode
from storage.record.result import Refusal
from storage.record.row import FLOATS, Gap, Row, SlotRecord

_FLOATS = operator.attrgetter(*FLOATS)
#: The integer columns, and those of them that have eight bytes in the table.
_WHOLE = tuple(f.name for f in dataclasses.fields(Row) if f.type == "int")
_LONG = frozenset(n for n in _WHOLE if n.endswith(("_oi", "_volume")))
_INTEGERS = operator.attrgetter(*_WHOLE)

SlotKey = tuple[str, date, str, datetime]


def slot_key(item: Row | Gap) -> SlotKey:
    """Return the primary key of a slot: symbol, expiration, feed, slot.

    Parameters
    ----------
    item : a row or a gap.

    Returns
    -------
    tuple
        Symbol, expiration, feed and slot.
    """
    return item.symbol, item.expiration, item.source, item.slot


def returned_key(row: Mapping[str, Any]) -> SlotKey:
    """Return the primary key of a row that a query returned.

    Parameters
    ----------
    row : the columns by name.

    Returns
    -------
    tuple
        Symbol, expiration, feed and slot.
    """
    return row["symbol"], row["expiration"], row["source"], row["slot"]


class InvalidRecord(ValueError):
    """A record has a value that no database could store."""


#: Errors that a value causes. They say nothing about the state of the database.
VALUE_ERRORS = (
    InvalidRecord,
    pg.DataError,
    pg.IntegrityError,
    pg.ProgramLimitExceeded,
    pg.RaiseException,
    TypeError,
    OverflowError,
    UnicodeEncodeError,
)


def refusal_reason(error: Exception) -> str:
    """Return the sentence that says why a record or gap was not written.

    Parameters
    ----------
    error : one of ``VALUE_ERRORS``.

    Returns
    -------
    str
        The sentence, in one line.
    """
    if isinstance(error, InvalidRecord):
        return str(error)
    return f"the database refused: {str(error).strip().splitlines()[0]}"


def validate_batch(
    records: Sequence[SlotRecord], gaps: Sequence[Gap], mode: WriteMode
) -> tuple[list[SlotRecord], list[Gap], list[Refusal]]:
    """Keep one record and one gap of each slot, and refuse what no database could store.

    Parameters
    ----------
    records, gaps : what is to be written. Of several records of a slot the mode's conflict rule
        picks one, as it would if they were written one after another. Of several gaps of a slot the
        last one counts.
    mode : how the records are written.

    Returns
    -------
    tuple
        The records, the gaps, and a refusal of each record or gap that has a value which cannot be
        stored: a number that is not finite or too large, or a symbol with a NUL character or a
        lone surrogate.
    """
    chosen: dict[SlotKey, SlotRecord] = {}
    marks: dict[SlotKey, Gap] = {}
    refused = []
    items: list[SlotRecord | Gap] = [*records, *gaps]
    for item in items:
        try:
            if isinstance(item, Gap):
                _require_key(item)
                marks[slot_key(item)] = item
                continue
            _require_key(item.row)
            _require_numbers(item.row)
        except (InvalidRecord, TypeError, AttributeError) as error:
            refused.append(Refusal(item, str(error)))
            continue
        earlier = chosen.setdefault(slot_key(item.row), item)
        if earlier is not item and mode.rule.replaces(
            backfilled=mode.backfills,
            stored_at=earlier.row.quoted_at,
            offered_at=item.row.quoted_at,
        ):
            chosen[slot_key(item.row)] = item
    return list(chosen.values()), list(marks.values()), refused


def _require_key(item: Row | Gap) -> None:
    for name in ("symbol", "source"):
        text = getattr(item, name)
        # No database stores NUL, nor half of a surrogate pair, which UTF-8 cannot encode.
        if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InvalidRecord(f"{name} is {text!r}")


def _require_numbers(row: Row) -> None:
    for name, value in zip(FLOATS, _FLOATS(row), strict=True):
        # Only a finite number minus itself is zero; this is faster than isfinite.
        if value is not None and value - value != 0:
            raise InvalidRecord(f"{name} is {value}")
    for name, value in zip(_WHOLE, _INTEGERS(row), strict=True):
        # In binary COPY a number that is too large would be truncated silently.
        if not -(2**31) <= value < 2**31 and not (name in _LONG and -(2**63) <= value < 2**63):
            raise InvalidRecord(f"{name} is {value}")
