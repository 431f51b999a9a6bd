"""What OpenBB Workspace reads: its two files, and flat data for its widgets. Pure.

A widget names the path that its data come from, relative to the server. Tables are flat lists,
metrics are labels with values, and a chart is a figure of Plotly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.documents.book import read_book
from api.documents.platform_levels import LEVELS
from api.documents.sample import Sample
from api.documents.udf import read_ticker

#: The columns of the table of bars.
BAR_COLUMNS = (
    *("spot", "gamma_flip", "call_wall", "put_wall", "magnet", "net_gex", "net_dex"),
    *("hedge_flow_cumulative_all", "pin_score", "atm_iv", "regime"),
)
#: How far from spot the chart's strikes reach, as a part of it.
_REACH = 0.02
_REFRESH = 30_000
_GROUP = "Group 1"
_PATHS = "openbb"


def _column(field: str, name: str, kind: str = "number", **more: Any) -> dict[str, Any]:
    return {"field": field, "headerName": name, "cellDataType": kind} | more


def _widget(name: str, description: str, kind: str, endpoint: str, **more: Any) -> dict[str, Any]:
    width, height = more.pop("size")
    return {
        "name": name,
        "description": description,
        "category": "Options",
        "subCategory": "0DTE dealer flow",
        "type": kind,
        "endpoint": endpoint,
        "gridData": {"w": width, "h": height},
        "source": ["zerodte-flow"],
        "refetchInterval": _REFRESH,
        "staleTime": _REFRESH,
        **more,
    }


def widgets(symbols: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return ``widgets.json``: what can be put on a dashboard.

    Parameters
    ----------
    symbols : the sampled underlyings; the first is shown until another is chosen.

    Returns
    -------
    dict
        Widgets by id.
    """
    first = default_symbol(symbols)
    params = [
        {
            "type": "endpoint",
            "paramName": "symbol",
            "value": first,
            "label": "Symbol",
            "show": True,
            "description": "The underlying.",
            "optionsEndpoint": f"{_PATHS}/symbols",
        }
    ]
    bars = [
        _column("t", "Time (UTC)", "text", chartDataType="category"),
        _column("spot", "Spot", chartDataType="series"),
        *(
            _column(field, field.replace("_", " ").capitalize(), chartDataType="excluded")
            for field in BAR_COLUMNS[1:-1]
        ),
        _column("regime", "Regime", "text", chartDataType="excluded"),
    ]
    return {
        "flow_figures": _widget(
            "0DTE figures",
            "Net GEX, flip, hedge flow, pin and volatility of the newest sample, and its age.",
            "metric",
            f"{_PATHS}/figures",
            size=(40, 6),
            params=params,
        ),
        "flow_levels": _widget(
            "0DTE levels",
            "Gamma flip, walls, magnet, max pain and the 1-sigma cone of the newest sample.",
            "table",
            f"{_PATHS}/levels",
            size=(14, 14),
            params=params,
            data={
                "table": {
                    "enableCharts": False,
                    "showAll": True,
                    "columnsDefs": [
                        _column("name", "Level", "text", pinned="left"),
                        _column("level", "Price"),
                        _column("distance_pct", "From spot, %", renderFn="greenRed"),
                        _column("doubts", "Doubted by", "text"),
                    ],
                }
            },
        ),
        "flow_strikes": _widget(
            "0DTE gamma by strike",
            "Call and put gamma exposure within 2 % of spot, in dollars per 1 % move.",
            "chart",
            f"{_PATHS}/strikes",
            size=(26, 14),
            params=params,
        ),
        "flow_bars": _widget(
            "0DTE series",
            "The session's bars of five minutes: price, levels, exposure, flow.",
            "table",
            f"{_PATHS}/bars",
            size=(40, 12),
            params=params,
            data={
                "table": {
                    "enableCharts": True,
                    "showAll": True,
                    "chartView": {"enabled": False, "chartType": "line"},
                    "columnsDefs": bars,
                }
            },
        ),
        "flow_chart": _widget(
            "0DTE chart",
            "Price with levels, GEX and flow as series: search for SPX, SPX.FLIP, SPX.NET_GEX.",
            "advanced_charting",
            "/udf",
            size=(40, 20),
            data={"defaultSymbol": read_ticker(first).name, "updateFrequency": _REFRESH},
        ),
    }


def default_symbol(symbols: Sequence[str]) -> str:
    """Return the symbol that is shown first.

    Parameters
    ----------
    symbols : the sampled underlyings.

    Returns
    -------
    str
        SPX if it is sampled, else the first; SPX on a server without any.
    """
    return "SPX" if "SPX" in symbols or not symbols else symbols[0]


