"""An answer's bytes: status, headers and body, the same from whichever handler sends them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from api.http.compression import LEAST, Body, CompressedBodies, coding_of
from api.http.json import encode_json
from api.series import window as series
from api.series.window import Selection

_VARY = b"Accept, Accept-Encoding, Origin"
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out; the body in pieces, so that long ones are not copied."""

    status: int
    headers: Headers
    parts: list[bytes]


def as_response(answer: Reply) -> Response:
    """Return a reply as a response of the framework.

    Parameters
    ----------
    answer : the reply.

    Returns
    -------
    Response
        The response, with the same status, headers and body.
    """
    response = Response(b"".join(answer.parts), answer.status)
    response.raw_headers = answer.headers
    return response


async def series_reply(
    selection: Selection, compressed: CompressedBodies, *, if_none_match: str | None, accepts: str
) -> Reply:
    """Answer with the bars of one symbol as JSON; with 304 if the caller has them.

    Parameters
    ----------
    selection : the bars.
    compressed : bodies that earlier requests have had, compressed.
    if_none_match : the caller's ``If-None-Match``; None without one.
    accepts : the caller's ``Accept-Encoding``.

    Returns
    -------
    Reply
        Status 200 with the bars, or 304 without a body.
    """
    headers = series_headers(selection.tag)
    # An answer without samples is small, and its reason changes while nothing is stored.
    if selection.filled and if_none_match and series.etag_matches(selection.tag, if_none_match):
        return Reply(304, headers, [])
    body = _rest(selection, compressed)
    return await compressed_reply(series.answer_head(selection), body, headers, accepts)


def series_headers(tag: str) -> Headers:
    """Return the headers that every answer of the series carries.

    Parameters
    ----------
    tag : the answer's weak ETag.

    Returns
    -------
    Headers
        Names and values.
    """
    return [
        (b"etag", tag.encode()),
        (b"cache-control", b"no-cache"),
        (b"vary", _VARY),
        (b"x-content-type-options", b"nosniff"),
    ]


def _rest(selection: Selection, compressed: CompressedBodies) -> Body:
    if not selection.filled:
        return Body(series.answer_rest(selection))
    key = selection.key
    body = compressed.get(key)
    if body is None:
        body = Body(series.answer_rest(selection))
        compressed.put(key, body)
    return body


async def compressed_reply(head: bytes, body: Body, headers: Headers, accepts: str) -> Reply:
    """Join a head and a rest of JSON, compressed if that pays and the caller takes it.

    Parameters
    ----------
    head : the beginning, which changes with each request.
    body : the rest, which stays the same until something changes.
    headers : headers to send; those of the body are added to this list.
    accepts : the caller's ``Accept-Encoding``.

    Returns
    -------
    Reply
        Status 200.
    """
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
    """Answer with a document that is made anew for each request, compressed if that pays.

    Parameters
    ----------
    body : the document.
    accepts : the caller's ``Accept-Encoding``.

    Returns
    -------
    Response
        Status 200.
    """
    whole = encode_json(body)
    headers = [(b"cache-control", b"no-cache"), (b"vary", _VARY)]
    return as_response(await compressed_reply(b"", Body(whole), headers, accepts))


async def multi_series_reply(
    selections: list[Selection],
    compressed: CompressedBodies,
    *,
    stamped: dict[str, Any],
    if_none_match: str | None,
    accepts: str,
) -> Reply:
    """Answer with several symbols' bars in one JSON document; each is what it would be alone.

    Parameters
    ----------
    selections : each symbol's bars, in the order of the answer.
    compressed : bodies that earlier requests have had, compressed.
    stamped : the fields of every answer, which stand behind the symbols.
    if_none_match : the caller's ``If-None-Match``; None without one.
    accepts : the caller's ``Accept-Encoding``.

    Returns
    -------
    Reply
        Status 200 with the bars, or 304 without a body.
    """
    tag = join_tags(selections)
    headers = series_headers(tag)
    filled = any(selection.filled for selection in selections)
    if filled and if_none_match and series.etag_matches(tag, if_none_match):
        return Reply(304, headers, [])
    cursor = ",".join(str(selection.day.cursor) for selection in selections)
    head = b'{"count":%d,"cursor":"%s","series":[' % (len(selections), cursor.encode())
    pieces = [
        b"".join((series.answer_head(selection), _rest(selection, compressed).plain))
        for selection in selections
    ]
    closing = b"]," + encode_json(stamped)[1:]
    return await compressed_reply(head, Body(b",".join(pieces) + closing), headers, accepts)


def join_tags(selections: list[Selection]) -> str:
    """Return the weak ETag of an answer about several symbols.

    Parameters
    ----------
    selections : each symbol's bars, in the order of the answer.

    Returns
    -------
    str
        Their tags, joined to one.
    """
    return 'W/"' + "_".join(selection.tag[3:-1] for selection in selections) + '"'
