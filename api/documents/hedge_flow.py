"""Hedge flow a bar: what was added in the bucket, and the sum since the baseline, in cents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: What a window must be asked for, and a side's columns.
COLUMNS = ("slot", "hedge_flow_call_cumulative", "hedge_flow_put_cumulative")
_SIDES = {"all": COLUMNS[1:], "calls": COLUMNS[1:2], "puts": COLUMNS[2:]}


def hedge_flow_bars(
    rows: Sequence[Mapping[str, Any]], before: Mapping[str, Any] | None, side: str
) -> list[dict[str, Any]]:
    """Return what each bucket added to the hedge flow, and the sum since the baseline.

    Cents are counted as integers: all = calls + puts in both, and the bars from the open add up to
    ``cumulative``.

    Parameters
    ----------
    rows : the last row of each bucket, ascending.
    before : the newest row before the first bucket's start; None without one. A bucket that the
        window cuts still has all of its flow, so a bar is the same in every window.
    side : ``all``, ``calls`` or ``puts``.

    Returns
    -------
    list of dict
        ``bar`` and ``cumulative`` of each bucket; positive where dealers buy. [$]
    """
    bars, so_far = [], _cents(before, side) if before else 0
    for row in rows:
        total = _cents(row, side)
        bars.append(
            {
                "t": row["bucket"],
                "bar": (total - so_far) / 100,
                "cumulative": total / 100,
                "sampled_at": row["slot"],
            }
        )
        so_far = total
    return bars


def _cents(row: Mapping[str, Any], side: str) -> int:
    return sum(round(row[column] * 100) for column in _SIDES[side])
