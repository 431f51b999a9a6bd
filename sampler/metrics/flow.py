"""Which side started the trades between two samples, and what dealers hedged for it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: A previous quote older than this says nothing about where the mid stood in between. [s]
OLDEST = 90.0


class Quote(NamedTuple):
    """A contract's quote: its middle and half its width, NaN where there is none. [$]"""

    mid: Floats
    half: Floats


def volume_added(before: Floats, now: Floats) -> tuple[Floats, Floats]:
    """Contracts traded since the previous sample, and the volume to go on from.

    An unreadable volume (NaN) is taken as unchanged; one that went down is a reset or a
    correction: nothing traded, and counting goes on from the new figure.
    """
    volume = np.where(np.isnan(now), before, now)
    return np.maximum(volume - before, 0.0), volume


def aggressor_sign(
    added: Floats,
    last: Floats,
    last_at: Floats,
    *,
    before: Quote,
    now: Quote,
    before_at: float,
    now_at: float,
    tick: Floats,
    modelled: Floats,
) -> Floats:
    """The part of each contract's new volume that customers bought, less what they sold. [−1, 1]

    Parameters
    ----------
    added : contracts traded in the interval; 0 gives 0.
    last, last_at : last trade's price [$] and unix time [s], NaN where unknown.
    before_at, now_at : unix times of the two quotes. [s]
    tick : the contract's price step. [$]
    modelled : Black's price at the new forward and time with the previous volatility, the
        yardstick where there is no print. [$]

    Notes
    -----
    In 30 s a 0DTE option moves several half-spreads, so a print is judged against where the mid
    stood when it printed: m* = m₀ + w·(m₁ − m₀), w by the trade's time, else n/(n+1) with
    n = max(1, ΔV/2), the mean position of the last of n evenly spread prints.
    s = clip((l − m*)/h, −1, 1); a locked quote gives the bare sign.
    """
    span = now_at - before_at
    count = np.maximum(1.0, added / 2)
    weight = count / (count + 1)
    if span > 0:
        timed = np.clip((last_at - before_at) / span, 0.0, 1.0)
        weight = np.where(np.isfinite(timed), timed, weight)
    if span > OLDEST or span <= 0:
        weight = np.ones_like(weight)
    # Where one of the two quotes is missing the other stands for both.
    mid0 = np.where(np.isnan(before.mid), now.mid, before.mid)
    mid1 = np.where(np.isnan(now.mid), before.mid, now.mid)
    half0 = np.where(np.isnan(before.half), now.half, before.half)
    half1 = np.where(np.isnan(now.half), before.half, now.half)
    width = (half0 + half1) / 2
    print_ = _against(last, mid0 + weight * (mid1 - mid0), width, tick)
    off = mid1 - modelled
    drift = np.where(np.abs(off) > np.maximum(width, tick / 2), np.sign(off), 0.0)
    sign = np.where(last > 0, print_, drift)
    return np.where((added > 0) & np.isfinite(sign), sign, 0.0)


def trade_signs(price: Floats, size: Floats, mid: Floats, half: Floats, *, tick: Floats) -> Floats:
    """Contracts that customers bought in each trade, less what they sold: s·size. [contracts]

    s = clip((price − mid)/half, −1, 1) against the quote that stood when it traded, by the rules
    of ``aggressor_sign``: half a tick at least, the bare sign where the quote is locked. A trade
    without a price or a quote (NaN) is of unknown side: 0. Prices are in dollars; the sum over a
    contract's trades is its signed volume.
    """
    signed = size * _against(price, mid, half, tick)
    return np.where((price > 0) & np.isfinite(signed), signed, 0.0)


def _against(price: Floats, mid: Floats, width: Floats, tick: Floats) -> Floats:
    """Where a price stands between bid (−1) and ask (1), the half-spread being ``width``."""
    off = price - mid
    half = np.maximum(width, tick / 2)
    return np.where(width == 0, np.sign(off), np.clip(off / half, -1, 1))
