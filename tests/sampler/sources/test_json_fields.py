"""What every vendor's JSON needs: odd numbers, columns, and the bounds of a day."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest

from sampler.sources.json_fields import (
    day_bounds,
    day_of,
    decode_json,
    finite,
    moment_of,
    number_columns,
    text_of,
)


def test_json_with_nan_is_read_and_what_is_no_json_is_refused() -> None:
    """NaN and 1e999 cost no other number; an HTML page is a ValueError."""
    assert decode_json(b'{"a": NaN, "b": [1e999, 2]}')["b"][1] == 2
    with pytest.raises(ValueError, match="Expecting value"):
        decode_json(b"<html>")


def test_columns_hold_numbers_and_nan_for_the_rest() -> None:
    """A field that is absent, null, a word or infinite is NaN, and harms no other."""
    objects = [{"b": 1.5, "a": "2"}, {"b": None}, {"b": "x", "a": np.inf}, {"b": True, "a": []}]
    columns = number_columns(objects, {"bid": "b", "ask": "a"})
    assert columns["bid"].tolist()[0] == 1.5
    assert np.isnan(columns["bid"]).tolist() == [False, True, True, False]
    assert np.isnan(columns["ask"]).tolist() == [False, True, True, True]
    assert number_columns([], {"bid": "b"})["bid"].shape == (0,)
    assert np.isnan(finite("1e999"))


@pytest.mark.parametrize(
    ("quoted", "hours"),
    [
        (datetime(2026, 8, 19, 14, tzinfo=UTC), (0, 4, 28)),
        (datetime(2026, 1, 14, 14, tzinfo=UTC), (1, 5, 29)),
    ],
)
def test_a_day_begins_at_new_yorks_midnight(quoted: datetime, hours: tuple[int, ...]) -> None:
    """20:00 of the evening before, midnight and the next one, in summer and in winter."""
    begin = quoted.replace(hour=0).timestamp()
    assert day_bounds(quoted) == tuple(begin + 3600 * hour for hour in hours)


def test_a_time_that_is_none_is_none() -> None:
    """0, what is before 1970-01-02 or after 2099, and NaN are no moments."""
    assert moment_of(1_700_000_000) == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert [moment_of(bad) for bad in (0, -1, 1e12, np.nan, np.inf)] == [None] * 5


@pytest.mark.parametrize(
    ("value", "text", "day"),
    [
        ("2026-08-19", "2026-08-19", date(2026, 8, 19)),
        (" 2026-08-19T16:00:00 ", "2026-08-19T16:00:00", date(2026, 8, 19)),
        ("2026-02-30", "2026-02-30", None),
        ("SPX ", "SPX", None),
        ("", "", None),
        (20260819, "", None),
        (None, "", None),
        (["2026-08-19"], "", None),
    ],
)
def test_texts_and_days(value: object, text: str, day: date | None) -> None:
    """A text without its blanks and the day that it begins with; nothing of any other value."""
    assert text_of(value) == text
    assert day_of(value) == day
