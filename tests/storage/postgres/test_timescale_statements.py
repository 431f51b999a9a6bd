"""Which statements TimescaleDB is sent, against one that is played: whatever server the tests have.

``test_timescale.py`` shows on a real one that they do what they should.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from storage.postgres import timescale

BEFORE = datetime(2026, 8, 17, tzinfo=UTC)


class Played:
    """A connection to a server whose TimescaleDB is as the fields say."""

    def __init__(self, **state: Any) -> None:
        self.offered = self.installed = True
        self.version, self.license = "2.18.0", "timescale"
        #: Hypertables: whether each is compressed, and after how many days by itself.
        self.tables: dict[str, tuple[bool, int | None]] = {}
        self.refusal: str | None = None
        self.__dict__ |= state
        self.sent: list[str] = []

    async def execute(self, statement: Any, parameters: Any = None) -> Played:
        """Take a statement; remember those that change something."""
        text = statement if isinstance(statement, str) else statement.as_string(None)
        lines = [line for line in text.splitlines() if not line.startswith("--")]
        text = " ".join(" ".join(lines).split())
        self.row = None
        if "pg_available_extensions" in text:
            self.row = {"offered": self.offered, "installed": self.installed}
        elif "current_setting('timescaledb.license'" in text:
            if self.installed:
                self.row = {"version": self.version, "license": self.license}
        elif "timescaledb_information.hypertables" in text:
            state = self.tables.get(f"{parameters['dataset']}.{parameters['name']}")
            if state is not None:
                self.row = {"compressed": state[0], "after": state[1] and f"{state[1]} days"}
        elif text.startswith("select %s::interval"):
            self.row = {"after": timedelta(days=int(parameters[0].split()[0]))}
        elif "drop_chunks" in text:
            self.row = {"n": 3}
            self.sent.append(f"drop_chunks {parameters['table']} {parameters['before']:%m-%d}")
        elif "hypertable_size" in text:
            self.row = {"bytes": 4096 if parameters["table"] == "live.rows" else None}
        elif "create_hypertable" in text:
            self.tables[parameters["table"]] = (False, None)
            self.sent.append(f"create_hypertable {parameters['table']}")
        elif "set_config" not in text:
            if self.refusal and text.startswith("create extension"):
                raise psycopg.OperationalError(self.refusal)
            self.sent.append(text)
        else:
            self.sent.append("reach")
        return self

    async def fetchone(self) -> dict[str, Any] | None:
        return self.row


async def enabled(played: Played, days: int = 0) -> list[str]:
    return await timescale.enable_timescale(played, "live", ("rows", "gaps"), days)  # type: ignore[arg-type]


MADE = [f"live: {name} is a TimescaleDB hypertable, a chunk a day" for name in ("rows", "gaps")]
PACKED = [
    f"live: {name} is compressed by column once it is 9 days old" for name in ("rows", "gaps")
]
MAKING = [
    "reach",
    "create_hypertable live.rows",
    'drop index if exists "live"."rows_slot_idx"',
    "create_hypertable live.gaps",
    'drop index if exists "live"."gaps_slot_idx"',
]


def packing(name: str, days: int) -> list[str]:
    return [
        f"call remove_columnstore_policy('live.{name}', if_exists => true)",
        (
            f"call add_columnstore_policy('live.{name}', after => interval '{days} days',"
            " if_not_exists => true)"
        ),
    ]


def columnstore(name: str) -> str:
    return (
        f'alter table "live"."{name}" set (timescaledb.enable_columnstore = true,'
        " timescaledb.segmentby = 'symbol, source', timescaledb.orderby = 'expiration, slot')"
    )


async def test_not_there():
    """A server without the extension is sent nothing that changes it."""
    played = Played(offered=False, installed=False)
    assert await enabled(played, 9) == []
    assert played.sent == []


async def test_not_allowed():
    """A role that may not make the extension goes without; the first line of the reason is told."""
    played = Played(installed=False, refusal="permission denied\nHINT: ask somebody")
    assert await enabled(played, 9) == ["TimescaleDB is here but cannot be used: permission denied"]
    assert played.sent == []


@pytest.mark.parametrize("installed", [False, True])
async def test_hypertables(installed):
    """The extension is made where it is missing, then a hypertable of each table, once."""
    played = Played(installed=installed)
    execute = played.execute

    async def making(statement: Any, parameters: Any = None) -> Played:
        done = await execute(statement, parameters)
        played.installed |= played.sent[-1:] == [EXTENSION]
        return done

    played.execute = making  # type: ignore[method-assign]
    assert await enabled(played) == MADE
    assert played.sent == [EXTENSION][installed:] + MAKING
    played.sent.clear()
    assert await enabled(played) == []
    assert played.sent == [line for line in MAKING if "create" not in line]


EXTENSION = "create extension if not exists timescaledb schema public"


async def test_compressed():
    """Compression once it is switched on; a new age replaces the policy; the same one is left."""
    played = Played()
    assert await enabled(played, 9) == MADE + PACKED
    assert played.sent == [
        *MAKING,
        *(s for name in ("rows", "gaps") for s in (columnstore(name), *packing(name, 9))),
    ]
    played.tables = {"live.rows": (True, 9), "live.gaps": (True, 40)}
    played.sent.clear()
    assert await enabled(played, 9) == PACKED[1:]
    assert [s for s in played.sent if "columnstore" in s] == packing("gaps", 9)
    # Switched on by hand, without a policy.
    played.tables = {"live.rows": (True, None), "live.gaps": (True, 9)}
    played.sent.clear()
    assert await enabled(played, 9) == PACKED[:1]
    assert [s for s in played.sent if "columnstore" in s] == packing("rows", 9)


@pytest.mark.parametrize(
    ("version", "license_level", "sentence"),
    [
        ("2.18.0", "apache", "TimescaleDB 2.18.0 at license level apache: no compression"),
        ("2.17.2", "timescale", "TimescaleDB 2.17.2 is before 2.18: no compression"),
        ("1.99.0", "timescale", "TimescaleDB 1.99.0 is before 2.18: no compression"),
    ],
)
async def test_no_compression(version, license_level, sentence):
    """A server that cannot compress by these commands is not asked to; it says so once."""
    played = Played(version=version, license=license_level)
    assert await enabled(played, 9) == [*MADE, f"live: {sentence}"]
    assert played.sent == MAKING
    assert await enabled(played, 9) == []


@pytest.mark.parametrize("version", ["2.18.0", "2.100.0", "3.0.0"])
async def test_versions_that_compress(version):
    """From 2.18 on, by numbers and not by letters."""
    assert await enabled(Played(version=version), 9) == MADE + PACKED


async def test_state():
    """What the doctor shows: the version and the level, as far as they are known."""
    opened: Any = Played()
    assert await timescale.installed(opened) == ("2.18.0", "timescale")
    assert await timescale.installed(Played(license=None)) == ("2.18.0", "")  # type: ignore[arg-type]
    assert await timescale.installed(Played(installed=False)) == (None, "")  # type: ignore[arg-type]


async def test_dropped_and_measured():
    """Hypertables lose whole days and have a size; plain tables are left to others."""
    played: Any = Played(tables={"live.rows": (False, None), "live.gaps": (False, None)})
    assert await timescale.drop_chunks(played, "live", "rows", BEFORE) == 3
    assert played.sent == ["reach", "drop_chunks live.rows 08-17"]
    assert await timescale.hypertable_size(played, "live", "rows") == 4096
    # PostgreSQL gives null for one without a chunk.
    assert await timescale.hypertable_size(played, "live", "gaps") == 0
    for plain in (Played(), Played(installed=False, tables={"live.rows": (False, None)})):
        opened: Any = plain
        assert await timescale.is_hypertable(opened, "live", "rows") is False
        assert await timescale.drop_chunks(opened, "live", "rows", BEFORE) is None
        assert await timescale.hypertable_size(opened, "live", "rows") is None
        assert not [s for s in plain.sent if "drop" in s]
