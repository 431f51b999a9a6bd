"""Explanations: values of the store, sums on paper, and words for every figure and flag."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from api.documents.explain import CHECKS
from api.documents.figure_inputs import FIGURES, INPUTS, LEVEL_PARTS, STRIKE_PARTS, limits_of
from storage.postgres.store import Store
from storage.record.flag_figures import FIGURE_GROUPS
from storage.record.glossary import GLOSSARY
from storage.record.row import PROFILE, Flag
from tests.api.conftest import FLOWING, Caller
from tests.api.rows import record, utc

EXPLAIN = "/v1/explain/"


async def ask(caller: Caller, path: str, status: int = 200) -> Any:
    sent = await caller.get(path)
    assert sent.status_code == status, sent.text
    return sent.json()


def test_names_are_of_the_glossary() -> None:
    """Every name of the tables is one of the glossary, and every flag has a meaning."""
    names = {*INPUTS, *STRIKE_PARTS, *LEVEL_PARTS, *CHECKS}
    names |= {name for listed in INPUTS.values() for name in listed}
    assert names <= set(GLOSSARY)
    arrays = {name for parts in (*STRIKE_PARTS.values(), *LEVEL_PARTS.values()) for name in parts}
    assert arrays <= set(PROFILE)
    assert all(flag.meaning for flag in Flag)
    # What a flag can doubt is a measurement, and a measurement can be misread.
    for name in {name for names in FIGURE_GROUPS.values() for name in names} - {"settled"}:
        assert limits_of(name), name


async def test_a_figure_on_paper(store: Store, open_app: Callable[..., Any]) -> None:
    """Inputs are the stored figures, and the arithmetic on them is that of the definitions."""
    slot = utc("2026-07-06 14:30")
    sample = record(
        slot, symbol="SPX", spot=600.0, forward=600.0, net_gex=3.0e9, call_gex=5.0e9,
        put_gex=-2.0e9, net_gex_se=3.0e9, net_gex_se_measured=1.5e9, gamma_flip=594.0,
        remaining_1sd=3.0, call_wall=610.0, flags=("stale_spot", "after_gap"),
    )  # fmt: skip
    arrays = {"strike": [590.0, 600.0, 610.0], "call_gex": [1e9, 1.5e9, 2.5e9]}
    arrays |= {"put_gex": [-1.5e9, -0.4e9, -0.1e9]}
    assert sample.profile is not None
    sample.profile = {name: np.zeros(3) for name in sample.profile} | {
        name: np.array(values) for name, values in arrays.items()
    }
    await store.write([sample])
    caller = await open_app(store, "2026-07-06 14:31")
    body = await ask(caller, f"{EXPLAIN}SPX?figure=net_gex")
    assert (body["value"], body["unit"], body["formula"]) == (
        3.0e9,
        "$ per 1 %",
        "call_gex + put_gex",
    )
    assert body["check"] == {"expression": "call_gex + put_gex", "value": 3.0e9}
    inputs = {each["name"]: each["value"] for each in body["inputs"]}
    assert (inputs["call_gex"], inputs["put_gex"], inputs["spot"]) == (5.0e9, -2.0e9, 600.0)
    # Net by strike: −0.5, 1.1 and 2.4 bn.
    assert [each["strike"] for each in body["strikes"]] == [610.0, 600.0, 590.0]
    flags = {each["flag"]: each for each in body["flag_meanings"]}
    assert flags["stale_spot"]["meaning"].startswith("the source's spot contradicts parity")
    assert [flags[name]["limits_this"] for name in ("stale_spot", "after_gap")] == [True, True]
    assert body["steps"].endswith("--symbol SPX --at 2026-07-06T14:30:00Z --feed cboe")
    assert body["definition"] == "definitions#figure-net_gex"
    spot = await ask(caller, f"{EXPLAIN}SPX?figure=spot")
    assert [each["limits_this"] for each in spot["flag_meanings"]] == [True, False]

    async def checked(figure: str) -> Any:
        return (await ask(caller, f"{EXPLAIN}SPX?figure={figure}"))["check"]["value"]

    # N(3/1.5) = 0.97725, |594 − 600|/3 = 2, Σ = 5, −2 bn.
    assert math.isclose(await checked("regime_confidence"), 0.977249868052, abs_tol=1e-11)
    assert await checked("distance_to_flip_sigmas") == 2.0
    assert await checked("call_gex") == 5.0e9
    assert await checked("put_gex") == -2.0e9
    assert await checked("call_wall") == 610.0
    assert await checked("put_wall") == 590.0
    assert await checked("magnet") == 610.0
    # A part by strike: 1.5 − 0.4 bn.
    share = await ask(caller, f"{EXPLAIN}SPX?figure=net_gex&strike=600")
    assert (share["strike"], share["value"]) == (600.0, 1.1e9)
    assert share["strikes"][0]["put_gex"] == -0.4e9


async def test_every_figure_of_a_session(flowing: Caller) -> None:
    """Every name is answered; what arithmetic gives again is what is stored."""
    for figure in FIGURES:
        query = "at=2026-11-27T16:00:10Z"
        sent = await flowing.get(f"{EXPLAIN}SPX?figure={figure}&{query}")
        if sent.status_code == 400:
            assert figure in ("strike", *PROFILE), figure
            body = await ask(flowing, f"{EXPLAIN}SPX?figure={figure}&strike=7500&{query}")
            assert body["strikes"][0]["strike"] == 7500.0
            continue
        body = sent.json()
        if body["check"] and isinstance(body["value"], int | float):
            assert math.isclose(body["check"]["value"], body["value"], rel_tol=1e-9), figure
    assert FLOWING == "2026-11-27"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("figure=alpha", "invalid_figure"),
        ("figure=iv", "invalid_strike"),
        ("figure=spot&strike=7500", "invalid_strike"),
        ("figure=net_gex&strike=7501.3", "invalid_strike"),
        ("figure=net_gex&strike=-1", "invalid_strike"),
        ("figure=net_gex&strike=wide", "invalid_strike"),
        ("at=noon", "invalid_at"),
    ],
)
async def test_refusals(flowing: Caller, query: str, error: str) -> None:
    """What cannot be explained is refused by name."""
    assert (await ask(flowing, f"{EXPLAIN}SPX?{query}", 400))["error"] == error


async def test_nothing_stored(flowing: Caller) -> None:
    """A symbol without a sample has nothing to explain."""
    assert (await ask(flowing, f"{EXPLAIN}XYZ", 404))["error"] == "symbol_not_found"
