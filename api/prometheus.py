"""Metrics of one API process and of its data, for Prometheus.

Requests are counted when they end. The state of the data is read when the metrics are scraped.
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

#: Time limit for the database and for the live channel during a scrape. [s]
_TIMEOUT = 2.0
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: At most so many symbols become labels, whatever is sampled by mistake.
_MAX_SYMBOLS = 2_000


class ApiMetrics:
    """The metrics of one application.

    Parameters
    ----------
    dataset
        ``live`` or ``synthetic``.
    version
        The installed version of the package.
    """

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
        """Count a request that has ended.

        Parameters
        ----------
        route
            Path of the route that answered.
        status
            Status of the answer.
        seconds
            Time from the request to the end of its answer.
        """
        # Looking a series up by its labels takes longer than counting, so each is looked up once.
        series = self._counted.get((route, status))
        if series is None:
            duration = None if route.endswith("/stream") else self._seconds.labels(route)
            series = (self._requests.labels(route, str(status)), duration)
            self._counted[route, status] = series
        series[0].inc()
        if series[1] is not None:
            series[1].observe(seconds)

    async def render(self, store: Store, live: LiveChannel, now: datetime) -> bytes:
        """Write all metrics in Prometheus' text format.

        Parameters
        ----------
        store, live
            Asked for their state; one that does not answer is reported as down.
        now
            The present, for the rows' age.

        Returns
        -------
        bytes
            The text.
        """
        self._market.set(market_status(now)["state"] == "open")
        database, channel = await asyncio.gather(self._read_rows(store, now), _answers(live))
        self._up.labels("database").set(database)
        self._up.labels("live_channel").set(channel)
        return generate_latest(self.registry)

    async def _read_rows(self, store: Store, now: datetime) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT):
                slots, heads = await store.symbols(), await store.heads()
        except (StoreError, TimeoutError):
            slots, heads = {}, {}
            answered = False
        else:
            answered = True
        # Without the database the gauges are empty: an old number would look like a new one.
        self._age.clear()
        self._cursor.clear()
        for symbol in list(slots)[:_MAX_SYMBOLS]:
            self._age.labels(symbol).set((now - slots[symbol]).total_seconds())
        for symbol in list(heads)[:_MAX_SYMBOLS]:
            self._cursor.labels(symbol).set(heads[symbol])
        return answered


async def _answers(live: LiveChannel) -> bool:
    try:
        async with asyncio.timeout(_TIMEOUT):
            await live.ping()
    except (LiveError, TimeoutError):
        return False
    return True
