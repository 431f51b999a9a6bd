"""FastAPI: routes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import unquote

import structlog
from fastapi import Depends, FastAPI, Path, Request
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import account, errors, metrics, page, reference, series
from api.access import Access, AccessError, Caller, Open, require
from api.errors import answer
from api.params import Query, QueryError, read, window
from api.record import Record
from storage.clock import Clock
from storage.errors import LiveError, StoreError
from storage.live import Live
from storage.session import Session, last_session, market_day, session_on
from storage.store import Store

log = structlog.get_logger()

#: Seconds a part may take to give a sign of life.
_SIGN_OF_LIFE = 2.0


class Application(FastAPI):
    """FastAPI with an example in the reference that has its nulls."""

    def openapi(self) -> dict[str, Any]:
        """See FastAPI."""
        return reference.completed(super().openapi())


def create(
    store: Store, live: Live, clock: Clock, *, dataset: str, access: Access | None = None
) -> FastAPI:
    """The application on open parts; whoever opened them closes them."""
    app = Application(
        title="Zero-DTE Flow",
        description=page.DESCRIPTION,
        version=page.version(),
        docs_url=None,
        redoc_url=None,
        # A redirect is no success to the published clients.
        redirect_slashes=False,
    )
    app.state.store, app.state.live, app.state.clock = store, live, clock
    app.state.dataset, app.state.access = dataset, access or Open()
    app.state.node = socket.gethostname()
    app.state.metrics = metrics.Metrics(dataset, page.version())
    app.add_exception_handler(QueryError, errors.invalid)
    app.add_exception_handler(AccessError, errors.denied)
    app.add_exception_handler(StoreError, errors.unavailable)
    app.add_exception_handler(HTTPException, errors.refused)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD"],
        allow_headers=["X-Api-Key", "Content-Type", "If-None-Match"],
        expose_headers=[
            "ETag",
            "Retry-After",
            "X-RateLimit-Limit",
            "X-RateLimit-Remaining",
            "X-RateLimit-Reset",
        ],
        max_age=86_400,
    )
    app.add_middleware(Record, metrics=app.state.metrics)
    documented = reference.DOCUMENTED
    app.get("/v1/flow/zero-dte/series/{symbol:path}", **documented["series"])(get_series)
    app.get("/v1/symbols", **documented["symbols"])(get_symbols)
    app.get("/v1/account", **account.DOCUMENTED)(account.get_account)
    app.get("/v1/market", **documented["market"])(get_market)
    app.get("/health", **documented["health"])(get_health)
    app.get("/metrics", **metrics.DOCUMENTED)(metrics.get_metrics)
    app.get("/ready", **documented["ready"])(get_ready)
    page.serve(app)
    return app


async def get_series(
    request: Request,
    symbol: Annotated[str, Path(description="The underlying.", examples=["SPY"])],
    caller: Annotated[Caller, Depends(require("Growth"))],
) -> Response:
    """The zero-DTE headline figures of a symbol, a bar every 30 seconds to 15 minutes.

    Without parameters: the last 60 minutes of today's session. The window is half-open and ends
    where the data does: at the close once that is past, else at the feed's own present. Each bar
    is the *last* sample of its bucket and the running bucket is among them, so that cumulative
    values are current. A symbol without samples is answered with `bars: []` and the `reason`.
    """
    asked = read(_segment(request, symbol), request.query_params)
    store: Store = request.app.state.store
    now = request.app.state.clock.now()
    kept = await _recall(store, asked, market_day(now))
    span = window(
        asked,
        day=kept.day,
        session=kept.session,
        now=now,
        delay=kept.delay or timedelta(),
        newest=kept.newest.get("slot"),
    )
    missing = series.unaccounted(span, kept.there | kept.gaps.keys())
    tag = series.tag(kept.newest.get("cursor") or 0, missing)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    filled = any(span.start <= slot < span.end for slot in kept.there)
    # An answer without samples is small, and its reason changes while nothing is stored.
    if filled and series.matches(tag, request.headers.get("If-None-Match")):
        return Response(status_code=304, headers=headers)
    rows: list[dict[str, Any]] = []
    reason = None
    if filled:
        rows = await store.window(
            asked.symbol,
            kept.day,
            start=span.start,
            until=span.end,
            width=asked.width,
            columns=series.COLUMNS,
        )
    else:
        reason = series.why_empty(
            span,
            known=await store.known(asked.symbol),
            now=now,
            delay=kept.delay or timedelta(),
            gaps=list(kept.gaps.values()),
        )
    # Of a symbol that nobody samples, nothing is missing.
    gaps = kept.gaps if reason != "unknown_symbol" else None
    body = series.answer(
        asked,
        span,
        now=now,
        node=request.app.state.node,
        newest=kept.newest,
        delay=kept.delay,
        bars=series.bars(rows, asked.since),
        gaps=[] if gaps is None else series.gap_intervals(span, gaps, kept.there),
        reason=reason,
    )
    return answer(body, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What the store has of a session, but for its bars."""

    day: date
    session: Session | None
    #: The newest row, nulls where there is none, and the session's ``cursor``.
    newest: Mapping[str, Any]
    #: How far the feed lies behind; None for a symbol that nobody has sampled lately.
    delay: timedelta | None
    #: Reasons by slot, in order.
    gaps: dict[datetime, str]
    #: Slots that have a row.
    there: set[datetime]


