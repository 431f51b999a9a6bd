"""The levels of a sample as charting programs and spreadsheets read them: one row a level."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from api.documents.basis import Basis, basis_between, price_step, round_to_step
from api.documents.sample import Sample
from api.series.params import QueryError
from storage.errors import UsageError
from storage.market.futures import FUTURES, settlement_after
from storage.market.instruments import parse_symbol
from storage.record.flag_figures import figures_in_doubt
from storage.record.row import Row

#: The stable keys, with names for people and the figure whose doubts are the level's. A program may
#: rely on a key: none is renamed or removed, and new ones come after these. No name has a comma:
#: the samples of deploy/platforms, like many scripts, split a line at each one.
LEVELS: dict[str, tuple[str, str]] = {
    "spot": ("Spot", "spot"),
    "gamma_flip": ("Gamma flip", "gamma_flip"),
    "call_wall": ("Call wall", "call_wall"),
    "put_wall": ("Put wall", "put_wall"),
    "magnet": ("Magnet", "magnet"),
    "max_pain": ("Max pain", "max_pain"),
    "pin_lower": ("Pin range lower end", "pin_lower"),
    "pin_upper": ("Pin range upper end", "pin_upper"),
    "sigma_lower": ("Spot - 1 sigma to the close", "remaining_1sd"),
    "sigma_upper": ("Spot + 1 sigma to the close", "remaining_1sd"),
}
#: The columns of the table, in an order on which readers may rely.
COLUMNS = (
    *("key", "name", "price", "level", "doubts", "symbol", "target", "basis_kind", "basis"),
    *("quoted_at", "age_seconds", "delay_seconds", "market_open", "simulated"),
)
BasisFrom = Literal["same", "sampled", "parity", "price", "basis", "ratio", "apart"]
#: The reason to give when both instruments are sampled, but not at nearly the same time.
_APART = "The two are not quoted within a minute of each other at this moment."
_NO_FORWARD = (
    "{target} settles on {settles}, and this sample has no forward of that day: its feed does not"
    " deliver the options that expire on it, or has not yet."
)
#: Parameters that say how the target's price follows; one of them at most.
_AMOUNTS: tuple[BasisFrom, ...] = ("price", "basis", "ratio")
_LARGEST = 1e7
#: What is said beside a basis by parity; null of any other.
_PARITY_FIELDS = ("settles", "forward", "scatter", "age_seconds")
#: The name of the feed of a simulated market.
_SIMULATED_FEED = "synthetic"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetQuery:
    """The instrument in whose prices the caller wants the levels, and how they follow."""

    #: The instrument; None for the symbol itself.
    target: str | None
    #: Which parameter gives the basis; None where none does.
    given_by: BasisFrom | None
    #: Its number.
    amount: float


def read_target(query: Mapping[str, str]) -> TargetQuery:
    """Read ``to``, and ``price``, ``basis`` or ``ratio``.

    Parameters
    ----------
    query : the parameters of the query string.

    Returns
    -------
    TargetQuery
        The instrument, and how its prices follow.

    Raises
    ------
    QueryError
        ``invalid_to``, ``invalid_price``, ``invalid_basis`` or ``invalid_ratio``.
    """
    target = None
    if "to" in query:
        try:
            target = parse_symbol(query["to"])
        except UsageError as error:
            raise QueryError("invalid_to", str(error)) from None
    # ``basis=parity`` asks for what a future of the symbol's index has without a number.
    by_parity = query.get("basis") == "parity"
    if by_parity and (target is None or target not in FUTURES):
        raise QueryError("invalid_basis", "basis=parity needs to=, a future such as ES")
    named = [name for name in _AMOUNTS if name in query and not (by_parity and name == "basis")]
    if by_parity and named:
        raise QueryError(f"invalid_{named[0]}", f"either {named[0]} or basis, not both")
    if len(named) > 1:
        raise QueryError(f"invalid_{named[1]}", f"either {named[0]} or {named[1]}, not both")
    if not named:
        return TargetQuery(target=target, given_by=None, amount=0.0)
    if target is None:
        raise QueryError("invalid_to", f"{named[0]} needs to=, the instrument that it is of")
    name = named[0]
    return TargetQuery(target=target, given_by=name, amount=_number(name, query[name]))


def _number(name: str, text: str) -> float:
    try:
        number = float(text) if text.isascii() else math.nan
    except ValueError:
        number = math.nan
    smallest = -_LARGEST if name == "basis" else 0.0
    if not smallest < number < _LARGEST:
        positive = "" if name == "basis" else " above 0"
        raise QueryError(f"invalid_{name}", f"{name} must be a number{positive}, such as 38.25")
    return number


def given_basis(query: TargetQuery, spot: float) -> Basis:
    """Return the basis that a query gives as a number.

    Parameters
    ----------
    query : the query; it has a number.
    spot : the symbol's price in the sample. [$]

    Returns
    -------
    Basis
        The basis.
    """
    if query.given_by == "price":
        return basis_between(spot, query.amount)
    kind: Literal["difference", "ratio"] = "difference" if query.given_by == "basis" else "ratio"
    return Basis(kind, query.amount)


def parity_basis(row: Row, target: str) -> Basis | None:
    """Return the basis of an index's future by put-call parity.

    It is the forward of the day on which the future settles, less the forward of today's expiry by
    the same sample's quotes: a spot that is late does not enter it.

    Parameters
    ----------
    row : a sample of the future's index.
    target : the future.

    Returns
    -------
    Basis or None
        None where the sample does not have that forward.
    """
    ahead = row.detail.future_forward
    if ahead is None:
        return None
    return basis_between(row.forward, ahead * FUTURES[target].multiple)


def _parity_fields(row: Row, target: str, *, sample_age: float) -> dict[str, Any]:
    """What is said of a basis by parity: the future's day, the forward, its scatter and its age."""
    detail, multiple = row.detail, FUTURES[target].multiple
    ahead, scatter = detail.future_forward, detail.future_forward_scatter
    return {
        "settles": settlement_after(row.expiration),
        "forward": None if ahead is None else round(ahead * multiple, 4),
        "scatter": None if scatter is None else round(scatter * multiple, 4),
        "age_seconds": None
        if ahead is None
        else round(sample_age + (detail.other_expiries_age_seconds or 0.0)),
    }


