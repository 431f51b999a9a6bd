"""A ``Change`` as bytes: what the live channel carries."""

from __future__ import annotations

import orjson

from storage.record.row import COLUMNS, Change, Gap, Row

_GAP = ("symbol", "expiration", "slot", "reason", "detail")


def encode(change: Change) -> bytes:
    """JSON; times keep their microseconds, so that a row comes out as it went in."""
    return orjson.dumps(
        {
            "symbol": change.symbol,
            "after": change.after,
            "revision": change.revision,
            "rows": [[n, {name: getattr(row, name) for name in COLUMNS}] for n, row in change.rows],
            "gaps": [[n, {name: getattr(gap, name) for name in _GAP}] for n, gap in change.gaps],
        },
        option=orjson.OPT_UTC_Z,
    )


def decode(body: bytes) -> Change:
    """A change as it was encoded.

    Raises
    ------
    ValueError
        If the bytes are none, or of a release with other rows.
    """
    try:
        read = orjson.loads(body)
        return Change(
            symbol=str(read["symbol"]),
            after=int(read["after"]),
            revision=int(read["revision"]),
            rows=tuple((n, Row.carried(row)) for n, row in read["rows"]),
            gaps=tuple((n, Gap.read(gap)) for n, gap in read["gaps"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a change: {error}") from error
