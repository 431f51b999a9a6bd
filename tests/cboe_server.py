"""A loopback server that speaks Cboe's delayed-quotes format, and what makes that format.

It answers from threads of its own, so a test may block, and it can be slow, broken or gone.
"""

from __future__ import annotations

import gzip
import math
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import orjson

from sampler.chain import Frame
from storage.market.calendar import from_new_york, to_new_york
from tests.vendors.server import Loopback, LoopbackServer

INDEXES = {"SPX", "NDX", "RUT", "VIX", "XSP"}
NUMBERS = [
    "bid", "bid_size", "ask", "ask_size", "iv", "open_interest", "volume", "delta", "gamma",
    "vega", "theta", "rho", "theo", "change", "open", "high", "low", "last_trade_price",
    "percent_change", "prev_day_close",
]  # fmt: skip


def contract(
    root: str, expiry: date, right: str, strike: float, *, padded: bool = False, **fields: Any
) -> dict[str, Any]:
    """One option as the feed writes it; numbers that are not given are 0."""
    symbol = f"{root:6}" if padded else root
    symbol += f"{expiry:%y%m%d}{right}{round(strike * 1000):08d}"
    zeros = dict.fromkeys(NUMBERS, 0.0)
    return {"option": symbol, **zeros, "last_trade_time": None, "tick": "no_change", **fields}


def cboe_json(
    symbol: str, spot: float | None, quoted_at_ny: str, contracts: list[dict[str, Any]]
) -> dict[str, Any]:
    """A whole answer, sent 15 minutes after ``quoted_at_ny``, a New York wall time."""
    sent = from_new_york(datetime.fromisoformat(quoted_at_ny)).timestamp() + 900
    index = symbol in INDEXES
    data = {
        "options": contracts,
        "symbol": f"^{symbol}" if index else symbol,
        "security_type": "index" if index else "stock",
        "current_price": spot,
        "iv30": 13.373,
        "seqno": 25163915812,
        "last_trade_time": quoted_at_ny,
        "tick": "down",
    }
    timestamp = datetime.fromtimestamp(sent, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return {"timestamp": timestamp, "data": data, "symbol": f"_{symbol}" if index else symbol}


def from_recorded(
    chain: Mapping[str, Any], *, quoted_at: datetime | None = None, volume_scale: float = 1.0
) -> dict[str, Any]:
    """An answer from a recorded chain ``{sym, spot, asof, o: [{e, t, k, iv, oi, v, b, a, l}]}``.

    These have no roots: SPX becomes SPXW, but for the lifeless twin of a key that stands twice.
    """
    keys = [(o["e"], o["t"], o["k"]) for o in chain["o"]]
    counts = Counter(keys)
    contracts = []
    for key, o in zip(keys, chain["o"], strict=True):
        morning = counts[key] > 1 and not (o["b"] or o["a"] or o["v"])
        root = "SPXW" if chain["sym"] == "SPX" and not morning else chain["sym"]
        fields = {"bid": o["b"], "ask": o["a"], "last_trade_price": o["l"], "iv": o["iv"]}
        fields |= {"open_interest": o["oi"], "volume": round(o["v"] * volume_scale)}
        expiry = datetime.fromtimestamp(o["e"], UTC).date()
        contracts.append(contract(root, expiry, o["t"], o["k"], **_floats(fields)))
    asof = chain["asof"] if quoted_at is None else _wall(quoted_at)
    return cboe_json(chain["sym"], chain["spot"], asof, contracts)


def from_frame(frame: Frame) -> dict[str, Any]:
    """An answer that parses to this frame, but for what the format has no room for."""
    contracts = []
    for i, right in enumerate(frame.right):
        fields = {"bid": frame.bid[i], "ask": frame.ask[i], "last_trade_price": frame.last[i]}
        fields |= {"open_interest": frame.open_interest[i], "volume": frame.volume[i]}
        known = math.isfinite(frame.last_at[i])
        traded = _wall(datetime.fromtimestamp(frame.last_at[i], UTC)) if known else None
        option = contract(
            str(frame.root[i]) or frame.symbol,
            frame.expiry[i].item(),
            "P" if right < 0 else "C",
            float(frame.strike[i]),
            **_floats(fields | {"iv": frame.source_iv[i]}),
            last_trade_time=traded,
        )
        contracts.append(option)
    spot = float(frame.spot) if math.isfinite(frame.spot) else None
    return cboe_json(frame.symbol, spot, _wall(frame.quoted_at), contracts)


def _floats(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: float(v) if math.isfinite(v) else None for k, v in fields.items()}


def _wall(moment: datetime) -> str:
    return to_new_york(moment).strftime("%Y-%m-%dT%H:%M:%S")


@dataclass(frozen=True)
class Answer:
    """What the server sends, as it stands: nothing is packed or added but the length."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: Before the first byte. [s]
    delay: float = 0.0


@dataclass(frozen=True)
class Request:
    """What was asked for, from which port, and when (monotonic)."""

    symbol: str
    path: str
    headers: Mapping[str, str]
    port: int
    arrived: float


class CboeServer(Loopback):
    """Serves ``frames`` under ``url``, packed and with an ETag as Cboe's own does.

    A frame is a whole answer as a dict, a body as bytes, or an ``Answer``; ``answer``, if set, is
    asked first. An unknown symbol, an index without its underscore too, gets a 403.
    """

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.frames: dict[str, dict[str, Any] | bytes | Answer] = {}
        self.answer: Callable[[str], Answer | None] = lambda symbol: None
        #: Sent with every frame, e.g. Cache-Control.
        self.headers: dict[str, str] = {}
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        """The base that a ``cboe:`` source is given."""
        return f"http://127.0.0.1:{self._port}/options"

    def respond(self, request: Request) -> Answer:
        """The answer to a request."""
        frame = self.answer(request.symbol) or self.frames.get(request.symbol)
        indexed = request.path.rpartition("/")[2].startswith("_")
        if frame is None or indexed != (request.symbol in INDEXES):
            return Answer(403, {"Content-Type": "application/xml"}, b"<Error>AccessDenied</Error>")
        if isinstance(frame, Answer):
            return frame
        body = frame if isinstance(frame, bytes) else orjson.dumps(frame)
        headers = {"Content-Type": "application/json", "ETag": f'"{zlib.crc32(body):08x}"'}
        headers |= self.headers
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Answer(304, headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Answer(200, headers | {"Content-Encoding": "gzip"}, gzip.compress(body, 1))
        return Answer(200, headers, body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: LoopbackServer

    def do_GET(self) -> None:
        symbol = self.path.rpartition("/")[2].removesuffix(".json").removeprefix("_")
        headers = {name.lower(): value for name, value in self.headers.items()}
        port = self.client_address[1]
        request = Request(symbol, self.path, headers, port, time.monotonic())
        self.server.owner.requests.append(request)
        answer = self.server.owner.respond(request)
        time.sleep(answer.delay)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 304 and "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *args: object) -> None:
        pass
