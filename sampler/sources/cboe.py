"""Cboe's free delayed quotes: every contract of a symbol in one JSON answer, 15 minutes old.

``Cboe`` fetches answers through ``http``; ``cboe_json`` turns one into a frame.
Freshness is in the machine's seconds, never in market time.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources import url
from sampler.sources.cboe_json import NAME, parse_chain
from sampler.sources.http import HttpClient, base_of, seconds_option
from sampler.sources.live_only import LiveOnly
from sampler.sources.polling import Polling
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.market.instruments import instrument_of
from storage.record.row import Reason

BASE = "https://cdn.cboe.com/api/global/delayed_quotes/options"
#: From this size on, reading an answer takes over 20 ms and goes to a thread. [bytes]
THREAD_FROM = 2 << 20
#: The feed's own max-age is believed up to this. [s]
FRESH_LIMIT = 60.0
#: An answer that is about to expire is waited for: a poll on its edge must not lose its slot. [s]
EDGE = 1.0


class Cboe(LiveOnly):
    """The delayed quotes of cdn.cboe.com, or of a server that speaks its format."""

    name = NAME
    facts = "quotes 15 minutes late; no past sessions"
    synthetic = False

    def __init__(
        self, base: str, *, delay_seconds: int, pace: float, timeout: float, budget: float
    ) -> None:
        self.delay_seconds = delay_seconds
        self.http = HttpClient(
            NAME,
            base,
            pace=pace,
            timeout=timeout,
            budget=budget,
            unknown_symbol=_unknown_symbol,
        )
        self.remote = self.http.remote
        self.polling = Polling(per_symbol=1, pace=pace, budget=budget)
        #: By symbol: when the last answer expires (monotonic), and what to ask "newer than" with.
        self._fresh_until: dict[str, float] = {}
        self._validators: dict[str, dict[str, str]] = {}

    @classmethod
    def open(cls, rest: str, keys: VendorKeys = NO_KEYS) -> Cboe:
        """Open what follows ``cboe:``, e.g. ``http://127.0.0.1:8001/options?pace=0.5``.

        Parameters
        ----------
        rest : A base address, or nothing for Cboe's own, and the options ``delay``, ``pace``,
            ``timeout`` and ``budget``, each in seconds.
        keys : not needed.

        Returns
        -------
        Cboe
            The source. Nothing has been fetched yet.

        Raises
        ------
        UsageError
            For an unknown option, one out of bounds, or a base that is no http(s) URL.
        """
        base, options = url.split_options(rest, delay="900", pace="0.2", timeout="8", budget="12")
        return cls(
            base_of("cboe", base, BASE),
            delay_seconds=url.whole_option(options, "delay", 0, 86_400),
            pace=seconds_option(options, "pace", 0.0, 10.0),
            timeout=seconds_option(options, "timeout", 0.05, 60.0),
            budget=seconds_option(options, "budget", 0.05, 120.0),
        )

    async def live(self, symbol: str, now: datetime) -> Frame:
        """The feed's newest frame, asked for no more often than the feed says it changes.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            Every contract of every expiry.

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
        answer = await self.http.get(
            _path(symbol), symbol=symbol, now=now, validators=self._validators.get(symbol)
        )
        fresh_until = answer.started + _freshness(answer.headers)
        body = answer.body
        if body is None:
            self._fresh_until[symbol] = fresh_until
            raise ChainRefused(Reason.UNCHANGED, f"{symbol}: cboe has nothing newer")

        def read() -> Frame:
            return parse_chain(body, symbol=symbol, now=now, delay_seconds=self.delay_seconds)

        frame = await asyncio.to_thread(read) if len(body) > THREAD_FROM else read()
        # Set after the answer was parsed: one that made no frame is requested again, and in full.
        self._fresh_until[symbol] = fresh_until
        pairs = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
        self._validators[symbol] = {
            request: answer.headers[name]
            for request, name in pairs.items()
            if name in answer.headers
        }
        return frame


def _path(symbol: str) -> str:
    """The feed files indexes under a leading underscore: another symbol may have their name."""
    name = f"_{symbol}" if instrument_of(symbol).index else symbol
    return f"/{quote(name, safe='')}.json"


def _unknown_symbol(body: bytes) -> bool:
    """Cboe answers what it does not have as its file store does: 403 with ``AccessDenied``."""
    return b"AccessDenied" in body


def _freshness(headers: Mapping[str, str]) -> float:
    """Seconds from the start of a request for which the feed says that its answer holds."""
    max_age = re.search(r"\bmax-age=(\d{1,9})", headers.get("Cache-Control", ""))
    age = re.fullmatch(r"\d{1,9}", headers.get("Age", ""))
    left = float(max_age[1] if max_age else 0) - float(age[0] if age else 0)
    return min(max(left, 0.0), FRESH_LIMIT)
