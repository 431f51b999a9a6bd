"""The series of today in front of the framework: checks, a short head, and bytes that are there.

Whatever is out of the ordinary (an error, a format, a session without rows) is left to the
framework's route, which answers the same, byte for byte, only slower; it does not ask again who
was let in here.
"""

from __future__ import annotations

import time
from collections.abc import Hashable
from datetime import UTC, date, datetime
from functools import lru_cache
from urllib.parse import parse_qsl, unquote

from starlette.types import Receive, Scope, Send

from api import access_log as record
from api.access.gate import AccessError, request_key
from api.context import AppContext, request_context
from api.http import cors
from api.series import formats
from api.series import window as series
from api.series.bars import SessionBars
from api.series.params import Query, QueryError, read_query
from api.series.reply import Headers, Reply, series_reply
from api.series.window import AnswerContext
from storage.errors import FlowError
from storage.market.calendar import market_day

PREFIX = b"/v1/flow/zero-dte/series/"
ROUTE = PREFIX.decode() + "{symbol:path}"
PLAN = "Growth"


class SeriesFastPath:
    """Answers what is in memory, and from the store what is not there yet."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._made = _Made()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer a request; False if that is left to others, and nothing is done or sent."""
        path: bytes = scope.get("raw_path") or b""
        if not path.startswith(PREFIX) or scope["method"] != "GET":
            return False
        since = time.perf_counter()
        accepts = tag = origin = b""
        for name, value in scope["headers"]:
            if name == b"accept-encoding":
                accepts = value
            elif name == b"if-none-match":
                tag = value
            elif name == b"origin":
                origin = value
            elif name == b"accept" and formats.prefers_table(value.decode("latin-1")):
                return False
        query: bytes = scope["query_string"]
        # A key is not for keeping: what has one in its address is read anew.
        keyed = b"apiKey" in query
        asked = (_read.__wrapped__ if keyed else _read)(path, query)
        if asked is None:
            return False
        now = self._context.clock.now()
        when = asked.day or _today(int(now.timestamp()) // 60)
        day = self._context.sessions.peek(asked.symbol, when)
        if day is None and not self._context.sessions.head(asked.symbol):
            return False
        if day is not None and not day.newest:
            return False
        try:
            admission = await self._context.access.admit(request_key(scope), PLAN)
        except (AccessError, FlowError):
            # A refusal does not count, and the framework knows how to say it.
            return False
        request = request_context(scope)
        request.admission, request.route = admission, ROUTE
        try:
            if day is None:
                day = await self._context.sessions.get(asked.symbol, when)
                if not day.newest:
                    return False
            again = None if keyed else (path, query, tag, accepts)
            answer = self._made.get(again, day, now)
            if answer is None:
                # While it is compressed, more may be taken in.
                cursor = day.cursor
                answer = await self._reply(day, asked, now, tag, accepts)
                if cursor == day.cursor:
                    self._made.keep(again, day, now, answer)
        except Exception:
            # The framework meets the same defect, and knows how to say it.
            return False
        headers = [*answer.headers, *admission.headers]
        if origin:
            headers += cors.cors_headers(origin, self._context.origins)
        await _send(answer, headers, send)
        size = sum(map(len, answer.parts))
        record.log_request(scope, self._context.metrics, since, answer.status, size)
        return True

    async def _reply(
        self, day: SessionBars, asked: Query, now: datetime, tag: bytes, accepts: bytes
    ) -> Reply:
        behind = AnswerContext(known=True, delay=day.delay, node=self._context.node)
        part = series.select_bars(day, asked, behind, now)
        offered, codings = tag.decode("latin-1"), accepts.decode("latin-1")
        return await series_reply(
            part, self._context.bodies, if_none_match=offered, accepts=codings
        )


class _Made:
    """Answers of one second: an answer changes with its day and the second, with nothing else."""

    #: Bytes that are kept; whoever asks for more different things a second gets each made anew.
    _ROOM = 32_000_000

    def __init__(self) -> None:
        self._second: tuple[int, bool] = (0, False)
        self._kept: dict[Hashable, tuple[SessionBars, int, Reply]] = {}
        self._size = 0

    def get(self, key: Hashable, day: SessionBars, now: datetime) -> Reply | None:
        """An answer that was made from the same, if there is one."""
        found = self._kept.get(key)
        if found is None or self._second != _second(now):
            return None
        made_of, cursor, answer = found
        return answer if made_of is day and cursor == day.cursor else None

    def keep(self, key: Hashable, day: SessionBars, now: datetime, answer: Reply) -> None:
        """Keep an answer for its second; None is no key."""
        if self._second != _second(now):
            self._second, self._size = _second(now), 0
            self._kept.clear()
        if key is None:
            return
        self._size += 1_000 + sum(map(len, answer.parts))
        if self._size <= self._ROOM:
            self._kept[key] = (day, day.cursor, answer)


def _second(now: datetime) -> tuple[int, bool]:
    # A window's bounds are rounded up: the second's first moment is another one than its rest.
    return int(now.timestamp()), now.microsecond == 0


async def _send(answer: Reply, headers: Headers, send: Send) -> None:
    start = {"type": "http.response.start", "status": answer.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b"".join(answer.parts)})


@lru_cache(maxsize=64)
def _today(minute: int) -> date:
    return market_day(datetime.fromtimestamp(minute * 60, UTC))


@lru_cache(maxsize=1024)
def _read(path: bytes, query: bytes) -> Query | None:
    """What an address asks for; None for all that the framework's route should see."""
    segment = path[len(PREFIX) :]
    if not segment or b"/" in segment or b"format" in query or len(query) > 500:
        return None
    try:
        symbol = unquote(segment.decode("ascii"), errors="strict")
        given = dict(parse_qsl(query.decode("ascii"), keep_blank_values=True))
        return read_query(symbol, given)
    except (QueryError, ValueError):
        return None
