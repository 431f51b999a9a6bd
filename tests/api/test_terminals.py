"""OpenBB's widgets and the UDF datafeed: to the documented shapes, and with the stored figures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from storage.postgres.store import Store
from storage.record.row import Reason
from tests.api import terminal_shapes as shapes
from tests.api.conftest import FLOWING, Caller
from tests.api.rows import gap, record, utc
from tests.api.site import SERIES
from tests.api.test_app import Table


async def ask(caller: Caller, path: str, status: int = 200) -> Any:
    sent = await caller.get(path)
    assert sent.status_code == status, sent.text
    return sent.json()


def seconds(text: str) -> int:
    return int(utc(text).timestamp())


async def test_openbb(flowing: Caller) -> None:
    """Both files are to the documented shape, and each widget's data to what the widget says."""
    flowing.clock.moment = datetime(2026, 11, 27, 17, 0, 3, tzinfo=UTC)
    widgets = await ask(flowing, "/widgets.json")
    shapes.check_widgets(widgets)
    shapes.check_apps(await ask(flowing, "/apps.json"), widgets)
    kinds = {widget["type"] for widget in widgets.values()}
    assert kinds == {"metric", "table", "chart", "advanced_charting"}
    for widget in widgets.values():
        if widget["type"] == "advanced_charting":
            shapes.check_config(await ask(flowing, f"{widget['endpoint']}/config"))
            shapes.check_symbol(
                await ask(
                    flowing,
                    f"{widget['endpoint']}/symbols?symbol={widget['data']['defaultSymbol']}",
                )
            )
            continue
        [parameter] = widget["params"]
        options = await ask(flowing, f"/{parameter['optionsEndpoint']}")
        assert parameter["value"] in [option["value"] for option in options]
        data = await ask(flowing, f"/{widget['endpoint']}?symbol={parameter['value']}")
        if widget["type"] == "table":
            columns = {column["field"] for column in widget["data"]["table"]["columnsDefs"]}
            shapes.check_rows(data, columns)
            assert data
        elif widget["type"] == "metric":
            shapes.check_metrics(data)
        else:
            shapes.check_figure(data)


async def test_widgets_show_what_is_stored(flowing: Caller) -> None:
    """Levels, strikes and bars are those of the other answers."""
    flowing.clock.moment = datetime(2026, 11, 27, 17, 0, 3, tzinfo=UTC)
    known = await ask(flowing, "/v1/levels/SPX")
    rows = await ask(flowing, "/openbb/levels?symbol=SPX")
    expected = {level["name"]: level["level"] for level in known["levels"] if level["level"]}
    assert {row["name"]: row["level"] for row in rows} == expected
    assert [row["level"] for row in rows] == sorted(expected.values(), reverse=True)
    spot = expected["Spot"]
    assert rows[0]["distance_pct"] == pytest.approx(
        100 * (rows[0]["level"] - spot) / spot, abs=1e-3
    )
    gex = await ask(flowing, "/v1/flow/gex/SPX")
    near = [s for s in gex["strikes"] if abs(s["strike"] / spot - 1) <= 0.02]
    calls, puts = (await ask(flowing, "/openbb/strikes?symbol=SPX"))["data"]
    assert calls["y"] == puts["y"] == [s["strike"] for s in near]
    assert calls["x"] == pytest.approx([s["call_gex"] for s in near], abs=0.01)
    assert puts["x"] == pytest.approx([s["put_gex"] for s in near], abs=0.01)
    series = (await ask(flowing, f"{SERIES}SPX?date={FLOWING}&bar=5m"))["bars"]
    bars = await ask(flowing, "/openbb/bars?symbol=SPX")
    assert [bar["spot"] for bar in bars] == [bar["spot"] for bar in series][::-1]
    assert bars[0]["t"] == series[-1]["t"][:16].replace("T", " ")
    shown = {m["label"]: m["value"] for m in await ask(flowing, "/openbb/figures?symbol=SPX")}
    assert shown["Spot"] == f"{spot:,.2f}"


