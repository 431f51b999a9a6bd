"""``parquet:FOLDER``: chains that ``flow-store export`` has written, under their feed's own name.

What other expiries added and what had been dropped comes with them, so that a backfill from them
makes the same rows to the byte.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np

from sampler.chain import MULTI_LEG_VOLUME, QUOTES, Frame
from sampler.errors import ChainRefused, no_chain_quoted_by
from sampler.sources import url
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.errors import FlowError, UsageError
from storage.market.calendar import Session, to_new_york
from storage.parquet import read as parquet
from storage.parquet.read import ParquetPartition, StoredChain
from storage.record.row import Reason

_RIGHTS = np.array([[1], [-1]], np.int8)


class ExportedChains:
    """A folder of exports. Its age is measured against the tick's clock: it declares no delay."""

    facts = "as it was sampled; past sessions: those of the files"
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
    def open(cls, rest: str, keys: VendorKeys = NO_KEYS) -> Self:
        """Open what follows ``parquet:``.

        Parameters
        ----------
        rest : the folder of exports, and ``?feed=`` where a session was exported of several.
        keys : not needed.

        Returns
        -------
        ExportedChains
            The source, under the name of the feed that was exported.

        Raises
        ------
        UsageError
            If there is no such folder, nothing in it is an export, or a session is of two feeds.
        """
        path, options = url.split_options(rest, feed="")
        folder = Path(path).expanduser()
        if not path or not folder.is_dir():
            raise UsageError(f"parquet: no such folder: {path or '(empty)'}")
        try:
            parts = parquet.list_partitions(folder)
            if wanted := options["feed"]:
                parts = [p for p in parts if (p.feed or parquet.dataset_and_feed(p)[1]) == wanted]
            _require_one_feed(parts)
            dataset, feed = parquet.dataset_and_feed(parts[0]) if parts else ("live", "parquet")
        except FlowError as error:
            raise UsageError(f"parquet: {error}") from error
        return cls(folder, parts, name=feed, synthetic=dataset == "synthetic")

    def newest(self, symbol: str) -> datetime | None:
        """Return when the newest chain of a symbol was quoted.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        datetime or None
            UTC; None if there is no chain.
        """
        sessions = [partition for partition in self._parts if partition.symbol == symbol]
        return parquet.read_quote_times(sessions[-1])[-1] if sessions else None

    async def live(self, symbol: str, now: datetime) -> Frame:
        """Return the newest readable chain that was quoted by a time.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            The chain.

        Raises
        ------
        ChainRefused
            ``bad_answer`` for an export that cannot be read, ``source_down`` without a chain.
        """
        newest = None
        day = to_new_york(now).date()
        sessions = [p for p in self._parts if p.symbol == symbol and p.day <= day]
        for partition in reversed(sessions):
            for frame in _frames(partition):
                if isinstance(frame, Frame) and frame.quoted_at <= now:
                    newest = frame
            if newest is not None:
                return newest
        raise no_chain_quoted_by(now, symbol, self._folder.name)

    async def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """Yield the chains of a session in order, and a refusal in place of an unreadable one.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Yields
        ------
        Frame or ChainRefused
            A chain, or ``bad_answer``.
        """
        for partition in self._parts:
            if (partition.day, partition.symbol) != (session.day, symbol):
                continue
            try:
                for frame in _frames(partition):
                    yield frame
            except ChainRefused as refusal:
                yield refusal

    async def close(self) -> None:
        """Nothing is held open."""


def _require_one_feed(parts: list[ParquetPartition]) -> None:
    for first, other in pairwise(parts):
        if (first.day, first.symbol) == (other.day, other.symbol):
            feeds = " and ".join(p.feed or parquet.dataset_and_feed(p)[1] for p in (first, other))
            raise UsageError(
                f"parquet: {first.symbol} {first.day} was exported of {feeds}:"
                " choose one with ?feed="
            )


def _frames(partition: ParquetPartition) -> Iterator[Frame | ChainRefused]:
    """Yield a session's chains; a chain that cannot be read is a refusal in its place.

    Raises
    ------
    ChainRefused
        ``bad_answer`` for files that cannot be read.
    """
    try:
        for stored in parquet.read_chains(partition):
            try:
                yield _frame(partition, stored)
            except FlowError as error:
                yield ChainRefused(Reason.BAD_ANSWER, str(error))
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
                why = f"{partition.path('chains')}: not a chain: {error}"
                yield ChainRefused(Reason.BAD_ANSWER, why)
    except FlowError as error:
        raise ChainRefused(Reason.BAD_ANSWER, str(error)) from error


def _frame(partition: ParquetPartition, stored: StoredChain | FlowError) -> Frame:
    if isinstance(stored, FlowError):
        raise stored
    columns, notes = stored.columns, stored.notes
    if notes["symbol"] != partition.symbol or notes["expiration"] != str(partition.day):
        raise ValueError(f"it is of {notes['symbol']!r}, expiring {notes['expiration']!r}")
    listed = columns["listed"].astype(np.bool_)
    if columns["strike"].shape != listed.shape[1:]:
        raise ValueError(f"{len(columns['strike'])} strikes for {listed.shape[1]} contracts a side")
    strike = np.broadcast_to(columns["strike"], listed.shape)[listed]
    quotes: dict[str, Any] = {name: columns[name][listed] for name in QUOTES}
    if MULTI_LEG_VOLUME in columns:
        quotes[MULTI_LEG_VOLUME] = columns[MULTI_LEG_VOLUME][listed]
    return Frame.of(
        symbol=partition.symbol,
        source=str(notes["source"]),
        delay_seconds=int(notes["delay_seconds"]),
        quoted_at=_moment(notes["quoted_at"]),
        fetched_at=_moment(notes["fetched_at"]),
        spot=float("nan") if notes["spot"] is None else float(notes["spot"]),
        underlying_at=_moment(moment) if (moment := notes.get("underlying_at")) else None,
        columns=quotes
        | {
            "strike": strike,
            "right": np.broadcast_to(_RIGHTS, listed.shape)[listed],
            "expiry": np.full(len(strike), partition.day, "datetime64[D]"),
        },
        dropped={str(drop): int(count) for drop, count in notes["dropped"].items()},
        other_expiries=stored.other_expiries,
        pages_seconds=notes.get("pages_seconds"),
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time without its offset: {text[:40]!r}")
    return moment
