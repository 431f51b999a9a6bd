"""Which records can be stored at all, and which one counts of several of a slot."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from datetime import date, datetime

from psycopg import errors as pg

from storage.record.mode import WriteMode
from storage.record.result import Refusal
from storage.record.row import FLOATS, Gap, Row, SlotRecord

_FLOATS = operator.attrgetter(*FLOATS)
#: Whole numbers, and those that the table has eight bytes for.
_WHOLE = tuple(f.name for f in dataclasses.fields(Row) if f.type == "int")
_LONG = frozenset(n for n in _WHOLE if n.endswith(("_oi", "_volume")))
_INTEGERS = operator.attrgetter(*_WHOLE)

SlotKey = tuple[str, date, datetime]


def slot_key(one: Row | Gap) -> SlotKey:
    """What a slot is known by."""
    return one.symbol, one.expiration, one.slot


class InvalidRecord(ValueError):
    """A value of a record is nothing to store."""


#: What a database or its driver says about a value, not about itself.
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
    """Why something was not written."""
    if isinstance(error, InvalidRecord):
        return str(error)
    return f"the database refused: {str(error).strip().splitlines()[0]}"


def validate_batch(
    records: Sequence[SlotRecord], gaps: Sequence[Gap], mode: WriteMode
) -> tuple[list[SlotRecord], list[Gap], list[Refusal]]:
    """Of each slot the record that counts, and the gap; and what nothing can be made of."""
    kept: dict[SlotKey, SlotRecord] = {}
    marks: dict[SlotKey, Gap] = {}
    refused = []
    every: list[SlotRecord | Gap] = [*records, *gaps]
    for one in every:
        try:
            if isinstance(one, Gap):
                _require_name(one)
                marks[slot_key(one)] = one
                continue
            _require_name(one.row)
            _require_numbers(one.row)
        except (InvalidRecord, TypeError, AttributeError) as error:
            refused.append(Refusal(one, str(error)))
            continue
        there = kept.setdefault(slot_key(one.row), one)
        if mode in (WriteMode.REWRITE, WriteMode.REPLACE) or (
            mode != WriteMode.KEEP and one.row.quoted_at > there.row.quoted_at
        ):
            kept[slot_key(one.row)] = one
    return list(kept.values()), list(marks.values()), refused


def _require_name(one: Row | Gap) -> None:
    if "\x00" in one.symbol:
        raise InvalidRecord(f"symbol is {one.symbol!r}")


def _require_numbers(row: Row) -> None:
    for name, value in zip(FLOATS, _FLOATS(row), strict=True):
        # What subtracts to zero is finite.
        if value is not None and value - value != 0:
            raise InvalidRecord(f"{name} is {value}")
    for name, value in zip(_WHOLE, _INTEGERS(row), strict=True):
        # Sent in binary, a number too large would be cut to size.
        if not -(2**31) <= value < 2**31 and not (name in _LONG and -(2**63) <= value < 2**63):
            raise InvalidRecord(f"{name} is {value}")
