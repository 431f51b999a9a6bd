"""A whole session sampled from a loopback vendor, with faults at chosen slots."""

from __future__ import annotations

import asyncio
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

#: How long a polling source waits for an answer where there is trouble. [s]
PATIENCE_IN_TROUBLE = 2.5


async def play_session(
    source: Source,
    server: VendorServer,
    symbol: str,
    session: Session,
    troubles: Mapping[int, Callable[[VendorServer], None]],
    *,
    delay: timedelta = timedelta(),
    budget: float = 20.0,
    rest: Callable[[Outcome], float] = lambda outcome: 0.0,
) -> list[Outcome]:
    """Sample every slot of a simulated day at its own time; one outcome a slot.

    ``troubles`` says what happens to the server before a slot, by its number. A slot without
    an entry begins healed. A polling source has ``PATIENCE_IN_TROUBLE`` for an answer where there is
    trouble, and time enough for a busy machine where there is none. ``delay`` is how far its quotes
    lie behind. ``budget`` is what a slot may take in all, in seconds. ``rest`` is how long the
    clock on the wall goes on after a slot, in seconds: a new connection takes as long on a fast
    clock as on a slow one.
    """
    async for frame in Synthetic(seed=7).history(symbol, session):
        server.put(frame)
    tick = Tick(source, DryRunStore(), NoChannel(), oi_confidence=0.43, budget=budget, quiet=True)
    # Theta's client of live answers stands behind its terminal.
    terminal = getattr(source, "_terminal", None)
    client = getattr(source, "http", None) if terminal is None else terminal._now
    outcomes = []
    for number, slot in enumerate(session.slots):
        server.heal()
        server.now = slot
        if isinstance(client, HttpClient):
            client.budget = client.timeout = PATIENCE_IN_TROUBLE if number in troubles else 15.0
        if number in troubles:
            troubles[number](server)
        outcomes.append(await tick.sample(symbol, now=slot + delay, target=slot))
        await asyncio.sleep(rest(outcomes[-1]))
    return outcomes
