"""Stored sessions as tables for research: from exported Parquet, or from a server's API.

``Archive`` reads what ``flow-store export`` wrote, in a folder or a bucket; ``Remote`` reads the
same from a running API. Both give the same columns, as Arrow, polars or pandas.

This module has a promise of its own, by semantic versioning of ``VERSION``: within a major version
no name, parameter, column or meaning here is removed or changed; a minor version may add some.
"""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pf
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]
    import polars as pl

#: Version of this module's promise, not of the product.
VERSION = "1.1.0"
#: Seconds of a bar by its name.
BARS = {"30s": 30, "1m": 60, "5m": 300, "15m": 900}
_MOMENT = pa.timestamp("us", tz="UTC")
#: The columns of ``bars``; docs/definitions.md says what each is.
BAR_SCHEMA = pa.schema(
    [
        ("symbol", pa.string()),
        ("session", pa.date32()),
        ("feed", pa.string()),
        ("simulated", pa.bool_()),
        ("t", _MOMENT),
        ("sampled_at", _MOMENT),
        *(
            (name, pa.float64())
            for name in (
                *("spot", "atm_iv", "remaining_1sd", "net_gex", "net_gex_se", "net_dex"),
                *("gamma_flip", "call_wall", "put_wall", "magnet", "pin_probability_pct"),
                *("charm_dollars_per_hour", "hedge_flow_call_cumulative"),
                *("hedge_flow_put_cumulative", "hedge_flow_cumulative_all"),
            )
        ),
        ("pin_score", pa.int64()),
        ("gamma_flip_status", pa.string()),
        ("regime", pa.string()),
        ("flags", pa.string()),
    ]
)
#: The columns of ``missing``.
MISSING_SCHEMA = pa.schema([("from", _MOMENT), ("to", _MOMENT), ("reason", pa.string())])
#: The columns of ``strikes``.
STRIKE_SCHEMA = pa.schema(
    [
        ("sampled_at", _MOMENT),
        *(
            (name, pa.float64())
            for name in (
                *("strike", "iv", "call_gex", "put_gex", "call_oi", "put_oi"),
                *("call_volume", "put_volume", "call_flow", "put_flow"),
            )
        ),
    ]
)
#: The columns of ``forecasts``.
FORECAST_SCHEMA = pa.schema(
    [
        ("session", pa.date32()),
        ("symbol", pa.string()),
        ("feed", pa.string()),
        ("freeze_time", _MOMENT),
        ("slot", _MOMENT),
        ("definitions", pa.string()),
        ("content", pa.string()),
        ("sha256", pa.string()),
        ("missed", pa.string()),
        ("frozen_at", _MOMENT),
        ("written_at", _MOMENT),
        ("stored_at", _MOMENT),
    ]
)
#: The columns of ``settlements``.
SETTLEMENT_SCHEMA = pa.schema(
    [
        ("session", pa.date32()),
        ("symbol", pa.string()),
        ("sequence", pa.int64()),
        ("price", pa.float64()),
        ("origin", pa.string()),
        ("detail", pa.string()),
        ("quoted_at", _MOMENT),
        ("stored_at", _MOMENT),
    ]
)
#: The columns of ``scores``; ``outcome`` is JSON.
SCORE_SCHEMA = pa.schema(
    [
        ("session", pa.date32()),
        ("symbol", pa.string()),
        ("feed", pa.string()),
        ("kind", pa.string()),
        ("freeze_time", _MOMENT),
        ("definitions", pa.string()),
        ("content", pa.string()),
        ("sha256", pa.string()),
        ("settlement", pa.int64()),
        ("outcome", pa.string()),
        ("method", pa.int32()),
        ("scored_at", _MOMENT),
    ]
)
#: The feed of a simulated market.
_SIMULATED = "synthetic"
_SLOT = 30_000_000
_TIMEOUT = 30.0


class ResearchError(Exception):
    """What cannot be read, with a sentence that says why."""


