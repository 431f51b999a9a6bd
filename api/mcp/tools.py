"""The tools, resources and prompts of the MCP server. Every tool reads; none changes anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from api.definitions import definitions_text
from api.mcp.brief import DEFAULT_LIMIT, age_of, fit, headlines
from api.mcp.caller import ApiCaller, ToolRefusal
from api.openapi.catalogue import DOCUMENTS, SERIES, Route
from storage import installed_version
from storage.record.row import DEFINITIONS

FLOW = "/v1/flow/zero-dte"
INSTRUCTIONS = """\
Dealer-hedging figures of options that expire today (0DTE), sampled every 30 seconds and kept.
Every answer begins with `status`: whether the market is simulated, how old the quotes are, how late
the feed is, which slots of the session are missing and why. Say so when you use the figures.
A figure that is null is not known; never fill it in. Dollars are US dollars, times are UTC,
volatility is a decimal, net GEX is dollars of delta per 1 % move: positive means that dealers'
hedging dampens moves. The sign of customers' trades is an estimate: `regime_confidence` says how
sure it is. Nothing here is advice to trade.
"""
View = Literal[
    "snapshot", "series", "hedge_flow", "hedge-flow", "heatmap", "strike_flow", "strike-flow",
    "pressure", "held_levels", "held-levels", "projection",
]  # fmt: skip
Bar = Literal["30s", "1m", "5m", "15m"]
Symbol = Annotated[str, Field(description="the underlying, such as SPX, SPY or QQQ")]
Day = Annotated[
    str | None, Field(description="the session, YYYY-MM-DD; today's or the newest if left out")
]
Expiry = Annotated[str | None, Field(description="YYYY-MM-DD; the nearest stored one if left out")]
# Its name is spelt as in the API.
Moment = Annotated[
    str | None,
    Field(
        validation_alias="at",
        description="nothing quoted later, ISO 8601; now if left out",
    ),
]
Feed = Annotated[str | None, Field(description="such as cboe; the shown one if left out")]
Cursor = Annotated[int | None, Field(ge=0, description="the cursor of an earlier answer")]
MaxKb = Annotated[
    int, Field(ge=2, le=2000, description="the largest answer in kB; what does not fit is left out")
]
_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
#: Minutes of a window → the bar that keeps it short.
_BARS = ((30, "1m"), (120, "5m"), (390, "15m"))


def make_server(caller_of: Callable[[Context], ApiCaller]) -> MCPServer:
    """Make the MCP server.

    Parameters
    ----------
    caller_of : returns what asks the API with the rights of whoever called a tool.

    Returns
    -------
    MCPServer
        The server with its tools, resources and prompts; no transport is open yet.
    """
    server = MCPServer(
        "zerodte-flow",
        title="Zero-DTE flow",
        instructions=INSTRUCTIONS,
        version=installed_version(),
        log_level="WARNING",
    )
    _add_flow_tools(server, caller_of)
    _add_live_tools(server, caller_of)
    _add_explain_tool(server, caller_of)
    _add_record_tools(server, caller_of)
    _add_resources(server, caller_of)
    _add_prompts(server)
    return server


async def _answer(
    caller: ApiCaller,
    path: str,
    query: Mapping[str, object | None],
    max_kb: float,
    *,
    shorten: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    notes: Sequence[str] = (),
) -> str:
    """Ask for a document, put its status in front, and cut it to size."""
    parameters = {name: str(value) for name, value in query.items() if value is not None}
    try:
        document = await caller.document(path, parameters)
    except ToolRefusal as refusal:
        raise ToolError(str(refusal)) from refusal
    status = await _status(caller, document)
    status["notes"] += notes
    # The feeds' times stand in the status already.
    rest = {name: value for name, value in document.items() if name != "data_as_of"}
    return fit({"status": status} | dict(shorten(rest)), int(max_kb * 1000)).decode()


async def _status(caller: ApiCaller, document: Mapping[str, Any]) -> dict[str, Any]:
    """What an assistant must say beside the figures of a document."""
    day = document.get("expiration") or document.get("expiry")
    dataset = document.get("feed") or document.get("dataset")
    if dataset is None:
        named = await caller.companion("/v1/symbols", {})
        dataset = named["dataset"] if named else None
    simulated = None if dataset is None else dataset == "synthetic"
    # A name is there in every answer; it is null where the answer shows no sample.
    status: dict[str, Any] = {
        "simulated": simulated,
        "as_of": document.get("as_of"),
        "age_seconds": age_of(document),
        "feed": document.get("source"),
        "feed_delay_seconds": document.get("delay_seconds"),
        "flags": document.get("flags"),
        "session": None,
    }
    symbol = document.get("symbol")
    if symbol and day:
        feed = {"feed": str(document["feed"])} if document.get("feed") else {}
        stored = await caller.companion(f"{FLOW}/sessions/{_segment(symbol)}", feed)
        sessions = stored["sessions"] if stored else ()
        session = next((s for s in sessions if s["date"] == day), None)
        names = ("slots", "rows", "gaps", "coverage_pct", "reasons")
        status["session"] = {name: session[name] for name in names} if session else None
    status["notes"] = _notes(status)
    return status


def _segment(symbol: str) -> str:
    """A symbol as one segment of a path, whatever an assistant has put into it."""
    return quote(symbol, safe="")


def _notes(status: Mapping[str, Any]) -> list[str]:
    notes = []
    if status["simulated"] is None:
        notes.append("It is not known whether the market is simulated.")
    elif status["simulated"]:
        notes.append("A simulated market: none of these figures is of a real one.")
    if (age := status.get("age_seconds")) is not None and age > 90:
        late = status.get("feed_delay_seconds") or 0
        notes.append(f"The newest quotes are {age:,.0f} s old; the feed is {late:,.0f} s late.")
    session = status.get("session")
    if session and session["gaps"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in session["reasons"].items())
        notes.append(f"{session['gaps']} of {session['slots']} slots have no sample: {reasons}.")
    if status["flags"]:
        notes.append(f"The sample is flagged: {', '.join(status['flags'])}.")
    return notes


def _names(route: Route) -> set[str]:
    """The parameters of a route's query."""
    extra = route.described["openapi_extra"] or {}
    return {each["name"] for each in extra.get("parameters", ()) if each["in"] == "query"}


