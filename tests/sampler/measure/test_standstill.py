"""Feeds that freeze in parts, and prices that jump: hand-made sequences of frames."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from chains import TEN_FOURTEEN, frame

from sampler.chain import Chain, select_chain
from sampler.errors import ChainRefused
from sampler.measure.remeasure import remeasure
from sampler.measure.revision import doubts_of, revise
from sampler.measure.snapshot import measure_slot
from sampler.measure.spikes import RecentSample, spot_jump
from sampler.sources.recorded import Recorded
from storage.market.calendar import market_day, session_on
from storage.record.row import Reason, SlotRecord
from tests.real_chains import LEAN_DAYS, lean_minutes

NAN = float("nan")
#: Quotes, prints and volumes of a chain, which a frozen feed repeats.
OPTIONS = ("bid", "ask", "last", "last_at", "volume")
BASE = frame()


def frozen(**changes):
    """The columns of ``BASE`` again, whatever spot and time are; single ones may be replaced."""
    return {name: getattr(BASE, name).tolist() for name in OPTIONS} | changes


class Feed:
    """Frames one after the other, each measured against the last record."""

    def __init__(self) -> None:
        self.record: SlotRecord | None = None

    def send(self, seconds: float, *, underlying: float | None = None, **columns) -> SlotRecord:
        """A frame so many seconds after the base; ``underlying`` is its own time, likewise."""
        self.record = measure_slot(
            self.chain(seconds, underlying, columns), self.record, oi_confidence=0.43
        )
        return self.record

    @staticmethod
    def chain(seconds: float, underlying: float | None, columns) -> Chain:
        sent_frame = frame(quoted_at=TEN_FOURTEEN + timedelta(seconds=seconds), **columns)
        if underlying is not None:
            object.__setattr__(
                sent_frame, "underlying_at", TEN_FOURTEEN + timedelta(seconds=underlying)
            )
        return select_chain(sent_frame, session_on(market_day(sent_frame.quoted_at)))

    def refused(self, seconds: float, **columns) -> Reason:
        with pytest.raises(ChainRefused) as refusal:
            self.send(seconds, **columns)
        return refusal.value.reason


def test_options_that_stand_are_flagged_twice_and_then_stale() -> None:
    """Two slots say so; from the third on there is no row, until the options live again."""
    feed = Feed()
    feed.send(0)
    for seconds in (30, 60):
        row = feed.send(seconds, spot=7700.0 + seconds / 60, **frozen()).row
        assert "options_unchanged" in row.flags
        assert row.detail.flag_amounts["options_unchanged"] == {"seconds": seconds}
        assert row.spot == 7700.0 + seconds / 60
    for seconds in (90, 120, 150):
        assert feed.refused(seconds, spot=7700.0 + seconds / 60, **frozen()) is Reason.STALE
    row = feed.send(180, spot=7703.0).row
    assert row.flags == ("after_gap",)
    assert row.differenced_from == TEN_FOURTEEN + timedelta(seconds=60)


def test_options_that_contradict_a_trading_stock_are_stale_at_once() -> None:
    """Parity of the old quotes says 7,700, the stock 7,715: the options are wrong, not the stock."""
    feed = Feed()
    feed.send(0)
    assert feed.refused(30, spot=7715.0, **frozen()) is Reason.STALE


def test_options_may_stand_while_the_stock_stands() -> None:
    """Nothing trades, so nothing is stale; the rows say that the options have not changed."""
    feed = Feed()
    feed.send(0)
    for seconds in range(30, 300, 30):
        assert "options_unchanged" in feed.send(seconds, **frozen()).row.flags


@pytest.mark.parametrize("name", OPTIONS)
def test_one_value_that_changes_is_life(name: str) -> None:
    """One contract's bid, ask, print, time of its print or volume is enough."""
    feed = Feed()
    feed.send(0)
    column = getattr(BASE, name).tolist()
    column[5] += 0.05 if name != "volume" else 1
    row = feed.send(30, spot=7700.5, **frozen(**{name: column})).row
    assert "options_unchanged" not in row.flags


def test_an_answer_that_is_older_than_the_last_one_is_no_new_one() -> None:
    """A server lags behind: its quotes differ, but a print is older and nothing has traded."""
    feed = Feed()
    prints = BASE.last_at.copy()
    prints[5] += 20.0
    bids = (BASE.bid + 0.05).tolist()
    feed.send(0, **frozen(bid=bids, last_at=prints.tolist()))
    row = feed.send(30, spot=7700.5, **frozen()).row
    assert row.detail.flag_amounts["options_unchanged"] == {"seconds": 30.0}
    # One new print, or one more contract traded, and the answer is news.
    fresh = BASE.last_at.copy()
    fresh[7] += 40.0
    assert "options_unchanged" not in feed.send(60, **frozen(last_at=fresh.tolist())).row.flags


