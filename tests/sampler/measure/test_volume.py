"""What reported volumes mean: falls, rises that are withdrawn, unknown contracts. Counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sampler.measure.volume import Movement, VolumeStep, add_flow, empty_ledger, read_volumes

#: $ of hedge and of gamma that one bought contract makes.
HEDGE, GAMMA = 10.0, 2.0
#: Unix time before the first frame, which comes 30 s later. [s]
START = 1_787_149_800.0
NAN = math.nan


class Feed:
    """One feed's frames, thirty seconds apart, in which everything that trades is bought."""

    def __init__(self, contracts: int = 1) -> None:
        self.ledger = empty_ledger((2, contracts))
        self.reset_at: float | None = None
        # A day of 2026: what a moment is added to or taken from shows.
        self.now = START

    def report(
        self, *volumes: float, opening: bool = False, sign: float = 1.0, seconds: float = 30.0
    ) -> VolumeStep:
        """One frame of calls; the puts report nothing."""
        self.now += seconds
        reported = np.full_like(self.ledger["volume"], NAN)
        reported[0] = volumes
        step = read_volumes(
            self.ledger, reported, now=self.now, opening=opening, reset_at=self.reset_at
        )
        self.ledger, self.reset_at = step.ledger, step.reset_at
        signs = np.where(step.added > 0, sign, 0.0)
        bought = np.where(step.to_other, 0.0, signs * step.added)
        add_flow(step, signs, step.added * HEDGE, step.added * GAMMA, now=self.now)
        self.ledger["signed"] += bought
        self.ledger["dollars"] += bought * HEDGE
        self.ledger["gamma_dollars"] += bought * GAMMA
        return step

    def account(self, contract: int = 0) -> tuple[float, ...]:
        """Mark, signed volume, dollars, gamma dollars and counted volume of a call."""
        names = ("volume", "signed", "dollars", "gamma_dollars", "counted")
        return tuple(float(self.ledger[name][0, contract]) for name in names)


def played(*volumes: float) -> Feed:
    feed = Feed()
    for volume in volumes:
        feed.report(volume)
    return feed


def test_a_first_volume_is_the_baseline() -> None:
    """What traded before the first readable figure belongs to no slot."""
    feed = Feed()
    assert feed.report(NAN).unknown == 2
    step = feed.report(5000)
    assert (step.first_read.contracts, step.first_read.volume) == (1, 5000)
    assert feed.account() == (5000, 0, 0, 0, 0)
    feed.report(5010)
    assert feed.account() == (5010, 10, 100, 20, 10)


@pytest.mark.parametrize("low", [0, 100, 4999])
def test_a_dip_is_held(low: float) -> None:
    """A figure below all that was reported: the mark stands, and only what rises above it counts."""
    feed = played(5000, 5010)
    step = feed.report(low)
    assert (step.held.contracts, step.held.volume) == (1, 5010 - low)
    assert feed.account() == (5010, 10, 100, 20, 10)
    step = feed.report(5020)
    assert step.recovered.contracts == 1
    assert step.held.contracts == 0
    assert feed.account() == (5020, 20, 200, 40, 20)


def test_one_frame_too_high_is_taken_out() -> None:
    """The rise that fell back leaves with its own signed volume, dollars and gamma."""
    feed = played(100, 105, 5000)
    step = feed.report(110)
    assert (step.withdrawn.contracts, step.withdrawn.volume) == (1, -4890)
    assert step.withdrawn.dollars == pytest.approx(-48_900)
    assert step.corrected_dollars == pytest.approx((-48_900, 0))
    # Of the rise of 4,895 five are left: so many fewer are classified, and their square's variance.
    assert step.corrected_classified == step.corrected_counted == -4890
    assert step.corrected_variance == pytest.approx(-(4895**2 - 5**2) * HEDGE**2)
    assert feed.account() == pytest.approx((110, 10, 100, 20, 10))
    # Two times five contracts traded: the square of the rise that fell back is out as well.
    assert feed.ledger["volume_squares"][0, 0] == pytest.approx(5**2 + 5**2)
    feed.report(120)
    assert feed.account() == pytest.approx((120, 20, 200, 40, 20))


def test_what_trading_reaches_is_not_what_was_withdrawn() -> None:
    """A frame read 1,000 too many; then the contract trades up to that figure, a hundred at a time.

    What was taken out stays out: every lot that traded is counted once, with its own sign.
    """
    feed = played(100, 110, 1110)
    feed.report(120)
    assert feed.account() == pytest.approx((120, 20, 200, 40, 20))
    for volume in range(220, 1220, 100):
        step = feed.report(volume, sign=-1.0)
        assert step.restored.contracts == 0
    bought = 20 - (1120 - 120)
    assert feed.account() == pytest.approx((1120, bought, 10 * bought, 2 * bought, 1020))


def test_frames_too_high_lose_nothing_that_flowed_meanwhile() -> None:
    """What traded on top of a rise that is withdrawn later stays counted."""
    feed = played(100, 105, 5000, 5010, 5015)
    feed.report(120)
    assert feed.account() == pytest.approx((120, 20, 200, 40, 20))


def test_the_signs_of_what_stays_are_its_own() -> None:
    """Bought 5, a withdrawn 4,895 sold, then bought 10: 15 bought are left."""
    feed = Feed()
    feed.report(100)
    feed.report(105)
    feed.report(5000, sign=-1.0)
    feed.report(105)
    feed.report(115)
    assert feed.account() == pytest.approx((115, 15, 150, 30, 15))


