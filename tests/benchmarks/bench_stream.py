"""What a stream costs: 20,000 events a second for a minute, read and sampled, and its memory.

``python -m tests.benchmarks.bench_stream [EVENTS A SECOND] [SECONDS]``

Messages of dxLink in COMPACT form are made second by second and read as fast as they can be: the
processor time of a second's events tells whether one core holds the grid. Memory is that of the
whole process, looked at after each ten seconds, once as many prints are kept as ever will be. Then
the same for the streams beside polled chains: Theta's, a message an event, nine quotes for a trade;
and Tradier's, trades alone, fifty to a message.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import orjson

from sampler.chain import Frame
from sampler.sources.assembler import ChainAssembler
from sampler.sources.dxlink.parse import parse_listed_day, read_message
from sampler.sources.dxlink.source import Dxlink, StreamedSymbol
from sampler.sources.print_stream import PrintStream, StreamedTable
from sampler.sources.sides import StreamedSides
from sampler.sources.synthetic.source import Synthetic
from sampler.sources.theta.stream import ThetaStream
from sampler.sources.trades import KEPT_PRINTS
from sampler.sources.tradier.source import Tradier
from sampler.sources.tradier.stream import TradierStream
from storage.config.vendor_keys import VendorKeys
from storage.market.calendar import session_on

sys.path.insert(0, str(Path(__file__).parents[1]))  # for what the test servers import
from tests.vendors.dxlink import FIELDS, REFRESH, SECRET, compact, nested_chain
from tests.vendors.same_row import only_today

SESSION = session_on(date(2026, 8, 19))
#: A message has what 0.1 s brought.
MESSAGES = 10
SYMBOLS = ("SPX", "SPY", "QQQ")


def assembled(frames: list[Frame]) -> Dxlink:
    """A source with a table for each frame's symbol, as if it were connected since the open."""
    secret, refresh = "FLOW_TASTYTRADE_CLIENT_SECRET", "FLOW_TASTYTRADE_REFRESH_TOKEN"
    source = Dxlink.open("", VendorKeys.read({secret: SECRET, refresh: REFRESH}))
    assert SESSION is not None
    for number, frame in enumerate(frames, 1):
        table = ChainAssembler(frame.symbol, SESSION, source="dxlink", delay_seconds=0)
        listed = parse_listed_day(orjson.dumps(nested_chain(frame)), SESSION.day)
        table.list_contracts(listed.contracts, adjusted=0)
        table.begin_connection(SESSION.open.timestamp())
        source._by_number[number] = streamed = StreamedSymbol(table, number, 0.0, True)
        source._symbols[frame.symbol] = source._underlyings[frame.symbol] = streamed
        source._place(streamed, 0)
    return source


