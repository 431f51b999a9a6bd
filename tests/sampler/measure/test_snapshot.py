"""A chain and its previous slot become a row: flow, flags, refusals, odd chains."""

from __future__ import annotations

import dataclasses
import json
import lzma
import math
from datetime import timedelta

import numpy as np
import orjson
import pytest
from chains import TEN_FOURTEEN, chain, frame
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import event

from sampler import metrics
from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused
from sampler.measure.book import FLIP_REACH
from sampler.measure.other_expiries import measure_other_expiries
from sampler.measure.snapshot import measure_slot
from storage.market.calendar import market_day, session_on
from storage.record.row import Reason, SlotRecord
from tests import independent
from tests.real_chains import DATA, volkit

NAN = float("nan")
STRIKES = [7600.0 + 10 * i for i in range(21)]
N = len(STRIKES)


def first(**changes) -> SlotRecord:
    return measure_slot(chain(**changes), None, oi_confidence=0.43)


def later(previous: SlotRecord, *, seconds: int = 30, **changes) -> SlotRecord:
    moment = TEN_FOURTEEN + timedelta(seconds=seconds)
    return measure_slot(chain(quoted_at=moment, **changes), previous, oi_confidence=0.43)


def volumes(**changed: float) -> list[float]:
    """50 everywhere, but for c<strike> and p<strike>."""
    column = [50.0] * (2 * N)
    for name, value in changed.items():
        side = 0 if name[0] == "c" else N
        column[side + STRIKES.index(float(name[1:]))] = value
    return column


def lasts(changed: dict[str, float], template: Frame) -> list[float]:
    column = template.last.tolist()
    for name, value in changed.items():
        side = 0 if name[0] == "c" else N
        column[side + STRIKES.index(float(name[1:]))] = value
    return column


def test_the_first_sample_is_the_baseline():
    """Without earlier state flow is 0, counts from here, and live equals settled."""
    row = first().row
    assert row.flags == ("baseline",)
    assert (row.hedge_flow_cumulative_all, row.flow_since) == (0.0, row.slot)
    assert (row.differenced_from, row.classified_share) == (None, None)
    live, settled = row.as_json(), row.settled.as_json()
    shared = settled.keys() & live.keys()
    assert len(shared) == 28
    assert {name: settled[name] for name in shared} == {name: live[name] for name in shared}


@pytest.mark.parametrize(
    ("contract", "side", "sign"),
    [("c7700", "ask", 1), ("c7700", "bid", -1), ("p7700", "ask", -1), ("p7700", "bid", 1)],
)
def test_hedge_flow_is_signed_by_who_dealers_must_follow(contract, side, sign):
    """Bought calls and sold puts make dealers buy; the amount is ΔV·100·|Δ|·S."""
    before = first()
    quotes = frame(quoted_at=TEN_FOURTEEN + timedelta(seconds=30))
    index = STRIKES.index(7700.0) + (N if contract[0] == "p" else 0)
    price = getattr(quotes, side)[index]
    row = later(before, volume=volumes(**{contract: 60}), last=lasts({contract: price}, quotes)).row
    # At the money half the shares: 10 contracts, 100 shares each, delta a little off a half.
    assert row.hedge_flow_cumulative_all == pytest.approx(sign * 10 * 100 * 0.5 * 7700, rel=0.02)
    assert row.classified_share == 1.0
    assert row.differenced_from == TEN_FOURTEEN
    assert row.flags == ()


def test_the_classified_share_is_of_the_session():
    """10 bought, 30 at the mid, 10 sold: 20 of 50 have a side; without the last 10, 10 of 40."""
    record, index = first(), STRIKES.index(7700.0)
    shares = []
    for step, (volume, side) in enumerate([(60, "ask"), (90, "mid"), (100, "bid"), (90, "bid")], 1):
        quotes = frame(quoted_at=TEN_FOURTEEN + timedelta(seconds=30 * step))
        price = (
            (quotes.bid[index] + quotes.ask[index]) / 2
            if side == "mid"
            else getattr(quotes, side)[index]
        )
        prints = lasts({"c7700": price}, quotes)
        record = later(record, seconds=30 * step, volume=volumes(c7700=volume), last=prints)
        shares.append(record.row.classified_share)
    assert shares == [1.0, 0.25, 0.4, 0.25]
    assert record.row.flags == ("volume_corrected",)