async def test_dollars_below_zero(store: Store, caller: Caller) -> None:
    """The sign stands before the currency."""
    await store.write([record(utc("14:29:30"), net_gex=-2_500_000.0)])
    shown = {m["label"]: m["value"] for m in await ask(caller, "/openbb/figures?symbol=SPY")}
    assert shown["Net GEX per 1 %"] == "-$2.5 M"


async def test_refused_widgets(caller: Caller) -> None:
    """An empty server has widgets all the same; a symbol without a sample is 404."""
    widgets = await ask(caller, "/widgets.json")
    shapes.check_widgets(widgets)
    shapes.check_apps(await ask(caller, "/apps.json"), widgets)
    for name in ("levels", "figures", "strikes", "bars"):
        assert (await ask(caller, f"/openbb/{name}?symbol=XYZ", 404))["error"] == "symbol_not_found"
        assert (await ask(caller, f"/openbb/{name}?symbol=X Y", 400))["error"] == "invalid_symbol"


@pytest.fixture
async def spy(store: Store, caller: Caller) -> Caller:
    """SPY on a Thursday and on the Friday; a slot of the Friday is missing."""
    slots = [f"2026-06-04 19:5{minute}:{half}" for minute in (8, 9) for half in ("00", "30")]
    spots = [601.0, 602.0, 603.0, 600.5]
    await store.write(
        [record(utc(slot), spot=spot) for slot, spot in zip(slots, spots, strict=True)]
    )
    friday = ["14:00", "14:00:30", "14:01", "14:02", "14:05"]
    values = [(610.0, None), (611.5, 605.0), (609.0, 606.0), (612.0, 607.0), (613.0, 608.0)]
    await store.write(
        [
            record(
                utc(slot),
                spot=spot,
                gamma_flip=flip,
                regime="positive_gamma" if slot == "14:02" else "negative_gamma",
            )
            for slot, (spot, flip) in zip(friday, values, strict=True)
        ],
        [gap("14:01:30", Reason.SOURCE_DOWN, source="cboe"),
         gap("14:02:30", Reason.STALE, source="cboe"), gap("14:03", Reason.STALE, source="cboe")],
    )  # fmt: skip
    return caller


async def history(caller: Caller, query: str, window: tuple[str, str], bar: int) -> Any:
    start, until = map(seconds, window)
    body = await ask(caller, f"/udf/history?{query}&from={start}&to={until}")
    shapes.check_history(body, start if "countback" not in query else 0, until, bar)
    return body


async def test_bars_are_made_of_samples(spy: Caller) -> None:
    """First, largest, smallest and last of the bucket's samples, worked out by hand."""
    day = ("13:30", "20:00")
    bars = await history(spy, "symbol=SPY&resolution=1", day, 60)
    assert bars["t"] == [seconds(t) for t in ("14:00", "14:01", "14:02", "14:05")]
    assert bars["o"] == [610.0, 609.0, 612.0, 613.0]
    assert bars["h"] == [611.5, 609.0, 612.0, 613.0]
    assert bars["l"] == [610.0, 609.0, 612.0, 613.0]
    assert bars["c"] == [611.5, 609.0, 612.0, 613.0]
    five = await history(spy, "symbol=FLOW:SPY&resolution=5", day, 300)
    assert [five[name] for name in "ohlc"] == [
        *([610.0, 613.0], [612.0, 613.0], [609.0, 613.0], [612.0, 613.0]),
    ]
    # A sample without a flip is no bar.
    flips = await history(spy, "symbol=SPY.FLIP&resolution=30S", day, 30)
    assert flips["c"] == [605.0, 606.0, 607.0, 608.0]
    # The end is not included.
    piece = await history(spy, "symbol=SPY&resolution=30S", ("14:00:30", "14:02"), 30)
    assert piece["c"] == [611.5, 609.0]


async def test_countback_reaches_into_earlier_sessions(spy: Caller) -> None:
    """So many bars before the end, over the night; without it, no session before the window."""
    before = ("14:00", "14:01:30")
    bars = await history(spy, "symbol=SPY&resolution=1&countback=4", before, 60)
    assert bars["c"] == [602.0, 600.5, 611.5, 609.0]
    assert bars["h"] == [602.0, 603.0, 611.5, 609.0]
    assert (await history(spy, "symbol=SPY&resolution=1", before, 60))["c"] == [611.5, 609.0]
    both = await history(spy, "symbol=SPY&resolution=15", ("2026-06-04 13:30", "20:00"), 900)
    assert both["c"] == [600.5, 613.0]


