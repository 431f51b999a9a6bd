"""A chain from streamed events: what counts, what is unknown after a cut, prints and their undoing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from sampler.errors import ChainRefused
from sampler.sources.assembler import ChainAssembler, StreamedContract
from sampler.sources.sides import StreamedPrints
from sampler.sources.trades import KEPT_PRINTS, PrintKind
from storage.market.calendar import session_on
from storage.record.row import Reason

DAY = date(2026, 8, 19)
SESSION = session_on(DAY)
OPEN = SESSION.open.timestamp()
NOW = SESSION.open + timedelta(hours=1)
AT = NOW.timestamp()
NAMES = [".SPXW260819C7700", ".SPXW260819P7700", ".SPXW260819C7705"]
CONTRACTS = {
    name: StreamedContract("SPXW", DAY, float(name[-4:]), 1 if "C" in name else -1)
    for name in NAMES
}


def table(connected: float = OPEN - 60) -> ChainAssembler:
    assembler = ChainAssembler("SPX", SESSION, source="dxlink", delay_seconds=0)
    assert assembler.list_contracts(CONTRACTS, adjusted=2) == 0
    assembler.begin_connection(connected)
    return assembler


def quote(
    assembler: ChainAssembler, *contracts: int, bid=7.0, ask=7.2, moment=AT, arrived=AT + 0.5
) -> None:
    n = len(contracts)
    assembler.add_quotes(
        np.array(contracts), bid=np.full(n, bid), ask=np.full(n, ask), moment=np.full(n, moment),
        arrived=arrived,
    )  # fmt: skip


def trade(
    assembler: ChainAssembler, contract: int, *, price=7.1, moment=AT - 5, volume=100.0
) -> None:
    assembler.add_trades(
        np.array([contract]), price=np.array([price]), moment=np.array([moment]),
        volume=np.array([volume]),
    )  # fmt: skip


def print_(assembler: ChainAssembler, *reports: dict[str, Any]) -> None:
    plain = {
        "contract": 0, "index": None, "moment": AT - 10, "price": 7.2, "size": 10.0, "bid": 7.0,
        "ask": 7.2, "side": np.nan, "kind": PrintKind.SIDED, "undoes": False, "reports": True,
    }  # fmt: skip
    rows = [plain | report for report in reports]
    columns = {name: np.array([row[name] for row in rows]) for name in plain if name != "index"}
    assembler.add_prints(StreamedPrints(index=[row["index"] for row in rows], **columns))


def test_the_last_event_of_each_contract_counts() -> None:
    """Two quotes of one contract in one batch: the later one; others are as they were sent."""
    assembler = table()
    quote(assembler, 0, 1)
    assembler.add_quotes(
        np.array([0, 0]), bid=np.array([8.0, 9.0]), ask=np.array([8.2, 9.2]),
        moment=np.array([AT + 1, AT + 2]), arrived=AT + 3,
    )  # fmt: skip
    trade(assembler, 0, volume=5120.0)
    assembler.add_open_interest(np.array([0, 1]), np.array([310.0, np.nan]))
    assembler.add_underlying(7702.5, AT - 1)
    frame = assembler.frame(NOW + timedelta(seconds=3))
    assert frame.bid[:2].tolist() == [9.0, 7.0]
    assert frame.ask[:2].tolist() == [9.2, 7.2]
    assert frame.quoted_at == NOW + timedelta(seconds=2)
    assert (frame.volume[0], frame.last[0], frame.last_at[0]) == (5120.0, 7.1, AT - 5)
    assert frame.open_interest[0] == 310.0
    assert np.isnan(frame.open_interest[1])
    assert (frame.spot, frame.underlying_at) == (7702.5, NOW - timedelta(seconds=1))
    assert frame.dropped == {"adjusted": 2}
    assert (frame.strike.tolist(), frame.right.tolist()) == ([7700.0, 7700.0, 7705.0], [1, -1, 1])


def test_nothing_sent_is_unknown_and_no_trade_is_none() -> None:
    """A contract without a quote has no volume; one with a quote that never traded has traded 0."""
    assembler = table()
    quote(assembler, 0)
    frame = assembler.frame(NOW)
    assert frame.volume[0] == 0.0
    assert np.isnan(frame.volume[1:]).all()
    assert np.isnan(frame.bid[1:]).all()


def test_after_a_cut_what_was_sent_before_is_unknown() -> None:
    """Quote, volume, last trade and spot go; open interest stays; volume is not 0 but unknown."""
    assembler = table()
    quote(assembler, 0, 1)
    trade(assembler, 0)
    trade(assembler, 1)
    assembler.add_open_interest(np.array([0, 1]), np.array([310.0, 20.0]))
    assembler.add_underlying(7702.5, AT)
    assembler.begin_connection(AT + 5)
    with pytest.raises(ChainRefused, match="SPX: dxlink has sent no quote since") as caught:
        assembler.frame(NOW)
    assert caught.value.reason is Reason.SOURCE_DOWN
    quote(assembler, 0, moment=AT + 6)
    frame = assembler.frame(NOW)
    assert frame.bid[0] == 7.0
    for name in ("volume", "last", "last_at"):
        assert np.isnan(getattr(frame, name)).all(), name
    assert np.isnan(frame.bid[1])
    assert np.isnan(frame.spot)
    assert frame.open_interest[:2].tolist() == [310.0, 20.0]


def test_times_that_are_not_said_or_cannot_be() -> None:
    """A quote without a time, or from the future, counts as of its arrival."""
    for moment in (0.0, np.nan, AT + 3600):
        assembler = table()
        quote(assembler, 0, moment=moment, arrived=AT + 2)
        assert assembler.frame(NOW).quoted_at == NOW + timedelta(seconds=2), moment


def test_trades_of_another_day_are_none_of_today() -> None:
    """Yesterday afternoon: no last trade and volume 0; yesterday night: its volume is today's."""
    afternoon = datetime(2026, 8, 18, 19, tzinfo=UTC).timestamp()
    night = datetime(2026, 8, 19, 1, tzinfo=UTC).timestamp()
    for moment, volume in ((afternoon, 0.0), (night, 100.0)):
        assembler = table()
        quote(assembler, 0)
        trade(assembler, 0, moment=moment)
        frame = assembler.frame(NOW)
        assert frame.volume[0] == volume
        assert np.isnan([frame.last[0], frame.last_at[0]]).all()


