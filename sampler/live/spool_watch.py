"""Tell somebody when rows wait in the spool, when they become many, and when they are stored.

The sampler tells it itself, straight to the targets of ``FLOW_NOTIFY``: it needs neither the
database, nor Redis, nor the API, each of which may be what is away. What it has told is noted in
the spool's folder: a sampler that is restarted meanwhile goes on from there. Each of several
samplers that share the folder has a note of its own, and takes over those of dead ones, as it takes
over their rows.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol

import orjson
import structlog

from storage.errors import StoreError
from storage.locks import open_lock, try_lock
from storage.market.clock import Clock
from storage.notify.conditions import Conditions, Trouble
from storage.notify.messenger import Messenger
from storage.notify.notice import Notice

log = structlog.get_logger()

#: Time between two looks. [s]
LOOK_SECONDS = 5.0
#: How long each problem must last before it is told. [s]
HOLD = {"spooling": 45.0, "spool_filling": 10.0}
#: Spooling that goes on is told again when it has lasted so long, and then every so often. [s]
_AGAIN_AFTER, _AGAIN_EVERY = (900.0, 3600.0), 4 * 3600.0
#: A spool that holds more of what it may hold is filling.
_FULL_SHARE = 0.8
#: The files in the spool's folder that say what was told and is not over, one a living sampler.
#: Each has a lock of the same name, which its sampler holds.
_NOTES = "told-*.json"
#: How long the database may take to note what was told while it was away. [s]
_PATIENCE = 5.0


def _wall() -> float:
    """Seconds since 1970 by the machine's clock, which a restart does not begin anew."""
    return Clock().now().timestamp()


class SpoolState(Protocol):
    """What is looked at, of the writer."""

    @property
    def spooling_seconds(self) -> float:
        """How long batches have waited for the database; 0 while none waits. [s]"""
        ...

    @property
    def spool_batches(self) -> int:
        """How many batches wait."""
        ...

    @property
    def spool_bytes(self) -> int:
        """How large the waiting batches are on disk. [bytes]"""
        ...

    @property
    def batches_in_memory(self) -> int:
        """How many of them the disk has not taken."""
        ...

    @property
    def away_because(self) -> str:
        """Why batches wait, in the database's words; empty if that is not known."""
        ...


