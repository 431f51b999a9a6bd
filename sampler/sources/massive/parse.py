"""What Massive's chain snapshot looks like: pages of contracts, from bytes to a frame.

What a contract or a plan does not have is absent. Times are unix nanoseconds. The daily bar of a
contract is of the last session in which it traded, until it trades again. Pure: nothing here waits,
and nothing is fetched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

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
from storage.market.instruments import instrument_of
from storage.record.row import Drop, Reason

#: The vendor's name, as rows and source URLs have it.
NAME = "massive"
#: Column → object of a contract, and the field in it.
FIELDS = {
    "strike": ("details", "strike_price"),
    "size": ("details", "shares_per_contract"),
    "bid": ("last_quote", "bid"),
    "ask": ("last_quote", "ask"),
    "quote_at": ("last_quote", "last_updated"),
    "last": ("last_trade", "price"),
    "last_at": ("last_trade", "sip_timestamp"),
    "volume": ("day", "volume"),
    "day_at": ("day", "last_updated"),
    "open_interest": ("", "open_interest"),
    "source_iv": ("", "implied_volatility"),
}
#: How far a delayed plan's quotes lie behind. [s]
DELAYED = 900
#: A quote whose time is ahead of our clock by more than this says nothing about the others'. [s]
AHEAD = 120.0
#: Contracts of any other size are adjusted ones. [shares]
SIZE = 100
SIDES = {"call": 1, "put": -1}
#: Hosts that a next page may be on. It is asked of the source's own base, whichever of them it is.
OWN_HOSTS = frozenset({"api.massive.com", "api.polygon.io"})


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """One page of a snapshot."""

    contracts: Sequence[Mapping[str, Any]]
    #: Path and query of the next page; None for the last one.
    next_path: str | None
    #: Whether the answer as a whole says that it is delayed.
    delayed: bool


def parse_snapshot_page(body: bytes, *, symbol: str, base: str) -> SnapshotPage:
    """A page from the answer of ``/v3/snapshot/options/…``.

    Parameters
    ----------
    body : the answer, unpacked.
    symbol : the underlying that was asked for.
    base : the source's own base address, on which the next page has to be.

    Returns
    -------
    SnapshotPage
        Its contracts, and where the next page is.

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong; ``source_down`` where the plan does not have snapshots.
    """
    answer = _decoded(body, symbol)
    results = answer.get("results", [])
    # One contract alone may come as itself.
    results = [results] if isinstance(results, dict) else results or []
    if not isinstance(results, list):
        raise _bad(symbol, "results that are no list")
    contracts = [item for item in results if isinstance(item, dict)]
    if results and not contracts:
        raise _bad(symbol, "results that are no objects")
    return SnapshotPage(
        contracts,
        _next_path(answer.get("next_url"), base, symbol),
        delayed=answer.get("status") == "DELAYED",
    )


def parse_massive_chain(
    pages: Sequence[SnapshotPage],
    *,
    symbol: str,
    now: datetime,
    delay_seconds: int,
    pages_seconds: float | None = None,
) -> Frame | None:
    """A frame from all pages of a snapshot.

    Parameters
    ----------
    pages : the pages, in order.
    symbol : the underlying that was asked for.
    now : when the first page was asked for, UTC.
    delay_seconds : how far quotes lie behind where the answer does not say. [s]
    pages_seconds : from the request of the first page to that of the last. [s]

    Returns
    -------
    Frame or None
        All contracts of the expiry as a frame; None if no page lists a contract.

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong; ``source_down`` where the plan has no quotes.
    """
    contracts = [contract for page in pages for contract in page.contracts]
    if not contracts:
        return None
    details = [_object(contract, "details") for contract in contracts]
    columns = _columns(contracts)
    if not any("last_quote" in contract for contract in contracts):
        raise ChainRefused(
            Reason.SOURCE_DOWN,
            f"{symbol}: massive sends no quotes of options with this plan: the plan Options"
            " Advanced has them",
        )
    quoted_at = _quotes_time(columns, symbol, now)
    _keep_todays(columns, contracts, quoted_at)
    adjusted = np.isfinite(columns["size"]) & (columns["size"] != SIZE)
    days = np.array([day_of(detail.get("expiration_date")) for detail in details], "datetime64[D]")
    # A contract whose day cannot be read counts as the asked one's, and as unreadable.
    undated = np.isnat(days)
    whole = {
        "root": np.array([_root(detail.get("ticker")) for detail in details]),
        "expiry": np.where(undated, np.datetime64(market_day(quoted_at)), days),
        "right": np.where(
            undated, 0, [SIDES.get(text_of(detail.get("contract_type")), 0) for detail in details]
        ),
        **columns,
    }
    spot, spot_at = _underlying(contracts)
    return Frame.of(
        symbol=symbol,
        source=NAME,
        delay_seconds=_delay(pages, contracts, delay_seconds),
        quoted_at=quoted_at,
        fetched_at=now,
        spot=spot,
        underlying_at=spot_at,
        columns={name: column[~adjusted] for name, column in whole.items()},
        dropped={str(Drop.ADJUSTED): int(adjusted.sum())} if adjusted.any() else None,
        pages_seconds=pages_seconds,
    )


def parse_next_expiry(body: bytes, *, symbol: str) -> date | None:
    """The first expiry that the answer of ``/v3/reference/options/contracts`` lists.

    Parameters
    ----------
    body : the answer, unpacked.
    symbol : the underlying that was asked for.

    Returns
    -------
    date or None
        The day; None where no contract is listed.

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong.
    """
    results = _decoded(body, symbol).get("results")
    listed = (
        [item for item in results if isinstance(item, dict)] if isinstance(results, list) else []
    )
    days = [day for item in listed if (day := day_of(item.get("expiration_date")))]
    return min(days, default=None)


def massive_ticker(symbol: str) -> str:
    """The underlying as snapshots name it: an index stands behind ``I:``.

    Parameters
    ----------
    symbol : the underlying.

    Returns
    -------
    str
        ``I:SPX`` for SPX, ``SPY`` for SPY.
    """
    return f"I:{symbol}" if instrument_of(symbol).index else symbol


def _decoded(body: bytes, symbol: str) -> dict[str, Any]:
    """An answer that is good by its own word. Nothing of it is quoted: it may repeat the key."""
    try:
        answer = decode_json(body)
    except (ValueError, RecursionError):
        start = body[:512].lower()
        html = b"<html" in start or start.lstrip().startswith(b"<!doctype")
        other = "an HTML page in place of JSON" if html else "what is no JSON"
        raise _bad(symbol, other if body.strip() else "nothing") from None
    if not isinstance(answer, dict):
        raise _bad(symbol, "JSON that is no object")
    status = answer.get("status")
    if status == "NOT_AUTHORIZED":
        raise not_in_plan(symbol)
    if status not in ("OK", "DELAYED") and not (status is None and "results" in answer):
        raise _bad(symbol, "an error in place of data" if status else "JSON without results")
    return answer


def not_in_plan(symbol: str) -> ChainRefused:
    """The refusal of a key whose plan does not have what was asked for.

    Parameters
    ----------
    symbol : the underlying.

    Returns
    -------
    ChainRefused
        ``source_down``, with the plans that have it.
    """
    return ChainRefused(
        Reason.SOURCE_DOWN,
        f"{symbol}: massive does not include this in the plan of the key: snapshots of chains"
        " begin with the plan Options Starter, real-time quotes with Options Advanced",
    )


def _next_path(next_url: Any, base: str, symbol: str) -> str | None:
    """Path and query of the next page, behind the base. The key never follows another host."""
    if not next_url:
        return None
    try:
        parts, own = urlsplit(next_url if isinstance(next_url, str) else ""), urlsplit(base)
        hosts = {(own.scheme, own.netloc), *(("https", host) for host in OWN_HOSTS)}
        if (parts.scheme, parts.netloc) not in hosts:
            raise ValueError("another host")
        path = parts.path
        if parts.netloc == own.netloc:
            path = path.removeprefix(own.path)
        if not path.startswith("/v3/snapshot/options/"):
            raise ValueError("another path")
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise _bad(symbol, "a next page that is not on its own host") from None
    # A key in an address would stand in logs.
    query = urlencode([(name, text) for name, text in pairs if name.lower() != "apikey"])
    return f"{path}?{query}"


def _columns(contracts: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    flat = []
    for contract in contracts:
        row = {"": contract, **{name: _object(contract, name) for name in _OBJECTS}}
        flat.append({name: row[group].get(key) for name, (group, key) in FIELDS.items()})
    return number_columns(flat, {name: name for name in FIELDS})


_OBJECTS = ("details", "last_quote", "last_trade", "day")


def _quotes_time(columns: Mapping[str, Floats], symbol: str, now: datetime) -> datetime:
    """When the newest quote was made: of those with two sides, or of any if none has."""
    bid, ask, times = columns["bid"], columns["ask"], columns["quote_at"] / 1e9
    times[~((times >= 86_400) & (times < 4_102_444_800))] = np.nan
    two_sided = (bid > 0) & (ask >= bid) & ~np.isnan(times)
    known = times[two_sided] if two_sided.any() else times[~np.isnan(times)]
    if not len(known):
        raise _bad(symbol, "a chain in which no quote has a time: quoting has not begun")
    likely = known[known <= now.timestamp() + AHEAD]
    return datetime.fromtimestamp(float((likely if len(likely) else known).max()), UTC)


def _keep_todays(
    columns: dict[str, Floats], contracts: Sequence[Mapping[str, Any]], quoted_at: datetime
) -> None:
    """Take volume as 0 where the daily bar is of another session, and forget its last trades.

    A bar that is absent is that of a contract that never traded, unless all are: then the plan has
    none, and no volume is known. A bar without a time is of an unknown day. A contract whose last
    trade is of an earlier session has traded nothing today, whatever its bar says.
    """
    evening, midnight, end = day_bounds(quoted_at)
    bar_at = columns["day_at"] / 1e9
    bar_known = (bar_at >= 86_400) & (bar_at < 4_102_444_800)
    today = bar_known & (bar_at >= midnight) & (bar_at < end)
    absent = np.array([not _object(contract, "day") for contract in contracts])
    untraded = (bar_known & ~today) | (absent & bar_known.any())
    volume = np.where(today, columns["volume"], np.nan)
    last_seconds = columns["last_at"] / 1e9
    last_seconds[~(last_seconds >= 86_400)] = np.nan
    columns["volume"] = np.where(untraded | (last_seconds < evening), 0.0, volume)
    other_day = (last_seconds < midnight) | (last_seconds >= end)
    columns["last"] = np.where(other_day, np.nan, columns["last"])
    columns["last_at"] = np.where(other_day, np.nan, last_seconds)


def _underlying(contracts: Sequence[Mapping[str, Any]]) -> tuple[float, datetime | None]:
    """The newest price of the underlying that stands beside any contract, and its time."""
    newest: tuple[float, float] = (-math.inf, math.nan)
    for contract in contracts:
        asset = _object(contract, "underlying_asset")
        price = finite(asset.get("price"))
        price = price if price > 0 else finite(asset.get("value"))
        updated = finite(asset.get("last_updated"))
        updated = -1.0 if math.isnan(updated) else updated
        if price > 0 and updated > newest[0]:
            newest = (updated, price)
    return newest[1], moment_of(newest[0] / 1e9)


def _delay(
    pages: Sequence[SnapshotPage], contracts: Sequence[Mapping[str, Any]], declared: int
) -> int:
    """How far the quotes lie behind, by what they say of themselves. [s]"""
    frames = [_object(contract, "last_quote").get("timeframe") for contract in contracts]
    if "DELAYED" in frames or any(page.delayed for page in pages):
        return DELAYED
    return 0 if "REAL-TIME" in frames else declared


def _object(contract: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = contract.get(name)
    return value if isinstance(value, dict) else {}


def _root(ticker: Any) -> str:
    """``SPXW`` of ``O:SPXW300115C09000000``."""
    return text_of(ticker).removeprefix("O:")[:-15]


def _bad(symbol: str, what: str) -> ChainRefused:
    return ChainRefused(Reason.BAD_ANSWER, f"{symbol}: {NAME} answered {what}")
