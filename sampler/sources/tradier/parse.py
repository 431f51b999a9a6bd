"""What Tradier's market data looks like: one expiry's chain, quotes and expiries, from bytes.

A list with one element comes as that element alone, an empty one as null. Times are unix
milliseconds. A contract keeps its last trade until the next one, and at times even that day's
volume: both are of another day then. Pure: nothing here waits, and nothing is fetched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from sampler.chain import Floats, Frame
from sampler.errors import ChainRefused
from sampler.sources.json_fields import (
    day_bounds,
    day_of,
    decode_json,
    finite,
    moment_of,
    number_columns,
    text_of,
)
from storage.market.calendar import market_day
from storage.record.row import Drop, Reason

#: The vendor's name, as rows and source URLs have it.
NAME = "tradier"
#: Column → field of a contract. Tradier's greeks and volatilities are an hour old and not used.
FIELDS = {
    "strike": "strike",
    "bid": "bid",
    "ask": "ask",
    "last": "last",
    "last_at": "trade_date",
    "open_interest": "open_interest",
    "volume": "volume",
    "size": "contract_size",
    "bid_at": "bid_date",
    "ask_at": "ask_date",
}
#: A quote whose time is ahead of our clock by more than this says nothing about the others'. [s]
AHEAD = 120.0
#: Contracts of any other size are adjusted ones. [shares]
SIZE = 100
SIDES = {"call": 1, "put": -1}


@dataclass(frozen=True, slots=True)
class UnderlyingQuote:
    """The price of an underlying, and when it traded there."""

    #: NaN where there is none. [$]
    price: float
    #: None where the answer does not say.
    traded_at: datetime | None


def parse_tradier_chain(
    body: bytes, *, symbol: str, now: datetime, delay_seconds: int, spot: UnderlyingQuote
) -> Frame | None:
    """A frame from the answer of ``/markets/options/chains``.

    Parameters
    ----------
    body : the answer, unpacked.
    symbol : the underlying that was asked for.
    now : when the answer was fetched, UTC.
    delay_seconds : how far the quotes lie behind: 0, or 900 in the sandbox. [s]
    spot : the underlying's quote, which another answer has.

    Returns
    -------
    Frame or None
        All contracts of the expiry as a frame; None if the answer lists no contract.

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong.
    """
    contracts = _elements(body, "options", "option", symbol)
    if not contracts:
        return None
    for contract in contracts:
        named = contract.get("underlying")
        if isinstance(named, str) and symbol_letters(named) != symbol_letters(symbol):
            raise _bad(symbol, "with the chain of another symbol")
    columns = number_columns(contracts, FIELDS)
    quoted_at = _quotes_time(columns, symbol, now)
    _keep_todays_trades(columns, quoted_at)
    adjusted = np.isfinite(columns["size"]) & (columns["size"] != SIZE)
    whole = {
        "root": np.array([text_of(item.get("root_symbol")) for item in contracts]),
        "expiry": np.array(
            [day_of(item.get("expiration_date")) for item in contracts], "datetime64[D]"
        ),
        "right": np.array([SIDES.get(text_of(item.get("option_type")), 0) for item in contracts]),
        **columns,
    }
    # A contract whose day cannot be read counts as the asked one's, and as unreadable.
    undated = np.isnat(whole["expiry"])
    whole["expiry"][undated] = np.datetime64(market_day(quoted_at))
    whole["right"][undated] = 0
    return Frame.of(
        symbol=symbol,
        source=NAME,
        delay_seconds=delay_seconds,
        quoted_at=quoted_at,
        fetched_at=now,
        spot=spot.price,
        underlying_at=spot.traded_at,
        columns={name: column[~adjusted] for name, column in whole.items()},
        dropped={str(Drop.ADJUSTED): int(adjusted.sum())} if adjusted.any() else None,
    )


def parse_tradier_quotes(body: bytes, *, symbol: str) -> dict[str, UnderlyingQuote]:
    """Prices from the answer of ``/markets/quotes``.

    Parameters
    ----------
    body : the answer, unpacked.
    symbol : the symbol that errors name.

    Returns
    -------
    dict of UnderlyingQuote
        By the letters and digits of each symbol; symbols that Tradier does not know are absent.

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong.
    """
    quotes = {}
    for quote in _elements(body, "quotes", "quote", symbol):
        price = finite(quote.get("last"))
        quotes[symbol_letters(text_of(quote.get("symbol")))] = UnderlyingQuote(
            price if price > 0 else math.nan, moment_of(finite(quote.get("trade_date")) / 1000)
        )
    return quotes


def parse_expirations(body: bytes, *, symbol: str) -> list[date]:
    """Days from the answer of ``/markets/options/expirations``.

    Parameters
    ----------
    body : the answer, unpacked.
    symbol : the underlying that was asked for.

    Returns
    -------
    list of date
        The days on which anything expires, in order; none for a symbol without options.

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong.
    """
    days = {day_of(text) for text in _list(body, "expirations", "date", symbol)}
    return sorted(day for day in days if day is not None)


def symbol_letters(symbol: str) -> str:
    """What is left of ``BRK/B`` or ``BRK.B`` when spellings do not count.

    Parameters
    ----------
    symbol : a symbol in any spelling.

    Returns
    -------
    str
        Its letters and digits, in upper case.
    """
    return "".join(char for char in symbol.upper() if char.isalnum())


def _list(body: bytes, outer: str, inner: str, symbol: str) -> list[Any]:
    """The elements of ``{outer: {inner: […]}}``, whatever shape it has."""
    try:
        answer = decode_json(body)
    except (ValueError, RecursionError):
        raise _bad(symbol, _what_else(body)) from None
    if not isinstance(answer, dict) or outer not in answer:
        fault = isinstance(answer, dict) and bool({"fault", "errors"} & set(answer))
        raise _bad(symbol, "an error in place of data" if fault else f"JSON without {outer}")
    group = answer[outer]
    # Tradier writes an empty list as null; "null" is what its XML makes of it.
    if group in (None, "null", ""):
        return []
    elements = group.get(inner) if isinstance(group, dict) else None
    if isinstance(group, dict) and elements is None:
        return []
    if not isinstance(group, dict):
        raise _bad(symbol, f"JSON without {outer}.{inner}")
    return elements if isinstance(elements, list) else [elements]


def _elements(body: bytes, outer: str, inner: str, symbol: str) -> list[dict[str, Any]]:
    elements = _list(body, outer, inner, symbol)
    objects = [item for item in elements if isinstance(item, dict)]
    if elements and not objects:
        raise _bad(symbol, f"{outer}.{inner} that are no objects")
    return objects


def _what_else(body: bytes) -> str:
    """What a body is that is no JSON. Nothing of it is quoted: it may repeat the token."""
    start = body[:512].lstrip().lower()
    if not start:
        return "nothing"
    if b"<html" in start or start.startswith(b"<!doctype"):
        return "an HTML page: something between here and Tradier has answered in its place"
    if start.startswith(b"<"):
        return "XML: something between here and Tradier has changed the header Accept"
    return "neither JSON nor XML"


def _quotes_time(columns: Mapping[str, Floats], symbol: str, now: datetime) -> datetime:
    """When the newest quote was made: of those with two sides, or of any if none has."""
    bid, ask = columns["bid"], columns["ask"]
    times = np.fmax(columns["bid_at"], columns["ask_at"]) / 1000
    times[~((times >= 86_400) & (times < 4_102_444_800))] = np.nan
    two_sided = (bid > 0) & (ask >= bid) & ~np.isnan(times)
    known = times[two_sided] if two_sided.any() else times[~np.isnan(times)]
    if not len(known):
        raise _bad(symbol, "a chain in which no quote has a time")
    likely = known[known <= now.timestamp() + AHEAD]
    return datetime.fromtimestamp(float((likely if len(likely) else known).max()), UTC)


def _keep_todays_trades(columns: dict[str, Floats], quoted_at: datetime) -> None:
    """Forget last trades of other days, and the volume of contracts that did not trade since.

    In a recorded answer two of 472 contracts have the volume of the day before beside that day's
    last trade: without a trade today nothing was traded today.
    """
    evening, midnight, end = day_bounds(quoted_at)
    last_seconds = columns["last_at"] / 1000
    last_seconds[~(last_seconds >= 86_400)] = np.nan
    columns["volume"] = np.where(last_seconds < evening, 0.0, columns["volume"])
    other_day = (last_seconds < midnight) | (last_seconds >= end)
    columns["last"] = np.where(other_day, np.nan, columns["last"])
    columns["last_at"] = np.where(other_day, np.nan, last_seconds)


def _bad(symbol: str, what: str) -> ChainRefused:
    return ChainRefused(Reason.BAD_ANSWER, f"{symbol}: {NAME} answered {what}")