def second_of_events(
    rng: np.random.Generator,
    names: list[str],
    count: int,
    moment: float,
    number: int,
    *,
    kinds: list[str],
) -> list[bytes]:
    """A second's messages, of some kinds of events."""
    drawn = rng.choice(kinds, count)
    which = rng.integers(0, len(names), count)
    ms = round(moment * 1000)
    events = []
    for i, (kind, place) in enumerate(zip(drawn.tolist(), which.tolist(), strict=True)):
        values = {
            "Quote": {"bidPrice": 7.0, "askPrice": 7.2, "bidTime": ms, "askTime": ms},
            "Trade": {"price": 7.1, "dayVolume": number + i, "time": ms},
            "Summary": {"openInterest": 310},
            "TimeAndSale": {
                "index": number + i + 1, "time": ms, "price": 7.2, "size": 2, "bidPrice": 7.0,
                "askPrice": 7.2, "aggressorSide": "BUY", "spreadLeg": i % 4 == 0,
                "validTick": True, "type": "CORRECTION" if i % 500 == 0 else "NEW",
            },
        }[kind]  # fmt: skip
        events.append((kind, names[place], values))
    step = -(-count // MESSAGES)
    return [
        orjson.dumps({"type": "FEED_DATA", "channel": 1, "data": compact(events[i : i + step])})
        for i in range(0, count, step)
    ]


def theta_second(rng: np.random.Generator, names: list[str], count: int, ms: int) -> list[bytes]:
    """A second's messages of Theta's terminal."""
    messages = []
    for i, place in enumerate(rng.integers(0, len(names), count).tolist()):
        root, day, strike, right = names[place].split("|")
        contract = {"security_type": "OPTION", "root": root, "expiration": int(day),
                    "strike": int(strike), "right": right}  # fmt: skip
        kind, body = "QUOTE", {"ms_of_day": ms, "bid": 7.0, "ask": 7.2, "date": int(day)}
        if i % 10 == 0:
            kind, body = "TRADE", {"ms_of_day": ms, "sequence": -i, "size": 2, "condition": 18,
                                   "price": 7.2, "exchange": 5, "date": int(day)}  # fmt: skip
        header = {"type": kind, "status": "CONNECTED"}
        messages.append(orjson.dumps({"header": header, "contract": contract, kind.lower(): body}))
    return messages


def tradier_second(
    rng: np.random.Generator, names: list[str], count: int, moment: float, first: int
) -> list[bytes]:
    """A second's messages of Tradier's event stream."""
    lines = [
        orjson.dumps({
            "type": "timesale", "symbol": names[place], "exch": "C", "bid": "7.0", "ask": "7.2",
            "last": "7.2", "size": "2", "date": str(round(moment * 1000)), "seq": first + i, "flag": "",
            "cancel": False, "correction": False, "session": "normal",
        })
        for i, place in enumerate(rng.integers(0, len(names), count).tolist())
    ]  # fmt: skip
    return [b"\n".join(lines[i : i + 50]) for i in range(0, count, 50)]


def beside(stream: PrintStream, frames: list[Frame], rate: int, seconds: int) -> None:
    """Print what a stream's events take that come beside polled chains, and what is held."""
    assert SESSION is not None
    rng, took = np.random.default_rng(1), []
    tables = []
    for frame in frames:
        table = StreamedTable(frame.symbol, SESSION, StreamedSides(frame.symbol, SESSION))
        stream._tables[frame.symbol] = table
        stream._list(table, frame)
        table.sides.begin(slice(None), SESSION.open.timestamp())
        tables.append(table)
    names, start = list(stream.places), SESSION.open + timedelta(minutes=45)
    warm = -(-len(frames) * KEPT_PRINTS * 2 // rate) if stream.name == "tradier" else 0
    memory = []
    for second in range(-warm, seconds):
        moment = start.timestamp() + max(second, 0)
        stream._now, stream._now_at = moment, time.monotonic()
        if stream.name == "tradier":
            first = (second + warm) * rate
            messages = tradier_second(rng, names, rate, moment, first)
        else:
            messages = theta_second(rng, names, rate, round((moment - tables[0].midnight) * 1000))
        since = time.process_time()
        for message in messages:
            stream.take(message)
        if second % 30 == 29:
            for table in tables:
                table.count()
                table.sides.sample(np.zeros(len(table.names)))
        if second >= 0:
            took.append(time.process_time() - since)
        if second % 10 == 9:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            memory.append(f"{pages * os.sysconf('SC_PAGESIZE') / 1e6:.1f}")
    traded = sum(table.sides.tally.volume.sum() for table in tables)
    print(
        f"{stream.name}: {rate:,} events/s, processor time of a second's: median"
        f" {np.median(took):.3f} s, longest {max(took):.3f} s; MB every 10 s: {', '.join(memory)};"
        f" {traded:,.0f} contracts counted"
    )


async def main() -> None:
    """Print what each ten seconds took, and what was held after them."""
    rate = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    assert SESSION is not None
    start = SESSION.open + timedelta(minutes=45)
    frames = [only_today(await Synthetic(seed=7).live(symbol, start)) for symbol in SYMBOLS]
    source = assembled(frames)
    names = list(source._places)
    rng = np.random.default_rng(1)
    print(f"{rate:,} events/s on {len(names)} contracts of {len(SYMBOLS)} symbols")
    number, second, took = 0, 0, []

    def read(kinds: list[str]) -> float:
        nonlocal number
        moment = start + timedelta(seconds=second)
        source._now, source._now_at = moment.timestamp(), time.monotonic()
        messages = second_of_events(rng, names, rate, moment.timestamp(), number, kinds=kinds)
        number += rate
        since = time.process_time()
        for message in messages:
            source._take(read_message(message)["data"], FIELDS)
        if second % 30 == 29:
            for streamed in source._symbols.values():
                streamed.table.frame(moment)
        return time.process_time() - since

    while (
        min(len(chain_stream.table._sides._prints) for chain_stream in source._symbols.values())
        < KEPT_PRINTS
    ):
        read(["TimeAndSale"])
    print(f"{number:,} prints read first")
    for second in range(seconds):
        took.append(read(["Quote"] * 7 + ["Trade", "TimeAndSale", "Summary"]))
        if second % 10 == 9:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            print(f"after {second + 1} s: {pages * os.sysconf('SC_PAGESIZE') / 1e6:.1f} MB")
    median, longest = np.median(took), max(took)
    print(f"processor time of a second's events: median {median:.3f} s, longest {longest:.3f} s")
    traded = sum(chain_stream.table.tally.volume.sum() for chain_stream in source._symbols.values())
    print(f"{traded:,.0f} contracts counted of prints")
    await source.close()
    token = VendorKeys.read({"FLOW_TRADIER_TOKEN": "x"})
    http = Tradier.open("http://127.0.0.1:1/v1", token).http
    beside(ThetaStream("ws://127.0.0.1:1", timeout=1.0), frames, rate, seconds)
    beside(TradierStream(http, production="", timeout=1.0), frames, rate, seconds)


if __name__ == "__main__":
    asyncio.run(main())
