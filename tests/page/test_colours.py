"""The page's colours: readable on their ground, and apart for who sees fewer of them."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

CSS = Path(__file__).resolve().parents[2] / "api" / "static" / "app.css"
#: What dichromats see, as matrices on linear RGB (Machado, Oliveira and Fernandes, 2009).
SIGHT = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip
#: Lines that meet in one panel.
TOGETHER = [("text", "up", "down"), ("text", "flip", "up"), ("text", "flip", "down"), ("magnet", "flip")]  # fmt: skip


def palette(theme: str) -> dict[str, str]:
    """The custom properties of a theme that are plain colours."""
    selector = ":root {" if theme == "dark" else ':root[data-theme="light"] {'
    block = CSS.read_text().split(selector, 1)[1].split("}", 1)[0]
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))


def linear(colour: str) -> NDArray[np.float64]:
    """Linear RGB of a hexadecimal colour."""
    channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """WCAG's ratio of two colours."""
    bright = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (bright[1] + 0.05) / (bright[0] + 0.05)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE Lab of linear RGB, D65."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    ratio = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    root = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_words_are_readable(theme: str) -> None:
    """Text and every word that has a colour reach 4.5 to 1 on the panels, lines 3 to 1."""
    colours = palette(theme)
    for name in ("text", "muted", "up", "down", "good", "warn", "bad", "accent"):
        assert contrast(colours[name], colours["panel"]) >= 4.5, name
    for name in ("flip", "magnet", "other", "faint"):
        assert contrast(colours[name], colours["panel"]) >= 3, name


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("sight", SIGHT)
def test_lines_are_apart(theme: str, sight: str) -> None:
    """Lines of one panel differ by far more than a just noticeable step, for every kind of eye."""
    colours = palette(theme)
    for names in TOGETHER:
        for a, b in itertools.combinations(names, 2):
            pair = [lab(SIGHT[sight] @ linear(colours[name])) for name in (a, b)]
            assert float(np.linalg.norm(pair[0] - pair[1])) >= 15, (a, b)


def test_both_ways_to_a_light_page_are_the_same() -> None:
    """By the system's wish and by hand: the same colours."""
    by_system = CSS.read_text().split(':root:not([data-theme="dark"]) {', 1)[1].split("}", 1)[0]
    assert dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", by_system)) == palette("light")
