"""What Prometheus is told of a sampler, read by the published parser."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import urllib.request
from contextlib import suppress
from datetime import UTC, date, datetime

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from sampler.live.outcome import Outcome
from sampler.live.prometheus import SamplerMetrics
from sampler.sources import open_source
from storage.config.vendor_keys import NO_KEYS
from storage.errors import FlowError
from storage.market.calendar import session_on
from storage.record.row import Reason
from tests import forked
from tests.api.rows import record, utc
from tests.rig import STEP, FailingStore, rig


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
    metrics, port = SamplerMetrics(["SPY"], "1.2.3"), free_port()
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


def samples(metrics: SamplerMetrics) -> dict[tuple[str, ...], float]:
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_begin_at_zero():
    """Before anything happens each gap reason has a 0, so that the first gap is an increase."""
    sent = samples(SamplerMetrics(["SPY", "QQQ"], "1.2.3"))
    for reason in ("late", "not_running", "source_down", "stale", "no_room", "failed"):
        assert sent["flow_sampler_gaps_total", reason, "SPY"] == 0
        assert sent["flow_sampler_gaps_total", reason, "QQQ"] == 0
    assert sent["flow_sampler_spooled_records_total",] == 0
    assert sent["flow_sampler_quarantined_records_total",] == 0
    assert sent["flow_sampler_leases_waiting",] == 2
    assert sent["flow_sampler_build_info", "3", "1.2.3"] == 1
    assert not [name for name, *_ in sent if name.endswith("_created")]


async def test_what_is_lost_is_counted_where_it_is_written(store, tmp_path):
    """Gaps of missed and late slots, rows that are spooled, and the spool's size and age."""
    metrics = SamplerMetrics(["SPX"], "1")
    flaky = FailingStore(store)
    source = open_source("synthetic:?seed=3", NO_KEYS)
    session = session_on(date(2026, 8, 19))
    start = session.open + 10 * STEP
    async with rig(source, flaky, tmp_path, counts=metrics) as parts:
        metrics.watch_writer(parts.writer, tmp_path)
        await parts.tracker.add_symbols(["SPX"], start)
        sent = samples(metrics)
        assert sent["flow_sampler_gaps_total", "not_running", "SPX"] == 10
        await parts.tracker.step("SPX", start)
        # Three slots pass before the next step begins.
        await parts.tracker.step("SPX", start + 4 * STEP)
        assert samples(metrics)["flow_sampler_gaps_total", "late", "SPX"] == 3
        assert samples(metrics)["flow_sampler_database_up",] == 1
        flaky.away = True
        await parts.tracker.step("SPX", start + 5 * STEP)
        sent = samples(metrics)
        assert sent["flow_sampler_spooled_records_total",] == 1
        assert sent["flow_sampler_spool_batches",] == 1
        assert sent["flow_sampler_spool_bytes",] > 1000
        assert sent["flow_sampler_spool_age_seconds",] > 0
        assert sent["flow_sampler_database_up",] == 0
        flaky.away = False
        await parts.writer.drained()
        sent = samples(metrics)
        assert sent["flow_sampler_spool_age_seconds",] == 0
        assert sent["flow_sampler_database_up",] == 1
        # What was counted when it was spooled is not counted again.
        assert sent["flow_sampler_gaps_total", "late", "SPX"] == 3
        assert sent["flow_sampler_gaps_total", "not_running", "SPX"] == 10


async def test_off():
    """Without a port nothing listens."""
    async with SamplerMetrics(["SPY"], "1.2.3").serving(0):
        pass


async def test_port_is_taken():
    """A port in use is one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FlowError, match=f"FLOW_METRICS_PORT: port {port}: "):
            async with SamplerMetrics(["SPY"], "1.2.3").serving(port):
                pass


async def test_the_default_port_is_taken():
    """A second sampler on a machine goes on without metrics, and says so."""
    with socket.create_server(("127.0.0.1", 0)) as taken, capture_logs() as lines:
        port = taken.getsockname()[1]
        async with SamplerMetrics(["SPY"], "1").serving(port, required=False):
            pass
    assert [line["port"] for line in lines] == [port]
    assert "FLOW_METRICS_PORT" in lines[0]["event"]


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
        process = forked.Popen(
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