def test_all_is_calls_and_puts_to_the_cent():
    """The sum of both sides is exact, slot after slot."""
    rng = np.random.default_rng(1)
    record, volume = first(), np.full(2 * N, 50.0)
    for step in range(1, 20):
        volume = volume + rng.integers(0, 50, 2 * N)
        last = frame().last + rng.normal(0, 0.05, 2 * N)
        record = later(record, seconds=30 * step, volume=volume.tolist(), last=last.tolist())
        row = record.row
        total = row.hedge_flow_call_cumulative + row.hedge_flow_put_cumulative
        assert row.hedge_flow_cumulative_all == round(total, 2)
        assert row.hedge_flow_cumulative_all == round(row.hedge_flow_cumulative_all, 2)


def test_volumes_that_read_nothing_once_are_held():
    """A frame whose volumes are 0, outside the opening window, changes no figure but says so."""
    before = later(first(), volume=volumes(c7700=90))
    dip = later(before, seconds=60, volume=[0.0] * (2 * N))
    assert dip.row.hedge_flow_cumulative_all == before.row.hedge_flow_cumulative_all
    assert dip.row.total_volume == before.row.total_volume
    assert dip.row.flags == ("volume_held",)
    assert dip.row.detail.flag_amounts["volume_held"]["contracts"] == 2 * N
    quotes = frame(quoted_at=TEN_FOURTEEN + timedelta(seconds=90))
    prints = lasts({"c7700": quotes.ask[STRIKES.index(7700.0)]}, frame())
    back = later(dip, seconds=90, volume=volumes(c7700=100), last=prints)
    steady = later(before, seconds=60, volume=volumes(c7700=90))
    clean = later(steady, seconds=90, volume=volumes(c7700=100), last=prints)
    assert back.row.flags == ("volume_recovered",)
    assert back.row.hedge_flow_cumulative_all == clean.row.hedge_flow_cumulative_all
    assert back.row.net_gex == clean.row.net_gex
    assert clean.row.flags == ()


def test_volume_is_conserved_over_a_gap():
    """The first sample after missed slots carries all their volume, and is flagged."""
    steps = [volumes(c7700=60), volumes(c7700=75), volumes(c7700=95)]
    record = first()
    for i, volume in enumerate(steps, 1):
        record = later(record, seconds=30 * i, volume=volume)
    jumped = later(first(), seconds=90, volume=steps[-1])
    assert "after_gap" in jumped.row.flags
    assert "after_gap" not in record.row.flags
    assert record.state[1]["traded"] == jumped.state[1]["traded"] == 45


def test_a_contract_that_is_left_out_for_a_while():
    """Its volume comes back as if it had never been away, and is not counted twice."""
    whole = later(first(), volume=volumes(c7700=60))
    without = [k for k in STRIKES if k != 7700.0]
    thin = later(whole, seconds=60, strikes=without)
    back = later(thin, seconds=90, volume=volumes(c7700=60))
    assert back.row.hedge_flow_cumulative_all == thin.row.hedge_flow_cumulative_all
    assert thin.row.contracts == 2 * (N - 1)


def test_what_is_not_listed_has_no_position():
    """A call that one frame lacks counts nowhere in it; what was bought of it is not forgotten."""
    ask = frame(quoted_at=TEN_FOURTEEN + timedelta(seconds=30)).ask[STRIKES.index(7700.0)]
    bought = later(first(), volume=volumes(c7700=150), last=lasts({"c7700": ask}, frame()))
    index = STRIKES.index(7700.0)
    right = [1] * N + [-1] * N
    right[index] = 0
    thin = later(bought, seconds=60, right=right, volume=volumes(c7700=150))
    assert bought.profile["call_gex"][index] < bought.profile["settled_call_gex"][index]
    assert (thin.profile["call_gex"][index], thin.profile["call_dex"][index]) == (0.0, 0.0)
    assert thin.profile["call_signed"][index] == bought.profile["call_signed"][index]
    back = later(thin, seconds=90, volume=volumes(c7700=150))
    assert back.profile["call_gex"][index] < back.profile["settled_call_gex"][index]


