"""Signs follow the side of the trade and not the option's move: simulated prints, real minutes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from benchmarks.study_signing import (
    RULES,
    Minutes,
    Sample,
    best,
    classified,
    correlation,
    equal_sign,
    four_prints,
    named_side,
    read_lean,
    several,
    simulate,
)
from benchmarks.study_signing_gaps import Session, outcome
from benchmarks.study_trades import make_tape, sources_of
from hypothesis import given
from hypothesis import strategies as st

from sampler.measure.signing import EachTrade, LastPrint
from sampler.metrics.flow import Quote, trade_signs

NAN = float("nan")
TIMED, UNTIMED, OLD, NEW = RULES.values()
TICK = 0.05


def signed(price: float, *, size: float = 10.0, mid: float = 2.0, half: float = 0.1) -> float:
    """One trade."""
    return float(trade_signs(*map(np.array, ([price], [size], [mid], [half])), tick=TICK)[0])


class Never:
    """A signer that is not asked."""

    def signs(self, added):
        """Unknown, so that an answer of it shows."""
        return np.full_like(added, NAN)


class Always:
    """A signer that calls everything half bought."""

    def signs(self, added):
        """One half."""
        return np.full_like(added, 0.5)


# Each trade against its own quote.


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        # On the ask, the bid, the mid, half way, and through the ask.
        ({"price": 2.1}, 10.0),
        ({"price": 1.9}, -10.0),
        ({"price": 2.0}, 0.0),
        ({"price": 2.05}, 5.0),
        ({"price": 3.0}, 10.0),
        # A spread of a hundredth is judged by half a tick of 0.05; a locked quote by the bare sign.
        ({"price": 2.01, "half": 0.005}, 4.0),
        ({"price": 2.01, "half": 0.0}, 10.0),
        ({"price": 2.0, "half": 0.0}, 0.0),
        # No quote, no price, no such price.
        ({"price": 2.1, "mid": NAN}, 0.0),
        ({"price": 2.1, "half": NAN}, 0.0),
        ({"price": NAN}, 0.0),
        ({"price": 0.0}, 0.0),
        ({"price": 2.1, "size": NAN}, 0.0),
    ],
)
def test_a_trade_is_signed_against_its_own_quote(case, expected):
    """Worked by hand from the definition."""
    assert signed(**case) == pytest.approx(expected, abs=1e-12)


prices = st.floats(0.01, 1e4)
sizes = st.integers(1, 10_000).map(float)


@given(prices, sizes, prices, st.floats(0, 100))
def test_no_trade_counts_for_more_than_its_size(price, size, mid, half):
    """Whatever its price and quote."""
    assert abs(signed(price, size=size, mid=mid, half=half)) <= size


@given(st.integers(200, 10_000), st.integers(-199, 199), sizes, st.integers(0, 100))
def test_a_sale_is_a_buy_in_the_mirror(mid, off, size, half):
    """As far below the mid as above it: the opposite. In 64ths, so that the mirror is exact."""
    above, below = (
        signed((mid + side * off) / 64, size=size, mid=mid / 64, half=half / 64) for side in (1, -1)
    )
    assert above == -below


quoted = st.tuples(prices, sizes, prices, st.floats(0, 100))


@given(st.lists(quoted, min_size=1, max_size=12), st.integers(1, 5))
def test_what_each_trade_signs_does_not_depend_on_when_one_looks(trades, every):
    """However the day is cut into samples, Σ s·ΔV is the sum over the trades."""
    price, size, mid, half = (np.array(column) for column in zip(*trades, strict=True))
    count = np.r_[0.0, np.cumsum(trade_signs(price, size, mid, half, tick=TICK))]
    volume = np.r_[0.0, np.cumsum(size)]
    looks = sorted({*range(0, len(trades), every), len(trades)})
    flow = 0.0
    for a, b in pairwise(looks):
        added = volume[[b]] - volume[[a]]
        flow += (EachTrade(count[[a]], count[[b]], Never()).signs(added) * added).item()
    assert flow == pytest.approx(count[-1], abs=1e-6)


@given(prices, sizes, prices, st.floats(0, 100), st.floats(0, 30) | st.just(NAN))
def test_both_agree_on_a_trade_of_a_quote_that_stands_still(price, size, mid, half, clock):
    """Without a move it does not matter when a single trade printed."""
    quote = Quote(np.array([mid]), np.array([half]))
    alone = Sample(*map(np.array, ([size], [price], [clock])), quote, quote, np.array([TICK]))
    sign = signed(price, size=size, mid=mid, half=half)
    assert alone.signs(clock) * size == pytest.approx(sign, rel=1e-9, abs=1e-9)
    assert alone.counted(np.array([sign])) == pytest.approx(sign / size, rel=1e-12, abs=1e-12)


# A source that delivers trades, and what stands in for it.


@pytest.mark.parametrize(
    ("before", "now", "added", "expected"),
    [
        # All bought, all sold, three bought and one sold; from a count that was not 0.
        (5.0, 15.0, 10.0, 1.0),
        (5.0, -5.0, 10.0, -1.0),
        (-2.0, 0.0, 4.0, 0.5),
        (5.0, 5.0, 10.0, 0.0),
        # A feed whose trades outrun its volume.
        (0.0, 30.0, 10.0, 1.0),
        # Nothing traded, or a reset: both counts fall and no volume is added.
        (5.0, 5.0, 0.0, 0.0),
        (5.0, 0.0, 0.0, 0.0),
        # Not counted before, or not now: the other signer is asked.
        (NAN, 15.0, 10.0, 0.5),
        (5.0, NAN, 10.0, 0.5),
    ],
)
def test_each_trade(before, now, added, expected):
    """The change of the source's count over the change of volume; its own fallback without."""
    signer = EachTrade(np.array([before]), np.array([now]), Always())
    assert signer.signs(np.array([added]))[0] == expected


