"""Parse what tastytrade and dxLink send: tokens, listed contracts, market events in COMPACT form.

Pure: nothing here waits, and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from sampler.chain import Floats
from sampler.errors import ChainRefused
from sampler.sources.assembler import StreamedContract
from sampler.sources.json_fields import decode_json, finite, text_of
from sampler.sources.sides import StreamedPrints
from sampler.sources.trades import Indexes, PrintKind
from storage.record.row import Reason

#: The vendor's name, as rows and source URLs have it.
NAME = "dxlink"
#: What is asked for of each kind of event, in the order of its fields.
EVENT_FIELDS: dict[str, list[str]] = {
    "Quote": ["eventSymbol", "bidTime", "askTime", "bidPrice", "askPrice"],
    "Trade": ["eventSymbol", "time", "price", "dayVolume"],
    "Summary": ["eventSymbol", "openInterest"],
    "TimeAndSale": [
        *("eventSymbol", "index", "time", "price", "size", "bidPrice", "askPrice"),
        *("aggressorSide", "spreadLeg", "validTick", "type"),
    ],
}
#: Contracts of any other size are adjusted ones. [shares]
SIZE = 100
SIDES = {"BUY": 1.0, "SELL": -1.0}


@dataclass(frozen=True, slots=True)
class ListedDay:
    """A symbol's contracts of one day, and what else the listing says."""

    #: By the name that the stream has for each.
    contracts: dict[str, StreamedContract]
    #: Contracts of that day that deliver something else than 100 shares. [count]
    adjusted: int
    #: Every day on which anything expires, in order.
    days: list[date]


def parse_access(body: bytes) -> tuple[str, float]:
    """An access token from the answer of ``/oauth/token``.

    Parameters
    ----------
    body : the answer, unpacked.

    Returns
    -------
    tuple of str and float
        The token, and how long it is valid [s].

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong, never with the answer's text.
    """
    answer = _object(body)
    lasts = finite(answer.get("expires_in"))
    return _visible(answer, "access_token"), lasts if lasts > 0 else 0.0


def parse_quote_token(body: bytes) -> tuple[str, str]:
    """The stream's token and address from the answer of ``/api-quote-tokens``.

    Parameters
    ----------
    body : the answer, unpacked.

    Returns
    -------
    tuple of str
        The token, and the address of the WebSocket.

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong, never with the answer's text.
    """
    data = _object(body).get("data")
    data = data if isinstance(data, dict) else {}
    return _visible(data, "token"), _visible(data, "dxlink-url")


def parse_listed_day(body: bytes, day: date) -> ListedDay:
    """One day's contracts from the answer of ``/option-chains/<symbol>/nested``.

    Parameters
    ----------
    body : the answer, unpacked.
    day : the day of expiry.

    Returns
    -------
    ListedDay
        The contracts that expire then; none where the listing has none.

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong.
    """
    data = _object(body).get("data")
    items = data.get("items") if isinstance(data, dict) else None
    if not isinstance(items, list):
        raise refused_answer("JSON without data.items")
    listed = ListedDay({}, 0, [])
    days, adjusted = set(), 0
    for item in _objects(items):
        size = finite(item.get("shares-per-contract"))
        odd = np.isfinite(size) and size != SIZE
        for expiry in _objects(item.get("expirations")):
            try:
                expires = date.fromisoformat(str(expiry.get("expiration-date"))[:10])
            except ValueError:
                continue
            days.add(expires)
            if expires != day:
                continue
            for strike in _objects(expiry.get("strikes")):
                price = finite(strike.get("strike-price"))
                for name, right in (("call", 1), ("put", -1)):
                    streamed = strike.get(f"{name}-streamer-symbol")
                    if not isinstance(streamed, str) or not streamed:
                        continue
                    if odd:
                        adjusted += 1
                        continue
                    listed.contracts[streamed] = StreamedContract(
                        text_of(item.get("root-symbol")), expires, price, right
                    )
    return ListedDay(listed.contracts, adjusted, sorted(days))


