"""Levels of one instrument as prices of another: SPX as ES, SPY or a contract for difference. Pure.

This is the one place that maps a level. A level is moved by the difference of the two prices where
they are of one size, as an index and its future are, and by their ratio where they are not, as an
index and its fund.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

#: Instruments that follow one index, with the step of their prices. [$ or points]
FAMILIES: tuple[dict[str, float], ...] = (
    {"SPX": 0.01, "XSP": 0.01, "SPY": 0.01, "ES": 0.25, "MES": 0.25},
    {"NDX": 0.01, "XND": 0.01, "QQQ": 0.01, "NQ": 0.25, "MNQ": 0.25},
    {"RUT": 0.01, "MRUT": 0.01, "IWM": 0.01, "RTY": 0.1, "M2K": 0.1},
    {"DJX": 0.01, "DIA": 0.01, "YM": 1.0, "MYM": 1.0},
)
#: The step of prices of an instrument that is not listed above.
_CENT = 0.01
#: Prices that differ by less than this part are of one size: their difference counts.
_ONE_SIZE = 0.05


@dataclass(frozen=True, slots=True)
class Basis:
    """How a price of one instrument becomes a price of another."""

    kind: Literal["difference", "ratio"]
    #: The number that is added to a price, or by which it is multiplied.
    amount: float

    def map_price(self, price: float) -> float:
        """Return a price of the first instrument as a price of the second.

        Parameters
        ----------
        price : the price. [$ or points]

        Returns
        -------
        float
            The price, not rounded. [$ or points]
        """
        return price + self.amount if self.kind == "difference" else price * self.amount


#: Of an instrument to itself.
IDENTITY = Basis("difference", 0.0)


def basis_between(price: float, target_price: float) -> Basis:
    """Return the basis of two prices of one moment.

    Parameters
    ----------
    price : of the instrument whose levels are mapped; positive. [$ or points]
    target_price : of the other one; positive. [$ or points]

    Returns
    -------
    Basis
        Their difference if they differ by 5 % at most, else their ratio.
    """
    difference = target_price - price
    if abs(difference) <= _ONE_SIZE * price:
        return Basis("difference", difference)
    return Basis("ratio", target_price / price)


def are_related(symbol: str, target: str) -> bool:
    """Say whether two instruments are known to follow one index.

    Parameters
    ----------
    symbol, target : the two.

    Returns
    -------
    bool
        True if they are the same one, or of one family.
    """
    return symbol == target or any({symbol, target} <= set(family) for family in FAMILIES)


def price_step(symbol: str) -> float:
    """Return an instrument's tick size, the smallest step of its price; 0.01 for an unknown one.

    Parameters
    ----------
    symbol : the instrument.

    Returns
    -------
    float
        The amount. [$ or points]
    """
    return next((family[symbol] for family in FAMILIES if symbol in family), _CENT)


def round_to_step(price: float, step: float) -> float:
    """Round a price to the nearest multiple of its step, half up.

    Parameters
    ----------
    price : the price. [$ or points]
    step : the step; positive. [$ or points]

    Returns
    -------
    float
        The multiple.
    """
    return round(math.floor(price / step + 0.5) * step, 6)