def test_an_unreadable_volume_makes_no_flow_and_no_reset():
    """NaN means unchanged: neither a rebase now nor a day's volume at once later."""
    whole = later(first(), volume=volumes(c7700=60))
    blind = later(whole, seconds=60, volume=volumes(c7700=NAN))
    readable = later(blind, seconds=90, volume=volumes(c7700=60))
    flow = whole.row.hedge_flow_cumulative_all
    assert [blind.row.hedge_flow_cumulative_all, readable.row.hedge_flow_cumulative_all] == [
        flow,
        flow,
    ]
    assert "volume_rebased" not in (*blind.row.flags, *readable.row.flags)


@pytest.mark.parametrize(("seconds", "reset"), [(900, True), (901, False)])
def test_a_chain_s_volume_may_begin_anew_for_a_quarter_of_an_hour(seconds: int, reset: bool):
    """All volumes fall from 50 to 5 at 09:45:00, which is a reset, or a second later: held."""
    opening = TEN_FOURTEEN.replace(hour=13, minute=30, second=0)
    before = first(quoted_at=opening + timedelta(seconds=870))
    moment = opening + timedelta(seconds=seconds)
    lower = chain(quoted_at=moment, volume=[5.0] * (2 * N))
    flags = measure_slot(lower, before, oi_confidence=0.43).row.flags
    assert ("volume_rebased" in flags, "volume_held" in flags) == (reset, not reset)


