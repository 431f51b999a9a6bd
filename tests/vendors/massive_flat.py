"""Massive's flat files of option trades and quotes, written from frames or by hand."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable
from pathlib import Path

from sampler.chain import Frame
from storage.market.calendar import market_day

TRADES = "ticker,conditions,correction,exchange,price,sip_timestamp,size"
QUOTES = (
    "ticker,ask_exchange,ask_price,ask_size,bid_exchange,bid_price,bid_size,sequence_number,"
    "sip_timestamp"
)


def trade_line(
    ticker: str,
    price: float,
    size: float,
    nanoseconds: int,
    condition: str = "209",
    correction: str = "0",
) -> str:
    """One print; ``nanoseconds`` is unix time. [ns]"""
    return f"{ticker},{condition},{correction},302,{_number(price)},{nanoseconds},{size:g}"


def quote_line(ticker: str, bid: float, ask: float, nanoseconds: int) -> str:
    """One quote; a side that there is not has exchange, price and size 0."""
    sides = []
    for price in (ask, bid):
        there = math.isfinite(price) and price > 0
        sides.append(f"302,{price!r},5" if there else "0,0,0")
    return f"{ticker},{','.join(sides)},{nanoseconds % 10**9},{nanoseconds}"


def ticker_of(frame: Frame, i: int) -> str:
    """``O:SPXW260209C06900000``."""
    letter = "C" if frame.right[i] > 0 else "P"
    root = str(frame.root[i]) or frame.symbol
    day = frame.expiry[i].item()
    return f"O:{root}{day:%y%m%d}{letter}{round(float(frame.strike[i]) * 1000):08d}"


def flat_lines(frames: Iterable[Frame]) -> tuple[list[str], list[str]]:
    """Trades and quotes of some frames in order of time: what volume grew by is one print."""
    trades, quotes = [], []
    volume: dict[str, float] = {}
    for frame in frames:
        quoted_at = round(frame.quoted_at.timestamp() * 1e6) * 1000
        for i in range(len(frame.strike)):
            ticker = ticker_of(frame, i)
            quotes.append(quote_line(ticker, float(frame.bid[i]), float(frame.ask[i]), quoted_at))
            grew = frame.volume[i] - volume.get(ticker, 0.0)
            if grew > 0:
                volume[ticker] = float(frame.volume[i])
                moment = round(float(frame.last_at[i]) * 1000) * 10**6
                trades.append(trade_line(ticker, float(frame.last[i]), float(grew), moment))
    return trades, quotes


def write_flat(path: Path, header: str, lines: Iterable[str]) -> Path:
    """Write a file, packed if its name ends in ``.gz``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in (header, *lines)).encode()
    path.write_bytes(gzip.compress(text, 1) if path.suffix == ".gz" else text)
    return path


def write_flat_session(folder: Path, frames: list[Frame], *, by_ticker: bool = True) -> None:
    """Both files of a session, in the vendor's folders; its own order is by ticker and time."""
    day = market_day(frames[0].quoted_at)
    for kind, header, in_time in zip(
        ("trades_v1", "quotes_v1"), (TRADES, QUOTES), flat_lines(frames), strict=True
    ):
        lines = in_time
        if by_ticker:
            lines = sorted(in_time, key=lambda line: line.partition(",")[0])
        place = folder / "us_options_opra" / kind / f"{day:%Y}" / f"{day:%m}"
        write_flat(place / f"{day}.csv.gz", header, lines)


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""