def _add_flow_tools(server: MCPServer, caller_of: Callable[[Context], ApiCaller]) -> None:
    @server.tool(annotations=_READS, structured_output=False)
    async def get_zero_dte_flow(
        ctx: Context,
        view: Annotated[View, Field(description="what to return")],
        symbol: Symbol,
        bar: Annotated[Bar | None, Field(description="bar size; chosen by the window")] = None,
        side: Annotated[
            Literal["calls", "puts", "all"] | None,
            Field(description="of hedge_flow: all if left out"),
        ] = None,
        minutes: Annotated[
            int | None,
            Field(ge=1, le=390, description="the last minutes of the session; all if left out"),
        ] = None,
        metric: Annotated[
            Literal["gex", "dex", "vex", "chex", "oi", "signed_flow", "volume"] | None,
            Field(description="of heatmap: gex if left out"),
        ] = None,
        mode: Annotated[
            Literal["raw", "delta", "since_open"] | None,
            Field(description="of heatmap: raw if left out"),
        ] = None,
        book: Annotated[
            Literal["live", "settled"] | None,
            Field(description="of heatmap: live if left out"),
        ] = None,
        date: Day = None,
        expiry: Expiry = None,
        moment: Moment = None,
        feed: Feed = None,
        since: Cursor = None,
        figures: Annotated[
            Literal["headline", "all"], Field(description="of series: figures of each bar")
        ] = "headline",
        max_kb: MaxKb = 16,
    ) -> str:
        """Today's 0DTE dealer flow of a symbol.

        snapshot: one moment of the chain with today's flow. series: headline figures by bar.
        hedge_flow: what dealers bought (positive) or sold to hedge, by bar. heatmap: a metric by
        strike and bar. strike_flow: signed flow by strike and bar. pressure: hedge flow, its rate,
        and where both stand among stored sessions. held_levels: walls and magnet with hysteresis.
        projection: gamma and charm until the close.
        """
        name = view.replace("_", "-")
        taken = _names((SERIES | DOCUMENTS)[name])
        query: dict[str, object | None] = {
            "bar": bar,
            "side": side,
            "minutes": minutes,
            "metric": metric,
            "mode": mode,
            "book": book,
            "date": date,
            "expiry": expiry,
            "at": moment,
            "feed": feed,
            "since": since,
        }
        unused = [each for each in query if query[each] is not None and each not in taken]
        query = {each: value for each, value in query.items() if each in taken}
        if "bar" in taken:
            query["minutes"] = minutes or 390
            query["bar"] = bar or next(size for most, size in _BARS if (minutes or 390) <= most)
        return await _answer(
            caller_of(ctx),
            f"{FLOW}/{name}/{_segment(symbol)}",
            query,
            max_kb,
            shorten=headlines if name == "series" and figures == "headline" else dict,
            notes=[f"{view} has no {each}; it was not used." for each in unused],
        )

    @server.tool(annotations=_READS, structured_output=False)
    async def get_zero_dte(
        ctx: Context,
        symbol: Symbol,
        expiry: Expiry = None,
        strike_range: Annotated[
            float | None, Field(description="strikes within this part of spot, 0.001 to 0.10")
        ] = None,
        date: Day = None,
        moment: Moment = None,
        feed: Feed = None,
        max_kb: MaxKb = 16,
    ) -> str:
        """Exposures of the options that expire today, on this morning's open interest alone."""
        query = {"strike_range": strike_range} | _when(expiry, date, moment, feed)
        return await _answer(
            caller_of(ctx), f"/v1/exposure/zero-dte/{_segment(symbol)}", query, max_kb
        )


