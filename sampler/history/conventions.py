"""The figures of one sample by the conventions of other public programs, and their distance. Pure.

Programs that show gamma exposure agree on little: which open interest, how much time is left, what
a flip is, dollars or shares. Each convention here is one formula on the same prices, volatilities
and open interest, so that what differs is the convention alone.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.market.calendar import Session
from storage.market.constants import YEAR_SECONDS
from storage.record.row import Row, SlotRecord

Floats = NDArray[np.float64]
_CONTRACT = 100.0
#: Where the rule of the first sign change begins to look, as a part of spot.
_NEAR = 0.02
#: The grid of spot levels that a widely copied script reprices on: 60 from 0.8 to 1.2 of spot.
_GRID = np.linspace(0.8, 1.2, 60)
#: The time to expiry that this script gives an option of today: one of 262 trading days. [years]
_TRADING_DAY = 1.0 / 262.0
#: The convention whose flip the others are compared with where the live book has no flip.
_REPRICED = "settled, repriced"


@dataclass(frozen=True, slots=True)
class Convention:
    """One figure by one convention."""

    #: ``net GEX``, ``gamma flip``, ``call wall`` or ``put wall``.
    figure: str
    #: What sets the convention apart.
    name: str
    formula: str
    #: Dollars or shares for net GEX, a price for the others; None where it gives none.
    value: float | None
    #: ``$ per 1 %``, ``$ per $ 1``, ``shares per $ 1`` or ``$``.
    unit: str
    #: Whether it is what this program shows.
    is_ours: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """What every formula is computed from, by strike."""

    row: Row
    strike: Floats
    sigma: Floats
    call_oi: Floats
    put_oi: Floats
    call_volume: Floats
    put_volume: Floats
    #: κ times what customers bought, calls and puts.
    call_moved: Floats
    put_moved: Floats
    #: The session's length. [years]
    whole_day: float

    @property
    def net(self) -> Floats:
        """Long calls, short puts. [contracts]"""
        net: Floats = self.call_oi - self.put_oi
        return net

    @property
    def center(self) -> Floats:
        """K·S/F: the spot level at which each strike is at the money. [$]"""
        center: Floats = self.strike * (self.row.spot / self.row.forward)
        return center

    def gamma(self, years: float, levels: Floats | None = None) -> Floats:
        """Gamma by level and strike. [delta per $]"""
        x = np.array([self.row.spot]) if levels is None else levels
        root = self.sigma * math.sqrt(years)
        d1 = np.log(x[:, None] / self.center) / root + root / 2
        gamma: Floats = np.exp(-d1 * d1 / 2) / (math.sqrt(2 * math.pi) * x[:, None] * root)
        return gamma

    def gex(self, position: Floats, years: float | None = None) -> Floats:
        """Gamma exposure by strike. [$ per 1 %]"""
        gamma = self.gamma(self.row.years_to_expiry if years is None else years)[0]
        gex: Floats = position * gamma * _CONTRACT * self.row.spot**2 * 0.01
        return gex


def conventions_of(record: SlotRecord, session: Session) -> list[Convention]:
    """Compute a sample's net GEX, flip and walls by every convention.

    Parameters
    ----------
    record : the stored record, with its profile.
    session : of the record.

    Returns
    -------
    list of Convention
        By figure; within a figure this program's live figure first.
    """
    scene = _scene(record, session)
    return [*_net_gex(scene), *_flips(scene), *_walls(scene)]


def _scene(record: SlotRecord, session: Session) -> _Scene:
    row, profile = record.row, record.profile

    def known(name: str) -> Floats:
        return np.nan_to_num(profile[name])

    return _Scene(
        row=row,
        strike=profile["strike"],
        sigma=profile["iv"],
        call_oi=known("call_oi"),
        put_oi=known("put_oi"),
        call_volume=known("call_volume"),
        put_volume=known("put_volume"),
        call_moved=row.oi_confidence * known("call_signed"),
        put_moved=row.oi_confidence * known("put_signed"),
        whole_day=(session.close - session.open).total_seconds() / YEAR_SECONDS,
    )


def _net_gex(scene: _Scene) -> list[Convention]:
    row, percent = scene.row, "$ per 1 %"
    effective = np.maximum(scene.call_oi + scene.call_moved, 0) - np.maximum(
        scene.put_oi + scene.put_moved, 0
    )
    settled = scene.gex(scene.net)
    per_dollar = float(settled.sum()) / (row.spot * 0.01)

    def line(name: str, formula: str, value: float, unit: str = percent) -> Convention:
        return Convention("net GEX", name, formula, value, unit)

    volume = scene.call_volume - scene.put_volume
    return [
        Convention(
            "net GEX",
            "live book",
            "Σ (φ·OI − κ·B)·Γ·100·S²·0.01",
            row.net_gex,
            percent,
            is_ours=True,
        ),
        line("settled open interest", "Σ φ·OI·Γ·100·S²·0.01", float(settled.sum())),
        line(
            "effective open interest, signs kept",
            "Σ φ·max(0, OI + κ·B)·Γ·100·S²·0.01",
            float(scene.gex(effective).sum()),
        ),
        line("volume for open interest", "Σ φ·V·Γ·100·S²·0.01", float(scene.gex(volume).sum())),
        line(
            "Γ with T fixed at the open",
            "settled, T = the whole session",
            float(scene.gex(scene.net, scene.whole_day).sum()),
        ),
        line(
            "Γ with T of one day",
            "settled, T = 1/365",
            float(scene.gex(scene.net, 1 / 365).sum()),
        ),
        line("S, not S²", "Σ φ·OI·Γ·100·S", per_dollar, "$ per $ 1"),
        line("neither", "Σ φ·OI·Γ·100", per_dollar / row.spot, "shares per $ 1"),
    ]


def _flips(scene: _Scene) -> list[Convention]:
    row, years = scene.row, scene.row.years_to_expiry
    fine = np.linspace(0.9, 1.1, 4001)

    def line(name: str, formula: str, value: float | None) -> Convention:
        return Convention("gamma flip", name, formula, value, "$")

    sums = np.cumsum(scene.gex(scene.net))
    return [
        Convention(
            "gamma flip",
            "live book, repriced",
            "the level x nearest S at which Σ (φ·OI − κ·B)·Γ(x) = 0",
            row.gamma_flip,
            "$",
            is_ours=True,
        ),
        line(
            _REPRICED,
            "the level x nearest S at which Σ φ·OI·Γ(x) = 0, whatever is quoted near S",
            _root(scene, years, fine),
        ),
        line(
            "T of one day",
            "the same with T = 1/365",
            _root(scene, 1 / 365, fine),
        ),
        line(
            "T fixed at the open",
            "the same with T = the whole session",
            _root(scene, scene.whole_day, fine),
        ),
        line(
            "spot shift",
            "Σ φ·OI·Γ(x)·x² at 60 levels x from 0.8 S to 1.2 S, T = 1/262; zero by a straight line",
            _root(scene, _TRADING_DAY, _GRID),
        ),
        line(
            "running sum",
            "the strike nearest S at which Σ over K' ≤ K of GEX changes its sign",
            _sign_change(scene.strike, sums, row.spot),
        ),
        line(
            "zero of the running sum",
            "the same, by a straight line between the two strikes",
            _zero(scene.strike, sums, row.spot),
        ),
        line(
            "strike flip",
            "the lowest strike within ± 2 % whose GEX is positive above one that is negative",
            _strike_flip(scene, years),
        ),
    ]


def _root(scene: _Scene, years: float, parts: Floats) -> float | None:
    """Where Σ φ·OI·Γ(x)·x² changes its sign on a grid of parts of spot, nearest to spot."""
    levels = parts * scene.row.spot
    book = (scene.gamma(years, levels) @ scene.net) * levels**2
    return _zero(levels, book, scene.row.spot)


def _zero(levels: Floats, values: Floats, spot: float) -> float | None:
    roots = [
        float(a + (b - a) * u / (u - v))
        for (a, u), (b, v) in itertools.pairwise(zip(levels, values, strict=True))
        if u * v < 0
    ]
    return min(roots, key=lambda root: abs(root - spot), default=None)


def _sign_change(levels: Floats, values: Floats, spot: float) -> float | None:
    changes = [
        float(b)
        for (_, u), (b, v) in itertools.pairwise(zip(levels, values, strict=True))
        if u * v < 0
    ]
    return min(changes, key=lambda level: abs(level - spot), default=None)


def _strike_flip(scene: _Scene, years: float) -> float | None:
    gex, spot = scene.gex(scene.net, years), scene.row.spot
    near = np.abs(scene.strike - spot) <= _NEAR * spot
    pairs = itertools.pairwise(zip(scene.strike[near], gex[near], strict=True))
    return next((float(b) for (_, u), (b, v) in pairs if u < 0 < v), None)


def _walls(scene: _Scene) -> list[Convention]:
    row, lines = scene.row, []
    gamma = scene.gamma(row.years_to_expiry)[0]
    net = scene.gex(scene.net)
    for side, word, oi, volume, signed, sign in (
        ("call_wall", "calls", scene.call_oi, scene.call_volume, net, "positive"),
        ("put_wall", "puts", scene.put_oi, scene.put_volume, -net, "negative"),
    ):
        rules: list[tuple[str, str, float | None]] = [
            ("live book", f"the strike of the largest |GEX| of {word}", getattr(row, side)),
            (
                "settled open interest",
                f"the same with OI of {word}",
                getattr(row.settled, side),
            ),
            (
                "open interest alone",
                f"the strike of the most open interest of {word}",
                _largest(scene.strike, oi),
            ),
            (
                "volume",
                f"the strike of the largest V·Γ of {word}",
                _largest(scene.strike, volume * gamma),
            ),
            (
                "net GEX by strike",
                f"the strike of the most {sign} net GEX",
                _largest(scene.strike, signed),
            ),
        ]
        figure = side.replace("_", " ")
        lines += [
            Convention(figure, name, formula, value, "$", is_ours=name == "live book")
            for name, formula, value in rules
        ]
    return lines


def _largest(strike: Floats, values: Floats) -> float | None:
    """The strike of the largest value; None where none is positive."""
    best = int(np.argmax(values)) if len(values) else 0
    return float(strike[best]) if len(values) and values[best] > 0 else None


def distances(conventions: list[Convention]) -> list[float | None]:
    """Return how far each convention lies from this program's live figure.

    Parameters
    ----------
    conventions : what ``conventions_of`` returned.

    Returns
    -------
    list of float or None
        For prices the difference [$]; for net GEX the ratio, None where the unit is another one.
        Where the live book shows no flip, from the one that is repriced on settled open interest.
    """
    ours = {line.figure: line for line in conventions if line.is_ours}
    for line in conventions:
        if line.name == _REPRICED and ours[line.figure].value is None:
            ours[line.figure] = line
    return [_distance(line, ours[line.figure]) for line in conventions]


def _distance(line: Convention, ours: Convention) -> float | None:
    if line.value is None or ours.value is None or line.unit != ours.unit:
        return None
    if line.figure != "net GEX":
        return line.value - ours.value
    return line.value / ours.value if ours.value else None


def conventions_document(record: SlotRecord, session: Session) -> dict[str, Any]:
    """Return the comparison as plain values.

    Parameters
    ----------
    record, session : as for ``conventions_of``.

    Returns
    -------
    dict
        The sample, and a list of figures with name, formula, value, unit and distance.
    """
    lines = conventions_of(record, session)
    row = record.row
    return {
        "symbol": row.symbol,
        "slot": row.as_json()["slot"],
        "source": row.source,
        "definitions": row.definitions,
        "spot": row.spot,
        "hours_left": round(row.years_to_expiry * YEAR_SECONDS / 3600, 4),
        "conventions": [
            {
                "figure": line.figure,
                "name": line.name,
                "formula": line.formula,
                "value": line.value,
                "unit": line.unit,
                "distance": distance,
                "ours": line.is_ours,
            }
            for line, distance in zip(lines, distances(lines), strict=True)
        ],
    }


def convention_cells(lines: list[Convention]) -> list[list[str]]:
    """Return the comparison as texts: figure, convention, formula, value, distance.

    Parameters
    ----------
    lines : what ``conventions_of`` returned.

    Returns
    -------
    list of list of str
        A row a convention.
    """
    return [
        [
            line.figure,
            f"{line.name} (ours)" if line.is_ours else line.name,
            line.formula,
            _value_text(line),
            _distance_text(line, distance),
        ]
        for line, distance in zip(lines, distances(lines), strict=True)
    ]


def _value_text(line: Convention) -> str:
    if line.value is None:
        return "none"
    if line.figure != "net GEX":
        return f"{line.value:,.2f}"
    if line.unit.startswith("$"):
        return f"{line.value / 1e6:+,.1f} M {line.unit}"
    return f"{line.value:+,.0f} {line.unit}"


def _distance_text(line: Convention, distance: float | None) -> str:
    if line.is_ours:
        return ""
    if distance is None:
        return "–"
    return f"× {distance:.2f}" if line.figure == "net GEX" else f"{distance:+.2f}"


def format_conventions(record: SlotRecord, session: Session) -> str:
    """Return the comparison as a text for people.

    Parameters
    ----------
    record, session : as for ``conventions_of``.

    Returns
    -------
    str
        A table by figure.
    """
    row = record.row
    hours = row.years_to_expiry * YEAR_SECONDS / 3600
    head = f"{row.symbol} {row.slot:%Y-%m-%d %H:%M:%S} UTC of {row.source}"
    if row.source == "synthetic":
        head += ", SIMULATED MARKET"
    lines = [f"{head}: spot {row.spot:,.2f}, {hours:.2f} hours left", ""]
    cells = convention_cells(conventions_of(record, session))
    widths = [max(len(line[column]) for line in cells) for column in (1, 3, 4)]
    for figure, group in itertools.groupby(cells, key=lambda line: line[0]):
        lines.append(figure)
        lines += [
            f"  {name:{widths[0]}}  {value:>{widths[1]}}  {distance:>{widths[2]}}  {formula}"
            for _, name, formula, value, distance in group
        ]
        lines.append("")
    return "\n".join(lines)
