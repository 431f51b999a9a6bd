"""The reference: models of what is answered, an example, and what is said of each route.

The models document; answers are built without them. Those of errors are in ``errors``.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from api import errors
from api.openapi.envelope import Hours, Stamp, Windowed


class Bar(BaseModel):
    """One bar: the last sample of its bucket."""

    t: datetime = Field(description="Start of the bucket; a 30 s bar's own slot.")
    spot: float = Field(description="Price of the underlying. [$]")
    net_gex: float = Field(description="$ of delta per 1 % move; positive: dealers dampen moves.")
    net_gex_se: float | None = Field(
        description="Standard deviation of `net_gex` if each trade's side were a coin toss. [$]"
    )
    net_gex_se_measured: float | None = Field(
        description="The same at the measured accuracy of the sides; null where none was. [$]"
    )
    net_dex: float = Field(description="Holders' delta. [$]")
    gamma_flip: float | None = Field(description="Where the repriced net gamma crosses zero. [$]")
    gamma_flip_status: Literal["available", "no_boundary", "insufficient_local_coverage"]
    distance_to_flip_sigmas: float | None = Field(
        description="|flip − spot| over `remaining_1sd`. [standard deviations]"
    )
    flip_out_of_reach: bool | None = Field(
        description="Whether the flip is more than four of these away: price is not there today."
    )
    call_wall: float | None = Field(description="Strike of the largest call gamma exposure. [$]")
    put_wall: float | None = Field(description="Strike of the largest put gamma exposure. [$]")
    magnet: float | None = Field(description="Strike of the largest |net gamma exposure|. [$]")
    pin_score: int = Field(ge=0, le=100)
    pin_probability_pct: float | None = Field(
        description="Implied probability of settling between the magnet's neighbours. [%]"
    )
    regime: Literal["positive_gamma", "negative_gamma", "unknown"]
    regime_confidence: float | None = Field(
        description=(
            "Probability that the sign of `net_gex` is right, given κ and the dealer convention."
            " [0-1]"
        )
    )
    atm_iv: float | None = Field(description="At-the-money volatility. [decimal]")
    remaining_1sd: float | None = Field(
        description="One standard deviation of what is left of the session. [$]"
    )
    charm_dollars_per_hour: float | None = Field(
        description=(
            "What time alone makes dealers trade within `charm_horizon_seconds`, not scaled to an"
            " hour; positive: they buy. Null in the last minute. [$]"
        )
    )
    charm_horizon_seconds: float | None = Field(
        description="The time that charm looks ahead: an hour, or half of what is left. [s]"
    )
    hedge_flow_call_cumulative: float = Field(description="Since `flow_since`. [$]")
    hedge_flow_put_cumulative: float = Field(description="Since `flow_since`. [$]")
    hedge_flow_cumulative_all: float = Field(description="Calls + puts; positive: dealers buy.")
    flags: list[str] = Field(description="What the sample says against itself.")
    sampled_at: datetime = Field(description="Slot of the sample that the bar shows.")


class Series(Windowed):
    """A symbol's window of bars, and what it is made of."""

    bars: list[Bar] = Field(description="Ascending by `t`.")


class Many(BaseModel):
    """The windows of several symbols."""

    count: int
    cursor: str = Field(description="One number for each symbol; send it back as `since`.")
    series: list[Series] = Field(description="In the order asked for.")


class Symbols(Stamp):
    """What is sampled."""

    symbols: list[str]
    count: int
    last_updated: datetime | None
    dataset: Literal["live", "synthetic"]


class Session(Hours):
    """One trading day."""

    date: date


class Market(Stamp):
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
            "net_gex_se": 3104882911.4,
            "net_gex_se_measured": 2896663017.2,
            "net_dex": 4120338114.02,
            "gamma_flip": 7725.41,
            "gamma_flip_status": "available",
            "distance_to_flip_sigmas": 2.50821,
            "flip_out_of_reach": False,
            "call_wall": 7725.0,
            "put_wall": 7720.0,
            "magnet": 7720.0,
            "pin_score": 41,
            "pin_probability_pct": 6.3,
            "regime": "negative_gamma",
            "regime_confidence": 0.99408,
            "atm_iv": 0.14735,
            "remaining_1sd": 28.63,
            "charm_dollars_per_hour": -812004711.9,
            "charm_horizon_seconds": 2268.0,
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
    "definitions": "3",
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


