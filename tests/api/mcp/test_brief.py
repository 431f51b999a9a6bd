"""Documents cut to size: what goes first, what is said of it, and what is never cut."""

from __future__ import annotations

import orjson
import pytest

from api.mcp.brief import MOST_GAPS, MOST_STRIKES, age_of, fit, headlines


def test_what_fits_is_whole() -> None:
    """Nothing is cut, and nothing is said to be."""
    document = {"bars": [{"t": "x"}], "gap_intervals": [{}] * MOST_GAPS}
    assert orjson.loads(fit(document, 1000)) == document


def test_the_newest_bars_stay() -> None:
    """Of 100 bars of 9 bytes the last that fit, and the count of the others."""
    document = {"bars": [{"n": n} for n in range(100, 200)]}
    short = orjson.loads(fit(document, 200))
    count = len(short["bars"])
    assert short["bars"] == document["bars"][-count:]
    assert short["left_out"] == [f"the {100 - count} older of 100 bars"]
    assert len(fit(document, 200)) <= 200
    # One more would not have fitted.
    longer = dict(short, bars=document["bars"][-count - 1 :])
    assert len(orjson.dumps(longer)) > 200


def test_the_newest_alerts_come_first() -> None:
    """Lists that begin with the newest lose their end."""
    document = {"alerts": [{"id": n} for n in range(200, 100, -1)]}
    short = orjson.loads(fit(document, 200))
    assert short["alerts"][0] == {"id": 200}


def test_the_newest_sessions_stay() -> None:
    """Stored sessions ascend, so the first ones go."""
    document = {"sessions": [{"date": n} for n in range(100, 200)]}
    short = orjson.loads(fit(document, 200))
    assert short["sessions"][-1] == {"date": 199}
    assert "older of 100 sessions" in short["left_out"][0]
    board = orjson.loads(fit({"entries": [{"rank": n} for n in range(1, 100)]}, 200))
    assert board["entries"][0] == {"rank": 1}
    assert "last of 99 entries" in board["left_out"][0]


def test_strikes_go_before_bars() -> None:
    """Where fewer strikes leave all bars in, they all stay."""
    grid = [float(n) for n in range(100)]
    bars = [{"t": str(b), "values": [1000] * 100} for b in range(20)]
    short = orjson.loads(fit({"underlying_price": 50.0, "strikes_grid": grid, "bars": bars}, 2000))
    assert len(short["bars"]) == 20
    assert 11 <= len(short["strikes_grid"]) < MOST_STRIKES


def test_the_strikes_nearest_to_spot_stay() -> None:
    """Spot 102: of 90, 95, ..., 130 the nearest, in their order."""
    rows = [{"strike": float(strike), "x": "y" * 20} for strike in range(90, 135, 5)]
    document = {"underlying_price": 102.0, "strikes": rows}
    short = orjson.loads(fit(document, 250))
    assert [row["strike"] for row in short["strikes"]] == [95.0, 100.0, 105.0]
    assert short["left_out"] == ["6 of 9 strikes: those farthest from spot"]


def test_a_grids_columns_go_together() -> None:
    """The values of every bar lose the same columns as the grid."""
    grid = [float(n) for n in range(100)]
    bars = [{"t": str(b), "values": [b * 1000 + n for n in range(100)]} for b in range(3)]
    document = {"underlying_price": 50.0, "strikes_grid": grid, "bars": bars}
    short = orjson.loads(fit(document, 1000))
    assert short["strikes_grid"] == grid[40:61]
    assert len(short["strikes_grid"]) == MOST_STRIKES
    assert short["bars"][2]["values"] == [2000 + n for n in range(40, 61)]
    assert short["left_out"] == ["79 of 100 strikes: those farthest from spot"]


def test_old_gaps_are_counted() -> None:
    """The last ten of twelve, and where the others are."""
    short = orjson.loads(fit({"gap_intervals": [{"n": n} for n in range(12)]}, 10_000))
    assert short["gap_intervals"][0] == {"n": 2}
    assert short["left_out"] == ["the 2 older of 12 gaps; get_gaps has all"]


def test_what_cannot_be_cut_is_whole() -> None:
    """A document without lists stays whole, and a list keeps one element, however small the limit."""
    assert orjson.loads(fit({"a": "x" * 100}, 10)) == {"a": "x" * 100}
    assert len(orjson.loads(fit({"bars": [1, 2, 3]}, 1))["bars"]) == 1
    assert orjson.loads(fit({"bars": [], "a": "x" * 100}, 10))["bars"] == []


def test_the_headlines_name_what_they_leave_out() -> None:
    """A figure that is no headline is named, of bars and of the opening."""
    bar = {"t": "x", "spot": 1.0, "net_dex": 2.0}
    short = headlines({"bars": [bar], "opening": bar})
    assert short["bars"] == [{"t": "x", "spot": 1.0}]
    assert short["opening"] == {"t": "x", "spot": 1.0}
    assert "net_dex" in short["left_out"][0]
    assert "left_out" not in headlines({"bars": []})


@pytest.mark.parametrize(
    ("newest", "age"),
    [("2026-06-05T14:29:30Z", 30.0), ("2026-06-05T14:30:01Z", 0.0), (None, None)],
)
def test_the_age_of_the_quotes(newest: str | None, age: float | None) -> None:
    """From the newest quotes to the answer, never below zero; unknown without quotes."""
    assert age_of({"as_of": "2026-06-05T14:30:00Z", "newest": newest}) == age
