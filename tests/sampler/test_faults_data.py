"""The folder of small feeds that lie: each input gives its right value, or a reason.

The right values are facts about how the inputs were made: a textbook Black formula at a given
volatility, so many contracts traded in each frame, all of them at the ask.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest

from sampler.chain import select_chain
from sampler.errors import ChainRefused
from sampler.history.backfill import BackfillOptions, backfill_session
from sampler.measure.snapshot import measure_slot
from sampler.sources.recorded import Recorded, read_chain
from storage.market.calendar import market_day, session_on, to_new_york
from storage.record.row import Reason, Row, SlotRecord
from storage.redis.channel import NoChannel
from tests.real_chains import EXTRA

FOLDER = EXTRA / "faults"
#: Hedge flow of one frame of the larger made-up market: ten contracts of 41 strikes on both sides,
#: bought. The call and the put at the money have 300,400 and 299,600 of it. [$]
CALLS, PUTS = 12_302_280.47, -12_297_719.53
CALL_ATM, PUT_ATM = 300_400.0, -299_600.0

Measured = list[Row | ChainRefused]


def played(path: Path, symbol: str) -> Measured:
    """What each file of a symbol makes, in order; of one file, or of a folder's."""
    files = [path] if path.is_file() else sorted(path.glob(f"{symbol}_*.json"))
    outcomes: Measured = []
    record: SlotRecord | None = None
    for file in files:
        try:
            frame = read_chain(file)
            session = session_on(market_day(frame.quoted_at))
            record = measure_slot(select_chain(frame, session), record, oi_confidence=0.43)
            outcomes.append(record.row)
        except ChainRefused as refused:
            outcomes.append(refused)
    return outcomes


def rows(outcomes: Measured) -> list[Row]:
    """The rows, of a feed none of whose frames is refused."""
    assert not [outcome for outcome in outcomes if isinstance(outcome, ChainRefused)]
    return [outcome for outcome in outcomes if isinstance(outcome, Row)]


def flow(row: Row) -> tuple[float, float]:
    """Hedge flow of calls and of puts. [$]"""
    return row.hedge_flow_call_cumulative, row.hedge_flow_put_cumulative


def near(calls: float, puts: float) -> object:
    """Hedge flow to a tenth of a dollar."""
    return pytest.approx((calls, puts), abs=0.1)


def amounts_of(row: Row, flag: str) -> dict[str, float]:
    """What a flag means in numbers."""
    assert flag in row.flags, row.flags
    return (row.detail.flag_amounts or {})[flag]


def dip(outcomes: Measured) -> None:
    """One call's volume is 5000, 5010, 0, 5020: twenty contracts at the ask, as in its control."""
    _, _, dipped, last = rows(outcomes)
    assert amounts_of(dipped, "volume_held") == {"contracts": 1, "volume": 5010, "dollars": 0}
    assert flow(dipped) == near(300_400, 0)
    assert amounts_of(last, "volume_recovered") == {"contracts": 1, "volume": 5010, "dollars": 0}
    assert flow(last) == near(600_800, 0)
    assert last.total_volume == rows(played(FOLDER / "min_dip", "MCTL"))[-1].total_volume


def dip_control(outcomes: Measured) -> None:
    """The same trades without a dip."""
    # Nothing at all changes from the second frame to the third.
    flags = [row.flags for row in rows(outcomes)]
    assert flags == [("baseline",), (), ("options_unchanged",), ()]
    assert flow(rows(outcomes)[-1]) == near(600_800, 0)


def null_volume(outcomes: Measured) -> None:
    """One strike's volume is null in the first frame: of its first ten contracts nothing is known."""
    first, second, third, last = rows(outcomes)
    assert amounts_of(first, "volume_unknown") == {"contracts": 2, "volume": 0}
    assert amounts_of(second, "volume_unknown") == {"contracts": 2, "volume": 2 * 30_010}
    assert flow(second) == near(CALLS - CALL_ATM, PUTS - PUT_ATM)
    assert (third.flags, last.flags) == ((), ())
    assert flow(last) == near(3 * CALLS - CALL_ATM, 3 * PUTS - PUT_ATM)
    assert last.detail.volume_unattributed == 60_020


def no_open_interest(outcomes: Measured) -> None:
    """Open interest 0 in every frame: the flow goes on, and no figure of a position is made up."""
    for number, row in enumerate(rows(outcomes)):
        assert amounts_of(row, "no_open_interest") == {"contracts": 82}
        assert_no_position(row)
        assert flow(row) == near(number * CALLS, number * PUTS)


