"""A whole session sampled from a loopback vendor, with faults at chosen slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from sampler.live.outcome import Outcome
from sampler.live.tick import DryRunStore, Tick
from sampler.sources import Source
from sampler.sources.http import HttpClient
from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import Session
from storage.redis.channel import NoChannel
from tests.vendors.server import VendorServer


async def play_session(
    source: Source,
    server: VendorServer,
    symbol: str,
    session: Session,
    troubles: Mapping[int, Callable[[VendorServer], None]],
    *,
    delay: timedelta = timedelta(),
) -> list[Outcome]:
    """Sample every slot of a simulated day at its own time; one outcome a slot.

    ``troubles`` says what happens to the server before a slot, by its number. A slot without
    an entry begins healed. A polling source has a second for an answer where there is trouble, and
    time enough for a busy machine where there is none. ``delay`` is how far its quotes lie behind.
    """
    async for frame in Synthetic(seed=7).history(symbol, session):
        server.put(frame)
    tick = Tick(source, DryRunStore(), NoChannel(), oi_confidence=0.43, budget=5, quiet=True)
    outcomes = []
    for number, slot in enumerate(session.slots):
        server.heal()
        server.now = slot
        http = getattr(source, "http", None)
        if isinstance(http, HttpClient):
            http.budget, http.timeout = (1.0, 0.8) if number in troubles else (5.0, 5.0)
        if number in troubles:
            troubles[number](server)
        outcomes.append(await tick.sample(symbol, now=slot + delay, target=slot))
    return outcomes
