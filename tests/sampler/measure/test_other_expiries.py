"""Other expiries: each counts to its own close, also where that is an early one."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from chains import black

from sampler.chain import Frame
from sampler.measure.other_expiries import measure_other_expiries
from storage.market.calendar import session_on
from tests import real_chains

#: 10:30 New York, a week before the day after Thanksgiving.
QUOTED = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
STRIKES = [6600.0 + 10 * i for i in range(41)]
SIGMA = 0.16


def frame(
    symbol: str,
    expires: dict[date, datetime],
    sigma: float = SIGMA,
    quoted_at: datetime = QUOTED,
) -> Frame:
    """A flat smile at every expiry, each priced by the textbook to the moment that is given."""
    columns: dict[str, list[object]] = {name: [] for name in ("expiry", "strike", "right", "mid")}
    for day, moment in expires.items():
        years = (moment - quoted_at).total_seconds() / (365 * 24 * 3600)
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
        quoted_at=quoted_at,
        fetched_at=quoted_at + timedelta(seconds=1),
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


def test_calls_and_puts_of_equal_open_interest_cancel() -> None:
    """100 calls and 100 puts at each strike of two expiries: the whole chain's net GEX is 0 $."""
    today, day = date(2026, 11, 20), date(2026, 11, 25)
    closes = {each: datetime(2026, 11, each.day, 21, 0, tzinfo=UTC) for each in (today, day)}
    years = (closes[today] - QUOTED).total_seconds() / (365 * 24 * 3600)
    whole = frame("SPX", closes)
    figures = measure_other_expiries(whole, session_on(today), spot=6800.0, atm=SIGMA, years=years)
    assert figures.total_chain_net_gex == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(("symbol", "day", "expires"), EXPIRIES, ids=str)
def test_volatility_counts_to_the_expiry_s_own_close(symbol, day, expires):
    """Priced to its own close, an expiry gives back the volatility that it was priced with."""
    session = session_on(date(2026, 11, 20))
    today = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)
    years = (today - QUOTED).total_seconds() / (365 * 24 * 3600)
    whole = frame(symbol, {date(2026, 11, 20): today, day: expires})
    figures = measure_other_expiries(whole, session, spot=6800.0, atm=SIGMA, years=years)
    assert figures.seven_dte_atm_iv == pytest.approx(SIGMA, abs=2e-6)
    # An hour off, and the volatility is another one.
    wrong = frame(symbol, {date(2026, 11, 20): today, day: expires + timedelta(hours=3)})
    figures = measure_other_expiries(wrong, session, spot=6800.0, atm=SIGMA, years=years)
    assert abs(figures.seven_dte_atm_iv - SIGMA) > 1e-3


TODAY = date(2026, 11, 20)
#: By hand: the days of expiry around a week away, and when SPX options stop trading on them.
CLOSES = {
    day: datetime(day.year, day.month, day.day, 18 if day.day == 27 else 21, tzinfo=UTC)
    for day in (
        TODAY,
        date(2026, 11, 24),
        date(2026, 11, 25),
        date(2026, 11, 27),
        date(2026, 11, 30),
    )
}
YEAR_HOURS = 365 * 24


def figures(
    sigmas: dict[date, float],
    *,
    adjusted: bool = False,
    atm: float = 0.2,
    missing: tuple[date, ...] = (),
):
    """Figures of SPX expiries, each at its own volatility, with 300 calls and 100 puts a strike.

    With ``adjusted``, contracts of an adjusted root expire in a week as well: ten times the open
    interest, quoted at twice the volatility.
    """
    frames = [(frame("SPX", {day: CLOSES[day]}, sigma), "SPXW") for day, sigma in sigmas.items()]
    if adjusted:
        week = date(2026, 11, 27)
        frames.append((frame("SPX", {week: CLOSES[week]}, 2 * sigmas[week]), "SPXW1"))
    columns = {
        name: np.concatenate([getattr(expiring, name) for expiring, _ in frames])
        for name in ("expiry", "strike", "right", "bid", "ask", "volume")
    }
    columns["root"] = np.concatenate(
        [np.full(len(expiring.strike), root) for expiring, root in frames]
    )
    columns["open_interest"] = np.where(columns["right"] > 0, 300.0, 100.0)
    columns["open_interest"][columns["root"] == "SPXW1"] *= 10
    combined = Frame.of(
        symbol="SPX",
        source="test",
        delay_seconds=0,
        quoted_at=QUOTED,
        fetched_at=QUOTED,
        spot=6800.0,
        columns=columns,
    )
    return measure_other_expiries(
        replace(combined, missing_expirations=missing, other_expiries_age_seconds=90.0),
        session_on(TODAY),
        spot=6800.0,
        atm=atm,
        years=5.5 / YEAR_HOURS,
    )