def assert_no_position(row: Row) -> None:
    """Neither book of a row has a position."""
    assert (row.regime, row.net_gex, row.settled.net_gex, row.pin_score) == ("unknown", 0, 0, 0)
    levels = (row.call_wall, row.put_wall, row.magnet, row.max_pain, row.gamma_flip)
    assert levels == (None,) * 5
    assert row.pin_probability_pct is None


def no_open_interest_at_first(outcomes: Measured) -> None:
    """Open interest 0 in two frames; then 1,000 a contract, and 1,500 of one."""
    made_rows = rows(outcomes)
    for row in made_rows[:2]:
        assert amounts_of(row, "no_open_interest") == {"contracts": 82}
        assert_no_position(row)
    assert [row.total_oi for row in made_rows] == [0, 0, 82_500, 82_500]
    assert "oi_recovered" in made_rows[2].flags
    assert not {"no_open_interest", "oi_partial", "oi_recovered"} & set(made_rows[3].flags)


def every_second_strike(outcomes: Measured) -> None:
    """Strikes listed after the first frame: volume before their listing belongs to no slot."""
    first, second, _, last = rows(outcomes)
    assert (first.strikes, second.strikes) == (21, 41)
    new = amounts_of(second, "volume_unknown")
    assert new["contracts"] == 2 * 20
    control = rows(played(FOLDER / "PCTL", "PCTL"))
    # From the second frame on both see the same trades.
    missed = [a - b for a, b in zip(flow(control[1]), flow(second), strict=True)]
    assert 0 < missed[0] < 1_230_228
    assert -1_229_771 < missed[1] < 0
    assert flow(last) == near(*(a - b for a, b in zip(flow(control[-1]), missed, strict=True)))
    assert last.flags == ()


def every_strike(outcomes: Measured) -> None:
    """The control: one contract in ten of the larger market."""
    assert flow(rows(outcomes)[1]) == near(1_230_228.05, -1_229_771.95)
    assert [row.flags for row in rows(outcomes)] == [("baseline",), (), (), ()]


def frozen_options(outcomes: Measured) -> None:
    """Options stand for fifteen minutes while the stock falls to 592.80: never its old price again."""
    assert [row.spot for row in outcomes if isinstance(row, Row)] == [600.0, 599.76, 599.52]
    standing = [row for row in outcomes[1:3] if isinstance(row, Row)]
    assert ["options_unchanged" in row.flags for row in standing] == [True, True]
    stale = [outcome.reason for outcome in outcomes[3:] if isinstance(outcome, ChainRefused)]
    assert stale == [Reason.STALE] * 28


def alternating_open_interest(outcomes: Measured) -> None:
    """Two days' sets in turn: the first one stands, and each row that was sent the other says so."""
    made_rows = rows(outcomes)
    assert ["oi_changed" in row.flags for row in made_rows] == [False, True] * 3
    assert {row.total_oi for row in made_rows} == {made_rows[0].total_oi}
    settled = [row.settled.net_gex for row in made_rows]
    # All that moves is the time that is left, half a minute of five hours at a time.
    assert max(settled) - min(settled) < 0.01 * abs(settled[0])


def milliseconds(outcomes: Measured) -> None:
    """An expiry in milliseconds: no chain at all."""
    [refused] = outcomes
    assert isinstance(refused, ChainRefused)
    assert refused.reason is Reason.BAD_ANSWER


def one_in_milliseconds(outcomes: Measured) -> None:
    """The second of four frames: refused, and the next one says that it comes after a gap."""
    first, refused, third, last = outcomes
    assert isinstance(refused, ChainRefused)
    assert refused.reason is Reason.BAD_ANSWER
    flags = [row.flags for row in (first, third, last) if isinstance(row, Row)]
    assert flags == [("baseline",), ("after_gap",), ()]
    # Ten contracts of 82 in each half minute.
    volume = [row.total_volume for row in (first, third, last) if isinstance(row, Row)]
    assert volume == [41_000, 42_640, 43_460]


def offset(outcomes: Measured) -> None:
    """13:00 in Chicago, or 18:00 UTC, is 14:00 in New York: the worked example's volatility."""
    [row] = rows(outcomes)
    assert f"{to_new_york(row.quoted_at):%H:%M:%S}" == "14:00:00"
    assert row.quote_age_seconds == 2
    assert row.atm_iv == pytest.approx(0.1410, abs=5e-5)
    assert (row.net_gex, row.pin_score) == (pytest.approx(447_140_386, abs=1), 74)


def live_twin(outcomes: Measured) -> None:
    """A dead twin of each of 22 contracts comes first: the worked example's row."""
    [row] = rows(outcomes)
    assert row.dropped == {"duplicate": 22}
    assert row.net_gex == pytest.approx(447_140_386, abs=1)


