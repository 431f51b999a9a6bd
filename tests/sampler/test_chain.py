"""A source's frame becomes today's chain: what is kept, what is dropped and counted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from chains import TEN_FOURTEEN, chain, frame

from sampler.chain import select_chain
from sampler.errors import ChainRefused
from storage.market.calendar import session_on
from storage.record.row import Reason

NAN = float("nan")
THREE = [7690.0, 7700.0, 7710.0]


def refusal(candidate) -> ChainRefused:
    with pytest.raises(ChainRefused) as caught:
        select_chain(candidate, session_on(candidate.quoted_at.date()))
    return caught.value


def test_contracts_are_columns_by_strike():
    """Calls are row 0 and puts row 1 of strikes that ascend, whatever the frame's order."""
    selected = chain(strikes=[7710.0, 7690.0, 7700.0], open_interest=[1, 2, 3, 4, 5, 6])
    assert selected.strike.tolist() == THREE
    assert selected.open_interest.tolist() == [[2, 3, 1], [5, 6, 4]]


def test_a_strike_listed_on_one_side_only():
    """The missing side is not listed, holds nothing, and has no quote."""
    selected = chain(strikes=[7700.0], right=[1, 0])
    assert selected.listed.tolist() == [[True], [False]]
    assert selected.open_interest.tolist() == [[100], [0]]
    assert np.isnan(selected.bid[1, 0])
    assert selected.dropped == {"bad_right": 1}


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"strike": [NAN, 7700.0]}, "bad_strike"),
        ({"strike": [-5.0, 7700.0]}, "bad_strike"),
        ({"strike": [0.0, 7700.0]}, "bad_strike"),
        ({"right": [0, -1]}, "bad_right"),
        ({"root": ["SPX", "SPXW"]}, "am_settled"),
        ({"root": ["SPXW1", "SPXW"]}, "adjusted"),
    ],
)
def test_unusable_contracts_are_dropped_and_counted(columns, why):
    """A contract without a usable strike or right is out; the other one stays."""
    selected = chain(strikes=[7700.0], **columns)
    assert selected.dropped == {why: 1}
    assert selected.listed.sum() == 1


@pytest.mark.parametrize("sent", [NAN, -1.0, float("inf"), 1e300])
def test_a_contract_stays_whose_open_interest_is_unreadable(sent):
    """Its quotes and its volume are as good as any; its open interest is unknown."""
    selected = chain(strikes=[7700.0], open_interest=[sent, 5.0])
    assert selected.dropped == {}
    assert selected.listed.all()
    assert np.isnan(selected.open_interest[0, 0])
    assert selected.open_interest[1, 0] == 5


def test_a_strike_twice_counts_once():
    """Of two equal keys that are quoted and traded alike the larger one is kept."""
    selected = chain(strikes=[7700.0, 7700.0], open_interest=[7, 8, 10, 9])
    assert selected.dropped == {"duplicate": 2}
    assert selected.open_interest.tolist() == [[8], [10]]


def test_am_twins_of_a_feed_without_roots():
    """Where keys repeat on an index, everything without quote and volume settled this morning."""
    lifeless = {"bid": [0.0] * 6, "ask": [0.0] * 6, "volume": [0.0] * 6, "root": [""] * 6}
    live = [5.0, 0.0, 5.0] * 2
    selected = chain(
        strikes=[7700.0, 7700.0, 7710.0],
        **(lifeless | {"ask": live, "open_interest": [1, 99, 2] * 2}),
    )
    assert selected.dropped == {"am_settled": 2}
    assert selected.open_interest.tolist() == [[1, 2], [1, 2]]


def test_quiet_contracts_of_a_stock_are_no_am_twins():
    """A stock has no AM-settled options: repeated keys are only duplicates."""
    quiet = {"bid": [0.0] * 4, "ask": [0.0] * 4, "volume": [0.0] * 4, "root": [""] * 4}
    assert chain(symbol="TSLA", strikes=[300.0, 300.0], **quiet).dropped == {"duplicate": 2}


def test_an_unreadable_volume_is_unknown():
    """A volume that is NaN or negative is not taken for zero."""
    selected = chain(strikes=THREE, volume=[NAN, -1.0, 5.0, 0.0, 1.0, 2.0])
    np.testing.assert_array_equal(selected.volume, [[NAN, NAN, 5.0], [0.0, 1.0, 2.0]])


def test_only_what_expires_today():
    """Other expiries are not part of the chain; a day without one is told apart, with the next."""
    tomorrow = np.datetime64("2026-08-20")
    tomorrows = frame(strikes=[7700.0], expiry=[tomorrow, tomorrow])
    caught = refusal(tomorrows)
    assert caught.reason is Reason.NO_ZERO_DTE
    assert "next expiry 2026-08-20" in str(caught)
    assert caught.next_expiry == date(2026, 8, 20)
    yesterday = np.datetime64("2026-08-18")
    caught = refusal(frame(strikes=[7700.0], expiry=[yesterday, yesterday]))
    assert (caught.reason, caught.next_expiry) == (Reason.NO_ZERO_DTE, None)


@pytest.mark.parametrize(
    ("quoted_at", "reason"),
    [
        (datetime(2026, 8, 19, 13, 29, 59, tzinfo=UTC), Reason.BEFORE_OPEN),
        (datetime(2026, 8, 19, 20, 0, 0, tzinfo=UTC), Reason.AFTER_CLOSE),
        (datetime(2026, 8, 22, 15, 0, 0, tzinfo=UTC), Reason.MARKET_CLOSED),
        (datetime(2026, 9, 7, 15, 0, 0, tzinfo=UTC), Reason.MARKET_CLOSED),
        (datetime(2026, 11, 27, 18, 0, 0, tzinfo=UTC), Reason.AFTER_CLOSE),
    ],
)
def test_quotes_outside_a_session_are_refused(quoted_at, reason):
    """Before the open, after the close, on a weekend, a holiday and after an early close."""
    whole = frame()
    moved = type(whole)(
        **{f: getattr(whole, f) for f in whole.__slots__} | {"quoted_at": quoted_at}
    )
    assert refusal(moved).reason is reason


@pytest.mark.parametrize(
    ("quoted_at", "seconds"),
    [
        # The Fridays before and the Mondays after both changes of 2026; the close is at 16:00.
        (datetime(2026, 3, 6, 20, 59, 0, tzinfo=UTC), 60),
        (datetime(2026, 3, 9, 19, 59, 0, tzinfo=UTC), 60),
        (datetime(2026, 10, 30, 19, 59, 0, tzinfo=UTC), 60),
        (datetime(2026, 11, 2, 20, 59, 0, tzinfo=UTC), 60),
    ],
)
def test_time_to_expiry_around_daylight_saving_changes(quoted_at, seconds):
    """A minute before the close is a minute of T, in winter and in summer time."""
    assert chain(quoted_at=quoted_at).years == pytest.approx(seconds / 31_536_000)


def test_funds_trade_a_quarter_of_an_hour_longer():
    """T of SPY counts to 16:15, of SPX to 16:00."""
    spy = chain(symbol="SPY")
    spx = chain()
    assert (spy.years - spx.years) * 31_536_000 == pytest.approx(900)
    assert spx.quoted_at == TEN_FOURTEEN
    assert spx.slot == TEN_FOURTEEN + timedelta(0)