def test_a_fall_is_taken_out_of_the_later_rise_that_fits_it() -> None:
    """After rises of 60 and 50 contracts a fall of 47 is taken out of the 50, the later one."""
    feed = played(100, 160)
    feed.report(210, sign=-1.0)
    assert feed.account()[1] == 10
    step = feed.report(163)
    assert (step.withdrawn.contracts, step.withdrawn.volume) == (1, -47.0)
    assert feed.account() == (163, 57, 570, 114, 63)


def test_a_fall_that_only_the_largest_rise_explains_is_taken_out_of_that() -> None:
    """A fall of 55 is taken out of the rise of 60, since the later rise of 50 is too small."""
    feed = played(100, 160)
    feed.report(210, sign=-1.0)
    feed.report(155)
    assert feed.account()[:2] == (155, -45)


def test_a_later_rise_outlives_the_largest_one() -> None:
    """After ten minutes the largest rise is forgotten, and a later one can still be withdrawn."""
    feed = played(100, 160)
    feed.report(210, sign=-1.0, seconds=300.0)
    step = feed.report(163, seconds=330.0)
    assert step.withdrawn.contracts == 1
    assert feed.account()[1] == 57


def test_what_comes_back_after_trading_went_on_leaves_the_rows_between_in_doubt() -> None:
    """A contract falls by 47, trades 6, then gains 44: nobody can say if 41 of these were held back."""
    feed = played(100, 147, 100, 106)
    fell_at = feed.now - 30.0
    step = feed.report(150)
    assert (step.recovered.contracts, step.recovered.volume) == (1, 41.0)
    assert step.wrong_since == fell_at
    assert feed.account() == (150, 50, 500, 100, 50)


def test_what_is_left_of_a_withdrawn_rise_may_be_withdrawn_too() -> None:
    """A volume is 1,000 too high, then 50 too high, then right: both surpluses are taken out."""
    feed = played(100, 1100)
    assert feed.report(150).withdrawn.volume == -950
    assert feed.report(160).withdrawn.contracts == 0
    step = feed.report(110)
    assert (step.withdrawn.contracts, step.withdrawn.volume) == (1, -50)
    assert feed.account() == pytest.approx((110, 10, 100, 20, 10))


def test_a_withdrawn_rise_explains_no_second_fall() -> None:
    """A rise of 500 falls back whole. The next fall, of 40, is none of it: the mark is held."""
    feed = played(100, 110, 610)
    assert feed.report(110).withdrawn.volume == -500
    step = feed.report(70)
    assert (step.withdrawn.contracts, step.held.contracts, step.held.volume) == (0, 1, 40)
    assert feed.account() == pytest.approx((110, 10, 100, 20, 10))
    assert feed.report(130).withdrawn.contracts == 0
    assert feed.account() == pytest.approx((130, 30, 300, 60, 30))


def test_two_rises_are_withdrawn_at_once() -> None:
    """One fall takes back two wrong rises: 1,000 counted as bought, then 50 counted as sold."""
    feed = played(100, 1100)
    feed.report(1150, sign=-1.0)
    step = feed.report(105)
    assert (step.withdrawn.contracts, step.withdrawn.volume) == (1, -1045)
    # Five of the thousand traded.
    assert feed.account() == pytest.approx((105, 5, 50, 10, 5))


def test_two_rises_that_grow_are_withdrawn_at_once() -> None:
    """1,000 too high for three frames, then 99,000 more: both are taken out again.

    Frames at 30, 60, ... seconds. The first wrong rise came at 90; rows are in doubt from there on.
    """
    feed = played(100, 132)
    feed.report(1132)
    feed.report(1132)
    feed.report(100_132)
    step = feed.report(132)
    assert (step.withdrawn.contracts, step.withdrawn.volume) == (1, -100_000)
    assert step.wrong_since == START + 90.0
    assert feed.account() == (132, 32, 320, 64, 32)
    feed.report(140)
    assert feed.account() == (140, 40, 400, 80, 40)


def test_a_rise_before_a_larger_one_that_was_withdrawn_is_withdrawn_too() -> None:
    """1,000 too high from 90 s on; 99,000 more in one frame, back, and then the 1,000."""
    feed = played(100, 132)
    feed.report(1132)
    feed.report(100_132)
    step = feed.report(1137)
    assert (step.withdrawn.volume, step.wrong_since) == (-98_995, START + 120.0)
    feed.report(1137)
    step = feed.report(140)
    assert step.wrong_since == START + 90.0
    assert (step.withdrawn.volume, step.held.contracts) == (-997, 0)
    assert feed.account() == (140, 40, 400, 80, 40)


def test_the_smallest_rise_that_is_large_enough_is_withdrawn() -> None:
    """Sold 50 at 90 s, bought 200 at 120 s, sold 60 at 150 s: a fall of 55 was one of the 60 sold.

    One of 48 was one of the 50, and both falls leave the rows since the earliest of all three in
    doubt that are as large as the fall.
    """
    for fall, signed, since in ((55, 32 - 50 + 200 - 5, 120.0), (48, 32 - 2 + 200 - 60, 90.0)):
        feed = played(100, 132)
        feed.report(182, sign=-1.0)
        feed.report(382)
        feed.report(442, sign=-1.0)
        step = feed.report(442 - fall)
        assert step.wrong_since == START + since
        assert feed.account()[1] == signed
        assert feed.account()[0] == 442 - fall