def reopening(outcomes: Measured) -> None:
    """Bids 0.3 times, asks 2 times + 3 $: said, and of a lower quality than the worked example."""
    [row] = rows(outcomes)
    assert "wide_quotes" in row.flags
    clean = rows(played(FOLDER / "fetched_naive.json", "SPX"))[0]
    assert row.detail.data_quality_score < 0.1 * clean.detail.data_quality_score
    assert abs(row.atm_iv - 0.1410) < row.detail.atm_iv_uncertainty


def fifth_of_volatility(outcomes: Measured) -> None:
    """Quotes in cents of options that were priced at σ = 0.20, by the time that is left to trade."""
    [row] = rows(outcomes)
    assert row.atm_iv == pytest.approx(0.20, abs=6e-4)
    assert row.flags == ("baseline",)


def decimal_strikes(outcomes: Measured) -> None:
    """Strikes in thousandths: 25 of them in every frame, and none is taken for a new one."""
    made_rows = rows(outcomes)
    assert [row.strikes for row in made_rows] == [25] * 3
    assert [row.total_volume for row in made_rows] == [25_000, 25_500, 26_000]
    assert [row.flags for row in made_rows] == [("baseline",), (), ()]
    # Every print is a mid but one: the put of 102.119 went from 2.17 to 2.16 while ten traded, the
    # last at 2.16. One sixth of the way was left, so a sixth of ten was sold: dealers buy.
    assert flow(made_rows[1]) == (0, 0)
    calls, puts = flow(made_rows[2])
    delta = normal(math.log(102.119 / 100) / deviation(0.6, hours=4.9833))
    assert calls == 0
    assert puts == pytest.approx(10 / 6 * 100 * 100 * delta, rel=0.02)


def normal(x: float) -> float:
    """The normal distribution."""
    return math.erfc(-x / math.sqrt(2)) / 2


def deviation(sigma: float, *, hours: float) -> float:
    """σ·√T."""
    return sigma * math.sqrt(hours / 24 / 365)


def new_strike(outcomes: Measured) -> None:
    """600.5 is listed in the third frame, with 100 traded: these belong to no slot, the next 100 do."""
    made_rows = rows(outcomes)
    assert [row.strikes for row in made_rows] == [41, 41, 42, 42, 42]
    listed = made_rows[2]
    assert amounts_of(listed, "volume_unknown") == {"contracts": 2, "volume": 200}
    assert listed.total_oi == 82_000 + 2_000
    assert flow(listed) == near(2 * CALLS, 2 * PUTS)
    fourth = [a - b for a, b in zip(flow(made_rows[3]), flow(listed), strict=True)]
    # 100 of a call and of a put, whose deltas differ by one: 100 shares each, at 600 $.
    calls, puts = fourth[0] - CALLS, fourth[1] - PUTS
    assert calls - puts == pytest.approx(100 * 100 * 600.0, rel=1e-6)
    assert calls == pytest.approx(0.4 * 100 * 100 * 600.0, rel=0.02)
    assert [row.flags for row in made_rows[3:]] == [(), ()]


def strike_away(outcomes: Measured) -> None:
    """The strike at the money is missing in three frames, and comes back with what it traded."""
    made_rows = rows(outcomes)
    assert [row.strikes for row in made_rows] == [41, 41, 40, 40, 40, 41, 41]
    for number, row in enumerate(made_rows[2:5], 2):
        assert amounts_of(row, "contracts_missing") == {"contracts": 2}
        assert row.total_volume == 80 * (30_000 + 10 * number)
        # Its first ten contracts stay where they were counted.
        calls = number * (CALLS - CALL_ATM) + CALL_ATM
        assert flow(row) == near(calls, number * (PUTS - PUT_ATM) + PUT_ATM)
    back, last = made_rows[5:]
    assert amounts_of(back, "volume_recovered") == {"contracts": 2, "volume": 80, "dollars": 0}
    assert "contracts_missing" not in back.flags
    assert back.total_volume == 82 * 30_050
    # Forty contracts by one print of three unread slots: 40/√3. The quote of 599 has moved a tick,
    # which is 13,000 $ of the two frames.
    calls = 5 * (CALLS - CALL_ATM) + CALL_ATM * (1 + 4 / math.sqrt(3))
    assert flow(back)[0] == pytest.approx(calls, abs=15_000)
    assert flow(last)[0] - flow(back)[0] == pytest.approx(CALLS, abs=15_000)
    assert last.flags == ()