@dataclass(frozen=True, slots=True, order=True)
class ResearchSession:
    """One session of one symbol."""

    day: date
    symbol: str
    feed: str

    @property
    def simulated(self) -> bool:
        """Whether the market was a made-up one."""
        return self.feed == _SIMULATED


@dataclass(frozen=True, slots=True, eq=False)
class ResearchTable:
    """A table, and how to have it in another library."""

    arrow: pa.Table

    def __len__(self) -> int:
        """How many rows the table has."""
        return int(self.arrow.num_rows)

    def polars(self) -> pl.DataFrame:
        """Return the table as polars has it.

        Returns
        -------
        polars.DataFrame
            The same columns.
        """
        import polars as pl

        frame = pl.from_arrow(self.arrow)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def pandas(self) -> pd.DataFrame:
        """Return the table as pandas has it; a missing number is NaN.

        Returns
        -------
        pandas.DataFrame
            The same columns.
        """
        frame: pd.DataFrame = self.arrow.to_pandas()
        return frame


class Archive:
    """Sessions that ``flow-store export`` wrote.

    Parameters
    ----------
    location
        A folder, or an address that pyarrow knows, such as ``s3://bucket/folder?region=us-east-1``.
    """

    def __init__(self, location: str) -> None:
        if "://" in location:
            self._files, self._root = pf.FileSystem.from_uri(location)
        else:
            self._files, self._root = pf.LocalFileSystem(), location

    def sessions(self, symbol: str) -> list[ResearchSession]:
        """Return the exported sessions of a symbol.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        list of ResearchSession
            Ascending by day and feed; empty where none is there.

        Raises
        ------
        ResearchError
            If nothing was exported to this place.
        """
        selector = pf.FileSelector(f"{self._root}/rows", recursive=True, allow_not_found=True)
        sessions = set()
        for info in self._files.get_file_info(selector):
            if info.extension != "parquet":
                continue
            keys = dict(piece.split("=", 1) for piece in info.path.split("/")[:-1] if "=" in piece)
            if urllib.parse.unquote(keys.get("symbol", "")) == symbol.upper():
                feed = urllib.parse.unquote(keys.get("feed", ""))
                sessions.add(
                    ResearchSession(date.fromisoformat(keys["date"]), symbol.upper(), feed)
                )
        if not sessions and not self._is_export():
            raise ResearchError(f"{self._root} has no folder rows: flow-store export writes one")
        return sorted(sessions)

    def bars(
        self, symbol: str, day: date, *, bar: str = "1m", feed: str | None = None
    ) -> ResearchTable:
        """Return a session's bars: the last sample of each bucket.

        Parameters
        ----------
        symbol : the underlying.
        day : the session, a day in New York.
        bar : a key of ``BARS``.
        feed : whose samples; may be left out where the session was exported of one feed.

        Returns
        -------
        ResearchTable
            ``BAR_SCHEMA``, ascending by ``t``.

        Raises
        ------
        ResearchError
            If the session is not there, or of several feeds and none is named.
        """
        width = _width(bar)
        session = self._session(symbol, day, feed)
        rows = self._read("rows", session).sort_by("slot")
        slots = rows["slot"].cast(pa.int64()).to_numpy()
        starts = slots // width * width
        # The last row of each bucket: the next one, if any, is of another.
        last = np.flatnonzero(np.append(starts[1:] != starts[:-1], True)[: len(starts)])
        chosen = rows.take(pa.array(last))
        shared = {
            "symbol": session.symbol,
            "session": session.day,
            "feed": session.feed,
            "simulated": session.simulated,
        }
        columns = []
        for field in BAR_SCHEMA:
            if field.name in shared:
                column = pa.array([shared[field.name]] * len(last), field.type)
            elif field.name == "t":
                column = pa.array(starts[last]).cast(field.type)
            elif field.name == "sampled_at":
                column = chosen["slot"]
            elif field.name == "flags":
                column = pc.binary_join(chosen["flags"].combine_chunks(), " ")
            else:
                column = chosen[field.name].cast(field.type)
            columns.append(column)
        return ResearchTable(pa.table(columns, schema=BAR_SCHEMA))

    def missing(self, symbol: str, day: date, *, feed: str | None = None) -> ResearchTable:
        """Return a session's slots without a sample, neighbours of one reason together.

        Parameters
        ----------
        symbol, day, feed : as for ``bars``.

        Returns
        -------
        ResearchTable
            ``MISSING_SCHEMA``, ascending; ``to`` is not included.

        Raises
        ------
        ResearchError
            As ``bars``.
        """
        session = self._session(symbol, day, feed)
        folder = self._folder("gaps", session)
        if self._files.get_file_info(folder).type != pf.FileType.Directory:
            return ResearchTable(MISSING_SCHEMA.empty_table())
        gaps = self._read("gaps", session).sort_by("slot")
        stretches: list[list[Any]] = []
        for slot, reason in zip(
            gaps["slot"].cast(pa.int64()).to_pylist(), gaps["reason"].to_pylist(), strict=True
        ):
            if stretches and stretches[-1][1:] == [slot, reason]:
                stretches[-1][1] = slot + _SLOT
            else:
                stretches.append([slot, slot + _SLOT, reason])
        columns = zip(*stretches, strict=True) if stretches else ((), (), ())
        return ResearchTable(
            pa.table(
                [
                    pa.array(list(column)).cast(field.type)
                    for column, field in zip(columns, MISSING_SCHEMA, strict=True)
                ],
                schema=MISSING_SCHEMA,
            )
        )

    def strikes(self, symbol: str, day: date, *, feed: str | None = None) -> ResearchTable:
        """Return a session's samples by strike: a row a strike and sample.

        Parameters
        ----------
        symbol, day, feed : as for ``bars``.

        Returns
        -------
        ResearchTable
            ``STRIKE_SCHEMA``, ascending by ``sampled_at`` and ``strike``.

        Raises
        ------
        ResearchError
            As ``bars``.
        """
        session = self._session(symbol, day, feed)
        profiles = self._read("profiles", session).sort_by("slot")
        lists = [profiles[name].combine_chunks() for name in STRIKE_SCHEMA.names[1:]]
        parents = pc.list_parent_indices(lists[0])
        moments = profiles["slot"].combine_chunks().take(parents)
        columns = [moments, *(pc.list_flatten(values) for values in lists)]
        return ResearchTable(pa.table(columns, schema=STRIKE_SCHEMA))

    def forecasts(self, symbol: str) -> ResearchTable:
        """Return a symbol's forecasts as they were frozen, and the times that were missed.

        The digest of each text is computed again.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        ResearchTable
            ``FORECAST_SCHEMA``, ascending by session, feed and time; empty where none is there.

        Raises
        ------
        ResearchError
            If a text does not have its digest, or a file is damaged.
        """
        lines = self._record_lines("forecasts", symbol, FORECAST_SCHEMA, ["feed", "freeze_time"])
        _verify(lines)
        return ResearchTable(lines)

    def settlements(self, symbol: str) -> ResearchTable:
        """Return every close that was noted of a symbol's sessions.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        ResearchTable
            ``SETTLEMENT_SCHEMA``, in the order in which they were noted; the last one of a session
            counts.

        Raises
        ------
        ResearchError
            If a file is damaged.
        """
        return ResearchTable(
            self._record_lines("settlements", symbol, SETTLEMENT_SCHEMA, ["sequence"])
        )

    def scores(self, symbol: str) -> ResearchTable:
        """Return how a symbol's forecasts came out.

        The digest of each text is computed again, and each frozen one must be among the forecasts.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        ResearchTable
            ``SCORE_SCHEMA``, ascending by session, feed, kind and time. ``settlement`` is the
            ``sequence`` of the close that it was judged by.

        Raises
        ------
        ResearchError
            If a text does not have its digest, a frozen one was not frozen, or a file is damaged.
        """
        order = ["feed", "kind", "freeze_time"]
        lines = self._record_lines("scores", symbol, SCORE_SCHEMA, order)
        _verify(lines)
        names = ("session", "feed", "freeze_time", "sha256")
        frozen = {tuple(each[name] for name in names) for each in self._keys("forecasts", symbol)}
        for each in lines.select([*names, "kind"]).to_pylist():
            if each["kind"] == "frozen" and tuple(each[name] for name in names) not in frozen:
                raise ResearchError(
                    f"{symbol} {each['freeze_time']}: scored as frozen, and no such text is among"
                    " the forecasts"
                )
        return ResearchTable(lines)

    def _keys(self, table: str, symbol: str) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = self._record_lines(
            table, symbol, FORECAST_SCHEMA, ["freeze_time"]
        ).to_pylist()
        return lines

    def _record_lines(
        self, table: str, symbol: str, schema: pa.Schema, order: list[str]
    ) -> pa.Table:
        """Return a symbol's lines of a table that has a file a session."""
        selector = pf.FileSelector(f"{self._root}/{table}", recursive=True, allow_not_found=True)
        wanted = f"symbol={urllib.parse.quote(symbol.upper(), safe='')}"
        pieces = []
        for info in self._files.get_file_info(selector):
            folders = info.path.split("/")[:-1]
            if info.extension != "parquet" or wanted not in folders:
                continue
            day = date.fromisoformat(
                next(f for f in folders if f.startswith("date=")).partition("=")[2]
            )
            try:
                lines = pq.read_table(
                    info.path, filesystem=self._files, page_checksum_verification=True,
                    partitioning=None,
                )  # fmt: skip
            except (OSError, pa.ArrowException) as error:
                raise ResearchError(f"{info.path}: damaged: {error}") from None
            shared = {"session": day, "symbol": symbol.upper()}
            columns = [
                pa.array([shared[field.name]] * len(lines), field.type)
                if field.name in shared
                else lines[field.name].cast(field.type)
                for field in schema
            ]
            pieces.append(pa.table(columns, schema=schema))
        whole = pa.concat_tables([schema.empty_table(), *pieces])
        return whole.sort_by([(name, "ascending") for name in ("session", *order)])

    def _is_export(self) -> bool:
        return bool(self._files.get_file_info(f"{self._root}/rows").type == pf.FileType.Directory)

    def _session(self, symbol: str, day: date, feed: str | None) -> ResearchSession:
        there = [s for s in self.sessions(symbol) if s.day == day and feed in (None, s.feed)]
        if not there:
            words = f" of the feed {feed}" if feed else ""
            raise ResearchError(f"{self._root} has no session of {symbol} on {day}{words}")
        if len(there) > 1:
            names = ", ".join(session.feed for session in there)
            raise ResearchError(f"{symbol} on {day} is there of {names}: say which, feed=")
        return there[0]

    def _folder(self, table: str, session: ResearchSession) -> str:
        symbol, feed = (
            urllib.parse.quote(text, safe="") for text in (session.symbol, session.feed)
        )
        return f"{self._root}/{table}/date={session.day}/symbol={symbol}" + (
            f"/feed={feed}" if feed else ""
        )

    def _read(self, table: str, session: ResearchSession) -> pa.Table:
        folder = self._folder(table, session)
        return ds.dataset(folder, format="parquet", filesystem=self._files).to_table()


