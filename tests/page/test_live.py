"""The page while rows arrive: by the stream, over a cut, a restart, a feed that stops updating."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from storage.record.row import Reason
from tests.page import market
from tests.page.conftest import ROOT, Site, Tab, free_port
from tests.page.market import TUESDAY, slot_time
from tests.page.test_sessions import headline, tiles

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(site: Site) -> AsyncIterator[Site]:
    """An empty store; the test starts the server."""
    await site.empty()
    yield site
    await site.stop()


async def settled(tab: Tab, bar: dict[str, Any]) -> None:
    """Wait until the tiles are a bar's, and compare them all."""
    await tab.shows(".tile[data-field=spot] b", f"{bar['spot']:,.2f}", seconds=5)
    assert headline(bar) == await tiles(tab)


async def test_empty_store(fresh: Site, tab: Tab) -> None:
    """The first look at nothing says so; the first rows are noticed without a reload."""
    await fresh.start(slot_time(TUESDAY, 60))
    await tab.open()
    await tab.shows("#notice", "Nothing has been sampled yet")
    assert {"—"} == set((await tiles(tab)).values())
    await fresh.put(market.day(TUESDAY, until=60))
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    assert await tab.page.locator("#notice").is_hidden()
    await settled(tab, (await fresh.bars())[-1])


async def test_live(fresh: Site, tab: Tab) -> None:
    """A row that is stored is on the screen at once, a gap and a late row too."""
    rows = market.day(TUESDAY, until=70)
    await fresh.put(rows[:60])
    await fresh.start(slot_time(TUESDAY, 63))
    await tab.open("bar=30s")
    await tab.shows("#link", "Live")
    await settled(tab, (await fresh.bars(bar="30s"))[-1])
    await fresh.put([rows[60]])
    await settled(tab, (await fresh.bars(bar="30s"))[-1])
    await fresh.put([rows[62]], market.gaps(TUESDAY, [61], Reason.LATE))
    await settled(tab, (await fresh.bars(bar="30s"))[-1])
    await tab.shows("#gap-list li", "late")
    await fresh.put([rows[61]])
    await tab.shows("#gap-list li", "None: every slot", seconds=5)


async def test_simulated_clock(fresh: Site, tab: Tab) -> None:
    """A real sampler on a simulated clock: bars pass by, marked as made up."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")} | {
        "FLOW_DATABASE_URL": fresh.database_url,
        "FLOW_REDIS_URL": fresh.redis_url,
        "FLOW_SOURCE": "synthetic:?seed=7",
        "FLOW_SYMBOLS": "SPY",
        "FLOW_PORT": str(fresh.port),
        "FLOW_LOG_LEVEL": "error",
    }
    now = (market.slot_time(TUESDAY, 0) - timedelta(seconds=200)).isoformat()
    anchor = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from datetime import datetime, UTC; print(datetime.now(UTC).isoformat())",
        stdout=asyncio.subprocess.PIPE,
    )
    env["FLOW_CLOCK"] = f"simulated:{now}@60@{(await anchor.communicate())[0].decode().strip()}"
    commands = (("sampler", "run"), ("api", "serve"))
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE
        )
        for command in commands
    ]
    try:
        served = running[1].stdout
        assert served is not None
        assert b"listening" in await asyncio.wait_for(served.readline(), 30)
        await tab.open()
        assert await tab.page.locator("#simulated").is_visible()
        await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"), seconds=60)
        await tab.shows("#link", "Live")
        first = await tab.text("#stands")
        await tab.until(f"document.getElementById('stands').textContent > '{first}'")
        assert "Feed synthetic" in await tab.text("#source")
        tab.away = True
    finally:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in running:
            await asyncio.wait_for(process.communicate(), 20)


def of_feed(feed: str, until: int, base: float) -> list[Any]:
    """A session's records up to a slot, as rows of a feed."""
    records = market.day(TUESDAY, until=until, base=base)
    for record in records:
        record.row = dataclasses.replace(record.row, source=feed)
    return records


