"""The table of instruments, against lists by hand."""

from __future__ import annotations

from datetime import timedelta

import pytest

from storage.market.instruments import AM_ROOTS, INSTRUMENTS, Instrument, instrument_of

#: By hand, from the exchanges' product pages.
INDEXES = {
    "SPX", "NDX", "RUT", "VIX", "XSP", "DJX", "MRUT", "OEX", "XEO", "XND", "RUI", "RLG", "RLV",
    "SPESG", "CBTX", "MBTX", "MXEA", "MXEF", "MXACW", "MXUSA", "MXWLD",
}  # fmt: skip
#: As the exchanges list them: funds whose options trade until 16:15.
LATE = {
    "DIA",
    "EEM",
    "EFA",
    "GLD",
    "IWM",
    "IWN",
    "IWO",
    "KBE",
    "KRE",
    "MDY",
    "OEF",
    "QQQ",
    "SLX",
    "SPY",
    "SVXY",
    "UNG",
    "UVXY",
    "VXX",
    "XHB",
    "XME",
    "XRT",
    "XLB",
    "XLC",
    "XLE",
    "XLF",
    "XLI",
    "XLK",
    "XLP",
    "XLRE",
    "XLU",
    "XLV",
    "XLY",
}


def test_every_line():
    """The table has these indexes and late funds, each under its own symbol, and nothing else."""
    assert set(INSTRUMENTS) == INDEXES | LATE
    assert all(symbol == instrument.symbol for symbol, instrument in INSTRUMENTS.items())
    assert {symbol for symbol, instrument in INSTRUMENTS.items() if instrument.index} == INDEXES
    late = {symbol for symbol, instrument in INSTRUMENTS.items() if instrument.late_close}
    assert (late, INSTRUMENTS["SPY"].late_close) == (LATE, timedelta(minutes=15))


def test_morning_settlement():
    """The roots that settle on the opening prices, and whose they are."""
    assert {"SPX", "NDX", "RUT", "VIX", "VIXW", "DJX"} == AM_ROOTS
    assert instrument_of("VIX").am_roots == {"VIX", "VIXW"}
    assert not instrument_of("XSP").am_roots


@pytest.mark.parametrize(
    ("symbol", "steps"),
    [("SPX", (0.05, 0.10)), ("VIX", (0.05, 0.10)), ("XSP", (0.01, 0.01)), ("AAPL", (0.01, 0.01))],
)
def test_price_steps(symbol, steps):
    """The index classes of Cboe trade in nickels and dimes, everything else in pennies."""
    assert instrument_of(symbol).price_steps == steps


def test_a_symbol_without_a_line():
    """An ordinary share: no index, pennies, no morning settlement, no late close."""
    assert instrument_of("AAPL") == Instrument(symbol="AAPL")
    assert not instrument_of("AAPL").index
