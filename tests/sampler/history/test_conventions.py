"""Figures by other conventions: against loops written here, another program, and the command."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from benchmarks.study_levels import RULES, Scene

from sampler.chain import select_chain
from sampler.history.conventions import (
    Convention,
    conventions_document,
    conventions_of,
    distances,
    format_conventions,
)
from sampler.measure.snapshot import measure_slot
from storage.market.calendar import market_day, session_on
from storage.record.row import SlotRecord
from tests import forked, real_chains
from tests.sampler.history.test_explain import DAY, explain, fill


def measured(chain: real_chains.RealChain) -> tuple[SlotRecord, Any, Scene]:
    frame = chain.frame
    session = session_on(market_day(frame.quoted_at))
    assert session is not None
    selected = select_chain(frame, session)
    record = measure_slot(selected, None, oi_confidence=0.43)
    return record, session, Scene(frame, selected)


def chains() -> list[real_chains.RealChain]:
    """The chain of the docs, and later expiries of it read at a quarter past ten."""
    whole = real_chains.volkit()
    later = sorted({contract.expiry for contract in whole.contracts})[1:3]
    return [whole, *(whole.retold(expiry, 10) for expiry in later)]


CHAINS = chains()


def by_name(lines: list[Convention]) -> dict[tuple[str, str], Convention]:
    return {(line.figure, line.name): line for line in lines}


def loops(record: SlotRecord, years: float, position: Any) -> list[float]:
    """GEX of each strike by plain arithmetic. [$ per 1 %]"""
    row, profile = record.row, record.profile
    gex = []
    for strike, sigma, held in zip(profile["strike"], profile["iv"], position, strict=True):
        root = sigma * math.sqrt(years)
        d1 = math.log(row.forward / strike) / root + root / 2
        gamma = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi) / (row.spot * root)
        gex.append(held * gamma * 100 * row.spot**2 / 100)
    return gex


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name)
def test_net_gex(chain: real_chains.RealChain) -> None:
    """Each sum over the strikes again; the settled one is the row's own."""
    record, session, _ = measured(chain)
    profile, row = record.profile, record.row
    lines = by_name(conventions_of(record, session))
    oi = profile["call_oi"] - profile["put_oi"]
    volume = profile["call_volume"] - profile["put_volume"]
    whole = 6.5 * 3600 / 31_536_000
    expected = {
        "live book": row.net_gex,
        "settled open interest": row.settled.net_gex,
        "effective open interest, signs kept": row.settled.net_gex,
        "volume for open interest": row.net_gex_volume,
        "Γ with T fixed at the open": sum(loops(record, whole, oi)),
        "Γ with T of one day": sum(loops(record, 1 / 365, oi)),
        "S, not S²": row.settled.net_gex / row.spot * 100,
        "neither": row.settled.net_gex / row.spot**2 * 100,
    }
    assert {name for figure, name in lines if figure == "net GEX"} == set(expected)
    for name, value in expected.items():
        assert lines["net GEX", name].value == pytest.approx(value, rel=1e-9), name
    assert sum(loops(record, row.years_to_expiry, volume)) == pytest.approx(row.net_gex_volume)


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name)
def test_flips_are_those_of_the_study(chain: real_chains.RealChain) -> None:
    """Another program's rules give the same levels, where it has them."""
    record, session, scene = measured(chain)
    lines = by_name(conventions_of(record, session))
    for name, rule in (
        ("settled, repriced", "ours"),
        ("T of one day", "T fixed at one day"),
        ("strike flip", "first sign change, ±2 %"),
        ("running sum", "running sum"),
    ):
        value, other = lines["gamma flip", name].value, RULES[rule](scene)
        assert value is not None, name
        assert value == pytest.approx(other, abs=0.01), name


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name)
def test_spot_shift_and_running_sum(chain: real_chains.RealChain) -> None:
    """The grid of sixty levels, and the straight line between two sums, by loops."""
    record, session, _ = measured(chain)
    profile, row = record.profile, record.row
    lines = by_name(conventions_of(record, session))
    net = profile["call_oi"] - profile["put_oi"]

    def book(level: float) -> float:
        total = 0.0
        for strike, sigma, held in zip(profile["strike"], profile["iv"], net, strict=True):
            root = sigma * math.sqrt(1 / 262)
            d1 = math.log(level / (strike * row.spot / row.forward)) / root + root / 2
            total += held * math.exp(-d1 * d1 / 2) / root * level
        return total

    levels = [row.spot * (0.8 + 0.4 * step / 59) for step in range(60)]
    assert lines["gamma flip", "spot shift"].value == pytest.approx(
        nearest_zero(levels, [book(level) for level in levels], row.spot), abs=1e-6
    )
    sums, so_far = [], 0.0
    for gex in loops(record, row.years_to_expiry, net):
        so_far += gex
        sums.append(so_far)
    assert lines["gamma flip", "zero of the running sum"].value == pytest.approx(
        nearest_zero(list(profile["strike"]), sums, row.spot), abs=1e-6
    )


