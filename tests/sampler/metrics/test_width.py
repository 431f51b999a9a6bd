"""Quotes that are too wide: which are, what they leave uncertain, and how little they count."""

from __future__ import annotations

import lzma
import math
from pathlib import Path

import numpy as np
import pytest
from chains import black

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused
from sampler.measure.market import read_market
from sampler.measure.snapshot import measure_slot
from sampler.metrics.flow import Quote
from sampler.metrics.pin import pin_probability
from sampler.metrics.smile import Smile
from sampler.metrics.width import (
    count_wide_quotes,
    quoted_range,
    weighted_forward,
    weighted_smile,
)
from sampler.sources.recorded import read_chain
from storage.market.calendar import market_day, session_on
from storage.record.row import Row
from tests import real_chains

NAN = float("nan")
STRIKE = np.array([90.0, 95.0, 100.0, 105.0, 110.0])
#: With 10 $ left an option at the money is worth 10/√(2π) = 3.989 $, a fifth of which is 0.798 $.
REMAINING = 10.0


def wide(*halves: float, remaining: float = REMAINING) -> int:
    """How many of half-widths out of the money: two puts, then three calls; in the money 99 $."""
    half = np.full((2, 5), 99.0)
    half[1, :2], half[0, 2:] = halves[:2], halves[2:]
    return count_wide_quotes(STRIKE, half, forward=100.0, remaining=remaining)


def test_wide_by_the_value_at_the_money():
    """A fifth of what an option at the money is worth is the limit, at any strike."""
    assert not wide(0.79, 0.79, 0.79, 0.79, 0.79)
    for place in range(5):
        halves = [0.5] * 5
        halves[place] = 0.81
        assert wide(*halves) == 1
    assert wide(0.81, 0.5, 0.81, 0.5, 0.9) == 3
    # Half of the time to go left by √2 less.
    assert wide(0.6, 0.6, 0.6, 0.6, 0.6, remaining=7.07)


def test_nothing_below_half_a_dollar_is_wide():
    """0.50 $ from bid to ask is never too wide, however little there is left; 0.51 $ is."""
    assert not wide(0.25, 0.25, 0.25, 0.25, 0.25, remaining=0.01)
    assert wide(0.255, 0.25, 0.25, 0.25, 0.25, remaining=0.01)
    assert not wide(NAN, NAN, NAN, NAN, NAN)


def test_wide_beside_its_neighbours():
    """More than eight times the median of the two quotes on each side, within 6 σ."""
    assert not wide(0.05, 0.05, 0.39, 0.05, 0.05)
    assert wide(0.05, 0.05, 0.41, 0.05, 0.05)
    assert wide(0.41, 0.05, 0.05, 0.05, 0.05)
    # Eight times is not more than eight times; all of these are exact in binary.
    assert not wide(0.0625, 0.0625, 0.5, 0.0625, 0.0625)
    assert wide(0.0625, 0.0625, 0.5625, 0.0625, 0.0625)
    # Missing quotes are no neighbours; one neighbour is not enough to say what is usual.
    assert wide(NAN, 0.05, 0.41, NAN, 0.05)
    assert not wide(NAN, 0.05, 0.41, NAN, NAN)
    assert not wide(NAN, NAN, 0.41, NAN, NAN)
    # Beside locked quotes any that is wide enough to be asked about is too wide.
    assert wide(0.0, 0.0, 0.26, 0.0, 0.0)
    # Beside its neighbours only within 6 σ: 10 $ from the forward are 2.5 σ of 4 $, 26 $ are 6.5.
    assert wide(0.3, 0.03, 0.03, 0.03, 0.03, remaining=4.0)
    # 24 $ are 6 σ, which is within.
    for lowest, count in ((74.0, 0), (75.99, 0), (76.0, 1)):
        far = count_wide_quotes(
            np.array([lowest, 80.0, 90.0, 100.0]),
            np.array([[9.0, 9.0, 9.0, 0.03], [0.3, 0.03, 0.03, 9.0]]),
            forward=100.0,
            remaining=4.0,
        )
        assert far == count


def test_uncertainty_is_half_the_difference_of_both_volatilities():
    """Quotes made of 19 % and 22 % are 1.5 points uncertain; one-sided ones are not known."""
    years, strikes = 0.02, [95.0, 100.0, 105.0]
    table = np.array(
        [
            [[black(100.0, k, years, s, call) for k in strikes] for call in (True, False)]
            for s in (0.19, 0.22)
        ]
    )
    bid, ask = table
    uncertainty = quoted_range(np.array(strikes), bid, ask, forward=100.0, years=years).uncertainty
    np.testing.assert_allclose(uncertainty, 0.015, rtol=1e-9)
    bid[1, 0], ask[0, 1] = 0.0, 2e3
    uncertainty = quoted_range(np.array(strikes), bid, ask, forward=100.0, years=years).uncertainty
    assert np.isnan(uncertainty).tolist() == [True, True, False]