def _when(
    expiry: str | None, day: str | None, moment: str | None, feed: str | None
) -> dict[str, object | None]:
    """Which sample of which feed, as the API's parameters."""
    return {"expiry": expiry, "date": day, "at": moment, "feed": feed}


def _add_live_tools(server: MCPServer, caller_of: Callable[[Context], ApiCaller]) -> None:
    @server.tool(annotations=_READS, structured_output=False)
    async def get_flow_live(
        ctx: Context,
        symbol: Symbol,
        view: Annotated[
            Literal["gex", "dex", "oi"] | None,
            Field(description="one book by strike; all headline figures if left out"),
        ] = None,
        expiry: Expiry = None,
        date: Day = None,
        moment: Moment = None,
        feed: Feed = None,
        max_kb: MaxKb = 16,
    ) -> str:
        """The live book: this morning's open interest with today's flow."""
        query = _when(expiry, date, moment, feed)
        path = f"/v1/flow/{view or 'live'}/{_segment(symbol)}"
        return await _answer(caller_of(ctx), path, query, max_kb)

    for name, document, description in _LIVE:
        server.add_tool(
            _live_tool(document, caller_of),
            name=name,
            description=description,
            annotations=_READS,
            structured_output=False,
        )

    @server.tool(annotations=_READS, structured_output=False)
    async def get_levels(
        ctx: Context,
        symbol: Symbol,
        to: Annotated[
            str | None, Field(description="in whose prices, such as ES or SPY; its own if left out")
        ] = None,
        price: Annotated[float | None, Field(description="the price of `to` now")] = None,
        basis: Annotated[float | None, Field(description="price of `to` less the symbol's")] = None,
        ratio: Annotated[float | None, Field(description="price of `to` over the symbol's")] = None,
        expiry: Expiry = None,
        date: Day = None,
        moment: Moment = None,
        feed: Feed = None,
        max_kb: MaxKb = 16,
    ) -> str:
        """All levels, in the prices of the symbol or of a future, fund or index beside it.

        One of price, basis and ratio maps them; none is needed for an instrument that is sampled
        here and follows the same index.
        """
        query: dict[str, object | None] = {"to": to, "price": price, "basis": basis, "ratio": ratio}
        query |= _when(expiry, date, moment, feed)
        return await _answer(caller_of(ctx), f"/v1/levels/{_segment(symbol)}", query, max_kb)


#: Tools that are one document of the live book each: name, document, description.
_LIVE = (
    ("get_flow_levels", "levels", "Gamma flip, call wall, put wall and max pain of the live book."),
    (
        "get_flow_pin_risk",
        "pin-risk",
        "How strongly price is held at the magnet strike, and the parts of that score.",
    ),
    ("get_flow_summary", "summary", "What today's flow has changed of the dealers' book."),
    (
        "get_flow_dealer_risk",
        "dealer-risk",
        "Settled and live exposures of dealers side by side.",
    ),
)


def _live_tool(
    document: str, caller_of: Callable[[Context], ApiCaller]
) -> Callable[..., Awaitable[str]]:
    async def answer(
        ctx: Context,
        symbol: Symbol,
        expiry: Expiry = None,
        date: Day = None,
        moment: Moment = None,
        feed: Feed = None,
        max_kb: MaxKb = 16,
    ) -> str:
        query = _when(expiry, date, moment, feed)
        path = f"/v1/flow/{document}/{_segment(symbol)}"
        return await _answer(caller_of(ctx), path, query, max_kb)

    return answer