def test_faults_of_single_contracts_hide_no_freeze() -> None:
    """A volume that falls, a crossed quote and a print of yesterday are no news of the options."""
    feed = Feed()
    feed.send(0)
    volume, bid, printed = (getattr(BASE, name).copy() for name in ("volume", "bid", "last_at"))
    volume[3], bid[5], printed[7] = 0.0, BASE.ask[5] + 1.0, printed[7] - 86_400.0
    columns = {"volume": volume.tolist(), "bid": bid.tolist(), "last_at": printed.tolist()}
    assert "options_unchanged" in feed.send(30, spot=7700.5, **frozen(**columns)).row.flags
    # Back as they were: nothing new either.
    assert "options_unchanged" in feed.send(60, spot=7701.0, **frozen()).row.flags
    assert feed.refused(90, spot=7701.5, **frozen(**columns)) is Reason.STALE


def test_a_volume_that_is_sent_again_hides_no_freeze() -> None:
    """Prints of yesterday hold all volumes at 50; the same 80 in two frames are no news in the second."""
    feed, n = Feed(), len(BASE.strike)
    feed.send(0)
    held = {"volume": [80.0] * n, "last_at": (BASE.last_at - 86_400.0).tolist()}
    feed.send(30, spot=7700.5, **frozen(**held))
    assert "options_unchanged" in feed.send(60, spot=7701.0, **frozen(**held)).row.flags


def test_three_slots_are_ninety_seconds_whatever_the_cadence() -> None:
    """A feed of one frame a minute: one row says so, the frame after two minutes makes none."""
    feed = Feed()
    feed.send(0)
    assert "options_unchanged" in feed.send(60, spot=7700.5, **frozen()).row.flags
    assert feed.refused(120, spot=7701.0, **frozen()) is Reason.STALE


def test_values_that_cannot_be_read_are_no_change() -> None:
    """Volumes that are unreadable for a frame, and strikes that are missing, hide no freeze."""
    feed = Feed()
    feed.send(0)
    n = len(BASE.strike)
    feed.send(30, spot=7700.5, **frozen(volume=[NAN] * n))
    assert "options_unchanged" in feed.record.row.flags
    half = [7600.0 + 10 * i for i in range(3, 21)]
    keep = np.isin(BASE.strike, half)
    columns = {name: getattr(BASE, name)[keep].tolist() for name in OPTIONS}
    assert "options_unchanged" in feed.send(60, spot=7701.0, strikes=half, **columns).row.flags
    assert feed.refused(90, spot=7701.5, **frozen()) is Reason.STALE


@pytest.mark.parametrize("locked_at", [0, 30])
def test_a_locked_quote_is_a_quote(locked_at: int) -> None:
    """Bid and ask of one contract are the same in one of two frames: its bid has changed."""
    feed = Feed()
    locked = BASE.bid.copy()
    locked[5] = BASE.ask[5]
    frames = {0: frozen(), 30: frozen()} | {locked_at: frozen(bid=locked.tolist())}
    feed.send(0, **frames[0])
    row = feed.send(30, spot=7700.5, **frames[30]).row
    assert "options_unchanged" not in row.flags


@pytest.mark.parametrize(("missing", "yardstick"), [(0, True), (4, True), (5, False)])
def test_a_frame_with_gaps_is_no_yardstick(missing: int, yardstick: bool) -> None:
    """A tenth of 40 contracts may be missing; a frame of fewer is not remembered for jumps."""
    feed = Feed()
    strikes = [7600.0 + 10 * i for i in range(20)]
    whole = frame(strikes=strikes)
    remembered = feed.send(0, strikes=strikes).state[1]["recent"]
    assert len(remembered) == 1
    columns = {
        name: getattr(whole, name)[missing:].tolist()
        for name in ("strike", "right", "root", "expiry", "open_interest", *OPTIONS)
    }
    columns["last"] = (whole.last[missing:] + 0.05).tolist()
    later = feed.send(30, spot=7700.5, **columns).state[1]["recent"]
    assert len(later) - len(remembered) == yardstick


def test_a_record_that_did_not_remember_what_was_listed() -> None:
    """Records of an earlier release lack that column: their next frame is not held against it."""
    feed = Feed()
    first = feed.send(0)
    columns = {name: c for name, c in first.state[0].items() if name != "listed_before"}
    feed.record = SlotRecord(row=first.row, profile=first.profile, state=(columns, first.state[1]))
    assert len(feed.send(30, spot=7700.5).state[1]["recent"]) == 2


def test_nothing_that_moves_is_no_row() -> None:
    """Neither an option nor the underlying's own time has moved: the feed says nothing new."""
    feed = Feed()
    feed.send(0, underlying=0)
    assert feed.refused(30, underlying=0, **frozen()) is Reason.UNCHANGED


def test_an_index_that_stands_is_replaced_by_parity() -> None:
    """The index's own time stands, the options go on: spot is theirs, and the series goes on."""
    feed = Feed()
    feed.send(0, underlying=0)
    for step in range(1, 8):
        level = 7700.0 + step
        row = feed.send(30 * step, underlying=0, spot=7700.0, forward=level).row
        assert row.flags == ("spot_from_parity",)
        assert row.spot == pytest.approx(level, abs=0.01)
        assert row.source_spot == 7700.0
    row = feed.send(240, underlying=240, spot=7708.0).row
    assert row.flags == ()
    assert row.spot == 7708.0


