"""A row's figures are rounded all at once as text rounds each."""

from __future__ import annotations

import math
import random

from sampler.metrics.rounding import round_figures


def test_rounded_as_text_rounds_or_left() -> None:
    """To the bit: numbers of every size, and the neighbours of powers of ten and of middles."""
    rng = random.Random(5)
    numbers: list[float] = []
    for power in range(-14, 16):
        ten = float(f"1e{power}")
        numbers += [ten, math.nextafter(ten, 0.0), math.nextafter(ten, math.inf)]
        numbers += [rng.uniform(1.0, 10.0) * ten for _ in range(300)]
        middles = [float(f"{rng.randrange(10**11, 10**12)}5e{power - 12}") for _ in range(100)]
        for middle in middles:
            numbers += [middle, math.nextafter(middle, 0.0), math.nextafter(middle, math.inf)]
    numbers += [-number for number in numbers]
    rounded, left = round_figures(numbers)
    unrounded = set(left)
    for i, number in enumerate(numbers):
        expected = number if i in unrounded else float(f"{number:.12g}")
        assert rounded[i].hex() == expected.hex(), number.hex()
    # Of numbers of usual size only middles are left, and their neighbours.
    usual = [i for i, number in enumerate(numbers) if 1e-9 < abs(number) < 1e11]
    assert len(unrounded.intersection(usual)) < 0.6 * len(usual)


def test_what_is_no_number() -> None:
    """None, NaN and the infinities are NaN and named as not rounded; -0.0 is 0.0."""
    rounded, left = round_figures([None, math.nan, math.inf, -math.inf, -0.0, 2.0 / 3.0])
    assert [math.isnan(number) for number in rounded] == [True] * 4 + [False] * 2
    assert (str(rounded[4]), rounded[5], left) == ("0.0", 0.666666666667, [0, 1, 2, 3])


def test_left_as_it_is() -> None:
    """Numbers beyond what arithmetic tells: very small, very large, the middle of two decimals."""
    numbers = [1.0, 1e-11, 1e12, 1.000000000005, 5e-324]
    assert round_figures(numbers) == (numbers, [1, 2, 3, 4])