def _add_explain_tool(server: MCPServer, caller_of: Callable[[Context], ApiCaller]) -> None:
    @server.tool(annotations=_READS, structured_output=False)
    async def explain(
        ctx: Context,
        symbol: Symbol,
        figure: Annotated[
            str, Field(description="a name of flow://definitions, such as gamma_flip")
        ] = "net_gex",
        strike: Annotated[
            float | None, Field(description="explain this strike's part of the figure")
        ] = None,
        expiry: Expiry = None,
        date: Day = None,
        moment: Moment = None,
        feed: Feed = None,
        max_kb: MaxKb = 16,
    ) -> str:
        """A figure's formula with this sample's inputs, its flags in words, and what it is not."""
        query: dict[str, object | None] = {"figure": figure, "strike": strike}
        query |= _when(expiry, date, moment, feed)
        return await _answer(caller_of(ctx), f"/v1/explain/{_segment(symbol)}", query, max_kb)


def _add_record_tools(server: MCPServer, caller_of: Callable[[Context], ApiCaller]) -> None:
    @server.tool(annotations=_READS, structured_output=False)
    async def get_account(ctx: Context) -> str:
        """The caller's plan, and what is left of today's quota."""
        return await _answer(caller_of(ctx), "/v1/account", {}, DEFAULT_LIMIT / 1000)

    @server.tool(annotations=_READS, structured_output=False)
    async def get_symbols(ctx: Context) -> str:
        """The symbols that were ever sampled, and whether the market is simulated."""
        return await _answer(caller_of(ctx), "/v1/symbols", {}, DEFAULT_LIMIT / 1000)

    @server.tool(annotations=_READS, structured_output=False)
    async def get_market(ctx: Context) -> str:
        """Whether the market is open, the newest session, and the server's time."""
        return await _answer(caller_of(ctx), "/v1/market", {}, DEFAULT_LIMIT / 1000)

    @server.tool(annotations=_READS, structured_output=False)
    async def get_sessions(
        ctx: Context, symbol: Symbol, feed: Feed = None, max_kb: MaxKb = 16
    ) -> str:
        """The stored sessions of a symbol, and how many of their slots have a sample."""
        path = f"{FLOW}/sessions/{_segment(symbol)}"
        return await _answer(caller_of(ctx), path, {"feed": feed}, max_kb)

    @server.tool(annotations=_READS, structured_output=False)
    async def get_history(
        ctx: Context,
        symbol: Symbol,
        n: Annotated[int, Field(ge=1, le=100, description="how many sessions")] = 20,
        date: Annotated[
            str | None, Field(description="the last day that counts, YYYY-MM-DD; today if left out")
        ] = None,
        feed: Feed = None,
        max_kb: MaxKb = 16,
    ) -> str:
        """The newest stored sessions of a symbol, each in a few numbers."""
        query = {"n": n, "date": date, "feed": feed}
        return await _answer(caller_of(ctx), f"{FLOW}/history/{_segment(symbol)}", query, max_kb)

    @server.tool(annotations=_READS, structured_output=False)
    async def get_leaderboard(
        ctx: Context,
        metric: Annotated[
            Literal["heat", "pin_risk", "abs_flow", "charm_intensity"],
            Field(description="what is ranked"),
        ] = "heat",
        n: Annotated[int, Field(ge=1, le=100, description="how many symbols")] = 20,
        date: Day = None,
        feed: Feed = None,
        max_kb: MaxKb = 16,
    ) -> str:
        """Symbols ranked by one figure of their newest sample."""
        query = {"metric": metric, "n": n, "date": date, "feed": feed}
        return await _answer(caller_of(ctx), f"{FLOW}/leaderboard", query, max_kb)

    @server.tool(annotations=_READS, structured_output=False)
    async def get_gaps(
        ctx: Context, symbol: Symbol, date: Day = None, feed: Feed = None, max_kb: MaxKb = 16
    ) -> str:
        """The slots of a session without a sample, each interval with its reason."""
        query = {"bar": "15m", "minutes": 390, "date": date, "feed": feed}
        described = ("symbol", "expiration", "as_of", "session", "feed")

        def gaps_alone(document: Mapping[str, Any]) -> dict[str, Any]:
            # Under another name, so that all are listed.
            return {n: document[n] for n in described} | {"gaps": document["gap_intervals"]}

        return await _answer(
            caller_of(ctx), f"{FLOW}/series/{_segment(symbol)}", query, max_kb, shorten=gaps_alone
        )

    @server.tool(annotations=_READS, structured_output=False)
    async def scorecard(
        ctx: Context,
        symbol: Symbol,
        kind: Annotated[
            Literal["frozen", "backfilled", "recorded"] | None,
            Field(description="only this kind; all if left out. Only frozen ones are a record"),
        ] = None,
        first: Annotated[
            str | None,
            Field(validation_alias="from", description="the first session, YYYY-MM-DD"),
        ] = None,
        to: Annotated[str | None, Field(description="the last session, YYYY-MM-DD")] = None,
        max_kb: MaxKb = 16,
    ) -> str:
        """How right the levels were: pin, ranges, walls, regime and flow against what happened.

        Each figure has n, sessions and a verdict; says_nothing_yet means that it must not be used.
        """
        path = f"/v1/scorecard/{_segment(symbol)}"

        def without_texts(document: Mapping[str, Any]) -> dict[str, Any]:
            texts = {"content", "frozen_at", "written_at", "stored_at"}
            forecasts = [
                {name: value for name, value in line.items() if name not in texts}
                for line in document["forecasts"]
            ]
            left_out = {"left_out": ["text and times of each frozen forecast"]} if forecasts else {}
            return dict(document) | {"forecasts": forecasts} | left_out

        query = {"kind": kind, "from": first, "to": to}
        return await _answer(caller_of(ctx), path, query, max_kb, shorten=without_texts)

    @server.tool(annotations=_READS, structured_output=False)
    async def get_alerts(
        ctx: Context,
        symbol: Annotated[str | None, Field(description="an underlying; all if left out")] = None,
        date: Day = None,
        kind: Annotated[
            str | None, Field(description="market, operational, or one kind such as regime")
        ] = None,
        limit: Annotated[int, Field(ge=1, le=500)] = 20,
        cursor: Cursor = None,
        max_kb: MaxKb = 16,
    ) -> str:
        """What has happened: market events by rule and faults of the product, the newest first."""
        query = {"symbol": symbol, "date": date, "kind": kind, "limit": limit, "cursor": cursor}
        return await _answer(caller_of(ctx), "/v1/alerts", query, max_kb)


