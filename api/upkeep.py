"""What the watch looks at beside rows: late quotes, takeovers, coverage, disks, keys that end."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from storage.market.calendar import Session, market_day, to_new_york
from storage.market.clock import Clock
from storage.notify.conditions import Trouble
from storage.notify.notice import Notice, name_event
from storage.postgres.coverage import FAILING_STATES, assess_coverage
from storage.postgres.store import Store

_MACHINE = Clock()
#: How long each of these problems must last before an event says so. [s]
UPKEEP_HOLD = {"feed_late": 120.0, "disk_filling": 60.0}
#: Quotes that are older than their feed declares by more are late. [market s]
_LATE = 60.0
#: Less free space is a problem, and so is a disk that would be full within this time.
_FREE_BYTES = 2e9
_FULL_WITHIN = 6 * 3600.0
#: The time over which the growth of what a disk holds is measured. [s]
_GROWTH_OVER = 900.0
#: A second takeover of a symbol within this time makes no event.
_TAKEOVER_QUIET = timedelta(minutes=15)
#: The coverage of a session is judged between these two times after its last slot was due.
_AFTER_CLOSE, _JUDGED_UNTIL = timedelta(minutes=3), timedelta(hours=2)
#: An event says that a key or a login ends soon: once for each of these times before its end.
_ENDS_IN = (timedelta(days=7), timedelta(days=1))
#: A login at Schwab lasts seven days from the time in its token file.
_LOGIN_LASTS = timedelta(days=7)
_LOGIN_FILE_BYTES = 64 << 10
#: Time between two looks at disks and keys. [s]
_SLOW_SECONDS = 60.0


class Upkeep:
    """Remembers what it saw of samplers, disks and keys. One object a watch."""

    def __init__(
        self,
        store: Store,
        *,
        folders: Sequence[Path] = (),
        least_coverage: float = 0.9,
        keys: bool = False,
        login: Path | None = None,
        machine_time: Callable[[], datetime] = _MACHINE.now,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        """Prepare; nothing is looked at before ``look``.

        Parameters
        ----------
        store : the dataset.
        folders : folders whose disks are watched; those that do not exist are left out.
        least_coverage : below this part of a session its coverage is short. [0-1]
        keys : whether callers need keys, so that a key that ends is told.
        login : the token file of a login that ends; None without one.
        machine_time : the time of the machine's clock, UTC; keys end by it.
        free_bytes : the free space of a folder's disk. [bytes]
        """
        self._store = store
        self._folders = folders
        self._least = least_coverage
        self._keys, self._login = keys, login
        self._machine_time, self._free_bytes = machine_time, free_bytes
        self._holders: dict[str, str] = {}
        self._taken: dict[str, datetime] = {}
        self._judged: date | None = None
        self._slow_at: float | None = None
        #: Free bytes at earlier looks by folder, with the time of a monotonic clock. [s, bytes]
        self._free: defaultdict[Path, list[tuple[float, int]]] = defaultdict(list)
        self._full: dict[Path, str] = {}
        #: How late each symbol's quotes are beyond what its feed declares. [s]
        self._late: dict[str, float] = {}

    async def look(
        self,
        session: Session | None,
        due: Sequence[str],
        delay: timedelta,
        *,
        now: datetime,
        monotonic: float,
    ) -> tuple[list[Trouble], list[Notice]]:
        """Look once.

        Parameters
        ----------
        session : the session of today; None on a day without one.
        due : symbols that should have rows now.
        delay : how far the slowest feed lies behind.
        now, monotonic : the market's time, UTC, and the time of a monotonic clock [s].

        Returns
        -------
        tuple of list
            What is wrong now, and events of this moment.

        Raises
        ------
        StoreError
            If the database is away.
        """
        troubles: list[Trouble] = []
        notices: list[Notice] = []
        if session is not None and due:
            troubles += await self._late_feeds(session, due)
            notices += await self._takeovers(due, now)
        if self._slow_at is None or monotonic - self._slow_at >= _SLOW_SECONDS:
            self._slow_at = monotonic
            self._look_at_disks(monotonic)
            notices += await self._ending_keys(now)
            notices += self._ending_login(now)
        if session is not None:
            notices += await self._short_coverage(session, delay, now)
        if self._full:
            troubles.append(Trouble("disk_filling", "", UPKEEP_HOLD["disk_filling"]))
        return troubles, notices

    def word(self, kind: str, names: str, symbols: Sequence[str]) -> str:
        """Word an event that lasts.

        Parameters
        ----------
        kind : ``feed_late`` or ``disk_filling``.
        names, symbols : the symbols as they are shown, and by themselves.

        Returns
        -------
        str
            One sentence.
        """
        if kind == "disk_filling":
            return " ".join(self._full.values()) or "A disk is filling."
        worst = max((self._late.get(symbol, 0.0) for symbol in symbols), default=0.0)
        return (
            f"{names}: quotes are up to {worst:.0f} s older than their feed declares. Look at the"
            " vendor, and compare the machine's clock."
        )

    async def _late_feeds(self, session: Session, due: Sequence[str]) -> list[Trouble]:
        columns = ("symbol", "expiration", "quote_age_seconds", "delay_seconds")
        rows = await self._store.board(session.day, columns=columns)
        self._late = {
            row["symbol"]: row["quote_age_seconds"] - row["delay_seconds"]
            for row in rows
            if row["expiration"] == session.day and row["symbol"] in due
        }
        hold = UPKEEP_HOLD["feed_late"]
        return [
            Trouble("feed_late", symbol, hold)
            for symbol, late in self._late.items()
            if late > _LATE
        ]

    async def _takeovers(self, due: Sequence[str], now: datetime) -> list[Notice]:
        holders = await self._store.holders(due)
        changes: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for symbol, holder in holders.items():
            before = self._holders.get(symbol, holder)
            self._holders[symbol] = holder
            last = self._taken.get(symbol)
            if before != holder and (last is None or now - last >= _TAKEOVER_QUIET):
                changes[before, holder].append(symbol)
                self._taken[symbol] = now
        return [
            Notice(
                kind="takeover",
                symbols=tuple(sorted(symbols)),
                began=now,
                lasting=False,
                sentence=(
                    f"{', '.join(sorted(symbols))}: now {holder} samples, before {before} did."
                ),
                figures={"from": before, "to": holder},
            )
            for (before, holder), symbols in changes.items()
        ]

    async def _short_coverage(
        self, session: Session, delay: timedelta, now: datetime
    ) -> list[Notice]:
        since = session.close + delay + _AFTER_CLOSE
        if self._judged == session.day or not since <= now < since + _JUDGED_UNTIL:
            return []
        name = name_event("coverage_short", f"{session.day}")
        counts = await self._store.coverage(session.day, session.day)
        lines = assess_coverage(
            [row for row in counts if row["shown"]],
            first=session.day,
            last=session.day,
            now=now,
            symbols=None,
            least=self._least,
        )
        self._judged = session.day
        short = {line.symbol: line.coverage for line in lines if line.state in FAILING_STATES}
        if not short:
            return []
        shown = ", ".join(f"{symbol} {100 * share:.0f} %" for symbol, share in [*short.items()][:8])
        more = f" and {len(short) - 8} more" * (len(short) > 8)
        return [
            Notice(
                kind="coverage_short",
                symbols=tuple(short),
                began=session.close,
                lasting=False,
                session=session.day,
                sentence=(
                    f"The session of {session.day} has fewer rows than {100 * self._least:.0f} %"
                    f" of its slots: {shown}{more}. flow-store check says why."
                ),
                figures={symbol: round(share, 4) for symbol, share in short.items()},
                name=name,
            )
        ]

    def _look_at_disks(self, monotonic: float) -> None:
        self._full = {}
        for folder in self._folders:
            try:
                free = self._free_bytes(folder)
            except OSError:
                continue
            looks = self._free[folder]
            looks.append((monotonic, free))
            while monotonic - looks[0][0] > 2 * _GROWTH_OVER:
                del looks[0]
            passed, eaten = monotonic - looks[0][0], looks[0][1] - free
            left = f"{free / 1e9:.1f} GB are free"
            if free < _FREE_BYTES:
                self._full[folder] = f"The disk of {folder} is almost full: {left}."
            elif passed >= _GROWTH_OVER and eaten > 0 and free / eaten * passed < _FULL_WITHIN:
                hours = free / eaten * passed / 3600
                self._full[folder] = f"The disk of {folder} would be full in {hours:.1f} h: {left}."

    async def _ending_keys(self, now: datetime) -> list[Notice]:
        if not self._keys:
            return []
        present = self._machine_time()
        notices = []
        for key in await self._store.keys.all():
            if key.expires_at is not None and key.valid(present):
                what = f"The API key {key.name!r} ({key.id})"
                advice = f"flow-api keys rotate keeps its end; make a new one for {key.name!r}."
                notices += _ending(what, key.id, key.expires_at, present, now, advice)
        return notices

    def _ending_login(self, now: datetime) -> list[Notice]:
        if self._login is None:
            return []
        began = _login_time(self._login)
        if began is None:
            return []
        advice = "Log in again with the tool that wrote FLOW_SCHWAB_TOKEN_FILE."
        ends = began + _LOGIN_LASTS
        # A login lasts seven days, so the event of seven days before its end is left out.
        present = self._machine_time()
        notices = _ending("The login at Schwab", "schwab", ends, present, now, advice)
        return [notice for notice in notices if notice.figures["days"] == 1]


def _ending(
    what: str, name: str, ends: datetime, present: datetime, now: datetime, advice: str
) -> list[Notice]:
    """The event that something ends soon, one for each time of ``_ENDS_IN``."""
    due = [ahead for ahead in _ENDS_IN if present >= ends - ahead]
    if not due or present >= ends:
        return []
    days = min(due).days
    hours = (ends - present).total_seconds() / 3600
    shown = f"{to_new_york(ends):%Y-%m-%d %H:%M}"
    left = f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} hours"
    return [
        Notice(
            kind="key_ends",
            began=now,
            lasting=False,
            session=market_day(now),
            sentence=f"{what} ends in {left}, at {shown} New York. {advice}",
            figures={"name": name, "days": days, "ends": ends.isoformat()},
            name=name_event("key_ends", name, ends.isoformat(), f"{days}"),
        )
    ]


def _login_time(path: Path) -> datetime | None:
    """When the person logged in, from the token file; nothing else of it is kept."""
    try:
        with path.open("rb") as file:
            document: Any = orjson.loads(file.read(_LOGIN_FILE_BYTES))
    except (OSError, orjson.JSONDecodeError):
        return None
    stamp = document.get("creation_timestamp") if isinstance(document, Mapping) else None
    if isinstance(stamp, bool) or not isinstance(stamp, int | float):
        return None
    try:
        return datetime.fromtimestamp(stamp, UTC)
    except (ValueError, OverflowError, OSError):
        return None
