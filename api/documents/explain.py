"""One figure of one sample explained: its formula, its inputs, its flags, and what it is not.

Everything comes from the stored row and its figures by strike. Where the formula is arithmetic on
these, ``check`` does it again; the whole way from the chain is the sampler's ``explain``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.documents.figure_inputs import (
    FIGURES,
    LEVEL_PARTS,
    STRIKE_INPUTS,
    STRIKE_PARTS,
    inputs_of,
    limits_of,
)
from api.documents.rounding import nearest_int, strike_text
from api.documents.sample import Sample
from api.series.params import QueryError
from storage.market.constants import PIN_WEIGHTS, YEAR_SECONDS
from storage.record.flag_figures import figures_in_doubt
from storage.record.glossary import GLOSSARY
from storage.record.row import PROFILE, Flag, SlotRecord, utc_text

#: How many strikes are shown, those with the largest part.
TOP = 8
#: Figures that this module computes are rounded to so many significant digits, as stored rows are.
_DIGITS = 12
Floats = NDArray[np.float64]


class StoredValues:
    """The figures of a record by name, those of its live book beside the row's own."""

    def __init__(self, record: SlotRecord) -> None:
        self._values = record.row.detail.as_json() | record.row.as_json()
        self._profile = record.profile

    def value(self, name: str) -> Any:
        """Return a figure as plain JSON, None where it is not known.

        Parameters
        ----------
        name : a name of the glossary.

        Returns
        -------
        number, str, bool, list, dict or None
            In the figure's unit.
        """
        return self._values.get(name)

    def number(self, name: str) -> float:
        """Return a figure that a check needs.

        Parameters
        ----------
        name : a name of the glossary.

        Returns
        -------
        float
            In the figure's unit.

        Raises
        ------
        LookupError
            If it is not known.
        """
        value = self._values.get(name)
        if value is None:
            raise LookupError(name)
        return float(value)

    def by_strike(self, *names: str) -> Floats:
        """Return the sum of arrays by strike; 0 for what is not known.

        Parameters
        ----------
        names : arrays of the profile.

        Returns
        -------
        ndarray
            In the arrays' unit. (n,)

        Raises
        ------
        LookupError
            If the sample was stored without figures by strike.
        """
        if not len(self._profile["strike"]):
            raise LookupError("strike")
        columns = [np.asarray(self._profile[name], dtype=float) for name in names]
        total: Floats = np.nan_to_num(np.sum(columns, axis=0))
        return total

    def strike_of_largest(self, size: Floats) -> float:
        """Return the strike of the largest value; of several the one nearest to spot.

        Parameters
        ----------
        size : values by strike. (n,)

        Returns
        -------
        float
            The strike. [$]
        """
        strikes = np.asarray(self._profile["strike"], dtype=float)
        best = strikes[size == size.max()]
        return float(best[np.argmin(np.abs(best - self.number("spot")))])


def _total(*names: str) -> Callable[[StoredValues], float]:
    return lambda v: float(v.by_strike(*names).sum())


def _both(call: str, put: str) -> Callable[[StoredValues], float]:
    return lambda v: v.number(call) + v.number(put)


def _confidence(v: StoredValues) -> float:
    measured = v.value("net_gex_se_measured")
    error = v.number("net_gex_se") if measured is None else float(measured)
    if error == 0:
        raise LookupError("net_gex_se")
    return 0.5 * (1 + math.erf(abs(v.number("net_gex")) / error / math.sqrt(2)))


def _deviations(v: StoredValues) -> float:
    return abs(v.number("gamma_flip") - v.number("spot")) / v.number("remaining_1sd")


def _proximity(v: StoredValues) -> float:
    away = (v.number("spot") - v.number("magnet")) / v.number("remaining_1sd")
    return 100 * math.exp(-0.5 * away**2)


def _pin_score(v: StoredValues) -> float:
    return nearest_int(sum(w * v.number(f"pin_{name}") for name, w in PIN_WEIGHTS.items()))