@pytest.mark.parametrize("traded", [0, 5])
def test_a_volume_that_is_readable_again_says_what_traded_meanwhile(traded):
    """One unreadable slot is held, the next one recovers what traded over both, and then no more."""
    whole = later(first(), volume=volumes(c7700=60))
    blind = later(whole, seconds=60, volume=volumes(c7700=NAN))
    readable = later(blind, seconds=90, volume=volumes(c7700=60 + traded))
    after = later(readable, seconds=120, volume=volumes(c7700=60 + traded))
    assert [r.row.flags for r in (whole, blind, readable, after)] == [
        (), ("volume_held",), ("volume_recovered",), (),
    ]  # fmt: skip
    amounts = [r.row.detail.flag_amounts for r in (blind, readable)]
    # How much traded while nobody could read it is not known before it is readable.
    assert amounts[0]["volume_held"] == {"contracts": 1, "volume": 0.0, "dollars": 0.0}
    assert amounts[1]["volume_recovered"] == {
        "contracts": 1, "volume": float(traded), "dollars": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(("traded", "flags"), [(0, ()), (1, ("volume_recovered",))])
def test_a_contract_that_is_back_has_recovered_only_what_it_traded(traded, flags):
    """A call is missing for a slot. Back with the volume of before, nothing is to be said of it."""
    whole = later(first(), volume=volumes(c7700=60))
    right = [1] * N + [-1] * N
    right[STRIKES.index(7700.0)] = 0
    thin = later(whole, seconds=60, right=right, volume=volumes(c7700=60))
    assert thin.row.flags == ("contracts_missing",)
    back = later(thin, seconds=90, volume=volumes(c7700=60 + traded))
    assert back.row.flags == flags
    expected = {"contracts": 1, "volume": 1.0, "dollars": 0.0}
    assert back.row.detail.flag_amounts == ({"volume_recovered": expected} if traded else None)


def test_live_positions_move_with_what_customers_bought():
    """κ·B is taken from the dealers' side, calls and puts alike; settled stays as it was."""
    before = first()
    quotes = frame(quoted_at=TEN_FOURTEEN + timedelta(seconds=30))
    ask = quotes.ask[STRIKES.index(7700.0)]
    row = later(before, volume=volumes(c7700=150), last=lasts({"c7700": ask}, quotes)).row
    assert row.net_gex < row.settled.net_gex
    nothing = measure_slot(
        chain(
            quoted_at=TEN_FOURTEEN + timedelta(seconds=30),
            volume=volumes(c7700=150),
            last=lasts({"c7700": ask}, quotes),
        ),
        before,
        oi_confidence=0.0,
    ).row
    assert nothing.net_gex == nothing.settled.net_gex


def test_stale_spot_is_replaced_by_parity():
    """A spot 0.2 % off parity is not used; the row keeps it beside and says so."""
    row = first(spot=7715.4, forward=7700.0).row
    assert "stale_spot" in row.flags
    assert row.spot == row.forward == pytest.approx(7700.0)
    assert row.source_spot == 7715.4


def test_a_small_disagreement_is_only_noted():
    """0.03 % off parity keeps the source's spot, with a flag."""
    row = first(spot=7702.3, forward=7700.0).row
    assert "clock_skew" in row.flags
    assert row.spot == 7702.3


@pytest.mark.parametrize(("spot", "stale"), [(1000.0, False), (999.0, True)])
def test_a_spot_that_is_a_thousandth_off_is_not_stale(spot: float, stale: bool):
    """K + C − P is 1001 at each strike, to the bit. 1000 is 0.10 % off it, and 999 is more."""
    strikes = [940.0 + 5 * i for i in range(25)]
    # Out of the money a smooth price in 64ths, in the money that and the difference.
    outside = [round(64 * 20 * math.exp(-abs(k - 1001) / 18)) / 64 for k in strikes]
    calls = [p + max(1001 - k, 0) for k, p in zip(strikes, outside, strict=True)]
    puts = [p + max(k - 1001, 0) for k, p in zip(strikes, outside, strict=True)]
    mids = np.array(calls + puts)
    row = first(strikes=strikes, spot=spot, bid=mids - 1 / 64, ask=mids + 1 / 64).row
    assert row.forward == 1001.0
    assert ("stale_spot" in row.flags, "clock_skew" in row.flags) == (stale, not stale)
    assert row.spot == (1001.0 if stale else 1000.0)


def test_tesla_of_a_third_format_with_a_stale_price():
    """A published TSLA chain whose underlying price contradicts its options: caught and said."""
    answer = json.loads(lzma.decompress((DATA / "options-desk/TSLA.json.xz").read_bytes()))
    from datetime import datetime

    quotes = answer["quotes"]
    whole = Frame.of(
        symbol="TSLA",
        source="options-desk",
        delay_seconds=0,
        quoted_at=datetime.fromisoformat(answer["updated"]),
        fetched_at=datetime.fromisoformat(answer["updated"]),
        spot=answer["underlyingPrice"],
        columns={
            "expiry": [q["expiration"] for q in quotes],
            "strike": [q["strike"] for q in quotes],
            "right": [1 if q["side"] == "call" else -1 for q in quotes],
            "bid": [q["bid"] for q in quotes],
            "ask": [q["ask"] for q in quotes],
            "last": [q["last"] for q in quotes],
            "open_interest": [q["openInterest"] for q in quotes],
            "volume": [q["volume"] for q in quotes],
        },
    )
    row = measure_slot(
        select_chain(whole, session_on(market_day(whole.quoted_at))), None, oi_confidence=0.43
    ).row
    assert "stale_spot" in row.flags
    assert abs(row.forward / row.source_spot - 1) > 0.001


def refused(**changes) -> Reason:
    with pytest.raises(ChainRefused) as caught:
        first(**changes)
    return caught.value.reason


def test_the_first_second_and_thin_quotes_are_not_open_yet():
    """No baseline before 09:30:01, nor while fewer than five strikes are quoted on both sides."""
    opening = TEN_FOURTEEN.replace(hour=13, minute=30, second=1)
    after = opening + timedelta(seconds=1)
    assert refused(quoted_at=opening) is Reason.NOT_OPEN
    assert refused(quoted_at=after, strikes=STRIKES[8:12]) is Reason.NOT_OPEN
    assert first(quoted_at=after).row.flags == ("baseline",)


def test_a_late_start_takes_what_there_is():
    """Half an hour on, a baseline needs no more than a forward and a volatility."""
    assert first(strikes=STRIKES[8:12]).row.flags == ("baseline",)


def test_a_chain_without_volatility_is_refused():
    """One-sided quotes everywhere give no IV: a gap, not a row."""
    baseline = first()
    with pytest.raises(ChainRefused) as caught:
        later(baseline, bid=[0.0] * (2 * N))
    assert caught.value.reason is Reason.NO_IV


@pytest.mark.parametrize("spot", [0.0, NAN, -1.0])
def test_without_a_spot_parity_stands_in(spot):
    """A spot of 0, NaN or below is replaced by the forward, flagged."""
    row = first(spot=spot, forward=7700.0).row
    assert "spot_from_parity" in row.flags
    assert "stale_spot" not in row.flags
    assert row.spot == pytest.approx(7700.0)


def test_without_spot_and_parity_there_is_no_row():
    """No spot and too few pairs for parity: a gap with the reason."""
    baseline = first()
    with pytest.raises(ChainRefused) as caught:
        later(baseline, spot=NAN, forward=7700.0, right=[1] * N + [0] * N)
    assert caught.value.reason is Reason.NO_SPOT


def test_crossed_quotes_are_counted_and_not_used():
    """A crossed quote gives no volatility; its contract keeps its open interest."""
    bids = frame().bid.tolist()
    bids[STRIKES.index(7700.0)] = 1e4
    row, whole = first(bid=bids).row, first().row
    assert row.quotes_unused == {"crossed": 1} | whole.quotes_unused
    assert row.strikes_with_iv == whole.strikes_with_iv - 1
    assert row.total_oi == 100 * 2 * N


def test_no_open_interest_anywhere():
    """No book: exposures are 0, the regime unknown, levels null."""
    row = first(open_interest=[0.0] * (2 * N)).row
    assert (row.net_gex, row.regime) == (0.0, "unknown")
    assert (row.call_wall, row.put_wall, row.magnet, row.max_pain, row.gamma_flip) == (None,) * 5
    assert row.gamma_flip_status == "no_boundary"


def test_the_last_second_is_finite():
    """A second before the close every figure is finite; ATM IV is null, as auction noise."""
    moment = TEN_FOURTEEN.replace(hour=19, minute=59, second=59)
    strikes = [7699.0 + 0.1 * i for i in range(21)]
    row = first(quoted_at=moment, strikes=strikes, half_spread=0.0).row
    assert row.atm_iv is None
    assert row.remaining_1sd is None
    assert np.isfinite(row.net_gex)


def test_no_flip_where_strikes_are_wider_than_what_is_left():
    """A minute before the close one sd is 1.6 $ and strikes are 10 apart: no flip can be told."""
    row = later(first(), seconds=20_670).row
    assert row.quoted_at.isoformat() == "2026-08-19T19:59:00+00:00"
    assert (row.gamma_flip, row.gamma_flip_status) == (None, "insufficient_local_coverage")


def test_recomputing_gives_the_same_bytes():
    """The same chain and the same past give the same record, byte for byte."""
    once = later(first(), volume=volumes(c7700=77, p7650=61))
    again = later(first(), volume=volumes(c7700=77, p7650=61))
    assert once.evidence == again.evidence
    assert orjson.dumps(once.row.as_json()) == orjson.dumps(again.row.as_json())


numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -1.0, 1e-3, 1e6, 2.0**53, 5e-324, 1e300]),
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_a_source_delivers(data):
    """Random rubbish in any column is a row that JSON can carry, or a refusal: never an exception."""
    n = 2 * N
    spoiled = {}
    for name in data.draw(
        st.sets(
            st.sampled_from(["bid", "ask", "last", "open_interest", "volume", "strike", "last_at"])
        )
    ):
        column = np.asarray(getattr(frame(), name), np.float64).tolist()
        for index in data.draw(st.lists(st.integers(0, n - 1), max_size=n)):
            column[index] = data.draw(numbers)
        spoiled[name] = column
    spot = data.draw(st.one_of(st.just(7700.0), numbers))
    spoiled_frame = frame(forward=7700.0, spot=7700.0, **spoiled)
    spoiled_frame = dataclasses.replace(spoiled_frame, spot=spot)
    previous = first()
    later_frame = dataclasses.replace(spoiled_frame, quoted_at=TEN_FOURTEEN + timedelta(seconds=30))
    for past in (None, previous):
        try:
            record = measure_slot(
                select_chain(later_frame, session_on(TEN_FOURTEEN.date())), past, oi_confidence=0.43
            )
        except ChainRefused:
            continue
        assert b"NaN" not in orjson.dumps(record.row.as_json())
        json.loads(orjson.dumps(record.row.as_json()))


