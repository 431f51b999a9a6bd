"""What each figure is made of, and what it is not: the facts behind an explanation.

Formulas, units and signs stand in ``storage.record.glossary``; here are the stored figures that
enter each, the arrays by strike that it sums or searches, and the readings that it does not allow.
"""

from __future__ import annotations

from storage.record.flag_figures import FIGURE_GROUPS
from storage.record.glossary import GLOSSARY

#: What every figure of a dealer position is measured with.
_BOOK = (
    "spot",
    "forward",
    "atm_iv",
    "years_to_expiry",
    "oi_confidence",
    "total_oi",
    "total_volume",
)
_SIGNED = ("total_volume", "classified_share", "flow_since", "differenced_from")
_SMILE = ("forward", "years_to_expiry", "strikes_with_iv", "quotes_unused")

#: Group of figures → the stored figures that enter each of it, where ``INPUTS`` has no better.
_GROUP_INPUTS: dict[str, tuple[str, ...]] = {
    "live book": _BOOK,
    "flow": _SIGNED,
    "volume": ("total_volume",),
    "open interest": ("call_oi", "put_oi"),
    "smile": _SMILE,
    "spot": ("source_spot", "forward"),
    "chain": ("contracts", "dropped"),
}
#: Figure → the stored figures that enter it.
INPUTS: dict[str, tuple[str, ...]] = {
    "spot": ("source_spot", "forward", "quote_age_seconds"),
    "source_spot": ("quoted_at", "source"),
    "forward": ("source_spot", "strikes", "quotes_unused"),
    "years_to_expiry": ("quoted_at", "expiration"),
    "quote_age_seconds": ("fetched_at", "quoted_at"),
    "net_gex": ("call_gex", "put_gex", *_BOOK),
    "net_dex": ("call_dex", "put_dex", *_BOOK),
    "net_gex_se_measured": ("net_gex_se", "oi_confidence"),
    "gamma_flip": ("gamma_flip_status", "crossings", *_BOOK),
    "gamma_flip_status": ("gamma_flip", "strikes_with_iv", "remaining_1sd"),
    "distance_to_flip_sigmas": ("gamma_flip", "spot", "remaining_1sd"),
    "flip_out_of_reach": ("distance_to_flip_sigmas",),
    "regime": ("net_gex", "gross_gex"),
    "regime_confidence": ("net_gex", "net_gex_se_measured", "net_gex_se", "oi_confidence"),
    "call_wall": ("spot", "call_gex"),
    "put_wall": ("spot", "put_gex"),
    "magnet": ("spot", "magnet_gex"),
    "magnet_gex": ("magnet", *_BOOK),
    "max_pain": ("spot", "total_oi", "oi_confidence"),
    "pin_score": ("pin_oi", "pin_proximity", "pin_time", "pin_gamma"),
    "pin_oi": ("spot", "total_oi", "strikes"),
    "pin_proximity": ("spot", "magnet", "remaining_1sd"),
    "pin_time": ("quoted_at", "expiration"),
    "pin_gamma": ("magnet_gex", "net_gex"),
    "pin_probability_pct": ("pin_lower", "pin_upper", "pin_probability_noise", *_SMILE),
    "pin_probability_noise": ("atm_iv_uncertainty", "pin_lower", "pin_upper"),
    "charm_dollars_per_hour": ("charm_horizon_seconds", *_BOOK),
    "charm_horizon_seconds": ("years_to_expiry",),
    "hedging": ("convexity_at_spot", *_BOOK),
    "theta_per_hour_remaining": ("net_theta_dollars", "years_to_expiry"),
    "remaining_1sd": ("forward", "atm_iv", "years_to_expiry"),
    "implied_1sd": ("forward", "atm_iv"),
    "atm_iv": ("atm_iv_uncertainty", *_SMILE),
    "hedge_flow_cumulative_all": (
        "hedge_flow_call_cumulative", "hedge_flow_put_cumulative", "hedge_flow_se", *_SIGNED,
    ),
    "total_oi": ("call_oi", "put_oi"),
    "total_volume": ("call_volume", "put_volume"),
    "iv_ratio_0dte_7dte": ("atm_iv", "seven_dte_atm_iv"),
    "flags": ("flag_amounts",),
}  # fmt: skip