def _remaining(v: StoredValues) -> float:
    return v.number("forward") * v.number("atm_iv") * math.sqrt(v.number("years_to_expiry"))


def _magnet(v: StoredValues) -> float:
    return v.strike_of_largest(np.abs(v.by_strike("call_gex", "put_gex")))


#: Figure → the arithmetic on stored figures that gives it, in words and as a function.
CHECKS: dict[str, tuple[str, Callable[[StoredValues], float]]] = {
    "net_gex": ("call_gex + put_gex", _both("call_gex", "put_gex")),
    "call_gex": ("the sum of call_gex of every strike", _total("call_gex")),
    "put_gex": ("the sum of put_gex of every strike", _total("put_gex")),
    "net_dex": ("call_dex + put_dex", _both("call_dex", "put_dex")),
    "call_dex": ("the sum of call_dex of every strike", _total("call_dex")),
    "put_dex": ("the sum of put_dex of every strike", _total("put_dex")),
    "net_vex": ("the sum of vex of every strike", _total("vex")),
    "net_chex": ("the sum of chex of every strike", _total("chex")),
    "call_wall": (
        "the strike of the largest call_gex",
        lambda v: v.strike_of_largest(v.by_strike("call_gex")),
    ),
    "put_wall": (
        "the strike of the largest |put_gex|",
        lambda v: v.strike_of_largest(np.abs(v.by_strike("put_gex"))),
    ),
    "magnet": ("the strike of the largest |call_gex + put_gex|", _magnet),
    "distance_to_flip_sigmas": ("|gamma_flip − spot| / remaining_1sd", _deviations),
    "regime_confidence": (
        "N(|net_gex| / net_gex_se_measured), by net_gex_se where that is null",
        _confidence,
    ),
    "pin_score": (
        " + ".join(f"{weight:.2f}·pin_{name}" for name, weight in PIN_WEIGHTS.items()),
        _pin_score,
    ),
    "pin_proximity": ("100·exp(−½((spot − magnet)/remaining_1sd)²)", _proximity),
    "remaining_1sd": ("forward·atm_iv·√years_to_expiry", _remaining),
    "charm_horizon_seconds": (
        "min(3600, years_to_expiry·31,536,000/2)",
        lambda v: min(3600.0, v.number("years_to_expiry") * YEAR_SECONDS / 2),
    ),
    "hedge_flow_cumulative_all": (
        "hedge_flow_call_cumulative + hedge_flow_put_cumulative",
        _both("hedge_flow_call_cumulative", "hedge_flow_put_cumulative"),
    ),
    "total_oi": ("call_oi + put_oi", _both("call_oi", "put_oi")),
    "total_volume": ("call_volume + put_volume", _both("call_volume", "put_volume")),
}