def test_a_source_with_trades_signs_them_itself():
    """Its own signed volume decides: 10 traded, of which 8 bought and 2 sold is a sign of 0.6."""
    nothing = [0.0] * (2 * N)
    eight = [0.0] * (2 * N)
    eight[STRIKES.index(7700.0)] = 6.0
    before = first(signed_volume=nothing)
    after = later(before, volume=volumes(c7700=60), signed_volume=eight)
    assert after.state[0]["signed"].sum() == pytest.approx(6.0)
    delta = after.profile["call_delta"][STRIKES.index(7700.0)]
    assert after.row.hedge_flow_cumulative_all == pytest.approx(6 * 100 * delta * 7700, abs=0.01)


@pytest.mark.parametrize("others", [NAN, 0.0])
def test_volume_whose_trades_were_not_signed_takes_no_sign_of_later_ones(others):
    """A stream was cut for a slot: that slot and the next are signed by the last print.

    10 traded meanwhile and 10 more since; the count says 20 bought in both, which is no share of
    the 10. ``others`` is what the source counts of all other contracts.
    """
    index = STRIKES.index(7700.0)
    unknown, twenty, known = [others] * (2 * N), [0.0] * (2 * N), [0.0] * (2 * N)
    unknown[index], twenty[index] = NAN, 20.0
    nothing = first(signed_volume=known)
    cut = later(nothing, volume=volumes(c7700=60), signed_volume=unknown)
    after = later(cut, seconds=60, volume=volumes(c7700=70), signed_volume=twenty)
    plain = later(later(first(), volume=volumes(c7700=60)), seconds=60, volume=volumes(c7700=70))
    np.testing.assert_array_equal(after.state[0]["signed"], plain.state[0]["signed"])
    twenty[index] = 24.0
    third = later(after, seconds=90, volume=volumes(c7700=80), signed_volume=twenty)
    assert third.state[0]["signed"].sum() - after.state[0]["signed"].sum() == pytest.approx(4.0)


