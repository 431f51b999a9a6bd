"""The sampler's Prometheus metrics, served on a port of loopback if one is set.

They tell what only the sampler knows: why a slot has no row, and how long each stage of a step
takes. The age of the newest row is a metric of the API.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)

from sampler.live.outcome import Outcome
from storage.errors import FlowError

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)


class SamplerMetrics:
    """The metrics of one sampler."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._steps = Counter(
            "flow_sampler_steps",
            "Steps by symbol and outcome: stored, or the reason why not.",
            ("symbol", "outcome"),
            registry=self.registry,
        )
        self._stages = Histogram(
            "flow_sampler_stage_seconds",
            "Seconds that each stage of a step took.",
            ("stage",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._newest = Gauge(
            "flow_sampler_newest_slot_timestamp_seconds",
            "Market time of a symbol's newest measured slot, in Unix seconds.",
            ("symbol",),
            registry=self.registry,
        )

    def count_step(self, outcome: Outcome) -> None:
        """Count a finished step, its stages and its newest slot.

        Parameters
        ----------
        outcome : what came of the step.
        """
        self._steps.labels(outcome.symbol, outcome.label).inc()
        for stage, milliseconds in outcome.stage_ms.items():
            self._stages.labels(stage).observe(milliseconds / 1e3)
        if outcome.record is not None:
            newest = self._newest.labels(outcome.symbol)
            newest.set(outcome.record.row.slot.timestamp())

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        """Serve ``/metrics`` on a port of loopback, from a thread.

        Parameters
        ----------
        port : the port; 0 serves nothing.

        Yields
        ------
        None
            Nothing; the server ends with the block.

        Raises
        ------
        FlowError
            If the port cannot be opened.
        """
        if not port:
            yield
            return
        try:
            server, thread = start_http_server(port, "127.0.0.1", self.registry)
        except OSError as error:
            raise FlowError(f"FLOW_METRICS_PORT: port {port}: {error.strerror}") from error
        try:
            yield
        finally:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join()