def test_sides_by_hand() -> None:
    """Bought 10 on the ask, sold 4 on the bid, 6 as the stream says a buyer's; legs have no side."""
    assembler = table()
    quote(assembler, 0)
    trade(assembler, 0)
    print_(
        assembler,
        {"index": 1},
        {"index": 2, "price": 7.0, "size": 4.0},
        {"index": 3, "price": 7.1, "size": 6.0, "side": 1.0},
        {"index": 4, "size": 30.0, "kind": PrintKind.MULTI_LEG},
        {"index": 5, "size": 7.0, "kind": PrintKind.UNSIDED},
        {"index": 5, "size": 7.0},
    )
    frame = assembler.frame(NOW)
    assert frame.signed_volume[0] == 10 - 4 + 6
    assert frame.multi_leg_volume is not None
    assert frame.multi_leg_volume[0] == 30
    assert assembler.tally.volume[0] == 10 + 4 + 6 + 30 + 7


def test_cancels_and_corrections() -> None:
    """A cancel takes its print back; a correction puts another in its place; strangers do nothing."""
    assembler = table()
    quote(assembler, 0)
    trade(assembler, 0)
    print_(assembler, {"index": 1}, {"index": 2, "size": 3.0})
    print_(assembler, {"index": 1, "price": 0.0, "size": 0.0, "undoes": True, "reports": False})
    print_(assembler, {"index": 2, "size": 5.0, "price": 7.0, "undoes": True})
    print_(assembler, {"index": 99, "size": 50.0, "undoes": True})
    print_(assembler, {"index": 1, "undoes": True, "reports": False})
    assert assembler.tally.volume[0] == 5.0
    assert assembler.frame(NOW).signed_volume[0] == -5.0
    assert (assembler.tally.cancelled, assembler.tally.unmatched) == (2, 2)


