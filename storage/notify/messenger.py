"""Tell events: write each to the log of alerts once, and deliver what the log has to each target.

Any number of processes may do so. The log holds an event once, whoever writes it, and gives each
message to one process at a time. While the database is away, events are delivered from memory, and
written when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from storage.errors import StoreError, StoreUnavailable
from storage.market.calendar import market_day
from storage.notify.notice import Notice
from storage.notify.notifier import MOST_ATTEMPTS, PAUSES, Notifier
from storage.notify.target import Target
from storage.postgres.alerts import AlertTable

log = structlog.get_logger()

#: Time between two looks for messages that another process has written. [s]
_POLL = 2.0
#: How long the database may take to write an event. [s]
_WRITE = 5.0
#: So long a message is one process's own; longer than a delivery may take.
_PATIENCE = timedelta(seconds=30)
#: A message that is older is given up.
_MOST = timedelta(hours=12)
#: A target that has no delivery yet, because it is new, gets what is newer than this.
_RECENT = timedelta(minutes=15)
#: How long a delivery that has begun may take when the process ends. [s]
_LAST_DELIVERY = 12.0
#: So many events may wait for the database; the oldest is dropped for the next.
_MOST_UNWRITTEN = 200


class Messenger:
    """Writes events to the log of alerts, and delivers the log's messages to some targets."""

    def __init__(
        self,
        table: AlertTable,
        targets: Sequence[Target],
        *,
        dataset: str = "",
        pauses: Sequence[float] = PAUSES,
        follow: bool = True,
    ) -> None:
        """Prepare; nothing is sent before ``running``.

        Parameters
        ----------
        table : the log of alerts.
        targets : where messages go; may be empty.
        dataset : the dataset of the log; every message says so.
        pauses : seconds between attempts; the last one is repeated.
        follow : whether the log's messages are delivered. If not, events are sent from memory, and
            written to the log by ``flush``.
        """
        self._table = table
        self._follow = follow
        self._targets = dict(zip(shown_names(targets), targets, strict=True))
        self._dataset = dataset
        self._pauses = pauses
        self._direct = Notifier(targets, pauses, self._note_direct)
        #: Events to be written when the database is back, and who has had which message of them.
        self._unwritten: list[Notice] = []
        self._had: list[tuple[str, str, str, int]] = []
        #: Names of events that were sent from memory: so is the message that they are over.
        self._names: set[str] = set()
        self._wakes = [asyncio.Event() for _ in targets]
        self._stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Messenger]:
        """Deliver in the background until the block ends; a delivery that has begun is finished."""
        async with self._direct.running():
            tasks = [
                asyncio.create_task(self._deliver_all(name, target, wake))
                for (name, target), wake in zip(self._targets.items(), self._wakes, strict=True)
                if self._follow
            ]
            try:
                yield self
            finally:
                self._stopping = True
                self._wake()
                if tasks:
                    await asyncio.wait(tasks, timeout=_LAST_DELIVERY)
                for task in tasks:
                    task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.gather(*tasks, return_exceptions=True)

    async def tell(self, event: Notice, *, sent: bool = True) -> bool:
        """Write an event, or that it is over, to the log; from there targets get it.

        Parameters
        ----------
        event : what to tell.
        sent : False to write it alone.

        Returns
        -------
        bool
            True if it is new: no process has written it before.
        """
        if not self._follow:
            self._send_from_memory(event, sent=sent)
            return True
        try:
            if event.id in self._names:
                raise StoreError("the event began while the database was away")
            async with asyncio.timeout(_WRITE):
                fresh = await self._write(event, sent=sent)
        except (StoreError, TimeoutError) as error:
            log.warning("event not written yet", id=event.id, kind=event.kind, why=str(error))
            self._send_from_memory(event, sent=sent)
            return True
        if fresh:
            log.warning(
                "event",
                id=event.id,
                kind=event.kind,
                ended=event.ended,
                message=event.sentence,
            )
            self._wake()
        return fresh

    def _send_from_memory(self, event: Notice, *, sent: bool) -> None:
        if sent:
            self._names.add(event.id)
            self._direct.send(event)
        self._unwritten = [*self._unwritten, event][-_MOST_UNWRITTEN:]

    async def flush(self) -> None:
        """Write what could not be written while the database was away.

        What a database that answers refuses, such as for want of rights, is dropped.

        Raises
        ------
        StoreUnavailable
            If it is still away.
        """
        while self._unwritten:
            event = self._unwritten[0]
            try:
                await self._write(event, sent=False)
            except StoreUnavailable:
                raise
            except StoreError as error:
                log.error("event not written", id=event.id, kind=event.kind, why=str(error))
            del self._unwritten[0]
        while self._had:
            try:
                await self._table.note_delivery(*self._had[0])
            except StoreUnavailable:
                raise
            except StoreError as error:
                log.error("delivery not written", id=self._had[0][0], why=str(error))
            del self._had[0]

    async def _write(self, event: Notice, *, sent: bool) -> bool:
        if event.ended is not None:
            return await self._table.close(event.id, event.ended)
        return await self._table.insert(
            event.id,
            category=event.category,
            kind=event.kind,
            symbols=event.symbols,
            session=event.session or market_day(event.began),
            sentence=event.sentence,
            began=event.began,
            lasting=event.lasting,
            slot=event.slot,
            figures=event.figures,
            topic=event.topic,
            quiet=event.quiet,
            sent=sent,
            node=event.node,
        )

    def _note_direct(self, event: Notice, target: Target, attempts: int) -> None:
        shown = next(name for name, other in self._targets.items() if other is target)
        state = "ended" if event.ended else "began"
        self._had.append((event.id, state, shown, attempts))

    def _wake(self) -> None:
        for wake in self._wakes:
            wake.set()

    async def _deliver_all(self, name: str, target: Target, wake: asyncio.Event) -> None:
        since: datetime | None = None
        away = False
        while not self._stopping:
            wake.clear()
            try:
                since = since or await self._table.now() - _RECENT
                message = await self._table.next_message(
                    name, since=since, patience=_PATIENCE, most=_MOST
                )
                away = False
                if message is not None:
                    await self._deliver(name, target, message)
                    continue
            except StoreError as error:
                if not away:
                    log.warning("messages wait for the database", target=name, why=str(error))
                away = True
            except Exception:
                log.exception("messages not delivered", target=name)
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), _POLL)

    async def _deliver(self, name: str, target: Target, message: Mapping[str, Any]) -> None:
        event = message_of(message, self._dataset)
        attempts = message["attempts"]
        failure = await target.deliver(event)
        pause = self._pauses[min(attempts, len(self._pauses)) - 1]
        if not failure:
            log.info("event delivered", id=event.id, target=name, attempts=attempts)
        elif attempts in (1, 5):
            log.warning("event not delivered yet", id=event.id, target=name, why=failure)
        while True:
            try:
                given_up = await self._table.settle(
                    event.id,
                    message["state"],
                    name,
                    failure=failure,
                    pause=timedelta(seconds=pause),
                    most_attempts=MOST_ATTEMPTS,
                )
            except StoreError:
                # What was delivered must not be forgotten, or it would be sent again.
                if self._stopping:
                    return
                await asyncio.sleep(_POLL)
                continue
            if given_up:
                log.error("event given up", id=event.id, target=name)
            return


