"""The stream through readers that others wrote: a bar, a gap, a sign of life, and nothing else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import requests
import sseclient
from aiohttp_sse_client2.client import EventSource
from httpx_sse import aconnect_sse

from storage.record.row import Reason
from tests.api.conftest import SERIES, Site
from tests.api.rows import gap, record, utc


async def _play(site: Site) -> None:
    """A bar, signs of life while nothing happens, and a gap."""
    while not site.hub.count():
        await asyncio.sleep(0.01)
    await site.fed.land(record(utc("14:30")))
    await asyncio.sleep(0.2)
    await site.fed.land(gaps=[gap("14:30:30", Reason.SOURCE_DOWN)])


def _check(events: list[tuple[str, str, dict[str, Any]]]) -> None:
    """Name, id and data of the two events; a bar has no name, which readers call message."""
    (bar, first, figures), (name, second, interval) = events
    assert bar in ("message", "", None)
    assert figures["t"] == "2026-06-05T14:30:00Z"
    assert name == "gap"
    assert interval["reason"] == "source_down"
    assert int(second) > int(first)


async def test_httpx_sse(site: Site, monkeypatch: Any) -> None:
    """httpx-sse hands on whatever a blank line ends; without data it would be no JSON."""
    monkeypatch.setattr("api.series.stream.HEARTBEAT_SECONDS", 0.02)
    beating, playing = asyncio.create_task(site.hub.run()), asyncio.create_task(_play(site))
    events: list[tuple[str, str, dict[str, Any]]] = []
    url = f"http://127.0.0.1:{site.port}{SERIES}SPY/stream"
    async with (
        asyncio.timeout(20),
        httpx.AsyncClient() as client,
        aconnect_sse(client, "GET", url) as source,
    ):
        async for event in source.aiter_sse():
            events.append((event.event, event.id, event.json()))
            if len(events) == 2:
                break
    beating.cancel()
    await playing
    _check(events)


async def test_sseclient(site: Site, monkeypatch: Any) -> None:
    """sseclient-py, over requests."""
    monkeypatch.setattr("api.series.stream.HEARTBEAT_SECONDS", 0.02)
    beating, playing = asyncio.create_task(site.hub.run()), asyncio.create_task(_play(site))

    def read() -> list[tuple[str, str, dict[str, Any]]]:
        url = f"http://127.0.0.1:{site.port}{SERIES}SPY/stream"
        with requests.get(url, stream=True, timeout=20) as answer:
            client = sseclient.SSEClient(answer)
            events = []
            for event in client.events():
                events.append((event.event, event.id, json.loads(event.data)))
                if len(events) == 2:
                    return events
        return events

    events = await asyncio.to_thread(read)
    beating.cancel()
    await playing
    _check(events)


async def test_aiohttp_sse_client(site: Site, monkeypatch: Any) -> None:
    """aiohttp-sse-client2, over aiohttp."""
    monkeypatch.setattr("api.series.stream.HEARTBEAT_SECONDS", 0.02)
    beating, playing = asyncio.create_task(site.hub.run()), asyncio.create_task(_play(site))
    events: list[tuple[str, str, dict[str, Any]]] = []
    url = f"http://127.0.0.1:{site.port}{SERIES}SPY/stream"
    async with asyncio.timeout(20), EventSource(url) as source:
        async for event in source:
            events.append((event.type, event.last_event_id, json.loads(event.data)))
            if len(events) == 2:
                break
    beating.cancel()
    await playing
    _check(events)