async def test_another_feed_is_shown(fresh: Site, tab: Tab) -> None:
    """The page names the feed and what it stands in for, and never mixes bars of two feeds."""
    await fresh.store.own({"SPX": "theta"}, TUESDAY)
    await fresh.store.own({"SPX": "cboe"}, TUESDAY, fallback=True)
    first, second = of_feed("theta", 64, 7000.0), of_feed("cboe", 64, 6000.0)
    await fresh.put(second[:60])
    await fresh.start(slot_time(TUESDAY, 63))
    await tab.open("bar=30s")
    await tab.shows("#source", "Feed cboe in place of theta")
    await tab.shows("#link", "Live")
    await settled(tab, second[59].row.as_json())
    tab.away = True
    # The first feed is back: its session is shown, of which the second one's rows are no part.
    await fresh.put(first[60:62])
    await tab.shows("#source", "Feed theta (also stored: cboe)")
    await settled(tab, first[61].row.as_json())
    await tab.page.locator("#bars summary").click()
    await tab.shows("#rows td", re.compile(r"\d"))
    shown = await tab.page.locator("#rows td:first-child").all_inner_texts()
    assert shown == ["10:00:30", "10:00:00"]
    # The second feed's next row changes nothing; the first one's comes by the stream.
    await fresh.put([second[62]])
    await fresh.put([first[62]])
    await tab.shows("#rows td", "10:01:00")
    await settled(tab, first[62].row.as_json())


class Line:
    """A connection to the server that can be cut."""

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self._to = to
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await self._server.wait_closed()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        try:
            back, there = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, there}
        await asyncio.gather(self._pump(reader, there), self._pump(back, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
            self._open.discard(writer)


async def test_stream_cut_and_resumed(fresh: Site, tab: Tab) -> None:
    """What was missed while the line was cut is there when it is back, each bar once."""
    rows = market.day(TUESDAY, until=90)
    await fresh.put(rows[:60])
    await fresh.start(slot_time(TUESDAY, 89))
    line = Line(fresh.port)
    await line.up()
    tab.away = True
    tab.home = f"http://127.0.0.1:{line.port}"
    await tab.open("bar=30s")
    await tab.shows("#link", "Live")
    await line.cut()
    await tab.shows("#link", "Reconnecting")
    await tab.shows("#notice", "The server does not answer", seconds=15)
    await fresh.put(rows[60:80])
    await line.up()
    bars = await fresh.bars(bar="30s")
    await settled(tab, bars[-1])
    await tab.shows("#link", "Live", seconds=20)
    await tab.page.locator("#notice").wait_for(state="hidden")
    await tab.page.locator("#bars summary").click()
    await tab.shows("#rows td", re.compile(r"\d"))
    shown = await tab.page.locator("#rows td:first-child").all_inner_texts()
    assert [f"{int(b['t'][11:13]) - 5:02}{b['t'][13:19]}" for b in reversed(bars[-12:])] == shown
    # By the stream alone: a poll comes every ten seconds only.
    await fresh.put([rows[80]])
    await tab.shows(".tile[data-field=spot] b", f"{rows[80].row.spot:,.2f}", seconds=3)
    await line.cut()


async def test_server_restarted(fresh: Site, tab: Tab) -> None:
    """The page outlives the server, and goes on by itself."""
    rows = market.day(TUESDAY, until=90)
    await fresh.put(rows[:60])
    await fresh.start(slot_time(TUESDAY, 66))
    tab.away = True
    await tab.open("bar=30s")
    await tab.shows("#link", "Live")
    await fresh.stop()
    await tab.shows("#link", "Reconnecting")
    assert headline(rows[59].row.as_json()) == await tiles(tab)
    await fresh.put(rows[60:65])
    await fresh.start(slot_time(TUESDAY, 66))
    await tab.shows("#link", "Live", seconds=20)
    await settled(tab, (await fresh.bars(bar="30s"))[-1])


async def test_server_with_keys(fresh: Site, tab: Tab) -> None:
    """The page asks for a key once, keeps it, and says what a plan does not include."""
    await fresh.put(market.day(TUESDAY, until=60))
    maker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "api", "keys", "create", "--name", "page", "--plan", "Growth"),
        cwd=ROOT,
        env=os.environ | {"FLOW_DATABASE_URL": fresh.database_url, "FLOW_DATASET": "live"},
        stdout=asyncio.subprocess.PIPE,
    )
    key = (await maker.communicate())[0].decode().strip()
    await fresh.start(slot_time(TUESDAY, 60), FLOW_ACCESS="keys")
    tab.away = True
    await tab.page.goto(fresh.url)
    await tab.page.locator("#key-dialog").wait_for(state="visible")
    await tab.page.locator("#key").fill(key)
    await tab.page.keyboard.press("Enter")
    await tab.shows("#link", "Live")
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    await tab.shows("#heat-none", "requires the Alpha plan")
    # Everything is within its panel: no arrow says otherwise.
    legend = await tab.page.locator(".legend dd").all_inner_texts()
    assert [text for text in legend if "↑" in text or "↓" in text] == []
    await tab.page.reload()
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    assert await tab.page.locator("#key-dialog").is_hidden()


