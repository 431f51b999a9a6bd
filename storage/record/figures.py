"""A row's two groups of figures: ``settled``, the settled book, and ``detail``, the snapshot's.

The database, the files and the wire keep each group as a JSON object with these fields as keys.
A key that an older release did not write is read as None. A key that this release does not know is
an error. ``docs/definitions.md`` has every formula.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor, frexp, isfinite, log10
from operator import itemgetter
from typing import Any, Self

#: Powers of ten that bring a number between 2^(e-1) and 2^e to 12 or 13 digits before the point, by
#: e; all of them are exact.
_SCALES = {e: 10.0 ** (11 - floor(log10(2.0 ** (e - 1)))) for e in range(-34, 42)}
#: What is added to a number below 2^51 and taken off again leaves the nearest whole number.
_WHOLE = 1.5 * 2.0**52


def significant(value: float) -> float:
    """Round to 12 significant digits, as text does: ``float(f"{value:.12g}")``; -0.0 becomes 0.0.

    Numbers of usual size are rounded by arithmetic, in less than half of the time. The scaled
    number is off by 0.0002 at most, and the division of two exact numbers gives the double that is
    nearest to the decimal. What lies too near to the middle of two decimals goes through text.

    Parameters
    ----------
    value : any number.

    Returns
    -------
    float
        The rounded number.
    """
    if 1e-10 <= value < 1e12 or -1e12 < value <= -1e-10:
        scale = _SCALES[frexp(value)[1]]
        scaled = value * scale
        if not -1e12 < scaled < 1e12:
            scale /= 10.0
            scaled = value * scale
        whole = scaled + _WHOLE - _WHOLE
        if -0.499 < scaled - whole < 0.499:
            return whole / scale
    return float(f"{value:.12g}") + 0.0


def unchecked(kind: type[Any]) -> Callable[[tuple[Any, ...]], Any]:
    """Return what makes a frozen dataclass with slots of its fields, without its checks.

    A frozen dataclass sets each field through a call: of a row with its groups, 160 of them. Here
    the fields of a twin class that is not frozen are set, and then it is made one of the kind: in a
    quarter of the time.

    Parameters
    ----------
    kind : the dataclass, ``frozen`` and with ``slots``.

    Returns
    -------
    callable
        Takes the values of all fields in order, and returns the object.
    """
    unlocked = dataclasses.make_dataclass(
        kind.__name__,
        kind.__slots__,
        bases=kind.__bases__,
        namespace={"__post_init__": lambda _: None},
        slots=True,
    )

    def make(values: tuple[Any, ...]) -> Any:
        instance = unlocked(*values)
        instance.__class__ = kind
        return instance

    return make


class Figures:
    """Named figures that are kept as one JSON object.

    Floats are rounded to 12 significant digits when the object is made. A float that is not finite
    becomes None.
    """

    __slots__: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        change = object.__setattr__
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and isinstance(value, float | list | tuple):
                change(self, name, _rounded(value))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Make figures of fields that are rounded already, each as the object holds it.

        Parameters
        ----------
        fields : a value for each name of a figure. Other names are left out.

        Returns
        -------
        Self
            The figures.

        Raises
        ------
        KeyError
            If a figure is missing.
        """
        read, make = _access(cls)
        figures: Self = make(read(fields))
        return figures

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read stored figures. They were rounded before they were stored.

        Parameters
        ----------
        values : the JSON object. A key that is missing was not known to an older release, and is
            read as None.

        Returns
        -------
        Self
            The figures.

        Raises
        ------
        ValueError
            If a key is not the name of a figure.
        """
        names = cls.__slots__
        if values.keys() != _NAMES.setdefault(cls, frozenset(names)):
            if unknown := values.keys() - set(names):
                raise ValueError(
                    f"{cls.__name__} has no figure {', '.join(map(repr, sorted(unknown)))}"
                )
            values = {**dict.fromkeys(names), **values}
        return cls.from_fields(values)

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values, in the order of the fields."""
        return {name: getattr(self, name) for name in self.__slots__}


