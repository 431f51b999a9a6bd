"""Late quotes, takeovers, coverage at the close, disks and keys: when each is told, and once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.access.keys import key_digest, make_key
from api.upkeep import Upkeep
from api.watch import Watch
from storage.market.calendar import session_on
from storage.notify.messenger import Messenger
from storage.postgres.lease import Lease
from storage.postgres.store import Store
from tests.api.rows import FRIDAY, every, record, utc
from tests.api.site import Still

SESSION = session_on(FRIDAY)
NO_DELAY = timedelta(0)


async def look(
    upkeep: Upkeep, now: datetime, monotonic: float = 0.0, due: Sequence[str] = ("SPY",)
) -> tuple[list[str], list[Any]]:
    """Kinds and symbols of what is wrong, and the events."""
    troubles, notices = await upkeep.look(SESSION, due, NO_DELAY, now=now, monotonic=monotonic)
    return [f"{t.kind} {t.symbol}".strip() for t in troubles], notices


async def test_late_quotes(store: Store) -> None:
    """Quotes 61 s older than declared are late, 60 s are not; a symbol that is not due is left out."""
    rows = {"SPX": 961.0, "SPY": 960.0, "QQQ": 5000.0}
    await store.write(
        [
            record(utc("14:30"), symbol=symbol, quote_age_seconds=age, delay_seconds=900)
            for symbol, age in rows.items()
        ]
    )
    upkeep = Upkeep(store)
    wrong, _ = await look(upkeep, utc("14:31"), due=("SPX", "SPY"))
    assert wrong == ["feed_late SPX"]
    assert upkeep.word("feed_late", "SPX", ["SPX"]).startswith("SPX: quotes are up to 61 s older")
    # Yesterday's newest row says nothing about today.
    await store.write([record(utc("2026-06-04 19:00"), symbol="IWM", quote_age_seconds=500.0)])
    assert (await look(upkeep, utc("14:31"), due=("IWM",)))[0] == []


async def test_a_late_feed_is_told_and_over(store: Store, database: str) -> None:
    """Through the watch: after two minutes, once, and again when quotes are fresh."""
    clock = Still(utc("14:30"))
    lease = Lease(database, "live", ["SPY"])
    await lease.beat()
    await store.own({"SPY": "cboe"}, FRIDAY)
    messenger = Messenger(store.alerts, [])
    watch = Watch(store, clock, messenger, dataset="live", node="desk", upkeep=Upkeep(store))  # type: ignore[arg-type]
    ages = [500.0] * 6 + [1.0] * 2
    for number, age in enumerate(ages):
        await store.write([record(clock.moment, symbol="SPY", quote_age_seconds=age)])
        for step in range(6):
            await watch.look(number * 30.0 + step * 5)
            clock.moment += timedelta(seconds=5)
        alerts = [(a["kind"], a["ended_at"] is not None) for a in await store.alerts.page(limit=9)]
        assert alerts == ([] if number < 4 else [("feed_late", number > 5)]), number
    await lease.close()


async def test_takeover(store: Store, database: str) -> None:
    """Another holder of a symbol's lock is told once; a holder that lets go and comes back is not."""
    symbols = ["SPX", "SPY"]
    first, second = (Lease(database, "live", symbols, owner=f"{name} (process 1)") for name in "ab")
    await first.beat()
    upkeep = Upkeep(store)
    assert (await look(upkeep, utc("14:30"), due=symbols))[1] == []
    await first.close()
    assert (await look(upkeep, utc("14:31"), due=symbols))[1] == []
    await first.beat()
    assert (await look(upkeep, utc("14:32"), due=symbols))[1] == []
    await first.close()
    await second.beat()
    _, [notice] = await look(upkeep, utc("14:33"), due=symbols)
    assert (notice.kind, notice.symbols, notice.lasting) == ("takeover", ("SPX", "SPY"), False)
    assert notice.sentence == "SPX, SPY: now b (process 1) samples, before a (process 1) did."
    # Back and forth within a quarter of an hour is one event.
    await second.close()
    await first.beat()
    assert (await look(upkeep, utc("14:34"), due=symbols))[1] == []
    await first.close()
    await second.beat()
    assert len((await look(upkeep, utc("14:48"), due=symbols))[1]) == 1
    await second.close()


async def test_the_machine_and_the_process_hold(store: Store, database: str) -> None:
    """A lease names its machine and process by itself."""
    lease = Lease(database, "live", ["SPX"])
    await lease.beat()
    holders = await store.holders(["SPX", "SPY"])
    assert list(holders) == ["SPX"]
    assert "(process " in holders["SPX"]
    await lease.close()
    assert await store.holders(["SPX"]) == {}


