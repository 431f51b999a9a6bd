"""Calibration: closes, counts by hand, intervals; recorded sessions whose closes are known."""

from __future__ import annotations

import json
import lzma
import math
import os
import sys
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import pytest
from chains import TEN_FOURTEEN

from sampler.chain import select_chain
from sampler.history.calibrate import (
    CalibrationScore,
    cadence_of,
    index_close,
    of_one_cadence,
)
from sampler.live.outcome import Outcome
from sampler.live.tick import Tick
from sampler.measure.snapshot import measure_slot
from sampler.sources import open_source
from sampler.sources.recorded import read_chain
from storage.market.calendar import market_day, session_on
from storage.redis.channel import NoChannel
from storage.scorecard.statistics import wilson
from tests import forked

DAY = TEN_FOURTEEN.date()
SESSION = session_on(DAY)
STEP = timedelta(seconds=30)


def row(
    step: int,
    spot: float,
    probability: float | None,
    sd: float | None,
    low=None,
    high=None,
    score=50,
    age=900.0,
):
    """A stored row; the quotes are ``age`` seconds old when fetched."""
    return {
        "slot": SESSION.open + step * STEP,
        "spot": spot,
        "quote_age_seconds": age,
        "pin_probability_pct": probability,
        "pin_score": score,
        "remaining_1sd": sd,
        "detail": {"pin_lower": low, "pin_upper": high},
    }


def write_frame(folder: Path, symbol: str, wall: str, spot: float | None) -> None:
    """A recorded frame of one contract, quoted at a New York time of ``DAY``."""
    option = {"e": 1787169600, "t": "C", "k": 100, "oi": 1, "v": 1, "b": 1, "a": 1.1, "l": 1}
    chain = {
        "sym": symbol,
        "spot": spot,
        "asof": f"{DAY}T{wall}",
        "fetched": f"{DAY}T20:30:00",
        "o": [option],
    }
    name = f"{symbol}_{DAY}T{wall.replace(':', '')}.json"
    (folder / name).write_text(json.dumps(chain))


@pytest.fixture
def hand_made() -> CalibrationScore:
    """Two rows and a close at 101: one pin came true, one did not; one range held, one did not."""
    score = CalibrationScore()
    rows = [
        row(0, 100, 40.0, 2.0, 100, 102),
        row(1, 103, 10.0, 1.0, 102, 104),
        row(778, 101, 90.0, None, 100, 102),
    ]
    assert score.add(SESSION, rows)
    return score


def test_calibration_by_hand(hand_made):
    """Each figure by arithmetic on paper; the last row gives the close and is no forecast."""
    result = hand_made.as_json()
    pin, sigma = result["pin_probability"], result["one_sigma"]
    assert (result["sessions"], pin["rows"]) == (1, 2)
    assert pin["brier"] == pytest.approx((0.6**2 + 0.1**2) / 2)
    assert (pin["mean_foretold_pct"], pin["happened_pct"]) == (25.0, 50.0)
    assert pin["brier_of_base_rate"] == 0.25
    assert [(b["rows"], b["foretold_pct"], b["happened_pct"]) for b in pin["reliability"]] == [
        (1, 10.0, 0.0),
        (1, 40.0, 100.0),
    ]
    assert (sigma["rows"], sigma["within_pct"]) == (2, 50.0)
    assert sigma["expected_pct"] == pytest.approx(68.2689492)
    # Nothing can correlate with a score that is always 50.
    assert pin["pin_score_correlation"] is None


def test_intervals_are_of_sessions(hand_made):
    """Two rows of one session are one answer: half of one, by Wilson's formula on paper.

    z² = 3.8415: (0.5 + 1.9207)/4.8415 ± 1.96·√(0.25 + 0.9604)/4.8415, so 5.5 to 94.5 %.
    """
    pin = hand_made.as_json()["pin_probability"]
    assert pin["happened_low_pct"] == pytest.approx(5.4621, abs=1e-3)
    assert pin["happened_high_pct"] == pytest.approx(94.5379, abs=1e-3)
    assert hand_made.as_json()["one_sigma"]["within_low_pct"] == pin["happened_low_pct"]


def test_wilson_as_published():
    """Newcombe (1998), table I: 81 of 263, 15 of 148 and 0 of 20; ends to four places."""
    for hits, count, ends in (
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
    ):
        assert wilson(hits / count, count) == pytest.approx(ends, abs=5e-5)