def nearest_zero(levels: list[float], values: list[float], spot: float) -> float:
    roots = []
    for step in range(1, len(levels)):
        low, high = values[step - 1], values[step]
        if low * high < 0:
            width = levels[step] - levels[step - 1]
            roots.append(levels[step - 1] + width * low / (low - high))
    return min(roots, key=lambda root: abs(root - spot))


def test_walls() -> None:
    """The strikes that a look at the columns gives."""
    record, session, _ = measured(CHAINS[0])
    profile, row = record.profile, record.row
    lines = by_name(conventions_of(record, session))
    for side, sign in (("call", 1), ("put", -1)):
        figure = f"{side} wall"
        strikes = profile["strike"]
        most = strikes[np.argmax(profile[f"{side}_oi"])]
        net = profile["settled_call_gex"] + profile["settled_put_gex"]
        traded = profile[f"{side}_volume"] * profile["gamma"]
        assert lines[figure, "open interest alone"].value == most
        assert lines[figure, "net GEX by strike"].value == strikes[np.argmax(sign * net)]
        assert lines[figure, "volume"].value == strikes[np.argmax(traded)]
        assert lines[figure, "live book"].value == getattr(row, f"{side}_wall")
    assert lines["put wall", "open interest alone"].value == 2800.0


def test_flow_moves_the_effective_book() -> None:
    """What customers bought counts in the effective book, and no contract falls below zero."""
    record, session, _ = measured(CHAINS[1])
    profile, row = record.profile, record.row
    signed = np.zeros_like(profile["strike"])
    middle = int(np.argmax(profile["call_oi"]))
    signed[middle] = -10 * profile["call_oi"][middle]
    moved = SlotRecord(row=row, profile=profile | {"call_signed": signed})
    lines = by_name(conventions_of(moved, session))
    net = profile["call_oi"] - profile["put_oi"]
    net[middle] = -profile["put_oi"][middle]
    expected = sum(loops(record, row.years_to_expiry, net))
    effective = lines["net GEX", "effective open interest, signs kept"].value
    assert effective == pytest.approx(expected, rel=1e-9)
    assert effective != pytest.approx(lines["net GEX", "settled open interest"].value, rel=1e-3)


def test_distances() -> None:
    """Points for prices, a factor for dollars, nothing for another unit; by hand."""

    def line(
        figure: str, name: str, value: float | None, unit: str, ours: bool = False
    ) -> Convention:
        return Convention(figure, name, "", value, unit, is_ours=ours)

    lines = [
        line("net GEX", "a", -2e9, "$ per 1 %", ours=True),
        line("net GEX", "b", 1e9, "$ per 1 %"),
        line("net GEX", "c", 1e9, "$ per $ 1"),
        line("gamma flip", "live", 7435.0, "$", ours=True),
        line("gamma flip", "other", 7410.5, "$"),
        line("gamma flip", "none", None, "$"),
    ]
    assert distances(lines) == [1.0, -0.5, None, 0.0, -24.5, None]
    lines[3] = replace(lines[3], value=None)
    lines.append(line("gamma flip", "settled, repriced", 7430.5, "$"))
    assert distances(lines)[4:] == [-20.0, None, 0.0]


def test_text_and_data_say_the_same() -> None:
    """Every line of the data is in the text, with its value."""
    record, session, _ = measured(CHAINS[1])
    text, data = format_conventions(record, session), conventions_document(record, session)
    assert len(data["conventions"]) == 26
    assert text.count("(ours)") == sum(line["ours"] for line in data["conventions"]) == 4
    for line in data["conventions"]:
        assert line["formula"] in text
        if line["unit"] == "$" and line["value"] is not None:
            assert f"{line['value']:,.2f}" in text


async def test_the_command(store: Any, servers: Any, database: str) -> None:
    """A stored slot, as a person and as a program reads it; a slot that is not there is said."""
    await fill(store, 6)
    parts = {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": servers.redis_url}
    options = ("--symbol", "spx", "--at", f"{DAY}T09:32:30", "--dataset", "live")
    shown = explain("compare", "--conventions", *options, **parts)
    assert shown.returncode == 0, shown.stderr
    for title in ("net GEX", "gamma flip", "call wall", "put wall"):
        assert f"\n{title}\n" in shown.stdout
    data = json.loads(explain("compare", "--conventions", *options, "--json", **parts).stdout)
    record = await store.before("SPX", DAY, session_on(DAY).close)
    assert data["conventions"][0]["value"] == record.row.net_gex
    without = forked.run(
        [sys.executable, "-m", "sampler", "compare", *options],
        env=os.environ | parts,
        capture_output=True,
        text=True,
        check=False,
    )
    assert without.returncode == 2
    assert "--conventions" in without.stderr
