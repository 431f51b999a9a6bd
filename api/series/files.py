"""Tables as files: whole, or in ranges that are all of the same bytes.

Programs that read columns of a Parquet file by its URL ask several times: for its length, its end,
its columns. A session that is over gives the same bytes each time. A running session's file grows,
so such a reader is shown the file as it was when the reading began.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, replace
from datetime import timedelta

from api.http.json import encode_json
from api.http.ranges import RangeNotSatisfiable, parse_range
from api.series import formats
from api.series import window as series
from api.series.reply import Headers, Reply, join_tags, series_headers
from api.series.window import Selection

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
#: How long after its close and the feed's delay a session is taken to be over.
_SETTLES = timedelta(minutes=5)
#: A reading that begins this soon after another one by the same caller gets the same file. [s]
_SHARED_FOR = 5.0
#: For so long a reading may last. [s]
_READ_WITHIN = 60.0
_NOT_SATISFIABLE = encode_json(
    {"error": "range_not_satisfiable", "message": "the file ends before the range begins"}
)
_CHANGED = encode_json(
    {"error": "precondition_failed", "message": "the file is another one than If-Match names"}
)


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table's bytes."""

    body: bytes
    #: The strong ETag: a hash of the bytes.
    tag: str
    #: Name, media type and cursor.
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRequest:
    """What a request says about the file that it asks for."""

    if_none_match: str | None
    range: str | None
    if_range: str | None
    if_match: str | None = None
    #: Whether the body is asked for, or its headers alone (HEAD).
    wants_body: bool

    @property
    def begins(self) -> bool:
        """Whether a reading begins with it: with the length, the end or the first bytes."""
        first = (self.range or "").partition("=")[2].partition("-")[0].strip()
        return not self.wants_body or first in ("", "0")


def is_over(selection: Selection) -> bool:
    """Say whether a session's table stays the same as time passes.

    Parameters
    ----------
    selection : the session's bars.

    Returns
    -------
    bool
        True if the session is over and nothing of it waits anywhere.
    """
    session, context = selection.window.session, selection.context
    if session is None or context.known_at is not None or selection.day.waiting is not None:
        return False
    return selection.now >= session.close + (context.delay or timedelta()) + _SETTLES


