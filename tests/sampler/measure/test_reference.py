"""Our numbers against outsiders': an independent slow program, and a published GEX archive.

``tests/independent.py`` follows docs/definitions.md and shares no code with the product. It answers
for the real chains of tests/data; those without a licence, and what others published of them, lie
beside the checkout and are an extra.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sampler.chain import chain_of_record, select_chain
from sampler.measure.other_expiries import measure_other_expiries
from sampler.measure.snapshot import measure_slot
from sampler.sources.recorded import read_chain
from storage.market.calendar import market_day, session_on
from storage.record.figures import OTHER_EXPIRIES, DetailFigures, SettledFigures
from storage.record.row import PROFILE_ARRAYS, Row, SlotRecord
from tests import independent, real_chains
from tests.real_chains import RealChain

#: Real chains, and expiries of one that are read as if they ended today, so that the smile has
#: many strikes: in the morning, near the close, with a stale spot, with no flip, and with seven.
CHAINS = {
    "volkit": real_chains.volkit,
    "schwab": real_chains.schwab,
    "two_days": lambda: real_chains.volkit().retold("2019-06-28", 10),
    "month": lambda: real_chains.volkit().retold("2019-07-26", 14),
    "near_close": lambda: real_chains.volkit().retold("2019-10-18", 15),
    "no_flip": lambda: real_chains.volkit().retold("2019-10-31", 12),
    "seven_flips": lambda: real_chains.volkit().retold("2019-06-28", 11, seed=6),
}
#: Fields of a row that are no figures: what it is of, where it came from, what was left out.
IDENTITY = {
    "symbol",
    "expiration",
    "slot",
    "quoted_at",
    "fetched_at",
    "source",
    "delay_seconds",
    "definitions",
    "oi_confidence",
    "flow_since",
    "differenced_from",
    "dropped",
    "flags",
    "quote_age_seconds",
    "settled",
    "detail",
}
HEADLINE = [f.name for f in dataclasses.fields(Row) if f.name not in IDENTITY]
DETAIL = [
    f.name
    for f in dataclasses.fields(DetailFigures)
    if f.name not in {"vix", "flag_amounts", "pages_seconds", "projection", *OTHER_EXPIRIES}
]
SETTLED = [f.name for f in dataclasses.fields(SettledFigures)]


def measured(chain: RealChain, previous: SlotRecord | None = None) -> SlotRecord:
    """Our record of a real chain."""
    frame = chain.frame
    session = session_on(chain.quoted_at.date())
    return measure_slot(select_chain(frame, session), previous, oi_confidence=0.43)


@cache
def both(name: str) -> tuple[independent.Answer, SlotRecord]:
    """The independent program's answer for a real chain, and our record of it."""
    chain = CHAINS[name]()
    return independent.answer(chain.sample), measured(chain)


def agree(expected: Any, actual: Any, where: str) -> None:
    """Counts, strikes, scores and words exactly; what was computed to 1e-9 of itself."""
    if dataclasses.is_dataclass(actual):
        actual = {f.name: getattr(actual, f.name) for f in dataclasses.fields(actual)}
    if isinstance(expected, Mapping):
        assert expected.keys() == actual.keys(), where
        for name, value in expected.items():
            agree(value, actual[name], f"{where}.{name}")
    elif isinstance(expected, Sequence) and not isinstance(expected, str):
        assert len(expected) == len(actual), where
        for i, pair in enumerate(zip(expected, actual, strict=True)):
            agree(*pair, f"{where}[{i}]")
    elif isinstance(expected, float) and isinstance(actual, float):
        # The least is far below a cent, and above what doubles lose near 0. Of a noise of 1e-5
        # points a difference quotient knows no more than this.
        least = 1e-11 if where.endswith("pin_probability_noise") else 1e-200
        # The way to the close is a small difference of large sums.
        exact = 1e-7 if "charm_curve" in where else 1e-9
        assert math.isclose(expected, actual, rel_tol=exact, abs_tol=least) or (
            math.isnan(expected) and math.isnan(actual)
        ), f"{where}: {expected!r} is {actual!r} here"
    else:
        assert expected == actual, where


# Real chains that come with the tests


def test_the_independent_program_has_every_figure():
    """No figure of a row is left uncompared: the program computes each by its own code."""
    answer, _ = both("volkit")
    lacking = {*HEADLINE, *DETAIL} - set(answer.figures) | set(SETTLED) - set(answer.settled)
    assert lacking == set(), "tests/independent.py does not compute these"


@pytest.mark.parametrize("field", HEADLINE)
@pytest.mark.parametrize("name", CHAINS)
def test_headline(name, field):
    """Each figure of a row is what the independent program gets."""
    answer, record = both(name)
    agree(answer.figures[field], getattr(record.row, field), field)


