"""Tradier's market data on loopback: chains of one expiry, quotes of many symbols, expiries."""

from __future__ import annotations

import math
import socket
from datetime import UTC, date, datetime
from typing import Any

import orjson

from sampler.chain import Frame
from storage.market.calendar import to_new_york
from tests.vendors.server import Answer, Request
from tests.vendors.tape import LATEST, Print, Tape, root_of
from tests.vendors.websocket import Peer, StreamingVendor

TOKEN, SESSION = "canary-7Hq2vK9pXw3Z", "canary-session-4Jd8"
#: How a right is written; 0 is one that cannot be read.
SIDES = {1: "call", -1: "put", 0: ""}
XML = b'<?xml version="1.0" encoding="UTF-8"?><options><option/></options>'


def tradier_list(outer: str, inner: str, elements: list[Any]) -> dict[str, Any]:
    """A list as Tradier writes it: null for none, the element itself for one."""
    if not elements:
        return {outer: None}
    return {outer: {inner: elements[0] if len(elements) == 1 else elements}}


def tradier_chain(frame: Frame, expiration: date) -> dict[str, Any]:
    """The answer of ``/markets/options/chains`` for one expiry of a frame."""
    days = frame.expiry.tolist()
    return tradier_list(
        "options",
        "option",
        [_contract(frame, i) for i, day in enumerate(days) if day == expiration],
    )


def tradier_quote(frame: Frame) -> dict[str, Any]:
    """One element of the answer of ``/markets/quotes``."""
    return {
        "symbol": frame.symbol,
        "type": "index" if frame.symbol == "SPX" else "stock",
        "last": _number(frame.spot),
        "trade_date": _ms((frame.underlying_at or frame.quoted_at).timestamp()),
        "bid": None,
        "ask": None,
    }


