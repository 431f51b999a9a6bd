"""What every live source promises, on a loopback server in its own vendor's format.

The sources and their servers stand in ``tests/vendors/feeds.py``. Frames are made by hand or by
the simulated market; each must come back through the vendor's format as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import random
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from sampler.chain import QUOTES, Chain, Frame, select_chain
from sampler.errors import ChainRefused
from sampler.live.outcome import Outcome
from sampler.live.tick import DryRunStore, Tick
from sampler.scoring import is_closing_frame
from sampler.sources import Source, http
from sampler.sources.synthetic.source import Synthetic
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.errors import UsageError
from storage.market.calendar import market_day, session_on
from storage.record.row import Reason
from storage.redis.channel import NoChannel
from tests.vendors import server as faults
from tests.vendors.feeds import FEEDS, Feed
from tests.vendors.same_row import only_today
from tests.vendors.server import Fault, VendorServer

#: 10:30:00 New York, on a Wednesday.
MOMENT = datetime(2026, 8, 19, 14, 30, tzinfo=UTC)
#: What every format carries of a contract.
CARRIED = ("bid", "ask", "open_interest", "volume")
DOWN, BAD = Reason.SOURCE_DOWN, Reason.BAD_ANSWER


@pytest.fixture(autouse=True)
def _no_second_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client tries again; its own tests show that. Here the first answer is the last."""
    monkeypatch.setattr(http, "BACK_OFF", 60.0)
    # 64 MB of a body that is too large take a second to unpack.
    monkeypatch.setattr(http, "BODY_LIMIT", 8 << 20)


@pytest.fixture(params=sorted(FEEDS))
def feed(request: pytest.FixtureRequest) -> Feed:
    return FEEDS[request.param]


@pytest.fixture
async def server(feed: Feed) -> AsyncIterator[VendorServer]:
    async with feed.server() as server:
        yield server


@pytest.fixture
async def source(feed: Feed, server: VendorServer, tmp_path: Path) -> AsyncIterator[Source]:
    source = feed.open(server, feed.keys(tmp_path, MOMENT))
    yield source
    await source.close()


async def market(symbol: str, moment: datetime) -> Frame:
    """The simulated market's frame of a moment, with times in whole seconds."""
    frame = await Synthetic(seed=7).live(symbol, moment)
    return dataclasses.replace(frame, last_at=np.floor(frame.last_at))


async def get(feed: Feed, source: Source, symbol: str = "SPX", moment: datetime = MOMENT) -> Frame:
    """A source's frame when the vendor's market is at a moment."""
    return await source.live(symbol, moment + timedelta(seconds=feed.delay))


async def refusal(
    feed: Feed, source: Source, symbol: str = "SPX", moment: datetime = MOMENT
) -> ChainRefused:
    with pytest.raises(ChainRefused) as caught:
        await get(feed, source, symbol, moment)
    words = str(caught.value)
    assert words.startswith(f"{symbol}: {source.name}"), words
    for secret in feed.secrets:
        assert secret not in words
    return caught.value


def chain_of(frame: Frame) -> Chain:
    return select_chain(frame, session_on(market_day(frame.quoted_at)))


def assert_same(ours: Chain, theirs: Chain) -> None:
    """Both have the same contracts with the same quotes, volumes and open interest."""
    np.testing.assert_array_equal(ours.strike, theirs.strike)
    np.testing.assert_array_equal(ours.listed, theirs.listed)
    for name in CARRIED:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


# Good answers


async def test_a_fresh_answer_is_the_frame(
    feed: Feed, server: VendorServer, source: Source
) -> None:
    """Strikes, rights, quotes, volumes and open interest come back, at the quotes' own time."""
    frame = await market("SPX", MOMENT)
    server.put(frame)
    came = await get(feed, source)
    assert (came.symbol, came.source) == ("SPX", source.name)
    assert came.quoted_at == frame.quoted_at
    assert came.fetched_at == MOMENT + timedelta(seconds=feed.delay)
    assert came.delay_seconds == feed.delay == source.delay_seconds
    assert_same(chain_of(came), chain_of(frame))
    assert set(came.root.tolist()) <= {"SPX", "SPXW"}
    assert np.isnan(came.spot) or came.spot == pytest.approx(frame.spot, abs=0.005)


async def test_missing_numbers_are_unknown(
    feed: Feed, server: VendorServer, source: Source
) -> None:
    """A contract without quotes or a last trade has none; what is not known is not 0."""
    frame = await market("SPX", MOMENT)
    columns = {name: getattr(frame, name).copy() for name in ("bid", "ask", "last", "last_at")}
    for column in columns.values():
        column[:4] = np.nan
    server.put(dataclasses.replace(frame, **columns))
    came = await get(feed, source)
    key = {(k, r): i for i, (k, r) in enumerate(zip(came.strike, came.right, strict=True))}
    for i in range(4):
        index = key[frame.strike[i], frame.right[i]]
        for name in columns:
            value = getattr(came, name)[index]
            assert np.isnan(value) or (name in ("bid", "ask") and value == 0), name