def test_a_known_settlement_stands_above_the_last_row():
    """The last row is then a forecast like the others, and a session that ends at noon counts."""
    score = CalibrationScore()
    assert score.add(SESSION, [row(0, 100, 40.0, 2.0, 100, 102)], close=101.0)
    assert score.add(
        session_on(DAY - timedelta(days=1)),
        [row(0, 99, 20.0, 2.0, 100, 102), row(778, 101, 60.0, 0.5, 100, 102)],
        close=103.0,
    )
    result = score.as_json()
    pin = result["pin_probability"]
    assert (result["sessions"], result["closes_of_later_frames"], pin["rows"]) == (2, 2, 3)
    assert pin["happened_pct"] == pytest.approx(100 / 3)
    assert result["one_sigma"]["within_pct"] == pytest.approx(100 / 3)
    # On paper: base 1/3; differences of squares −.36+.4444.. by row; the second day's go together.
    differences = [0.36 - 4 / 9, 0.04 - 1 / 9, 0.36 - 1 / 9]
    mean = sum(differences) / 3
    days = (differences[0] - mean, differences[1] + differences[2] - 2 * mean)
    assert pin["brier_difference_se"] == pytest.approx(math.hypot(*days) / 3)


def test_a_session_without_its_close_does_not_count():
    """A recording that ends at noon says nothing of the settlement."""
    score = CalibrationScore()
    assert not score.add(SESSION, [row(0, 100, 40.0, 2.0), row(300, 101, 40.0, 2.0)])
    assert not score.add(SESSION, [])
    result = score.as_json()
    assert result["pin_probability"]["brier"] is None
    assert (result["sessions"], result["sessions_without_close"]) == (0, 2)


def test_a_row_that_was_fetched_at_night_gives_no_close():
    """A fund's 15:59:59 quotes, fetched 19 hours later, carry the spot of the next morning."""
    score = CalibrationScore()
    rows = [row(0, 100, 40.0, 2.0), row(779, 104, 40.0, None, age=68_844.0)]
    assert not score.add(SESSION, rows)
    assert score.add(SESSION, [rows[0], rows[1] | {"quote_age_seconds": 905.0}])


def test_the_score_beyond_the_probability():
    """Misses of −0.5, 0.5 and 0.5 against scores 10, 20, 30: correlation √3/2 on paper."""
    score = CalibrationScore()
    pins = [(10, 200, 300), (20, 100, 102), (30, 100, 102)]
    rows = [
        row(n, 100, 50.0, None, low, high, score=pin) for n, (pin, low, high) in enumerate(pins)
    ]
    score.add(SESSION, rows, close=101.0)
    correlation = score.as_json()["pin_probability"]["pin_score_correlation"]
    assert correlation == pytest.approx(math.sqrt(3) / 2)


def test_symbols_of_one_day_are_one_session_together():
    """SPX and NDX close together: two symbols do not make two independent days."""
    first, second = CalibrationScore(), CalibrationScore()
    first.add(SESSION, [row(0, 100, 40.0, 2.0, 100, 102)], close=101.0)
    second.add(SESSION, [row(0, 100, 40.0, 2.0, 100, 102)], close=103.0)
    first.merge(second)
    result = first.as_json()
    assert (result["sessions"], result["pin_probability"]["rows"]) == (1, 2)
    assert result["pin_probability"]["happened_pct"] == 50.0


async def test_the_close_of_an_index_is_in_frames_after_it(tmp_path):
    """Of the frames after the close the last one within 20 minutes; a fund has none."""
    for symbol in ("SPX", "SPY"):
        write_frame(tmp_path, symbol, "15:59:59", 7700.0)
        write_frame(tmp_path, symbol, "16:00:10", 7701.5)
        write_frame(tmp_path, symbol, "16:14:59", 7702.25)
        write_frame(tmp_path, symbol, "16:19:00", None)
        write_frame(tmp_path, symbol, "16:20:30", 7709.0)
    (tmp_path / f"SPX_{DAY}T161600.json").write_text("not a chain")
    source = open_source(f"recorded:{tmp_path}")
    assert await index_close(source, "SPX", SESSION) == 7702.25
    assert await index_close(source, "SPY", SESSION) is None
    assert await index_close(source, "SPX", session_on(DAY + timedelta(days=1))) is None


