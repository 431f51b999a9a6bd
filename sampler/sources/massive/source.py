"""Massive's (Polygon.io's) snapshot of a whole chain, real-time or delayed by plan: ``massive:``.

A chain of today comes in pages of 250 contracts, one after the other; those of later expirations
are asked for beside the slots. The key is ``FLOW_MASSIVE_KEY``. ``massive:PATH`` is a folder of its
flat files of option trades and quotes: past sessions.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from urllib.parse import quote, urlencode

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources import url
from sampler.sources.http import HttpAnswer, HttpClient, Status, base_of, seconds_option
from sampler.sources.later_expiries import DEFAULT, LaterExpiries, LaterExpiry, expiries_option
from sampler.sources.live_only import LiveOnly
from sampler.sources.massive.flat_files import MassiveFlatFiles
from sampler.sources.massive.parse import (
    NAME,
    SnapshotPage,
    massive_ticker,
    not_in_plan,
    parse_massive_chain,
    parse_next_expiry,
    parse_snapshot_page,
)
from sampler.sources.polling import Polling
from sampler.sources.protocol import Source
from storage.config.vendor_keys import VendorKeys
from storage.market.calendar import closed_day_kind, market_day, session_on
from storage.record.row import Reason

BASE = "https://api.massive.com"
#: Contracts a page, the most that Massive gives.
PAGE_SIZE = 250
#: A chain of SPX has two or three; most have one. [count]
USUAL_PAGES = 3
#: No chain of one expiry has more pages. [count]
PAGE_LIMIT = 40
#: No underlying has more expirations. [count]
EXPIRY_LIMIT = 100
#: What Massive means by a status. What a 403 means stands in its body.
STATUSES = {
    401: Status(Reason.SOURCE_DOWN, "refuses the key"),
    413: Status(Reason.SOURCE_DOWN, "answered 413", again=True),
    429: Status(Reason.SOURCE_DOWN, "allows no more requests in this minute", again=True),
    499: Status(Reason.SOURCE_DOWN, "answered 499", again=True),
}


class Massive(LiveOnly):
    """Massive's option snapshots, or a server that speaks their format."""

    name = NAME
    facts = "quotes in real time or 15 minutes late, by plan; past sessions from flat files"
    synthetic = False

    def __init__(
        self,
        base: str,
        key: str,
        *,
        delay_seconds: int,
        pace: float,
        timeout: float,
        budget: float,
        expiries: int,
    ) -> None:
        self.delay_seconds = delay_seconds
        self.http = HttpClient(
            NAME,
            base,
            pace=pace,
            timeout=timeout,
            budget=budget,
            headers={"Authorization": f"Bearer {key}"},
            statuses=STATUSES,
        )
        self.remote = self.http.remote
        self.polling = Polling(
            per_symbol=USUAL_PAGES, pace=pace, budget=budget, later=USUAL_PAGES * expiries
        )
        self._later = LaterExpiries(
            NAME,
            per_symbol=expiries,
            polling=self.polling,
            list_expiries=self._listed,
            fetch_expiry=self._expiry,
        )

    @classmethod
    def open(cls, rest: str, keys: VendorKeys) -> Source:
        """Open what follows ``massive:``, e.g. ``http://127.0.0.1:8001?pace=0``.

        Parameters
        ----------
        rest : a file or folder of flat files; its name has a slash. Or a base address, or nothing
            for Massive's own, and the options ``delay``, ``pace``, ``timeout`` and ``budget``, each
            in seconds. A delayed plan needs ``delay=900``: slots are due that much later.
            ``expiries`` is how many later expirations of a symbol are asked for in a slot, at most.
        keys : has ``FLOW_MASSIVE_KEY``.

        Returns
        -------
        Massive or MassiveFlatFiles
            The source. Nothing has been fetched yet.

        Raises
        ------
        UsageError
            If there is nothing at the path. For snapshots: without a key, for an unknown option,
            one out of bounds, or a base that is no URL.
        """
        if "/" in rest.partition("?")[0] and not rest.startswith(("http:", "https:")):
            path, _ = url.split_options(rest)
            return MassiveFlatFiles(url.existing_path(path, NAME))
        address, options = url.split_options(
            rest, delay="0", pace="0.05", timeout="8", budget="12", expiries=str(DEFAULT)
        )
        return cls(
            base_of(NAME, address, BASE, keyed=True),
            keys.need("FLOW_MASSIVE_KEY"),
            delay_seconds=url.whole_option(options, "delay", 0, 86_400),
            pace=seconds_option(options, "pace", 0.0, 10.0),
            timeout=seconds_option(options, "timeout", 0.05, 60.0),
            budget=seconds_option(options, "budget", 0.05, 120.0),
            expiries=expiries_option(options),
        )

    async def live(self, symbol: str, now: datetime) -> Frame:
        """The chain of today's expiry, from all pages of its snapshot.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            Every contract that expires today, and those of later days that have been fetched beside
            the slots. Its delay is what the quotes say of themselves.

        Raises
        ------
        ChainRefused
            ``source_down``, ``bad_answer``, ``no_zero_dte`` with the next expiry, or
            ``market_closed`` on a day without a session, when nothing is asked. A page that fails
            costs the whole chain: contracts that are missing would look delisted.
        """
        day = market_day(now)
        if session_on(day) is None:
            raise ChainRefused(
                Reason.MARKET_CLOSED,
                f"{symbol}: {day} has no session: it is a {closed_day_kind(day)}",
            )
        frame = await self._snapshot(symbol, day, now)
        if frame is None:
            raise await self._no_expiry(symbol, day, now)
        return self._later.complete(frame)

    async def close(self) -> None:
        """Close the connections."""
        await self._later.close()
        await super().close()

    async def _expiry(self, symbol: str, expiry: LaterExpiry, now: datetime) -> Frame | None:
        return await self._snapshot(symbol, expiry[0], now)

    async def _listed(self, symbol: str, day: date, now: datetime) -> list[LaterExpiry]:
        """The reference lists contracts, not days: each request names the next day."""
        expiries: list[LaterExpiry] = []
        while len(expiries) < EXPIRY_LIMIT:
            upcoming = await self._next_expiry(symbol, day + timedelta(days=1), now)
            if upcoming is None or upcoming <= day:
                break
            day = upcoming
            expiries.append((day, ""))
        return expiries

    async def _snapshot(self, symbol: str, day: date, now: datetime) -> Frame | None:
        """All pages of one expiration; None if it has no contract."""
        query = urlencode({"expiration_date": day.isoformat(), "limit": PAGE_SIZE})
        path: str | None = f"/v3/snapshot/options/{quote(massive_ticker(symbol), safe=':')}?{query}"
        pages: list[SnapshotPage] = []
        started: list[float] = []
        while path is not None:
            if len(pages) == PAGE_LIMIT:
                raise ChainRefused(
                    Reason.BAD_ANSWER, f"{symbol}: massive has over {PAGE_LIMIT} pages of one day"
                )
            answer = await self._get(path, symbol, now)
            body = answer.body or b""
            pages.append(parse_snapshot_page(body, symbol=symbol, base=self.http.base))
            started.append(answer.started)
            path = pages[-1].next_path
        return parse_massive_chain(
            pages,
            symbol=symbol,
            now=now,
            delay_seconds=self.delay_seconds,
            pages_seconds=round(started[-1] - started[0], 3),
        )

    async def _get(self, path: str, symbol: str, now: datetime) -> HttpAnswer:
        """An answer; ``ChainRefused`` with the plan's name where the plan does not have it."""
        answer = await self.http.get(path, symbol=symbol, now=now, accept=frozenset({403}))
        body = answer.body or b""
        if answer.status == 403:
            if b"NOT_AUTHORIZED" in body:
                raise not_in_plan(symbol)
            page = b"<html" in body[:512].lower()
            words = (
                "has blocked this address: a firewall's page came in place of an answer"
                if page
                else "forbids this request"
            )
            raise ChainRefused(Reason.SOURCE_DOWN, f"{symbol}: massive {words} (answer 403)")
        return answer

    async def _no_expiry(self, symbol: str, day: date, now: datetime) -> ChainRefused:
        """Say why a snapshot is empty: nothing expires today, or nothing ever does."""
        upcoming = await self._next_expiry(symbol, day, now)
        if upcoming is None:
            return ChainRefused(Reason.SOURCE_DOWN, f"{symbol}: massive has no options of it")
        if upcoming == day:
            return ChainRefused(
                Reason.BAD_ANSWER,
                f"{symbol}: massive answered no contract for {day}, which it lists as an expiry",
            )
        return ChainRefused(
            Reason.NO_ZERO_DTE,
            f"{symbol}: nothing expires on {day}; next expiry {upcoming}",
            next_expiry=upcoming,
        )

    async def _next_expiry(self, symbol: str, first: date, now: datetime) -> date | None:
        """The first expiration on a day or after it."""
        query = {
            "underlying_ticker": symbol,
            "expiration_date.gte": first.isoformat(),
            "sort": "expiration_date",
            "order": "asc",
            "limit": 1,
        }
        answer = await self._get(f"/v3/reference/options/contracts?{urlencode(query)}", symbol, now)
        return parse_next_expiry(answer.body or b"", symbol=symbol)
