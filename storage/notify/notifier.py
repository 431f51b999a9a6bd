"""Deliver events to every target from memory, in order, until each has taken them.

It serves while the database is away; else ``messenger`` delivers what the log of alerts has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import structlog

from storage.notify.notice import Notice
from storage.notify.target import Target

log = structlog.get_logger()

#: Pauses between attempts; the last one is repeated. [s]
PAUSES = (1.0, 5.0, 15.0, 60.0, 300.0)
#: After so many attempts an event is given up: some twelve hours.
MOST_ATTEMPTS = 150
#: So many events may wait for a target; the oldest is dropped for the next.
_MOST_WAITING = 200


class Notifier:
    """Sends each event to each target once, and tries again until it is taken."""

    def __init__(
        self,
        targets: Sequence[Target],
        pauses: Sequence[float] = PAUSES,
        on_delivery: Callable[[Notice, Target, int], None] | None = None,
    ) -> None:
        """Prepare; nothing is sent before ``running``.

        Parameters
        ----------
        targets : where events go.
        pauses : seconds between attempts; the last one is repeated.
        on_delivery : is called with an event, a target that has taken it, and how many attempts
            that took.
        """
        self._on_delivery = on_delivery
        self._targets = targets
        self._pauses = pauses
        self._waiting: dict[str, asyncio.Queue[Notice]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Notifier]:
        """Deliver events in the background until the block ends."""
        tasks = []
        for number, target in enumerate(self._targets):
            queue = self._waiting[f"{number}"] = asyncio.Queue(_MOST_WAITING)
            tasks.append(asyncio.create_task(self._deliver_all(target, queue)))
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    def send(self, event: Notice) -> None:
        """Hand an event over; it is delivered in the background.

        Parameters
        ----------
        event : what to tell.
        """
        log.warning(
            "event", id=event.id, kind=event.kind, ended=event.ended, message=event.sentence
        )
        for queue in self._waiting.values():
            if queue.full():
                dropped = queue.get_nowait()
                log.error("event dropped: too many wait", id=dropped.id, kind=dropped.kind)
            queue.put_nowait(event)

    async def _deliver_all(self, target: Target, queue: asyncio.Queue[Notice]) -> None:
        while True:
            event = await queue.get()
            attempts = await deliver(target, event, pauses=self._pauses, most=MOST_ATTEMPTS)
            if attempts and self._on_delivery is not None:
                self._on_delivery(event, target, attempts)


async def deliver(
    target: Target, event: Notice, *, pauses: Sequence[float], most: int | None = None
) -> int:
    """Deliver an event to a target, and try again until it is taken.

    Parameters
    ----------
    target : where it goes.
    event : what to tell.
    pauses : seconds between attempts.
    most : how many attempts are made; the last pause is repeated. None: one more than pauses.

    Returns
    -------
    int
        How many attempts it took; 0 if it was given up.
    """
    last = len(pauses) if most is None else most - 1
    for attempt in range(last + 1):
        failure = await target.deliver(event)
        if not failure:
            log.info("event delivered", id=event.id, target=target.name, attempts=attempt + 1)
            return attempt + 1
        if attempt in (0, 4):
            log.warning("event not delivered yet", id=event.id, target=target.name, why=failure)
        if attempt < last:
            await asyncio.sleep(pauses[min(attempt, len(pauses) - 1)])
    log.error("event given up", id=event.id, target=target.name)
    return 0