def test_an_index_far_behind_is_replaced_even_in_the_first_slot() -> None:
    """Two minutes behind its options."""
    row = Feed().send(120, underlying=0, spot=7700.0, forward=7704.0).row
    assert row.flags == ("spot_from_parity", "baseline")
    assert row.spot == pytest.approx(7704.0, abs=0.01)


def test_a_spot_without_a_time_stands_after_three_slots() -> None:
    """The same to the cent while the options have left it by over a basis point."""
    feed = Feed()
    feed.send(0)
    flags = [feed.send(30 * i, spot=7700.0, forward=7700.0 + i).row.flags for i in range(1, 5)]
    assert flags == [("clock_skew",), ("clock_skew",), ("spot_from_parity",), ("spot_from_parity",)]


def test_a_spot_without_a_time_stands_at_once_if_the_options_have_moved_on() -> None:
    """The same to the cent, and the forward is four basis points away from where it was."""
    feed = Feed()
    feed.send(0)
    row = feed.send(30, spot=7700.0, forward=7703.1).row
    assert row.flags == ("spot_from_parity",)
    assert row.spot == pytest.approx(7703.1, abs=0.01)


def test_a_quiet_stock_with_a_basis_keeps_its_spot() -> None:
    """A forward that always lies 3 bp above a stock that does not trade is no freeze."""
    feed = Feed()
    feed.send(0, spot=7700.0, forward=7702.3)
    for i in range(1, 8):
        row = feed.send(30 * i, spot=7700.0, forward=7702.3).row
        assert row.flags == ("clock_skew",)
        assert row.spot == 7700.0


def test_no_spot_at_all_is_parity() -> None:
    """A source without an index price."""
    row = Feed().send(0, spot=NAN, forward=7700.0).row
    assert row.flags == ("spot_from_parity", "baseline")
    assert row.source_spot is None


def quiet(feed: Feed, slots: int = 7) -> int:
    """Slots in which spot goes a dollar up and down, and the volatility 0.001; the next's time."""
    for i in range(slots):
        feed.send(30 * i, spot=7700.0 + i % 2, sigma=0.15 + 0.001 * (i % 2))
    return 30 * slots


def test_a_spot_that_jumps_against_parity_is_a_spike() -> None:
    """11 points in 30 s are over eight of its deviations, and less than a tenth of a percent wide
    of what is called stale; parity is used."""
    feed = Feed()
    start = quiet(feed)
    row = feed.send(start, spot=7712.0, forward=7700.5, sigma=0.15).row
    assert row.flags == ("spot_spike",)
    assert row.spot == pytest.approx(7700.5, abs=0.01)
    assert row.detail.flag_amounts["spot_spike"]["jump"] == pytest.approx(12.0)
    row = feed.send(start + 30, spot=7701.0, sigma=0.151).row
    assert row.flags == ()
    assert doubts_of(feed.record) == []


def test_a_spot_that_stays_where_parity_is_not_is_stale() -> None:
    """Only the first slot is a spike."""
    feed = Feed()
    start = quiet(feed)
    feed.send(start, spot=7730.0, forward=7700.5, sigma=0.15)
    assert feed.record.row.flags == ("spot_spike",)
    feed.send(start + 30, spot=7730.1, forward=7701.0, sigma=0.151)
    assert feed.record.row.flags == ("stale_spot",)


def test_a_spot_that_jumps_with_its_options_is_the_market() -> None:
    """40 points up, and it stays: no flag, no doubt."""
    feed = Feed()
    start = quiet(feed)
    for seconds in (0, 30, 60):
        record = feed.send(start + seconds, spot=7740.0 + seconds / 30, sigma=0.15)
        assert record.row.flags == ()
        assert doubts_of(record) == []


def test_a_spike_that_comes_back_puts_the_row_before_in_doubt() -> None:
    """Spot and options jump together and come back: the earlier row gets the flag."""
    feed = Feed()
    start = quiet(feed)
    spike = feed.send(start, spot=7740.0, sigma=0.15)
    assert spike.row.flags == ()
    after = feed.send(start + 30, spot=7701.0, sigma=0.151)
    assert after.row.flags == ()
    (doubt,) = doubts_of(after)
    assert (doubt.flag, doubt.since) == ("spot_spike", spike.row.quoted_at)
    again = revise(spike, [doubt], after.row.quoted_at)
    assert again.row.flags == ("spot_spike", "revised")
    assert again.row.detail.flag_amounts["revised"] == {"spot_spike": 30.0}
    assert again.row.net_gex == spike.row.net_gex
    # A second time changes nothing, and a row that is measured again keeps what it was given.
    assert revise(again, [doubt], after.row.quoted_at) is again


def test_a_volatility_that_jumps_for_one_slot_is_in_doubt() -> None:
    """0.15, then 0.22 for one slot."""
    feed = Feed()
    start = quiet(feed)
    spike = feed.send(start, spot=7700.0, sigma=0.22)
    assert spike.row.flags == ()
    (doubt,) = doubts_of(feed.send(start + 30, spot=7701.0, sigma=0.151))
    assert (doubt.flag, doubt.since) == ("volatility_spike", spike.row.quoted_at)


