"""One HTTP client for every source that polls a vendor: polite, bounded, and plain about errors.

A source builds addresses and reads bodies; what lies between is here. Requests to one host start
``pace`` apart and share connections. An error that may pass is tried again within a budget of
time. A host that asks for a pause (``Retry-After``) gets it from all symbols, in later slots too.
Bodies are unpacked under a limit. Every error that stays is a ``ChainRefused`` with a sentence,
which never contains an address, a header or a key.

Time-outs and pauses are in the machine's seconds, never in market time.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address

import httpx

from sampler.errors import ChainRefused
from storage.errors import UsageError
from storage.record.row import Reason

#: No body is larger than this, unpacked; Cboe's SPX has 11 MB. [bytes]
BODY_LIMIT = 64 << 20
#: How much of an error's body is read, to tell what kind of error it is. [bytes]
ERROR_BODY_LIMIT = 16 << 10
#: A host that asks for a longer pause is asked again after this one. [s]
PAUSE_LIMIT = 600.0
#: The first wait before another attempt; it doubles, and a random part of up to half is off. [s]
BACK_OFF = 0.5
#: Statuses after which the same request is tried again: time-out, too many requests, and 5xx.
PASSING = frozenset({408, 425, 429, *range(500, 600)})
#: What a status means that is not tried again. What a 403 means depends on its body. Each of them
#: is the gap reason ``source_down``.
MEANINGS = {
    401: "refuses the key, or asks for one",
    402: "does not include this in the plan",
    404: "has no such symbol",
}


@dataclass(frozen=True, slots=True)
class Status:
    """What a vendor means by a status that HTTP does not define, or defines otherwise."""

    reason: Reason
    #: What follows the symbol's and the vendor's name: "has no data for this day".
    words: str
    #: Whether the same request may be answered later, within the budget.
    again: bool = False


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer that a source can read."""

    #: When its request started, on the clock of ``time.monotonic``. [s]
    started: float
    headers: httpx.Headers
    #: Unpacked; None for 304, where the vendor has nothing newer.
    body: bytes | None
    status: int = 200


