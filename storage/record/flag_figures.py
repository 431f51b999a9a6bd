"""Which figures a flag says not to rely on.

A name is a field of the row or of its ``detail``, or an array of the profile. ``settled`` stands
for every figure of the settled book. A flag without a group limits no figure: it only says what
happened.
"""

from __future__ import annotations

from collections.abc import Iterable

from storage.record.row import Flag

#: Group → its figures.
FIGURE_GROUPS: dict[str, tuple[str, ...]] = {
    # What counts volume, or is weighted by it.
    "volume": (
        "total_volume",
        "call_volume",
        "put_volume",
        "net_gex_volume",
        "weighted_spread_pct",
        "execution_score",
    ),
    # Signed volume and hedge flow.
    "flow": (
        "hedge_flow_call_cumulative",
        "hedge_flow_put_cumulative",
        "hedge_flow_cumulative_all",
        "hedge_flow_se",
        "classified_share",
        "contracts_with_flow",
        "total_abs_delta_contracts",
        "volume_unattributed",
        "multi_leg_share",
        "call_signed",
        "put_signed",
        "call_flow",
        "put_flow",
        "gamma_flow",
    ),
    # What the live book's position decides.
    "live book": (
        "net_gex",
        "call_gex",
        "put_gex",
        "gross_gex",
        "net_dex",
        "call_dex",
        "put_dex",
        "net_vex",
        "net_chex",
        "dealer_delta",
        "charm_dollars_per_hour",
        "net_gex_se",
        "net_gex_se_measured",
        "gamma_flip",
        "gamma_flip_status",
        "distance_to_flip_sigmas",
        "flip_out_of_reach",
        "regime",
        "regime_confidence",
        "call_wall",
        "put_wall",
        "magnet",
        "magnet_gex",
        "max_pain",
        "pin_score",
        "pin_oi",
        "pin_proximity",
        "pin_gamma",
        "pin_probability_pct",
        "pin_probability_noise",
        "crossings",
        "pin_lower",
        "pin_upper",
        "hedging",
        "convexity_at_spot",
        "net_theta_dollars",
        "theta_per_hour_remaining",
        "gamma_acceleration",
        "charm_curve",
        "projection",
        "vex",
        "chex",
    ),
    # What the settled book's position decides.
    "settled book": (
        "settled",
        "settled_call_gex",
        "settled_put_gex",
        "settled_call_dex",
        "settled_put_dex",
        "settled_vex",
        "settled_chex",
    ),
    # Open interest itself.
    "open interest": ("total_oi", "call_oi", "put_oi", "total_chain_net_gex"),
    # The price of the underlying.
    "spot": ("spot", "source_spot", "forward"),
    # What follows from the options' quotes.
    "smile": (
        "forward",
        "atm_iv",
        "atm_iv_uncertainty",
        "remaining_1sd",
        "implied_1sd",
        "straddle_price",
        "skew_25d",
        "seven_dte_atm_iv",
        "iv_ratio_0dte_7dte",
        "future_forward",
        "future_forward_scatter",
        "strikes_with_iv",
        "quotes_unused",
        "atm_spread_pct",
        "weighted_spread_pct",
        "median_spread_pct",
        "execution_score",
        "data_quality_score",
        "greek_smoothness_score",
        "iv",
        "own_iv",
        "call_delta",
        "gamma",
        "theta",
        "call_bid",
        "call_ask",
        "put_bid",
        "put_ask",
        "net_gex_volume",
        "total_chain_net_gex",
    ),
    # Counts of the chain.
    "chain": (
        "contracts",
        "strikes",
    ),
}
_BOOKS = ("live book", "settled book")
#: What volume decides.
_COUNTED = ("volume", "flow", "live book")
#: What is measured with spot or with a volatility.
_PRICED = ("spot", "smile", "flow", *_BOOKS)

#: Flag → the groups of figures not to rely on while it is set.
FLAG_GROUPS: dict[Flag, tuple[str, ...]] = {
    Flag.BASELINE: (),
    Flag.STALE_SPOT: _PRICED,
    Flag.CLOCK_SKEW: _PRICED,
    Flag.AFTER_GAP: ("flow", "live book"),
    Flag.VOLUME_REBASED: _COUNTED,
    Flag.VOLUME_HELD: _COUNTED,
    Flag.VOLUME_RECOVERED: _COUNTED,
    Flag.VOLUME_CORRECTED: _COUNTED,
    Flag.VOLUME_UNKNOWN: _COUNTED,
    Flag.CONTRACTS_MISSING: ("chain", "volume", "open interest", *_PRICED),
    Flag.FORWARD_IS_SPOT: _PRICED,
    Flag.SPOT_FROM_PARITY: _PRICED,
    Flag.SPOT_SPIKE: _PRICED,
    Flag.VOLATILITY_SPIKE: ("smile", "flow", *_BOOKS),
    Flag.OPTIONS_UNCHANGED: ("volume", *_PRICED),
    Flag.OPTIONS_AHEAD: ("volume", *_PRICED),
    # Parity of wide quotes cannot check spot either.
    Flag.WIDE_QUOTES: _PRICED,
    Flag.QUOTES_CONTRADICT: _PRICED,
    Flag.NO_OPEN_INTEREST: ("open interest", *_BOOKS),
    Flag.OI_CHANGED: ("open interest", *_BOOKS),
    Flag.OI_PARTIAL: ("open interest", *_BOOKS),
    Flag.OI_RECOVERED: (),
    Flag.REVISED: (),
}
#: Flag → the figures not to rely on while it is set.
FLAG_FIGURES: dict[str, tuple[str, ...]] = {
    str(flag): tuple(dict.fromkeys(name for group in groups for name in FIGURE_GROUPS[group]))
    for flag, groups in FLAG_GROUPS.items()
}


def figures_in_doubt(flags: Iterable[str]) -> dict[str, list[str]]:
    """Name the figures that a row's flags say not to rely on.

    Parameters
    ----------
    flags : the flags of a row. A flag that this release does not know limits no figure.

    Returns
    -------
    dict
        Flag → names of figures, for the flags that limit any.
    """
    return {str(flag): list(names) for flag in flags if (names := FLAG_FIGURES.get(flag))}