def test_the_standard_error_is_that_of_coin_tosses():
    """√Σ(ΔV·M·Δ·S)² over contracts and slots, worked from the row's own deltas."""
    indices = [STRIKES.index(7700.0), STRIKES.index(7650.0)]
    second = later(first(), volume=volumes(c7700=60))
    third = later(second, seconds=60, volume=volumes(c7700=60, p7650=80))
    first_size = 10 * 100 * second.profile["call_delta"][indices[0]] * 7700
    second_size = 30 * 100 * (third.profile["call_delta"][indices[1]] - 1) * 7700
    assert second.row.hedge_flow_se == pytest.approx(abs(first_size), abs=0.01)
    expected = (first_size**2 + second_size**2) ** 0.5
    assert third.row.hedge_flow_se == pytest.approx(expected, abs=0.01)


def test_the_accuracy_of_the_last_print_is_that_of_feeds_with_prints():
    """A feed without any print has no measured spread, and the confidence is the coin's."""
    interest = {"open_interest": [100.0] * N + [60.0] * N}
    silent = {"last": [NAN] * (2 * N), "last_at": [NAN] * (2 * N)} | interest
    begun = first(**silent)
    assert (begun.row.net_gex_se, begun.row.net_gex_se_measured) == (0.0, 0.0)
    quiet = later(begun, volume=volumes(c7700=90.0, p7700=75.0), **silent).row
    assert quiet.net_gex_se > 0
    assert quiet.net_gex_se_measured is None
    normal = 0.5 * (1 + math.erf(abs(quiet.net_gex) / quiet.net_gex_se / math.sqrt(2)))
    assert quiet.regime_confidence == pytest.approx(normal, abs=1e-12)
    # A feed that has sent prints, and leaves them out for one slot, is as good as before.
    begun = first(**interest)
    once = later(begun, volume=volumes(c7700=90.0), **silent)
    assert once.row.net_gex_se_measured == pytest.approx(once.row.net_gex_se * 0.932952, rel=1e-6)
    # The first print that a feed sends counts from then on.
    before = later(first(**silent), volume=volumes(c7700=90.0), **silent)
    after = later(before, seconds=60, volume=volumes(c7700=95.0), **interest)
    again = later(after, seconds=90, volume=volumes(c7700=99.0), **silent)
    assert before.row.net_gex_se_measured is None
    assert after.row.net_gex_se_measured > 0
    assert again.row.net_gex_se_measured > 0