@pytest.mark.parametrize("field", SETTLED)
@pytest.mark.parametrize("name", CHAINS)
def test_settled_book(name, field):
    """Each figure of the settled book is what the independent program gets."""
    answer, record = both(name)
    agree(answer.settled[field], getattr(record.row.settled, field), field)


@pytest.mark.parametrize("field", DETAIL)
@pytest.mark.parametrize("name", CHAINS)
def test_detail(name, field):
    """Each figure that a snapshot shows beside the headline is the independent program's."""
    answer, record = both(name)
    agree(answer.figures[field], getattr(record.row.detail, field), field)


@pytest.mark.parametrize("array", PROFILE_ARRAYS)
@pytest.mark.parametrize("name", CHAINS)
def test_profile(name, array):
    """Each array of the profile is the independent program's, strike by strike."""
    answer, record = both(name)
    agree(answer.profile[array], record.profile[array].tolist(), array)


def test_the_chains_have_something_to_say():
    """Flips and none, gaps in the smile, one-sided quotes: the comparison is not of nothings."""
    figures = {name: both(name)[0].figures for name in CHAINS}
    assert {name: f["gamma_flip_status"] for name, f in figures.items()} == {
        "volkit": "insufficient_local_coverage",
        "schwab": "no_boundary",
        "two_days": "available",
        "month": "available",
        "near_close": "available",
        "no_flip": "no_boundary",
        "seven_flips": "available",
    }
    assert len(figures["seven_flips"]["crossings"]) == 7
    assert figures["volkit"]["quotes_unused"]["one_sided"] > 50
    assert figures["two_days"]["strikes_with_iv"] < figures["two_days"]["strikes"] == 269
    assert {f["regime"] for f in figures.values()} == {"positive_gamma", "negative_gamma"}
    assert {f["pin_gamma"] > 0 for f in figures.values()} == {True, False}


@pytest.mark.parametrize("name", CHAINS)
def test_flags(name):
    """Whether spot and parity contradict each other is said as the independent program says it."""
    answer, record = both(name)
    assert [*answer.market.flags, "baseline"] == list(record.row.flags)


@pytest.mark.parametrize("seed", range(20))
def test_crossings_of_many_books(seed):
    """Open interest dealt out at random crosses zero often; each crossing that counts is found."""
    chain = real_chains.volkit().retold("2019-07-01", 13, seed=seed)
    sample = chain.sample
    market = independent.market_of(sample)
    level, status, levels = independent.flip(independent.settled_position(sample), market)
    row = measured(chain).row
    agree(levels, list(row.detail.crossings), "crossings")
    agree(level, row.gamma_flip, "gamma_flip")
    assert status == row.gamma_flip_status


def test_other_expiries():
    """Every expiry's gamma, next week's volatility and the ratio a session, of a whole real chain.

    Seven days on is 2019-07-03, which closes at 13:00.
    """
    chain = real_chains.volkit()
    market = independent.market_of(chain.sample)
    total, week = 0.0, None
    for expiry in sorted({c.expiry for c in chain.contracts}):
        close = datetime.fromisoformat(expiry).replace(
            hour=13 if expiry == "2019-07-03" else 16, tzinfo=real_chains.NEW_YORK
        )
        contracts = [c for c in chain.contracts if c.expiry == expiry]
        sample = chain.sample_of(contracts, close)
        gex, atm = independent.expiry_gex_and_iv(sample, market.spot)
        total += gex
        if expiry == "2019-07-03":
            week = sample, atm
    rest = chain.sample.seconds_left / chain.sample.session_seconds
    # 27 and 28 June, 1 to 3 July.
    ratio = independent.volatility_of_a_session(
        market.atm, market.years, rest
    ) / independent.volatility_of_a_session(week[1], week[0].years, rest + 5)
    ours = measure_other_expiries(
        chain.frame,
        session_on(chain.quoted_at.date()),
        spot=market.spot,
        atm=market.atm,
        years=market.years,
    )
    agree(total, ours.total_chain_net_gex, "total_chain_net_gex")
    agree(week[1], ours.seven_dte_atm_iv, "seven_dte_atm_iv")
    agree(ratio, ours.iv_ratio_0dte_7dte, "iv_ratio_0dte_7dte")


# Flow


