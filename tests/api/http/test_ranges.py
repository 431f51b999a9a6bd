"""The header Range, by the examples and rules of RFC 9110 section 14."""

from __future__ import annotations

import pytest

from api.http.ranges import RangeNotSatisfiable, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        # The examples of section 14.1.2, of a file of 10,000 bytes.
        ("bytes=0-499", (0, 500)),
        ("bytes=500-999", (500, 1000)),
        ("bytes=-500", (9500, 10000)),
        ("bytes=9500-", (9500, 10000)),
        ("bytes=0-0", (0, 1)),
        ("bytes=9999-9999", (9999, 10000)),
        # Past the end it is what there is.
        ("bytes=9000-20000", (9000, 10000)),
        ("bytes=-20000", (0, 10000)),
        ("Bytes = 1 - 2", (1, 3)),
        # Several ranges: a server may send the whole file, and this one does.
        ("bytes=0-0,-1", None),
        ("bytes= 0-999, 4500-5499, -1000", None),
        # What is not valid is as if it were not there.
        ("bytes=500-499", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes", None),
        ("", None),
        ("lines=1-2", None),
        ("bytes=a-b", None),
        ("bytes=1-2-3", None),
        ("bytes=+1-2", None),
        ("bytes=١-٢", None),
        ("bytes=0-" + "9" * 5000, None),
    ],
)
def test_ranges_of_ten_thousand_bytes(header: str, expected: tuple[int, int] | None) -> None:
    """Each header means this part, or the whole file."""
    assert parse_range(header, 10_000) == expected


@pytest.mark.parametrize("header", ["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=-000"])
def test_nothing_of_the_file(header: str) -> None:
    """A range that begins at the end or later, and a suffix of nothing."""
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, 10_000)


def test_an_empty_file_is_sent_whole() -> None:
    """It has no part, and its length is no error."""
    assert parse_range("bytes=0-1", 0) is None
    assert parse_range("bytes=-5", 0) is None