def after_all(outcomes: Measured) -> None:
    """A frame by itself, made at σ = 0.14 with 500 traded and 1,000 open in each of 82 contracts."""
    [row] = rows(outcomes)
    assert row.atm_iv == pytest.approx(0.14, abs=2e-4)
    assert (row.total_volume, row.total_oi, row.flags) == (41_000, 82_000, ("baseline",))


#: Each input by its file or by its folder and symbol → what must hold of it.
RIGHT: dict[str, Callable[[Measured], None]] = {
    "GLD/GLD": fifth_of_volatility,
    "OIFL/OIFL": alternating_open_interest,
    "OIZR/OIZR": no_open_interest_at_first,
    "OPRF/OPRF": frozen_options,
    "PART/PART": every_second_strike,
    "PCTL/PCTL": every_strike,
    "SPY/SPY": fifth_of_volatility,
    "asof_chicago.json": offset,
    "asof_offset_utc.json": offset,
    "dup_dead_first_stock.json": live_twin,
    "expiry_ms.json": milliseconds,
    "fetched_naive.json": offset,
    "min_dip/MCTL": dip_control,
    "min_dip/MDIP": dip,
    "seq3/AFTR": after_all,
    "seq3/KDEC": decimal_strikes,
    "seq3/MSEC": one_in_milliseconds,
    "seq3/NEWK": new_strike,
    "seq3/OIVF": no_open_interest,
    "seq3/VGAP": strike_away,
    "seq3/VNUL": null_volume,
    "wide_quotes.json": reopening,
}


@pytest.mark.parametrize("name", RIGHT)
def test_each_input_gives_its_right_value(shared: Path, name: str) -> None:
    """Equal to what the clean feed gives, or a gap, or flagged with the amounts."""
    path = shared / "faults" / name
    if path.suffix:
        RIGHT[name](played(path, ""))
    else:
        RIGHT[name](played(path.parent, path.name))


def test_every_file_of_the_folder_has_a_test(shared: Path) -> None:
    """A new input without its right value here fails."""
    folder = shared / "faults"
    files = {path.relative_to(folder) for path in folder.rglob("*.json")}
    inputs = {
        str(file) if file.parent == Path() else f"{file.parent}/{file.name.split('_')[0]}"
        for file in files
    }
    assert inputs == RIGHT.keys()


@pytest.mark.parametrize("zone", ["UTC", "America/Chicago", "Asia/Tokyo"])
@pytest.mark.parametrize("name", ["fetched_naive", "asof_chicago", "asof_offset_utc"])
def test_the_machines_zone_changes_no_time(shared: Path, name: str, zone: str) -> None:
    """Quotes of 18:00:00 UTC that were fetched two seconds later, wherever the machine stands."""
    program = (
        "import sys; from pathlib import Path; from sampler.sources.recorded import read_chain;"
        "frame = read_chain(Path(sys.argv[1]));"
        "print(frame.quoted_at.isoformat(), (frame.fetched_at - frame.quoted_at).total_seconds())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(shared / "faults" / f"{name}.json")],
        env=os.environ | {"TZ": zone, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2026-06-10T18:00:00+00:00 2.0\n"


async def test_a_backfill_goes_on_after_an_unreadable_frame(shared: Path, store) -> None:
    """Three rows and one gap ``bad_answer`` at its own slot; the other symbols are filled too."""
    source = Recorded(shared / "faults/seq3")
    newest = source.newest("MSEC")
    assert newest is not None
    session = session_on(market_day(newest))
    for symbol, frames in (("MSEC", 3), ("VGAP", 7)):
        result, _ = await backfill_session(
            source,
            store,
            NoChannel(),
            symbol=symbol,
            session=session,
            options=BackfillOptions(oi_confidence=0.43),
        )
        assert result.written == frames
    gaps = await store.gaps("MSEC", session.day)
    times = [(to_new_york(gap["slot"]).time().isoformat(), gap["reason"]) for gap in gaps]
    assert times == [("11:00:30", "bad_answer")]
    assert await store.gaps("VGAP", session.day) == []


def test_options_in_thousandths_keep_their_strikes(shared: Path) -> None:
    """The strikes of every row are those of its file, to the bit."""
    for file in sorted((shared / "faults/seq3").glob("KDEC_*.json")):
        frame = read_chain(file)
        record = measure_slot(
            select_chain(frame, session_on(market_day(frame.quoted_at))), None, oi_confidence=0.43
        )
        listed = sorted({option["k"] for option in orjson.loads(file.read_bytes())["o"]})
        assert np.array_equal(record.profile["strike"], listed)
        assert frame.fetched_at - frame.quoted_at == timedelta(seconds=2)