async def _recall(store: Store, asked: Query, today: date) -> _Kept:
    day = asked.day or today
    # A year's calendar takes a while the first time that somebody asks for it.
    session = await asyncio.to_thread(session_on, day)
    # The cursor is read first: what lands meanwhile is told again after it, never left out.
    newest = await store.newest(asked.symbol, day)
    delay = newest.get("delay_seconds")
    if delay is None and session is not None and day == today:
        before = last_session(session.open - timedelta(days=1))
        delay = (await store.newest(asked.symbol, before.day)).get("delay_seconds")
    # In this order: a row that closes a gap in between must not look like neither.
    gaps = await store.gaps(asked.symbol, day)
    return _Kept(
        day=day,
        session=session,
        newest=newest,
        delay=None if delay is None else timedelta(seconds=delay),
        gaps={gap["slot"]: gap["reason"] for gap in gaps},
        there=set(await store.slots(asked.symbol, day)),
    )


def _segment(request: Request, symbol: str) -> str:
    """The symbol, if it is one segment of the path as it was sent: ``BRK%2FB`` is, ``A/B`` not."""
    sent = request.scope.get("raw_path") or request.scope["path"].encode()
    last = unquote(sent.partition(b"?")[0].rpartition(b"/")[2].decode("ascii", "replace"))
    if last != symbol:
        raise HTTPException(404)
    return symbol


async def get_symbols(
    request: Request, caller: Annotated[Caller, Depends(require("Free"))]
) -> Response:
    """Symbols that were ever sampled, and the slot of the newest sample of any."""
    store: Store = request.app.state.store
    found = await store.symbols()
    newest = max(found.values(), default=None)
    body = {"symbols": list(found), "count": len(found), "last_updated": newest}
    return answer(body | {"dataset": request.app.state.dataset})


async def get_market(
    request: Request, caller: Annotated[Caller, Depends(require("Free"))]
) -> Response:
    """Whether the market is open, the newest session, and the server's time."""
    return answer(page.market(request.app.state.clock.now()))


async def get_health() -> Response:
    """The process is alive."""
    return answer({"status": "Healthy"})


async def get_ready(request: Request) -> Response:
    """Whether requests can be answered; without the live channel they can, a little later."""
    database, live = await asyncio.gather(
        _state(request.app.state.store), _state(request.app.state.live)
    )
    word = "Unavailable" if database == "away" else "Ready" if live == "ok" else "Degraded"
    body = {"status": word, "database": database, "live_channel": live}
    return answer(body, 503 if database == "away" else 200)


async def _state(part: Store | Live) -> str:
    try:
        async with asyncio.timeout(_SIGN_OF_LIFE):
            await part.ping()
    except (StoreError, LiveError, TimeoutError) as error:
        log.warning("part is away", part=type(part).__name__, error=str(error))
        return "away"
    return "ok"
