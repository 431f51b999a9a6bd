"""What a past session of SPX costs through ``theta:``, and a live chain beside ``cboe:``. ``make bench``

A simulated session whose answers lie ready, so that neither network nor terminal is measured. Times
are this process's own: medians of some repeats for a chain, one run for a session.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date, datetime

import numpy as np
import orjson

from sampler.chain import Frame
from sampler.sources.cboe_json import parse_chain
from sampler.sources.synthetic.source import Synthetic
from sampler.sources.theta.source import Theta
from storage.market.calendar import session_on
from tests.cboe_server import from_frame
from tests.vendors.same_row import only_today
from tests.vendors.server import Request
from tests.vendors.theta import ThetaVendor, prints_of

DAY = date(2026, 8, 19)
SESSION = session_on(DAY)


class Ready:
    """A terminal that answers at once, and counts."""

    remote = False

    def __init__(self, vendor: ThetaVendor) -> None:
        self.vendor = vendor
        self.bodies: dict[str, bytes | None] = {}
        self.requests = self.size = self.rows = 0

    async def ask(
        self, path: str, params: Mapping[str, str], *, symbol: str, now: datetime
    ) -> bytes | None:
        """The body of an answer; None for 472."""
        key = json.dumps([path, params])
        if key not in self.bodies:
            query = {**params, "format": "csv"}
            answer = self.vendor.respond(Request("GET", f"/{path}", query, {}, b"", 0, 0.0))
            self.bodies[key] = answer.body if answer.status == 200 else None
        body = self.bodies[key]
        self.requests += 1
        if body is not None:
            self.size += len(body)
            self.rows += body.count(b"\n") - 1
        return body

    async def close(self) -> None:
        """Nothing to let go of."""


async def read_session(ready: Ready, *, prints: bool) -> tuple[int, float]:
    """Frames of the session, and the processor time that they took. [s]"""
    ready.requests = ready.size = ready.rows = 0
    since, frames = time.process_time(), 0
    async for _ in Theta(ready, prints=prints).history("SPX", SESSION):  # type: ignore[arg-type]
        frames += 1
    return frames, time.process_time() - since


def milliseconds(work: Callable[[], object]) -> float:
    """The median of 30 repeats."""
    took = []
    for _ in range(30):
        since = time.process_time()
        work()
        took.append(time.process_time() - since)
    return 1e3 * statistics.median(took)


async def main() -> None:
    """Print the two tables."""
    frames = [only_today(f) async for f in Synthetic(seed=7).history("SPX", SESSION)]
    vendor = ThetaVendor()
    vendor.put(*frames)
    vendor.prints["SPX"] = prints_of(frames)[0]
    ready = Ready(vendor)
    print(f"a session of SPX, {len(frames[0].strike)} contracts: reading alone")
    for plan, prints in (("value", False), ("standard", True)):
        await read_session(ready, prints=prints)
        count, seconds = await read_session(ready, prints=prints)
        print(
            f"  plan={plan:9} {count} slots  {ready.requests:3} requests  {ready.rows:8,} rows"
            f"  {ready.size / 1e6:6.1f} MB  {seconds:5.2f} s  {count / seconds:6,.0f} slots/s"
        )
    frame: Frame = frames[400]
    vendor.now = frame.quoted_at
    loop = asyncio.new_event_loop()

    def theta() -> Frame:
        # A new source has no frame that this one could be equal to.
        return loop.run_until_complete(
            Theta(ready, prints=False).live("SPX", frame.quoted_at)  # type: ignore[arg-type]
        )

    body = orjson.dumps(from_frame(frame))

    def cboe() -> Frame:
        return parse_chain(body, symbol="SPX", now=frame.fetched_at, delay_seconds=0)

    def measured() -> tuple[float, float]:
        theta()
        return milliseconds(theta), milliseconds(cboe)

    ours, theirs = await asyncio.to_thread(measured)
    loop.close()
    assert np.array_equal(np.sort(cboe().bid), np.sort(frame.bid), equal_nan=True)
    print(
        f"a live chain of {len(frame.strike)} contracts: theta {ours:.2f} ms, cboe {theirs:.2f} ms"
    )


if __name__ == "__main__":
    asyncio.run(main())
