"""The record of forecasts in the database: what is written of it stays as it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from factories import DAY, at, row
from psycopg import errors as pg

from storage.errors import StoreError
from storage.postgres.store import Store
from storage.scorecard.forecast import FORECAST_COLUMNS, FrozenForecast, freeze

TEN = datetime(2026, 8, 19, 14, 0, tzinfo=UTC)
CLOSE = datetime(2026, 8, 19, 20, 0, tzinfo=UTC)


def frozen(moment: datetime = TEN, **changes: Any) -> FrozenForecast:
    measured = row(slot=at(60), **changes)
    values = {name: getattr(measured, name) for name in FORECAST_COLUMNS}
    values["detail"] = measured.detail.as_json()
    return freeze(values, moment, frozen_at=moment, simulated=False, flow_before=None)


def execute(url: str, text: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set search_path to live")
        cursor = connection.execute(text.encode(), values)
        return cursor.fetchall() if cursor.description else []


async def test_the_first_one_stays(store: Store) -> None:
    """A second forecast of the same time is not written, whatever it says."""
    first = frozen()
    assert await store.forecasts.freeze(first, TEN + timedelta(seconds=1))
    assert not await store.forecasts.freeze(frozen(spot=1.0), TEN + timedelta(seconds=2))
    missed = replace(first, slot=None, definitions=None, content=None, digest=None, missed="no row")
    assert not await store.forecasts.freeze(missed, TEN)
    later = replace(missed, freeze_time=TEN + timedelta(hours=2))
    assert await store.forecasts.freeze(later, TEN + timedelta(hours=2, minutes=30))
    lines = await store.forecasts.frozen("SPX", DAY, DAY)
    assert [(line["content"], line["digest"], line["missed"]) for line in lines] == [
        (first.content, first.digest, None),
        (None, None, "no row"),
    ]
    assert [line["written_at"] for line in lines] == [
        TEN + timedelta(seconds=1),
        TEN + timedelta(hours=2, minutes=30),
    ]
    assert await store.forecasts.frozen("SPX", DAY + timedelta(days=1), date.max) == []


async def test_no_line_is_changed_or_deleted(store: Store, database: str) -> None:
    """Not even by the owner of the tables: forecasts and closes only grow."""
    await store.forecasts.freeze(frozen(), TEN)
    await store.forecasts.settle("SPX", DAY, 7700.0, origin="entered", quoted_at=CLOSE)
    for table, column in (("forecasts", "content"), ("settlements", "detail")):
        for statement in (
            f"update {table} set {column} = 'other'",
            f"delete from {table}",
            f"truncate {table} cascade",
        ):
            with pytest.raises(pg.RestrictViolation):
                execute(database, statement)
    assert len(await store.forecasts.frozen("SPX", DAY, DAY)) == 1


async def test_a_false_digest_is_refused(store: Store, database: str) -> None:
    """The database computes the digest again; its own time cannot be chosen by who writes."""
    with pytest.raises(StoreError):
        await store.forecasts.freeze(replace(frozen(), digest="0" * 64), TEN)
    await store.forecasts.freeze(frozen(), TEN)
    execute(
        database,
        "insert into forecasts (symbol, expiration, source, freeze_time, missed, frozen_at,"
        " written_at, stored_at) values ('SPX', %s, 'x', %s, 'no row', %s, %s, '2001-01-01')",
        *(DAY, TEN, TEN, TEN),
    )
    old = execute(database, "select count(*) from forecasts where stored_at < '2002-01-01'")
    assert old == [(0,)]


async def test_closes(store: Store) -> None:
    """The first close stays, unless somebody corrects it: then the last one counts."""
    table = store.forecasts
    feed = {"origin": "closing_frame", "detail": "cboe", "quoted_at": CLOSE}
    assert await table.settle("SPX", DAY, 7700.5, **feed)
    assert not await table.settle("SPX", DAY, 7701.5, **feed)
    assert (await table.settlements("SPX", DAY, DAY))[DAY]["price"] == 7700.5
    assert await table.settle("SPX", DAY, 7702.5, origin="entered", quoted_at=CLOSE, correct=True)
    close = (await table.settlements("SPX", DAY, DAY))[DAY]
    assert (close["price"], close["origin"], close["quoted_at"]) == (7702.5, "entered", CLOSE)
    assert await table.settlements("SPY", DAY, DAY) == {}
    with pytest.raises(StoreError):
        await table.settle("SPX", DAY, -1.0, origin="entered", quoted_at=CLOSE, correct=True)


async def test_scores(store: Store) -> None:
    """What differs is written anew, and nothing else; each line has its close beside it."""
    table = store.forecasts
    await table.settle("SPX", DAY, 7700.5, origin="entered", quoted_at=CLOSE)
    sequence = (await table.settlements("SPX", DAY, DAY))[DAY]["sequence"]
    forecast = frozen()
    line = {
        "symbol": "SPX",
        "expiration": DAY,
        "source": "test",
        "kind": "frozen",
        "freeze_time": TEN,
        "definitions": "1",
        "content": forecast.content,
        "digest": forecast.digest,
        "settlement": sequence,
        "outcome": {"pin_hit": True},
        "method": 1,
    }
    assert await table.score([line, line | {"kind": "backfilled"}]) == 2
    assert await table.score([line]) == 0
    assert await table.score([line | {"outcome": {"pin_hit": False}}]) == 1
    assert await table.score([]) == 0
    lines = await table.scores("SPX", DAY, DAY)
    assert [(row["kind"], row["outcome"], row["price"]) for row in lines] == [
        ("backfilled", {"pin_hit": True}, 7700.5),
        ("frozen", {"pin_hit": False}, 7700.5),
    ]
