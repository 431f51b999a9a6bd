"""A row made of figures that are rounded all at once: a row has two hundred of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

from sampler.metrics.rounding import round_figures
from storage.record.figures import (
    DetailFigures,
    HedgeShares,
    SettledFigures,
    float_names,
    significant,
)
from storage.record.row import CENTS, FLOATS, Row

_ROW = tuple(name for name in FLOATS if name not in CENTS)
_SETTLED, _DETAIL = float_names(SettledFigures), float_names(DetailFigures)
_HEDGES = float_names(HedgeShares)
_of_row, _of_settled, _of_detail = itemgetter(*_ROW), itemgetter(*_SETTLED), itemgetter(*_DETAIL)
_of_hedges = itemgetter(*_HEDGES)


def rounded_row(columns: dict[str, Any], settled: dict[str, Any], detail: dict[str, Any]) -> Row:
    """Make a row of its fields. Equal to the row that ``Row`` makes of them, in half of the time.

    Parameters
    ----------
    columns : the row's fields but the two groups. Changed: its figures are rounded.
    settled, detail : the figures of the two groups, ``hedging`` in each a dict by move. Changed
        likewise.

    Returns
    -------
    Row
        The row, its figures rounded to 12 significant digits.

    Raises
    ------
    ValueError
        If a figure of the row itself is not finite.
    """
    curve = detail["charm_curve"]
    rounded = _rounded(
        (
            *_of_row(columns),
            *_of_settled(settled),
            *_of_detail(detail),
            *_of_hedges(settled["hedging"]),
            *_of_hedges(detail["hedging"]),
            *settled["crossings"],
            *detail["crossings"],
            *itertools.chain.from_iterable(curve or ()),
        )
    )
    for group, names in ((columns, _ROW), (settled, _SETTLED), (detail, _DETAIL)):
        group.update(zip(names, rounded, strict=False))
    for group in (settled, detail):
        group["hedging"] = HedgeShares.from_fields(dict(zip(_HEDGES, rounded, strict=False)))
    for group in (settled, detail):
        group["crossings"] = tuple(itertools.islice(rounded, len(group["crossings"])))
    if curve is not None:
        detail["charm_curve"] = tuple(zip(rounded, rounded, strict=True))
    columns["settled"] = SettledFigures.from_fields(settled)
    columns["detail"] = DetailFigures.from_fields(detail)
    return Row.from_fields(columns)


def _rounded(figures: Sequence[float | None]) -> Iterator[float | None]:
    """Each figure with 12 significant digits; None where there is none or it is not finite.

    The first figures are those of the row itself, which must be finite.
    """
    numbers, left = round_figures(figures)
    rounded: list[float | None] = [*numbers]
    for i in left:
        if math.isnan(numbers[i]):
            if i < len(_ROW) and figures[i] is not None:
                raise ValueError(f"{_ROW[i]} is {figures[i]}")
            rounded[i] = None
        else:
            rounded[i] = significant(numbers[i])
    return iter(rounded)
