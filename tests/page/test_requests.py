"""What the page asks for: no key in an address, a stream that resumes, and few requests a day."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from tests.page import market
from tests.page.conftest import Site, Tab
from tests.page.market import TUESDAY, slot_time
from tests.page.test_live import Line, fresh, settled

__all__ = ["fresh"]
pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "flow_0123456789ab_" + "secret" * 7

#: A day of the page in some seconds: its timers and clocks are ours, and so are the answers. Each
#: kind of answer comes from the server once, but for the market's state, which follows our clock.
#: A stream sends a comment line every 15 s.
FAST_DAY = """
(() => {
  const real = { fetch: window.fetch.bind(window), timeout: window.setTimeout.bind(window) };
  let now = 0, timers = new Map(), ids = 0, streams = new Set(), cached = new Map();
  const begin = Date.parse("BEGIN"), counts = window.__counts = {};
  performance.now = () => now;
  Date.now = () => begin + now;
  const add = (call, ms, every) => (timers.set(++ids, { call, at: now + Math.max(ms || 0, 1), every }), ids);
  window.setTimeout = (call, ms) => add(call, ms, 0);
  window.setInterval = (call, ms) => add(call, ms, ms);
  window.clearTimeout = window.clearInterval = (id) => timers.delete(id);
  window.requestAnimationFrame = (call) => add(call, 1, 0);
  AbortSignal.timeout = () => new AbortController().signal;
  const open = Date.parse("OPEN"), close = Date.parse("CLOSE"), day = 86400000;
  const iso = (at) => new Date(at).toISOString();
  const mode = () => window.__mode ?? "good";
  const count = (kind) => { counts[kind] = (counts[kind] ?? 0) + 1; };
  window.fetch = async (path, options) => {
    const url = new URL(path, location.href), one = url.pathname;
    if (one.endsWith("/stream")) {
      count("stream");
      if (mode() === "no stream") return new Response("{}", { status: 503 });
      let control;
      const body = new ReadableStream({ start(c) { control = c; } });
      streams.add(control);
      options.signal.addEventListener("abort", () => streams.delete(control));
      return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
    }
    const what = ["market", "symbols", "series", "heatmap", "sessions", "alerts", "snapshot", "pressure"].find((part) => one.includes(`/${part}`));
    if (what === "heatmap") {  // A Growth key has no heatmap, and a refusal does not count.
      count("refused");
      return new Response(JSON.stringify({ message: "requires the Alpha plan" }), { status: 403 });
    }
    count(what);
    if (what === "market") {
      const at = begin + now, state = at < open ? "pre" : at < close ? "open" : "closed";
      return new Response(JSON.stringify({
        state, session: { date: "DAY", open: iso(open), close: iso(close) },
        next_open: iso(at < open ? open : open + day), next_close: iso(at < close ? close : close + day),
        server_time: iso(at),
      }));
    }
    const key = what + (url.searchParams.has("since") ? " since" : "");
    if (!cached.has(key)) cached.set(key, await (await real.fetch(path, options)).text());
    return new Response(cached.get(key));
  };
  const yielded = new MessageChannel(), waiting = [];
  yielded.port1.onmessage = () => waiting.shift()();
  const flush = () => new Promise((done) => { waiting.push(done); yielded.port2.postMessage(0); });
  // A second of the page's time in each step; promises are settled in between.
  window.__run = async (until) => {
    while (now < until) {
      now += 1000;
      for (const [id, timer] of [...timers]) {
        if (timer.at > now || !timers.has(id)) continue;
        if (timer.every) timer.at += timer.every; else timers.delete(id);
        timer.call();
      }
      if (now % 15000 === 0) for (const one of streams) one.enqueue(new TextEncoder().encode(":\\n\\n"));
      if (now % 5000 === 0) await flush();
    }
    return counts;
  };
  // Before the first answers have come, real time has to pass.
  window.__settle = () => new Promise((done) => real.timeout(done, 300));
})();
"""


def scripted(day: Any) -> str:
    opens, closes = slot_time(day, 0), slot_time(day, 780)
    script = FAST_DAY.replace("BEGIN", slot_time(day, 0).strftime("%Y-%m-%dT00:00:00Z"))
    script = script.replace("OPEN", opens.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return script.replace("CLOSE", closes.strftime("%Y-%m-%dT%H:%M:%SZ")).replace("DAY", str(day))


@pytest.mark.parametrize(("mode", "most"), [("good", 1_000), ("no stream", 2_500)])
async def test_a_day_within_the_quota(fresh: Site, tab: Tab, mode: str, most: int) -> None:
    """One page open from midnight to midnight UTC stays within Growth's 2,500, stream or not."""
    await fresh.put(market.day(TUESDAY, until=60))
    await fresh.start(slot_time(TUESDAY, 60))
    await tab.page.add_init_script(scripted(TUESDAY) + f"window.__mode = '{mode}';")

    async def without_answers(route: Any) -> None:
        """The page as a server with keys sends it: the answers in it are not of our clock."""
        sent = await route.fetch()
        text = re.sub(r'(name="first-answers" content=)"[^"]*"', r'\1""', await sent.text())
        await route.fulfill(response=sent, body=text)

    await tab.page.route(f"{fresh.url}/", without_answers)
    tab.away = True
    await tab.page.goto(fresh.url)
    ends = time.monotonic() + 60
    counts: dict[str, int] = {}
    while counts.get("series", 0) < 1 or counts.get("stream", 0) < 1:
        assert time.monotonic() < ends, counts
        await tab.page.evaluate("window.__settle()")
        counts = await tab.page.evaluate("window.__run(performance.now() + 1000)")
    for hour in range(1, 25):
        counts = await tab.page.evaluate(f"window.__run({hour * 3_600_000})")
    counts.pop("refused", None)
    assert sum(counts.values()) < most, counts
    # It is no page that has gone to sleep: the market's state is asked for, and the series is polled.
    assert counts["market"] >= 24 * 12 - 2
    assert counts["series"] >= 6.5 * 30


