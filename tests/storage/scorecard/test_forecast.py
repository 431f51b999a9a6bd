"""What is frozen of a row: the set times, the text, and its digest."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from factories import DAY, at, row

from storage.market.calendar import session_on
from storage.scorecard.forecast import (
    FORECAST_COLUMNS,
    FrozenForecast,
    freeze,
    freeze_moments,
)

TEN = datetime(2026, 8, 19, 14, 0, tzinfo=UTC)


def columns(**changes):
    measured = row(**changes)
    values = {name: getattr(measured, name) for name in FORECAST_COLUMNS}
    return values | {"detail": measured.detail.as_json()}


def frozen(**changes) -> FrozenForecast:
    return freeze(columns(**changes), TEN, frozen_at=TEN, simulated=False, flow_before=None)


def test_times_of_a_day() -> None:
    """10:00, 12:00, 14:00, 15:00 and 15:30 in New York, summer and winter; a half day has two."""
    times = [f"{moment:%H:%M}" for moment in freeze_moments(session_on(DAY))]
    assert times == ["14:00", "16:00", "18:00", "19:00", "19:30"]
    times = [f"{moment:%H:%M}" for moment in freeze_moments(session_on(date(2026, 12, 1)))]
    assert times == ["15:00", "17:00", "19:00", "20:00", "20:30"]
    half = session_on(date(2026, 11, 27))
    assert [f"{moment:%H:%M}" for moment in freeze_moments(half)] == ["15:00", "17:00"]


def test_content() -> None:
    """Ranges, the pin's strikes and the flow of half an hour, by hand; figures as in the row."""
    values = columns(
        slot=at(60),
        spot=100.0,
        remaining_1sd=0.75,
        hedge_flow_cumulative_all=5.25,
        detail={"pin_lower": 99.0, "pin_upper": None},
    )
    forecast = freeze(values, TEN, frozen_at=TEN, simulated=True, flow_before=7.5)
    content = json.loads(forecast.content)
    assert content["range_1sigma"] == [99.25, 100.75]
    assert content["range_2sigma"] == [98.5, 101.5]
    assert (content["pin_lower"], content["pin_upper"]) == (99.0, None)
    assert content["hedge_flow_30m"] == -2.25
    assert content["simulated"] is True
    assert content["slot"] == "2026-08-19T14:00:00Z"
    assert content["expiration"] == "2026-08-19"
    assert content["flags"] == ["after_gap", "clock_skew"]
    assert (content["call_wall"], content["put_wall"], content["regime"]) == (
        7750.0,
        7600.0,
        "positive_gamma",
    )
    assert (forecast.symbol, forecast.slot, forecast.definitions) == ("SPX", at(60), "1")


def test_what_is_not_known_is_null() -> None:
    """No range in the last minute, no flow without an earlier row."""
    content = json.loads(frozen(remaining_1sd=None).content)
    assert content["range_1sigma"] is content["range_2sigma"] is content["hedge_flow_30m"] is None


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_digest() -> None:
    """The digest is what sha256sum makes of the text; the text has sorted keys and no spaces."""
    forecast = frozen()
    other = subprocess.run(
        ["sha256sum"], input=forecast.content.encode(), capture_output=True, check=True
    ).stdout.split()[0]
    assert forecast.digest == other.decode()
    again = json.dumps(json.loads(forecast.content), sort_keys=True, separators=(",", ":"))
    assert json.loads(again) == json.loads(forecast.content)
    assert list(json.loads(forecast.content)) == sorted(json.loads(forecast.content))
    assert " " not in forecast.content


def test_a_changed_figure_changes_the_digest() -> None:
    """One cent of spot is enough."""
    assert frozen(spot=7700.51).digest != frozen().digest


def test_lines() -> None:
    """A forecast is read as it was written; a line with another content is refused."""
    forecast = frozen()
    assert FrozenForecast.from_line(forecast.as_line()) == forecast
    missed = replace(
        forecast, slot=None, definitions=None, content=None, digest=None, missed="no row"
    )
    assert FrozenForecast.from_line(missed.as_line()) == missed
    for line in (
        forecast.as_line()[:-20],
        forecast.as_line().replace(b"7700.5", b"7700.6"),
        b"{}",
        b"[1]",
    ):
        with pytest.raises(ValueError):
            FrozenForecast.from_line(line)