async def test_coverage_at_the_close(store: Store) -> None:
    """Three minutes after the close: the symbol with 79 % of its slots is named, the full one is not."""
    await store.own({"SPX": "cboe", "SPY": "cboe"}, FRIDAY)
    # 780 slots; 617 of them are 79.1 %.
    await store.write(every("13:30", "19:59:30", symbol="SPY"))
    await store.write(every("13:30", "18:38", symbol="SPX"))
    upkeep = Upkeep(store, least_coverage=0.9)
    for early in ("19:59", "20:00", "20:02:59"):
        assert (await look(upkeep, utc(early)))[1] == []
    _, [notice] = await look(upkeep, utc("20:03"))
    assert (notice.kind, notice.symbols, notice.session) == ("coverage_short", ("SPX",), FRIDAY)
    assert notice.figures == {"SPX": pytest.approx(617 / 780, abs=1e-4)}
    assert "SPX 79 %" in notice.sentence
    assert (await look(upkeep, utc("20:04"), 100.0))[1] == []
    # Another process finds the same event; one that begins at night says nothing.
    _, [same] = await look(Upkeep(store, least_coverage=0.9), utc("20:30"))
    assert same.id == notice.id
    assert (await look(Upkeep(store, least_coverage=0.9), utc("22:03")))[1] == []
    assert (await look(Upkeep(store, least_coverage=0.79), utc("20:30")))[1] == []


async def test_disks(store: Store, tmp_path: Path) -> None:
    """Less than 2 GB, or growth that fills the disk within six hours, is a problem."""
    free = {"bytes": 100e9}
    upkeep = Upkeep(store, folders=[tmp_path], free_bytes=lambda _: int(free["bytes"]))
    assert (await look(upkeep, utc("14:30"), 0.0))[0] == []
    # 1 GB a minute: 85 GB last 85 minutes.
    for minute in range(1, 15):
        free["bytes"] = 100e9 - minute * 1e9
        assert (await look(upkeep, utc("14:30"), 60.0 * minute))[0] == []
    free["bytes"] = 85e9
    assert (await look(upkeep, utc("14:30"), 900.0))[0] == ["disk_filling"]
    assert "would be full in 1.4 h: 85.0 GB" in upkeep.word("disk_filling", "", [])
    # 85 GB at 10 MB a minute last 140 hours.
    for minute in range(16, 60):
        free["bytes"] -= 1e7
        wrong, _ = await look(upkeep, utc("14:30"), 60.0 * minute)
    assert wrong == []
    free["bytes"] = 1.9e9
    assert (await look(upkeep, utc("14:30"), 4000.0))[0] == ["disk_filling"]
    assert f"{tmp_path} is almost full: 1.9 GB" in upkeep.word("disk_filling", "", [])
    gone = Upkeep(store, folders=[tmp_path / "none"])
    assert (await look(gone, utc("14:30")))[0] == []


async def test_keys_that_end(store: Store) -> None:
    """A key is told a week and a day before it ends, once each; ended and revoked ones are not."""
    present = datetime(2026, 6, 5, 12, tzinfo=UTC)
    for name, days in (("soon", 6.5), ("later", 8), ("ended", -1), ("revoked", 3), ("never", None)):
        key_id, key = make_key()
        await store.keys.insert(
            key_id, key_digest(key), name=name, email="", plan="Growth",
            expires_at=None if days is None else present + timedelta(days=days),
        )  # fmt: skip
    await store.keys.revoke("revoked")
    moment = Still(present)
    messenger = Messenger(store.alerts, [])

    async def logged_after(hours: float) -> list[str]:
        """What is in the log after a look at that time, by new processes each time."""
        moment.moment = present + timedelta(hours=hours)
        upkeep = Upkeep(store, keys=True, machine_time=moment.now)
        _, notices = await look(upkeep, utc("14:30"))
        for notice in notices:
            await messenger.tell(notice)
        return [a["sentence"].split("'")[1] + f" {a['figures']['days']}"
                for a in reversed(await store.alerts.page(limit=99))]  # fmt: skip

    assert await logged_after(0) == ["soon 7"]
    assert await logged_after(1) == ["soon 7"]
    assert await logged_after(25) == ["soon 7", "later 7"]
    assert await logged_after(5.5 * 24) == ["soon 7", "later 7", "soon 1"]
    assert await logged_after(6.6 * 24) == ["soon 7", "later 7", "soon 1"]
    assert await logged_after(7.5 * 24) == ["soon 7", "later 7", "soon 1", "later 1"]
    _, notices = await look(Upkeep(store, keys=False, machine_time=lambda: present), utc("14:30"))
    assert notices == []


async def test_a_login_that_ends(store: Store, tmp_path: Path) -> None:
    """A login at Schwab is told on its seventh day, once, and nothing of its tokens is in the message."""
    file = tmp_path / "token.json"
    began = datetime(2026, 6, 1, 12, tzinfo=UTC)
    file.write_text(
        json.dumps({"creation_timestamp": began.timestamp(), "token": {"refresh_token": "hunter2"}})
    )

    async def notices_after(hours: float) -> list[Any]:
        present = began + timedelta(hours=hours)
        upkeep = Upkeep(store, login=file, machine_time=lambda: present)
        return (await look(upkeep, utc("14:30")))[1]

    assert await notices_after(143) == []
    [notice] = await notices_after(145)
    [same] = await notices_after(160)
    assert notice.id == same.id
    assert "The login at Schwab ends in 23 hours, at 2026-06-08 08:00 New York" in notice.sentence
    assert "hunter2" not in str(notice)
    assert await notices_after(169) == []
    for text in ("", "[]", "{}", '{"creation_timestamp": "x"}', '{"creation_timestamp": 1e300}'):
        file.write_text(text)
        assert await notices_after(145) == []
    file.unlink()
    assert await notices_after(145) == []
