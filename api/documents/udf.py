"""The stored series as a UDF datafeed: what TradingView's charting library and OpenBB read. Pure.

UDF is TradingView's "universal data feed": symbols, bars as columns, marks. A figure of an
underlying is a symbol of its own, such as ``SPX.NET_GEX``, so that it can be drawn beside the
price.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

#: Resolutions, with the seconds of a bar.
RESOLUTIONS = {"30S": 30, "1": 60, "5": 300, "15": 900}
EXCHANGE = "FLOW"
#: The most bars that one answer has.
MOST_BARS = 8_000
_SESSION = "0930-1600"
_ZONE = "America/New_York"


class Figure(NamedTuple):
    """A figure that can be drawn."""

    #: For people.
    name: str
    #: Columns of a row that it is made of.
    columns: tuple[str, ...]
    read: Callable[..., float | None]
    #: How an axis shows it: as a price, or shortened as a volume is.
    format: str
    #: Digits after the point, as UDF's ``pricescale``.
    scale: int


def _plain(name: str, column: str, format_: str = "price", scale: int = 100) -> Figure:
    return Figure(name, (column,), lambda value: value, format_, scale)


def _cone(sign: int) -> Callable[[float, float | None], float | None]:
    return lambda spot, sigma: None if sigma is None else spot + sign * sigma


#: By what follows the dot in a symbol of the datafeed, as in ``SPX.FLIP``.
FIGURES: dict[str, Figure] = {
    # A symbol without a dot, such as ``SPX``, is the price of the underlying.
    "": _plain("price", "spot"),
    "FLIP": _plain("gamma flip", "gamma_flip"),
    "CALL_WALL": _plain("call wall", "call_wall"),
    "PUT_WALL": _plain("put wall", "put_wall"),
    "MAGNET": _plain("magnet", "magnet"),
    "UPPER_1SD": Figure(
        "price + 1 sigma to the close", ("spot", "remaining_1sd"), _cone(1), "price", 100
    ),
    "LOWER_1SD": Figure(
        "price - 1 sigma to the close", ("spot", "remaining_1sd"), _cone(-1), "price", 100
    ),
    "NET_GEX": _plain("net GEX, $ per 1 %", "net_gex", "volume", 1),
    "NET_DEX": _plain("net DEX, $", "net_dex", "volume", 1),
    "HEDGE_FLOW": _plain("hedge flow since the open, $", "hedge_flow_cumulative_all", "volume", 1),
    "CALL_FLOW": _plain("hedge flow of calls, $", "hedge_flow_call_cumulative", "volume", 1),
    "PUT_FLOW": _plain("hedge flow of puts, $", "hedge_flow_put_cumulative", "volume", 1),
    "PIN_SCORE": _plain("pin score, 0 to 100", "pin_score", "price", 1),
    "ATM_IV": _plain("ATM volatility, decimal", "atm_iv", "price", 10_000),
}


@dataclass(frozen=True, slots=True)
class Ticker:
    """A symbol of the datafeed: an underlying and one of its figures."""

    underlying: str
    #: A key of ``FIGURES``.
    figure: str

    @property
    def name(self) -> str:
        """The symbol as the datafeed spells it."""
        return f"{self.underlying}.{self.figure}" if self.figure else self.underlying


def read_ticker(text: str) -> Ticker:
    """Read a symbol, with or without the exchange in front of it.

    Parameters
    ----------
    text : such as ``SPX``, ``FLOW:SPX`` or ``SPX.NET_GEX``.

    Returns
    -------
    Ticker
        Underlying and figure. A last part that is no figure belongs to the underlying (BRK.B).
    """
    symbol = text.strip().upper().rpartition(":")[2]
    underlying, _, figure = symbol.rpartition(".")
    if underlying and figure in FIGURES:
        return Ticker(underlying, figure)
    return Ticker(symbol, "")


def config() -> dict[str, Any]:
    """Answer ``/config``: what the datafeed can do.

    Returns
    -------
    dict
        The answer.
    """
    return {
        "supported_resolutions": list(RESOLUTIONS),
        "supports_group_request": False,
        "supports_search": True,
        "supports_marks": True,
        "supports_timescale_marks": False,
        "supports_time": True,
        "exchanges": [{"value": EXCHANGE, "name": EXCHANGE, "desc": "zerodte-flow"}],
        "symbols_types": [
            {"name": "Price", "value": "price"},
            {"name": "Figure", "value": "figure"},
        ],
    }


def symbol_info(ticker: Ticker, *, simulated: bool) -> dict[str, Any]:
    """Answer ``/symbols``: what one symbol is.

    Parameters
    ----------
    ticker : the symbol.
    simulated : whether the market is a simulated one; the description says so.

    Returns
    -------
    dict
        The answer.
    """
    figure = FIGURES[ticker.figure]
    return {
        "name": ticker.name,
        "ticker": ticker.name,
        "description": _description(ticker, simulated=simulated),
        "type": _kind(ticker),
        "exchange": EXCHANGE,
        "listed_exchange": EXCHANGE,
        "timezone": _ZONE,
        "session": _SESSION,
        "session-regular": _SESSION,
        "minmov": 1,
        "minmov2": 0,
        "pricescale": figure.scale,
        "pointvalue": 1,
        "format": figure.format,
        "has_intraday": True,
        "has_seconds": True,
        "seconds_multipliers": ["30"],
        "intraday_multipliers": ["1", "5", "15"],
        "has_daily": False,
        "has_weekly_and_monthly": False,
        "visible_plots_set": "c" if ticker.figure else "ohlc",
        "supported_resolutions": list(RESOLUTIONS),
        "data_status": "streaming",
    }


def search_results(
    symbols: Iterable[str], query: str, kind: str, limit: int, *, simulated: bool
) -> list[dict[str, Any]]:
    """Answer ``/search``: the symbols whose name or description has the text.

    Parameters
    ----------
    symbols : the underlyings.
    query : the text; empty for all.
    kind : ``price``, ``figure``, or empty for both.
    limit : how many at most.
    simulated : as for ``symbol_info``.

    Returns
    -------
    list of dict
        Those that begin with the text come first.
    """
    text = query.strip().upper().rpartition(":")[2]
    matches = []
    for underlying in symbols:
        for figure in FIGURES:
            ticker = Ticker(underlying, figure)
            description = _description(ticker, simulated=simulated)
            if kind not in ("", _kind(ticker)):
                continue
            if text in ticker.name or text in description.upper():
                matches.append(
                    {
                        "symbol": ticker.name,
                        "full_name": f"{EXCHANGE}:{ticker.name}",
                        "description": description,
                        "exchange": EXCHANGE,
                        "ticker": ticker.name,
                        "type": _kind(ticker),
                    }
                )
    matches.sort(key=lambda match: not match["symbol"].startswith(text))
    return matches[:limit]


def _kind(ticker: Ticker) -> str:
    return "figure" if ticker.figure else "price"


def _description(ticker: Ticker, *, simulated: bool) -> str:
    words = f"{ticker.underlying} {FIGURES[ticker.figure].name}"
    return f"SIMULATED: {words}" if simulated else words


def history(samples: Sequence[Mapping[str, Any]], figure: Figure, seconds: int) -> dict[str, Any]:
    """Answer ``/history`` with bars of the samples.

    A bar's open, high, low and close are those of its 30 s samples: between two samples nothing is
    known. A bucket without a value has no bar.

    Parameters
    ----------
    samples : rows of 30 s, ascending: ``bucket`` and the figure's columns.
    figure : what is drawn.
    seconds : the length of a bar.

    Returns
    -------
    dict
        ``s`` and the columns ``t``, ``o``, ``h``, ``l``, ``c``, ascending by time.
    """
    columns: dict[str, list[Any]] = {name: [] for name in "tohlc"}
    for sample in samples:
        value = figure.read(*(sample[name] for name in figure.columns))
        if value is None:
            continue
        start = int(sample["bucket"].timestamp()) // seconds * seconds
        if not columns["t"] or columns["t"][-1] != start:
            for name in "ohlc":
                columns[name].append(value)
            columns["t"].append(start)
        else:
            columns["h"][-1] = max(columns["h"][-1], value)
            columns["l"][-1] = min(columns["l"][-1], value)
            columns["c"][-1] = value
    return {"s": "ok"} | columns


def no_data(earlier: datetime | None) -> dict[str, Any]:
    """Answer ``/history`` where there is no bar.

    Parameters
    ----------
    earlier : the newest sample before the window, if there is one.

    Returns
    -------
    dict
        The answer; ``nextTime`` says where the library should look.
    """
    answer: dict[str, Any] = {"s": "no_data"}
    if earlier is not None:
        answer["nextTime"] = int(earlier.timestamp())
    return answer


def marks(
    regimes: Sequence[Mapping[str, Any]], gaps: Sequence[tuple[datetime, datetime, str]]
) -> dict[str, list[Any]]:
    """Answer ``/marks``: where the regime changed, and where samples are missing.

    Parameters
    ----------
    regimes : samples, ascending: ``bucket`` and ``regime``.
    gaps : first missing slot, first slot that is not missing, and the reason.

    Returns
    -------
    dict
        Columns, ascending by time.
    """
    lines: list[tuple[int, str, str, str]] = []
    for before, after in itertools.pairwise(regimes):
        if before["regime"] != after["regime"]:
            word = after["regime"].replace("_", " ")
            color = "green" if after["regime"] == "positive_gamma" else "red"
            lines.append((int(after["bucket"].timestamp()), color, f"Now {word}", "R"))
    for first, until, reason in gaps:
        minutes = (until - first).total_seconds() / 60
        words = f"No sample for {minutes:g} minutes: {reason}"
        lines.append((int(first.timestamp()), "blue", words, "G"))
    lines.sort()
    return {
        "id": [f"{label}{time}" for time, _, _, label in lines],
        "time": [time for time, _, _, _ in lines],
        "color": [color for _, color, _, _ in lines],
        "text": [words for _, _, words, _ in lines],
        "label": [label for _, _, _, label in lines],
        "labelFontColor": ["white" for _ in lines],
        "minSize": [14 for _ in lines],
    }
