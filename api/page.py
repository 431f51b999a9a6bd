"""What people look at: the page, the reference, and the models that the reference is made of.

The models document; answers are built without them. Nothing is loaded from anywhere else, so
that both pages work without a network.
"""

from __future__ import annotations

from datetime import date, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from storage.session import last_session, market_day, next_session, session_on

DESCRIPTION = """\
A 0DTE dealer-flow time series that you run yourself: sampled every 30 seconds, every formula
shown, no slot lost. Times are UTC, money is US dollars, volatility is a decimal.
"""
_STATIC = Path(__file__).parent / "static"
_OWN_ONLY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
#: Swagger UI sets styles in its markup and draws with images that it carries in itself.
_SWAGGER = f"{_OWN_ONLY}; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
_REFERENCE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Zero-DTE Flow: reference</title>
<link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<div id="reference"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
_START = """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
"""
_ICON = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect width="32" height="32" rx="7" fill="#101828"/>
<path d="M5 21l6-7 5 4 5-9 6 5" fill="none" stroke="#4cc9b0" stroke-width="3"
 stroke-linecap="round" stroke-linejoin="round"/>
</svg>
"""


def version() -> str:
    """The installed release."""
    try:
        return installed("zerodte-flow")
    except PackageNotFoundError:
        return "0"


def market(now: datetime) -> dict[str, Any]:
    """Whether the market is open, the newest session, and when it opens and closes next."""
    day = market_day(now)
    today = session_on(day)
    if today is None:
        state = "closed" if day.weekday() >= 5 else "holiday"
    elif now < today.open:
        state = "pre"
    else:
        state = "open" if now < today.close else "closed"
    newest, upcoming = last_session(now), next_session(day)
    return {
        "state": state,
        "session": {"date": newest.day, "open": newest.open, "close": newest.close},
        "next_open": today.open if today and now < today.open else upcoming.open,
        "next_close": today.close if today and now < today.close else upcoming.close,
        "server_time": now,
    }


def serve(app: FastAPI) -> None:
    """Add the page and the reference to an application."""

    def text(path: str, body: str | bytes, kind: str, policy: str = _OWN_ONLY) -> None:
        headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }

        async def get() -> Response:
            return Response(body, headers=headers, media_type=kind)

        app.get(path, include_in_schema=False)(get)

    text("/", (_STATIC / "index.html").read_bytes(), "text/html")
    text("/static/app.js", (_STATIC / "app.js").read_bytes(), "text/javascript")
    text("/static/app.css", (_STATIC / "app.css").read_bytes(), "text/css")
    text("/static/icon.svg", _ICON, "image/svg+xml")
    text("/docs", _REFERENCE, "text/html", _SWAGGER)
    text("/docs/start.js", _START, "text/javascript")
    # FastAPI's own page loads Swagger UI from a content delivery network; this wheel carries it.
    assets = StaticFiles(directory=str(files("fastapi_offline") / "static"))
    app.mount("/docs/assets", assets, name="assets")


class Bar(BaseModel):
    """One bar: the last sample of its bucket."""

    t: datetime = Field(description="Start of the bucket; a 30 s bar's own slot.")
    spot: float = Field(description="Price of the underlying. [$]")
    net_gex: float = Field(description="$ of delta per 1 % move; positive: dealers dampen moves.")
    net_dex: float = Field(description="Holders' delta. [$]")
    gamma_flip: float | None = Field(description="Where the repriced net gamma crosses zero. [$]")
    gamma_flip_status: Literal["available", "no_boundary", "insufficient_local_coverage"]
    call_wall: float | None = Field(description="Strike of the largest call gamma exposure. [$]")
    put_wall: float | None = Field(description="Strike of the largest put gamma exposure. [$]")
    magnet: float | None = Field(description="Strike of the largest |net gamma exposure|. [$]")
    pin_score: int = Field(ge=0, le=100)
    pin_probability_pct: float | None = Field(
        description="Implied probability of settling between the magnet's neighbours. [%]"
    )
    regime: Literal["positive_gamma", "negative_gamma", "unknown"]
    atm_iv: float | None = Field(description="At-the-money volatility. [decimal]")
    charm_dollars_per_hour: float | None = Field(
        description="What time alone makes dealers trade in the next hour; positive: buy. [$]"
    )
    hedge_flow_call_cumulative: float = Field(description="Since `flow_since`. [$]")
    hedge_flow_put_cumulative: float = Field(description="Since `flow_since`. [$]")
    hedge_flow_cumulative_all: float = Field(description="Calls + puts; positive: dealers buy.")
    flags: list[str] = Field(description="What the sample says against itself.")
    sampled_at: datetime = Field(description="Slot of the sample that the bar shows.")


class Interval(BaseModel):
    """A stretch of the window without samples."""

    from_: datetime = Field(alias="from", description="First missing slot.")
    to: datetime = Field(description="First slot that is not missing.")
    reason: str = Field(examples=["source_down", "stale", "not_running", "not_sampled"])


class DataAsOf(BaseModel):
    """When each feed last delivered; null for one that the answer does not rest on."""

    node: str
    equity_feed: datetime | None
    equity_options_feed: datetime | None
    index_feed: datetime | None
    index_options_feed: datetime | None
    futures_feed: datetime | None
    futures_options_feed: datetime | None
    flow_feed: datetime | None
    oi_feed: datetime | None
    macro_feed: datetime | None


class Hours(BaseModel):
    """When a session opens and closes."""

    open: datetime
    close: datetime


class Series(BaseModel):
    """A symbol's window of bars, and what it is made of."""

    symbol: str
    expiration: date = Field(description="The session's day in New York.")
    as_of: datetime = Field(description="The server's time.")
    bar_size: Literal["30s", "1m", "5m", "15m"]
    bars: list[Bar] = Field(description="Ascending by `t`.")
    reason: (
        Literal[
            "no_zero_dte",
            "before_open",
            "holiday",
            "closed",
            "not_sampled",
            "stale",
            "unknown_symbol",
        ]
        | None
    ) = Field(None, description="Why the window has no samples; only there when it has none.")
    session: Hours | None = Field(description="Null on a day without one.")
    gap_intervals: list[Interval] = Field(description="What is missing in the window, and why.")
    cursor: int = Field(description="The session's newest change; ask `since` it next time.")
    source: str | None = Field(examples=["cboe"])
    delay_seconds: int | None = Field(description="How far the feed says it lies behind. [s]")
    newest: datetime | None = Field(description="Quote time of the session's newest sample.")
    flow_since: datetime | None = Field(description="The slot that hedge flow counts from.")
    classified_share: float | None = Field(
        description="Part of the volume behind the hedge flow whose side could be told. [0-1]"
    )
    definitions: str = Field(description="Version of the formulas.")
    oi_confidence: float | None = Field(
        description="κ: part of signed volume taken to have opened positions. [0-1]"
    )
    endpoint_version: str
    data_as_of: DataAsOf