@pytest.mark.parametrize("spot", [7700.0, 7704.0, 7696.0])
def test_a_volatility_that_jumps_and_stays_is_news(spot: float) -> None:
    """No flag and no doubt, on a strike and between two."""
    feed = Feed()
    start = quiet(feed)
    for seconds in (0, 30, 60):
        record = feed.send(start + seconds, spot=spot, sigma=0.22 + seconds * 1e-5)
        assert record.row.flags == ()
        assert doubts_of(record) == []


def test_a_volatility_that_one_side_alone_shows_is_flagged_at_once() -> None:
    """At the money the put is quoted at three times its price; calls know nothing of it."""
    feed = Feed()
    start = quiet(feed)
    good = frame(quoted_at=TEN_FOURTEEN + timedelta(seconds=start), spot=7700.2, sigma=0.15)
    columns = {}
    wrong = (good.right < 0) & (np.abs(good.strike - 7700.0) < 15)
    for name in ("bid", "ask"):
        values = getattr(good, name).copy()
        values[wrong] *= 3
        columns[name] = values.tolist()
    row = feed.send(start, spot=7700.2, **columns).row
    assert "volatility_spike" in row.flags


def test_a_row_that_is_measured_again_keeps_later_flags() -> None:
    """Its own chain does not show what a later slot found."""
    feed = Feed()
    start = quiet(feed)
    before = feed.record
    spike = feed.send(start, spot=7740.0, sigma=0.15)
    after = feed.send(start + 30, spot=7701.0, sigma=0.151)
    stored = revise(spike, doubts_of(after), after.row.quoted_at)
    again = remeasure(stored, before, session_on(stored.row.expiration))
    assert again.row == stored.row
    assert again.evidence == stored.evidence
    assert doubts_of(remeasure(after, stored, session_on(after.row.expiration))) == doubts_of(after)


def test_rows_between_a_wrong_rise_and_its_withdrawal_are_in_doubt() -> None:
    """9,950 contracts too many in one frame: it and those after it carried their flow unflagged."""
    feed, n = Feed(), len(BASE.strike)

    def volume(more: float) -> list[float]:
        column = [50.0] * n
        column[10] += more
        return column

    records = [
        feed.send(30 * i, spot=7700.0 + i, volume=volume(more))
        for i, more in enumerate((0, 10, 9950, 9960, 30))
    ]
    assert [record.row.flags for record in records[1:4]] == [(), (), ()]
    assert records[4].row.flags == ("volume_corrected",)
    doubts = doubts_of(records[4])
    said_at = records[4].row.quoted_at
    revised = [revise(record, doubts, said_at).row.flags for record in records]
    corrected = ("volume_corrected", "revised")
    assert revised == [("baseline",), (), corrected, corrected, ("volume_corrected",)]


def test_rows_between_a_fall_and_its_return_are_in_doubt() -> None:
    """A lagging server takes a true rise out; what was measured until it is back was too low."""
    feed, n = Feed(), len(BASE.strike)

    def volume(more: float) -> list[float]:
        return [50.0 + more] + [50.0] * (n - 1)

    records = [
        feed.send(30 * i, spot=7700.0 + i, volume=volume(more))
        for i, more in enumerate((0, 10, 30, 10, 12, 40))
    ]
    assert [record.row.flags for record in records[3:]] == [
        ("volume_corrected",), (), ("volume_recovered",),
    ]  # fmt: skip
    # Of the 28 that are new, 18 may have been held back since the fall: nobody can say.
    amounts = records[5].row.detail.flag_amounts["volume_recovered"]
    assert (amounts["contracts"], amounts["volume"]) == (1, 18.0)
    doubts = doubts_of(records[5])
    revised = [revise(record, doubts, records[5].row.quoted_at).row.flags for record in records]
    assert revised[4] == ("volume_corrected", "revised")
    assert revised[1:3] == [(), ()]


async def played(folder: Path, symbol: str) -> list[SlotRecord | ChainRefused]:
    """What each recorded frame of a symbol makes, in order."""
    source = Recorded(folder)
    session = session_on(market_day(source.newest(symbol)))
    answers: list[SlotRecord | ChainRefused] = []
    record = None
    async for answer in source.history(symbol, session):
        try:
            record = measure_slot(select_chain(answer, session), record, oi_confidence=0.43)
            answers.append(record)
        except ChainRefused as refusal:
            answers.append(refusal)
    return answers


async def test_options_frozen_for_fifteen_minutes(shared) -> None:
    """The stock falls by 1.2 %: no row has a spot of the frozen options."""
    answers = await played(shared / "faults" / "OPRF", "OPRF")
    rows = [answer.row for answer in answers if isinstance(answer, SlotRecord)]
    assert [row.spot for row in rows] == [600.0, 599.76, 599.52]
    assert [("options_unchanged" in row.flags) for row in rows] == [False, True, True]
    reasons = [answer.reason for answer in answers if isinstance(answer, ChainRefused)]
    assert reasons == [Reason.STALE] * 28


