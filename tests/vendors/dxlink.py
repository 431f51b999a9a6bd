"""tastytrade's REST answers and its dxLink stream on loopback.

A connection is sent what has changed in the newest frame when it asks for a sign of life, and
every 20 ms.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from sampler.chain import Frame
from storage.market.calendar import to_new_york
from tests.vendors.server import Answer, Request
from tests.vendors.tape import LATEST, Print, Tape, root_of
from tests.vendors.websocket import Peer, StreamingVendor

SECRET, REFRESH = "canary-secret-8Xq2", "canary-refresh-5Wm9"
ACCESS, STREAM_TOKEN = "canary-access-1Tz7", "canary-stream-3Rk4"
RIGHTS = {1: "C", -1: "P"}
#: The order that this vendor announces: not the one that it is asked for.
FIELDS = {
    "Quote": ["eventSymbol", "askPrice", "bidPrice", "bidTime", "askTime"],
    "Trade": ["eventSymbol", "price", "dayVolume", "time"],
    "Summary": ["eventSymbol", "openInterest"],
    "TimeAndSale": [
        "eventSymbol", "index", "time", "price", "size", "bidPrice", "askPrice", "aggressorSide",
        "spreadLeg", "validTick", "type",
    ],
}  # fmt: skip


def streamer_symbol(frame: Frame, i: int) -> str:
    """A contract's name in the stream, such as ``.SPXW260819C7700``."""
    root = str(frame.root[i]) or frame.symbol
    day = frame.expiry[i].item()
    return f".{root}{day:%y%m%d}{RIGHTS[int(frame.right[i])]}{float(frame.strike[i]):.10g}"


def nested_chain(frame: Frame, sizes: dict[str, int] | None = None) -> dict[str, Any]:
    """The answer of ``/option-chains/<symbol>/nested``: roots, their days, their strikes."""
    roots: dict[str, dict[str, dict[float, dict[str, Any]]]] = {}
    for i, right in enumerate(frame.right.tolist()):
        if right not in RIGHTS or not math.isfinite(frame.strike[i]):
            continue
        root = str(frame.root[i]) or frame.symbol
        day = frame.expiry[i].item().isoformat()
        strikes = roots.setdefault(root, {}).setdefault(day, {})
        strike = float(frame.strike[i])
        entry = strikes.setdefault(strike, {"strike-price": str(strike)})
        side = "call" if right > 0 else "put"
        entry[f"{side}-streamer-symbol"] = streamer_symbol(frame, i)
    items = [
        {
            "underlying-symbol": frame.symbol,
            "root-symbol": root,
            "shares-per-contract": (sizes or {}).get(root, 100),
            "expirations": [
                {"expiration-date": day, "settlement-type": "PM", "strikes": list(strikes.values())}
                for day, strikes in days.items()
            ],
        }
        for root, days in roots.items()
    ]
    return {"data": {"items": items}}


def events_of(frame: Frame) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """A frame as events: kind, name and values of each."""
    ms = round(frame.quoted_at.timestamp() * 1000)
    for i, right in enumerate(frame.right.tolist()):
        if right not in RIGHTS:
            continue
        name = streamer_symbol(frame, i)
        bid, ask = _number(frame.bid[i]), _number(frame.ask[i])
        yield (
            "Quote", name, {"bidPrice": bid, "askPrice": ask, "bidTime": ms, "askTime": ms},
        )  # fmt: skip
        moment = frame.last_at[i]
        yield (
            "Trade", name,
            {
                "price": _number(frame.last[i]), "dayVolume": _number(frame.volume[i]),
                "time": round(moment * 1000) if abs(moment) < 1e12 else 0,
            },
        )  # fmt: skip
        yield "Summary", name, {"openInterest": _number(frame.open_interest[i])}
    moment = frame.underlying_at or frame.quoted_at
    yield (
        "Trade", frame.symbol,
        {"price": _number(frame.spot), "dayVolume": 0, "time": round(moment.timestamp() * 1000)},
    )  # fmt: skip


def time_and_sale(symbol: str, trade: Print, number: int) -> tuple[str, dict[str, Any]]:
    """A trade as a TimeAndSale event: its contract's name, and its values. Nobody tells the side."""
    day = to_new_york(trade.at)
    values = {
        "index": number, "time": round(trade.at.timestamp() * 1000), "price": trade.price,
        "size": trade.size, "bidPrice": _number(trade.bid), "askPrice": _number(trade.ask),
        "aggressorSide": "UNDEFINED", "spreadLeg": trade.condition == 130, "validTick": True,
        "type": "NEW",
    }  # fmt: skip
    return f".{root_of(symbol)}{day:%y%m%d}{RIGHTS[trade.right]}{trade.strike:.10g}", values


def compact(events: list[tuple[str, str, dict[str, Any]]]) -> list[Any]:
    """Events as the data of a FEED_DATA message: kinds, and flat lists of values."""
    flat: dict[str, list[Any]] = {}
    for kind, name, values in events:
        flat.setdefault(kind, []).extend(
            (values | {"eventSymbol": name}).get(field) for field in FIELDS[kind]
        )
    return [item for pair in flat.items() for item in pair]


