"""The shapes that OpenBB's and TradingView's documentation prescribe, as checks."""

from __future__ import annotations

import itertools
from typing import Any

#: ``widgets.json``: the documented names, and the words that some may have.
WIDGET_NAMES = {
    *("name", "description", "endpoint", "wsEndpoint", "category", "subCategory", "type"),
    *("runButton", "gridData", "data", "params", "source", "refetchInterval", "staleTime"),
}
WIDGET_TYPES = {
    *("chart", "chart-highcharts", "table", "markdown", "metric", "note", "multi_file_viewer"),
    *("live_grid", "advanced_charting"),
}
PARAMETER_TYPES = {"date", "text", "ticker", "number", "boolean", "endpoint", "form"}
CELL_TYPES = {"text", "number", "boolean", "date", "dateString", "object"}
CHART_DATA_TYPES = {"category", "series", "time", "excluded"}
RENDERERS = {"greenRed", "titleCase", "hoverCard", "cellOnClick", "columnColor", "showCellChange"}


def check_widgets(document: Any) -> None:
    """``widgets.json`` is an object of widgets by id, each with what its type needs."""
    assert isinstance(document, dict)
    assert document
    for widget in document.values():
        assert set(widget) <= WIDGET_NAMES
        assert all(isinstance(widget[n], str) for n in ("name", "description", "endpoint"))
        assert widget["type"] in WIDGET_TYPES
        assert 10 <= widget["gridData"]["w"] <= 40
        assert 4 <= widget["gridData"]["h"] <= 100
        assert widget["refetchInterval"] >= 1000
        assert isinstance(widget["staleTime"], int)
        assert all(isinstance(source, str) for source in widget["source"])
        for parameter in widget.get("params", []):
            check_parameter(parameter)
        if widget["type"] == "table":
            check_table(widget["data"]["table"])
        if widget["type"] == "advanced_charting":
            assert isinstance(widget["data"]["defaultSymbol"], str)
            assert widget["data"]["updateFrequency"] >= 1000


def check_parameter(parameter: dict[str, Any]) -> None:
    assert parameter["type"] in PARAMETER_TYPES
    assert isinstance(parameter["paramName"], str)
    assert isinstance(parameter["label"], str)
    assert (parameter["type"] == "endpoint") == ("optionsEndpoint" in parameter)


def check_table(table: dict[str, Any]) -> None:
    for column in table["columnsDefs"]:
        assert {"field", "headerName"} <= set(column)
        assert column.get("cellDataType", "text") in CELL_TYPES
        assert column.get("chartDataType", "series") in CHART_DATA_TYPES
        assert column.get("renderFn", "titleCase") in RENDERERS
        assert column.get("pinned", "left") in ("left", "right")


def check_apps(document: Any, widgets: dict[str, Any]) -> None:
    """``apps.json`` is a list of dashboards; the grid has 40 columns and no two widgets overlap."""
    assert isinstance(document, list)
    for app in document:
        assert {"name", "description", "allowCustomization", "tabs", "groups"} <= set(app)
        names = set()
        for key, tab in app["tabs"].items():
            assert tab["id"] == key
            assert tab["name"]
            cells: set[tuple[int, int]] = set()
            for place in tab["layout"]:
                assert place["i"] in widgets
                names.add(place["i"])
                assert place["x"] + place["w"] <= 40
                area = {
                    (x, y)
                    for x in range(place["x"], place["x"] + place["w"])
                    for y in range(place["y"], place["y"] + place["h"])
                }
                assert not area & cells
                cells |= area
        for number, group in enumerate(app["groups"], 1):
            # A group of another name does nothing.
            assert group["name"] == f"Group {number}"
            assert group["type"] in ("param", "endpointParam")
            assert group["defaultValue"]
            assert set(group["widgetIds"]) <= names
            for name in group["widgetIds"]:
                known = [p["paramName"] for p in widgets[name]["params"]]
                assert group["paramName"] in known


def check_rows(document: Any, columns: set[str]) -> None:
    """A table's data are a flat list; every declared column is in each object."""
    assert isinstance(document, list)
    for row in document:
        assert columns <= set(row)
        assert all(v is None or isinstance(v, str | int | float | bool) for v in row.values())


def check_metrics(document: Any) -> None:
    """Metrics have a label and a value."""
    assert isinstance(document, list)
    for metric in document:
        assert set(metric) <= {"label", "value", "delta"}
        assert metric["label"]
        assert isinstance(metric["value"], str | int | float)


def check_figure(document: Any) -> None:
    """A figure of Plotly: traces with a type and columns of one length, and a layout."""
    assert set(document) <= {"data", "layout", "config"}
    for trace in document["data"]:
        assert trace["type"] == "bar"
        assert len(trace["x"]) == len(trace["y"]) > 0
    assert isinstance(document["layout"], dict)


# UDF


def check_config(document: Any) -> None:
    """Either search or groups; resolutions as the library names them."""
    assert document["supports_search"] != document["supports_group_request"]
    assert document["supported_resolutions"]
    for name in ("supports_marks", "supports_timescale_marks", "supports_time"):
        assert isinstance(document[name], bool)
    assert all({"value", "name", "desc"} <= set(e) for e in document["exchanges"])
    assert all({"value", "name"} <= set(t) for t in document["symbols_types"])


def check_symbol(document: Any) -> None:
    """What the library needs of a symbol."""
    for name in ("name", "description", "type", "exchange", "listed_exchange", "timezone"):
        assert isinstance(document[name], str)
        assert document[name]
    assert document["session"].count("-") == 1
    assert document["minmov"] >= 1
    # A power of ten.
    assert set(str(document["pricescale"])) <= {"1", "0"}
    assert document["format"] in ("price", "volume")
    seconds = [r[:-1] for r in document["supported_resolutions"] if r.endswith("S")]
    minutes = [r for r in document["supported_resolutions"] if r.isdigit()]
    assert document["has_seconds"] == bool(seconds)
    assert set(seconds) == set(document["seconds_multipliers"])
    assert document["has_intraday"] == bool(minutes)
    assert set(minutes) == set(document["intraday_multipliers"])


def check_history(document: Any, start: int, until: int, seconds: int) -> None:
    """Columns of one length, ascending, within the window; or nothing, and where to look."""
    assert document["s"] in ("ok", "no_data")
    if document["s"] == "no_data":
        assert set(document) <= {"s", "nextTime"}
        assert document.get("nextTime", 0) < until
        return
    times = document["t"]
    assert times
    assert all(len(document[name]) == len(times) for name in "ohlc")
    assert all(a < b for a, b in itertools.pairwise(times))
    assert all(t % seconds == 0 for t in times)
    assert start - seconds < times[0]
    assert times[-1] < until
    for o, h, low, c in zip(*(document[name] for name in "ohlc"), strict=True):
        assert low <= min(o, c) <= max(o, c) <= h


def check_marks(document: Any) -> None:
    """Columns of one length; a label is one letter."""
    names = {"id", "time", "color", "text", "label", "labelFontColor", "minSize"}
    assert set(document) == names
    assert len({len(column) for column in document.values()}) == 1
    assert len(set(document["id"])) == len(document["id"])
    assert all(len(label) == 1 for label in document["label"])
    assert set(document["color"]) <= {"red", "green", "blue", "yellow"}