def shown_names(targets: Sequence[Target]) -> list[str]:
    """Return a name for each target that shows no secret and tells it from the others.

    Parameters
    ----------
    targets : the targets.

    Returns
    -------
    list of str
        Scheme and host, with a number where several targets share them.
    """
    names: list[str] = []
    for target in targets:
        same = sum(1 for name in names if name.partition(" ")[0] == target.name)
        names.append(f"{target.name} ({same + 1})" if same else target.name)
    return names


def message_of(columns: Mapping[str, Any], dataset: str) -> Notice:
    """Return the message that an event of the log is to be told with.

    Parameters
    ----------
    columns : the event's columns; with ``state`` ``ended``, the message that it is over.
    dataset : the dataset of the log.

    Returns
    -------
    Notice
        The message.
    """
    over = columns.get("state") == "ended"
    ended = columns["ended_at"] if over else None
    return Notice(
        kind=columns["kind"],
        category=columns["category"],
        symbols=tuple(columns["symbols"]),
        began=columns["began_at"].astimezone(UTC),
        ended=ended and ended.astimezone(UTC),
        lasting=columns["lasting"],
        sentence=("Over: " if over else "") + columns["sentence"],
        dataset=dataset,
        node=columns["node"],
        session=columns["session"],
        slot=columns["slot"] and columns["slot"].astimezone(UTC),
        figures=columns["figures"],
        name=columns["id"],
    )