class Remote:
    """Sessions of a running API.

    Parameters
    ----------
    address
        Such as ``http://127.0.0.1:8000``.
    key
        A key of the plan Growth; None for an open server.
    """

    def __init__(self, address: str, key: str | None = None) -> None:
        if not address.startswith(("http://", "https://")):
            raise ResearchError(f"{address!r} is no address of a server: http:// or https://")
        self._address = address.rstrip("/")
        self._headers = {} if key is None else {"X-Api-Key": key}

    def sessions(self, symbol: str) -> list[ResearchSession]:
        """Return the stored sessions of a symbol that have samples, each of the feed that is shown.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        list of ResearchSession
            Ascending by day.

        Raises
        ------
        ResearchError
            If the server refuses or cannot be reached.
        """
        name = urllib.parse.quote(symbol.upper(), safe="")
        answer = json.loads(self._get(f"/v1/flow/zero-dte/sessions/{name}"))
        return [
            ResearchSession(date.fromisoformat(session["date"]), symbol.upper(), session["feed"])
            for session in answer["sessions"]
            if session["source"] is not None
        ]

    def bars(
        self, symbol: str, day: date, *, bar: str = "1m", feed: str | None = None
    ) -> ResearchTable:
        """Return a session's bars: the last sample of each bucket.

        Parameters
        ----------
        symbol : the underlying.
        day : the session, a day in New York.
        bar : a key of ``BARS``.
        feed : whose samples; the one that is shown if left out.

        Returns
        -------
        ResearchTable
            ``BAR_SCHEMA``, ascending by ``t``.

        Raises
        ------
        ResearchError
            If the server refuses or cannot be reached, or the session is not stored.
        """
        _width(bar)
        table, about = self._series(symbol, day, bar, feed)
        shared = {
            "session": day,
            "feed": about["feed"],
            "simulated": about["feed"] == _SIMULATED,
        }
        columns = [
            pa.array([shared[field.name]] * len(table), field.type)
            if field.name in shared
            else table[field.name].cast(field.type)
            for field in BAR_SCHEMA
        ]
        return ResearchTable(pa.table(columns, schema=BAR_SCHEMA))

    def missing(self, symbol: str, day: date, *, feed: str | None = None) -> ResearchTable:
        """Return a session's slots without a sample, neighbours of one reason together.

        Parameters
        ----------
        symbol, day, feed : as for ``bars``.

        Returns
        -------
        ResearchTable
            ``MISSING_SCHEMA``, ascending; ``to`` is not included.

        Raises
        ------
        ResearchError
            As ``bars``.
        """
        _, about = self._series(symbol, day, "30s", feed)
        gaps = about["gap_intervals"]
        columns = [
            pc.strptime(
                pa.array([gap[name] for gap in gaps], pa.string()), "%Y-%m-%dT%H:%M:%SZ", "us"
            )
            .cast(pa.int64())
            .cast(_MOMENT)
            for name in ("from", "to")
        ]
        columns.append(pa.array([gap["reason"] for gap in gaps], pa.string()))
        return ResearchTable(pa.table(columns, schema=MISSING_SCHEMA))

    def _series(
        self, symbol: str, day: date, bar: str, feed: str | None
    ) -> tuple[pa.Table, dict[str, Any]]:
        query = {"date": day.isoformat(), "bar": bar, "format": "parquet"}
        if feed is not None:
            query["feed"] = feed
        name = urllib.parse.quote(symbol.upper(), safe="")
        path = f"/v1/flow/zero-dte/series/{name}?{urllib.parse.urlencode(query)}"
        table = pq.read_table(pa.BufferReader(self._get(path)))
        [about] = json.loads(table.schema.metadata[b"zerodte_flow"])
        if not len(table):
            raise ResearchError(f"the server has no bars of {symbol} on {day}: {about['reason']}")
        return table, about

    def _get(self, path: str) -> bytes:
        request = urllib.request.Request(self._address + path, headers=self._headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
                body: bytes = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                words = error.read(300).decode(errors="replace")
            raise ResearchError(f"the server answers {error.code}: {words}") from None
        except OSError as error:
            raise ResearchError(f"the server cannot be reached: {error}") from None
        return body


def _verify(lines: pa.Table) -> None:
    """Compute the digest of every text again."""
    for each in lines.select(["freeze_time", "content", "sha256"]).to_pylist():
        content, digest = each["content"], each["sha256"]
        if content is None and digest is None:
            continue
        if content is None or hashlib.sha256(content.encode()).hexdigest() != digest:
            raise ResearchError(f"the text of {each['freeze_time']} does not have its digest")


def _width(bar: str) -> int:
    """Return the length of a bar. [µs]"""
    if bar not in BARS:
        raise ResearchError(f"{bar!r} is no bar: {', '.join(BARS)}")
    return BARS[bar] * 1_000_000