NEW_YORK_MIDNIGHT = TEN_FOURTEEN.replace(hour=4, minute=0, second=0)


def unix_time(hours: float) -> float:
    """Unix time of so many hours after midnight in New York, of the base's day."""
    return (NEW_YORK_MIDNIGHT + timedelta(hours=hours)).timestamp()


def with_first(value: float, other: float) -> list[float]:
    """``value`` for the first call, ``other`` for all the rest."""
    return [value] + [other] * (len(BASE.strike) - 1)


def test_yesterdays_volume_is_not_todays() -> None:
    """A vendor shows 900 of yesterday until the contract trades; then the day's count begins at 0."""
    feed, now = Feed(), TEN_FOURTEEN.timestamp()
    row = feed.send(0, volume=with_first(900, 50), last_at=with_first(unix_time(-8.0), now)).row
    assert row.call_volume == 50 * 20
    row = feed.send(
        30, spot=7701.0, volume=with_first(7, 50), last_at=with_first(now + 20, now)
    ).row
    assert row.call_volume == 50 * 20 + 7
    assert row.flags == ()
    # Seven contracts of a call that is 100 points in the money, 100 shares each.
    sigma = feed.record.profile["call_delta"][0] * 7 * 100 * 7701.0
    assert row.hedge_flow_se == pytest.approx(sigma, rel=1e-6)


def test_the_overnight_sessions_volume_is_the_baseline() -> None:
    """What traded at 03:00 is in today's count, and belongs to no slot."""
    feed, now = Feed(), TEN_FOURTEEN.timestamp()
    row = feed.send(0, volume=with_first(900, 50), last_at=with_first(unix_time(3.0), now)).row
    assert row.call_volume == 900 + 50 * 20
    row = feed.send(
        30, spot=7701.0, volume=with_first(903, 50), last_at=with_first(now + 20, now)
    ).row
    assert row.call_volume == 903 + 50 * 20
    sigma = feed.record.profile["call_delta"][0] * 3 * 100 * 7701.0
    assert row.hedge_flow_se == pytest.approx(sigma, rel=1e-6)


@pytest.mark.parametrize(("earlier", "alive"), [(0.0, True), (1.0, False)])
def test_prints_count_from_eight_in_the_evening(earlier: float, alive: bool) -> None:
    """A print after one of 20:00 is life; after one of a second before, it is the day's first."""
    feed, now = Feed(), TEN_FOURTEEN.timestamp()
    feed.send(0, **frozen(last_at=with_first(unix_time(-4.0) - earlier, now)))
    row = feed.send(30, **frozen(last_at=with_first(unix_time(-3.0), now))).row
    assert ("options_unchanged" not in row.flags) == alive


@pytest.mark.parametrize(("earlier", "older"), [(0.0, True), (1.0, False)])
def test_an_older_answer_is_one_of_today(earlier: float, older: bool) -> None:
    """Quotes that differ beside an older print of 20:00 are an older answer; before it, news."""
    feed, now = Feed(), TEN_FOURTEEN.timestamp()
    bids = (BASE.bid + 0.05).tolist()
    feed.send(0, **frozen(bid=bids, last_at=with_first(unix_time(-3.0), now)))
    row = feed.send(30, **frozen(last_at=with_first(unix_time(-4.0) - earlier, now))).row
    assert ("options_unchanged" in row.flags) == older


def test_prints_after_the_close_belong_to_no_slot() -> None:
    """The last frame of the day: 400 of a contract's 450 printed with a trade after 16:00."""
    feed = Feed()
    last = (unix_time(15.99) - TEN_FOURTEEN.timestamp()) // 1
    feed.send(last - 30)
    row = feed.send(
        last,
        spot=7700.5,
        volume=with_first(450, 50),
        last_at=with_first(unix_time(16.1), unix_time(15.98)),
    ).row
    assert row.total_volume == 50 * len(BASE.strike)
    assert row.hedge_flow_se == 0


def test_an_odd_time_of_a_print_at_midday_changes_nothing() -> None:
    """No contract has traded after the close at 10:15: its volume counts."""
    feed = Feed()
    feed.send(0)
    row = feed.send(
        30,
        spot=7700.5,
        volume=with_first(60, 50),
        last_at=with_first(unix_time(16.1), unix_time(10.2)),
    ).row
    assert row.total_volume == 50 * len(BASE.strike) + 10


def test_one_side_that_is_not_listed_counts_nowhere() -> None:
    """A strike whose call is missing for a frame: its put counts, the call waits."""
    feed, n = Feed(), len(BASE.strike)
    feed.send(0)
    before = feed.send(30, spot=7700.5, volume=with_first(60, 50))
    keep = np.arange(n) != 0
    sent_frame = frame(quoted_at=TEN_FOURTEEN + timedelta(seconds=60), spot=7701.0)
    columns = {
        name: getattr(sent_frame, name)[keep].tolist()
        for name in ("strike", "right", "root", "expiry", *OPTIONS, "open_interest")
    }
    row = feed.send(60, spot=7701.0, **columns).row
    assert row.flags == ("contracts_missing",)
    assert row.total_volume == 50 * (n - 1)
    profile = feed.record.profile
    assert (profile["call_volume"][0], profile["call_gex"][0]) == (0, 0)
    assert profile["call_signed"][0] == before.profile["call_signed"][0]
    assert (profile["put_volume"][0], profile["call_oi"][0]) == (50, 0)
    assert row.hedge_flow_cumulative_all == before.row.hedge_flow_cumulative_all
    after = feed.send(90, spot=7701.5, volume=with_first(60, 50))
    assert after.row.total_volume == 50 * n + 10
    assert after.profile["call_signed"][0] == before.profile["call_signed"][0]