async def test_one_slot_after_the_other(feed: Feed, server: VendorServer, tmp_path: Path) -> None:
    """Twenty-four slots with faults at random: each is a row or a gap with a reason, and rows come back."""
    session = session_on(MOMENT.date())
    slots = [slot for slot in session.slots if slot >= MOMENT][:24]
    for slot in slots:
        server.put(await market("SPX", slot))
    dice = random.Random(3)
    troubles: list[Fault | None] = [
        faults.status(500), faults.status(503), faults.html(),
        faults.empty(), faults.garbage(), faults.cut(), faults.truncated(), None,
    ]  # fmt: skip
    async with sampled(feed, server, tmp_path) as sample:
        for number, slot in enumerate(slots):
            trouble = dice.choice(troubles) if number % 3 == 2 else None
            server.heal()
            server.now = slot
            if trouble is not None:
                server.inject(trouble)
            outcome = await sample(slot)
            if trouble is None:
                assert outcome.record is not None, (number, outcome.detail)
                assert outcome.record.row.slot == slot
                assert outcome.record.row.source == feed.scheme
            else:
                assert outcome.record is None
                assert outcome.reason in (DOWN, BAD)
                assert outcome.detail


@contextlib.asynccontextmanager
async def sampled(
    feed: Feed, server: VendorServer, tmp_path: Path
) -> AsyncIterator[Callable[[datetime], object]]:
    """Samples SPX slot by slot, as the daemon does."""
    source = feed.open(server, feed.keys(tmp_path, MOMENT))
    tick = Tick(source, DryRunStore(), NoChannel(), oi_confidence=0.43, budget=20, quiet=True)

    async def sample(slot: datetime) -> Outcome:
        now = slot + timedelta(seconds=feed.delay)
        return await tick.sample("SPX", now=now, target=slot)

    try:
        yield sample
    finally:
        await source.close()


async def test_an_unchanged_answer_is_no_second_row(
    feed: Feed, server: VendorServer, tmp_path: Path
) -> None:
    """A vendor that shows the same for ten minutes makes one row, and gaps that say so."""
    server.put(await market("SPX", MOMENT))
    async with sampled(feed, server, tmp_path) as sample:
        first = await sample(MOMENT)
        assert first.record is not None, first.detail
        for step in range(1, 21):
            outcome = await sample(MOMENT + step * timedelta(seconds=30))
            assert outcome.record is None
            assert outcome.reason in (Reason.UNCHANGED, Reason.STALE)


async def test_a_stale_answer_keeps_its_own_time(
    feed: Feed, server: VendorServer, source: Source
) -> None:
    """Quotes of an hour ago are of an hour ago, whatever our clock says."""
    frame = await market("SPX", MOMENT)
    server.put(frame)
    came = await get(feed, source, moment=MOMENT + timedelta(hours=1))
    assert came.quoted_at == frame.quoted_at


@pytest.mark.parametrize("ahead", [-3, 3])
async def test_two_clocks(feed: Feed, server: VendorServer, source: Source, ahead: int) -> None:
    """A clock of ours that is some seconds off moves no quote."""
    frame = await market("SPX", MOMENT)
    server.put(frame)
    came = await get(feed, source, moment=MOMENT + timedelta(seconds=ahead))
    assert came.quoted_at == frame.quoted_at


# The market's own shapes


async def test_only_the_evening_root_counts_on_a_third_friday(
    feed: Feed, server: VendorServer, tmp_path: Path
) -> None:
    """Of SPX and SPXW at the same strikes, the contracts that settled this morning count nowhere."""
    moment = datetime(2026, 8, 21, 14, 30, tzinfo=UTC)
    evening = only_today(await market("SPX", moment))
    n = len(evening.strike)
    both = {
        name: np.concatenate([getattr(evening, name)] * 2)
        for name in ("expiry", "strike", "right", *QUOTES)
    }
    both["root"] = np.array(["SPXW"] * n + ["SPX"] * n)
    for name, more in (("bid", 5.0), ("ask", 5.0), ("open_interest", 5000.0), ("volume", 70.0)):
        both[name][n:] += more
    server.put(dataclasses.replace(evening, **both))
    source = feed.open(server, feed.keys(tmp_path, moment))
    came = await get(feed, source, moment=moment)
    await source.close()
    assert_same(chain_of(came), chain_of(evening))