def read_message(text: str | bytes) -> dict[str, Any]:
    """Decode one message of the stream.

    Parameters
    ----------
    text : the message.

    Returns
    -------
    dict
        The message, an object with a ``type``.

    Raises
    ------
    ChainRefused
        ``bad_answer`` for what is none.
    """
    try:
        message = decode_json(text.encode() if isinstance(text, str) else text)
    except (ValueError, RecursionError):
        raise refused_answer("a message that is no JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise refused_answer("a message without a type")
    return message


def event_fields(message: Mapping[str, Any]) -> dict[str, list[str]]:
    """The order of fields that a FEED_CONFIG message announces.

    Parameters
    ----------
    message : the message.

    Returns
    -------
    dict of list
        Kind of event → its fields; kinds that it does not name are absent.

    Raises
    ------
    ChainRefused
        ``bad_answer`` where a kind that is needed comes without its symbol.
    """
    announced = message.get("eventFields")
    fields: dict[str, list[str]] = {}
    for kind, names in announced.items() if isinstance(announced, dict) else ():
        if kind in EVENT_FIELDS and isinstance(names, list):
            if "eventSymbol" not in names:
                raise refused_answer("events without a symbol")
            fields[kind] = [str(name) for name in names]
    return fields


def compact_events(
    data: Any, fields: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """Each kind of event in the data of a FEED_DATA message, as columns of one length.

    Parameters
    ----------
    data : kinds and flat lists of values in turn.
    fields : kind → its fields, in order.

    Yields
    ------
    tuple of str and dict
        The kind, and its fields' values; kinds that are not known are left out.

    Raises
    ------
    ChainRefused
        ``bad_answer`` where lists do not fit the fields.
    """
    if not isinstance(data, list) or len(data) % 2:
        raise refused_answer("events in another form than COMPACT")
    for kind, flat in zip(data[::2], data[1::2], strict=True):
        if not isinstance(kind, str) or not isinstance(flat, list):
            raise refused_answer("events in another form than COMPACT")
        names = fields.get(kind)
        if names is None:
            continue
        width = len(names)
        if len(flat) % width:
            raise refused_answer(f"{kind} events with other fields than announced")
        yield kind, {name: flat[i::width] for i, name in enumerate(names)}


def numbers_of(values: Sequence[Any] | None, n: int) -> Floats:
    """A column of numbers.

    Parameters
    ----------
    values : n values, or None where the field is absent.
    n : how many.

    Returns
    -------
    Floats
        Of shape (n,); NaN for what is no finite number.
    """
    if values is None:
        return np.full(n, np.nan)
    try:
        column = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        column = np.array([finite(value) for value in values])
    if column.shape != (n,):
        column = np.array([finite(value) for value in values])
    column[~np.isfinite(column)] = np.nan
    return column


def streamed_prints(events: Mapping[str, list[Any]], contract: Indexes) -> StreamedPrints:
    """TimeAndSale events as prints.

    Parameters
    ----------
    events : the fields' values, n of each.
    contract : index of the contract of each. (n,)

    Returns
    -------
    StreamedPrints
        The prints. A leg of a spread has no side; an invalid tick adds volume alone.
    """
    n = len(contract)

    def values(name: str) -> list[Any]:
        return events.get(name) or [None] * n

    number = {
        name: numbers_of(events.get(name), n)
        for name in ("time", "price", "size", "bidPrice", "askPrice")
    }
    kinds = [
        PrintKind.UNSIDED if valid is False
        else PrintKind.MULTI_LEG if leg is True
        else PrintKind.SIDED
        for leg, valid in zip(values("spreadLeg"), values("validTick"), strict=True)
    ]  # fmt: skip
    types = values("type")
    return StreamedPrints(
        contract=contract,
        index=[index if type(index) is int and index else None for index in values("index")],
        moment=number["time"] / 1000,
        price=number["price"],
        size=number["size"],
        bid=number["bidPrice"],
        ask=number["askPrice"],
        side=np.array(
            [
                SIDES.get(s, np.nan) if isinstance(s, str) else np.nan
                for s in values("aggressorSide")
            ]
        ),
        kind=np.array(kinds, np.int8),
        undoes=np.array([name in ("CANCEL", "CORRECTION") for name in types], np.bool_),
        reports=np.array([name != "CANCEL" for name in types], np.bool_),
    )


def refused_answer(what: str) -> ChainRefused:
    """Make the refusal of an unreadable answer; its sentence lacks the symbol, which comes first.

    Parameters
    ----------
    what : what was received.

    Returns
    -------
    ChainRefused
        ``bad_answer``.
    """
    return ChainRefused(Reason.BAD_ANSWER, f"{NAME} answered {what}")


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = decode_json(body)
    except (ValueError, RecursionError):
        raise refused_answer(_what_else(body)) from None
    if not isinstance(answer, dict):
        raise refused_answer("JSON that is no object")
    return answer


def _what_else(body: bytes) -> str:
    """What a body is that is no JSON. Nothing of it is quoted: it may repeat a token."""
    start = body[:512].lstrip().lower()
    if not start:
        return "nothing"
    if b"<html" in start or start.startswith(b"<!doctype"):
        return "an HTML page: something between here and tastytrade has answered in its place"
    return "no JSON"


def _visible(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise refused_answer(f"JSON without {name}")
    return value


def _objects(values: Any) -> list[dict[str, Any]]:
    return (
        [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
    )
