"""Theta's terminal on loopback: CSV by path, New York wall times with cut fractions."""

from __future__ import annotations

import dataclasses
import math
import socket
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from sampler.chain import Frame
from storage.market.calendar import market_day, session_on, to_new_york
from storage.market.instruments import instrument_of
from tests.vendors.server import Answer, Request
from tests.vendors.tape import LATEST, Print, Tape, root_of
from tests.vendors.websocket import Peer, StreamingVendor

CLOSING = {"SPXW": "SPX", "NDXP": "NDX", "RUTW": "RUT"}
QUOTE = "bid_size,bid_exchange,bid,bid_condition,ask_size,ask_exchange,ask,ask_condition"
EXTENDED = "ext_condition1,ext_condition2,ext_condition3,ext_condition4"
CONTRACT = "symbol,expiration,strike,right"


class ThetaVendor(StreamingVendor):
    """Answers from its frames; what it does not have is 472. Streams what is on its tape."""

    base_path = "/v3"

    def __init__(self) -> None:
        super().__init__()
        #: By symbol: what ``trade_quote`` answers.
        self.prints: dict[str, list[Print]] = {}
        #: Paths that the account does not include, and whether 30 s are too fine for it.
        self.refused: set[str] = set()
        self.minutes_only = False
        #: An answer with more rows is too large, 570.
        self.most_rows = 10**9
        #: What the list of expiries has beside the frames' own.
        self.listed: list[date] = []
        #: What is streamed, whether the plan has streams, and how many it has room for.
        self.tape = Tape()
        self.streams_in_plan = True
        self.most_streams = 10**9
        #: Whether the terminal has its own connection.
        self.connected = True

    def heal(self) -> None:
        super().heal()
        self.connected = True

    def respond(self, request: Request) -> Answer:
        path, query = request.path.strip("/"), request.query
        if path in self.refused:
            return Answer(471, {}, b"PERMISSION: upgrade your subscription")
        if self.minutes_only and query.get("interval") == "30s":
            return Answer(471, {}, b"PERMISSION: the interval is below the plan's")
        if query.get("format") != "csv":
            return Answer(473, {}, b"only csv is written here")
        root = query["symbol"]
        symbol = CLOSING.get(root, root)
        write = getattr(self, "_" + path.replace("/", "_"), None)
        if write is None:
            return Answer(404, {}, b"no such path")
        lines = list(write(symbol, root, query))
        if len(lines) <= 1:
            return Answer(472, {}, b"No data found for your request")
        if len(lines) > self.most_rows:
            return Answer(570, {}, b"LARGE_REQUEST")
        return Answer(200, {"Content-Type": "text/csv"}, "".join(f"{x}\n" for x in lines).encode())

    # Now.

    def _option_snapshot_quote(self, symbol, root, query) -> Iterator[str]:
        yield f"timestamp,{CONTRACT},{QUOTE}"
        for frame, i, contract in self._now(symbol, root, query):
            yield f"{wall(frame.quoted_at)},{contract},{quote(frame.bid[i], frame.ask[i])}"

    def _option_snapshot_ohlc(self, symbol, root, query) -> Iterator[str]:
        yield f"timestamp,{CONTRACT},open,high,low,close,volume,count"
        for frame, i, contract in self._now(symbol, root, query):
            if frame.volume[i] != 0:
                last = number(frame.last[i])
                known = math.isfinite(frame.last_at[i])
                moment = datetime.fromtimestamp(frame.last_at[i], UTC) if known else frame.quoted_at
                yield f"{wall(moment)},{contract},{last},{last},{last},{last},{whole(frame.volume[i])},1"

    def _option_snapshot_open_interest(self, symbol, root, query) -> Iterator[str]:
        yield f"timestamp,{CONTRACT},open_interest"
        for frame, i, contract in self._now(symbol, root, query):
            yield f"{market_day(frame.quoted_at)}T06:30:0{i % 10},{contract},{whole(frame.open_interest[i])}"

    def _index_snapshot_price(self, symbol, root, query) -> Iterator[str]:
        yield "timestamp,symbol,price"
        frame = self.newest(symbol)
        if frame is not None and math.isfinite(frame.spot):
            yield f"{wall(frame.underlying_at or frame.quoted_at)},{symbol},{number(frame.spot)}"

    def _stock_snapshot_trade(self, symbol, root, query) -> Iterator[str]:
        yield "timestamp,symbol,sequence,size,condition,price"
        frame = self.newest(symbol)
        known = frame is not None and math.isfinite(frame.spot)
        if known and not instrument_of(symbol).index:
            moment = wall(frame.underlying_at or frame.quoted_at)
            yield f"{moment},{symbol},63539137,23,1,{number(frame.spot)}"

    def _option_list_expirations(self, symbol, root, query) -> Iterator[str]:
        yield "symbol,expiration"
        days = set(self.listed)
        for frame in self.frames.get(symbol, [])[:1]:
            days |= set(frame.expiry[of_root(frame, symbol, root)].tolist())
        yield from (f"{root},{day}" for day in sorted(days))

    def _now(self, symbol, root, query) -> Iterator[tuple[Frame, int, str]]:
        frame = self.newest(symbol)
        if frame is not None:
            for i, contract in contracts(frame, symbol, root, query):
                yield frame, i, contract

    # A past session.

    def _option_history_open_interest(self, symbol, root, query) -> Iterator[str]:
        yield f"{CONTRACT},timestamp,open_interest"
        day = date.fromisoformat(query["date"])
        for frame in self.session(symbol, day)[:1]:
            for i, contract in contracts(frame, symbol, root, query):
                yield f"{contract},{day}T06:30:04,{whole(frame.open_interest[i])}"

    def _option_history_quote(self, symbol, root, query) -> Iterator[str]:
        yield f"{CONTRACT},timestamp,{QUOTE}"
        for moment, frame in self._grid(symbol, query):
            for i, contract in contracts(frame, symbol, root, query):
                yield f"{contract},{wall(moment)},{quote(frame.bid[i], frame.ask[i])}"

    def _option_history_ohlc(self, symbol, root, query) -> Iterator[str]:
        yield f"{CONTRACT},timestamp,open,high,low,close,volume,count,vwap"
        grid = list(self._grid(symbol, query))
        for (begin, before), (_, after) in pairwise(grid):
            earlier = {c: before.volume[i] for i, c in contracts(before, symbol, root, query)}
            for i, contract in contracts(after, symbol, root, query):
                more = after.volume[i] - earlier.get(contract, 0.0)
                last = number(after.last[i]) if more else "0.00"
                prices = ",".join([last] * 4)
                yield f"{contract},{wall(begin)},{prices},{whole(more)},1,{last}"

    def _option_history_trade_quote(self, symbol, root, query) -> Iterator[str]:
        yield (
            f"{CONTRACT},trade_timestamp,quote_timestamp,sequence,{EXTENDED},condition,size,"
            f"exchange,price,{QUOTE}"
        )
        day = date.fromisoformat(query["date"])
        begin, end = (clock(day, query[name]) for name in ("start_time", "end_time"))
        for sequence, p in enumerate(self.prints.get(symbol, [])):
            if not begin <= p.at <= end or not wanted(p.right, query):
                continue
            right = "CALL" if p.right > 0 else "PUT"
            yield (
                f"{root},{query['expiration']},{p.strike:.3f},{right},{wall(p.at)},"
                f"{wall(p.at - timedelta(milliseconds=40))},{-sequence},255,255,255,255,"
                f"{p.condition},{p.size},5,{number(p.price)},{quote(p.bid, p.ask)}"
            )

    def _index_history_price(self, symbol, root, query) -> Iterator[str]:
        yield "timestamp,price"
        for place, (moment, frame) in enumerate(self._grid(symbol, query)):
            # The index has not been calculated at the first moment.
            yield f"{wall(moment)},{number(frame.spot) if place else '0.0'}"

    def _grid(self, symbol, query) -> Iterator[tuple[datetime, Frame]]:
        """Each time of a history by now and the last frame by then, both ends included."""
        day = date.fromisoformat(query["date"])
        step = timedelta(seconds={"30s": 30, "1m": 60}[query["interval"]])
        moment, end = (clock(day, query[name]) for name in ("start_time", "end_time"))
        frames = self.session(symbol, day)
        while moment <= (end if self.now is None else min(end, self.now)):
            before = [frame for frame in frames if frame.quoted_at <= moment]
            if before:
                yield moment, before[-1]
            moment += step


