"""The header ``Range``: which part of a file a caller asks for."""

from __future__ import annotations

import re

#: One range of bytes; a header with several is answered with the whole file.
_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,15})\s*-\s*(\d{0,15})\s*", re.ASCII | re.IGNORECASE)


class RangeNotSatisfiable(Exception):
    """The file has no byte of the range."""


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the part of a file that a request asks for, as RFC 9110 section 14 says.

    Parameters
    ----------
    header : the request's ``Range``.
    size : length of the file. [bytes]

    Returns
    -------
    tuple or None
        First byte, and one after the last; None where the whole file is the answer: other units,
        several ranges, what cannot be read, an empty file.

    Raises
    ------
    RangeNotSatisfiable
        If the file ends before the range begins.
    """
    match = _ONE_RANGE.fullmatch(header)
    if match is None or size == 0:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        if int(last) == 0:
            raise RangeNotSatisfiable
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise RangeNotSatisfiable
    return int(first), min(int(last) + 1, size) if last else size