class HttpClient:
    """Requests to one vendor's host, for any number of symbols at the same time."""

    def __init__(
        self,
        vendor: str,
        base: str,
        *,
        pace: float,
        timeout: float,
        budget: float,
        headers: Mapping[str, str] | None = None,
        unknown_symbol: Callable[[bytes], bool] | None = None,
        statuses: Mapping[int, Status] | None = None,
        pause_asked: Callable[[Mapping[str, str], datetime], float] | None = None,
        connections: int = 8,
    ) -> None:
        """Set up a client without touching the network or an event loop.

        Parameters
        ----------
        vendor : the vendor's name, as it stands in sentences.
        base : the address that all paths follow, such as ``https://host/path``.
        pace : time between the starts of two requests, whatever their symbols. [s]
        timeout : time limit of one attempt. [s]
        budget : time limit of all attempts at one answer, with the waits between them. [s]
        headers : sent with every request, such as a key. They appear in no error.
        unknown_symbol : tells from the start of a 403's body whether the vendor means "no such
            symbol".
        statuses : what the vendor means by a status, where that is not what HTTP says.
        pause_asked : reads from the headers of any answer, a good one too, how long the vendor
            wants no request [s]; the time is the caller's. ``Retry-After`` is obeyed anyway.
        connections : the most requests that are under way at the same time. [count]
        """
        self.vendor, self.base = vendor, base
        self.pace, self.timeout, self.budget = pace, timeout, budget
        #: Whether the host is another machine than this one.
        self.remote = not is_loopback(httpx.URL(base).host)
        self._headers = dict(headers or {})
        self._unknown_symbol = unknown_symbol
        self._statuses = dict(statuses or {})
        self._pause_asked = pause_asked
        self._most_connections = connections
        self._client: httpx.AsyncClient | None = None
        #: When the pace allows the next request to start (monotonic). [s]
        self._next_start = 0.0
        #: Until when the host has asked for a pause (monotonic) [s], and the status that asked.
        self._pause_until, self._pause_status = 0.0, 0
        #: Symbols that the host has served, and symbols whose newest answer was 403.
        self._served: set[str] = set()
        self._forbidden: set[str] = set()

    async def get(
        self,
        path: str,
        *,
        symbol: str,
        now: datetime,
        validators: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        accept: frozenset[int] = frozenset(),
    ) -> HttpAnswer:
        """Fetch a path, or post a form to it.

        Parameters
        ----------
        path : what follows the base, with its leading slash.
        symbol : the symbol that the answer is about; errors name it.
        now : the caller's time, UTC. A date in ``Retry-After`` is compared with it where the answer
            has no ``Date``, and the end of a pause is stated in it.
        validators : ``If-None-Match`` or ``If-Modified-Since``. Only with one of them can a 304 be
            told from an error.
        headers : of this request alone, such as a key that changes. They appear in no error.
        form : fields to post; None for a GET.
        accept : statuses beside 200 whose body the caller reads.

        Returns
        -------
        HttpAnswer
            The answer of status 200, 304, or one that is accepted.

        Raises
        ------
        ChainRefused
            ``source_down`` when the budget is used up, the host has asked for a longer pause, or
            the answer is an error that stays; ``bad_answer`` for a body that cannot be unpacked
            or is too large; the reason of ``statuses`` for a status that stands there.
        """
        client = self._connections()
        began = time.monotonic()
        end = began + self.budget
        attempt = 0
        reason, fault = Reason.SOURCE_DOWN, ""
        while True:
            wait = BACK_OFF * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311
            attempt += 1
            self._require_time(symbol, began, now)
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    started = await self._turn(symbol, began, now)
                    async with (
                        asyncio.timeout(self.timeout),
                        client.stream(
                            "GET" if form is None else "POST",
                            self.base + path,
                            headers={**(validators or {}), **(headers or {})},
                            data=form,
                        ) as response,
                    ):
                        status = response.status_code
                        self._forbidden.discard(symbol)
                        if self._pause_asked is not None:
                            asked_pause = self._pause_asked(response.headers, now)
                            if asked_pause > 0:
                                self._pause(asked_pause, status)
                        if status == 200 or status in accept:
                            body = await self._body(response, symbol)
                            self._served.add(symbol)
                            return HttpAnswer(started, response.headers, body, status)
                        if status == 304 and validators:
                            await response.aread()  # or the connection would not be used again
                            return HttpAnswer(started, response.headers, None, status)
                        pause = retry_after(response.headers, now)
                        if status == 429 or pause:
                            self._pause(max(pause, wait), status)
                        meant = self._statuses.get(status)
                        if not (meant.again if meant else status in PASSING):
                            raise self._refusal(symbol, status, await _start_of_body(response))
                        reason, fault = Reason.SOURCE_DOWN, f"answered {status}"
                        if meant is not None:
                            reason, fault = meant.reason, f"{meant.words} (answer {status})"
            except (TimeoutError, httpx.TimeoutException):
                # Of an attempt that the budget's end cut short, the one before it says more.
                if not fault or time.monotonic() < end:
                    reason, fault = Reason.SOURCE_DOWN, "did not answer in time"
            except httpx.NetworkError as error:
                reason = Reason.SOURCE_DOWN
                fault = f"cannot be reached: {str(error) or type(error).__name__}"
            except httpx.TransportError as error:
                # The words of the other errors may quote an address or a header.
                reason, fault = Reason.SOURCE_DOWN, f"cannot be reached: {type(error).__name__}"
            if self._pause_until < end:
                if time.monotonic() + wait >= end:
                    raise self._down(
                        symbol, f"{fault} (attempt {attempt}, budget {self.budget:g} s)", reason
                    )
                await asyncio.sleep(wait)

    async def close(self) -> None:
        """Close the connections. The client can be used again."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _turn(self, symbol: str, began: float, now: datetime) -> float:
        """Wait until pace and pause let a request start; return that moment (monotonic)."""
        while True:
            self._require_time(symbol, began, now)
            start = max(time.monotonic(), self._next_start, self._pause_until)
            self._next_start = start + self.pace
            await asyncio.sleep(start - time.monotonic())
            # Another symbol may have been asked for a longer pause meanwhile.
            if self._pause_until <= start:
                return start

    def _require_time(self, symbol: str, began: float, now: datetime) -> None:
        """Refuse at once what cannot start within the budget: pause or queue are too long."""
        end = began + self.budget
        if self._pause_until >= end:
            until = now + timedelta(seconds=self._pause_until - began)
            raise self._down(
                symbol,
                f"has asked for a pause (answer {self._pause_status}) and is not asked again"
                f" before {until.astimezone(UTC):%H:%M:%S} UTC,"
                f" {self._pause_until - time.monotonic():.0f} s from now",
            )
        if self._next_start >= end:
            raise self._down(
                symbol,
                f"has no turn left within the budget of {self.budget:g} s: too many symbols for"
                f" a pace of {self.pace:g} s",
            )

    def _pause(self, seconds: float, status: int) -> None:
        until = time.monotonic() + min(seconds, PAUSE_LIMIT)
        if until > self._pause_until:
            self._pause_until, self._pause_status = until, status

    async def _body(self, response: httpx.Response, symbol: str) -> bytes:
        """Unpack a body piece by piece, so that one that unpacks to gigabytes is cut short.

        Raises
        ------
        ChainRefused
            ``bad_answer`` for more than ``BODY_LIMIT`` bytes, for gzip that is broken, and for an
            encoding that was not asked for.
        """

        def bad(what: str) -> ChainRefused:
            return ChainRefused(Reason.BAD_ANSWER, f"{symbol}: {self.vendor} answered {what}")

        encoding = _encoding(response)
        if encoding not in ("identity", "gzip"):
            raise bad(f"in the encoding {encoding[:20]!r}, which was not asked for")
        gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
        body = bytearray()
        try:
            async for raw in response.aiter_raw():
                body += raw if gzip is None else gzip.decompress(raw, BODY_LIMIT + 1 - len(body))
                if len(body) > BODY_LIMIT:
                    raise bad(f"over {BODY_LIMIT:,} bytes")
        except zlib.error as error:
            raise bad(f"broken gzip: {error}") from error
        if gzip is not None and not gzip.eof:
            raise bad("broken gzip: it ends early")
        return bytes(body)

    def _refusal(self, symbol: str, status: int, body: bytes) -> ChainRefused:
        """Say what a final status means. A 403 is an unknown symbol, a firewall, or a block."""
        meant = self._statuses.get(status)
        if meant is not None:
            return self._down(symbol, f"{meant.words} (answer {status})", meant.reason)
        words = MEANINGS.get(status, "refused")
        if status == 403:
            self._forbidden.add(symbol)
            words = self._meaning_of_403(symbol, body)
        return self._down(symbol, f"{words} (answer {status})")

    def _meaning_of_403(self, symbol: str, body: bytes) -> str:
        known = self._served | self._forbidden
        if b"<html" in body.lower():
            return "has blocked this address: a firewall's page came in place of an answer"
        if len(known) > 1 and self._forbidden == known:
            none = "" if self._served else ", or has none of them"
            return (
                f"forbids all {len(known)} symbols: it has blocked this address, or has moved{none}"
            )
        if symbol in self._served:
            return "forbids a symbol that it has served before"
        if self._unknown_symbol is not None and self._unknown_symbol(body):
            return "has no such symbol"
        return "forbids this request"

    def _down(self, symbol: str, words: str, reason: Reason = Reason.SOURCE_DOWN) -> ChainRefused:
        return ChainRefused(reason, f"{symbol}: {self.vendor} {words}")

    def _connections(self) -> httpx.AsyncClient:
        # Not in __init__: a source may be opened where no loop runs yet.
        if self._client is None:
            try:
                release = version("zerodte-flow")
            except PackageNotFoundError:
                release = "0"
            self._client = httpx.AsyncClient(
                headers={
                    "User-Agent": f"zerodte-flow/{release} (+open 0DTE flow series; "
                    "self-hosted sampler)",
                    "Accept": "application/json",
                    "Accept-Encoding": "gzip",
                    **self._headers,
                },
                timeout=self.timeout,
                # Longer than the grid's 30 s, so that the next poll finds its connection open.
                limits=httpx.Limits(max_connections=self._most_connections, keepalive_expiry=90.0),
                verify=self.base.startswith("https:"),  # plain http loads no certificates
                trust_env=self.remote,  # a proxy would not find our loopback
            )
        return self._client


def retry_after(headers: Mapping[str, str], now: datetime) -> float:
    """Read how long an answer asks to wait.

    Parameters
    ----------
    headers : the answer's headers.
    now : the time that a date is compared with where the answer has no readable ``Date``; UTC.

    Returns
    -------
    float
        Seconds, from a number or until a date; 0 without a readable one.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    until = _http_date(text)
    if until is None:
        return 0.0
    return max((until - (_http_date(headers.get("Date", "")) or now)).total_seconds(), 0.0)