def test_a_whole_chain_that_reads_nothing_once_says_what_was_held_back() -> None:
    """A late server: every volume is 0 in one frame at midday, and back in the next."""
    feed, n = Feed(), len(BASE.strike)
    feed.send(0)
    clean = feed.send(30, spot=7700.5, volume=with_first(60, 50)).row
    dip = feed.send(60, spot=7701.0, volume=[0.0] * n).row
    assert dip.flags == ("volume_held",)
    assert dip.detail.flag_amounts["volume_held"] == {
        "contracts": n, "volume": 50 * n + 10, "dollars": 0.0
    }  # fmt: skip
    assert dip.hedge_flow_cumulative_all == clean.hedge_flow_cumulative_all
    assert dip.total_volume == clean.total_volume
    back = feed.send(90, spot=7701.5, volume=with_first(65, 50)).row
    assert back.flags == ("volume_recovered",)
    assert back.detail.flag_amounts["volume_recovered"]["contracts"] == n
    assert back.detail.flag_amounts["volume_recovered"]["volume"] == 50 * n + 10
    assert back.total_volume == 50 * n + 15


@pytest.mark.parametrize(
    ("folder", "symbol", "flags", "calls", "puts"),
    [
        # One call's volume reads 0 in the third frame: in the end as without.
        ("min_dip", "MDIP", ("volume_recovered",), 600_800.0, 0.0),
        ("min_dip", "MCTL", (), 600_800.0, 0.0),
        # Every second strike is missing in the first frame: of its first slot only half is known.
        ("PART", "PART", (), 3_690_684 - 600_111.5, -3_689_315 + 599_888.4),
        ("PCTL", "PCTL", (), 3_690_684, -3_689_315),
        # One strike's volume is null in the first frame: 10 contracts of its first slot are unknown.
        ("seq3", "VNUL", (), 36_906_841 - 300_400, -36_893_158 + 299_600),
        ("seq3", "OIVF", ("no_open_interest",), 36_906_841, -36_893_158),
    ],
)
async def test_volumes_that_are_wrong_for_a_frame(shared, folder, symbol, flags, calls, puts):
    """Hedge flow in the last frame, by the trades that the small inputs were made of."""
    row = (await played(shared / "faults" / folder, symbol))[-1].row
    assert row.flags == flags
    assert row.hedge_flow_call_cumulative == pytest.approx(calls, abs=1.5)
    assert row.hedge_flow_put_cumulative == pytest.approx(puts, abs=1.5)


def test_half_of_the_chain_must_be_comparable() -> None:
    """Most strikes are new in the frame: the few old ones, unchanged, say nothing of those."""
    feed = Feed()
    few = [7680.0, 7690.0, 7700.0, 7710.0, 7720.0]
    feed.send(0, strikes=few)
    assert "options_unchanged" not in feed.send(30, **frozen()).row.flags
    assert "options_unchanged" in feed.send(60, **frozen()).row.flags


@pytest.mark.parametrize(
    ("atm", "jump", "is_jump"),
    [
        # Moves of 1 in 30 s are a deviation of 1.4826, eight of which are 11.86.
        (0.0001, 11.8, False),
        (0.0001, 11.9, True),
        # A volatility of 0.30 is one of 7,700·0.30·√(30/31,536,000) = 2.253: eight are 18.02.
        (0.30, 18.0, False),
        (0.30, 18.1, True),
    ],
)
def test_sigma_of_spot_is_the_larger_of_two(atm: float, jump: float, is_jump: bool) -> None:
    """What the last moves say, and what the volatility says."""
    recent = [RecentSample(30.0 * i, 7700.0 + i % 2, atm) for i in range(7)]
    assert (spot_jump(recent, 7700.0 + jump, 210.0) is not None) == is_jump


def test_a_return_after_a_gap_says_nothing_of_the_row_before_it() -> None:
    """Ten minutes later any price may be back where it was."""
    feed = Feed()
    start = quiet(feed)
    feed.send(start, spot=7740.0, sigma=0.15)
    assert doubts_of(feed.send(start + 600, spot=7701.0, sigma=0.151)) == []


