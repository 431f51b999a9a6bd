"""Rows that wait in the spool are told by the sampler itself, whatever else is away."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sampler.live.spool_watch import LOOK_SECONDS, SpoolWatch
from sampler.sources.synthetic.source import Synthetic
from storage.errors import LiveError
from storage.market.clock import Clock
from storage.notify.messenger import Messenger
from storage.notify.notice import Notice
from storage.notify.target import WebHook
from storage.postgres.store import Store
from storage.redis.channel import NoChannel
from tests.rig import FailingStore, rig
from tests.web_hook import WebHookServer, web_hook

NOW = datetime(2026, 8, 19, 14, 0, tzinfo=UTC)
MINUTE = 60


@dataclass
class Spool:
    """A spool whose state the test sets."""

    spooling_seconds: float = 0.0
    spool_batches: int = 0
    spool_bytes: int = 0
    batches_in_memory: int = 0
    away_because: str = ""


class Mailbox:
    """A messenger that keeps what it is handed."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.flushes = 0

    async def tell(self, notice: Notice, *, sent: bool = True) -> bool:
        self.notices.append(notice)
        return True

    async def flush(self) -> None:
        self.flushes += 1


class NoRedis(NoChannel):
    """A live channel that is away."""

    async def announce_waiting(self, owner: str, slots: Any) -> None:
        raise LiveError("away")

    async def publish(self, changes: Any) -> None:
        raise LiveError("away")


@pytest.fixture
def watched(tmp_path: Path) -> tuple[SpoolWatch, Spool, Mailbox]:
    """A watch over a spool that may hold 100 MB."""
    spool, mailbox = Spool(), Mailbox()
    return watch_of(spool, mailbox, tmp_path), spool, mailbox


def watch_of(spool: Spool, mailbox: Mailbox, folder: Path, now: datetime = NOW) -> SpoolWatch:
    return SpoolWatch(
        spool,
        mailbox,  # type: ignore[arg-type]
        Clock(now, 1e-9, datetime.now(UTC)),
        folder=folder,
        limit=100e6,
        dataset="live",
        node="desk",
    )


async def spools(watch: SpoolWatch, spool: Spool, first: float, until: float) -> None:
    """Look every five seconds while batches have waited since second 0."""
    for second in range(int(first), int(until), int(LOOK_SECONDS)):
        spool.spooling_seconds = float(second) or 0.1
        await watch.look(float(second))


async def test_the_database_comes_back_soon(watched: Any) -> None:
    """A restart of the database of 40 s is nothing to tell."""
    watch, spool, mailbox = watched
    await spools(watch, spool, 0, 41)
    spool.spooling_seconds = 0.0
    await watch.look(45.0)
    assert mailbox.notices == []


async def test_begins_grows_and_is_over(watched: Any, tmp_path: Path) -> None:
    """Told within a minute with the reason and the folder, again after 15 min, 1 h and 5 h, and its end."""
    watch, spool, mailbox = watched
    spool.spool_batches, spool.spool_bytes, spool.away_because = 7, 2_500_000, "no route to host"
    await spools(watch, spool, 0, 50)
    (begun,) = mailbox.notices
    assert (begun.kind, begun.began, begun.dataset, begun.node) == ("spooling", NOW, "live", "desk")
    assert "desk cannot write to the database (no route to host). It samples on." in begun.sentence
    assert f"7 batches of rows wait, 2.5 MB in {tmp_path}." in begun.sentence
    assert begun.figures == {"batches": 7, "bytes": 2_500_000, "seconds": 45}
    await spools(watch, spool, 50, 15 * MINUTE)
    assert len(mailbox.notices) == 1
    await spools(watch, spool, 15 * MINUTE, 15 * MINUTE + 5)
    assert [(n.kind, n.lasting) for n in mailbox.notices[1:]] == [("spool_grows", False)]
    assert "unable to write to the database for 15 minutes" in mailbox.notices[1].sentence
    await spools(watch, spool, 15 * MINUTE + 5, 5 * 60 * MINUTE + 5)
    ages = [n.figures["seconds"] for n in mailbox.notices[1:]]
    assert ages == [15 * MINUTE, 60 * MINUTE, 5 * 60 * MINUTE]
    assert mailbox.flushes == 0
    spool.spooling_seconds = 0.0
    await watch.look(5 * 3600.0 + 10)
    over = mailbox.notices[-1]
    assert (over.id, over.ended) == (begun.id, NOW)
    assert over.sentence == "Over: the sampler on desk has stored all rows that waited."
    assert mailbox.flushes == 1


