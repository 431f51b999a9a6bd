"""Tradier's quotes, real-time with an account: ``tradier:``; 15 minutes late: ``tradier:sandbox``.

One request a symbol and slot for its chain of today, and one a slot for the prices of all symbols;
later expirations beside the slots, with what the allowance leaves over. With ``?stream=yes`` the
event stream tells each trade's side. The token is ``FLOW_TRADIER_TOKEN``.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import quote, urlencode

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources import url
from sampler.sources.http import HttpClient, Status, base_of, retry_after, seconds_option
from sampler.sources.json_fields import finite, moment_of
from sampler.sources.later_expiries import DEFAULT, LaterExpiries, LaterExpiry, expiries_option
from sampler.sources.live_only import LiveOnly
from sampler.sources.polling import Polling
from sampler.sources.tradier.parse import (
    NAME,
    UnderlyingQuote,
    parse_expirations,
    parse_tradier_chain,
    parse_tradier_quotes,
    symbol_letters,
)
from sampler.sources.tradier.stream import TradierStream
from sampler.sources.websocket import require_websockets
from storage.config.vendor_keys import VendorKeys
from storage.errors import UsageError
from storage.market.calendar import closed_day_kind, market_day, session_on
from storage.record.row import Reason

PRODUCTION = "https://api.tradier.com/v1"
SANDBOX = "https://sandbox.tradier.com/v1"
#: How far the sandbox's quotes lie behind. [s]
SANDBOX_DELAY = 900
#: Symbols of a slot that come within so long share one request for their prices. [s]
GATHER = 0.1
#: A price is shared for so long, then it is asked for anew. [s]
SHARED = 5.0
#: How long a slot waits for the event stream. [s]
STREAM_TIMEOUT = 3.0
#: Requests a minute of a token.
ALLOWED, SANDBOX_ALLOWED = 120, 60
#: The allowance is counted by the minute, so no pause for it takes longer than this. [s]
MINUTE = 60.0
#: What Tradier means by a status.
STATUSES = {
    400: Status(Reason.SOURCE_DOWN, "does not accept the request, or has no such symbol"),
    401: Status(
        Reason.SOURCE_DOWN, "refuses the token: it is not valid, or not for this environment"
    ),
    403: Status(
        Reason.SOURCE_DOWN, "forbids this: the account has no market data, or a firewall answers"
    ),
    429: Status(Reason.SOURCE_DOWN, "has no requests left in this minute", again=True),
}
NO_QUOTE = UnderlyingQuote(math.nan, None)


@dataclass(slots=True)
class SpotBatch:
    """One request for the prices of many symbols, shared by all that wait for it."""

    #: Symbols that have joined; more may join until the request is sent.
    symbols: set[str]
    #: When it was begun (monotonic). [s]
    began: float
    sent: bool = False
    #: Symbols that have taken their price: one that comes again wants a newer one.
    taken: set[str] = field(default_factory=set)
    task: asyncio.Task[dict[str, UnderlyingQuote]] | None = None


class Tradier(LiveOnly):
    """Tradier's market data, or a server that speaks its format."""

    name = NAME
    facts = (
        "real-time quotes, 15 minutes late in the sandbox; each trade's side with ?stream=yes;"
        " no past sessions"
    )
    synthetic = False

    def __init__(
        self,
        base: str,
        token: str,
        *,
        delay_seconds: int,
        pace: float,
        timeout: float,
        budget: float,
        expiries: int,
        streams: bool = False,
    ) -> None:
        self.delay_seconds = delay_seconds
        self.http = HttpClient(
            "tradier",
            base,
            pace=pace,
            timeout=timeout,
            budget=budget,
            # Without Accept the answers are XML.
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            statuses=STATUSES,
            pause_asked=allowance_pause,
        )
        self.remote = self.http.remote
        allowed = SANDBOX_ALLOWED if base == SANDBOX else ALLOWED
        self.polling = Polling(
            per_symbol=1, shared=1, plan=allowed, pace=pace, budget=budget, later=expiries
        )
        self._later = LaterExpiries(
            NAME,
            per_symbol=expiries,
            polling=self.polling,
            list_expiries=self._listed,
            fetch_expiry=self._expiry,
        )
        self._batch: SpotBatch | None = None
        #: What signs each trade, where it is asked for.
        self._stream: TradierStream | None = None
        if streams:
            self._stream = TradierStream(self.http, production=PRODUCTION, timeout=STREAM_TIMEOUT)

    @classmethod
    def open(cls, rest: str, keys: VendorKeys) -> Tradier:
        """Open what follows ``tradier:``, e.g. ``sandbox`` or ``http://127.0.0.1:8001/v1?pace=0``.

        Parameters
        ----------
        rest : nothing for the real-time service, ``sandbox``, or a base address; then the options
            ``delay``, ``pace``, ``timeout`` and ``budget``, each in seconds; ``expiries``: how many
            later expirations of a symbol are asked for in a slot, at most; ``stream``: ``yes`` for
            each trade's side by the event stream.
        keys : has ``FLOW_TRADIER_TOKEN``.

        Returns
        -------
        Tradier
            The source. Nothing has been fetched yet.

        Raises
        ------
        UsageError
            Without a token or the WebSocket library, for an unknown option, one out of bounds, a
            stream beside delayed chains, or a base that is no URL.
        """
        address, options = url.split_options(
            rest,
            delay="",
            pace="0.1",
            timeout="8",
            budget="12",
            expiries=str(DEFAULT),
            stream="no",
        )
        base = base_of(NAME, SANDBOX if address == "sandbox" else address, PRODUCTION, keyed=True)
        if not options["delay"]:
            options["delay"] = str(SANDBOX_DELAY if base == SANDBOX else 0)
        delay = url.whole_option(options, "delay", 0, 86_400)
        streams = url.yes_option(options, "stream")
        if streams and delay:
            raise UsageError("tradier: delayed chains have no event stream; leave out stream=yes")
        if streams:
            require_websockets("tradier:?stream=yes")
        return cls(
            base,
            keys.need("FLOW_TRADIER_TOKEN"),
            delay_seconds=delay,
            streams=streams,
            pace=seconds_option(options, "pace", 0.0, 10.0),
            timeout=seconds_option(options, "timeout", 0.05, 60.0),
            budget=seconds_option(options, "budget", 0.05, 120.0),
            expiries=expiries_option(options),
        )

    async def live(self, symbol: str, now: datetime) -> Frame:
        """The chain of today's expiry as it is quoted now, with the underlying's price.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            Every contract that expires on the day of the quotes, and those of later days that have
            been fetched beside the slots. Its spot is NaN where Tradier does not give one.

        Raises
        ------
        ChainRefused
            ``source_down``, ``bad_answer``, ``no_zero_dte`` with the next expiry, or
            ``market_closed`` on a day without a session, when nothing is asked.
        """
        day = market_day(now - timedelta(seconds=self.delay_seconds))
        session = session_on(day)
        if session is None:
            raise ChainRefused(
                Reason.MARKET_CLOSED,
                f"{symbol}: {day} has no session: it is a {closed_day_kind(day)}",
            )
        if self._stream is not None:
            self._stream.wake(now)
        spot = asyncio.create_task(self._spot(symbol, now))
        try:
            body = await self._chain(symbol, day, now)
            frame = parse_tradier_chain(
                body, symbol=symbol, now=now, delay_seconds=self.delay_seconds, spot=await spot
            )
        finally:
            spot.cancel()
        if frame is None:
            raise await self._no_expiry(symbol, day, now)
        if self._stream is not None:
            frame = await self._stream.with_sides(frame, session)
        return self._later.complete(frame)

    async def close(self) -> None:
        """Close the connections."""
        await self._later.close()
        batch, self._batch = self._batch, None
        if batch is not None and batch.task is not None:
            batch.task.cancel()
        if self._stream is not None:
            await self._stream.close()
        await super().close()

    async def _chain(self, symbol: str, day: date, now: datetime) -> bytes:
        query = {"symbol": symbol, "expiration": day.isoformat(), "greeks": "false"}
        path = f"/markets/options/chains?{urlencode(query)}"
        return (await self.http.get(path, symbol=symbol, now=now)).body or b""

    async def _expiry(self, symbol: str, expiry: LaterExpiry, now: datetime) -> Frame | None:
        """The chain of a later expiration. What it does without is the underlying's price."""
        body = await self._chain(symbol, expiry[0], now)
        return parse_tradier_chain(
            body, symbol=symbol, now=now, delay_seconds=self.delay_seconds, spot=NO_QUOTE
        )

    async def _listed(self, symbol: str, day: date, now: datetime) -> list[LaterExpiry]:
        return [(other, "") for other in await self._expirations(symbol, now) if other > day]

    async def _spot(self, symbol: str, now: datetime) -> UnderlyingQuote:
        """The underlying's price, from the request that this slot's symbols share.

        A price that cannot be had is no reason to lose the chain: put-call parity gives one, and
        the row says so.
        """
        batch = self._joined(symbol, now)
        assert batch.task is not None
        try:
            # If this symbol's slot is cancelled, the request goes on for the other symbols.
            quotes = await asyncio.shield(batch.task)
        except ChainRefused:
            return NO_QUOTE
        return quotes.get(symbol_letters(symbol), NO_QUOTE)

    def _joined(self, symbol: str, now: datetime) -> SpotBatch:
        """The batch that a symbol is in: the newest, or a new one."""
        batch, started = self._batch, time.monotonic()
        if (
            batch is None
            or symbol in batch.taken
            or started - batch.began > SHARED
            or (batch.sent and symbol not in batch.symbols)
        ):
            # Symbols of the last slot will come again: a late one then finds its price there.
            again = batch.taken if batch is not None else set()
            batch = self._batch = SpotBatch({symbol, *again}, started)
            batch.task = asyncio.create_task(self._prices(batch, symbol, now))
            batch.task.add_done_callback(_look)
        batch.symbols.add(symbol)
        batch.taken.add(symbol)
        return batch

    async def _prices(
        self, batch: SpotBatch, symbol: str, now: datetime
    ) -> dict[str, UnderlyingQuote]:
        await asyncio.sleep(GATHER)
        batch.sent = True
        symbols = quote(",".join(sorted(batch.symbols)), safe=",")
        answer = await self.http.get(
            f"/markets/quotes?symbols={symbols}&greeks=false", symbol=symbol, now=now
        )
        return parse_tradier_quotes(answer.body or b"", symbol=symbol)

    async def _no_expiry(self, symbol: str, day: date, now: datetime) -> ChainRefused:
        """Say why an answer lists no contract: nothing expires today, or nothing ever does."""
        days = await self._expirations(symbol, now)
        if not days:
            return ChainRefused(Reason.SOURCE_DOWN, f"{symbol}: tradier has no options of it")
        if day in days:
            return ChainRefused(
                Reason.BAD_ANSWER,
                f"{symbol}: tradier answered no contract for {day}, which it lists as an expiry",
            )
        upcoming = next((expiry for expiry in days if expiry > day), None)
        then = f"; next expiry {upcoming}" if upcoming else ""
        return ChainRefused(
            Reason.NO_ZERO_DTE,
            f"{symbol}: nothing expires on {day}{then}",
            next_expiry=upcoming,
        )

    async def _expirations(self, symbol: str, now: datetime) -> list[date]:
        query = {"symbol": symbol, "includeAllRoots": "true"}
        path = f"/markets/options/expirations?{urlencode(query)}"
        answer = await self.http.get(path, symbol=symbol, now=now)
        return parse_expirations(answer.body or b"", symbol=symbol)


def allowance_pause(headers: Mapping[str, str], now: datetime) -> float:
    """Read from an answer's headers how long no request is allowed.

    Parameters
    ----------
    headers : the answer's headers; ``X-Ratelimit-Available`` is what is left of the minute's
        allowance, ``X-Ratelimit-Expiry`` the unix time in milliseconds at which a new one begins.
    now : the caller's time, UTC.

    Returns
    -------
    float
        Seconds; 0 while requests are left, or where the headers do not say.
    """
    if not finite(headers.get("X-Ratelimit-Available")) <= 0:
        return 0.0
    ends = moment_of(finite(headers.get("X-Ratelimit-Expiry")) / 1000 + 1)
    if ends is None:
        return MINUTE
    # Read as a ``Retry-After`` that is a date: by the answer's own clock, not by ours.
    until = {"Retry-After": format_datetime(ends, usegmt=True), "Date": headers.get("Date", "")}
    return min(retry_after(until, now), MINUTE)


def _look(task: asyncio.Task[dict[str, UnderlyingQuote]]) -> None:
    """Look at an error that nobody waits for any more, so that asyncio does not report it."""
    if not task.cancelled():
        task.exception()