@pytest.mark.parametrize("view", ["", "symbol=spx&bar=30s", f"bar=5m&day={TUESDAY}&feed=test"])
async def test_nothing_is_asked_for_twice(fresh: Site, tab: Tab, view: str) -> None:
    """What is asked for before the script has come is what the script then wants, to the letter."""
    await fresh.put(market.day(TUESDAY, until=60))
    await fresh.start(slot_time(TUESDAY, 60))
    await tab.open(view)
    await tab.shows("#link", "Live")
    await tab.shows("#heat-high", re.compile(r"\d"))
    await tab.until("document.querySelector('#gauge-of').textContent !== ''")
    kinds = ("series", "heatmap", "held-levels", "pressure", "sessions")
    wanted = [url for url in tab.requested if "/v1/" in url and "/stream" not in url]
    assert {kind: sum(f"/{kind}/" in url for url in wanted) for kind in kinds} == dict.fromkeys(
        kinds, 1
    )


async def test_no_key_in_an_address(fresh: Site, tab: Tab) -> None:
    """Each request has the key in a header, the stream too; no address has it, nor anything like it."""
    await fresh.put(market.day(TUESDAY, until=60))
    await fresh.start(slot_time(TUESDAY, 60))
    requests: list[tuple[str, str | None]] = []

    def note(request: Any) -> None:
        requests.append((request.url, request.headers.get("x-api-key")))

    tab.page.on("request", note)
    await tab.page.add_init_script(f"localStorage.setItem('flow.key', '{KEY}')")
    await tab.open("bar=30s")
    await tab.shows("#link", "Live")
    kinds = Counter("/stream?" in url for url, _ in requests if "/v1/" in url)
    assert kinds[True] == 1
    assert kinds[False] >= 4
    assert {key for url, key in requests if "/v1/" in url} == {KEY}
    assert [url for url, _ in requests if KEY in url or "key" in url.split("?", 1)[-1].lower()] == [
        url for url, _ in requests if url.endswith("/static/keys.js")
    ]


async def test_the_stream_resumes_where_it_was(fresh: Site, tab: Tab) -> None:
    """After a cut the page sends the cursor of the last event that it had, and gets the rest."""
    rows = market.day(TUESDAY, until=90)
    await fresh.put(rows[:60])
    await fresh.start(slot_time(TUESDAY, 89))
    line = Line(fresh.port)
    await line.up()
    tab.away = True
    tab.home = f"http://127.0.0.1:{line.port}"
    begun: list[str] = []
    tab.page.on(
        "request",
        lambda request: (
            "/stream?" in request.url and begun.append(request.headers["last-event-id"])
        ),
    )
    await tab.open("bar=30s")
    await tab.shows("#link", "Live")
    cursors = [(await fresh.get("/v1/flow/zero-dte/series/SPX"))["cursor"]]
    await fresh.put([rows[60]])
    await tab.shows(".tile[data-field=spot] b", f"{rows[60].row.spot:,.2f}")
    cursors.append((await fresh.get("/v1/flow/zero-dte/series/SPX"))["cursor"])
    await line.cut()
    await tab.shows("#link", "Reconnecting")
    await line.up()
    await tab.shows("#link", "Live", seconds=20)
    assert begun[0] == str(cursors[0])
    assert set(begun[1:]) == {str(cursors[1])}
    await fresh.put(rows[61:63])
    await settled(tab, (await fresh.bars(bar="30s"))[-1])
    await line.cut()


async def test_the_days_first_sample_comes_by_the_stream(fresh: Site, tab: Tab) -> None:
    """Yesterday is shown until today's first row lands; the page has it at once, without a poll."""
    monday = market.day(TUESDAY - timedelta(days=1), until=60)
    await fresh.put(monday)
    await fresh.start(slot_time(TUESDAY, 5))
    await tab.open()
    await tab.shows("#notice", "Showing the newest stored session")
    before = len(tab.requested)
    await asyncio.sleep(2.5)
    await fresh.put(market.day(TUESDAY, until=3))
    await tab.shows("#link", "Live", seconds=5)
    await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
    assert len(tab.requested) - before < 17