async def test_a_restart_in_between(watched: Any, tmp_path: Path) -> None:
    """A sampler that begins while an earlier one's rows wait tells nothing that was told; its end once."""
    watch, spool, mailbox = watched
    spool.spool_batches = 7
    await spools(watch, spool, 0, 15 * MINUTE + 5)
    begun, grown = mailbox.notices
    watch.close()
    later = Mailbox()
    second = watch_of(spool, later, tmp_path, NOW + timedelta(minutes=16))
    await spools(second, spool, 0, 10 * MINUTE)
    assert later.notices == []
    # An hour has passed since the first sampler began to spool.
    await spools(second, spool, 10 * MINUTE, 45 * MINUTE + 10)
    assert [(n.kind, n.figures["seconds"] // MINUTE) for n in later.notices] == [
        ("spool_grows", 60)
    ]
    second.close()
    third = watch_of(spool, later, tmp_path, NOW + timedelta(hours=2))
    spool.spooling_seconds = 0.0
    await third.look(0.0)
    await third.look(5.0)
    over = later.notices[-1]
    assert (over.id, over.ended) == (begun.id, NOW + timedelta(hours=2))
    assert grown.id != over.id
    third.close()
    fourth = watch_of(spool, later, tmp_path, NOW + timedelta(hours=3))
    await spools(fourth, spool, 0, 50)
    assert [n.kind for n in later.notices if not n.ended] == ["spool_grows", "spooling"]


async def test_two_samplers_share_the_folder(watched: Any, tmp_path: Path) -> None:
    """Each has a note of its own: what one ends does not end, or tell again, what the other told."""
    watch, spool, mailbox = watched
    other_spool, other_mailbox = Spool(), Mailbox()
    other = watch_of(other_spool, other_mailbox, tmp_path, NOW + timedelta(seconds=1))
    await spools(watch, spool, 0, 50)
    await spools(other, other_spool, 0, 50)
    (begun,), (other_begun,) = mailbox.notices, other_mailbox.notices
    assert begun.id != other_begun.id
    spool.spooling_seconds = 0.0
    await watch.look(55.0)
    assert [n.id for n in mailbox.notices if n.ended] == [begun.id]
    # The other one goes on spooling, is restarted, and ends what it began.
    other.close()
    again_mailbox = Mailbox()
    again = watch_of(other_spool, again_mailbox, tmp_path, NOW + timedelta(minutes=3))
    await spools(again, other_spool, 0, 100)
    assert again_mailbox.notices == []
    other_spool.spooling_seconds = 0.0
    await again.look(105.0)
    assert [(n.id, bool(n.ended)) for n in again_mailbox.notices] == [(other_begun.id, True)]
    assert list(tmp_path.glob("told-*.json")) == []


async def test_one_sampler_comes_back_after_two(watched: Any, tmp_path: Path) -> None:
    """It has the rows of both dead ones, tells nothing again, and ends the events of both, once."""
    watch, spool, mailbox = watched
    other_spool, other_mailbox = Spool(), Mailbox()
    other = watch_of(other_spool, other_mailbox, tmp_path, NOW + timedelta(seconds=1))
    await spools(watch, spool, 0, 50)
    await spools(other, other_spool, 0, 50)
    both = {mailbox.notices[0].id, other_mailbox.notices[0].id}
    watch.close()
    other.close()
    later = Mailbox()
    second = watch_of(spool, later, tmp_path, NOW + timedelta(minutes=2))
    await spools(second, spool, 0, 100)
    second.close()
    third = watch_of(spool, later, tmp_path, NOW + timedelta(minutes=4))
    await spools(third, spool, 0, 100)
    assert later.notices == []
    spool.spooling_seconds = 0.0
    for second_of_look in (105.0, 110.0, 115.0):
        await third.look(second_of_look)
    assert len(later.notices) == 2
    assert {n.id for n in later.notices if n.ended} == both
    assert all(n.ended and n.sentence.startswith("Over: ") for n in later.notices)
    assert list(tmp_path.glob("told-*.json")) == []


@pytest.mark.parametrize("noted", [b"", b"[]", b'{"events": {"spooling": {}}}', b"\x00" * 100])
async def test_a_torn_note(watched: Any, tmp_path: Path, noted: bytes) -> None:
    """A note that cannot be read is told of in the log, and the event is told again."""
    watch, spool, mailbox = watched
    (tmp_path / "told-0.json").write_bytes(noted)
    await spools(watch, spool, 0, 50)
    assert [n.kind for n in mailbox.notices] == ["spooling"]


@pytest.mark.parametrize(("size", "in_memory"), [(80_000_000, 0), (1000, 2)])
async def test_no_room(watched: Any, size: int, in_memory: int) -> None:
    """Four fifths of the limit, or batches that the disk does not take: told after 10 s."""
    watch, spool, mailbox = watched
    spool.spool_bytes, spool.spool_batches = 79_999_999, 3
    await spools(watch, spool, 60, 70)
    assert mailbox.notices == []
    spool.spool_bytes, spool.batches_in_memory = size, in_memory
    await spools(watch, spool, 70, 81)
    (notice,) = [n for n in mailbox.notices if n.kind == "spool_filling"]
    assert "slots are lost" in notice.sentence


def messages(hook: WebHookServer) -> list[tuple[str, str]]:
    bodies = [json.loads(body) for _, body in hook.requests]
    return [(body["kind"], body["state"]) for body in bodies]


async def until_sent(hook: WebHookServer, count: int) -> None:
    async with asyncio.timeout(20):
        while len(hook.requests) < count:
            await asyncio.sleep(0.02)


async def test_neither_database_nor_redis(store: Store, tmp_path: Path) -> None:
    """The web hook hears of it all the same; the log of alerts has it when the database is back."""
    broken = FailingStore(store)
    slot = datetime(2026, 8, 19, 14, 0, tzinfo=UTC)
    with web_hook() as hook:
        target = WebHook(hook.url, "")
        async with (
            rig(Synthetic(seed=3), broken, tmp_path, live=NoRedis()) as rigged,
            Messenger(store.alerts, [target], dataset="live", follow=False).running() as messenger,
        ):
            watch = SpoolWatch(
                rigged.writer,
                messenger,
                Clock(NOW, 1e-9, datetime.now(UTC)),
                folder=tmp_path,
                limit=1e9,
                dataset="live",
                node="desk",
            )
            await rigged.step(["SPX"], slot + timedelta(seconds=1))
            broken.away = True
            await rigged.step(["SPX"], slot + timedelta(seconds=31))
            await watch.look(0.0)
            await watch.look(50.0)
            await until_sent(hook, 1)
            assert messages(hook) == [("spooling", "began")]
            assert "(away)" in json.loads(hook.requests[0][1])["message"]
            assert await store.alerts.page(limit=10) == []
            broken.away = False
            async with asyncio.timeout(20):
                await rigged.writer.drained()
            await watch.look(60.0)
            await until_sent(hook, 2)
            assert messages(hook)[1:] == [("spooling", "ended")]
            (alert,) = await store.alerts.page(limit=10)
            assert (alert["kind"], alert["node"]) == ("spooling", "desk")
            assert alert["closed_at"] is not None
            # The two deliveries are noted too, as soon as there is time for it.
            await watch.look(65.0)
            (alert,) = await store.alerts.page(limit=10)
            assert {d["state"] for d in alert["deliveries"]} == {"began", "ended"}
    assert len(hook.requests) == 2