def test_ratio_is_of_volatilities_per_session():
    """From Friday to the Friday after Thanksgiving: 5.5 of 6.5 h today, and four sessions more.

    170.5 hours lie between 10:30 and that Friday's early close at 13:00.
    """
    measured = figures({TODAY: 0.2, date(2026, 11, 27): 0.16})
    today = 0.2 * math.sqrt(6.5)
    later = 0.16 * math.sqrt(170.5 / (5.5 / 6.5 + 4))
    assert measured.iv_ratio_0dte_7dte == pytest.approx(today / later, rel=1e-4)


def test_the_expiry_nearest_to_seven_days_is_taken():
    """Seven days win over five, whichever has the lower volatility."""
    for five, seven in ((0.14, 0.18), (0.18, 0.14)):
        measured = figures({TODAY: 0.2, date(2026, 11, 25): five, date(2026, 11, 27): seven})
        assert measured.seven_dte_atm_iv == pytest.approx(seven, abs=2e-5)


@pytest.mark.parametrize(
    ("listed", "missing", "taken"),
    [
        ((6, 8), (), 6),
        ((5, 8), (), 8),
        ((5, 6), (), 6),
        ((5, 6, 8, 9), (), 6),
        ((6, 7, 8), (), 7),
        ((5,), (), 5),
        ((9,), (), 9),
        ((5, 9), (), 5),
        # A day that is as near as the one that is there would be it, or could be.
        ((8,), (6,), None),
        ((6,), (8,), None),
        ((6,), (5, 9), 6),
        ((9,), (8,), None),
        ((6,), (7, 9), None),
        ((7,), (6, 12), 7),
    ],
)
@pytest.mark.parametrize("rising", [False, True])
def test_which_day_is_the_week(listed, missing, taken, rising):
    """By days from the Wednesday of 11 November 2026, before a week of five sessions.

    Each has a volatility of its own, higher or lower the later it is.
    """
    quoted_at = datetime(2026, 11, 11, 15, 30, tzinfo=UTC)
    sigmas = {days: 0.1 + 0.01 * (days if rising else 10 - days) for days in (0, *listed)}
    frames = [
        frame("SPX", {close.date(): close}, sigma, quoted_at)
        for days, sigma in sigmas.items()
        for close in [datetime(2026, 11, 11 + days, 21, tzinfo=UTC)]
    ]
    names = ("expiry", "strike", "right", "bid", "ask", "volume", "open_interest")
    combined = Frame.of(
        symbol="SPX",
        source="test",
        delay_seconds=0,
        quoted_at=quoted_at,
        fetched_at=quoted_at,
        spot=6800.0,
        columns={
            name: np.concatenate([getattr(piece, name) for piece in frames]) for name in names
        },
    )
    measured = measure_other_expiries(
        replace(combined, missing_expirations=tuple(date(2026, 11, 11 + n) for n in missing)),
        session_on(quoted_at.date()),
        spot=6800.0,
        atm=0.2,
        years=5.5 / YEAR_HOURS,
    )
    if taken is None:
        assert measured.seven_dte_atm_iv is None
    else:
        assert measured.seven_dte_atm_iv == pytest.approx(sigmas[taken], abs=2e-5)


@pytest.mark.parametrize("day", [date(2026, 11, 24), date(2026, 11, 30)], ids=str)
def test_four_or_ten_days_are_not_a_week(day):
    """Such an expiry counts in the whole chain's GEX, but gives neither volatility nor ratio."""
    measured = figures({TODAY: 0.2, day: 0.16})
    assert measured.total_chain_net_gex is not None
    assert measured[1:3] == (None, None)