async def test_the_command_reads_closes_from_a_source(store, servers, database, tmp_path):
    """Rows of four minutes have no close of their own; with the frame of 16:14 they are scored."""
    source = open_source("synthetic:?seed=11")
    tick = Tick(source, store, NoChannel(), oi_confidence=0.43, budget=5)
    async for frame in source.history("SPX", SESSION):
        if frame.quoted_at >= SESSION.open + 9 * STEP:
            break
        if frame.quoted_at > SESSION.open:
            await tick.store_frame(frame, Outcome(symbol="SPX"))
    write_frame(tmp_path, "SPX", "16:14:59", 7702.25)
    parts = {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": servers.redis_url}
    command = ["calibrate", "--symbols", "SPX,NDX", "--dataset", "live"]

    def calibrate(*arguments: str) -> str:
        done = forked.run(
            [sys.executable, "-m", "sampler", *command, *arguments],
            env=os.environ | parts,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    without = json.loads(calibrate("--json"))
    assert (without["SPX"]["sessions"], without["SPX"]["sessions_without_close"]) == (0, 1)
    closes = ("--closes", f"recorded:{tmp_path}")
    result = json.loads(calibrate("--json", *closes))
    assert (result["SPX"]["sessions"], result["SPX"]["one_sigma"]["rows"]) == (1, 8)
    assert result["NDX"]["sessions"] == 0
    assert result["together"]["sessions"] == 1
    text = calibrate(*closes)
    assert "SPX: 1 sessions, 8 rows with a pin probability" in text
    assert "NDX: no stored session with a known close" in text


def test_sessions_of_one_cadence_are_scored_together():
    """Three sessions of 30 s, one of 60 s, two of 5 minutes; one of two rows has no cadence."""
    slots = [SESSION.open + k * STEP for k in range(20)]
    assert cadence_of(slots) == 30.0
    # A hole does not make a cadence, nor do two rows.
    assert cadence_of([*slots[:8], *slots[15:]]) == 30.0
    assert cadence_of(slots[::10]) is None
    assert cadence_of(slots[::5]) == 150.0
    assert of_one_cadence([30.0, 300.0, 30.0, 60.0, None, 31.0, 300.0]) == [
        *(True, False, True, False, True, True, False)
    ]
    # As many of each: the shorter one, which knows more.
    assert of_one_cadence([300.0, 30.0]) == [False, True]
    assert of_one_cadence([None, None]) == [True, True]
    assert of_one_cadence([]) == []


@pytest.mark.parametrize(
    ("symbol", "rows", "happened", "foretold", "within"),
    # Frames before the close of days with a frame of 16:14, counted by their names; what happened
    # by a script that reads each frame's bounds and the 16:14 spot.
    [("SPX", 41, 6, 17.0, None), ("NDX", 45, 5, 5.9, None)],
)
def test_recorded_indexes(shared: Path, tmp_path: Path, symbol, rows, happened, foretold, within):
    """An extra: 26 sessions each whose close is known."""
    frames, closes = defaultdict(list), {}
    for path in sorted(shared.glob(f"chains*/{symbol}/*")):
        plain = path
        if path.suffix == ".xz":
            plain = tmp_path / path.stem
            plain.write_bytes(lzma.decompress(path.read_bytes()))
        frame = read_chain(plain)
        day = market_day(frame.quoted_at)
        if frame.quoted_at >= session_on(day).close:
            closes[day] = json.loads(plain.read_text())["spot"]
        else:
            frames[day].append(frame)
    score = CalibrationScore()
    for day, recorded in frames.items():
        session, stored = session_on(day), []
        for frame in recorded:
            measured = measure_slot(select_chain(frame, session), None, oi_confidence=0.43).row
            stored.append({name: getattr(measured, name) for name in row(0, 0, 0, 0)})
            stored[-1]["detail"] = measured.detail.as_json()
        score.add(session, stored, close=closes.get(day))
    result = score.as_json()
    pin = result["pin_probability"]
    assert (result["sessions"], pin["rows"]) == (26, rows)
    assert pin["happened_pct"] == pytest.approx(100 * happened / rows)
    assert pin["mean_foretold_pct"] == pytest.approx(foretold, abs=0.05)