#: Example answers that have nulls, by path: FastAPI leaves nulls of an example out.
EXAMPLES = {"/v1/flow/zero-dte/series/{symbol}": _SERIES_EXAMPLE}

_FORMAT = _parameter(
    "format",
    "How to send it; an `Accept` header does too. All but `json` are flat tables, a row a bar.",
    {"type": "string", "enum": ["json", "csv", "ndjson", "parquet", "arrow"], "default": "json"},
)
_MANY_PARAMETERS = [
    {
        **_parameter("symbols", "Up to 50, comma-separated.", {"type": "string"}),
        "required": True,
        "example": "SPX,SPY",
    },
    *(p for p in _SERIES_PARAMETERS if p["name"] != "since"),
    _parameter(
        "since",
        "The `cursor` of an earlier answer: one number for all, or one for each symbol.",
        {"type": "string"},
    ),
    _FORMAT,
]
_STREAM_PARAMETERS = [
    _SERIES_PARAMETERS[0],
    next(p for p in _SERIES_PARAMETERS if p["name"] == "since"),
    _parameter(
        "Last-Event-ID",
        "The `id` of the last event that was read; browsers send it by themselves.",
        {"type": "integer", "minimum": 0},
        "header",
    ),
]
_STREAM_EXAMPLE = (
    'id: 184213\ndata: {"t":"2026-06-05T18:44:00Z","spot":7653.6}\n\n'
    'id: 184214\nevent: gap\ndata: {"from":"2026-06-05T18:44:30Z",'
    '"to":"2026-06-05T18:45:00Z","reason":"source_down"}\n\n'
)


#: What the reference says of each route, by the route's name in ``app``.
DOCUMENTED: dict[str, dict[str, Any]] = {
    "series": {
        "tags": ["0DTE flow"],
        "summary": "Series",
        "openapi_extra": {"parameters": [*_SERIES_PARAMETERS, _FORMAT]},
        "responses": {
            200: errors.documented_response(
                Series, _SERIES_EXAMPLE, "The window; `bars` may be empty."
            ),
            304: {"description": "Nothing changed since the `ETag` in `If-None-Match`."},
            400: errors.INVALID,
            403: errors.RESTRICTED,
            **errors.DENIED,
            503: errors.UNAVAILABLE,
            "default": errors.UNFORESEEN,
        },
    },
    "many": {
        "tags": ["0DTE flow"],
        "summary": "Series of several symbols",
        "openapi_extra": {"parameters": _MANY_PARAMETERS},
        "responses": {
            200: errors.documented_response(
                Many,
                {"count": 1, "cursor": "184213", "series": [_SERIES_EXAMPLE]},
                "A window for each symbol, in the order asked for.",
            ),
            304: {"description": "Nothing changed since the `ETag` in `If-None-Match`."},
            400: errors.INVALID,
            **errors.DENIED,
            403: errors.RESTRICTED,
            503: errors.UNAVAILABLE,
            "default": errors.UNFORESEEN,
        },
    },
    "stream": {
        "tags": ["0DTE flow"],
        "summary": "Stream of the series",
        "openapi_extra": {"parameters": _STREAM_PARAMETERS},
        "responses": {
            200: {
                "description": "Events until one side hangs up.",
                "content": {
                    "text/event-stream": {
                        "schema": {"type": "string"},
                        "example": _STREAM_EXAMPLE,
                    }
                },
            },
            400: errors.INVALID,
            **errors.DENIED,
            403: errors.RESTRICTED,
            503: errors.UNAVAILABLE,
            "default": errors.UNFORESEEN,
        },
    },
    "symbols": {
        "tags": ["Server"],
        "summary": "Symbols",
        "responses": {
            200: {"model": Symbols, "description": "Symbols in order."},
            **errors.DENIED,
            503: errors.UNAVAILABLE,
        },
    },
    "market": {
        "tags": ["Server"],
        "summary": "Market hours",
        "responses": {
            200: {"model": Market, "description": "By the NYSE's calendar."},
            **errors.DENIED,
        },
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