def _contract(frame: Frame, i: int) -> dict[str, Any]:
    root, right = str(frame.root[i]) or frame.symbol, SIDES[int(frame.right[i])]
    day, strike, quoted = frame.expiry[i].item(), _number(frame.strike[i]), frame.quoted_at
    return {
        "symbol": f"{root}{day:%y%m%d}{right[:1].upper()}{round((strike or 0.0) * 1000):08d}",
        "description": f"{root} {day:%b %d %Y} ${strike or 0.0:.2f} {right.title()}",
        "exch": "C",
        "type": "option",
        "last": _number(frame.last[i]),
        "volume": _count(frame.volume[i]),
        "bid": _number(frame.bid[i]),
        "ask": _number(frame.ask[i]),
        "underlying": frame.symbol,
        "strike": strike,
        "greeks": None,
        "trade_date": _ms(frame.last_at[i]),
        "bidsize": 1,
        "bid_date": _ms(quoted.timestamp()),
        "asksize": 1,
        "ask_date": _ms(quoted.timestamp()),
        "open_interest": _count(frame.open_interest[i]),
        "contract_size": 100,
        "expiration_date": day.isoformat(),
        "expiration_type": "weeklys",
        "option_type": right,
        "root_symbol": root,
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _count(value: float) -> float | None:
    return int(value) if abs(value) < 2**53 else _number(value)


def _ms(seconds: float) -> int:
    return round(seconds * 1000) if abs(seconds) < 1e12 else 0


class TradierVendor(StreamingVendor):
    """Wants a bearer token and ``Accept: application/json``; counts requests in its headers.

    ``allowed`` is how many requests a minute has, from the first one on; None: no limit is told.
    """

    base_path = "/v1"

    def __init__(self) -> None:
        super().__init__()
        self.allowed: int | None = None
        self.used = 0
        #: When the minute ends, unix time. [s]
        self.minute_ends = 0.0
        #: What is streamed, and events that are streamed as they are, of whatever symbol.
        self.tape = Tape()
        self.events: list[dict[str, Any]] = []
        #: Whether sessions are refused when they connect, and contracts that are not streamed.
        self.refuses_session = False
        self.mute: set[str] = set()

    def heal(self) -> None:
        super().heal()
        self.refuses_session = False

    def respond(self, request: Request) -> Answer:
        limit = self._limit()
        if self.allowed is not None and self.used > self.allowed:
            return Answer(429, limit, b"Quota Violation")
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Answer(401, {"Content-Type": "text/plain"}, b"Invalid Access Token")
        if request.headers.get("accept") != "application/json":
            return Answer(200, {"Content-Type": "application/xml"} | limit, XML)
        answer = self._document(request)
        return Answer(200, {"Content-Type": "application/json"} | limit, orjson.dumps(answer))

    def _document(self, request: Request) -> dict[str, Any]:
        if request.path == "/markets/events/session":
            assert request.method == "POST"
            address = "https://stream.example/v1/markets/events"
            return {"stream": {"url": address, "sessionid": SESSION}}
        if request.path == "/markets/quotes":
            names = request.query["symbols"].split(",")
            frames = [(name, self.newest(name)) for name in names]
            known = [tradier_quote(frame) for _, frame in frames if frame is not None]
            answer = tradier_list("quotes", "quote", known)
            if unknown := [name for name, frame in frames if frame is None]:
                answer["quotes"] = answer["quotes"] or {}
                answer["quotes"]["unmatched_symbols"] = {"symbol": unknown}
            return answer
        frame = self.newest(request.query["symbol"])
        if request.path == "/markets/options/expirations":
            days = [] if frame is None else [day.isoformat() for day in frame.expirations]
            return tradier_list("expirations", "date", days)
        assert request.path == "/markets/options/chains", request.path
        day = date.fromisoformat(request.query["expiration"])
        return {"options": None} if frame is None else tradier_chain(frame, day)

    def _limit(self) -> dict[str, str]:
        if self.allowed is None:
            return {}
        now = datetime.now(UTC).timestamp()
        if now >= self.minute_ends:
            self.used, self.minute_ends = 0, now + 60
        self.used += 1
        left = max(self.allowed - self.used, 0)
        return {
            "X-Ratelimit-Allowed": str(self.allowed),
            "X-Ratelimit-Used": str(self.used),
            "X-Ratelimit-Available": str(left),
            "X-Ratelimit-Expiry": str(round(self.minute_ends * 1000)),
        }


class _Stream(Peer):
    """One connection: the newest list of symbols counts."""

    def __init__(self, vendor: TradierVendor, connection: socket.socket) -> None:
        super().__init__(vendor, connection)
        self.wanted: set[str] = set()
        self.since = vendor.now or LATEST
        self.sent = len(vendor.events)

    def hear(self, message: dict[str, Any]) -> None:
        if message.get("sessionid") != SESSION or self.vendor.refuses_session:
            self.send({"error": f"sessionid {message.get('sessionid')} is not valid"})
            return
        assert message["filter"] == ["timesale"]
        assert message["linebreak"] is True
        self.wanted = set(message["symbols"])

    def push(self) -> None:
        until = self.vendor.now or LATEST
        lines = []
        for number, symbol, trade in self.vendor.tape.between(self.since, until):
            event = timesale(symbol, trade, number)
            if event["symbol"] in self.wanted - self.vendor.mute:
                lines.append(orjson.dumps(event) + b"\n")
        fresh, self.sent = self.vendor.events[self.sent :], len(self.vendor.events)
        lines += [orjson.dumps(event) + b"\n" for event in fresh if event["symbol"] in self.wanted]
        for begin in range(0, len(lines), 50):
            self.write(1, b"".join(lines[begin : begin + 50]))
        self.since = max(self.since, until) if self.since != LATEST else until


TradierVendor.peer = _Stream


def timesale(symbol: str, trade: Print, number: int) -> dict[str, Any]:
    """One event of the stream: numbers of prices as text, as Tradier's own example has them."""
    day = to_new_york(trade.at)
    right = "C" if trade.right > 0 else "P"
    return {
        "type": "timesale",
        "symbol": f"{root_of(symbol)}{day:%y%m%d}{right}{round(trade.strike * 1000):08d}",
        "exch": "C",
        "bid": _text(trade.bid),
        "ask": _text(trade.ask),
        "last": _text(trade.price),
        "size": str(trade.size),
        "date": str(round(trade.at.timestamp() * 1000)),
        "seq": number,
        "flag": "",
        "cancel": False,
        "correction": False,
        "session": "normal",
    }


def _text(value: float) -> str | None:
    return str(value) if math.isfinite(value) else None
