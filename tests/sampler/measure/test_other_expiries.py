"""Other expiries: each counts to its own close, also where that is an early one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from chains import black

from sampler.chain import Frame
from sampler.measure.other_expiries import measure_other_expiries
from storage.market.calendar import session_on

#: 10:30 New York, a week before the day after Thanksgiving.
QUOTED = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
STRIKES = [6600.0 + 10 * i for i in range(41)]
SIGMA = 0.16


def frame(symbol: str, expires: dict[date, datetime], sigma: float = SIGMA) -> Frame:
    """A flat smile at every expiry, each priced by the textbook to the moment that is given."""
    columns: dict[str, list[object]] = {name: [] for name in ("expiry", "strike", "right", "mid")}
    for day, moment in expires.items():
        years = (moment - QUOTED).total_seconds() / (365 * 24 * 3600)
        for right in (1, -1):
            for strike in STRIKES:
                columns["expiry"].append(np.datetime64(day))
                columns["strike"].append(strike)
                columns["right"].append(right)
                columns["mid"].append(black(6800.0, strike, years, sigma, right == 1))
    mid = np.array(columns.pop("mid"), float)
    return Frame.of(
        symbol=symbol,
        source="test",
        delay_seconds=0,
        quoted_at=QUOTED,
        fetched_at=QUOTED + timedelta(seconds=1),
        spot=6800.0,
        columns=columns
        | {
            # Narrow, so that mids are the prices; two-sided, so that every strike counts.
            "bid": mid * 0.9999,
            "ask": mid * 1.0001,
            "open_interest": np.full(len(mid), 100.0),
            "volume": np.zeros(len(mid)),
        },
    )


#: By hand: the symbol, the expiry a week away, and when its options stop trading.
EXPIRIES = [
    ("SPX", date(2026, 11, 27), datetime(2026, 11, 27, 18, 0, tzinfo=UTC)),
    ("SPY", date(2026, 11, 27), datetime(2026, 11, 27, 18, 15, tzinfo=UTC)),
    ("SPX", date(2026, 11, 25), datetime(2026, 11, 25, 21, 0, tzinfo=UTC)),
    ("SPY", date(2026, 11, 25), datetime(2026, 11, 25, 21, 15, tzinfo=UTC)),
]


@pytest.mark.parametrize(("symbol", "day", "expires"), EXPIRIES, ids=str)
def test_volatility_counts_to_the_expiry_s_own_close(symbol, day, expires):
    """Priced to its own close, an expiry gives back the volatility that it was priced with."""
    session = session_on(date(2026, 11, 20))
    today = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)
    years = (today - QUOTED).total_seconds() / (365 * 24 * 3600)
    made = frame(symbol, {date(2026, 11, 20): today, day: expires})
    figures = measure_other_expiries(made, session, spot=6800.0, atm=SIGMA, years=years)
    assert figures.seven_dte_atm_iv == pytest.approx(SIGMA, abs=2e-6)
    # An hour off, and the volatility is another one.
    wrong = frame(symbol, {date(2026, 11, 20): today, day: expires + timedelta(hours=3)})
    figures = measure_other_expiries(wrong, session, spot=6800.0, atm=SIGMA, years=years)
    assert abs(figures.seven_dte_atm_iv - SIGMA) > 1e-3
