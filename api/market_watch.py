"""Judge each stored sample by the alert rules, and send the market events that it causes.

Of several API processes one does this, the one that holds the watch's lock. It follows every
sampled symbol; nobody needs to have the page open. After a restart it reads the session from its
beginning. The same samples give the same events with the same names, and the alert log keeps one
entry a name, so that nothing is sent twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from storage.market.calendar import Session, market_day, session_on
from storage.market.clock import Clock
from storage.notify.messenger import Messenger
from storage.notify.notice import Notice
from storage.notify.rules import Rule
from storage.notify.rules_file import RulesFile
from storage.notify.session_events import SessionEvents
from storage.postgres.store import Store

log = structlog.get_logger()

#: An event that is noticed later than this, beyond its feed's delay, is written and not sent.
FRESH = timedelta(minutes=15)


@dataclass(slots=True)
class _Followed:
    events: SessionEvents
    #: The newest revision of the session that was read.
    revision: int = -1


class MarketWatch:
    """Follows today's sessions of one dataset by the rules of a file."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        messenger: Messenger,
        rules: RulesFile,
        *,
        dataset: str,
        node: str,
    ) -> None:
        """Prepare; nothing is read before ``look``.

        Parameters
        ----------
        store, clock : the dataset, and the time of its market.
        messenger : writes the events to the log, and delivers them.
        rules : the rules; they are read again when the file changes.
        dataset, node : which dataset, and which machine looks.
        """
        self._store, self._clock, self._messenger = store, clock, messenger
        self._rules = rules
        self._dataset, self._node = dataset, node
        self._session: Session | None = None
        self._followed: dict[str, _Followed] = {}
        #: Events of earlier slots are not sent: the rules were not in force then.
        self._since: datetime | None = None
        #: The rules that the samples are judged by, without their mutes.
        self._judged: tuple[Rule, ...] = ()
        #: Whether it has looked once: rules that are read later are new.
        self._began = False

    @property
    def problem(self) -> str:
        """Why the file of rules cannot be used; empty if it can."""
        return self._rules.problem

    @property
    def has_rules(self) -> bool:
        """Whether any rule is in force."""
        return bool(self._rules.rules)

    def forget(self) -> None:
        """Begin anew at the next look: another process has watched meanwhile."""
        self._followed = {}

    async def look(self) -> None:
        """Read what is new, and tell the events that it shows.

        Raises
        ------
        StoreError
            If the database is away; the next look reads the same samples again.
        """
        now = self._clock.now()
        if await self._rules.refresh():
            log.info("rules of alerts are read", rules=len(self._rules.rules))
        # A mute changes whom an event is sent to, and not what is an event.
        judged = tuple(replace(rule, muted_until=None) for rule in self._rules.rules)
        if judged != self._judged:
            if self._began:
                self._since = now
            self._judged, self._followed = judged, {}
        self._began = True
        session = session_on(market_day(now))
        if session != self._session:
            self._session, self._followed = session, {}
        if session is None or not self._rules.rules:
            return
        for head in await self._store.session_heads(session.day):
            symbol, source = head["symbol"], head["source"]
            followed = self._followed.get(symbol)
            if followed is None or followed.events.source != source:
                events = SessionEvents(
                    self._store,
                    self._rules.rules,
                    symbol,
                    session,
                    source,
                    dataset=self._dataset,
                )
                followed = self._followed[symbol] = _Followed(events)
            events = followed.events
            if head["revision"] > followed.revision:
                await self._tell(await events.read(), events, now)
                followed.revision = head["revision"]
            quoted = now - timedelta(seconds=events.delay_seconds)
            await self._tell(events.wait(quoted), events, now)

    async def _tell(self, notices: Sequence[Notice], events: SessionEvents, now: datetime) -> None:
        for event in notices:
            slot = event.slot or event.began
            delay = timedelta(seconds=events.delay_seconds)
            fresh = now - delay - slot <= FRESH
            known = self._since is None or slot + delay >= self._since
            muted = any(
                rule.is_muted(now)
                for rule in self._rules.rules
                if rule.name == event.figures.get("rule")
            )
            # The log says why nobody was told.
            why = {"muted": True} if muted else {}
            await self._messenger.tell(
                replace(
                    event,
                    dataset=self._dataset,
                    node=self._node,
                    figures={**event.figures, "feed": events.source, **why},
                ),
                sent=fresh and known and not muted,
            )