def test_real_minutes_are_not_flagged_for_nothing() -> None:
    """Of 1,122 recorded minutes one has a volatility of 0.44 between minutes of 0.31 and 0.31."""
    flags, doubts, slots = Counter(), [], 0
    for day in LEAN_DAYS:
        record = None
        for recorded in lean_minutes(day):
            session = session_on(market_day(recorded.frame.quoted_at))
            chain = select_chain(recorded.frame, session)
            record = measure_slot(chain, record, oi_confidence=0.43)
            flags.update(record.row.flags)
            moments = [(doubt.flag, doubt.since.isoformat()) for doubt in doubts_of(record)]
            doubts += moments
            slots += 1
    assert slots == 1122
    ours = ("options_unchanged", "spot_from_parity", "spot_spike", "volatility_spike", "stale_spot")
    assert [flags[name] for name in ours] == [0] * 5
    assert doubts == [("volatility_spike", "2021-01-06T16:39:00+00:00")]


def half_live(seconds: float, spot: float, standing: np.ndarray) -> dict[str, list[float]]:
    """Quotes of ``BASE`` where contracts stand, and those of a market at ``spot`` elsewhere."""
    live = frame(spot=spot, quoted_at=TEN_FOURTEEN + timedelta(seconds=seconds))
    return {
        name: np.where(standing, getattr(BASE, name), getattr(live, name)).tolist()
        for name in ("bid", "ask")
    }


CALLS = BASE.right > 0


def test_a_contradiction_lasts_while_its_quotes_stand() -> None:
    """Calls stand while spot goes from 7,700 to 7,704 and back to 7,700.

    In the third slot parity holds again. The calls of the four strikes on each side of the forward
    are still what they were: the row says so, until they move.
    """
    feed = Feed()
    assert "quotes_contradict" not in feed.send(0).row.flags
    away = feed.send(30, spot=7704.0, **half_live(30, 7704.0, CALLS)).row
    assert away.detail.flag_amounts["quotes_contradict"]["worst_dollars"] > 1.0
    back = feed.send(60, **half_live(60, 7700.0, CALLS))
    assert back.row.flags == ("quotes_contradict",)
    assert back.row.detail.flag_amounts == {"quotes_contradict": {"unchanged": 8}}
    assert feed.send(90, **half_live(90, 7700.0, CALLS)).row.flags == ("quotes_contradict",)
    assert feed.send(120).row.flags == ()
    assert feed.send(150, **half_live(150, 7700.0, CALLS)).row.flags == ()


@pytest.mark.parametrize("unchanged", [2, 3])
def test_three_quotes_that_stand_keep_a_contradiction(unchanged: int) -> None:
    """Two of sixteen may be the same by chance."""
    feed = Feed()
    feed.send(0)
    feed.send(30, spot=7704.0, **half_live(30, 7704.0, CALLS))
    few = CALLS & np.isin(BASE.strike, [7690.0, 7700.0, 7710.0][:unchanged])
    row = feed.send(60, **half_live(60, 7700.0, few)).row
    assert row.flags == (("quotes_contradict",) if unchanged == 3 else ())


def test_what_stands_is_read_from_the_evidence() -> None:
    """Measured again from stored bytes the row is the same; evidence without the notes has no
    quotes that stand, as records of an earlier release."""
    feed = Feed()
    feed.send(0)
    away = feed.send(30, spot=7704.0, **half_live(30, 7704.0, CALLS))
    back = feed.send(60, **half_live(60, 7700.0, CALLS))
    stored = [SlotRecord(row=r.row, profile=r.profile, evidence=r.evidence) for r in (away, back)]
    session = session_on(market_day(TEN_FOURTEEN))
    again = remeasure(stored[1], stored[0], session)
    assert again.row == back.row
    assert again.evidence == back.evidence
    columns, notes = away.state
    near = [7670.0, 7680.0, 7690.0, 7700.0, 7710.0, 7720.0, 7730.0, 7740.0]
    # Since 10:14:30, 2,670 s after the open, with spot at 7,700: eight calls, no puts.
    assert notes["standing"] == [[2670.0, 7700.0, near, []]]
    older = {n: v for n, v in notes.items() if n not in {"standing", "contradicted_at"}}
    before = SlotRecord(row=away.row, profile=away.profile, state=(columns, older))
    assert remeasure(stored[1], before, session).row.flags == ()


def test_a_strike_that_is_gone_is_no_quote_that_stands() -> None:
    """Eight calls from 7,670 to 7,740 stood, around a forward of 7,702; five from 7,700 on are left."""
    feed = Feed()
    feed.send(0)
    feed.send(30, spot=7704.0, **half_live(30, 7704.0, CALLS))
    strikes = [7700.0 + 10 * i for i in range(11)]
    quotes = half_live(60, 7700.0, CALLS)
    left = {n: np.array(v)[BASE.strike >= 7700.0].tolist() for n, v in quotes.items()}
    row = feed.send(60, strikes=strikes, **left).row
    assert row.detail.flag_amounts["quotes_contradict"] == {"unchanged": 5}


#: Quotes 2.00 $ wide contradict nothing.
WIDE = {"strikes": [7660.0 + 10 * i for i in range(9)], "half_spread": 1.0}
WIDE_BASE = frame(**WIDE)
STANDING_BLOCKS = {
    "calls": WIDE_BASE.right > 0,
    "puts": WIDE_BASE.right < 0,
    "below": WIDE_BASE.strike < 7700.0,
    "all": np.ones(18, np.bool_),
}