class _Stream(Peer):
    """One connection: a contract is streamed once its quotes and trades were asked for."""

    def __init__(self, vendor: ThetaVendor, connection: socket.socket) -> None:
        super().__init__(vendor, connection)
        self.wanted: dict[tuple[str, int, int, str], set[str]] = {}
        self.since = vendor.now or LATEST
        self.told_at = 0.0

    def hear(self, message: dict[str, Any]) -> None:
        contract = message["contract"]
        key = (contract["root"], contract["expiration"], contract["strike"], contract["right"])
        response = "SUBSCRIBED"
        if not message["add"]:
            self.wanted.pop(key, None)
        elif not self.vendor.streams_in_plan:
            response = "INVALID_PERMS"
        elif key not in self.wanted and len(self.wanted) >= self.vendor.most_streams:
            response = "MAX_STREAMS_REACHED"
        else:
            self.wanted.setdefault(key, set()).add(message["req_type"])
        self.send({"header": self._header("REQ_RESPONSE", response=response, req_id=message["id"])})

    def push(self) -> None:
        if time.monotonic() - self.told_at > 0.2:
            self.told_at = time.monotonic()
            self.send({"header": self._header("STATUS")})
        until = self.vendor.now or LATEST
        for _, symbol, trade in self.vendor.tape.between(self.since, until):
            day = int(f"{to_new_york(trade.at):%Y%m%d}")
            key = (
                root_of(symbol), day, round(trade.strike * 1000), "C" if trade.right > 0 else "P",
            )  # fmt: skip
            for kind, event in zip(("QUOTE", "TRADE"), theta_events(trade, day), strict=True):
                if kind in self.wanted.get(key, ()):
                    contract = dict(
                        zip(("root", "expiration", "strike", "right"), key, strict=True)
                    ) | {"security_type": "OPTION"}
                    self.send(
                        {"header": self._header(kind), "contract": contract, kind.lower(): event}
                    )
        self.since = max(self.since, until) if self.since != LATEST else until

    def _header(self, kind: str, **more: Any) -> dict[str, Any]:
        status = "CONNECTED" if self.vendor.connected else "DISCONNECTED"
        return {"type": kind, "status": status, **more}