def test_whole_chain_gex_by_the_textbook_without_adjusted_contracts():
    """Gamma dollars per 1 % of every expiry, calls less puts; adjusted contracts add nothing."""
    sigmas = {TODAY: 0.2, date(2026, 11, 25): 0.18, date(2026, 11, 27): 0.16}
    expected = 0.0
    for day, sigma in sigmas.items():
        years = (CLOSES[day] - QUOTED).total_seconds() / 31_536_000
        total = sigma * math.sqrt(years)
        for strike in STRIKES:
            d1 = math.log(6800.0 / strike) / total + total / 2
            gamma = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi) / (6800.0 * total)
            expected += (300 - 100) * gamma * 100 * 6800.0**2 * 0.01
    for adjusted in (False, True):
        measured = figures(sigmas, adjusted=adjusted)
        assert measured.total_chain_net_gex == pytest.approx(expected, rel=1e-3)
        assert measured.seven_dte_atm_iv == pytest.approx(0.16, abs=2e-5)


@pytest.mark.parametrize(
    ("missing", "week"),
    [
        (date(2026, 11, 24), 0.16),
        (date(2026, 11, 30), 0.16),
        (date(2026, 11, 25), 0.16),
        (date(2026, 11, 27), None),
    ],
    ids=str,
)
def test_a_sum_without_a_listed_expiry_is_no_sum(missing, week):
    """Then nobody knows the whole chain's gamma; the week's volatility if a nearer day is missing."""
    days = {date(2026, 11, 27): 0.16, date(2026, 11, 25): 0.18}
    days.pop(missing, None)
    measured = figures({TODAY: 0.2, **days}, missing=(missing,))
    assert measured.total_chain_net_gex is None
    if week is None:
        assert measured.seven_dte_atm_iv is measured.iv_ratio_0dte_7dte is None
    else:
        assert measured.seven_dte_atm_iv == pytest.approx(week, abs=2e-5)
    assert measured.other_expiries_age_seconds == 90.0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("expiry", np.datetime64(date(2026, 11, 19))),
        ("strike", 0.0),
        ("right", 0),
        ("open_interest", -100.0),
        ("open_interest", math.nan),
        ("open_interest", 1e17),
    ],
)
def test_contracts_that_cannot_be_count_nowhere(column, value):
    """An expired one, no strike, neither call nor put, open interest that nobody can hold.

    The calls of a week away are there twice, the second time with such a value: figures are those
    of the frame without them.
    """
    week = date(2026, 11, 27)
    whole = frame("SPX", {TODAY: CLOSES[TODAY], week: CLOSES[week]})
    calls = (whole.expiry == np.datetime64(week)) & (whole.right > 0)
    names = ("expiry", "strike", "right", "root", "bid", "ask", "volume", "open_interest")
    columns = {
        name: np.concatenate([getattr(whole, name), getattr(whole, name)[calls]]) for name in names
    }
    columns["bid"][len(whole.strike) :] *= 2
    columns["ask"][len(whole.strike) :] *= 2
    columns["volume"][len(whole.strike) :] = 10.0
    columns[column][len(whole.strike) :] = value
    more = Frame.of(
        symbol="SPX",
        source="test",
        delay_seconds=0,
        quoted_at=QUOTED,
        fetched_at=QUOTED,
        spot=6800.0,
        columns=columns,
    )
    arguments = {"spot": 6800.0, "atm": 0.2, "years": 5.5 / YEAR_HOURS}
    expected = measure_other_expiries(whole, session_on(TODAY), **arguments)
    assert None not in expected[:3]
    assert measure_other_expiries(more, session_on(TODAY), **arguments) == expected


#: By hand: a forward of 6850.40 at a discount of 0.99, C − P = 0.99·(6850.40 − K), five strikes.
FUTURE = {6800.0: 49.896, 6825.0: 25.146, 6850.0: 0.396, 6875.0: -24.354, 6900.0: -49.104}


def with_future(day: date, *chains: tuple[str, dict[float, float]], symbol: str = "SPX") -> Frame:
    """Today's chain, and chains of another day by root, quoted 0.20 wide around the mids by hand."""
    today = frame(symbol, {TODAY: CLOSES[TODAY]})
    rows = [
        (root, strike, right, 120.0 + (gap if right > 0 else 0.0))
        for root, gaps in chains
        for strike, gap in gaps.items()
        for right in (1, -1)
    ]
    count = len(rows)
    added = {
        "expiry": np.full(count, np.datetime64(day)),
        "strike": np.array([strike for _, strike, _, _ in rows]),
        "right": np.array([right for _, _, right, _ in rows]),
        "bid": np.array([mid - 0.1 for *_, mid in rows]),
        "ask": np.array([mid + 0.1 for *_, mid in rows]),
        "open_interest": np.full(count, 10.0),
        "volume": np.zeros(count),
    }
    columns = {
        name: np.concatenate([getattr(today, name), values]) for name, values in added.items()
    }
    columns["root"] = np.array(["SPXW"] * len(today.strike) + [root for root, *_ in rows])
    return Frame.of(
        symbol=symbol,
        source="test",
        delay_seconds=0,
        quoted_at=QUOTED,
        fetched_at=QUOTED,
        spot=6800.0,
        columns=columns,
    )


