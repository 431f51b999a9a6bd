"""What Prometheus is told of a sampler, read by the published parser."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sampler.live.outcome import Outcome
from sampler.live.prometheus import SamplerMetrics
from storage.errors import FlowError
from storage.record.row import Reason
from tests.api.rows import record, utc


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def look(port: int) -> dict[tuple[str, ...], float]:
    """Each sample by its name and its labels' values, in the order of the labels' names."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as sent:
        text = sent.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_steps():
    """Each outcome by symbol, the stages' seconds, and the newest slot that was measured."""
    metrics, port = SamplerMetrics(), free_port()
    measured = record(utc("14:00"))
    metrics.count_step(
        Outcome(symbol="SPY", record=measured, stored=True, stage_ms={"measure": 3.0})
    )
    metrics.count_step(Outcome(symbol="SPY", reason=Reason.STALE, stage_ms={"fetch": 700.0}))
    metrics.count_step(Outcome(symbol="SPY", reason=Reason.STALE))
    async with metrics.serving(port):
        sent = await asyncio.to_thread(look, port)
    assert sent["flow_sampler_steps_total", "stored", "SPY"] == 1
    assert sent["flow_sampler_steps_total", "stale", "SPY"] == 2
    newest = sent["flow_sampler_newest_slot_timestamp_seconds", "SPY"]
    assert newest == utc("14:00").timestamp()
    assert sent["flow_sampler_stage_seconds_sum", "fetch"] == pytest.approx(0.7)
    assert sent["flow_sampler_stage_seconds_bucket", "0.005", "measure"] == 1
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(look, port)


async def test_off():
    """Without a port nothing listens."""
    async with SamplerMetrics().serving(0):
        pass


async def test_port_is_taken():
    """A port in use is one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FlowError, match=f"FLOW_METRICS_PORT: port {port}: "):
            async with SamplerMetrics().serving(port):
                pass


async def test_a_running_sampler(servers, database, tmp_path):
    """A sampler that is told a port counts its steps there, from the first one on."""
    port = free_port()
    environment = os.environ | {
        "FLOW_DATABASE_URL": database,
        "FLOW_REDIS_URL": servers.redis_url,
        "FLOW_CLOCK": f"simulated:2026-06-05T14:30:00+00:00@60@{datetime.now(UTC).isoformat()}",
        "FLOW_SOURCE": "synthetic:?seed=7",
        "FLOW_SYMBOLS": "SPY",
        "FLOW_METRICS_PORT": str(port),
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sampler", "run"], env=environment, stderr=log
        )
    try:
        async with asyncio.timeout(60):
            stored = 0.0
            while not stored:
                assert process.poll() is None, (tmp_path / "log").read_text()
                await asyncio.sleep(0.2)
                with suppress(OSError):
                    metrics = await asyncio.to_thread(look, port)
                    stored = metrics.get(("flow_sampler_steps_total", "stored", "SPY"), 0)
        assert metrics["flow_sampler_stage_seconds_count", "measure"] >= stored
        assert metrics["flow_sampler_newest_slot_timestamp_seconds", "SPY"] % 30 == 0
    finally:
        process.terminate()
        assert await asyncio.to_thread(process.wait, 30) == 0