def test_weighted_forward_by_hand():
    """Four estimates: two of narrow quotes decide, as their weights 1/w² lie."""
    strike = np.array([100.0, 101.0, 102.0, 103.0])
    gap = np.array([0.1, -0.8, 8.0, -2.9])
    widths = np.array([0.1, 0.1, 10.0, 10.0])
    quoted = Quote(np.stack([gap + 5.0, np.full(4, 5.0)]), np.stack([widths / 4, widths / 4]))
    weighted = weighted_forward(strike, quoted, np.ones((2, 4)), 100.0)
    # By size: 100.1 (w 0.1), 100.1 (10), 100.2 (0.1), 110 (10): weights 100, .01, 100, .01;
    # middles 50, 100.005, 150.01, 200.015 of 200.02: the half is 5e-3/50.005 past the second.
    assert weighted.level == pytest.approx(100.1 + 0.1 * 0.005 / 50.005, abs=1e-12)
    assert weighted.estimates == 4
    # Locked quotes count as if they were a cent wide, four times as much as those of two cents:
    # middles 5,000, 11,250 and 17,500 of 25,000; the half is a fifth of the way past the second.
    widths = np.array([0.0, 0.0, 0.02, 0.02])
    quoted = Quote(quoted.mid, np.stack([widths / 4, widths / 4]))
    weighted = weighted_forward(strike, quoted, np.ones((2, 4)), 100.0)
    assert weighted.level == pytest.approx(100.12, abs=1e-12)
    few = weighted_forward(strike[:2], Quote(quoted.mid[:, :2], quoted.half[:, :2]), gap, 99.0)
    assert few == (99.0, 0.0, 2)


def test_weighted_smile_by_hand():
    """0.3 ± 0.1 between two 0.2 ± 0.01: both conditions of the least squares solved on paper."""
    own = np.array([0.2, 0.3, 0.2])
    fitted = Smile(own, own, np.ones(3, np.bool_))
    smoothed = weighted_smile(STRIKE[:3], fitted, np.array([0.01, 0.1, 0.01]))
    # 45000·a − 5000·b = 8000 and 5200·b − 5000·a = 60.
    a = (8000 + 60 * 5000 / 5200) / (45_000 - 5000 * 5000 / 5200)
    np.testing.assert_allclose(smoothed.filled, [a, (60 + 5000 * a) / 5200, a], rtol=1e-12)
    assert smoothed.own is own


def test_what_is_known_well_stays_and_what_is_not_known_follows():
    """A volatility without any uncertainty of its own lies on its neighbours' line."""
    own = np.array([0.20, 0.22, 0.9, 0.26, 0.28])
    fitted = Smile(own, own, np.ones(5, np.bool_))
    smoothed = weighted_smile(STRIKE, fitted, np.array([1e-4, 1e-4, NAN, 1e-4, 1e-4]))
    np.testing.assert_allclose(smoothed.filled, [0.20, 0.22, 0.24, 0.26, 0.28], atol=1e-6)
    few = weighted_smile(STRIKE, fitted, np.array([1e-4, NAN, NAN, NAN, NAN]))
    assert few is fitted


def reopened(frame: Frame, share: float, seed: int = 3) -> Frame:
    """Bids 0.3 times, asks twice and 3 $ more, of a part of all contracts."""
    dice = np.random.default_rng(seed)
    hit = dice.random(len(frame.strike)) < share
    columns = {
        name: getattr(frame, name)
        for name in ("expiry", "root", "strike", "right", "open_interest", "volume")
    }
    return Frame.of(
        symbol=frame.symbol,
        source="test",
        delay_seconds=0,
        quoted_at=frame.quoted_at,
        fetched_at=frame.fetched_at,
        spot=frame.spot,
        columns=columns
        | {
            "bid": np.where(hit, 0.3 * frame.bid, frame.bid),
            "ask": np.where(hit, 2 * frame.ask + 3, frame.ask),
        },
    )


def row_of(frame: Frame) -> Row:
    """The row of a baseline."""
    session = session_on(market_day(frame.quoted_at))
    return measure_slot(select_chain(frame, session), None, oi_confidence=0.43).row


@pytest.mark.parametrize("seed", range(10))
def test_a_third_of_the_quotes_widened_hardly_moves_the_smile(seed):
    """Volatility at the money stays within 1 %, where mids alone move it by ten times that."""
    frame = real_chains.schwab().frame
    clean, dirty = row_of(frame), row_of(reopened(frame, 0.3, seed))
    assert "wide_quotes" in dirty.flags
    assert "wide_quotes" not in clean.flags
    assert dirty.atm_iv == pytest.approx(clean.atm_iv, rel=0.03)
    assert dirty.forward == pytest.approx(clean.forward, rel=1e-4)
    assert dirty.detail.data_quality_score < clean.detail.data_quality_score


def test_a_reopening_says_so(shared: Path):
    """All bids 0.3 times and asks 2 times + 3: flagged, uncertain, and of low quality."""
    row = row_of(read_chain(shared / "faults/wide_quotes.json"))
    assert "wide_quotes" in row.flags
    # The same chain with its own quotes scores 91; see the worked example of the docs.
    assert row.detail.data_quality_score == 6
    assert row.detail.median_spread_pct > 100
    assert row.detail.flag_amounts == {"wide_quotes": {"quotes": 11}}
    # The true volatility at the money, 14.1 %, lies within what the quotes leave open.
    assert abs(row.atm_iv - 0.141) < row.detail.atm_iv_uncertainty < row.atm_iv
    assert row.detail.pin_probability_noise > 50


