"""Massive's option snapshots on loopback: pages of one expiry, and the reference of contracts."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import orjson

from sampler.chain import Frame
from storage.market.calendar import market_day, new_york_time
from tests.vendors.server import Answer, Request, VendorServer

KEY = "canary_8Wd4tR1nLq6Y"
#: How a right is written; 0 is one that cannot be read.
SIDES = {1: "call", -1: "put", 0: "other"}
INDEXES = {"SPX", "NDX", "RUT", "VIX", "XSP"}


def massive_contract(frame: Frame, i: int, *, delayed: bool = False) -> dict[str, Any]:
    """One contract of a frame, with what it has; its daily bar is of the frame's day."""
    root, right = str(frame.root[i]) or frame.symbol, SIDES[int(frame.right[i])]
    day, strike = frame.expiry[i].item(), _number(frame.strike[i])
    timeframe = "DELAYED" if delayed else "REAL-TIME"
    contract: dict[str, Any] = {
        "details": {
            "contract_type": right,
            "exercise_style": "european" if frame.symbol in INDEXES else "american",
            "expiration_date": day.isoformat(),
            "shares_per_contract": 100,
            "strike_price": strike,
            "ticker": f"O:{root}{day:%y%m%d}{right[0].upper()}{round((strike or 0.0) * 1000):08d}",
        },
        "greeks": {},
        "day": {},
        "underlying_asset": {"ticker": massive_name(frame.symbol), "timeframe": timeframe},
    }
    if math.isfinite(frame.open_interest[i]):
        contract["open_interest"] = _count(frame.open_interest[i])
    if math.isfinite(frame.source_iv[i]):
        contract["implied_volatility"] = float(frame.source_iv[i])
    if math.isfinite(frame.bid[i]) or math.isfinite(frame.ask[i]):
        contract["last_quote"] = {
            "bid": _number(frame.bid[i]),
            "ask": _number(frame.ask[i]),
            "last_updated": nanoseconds(frame.quoted_at.timestamp()),
            "timeframe": timeframe,
        }
    if math.isfinite(frame.last[i]):
        contract["last_trade"] = {"price": float(frame.last[i]), "size": 1, "timeframe": timeframe}
    if math.isfinite(frame.last[i]) and abs(frame.last_at[i]) < 1e9 * 9:
        contract["last_trade"]["sip_timestamp"] = nanoseconds(frame.last_at[i])
    # A contract that has not traded has no bar.
    if frame.volume[i] != 0:
        midnight = new_york_time(market_day(frame.quoted_at), 0)
        contract["day"] = {
            "volume": _count(frame.volume[i]),
            "last_updated": nanoseconds(midnight.timestamp()),
        }
    if math.isfinite(frame.spot):
        name = "value" if frame.symbol in INDEXES else "price"
        moment = (frame.underlying_at or frame.quoted_at).timestamp()
        contract["underlying_asset"] |= {
            name: float(frame.spot),
            "last_updated": nanoseconds(moment),
        }
    return contract


def massive_page(contracts: list[dict[str, Any]], next_url: str | None = None) -> dict[str, Any]:
    """One page of a snapshot."""
    page: dict[str, Any] = {"request_id": "0" * 32, "results": contracts, "status": "OK"}
    return page | ({"next_url": next_url} if next_url else {})


def massive_name(symbol: str) -> str:
    """The underlying as snapshots name it."""
    return f"I:{symbol}" if symbol in INDEXES else symbol


def nanoseconds(seconds: float) -> int:
    """Unix time in nanoseconds, to the microsecond."""
    return round(seconds * 1e6) * 1000


def _count(value: float) -> float | None:
    return int(value) if abs(value) < 2**53 else _number(value)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


class MassiveVendor(VendorServer):
    """Wants a bearer key; pages have ``page_size`` contracts, and a next page a cursor."""

    def __init__(self) -> None:
        super().__init__()
        self.page_size = 250
        self.delayed = False
        #: What next pages are on; empty: this server.
        self.next_base = ""

    def respond(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            body = {"status": "ERROR", "request_id": "0", "error": "Unknown API Key"}
            return Answer(401, {"Content-Type": "application/json"}, orjson.dumps(body))
        document = self._document(request)
        return Answer(200, {"Content-Type": "application/json"}, orjson.dumps(document))

    def _document(self, request: Request) -> dict[str, Any]:
        if request.path == "/v3/reference/options/contracts":
            frame = self.newest(request.query["underlying_ticker"])
            first = date.fromisoformat(request.query["expiration_date.gte"])
            days = [] if frame is None else [day for day in frame.expirations if day >= first]
            return massive_page([{"expiration_date": day.isoformat()} for day in days[:1]])
        name = request.path.removeprefix("/v3/snapshot/options/")
        symbol = name.removeprefix("I:")
        if "cursor" in request.query:
            day_text, _, start_text = request.query["cursor"].partition("_")
            day, start = date.fromisoformat(day_text), int(start_text)
        else:
            day, start = date.fromisoformat(request.query["expiration_date"]), 0
        frame = self.newest(symbol)
        if frame is None or name != massive_name(symbol):
            return massive_page([])
        todays = [i for i, expiry in enumerate(frame.expiry.tolist()) if expiry == day]
        end = start + self.page_size
        contracts = [massive_contract(frame, i, delayed=self.delayed) for i in todays[start:end]]
        more = f"{self.next_base or self.url}{request.path}?cursor={day}_{end}"
        return massive_page(contracts, more if end < len(todays) else None)