def go_on(chains: Sequence[RealChain]) -> tuple[independent.Flow, SlotRecord]:
    """Both programs go from sample to sample; after each, every figure is compared."""
    flow, record = independent.Flow(), None
    for chain in chains:
        answer, record = independent.answer(chain.sample, flow), measured(chain, record)
        for field in HEADLINE:
            agree(answer.figures[field], getattr(record.row, field), f"{chain.name} {field}")
        for field in DETAIL:
            agree(answer.figures[field], getattr(record.row.detail, field), f"{chain.name} {field}")
        for array in PROFILE_ARRAYS:
            agree(answer.profile[array], record.profile[array].tolist(), f"{chain.name} {array}")
    return flow, record


@pytest.mark.parametrize("day", real_chains.LEAN_DAYS, ids=str)
def test_hedge_flow_of_real_minutes(day):
    """374 minutes of four real contracts: signed volume, hedge flow and the live book after each."""
    minutes = list(real_chains.lean_minutes(day))
    flow, record = go_on(minutes)
    assert record.row.total_volume > 30_000
    assert len(flow.bought) == 4
    assert all(flow.bought.values())
    assert abs(record.row.hedge_flow_cumulative_all) > 1e8


def moved(chain: RealChain, number: int, dice: random.Random) -> RealChain:
    """A made-up next sample of a real chain: quotes drift and fail, prints come and are missing."""
    seconds = dice.choice([30, 30, 30, 60, 90, 91, 150])
    moment = chain.quoted_at + real_chains.timedelta(seconds=seconds)
    drift = dice.gauss(0, 1.5)
    contracts = []
    for c in chain.contracts:
        shift = round(c.right * drift / 2, 2)
        bid, ask = max(c.bid + shift, 0.0), max(c.ask + shift, 0.05)
        kind = dice.random()
        if kind < 0.05:
            bid = ask
        elif kind < 0.1:
            bid, ask = ask + 0.1, bid
        elif kind < 0.15:
            bid = 0.0
        elif kind < 0.2:
            bid, ask = math.nan, math.nan
        volume = c.volume
        kind = dice.random()
        if kind < 0.6:
            volume += dice.choice([1, 2, 3, 10, 250])
        elif kind < 0.65:
            volume = math.nan
        last = (
            math.nan if dice.random() < 0.2 else round((c.bid + c.ask) / 2 + dice.gauss(0, 0.3), 2)
        )
        last_at = (
            math.nan if dice.random() < 0.4 else moment.timestamp() - dice.uniform(-5, seconds + 5)
        )
        contracts.append(c._replace(bid=bid, ask=ask, volume=volume, last=last, last_at=last_at))
    return dataclasses.replace(
        chain,
        name=f"{chain.name} +{number}",
        quoted_at=moment,
        spot=round(chain.spot + drift, 2),
        contracts=contracts,
    )


@pytest.mark.parametrize("seed", range(12))
def test_hedge_flow_of_made_up_samples(seed):
    """Missing quotes and prints, crossed and locked markets, samples too far apart."""
    dice = random.Random(seed)
    chain = real_chains.schwab()
    chains = [chain]
    marks = {(c.strike, c.right): c.volume for c in chain.contracts}
    for number in range(6):
        # From the real quotes each time, so that nothing wears out; volumes go on.
        step = moved(dataclasses.replace(chain, quoted_at=chains[-1].quoted_at), number, dice)
        contracts = []
        for c, old in zip(step.contracts, chain.contracts, strict=True):
            volume = c.volume - old.volume + marks[c.strike, c.right]
            contracts.append(c._replace(volume=volume))
            if not math.isnan(volume):
                marks[c.strike, c.right] = volume
        chains.append(dataclasses.replace(step, contracts=contracts))
    go_on(chains)


@pytest.mark.parametrize("seed", range(6))
def test_multi_leg_share_of_made_up_samples(seed):
    """Legs of spreads that grow, stay, fall, exceed what traded and are unknown; a strike may go."""
    dice = random.Random(seed)
    whole = real_chains.schwab()
    contracts = [c._replace(multi_leg=dice.choice([0.0, 7.0, math.nan])) for c in whole.contracts]
    chains = []
    for step in range(8):
        missing = dice.choice([None, None, whole.contracts[dice.randrange(20)].strike])
        listed = [c for c in contracts if c.strike != missing]
        moment = whole.quoted_at + step * real_chains.timedelta(seconds=30)
        chains.append(
            dataclasses.replace(whole, name=f"{step}", quoted_at=moment, contracts=listed)
        )
        contracts = [
            c._replace(
                volume=c.volume + dice.choice([0, 1, 20]),
                multi_leg=dice.choice(
                    [
                        math.nan,
                        dice.randrange(8),
                        *[np.nan_to_num(c.multi_leg) + dice.choice([0, 1, 15, 25])] * 4,
                    ]
                ),
            )
            for c in contracts
        ]
    flow, record, shares = independent.Flow(), None, set()
    for chain in chains:
        answer, record = independent.answer(chain.sample, flow), measured(chain, record)
        share = record.row.detail.multi_leg_share
        agree(answer.figures["multi_leg_share"], share, f"{chain.name} share")
        shares.add(share)
    assert any(share is not None and 0 < share < 1 for share in shares)
    again = chain_of_record(record, session_on(whole.quoted_at.date()))
    sent = select_chain(chains[-1].frame, session_on(whole.quoted_at.date()))
    np.testing.assert_array_equal(again.multi_leg_volume, sent.multi_leg_volume)


