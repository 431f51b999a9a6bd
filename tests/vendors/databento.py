"""Databento's DBN files, packed by hand from the published layouts of versions 1 to 3."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from pathlib import Path

import numpy as np
import zstandard

from sampler.chain import Frame

NO_PRICE, NO_TIME = 2**63 - 1, 2**64 - 1
CONSOLIDATED = 30
SCHEMAS = {
    "trades": 4,
    "definition": 9,
    "statistics": 10,
    "cbbo-1s": 15,
    "cbbo-1m": 16,
    "tcbbo": 17,
}
CBBO_1S, CBBO_1M, TCBBO = 192, 193, 194


def nanoseconds(moment: datetime) -> int:
    """Unix time; whole microseconds."""
    return round(moment.timestamp() * 1_000_000) * 1000


def price_units(price: float) -> int:
    """Billionths of a dollar; the mark of no price for NaN."""
    return round(price * 1_000_000_000) if math.isfinite(price) else NO_PRICE


def head(words: int, kind: int, publisher: int, contract: int, moment: int) -> bytes:
    return struct.pack("<BBHIQ", words, kind, publisher, contract, moment)


def definition(
    contract: int,
    raw_symbol: str,
    expiry: date,
    strike: float,
    *,
    moment: int,
    underlying: str = "SPX",
    kind: str | None = None,
    version: int = 3,
) -> bytes:
    """One contract. Its day of expiry is midnight UTC, whenever it stops trading."""
    size = {1: 360, 2: 400, 3: 520}[version]
    record = bytearray(size)
    record[:24] = head(size // 4, 19, CONSOLIDATED, contract, moment) + struct.pack("<Q", moment)
    midnight = nanoseconds(datetime.combine(expiry, time(), UTC))
    struct.pack_into("<Q", record, 40, midnight)
    places = {1: (328, 200, 300, 325), 2: (112, 200, 349, 374), 3: (104, 238, 391, 487)}
    strike_at, symbol_at, underlying_at, class_at = places[version]
    struct.pack_into("<q", record, strike_at, price_units(strike))
    letter = raw_symbol[12] if kind is None else kind
    for place, text in ((symbol_at, raw_symbol), (underlying_at, underlying), (class_at, letter)):
        record[place : place + len(text)] = text.encode()
    return bytes(record)


def statistic(
    contract: int,
    quantity: int,
    *,
    moment: int,
    stat_type: int = 9,
    publisher: int = 37,
    version: int = 3,
) -> bytes:
    """Open interest, as each exchange repeats it."""
    common = (moment, NO_TIME, NO_PRICE)
    if version == 3:
        tail = struct.pack("<QQqqIiHHBB18x", *common, quantity, 7, 0, stat_type, 1, 1, 0)
        return head(20, 24, publisher, contract, moment) + tail
    tail = struct.pack("<QQqiIiHHBB6x", *common, quantity, 7, 0, stat_type, 1, 1, 0)
    return head(16, 24, publisher, contract, moment) + tail


def trade(
    contract: int, price: float, size: int, *, moment: int, sequence: int, event: int | None = None
) -> bytes:
    """One print. OPRA says no side."""
    tail = struct.pack(
        "<qIccBBQiI", price_units(price), size, b"T", b"N", 194, 0, moment, 0, sequence
    )
    return head(12, 0, 23, contract, moment if event is None else event) + tail


def quote(
    contract: int,
    bid: float,
    ask: float,
    *,
    moment: int,
    kind: int = CBBO_1S,
    last: float = math.nan,
    last_at: int = NO_TIME,
    size: int = 0,
) -> bytes:
    """A consolidated quote with the last sale before it."""
    tail = struct.pack("<qIBcBBQ8x", price_units(last), size, 0, b"N", 194, 0, moment)
    tail += struct.pack("<qqIIHHHH", price_units(bid), price_units(ask), 5, 5, 29, 0, 29, 0)
    return head(20, kind, CONSOLIDATED, contract, last_at) + tail


def dbn_file(
    schema: str, day: date, records: Iterable[bytes], *, version: int = 3, end: int | None = None
) -> bytes:
    """A whole file of one day, unpacked."""
    start = nanoseconds(datetime.combine(day, time(), UTC))
    until = start + 86_400 * 10**9 if end is None else end
    fixed = struct.pack("<16sHQQQ", b"OPRA.PILLAR", SCHEMAS[schema], start, until, 0)
    if version == 1:
        fixed += struct.pack("<QBBB47x", 2**64 - 1, 1, 0, 0)
    else:
        fixed += struct.pack("<BBBH53x", 1, 0, 0, 71)
    metadata = fixed + struct.pack("<IIIII", 0, 0, 0, 0, 0)
    metadata += bytes(-len(metadata) % 8)
    return b"DBN" + struct.pack("<BI", version, len(metadata)) + metadata + b"".join(records)


def write_dbn(path: Path, content: bytes) -> Path:
    """Write a file, packed if its name ends in ``.zst``."""
    packed = zstandard.compress(content) if path.suffix == ".zst" else content
    path.write_bytes(packed)
    return path


def write_session(folder: Path, frames: list[Frame], *, version: int = 3) -> None:
    """Files of one symbol's session: definitions, open interest, quotes by the second, trades.

    What a frame has more of volume than the one before is one trade at its last price.
    """
    day = frames[0].quoted_at.date()
    morning = nanoseconds(datetime.combine(day, time(11, 30), UTC))
    contracts: dict[tuple[str, float, int], int] = {}
    volume: dict[int, float] = {}
    definitions, statistics, quotes, trades = [], [], [], []
    for frame in frames:
        moment = nanoseconds(frame.quoted_at)
        for i in range(len(frame.strike)):
            root = str(frame.root[i]) or frame.symbol
            key = (root, float(frame.strike[i]), int(frame.right[i]))
            if key not in contracts:
                contracts[key] = contract = 16_000_000 + 7 * len(contracts)
                expiry = frame.expiry[i].item()
                letter = "C" if key[2] > 0 else "P"
                symbol = f"{root:6}{expiry:%y%m%d}{letter}{round(key[1] * 1000):08d}"
                definitions.append(
                    definition(contract, symbol, expiry, key[1], moment=morning, version=version)
                )
                if math.isfinite(frame.open_interest[i]):
                    for publisher in (37, 31, 23):
                        statistics.append(
                            statistic(
                                contract,
                                int(frame.open_interest[i]),
                                moment=morning,
                                publisher=publisher,
                                version=version,
                            )
                        )
            contract = contracts[key]
            bid = frame.bid[i] if frame.bid[i] > 0 else math.nan
            ask = frame.ask[i] if frame.ask[i] > 0 else math.nan
            quotes.append(quote(contract, bid, ask, moment=moment))
            traded = frame.volume[i] - volume.get(contract, 0.0)
            volume[contract] = frame.volume[i]
            if traded > 0:
                event = frame.last_at[i]
                last_at = round(event * 1000) * 10**6 if np.isfinite(event) else moment - 10**9
                trades.append(
                    trade(
                        contract,
                        float(frame.last[i]),
                        int(traded),
                        moment=moment - 10**9,
                        event=last_at,
                        sequence=len(trades),
                    )
                )
    for schema, records in (
        ("definition", definitions),
        ("statistics", statistics),
        ("cbbo-1s", quotes),
        ("trades", trades),
    ):
        content = dbn_file(schema, day, records, version=version)
        write_dbn(folder / f"opra-pillar-{day:%Y%m%d}.{schema}.dbn.zst", content)
