"""Our numbers against outsiders': a slow independent program, and a published GEX archive."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from sampler.chain import select_chain
from sampler.measure.snapshot import measure_slot
from sampler.sources.recorded import read_chain
from storage.market.calendar import market_day, session_on
from storage.record.row import Row


def row_of(path: Path) -> Row:
    """The first sample of a recorded file."""
    return record_of(path).row


def record_of(path: Path):
    frame = read_chain(path)
    chain = select_chain(frame, session_on(market_day(frame.quoted_at)))
    return measure_slot(chain, None, oi_confidence=0.43)


@pytest.fixture(scope="module")
def witnessed(shared: Path) -> list[tuple[dict, Row]]:
    """Each frame of the slow program with our row of it."""
    lines = (shared / "reference/snapshots.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [(w, row_of(shared / "chains" / w["file"][:3] / w["file"])) for w in found]


def test_there_are_twenty_frames(witnessed):
    """The comparison below is not empty."""
    assert len(witnessed) == 20


@pytest.mark.parametrize(
    "name",
    ["contracts", "total_oi", "call_wall", "put_wall", "magnet", "max_pain", "pin_score"],
)
def test_counts_strikes_and_score_are_equal(witnessed, name):
    """What is a count, a strike or a score is exactly the slow program's."""
    assert [w[name] for w, _ in witnessed] == [getattr(row, name) for _, row in witnessed]


@pytest.mark.parametrize(
    "name",
    [
        "forward",
        "atm_iv",
        "remaining_1sd",
        "net_dex",
        "dealer_delta",
        "net_vex",
        "net_chex",
        "charm_dollars_per_hour",
        "pin_probability_pct",
    ],
)
def test_figures_agree_to_ten_digits(witnessed, name):
    """Figures that both programs define alike agree to 1e-10; charm, a small difference of large
    sums, to 1e-8."""
    theirs = np.array([w[name] for w, _ in witnessed])
    ours = np.array([getattr(row, name) for _, row in witnessed])
    exact = 1e-8 if name.startswith("charm") else 1e-10
    np.testing.assert_allclose(ours, theirs, rtol=exact)


@pytest.mark.parametrize("name", ["net_gex", "call_gex", "put_gex", "gross_gex", "magnet_gex"])
def test_gamma_exposure_agrees_up_to_its_convention(witnessed, name):
    """The slow program takes gamma per $ of forward, we per $ of spot: F/S apart, no more."""
    theirs = np.array([w[name] * w["forward"] / w["spot"] for w, _ in witnessed])
    ours = np.array([getattr(row, name) for _, row in witnessed])
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_flips_agree(witnessed):
    """The flip is the slow program's to 1e-8 of its level."""
    theirs = [w["gamma_flip"] for w, _ in witnessed]
    ours = [row.gamma_flip for _, row in witnessed]
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)


@pytest.mark.parametrize("part", ["oi", "proximity", "time", "gamma"])
def test_parts_of_the_pin_score_agree(witnessed, part):
    """Each part of the score is the slow program's."""
    theirs = [w["pin_parts"][part] for w, _ in witnessed]
    ours = [getattr(row, f"pin_{part}") for _, row in witnessed]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_published_sums_of_the_same_frame(shared):
    """SPX 2026-08-19 10:14:21: within 1 % of what an independent archive published."""
    row = row_of(shared / "chains/SPX/SPX_2026-08-19T101421.json")
    assert row.net_gex == pytest.approx(-7.324e9, rel=0.01)
    assert row.call_gex == pytest.approx(20.73e9, rel=0.01)
    assert row.put_gex == pytest.approx(-28.05e9, rel=0.01)
    assert (row.magnet, row.call_wall) == (7720, 7725)
    assert row.atm_iv == pytest.approx(0.1474, abs=0.0005)
    assert row.gamma_flip == pytest.approx(7725, abs=3)


def test_published_profile_of_the_same_frame(shared):
    """Per strike, open interest and volume equal the archive's; its peak strike is our magnet."""
    record = record_of(shared / "chains/SPX/SPX_2026-08-19T101421.json")
    at = {strike: i for i, strike in enumerate(record.profile["strike"])}
    with (shared / "spx-gex-archive/profile/2026-08-19_1030.csv").open() as file:
        head = file.readline()
        rows = [r for r in csv.DictReader(file) if float(r["strike"]) in at]
    assert len(rows) == 61
    for theirs, ours in (
        ("coi", "call_oi"),
        ("poi", "put_oi"),
        ("cvol", "call_volume"),
        ("pvol", "put_volume"),
    ):
        expected = [float(r[theirs]) for r in rows]
        actual = [record.profile[ours][at[float(r["strike"])]] for r in rows]
        assert expected == actual
    assert f"peak={record.row.magnet:.1f} " in head


def test_third_friday_counts_the_pm_settled_book_only(shared):
    """2026-07-17: 763,962 contracts of open interest, not 3,374,967 with the AM-settled twins."""
    for name in ("SPX_2026-07-17T103256", "SPX_2026-07-17T143232"):
        row = row_of(shared / f"chains/SPX/{name}.json")
        assert row.total_oi == 763_962
        assert row.contracts == 944
        assert row.dropped == {"am_settled": 1048}


@pytest.mark.parametrize("symbol", ["SPY", "QQQ"])
def test_spot_and_options_disagree_at_the_close(shared, symbol):
    """At 15:59:59 of 2026-08-19 spot and parity are apart, and the row says so."""
    row = row_of(shared / f"chains/{symbol}/{symbol}_2026-08-19T155959.json")
    assert row.slot.isoformat() == "2026-08-19T19:59:30+00:00"
    assert {"stale_spot", "clock_skew"} & set(row.flags)