#: Figure → the arrays by strike that add up to what each strike contributes to it.
STRIKE_PARTS: dict[str, tuple[str, ...]] = {
    "net_gex": ("call_gex", "put_gex"),
    "call_gex": ("call_gex",),
    "put_gex": ("put_gex",),
    "magnet_gex": ("call_gex", "put_gex"),
    "net_dex": ("call_dex", "put_dex"),
    "call_dex": ("call_dex",),
    "put_dex": ("put_dex",),
    "net_vex": ("vex",),
    "net_chex": ("chex",),
    "hedge_flow_cumulative_all": ("call_flow", "put_flow"),
    "hedge_flow_call_cumulative": ("call_flow",),
    "hedge_flow_put_cumulative": ("put_flow",),
    "total_oi": ("call_oi", "put_oi"),
    "call_oi": ("call_oi",),
    "put_oi": ("put_oi",),
    "total_volume": ("call_volume", "put_volume"),
    "call_volume": ("call_volume",),
    "put_volume": ("put_volume",),
}
#: Level → the arrays by strike that it searches.
LEVEL_PARTS: dict[str, tuple[str, ...]] = {
    "call_wall": ("call_gex",),
    "put_wall": ("put_gex",),
    "magnet": ("call_gex", "put_gex"),
}
#: What is shown of a strike beside its parts.
STRIKE_INPUTS = ("iv", "gamma", "call_delta", "call_oi", "put_oi", "call_signed", "put_signed")

_POSITION = (
    "It is no measured position: nobody publishes what dealers hold.",
    "Dealers are taken to be long the calls and short the puts of this morning's open interest.",
    "The part κ of today's signed volume is taken to have opened positions.",
    "It is no order: when dealers hedge, and how much, is their choice.",
)
_SIDE = (
    "It is no sum of known sides: who started a trade is estimated from the trade's price.",
    "It is not all hedging: what spot and time make dealers trade in older positions is left out.",
)
_GROUP_LIMITS: dict[str, tuple[str, ...]] = {
    "live book": _POSITION,
    "settled book": (*_POSITION[:2], _POSITION[3]),
    "flow": _SIDE,
    "smile": ("It is no forecast: it is what option prices of this sample say.",),
    "open interest": ("It does not move during the day: it is this morning's.",),
    "volume": ("It does not say who bought and who sold.",),
    "spot": ("It is no price of now: it is as old as the quotes of the sample.",),
    "chain": ("It is no figure of the market: it says how much of the chain was used.",),
}
#: Figure → what it is not, before what all figures of its group are not.
LIMITS: dict[str, tuple[str, ...]] = {
    "gamma_flip": (
        "It is no support and no resistance: it moves with every sample.",
        "It can jump to another level when a nearer crossing appears.",
    ),
    "call_wall": ("It need not lie above spot: it is the strike of the largest call GEX.",),
    "put_wall": ("It need not lie below spot: it is the strike of the largest |put GEX|.",),
    "magnet": ("It does not hold price where `magnet_gex` is negative: there it speeds price up.",),
    "regime_confidence": (
        "It is not the probability that price behaves as the regime says.",
        "It says how likely the sign of net GEX is right, given κ and the dealer convention.",
    ),
    "regime": ("It does not say on which side of the flip spot is, but which sign net GEX has.",),
    "pin_score": ("It is no probability. Within a day it mostly rises with the time of day.",),
    "pin_probability_pct": ("It is no frequency of what happens: option prices imply it.",),
    "charm_dollars_per_hour": (
        "It is not scaled to an hour: it is the sum within `charm_horizon_seconds`.",
        "It holds at unchanged price and volatility.",
    ),
    "hedging": (
        "It is not gamma times the move: every contract is priced anew after the move.",
        "It holds at unchanged volatilities and at this moment.",
    ),
    "remaining_1sd": (
        "It does not hold 68 % of closes: it held 76 to 80 % of those of SPX and NDX.",
    ),
    "hedge_flow_se": ("It is no error that was measured: it takes every side as a coin toss.",),
    "net_gex_se": ("It is no error that was measured: it takes every side as a coin toss.",),
}


def _groups(figure: str) -> list[str]:
    return [group for group, names in FIGURE_GROUPS.items() if figure in names]


def inputs_of(figure: str) -> tuple[str, ...]:
    """Return the stored figures that enter a figure.

    Parameters
    ----------
    figure : a name of the glossary.

    Returns
    -------
    tuple
        Names of the glossary; empty for what a source delivers.
    """
    if figure in INPUTS:
        return INPUTS[figure]
    names = [name for group in _groups(figure)[:1] for name in _GROUP_INPUTS.get(group, ())]
    return tuple(name for name in names if name != figure)


def limits_of(figure: str) -> tuple[str, ...]:
    """Return what a figure is not.

    Parameters
    ----------
    figure : a name of the glossary.

    Returns
    -------
    tuple
        Sentences.
    """
    general = [line for group in _groups(figure)[:1] for line in _GROUP_LIMITS.get(group, ())]
    return (*LIMITS.get(figure, ()), *general)


#: Figures that can be explained: every name of the glossary, except ``settled`` and ``detail``,
#: which are groups of figures.
FIGURES: tuple[str, ...] = (
    "net_gex",
    *(name for name in GLOSSARY if name not in ("net_gex", "settled", "detail")),
)
