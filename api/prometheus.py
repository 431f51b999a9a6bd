"""prometheus_client's home in the API: what one process tells of itself and of its data.

Requests are counted as they end; the state of the data is read when somebody looks.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from api.market_hours import market_status
from storage.errors import LiveError, StoreError
from storage.postgres.store import Store
from storage.redis.channel import LiveChannel

#: Seconds that a part may take to answer while somebody looks.
_PATIENCE = 2.0
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: A registry's label must not grow with what is sampled by mistake.
_SYMBOLS = 2_000


class ApiMetrics:
    """The metrics of one application."""

    def __init__(self, dataset: str, version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "flow_api_requests",
            "Answered requests by route and status; 499 is a caller who left.",
            ("route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "flow_api_request_seconds",
            "Seconds from a request to its answer's end; streams, which stay open, are left out.",
            ("route",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._counted: dict[tuple[str, int], tuple[Counter, Histogram | None]] = {}
        self.readers = self._gauge("flow_stream_readers", "Streams that are open.")
        self._up = self._gauge("flow_part_up", "1 if a part answers, 0 if it is away.", "part")
        self._age = self._gauge(
            "flow_row_age_seconds", "Market time since a symbol's newest slot.", "symbol"
        )
        self._cursor = self._gauge(
            "flow_cursor", "Revision of a symbol's newest change; it grows.", "symbol"
        )
        self._market = self._gauge("flow_market_open", "1 while the session is open, else 0.")
        info = self._gauge("flow_build_info", "1, with what runs here.", "version", "dataset")
        info.labels(version, dataset).set(1)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def count(self, route: str, status: int, seconds: float) -> None:
        """One request is over."""
        # Routes and statuses are few; finding a series by its labels takes longer than counting.
        known = self._counted.get((route, status))
        if known is None:
            took = None if route.endswith("/stream") else self._seconds.labels(route)
            known = self._counted[route, status] = (self._requests.labels(route, str(status)), took)
        known[0].inc()
        if known[1] is not None:
            known[1].observe(seconds)

    async def look(self, store: Store, live: LiveChannel, now: datetime) -> bytes:
        """Everything, in Prometheus' text format; what is away is told as away."""
        self._market.set(market_status(now)["state"] == "open")
        database, channel = await asyncio.gather(self._rows(store, now), _answers(live))
        self._up.labels("database").set(database)
        self._up.labels("live_channel").set(channel)
        return generate_latest(self.registry)

    async def _rows(self, store: Store, now: datetime) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                slots, heads = await store.symbols(), await store.heads()
        except (StoreError, TimeoutError):
            slots, heads = {}, {}
            there = False
        else:
            there = True
        # Of what cannot be read nothing is told: an old number would look like a new one.
        self._age.clear()
        self._cursor.clear()
        for symbol in list(slots)[:_SYMBOLS]:
            self._age.labels(symbol).set((now - slots[symbol]).total_seconds())
        for symbol in list(heads)[:_SYMBOLS]:
            self._cursor.labels(symbol).set(heads[symbol])
        return there


async def _answers(live: LiveChannel) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE):
            await live.ping()
    except (LiveError, TimeoutError):
        return False
    return True
