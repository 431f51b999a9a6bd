"""Windows of a session: bars, their profiles, and single moments. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import DictRow

from storage.postgres.binary import read_array
from storage.postgres.pool import Pool, session_bounds
from storage.postgres.queries import query
from storage.record.row import PROFILE_ARRAYS, Row, SlotRecord


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProfileRow:
    """One bucket of a window by strike."""

    bucket: datetime
    #: The sample that stands for it.
    slot: datetime
    spot: float
    oi_confidence: float
    #: The arrays asked for, by name; empty where the row was stored without a profile.
    arrays: dict[str, NDArray[np.float64]]


class WindowReader(Pool):
    """What is read of one session between two moments."""

    async def window(
        self,
        symbol: str,
        expiration: date,
        *,
        start: datetime,
        until: datetime,
        width: timedelta,
        columns: Sequence[str],
    ) -> list[DictRow]:
        """The last row of each bucket of a half-open window, in order.

        Each has ``bucket`` (its start), the columns asked for, and the bucket's newest
        ``revision``. Buckets align to the clock.
        """
        return await self._all(
            query("window", columns),
            symbol=symbol,
            expiration=expiration,
            start=start,
            until=until,
            width=width,
        )

    async def profiles(
        self,
        symbol: str,
        expiration: date,
        *,
        start: datetime,
        until: datetime,
        width: timedelta,
        columns: Sequence[str],
    ) -> list[ProfileRow]:
        """The last row of each bucket of a half-open window, in order, with its arrays.

        ``columns`` are names of ``PROFILE_ARRAYS``; buckets are those of ``window``.
        """
        rows = await self._all(
            query("profiles", arrays=columns),
            binary=True,
            symbol=symbol,
            expiration=expiration,
            start=start,
            until=until,
            width=width,
        )
        return [_profiled(row, columns) for row in rows]

    async def profile_before(
        self, symbol: str, expiration: date, before: datetime, *, columns: Sequence[str]
    ) -> ProfileRow | None:
        """What an increment counts from: the newest row before a moment, else the session's first.

        None where the session has no row.
        """
        found = await self._one(
            query("profile_before", arrays=columns),
            binary=True,
            **session_bounds(symbol, expiration),
            before=before,
        )
        return None if found is None else _profiled(found, columns)

    async def figures_before(
        self, symbol: str, expiration: date, before: datetime, *, columns: Sequence[str]
    ) -> DictRow | None:
        """Columns of a session's newest row before a moment."""
        return await self._one(
            query("figures_before", columns), **session_bounds(symbol, expiration), before=before
        )

    async def moment(
        self, symbol: str, expiration: date, until: datetime | None = None
    ) -> SlotRecord | None:
        """A session's newest row and its profile, without evidence; None without one.

        With ``until``, the newest of those that were quoted by then. A row that was stored without
        a profile has empty arrays.
        """
        found = await self._one(
            query("moment"), binary=True, **session_bounds(symbol, expiration), until=until
        )
        if found is None:
            return None
        profile = {name: read_array(found[f"p_{name}"]) for name in PROFILE_ARRAYS}
        return SlotRecord(row=Row.from_columns(found), profile=profile)


def _profiled(found: DictRow, columns: Sequence[str]) -> ProfileRow:
    return ProfileRow(
        bucket=found["bucket"],
        slot=found["slot"],
        spot=found["spot"],
        oi_confidence=found["oi_confidence"],
        arrays={name: read_array(found[f"p_{name}"]) for name in columns},
    )
