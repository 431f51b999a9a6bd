"""Tell somebody when rows wait in the spool, when they become many, and when they are stored.

The sampler tells it itself, straight to the targets of ``FLOW_NOTIFY``: it needs neither the
database, nor Redis, nor the API, each of which may be what is away.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

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
#: How long the database may take to note what was told while it was away. [s]
_PATIENCE = 5.0


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
        if not self._spool.spooling_seconds:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._messenger.flush()

    def _troubles(self) -> list[Trouble]:
        if not self._spool.spooling_seconds:
            return []
        troubles = [Trouble("spooling", "", HOLD["spooling"])]
        if self._spool.batches_in_memory or self._spool.spool_bytes >= _FULL_SHARE * self._limit:
            troubles.append(Trouble("spool_filling", "", HOLD["spool_filling"]))
        return troubles

    def _repeated(self) -> list[Notice]:
        """The event that spooling still goes on, at growing distances."""
        age = self._spool.spooling_seconds
        if not age:
            self._repeats = 0
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
            "seconds": round(self._spool.spooling_seconds),
        }
