"""What every answer says of the server: the shape's version, and when each feed last delivered."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from api.series.window import ENDPOINT_VERSION, data_as_of


def stamp(node: str, delivered: Iterable[tuple[str, datetime | None]] = ()) -> dict[str, Any]:
    """Return the answer's version and when each feed behind it last delivered.

    Parameters
    ----------
    node : which server answers.
    delivered : symbols that the answer rests on, each with the time of its newest quotes.

    Returns
    -------
    dict
        ``endpoint_version`` and ``data_as_of``.
    """
    feeds = data_as_of("", None, node)
    for symbol, newest in delivered:
        for feed, moment in data_as_of(symbol, newest, node).items():
            if feed != "node" and moment is not None:
                feeds[feed] = max(feeds[feed] or moment, moment)
    return {"endpoint_version": ENDPOINT_VERSION, "data_as_of": feeds}