async def test_an_early_close_ends_the_session(
    feed: Feed, server: VendorServer, tmp_path: Path
) -> None:
    """On the day after Thanksgiving the last slot is 12:59:30; quotes of 13:00 are after the close."""
    day = date(2026, 11, 27)
    close = session_on(day).close
    assert close == datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
    last = await market("SPX", close - timedelta(seconds=30))
    server.put(last, dataclasses.replace(last, quoted_at=close + timedelta(seconds=20)))
    source = feed.open(server, feed.keys(tmp_path, close))
    server.now = close - timedelta(seconds=30)
    came = await get(feed, source, moment=server.now)
    assert chain_of(came).slot == close - timedelta(seconds=30)
    server.now = close + timedelta(seconds=20)
    later = await get(feed, source, moment=server.now)
    await source.close()
    with pytest.raises(ChainRefused) as caught:
        chain_of(later)
    assert caught.value.reason is Reason.AFTER_CLOSE


async def test_nothing_expires_today(feed: Feed, server: VendorServer, source: Source) -> None:
    """A chain without today's expiry is no fault: the refusal, here or in the selection, says so."""
    frame = await market("SPX", MOMENT)
    later = np.full(len(frame.strike), np.datetime64("2026-08-20"))
    server.put(dataclasses.replace(frame, expiry=later))
    with pytest.raises(ChainRefused) as caught:
        chain_of(await get(feed, source))
    assert caught.value.reason is Reason.NO_ZERO_DTE


async def test_a_symbol_that_is_not_there(feed: Feed, server: VendorServer, source: Source) -> None:
    """It is refused by its name, and the others go on."""
    frames = {symbol: await market(symbol, MOMENT) for symbol in ("SPX", "SPY")}
    server.put(*frames.values())
    came = await asyncio.gather(
        get(feed, source, "SPX"), get(feed, source, "ZZZQ"), get(feed, source, "SPY"),
        return_exceptions=True,
    )  # fmt: skip
    assert isinstance(came[1], ChainRefused)
    assert came[1].reason in (DOWN, Reason.NO_ZERO_DTE)
    assert str(came[1]).startswith("ZZZQ: ")
    for frame in (came[0], came[2]):
        assert isinstance(frame, Frame)
        assert_same(chain_of(frame), chain_of(frames[frame.symbol]))


async def test_symbols_at_the_same_time(feed: Feed, server: VendorServer, source: Source) -> None:
    """Each symbol of one moment has its own chain."""
    symbols = ("SPX", "SPY", "QQQ", "IWM", "NDX")
    frames = {symbol: await market(symbol, MOMENT) for symbol in symbols}
    server.put(*frames.values())
    for came in await asyncio.gather(*(get(feed, source, symbol) for symbol in symbols)):
        assert_same(chain_of(came), chain_of(frames[came.symbol]))


# Bad answers


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.html(), BAD),
        (faults.html(403), DOWN),
        (faults.empty(), BAD),
        (faults.garbage(), BAD),
        (faults.truncated(0.5), BAD),
        (faults.truncated(0.97), BAD),
        (faults.broken_gzip(), BAD),
        (faults.gzip_bomb(9 << 20), BAD),
        (faults.cut(), DOWN),
        (faults.status(200, {"Content-Encoding": "br"}, b"x"), BAD),
        (faults.status(301, {"Location": "http://127.0.0.1:1/"}), DOWN),
    ],
    ids=["html", "html 403", "empty", "garbage", "half", "most", "broken gzip", "bomb", "cut",
         "brotli", "moved"],
)  # fmt: skip
async def test_a_bad_answer_is_refused_and_the_next_is_read(
    feed: Feed, server: VendorServer, source: Source, fault: Fault, reason: Reason
) -> None:
    """Whatever is wrong with a body is one sentence; nothing of it is left when the feed is well."""
    frame = await market("SPX", MOMENT)
    server.put(frame)
    server.inject(fault)
    assert (await refusal(feed, source)).reason is reason
    server.heal()
    assert_same(chain_of(await get(feed, source)), chain_of(frame))


STATUSES = [(name, status) for name, feed in sorted(FEEDS.items()) for status in feed.statuses]


@pytest.mark.parametrize(("name", "status"), STATUSES)
async def test_every_status_has_its_reason(name: str, status: int, tmp_path: Path) -> None:
    """A documented status, in place of every answer, is a gap with its number in the sentence."""
    feed = FEEDS[name]
    async with feed.server() as server:
        server.put(await market("SPX", MOMENT))
        server.inject(faults.status(status, {"Content-Type": "text/plain"}, b"no"))
        source = feed.open(server, feed.keys(tmp_path, MOMENT))
        refused = await refusal(feed, source)
        await source.close()
    assert refused.reason is feed.statuses[status]
    assert f"answer {status}" in str(refused) or f"answered {status}" in str(refused)