def base_of(scheme: str, address: str, own: str, *, keyed: bool = False) -> str:
    """The base address of a source's requests: the vendor's own, or another after the scheme.

    Parameters
    ----------
    scheme : the source's scheme, such as ``cboe``; sentences begin with it.
    address : what stands between the scheme and the options; empty for the vendor's own address.
    own : the vendor's own base, such as ``https://host/path``.
    keyed : whether requests carry a key, which plain http may only carry on this machine.

    Returns
    -------
    str
        The base, without a slash at its end.

    Raises
    ------
    UsageError
        If it is no http(s) URL, has a query or a fragment, or would send a key over a network
        unencrypted. The sentence of a keyed source does not show what was given: it may be a key.
    """
    shown = f"{scheme}:" if keyed else f"{scheme}:{address}:"
    try:
        parsed = httpx.URL(address or own)
    except httpx.InvalidURL as error:
        raise UsageError(f"{shown} {type(error).__name__ if keyed else error}") from error
    parts = parsed.scheme in ("http", "https") and parsed.host and (parsed.port or 1) < 65_536
    if not parts or parsed.query or parsed.fragment:
        raise UsageError(f"{shown} expected http(s)://host/path, or nothing for the vendor's own")
    if keyed and parsed.scheme == "http" and not is_loopback(parsed.host):
        raise UsageError(f"{shown} http:// would show the key to the network; use https://")
    return (address or own).rstrip("/")