async def test_stale_source(fresh: Site, tab: Tab) -> None:
    """Twenty minutes without a row, and why, cannot be overlooked."""
    await fresh.put(
        market.day(TUESDAY, until=60), market.gaps(TUESDAY, range(60, 99), Reason.STALE)
    )
    await fresh.start(slot_time(TUESDAY, 99))
    await tab.open()
    await tab.shows("#age.loud", "STALE, data 20 min old: the feed is not updating")
    colours = await tab.page.evaluate(
        "getComputedStyle(document.getElementById('age')).backgroundColor"
    )
    assert colours == "rgb(255, 125, 116)"


@pytest.mark.parametrize(
    ("flags", "outside"),
    [((), False), (("spot_spike", "revised"), True), (("baseline", "clock_skew"), False)],
)
async def test_axes_do_not_follow_spikes(
    fresh: Site, tab: Tab, flags: tuple[str, ...], outside: bool
) -> None:
    """Spot doubles for five samples: where they say that they are spikes, they lie off the axis."""
    records = market.day(TUESDAY, until=120)
    for record in records[40:45]:
        record.row = dataclasses.replace(record.row, spot=2 * record.row.spot, flags=flags)
    await fresh.put(records)
    await fresh.start(slot_time(TUESDAY, 780) + timedelta(minutes=30))
    await tab.open("bar=30s")
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    box = await tab.settled_box("#plot-price .u-over")
    await tab.page.mouse.move(box["x"] + box["width"] * 42 / 780, box["y"] + 40)
    spot = re.compile(r"^12,\d{3}\.\d\d ↑$" if outside else r"^12,\d{3}\.\d\d$")
    await tab.shows(".legend dd[data-field=spot]", spot)


@pytest.mark.parametrize(
    ("figures", "net_gex", "flip"),
    [
        (
            {"regime_confidence": 0.9724, "flip_out_of_reach": True},
            "positive gamma, 97 % sure",
            "−45.50 points · out of reach",
        ),
        (
            {"regime_confidence": 0.99996, "flip_out_of_reach": False, "remaining_1sd": 18.2},
            "positive gamma, >99 % sure",
            "−45.50 points · −2.5 σ",
        ),
        ({"regime_confidence": None, "regime": "unknown"}, "unknown", "−45.50 points · −2.3 σ"),
    ],
)
async def test_how_sure_the_regime_is(
    fresh: Site, tab: Tab, figures: dict[str, Any], net_gex: str, flip: str
) -> None:
    """The newest bar's confidence and the flip's reach, whole in their tiles, with their terms."""
    records = market.day(TUESDAY, until=120)
    last = {"spot": 6045.5, "gamma_flip": 6000.0, "regime": "positive_gamma"} | figures
    records[-1].row = dataclasses.replace(records[-1].row, **{"remaining_1sd": 20.0} | last)
    await fresh.put(records)
    await fresh.start(slot_time(TUESDAY, 119) + timedelta(seconds=20))
    await tab.open("bar=30s")
    await tab.shows(".tile[data-field=spot] b", "6,045.50")
    assert await tab.text(".tile[data-field=net_gex] .note") == net_gex
    assert await tab.text(".tile[data-field=gamma_flip] .note") == flip
    for field in ("net_gex", "gamma_flip"):
        note = f"document.querySelector('.tile[data-field={field}] .note')"
        # Two lines at most: what is below does not move.
        assert await tab.page.evaluate(f"{note}.scrollWidth <= {note}.clientWidth"), field
        assert await tab.page.evaluate(f"{note}.scrollHeight <= 30"), field
    # The explanations are hidden until their tile is pointed at.
    for field, term in (
        ("net_gex", "given κ and the dealer convention"),
        ("gamma_flip", "out of reach today"),
    ):
        assert term in (await tab.page.text_content(f"#tells-{field}") or "")
