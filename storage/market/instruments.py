"""What sets one underlying's options apart: index or not, settlement, price steps, hours.

One table. A symbol that is not in it is an ordinary share or fund. To add an underlying that is
none, add a line here; nothing else lists symbols.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from storage.errors import UsageError
from storage.market.zero_dte import LISTINGS

_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.^=_/-]{0,15}")
#: Option prices move in coarser steps from here on. [$]
COARSER_FROM = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One underlying's options."""

    #: The underlying, as the exchange lists it.
    symbol: str
    #: Whether it is an index. Cboe's feed files an index under a leading underscore.
    index: bool = False
    #: Roots whose contracts settle on the morning's opening prices: they are never 0DTE during
    #: the session. Contracts of every other root settle on the close.
    am_roots: frozenset[str] = frozenset()
    #: The step of option prices below 3 $, and from 3 $ on. [$]
    price_steps: tuple[float, float] = (0.01, 0.01)
    #: How long expiring options trade beyond the stock market's close.
    late_close: timedelta = timedelta()


_CLASS_STEPS = (0.05, 0.10)
_QUARTER_HOUR = timedelta(minutes=15)


def _index(
    symbol: str, *am_roots: str, price_steps: tuple[float, float] = (0.01, 0.01)
) -> Instrument:
    return Instrument(
        symbol=symbol, index=True, am_roots=frozenset(am_roots), price_steps=price_steps
    )


#: Funds whose options trade until 16:15, by the exchanges' lists.
_LATE_FUNDS = (
    *("DIA", "EEM", "EFA", "GLD", "IWM", "IWN", "IWO", "KBE", "KRE", "MDY", "OEF", "QQQ", "SLX"),
    *("SPY", "SVXY", "UNG", "UVXY", "VXX", "XHB", "XME", "XRT"),
    # The sector funds.
    *("XLB", "XLC", "XLE", "XLF", "XLI", "XLK", "XLP", "XLRE", "XLU", "XLV", "XLY"),
)


#: Every underlying that is not an ordinary share or fund, by symbol.
INSTRUMENTS: dict[str, Instrument] = {
    instrument.symbol: instrument
    for instrument in (
        _index("SPX", "SPX", price_steps=_CLASS_STEPS),
        _index("NDX", "NDX", price_steps=_CLASS_STEPS),
        _index("RUT", "RUT", price_steps=_CLASS_STEPS),
        _index("VIX", "VIX", "VIXW", price_steps=_CLASS_STEPS),
        _index("DJX", "DJX"),
        *map(_index, ("XSP", "MRUT", "OEX", "XEO", "XND", "RUI", "RLG", "RLV", "SPESG")),
        *map(_index, ("CBTX", "MBTX", "MXEA", "MXEF", "MXACW", "MXUSA", "MXWLD")),
        *(Instrument(symbol=symbol, late_close=_QUARTER_HOUR) for symbol in _LATE_FUNDS),
    )
}
#: The root that settles on the close, where it is not the symbol's own name.
CLOSING_ROOTS = {"SPX": "SPXW", "NDX": "NDXP", "RUT": "RUTW"}
#: Every root whose contracts settle on the morning's opening prices.
AM_ROOTS: frozenset[str] = frozenset().union(
    *(instrument.am_roots for instrument in INSTRUMENTS.values())
)


#: Names that stand for several symbols in FLOW_SYMBOLS: indexes and funds of which something
#: expires on every session, and the seven shares that have expiries within the week. All are these
#: and what else has a listing in ``zero_dte``; on which days they have an expiry, the feed tells.
GROUPS: dict[str, tuple[str, ...]] = {
    "@indices": ("SPX", "XSP", "NDX", "RUT"),
    "@funds": ("SPY", "QQQ", "IWM"),
    "@mag7": ("AAPL", "AMZN", "GOOGL", "META", "MSFT", "NVDA", "TSLA"),
}
GROUPS["@all"] = tuple(dict.fromkeys([s for group in GROUPS.values() for s in group] + [*LISTINGS]))


def instrument_of(symbol: str) -> Instrument:
    """Look an underlying up. One that is not in the table is an ordinary share or fund.

    Parameters
    ----------
    symbol : the underlying.

    Returns
    -------
    Instrument
        Its line of the table; for a symbol without one, that of an ordinary share.
    """
    return INSTRUMENTS.get(symbol) or Instrument(symbol=symbol)


def parse_symbol(text: str) -> str:
    """Read a symbol as it is stored: trimmed, upper case.

    Parameters
    ----------
    text : the symbol as somebody typed it.

    Returns
    -------
    str
        The symbol.

    Raises
    ------
    UsageError
        If no exchange could list it: it is empty, longer than 16 characters, or has blanks inside.
    """
    symbol = text.strip().upper()
    if not _SYMBOL.fullmatch(symbol):
        raise UsageError(f"{text[:40]!r} is not a symbol: 1 to 16 of A-Z 0-9 . ^ = _ / -")
    return symbol


def parse_symbols(text: str) -> tuple[str, ...]:
    """Read a list of symbols and of names that stand for several.

    Parameters
    ----------
    text : symbols and groups, comma-separated.

    Returns
    -------
    tuple of str
        The symbols, each once, in the order in which they were named.

    Raises
    ------
    UsageError
        If none is named, an entry is no symbol, or a group is not known.
    """
    symbols: dict[str, None] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        if not item.startswith("@"):
            symbols[parse_symbol(item)] = None
        elif item.lower() in GROUPS:
            symbols |= dict.fromkeys(GROUPS[item.lower()])
        else:
            raise UsageError(f"{item[:40]!r} is no group; the known ones are {', '.join(GROUPS)}")
    if not symbols:
        raise UsageError("no symbol is named")
    return tuple(symbols)
