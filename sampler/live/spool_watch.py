"""Tell somebody when rows wait in the spool, when they become many, and when they are stored.

The sampler tells it itself, straight to the targets of ``FLOW_NOTIFY``: it needs neither the
database, nor Redis, nor the API, each of which may be what is away. What it has told is noted in
the spool's folder: a sampler that is restarted meanwhile goes on from there.
"""

from __future__ import annotations

import asyncio
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
#: The file in the spool's folder that says what was told and is not over.
_TOLD = "told.json"
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
        # Over at the first look that finds it gone.
        self._conditions = Conditions(self._word, over=LOOK_SECONDS / 2)
        #: How often the spooling that goes on was told again.
        self._repeats = 0
        #: How long an earlier sampler had been spooling when this one began. [s]
        self._before = 0.0
        #: When each event that is not over was told, seconds since 1970.
        self._open: dict[str, tuple[Notice, float]] = {}
        self._looked = False

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
        if not self._looked:
            self._looked = True
            self._go_on(monotonic)
        events = self._conditions.look(self._troubles(), monotonic=monotonic, now=now)
        events += self._repeated()
        for event in events:
            notice = replace(event, dataset=self._dataset, node=self._node)
            if not event.ended:
                notice = replace(notice, figures=self._figures())
            elif event.kind == "spooling":
                done = f"Over: the sampler on {self._node} has stored all rows that waited."
                notice = replace(notice, sentence=done)
            await self._messenger.tell(notice)
            if event.ended:
                self._open.pop(event.kind, None)
            elif event.lasting:
                self._open[event.kind] = notice, _wall()
        if events:
            self._note_told()
        if not self._spool.spooling_seconds:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._messenger.flush()

    def _go_on(self, monotonic: float) -> None:
        """Take over what an earlier sampler has told of this folder's spool and has not ended."""
        try:
            noted = orjson.loads((self._folder / _TOLD).read_bytes())
            standing = {kind: self._noted(kind, event) for kind, event in noted["events"].items()}
            self._before = max(_wall() - float(noted["since"]), 0.0)
            self._repeats = int(noted["repeats"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("what was told of the spool cannot be read", error=str(error))
            return
        self._open = standing
        for event, told_at in standing.values():
            self._conditions.adopt(event, age=_wall() - told_at, monotonic=monotonic)

    def _noted(self, kind: str, event: Mapping[str, Any]) -> tuple[Notice, float]:
        began = datetime.fromisoformat(event["began"])
        notice = Notice(
            kind=kind,
            began=began,
            sentence=str(event["sentence"]),
            dataset=self._dataset,
            node=self._node,
        )
        return notice, float(event["told"])

    def _note_told(self) -> None:
        """Note it for the next sampler; on a disk that takes nothing, it will tell it again."""
        path = self._folder / _TOLD
        events = {
            kind: {"began": event.began.isoformat(), "sentence": event.sentence, "told": told_at}
            for kind, (event, told_at) in self._open.items()
        }
        since = _wall() - self._age()
        noted = {"events": events, "since": since, "repeats": self._repeats}
        draft = path.with_suffix(".new")
        with suppress(OSError):
            if events:
                draft.write_bytes(orjson.dumps(noted))
                draft.replace(path)
            else:
                path.unlink(missing_ok=True)

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