def test_what_is_left_of_a_rise_comes_before_an_equal_one_of_earlier() -> None:
    """Sold 20, bought 100, bought 60; falls of 80 and of 80: the 20 that were sold stay.

    The first fall leaves 20 of the 100. The second takes back these and the 60.
    """
    feed = played(100)
    feed.report(120, sign=-1.0)
    feed.report(220)
    feed.report(280)
    assert feed.report(200).withdrawn.volume == -80
    assert feed.report(120).withdrawn.volume == -80
    assert feed.account() == pytest.approx((120, -20, -200, -40, 20))


def test_of_an_earlier_rise_only_what_the_larger_one_leaves_is_taken_out() -> None:
    """Sold 2,000, bought 99,000, and a fall of 100,000: 1,000 of those that were sold stay."""
    feed = played(100)
    feed.report(2100, sign=-1.0)
    feed.report(101_100)
    assert feed.report(1100).withdrawn.volume == -100_000
    assert feed.account() == pytest.approx((1100, -1000, -10_000, -2000, 1000))


def test_a_part_of_an_earlier_rise_leaves_ten_minutes_in_doubt() -> None:
    """Rises of 1,000, 2,000 and 99,000, and a fall of 100,000: the 1,000 are not remembered."""
    feed = played(*[100] * 30, 132)
    feed.report(1132)
    feed.report(3132)
    feed.report(102_132)
    step = feed.report(2132)
    assert feed.account()[:2] == (2132, 2032)
    # The rise of 1,000 came 90 s before the fall.
    assert step.wrong_since == feed.now - 600.0


def test_a_fall_that_shrinks_to_a_rise_is_a_rise_that_was_wrong() -> None:
    """A volume reads too high, then 0, then right: the surplus is taken out at its return."""
    feed = played(100, 110, 5000, 0, 0)
    assert feed.account()[0] == 5000
    step = feed.report(112)
    assert (step.withdrawn.contracts, step.withdrawn.volume) == (1, -4888)
    assert feed.account() == pytest.approx((112, 12, 120, 24, 12))


def test_a_fall_that_shrinks_to_both_rises_exactly_takes_them_out() -> None:
    """Rises of 10 and 4,890, then 0, then the 100 of before: the fall is their sum, to the lot."""
    feed = played(100, 110, 5000, 0, 0)
    step = feed.report(100)
    assert (step.withdrawn.contracts, step.withdrawn.volume) == (1, -4900)
    assert feed.account() == pytest.approx((100, 0, 0, 0, 0))


def test_what_is_put_back_can_be_withdrawn_again() -> None:
    """A surplus of 50 that is withdrawn, comes back and falls again is taken out again."""
    feed = played(100, 150, 100, 150)
    assert feed.account()[:2] == (150, 50)
    assert feed.report(100).withdrawn.contracts == 1
    assert feed.account() == (100, 0, 0, 0, 0)


def test_what_is_put_back_does_not_displace_the_rise_before_it() -> None:
    """One lot trades, 59 more read wrongly, go, and come back. A fall of 60 takes both back.

    A second contract has rises of 5 and 100 all the while, and a fall of 105 takes back these.
    """
    feed = Feed(2)
    feed.report(100, 200)
    feed.report(101, 205)
    feed.report(160, 305)
    assert feed.report(101, 305).withdrawn.volume == -59
    assert feed.report(160, 305).restored.contracts == 1
    step = feed.report(100, 200)
    assert (step.withdrawn.contracts, step.withdrawn.volume) == (2, -165)
    assert feed.account(0) == pytest.approx((100, 0, 0, 0, 0))
    assert feed.account(1) == pytest.approx((200, 0, 0, 0, 0))


@pytest.mark.parametrize("seconds", [30.0, 0.0])
def test_a_rise_of_one_lot_is_withdrawn(seconds: float) -> None:
    """Whether the next frame is later, or has the same time."""
    feed = played(100, 101)
    assert feed.report(100, seconds=seconds).withdrawn.volume == -1
    assert feed.account() == (100, 0, 0, 0, 0)


def test_a_held_fall_that_goes_lower_is_counted_from_the_lowest() -> None:
    """5,010 reads 100, then 50, and then 70: on the lower account 20 have traded."""
    feed = played(5000, 5010, 100, 50)
    step = feed.report(70)
    assert (step.held.contracts, step.held.volume) == (1, 4940)
    assert feed.account() == (5010, 10, 100, 20, 10)
    assert feed.report(70, seconds=600).busted.contracts == 1
    assert feed.account() == pytest.approx((70, 20, 200, 40, 20))


@pytest.mark.parametrize("sign", [1.0, -0.5])
def test_what_is_put_back_leaves_with_its_own_sign_and_dollars(sign: float) -> None:
    """Ten are bought, ten more have a sign; those go, come back, and go again: the first ten stay."""
    feed = played(100, 110)
    feed.report(120, sign=sign)
    whole = (120, 10 + 10 * sign, 100 + 100 * sign, 20 + 20 * sign, 20)
    assert feed.account() == pytest.approx(whole)
    for _ in range(2):
        assert feed.report(110).withdrawn.contracts == 1
        assert feed.account() == pytest.approx((110, 10, 100, 20, 10))
        assert feed.ledger["volume_squares"][0, 0] == pytest.approx(100)
        assert feed.report(120).restored.contracts == 1
        assert feed.account() == pytest.approx(whole)
        assert feed.ledger["volume_squares"][0, 0] == pytest.approx(200)