class Symbols(BaseModel):
    """What is sampled."""

    symbols: list[str]
    count: int
    last_updated: datetime | None
    dataset: Literal["live", "synthetic"]


class Session(Hours):
    """One trading day."""

    date: date


class Market(BaseModel):
    """The market's hours."""

    state: Literal["open", "pre", "closed", "holiday"]
    session: Session = Field(description="The newest session that has opened.")
    next_open: datetime
    next_close: datetime
    server_time: datetime


class Health(BaseModel):
    """A sign of life."""

    status: Literal["Healthy"]


class Ready(BaseModel):
    """The state of the parts."""

    status: Literal["Ready", "Degraded", "Unavailable"]
    database: Literal["ok", "away"]
    live_channel: Literal["ok", "away"]


class Problem(BaseModel):
    """What every error is, but 401."""

    error: str
    message: str


class InternalError(Problem):
    """Anything unforeseen; the server's log has the trace under the ``id``."""

    id: str


class Unauthorized(BaseModel):
    """No key, or one that is not known."""

    title: Literal["Unauthorized"]
    status: Literal[401]
    detail: str


class TierRestricted(BaseModel):
    """The key's plan does not include this."""

    status: Literal["ERROR"]
    error: Literal["tier_restricted"]
    message: str
    current_plan: str
    required_plan: str


def _example(model: type[BaseModel], example: Any, description: str = "") -> dict[str, Any]:
    content = {"application/json": {"example": example}}
    return {"model": model, "description": description or model.__doc__, "content": content}


def _problem(description: str, error: str, message: str) -> dict[str, Any]:
    return _example(Problem, {"error": error, "message": message}, description)


def _parameter(name: str, description: str, schema: dict[str, Any], where: str = "query") -> Any:
    return {"name": name, "in": where, "description": description, "schema": schema}


