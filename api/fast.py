"""The series of today in front of the framework: checks, a short head, and bytes that are there.

Whatever is out of the ordinary (an error, a format, a session that is not in memory) goes on to
the framework's route, which answers the same, byte for byte, only slower.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors, formats, series
from api.access import Access, AccessError, key_of
from api.bodies import Bodies
from api.params import Query, QueryError, read
from api.reply import reply
from api.series import Background
from api.today import Sessions
from storage.clock import Clock
from storage.session import market_day

PREFIX = b"/v1/flow/zero-dte/series/"
PLAN = "Growth"


class Fast:
    """ASGI: answers what is in memory, passes everything else on."""

    def __init__(self, app: ASGIApp, state: Any) -> None:
        self._app = app
        self._sessions: Sessions = state.sessions
        self._bodies: Bodies = state.bodies
        self._access: Access = state.access
        self._clock: Clock = state.clock
        self._node: str = state.node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        sent: bytes = scope.get("raw_path") or b""
        if not sent.startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        accepts = tag = ""
        for name, value in scope["headers"]:
            if name == b"accept-encoding":
                accepts = value.decode("latin-1")
            elif name == b"if-none-match":
                tag = value.decode("latin-1")
            elif name == b"accept" and formats.offers(value.decode("latin-1")):
                sent = b""
        query: bytes = scope["query_string"]
        # A key is not for keeping: what has one in its address is read anew.
        asked = (_read.__wrapped__ if b"apiKey" in query else _read)(sent, query)
        now = self._clock.now()
        day = None
        if asked is not None:
            day = self._sessions.peek(asked.symbol, asked.day or market_day(now))
        if asked is None or day is None or not day.newest:
            await self._app(scope, receive, send)
            return
        try:
            admitted = await self._access.admit(key_of(scope), PLAN)
        except AccessError as error:
            await (await errors.denied(Request(scope), error))(scope, receive, send)
            return
        scope["state"]["admitted"] = admitted
        behind = Background(known=True, delay=day.delay, node=self._node)
        part = series.cut(day, asked, behind, now)
        answer = await reply(part, self._bodies, if_none_match=tag, accepts=accepts)
        start = {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        await send(start)
        last = len(answer.parts) - 1
        for i, piece in enumerate(answer.parts):
            await send({"type": "http.response.body", "body": piece, "more_body": i < last})
        if last < 0:
            await send({"type": "http.response.body", "body": b""})


@lru_cache(maxsize=1024)
def _read(path: bytes, query: bytes) -> Query | None:
    """What an address asks for; None for all that the framework's route should see."""
    segment = path[len(PREFIX) :]
    if not segment or b"/" in segment or b"format" in query or len(query) > 500:
        return None
    try:
        symbol = unquote(segment.decode("ascii"), errors="strict")
        given = dict(parse_qsl(query.decode("ascii"), keep_blank_values=True))
        return read(symbol, given)
    except (QueryError, ValueError):
        return None
