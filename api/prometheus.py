"""Metrics of one API process and of its data, for Prometheus.

Requests are counted when they end. The state of the data is read when the metrics are scraped.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from api.market_hours import market_status
from storage.errors import LiveError, StoreError
from storage.market.calendar import (
    Session,
    last_session,
    market_day,
    session_on,
    sessions_between,
)
from storage.market.clock import Clock
from storage.postgres.coverage import assess_coverage
from storage.postgres.overdue import overdue_seconds
from storage.postgres.store import Store
from storage.redis.channel import LiveChannel

log = structlog.get_logger()

#: Time limit for the database and for the live channel during a scrape. [s]
_TIMEOUT = 2.0
#: How old the state of the data in an answer may be. [s]
_STATE_SECONDS = 1.0
#: How old the database's size, its clock and the coverage may be. [s]
_SLOW_SECONDS = 60.0
#: A span that always has a session.
_RECENT = timedelta(days=10)
#: This long after a session's close every feed has delivered its last slot.
_LATEST_FEED = timedelta(minutes=20)
#: Time limit for what is read once a minute. [s]
_SLOW_TIMEOUT = 5.0
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: No more symbols than this become labels, even if many are sampled by mistake.
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
        # Without these, each counter has a second series with the time of its start.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._reading = asyncio.Lock()
        self._read_at = self._slow_at = -math.inf
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
        self.refused = Counter(
            "flow_api_refused_requests",
            "Requests that were refused at once, because too many waited for their answer.",
            registry=self.registry,
        )
        self._counted: dict[tuple[str, int], tuple[Counter, Histogram | None]] = {}
        self.readers = self._gauge("flow_stream_readers", "Streams that are open.")
        self._up = self._gauge("flow_part_up", "1 if a part answers, 0 if it is away.", "part")
        self._age = self._gauge(
            "flow_row_age_seconds", "Market time since a symbol's newest slot.", "symbol"
        )
        self._overdue = self._gauge(
            "flow_row_overdue_seconds",
            "Market time for which a symbol that is due has had no row, beyond its feed's delay.",
            "symbol",
        )
        self._coverage = self._gauge(
            "flow_session_coverage_ratio",
            "Rows of a symbol's last ended session, as a share of the slots; of its best feed.",
            "symbol",
        )
        self._bytes = self._gauge("flow_database_bytes", "Size of the database.")
        self._clock = self._gauge(
            "flow_clock_difference_seconds", "The database server's clock less this machine's."
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

        The state of the data is read once a second at most, however many ask, and what takes
        longer to read once a minute.

        Parameters
        ----------
        store, live
            Asked for their state; one that does not answer is reported as down.
        now
            The market's time, for the rows' age.

        Returns
        -------
        bytes
            The text.
        """
        async with self._reading:
            if time.monotonic() - self._read_at >= _STATE_SECONDS:
                await self._read_state(store, live, now)
                self._read_at = time.monotonic()
        return generate_latest(self.registry)

    async def _read_state(self, store: Store, live: LiveChannel, now: datetime) -> None:
        self._market.set(market_status(now)["state"] == "open")
        database, channel = await asyncio.gather(self._read_rows(store, now), _answers(live))
        self._up.labels("database").set(database)
        self._up.labels("live_channel").set(channel)

    async def _read_rows(self, store: Store, now: datetime) -> bool:
        overdue: dict[str, float] = {}
        try:
            async with asyncio.timeout(_TIMEOUT):
                slots, heads = await store.symbols(), await store.heads()
                if (session := session_on(market_day(now))) is not None:
                    sampled = await store.sampled_symbols(_session_before(session), session)
                    overdue = overdue_seconds(sampled, session, now)
        except (StoreError, TimeoutError):
            slots, heads, overdue = {}, {}, {}
            answered = False
        else:
            answered = True
        # Without the database the gauges are empty: an old number would look like a new one.
        if not answered or time.monotonic() - self._slow_at >= _SLOW_SECONDS:
            self._bytes.set(math.nan)
            self._clock.set(math.nan)
            self._coverage.clear()
            self._slow_at = -math.inf
        if answered and self._slow_at == -math.inf:
            try:
                async with asyncio.timeout(_SLOW_TIMEOUT):
                    await self._read_slowly(store, now)
                self._slow_at = time.monotonic()
            except (StoreError, TimeoutError):
                log.warning("size of the database and coverage not read")
        _replace(self._age, {s: (now - slot).total_seconds() for s, slot in slots.items()})
        _replace(self._overdue, overdue)
        _replace(self._cursor, heads)
        return answered

    async def _read_slowly(self, store: Store, now: datetime) -> None:
        before = Clock().now()
        server, size = await store.server_state()
        here = before + (Clock().now() - before) / 2
        self._bytes.set(size)
        self._clock.set((server - here).total_seconds())
        ended = _ended_session(now)
        counts = await store.coverage(ended.day, ended.day)
        lines = assess_coverage(
            counts, first=ended.day, last=ended.day, now=now, symbols=None, least=0
        )
        owned = {row["symbol"] for row in counts if row["owned"]}
        best: dict[str, float] = {}
        for line in lines:
            if line.symbol in owned:
                best[line.symbol] = max(line.coverage, best.get(line.symbol, 0.0))
        _replace(self._coverage, best)


def _replace(gauge: Gauge, values: Mapping[str, float]) -> None:
    """Give a gauge these values by symbol, and no others."""
    gauge.clear()
    for symbol, value in islice(values.items(), _MAX_SYMBOLS):
        gauge.labels(symbol).set(value)


def _session_before(session: Session) -> Session:
    return sessions_between(session.day - _RECENT, session.day - timedelta(days=1))[-1]


def _ended_session(now: datetime) -> Session:
    """Return the newest session that has ended, with the latest rows of a delayed feed."""
    newest = last_session(now)
    ended = now >= newest.close + _LATEST_FEED
    return newest if ended else _session_before(newest)


async def _answers(live: LiveChannel) -> bool:
    try:
        async with asyncio.timeout(_TIMEOUT):
            await live.ping()
    except (LiveError, TimeoutError):
        return False
    return True