def levels_document(
    sample: Sample, target: str, basis: Basis | None, basis_from: BasisFrom, *, simulated: bool
) -> dict[str, Any]:
    """Answer with the levels of a sample, each as a price of the target.

    Parameters
    ----------
    sample : the sample.
    target : the instrument whose prices the levels become.
    basis : how they become that; None where both are sampled and not at the same time, or the
        sample has no forward of the future's day.
    basis_from : where the basis is from.
    simulated : whether the server shows a simulated market; a simulated feed says it by itself.

    Returns
    -------
    dict
        The answer. ``levels`` has every key of ``LEVELS``; a level that the sample has not is null.
    """
    row = sample.record.row
    step = price_step(target)
    doubted_by: dict[str, list[str]] = {}
    for flag, figures in figures_in_doubt(row.flags).items():
        for figure in figures:
            doubted_by.setdefault(figure, []).append(flag)
    values = _values(row)
    reason, more = (None if basis else _APART), dict.fromkeys(_PARITY_FIELDS)
    if basis_from == "parity":
        more = _parity_fields(row, target, sample_age=sample.age)
        if basis is None:
            reason = _NO_FORWARD.format(target=target, settles=more["settles"])
    fields = None if basis is None else {"kind": basis.kind, "amount": round(basis.amount, 8)}
    levels = [
        {
            "key": key,
            "name": name,
            "price": round_to_step(basis.map_price(level), step)
            if level is not None and basis is not None
            else None,
            "level": level,
            # Both ends of the cone begin at spot.
            "doubts": sorted(
                {*doubted_by.get(figure, []), *(doubted_by.get("spot", []) if spot else [])}
            ),
        }
        for key, (name, figure) in LEVELS.items()
        for level, spot in [(values[key], key.startswith("sigma"))]
    ]
    return {
        "symbol": row.symbol,
        "target": target,
        "expiry": row.expiration,
        "as_of": sample.moment,
        "market_open": sample.session.open <= sample.moment < sample.session.close,
        "simulated": simulated or row.source == _SIMULATED_FEED,
        "age_seconds": round(sample.age),
        "basis": {
            **(fields or {"kind": None, "amount": None}),
            "from": basis_from,
            "reason": reason,
            **more,
        },
        "price_step": step,
        "levels": levels,
        **sample.provenance_fields(),
    }


def _values(row: Row) -> dict[str, float | None]:
    """Each level in the symbol's own prices. [$]"""
    sigma = row.remaining_1sd
    own = {
        key: getattr(row if hasattr(row, figure) else row.detail, figure)
        for key, (_, figure) in LEVELS.items()
        if figure != "remaining_1sd"
    }
    return own | {
        "sigma_lower": None if sigma is None else row.spot - sigma,
        "sigma_upper": None if sigma is None else row.spot + sigma,
    }


def levels_table(document: Mapping[str, Any]) -> bytes:
    """Write the levels as CSV: a header, and a line for each key.

    Parameters
    ----------
    document : what ``levels_document`` returned.

    Returns
    -------
    bytes
        The file. A level that is not there has an empty price.
    """
    shared = {
        "symbol": document["symbol"],
        "target": document["target"],
        "basis_kind": document["basis"]["kind"],
        "basis": document["basis"]["amount"],
        "quoted_at": document["newest"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        "age_seconds": document["age_seconds"],
        "delay_seconds": document["delay_seconds"],
        "market_open": "true" if document["market_open"] else "false",
        "simulated": "true" if document["simulated"] else "false",
    }
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for level in document["levels"]:
        writer.writerow(shared | level | {"doubts": " ".join(level["doubts"])})
    return file.getvalue().encode()