def _number(value: float) -> Any:
    """dxLink writes what JSON has no number for as a string."""
    value = float(value)
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


class DxlinkVendor(StreamingVendor):
    """Wants the secret and the refresh token, then the access token, then the stream's."""

    def __init__(self) -> None:
        super().__init__()
        #: Whether the stream's token is refused.
        self.refuses_stream = False
        #: TimeAndSale events: a connection gets those that are added while it is open.
        self.prints: list[tuple[str, dict[str, Any]]] = []
        #: Trades by their time: a connection gets those that happen while it is open.
        self.tape = Tape()
        #: Names whose quotes are not sent.
        self.mute: set[str] = set()
        self.sizes: dict[str, int] = {}
        #: Whether quotes carry their time.
        self.timed = True

    def heal(self) -> None:
        super().heal()
        self.refuses_stream = False
        self.mute = set()

    def respond(self, request: Request) -> Answer:
        if request.path == "/oauth/token":
            form = dict(parse_qsl(request.body.decode()))
            if (form.get("client_secret"), form.get("refresh_token")) != (SECRET, REFRESH):
                return Answer(401, body=b'{"error_code":"invalid_grant"}')
            answer = {"access_token": ACCESS, "token_type": "Bearer", "expires_in": 900}
            return _json(answer)
        if request.headers.get("authorization") != f"Bearer {ACCESS}":
            return Answer(401, body=b'{"error":{"code":"token_invalid"}}')
        if request.path == "/api-quote-tokens":
            address = f"ws://127.0.0.1:{self._port}/realtime"
            return _json({"data": {"token": STREAM_TOKEN, "dxlink-url": address, "level": "api"}})
        parts = request.path.split("/")
        frame = self.newest(unquote(parts[2])) if len(parts) == 4 else None
        if frame is None:
            return Answer(404, body=b'{"error":{"code":"record_not_found"}}')
        return _json(nested_chain(frame, self.sizes))


class _Stream(Peer):
    """One connection: its subscriptions, and what it was sent."""

    def __init__(self, vendor: DxlinkVendor, connection: socket.socket) -> None:
        super().__init__(vendor, connection)
        self.wanted: set[tuple[str, str]] = set()
        self.sent: dict[tuple[str, str], dict[str, Any]] = {}
        self.frames: dict[str, tuple[Frame | None, int]] = {}
        self.printed = len(vendor.prints)
        self.since = vendor.now or LATEST

    def _say(self, kind: str, channel: int = 0, **fields: Any) -> None:
        self.send({"type": kind, "channel": channel, **fields})

    def hear(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "SETUP":
                self._say("SETUP", version="1.0-1.2", keepaliveTimeout=60)
                self._say("AUTH_STATE", state="UNAUTHORIZED")
            case "AUTH":
                if message["token"] != STREAM_TOKEN or self.vendor.refuses_stream:
                    self._say("ERROR", error="UNAUTHORIZED", message=message["token"])
                    self._say("AUTH_STATE", state="UNAUTHORIZED")
                    return
                self._say("AUTH_STATE", state="AUTHORIZED", userId="u")
            case "CHANNEL_REQUEST":
                self._say("CHANNEL_OPENED", message["channel"], service="FEED")
            case "FEED_SETUP":
                self._say(
                    "FEED_CONFIG", message["channel"], dataFormat="COMPACT", eventFields=FIELDS
                )
            case "FEED_SUBSCRIPTION":
                self.wanted |= {(e["type"], e["symbol"]) for e in message.get("add", ())}
                self.wanted -= {(e["type"], e["symbol"]) for e in message.get("remove", ())}
                self.frames.clear()
            case "KEEPALIVE":
                self._say("KEEPALIVE")

    def push(self) -> None:
        vendor = self.vendor
        events = []
        for symbol in list(vendor.frames):
            frame = vendor.newest(symbol)
            if frame is None or self.frames.get(symbol) == (frame, len(vendor.mute)):
                continue
            self.frames[symbol] = (frame, len(vendor.mute))
            for kind, name, values in events_of(frame):
                if kind == "Quote" and not vendor.timed:
                    values |= {"bidTime": 0, "askTime": 0}
                wanted = (kind, name) in self.wanted and name not in vendor.mute
                if wanted and self.sent.get((kind, name)) != values:
                    self.sent[kind, name] = values
                    events.append((kind, name, values))
        fresh, self.printed = vendor.prints[self.printed :], len(vendor.prints)
        events += [
            ("TimeAndSale", name, values)
            for name, values in fresh
            if ("TimeAndSale", name) in self.wanted
        ]
        until = vendor.now or LATEST
        for number, symbol, trade in vendor.tape.between(self.since, until):
            name, values = time_and_sale(symbol, trade, number)
            if ("TimeAndSale", name) in self.wanted:
                events.append(("TimeAndSale", name, values))
        self.since = max(self.since, until) if self.since != LATEST else until
        for begin in range(0, len(events), 300):
            self._say("FEED_DATA", 1, data=compact(events[begin:][:300]))


DxlinkVendor.peer = _Stream


def _json(answer: dict[str, Any]) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, orjson.dumps(answer))