def test_a_stream_that_begins_late_tells_sides_from_its_second_frame_on() -> None:
    """31 s after the open some prints are missing, and an earlier process may have counted them."""
    for late, known in ((31, False), (30, True)):
        assembler = table(OPEN + late)
        quote(assembler, 0)
        trade(assembler, 0)
        print_(assembler, {"index": 1})
        first, second = assembler.frame(NOW), assembler.frame(NOW)
        assert np.isfinite(first.signed_volume[0]) == known
        assert np.isfinite(first.multi_leg_volume[0]) == known
        assert second.signed_volume[0] == 10.0


def test_the_slot_of_a_cut_tells_no_sides() -> None:
    """What was missed has a side that nobody knows; the frame after that goes on."""
    assembler = table()
    quote(assembler, 0)
    trade(assembler, 0)
    print_(assembler, {"index": 1})
    assert assembler.frame(NOW).signed_volume[0] == 10.0
    assembler.begin_connection(AT)
    quote(assembler, 0)
    trade(assembler, 0)
    cut, after = assembler.frame(NOW), assembler.frame(NOW)
    assert np.isnan([cut.signed_volume[0], cut.multi_leg_volume[0]]).all()
    assert (after.signed_volume[0], after.multi_leg_volume[0]) == (10.0, 0.0)


def test_after_a_cut_sides_wait_for_a_frame_that_has_the_volume() -> None:
    """A contract without a volume is measured from the frame before: the cut is still in between."""
    assembler = table()
    for contract in (0, 1):
        quote(assembler, contract)
        trade(assembler, contract)
    assembler.frame(NOW)
    assembler.begin_connection(AT)
    quote(assembler, 0)
    trade(assembler, 0)
    assembler.frame(NOW)
    quote(assembler, 1)
    trade(assembler, 1)
    frames = assembler.frame(NOW), assembler.frame(NOW)
    assert [np.isfinite(frame.signed_volume[:2]).tolist() for frame in frames] == [
        [True, False], [True, True],
    ]  # fmt: skip


@pytest.mark.parametrize(("size", "known"), [(49.0, False), (50.0, True)])
def test_a_contract_of_whose_new_volume_few_prints_came_has_no_sides(size, known) -> None:
    """Volume rises by 100; with prints of 49 the stream is not the whole market, with 50 it may be."""
    assembler = table()
    quote(assembler, 0)
    trade(assembler, 0, volume=100.0)
    assembler.frame(NOW)
    print_(assembler, {"index": 1, "size": size})
    trade(assembler, 0, volume=200.0)
    assert np.isfinite(assembler.frame(NOW).signed_volume[0]) == known
    # The next frame begins anew.
    assert assembler.frame(NOW).signed_volume[0] == size


def test_new_strikes_join_and_old_ones_stay() -> None:
    """A listing that has one more contract adds a column; what is known stays."""
    assembler = table()
    quote(assembler, 0)
    more = CONTRACTS | {".SPXW260819P7705": StreamedContract("SPXW", DAY, 7705.0, -1)}
    assert assembler.list_contracts(more, adjusted=2) == 3
    assert assembler.list_contracts(more, adjusted=2) == 4
    quote(assembler, 3, bid=1.0, ask=1.2)
    frame = assembler.frame(NOW)
    assert frame.bid[[0, 3]].tolist() == [7.0, 1.0]
    assert frame.signed_volume.shape == (4,)


def test_memory_of_prints_is_bounded() -> None:
    """Of more prints than are kept, the oldest can no longer be cancelled, the newest can."""
    assembler = table()
    quote(assembler, 0)
    reports = [{"index": i + 1, "size": 1.0} for i in range(KEPT_PRINTS + 10)]
    print_(assembler, *reports)
    assert len(assembler._sides._prints) == KEPT_PRINTS
    print_(assembler, {"index": 1, "undoes": True, "reports": False})
    print_(assembler, {"index": KEPT_PRINTS, "undoes": True, "reports": False})
    assert (assembler.tally.cancelled, assembler.tally.unmatched) == (1, 1)
