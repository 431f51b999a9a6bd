"""A level of one instrument as a price of another; the answers are worked out on paper."""

from __future__ import annotations

import pytest

from api.documents.basis import (
    IDENTITY,
    Basis,
    are_related,
    basis_between,
    price_step,
    round_to_step,
)


@pytest.mark.parametrize(
    ("price", "target_price", "kind", "level", "mapped"),
    [
        # SPX 7400, ES 7440: forty points higher, everywhere.
        (7400.0, 7440.0, "difference", 7450.0, 7490.0),
        # A future below its index.
        (7400.0, 7390.5, "difference", 7300.0, 7290.5),
        # QQQ 600, NQ 24,900: 41.5 for each dollar.
        (600.0, 24_900.0, "ratio", 605.0, 25_107.5),
        # SPX 7400, SPY 740: a tenth.
        (7400.0, 740.0, "ratio", 7450.0, 745.0),
        # 5 % apart is one size, a little more is not.
        (100.0, 105.0, "difference", 200.0, 205.0),
        (100.0, 106.0, "ratio", 200.0, 212.0),
    ],
)
def test_levels_are_mapped(
    price: float, target_price: float, kind: str, level: float, mapped: float
) -> None:
    """By the difference where both are of one size, else by the ratio; the prices map exactly."""
    basis = basis_between(price, target_price)
    assert basis.kind == kind
    assert basis.map_price(level) == pytest.approx(mapped, abs=1e-9)
    assert basis.map_price(price) == pytest.approx(target_price, abs=1e-9)


def test_identity() -> None:
    """An instrument's own levels stay as they are."""
    assert Basis("difference", 0.0) == IDENTITY
    assert IDENTITY.map_price(7453.37) == 7453.37


@pytest.mark.parametrize(
    ("symbol", "target", "related"),
    [
        ("SPX", "ES", True),
        ("SPY", "MES", True),
        ("ES", "SPX", True),
        ("QQQ", "NQ", True),
        ("IWM", "RTY", True),
        ("DIA", "YM", True),
        ("TSLA", "TSLA", True),
        ("SPX", "NQ", False),
        ("TSLA", "ES", False),
    ],
)
def test_families(symbol: str, target: str, related: bool) -> None:
    """Instruments of one index belong together, those of two do not."""
    assert are_related(symbol, target) is related


@pytest.mark.parametrize(
    ("price", "step", "rounded"),
    [
        (7488.37, 0.25, 7488.25),
        (7488.375, 0.25, 7488.5),
        (7488.3749, 0.25, 7488.25),
        (2303.25, 0.1, 2303.3),
        (43210.5, 1.0, 43211.0),
        (745.004, 0.01, 745.0),
        (745.006, 0.01, 745.01),
    ],
)
def test_steps(price: float, step: float, rounded: float) -> None:
    """The nearest price that the instrument can have; of two, the higher one."""
    assert round_to_step(price, step) == rounded


def test_price_steps() -> None:
    """As the exchanges list them; a cent where nothing is known."""
    steps = {"ES": 0.25, "MNQ": 0.25, "RTY": 0.1, "YM": 1.0, "SPY": 0.01, "US500": 0.01}
    assert {symbol: price_step(symbol) for symbol in steps} == steps
