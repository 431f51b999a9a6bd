"""The figures that a flag names."""

from __future__ import annotations

import dataclasses

from storage.record.figures import DetailFigures
from storage.record.flag_figures import FIGURE_GROUPS, FLAG_FIGURES, figures_in_doubt
from storage.record.row import COLUMNS, PROFILE, Flag


def test_every_flag_is_there_and_names_what_exists():
    """Each flag has its list, and each name is a field of a row, of its detail, or an array."""
    assert list(FLAG_FIGURES) == [str(flag) for flag in Flag]
    known = {*COLUMNS, *(f.name for f in dataclasses.fields(DetailFigures)), *PROFILE}
    for group, names in FIGURE_GROUPS.items():
        assert set(names) <= known, group
        assert len(set(names)) == len(names), group


def test_every_figure_has_a_group():
    """A flag names figures by their groups; what is in no group is listed here, and why."""
    grouped = {name for names in FIGURE_GROUPS.values() for name in names}
    known = {*COLUMNS, *(f.name for f in dataclasses.fields(DetailFigures))}
    assert known - grouped == {
        # What a row is of, where it came from, and what was left out.
        "symbol", "expiration", "slot", "quoted_at", "fetched_at", "source", "delay_seconds",
        "definitions", "oi_confidence", "flow_since", "differenced_from", "dropped", "flags",
        "flag_amounts", "quote_age_seconds", "pages_seconds", "other_expiries_age_seconds",
        # Time alone decides these.
        "years_to_expiry", "charm_horizon_seconds", "pin_time",
        # Its figures stand in groups of their own; and nothing computes the last.
        "detail", "vix",
    }, "add the figure to a group of storage/record/flag_figures.py"  # fmt: skip


def test_figures_by_flag():
    """Only flags that limit something are named; one of a later release limits nothing here."""
    assert figures_in_doubt(["baseline", "revised", "of_tomorrow"]) == {}
    doubts = figures_in_doubt(["clock_skew", "baseline", "volume_held"])
    assert list(doubts) == ["clock_skew", "volume_held"]
    assert doubts["clock_skew"][:3] == ["spot", "source_spot", "forward"]
    # Spot and quotes are of two moments: what is measured with both is in doubt, what is counted not.
    assert {"atm_iv", "net_gex", "gamma_flip", "settled"} <= set(doubts["clock_skew"])
    assert not {"total_volume", "total_oi", "contracts"} & set(doubts["clock_skew"])
    assert {"total_volume", "hedge_flow_cumulative_all", "net_gex"} <= set(doubts["volume_held"])
    assert "settled" not in doubts["volume_held"], "open interest alone decides the settled book"