class SpoolWatch:
    """Looks at one sampler's spool, and hands events to a messenger."""

    def __init__(
        self,
        spool: SpoolState,
        messenger: Messenger,
        clock: Clock,
        *,
        folder: Path,
        limit: float,
        dataset: str,
        node: str,
    ) -> None:
        """Prepare; nothing is looked at before ``run``.

        Parameters
        ----------
        spool : what waits.
        messenger : delivers the events, and writes them to the log when the database is back.
        clock : the time of the market.
        folder, limit : where the spool is, and how large it may be. [bytes]
        dataset, node : which dataset, and which machine; every event says so.
        """
        self._spool = spool
        self._messenger = messenger
        self._clock = clock
        self._folder, self._limit = folder, limit
        self._dataset, self._node = dataset, node
        # An event is over at the first look at which its cause is gone.
        self._conditions = Conditions(self._word, over=LOOK_SECONDS / 2)
        #: How many reminders were sent of the spooling that still lasts.
        self._repeats = 0
        #: How long an earlier sampler had been spooling when this one began. [s]
        self._before = 0.0
        #: Events that are not over, and when each was sent, in seconds since 1970.
        self._open: dict[str, tuple[Notice, float]] = {}
        #: Spooling that dead samplers have told of. It is over when this sampler's is.
        self._inherited: dict[str, Notice] = {}
        #: The note of this sampler, and its lock; None before the first look, and on a broken disk.
        self._note: Path | None = None
        self._lock: int | None = None

    def close(self) -> None:
        """Leave the note to the next sampler."""
        if self._lock is not None:
            os.close(self._lock)
        self._note = self._lock = None

    async def run(self) -> NoReturn:
        """Look until cancelled."""
        while True:
            try:
                await self.look(time.monotonic())
            except Exception:
                log.exception("the spool is not looked at")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, monotonic: float) -> None:
        """Look once, and tell what is new.

        Parameters
        ----------
        monotonic : the time of a monotonic clock. [s]
        """
        now = self._clock.now()
        with suppress(OSError):
            self._take_over(monotonic)
        events = self._conditions.look(self._troubles(), monotonic=monotonic, now=now)
        events += self._repeated()
        if not self._spool.spooling_seconds:
            events += [replace(event, ended=now) for event in self._inherited.values()]
        for event in events:
            notice = replace(event, dataset=self._dataset, node=self._node)
            if not event.ended:
                notice = replace(notice, figures=self._figures())
            elif event.kind == "spooling":
                done = f"Over: the sampler on {self._node} has stored all rows that waited."
                notice = replace(notice, sentence=done)
            await self._messenger.tell(notice)
            if event.ended:
                self._inherited.pop(notice.id, None)
                if event.kind in self._open and self._open[event.kind][0].id == notice.id:
                    del self._open[event.kind]
            elif event.lasting:
                self._open[event.kind] = notice, _wall()
        if events:
            self._note_told()
        if not self._spool.spooling_seconds:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._messenger.flush()

    def _take_over(self, monotonic: float) -> None:
        """Take a note of its own, and those of dead samplers, whose events are not over."""
        if self._note is None:
            self._take_place(monotonic)
        for path in sorted(self._folder.glob(_NOTES)):
            if path == self._note:
                continue
            lock = open_lock(path.with_suffix(".lock"))
            try:
                if try_lock(lock) and path.exists():
                    self._go_on(path, monotonic)
                    self._note_told()
                    path.unlink()
            finally:
                os.close(lock)

    def _take_place(self, monotonic: float) -> None:
        """Lock the first note that no living sampler has, and go on from it."""
        for number in range(1000):
            note = self._folder / f"told-{number}.json"
            lock = open_lock(note.with_suffix(".lock"))
            if try_lock(lock):
                self._note, self._lock = note, lock
                if note.exists():
                    self._go_on(note, monotonic)
                return
            os.close(lock)

    def _go_on(self, path: Path, monotonic: float) -> None:
        """Take over a dead sampler's events: as its own, or to end them with its own."""
        try:
            noted = orjson.loads(path.read_bytes())
            standing = [self._noted(event) for event in noted["events"]]
            inherited = [self._noted(event)[0] for event in noted["inherited"]]
            since, repeats = float(noted["since"]), int(noted["repeats"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("what was told of the spool cannot be read", error=str(error))
            return
        self._inherited |= {event.id: event for event in inherited}
        if self._open:
            self._inherited |= {event.id: event for event, _ in standing}
            return
        self._open = {event.kind: (event, told_at) for event, told_at in standing}
        self._repeats = repeats
        self._before = max(_wall() - since - self._spool.spooling_seconds, 0.0)
        for event, told_at in standing:
            self._conditions.adopt(event, age=_wall() - told_at, monotonic=monotonic)

    def _noted(self, event: Mapping[str, Any]) -> tuple[Notice, float]:
        began = datetime.fromisoformat(event["began"])
        notice = Notice(
            kind=str(event["kind"]),
            began=began,
            sentence=str(event["sentence"]),
            dataset=self._dataset,
            node=self._node,
        )
        return notice, float(event["told"])

    def _note_told(self) -> None:
        """Note the events for the next sampler, which sends again what could not be noted."""
        if self._note is None:
            return

        def plain(event: Notice, told_at: float) -> dict[str, Any]:
            began = event.began.isoformat()
            return {"kind": event.kind, "began": began, "sentence": event.sentence, "told": told_at}

        noted = {
            "events": [plain(*event) for event in self._open.values()],
            "inherited": [plain(event, 0.0) for event in self._inherited.values()],
            "since": _wall() - self._age(),
            "repeats": self._repeats,
        }
        draft = self._note.with_suffix(".new")
        with suppress(OSError):
            if self._open or self._inherited:
                draft.write_bytes(orjson.dumps(noted))
                draft.replace(self._note)
            else:
                self._note.unlink(missing_ok=True)

    def _age(self) -> float:
        """How long batches have waited, also for an earlier sampler; 0 while none waits. [s]"""
        seconds = self._spool.spooling_seconds
        return self._before + seconds if seconds else 0.0

    def _troubles(self) -> list[Trouble]:
        if not self._spool.spooling_seconds:
            return []
        troubles = [Trouble("spooling", "", HOLD["spooling"])]
        if self._spool.batches_in_memory or self._spool.spool_bytes >= _FULL_SHARE * self._limit:
            troubles.append(Trouble("spool_filling", "", HOLD["spool_filling"]))
        return troubles

    def _repeated(self) -> list[Notice]:
        """The event that spooling still goes on, at growing distances."""
        age = self._age()
        if not age:
            self._repeats, self._before = 0, 0.0
            return []
        due = sum(age >= after for after in _AGAIN_AFTER)
        due += int(max(age - _AGAIN_AFTER[-1], 0.0) // _AGAIN_EVERY)
        if due <= self._repeats:
            return []
        self._repeats = due
        return [
            Notice(
                kind="spool_grows",
                began=self._clock.now(),
                lasting=False,
                sentence=(
                    f"The sampler on {self._node} has been unable to write to the database for"
                    f" {age / 60:.0f} minutes{self._why()}. {self._waiting()}"
                ),
            )
        ]

    def _word(self, kind: str, symbols: object) -> str:
        if kind == "spool_filling":
            return (
                f"The spool of the sampler on {self._node} has little room left, or none: when it"
                f" is full, slots are lost. {self._waiting()} Bring the database back, or make"
                " room."
            )
        return (
            f"The sampler on {self._node} cannot write to the database{self._why()}. It samples on."
            f" {self._waiting()} They are stored when the database is back."
        )

    def _why(self) -> str:
        return f" ({self._spool.away_because})" if self._spool.away_because else ""

    def _waiting(self) -> str:
        count, size = self._spool.spool_batches, self._spool.spool_bytes / 1e6
        return f"{count} batches of rows wait, {size:,.1f} MB in {self._folder}."

    def _figures(self) -> dict[str, Any]:
        return {
            "batches": self._spool.spool_batches,
            "bytes": self._spool.spool_bytes,
            "seconds": round(self._age()),
        }