any_float = st.floats(-1e9, 1e9) | st.just(NAN)


@given(
    any_float, any_float, st.integers(0, 10**9).map(float), any_float, any_float, st.floats(0, 1e3)
)
def test_signs_stay_within_one(before, now, added, last, mid, half):
    """Whatever a source delivers: −1 to 1, never NaN, and 0 without volume."""
    array = np.array
    quote = Quote(array([mid]), array([half]))
    signer = EachTrade(
        array([before]),
        array([now]),
        LastPrint(
            last=array([last]),
            last_at=array([NAN]),
            before=quote,
            now=quote,
            before_at=0.0,
            now_at=30.0,
            tick=array([TICK]),
            modelled=array([NAN]),
        ),
    )
    sign = signer.signs(array([added]))[0]
    assert -1 <= sign <= 1
    assert added > 0 or sign == 0


# Simulated prints: the mid walks three half-spreads in 30 s, blind to what trades.


@pytest.fixture(scope="module", params=[1, 2, 4, 8])
def simulated(request):
    """Intervals with so many prints."""
    return simulate(request.param)


def test_the_side_of_a_print_is_told():
    """One print, its time known: at least 80 % of the volume is on the side that s names."""
    run = simulate(1)
    assert equal_sign(TIMED(run.sample), run.net, run.sample.added) >= 0.8
    # Without its time a print may have stood anywhere on the way: 75 %, still more than ...
    untimed = equal_sign(UNTIMED(run.sample), run.net, run.sample.added)
    assert 0.73 < untimed < 0.77
    # ... by either quote alone: 72 %.
    for naive in (OLD, NEW):
        assert equal_sign(naive(run.sample), run.net, run.sample.added) < untimed - 0.02


def test_the_side_is_told_without_a_time_where_the_mid_moves_two_half_spreads():
    """The 80 % hold for prints of unknown time in a slower market."""
    run = simulate(1, speed=2.0)
    assert equal_sign(UNTIMED(run.sample), run.net, run.sample.added) >= 0.8