def test_a_source_without_legs_has_no_share():
    """The figure is null, and neither chain nor evidence has a column of nothing."""
    whole = real_chains.schwab()
    later = dataclasses.replace(
        whole,
        quoted_at=whole.quoted_at + real_chains.timedelta(seconds=30),
        contracts=[c._replace(volume=c.volume + 5) for c in whole.contracts],
    )
    _, record = go_on([whole, later])
    assert record.row.detail.multi_leg_share is None
    assert "multi_leg_volume" not in record.state[0]
    assert chain_of_record(record, session_on(whole.quoted_at.date())).multi_leg_volume is None


def widened(chain: RealChain, share: float, seed: int) -> RealChain:
    """A real chain as at a reopening: bids 0.3 times, asks twice and 3 $ more, of a part of them."""
    dice = random.Random(seed)
    contracts = [
        c._replace(bid=0.3 * c.bid, ask=2 * c.ask + 3) if dice.random() < share else c
        for c in chain.contracts
    ]
    return dataclasses.replace(chain, name=f"{chain.name} wide {share}", contracts=contracts)


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("name", CHAINS)
def test_wide_quotes(name, share):
    """Where quotes are too wide parity and smile weigh them, as the independent program does."""
    chain = widened(CHAINS[name](), share, seed=5)
    answer, record = independent.answer(chain.sample), measured(chain)
    assert "wide_quotes" in record.row.flags
    assert [*answer.market.flags, "baseline"] == list(record.row.flags)
    for field in HEADLINE:
        agree(answer.figures[field], getattr(record.row, field), field)
    for field in SETTLED:
        agree(answer.settled[field], getattr(record.row.settled, field), field)
    for field in DETAIL:
        agree(answer.figures[field], getattr(record.row.detail, field), field)
    for array in PROFILE_ARRAYS:
        agree(answer.profile[array], record.profile[array].tolist(), array)


def test_hedge_flow_goes_on_after_a_strike_was_not_listed():
    """A strike that is missing from two samples counts nowhere in them, and then goes on."""
    whole = real_chains.schwab()
    chains = [whole]
    for step, missing in enumerate([None, 5850, 5850, None, 5820], 1):
        contracts = [
            c._replace(volume=c.volume + step * (10 + i))
            for i, c in enumerate(whole.contracts)
            if c.strike != missing
        ]
        moment = whole.quoted_at + step * real_chains.timedelta(seconds=30)
        chains.append(
            dataclasses.replace(whole, name=f"{step}", quoted_at=moment, contracts=contracts)
        )
    go_on(chains)


# Extras: chains without a licence, and what others published of them


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
    snapshots = [json.loads(line) for line in lines]
    return [(w, row_of(shared / "chains" / w["file"][:3] / w["file"])) for w in snapshots]


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
        "pin_probability_pct",
    ],
)
def test_figures_agree_to_ten_digits(witnessed, name):
    """Figures that both programs define alike agree to 1e-10."""
    theirs = np.array([w[name] for w, _ in witnessed])
    ours = np.array([getattr(row, name) for _, row in witnessed])
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


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


@pytest.mark.parametrize("component", ["oi", "proximity", "time", "gamma"])
def test_parts_of_the_pin_score_agree(witnessed, component):
    """Each part of the score is the slow program's."""
    theirs = [w["pin_parts"][component] for w, _ in witnessed]
    ours = [getattr(row, f"pin_{component}") for _, row in witnessed]
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
    index = {strike: i for i, strike in enumerate(record.profile["strike"])}
    with (shared / "spx-gex-archive/profile/2026-08-19_1030.csv").open() as file:
        head = file.readline()
        rows = [r for r in csv.DictReader(file) if float(r["strike"]) in index]
    assert len(rows) == 61
    for theirs, ours in (
        ("coi", "call_oi"),
        ("poi", "put_oi"),
        ("cvol", "call_volume"),
        ("pvol", "put_volume"),
    ):
        expected = [float(r[theirs]) for r in rows]
        actual = [record.profile[ours][index[float(r["strike"])]] for r in rows]
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