_SERIES_EXAMPLE = {
    "symbol": "SPX",
    "expiration": "2026-06-05",
    "as_of": "2026-06-05T18:44:12Z",
    "bar_size": "1m",
    "bars": [
        {
            "t": "2026-06-05T18:44:00Z",
            "spot": 7653.6,
            "net_gex": -7284913205.18,
            "net_dex": 4120338114.02,
            "gamma_flip": 7725.41,
            "gamma_flip_status": "available",
            "call_wall": 7725.0,
            "put_wall": 7720.0,
            "magnet": 7720.0,
            "pin_score": 41,
            "pin_probability_pct": 6.3,
            "regime": "negative_gamma",
            "atm_iv": 0.14735,
            "charm_dollars_per_hour": -812004711.9,
            "hedge_flow_call_cumulative": 182004512.77,
            "hedge_flow_put_cumulative": -97733120.4,
            "hedge_flow_cumulative_all": 84271392.37,
            "flags": [],
            "sampled_at": "2026-06-05T18:44:00Z",
        }
    ],
    "session": {"open": "2026-06-05T13:30:00Z", "close": "2026-06-05T20:00:00Z"},
    "gap_intervals": [
        {
            "from": "2026-06-05T18:02:30Z",
            "to": "2026-06-05T18:04:00Z",
            "reason": "source_down",
        }
    ],
    "cursor": 184213,
    "source": "cboe",
    "delay_seconds": 0,
    "newest": "2026-06-05T18:44:01Z",
    "flow_since": "2026-06-05T13:30:30Z",
    "classified_share": 0.931,
    "definitions": "1",
    "oi_confidence": 0.43,
    "endpoint_version": "1",
    "data_as_of": {
        "node": "flow-1",
        "equity_feed": None,
        "equity_options_feed": None,
        "index_feed": "2026-06-05T18:44:01Z",
        "index_options_feed": "2026-06-05T18:44:01Z",
        "futures_feed": None,
        "futures_options_feed": None,
        "flow_feed": "2026-06-05T18:44:01Z",
        "oi_feed": "2026-06-05T18:44:01Z",
        "macro_feed": None,
    },
}
_UNAVAILABLE = _problem(
    "The database is away; `Retry-After` says when to ask again.",
    "store_unavailable",
    "The store cannot be reached just now; ask again in 5 seconds.",
)
_UNFORESEEN = _example(
    InternalError,
    {
        "error": "internal_error",
        "message": "Something went wrong on our side; the log has the trace under this id.",
        "id": "9f3b2c5d7e1a",
    },
)
_SERIES_PARAMETERS = [
    _parameter(
        "bar",
        "Size of a bar. Its `t` is the start of the bucket; buckets align to the clock.",
        {"type": "string", "enum": ["30s", "1m", "5m", "15m"], "default": "30s"},
    ),
    _parameter(
        "minutes",
        "Length of the window; clamped to 1-390. 60 if left out, 390 with `date`.",
        {"type": "integer", "minimum": 1, "maximum": 390, "default": 60},
    ),
    _parameter(
        "date", "An earlier session, a day in New York.", {"type": "string", "format": "date"}
    ),
    _parameter(
        "since",
        "The `cursor` of an earlier answer: only bars that changed after it.",
        {"type": "integer", "minimum": 0},
    ),
    _parameter(
        "If-None-Match",
        "The `ETag` of an earlier answer: 304 if nothing changed since.",
        {"type": "string"},
        "header",
    ),
]


def completed(told: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI description with the nulls of the example, which FastAPI leaves out."""
    answers = told["paths"]["/v1/flow/zero-dte/series/{symbol}"]["get"]["responses"]
    answers["200"]["content"]["application/json"]["example"] = _SERIES_EXAMPLE
    return told


#: What the reference says of each route, by the route's name in ``app``.
DOCUMENTED: dict[str, dict[str, Any]] = {
    "series": {
        "tags": ["0DTE flow"],
        "summary": "Series",
        "openapi_extra": {"parameters": _SERIES_PARAMETERS},
        "responses": {
            200: _example(Series, _SERIES_EXAMPLE, "The window; `bars` may be empty."),
            304: {"description": "Nothing changed since the `ETag` in `If-None-Match`."},
            400: _problem(
                "`invalid_symbol`, `invalid_bar`, `invalid_minutes`, `invalid_date` or"
                " `invalid_since`.",
                "invalid_bar",
                "bar must be 30s|1m|5m|15m",
            ),
            401: _example(
                Unauthorized,
                {"title": "Unauthorized", "status": 401, "detail": "Invalid API key."},
            ),
            403: _example(
                TierRestricted,
                {
                    "status": "ERROR",
                    "error": "tier_restricted",
                    "message": "This endpoint requires the Growth plan or higher.",
                    "current_plan": "Basic",
                    "required_plan": "Growth",
                },
            ),
            503: _UNAVAILABLE,
            "default": _UNFORESEEN,
        },
    },
    "symbols": {
        "tags": ["Server"],
        "summary": "Symbols",
        "responses": {
            200: {"model": Symbols, "description": "Symbols in order."},
            503: _UNAVAILABLE,
        },
    },
    "market": {
        "tags": ["Server"],
        "summary": "Market hours",
        "responses": {200: {"model": Market, "description": "By the NYSE's calendar."}},
    },
    "health": {
        "tags": ["Server"],
        "summary": "Alive",
        "responses": {200: {"model": Health, "description": "The process answers."}},
    },
    "ready": {
        "tags": ["Server"],
        "summary": "Ready",
        "responses": {
            200: {"model": Ready, "description": "Requests can be answered."},
            503: {"model": Ready, "description": "The database is away."},
        },
    },
}