@pytest.mark.parametrize(("prints", "least"), [(1, 0.8), (2, 0.8), (4, 0.8), (8, 0.85)])
def test_no_rule_tells_much_more(prints, least):
    """Who knows how the prints are made is right no more often with the time, and hardly without."""
    run = simulate(prints, intervals=10_000)
    right = {
        (timed, name): equal_sign(sign, run.side[:, -1], run.sample.added)
        for timed, rule in ((True, TIMED), (False, UNTIMED))
        for name, sign in (("ours", rule(run.sample)), ("best", best(run, timed=timed)))
    }
    assert right[True, "ours"] >= least
    assert right[True, "ours"] == pytest.approx(right[True, "best"], abs=0.002)
    assert right[False, "best"] - 0.02 < right[False, "ours"] <= right[False, "best"] + 0.002


def test_the_last_print_speaks_for_the_others_as_far_as_they_lean_alike():
    """The other prints are not seen: of eight, 55 % by fair coins, 67 % of leaning sides."""
    for leaning, expected in ((0.0, 0.55), (0.35, 0.67)):
        run = simulate(8, leaning=leaning)
        share = named_side(TIMED(run.sample), run.net, run.sample.added)
        assert share == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("rule", [TIMED, UNTIMED], ids=["timed", "untimed"])
def test_the_sign_does_not_follow_the_move(simulated, rule):
    """Near no correlation with the mid's move, however many prints."""
    assert abs(correlation(rule(simulated.sample), simulated.sample.move)) < 0.1


def test_naive_signs_follow_the_move(simulated):
    """Against the old quote s is the sign of the move; against the new one its opposite."""
    sample = simulated.sample
    assert correlation(OLD(sample), sample.move) > 0.5
    new = correlation(NEW(sample), sample.move)
    # The more prints, the nearer to the new quote the last of them stands.
    assert new < (-0.5 if simulated.side.shape[1] == 1 else -0.1)


def test_each_trade_against_its_own_quote_is_the_truth(simulated):
    """Whatever the mid does: prints at the bid and ask are told without an error."""
    half = np.full_like(simulated.mid, 0.10)
    each = trade_signs(simulated.price, simulated.size, simulated.mid, half, tick=0.10)
    counted = simulated.sample.counted(each.sum(axis=1))
    assert counted * simulated.sample.added == pytest.approx(simulated.net, abs=1e-9)


def bars(run) -> Minutes:
    """Simulated intervals as a minute bar shows them."""
    half = run.sample.before.half

    def row(values) -> np.ndarray:
        """Open, high, low and close."""
        return np.stack(
            [values[:, 0], values.max(axis=1), values.min(axis=1), values[:, -1]], axis=1
        )

    mid = row(np.column_stack([run.sample.before.mid, run.mid, run.sample.now.mid]))
    number = np.arange(len(half))
    return Minutes(
        contract=number,
        minute=number,
        trade=row(run.price),
        bid=mid - half[:, None],
        ask=mid + half[:, None],
        volume=run.sample.added,
    )


def test_four_prints_of_a_bar_come_nearer_to_the_truth_than_one():
    """What real minutes are compared with below is the better witness where the truth is known."""
    run = simulate(8, leaning=0.35)
    truth = run.net / run.sample.added
    four = run.sample.counted(four_prints(bars(run)).sum(axis=1))
    assert correlation(four, truth) > correlation(UNTIMED(run.sample), truth) + 0.1


# Real minutes: 4 contracts × 3 days.


@pytest.fixture(scope="module")
def quoted() -> Minutes:
    """Every usable minute of the expiring contracts."""
    minutes, volume = read_lean()
    assert len(np.unique(minutes.contract)) == 12
    # 6 % of the volume traded in minutes without a quote.
    assert 0.9 < minutes.volume.sum() / volume < 1
    return minutes