def outrun(block: np.ndarray, *spots: float, last: float, after: int = 90) -> dict | None:
    """What the row says of contradictions after a block has stood while spot went on."""
    feed = Feed()
    feed.send(0, **WIDE)
    for seconds, spot in [*enumerate(spots, 1), (after / 30, last)]:
        live = frame(spot=spot, quoted_at=TEN_FOURTEEN + timedelta(seconds=30 * seconds), **WIDE)
        quotes = {
            name: np.where(block, getattr(WIDE_BASE, name), getattr(live, name)).tolist()
            for name in ("bid", "ask")
        }
        # All have volume, so that the whole chain is not one that stands.
        volume = [50.0 + seconds] * len(block)
        row = feed.send(30 * seconds, spot=spot, volume=volume, **WIDE, **quotes).row
        contradiction = (row.detail.flag_amounts or {}).get("quotes_contradict")
        assert contradiction is None or seconds == after / 30
    return contradiction


@pytest.mark.parametrize("block", STANDING_BLOCKS)
def test_quotes_in_the_money_that_spot_has_outrun(block: str) -> None:
    """Quotes must have moved by half of spot's way: beyond doubt once that is more than their width,
    2.00 $, 0.02 $ and the decay of 90 s.

    5 h 45 min 30 s are left: 20,730 s. One standard deviation of them is
    7,700·0.15·√(20,730 s/1 year) = 29.6 $, so an option at the money is worth 0.4·29.6 = 11.8 $ and
    loses 11.8/2·90/20,730 = 0.026 $ in 90 s. So spot must be away by 2·(2.00 + 0.02 + 0.026) =
    4.09 $. Of the eight strikes around the forward four calls and four puts are in the money. Where
    those below 7,700 stand, the forward is above it, and its four strikes below have 7,700 itself.
    """
    standing, count = STANDING_BLOCKS[block], {"all": 8, "below": 3}.get(block, 4)
    assert outrun(standing, 7701.0, 7703.0, last=7704.2) == {"unchanged": count}
    assert outrun(standing, 7701.0, 7703.0, last=7704.0) is None
    # Two slots are too few.
    assert outrun(standing, 7701.0, last=7704.2, after=60) is None


def shifted(seconds: float, sigma: float, miss: float) -> dict[str, object]:
    """The quotes of a market of this volatility, the call 7,650 so much dearer that its range of
    the forward misses that of the others by ``miss``: their ranges are 0.20 $ wide."""
    live = frame(sigma=sigma, quoted_at=TEN_FOURTEEN + timedelta(seconds=seconds))
    dear = CALLS & (live.strike == 7650.0)
    return {
        name: np.where(dear, getattr(live, name) + miss + 0.2, getattr(live, name)).tolist()
        for name in ("bid", "ask")
    }


@pytest.mark.parametrize(
    ("sigma_before", "seconds", "miss", "contradicts"),
    [
        # √31,536,000 = 5,615.7: at 0.20 two moves of a second are 2·7,700·0.20/5,615.7 = 0.5485 $,
        # with 0.02 $ the limit is 0.5685; at the 0.15 of the slot before it is 0.4314.
        (0.15, 30, 0.42, False),
        (0.15, 30, 0.45, True),
        (0.25, 30, 0.55, False),
        (0.25, 30, 0.59, True),
        # A quarter of an hour later the earlier volatility says nothing.
        (0.15, 900, 0.45, True),
        (0.15, 930, 0.45, False),
        (0.15, 930, 0.59, True),
        # Half of 0.20 is the least: 2·7,700·0.10/5,615.7 + 0.02 = 0.2942.
        (0.05, 30, 0.28, False),
        (0.05, 30, 0.31, True),
    ],
)
def test_quotes_are_judged_by_the_volatility_before_them(
    sigma_before: float, seconds: float, miss: float, contradicts: bool
) -> None:
    """A volatility that rises with wrong quotes does not allow more of them."""
    feed = Feed()
    feed.send(0, sigma=sigma_before)
    row = feed.send(seconds, **shifted(seconds, 0.20, miss)).row
    assert ("quotes_contradict" in row.flags) is contradicts


@pytest.mark.parametrize(
    ("contracts", "seconds", "ahead"), [(3, 21, 21), (2, 21, None), (9, 20, None)]
)
def test_options_that_are_newer_than_their_answer(
    contracts: int, seconds: int, ahead: int | None
) -> None:
    """Three prints over 20 s after the answer's own time: its options are of a later slot."""
    feed = Feed()
    feed.send(0)
    prints = np.full(len(BASE.strike), TEN_FOURTEEN.timestamp() + 30)
    prints[:contracts] += seconds
    prints[0] += 100
    row = feed.send(30, last_at=prints.tolist(), volume=[60.0] * len(prints)).row
    assert row.flags == (() if ahead is None else ("options_ahead",))
    assert (row.detail.flag_amounts or {}) == (
        {} if ahead is None else {"options_ahead": {"seconds": ahead}}
    )
    # Such a sample is no yardstick for the next ones.
    assert len(feed.record.state[1]["recent"]) == (2 if ahead is None else 1)
