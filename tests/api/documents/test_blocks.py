"""Blocks of a document, from rows made by hand: answers are stated here, not computed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from api.documents.book import PositionBook, figure_or_zero, read_book
from api.documents.direction import flow_totals
from api.documents.dynamics import decay_block, hedging_block
from api.documents.positioning import exposures_block, pin_components, regime_block
from api.documents.sample import Sample
from api.documents.strike_flow import strike_flow
from api.documents.trading import liquidity_block
from storage.market.calendar import session_on
from storage.postgres.windows import ProfileRow
from storage.record.figures import DetailFigures, SettledFigures
from tests.api.rows import FRIDAY, record, utc


def live_sample(**figures: Any) -> tuple[Sample, PositionBook]:
    """A sample at 14:30 UTC with these figures, and its live book."""
    stored = record(utc("14:30"), **figures)
    session = session_on(FRIDAY)
    assert session is not None
    sample = Sample(record=stored, session=session, moment=utc("14:30:05"))
    return sample, read_book(stored, live=True)


@pytest.mark.parametrize(
    ("net_gex", "expected"), [(2.5e9, "above"), (0.0, "above"), (-2.5e9, "below")]
)
def test_side_of_spot_without_a_flip(net_gex: float, expected: str) -> None:
    """Without a flip, spot is above it with positive or no gamma and below it with negative."""
    figures = {"gamma_flip": None, "gamma_flip_status": "no_boundary", "net_gex": net_gex}
    block = regime_block(*live_sample(**figures))
    assert block["spot_vs_flip"] == expected
    assert block["gamma_flip"] is None
    assert block["distance_to_flip_dollars"] is None


@pytest.mark.parametrize(
    ("flip", "expected"), [(659.0, "above"), (660.0, "above"), (661.0, "below")]
)
def test_side_of_spot_with_a_flip(flip: float, expected: str) -> None:
    """With a flip, the side is that of spot (660), whatever the sign of gamma."""
    assert regime_block(*live_sample(gamma_flip=flip))["spot_vs_flip"] == expected


@pytest.mark.parametrize(
    ("whole", "expected"),
    [(8e9, (8e9, "every_expiry", 25.0)), (None, (1.5e9, "today", None))],
)
def test_what_the_sum_of_the_chain_covers(
    whole: float | None, expected: tuple[float, str, float | None]
) -> None:
    """Where only today's expiry is known, the sum is its settled 1.5 bn, and says so."""
    detail = DetailFigures.from_json({"total_chain_net_gex": whole})
    settled = SettledFigures.from_json({"net_gex": 1.5e9})
    _, book = live_sample(net_gex=2e9, detail=detail, settled=settled)
    block = exposures_block(book)
    names = ("total_chain_net_gex", "total_chain_covers", "pct_of_total_gex")
    assert tuple(block[name] for name in names) == expected


@pytest.mark.parametrize(
    ("net_chex", "hourly", "expected"),
    [
        (
            2.5e9,
            -3e8,
            (
                "Time alone makes dealers buy $2.50 bn in half of the time that is left: support."
                " In the next hour they sell $300.00 mn."
            ),
        ),
        (
            -2.5e9,
            3e8,
            (
                "Time alone makes dealers sell $2.50 bn in half of the time that is left: pressure."
                " In the next hour they buy $300.00 mn."
            ),
        ),
        (
            2.5e9,
            3e8,
            (
                "Time alone makes dealers buy $2.50 bn in half of the time that is left: support."
                " In the next hour they buy $300.00 mn."
            ),
        ),
    ],
)
def test_charm_of_the_next_hour_against_the_rest(
    net_chex: float, hourly: float, expected: str
) -> None:
    """The sentence says which way each of the two goes; in the last two hours they are one."""
    figures = {"net_chex": net_chex, "charm_dollars_per_hour": hourly}
    sample, book = live_sample(**figures, charm_horizon_seconds=3600.0)
    assert decay_block(sample, book)["charm_description"] == expected
    sample, book = live_sample(**figures, charm_horizon_seconds=3599.0)
    assert decay_block(sample, book)["charm_description"] == expected.partition(" In the next")[0]


def profile(slot: datetime, bucket: datetime, **arrays: list[float]) -> ProfileRow:
    """A stored sample at two strikes; what is not named is 0."""
    names = ("call_flow", "put_flow", "gamma_flow", "call_volume", "put_volume")
    filled = {name: np.array(arrays.get(name, [0.0, 0.0])) for name in names}
    return ProfileRow(
        bucket=bucket,
        slot=slot,
        spot=600.0,
        oi_confidence=0.43,
        arrays={"strike": np.array([600.0, 605.0])} | filled,
    )


@pytest.mark.parametrize("first", ["13:30", "13:30:30"])
def test_baseline_of_strike_flow_in_the_first_bucket(first: str) -> None:
    """The first bar has all flow since the baseline, but no contract traded up to it.

    Before the first bucket there is no sample, so the store hands over the session's first one.
    """
    baseline = profile(
        utc(first),
        utc("13:30"),
        call_flow=[5.0, 0.0],
        gamma_flow=[7.0, 0.0],
        call_volume=[90.0, 20.0],
    )
    last = profile(
        utc("13:31"),
        utc("13:30"),
        call_flow=[25.0, 0.0],
        put_flow=[0.0, -8.0],
        gamma_flow=[17.0, 3.0],
        call_volume=[100.0, 20.0],
        put_volume=[0.0, 4.0],
    )
    [bar] = strike_flow([last], baseline)["bars"]
    assert bar["signed_delta_dollars"].tolist() == [25.0, -8.0]
    assert bar["signed_gamma_dollars"].tolist() == [17.0, 3.0]
    assert bar["contracts"].tolist() == [10, 4]


def test_strike_flow_counts_from_the_sample_before() -> None:
    """A sample before the first bucket is what the first bar's increments count from."""
    before = profile(utc("13:29:30"), utc("13:25"), call_flow=[5.0, 0.0], call_volume=[90.0, 20.0])
    last = profile(utc("13:31"), utc("13:30"), call_flow=[25.0, 0.0], call_volume=[100.0, 20.0])
    [bar] = strike_flow([last], before)["bars"]
    assert bar["signed_delta_dollars"].tolist() == [20.0, 0.0]
    assert bar["contracts"].tolist() == [10, 0]


def test_a_row_without_the_later_figures_has_zero_where_the_contract_demands_a_number() -> None:
    """A row whose detail has no key at all is served: plain numbers are 0, the others null."""
    stored = record(utc("14:30"))
    row = replace(stored.row, detail=DetailFigures.from_json({}))
    book = replace(read_book(stored, live=True), row=row)
    assert flow_totals(row) == {"contracts_with_flow": 0, "total_abs_delta_contracts": 0}
    assert pin_components(book) == {
        "oi_score": 0,
        "proximity_score": 0,
        "time_score": 0,
        "gamma_score": 0,
    }
    assert liquidity_block(book)["execution_score"] == 0
    assert liquidity_block(book)["median_spread_pct"] is None
    hedges = hedging_block(book)
    assert hedges["spot_up_1pct"]["dealer_shares_to_trade"] == 0
    assert hedges["convexity_at_spot"] is None


def test_a_stored_figure_is_read_unchanged() -> None:
    """A figure that the row has is served as it is, also where it is negative."""
    assert figure_or_zero(-2.5e9) == -2.5e9
    assert figure_or_zero(None) == 0