async def test_a_slow_vendor_is_down_in_time(
    feed: Feed, server: VendorServer, tmp_path: Path
) -> None:
    """An answer that takes longer than the budget is no frame; the budget is held."""
    server.put(await market("SPX", MOMENT))
    server.inject(faults.slow(3))
    source = feed.open(server, feed.keys(tmp_path, MOMENT), "timeout=0.3&budget=0.5")
    began = time.monotonic()
    assert (await refusal(feed, source)).reason is DOWN
    assert time.monotonic() - began < 2.0
    await source.close()


async def test_a_vendor_that_is_gone_comes_back(
    feed: Feed, server: VendorServer, source: Source
) -> None:
    """Nobody listens: source_down. The same source reads the next answer."""
    frame = await market("SPX", MOMENT)
    server.put(frame)
    server.stop()
    assert (await refusal(feed, source)).reason is DOWN
    server.start()
    assert_same(chain_of(await get(feed, source)), chain_of(frame))


async def test_a_pause_is_kept_for_all_symbols(
    feed: Feed, server: VendorServer, source: Source
) -> None:
    """After ``Retry-After`` no symbol is asked for until the pause is over."""
    server.put(*[await market(symbol, MOMENT) for symbol in ("SPX", "SPY")])
    server.inject(faults.status(429, {"Retry-After": "60"}))
    await refusal(feed, source)
    # A source that asks for several things at once may have a request under way.
    requests = -1
    while requests != len(server.requests):
        requests = len(server.requests)
        await asyncio.sleep(0.2)
    server.heal()
    assert "pause" in str(await refusal(feed, source, "SPY"))
    assert len(server.requests) == requests


async def test_a_redirect_is_not_followed(feed: Feed, server: VendorServer, source: Source) -> None:
    """What is asked for, and the key with it, goes to no other host than the vendor's."""
    server.put(await market("SPX", MOMENT))
    async with feed.server() as elsewhere:
        elsewhere.put(await market("SPX", MOMENT))
        for status in (301, 302, 307, 308):
            server.heal()
            server.inject(faults.status(status, {"Location": elsewhere.url}))
            assert (await refusal(feed, source)).reason is DOWN
        assert elsewhere.requests == []


# Keys and the end


async def test_a_missing_key_is_named(feed: Feed, server: VendorServer, tmp_path: Path) -> None:
    """Each setting that the source needs is named when it is missing; without any, too."""
    settings = feed.settings(tmp_path, MOMENT)
    for name in feed.needs:
        rest = {key: value for key, value in settings.items() if key != name}
        with pytest.raises(UsageError, match=name):
            feed.open(server, VendorKeys.read(rest))
    if not feed.needs:
        await feed.open(server, NO_KEYS).close()


async def test_a_refused_key_is_a_sentence(
    feed: Feed, server: VendorServer, tmp_path: Path
) -> None:
    """A key that the vendor does not accept makes gaps that say so, and is not repeated."""
    if feed.refused is None:
        pytest.skip("the vendor has no key, or its own test shows this")
    name, value = feed.refused
    server.put(await market("SPX", MOMENT))
    keys = VendorKeys.read(feed.settings(tmp_path, MOMENT) | {name: value})
    source = feed.open(server, keys)
    refused = await refusal(feed, source)
    await source.close()
    assert refused.reason is DOWN
    assert value not in str(refused)


async def test_close_leaves_no_connection(feed: Feed, server: VendorServer, tmp_path: Path) -> None:
    """After the close nothing is open, and a source that was never used closes as well."""
    server.put(await market("SPX", MOMENT))
    source = feed.open(server, feed.keys(tmp_path, MOMENT))
    await get(feed, source)
    assert server.connections > 0
    await source.close()
    for _ in range(100):
        if server.connections == 0:
            break
        await asyncio.sleep(0.02)
    assert server.connections == 0
    await feed.open(server, feed.keys(tmp_path, MOMENT)).close()


async def test_the_frame_after_the_close(feed: Feed, server: VendorServer, tmp_path: Path) -> None:
    """An index's spot 14 minutes after the close is its close, where the vendor gives one at all.

    The server's options stand at the last second's quotes, and its spot is the settled 7700.25.
    """
    session = session_on(MOMENT.date())
    assert session is not None
    now = session.close + timedelta(minutes=14)
    last = await market("SPX", session.close - timedelta(seconds=1))
    server.put(dataclasses.replace(last, spot=7700.25, quoted_at=now, fetched_at=now))
    server.now = now
    source = feed.open(server, feed.keys(tmp_path, MOMENT))
    try:
        frame = await get(feed, source, moment=now)
    finally:
        await source.close()
    assert frame.quoted_at == now
    assert is_closing_frame(frame, "SPX", session) == (feed.scheme != "orats")
    if feed.scheme == "orats":
        assert math.isnan(frame.spot)
    else:
        assert frame.spot == 7700.25