def ahead(whole: Frame) -> tuple[float | None, float | None]:
    session = session_on(TODAY)
    assert session is not None
    figures = measure_other_expiries(whole, session, spot=6800.0, atm=SIGMA, years=6 / YEAR_HOURS)
    return figures.future_forward, figures.future_forward_scatter


@pytest.mark.parametrize("root", ["SPX", "SPXW", ""])
def test_forward_of_the_day_on_which_the_future_settles(root: str) -> None:
    """It is where calls and puts are worth the same, not biased by the discount of C − P."""
    level, scatter = ahead(with_future(date(2026, 12, 18), (root, FUTURE)))
    assert level == pytest.approx(6850.40, abs=1e-9)
    assert scatter == pytest.approx(0.0, abs=1e-9)


def test_morning_settlement_counts_before_the_close_s() -> None:
    """Of two chains of that day the one that settles as the future does is taken."""
    close = ("SPXW", {k: gap + 9.9 for k, gap in FUTURE.items()})
    assert ahead(with_future(date(2026, 12, 18), close))[0] == pytest.approx(6860.40)
    assert ahead(with_future(date(2026, 12, 18), close, ("SPX", FUTURE)))[0] == pytest.approx(
        6850.40
    )
    assert ahead(with_future(date(2026, 12, 18), ("SPX", FUTURE), close))[0] == pytest.approx(
        6850.40
    )


@pytest.mark.parametrize(
    ("day", "strikes", "symbol"),
    [
        # Another Friday than the future's; two strikes; prices that no discount explains; no index.
        (date(2026, 12, 11), FUTURE, "SPX"),
        (date(2027, 3, 19), FUTURE, "SPX"),
        (date(2026, 12, 18), {6800.0: 49.896, 6850.0: 0.396}, "SPX"),
        (date(2026, 12, 18), {k: 2 * gap for k, gap in FUTURE.items()}, "SPX"),
        (date(2026, 12, 18), FUTURE, "XSP"),
    ],
)
def test_no_forward_of_the_future(day, strikes, symbol) -> None:
    """Without that day's chain, or with quotes that cannot be right, nothing is put in its place."""
    assert ahead(with_future(day, ("SPX", strikes), symbol=symbol)) == (None, None)


def test_a_wrong_quote_moves_the_future_s_forward_little() -> None:
    """One call that is 20 $ off is one estimate among five, and the scatter stays that of the rest."""
    wrong = FUTURE | {6825.0: 45.146}
    level, _ = ahead(with_future(date(2026, 12, 18), ("SPX", wrong)))
    assert level == pytest.approx(6850.40, abs=0.2)


def test_future_s_forward_of_a_real_chain() -> None:
    """SPX on 2019-06-26 has the day on which the September contract settles, 2019-09-20.

    Beside it stands a straight line through C − P of the 24 strikes within 60 $ of spot, by least
    squares: it is zero at the forward.
    """
    chain = real_chains.volkit()
    mids = {
        (c.strike, c.right): (c.bid + c.ask) / 2
        for c in chain.contracts
        if c.expiry == "2019-09-20" and c.bid > 0 and abs(c.strike - chain.frame.spot) < 60
    }
    strikes = sorted({strike for strike, _ in mids if {(strike, 1), (strike, -1)} <= mids.keys()})
    gaps = [mids[k, 1] - mids[k, -1] for k in strikes]
    slope, height = np.polyfit(strikes, gaps, 1)
    session = session_on(date(2019, 6, 26))
    assert session is not None
    figures = measure_other_expiries(
        chain.frame, session, spot=chain.frame.spot, atm=0.1, years=0.25 / YEAR_HOURS
    )
    assert len(strikes) == 24
    assert figures.future_forward == pytest.approx(-height / slope, abs=0.05)
    # The quotes are a dollar wide, and the estimates of twelve strikes a few cents apart.
    assert figures.future_forward_scatter == pytest.approx(0.03, abs=0.02)
    # Interest of three months less dividends: some points above spot.
    assert 2.0 < figures.future_forward - chain.frame.spot < 8.0