def test_nothing_is_compiled_in_a_slot():
    """Once the formulas are warm, a first slot, one with flow and other expiries compile nothing."""
    metrics.load_compiled()
    read = volkit().frame
    session = session_on(market_day(read.quoted_at))
    newer = dataclasses.replace(
        read,
        quoted_at=read.quoted_at + timedelta(seconds=30),
        volume=read.volume + 3,
        last=read.ask,
        signed_volume=np.resize([NAN, 2.0, -1.0], len(read.strike)),
    )
    with event.install_recorder("numba:compile") as compiled:
        record = None
        for sent in (read, newer):
            selected = select_chain(sent, session)
            record = measure_slot(
                selected,
                record,
                oi_confidence=0.43,
                other_expiries=lambda market, all_expiries=sent, to=selected: (
                    measure_other_expiries(
                        all_expiries, session, spot=market.spot, atm=market.atm, years=to.years
                    )
                ),
            )
    assert record.row.detail.seven_dte_atm_iv is not None
    assert record.row.hedge_flow_cumulative_all != 0
    assert compiled.buffer == []


def test_a_flip_is_out_of_reach_beyond_four_deviations():
    """The limit is stated in the definitions: 4 standard deviations of what is left, not more."""
    assert FLIP_REACH == 4.0


def test_wide_quotes_of_a_price_below_a_dollar():
    """Quotes count by their width whatever the price: the forward is the independent program's."""
    strikes = [0.5 + 0.05 * i for i in range(17)]
    n = len(strikes)
    plain = {"symbol": "SPY", "spot": 0.9, "sigma": 1.2, "strikes": strikes, "half_spread": 0.005}
    ask = frame(**plain).ask.copy()
    # Calls from 1.10 $ on are asked at 0.60 $ more, which moves their mids.
    ask[12:n] += 0.6
    sent = frame(**plain, ask=ask.tolist())
    session = session_on(market_day(sent.quoted_at))
    row = measure_slot(select_chain(sent, session), None, oi_confidence=0.43).row
    assert "wide_quotes" in row.flags
    contracts = [
        independent.Contract(*quote)
        for quote in zip(sent.strike, sent.right, sent.bid, sent.ask, strict=True)
    ]
    sample = independent.Sample(
        contracts=contracts,
        spot=0.9,
        quoted_at=0.0,
        seconds_left=0.0,
        seconds_gone=0.0,
        session_seconds=0.0,
    )
    by_width, plainly = independent.weighted_forward(sample)[0], independent.forward(sample)[0]
    assert abs(by_width - plainly) > 1e-3
    assert row.forward == pytest.approx(by_width, rel=1e-9)


def test_the_classified_share_is_of_the_whole_day():
    """Three slots: 10 at the ask, 30 at the mid, 20 at the bid: 30 of 60 have a side."""
    record, volume = None, 50.0
    shares = []
    for step, (traded, side) in enumerate(((0, 0), (10, 1), (30, 0), (20, -1))):
        quoted_at = TEN_FOURTEEN + timedelta(seconds=30 * step)
        plain = frame(quoted_at=quoted_at, spot=7700.0 + 0.1 * step)
        volume += traded
        volumes, last = [50.0] * len(plain.strike), plain.last.copy()
        volumes[10], last[10] = volume, (plain.bid[10] + plain.ask[10]) / 2 + 0.05 * side
        sent = frame(
            quoted_at=quoted_at, spot=7700.0 + 0.1 * step, volume=volumes, last=last.tolist()
        )
        session = session_on(market_day(quoted_at))
        record = measure_slot(select_chain(sent, session), record, oi_confidence=0.43)
        shares.append(record.row.classified_share)
    assert shares[1:] == pytest.approx([1.0, 10 / 40, 30 / 60])