def test_a_lagging_server_is_undone() -> None:
    """An older frame in between: its fall is explained by a rise, and put back by the next frame."""
    feed = played(100, 110, 120)
    assert feed.report(110).withdrawn.contracts == 1
    step = feed.report(130)
    assert (step.restored.contracts, step.restored.volume) == (1, 10)
    assert feed.account() == pytest.approx((130, 30, 300, 60, 30))


def test_two_servers_in_turn() -> None:
    """A server that lags by frames: every second report is old, the count is the fresh server's."""
    feed = played(100, 200, 110, 300, 130, 400, 160, 500)
    assert feed.account() == pytest.approx((500, 400, 4000, 800, 400))


def test_a_fall_that_lasts_is_a_bust() -> None:
    """After ten minutes the lower figure is believed; what traded meanwhile is not lost."""
    feed = played(1000, 1100, 1200)
    for _ in range(21):
        feed.report(1200)  # no rise is recent any more
    steps = [feed.report(1150 + i) for i in range(21)]
    assert [step.busted.contracts for step in steps] == [0] * 20 + [1]
    assert all(step.held.contracts for step in steps[:20])
    mark, signed, _, _, counted = feed.account()
    # 200 had been bought, of 200 counted; a quarter of it was busted, and 20 traded since.
    assert (mark, signed, counted) == pytest.approx((1170, 170, 170))
    assert steps[-1].busted.volume == pytest.approx(1169 - 1200)


def test_a_bust_says_what_it_changes() -> None:
    """Ten bought are gone; 40 bought and 15 without a side below the fall come in their place."""
    feed = played(5000, 5010)
    assert feed.report(100).held.contracts == 1
    feed.report(140, seconds=200)
    feed.report(155, seconds=200, sign=0.0)
    assert feed.account() == (5010, 10, 100, 20, 10)
    step = feed.report(155, seconds=200)
    assert (step.busted.contracts, step.busted.volume) == (1, 155 - 5010)
    assert step.busted.dollars == pytest.approx(400 - 100)
    assert step.corrected_counted == pytest.approx(55 - 10)
    assert step.corrected_classified == pytest.approx(40 - 10)
    assert step.corrected_variance == pytest.approx((40**2 + 15**2 - 10**2) * HEDGE**2)
    assert feed.account() == pytest.approx((155, 40, 400, 80, 55))
    assert feed.ledger["volume_squares"][0, 0] == pytest.approx(40**2 + 15**2)


def test_what_trades_on_the_published_account_counts_there_alone() -> None:
    """A rise that was withdrawn comes back with what traded meanwhile: the difference shrinks."""
    feed = played(100, 110, 400)
    assert feed.report(120).withdrawn.contracts == 1
    feed.report(125)
    # 275 come back at once after trade went on: the lower account was right, as far as it goes.
    step = feed.report(401)
    assert (step.recovered.contracts, step.restored.contracts) == (1, 0)
    assert step.corrected_classified == step.corrected_variance == step.corrected_counted == 0
    assert feed.account() == pytest.approx((401, 301, 3010, 602, 301))


@pytest.mark.parametrize(("traded", "unclear"), [(50, True), (51, False)])
def test_half_of_a_fall_that_comes_back_at_once_is_unclear(traded: int, unclear: bool) -> None:
    """A rise of 100 is taken out, the contract trades, and is back at its 200 in one slot.

    Where half of the 100 or more comes in that slot, the rows since the fall are in doubt. Either
    way all of it counts.
    """
    feed = played(100, 200, 100)
    fell_at = feed.now
    feed.report(100 + traded)
    step = feed.report(200)
    assert step.wrong_since == (fell_at if unclear else None)
    assert (step.recovered.contracts, step.recovered.volume) == ((1, 50) if unclear else (0, 0))
    assert feed.account() == pytest.approx((200, 100, 1000, 200, 100))
    # That is the end of it: what trades next is trade, and nothing has come back.
    step = feed.report(205)
    assert (step.recovered.contracts, step.wrong_since) == (0, None)
    assert feed.report(205).recovered.contracts == 0
    assert feed.account() == pytest.approx((205, 105, 1050, 210, 105))


def test_a_rise_is_believed_after_ten_minutes() -> None:
    """A fall to before a rise that is older than ten minutes is held: nothing explains it."""
    feed = played(100, 500)
    feed.report(500, seconds=601)
    step = feed.report(100)
    assert (step.withdrawn.contracts, step.held.contracts) == (0, 1)


def test_a_rise_before_a_larger_one_that_was_withdrawn_in_part_is_the_largest_again() -> None:
    """Each of ten contracts: 10, then rises of 50 and of 100, falls of 90 and of 50, at the open.

    10 of the 100 are left, so the 50 are the largest rise. The second fall takes back these, and
    20 remain, of which 10 traded. It is no new beginning, though 20 are less than half of 70.
    """
    feed = Feed(10)
    for volume in (10.0, 60.0, 160.0):
        feed.report(*[volume] * 10, opening=True)
    assert feed.report(*[70.0] * 10, opening=True).withdrawn.volume == -900
    step = feed.report(*[20.0] * 10, opening=True)
    assert (step.reset, step.withdrawn.contracts, step.withdrawn.volume) == (False, 10, -500)
    assert feed.account(3) == pytest.approx((20, 10, 100, 20, 10))


