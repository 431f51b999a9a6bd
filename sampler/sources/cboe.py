"""Cboe's free delayed quotes: every contract of a symbol in one JSON answer, 15 minutes old.

``Cboe`` fetches answers, politely; ``cboe_json`` turns one into a frame.
Time-outs, pacing and freshness are in the machine's seconds, never in market time.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from urllib.parse import quote

import httpx

from sampler.chain import Frame
from sampler.errors import ChainRefused, NoHistory
from sampler.sources import url
from sampler.sources.cboe_json import NAME, finite, parse_chain
from storage.errors import UsageError
from storage.market.calendar import Session
from storage.market.instruments import instrument_of
from storage.record.row import Reason

BASE = "https://cdn.cboe.com/api/global/delayed_quotes/options"
#: No answer is larger than this, unpacked; SPX has 11 MB. [bytes]
BODY_LIMIT = 64 << 20
#: From this size on, reading an answer takes over 20 ms and goes to a thread. [bytes]
THREAD_FROM = 2 << 20
#: The feed's own max-age is believed up to this. [s]
FRESH_LIMIT = 60.0
#: An answer that is about to expire is waited for: a poll on its edge must not lose its slot. [s]
EDGE = 1.0
#: The first wait before another attempt; it doubles, and a random part of up to half is off. [s]
BACK_OFF = 0.5


class Cboe:
    """The delayed quotes of cdn.cboe.com, or of a server that speaks its format."""

    name = NAME
    synthetic = False

    def __init__(
        self, base: str, *, delay_seconds: int, pace: float, timeout: float, budget: float
    ) -> None:
        self.base = base
        self.delay_seconds = delay_seconds
        #: Between the starts of two requests, whatever their symbols. [s]
        self.pace = pace
        #: For one attempt, and for all attempts at one frame. [s]
        self.timeout, self.budget = timeout, budget
        self.remote = not _is_loopback(httpx.URL(base).host)
        self._client: httpx.AsyncClient | None = None
        self._next_start = 0.0
        #: By symbol: when the last answer expires (monotonic), and what to ask "newer than" with.
        self._fresh_until: dict[str, float] = {}
        self._validators: dict[str, dict[str, str]] = {}

    @classmethod
    def open(cls, rest: str) -> Cboe:
        """From what follows ``cboe:``, e.g. ``http://127.0.0.1:8001/options?pace=0.5``.

        Raises
        ------
        UsageError
            For an unknown option, one out of bounds, or a base that is no http(s) URL.
        """
        base, options = url.split_options(rest, delay="900", pace="0.2", timeout="8", budget="12")
        try:
            parsed = httpx.URL(base or BASE)
        except httpx.InvalidURL as error:
            raise UsageError(f"cboe:{base}: {error}") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise UsageError(
                f"cboe:{base}: expected http(s)://host/path, or nothing for Cboe's own"
            )
        return cls(
            (base or BASE).rstrip("/"),
            delay_seconds=url.whole_option(options, "delay", 0, 86_400),
            pace=_seconds(options, "pace", 0.0, 10.0),
            timeout=_seconds(options, "timeout", 0.05, 60.0),
            budget=_seconds(options, "budget", 0.05, 120.0),
        )

    async def live(self, symbol: str, now: datetime) -> Frame:
        """The feed's newest frame, asked for no more often than the feed says it changes.

        Raises
        ------
        ChainRefused
            ``source_down``, ``bad_answer``, or ``unchanged`` when the feed has nothing newer than
            the last frame delivered.
        """
        left = self._fresh_until.get(symbol, 0.0) - time.monotonic()
        if left > EDGE:
            raise ChainRefused(
                Reason.UNCHANGED, f"{symbol}: cboe's answer holds for {left:.0f} s more"
            )
        await asyncio.sleep(max(left, 0.0))
        began, headers, body = await self._fetch(symbol)
        if body is None:
            self._fresh_until[symbol] = began + _freshness(headers)
            raise ChainRefused(Reason.UNCHANGED, f"{symbol}: cboe has nothing newer")

        def read() -> Frame:
            return parse_chain(body, symbol=symbol, now=now, delay_seconds=self.delay_seconds)

        frame = await asyncio.to_thread(read) if len(body) > THREAD_FROM else read()
        # Only now: an answer that made no frame must be asked for again, and in full.
        self._fresh_until[symbol] = began + _freshness(headers)
        given = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
        self._validators[symbol] = {
            ask: headers[tag] for ask, tag in given.items() if tag in headers
        }
        return frame

    def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """Nothing: the feed shows the present only.

        Raises
        ------
        NoHistory
            Always.
        """
        raise NoHistory(
            f"cboe: keeps no history, so none of {symbol} on {session.day}; "
            "backfill from parquet:, recorded: or synthetic:"
        )

    def newest(self, symbol: str) -> datetime | None:
        """None: what is newest is only known by asking."""
        return None

    async def close(self) -> None:
        """Let go of connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _fetch(self, symbol: str) -> tuple[float, httpx.Headers, bytes | None]:
        """When a request started (monotonic), its answer's headers, and its body; None for 304.

        Raises
        ------
        ChainRefused
            ``source_down`` when the budget is used up or the answer is an error that stays;
            ``bad_answer`` for a body that cannot be unpacked or is too large.
        """
        # The feed files indexes under a leading underscore; another symbol can be named with it.
        name = f"_{symbol}" if instrument_of(symbol).index else symbol
        where = f"{self.base}/{quote(name, safe='')}.json"
        validators = self._validators.get(symbol, {})
        client = self._connections()
        end = time.monotonic() + self.budget
        attempt = 0
        while True:
            pause = BACK_OFF * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311
            attempt += 1
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    began = await self._turn()
                    async with (
                        asyncio.timeout(self.timeout),
                        client.stream("GET", where, headers=validators) as answer,
                    ):
                        status = answer.status_code
                        if status == 200:
                            return began, answer.headers, await _body(answer, symbol)
                        if status == 304 and validators:
                            await answer.aread()  # or the connection would not be used again
                            return began, answer.headers, None
                        if status != 429 and status < 500:
                            why = "has no such symbol" if status in (403, 404) else "refused"
                            raise ChainRefused(
                                Reason.SOURCE_DOWN, f"{symbol}: cboe {why} (answer {status})"
                            )
                        fault = f"answered {status}"
                        pause = max(pause, _retry_after(answer.headers))
            except (TimeoutError, httpx.TimeoutException):
                fault = "did not answer in time"
            except httpx.TransportError as error:
                fault = f"cannot be reached: {str(error) or type(error).__name__}"
            if time.monotonic() + pause >= end:
                raise ChainRefused(
                    Reason.SOURCE_DOWN,
                    f"{symbol}: cboe {fault} (attempt {attempt}, budget {self.budget:g} s)",
                )
            await asyncio.sleep(pause)

    async def _turn(self) -> float:
        """Wait until the pace lets another request start; the moment (monotonic) it may."""
        start = max(time.monotonic(), self._next_start)
        self._next_start = start + self.pace
        await asyncio.sleep(start - time.monotonic())
        return start

    def _connections(self) -> httpx.AsyncClient:
        # Not in __init__: a source may be opened where no loop runs yet.
        if self._client is None:
            try:
                ours = version("zerodte-flow")
            except PackageNotFoundError:
                ours = "0"
            self._client = httpx.AsyncClient(
                headers={
                    "User-Agent": f"zerodte-flow/{ours} (+open 0DTE flow series; "
                    "self-hosted sampler)",
                    "Accept": "application/json",
                    "Accept-Encoding": "gzip",
                },
                timeout=self.timeout,
                # Longer than the grid's 30 s, so that the next poll finds its connection open.
                limits=httpx.Limits(max_connections=8, keepalive_expiry=90.0),
                verify=self.base.startswith("https:"),  # plain http loads no certificates
                trust_env=self.remote,  # a proxy would not find our loopback
            )
        return self._client