async def test_no_data(spy: Caller) -> None:
    """A window without a bar says when the newest one before it was."""
    body = await history(
        spy, "symbol=SPY&resolution=1", ("2026-06-07 14:00", "2026-06-07 15:00"), 60
    )
    assert body == {"s": "no_data", "nextTime": seconds("14:05")}
    morning = await history(spy, "symbol=SPY&resolution=1", ("13:30", "13:40"), 60)
    assert morning["s"] == "no_data"
    long_ago = ("2026-06-01 14:00", "2026-06-01 15:00")
    assert await history(spy, "symbol=SPY&resolution=1", long_ago, 60) == {"s": "no_data"}


async def test_marks(spy: Caller) -> None:
    """Each change of the regime, and each stretch of missing slots with its reason."""
    window = f"from={seconds('13:30')}&to={seconds('20:00')}"
    marks = await ask(spy, f"/udf/marks?symbol=SPY&resolution=1&{window}")
    shapes.check_marks(marks)
    times = ("14:01:30", "14:02", "14:02:30", "14:05")
    assert marks["time"] == [seconds(t) for t in times]
    assert marks["label"] == ["G", "R", "G", "R"]
    assert marks["text"] == [
        "No sample for 0.5 minutes: source_down",
        "Now positive gamma",
        "No sample for 1 minutes: stale",
        "Now negative gamma",
    ]


async def test_symbols_and_search(spy: Caller) -> None:
    """Every figure is a symbol of its own; search finds by name and by description."""
    for query, count in (("", 14), ("SPY.", 13), ("FLOW:SPY.NET", 2), ("gex", 1), ("XYZ", 0)):
        matches = await ask(spy, f"/udf/search?query={query}")
        assert len(matches) == count, query
        for match in matches:
            shapes.check_symbol(await ask(spy, f"/udf/symbols?symbol={match['full_name']}"))
    assert len(await ask(spy, "/udf/search?limit=3")) == 3
    assert [m["symbol"] for m in await ask(spy, "/udf/search?type=price")] == ["SPY"]
    assert (await spy.get("/udf/time")).text == str(seconds("14:30"))
    shapes.check_config(await ask(spy, "/udf/config"))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("symbols?symbol=XYZ", 404),
        ("symbols", 404),
        ("symbols?symbol=SPY.NOTHING", 404),
        ("history?symbol=XYZ&resolution=1&from=0&to=1", 404),
        ("history?symbol=SPY&resolution=1D&from=0&to=1", 400),
        ("history?symbol=SPY&resolution=1&from=5&to=1", 400),
        ("history?symbol=SPY&resolution=1&from=x&to=1", 400),
        ("history?symbol=SPY&resolution=1&from=0&to=99999999999", 400),
        ("marks?symbol=XYZ&from=0&to=1", 404),
        ("marks?symbol=SPY&from=0", 400),
    ],
)
async def test_udf_errors(spy: Caller, path: str, status: int) -> None:
    """As UDF words them, with a status beside."""
    body = await ask(spy, f"/udf/{path}", status)
    assert set(body) == {"s", "errmsg"}
    assert body["s"] == "error"


async def test_plans(store: Store, open_app: Callable[..., Any]) -> None:
    """Data need the plan Growth; what is no data of the market needs less."""
    app = await open_app(store, access=Table())
    for path in ("/openbb/levels", "/openbb/bars", "/udf/history", "/udf/marks"):
        assert (await app.get(f"{path}?apiKey=key-Basic")).status_code == 403, path
    for path in ("/widgets.json", "/apps.json", "/openbb/symbols", "/udf/search"):
        assert (await app.get(path)).status_code == 401, path
        assert (await app.get(f"{path}?apiKey=key-Free")).status_code == 200, path
    assert (await app.get("/udf/config")).status_code == 200
