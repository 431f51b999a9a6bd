"""What Schwab's option chains look like: one JSON answer, from bytes to a frame.

Pure: nothing here waits, and nothing is fetched; ``source`` does that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Floats, Frame
from sampler.errors import ChainRefused
from sampler.sources.json_fields import day_bounds, decode_json, finite, number_columns
from storage.market.calendar import market_day
from storage.record.row import Drop, Reason

#: The vendor's name, as rows and source URLs have it.
NAME = "schwab"
#: How far quotes lie behind in an answer that says ``isDelayed``. [s]
DELAYED = 900
#: A contract delivers so many shares; one that does not is adjusted, or a mini.
SHARES = 100.0
#: A time that is further ahead of the request is no time. [s]
CLOCKS_APART = 60.0
#: The right of a contract's map, the key of its expiry there, and the contract.
Entry = tuple[int, str, dict[str, Any]]
#: Fields of an answer that hold contracts, and whether these are calls (+1) or puts (−1).
MAPS = {"callExpDateMap": 1, "putExpDateMap": -1}
RIGHTS = {"CALL": 1, "PUT": -1}
#: Column → field of a contract. None is ever negative: where Schwab has no number, it sends -999.
FIELDS = {
    "strike": "strikePrice",
    "bid": "bid",
    "ask": "ask",
    "last": "last",
    "open_interest": "openInterest",
    "volume": "totalVolume",
    "source_iv": "volatility",
    "last_at": "tradeTimeInLong",
    "quote_at": "quoteTimeInLong",
}


def parse_schwab_chain(body: bytes, *, symbol: str, now: datetime) -> Frame:
    """Read a frame from an answer's bytes.

    The quotes' time is the newest one among the contracts that have a bid and an ask. A contract
    whose last trade was in an earlier session has traded nothing in this one: its volume is 0, its
    last price NaN. A contract that is not of 100 standard shares is left out, and counted.

    Parameters
    ----------
    body : the answer, unpacked.
    symbol : the underlying that was asked for, as we name it (``SPX``).
    now : when the answer was fetched, UTC.

    Returns
    -------
    Frame
        Every contract of the answer.

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong; ``no_zero_dte`` for an answer without any contract.
    """

    def bad(what: str) -> ChainRefused:
        return ChainRefused(Reason.BAD_ANSWER, f"{symbol}: schwab answered {what}")

    answer = _answer(body, bad)
    named = answer.get("symbol")
    if isinstance(named, str) and _letters(named) != _letters(symbol):
        raise bad(f"for {named[:20]!r}")
    status = answer.get("status", "SUCCESS")
    if status != "SUCCESS":
        raise bad(f"with the status {str(status)[:40]!r}")
    if answer.get("isChainTruncated") is True:
        raise bad("a truncated chain: sums over a part of the strikes would be wrong")
    contracts = list(_contracts(answer))
    if not contracts:
        raise ChainRefused(
            Reason.NO_ZERO_DTE, f"{symbol}: schwab lists nothing that expires on the day asked for"
        )
    adjusted = [_is_adjusted(contract) for _, _, contract in contracts]
    standard = [entry for entry, odd in zip(contracts, adjusted, strict=True) if not odd]
    columns = _columns(standard, now)
    two_sided = (columns["bid"] > 0) & (columns["ask"] >= columns["bid"])
    quoted_at = _newest(columns.pop("quote_at")[two_sided])
    if quoted_at is None:
        raise bad("no contract with a bid, an ask and the time of both")
    _clear_other_days(columns, quoted_at)
    # A contract of an unreadable day stays, so that the chain counts it: its right is unreadable.
    undated = np.isnat(columns["expiry"])
    columns["expiry"][undated] = np.datetime64(market_day(quoted_at))
    columns["right"][undated] = 0
    spot, underlying_at = _underlying(answer, now)
    return Frame.of(
        symbol=symbol,
        source=NAME,
        delay_seconds=DELAYED if answer.get("isDelayed") is True else 0,
        quoted_at=quoted_at,
        underlying_at=underlying_at,
        fetched_at=now,
        spot=spot,
        columns=columns,
        dropped={str(Drop.ADJUSTED): sum(adjusted)} if any(adjusted) else {},
    )


def parse_schwab_expirations(body: bytes, symbol: str) -> list[date]:
    """Read the days of an answer of ``/expirationchain``.

    Parameters
    ----------
    body : the answer, unpacked.
    symbol : the underlying that was asked for, as we name it.

    Returns
    -------
    list of date
        The days on which anything expires, in order; what is no day is left out.

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong.
    """
    try:
        answer = decode_json(body)
        listed = answer["expirationList"]
        names = {item.get("expirationDate") for item in listed if isinstance(item, dict)}
    except (ValueError, RecursionError, TypeError, KeyError):
        raise ChainRefused(
            Reason.BAD_ANSWER, f"{symbol}: schwab answered no list of expirations"
        ) from None
    days = {_day(name) for name in names if isinstance(name, str)}
    return sorted(date.fromisoformat(str(day)) for day in days if not np.isnat(day))


def _answer(body: bytes, bad: Callable[[str], ChainRefused]) -> dict[str, Any]:
    try:
        answer = decode_json(body)
    except (ValueError, RecursionError) as error:
        start = body[:40].decode(errors="replace")
        raise bad(f"no JSON: {error}; it starts {start!r}" if body else "nothing") from None
    if not isinstance(answer, dict) or not all(isinstance(answer.get(m), dict) for m in MAPS):
        raise bad("JSON without callExpDateMap and putExpDateMap")
    return answer


def _contracts(answer: dict[str, Any]) -> Iterator[Entry]:
    """Each contract with the right of its map and the key of its expiry, e.g. ``2030-01-15:0``."""
    for name, right in MAPS.items():
        for day, strikes in answer[name].items():
            if not isinstance(strikes, dict):
                continue
            for listed in strikes.values():
                # One strike may list SPX and SPXW.
                for contract in listed if isinstance(listed, list) else ():
                    yield right, day, contract if isinstance(contract, dict) else {}


def _is_adjusted(contract: dict[str, Any]) -> bool:
    shares = finite(contract.get("multiplier"))
    return contract.get("nonStandard") is True or (shares > 0 and shares != SHARES)


def _columns(contracts: list[Entry], now: datetime) -> dict[str, NDArray[Any]]:
    rows = [contract for _, _, contract in contracts]
    numbers = number_columns(rows, FIELDS)
    columns: dict[str, NDArray[Any]] = {
        "root": np.array([_root(row) for row in rows], np.str_),
        "expiry": np.array([_day(key) for _, key, _ in contracts], "datetime64[D]"),
        "right": np.array([_right(right, row) for right, _, row in contracts], np.int8),
        **{name: np.where(numbers[name] >= 0, numbers[name], np.nan) for name in FIELDS},
    }
    for name in ("last_at", "quote_at"):
        columns[name] = _times(columns[name], now)
    # A volatility is sent in percent; 0 is none.
    columns["source_iv"] = np.where(columns["source_iv"] > 0, columns["source_iv"] / 100, np.nan)
    # A bid and an ask of 0 mean that nobody quotes the contract.
    quoted = (columns["bid"] > 0) | (columns["ask"] > 0)
    for name in ("bid", "ask"):
        columns[name] = np.where(quoted, columns[name], np.nan)
    columns["last"] = np.where(columns["last"] > 0, columns["last"], np.nan)
    return columns


def _newest(times: Floats) -> datetime | None:
    """The latest of some unix times; None without one that is known."""
    known = times[~np.isnan(times)]
    return datetime.fromtimestamp(float(known.max()), UTC) if len(known) else None


def _clear_other_days(columns: dict[str, NDArray[Any]], quoted_at: datetime) -> None:
    """Clear the volume and the last trade of contracts that have not traded in this session."""
    evening, midnight, _ = day_bounds(quoted_at)
    columns["volume"] = np.where(columns["last_at"] < evening, 0.0, columns["volume"])
    earlier = columns["last_at"] < midnight
    for name in ("last", "last_at"):
        columns[name] = np.where(earlier, np.nan, columns[name])


def _underlying(answer: dict[str, Any], now: datetime) -> tuple[float, datetime | None]:
    """Price of the underlying and, where the answer says so, when it was made."""
    quote = answer.get("underlying")
    quote = quote if isinstance(quote, dict) else {}
    prices = [answer.get("underlyingPrice"), *(quote.get(name) for name in ("mark", "last"))]
    spot = next((price for price in map(finite, prices) if price > 0), math.nan)
    milliseconds = np.array([finite(quote.get(name)) for name in ("quoteTime", "tradeTime")])
    return spot, _newest(_times(milliseconds, now))


def _times(milliseconds: Floats, now: datetime) -> Floats:
    """Unix seconds of epoch milliseconds; NaN for 0 and for what lies ahead."""
    seconds = milliseconds / 1000
    known = (seconds > 0) & (seconds <= now.timestamp() + CLOCKS_APART)
    return np.where(known, seconds, np.nan)


def _root(contract: dict[str, Any]) -> str:
    """The option root, from its own field or from the OCC symbol ``SPXW  300115C09000000``."""
    root, occ = contract.get("optionRoot"), contract.get("symbol")
    if isinstance(root, str) and root.strip():
        return root.strip()
    return occ[:-15].strip() if isinstance(occ, str) else ""


def _day(key: str) -> np.datetime64:
    """The day in a key such as ``2030-01-15:0``; NaT for a key without one."""
    day = key.partition(":")[0]
    try:
        return np.datetime64(day if re.fullmatch(r"\d{4}-\d\d-\d\d", day) else "NaT", "D")
    except ValueError:
        return np.datetime64("NaT", "D")


def _right(of_map: int, contract: dict[str, Any]) -> int:
    """+1 or -1; 0 where the contract contradicts the map that it stands in."""
    own = contract.get("putCall")
    return of_map if own is None or RIGHTS.get(str(own)) == of_map else 0


def _letters(symbol: str) -> str:
    """What is left of ``$SPX`` or ``BRK/B`` when spellings do not count."""
    return re.sub(r"[^A-Z0-9]", "", symbol.upper())