def test_what_is_put_back_leaves_the_larger_rises_in_their_places() -> None:
    """100, rises of 50 and 100, a fall of 90; then 8 go and come back, and 58 fall: 50 and 8.

    10 of the 100 are left after the first fall, and 2 of these after the second. The 8 that come
    back are a rise again. So 102 remain, of which 2 traded.
    """
    feed = played(100, 150, 250, 160)
    assert feed.report(152).withdrawn.volume == -8
    assert feed.report(160).restored.volume == 8
    step = feed.report(102)
    assert (step.withdrawn.contracts, step.withdrawn.volume) == (1, -58)
    assert feed.account() == pytest.approx((102, 2, 20, 4, 2))


def test_reset_in_the_opening_window() -> None:
    """The whole chain begins anew: no flow, and counting goes on from the new figures."""
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    step = feed.report(*[0.0] * 10, opening=True)
    assert step.reset
    assert feed.account() == (0, 0, 0, 0, 0)
    feed.report(*[7.0] * 10, opening=True)
    assert feed.account() == (7, 7, 70, 14, 7)


def test_a_reset_that_was_none() -> None:
    """Volumes that read 0 once in the opening window come back whole, and are not counted twice."""
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    feed.report(*[1010.0] * 10, opening=True)
    assert feed.report(*[0.0] * 10, opening=True).reset
    step = feed.report(*[1030.0] * 10, opening=True)
    assert step.restored.contracts == 10
    assert feed.account(3) == pytest.approx((1030, 30, 300, 60, 30))


def test_what_traded_in_a_reset_that_was_none_is_taken_back() -> None:
    """Five of each contract were bought on the new count; the old count knows nothing of them."""
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    feed.report(*[0.0] * 10, opening=True)
    feed.report(*[5.0] * 10, opening=True)
    step = feed.report(*[1030.0] * 10, opening=True)
    assert step.restored.contracts == 10
    assert step.corrected_classified == step.corrected_counted == -50
    assert step.corrected_variance == pytest.approx(-10 * 5**2 * HEDGE**2)
    assert step.corrected_dollars == pytest.approx((-500, 0))
    assert feed.account(3) == pytest.approx((1030, 30, 300, 60, 30))


def test_a_reset_passes_yesterdays_figures_one_by_one() -> None:
    """After a true reset a contract may pass its figure of before: that is trade, and counts."""
    feed = Feed(10)
    feed.report(3.0, *[1000.0] * 9, opening=True)
    feed.report(*[0.0] * 10, opening=True)
    feed.report(8.0, *[5.0] * 9, opening=True)
    assert feed.account(0) == (8, 8, 80, 16, 8)


def test_for_ten_minutes_a_reset_is_decided_for_the_whole_chain_alone() -> None:
    """One contract that reaches its figure of before has traded; nine of ten say it was no reset."""
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    assert feed.report(*[0.0] * 10, opening=True).reset
    feed.report(*[5.0] * 10, opening=True)
    step = feed.report(1001.0, *[6.0] * 9)
    assert (step.restored.contracts, step.recovered.contracts) == (0, 0)
    assert feed.account(0) == (1001, 1001, 10_010, 2002, 1001)
    assert feed.account(1) == (6, 6, 60, 12, 6)
    # Eight of ten are too few, nine are enough; what they traded before is theirs again.
    step = feed.report(*[1002.0] * 8, 7.0, 7.0)
    assert step.restored.contracts == 0
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    feed.report(*[0.0] * 10, opening=True)
    step = feed.report(*[1002.0] * 9, 7.0)
    # The tenth was wrong to fall, too: it is held at what it had.
    assert (step.restored.contracts, step.held.contracts, step.held.volume) == (10, 1, 993)
    assert feed.account(0) == (1002, 2, 20, 4, 2)


def test_ten_minutes_after_a_reset_the_figures_of_before_are_forgotten() -> None:
    """Then contracts that jump to their figures of before have traded, however many they are."""
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    feed.report(*[0.0] * 10, opening=True)
    feed.report(*[5.0] * 10, seconds=570)
    assert feed.reset_at is not None
    feed.report(*[6.0] * 10)
    assert feed.reset_at is None
    step = feed.report(*[1002.0] * 10)
    assert step.restored.contracts == 0
    assert feed.account(0) == (1002, 1002, 10_020, 2004, 1002)


@pytest.mark.parametrize(("seconds", "withdrawn"), [(600.0, True), (600.5, False)])
def test_a_rise_can_be_withdrawn_for_ten_minutes(seconds: float, withdrawn: bool) -> None:
    """No sample came in between; what is older than ten minutes has traded, and the fall is held."""
    feed = played(100, 400)
    step = feed.report(150, seconds=seconds)
    assert (step.withdrawn.contracts, step.held.contracts) == (withdrawn, not withdrawn)


@pytest.mark.parametrize(
    ("seconds", "kind"),
    [(570.0, "later"), (570.5, "later"), (600.0, "later"), (600.5, "none")],
)
def test_the_later_rise_outlives_the_larger_one_and_is_forgotten_too(
    seconds: float, kind: str
) -> None:
    """300 are bought, half a minute later 50 are sold; then 40 are taken back.

    The fall fits the later rise better while it is known, also after the larger one is forgotten.
    """
    feed = played(100, 400)
    feed.report(450, sign=-1.0)
    assert feed.account()[:2] == (450, 250)
    step = feed.report(410, seconds=seconds)
    assert step.withdrawn.contracts == (kind == "later")
    # What was sold and is taken out makes the signed volume larger.
    assert feed.account()[:2] == ((410, 290) if kind == "later" else (450, 250))


