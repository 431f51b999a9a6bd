"""Cboe's free delayed quotes: every contract of a symbol in one JSON answer, 15 minutes old.

``parse`` turns an answer into a frame and does nothing else; ``Cboe`` fetches answers, politely.
Time-outs, pacing and freshness are in the machine's seconds, never in market time.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from itertools import chain
from operator import itemgetter
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from sampler.chain import Floats, Frame
from sampler.errors import NoHistory, Refused
from sampler.sources import url
from storage.errors import UsageError
from storage.row import Reason
from storage.session import Session, at_new_york, from_new_york, market_day

BASE = "https://cdn.cboe.com/api/global/delayed_quotes/options"
#: Symbols that the feed files under a leading underscore; another can be named with it: _ABC.
INDEXES = frozenset({
    "SPX", "NDX", "RUT", "VIX", "XSP", "DJX", "MRUT", "OEX", "XEO", "XND", "RUI", "RLG", "RLV",
    "SPESG", "CBTX", "MBTX", "MXEA", "MXEF", "MXACW", "MXUSA", "MXWLD",
})  # fmt: skip
#: Column of a frame → field of an option.
FIELDS = {
    "bid": "bid",
    "ask": "ask",
    "last": "last_trade_price",
    "open_interest": "open_interest",
    "volume": "volume",
    "source_iv": "iv",
}
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

    name = "cboe"
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
        base, options = url.split(rest, delay="900", pace="0.2", timeout="8", budget="12")
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
            delay_seconds=url.whole(options, "delay", 0, 86_400),
            pace=_seconds(options, "pace", 0.0, 10.0),
            timeout=_seconds(options, "timeout", 0.05, 60.0),
            budget=_seconds(options, "budget", 0.05, 120.0),
        )

    async def live(self, symbol: str, now: datetime) -> Frame:
        """The feed's newest frame, asked for no more often than the feed says it changes.

        Raises
        ------
        Refused
            ``source_down``, ``bad_answer``, or ``unchanged`` when the feed has nothing newer than
            the last frame delivered.
        """
        left = self._fresh_until.get(symbol, 0.0) - time.monotonic()
        if left > EDGE:
            raise Refused(Reason.UNCHANGED, f"{symbol}: cboe's answer holds for {left:.0f} s more")
        await asyncio.sleep(max(left, 0.0))
        began, headers, body = await self._fetch(symbol)
        if body is None:
            self._fresh_until[symbol] = began + _freshness(headers)
            raise Refused(Reason.UNCHANGED, f"{symbol}: cboe has nothing newer")

        def read() -> Frame:
            return parse(body, symbol=symbol, now=now, delay_seconds=self.delay_seconds)

        frame = await asyncio.to_thread(read) if len(body) > THREAD_FROM else read()
        # Only now: an answer that made no frame must be asked for again, and in full.
        self._fresh_until[symbol] = began + _freshness(headers)
        given = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
        self._validators[symbol] = {
            ask: headers[tag] for ask, tag in given.items() if tag in headers
        }
        return frame

    def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | Refused]:
        """Nothing: the feed shows the present only.

        Raises
        ------
        NoHistory
            Always.
        """
        raise NoHistory(
            f"cboe: keeps no history, so none of {symbol} on {session.day}; "
            "backfill from recorded: or synthetic:"
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
        Refused
            ``source_down`` when the budget is used up or the answer is an error that stays;
            ``bad_answer`` for a body that cannot be unpacked or is too large.
        """
        name = f"_{symbol}" if symbol in INDEXES else symbol
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
                            raise Refused(
                                Reason.SOURCE_DOWN, f"{symbol}: cboe {why} (answer {status})"
                            )
                        fault = f"answered {status}"
                        asked = answer.headers.get("Retry-After", "")
                        pause = max(pause, float(asked) if asked.isdecimal() else 0.0)
            except (TimeoutError, httpx.TimeoutException):
                fault = "did not answer in time"
            except httpx.TransportError as error:
                fault = f"cannot be reached: {str(error) or type(error).__name__}"
            if time.monotonic() + pause >= end:
                raise Refused(
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


def parse(body: bytes, *, symbol: str, now: datetime, delay_seconds: int) -> Frame:
    """A frame from an answer's bytes.

    A number that is none becomes NaN, and a contract whose OCC symbol cannot be read gets right 0
    and, where its day cannot be read either, the day of the quotes: so the chain counts it.

    Raises
    ------
    Refused
        ``bad_answer``, with what is wrong.
    """

    def bad(what: str) -> Refused:
        return Refused(Reason.BAD_ANSWER, f"{symbol}: cboe answered {what}")

    try:
        answer = _decode(body)
    except (ValueError, RecursionError) as error:
        start = body[:40].decode(errors="replace")
        raise bad(f"no JSON: {error}; it starts {start!r}" if body else "nothing") from None
    data = answer.get("data") if isinstance(answer, dict) else None
    options = data.get("options") if isinstance(data, dict) else None
    if not isinstance(answer, dict) or not isinstance(data, dict) or not isinstance(options, list):
        raise bad("JSON without data.options")
    for named in (answer.get("symbol"), data.get("symbol")):
        if isinstance(named, str) and _letters(named) != _letters(symbol):
            raise bad(f"for {named[:20]!r}")
    if not any(isinstance(option, dict) for option in options):
        raise bad("no option at all")
    options = [option if isinstance(option, dict) else {} for option in options]
    quoted = str(data.get("last_trade_time"))
    try:
        wall = datetime.fromisoformat(quoted if len(quoted) > 18 else "")  # no day alone
        quoted_at = wall.astimezone(UTC) if wall.tzinfo else from_new_york(wall)
    except (ValueError, OverflowError):
        raise bad(f"a last_trade_time that is no time: {quoted[:40]!r}") from None
    spot = _number(data.get("current_price"))
    return Frame.of(
        symbol=symbol,
        source=Cboe.name,
        delay_seconds=delay_seconds,
        quoted_at=quoted_at,
        fetched_at=now,
        spot=spot if spot > 0 else math.nan,
        columns=_contracts(options, market_day(quoted_at)) | _quotes(options),
    )


def _decode(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # Python's own parser, twice as slow, also takes NaN, Infinity and 1e999: one such number
        # must not cost all the others.
        return json.loads(body)


def _contracts(options: list[dict[str, Any]], today: date) -> dict[str, NDArray[Any]]:
    """Root, expiry, right and strike from the OCC symbols, e.g. ``SPXW  260819C07700000``."""
    given = [option.get("option") for option in options]
    symbols = [text.strip() if isinstance(text, str) else "" for text in given]
    # What follows the root is 15 characters wide: one matrix of bytes is read column by column.
    tails = "".join([text[-15:].rjust(15) for text in symbols]).encode("ascii", "replace")
    codes = np.frombuffer(tails, np.uint8).reshape(-1, 15)
    digits = np.delete(codes, 6, axis=1) - np.uint8(ord("0"))
    figures = digits < 10
    strike = digits[:, 6:] @ 10 ** np.arange(7, -1, -1) / 1000
    number, at = np.unique(digits[:, :6] @ 10 ** np.arange(5, -1, -1), return_inverse=True)
    texts = [f"20{n // 10_000:02}-{n // 100 % 100:02}-{n % 100:02}" for n in number.tolist()]
    days = np.array([_moment(text) for text in texts], "datetime64[D]")[at]
    dated = figures[:, :6].all(axis=1) & ~np.isnat(days)
    side = np.select([codes[:, 6] == ord("C"), codes[:, 6] == ord("P")], [1, -1], 0)
    return {
        "root": np.array([text[:-15].rstrip() for text in symbols]),
        "expiry": np.where(dated, days, np.datetime64(today)),
        "right": np.where(dated, side, 0),
        "strike": np.where(figures[:, 6:].all(axis=1), strike, np.nan),
    }


def _quotes(options: list[dict[str, Any]]) -> dict[str, Floats]:
    """The columns that are numbers, and the unix time of each contract's last trade."""
    names = tuple(FIELDS.values())
    values = chain.from_iterable(map(itemgetter(*names), options))
    try:
        numbers = np.fromiter(values, np.float64, len(options) * len(names))
    except (KeyError, TypeError, ValueError, OverflowError):
        numbers = np.array([_number(option.get(name)) for option in options for name in names])
    numbers[~np.isfinite(numbers)] = np.nan
    table = numbers.reshape(len(options), len(names))
    columns = dict(zip(FIELDS, table.T, strict=True))
    return columns | {"last_at": _unix([option.get("last_trade_time") for option in options])}


def _unix(texts: list[Any]) -> Floats:
    """Unix seconds of New York wall times; NaN for what is none."""
    texts = [text[:19] if isinstance(text, str) and len(text) > 18 else "" for text in texts]
    try:
        wall = np.array(texts, "datetime64[s]")
    except ValueError:
        wall = np.array([_moment(text) for text in texts], "datetime64[s]")
    seconds = np.full(len(wall), np.nan)
    known = (wall > np.datetime64("1970-01-02")) & (wall < np.datetime64("2100-01-01"))
    days, at = np.unique(wall[known].astype("datetime64[D]"), return_inverse=True)
    # One offset a day: no option trades in the hours when it changes.
    noons = np.array([at_new_york(day, 12).timestamp() for day in days.tolist()])
    shift = noons - (days.astype("datetime64[s]").astype(np.int64) + 43_200)
    seconds[known] = wall[known].astype(np.int64) + shift[at]
    return seconds


def _moment(text: str) -> np.datetime64:
    try:
        return np.datetime64(text)
    except ValueError:
        return np.datetime64("NaT")


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _letters(symbol: str) -> str:
    """What is left of ``_SPX``, ``^SPX`` or ``BRK/B`` when spellings do not count."""
    return re.sub(r"[^A-Z0-9]", "", symbol.upper())


async def _body(answer: httpx.Response, symbol: str) -> bytes:
    """The body, unpacked, as long as it is not absurdly large."""
    parts, size = [], 0
    try:
        async for part in answer.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > BODY_LIMIT:
                raise Refused(
                    Reason.BAD_ANSWER, f"{symbol}: cboe answered over {BODY_LIMIT:,} bytes"
                )
    except httpx.DecodingError as error:
        raise Refused(Reason.BAD_ANSWER, f"{symbol}: cboe answered broken gzip: {error}") from error
    return b"".join(parts)


def _freshness(headers: Mapping[str, str]) -> float:
    """Seconds from the start of a request for which the feed says that its answer holds."""
    found = re.search(r"\bmax-age=(\d+)", headers.get("Cache-Control", ""))
    age = headers.get("Age", "")
    left = float(found[1] if found else 0) - float(age if age.isdecimal() else 0)
    return min(max(left, 0.0), FRESH_LIMIT)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(options: dict[str, str], name: str, low: float, high: float) -> float:
    """An option that is a number of seconds within bounds, or ``UsageError``."""
    seconds = _number(options[name])
    if not low <= seconds <= high:
        raise UsageError(
            f"source option {name}={options[name]!r} is not a number of seconds {low:g}-{high:g}"
        )
    return seconds
