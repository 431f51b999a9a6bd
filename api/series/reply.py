"""An answer's bytes: status, headers and body, the same from whichever handler sends them."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from api.http.compression import LEAST, Body, CompressedBodies, coding_of
from api.http.json import encode_json
from api.series import formats
from api.series import window as series
from api.series.window import Selection

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_VARY = b"Accept, Accept-Encoding, Origin"
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out; the body in pieces, so that long ones are not copied."""

    status: int
    headers: Headers
    parts: list[bytes]


def as_response(answer: Reply) -> Response:
    """The same for the framework."""
    made = Response(b"".join(answer.parts), answer.status)
    made.raw_headers = answer.headers
    return made


async def series_reply(
    part: Selection, kept: CompressedBodies, *, if_none_match: str | None, accepts: str
) -> Reply:
    """The JSON answer of a part of a day; 304 to a caller who has it."""
    headers = series_headers(part.tag)
    # An answer without samples is small, and its reason changes while nothing is stored.
    if part.filled and if_none_match and series.etag_matches(part.tag, if_none_match):
        return Reply(304, headers, [])
    body = _rest(part, kept)
    return await compressed_reply(series.answer_head(part), body, headers, accepts)


def series_headers(tag: str) -> Headers:
    """What every answer of the series carries."""
    return [
        (b"etag", tag.encode()),
        (b"cache-control", b"no-cache"),
        (b"vary", _VARY),
    ]


def _rest(part: Selection, kept: CompressedBodies) -> Body:
    if not part.filled:
        return Body(series.answer_rest(part))
    key = part.key
    found = kept.get(key)
    if found is None:
        found = Body(series.answer_rest(part))
        kept.put(key, found)
    return found


async def compressed_reply(head: bytes, body: Body, headers: Headers, accepts: str) -> Reply:
    """A head and a rest of JSON, compressed if that pays and the caller takes it."""
    coding = coding_of(accepts) if accepts and len(body) >= LEAST else ""
    if coding:
        parts = [await body.compress(coding, head)]
        headers.append((b"content-encoding", coding.encode()))
    else:
        parts = [head, body.plain]
    headers.append((b"content-length", str(sum(map(len, parts))).encode()))
    headers.append((b"content-type", b"application/json"))
    return Reply(200, headers, parts)


async def document_reply(body: dict[str, Any], accepts: str) -> Response:
    """What is made anew for each request, compressed if that pays."""
    whole = encode_json(body)
    headers = [(b"cache-control", b"no-cache"), (b"vary", _VARY)]
    return as_response(await compressed_reply(b"", Body(whole), headers, accepts))


async def multi_series_reply(
    cuts: list[Selection], kept: CompressedBodies, *, if_none_match: str | None, accepts: str
) -> Reply:
    """Several symbols' answers as one: each is what it would be alone."""
    tag = _tag(cuts)
    headers = series_headers(tag)
    filled = any(part.filled for part in cuts)
    if filled and if_none_match and series.etag_matches(tag, if_none_match):
        return Reply(304, headers, [])
    cursor = ",".join(str(part.day.cursor) for part in cuts)
    head = b'{"count":%d,"cursor":"%s","series":[' % (len(cuts), cursor.encode())
    pieces = [b"".join((series.answer_head(part), _rest(part, kept).plain)) for part in cuts]
    return await compressed_reply(head, Body(b",".join(pieces) + b"]}"), headers, accepts)


async def table_reply(name: str, cuts: list[Selection], *, if_none_match: str | None) -> Reply:
    """Some symbols' windows as a file in another format than JSON."""
    tag = _tag(cuts)
    headers = series_headers(tag)
    filled = any(part.filled for part in cuts)
    if filled and if_none_match and series.etag_matches(tag, if_none_match):
        return Reply(304, headers, [])
    body = await asyncio.to_thread(formats.write_table, name, cuts)
    first = cuts[0]
    what = first.query.symbol if len(cuts) == 1 else "series"
    file = _UNSAFE.sub("_", f"{what}_{first.day.day}_{first.query.bar}")
    headers += [
        (b"x-cursor", ",".join(str(part.day.cursor) for part in cuts).encode()),
        (b"content-disposition", f'inline; filename="{file}.{name}"'.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"content-type", formats.MEDIA_TYPES[name].encode()),
    ]
    return Reply(200, headers, [body])


def _tag(cuts: list[Selection]) -> str:
    return 'W/"' + "_".join(part.tag[3:-1] for part in cuts) + '"'