def _add_resources(server: MCPServer, caller_of: Callable[[Context], ApiCaller]) -> None:
    @server.resource(
        "flow://definitions",
        name="definitions",
        description=f"What each figure means and how it is computed, version {DEFINITIONS}",
        mime_type="text/markdown",
    )
    def definitions() -> str:
        return definitions_text()

    @server.resource(
        "flow://levels/{symbol}",
        name="levels",
        description="Flip, walls and max pain of a symbol now",
        mime_type="application/json",
    )
    async def levels(symbol: str, ctx: Context) -> str:
        try:
            return await _answer(
                caller_of(ctx), f"/v1/flow/levels/{_segment(symbol)}", {}, DEFAULT_LIMIT / 1000
            )
        except ToolError as error:
            raise ResourceError(str(error)) from error


def _add_prompts(server: MCPServer) -> None:
    @server.prompt()
    def morning_brief(symbol: str = "SPX") -> str:
        """What dealers must do from here, which levels matter, and how sure that is."""
        return (
            f"Write a brief of today's 0DTE positioning of {symbol} for a trader, in at most twelve"
            f" lines. Call get_zero_dte_flow with view=snapshot and get_flow_levels for {symbol},"
            " and get_sessions for how the last sessions were covered. Say first what `status`"
            " says: whether the market is simulated, how old the quotes are, what is missing. Then:"
            " the regime and how sure its sign is; what dealers must buy or sell after a rise and a"
            " fall of 0.5 %; flip, walls and magnet with their distance from spot; what time alone"
            " makes dealers do. Call every figure that is null unknown. Give no advice to trade."
        )

    @server.prompt()
    def what_changed(symbol: str = "SPX", minutes: int = 30) -> str:
        """What has changed within the last minutes."""
        return (
            f"Say what has changed in {symbol} within the last {minutes} minutes, in at most eight"
            f" lines. Call get_zero_dte_flow with view=series and minutes={minutes}, then"
            f" get_alerts for {symbol}. Compare the first with the last bar: spot, net GEX and"
            " regime, flip, walls, pin, cumulative hedge flow. Name gaps and flags between them"
            " before you call anything a change; a gap is not a change. Give no advice to trade."
        )
