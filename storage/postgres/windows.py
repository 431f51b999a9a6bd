"""Read windows of a session: buckets, their profiles, and single moments."""

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
    """One bucket of a window: its last sample, by strike."""

    bucket: datetime
    #: The slot of the bucket's last row.
    slot: datetime
    spot: float
    oi_confidence: float
    #: The selected arrays of the profile, by name; empty if the row was stored without a profile.
    arrays: dict[str, NDArray[np.float64]]


class WindowReader(Pool):
    """Reads what a session has between two moments."""

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
        """Return the last row of each bucket of a window, in order of time.

        Parameters
        ----------
        symbol, expiration : the session.
        start, until : the window; ``until`` is not part of it.
        width : the length of a bucket. Buckets align to the clock.
        columns : the row's columns to read.

        Returns
        -------
        list of dict
            The columns, ``bucket`` (where the bucket starts) and ``revision`` (the newest one of
            all rows of the bucket). A bucket without a row is left out.
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
        """Return the last row of each bucket of a window with arrays of its profile.

        Parameters
        ----------
        symbol, expiration : the session.
        start, until : the window; ``until`` is not part of it.
        width : the length of a bucket. Buckets align to the clock.
        columns : names of ``PROFILE_ARRAYS``.

        Returns
        -------
        list of ProfileRow
            One a bucket that has a row, in order of time.
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
        """Return the baseline of an increment: the newest row before a moment, with its arrays.

        If no row is earlier, it is the session's first row; None if the session has no row.

        Parameters
        ----------
        symbol, expiration : the session.
        before : the moment, UTC.
        columns : names of ``PROFILE_ARRAYS``.

        Returns
        -------
        ProfileRow or None
            The row with its arrays.
        """
        selected = await self._one(
            query("profile_before", arrays=columns),
            binary=True,
            **session_bounds(symbol, expiration),
            before=before,
        )
        return None if selected is None else _profiled(selected, columns)

    async def session_heads(self, expiration: date) -> list[DictRow]:
        """Return how far each symbol's session on a day is: ``symbol``, ``source``, ``revision``.

        Parameters
        ----------
        expiration : the day.

        Returns
        -------
        list of dict
            One a symbol that has rows, of the feed that is shown.
        """
        return await self._all(query("session_heads"), expiration=expiration)

    async def samples(
        self,
        symbol: str,
        expiration: date,
        source: str,
        *,
        after: datetime | None = None,
        columns: Sequence[str],
        arrays: Sequence[str],
    ) -> list[tuple[datetime, DictRow, dict[str, NDArray[np.float64]]]]:
        """Return rows of a session after a slot, in order, with arrays of their profiles.

        Parameters
        ----------
        symbol, expiration, source : the session.
        after : the slot; None for all rows.
        columns : the row's columns to read.
        arrays : names of ``PROFILE_ARRAYS``.

        Returns
        -------
        list of tuple
            Slot, columns by name, and arrays by name, which are empty where no profile is stored.
        """
        bounds = session_bounds(symbol, expiration)
        rows = await self._all(
            query("samples", columns, arrays=arrays),
            binary=True,
            **bounds | {"source": source, "after": after or bounds["first"]},
        )
        return [
            (row["slot"], row, {name: read_array(row[f"p_{name}"]) for name in arrays})
            for row in rows
        ]

    async def flow_history(
        self,
        symbol: str,
        source: str,
        before: date,
        *,
        count: int,
        definitions: str,
        without: Sequence[str],
    ) -> dict[date, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return the hedge flow of a symbol's newest sessions before a day.

        Parameters
        ----------
        symbol, source : the symbol and the feed.
        before : the day.
        count : how many sessions.
        definitions : only rows that were computed by this version of the formulas.
        without : only rows without any of these flags.

        Returns
        -------
        dict
            By day: the slots [s since 1970], ascending, and the flow since the open [$].
        """
        rows = await self._all(
            query("flow_history"),
            binary=True,
            symbol=symbol,
            source=source,
            before=before,
            count=count,
            definitions=definitions,
            without=list(without),
        )
        return {
            row["expiration"]: (read_array(row["slots"]), read_array(row["flow"])) for row in rows
        }

    async def pressure(self, symbol: str, expiration: date, *, until: datetime) -> list[DictRow]:
        """Return what a session's samples before a moment say of pressure, in order.

        Parameters
        ----------
        symbol, expiration : the session.
        until : the moment, UTC; it is not part of it.

        Returns
        -------
        list of dict
            ``slot``, ``hedge_flow_cumulative_all``, ``hedge_flow_se`` [$], ``classified_share``,
            ``multi_leg_share`` [0-1] and ``total_volume`` [contracts] of each sample.
        """
        bounds = session_bounds(symbol, expiration)
        return await self._all(query("pressure"), **bounds | {"until": until})

    async def earlier_sessions(
        self, symbol: str, source: str, before: date, *, count: int
    ) -> list[tuple[date, int]]:
        """Return the newest sessions of a symbol and feed before a day.

        Parameters
        ----------
        symbol, source : the symbol and the feed.
        before : the day.
        count : how many sessions at most.

        Returns
        -------
        list of tuple
            Each session's day and newest revision, the newest day first.
        """
        rows = await self._all(
            query("earlier_sessions"), symbol=symbol, source=source, before=before, count=count
        )
        return [(row["expiration"], row["revision"]) for row in rows]

    async def projection(
        self,
        symbol: str,
        expiration: date,
        *,
        moment: datetime | None,
        columns: Sequence[str],
    ) -> DictRow | None:
        """Return a session's newest row that has a projection; None without one.

        Parameters
        ----------
        symbol, expiration : the session.
        moment : nothing that was quoted later, UTC; None for the newest.
        columns : the row's columns to read.

        Returns
        -------
        dict or None
            The columns by name, and ``projection`` as it is stored.
        """
        return await self._one(
            query("projection", columns), **session_bounds(symbol, expiration), moment=moment
        )

    async def stored_heads(self, symbol: str, until: date, *, count: int) -> list[DictRow]:
        """Return the newest sessions of a symbol up to a day, the newest first.

        Parameters
        ----------
        symbol : the underlying.
        until : the last day that counts.
        count : how many sessions at most.

        Returns
        -------
        list of dict
            ``expiration``, ``source``, ``first_slot``, ``last_slot`` and ``revision`` of each.
        """
        return await self._all(query("stored_heads"), symbol=symbol, until=until, count=count)

    async def courses(
        self, symbol: str, heads: Sequence[DictRow]
    ) -> dict[date, dict[str, NDArray[np.float64]]]:
        """Return the course of some sessions: a few figures of every sample.

        Parameters
        ----------
        symbol : the underlying.
        heads : the sessions, as ``stored_heads`` has them.

        Returns
        -------
        dict
            By day, in order of time: ``slot`` [s since 1970], ``spot``, ``net_gex``, ``hedge_flow``
            and ``remaining_1sd`` [$], and ``atm_iv`` [decimal]. What a row lacks is NaN.
        """
        if not heads:
            return {}
        firsts, lasts = ([head[name] for head in heads] for name in ("first_slot", "last_slot"))
        rows = await self._all(
            query("courses"),
            binary=True,
            symbol=symbol,
            days=[head["expiration"] for head in heads],
            sources=[head["source"] for head in heads],
            firsts=firsts,
            lasts=lasts,
            since=min(firsts),
            until=max(lasts),
        )
        return {
            row["expiration"]: {name: read_array(row[name]) for name in row if name != "expiration"}
            for row in rows
        }

    async def figures_before(
        self, symbol: str, expiration: date, before: datetime, *, columns: Sequence[str]
    ) -> DictRow | None:
        """Return columns of a session's newest row before a moment; None without one.

        Parameters
        ----------
        symbol, expiration : the session.
        before : the moment, UTC.
        columns : the row's columns to read.

        Returns
        -------
        dict or None
            The columns by name.
        """
        return await self._one(
            query("figures_before", columns), **session_bounds(symbol, expiration), before=before
        )

    async def moment(
        self, symbol: str, expiration: date, until: datetime | None = None
    ) -> SlotRecord | None:
        """Return a session's newest record, without its evidence; None without one.

        Parameters
        ----------
        until : if given, only rows whose quotes were made by then count. The arrays of a row that
            was stored without a profile are empty.

        Returns
        -------
        SlotRecord or None
            The record: its row and profile.
        """
        selected = await self._one(
            query("moment"), binary=True, **session_bounds(symbol, expiration), until=until
        )
        if selected is None:
            return None
        profile = {name: read_array(selected[f"p_{name}"]) for name in PROFILE_ARRAYS}
        return SlotRecord(row=Row.from_columns(selected), profile=profile)


def _profiled(selected: DictRow, columns: Sequence[str]) -> ProfileRow:
    return ProfileRow(
        bucket=selected["bucket"],
        slot=selected["slot"],
        spot=selected["spot"],
        oi_confidence=selected["oi_confidence"],
        arrays={name: read_array(selected[f"p_{name}"]) for name in columns},
    )