def seconds_option(options: Mapping[str, str], name: str, low: float, high: float) -> float:
    """An option of a source that is a number of seconds within bounds.

    Parameters
    ----------
    options : values by name.
    name : the option.
    low, high : its bounds, both included. [s]

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    UsageError
        If it is not.
    """
    try:
        seconds = float(options[name])
    except ValueError:
        seconds = math.nan
    if not low <= seconds <= high:
        raise UsageError(
            f"source option {name}={options[name]!r} is not a number of seconds {low:g}-{high:g}"
        )
    return seconds


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's own.

    Parameters
    ----------
    host : a name or an IP address, without port and brackets.

    Returns
    -------
    bool
        False for a name other than ``localhost``, whatever it resolves to.
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    # An HTTP date is always UTC; Python leaves "-0000" without a zone.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _encoding(response: httpx.Response) -> str:
    named: str = response.headers.get("Content-Encoding", "identity")
    return named.strip().lower()


async def _start_of_body(response: httpx.Response) -> bytes:
    """The first bytes of an error's body, unpacked; as much of it as can be read."""
    gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if _encoding(response) == "gzip" else None
    body = b""
    try:
        async for raw in response.aiter_raw():
            body += raw if gzip is None else gzip.decompress(raw, ERROR_BODY_LIMIT)
            if len(body) >= ERROR_BODY_LIMIT:
                break
    except (zlib.error, httpx.TransportError):
        pass
    return body
