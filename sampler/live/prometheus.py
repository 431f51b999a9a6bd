"""The sampler's Prometheus metrics, served on a port of loopback if one is set.

They tell what only the sampler knows: why a slot has no row, and how long each stage of a step
takes. The age of the newest row is a metric of the API.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

from sampler.live.outcome import STAGES, STORED_OUTCOMES, Outcome
from storage.errors import FlowError
from storage.record.row import DEFINITIONS, Gap, Reason

log = structlog.get_logger()

#: Reasons of gaps that a live sampler writes. The others belong to recorded frames.
LIVE_REASONS = tuple(
    reason for reason in Reason if reason not in {Reason.MARKET_CLOSED, Reason.NOT_SAMPLED}
)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)


class WriterState(Protocol):
    """What the metrics read of the writer, of the spool and of the lease at each scrape."""

    @property
    def spooling_seconds(self) -> float:
        """How long batches have waited for the database; 0 while none waits. [s]"""
        ...

    @property
    def spool_batches(self) -> int:
        """How many batches wait."""
        ...

    @property
    def spool_bytes(self) -> int:
        """How large the waiting batches are on disk. [bytes]"""
        ...


class SamplerMetrics:
    """The metrics of one sampler."""

    def __init__(self, symbols: Sequence[str], version: str) -> None:
        """Make the metrics; all that count start at 0, so that the first event is an increase.

        Parameters
        ----------
        symbols : what this sampler may sample.
        version : the installed version of the package.
        """
        # Without these, each counter has a second series with the time of its start.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._symbols = tuple(symbols)
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._steps = self._counter(
            "flow_sampler_steps",
            "Steps by symbol and outcome: stored, or the reason why not.",
            "symbol",
            "outcome",
        )
        self._gaps = self._counter(
            "flow_sampler_gaps", "Slots that became gaps, by symbol and reason.", "symbol", "reason"
        )
        self._spooled = self._counter(
            "flow_sampler_spooled_records", "Rows that were spooled: the database was away."
        )
        self._quarantined = self._counter(
            "flow_sampler_quarantined_records", "Rows and gaps that the database refused."
        )
        for symbol in symbols:
            for outcome in (*STORED_OUTCOMES, *LIVE_REASONS):
                self._steps.labels(symbol, outcome)
            for reason in LIVE_REASONS:
                self._gaps.labels(symbol, reason)
        self._stages = Histogram(
            "flow_sampler_stage_seconds",
            "Seconds that each stage of a step took.",
            ("stage",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        for stage in STAGES:
            self._stages.labels(stage)
        self._newest = self._gauge(
            "flow_sampler_newest_slot_timestamp_seconds",
            "Market time of a symbol's newest measured slot, in Unix seconds.",
            "symbol",
        )
        self._quote_age = self._gauge(
            "flow_sampler_quote_age_seconds",
            "Age of the quotes of a symbol's newest row when they were fetched.",
            "symbol",
        )
        self._quotes_late = self._gauge(
            "flow_sampler_quotes_late_seconds",
            "By how much those quotes were older than the feed declares; below 0 if newer.",
            "symbol",
        )
        self.leases_held = self._gauge("flow_sampler_leases_held", "Symbols sampled here.")
        self.leases_waiting = self._gauge(
            "flow_sampler_leases_waiting", "Symbols that another sampler holds, or nobody yet."
        )
        self.leases_waiting.set(len(self._symbols))
        self.database_up = self._gauge(
            "flow_sampler_database_up", "1 while rows are written to the database, 0 while spooled."
        )
        info = self._gauge(
            "flow_sampler_build_info", "1, with what runs here.", "version", "definitions"
        )
        info.labels(version, DEFINITIONS).set(1)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def watch_writer(self, writer: WriterState, folder: Path) -> None:
        """Read the writer's state at each scrape.

        Parameters
        ----------
        writer : what waits for the database.
        folder : where the spool is; its free space is a metric.
        """
        waiting = self._gauge("flow_sampler_spool_batches", "Batches that wait for the database.")
        waiting.set_function(lambda: writer.spool_batches)
        size = self._gauge("flow_sampler_spool_bytes", "Size of those batches on disk.")
        size.set_function(lambda: writer.spool_bytes)
        age = self._gauge(
            "flow_sampler_spool_age_seconds", "How long batches have waited; 0 while none waits."
        )
        age.set_function(lambda: writer.spooling_seconds)
        self.database_up.set_function(lambda: float(not writer.spooling_seconds))
        free = self._gauge(
            "flow_sampler_disk_free_bytes", "Free space of the disk that has the spool."
        )
        free.set_function(lambda: shutil.disk_usage(folder).free)

    def count_step(self, outcome: Outcome) -> None:
        """Count a finished step, its stages and its newest slot.

        Parameters
        ----------
        outcome : the outcome of the step.
        """
        self._steps.labels(outcome.symbol, outcome.label).inc()
        for stage, milliseconds in outcome.stage_ms.items():
            self._stages.labels(stage).observe(milliseconds / 1e3)
        if outcome.record is not None:
            row = outcome.record.row
            self._newest.labels(outcome.symbol).set(row.slot.timestamp())
            age = (row.fetched_at - row.quoted_at).total_seconds()
            self._quote_age.labels(outcome.symbol).set(age)
            self._quotes_late.labels(outcome.symbol).set(age - row.delay_seconds)

    def count_gaps(self, gaps: Iterable[Gap]) -> None:
        """Count slots that became gaps.

        Parameters
        ----------
        gaps : gaps that were written or spooled.
        """
        for gap in gaps:
            self._gaps.labels(gap.symbol, str(gap.reason)).inc()

    def count_spooled(self, records: int) -> None:
        """Count rows that went to the spool.

        Parameters
        ----------
        records : how many.
        """
        self._spooled.inc(records)

    def count_quarantined(self, items: int) -> None:
        """Count rows and gaps that the database refused.

        Parameters
        ----------
        items : how many.
        """
        self._quarantined.inc(items)

    def set_leases(self, held: int) -> None:
        """Note how many symbols this sampler holds.

        Parameters
        ----------
        held : the number.
        """
        self.leases_held.set(held)
        self.leases_waiting.set(len(self._symbols) - held)

    @asynccontextmanager
    async def serving(self, port: int, *, required: bool = True) -> AsyncIterator[None]:
        """Serve ``/metrics`` on a port of loopback, from a thread.

        Parameters
        ----------
        port : the port; 0 serves nothing.
        required : whether a port that is taken is an error. If not, it is logged, and nothing is
            served: a second sampler on this machine has the default port.

        Yields
        ------
        None
            Nothing; the server ends with the block.

        Raises
        ------
        FlowError
            If the port cannot be opened, and is required.
        """
        if not port:
            yield
            return
        try:
            server, thread = start_http_server(port, "127.0.0.1", self.registry)
        except OSError as error:
            if required:
                raise FlowError(f"FLOW_METRICS_PORT: port {port}: {error.strerror}") from error
            log.warning(
                "metrics are not served: set FLOW_METRICS_PORT", port=port, error=error.strerror
            )
            yield
            return
        try:
            yield
        finally:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join()
