"""How records, gaps and changes travel as bytes: batches to the spool, changes to the live channel.

A batch is one JSON line (mode, rows, gaps, sizes), then each record's packed profile and evidence.
A change is one JSON document.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from storage.record import packing
from storage.record.mode import WriteMode
from storage.record.row import ADDED_COLUMNS, COLUMNS, PROFILE, Change, Gap, Row, SlotRecord

#: What every release writes of a gap; fields that came later may be missing.
_GAP = ("symbol", "expiration", "slot", "reason", "detail")
#: What every release writes of a row; fields that came later may be missing.
_ROW = tuple(name for name in COLUMNS if name not in ADDED_COLUMNS)
#: Checksum of the field names that every release writes of rows, profiles and gaps: a spool file
#: names it, and a release with others refuses the file.
BATCH_FIELDS = f"{zlib.crc32(' '.join((*_ROW, 'strike', *PROFILE, *_GAP)).encode()):08x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction writes. ``mode`` says what happens to a slot that has a row already."""

    records: Sequence[SlotRecord] = ()
    gaps: Sequence[Gap] = ()
    mode: WriteMode = WriteMode.KEEP
    #: Where the batch lies in the spool, so that the spool can take it off again.
    place: Any = field(default=None, compare=False)

    @property
    def slots(self) -> list[tuple[str, datetime]]:
        """Symbol and slot of every record and gap."""
        return [(symbol, slot) for symbol, _, slot in self.feed_slots]

    @property
    def feed_slots(self) -> list[tuple[str, str, datetime]]:
        """Symbol, feed and slot of every record and gap."""
        items: list[Row | Gap] = [*(record.row for record in self.records), *self.gaps]
        return [(item.symbol, item.source, item.slot) for item in items]

    @property
    def size(self) -> int:
        """An estimate of the memory that the batch takes. [bytes]"""
        arrays = sum(a.nbytes for r in self.records for a in r.profile.values())
        return arrays + sum(len(r.evidence) + 4_000 for r in self.records) + 300 * len(self.gaps)


def _gap_values(gap: Gap) -> dict[str, Any]:
    return {name: getattr(gap, name) for name in (*_GAP, "next_expiry", "source")}


def encode_batch(batch: Batch) -> bytes:
    """Encode a batch. ``decode_batch`` gives an equal one back, to the last digit.

    Parameters
    ----------
    batch : records and gaps, and the mode to write them in.

    Returns
    -------
    bytes
        One JSON line, then each record's packed profile and evidence.
    """
    blobs: list[bytes] = []
    for record in batch.records:
        profile = {name: np.asarray(a, np.float64) for name, a in record.profile.items()}
        blobs += [packing.pack(profile), record.evidence]
    head = {
        "mode": batch.mode,
        "rows": [{name: getattr(r.row, name) for name in COLUMNS} for r in batch.records],
        "gaps": [_gap_values(gap) for gap in batch.gaps],
        "sizes": [len(blob) for blob in blobs],
    }
    line = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([line, b"\n", *blobs])


def decode_batch(data: bytes, place: Any = None) -> Batch:
    """Decode what ``encode_batch`` made.

    Parameters
    ----------
    data : the encoded batch.
    place : where the batch lies in the spool; it becomes ``Batch.place``.

    Returns
    -------
    Batch
        The batch.

    Raises
    ------
    ValueError
        If the bytes are not an encoded batch.
    """
    line, _, body = data.partition(b"\n")
    try:
        head = orjson.loads(line)
        blobs, start = [], 0
        for size in head["sizes"]:
            blobs.append(body[start : start + size])
            start += size
        records = [
            SlotRecord(
                row=Row.from_json(values), profile=packing.unpack(profile)[0], evidence=evidence
            )
            for values, profile, evidence in zip(head["rows"], blobs[::2], blobs[1::2], strict=True)
        ]
        gaps = [Gap.from_json(values) for values in head["gaps"]]
        return Batch(records=records, gaps=gaps, mode=WriteMode(head["mode"]), place=place)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a batch: {error!r}") from error


def encode_change(change: Change) -> bytes:
    """Encode a change as JSON. Times keep their microseconds, so that rows come back equal.

    Parameters
    ----------
    change : rows and gaps of one symbol, with their revisions.

    Returns
    -------
    bytes
        One JSON document.
    """
    return orjson.dumps(
        {
            "symbol": change.symbol,
            "after": change.after,
            "revision": change.revision,
            "rows": [[n, {name: getattr(row, name) for name in COLUMNS}] for n, row in change.rows],
            "gaps": [[n, _gap_values(gap)] for n, gap in change.gaps],
        },
        option=orjson.OPT_UTC_Z,
    )


def decode_change(body: bytes) -> Change:
    """Decode what ``encode_change`` made.

    Parameters
    ----------
    body : what ``encode_change`` returned.

    Returns
    -------
    Change
        The change, equal to the one that was encoded.

    Raises
    ------
    ValueError
        If the bytes are not an encoded change, or a release with other rows made them.
    """
    try:
        values = orjson.loads(body)
        return Change(
            symbol=str(values["symbol"]),
            after=int(values["after"]),
            revision=int(values["revision"]),
            rows=tuple((n, Row.from_wire(row)) for n, row in values["rows"]),
            gaps=tuple((n, Gap.from_json(gap)) for n, gap in values["gaps"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a change: {error}") from error