@pytest.mark.parametrize("day", real_chains.LEAN_DAYS, ids=str)
def test_no_recorded_minute_is_wide(day):
    """374 real minutes of four contracts: few neighbours, some wide quotes, and none too wide."""
    minutes = list(real_chains.lean_minutes(day))
    assert len(minutes) == 374
    for minute in minutes:
        chain = select_chain(minute.frame, session_on(market_day(minute.quoted_at)))
        assert "wide_quotes" not in read_market(chain).flags, minute.quoted_at


def test_no_recorded_frame_is_wide(shared: Path, tmp_path: Path):
    """At most one of a thousand real frames may say so without a reason: none of the 270 does."""
    paths = [*(shared / "chains").rglob("*.json"), *(shared / "chains-more").rglob("*.json.xz")]
    rows, flagged = 0, []
    for path in paths:
        if path.suffix == ".xz":
            plain = tmp_path / path.stem
            plain.write_bytes(lzma.decompress(path.read_bytes()))
            frame = read_chain(plain)
            plain.unlink()
        else:
            frame = read_chain(path)
        try:
            market = read_market(select_chain(frame, session_on(market_day(frame.quoted_at))))
        except ChainRefused:
            continue
        rows += 1
        flagged += [path.name] if "wide_quotes" in market.flags else []
    assert rows >= 270
    assert len(flagged) <= rows / 1000


#: NDX frames, the pin probability that raw slopes give, and what half the difference of the
#: volatilities at ask and bid of five strikes leaves uncertain: by central differences of the
#: formula, in a program of its own. [%, points]
NDX = {
    "NDX_2026-08-07T101506": (5.97, 17.95),
    "NDX_2026-08-14T101506": (9.23, 22.29),
}


@pytest.mark.parametrize("name", NDX)
def test_pin_noise_of_ndx(shared: Path, tmp_path: Path, name: str):
    """The noise is several times the number itself, and of both books where there is no flow."""
    plain = tmp_path / "chain.json"
    plain.write_bytes(lzma.decompress((shared / f"chains-more/NDX/{name}.json.xz").read_bytes()))
    row = row_of(read_chain(plain))
    probability, noise = NDX[name]
    assert row.pin_probability_pct == pytest.approx(probability, abs=0.005)
    assert row.detail.pin_probability_noise == pytest.approx(noise, abs=0.005)
    assert row.settled.pin_probability_noise == row.detail.pin_probability_noise


def test_pin_noise_is_the_scatter_of_the_probability():
    """Let each volatility err by its uncertainty, 4,000 times: the probability scatters by the noise."""
    strike = np.array([7680.0, 7690.0, 7700.0, 7710.0, 7725.0, 7740.0])
    own = np.array([0.152, 0.151, 0.150, 0.1495, 0.1492, 0.149])
    uncertainty = np.array([2e-4, 3e-4, 1e-4, 2e-4, 4e-4, 1e-4])
    common = {"strike": strike, "atm": 0.15, "forward": 7703.0, "years": 1e-3}
    common |= {"uncertainty": uncertainty, "atm_uncertainty": 1e-3}
    dice = np.random.default_rng(8)
    for magnet in (0, 1, 2, 3, 5):
        noise = pin_probability(magnet, own=own, **common).noise
        drawn = [
            pin_probability(magnet, own=own + uncertainty * dice.normal(size=6), **common).percent
            for _ in range(4000)
        ]
        assert noise == pytest.approx(np.std(drawn), rel=0.05), magnet


def test_pin_noise_without_a_volatility():
    """Lognormal where a strike has none: then the one at the money errs alone; else it is unknown."""
    strike = np.array([7690.0, 7700.0, 7710.0])
    own = np.array([NAN, 0.15, 0.15])
    common = {"strike": strike, "own": own, "atm": 0.15, "forward": 7700.0, "years": 1e-3}

    def chance(sigma: float) -> float:
        total = sigma * math.sqrt(1e-3)
        above = [
            math.erfc(-(math.log(7700.0 / k) / total - total / 2) / math.sqrt(2)) / 2
            for k in (7690.0, 7710.0)
        ]
        return above[0] - above[1]

    noise = pin_probability(1, uncertainty=np.full(3, NAN), atm_uncertainty=0.002, **common).noise
    assert noise == pytest.approx(50 * abs(chance(0.152) - chance(0.148)), rel=1e-3)
    for unknown in (NAN, math.inf):
        blurred = pin_probability(1, uncertainty=own, atm_uncertainty=unknown, **common)
        assert blurred.noise is None
    own = np.array([0.15, 0.15, 0.15])
    common["own"] = own
    uncertainty = np.array([0.01, NAN, 0.01])
    blurred = pin_probability(1, uncertainty=uncertainty, atm_uncertainty=0.01, **common)
    assert blurred.noise is None