async def make_file(name: str, selections: list[Selection]) -> TableFile:
    """Write some symbols' bars as a file.

    Parameters
    ----------
    name : the format: ``csv``, ``ndjson``, ``parquet`` or ``arrow``.
    selections : each symbol's bars, in the order of the file.

    Returns
    -------
    TableFile
        The file.
    """
    timeless = all(map(is_over, selections))
    body = await asyncio.to_thread(formats.write_table, name, selections, timeless=timeless)
    first = selections[0]
    what = first.query.symbol if len(selections) == 1 else "series"
    feed = f"_{first.query.feed}" if first.query.feed else ""
    file = _UNSAFE.sub("_", f"{what}_{first.day.day}_{first.query.bar}{feed}")
    headers = [
        (b"x-cursor", ",".join(str(selection.day.cursor) for selection in selections).encode()),
        (b"content-disposition", f'inline; filename="{file}.{name}"'.encode()),
        (b"content-type", formats.MEDIA_TYPES[name].encode()),
    ]
    return TableFile(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', headers)


class TableFiles:
    """Files that are read in pieces, in memory.

    Parameters
    ----------
    room
        Bytes of all files. When it is full, the files unused for longest are dropped.
    now
        A clock that only goes forward. [s]
    """

    def __init__(self, room: int = 32_000_000, now: Callable[[], float] = time.monotonic) -> None:
        self._room = room
        self._now = now
        self._size = 0
        self._files: OrderedDict[Hashable, tuple[float, TableFile]] = OrderedDict()

    async def of_past(self, name: str, selections: list[Selection]) -> TableFile:
        """Return the file of sessions that are over.

        Parameters
        ----------
        name : the format.
        selections : each symbol's bars.

        Returns
        -------
        TableFile
            The file, from memory if it was made before.
        """
        if not all(selection.filled for selection in selections):
            # Small, and the reason why there is nothing depends on more than the key.
            return await make_file(name, selections)
        parts = [(s.key, s.tag, s.query.symbol, s.day.feed, s.context) for s in selections]
        return await self._get((name, *parts), None, lambda: make_file(name, selections))

    async def of_reading(
        self,
        reader: Hashable,
        request: FileRequest,
        make: Callable[[], Awaitable[TableFile]],
    ) -> TableFile | None:
        """Return the file that a caller has begun to read, or begins to read now.

        Parameters
        ----------
        reader : the caller, and the address of what is read.
        request : the request.
        make : makes the file as it is now.

        Returns
        -------
        TableFile or None
            The file as it was when the reading began. None where a reading goes on whose file is
            not here: it began in another process, or too long ago.
        """
        if not request.begins:
            return self._known(reader, _READ_WITHIN)
        return await self._get(reader, _SHARED_FOR, make)

    async def _get(
        self, key: Hashable, seconds: float | None, make: Callable[[], Awaitable[TableFile]]
    ) -> TableFile:
        known = self._known(key, seconds)
        if known is not None:
            return known
        file = await make()
        # Whoever was faster has the file that all of them read.
        known = self._known(key, seconds)
        if known is not None:
            return known
        self._drop(key)
        self._files[key] = (self._now(), file)
        self._size += len(file.body)
        while self._size > self._room and len(self._files) > 1:
            self._drop(next(iter(self._files)))
        return file

    def _known(self, key: Hashable, seconds: float | None) -> TableFile | None:
        entry = self._files.get(key)
        if entry is None or (seconds is not None and self._now() - entry[0] > seconds):
            return None
        self._files.move_to_end(key)
        return entry[1]

    def _drop(self, key: Hashable) -> None:
        entry = self._files.pop(key, None)
        if entry is not None:
            self._size -= len(entry[1].body)


async def table_reply(
    name: str,
    selections: list[Selection],
    files: TableFiles,
    reader: Hashable,
    request: FileRequest,
) -> Reply:
    """Answer with some symbols' bars as a file in another format than JSON, or a part of it.

    Parameters
    ----------
    name : the format: ``csv``, ``ndjson``, ``parquet`` or ``arrow``.
    selections : each symbol's bars, in the order of the file.
    files : what is in memory.
    reader : the caller, and the address of what it reads.
    request : what else the request says.

    Returns
    -------
    Reply
        Status 200 with the file, 206 with a part, 304 without a body, 412 or 416.
    """
    if all(map(is_over, selections)):
        return file_reply(await files.of_past(name, selections), request, b"bytes")
    if request.range is not None or not request.wants_body:
        known = await files.of_reading(reader, request, lambda: make_file(name, selections))
        if known is not None:
            return file_reply(known, request, b"none")
        # A piece of the file as it is now would not belong to the pieces that the caller has.
        return file_reply(await make_file(name, selections), replace(request, range=None), b"none")
    tag = join_tags(selections)
    headers = series_headers(tag)
    filled = any(selection.filled for selection in selections)
    if filled and request.if_none_match and series.etag_matches(tag, request.if_none_match):
        return Reply(304, headers, [])
    file = await make_file(name, selections)
    return _whole(file, headers, b"none")


def file_reply(file: TableFile, request: FileRequest, accepted: bytes) -> Reply:
    """Answer with a file or the part of it that a request asks for.

    Parameters
    ----------
    file : the file.
    request : what the request says.
    accepted : ``Accept-Ranges`` of the answer: ``bytes``, or ``none`` where whoever can should
        read the file whole.

    Returns
    -------
    Reply
        Status 200, 206, 304, 412 or 416.
    """
    headers: Headers = series_headers(file.tag)
    if request.if_match and not series.etag_matches(file.tag, request.if_match):
        headers += [
            (b"content-length", b"%d" % len(_CHANGED)),
            (b"content-type", b"application/json"),
        ]
        return Reply(412, headers, [_CHANGED])
    if request.if_none_match and series.etag_matches(file.tag, request.if_none_match):
        return Reply(304, headers, [])
    size = len(file.body)
    span = None
    # A range is of the file that `If-Range` names; of another one the caller needs all.
    if request.range is not None and request.if_range in (None, file.tag):
        try:
            span = parse_range(request.range, size)
        except RangeNotSatisfiable:
            headers += [
                (b"content-range", b"bytes */%d" % size),
                (b"content-length", b"%d" % len(_NOT_SATISFIABLE)),
                (b"content-type", b"application/json"),
            ]
            return Reply(416, headers, [_NOT_SATISFIABLE])
    if span is None:
        return _whole(file, headers, accepted)
    first, until = span
    headers += [
        *file.headers,
        (b"content-range", b"bytes %d-%d/%d" % (first, until - 1, size)),
        (b"content-length", b"%d" % (until - first)),
    ]
    return Reply(206, headers, [file.body[first:until]])


def _whole(file: TableFile, headers: Headers, accepted: bytes) -> Reply:
    headers += [
        *file.headers,
        (b"accept-ranges", accepted),
        (b"content-length", b"%d" % len(file.body)),
    ]
    return Reply(200, headers, [file.body])