@pytest.fixture(scope="module")
def traded(quoted) -> Minutes:
    """Those in which something traded."""
    return quoted.where(quoted.volume > 0)


def test_real_signs_do_not_follow_the_move(traded):
    """Measured: 0.04 by the interpolated mid, 0.63 against the old quote, −0.20 the new one."""
    sample = traded.sample()
    assert abs(correlation(UNTIMED(sample), sample.move)) < 0.1
    assert correlation(OLD(sample), sample.move) > 0.5
    assert correlation(NEW(sample), sample.move) < -0.1


def test_nearly_all_real_volume_gets_a_sign(traded):
    """Measured: 0.98 of the volume."""
    assert classified(UNTIMED(traded.sample()), traded.volume) > 0.95


def test_the_last_print_agrees_with_the_four_of_its_bar(traded):
    """Measured: equal sign on 79 % of the volume (old quote 68 %), correlation 0.75 (0.50)."""
    sample = traded.sample()
    four = sample.counted(four_prints(traded).sum(axis=1))
    last = UNTIMED(sample)
    assert equal_sign(last, four, traded.volume) > 0.75
    assert correlation(last, four) > 0.7
    assert correlation(OLD(sample), four) < correlation(last, four) - 0.1


def test_a_sample_of_five_minutes_agrees_with_its_minutes(quoted):
    """Measured: equal sign on 67 % of the volume (old quote 55 %), correlation 0.42 (0.21)."""
    sample, signed_volume = several(quoted, 5)
    minute_by_minute = sample.counted(signed_volume)
    last = UNTIMED(sample)
    assert equal_sign(last, minute_by_minute, sample.added) > 0.6
    assert correlation(last, minute_by_minute) > 0.35
    assert correlation(OLD(sample), minute_by_minute) < 0.3


# After a hole.


def test_after_a_hole_the_shrunk_sign_errs_less_out_of_sample():
    """A simulated session of known sides and a seed of its own: holes of 1, 2.5 and 10 minutes."""
    session = Session("QQQ", 911)
    outcomes = {slots: outcome([session], slots) for slots in (2, 5, 20)}
    for slots, errors in outcomes.items():
        assert errors.intervals == 774 // slots
        assert errors.shrunk < 0.85 * errors.whole, slots
        # Never much worse than knowing nothing; the whole sign is.
        assert errors.shrunk < 1.5 * errors.nothing < errors.whole, slots
    assert outcomes[20].shrunk < 0.5 * outcomes[20].whole
    assert outcomes[20].whole > 2 * outcomes[20].nothing


def test_trades_tell_what_the_last_print_does_not():
    """The same simulated prints as each kind of source shows them, against their true sides.

    QQQ's prints are at the bid or ask of their own quote, so each trade tells its side without an
    error; of a pair of legs the volume counts, and neither has a side.
    """
    plain, spread = (make_tape("QQQ", 501, legs=legs) for legs in (0.0, 0.3))
    sources = sources_of(plain)
    truth = sources["the truth"]["signed_volume"]
    np.testing.assert_allclose(sources["each trade"]["signed_volume"], truth, atol=1e-6)
    assert abs(truth[-1]).sum() > 0.05 * plain.size.sum()
    assert "last_at" not in sources["last print alone"]
    assert not plain.leg.any()
    assert spread.size[spread.leg].sum() == pytest.approx(0.3 * spread.size.sum(), rel=0.1)
    legs = sources_of(spread)
    single = np.where(spread.leg, 0.0, spread.side * spread.size)
    np.testing.assert_allclose(
        legs["each trade"]["signed_volume"], spread.signed(single), atol=1e-6
    )
    both = legs["each trade, legs signed too"]["signed_volume"]
    assert not np.allclose(both, legs["each trade"]["signed_volume"])
    for shown in legs.values():
        np.testing.assert_array_equal(shown["volume"], spread.signed(spread.size))
