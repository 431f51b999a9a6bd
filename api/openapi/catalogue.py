"""Every route of the API as the reference describes it: path, words, parameters and answers.

The handlers in ``api/routes`` are registered with these routes. Examples are in ``examples/``: real
answers of the synthetic market, their lists cut short.
"""

from __future__ import annotations

import inspect
import json
from importlib.resources import files
from typing import Any, NamedTuple

from pydantic import BaseModel
from starlette.responses import Response

from api import errors
from api.documents.alerts import ALERT_KINDS, DEFAULT_LIMIT
from api.documents.query import BOOKS, LEADERBOARD_METRICS, METRICS, MODES, SIDES
from api.openapi import (
    alerts,
    chain,
    explain,
    platforms,
    scorecard,
    siblings,
    status,
    terminals,
    windows,
)
from storage.scorecard.summary import KINDS

_ZERO, _FLOW = "/v1/flow/zero-dte/", "/v1/flow/"
_SERIES = f"{_ZERO}series"
_SYMBOL = "/{symbol:path}"

#: The groups of routes. A route's tag is one of these names.
TAGS = [
    {"name": "Zero-DTE flow", "description": "The series and what is made of a session's samples."},
    {"name": "Live", "description": "Figures of the nearest stored expiry at one moment."},
    {"name": "Terminals", "description": "OpenBB Workspace's widgets, and a UDF datafeed."},
    {"name": "Alerts", "description": "What has happened, and the rules of market events."},
    {"name": "Server", "description": "The server itself, its caller, and the market's hours."},
]


class Route(NamedTuple):
    """A route of the API."""

    path: str
    #: What FastAPI takes beside the path: summary, description, parameters, answers and so on.
    described: dict[str, Any]


def example(name: str) -> Any:
    """Return an example of a route's answer.

    Parameters
    ----------
    name : the route, as the tables here name it.

    Returns
    -------
    dict
        The answer's JSON.
    """
    return json.loads(files("api.openapi").joinpath("examples", f"{name}.json").read_text())


# Parameters


def _parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return _parameter(name, description, **schema) | {"in": "header"}