@pytest.mark.parametrize(("seconds", "withdrawn"), [(570.0, True), (570.5, False)])
def test_an_earlier_rise_is_forgotten_after_ten_minutes_too(
    seconds: float, withdrawn: bool
) -> None:
    """A rise of 1,000, 30 s later one of 100,000, and a fall of both: only together they explain it.

    The smaller one is then 600 s old, or older.
    """
    feed = played(100, 1100, 101_100)
    step = feed.report(100, seconds=seconds)
    assert (step.withdrawn.contracts, step.held.contracts) == (withdrawn, not withdrawn)


def test_a_rise_that_took_anothers_place_is_remembered_once() -> None:
    """Rises of 100 and 50. The 100 are withdrawn, then a fall of 100: the 50 explain no such fall."""
    feed = played(100, 200, 250)
    assert feed.report(150).withdrawn.volume == -100
    step = feed.report(50)
    assert (step.withdrawn.contracts, step.held.contracts, step.held.volume) == (0, 1, 100)
    assert feed.report(100).withdrawn.volume == -50


def test_a_fall_within_a_reset_is_held() -> None:
    """While a reset may still be undone, a fall opens no dispute of its own."""
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    feed.report(*[0.0] * 10, opening=True)
    feed.report(*[5.0] * 10, opening=True)
    step = feed.report(3.0, *[6.0] * 9)
    assert step.withdrawn.contracts == 0
    assert (step.held.contracts, step.held.volume, step.held.dollars) == (1, 2, 0)
    assert feed.account(0) == (5, 5, 50, 10, 5)
    # The figures of before still stand behind all ten.
    assert feed.ledger["other_volume"][0].tolist() == [1000.0] * 10


def test_one_contract_s_dispute_is_its_own() -> None:
    """Of two contracts one falls and the other stays where it was: that one has no other account."""
    feed = Feed(2)
    feed.report(100, 200)
    step = feed.report(50, 200)
    assert step.held.contracts == 1
    assert np.isnan(feed.ledger["other_volume"][0]).tolist() == [False, True]
    step = feed.report(60, 210)
    assert feed.account(1) == (210, 10, 100, 20, 10)


def test_what_a_correction_says() -> None:
    """To the cent, and nothing is not said to be minus nothing."""
    detail = Movement(2, 30.0, -12.345678).as_detail()
    assert detail == {"contracts": 2, "volume": 30.0, "dollars": -12.35}
    assert str(Movement(1, 5.0, -0.001).as_detail()["dollars"]) == "0.0"
    assert Movement().as_detail() == {"contracts": 0, "volume": 0.0, "dollars": 0.0}


def test_a_reset_that_was_none_for_a_contract_that_reached_its_figure() -> None:
    """One has traded as much as it had before when all of the others come back."""
    feed = Feed(10)
    feed.report(7.0, *[1000.0] * 9, opening=True)
    feed.report(*[0.0] * 10, opening=True)
    feed.report(7.0, *[5.0] * 9, opening=True)
    step = feed.report(9.0, *[1002.0] * 9, opening=True)
    assert step.restored.contracts == 10
    assert feed.account(0) == (9, 2, 20, 4, 2)
    assert feed.account(1) == (1002, 2, 20, 4, 2)


@pytest.mark.parametrize(("high", "reset"), [(8, False), (9, True)])
def test_contracts_that_traded_once_are_of_the_chain(high: int, reset: bool) -> None:
    """Of ten contracts some fall from 100 to 0, and the others stay at 1: nine of ten must fall."""
    feed = Feed(10)
    feed.report(*[100.0] * high, *[1.0] * (10 - high), opening=True)
    step = feed.report(*[0.0] * high, *[1.0] * (10 - high), opening=True)
    assert step.reset == reset


@pytest.mark.parametrize(("left", "reset"), [(49.0, True), (50.0, False), (51.0, False)])
def test_a_reset_leaves_less_than_half(left: float, reset: bool) -> None:
    """Ten contracts of 100 fall to 49 each: a new count; to 50: the same one, held."""
    feed = Feed(10)
    feed.report(*[100.0] * 10, opening=True)
    assert feed.report(*[left] * 10, opening=True).reset == reset


@pytest.mark.parametrize(("counted", "doubtful"), [(25.0, False), (26.0, True)])
def test_a_reset_that_leaves_much_is_doubtful_until_it_is_decided(
    counted: float, doubtful: bool
) -> None:
    """A quarter of 100 lots each is 25: with more, the feed may report too little, for 10 minutes."""
    feed = Feed(10)
    feed.report(*[100.0] * 10, opening=True)
    assert feed.report(*[20.0] * 10, opening=True).reset
    assert feed.report(*[counted] * 10).reset == doubtful
    assert feed.report(*[counted + 1] * 10).reset is True
    assert not feed.report(*[counted + 2] * 10, seconds=600).reset


@pytest.mark.parametrize("others", [NAN, 0.0], ids=["unreadable", "never traded"])
def test_contracts_that_cannot_fall_do_not_hide_a_reset(others: float) -> None:
    """Nine contracts of 1,000 begin anew. Two more cannot be read then, or had never traded."""
    feed = Feed(11)
    before = 1000.0 if math.isnan(others) else 0.0
    feed.report(*[1000.0] * 9, before, before, opening=True)
    assert feed.report(*[0.0] * 9, others, others, opening=True).reset
    assert [feed.account(i)[0] for i in (0, 8, 9, 10)] == [0, 0, before, before]


