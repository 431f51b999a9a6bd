"""``parquet:FOLDER``: chains that ``flow-store export`` has written, under their feed's own name.

What other expiries added and what had been dropped comes with them, so that a backfill from them
makes the same rows to the byte.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from sampler.chain import QUOTES, Frame
from sampler.errors import ChainRefused
from sampler.sources import url
from storage.errors import FlowError, UsageError
from storage.market.calendar import Session, to_new_york
from storage.parquet import read as parquet
from storage.parquet.read import ParquetPartition, StoredChain
from storage.record.row import Reason

_RIGHTS = np.array([[1], [-1]], np.int8)


class ExportedChains:
    """A folder of exports. Its age is measured against the tick's clock: it declares no delay."""

    remote = False
    delay_seconds = 0

    def __init__(
        self, folder: Path, parts: list[ParquetPartition], *, name: str, synthetic: bool
    ) -> None:
        self.name = name
        self.synthetic = synthetic
        self._folder = folder
        self._parts = parts

    @classmethod
    def open(cls, rest: str) -> Self:
        """``parquet:FOLDER``; UsageError if nothing in it is an export."""
        path, _ = url.split_options(rest)
        folder = Path(path).expanduser()
        if not path or not folder.is_dir():
            raise UsageError(f"parquet: no such folder: {path or '(empty)'}")
        try:
            parts = parquet.list_partitions(folder)
            dataset, feed = parquet.dataset_and_feed(parts[0]) if parts else ("live", "parquet")
        except FlowError as error:
            raise UsageError(f"parquet: {error}") from error
        return cls(folder, parts, name=feed, synthetic=dataset == "synthetic")

    def newest(self, symbol: str) -> datetime | None:
        """When the newest chain of a symbol was quoted; None if there is none."""
        own = [part for part in self._parts if part.symbol == symbol]
        return parquet.read_quote_times(own[-1])[-1] if own else None

    async def live(self, symbol: str, now: datetime) -> Frame:
        """The newest chain that was quoted by ``now``."""
        known = None
        day = to_new_york(now).date()
        own = [part for part in self._parts if part.symbol == symbol and part.day <= day]
        for part in reversed(own):
            for frame in _frames(part):
                if frame.quoted_at <= now:
                    known = frame
            if known is not None:
                return known
        at = to_new_york(now).strftime("%Y-%m-%d %H:%M:%S")
        raise ChainRefused(
            Reason.SOURCE_DOWN,
            f"{symbol}: no chain quoted by {at} New York in {self._folder.name}",
        )

    async def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """All chains of a session, in order."""
        part = ParquetPartition(self._folder, session.day, symbol)
        if part not in self._parts:
            return
        try:
            for frame in _frames(part):
                yield frame
        except ChainRefused as refusal:
            yield refusal

    async def close(self) -> None:
        """Nothing is held open."""


def _frames(part: ParquetPartition) -> Iterator[Frame]:
    try:
        for kept in parquet.read_chains(part):
            yield _frame(kept)
    except FlowError as error:
        raise ChainRefused(Reason.BAD_ANSWER, str(error)) from error
    except (KeyError, TypeError, ValueError) as error:
        why = f"{part.path('chains')}: not a chain: {error}"
        raise ChainRefused(Reason.BAD_ANSWER, why) from error


def _frame(kept: StoredChain) -> Frame:
    columns, notes = kept.columns, kept.notes
    listed = columns["listed"]
    strike = np.broadcast_to(columns["strike"], listed.shape)[listed]
    found: dict[str, Any] = {name: columns[name][listed] for name in QUOTES}
    return Frame.of(
        symbol=notes["symbol"],
        source=notes["source"],
        delay_seconds=notes["delay_seconds"],
        quoted_at=datetime.fromisoformat(notes["quoted_at"]),
        fetched_at=datetime.fromisoformat(notes["fetched_at"]),
        spot=float("nan") if notes["spot"] is None else notes["spot"],
        columns=found
        | {
            "strike": strike,
            "right": np.broadcast_to(_RIGHTS, listed.shape)[listed],
            "expiry": np.full(len(strike), notes["expiration"], "datetime64[D]"),
        },
        dropped=notes["dropped"],
        other_expiries=kept.other_expiries,
    )