def _word(name: str, description: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    return _parameter(name, description, type="string", enum=list(allowed), default=allowed[0])


def _bar(default: str) -> dict[str, Any]:
    return _parameter(
        "bar",
        "Size of a bar. Its `t` is the start of the bucket; buckets align to the clock.",
        type="string",
        enum=["30s", "1m", "5m", "15m"],
        default=default,
    )


def _minutes(**bounds: int) -> dict[str, Any]:
    return _parameter(
        "minutes",
        "Length of the window; clamped to 1-390. 60 if left out, 390 with `date`.",
        type="integer",
        default=60,
        **bounds,
    )


def _date(description: str) -> dict[str, Any]:
    return _parameter("date", description, type="string", format="date")


_STORED_DATE = _date("A stored session, a day in New York.")
_EXPIRY = _parameter(
    "expiry", "The expiry to answer for; it must be stored.", type="string", format="date"
)
_AT = _parameter(
    "at",
    "Nothing that was quoted later than this moment: ISO 8601 with an offset, or a New York wall"
    " time without one.",
    type="string",
    examples=["2026-08-19T14:30:00Z"],
)
_STRIKE_RANGE = _parameter(
    "strike_range",
    "Part of spot that `strikes` and the two quality scores reach to either side; clamped to"
    " 0.001-0.10.",
    type="number",
    default=0.03,
)
_N = _parameter("n", "How many symbols; clamped to 1-100.", type="integer", default=20)
_SYMBOLS = _parameter("symbols", "Up to 50, comma-separated.", type="string") | {
    "required": True,
    "example": "SPX,SPY",
}
_FIGURE = _parameter(
    "figure",
    "What is explained: a name of the definitions' glossary.",
    type="string",
    default="net_gex",
)
_STRIKE = _parameter(
    "strike",
    "A listed strike: its part of the figure is explained. A figure that exists by strike alone"
    " needs one.",
    type="number",
)
_SINCE = _parameter(
    "since",
    "The `cursor` of an earlier answer: only bars that changed after it.",
    type="integer",
    minimum=0,
)
_SINCE_EACH = _parameter(
    "since",
    "The `cursor` of an earlier answer: one number for all, or one for each symbol.",
    type="string",
)
_FEED = _parameter(
    "feed",
    "Whose samples: the name of a feed. Left out, it is the feed that is shown of the session; the"
    " answer names it as `feed`.",
    type="string",
    examples=["cboe"],
)
_FEED_OF_ALL = _parameter(
    "feed",
    "Whose samples: the name of a feed. Left out, it is the feed that is shown of each session;"
    " each entry names its own as `feed`.",
    type="string",
    examples=["cboe"],
)
_FEED_OF_STREAM = _parameter(
    "feed",
    "Whose bars: the name of a feed. Left out, they are of the feed that is shown, and the stream"
    " ends when another one is shown.",
    type="string",
    examples=["cboe"],
)
_FORMAT = _parameter(
    "format",
    "How to send it; an `Accept` header does too. All but `json` are flat tables, a row a bar.",
    type="string",
    enum=["json", "csv", "ndjson", "parquet", "arrow"],
    default="json",
)
_IF_NONE_MATCH = _header(
    "If-None-Match",
    "The `ETag` of an earlier answer: 304 if nothing changed since.",
    type="string",
)
_RANGE = _header(
    "Range",
    "Part of a table, such as `bytes=0-99` or `bytes=-500`; JSON, and a header with several ranges,"
    " are answered whole.",
    type="string",
)
_IF_MATCH = _header(
    "If-Match",
    "Of a table in ranges: the strong `ETag` of the file that is read; 412 if it is another one.",
    type="string",
)
_IF_RANGE = _header(
    "If-Range",
    "The strong `ETag` of the file that `Range` is a part of; of another file all is sent.",
    type="string",
)
_LAST_EVENT_ID = _header(
    "Last-Event-ID",
    "The `id` of the last event that was read; browsers send it by themselves.",
    type="integer",
    minimum=0,
)
_SERIES_WINDOW = (
    _bar("30s"),
    _minutes(minimum=1, maximum=390),
    _date("An earlier session, a day in New York."),
    _FEED,
)
_WINDOW = (_minutes(), _STORED_DATE, _FEED, _IF_NONE_MATCH)
_MOMENT = (_EXPIRY, _STORED_DATE, _AT, _FEED)


# Answers

_ABSENT = errors.documented_response(
    errors.NotFound,
    {"error": "symbol_not_found", "message": "No data for XYZ."},
    "Nothing was ever sampled of the symbol, or of the expiry.",
)


def _invalid(*names: str) -> dict[str, Any]:
    words = [f"`invalid_{name}`" for name in names]
    problem = {"error": "invalid_date", "message": "date must be YYYY-MM-DD"}
    return errors.documented_response(errors.Problem, problem, f"{', '.join(words)}.")


def _restricted(plan: str) -> dict[str, Any]:
    below = {"Free": "Levels", "Growth": "Basic", "Alpha": "Growth"}[plan]
    refusal = {
        "status": "ERROR",
        "error": "tier_restricted",
        "message": f"This endpoint requires the {plan} plan or higher.",
        "current_plan": below,
        "required_plan": plan,
    }
    return errors.documented_response(errors.TierRestricted, refusal)


def _answer(model: Any, description: str, name: str | None = None) -> dict[str, Any]:
    answer = {"model": model, "description": description}
    if name is not None:
        answer["content"] = {"application/json": {"example": example(name)}}
    return answer


def _route(
    path: str,
    summary: str,
    description: str,
    answers: dict[int | str, Any],
    *parameters: dict[str, Any],
    tag: str,
    operation_id: str,
    body: dict[str, Any] | None = None,
) -> Route:
    """Describe a route.

    Parameters
    ----------
    path, summary, description
        The path, and words about it.
    answers
        FastAPI's ``responses``; 421 is added. A route without 401 among them needs no key.
    *parameters
        Parameters beside those of the path.
    tag
        A name of ``TAGS``.
    operation_id
        ``get_`` or another method, and what is got: generators name functions and types by it. The
        method keeps those names apart from the models'.
    body
        What a request carries, as OpenAPI's ``requestBody``.
    """
    extra: dict[str, Any] = {"parameters": list(parameters)} if parameters else {}
    if body is not None:
        extra["requestBody"] = body
    if 401 not in answers:
        extra["security"] = []
    described: dict[str, Any] = {
        "summary": summary,
        "description": inspect.cleandoc(description),
        "tags": [tag],
        "operation_id": operation_id,
        "openapi_extra": extra or None,
        "responses": answers | {421: errors.MISDIRECTED},
    }
    if "model" not in answers[200]:
        # Of the framework's own class it would say that the answer may be JSON too.
        described["response_class"] = Response
    return Route(path, described)


def _data_answers(
    path: str,
    answer: dict[str, Any],
    parameters: tuple[dict[str, Any], ...],
    *,
    plan: str = "Growth",
    absent: bool = False,
) -> dict[int | str, Any]:
    """Return the answers of a route that reads what is stored: the data, and every refusal."""
    invalid = ["symbol"] if "{" in path or _SYMBOLS in parameters else []
    invalid += [p["name"] for p in parameters if p["in"] == "query"]
    answers: dict[int | str, Any] = {
        200: answer,
        400: _invalid(*invalid),
        **errors.DENIED,
        503: errors.UNAVAILABLE,
        "default": errors.UNFORESEEN,
    }
    if _IF_NONE_MATCH in parameters:
        answers[304] = {"description": "Nothing changed since the `ETag` in `If-None-Match`."}
    if plan != "Levels":
        answers[403] = _restricted(plan)
    if absent:
        answers[404] = _ABSENT
    return answers


# The series


def _series(
    path: str,
    summary: str,
    description: str,
    answer: dict[str, Any],
    *parameters: dict[str, Any],
    operation_id: str,
) -> Route:
    answers = _data_answers(path, answer, parameters)
    if _RANGE in parameters:
        answers[206] = {"description": "The part of the table.", "content": _TABLES}
        answers[412] = errors.problem(
            "The table in ranges is another file than `If-Match` names.",
            "precondition_failed",
            "the file is another one than If-Match names",
        )
        answers[416] = errors.problem(
            "The table ends before the range begins; `Content-Range` has its length.",
            "range_not_satisfiable",
            "the file ends before the range begins",
        )
    return _route(
        path,
        summary,
        description,
        answers,
        *parameters,
        tag="Zero-DTE flow",
        operation_id=operation_id,
    )


_TEXT, _FILE = {"type": "string"}, {"type": "string", "format": "binary"}
#: What `format` or an Accept header gets instead of JSON.
_TABLES = {
    "text/csv": {"schema": _TEXT},
    "application/x-ndjson": {"schema": _TEXT},
    "application/vnd.apache.parquet": {"schema": _FILE},
    "application/vnd.apache.arrow.stream": {"schema": _FILE},
}


def _tables(answer: dict[str, Any]) -> dict[str, Any]:
    """Add the other formats to an answer in JSON."""
    return answer | {"content": answer["content"] | _TABLES}


_EVENTS = (
    'id: 184213\ndata: {"t":"2026-06-05T18:44:00Z","spot":7653.6}\n\n'
    'id: 184214\nevent: gap\ndata: {"from":"2026-06-05T18:44:30Z",'
    '"to":"2026-06-05T18:45:00Z","reason":"source_down"}\n\n'
)

#: The routes of the series, by name.
SERIES = {
    "series": _series(
        _SERIES + _SYMBOL,
        "Series",
        """The zero-DTE headline figures of a symbol, a bar every 30 seconds to 15 minutes.

        Without parameters: the last 60 minutes of today's session. The window is half-open. It
        ends at the close, or, while the session is open, at the present less the feed's delay.
        Each bar is the *last* sample of its bucket. The running bucket is included, so that
        cumulative values are current. The answer for a symbol without samples has `bars: []` and
        the `reason`.""",
        _tables(_answer(windows.Series, "The window; `bars` may be empty.", "series")),
        *_SERIES_WINDOW,
        _SINCE,
        _IF_NONE_MATCH,
        _FORMAT,
        _RANGE,
        _IF_RANGE,
        _IF_MATCH,
        operation_id="get_series",
    ),
    "many": _series(
        _SERIES,
        "Series of several symbols",
        """Several symbols in one request. Each answer equals that of the symbol's own route.

        `cursor` has one number for each symbol, in the order of `symbols`; send it back as
        `since`.""",
        _tables(_answer(windows.Many, "A window for each symbol, in the order asked for.", "many")),
        _SYMBOLS,
        *_SERIES_WINDOW,
        _IF_NONE_MATCH,
        _SINCE_EACH,
        _FORMAT,
        _RANGE,
        _IF_RANGE,
        _IF_MATCH,
        operation_id="get_many_series",
    ),
    "stream": _series(
        f"{_SERIES}{_SYMBOL}/stream",
        "Stream of the series",
        """Bars as they are stored, as Server-Sent Events.

        An event's `data` is the bar as in the series, and its `id` is the cursor. `Last-Event-ID`
        or `since` continues after that cursor; nothing is left out or sent twice. Events cover new
        bars, the running bucket and slots that were filled late, in today's session and the one
        before. An event `gap` is a slot without a sample, with the reason. A comment every 15
        seconds shows that the stream is alive. A reader who is too slow is disconnected.""",
        {
            "description": "Events, until the client or the server closes the connection.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EVENTS}},
        },
        _bar("30s"),
        _FEED_OF_STREAM,
        _SINCE,
        _LAST_EVENT_ID,
        operation_id="get_series_stream",
    ),
}


# The documents


def _document(
    name: str,
    path: str,
    model: Any,
    summary: str,
    description: str,
    *parameters: dict[str, Any],
    plan: str = "Growth",
    tag: str = "Zero-DTE flow",
    absent: bool = True,
) -> Route:
    answer = _answer(model, "The answer.", name)
    answers = _data_answers(path, answer, parameters, plan=plan, absent=absent)
    operation_id = f"get_{name.replace('-', '_')}"
    return _route(
        path, summary, description, answers, *parameters, tag=tag, operation_id=operation_id
    )


def _sibling(name: str, model: type[BaseModel], summary: str, description: str) -> Route:
    path = f"{_FLOW}{name}{_SYMBOL}"
    return _document(name, path, model, summary, description, *_MOMENT, tag="Live")


_SNAPSHOT: Any = chain.Snapshot | chain.NoZeroDte | chain.SessionClosed
_EXPOSURE: Any = chain.Exposure | chain.ExposureNoZeroDte | chain.ExposureSessionClosed

#: The routes of the documents, by name.
DOCUMENTS = {
    "hedge-flow": _document(
        "hedge-flow",
        f"{_ZERO}hedge-flow{_SYMBOL}",
        windows.HedgeFlow,
        "Hedge flow",
        """Dollars that dealers bought (positive) or sold to hedge customers' trades.

        Each bar has its own amount, and the sum since the session's baseline.""",
        _word("side", "Whose contracts.", SIDES),
        _bar("30s"),
        *_WINDOW,
        absent=False,
    ),
    "pressure": _document(
        "pressure",
        f"{_ZERO}pressure{_SYMBOL}",
        windows.Pressure,
        "Pressure",
        """Hedge flow by bar, its rate, and where both stand among stored sessions by that time.

        Only sessions of the same feed, formulas and cadence compare, and only earlier ones: an
        answer about a past moment says what was known then.""",
        _bar("1m"),
        *_WINDOW,
        absent=False,
    ),
    "snapshot": _document(
        "snapshot",
        f"{_ZERO}snapshot{_SYMBOL}",
        _SNAPSHOT,
        "Snapshot",
        "Today's chain now, on effective open interest: this morning's, moved by today's flow.",
        *_MOMENT,
    ),
    "exposure": _document(
        "exposure",
        f"/v1/exposure/zero-dte{_SYMBOL}",
        _EXPOSURE,
        "Exposure",
        "Today's chain now, on this morning's open interest alone; the last one while closed.",
        _STRIKE_RANGE,
        *_MOMENT,
    ),
    "heatmap": _document(
        "heatmap",
        f"{_ZERO}heatmap{_SYMBOL}",
        windows.Heatmap,
        "Heatmap",
        "One metric by strike and bar.",
        _word("metric", "What is shown.", METRICS),
        _word(
            "mode",
            "As it stands, its change from bar to bar (the first raw), or since the first sample.",
            MODES,
        ),
        _word("book", "The live book, or this morning's open interest alone.", BOOKS),
        _bar("1m"),
        *_WINDOW,
        plan="Alpha",
        absent=False,
    ),
    "strike-flow": _document(
        "strike-flow",
        f"{_ZERO}strike-flow{_SYMBOL}",
        windows.StrikeFlow,
        "Strike flow",
        "Signed flow by strike and bar.",
        _bar("1m"),
        *_WINDOW,
        plan="Alpha",
        absent=False,
    ),
    "leaderboard": _document(
        "leaderboard",
        f"{_ZERO}leaderboard",
        windows.Leaderboard,
        "Leaderboard",
        """Symbols ranked by one figure of their newest sample, in the newest session or on `date`.

        Each symbol's sample is of the feed that is shown of its session, or of `feed`; a symbol
        without samples of it is left out.""",
        _word("metric", "What is ranked.", LEADERBOARD_METRICS),
        _N,
        _STORED_DATE,
        _FEED_OF_ALL,
        plan="Alpha",
        absent=False,
    ),
    "scorecard": _document(
        "scorecard",
        f"/v1/scorecard{_SYMBOL}",
        scorecard.Scorecard,
        "Scorecard",
        """How a symbol's forecasts came out: pin, ranges, walls, regime and flow.

        Frozen ones were fixed before the outcome was known; those that were made afterwards, from
        stored rows or recorded frames, are apart. n and sessions stand beside each figure.""",
        _parameter("from", "The first session that counts.", type="string", format="date"),
        _parameter("to", "The last session that counts.", type="string", format="date"),
        _parameter("kind", "Only this kind; the others are null.", type="string", enum=list(KINDS)),
    ),
    "sessions": _document(
        "sessions",
        f"{_ZERO}sessions{_SYMBOL}",
        windows.Sessions,
        "Stored sessions",
        "Stored sessions of a symbol, and how many of each session's slots are stored.",
        _FEED,
        plan="Free",
    ),
    "explain": _document(
        "explain",
        f"/v1/explain{_SYMBOL}",
        explain.Explanation,
        "Explain a figure",
        """One figure of one sample: its formula, inputs, largest strikes and flags in words.

        Where the formula is arithmetic on stored figures, `check` does it again.""",
        _FIGURE,
        _STRIKE,
        *_MOMENT,
    ),
    "held-levels": _document(
        "held-levels",
        f"{_ZERO}held-levels{_SYMBOL}",
        windows.HeldLevels,
        "Held levels",
        """Flip, walls and magnet with hysteresis, by bar.

        A wall or the magnet moves when the gamma of another strike has exceeded that of its own by
        `lead_share` in every 30 s sample of `hold_seconds`. The flip is followed as it drifts; a
        leap to another crossing counts once that one has led for as long.""",
        _bar("30s"),
        *_WINDOW,
        absent=False,
    ),
    "history": _document(
        "history",
        f"{_ZERO}history{_SYMBOL}",
        windows.History,
        "History",
        """The newest stored sessions of a symbol, each in a few numbers.

        How it opened, its range, how much of it is stored, and its course by quarters of an
        hour.""",
        _parameter("n", "How many sessions; clamped to 1-100.", type="integer", default=20),
        _date("The last day that counts; today if left out."),
        _FEED_OF_ALL,
    ),
    "projection": _document(
        "projection",
        f"{_ZERO}projection{_SYMBOL}",
        windows.Projection,
        "Projection to the close",
        """Gamma and charm at levels of spot and later times, and the flip's way, of the live book.

        Repriced by the sampler with the first sample of each five minutes; the answer has the
        newest; its lists are empty where the session has none.""",
        *_MOMENT,
    ),
    "levels": _sibling(
        "levels", siblings.Levels, "Levels", "Flip, walls and max pain of the live book."
    ),
    "pin-risk": _sibling(
        "pin-risk",
        siblings.PinRisk,
        "Pin risk",
        "The pin score and its parts; the time to the close is 0.1 hours at least.",
    ),
    "gex": _sibling(
        "gex",
        siblings.Gex,
        "Gamma by strike",
        """Gamma exposure by strike, every strike; open interest is the effective one.

        Changes from one day's open interest to the next are not known: null.""",
    ),
    "dex": _sibling(
        "dex", siblings.Dex, "Delta by strike", "Holders' delta by strike, every strike."
    ),
    "summary": _sibling(
        "summary", siblings.Summary, "Summary", "What flow has changed, in six figures."
    ),
    "dealer-risk": _sibling(
        "dealer-risk",
        siblings.DealerRisk,
        "Dealer risk",
        "Settled and live exposures side by side.",
    ),
    "oi": _sibling(
        "oi",
        siblings.Oi,
        "Open interest",
        "Open interest: this morning's, with flow, and what the live book uses.",
    ),
    "live": _sibling(
        "live",
        siblings.Everything,
        "Everything live",
        "Open interest, live exposures and levels, pin, and dealers' risk in one answer.",
    ),
}


# The server itself

#: The routes about the server and the caller, by name.
SERVER = {
    "symbols": _route(
        "/v1/symbols",
        "Symbols",
        "Every symbol that was ever sampled, those of `FLOW_SYMBOLS` first, in its order; and the"
        " slot of the newest sample of all.",
        {
            200: _answer(status.Symbols, "Symbols in order."),
            **errors.DENIED,
            403: _restricted("Free"),
            503: errors.UNAVAILABLE,
        },
        tag="Server",
        operation_id="get_symbols",
    ),
    "market": _route(
        "/v1/market",
        "Market hours",
        """Whether the market is open, the newest session, and the server's time.

        After a new installation a sampler compiles the formulas, once; `formulas` says how far it
        is. A simulated market waits for it: `waiting` is true until it begins.
        """,
        {
            200: _answer(status.Market, "By the NYSE's calendar."),
            **errors.DENIED,
            403: _restricted("Free"),
        },
        tag="Server",
        operation_id="get_market",
    ),
    "account": _route(
        "/v1/account",
        "Account",
        "The caller's plan, and what is left of today's quota. This request does not count.",
        {
            200: _answer(
                status.Account,
                "The caller's plan and quota. This request does not count.",
                "account",
            ),
            401: errors.UNAUTHORIZED,
        },
        tag="Server",
        operation_id="get_account",
    ),
    "health": _route(
        "/health",
        "Alive",
        "The process is alive.",
        {200: _answer(status.Health, "The process answers.")},
        tag="Server",
        operation_id="get_health",
    ),
    "ready": _route(
        "/ready",
        "Ready",
        """Whether requests can be answered, and with rows of now. Looked at once a second at most.

        Without the live channel they can, but new data reach the server later: it polls the
        database. Where some of the symbols that are due get no rows, the status is `Degraded`;
        where none of them does, it is `Stale`, with 503.""",
        {
            200: _answer(status.Ready, "Requests can be answered."),
            503: _answer(status.Ready, "The database is away, or no symbol that is due gets rows."),
        },
        tag="Server",
        operation_id="get_ready",
    ),
    "metrics": _route(
        "/metrics",
        "Metrics",
        "Metrics of this process and its data, for Prometheus. No key is needed.",
        {
            200: {
                "description": "Prometheus' text format.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            404: errors.problem(
                "The metrics have a port of their own.",
                "not_found",
                "The metrics are on FLOW_API_METRICS_PORT of loopback.",
            ),
        },
        tag="Server",
        operation_id="get_metrics",
    ),
}


# Levels for other programs

_TARGET = (
    _parameter(
        "to",
        "The instrument in whose prices the levels are wanted; the symbol itself if left out. For"
        " one that is sampled here and follows the same index, no basis is needed.",
        type="string",
        examples=["ES"],
    ),
    _parameter("price", "The target's price now. [$ or points]", type="number", examples=[7461.5]),
    _parameter(
        "basis", "The target's price less the symbol's. [points]", type="number", examples=[38.25]
    ),
    _parameter("ratio", "The target's price over the symbol's.", type="number", examples=[0.0997]),
)
_LEVELS_QUERY = (
    *_TARGET,
    _parameter(
        "format",
        "How to send it; an `Accept` header does too.",
        type="string",
        enum=["json", "csv"],
        default="json",
    ),
    *_MOMENT,
)
_CSV = (
    "key,name,price,level,doubts,symbol,target,basis_kind,basis,quoted_at,age_seconds,delay_seconds,"
    "market_open,simulated\ncall_wall,Call wall,7488.25,7450.0,,SPX,ES,difference,38.25,"
    "2026-06-05T18:44:02Z,3,0,true,false\n"
)

#: The routes for charting programs and spreadsheets, by name.
PLATFORMS = {
    "levels": _document(
        "platform-levels",
        f"/v1/levels{_SYMBOL}",
        platforms.PlatformLevels,
        "Levels for other programs",
        """The newest levels under stable keys, as JSON or CSV, in the prices of any instrument.

        While the market is closed it is the last sample of the newest session, and `age_seconds`
        says how old that is.""",
        *_LEVELS_QUERY,
        plan="Levels",
        tag="Live",
    ),
}
PLATFORMS["levels"].described["responses"][200]["content"]["text/csv"] = {
    "schema": {"type": "string"},
    "example": _CSV,
}


# Formats of other programs

_TICKER = _parameter(
    "symbol",
    "An underlying, or one of its figures: `SPX`, `SPX.NET_GEX`, `FLOW:SPX.FLIP`.",
    type="string",
    examples=["SPX.NET_GEX"],
) | {"required": True}
_FROM = _parameter("from", "Unix seconds.", type="integer", minimum=0, examples=[1795788000])
_TO = _parameter("to", "Unix seconds; not included.", type="integer", examples=[1795791600]) | {
    "required": True
}
_WIDGET_SYMBOL = _parameter("symbol", "The underlying.", type="string", default="SPX")
_UDF_INVALID = errors.documented_response(
    terminals.UdfError, {"s": "error", "errmsg": "from and to are Unix seconds"}
)
_UDF_UNKNOWN = errors.documented_response(
    terminals.UdfError, {"s": "error", "errmsg": "unknown symbol"}
)


def _terminal(
    name: str,
    path: str,
    model: Any,
    summary: str,
    description: str,
    *parameters: dict[str, Any],
    plan: str | None = "Growth",
    refusals: dict[int | str, Any] | None = None,
) -> Route:
    answer = _answer(model, "The answer.")
    answers: dict[int | str, Any] = {200: answer, "default": errors.UNFORESEEN}
    if plan is not None:
        answers |= {**errors.DENIED, 403: _restricted(plan), 503: errors.UNAVAILABLE}
    answers |= refusals or {}
    operation_id = f"get_{name.replace('-', '_')}"
    return _route(
        path,
        summary,
        description,
        answers,
        *parameters,
        tag="Terminals",
        operation_id=operation_id,
    )


_WIDGET_REFUSALS: dict[int | str, Any] = {400: _invalid("symbol"), 404: _ABSENT}
#: The routes whose form other programs prescribe, by name.
TERMINALS = {
    "widgets": _terminal(
        "openbb-widgets",
        "/widgets.json",
        dict[str, terminals.WorkspaceWidget],
        "OpenBB's widgets",
        "What OpenBB Workspace can put on a dashboard; the paths in it are relative to the server.",
        plan="Free",
    ),
    "apps": _terminal(
        "openbb-apps",
        "/apps.json",
        list[terminals.WorkspaceApp],
        "OpenBB's dashboard",
        "A dashboard of all widgets.",
        plan="Free",
    ),
    "openbb-symbols": _terminal(
        "openbb-symbols",
        "/openbb/symbols",
        list[terminals.WorkspaceOption],
        "Symbols for a widget",
        "What a widget's symbol can be.",
        plan="Free",
    ),
    "openbb-levels": _terminal(
        "openbb-levels",
        "/openbb/levels",
        list[terminals.WorkspaceLevel],
        "Levels for a widget",
        "The newest sample's levels as a table, the highest first.",
        _WIDGET_SYMBOL,
        refusals=_WIDGET_REFUSALS,
    ),
    "openbb-figures": _terminal(
        "openbb-figures",
        "/openbb/figures",
        list[terminals.WorkspaceFigure],
        "Figures for a widget",
        "The newest sample's figures as labels and values.",
        _WIDGET_SYMBOL,
        refusals=_WIDGET_REFUSALS,
    ),
    "openbb-strikes": _terminal(
        "openbb-strikes",
        "/openbb/strikes",
        terminals.PlotlyFigure,
        "Strikes for a widget",
        "The newest sample's gamma exposure by strike, as a figure of Plotly.",
        _WIDGET_SYMBOL,
        refusals=_WIDGET_REFUSALS,
    ),
    "openbb-bars": _terminal(
        "openbb-bars",
        "/openbb/bars",
        list[terminals.WorkspaceBar],
        "Bars for a widget",
        "The newest session's bars of five minutes as a table, the newest first.",
        _WIDGET_SYMBOL,
        refusals=_WIDGET_REFUSALS,
    ),
    "udf-config": _terminal(
        "udf-config",
        "/udf/config",
        terminals.UdfConfig,
        "Datafeed",
        "What the UDF datafeed can do.",
        plan=None,
    ),
    "udf-time": _route(
        "/udf/time",
        "Datafeed: time",
        "The server's time in Unix seconds, which a simulated market sets.",
        {
            200: {
                "description": "Digits.",
                "content": {"text/plain": {"schema": {"type": "string"}, "example": "1795788000"}},
            }
        },
        tag="Terminals",
        operation_id="get_udf_time",
    ),
    "udf-symbols": _terminal(
        "udf-symbol",
        "/udf/symbols",
        terminals.UdfSymbol,
        "Datafeed: a symbol",
        "What one symbol of the datafeed is.",
        _TICKER,
        plan="Free",
        refusals={404: _UDF_UNKNOWN},
    ),
    "udf-search": _terminal(
        "udf-search",
        "/udf/search",
        list[terminals.UdfMatch],
        "Datafeed: search",
        "Symbols that have the text in their name or description.",
        _parameter("query", "The text.", type="string"),
        _parameter("type", "`price` or `figure`.", type="string"),
        _parameter("exchange", "Not used: there is one.", type="string"),
        _parameter("limit", "How many at most; 500.", type="integer", minimum=0, default=30),
        plan="Free",
    ),
    "udf-history": _terminal(
        "udf-history",
        "/udf/history",
        terminals.UdfBars | terminals.UdfNothing,
        "Datafeed: bars",
        """Bars of a symbol: first, largest, smallest and last of the 30 s samples of each bucket.

        `countback` stands above `from`: so many bars before `to`, however far back they are.""",
        _TICKER,
        _parameter("resolution", "Of a bar.", type="string", enum=["30S", "1", "5", "15"])
        | {"required": True},
        _FROM,
        _TO,
        _parameter("countback", "How many bars.", type="integer", minimum=0),
        refusals={400: _UDF_INVALID, 404: _UDF_UNKNOWN},
    ),
    "udf-marks": _terminal(
        "udf-marks",
        "/udf/marks",
        terminals.UdfMarks,
        "Datafeed: marks",
        "Where the regime changed, and where samples are missing.",
        _TICKER,
        _FROM,
        _TO,
        _parameter("resolution", "Not used.", type="string"),
        refusals={400: _UDF_INVALID, 404: _UDF_UNKNOWN},
    ),
}


# The alerts

_ALERT_QUERY = (
    _parameter("symbol", "Only alerts about this symbol.", type="string", examples=["SPX"]),
    _date("Only alerts of this session, a day in New York."),
    _parameter("kind", "Only this kind or category.", type="string", enum=list(ALERT_KINDS)),
    _parameter(
        "limit", "How many; clamped to 1-500.", type="integer", default=DEFAULT_LIMIT, minimum=0
    ),
    _parameter(
        "cursor",
        "The `cursor` of an earlier answer: the next page.",
        type="integer",
        minimum=0,
    ),
)

#: The routes of the alerts, by name.
ALERTS = {
    "alerts": _route(
        "/v1/alerts",
        "Log of alerts",
        """What has happened: faults of the product, and events of the market by rules.

        The newest alert comes first. Every event is there once, whoever was told of it.""",
        _data_answers(
            "/v1/alerts",
            _answer(alerts.Alerts, "A page of the log.", "alerts"),
            _ALERT_QUERY,
        ),
        *_ALERT_QUERY,
        tag="Alerts",
        operation_id="get_alerts",
    ),
    "alert_rules": _route(
        "/v1/alerts/rules",
        "Rules of market events",
        """The rules that are in force, with every number. The `ETag` names the file's content.""",
        {
            200: _answer(alerts.Rules, "The rules.", "alert_rules"),
            **errors.DENIED,
            403: _restricted("Growth"),
            "default": errors.UNFORESEEN,
        },
        tag="Alerts",
        operation_id="get_alert_rules",
    ),
    "put_alert_rules": _route(
        "/v1/alerts/rules",
        "Change the rules",
        """Replaces the file of rules as a whole: an object with a list `rules`.

        A page of another origin may not; a key needs the right `alerts`.""",
        {
            200: _answer(alerts.Rules, "The new rules."),
            400: errors.problem("The body is no file of rules.", "invalid_rules", "not JSON"),
            **errors.DENIED,
            403: errors.problem(
                "The plan is too low, the key lacks the right, or the page is foreign.",
                "right_missing",
                "This key may not change the rules of alerts.",
            ),
            409: errors.problem(
                "The server has no file of rules, or cannot write it.",
                "rules_not_writable",
                "FLOW_ALERT_RULES names no file, so the built-in rules cannot change",
            ),
            412: errors.problem(
                "Other rules are there than those of `If-Match`.",
                "rules_changed",
                "The rules have changed meanwhile: read them again.",
            ),
            413: errors.problem("The body is too long.", "too_large", "more than 256 KB"),
            415: errors.problem(
                "The body is not declared as JSON.",
                "not_json",
                "Send Content-Type: application/json.",
            ),
            "default": errors.UNFORESEEN,
        },
        _header(
            "If-Match",
            "The `ETag` of the rules that are to be replaced: 412 if others are there.",
            type="string",
        ),
        tag="Alerts",
        operation_id="put_alert_rules",
        body={
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["rules"],
                        "properties": {"rules": {"type": "array", "items": {"type": "object"}}},
                    },
                    "example": {"rules": [{"kind": "regime"}]},
                }
            },
        },
    ),
}


def with_examples(document: dict[str, Any]) -> dict[str, Any]:
    """Put the examples of all answers into an OpenAPI document, with their nulls.

    FastAPI leaves the nulls of an example out.

    Parameters
    ----------
    document : what FastAPI has made; it is changed.

    Returns
    -------
    dict
        The same document.
    """
    with_example = DOCUMENTS | {name: SERIES[name] for name in ("series", "many")}
    with_example |= {"account": SERVER["account"], "alerts": ALERTS["alerts"]}
    with_example["alert_rules"] = ALERTS["alert_rules"]
    with_example["platform-levels"] = PLATFORMS["levels"]
    for name, route in with_example.items():
        answers = document["paths"][route.path.replace(":path", "")]["get"]["responses"]
        answers["200"]["content"]["application/json"]["example"] = example(name)
    return document