def apps(symbols: Sequence[str]) -> list[dict[str, Any]]:
    """Return ``apps.json``: one dashboard of all widgets.

    Parameters
    ----------
    symbols : as for ``widgets``.

    Returns
    -------
    list of dict
        The dashboard.
    """
    known = widgets(symbols)

    def place(name: str, x: int, y: int) -> dict[str, Any]:
        size = known[name]["gridData"]
        groups = {"groups": [_GROUP]} if "params" in known[name] else {}
        return {"i": name, "x": x, "y": y, "w": size["w"], "h": size["h"], **groups}

    now = [place("flow_figures", 0, 0), place("flow_levels", 0, 6), place("flow_strikes", 14, 6)]
    series = [place("flow_chart", 0, 0), place("flow_bars", 0, 20)]
    return [
        {
            "name": "0DTE dealer flow",
            "img": "",
            "img_dark": "",
            "img_light": "",
            "description": "Where dealers must hedge today's expiring options, every 30 seconds.",
            "allowCustomization": True,
            "tabs": {
                "now": {"id": "now", "name": "Now", "layout": now},
                "series": {"id": "series", "name": "Series", "layout": series},
            },
            "groups": [
                {
                    "name": _GROUP,
                    "type": "endpointParam",
                    "paramName": "symbol",
                    "defaultValue": default_symbol(symbols),
                    "widgetIds": [name for name, widget in known.items() if "params" in widget],
                }
            ],
        }
    ]


def symbol_options(symbols: Sequence[str]) -> list[dict[str, str]]:
    """Return what the parameter ``symbol`` can be.

    Parameters
    ----------
    symbols : the sampled underlyings.

    Returns
    -------
    list of dict
        ``label`` and ``value``.
    """
    return [{"label": symbol, "value": symbol} for symbol in symbols]


def level_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the table of levels.

    Parameters
    ----------
    document : what ``levels_document`` of ``platform_levels`` returned.

    Returns
    -------
    list of dict
        A row a level that the sample has, the highest first.
    """
    prices = {level["key"]: level["level"] for level in document["levels"]}
    spot = prices["spot"]
    rows = [
        {
            "name": LEVELS[level["key"]][0],
            "level": level["level"],
            "distance_pct": round(100 * (level["level"] / spot - 1), 3),
            "doubts": " ".join(level["doubts"]),
        }
        for level in document["levels"]
        if level["level"] is not None
    ]
    return sorted(rows, key=lambda row: -row["level"])


def metrics(sample: Sample, *, simulated: bool) -> list[dict[str, str]]:
    """Return figures of a sample as labels with values.

    Parameters
    ----------
    sample : the sample.
    simulated : whether the market is a simulated one; a value of its own says so.

    Returns
    -------
    list of dict
        ``label`` and ``value``; a figure that the sample has not is a dash.
    """
    row = sample.record.row

    def dollars(amount: float | None) -> str:
        if amount is None:
            return "–"
        return f"{'-' if amount < 0 else ''}${abs(amount) / 1e6:,.1f} M"

    def price(level: float | None) -> str:
        return "–" if level is None else f"{level:,.2f}"

    shown = {
        "Spot": price(row.spot),
        "Net GEX per 1 %": dollars(row.net_gex),
        "Regime": row.regime.replace("_", " "),
        "Gamma flip": price(row.gamma_flip),
        "Hedge flow": dollars(row.hedge_flow_cumulative_all),
        "Pin score": str(row.pin_score),
        "ATM volatility": "–" if row.atm_iv is None else f"{100 * row.atm_iv:.1f} %",
        "Age of the quotes": f"{sample.age:,.0f} s",
        "Flags": " ".join(row.flags) or "none",
    }
    if simulated:
        shown = {"Market": "SIMULATED"} | shown
    return [{"label": label, "value": value} for label, value in shown.items()]


def strikes_figure(sample: Sample, *, simulated: bool) -> dict[str, Any]:
    """Return gamma exposure by strike as a figure of Plotly.

    Parameters
    ----------
    sample : the sample.
    simulated : whether the market is a simulated one; the title says so.

    Returns
    -------
    dict
        ``data`` and ``layout``. [$ per 1 %]
    """
    row, book = sample.record.row, read_book(sample.record, live=True)
    near = abs(book.strike / row.spot - 1) <= _REACH
    strikes = book.strike[near].tolist()

    def bars(name: str, values: Any, color: str) -> dict[str, Any]:
        amounts = [round(value, 2) for value in values[near].tolist()]
        return {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "x": amounts,
            "y": strikes,
            "marker": {"color": color},
        }

    title = f"{row.symbol} {row.expiration} {row.slot:%H:%M:%S} UTC"
    return {
        "data": [
            bars("Calls", book.call_gex, "#4c8dff"),
            bars("Puts", book.put_gex, "#ff9f43"),
        ],
        "layout": {
            "title": {"text": f"SIMULATED MARKET: {title}" if simulated else title},
            "barmode": "relative",
            "xaxis": {"title": {"text": "GEX, $ per 1 %"}},
            "yaxis": {"title": {"text": "Strike"}},
            "shapes": [
                {
                    "type": "line",
                    "xref": "paper",
                    "x0": 0,
                    "x1": 1,
                    "y0": row.spot,
                    "y1": row.spot,
                    "line": {"dash": "dot"},
                }
            ],
        },
    }


def bar_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return bars as a flat table.

    Parameters
    ----------
    rows : the session's rows by bucket, with ``BAR_COLUMNS``.

    Returns
    -------
    list of dict
        The newest first.
    """
    table = [
        {"t": f"{row['bucket']:%Y-%m-%d %H:%M}"} | {name: row[name] for name in BAR_COLUMNS}
        for row in rows
    ]
    return table[::-1]