async def _body(answer: httpx.Response, symbol: str) -> bytes:
    """The body, unpacked piece by piece: a small answer that unpacks to gigabytes is cut short.

    Raises
    ------
    ChainRefused
        ``bad_answer`` for more than ``BODY_LIMIT`` bytes, for gzip that is broken, and for an
        encoding that was not asked for.
    """

    def bad(what: str) -> ChainRefused:
        return ChainRefused(Reason.BAD_ANSWER, f"{symbol}: cboe answered {what}")

    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise bad(f"in the encoding {encoding[:20]!r}, which was not asked for")
    gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    body = bytearray()
    try:
        async for raw in answer.aiter_raw():
            body += raw if gzip is None else gzip.decompress(raw, BODY_LIMIT + 1 - len(body))
            if len(body) > BODY_LIMIT:
                raise bad(f"over {BODY_LIMIT:,} bytes")
    except zlib.error as error:
        raise bad(f"broken gzip: {error}") from error
    if gzip is not None and not gzip.eof:
        raise bad("broken gzip: it ends early")
    return bytes(body)


def _freshness(headers: Mapping[str, str]) -> float:
    """Seconds from the start of a request for which the feed says that its answer holds."""
    found = re.search(r"\bmax-age=(\d+)", headers.get("Cache-Control", ""))
    age = headers.get("Age", "")
    left = float(found[1] if found else 0) - float(age if age.isdecimal() else 0)
    return min(max(left, 0.0), FRESH_LIMIT)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that an answer asks to wait: a number, or until a date; 0 without a readable one."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isascii() and asked.isdecimal():
        return float(asked)
    try:
        until = parsedate_to_datetime(asked)
        now = parsedate_to_datetime(headers.get("Date", ""))
        return max((until - now).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return 0.0


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(options: dict[str, str], name: str, low: float, high: float) -> float:
    """An option that is a number of seconds within bounds, or ``UsageError``."""
    seconds = finite(options[name])
    if not low <= seconds <= high:
        raise UsageError(
            f"source option {name}={options[name]!r} is not a number of seconds {low:g}-{high:g}"
        )
    return seconds
