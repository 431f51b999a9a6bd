"""Slot records and gaps that are written together, and the same as bytes for the spool.

Layout: one JSON line (mode, rows, gaps, sizes), then each record's packed profile and evidence.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from storage.record import packing as columns
from storage.record.row import COLUMNS, PROFILE, Gap, Row, SlotRecord

_GAP = ("symbol", "expiration", "slot", "reason", "detail")
#: What a row and a profile consist of: bytes of another release's fields are not ours to read.
FIELDS = f"{zlib.crc32(' '.join((*COLUMNS, 'strike', *PROFILE, *_GAP)).encode()):08x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What goes into one transaction; ``mode`` says what happens to a slot that has a row."""

    records: Sequence[SlotRecord] = ()
    gaps: Sequence[Gap] = ()
    mode: str = "keep"
    #: Where it lies in the spool, for who takes it off again.
    place: Any = field(default=None, compare=False)

    @property
    def slots(self) -> list[tuple[str, datetime]]:
        """Symbol and slot of everything in it."""
        rows = [(record.row.symbol, record.row.slot) for record in self.records]
        return rows + [(gap.symbol, gap.slot) for gap in self.gaps]

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        arrays = sum(a.nbytes for r in self.records for a in r.profile.values())
        return arrays + sum(len(r.evidence) + 4_000 for r in self.records) + 300 * len(self.gaps)


def encode(batch: Batch) -> bytes:
    """A batch as bytes; ``decode`` gives it back, equal to the last digit."""
    blobs: list[bytes] = []
    for record in batch.records:
        profile = {name: np.asarray(a, np.float64) for name, a in record.profile.items()}
        blobs += [columns.pack(profile), record.evidence]
    head = {
        "mode": batch.mode,
        "rows": [{name: getattr(r.row, name) for name in COLUMNS} for r in batch.records],
        "gaps": [{name: getattr(gap, name) for name in _GAP} for gap in batch.gaps],
        "sizes": [len(blob) for blob in blobs],
    }
    line = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([line, b"\n", *blobs])


def decode(data: bytes, place: Any = None) -> Batch:
    """The batch of ``encode``.

    Raises
    ------
    ValueError
        If the bytes are none.
    """
    line, _, body = data.partition(b"\n")
    try:
        head = orjson.loads(line)
        blobs, at = [], 0
        for size in head["sizes"]:
            blobs.append(body[at : at + size])
            at += size
        records = [
            SlotRecord(row=Row.read(values), profile=columns.unpack(profile)[0], evidence=evidence)
            for values, profile, evidence in zip(head["rows"], blobs[::2], blobs[1::2], strict=True)
        ]
        gaps = [Gap.read(values) for values in head["gaps"]]
        return Batch(records=records, gaps=gaps, mode=head["mode"], place=place)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a batch: {error!r}") from error
