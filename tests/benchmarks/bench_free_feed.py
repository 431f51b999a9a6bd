"""How many symbols of the free feed fit into a slot: one polite client, answers of real sizes.

``python -m tests.benchmarks.bench_free_feed`` (minutes). The server is on loopback; it waits as a line
with a latency of 60 ms and 50 Mbit/s for all answers together would. SPX, SPY and QQQ are as large as
recorded ones; the sizes of the others are assumptions.
"""

from __future__ import annotations

import asyncio
import gzip
import random
import sys
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources.cboe import Cboe

sys.path.insert(0, str(Path(__file__).parents[1]))  # for what the test servers import
from tests.cboe_server import cboe_json, contract
from tests.vendors.server import Answer, Request, VendorServer

#: Quotes of 10:30 New York, fetched 15 minutes later.
NOW = datetime(2026, 8, 19, 14, 45, tzinfo=UTC)
#: [s, bytes/s]
LATENCY, LINE = 0.06, 50e6 / 8
#: Contracts of all expirations; every further symbol has the last number.
SIZES = {"SPX": 27_000, "SPY": 9_500, "QQQ": 9_500, "NDX": 9_000, "RUT": 7_000, "XSP": 9_000}
SIZES |= dict.fromkeys(("IWM", "NVDA", "TSLA"), 6_000)
OTHER = 2_500
MORE = [f"S{n}" for n in range(100, 250)]


def body_of(symbol: str, contracts: int) -> bytes:
    """An answer as large, packed, as a recorded one: some 65 bytes a contract."""
    dice = random.Random(symbol)
    listed, spot = [], 500.0
    per_expiry = 500
    for n in range(contracts):
        expiry = date(2026, 8, 19) + timedelta(days=n // per_expiry)
        strike = spot - 125 + (n % per_expiry) // 2
        away = abs(strike - spot)
        price = max(30 - away, 0.05) + 0.01 * dice.randrange(100)
        traded = dice.random() < 0.3
        fields = {
            "bid": round(price, 2), "ask": round(price + 0.05, 2), "bid_size": dice.randrange(99),
            "ask_size": dice.randrange(99), "iv": round(dice.random(), 4),
            "open_interest": dice.randrange(3000), "delta": round(dice.random(), 4),
            "gamma": round(dice.random() / 10, 4), "vega": round(dice.random(), 4),
            "theta": round(-dice.random(), 4), "rho": round(dice.random(), 4),
            "theo": round(price + dice.random() / 9, 4), "change": round(dice.random(), 4),
            "percent_change": round(dice.random() * 9, 4), "prev_day_close": round(price + dice.random(), 6),
            "open": round(price + dice.random(), 2), "high": round(price + dice.random(), 2),
            "volume": dice.randrange(500) if traded else 0,
            "last_trade_price": round(price, 2) if traded else 0.0,
        }  # fmt: skip
        listed.append(contract(symbol, expiry, "CP"[n % 2], strike, **fields))
    return orjson.dumps(cboe_json(symbol, spot, "2026-08-19 10:30:00", listed))


class LineServer(VendorServer):
    """Packed answers that lie ready; each waits for its turn on the line."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        super().__init__()
        self.bodies = bodies
        self._line_free = 0.0
        self._lock = threading.Lock()

    def respond(self, request: Request) -> Answer:
        body = self.bodies[request.path.strip("/").removeprefix("_").removesuffix(".json")]
        with self._lock:
            now = time.monotonic()
            self._line_free = max(self._line_free, now) + len(body) / LINE
            wait = self._line_free - now + LATENCY
        return Answer(200, {"Content-Encoding": "gzip"}, body, delay=wait)


async def slot_of(server: LineServer, symbols: list[str], pace: float, budget: float) -> str:
    """One slot of some symbols; a line of the table."""
    source = Cboe.open(f"{server.url}?pace={pace}&budget={budget}&timeout=8")
    ends: list[float] = []
    began, worked = time.monotonic(), time.process_time()

    async def fetch(symbol: str) -> Frame | ChainRefused:
        try:
            return await source.live(symbol, NOW)
        except ChainRefused as refusal:
            return refusal
        finally:
            ends.append(time.monotonic() - began)

    came = await asyncio.gather(*(fetch(symbol) for symbol in symbols))
    worked = time.process_time() - worked
    await source.close()
    good = [frame for frame in came if isinstance(frame, Frame)]
    why = next((str(r) for r in came if isinstance(r, ChainRefused)), "")
    size = sum(len(server.bodies[frame.symbol]) for frame in good) / 1e6
    ports = len({request.port for request in server.requests})
    server.requests.clear()
    return (
        f"| {pace} | {budget:.0f} | {len(symbols)} | {len(good)} | {max(ends):.1f} | {size:.1f} |"
        f" {worked:.1f} | {ports} | {why}"
    )


def main() -> None:
    """Print the table."""
    other = body_of("S100", OTHER)
    bodies = {name: gzip.compress(body_of(name, count)) for name, count in SIZES.items()}
    print({name: f"{len(body) / 1e6:.2f} MB" for name, body in bodies.items()})
    for name in MORE:
        bodies[name] = gzip.compress(other.replace(b"S100", name.encode()))
    symbols = [*SIZES, *MORE]

    async def run() -> None:
        server = LineServer(bodies)
        server.start()
        print(
            "| pace, s | budget, s | symbols | chains | last after, s | MB | processor, s | connections |"
        )
        for pace, budget, counts in (
            (0.2, 12.0, (1, 14, 40, 60, 70)),
            (0.1, 12.0, (60, 120)),
            (0.2, 27.0, (60, 120, 135, 150)),
        ):
            for count in counts:
                print(await slot_of(server, symbols[:count], pace, budget), flush=True)
        server.stop()

    asyncio.run(run())


if __name__ == "__main__":
    main()