def float_names(kind: type[Figures]) -> tuple[str, ...]:
    """Return the names of a kind's figures that are floats by themselves, in no list or group.

    Parameters
    ----------
    kind : the figures' class.

    Returns
    -------
    tuple of str
        The names, in the order of the fields.
    """
    return tuple(f.name for f in dataclasses.fields(kind) if str(f.type).startswith("float"))  # type: ignore[arg-type]


_Read = Callable[[Mapping[str, Any]], tuple[Any, ...]]
_NAMES: dict[type[Figures], frozenset[str]] = {}
_ACCESS: dict[type[Figures], tuple[_Read, Callable[[tuple[Any, ...]], Any]]] = {}


def _access(kind: type[Figures]) -> tuple[_Read, Callable[[tuple[Any, ...]], Any]]:
    """What reads all figures of a kind out of a mapping, and what makes the object of them."""
    if kind not in _ACCESS:
        _ACCESS[kind] = itemgetter(*kind.__slots__), unchecked(kind)
    return _ACCESS[kind]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return significant(float(value)) if isfinite(value) else None
    return tuple(_rounded(item) for item in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeShares(Figures):
    """Shares that dealers trade after a move of spot, −Σ q·(Δ(S(1 + p)) − Δ(S))·M; positive: buy.

    Every contract is repriced at its own volatility.
    """

    #: Spot rises by 0.1 %. [shares]
    spot_up_10bp: float | None
    #: Spot falls by 0.1 %. [shares]
    spot_down_10bp: float | None
    #: Spot rises by 0.25 %. [shares]
    spot_up_25bp: float | None
    #: Spot falls by 0.25 %. [shares]
    spot_down_25bp: float | None
    #: Spot rises by 0.5 %. [shares]
    spot_up_half_pct: float | None
    #: Spot falls by 0.5 %. [shares]
    spot_down_half_pct: float | None
    #: Spot rises by 1 %. [shares]
    spot_up_1pct: float | None
    #: Spot falls by 1 %. [shares]
    spot_down_1pct: float | None


class _BookFigures(Figures):
    """Figures with fields that are not plain: ``crossings``, ``hedging`` and ``charm_curve``."""

    __slots__ = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """See ``Figures.from_json``."""
        if "volume_amounts" in values:
            # Its name before other flags had amounts too.
            values = dict(values)
            values["flag_amounts"] = values.pop("volume_amounts")
        figures = super().from_json(values)
        if (crossings := values.get("crossings")) is not None:
            object.__setattr__(figures, "crossings", tuple(crossings))
        if (curve := values.get("charm_curve")) is not None:
            object.__setattr__(figures, "charm_curve", tuple(map(tuple, curve)))
        if (hedging := values.get("hedging")) is not None:
            object.__setattr__(figures, "hedging", HedgeShares.from_json(hedging))
        return figures

    def as_json(self) -> dict[str, Any]:
        """See ``Figures.as_json``."""
        plain = super().as_json()
        if (crossings := plain["crossings"]) is not None:
            plain["crossings"] = list(crossings)
        if (hedging := plain["hedging"]) is not None:
            plain["hedging"] = hedging.as_json()
        if (curve := plain.get("charm_curve")) is not None:
            plain["charm_curve"] = [list(pair) for pair in curve]
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledFigures(_BookFigures):
    """The settled book: the dealer position that this morning's open interest alone implies.

    Fields that a row has too mean what the row's field means, for this book in place of the live
    one. Each is None where the row's field may be null, and in rows of an older release that did
    not store it.
    """

    #: Gamma exposure, $ of delta per 1 % move; positive: dealers dampen moves. [$]
    net_gex: float | None
    #: Its part from calls; positive: dealers dampen moves. [$]
    call_gex: float | None
    #: Its part from puts; positive: dealers dampen moves. [$]
    put_gex: float | None
    #: Sum of the absolute gamma exposures of all contracts. [$]
    gross_gex: float | None
    #: Holders' delta on settled open interest; positive: holders are long. [$]
    net_dex: float | None
    #: Its part from calls; positive: holders are long. [$]
    call_dex: float | None
    #: Its part from puts; negative: holders of puts are short delta. [$]
    put_dex: float | None
    #: $ of delta per vol point; positive: vol up makes dealers sell. [$]
    net_vex: float | None
    #: $ of delta that half of the time left makes dealers trade; positive: they buy. [$]
    net_chex: float | None
    #: The dealers' options before hedging; positive: long. [$]
    dealer_delta: float | None
    #: $ of delta that time makes dealers trade within charm_horizon_seconds; positive: they buy.
    #: Null in the last minute. [$]
    charm_dollars_per_hour: float | None
    #: Time that charm_dollars_per_hour looks ahead: an hour, or half of what is left. [s]
    charm_horizon_seconds: float | None
    #: Spot level nearest to spot where the repriced net gamma crosses zero. [$]
    gamma_flip: float | None
    #: available, no_boundary or insufficient_local_coverage.
    gamma_flip_status: str | None
    #: |gamma_flip − spot| / remaining_1sd. [standard deviations]
    distance_to_flip_sigmas: float | None
    #: Whether the flip is more than four standard deviations of what is left away.
    flip_out_of_reach: bool | None
    #: positive_gamma, negative_gamma or unknown: the sign of gamma at spot.
    regime: str | None
    #: Strike of the largest call gamma exposure. [$]
    call_wall: float | None
    #: Strike of the largest absolute put gamma exposure. [$]
    put_wall: float | None
    #: Strike of the largest absolute net gamma exposure. [$]
    magnet: float | None
    #: Net gamma exposure at the magnet; positive: it holds price. [$]
    magnet_gex: float | None
    #: Settlement price at which holders receive least. [$]
    max_pain: float | None
    #: Weighted sum of the four parts below, rounded half up. [0-100]
    pin_score: int | None
    #: Concentration of open interest in the top three strikes. [0-100]
    pin_oi: float | None
    #: Nearness of spot to the magnet, in standard deviations of what is left. [0-100]
    pin_proximity: float | None
    #: Part of the session that has passed. [0-100]
    pin_time: float | None
    #: The magnet's part of the gamma of all strikes. [0-100]
    pin_gamma: float | None
    #: Implied probability of settling between the magnet's neighbours. [%]
    pin_probability_pct: float | None
    #: Half-width of what pin_probability_pct may be within the quotes' spreads. [points]
    pin_probability_noise: float | None
    #: Every spot level within ±10 % where the repriced net gamma crosses zero, ascending. [$]
    crossings: tuple[float, ...] | None
    #: Listed strike below the magnet; None: there is none. [$]
    pin_lower: float | None
    #: Listed strike above the magnet; None: there is none. [$]
    pin_upper: float | None
    #: Shares that dealers trade after a move of spot; positive: buy. [shares]
    hedging: HedgeShares | None
    #: Shares of delta that the book gains per $ that spot rises; positive: dampens. [shares/$]
    convexity_at_spot: float | None
    #: Time value that the dealers' book gains until expiry; negative: it loses. [$]
    net_theta_dollars: float | None
    #: The same for each hour that is left; positive: the book gains. [$/h]
    theta_per_hour_remaining: float | None
    #: Absolute gamma one hour, or half of what is left, later over absolute gamma now. [ratio]
    gamma_acceleration: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailFigures(_BookFigures):
    """What a snapshot shows beside the series; of the live book where a position matters.

    Each is None where it cannot be told, and in rows of an older release that did not store it.
    """

    #: Half-width of what pin_probability_pct may be within the quotes' spreads. [points]
    pin_probability_noise: float | None
    #: Every spot level within ±10 % where the repriced net gamma crosses zero, ascending. [$]
    crossings: tuple[float, ...] | None
    #: Listed strike below the magnet; None: there is none. [$]
    pin_lower: float | None
    #: Listed strike above the magnet; None: there is none. [$]
    pin_upper: float | None
    #: Shares that dealers trade after a move of spot; positive: buy. [shares]
    hedging: HedgeShares | None
    #: Shares of delta that the book gains per $ that spot rises; positive: dampens. [shares/$]
    convexity_at_spot: float | None
    #: Time value that the dealers' book gains until expiry; negative: it loses. [$]
    net_theta_dollars: float | None
    #: The same for each hour that is left; positive: the book gains. [$/h]
    theta_per_hour_remaining: float | None
    #: Absolute gamma one hour, or half of what is left, later over absolute gamma now. [ratio]
    gamma_acceleration: float | None
    #: Pairs of a spot level and the $ of delta that time alone leaves to trade from now until the
    #: close if spot stays at that level, ascending by level; positive: dealers buy. [$ and $]
    charm_curve: tuple[tuple[float, float], ...] | None
    #: The live book's gamma and charm on a grid of spot and time until the close, and its flip's
    #: way: lists ``seconds``, ``levels``, ``gamma``, ``charm`` and ``flip``. None but in the first
    #: sample of each five minutes. [$ per 1 % and $]
    projection: dict[str, Any] | None
    #: What the spread of the at-the-money quotes leaves open of atm_iv: half of it. [decimal]
    atm_iv_uncertainty: float | None
    #: One standard deviation of a whole session; None in the last minute. [$]
    implied_1sd: float | None
    #: Mids of the call and the put at the strike nearest the forward. [$]
    straddle_price: float | None
    #: Volatility of the 25-delta put less that of the call; positive: puts are dearer. [decimal]
    skew_25d: float | None
    #: Mean spread of the call and the put at the strike nearest the forward. [% of mid]
    atm_spread_pct: float | None
    #: Spread of two-sided quotes within ±2 % of spot, weighted by volume. [% of mid]
    weighted_spread_pct: float | None
    #: Median spread of two-sided quotes within ±2 % of spot. [% of mid]
    median_spread_pct: float | None
    #: 100 for no spread, 0 for a spread of a fifth of the price. [0-100]
    execution_score: int | None
    #: Part of the quotes within ±3 % of spot that have a bid and an ask. [0-100]
    data_quality_score: int | None
    #: Part of the volatilities within ±3 % of spot that lie near their neighbours' line. [0-100]
    greek_smoothness_score: int | None
    #: Settled gamma exposure of every expiry; positive: dealers dampen moves. None: the source
    #: brings only today's, or lacks one that it lists. [$]
    total_chain_net_gex: float | None
    #: At-the-money volatility of the expiry nearest to seven days away, five to nine. [decimal]
    seven_dte_atm_iv: float | None
    #: Volatility of a session: what is left of today over that expiry's. [ratio]
    iv_ratio_0dte_7dte: float | None
    #: How old the oldest answer for another expiry was, where each expiry has an answer of its own;
    #: None: all came in one answer, or only today's did. [s]
    other_expiries_age_seconds: float | None
    #: Parity forward of the chain that expires on the day on which the index's nearest quarterly
    #: future settles; None: the source does not bring that chain, or the symbol has no future. [$]
    future_forward: float | None
    #: Half the interquartile range of that forward's estimates by strike. [$]
    future_forward_scatter: float | None
    #: The VIX index; None where the source has none. [points]
    vix: float | None
    #: Contracts that customers bought more of than they sold, or less. [count]
    contracts_with_flow: int | None
    #: Sum of absolute signed volume times absolute delta. [contracts]
    total_abs_delta_contracts: float | None
    #: Volume that was there when its contract's volume could first be read: it belongs to no slot.
    #: Summed since the baseline. [contracts]
    volume_unattributed: float | None
    #: Part of the slot's volume that traded as legs of spreads, which says nothing about who
    #: started them; None: the source does not tell, or nothing traded. [0-1]
    multi_leg_share: float | None
    #: From the request of the first page of the source's answer to that of the last: its quotes are
    #: not one instant; None: the answer comes in one piece. [s]
    pages_seconds: float | None
    #: What the flags mean in numbers, by flag: how many contracts, their volume [contracts], what a
    #: correction added to hedge flow [$], and so on; None: no flag has numbers. [each its own]
    flag_amounts: dict[str, dict[str, float]] | None


#: Figures that the source's other expiries added; a stored chain does not have those expiries.
OTHER_EXPIRIES: tuple[str, ...] = (
    "total_chain_net_gex",
    "seven_dte_atm_iv",
    "iv_ratio_0dte_7dte",
    "other_expiries_age_seconds",
    "future_forward",
    "future_forward_scatter",
)