def test_a_whole_chain_that_was_too_high_is_no_reset() -> None:
    """Every volume reads 4,900 too many in one frame, and falls back by exactly that."""
    feed = Feed(10)
    feed.report(*[100.0] * 10, opening=True)
    feed.report(*[5000.0] * 10, opening=True)
    step = feed.report(*[100.0] * 10, opening=True)
    assert (step.reset, step.withdrawn.contracts, step.withdrawn.volume) == (False, 10, -49_000)
    assert feed.account(4) == pytest.approx((100, 0, 0, 0, 0))


@pytest.mark.parametrize(("high", "reset"), [(8, True), (9, False)])
def test_nine_tenths_that_were_too_high_are_no_reset(high: int, reset: bool) -> None:
    """Some of ten contracts fall back by the 4,900 that they rose by, the others by more."""
    feed = Feed(10)
    feed.report(*[100.0] * high, *[5000.0] * (10 - high), opening=True)
    feed.report(*[5000.0] * 10, opening=True)
    assert feed.report(*[100.0] * high, *[0.0] * (10 - high), opening=True).reset == reset


@pytest.mark.parametrize("volume", [5.0, 7.0])
def test_what_does_not_fall_in_a_reset_goes_on(volume: float) -> None:
    """Nine of ten contracts begin anew. The tenth stays at 5 or trades 2: it has one account."""
    feed = Feed(10)
    feed.report(*[1000.0] * 9, 5.0, opening=True)
    step = feed.report(*[0.0] * 9, volume, opening=True)
    assert (step.reset, step.held.contracts) == (True, 0)
    bought = volume - 5
    assert feed.account(9) == (volume, bought, 10 * bought, 2 * bought, bought)
    assert math.isnan(feed.ledger["other_volume"][0, 9])
    # What is undone is undone for the nine.
    assert feed.report(*[1000.0] * 9, 8.0, opening=True).restored.contracts == 9
    assert feed.account(9) == (8, 3, 30, 6, 3)


def test_a_reset_finds_a_contract_in_dispute() -> None:
    """A volume of 1,010 reads 900 and trades to 940; then the whole chain begins anew at 0.

    The lower figure was right, since no report came back above it: its 40 bought stay. Where the
    reset is undone, the contract has its 1,010 again, of which it had bought 10, and four more.
    """
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    feed.report(1010.0, *[1000.0] * 9, opening=True)
    assert feed.report(900.0, *[1000.0] * 9, opening=True).held.contracts == 1
    feed.report(940.0, *[1000.0] * 9, opening=True)
    assert feed.account(0) == (1010, 10, 100, 20, 10)
    assert feed.report(*[0.0] * 10, opening=True).reset
    assert feed.account(0) == (0, 40, 400, 80, 40)
    assert feed.report(1014.0, *[1004.0] * 9, opening=True).restored.contracts == 10
    assert feed.account(0) == (1014, 14, 140, 28, 14)


def test_a_reset_leaves_a_dispute_that_cannot_be_read() -> None:
    """A volume of 1,010 reads 900, and cannot be read as the others begin anew: it is held still."""
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    feed.report(1010.0, *[1000.0] * 9, opening=True)
    feed.report(900.0, *[1000.0] * 9, opening=True)
    assert feed.report(NAN, *[0.0] * 9, opening=True).reset
    assert feed.account(0) == (1010, 10, 100, 20, 10)
    assert feed.report(1015.0, *[1.0] * 9, opening=True).recovered.contracts == 1
    assert feed.account(0) == (1015, 15, 150, 30, 15)


def test_what_has_passed_its_old_figure_keeps_its_flow_in_a_second_reset() -> None:
    """After a reset the first contract trades 8, more than its 3 of before, the others 6 each.

    The chain begins anew once more: what was bought in between stays bought, of all ten alike.
    """
    feed = Feed(10)
    feed.report(3.0, *[1000.0] * 9, opening=True)
    assert feed.report(*[0.0] * 10, opening=True).reset
    feed.report(4.0, *[3.0] * 9, opening=True)
    feed.report(8.0, *[6.0] * 9, opening=True)
    assert feed.report(*[0.0] * 10, opening=True).reset
    assert feed.account(0) == (0, 8, 80, 16, 8)
    assert feed.account(1) == (0, 6, 60, 12, 6)


@pytest.mark.parametrize(("contracts", "unreadable"), [(1, 0), (10, 0), (10, 3)])
def test_a_reset_is_undone_by_the_figures_of_before_exactly(
    contracts: int, unreadable: int
) -> None:
    """Nothing traded meanwhile. What cannot be read in that slot does not count."""
    feed = Feed(contracts)
    feed.report(*[1000.0] * contracts, opening=True)
    assert feed.report(*[0.0] * contracts, opening=True).reset
    there = contracts - unreadable
    step = feed.report(*[1000.0] * there, *[NAN] * unreadable, opening=True)
    assert step.restored.contracts == there
    assert feed.account(0) == (1000, 0, 0, 0, 0)


def test_what_passes_its_old_figure_slot_by_slot_undoes_no_reset() -> None:
    """Ten contracts of 3 begin anew; six trade 5, then three more: nine are above, not in one slot."""
    feed = Feed(10)
    feed.report(*[3.0] * 10, opening=True)
    assert feed.report(*[0.0] * 10, opening=True).reset
    assert feed.report(*[5.0] * 6, *[1.0] * 4, opening=True).restored.contracts == 0
    assert feed.report(*[5.0] * 9, 1.0, opening=True).restored.contracts == 0
    assert feed.account(0) == (5, 5, 50, 10, 5)
    assert feed.account(8) == (5, 5, 50, 10, 5)