ThetaVendor.peer = _Stream


def theta_events(trade: Print, day: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The quote before a trade, and the trade, as the terminal streams them."""
    moment = to_new_york(trade.at)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    ms = round((moment - midnight).total_seconds() * 1000)
    known = math.isfinite(trade.ask)
    quote = {
        "ms_of_day": ms - 300, "bid_size": 12 * known, "bid_exchange": 5,
        "bid": trade.bid if known else 0.0, "bid_condition": 50, "ask_size": 9 * known,
        "ask_exchange": 5, "ask": trade.ask if known else 0.0, "ask_condition": 50, "date": day,
    }  # fmt: skip
    sale = {
        "ms_of_day": ms, "sequence": -7, "size": trade.size, "condition": trade.condition,
        "price": trade.price, "exchange": 5, "date": day,
    }  # fmt: skip
    return quote, sale


def contracts(frame: Frame, symbol: str, root: str, query) -> Iterator[tuple[int, str]]:
    """A frame's contracts of a root and an expiry: their place, and the columns that tell them."""
    day = date.fromisoformat(query["expiration"])
    for i in np.flatnonzero(of_root(frame, symbol, root)):
        if frame.expiry[i].item() == day and wanted(frame.right[i], query):
            right = "CALL" if frame.right[i] > 0 else "PUT"
            yield i, f"{root},{day},{frame.strike[i]:.3f},{right}"


def of_root(frame: Frame, symbol: str, root: str) -> np.ndarray:
    """Which contracts are of a root; a root that settles on the close has all that settle then."""
    morning = instrument_of(symbol).am_roots
    return frame.root == root if root in morning else ~np.isin(frame.root, list(morning))


def wanted(right: int, query) -> bool:
    return query.get("right", "both") in ("both", "call" if right > 0 else "put")


def quote(bid: float, ask: float) -> str:
    """A quote's columns; a contract that has none is 0 at 0 with sizes of 0."""
    if math.isnan(bid) and math.isnan(ask):
        return "0,42,0.00,50,0,42,0.00,50"
    return f"{12 if bid else 0},5,{number(bid)},50,9,5,{number(ask)},50"


def number(value: float) -> str:
    """To the last digit that it has; empty where there is none."""
    return f"{value:.2f}" if round(value, 2) == value else repr(float(value)).replace("nan", "")


def whole(value: float) -> str:
    return str(int(value)) if math.isfinite(value) else ""


def wall(moment: datetime) -> str:
    """New York's wall time without an offset; a fraction ends with its last digit that is not 0."""
    text = f"{to_new_york(moment):%Y-%m-%dT%H:%M:%S.%f}"[:-3]
    return text.rstrip("0").rstrip(".")


def clock(day: date, text: str) -> datetime:
    """A time of day in New York, as UTC."""
    session = session_on(day)
    open_at = to_new_york(session.open)
    hour, minute, second = map(int, text.split(":"))
    moment = open_at.replace(hour=hour, minute=minute, second=second)
    return moment.astimezone(UTC)


def prints_of(frames: list[Frame]) -> tuple[list[Print], list[Frame]]:
    """Prints that add up to the frames' volume, and the frames with their sides and last prints.

    A buy prints on the ask and a sell on the bid of the frame before; a leg of a spread on the mid.
    """
    prints: list[Print] = []
    expected = [frames[0]]
    n = len(frames[0].strike)
    last, last_at, legs = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n)
    signed, dice = np.zeros(n), np.random.default_rng(5)
    for before, after in pairwise(frames):
        more = after.volume - before.volume
        bought = np.floor(more * dice.random(n))
        for i in np.flatnonzero(more):
            bid, ask = float(before.bid[i]), float(before.ask[i])
            known = np.isfinite(ask) and bid > 0 and ask > bid
            parts = [(int(bought[i]), ask, 1), (int(more[i] - bought[i]), bid, -1)]
            for place, (size, price, side) in enumerate(parts):
                if not size:
                    continue
                leg = bool(i % 5 == 0)
                moment = before.quoted_at + timedelta(seconds=5 + 10 * place)
                shown = (bid + ask) / 2 if leg and known else price if known else 0.05
                quoted = (bid, ask) if known else (float("nan"), float("nan"))
                condition = 130 if leg else 18
                right = int(before.right[i])
                prints.append(
                    Print(float(before.strike[i]), right, moment, size, shown, *quoted, condition)
                )
                legs[i] += size * leg
                signed[i] += size * side * (known and not leg)
                last[i], last_at[i] = shown, moment.timestamp()
        expected.append(
            dataclasses.replace(
                after,
                last=last.copy(),
                last_at=last_at.copy(),
                signed_volume=signed.copy(),
                multi_leg_volume=legs.copy(),
            )
        )
    return prints, expected


def paths(server: ThetaVendor) -> Iterable[str]:
    """What was asked for, in order."""
    return [request.path.strip("/") for request in server.requests]