def explain(sample: Sample, figure: str, strike: float | None) -> dict[str, Any]:
    """Answer with what a figure of a sample is made of, and what it is not.

    Parameters
    ----------
    sample : the sample.
    figure : a name of ``FIGURES``.
    strike : the strike whose part is explained; None for the figure of the whole chain. [$]

    Returns
    -------
    dict
        The answer.

    Raises
    ------
    QueryError
        ``invalid_strike`` if the figure is one by strike and none is given, if it has no part by
        strike and one is given, or if the strike is not listed.
    """
    record, term = sample.record, GLOSSARY[figure]
    values = StoredValues(record)
    row = record.row
    inputs: tuple[str, ...]
    if strike is None:
        if figure in PROFILE_ONLY:
            raise QueryError("invalid_strike", f"{figure} is a figure by strike: name a strike")
        value, check, inputs = values.value(figure), _check(figure, values), inputs_of(figure)
        strikes = _largest(record, STRIKE_PARTS.get(figure) or LEVEL_PARTS.get(figure) or ())
    else:
        parts = _parts(figure)
        position = _position(record, strike)
        amounts = [_known(record.profile[name][position]) for name in parts]
        known = [amount for amount in amounts if amount is not None]
        value = sum(known) if known else None
        check = None
        if len(parts) > 1:
            check = {"expression": f"{' + '.join(parts)} of the strike", "value": value}
        inputs = ("spot", "forward", "years_to_expiry", "oi_confidence")
        strikes = [_strike(record, position, parts)]
    doubts = figures_in_doubt(row.flags)
    amounts_of = row.detail.flag_amounts or {}
    return {
        "symbol": row.symbol,
        "expiration": row.expiration,
        "as_of": sample.moment,
        "figure": figure,
        "strike": strike,
        "value": value,
        "unit": term.unit,
        "formula": term.meaning,
        "positive_means": term.positive or None,
        "definition": f"definitions#figure-{figure}",
        "inputs": [
            {
                "name": name,
                "value": values.value(name),
                "unit": GLOSSARY[name].unit,
                "meaning": GLOSSARY[name].meaning,
            }
            for name in inputs
        ],
        "strikes": strikes,
        "check": check,
        "flag_meanings": [
            {
                "flag": str(flag),
                "meaning": _meaning(flag),
                "limits_this": figure in doubts.get(flag, ()),
                "amounts": amounts_of.get(flag),
            }
            for flag in row.flags
        ],
        "is_not": list(limits_of(figure)),
        "steps": _command(sample),
        **sample.provenance_fields(),
    }


#: Figures that have a value for each strike and none for the whole chain.
PROFILE_ONLY = frozenset(
    name for name in FIGURES if name in ("strike", *PROFILE) and name not in STRIKE_PARTS
)


def _parts(figure: str) -> tuple[str, ...]:
    """The arrays whose sum is a strike's part of a figure."""
    if figure in STRIKE_PARTS:
        return STRIKE_PARTS[figure]
    if figure in PROFILE_ONLY:
        return (figure,)
    raise QueryError("invalid_strike", f"{figure} has no parts by strike")


def _position(record: SlotRecord, strike: float) -> int:
    listed = np.asarray(record.profile["strike"], dtype=float)
    where = np.flatnonzero(np.abs(listed - strike) < 1e-6)
    if len(where):
        return int(where[0])
    problem = f"the sample has no strike {strike_text(strike)}"
    if len(listed):
        nearest = float(listed[np.argmin(np.abs(listed - strike))])
        problem += f": the nearest is {strike_text(nearest)}"
    raise QueryError("invalid_strike", problem)


def _check(figure: str, values: StoredValues) -> dict[str, Any] | None:
    """The figure by arithmetic on stored figures; None where it is not that, or one is missing."""
    if figure not in CHECKS:
        return None
    expression, work_out = CHECKS[figure]
    try:
        result = work_out(values)
    except LookupError:
        return None
    return {"expression": expression, "value": _known(result)}


def _largest(record: SlotRecord, parts: tuple[str, ...]) -> list[dict[str, Any]]:
    """The strikes with the largest part of a figure, the largest first."""
    if not parts or not len(record.profile["strike"]):
        return []
    size = np.abs(np.nan_to_num(sum(np.asarray(record.profile[n], dtype=float) for n in parts)))
    order = np.argsort(-size, kind="stable")[:TOP]
    return [_strike(record, int(i), parts) for i in order if size[i] > 0]


def _strike(record: SlotRecord, position: int, parts: tuple[str, ...]) -> dict[str, Any]:
    names = dict.fromkeys(("strike", *parts, *STRIKE_INPUTS))
    return {name: _known(record.profile[name][position]) for name in names}


def _known(value: Any) -> float | None:
    number = float(value)
    return float(f"{number:.{_DIGITS}g}") + 0.0 if math.isfinite(number) else None


def _meaning(flag: str) -> str:
    try:
        return Flag(flag).meaning
    except ValueError:
        return "a flag of another release"


def _command(sample: Sample) -> str:
    """The shell command that computes this row again from its stored chain and prints each step."""
    row = sample.record.row
    moment = utc_text(row.slot)
    return f"flow-sampler explain --symbol {row.symbol} --at {moment} --feed {row.source}"