def test_after_a_reset_a_contract_counts_in_every_slot_for_good() -> None:
    """The first contract passes its figure of before, 3, and trades on: 24 of 24 bought count.

    Frames at 30, 60, ... seconds; the reset at 60. Ten minutes later it is decided.
    """
    feed = Feed(10)
    feed.report(3.0, *[1000.0] * 9, opening=True)
    assert feed.report(*[0.0] * 10, opening=True).reset
    for volume in (2.0, 5.0, 8.0):
        step = feed.report(volume, *[1.0] * 9, opening=True)
        assert feed.account(0) == (volume, volume, 10 * volume, 2 * volume, volume)
        assert not step.to_other.any()
        assert step.held.contracts == 0
    for slot in range(30):
        step = feed.report(9.0 + slot // 2, *[1.0] * 9, opening=slot < 20)
        assert (step.busted.contracts, step.held.contracts, step.withdrawn.contracts) == (0, 0, 0)
    assert feed.reset_at is None
    assert feed.account(0) == (23, 23, 230, 46, 23)
    assert feed.account(5) == (1, 1, 10, 2, 1)


def test_a_reset_that_was_none_restores_what_had_passed_its_old_figure() -> None:
    """Ten contracts read 0, the first one passes its figure of before, then all come back.

    It had counted 3 and traded 7 more until the chain is back at 10: 7 in all since the baseline.
    """
    feed = Feed(20)
    feed.report(3.0, *[1000.0] * 19, opening=True)
    assert feed.report(*[0.0] * 20, opening=True).reset
    feed.report(8.0, *[5.0] * 19, opening=True)
    step = feed.report(10.0, *[1020.0] * 19, opening=True)
    assert step.restored.contracts == 20
    assert feed.account(0) == (10, 7, 70, 14, 7)
    assert feed.account(7) == pytest.approx((1020, 20, 200, 40, 20))


def test_a_rise_before_a_reset_that_was_none_is_withdrawn() -> None:
    """At 60 s one contract of ten is 1,000 too high; then all read 0, and all come back right."""
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    feed.report(2000.0, *[1000.0] * 9, opening=True)
    assert feed.report(*[0.0] * 10, opening=True).reset
    step = feed.report(*[1010.0] * 10, opening=True)
    assert step.wrong_since == START + 60.0
    for contract in (0, 9):
        assert feed.account(contract) == pytest.approx((1010, 10, 100, 20, 10))


def test_volumes_that_are_too_low_for_some_slots_are_no_reset() -> None:
    """Ten contracts read a part of their volumes that changes; three pass their figures meanwhile."""
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    assert feed.report(*[400.0] * 10, opening=True).reset
    feed.report(*[1001.0] * 3, *[800.0] * 7, opening=True)
    step = feed.report(*[1600.0] * 10, opening=True)
    assert step.restored.contracts == 10
    assert step.wrong_since == START + 60.0
    for contract in (0, 9):
        assert feed.account(contract) == pytest.approx((1600, 600, 6000, 1200, 600))


def test_a_reset_that_was_none_restores_what_had_been_published() -> None:
    """One contract was 9,000 too high and put right again before all ten read 0 once."""
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    feed.report(10_000.0, *[1000.0] * 9, opening=True)
    assert feed.report(*[1010.0] * 10, opening=True).withdrawn.contracts == 1
    assert feed.report(*[0.0] * 10, opening=True).reset
    assert feed.report(*[1015.0] * 10, opening=True).restored.contracts == 10
    for contract in (0, 9):
        assert feed.account(contract) == pytest.approx((1015, 15, 150, 30, 15))


def test_a_second_reset_does_not_forget_the_first() -> None:
    """Volumes read 0, then 10, then 0 again, and come back whole: what traded counts once."""
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    for low in (0.0, 10.0, 0.0):
        feed.report(*[low] * 10, opening=True)
    feed.report(*[1020.0] * 10, opening=True)
    assert feed.account(4) == pytest.approx((1020, 20, 200, 40, 20))


def test_a_dispute_beside_a_reset_is_decided_by_itself() -> None:
    """After a reset one contract falls for one frame: it is held, and comes back alone."""
    feed = Feed(11)
    feed.report(*[1000.0] * 10, NAN, opening=True)
    assert feed.report(*[0.0] * 10, NAN, opening=True).reset
    feed.report(*[1.0] * 10, 50.0, opening=True)
    assert feed.report(*[2.0] * 10, 40.0, opening=True).held.contracts == 1
    step = feed.report(*[3.0] * 10, 50.0, opening=True)
    assert (step.recovered.contracts, step.held.contracts) == (1, 0)


@pytest.mark.parametrize("unchanged", [2, 10])
def test_no_reset(unchanged: int) -> None:
    """Two contracts of ten that stay, or a moment after the opening window: volumes are held."""
    feed = Feed(10)
    feed.report(*[1000.0] * 10, opening=True)
    figures = [1000.0] * 2 + [0.0] * 8 if unchanged == 2 else [0.0] * 10
    step = feed.report(*figures, opening=unchanged == 2)
    assert not step.reset
    assert step.held.contracts == (8 if unchanged == 2 else 10)


def test_unreadable_for_a_while() -> None:
    """A volume that cannot be read changes nothing; its slots count for the sign's worth."""
    feed = played(100, 110)
    for _ in range(3):
        feed.report(NAN)
    step = feed.report(150)
    assert step.elapsed[0, 0] == 120
    assert feed.account() == (150, 50, 500, 100, 50)
