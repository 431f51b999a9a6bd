"""Chains for tests: built by hand from a Black model of their own, in columns or as frames."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np

from sampler.chain import Chain, Frame, select_chain
from storage.market.calendar import session_on

DAY = datetime(2026, 8, 19, tzinfo=UTC).date()
#: 10:14:30 New York.
TEN_FOURTEEN = datetime(2026, 8, 19, 14, 14, 30, tzinfo=UTC)


def black(forward: float, strike: float, years: float, sigma: float, call: bool) -> float:
    """The textbook formula, by math.erfc: no code of ours."""
    total = sigma * math.sqrt(years)
    d1 = math.log(forward / strike) / total + total / 2

    def cdf(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    value = forward * cdf(d1) - strike * cdf(d1 - total)
    return value if call else value - forward + strike


def frame(
    *,
    symbol: str = "SPX",
    spot: float = 7700.0,
    forward: float | None = None,
    sigma: float = 0.15,
    quoted_at: datetime = TEN_FOURTEEN,
    strikes: list[float] | None = None,
    half_spread: float = 0.05,
    **columns: object,
) -> Frame:
    """A flat-smile chain with calls first, then puts; any column can be replaced."""
    strikes = [7600.0 + 10 * i for i in range(21)] if strikes is None else strikes
    forward = spot if forward is None else forward
    close = session_on(quoted_at.date()).close
    years = max((close - quoted_at).total_seconds(), 1) / 31_536_000
    n = len(strikes)
    mids = [black(forward, k, years, sigma, call) for call in (True, False) for k in strikes]
    defaults = {
        "strike": strikes * 2,
        "right": [1] * n + [-1] * n,
        "expiry": np.full(2 * n, np.datetime64(quoted_at.date())),
        "root": ["SPXW"] * (2 * n),
        "bid": [max(m - half_spread, 0.0) for m in mids],
        "ask": [m + half_spread for m in mids],
        "last": mids,
        "last_at": [quoted_at.timestamp()] * (2 * n),
        "open_interest": [100.0] * (2 * n),
        "volume": [50.0] * (2 * n),
    }
    return Frame.of(
        symbol=symbol,
        source="test",
        delay_seconds=0,
        quoted_at=quoted_at,
        fetched_at=quoted_at + timedelta(seconds=1),
        spot=spot,
        columns=defaults | columns,
    )


def chain(**changes: object) -> Chain:
    """The same as a chain of its own day."""
    whole_frame = frame(**changes)
    return select_chain(whole_frame, session_on(whole_frame.quoted_at.date()))
