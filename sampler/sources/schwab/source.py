"""``schwab:``: today's chain of a symbol in one answer, real-time, for holders of an account.

``login`` has the token that each request carries, ``parse`` turns an answer into a frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

import httpx

from sampler.chain import Frame
from sampler.sources import url
from sampler.sources.http import HttpAnswer, HttpClient, Status, base_of, seconds_option
from sampler.sources.later_expiries import DEFAULT, LaterExpiries, LaterExpiry, expiries_option
from sampler.sources.live_only import LiveOnly
from sampler.sources.polling import Polling
from sampler.sources.schwab.login import SchwabLogin
from sampler.sources.schwab.parse import NAME, parse_schwab_chain, parse_schwab_expirations
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.market.calendar import market_day
from storage.market.instruments import instrument_of
from storage.record.row import Reason

BASE = "https://api.schwabapi.com/marketdata/v1"
#: Requests a minute that others count on; Schwab publishes no figure.
ALLOWED = 120
#: A larger answer is read in a thread, so that it holds up no other symbol. [bytes]
THREAD_FROM = 2 << 20
#: Statuses that mean something else at Schwab than HTTP defines.
STATUSES = {
    400: Status(Reason.SOURCE_DOWN, "refuses the request: it may not know the symbol"),
    401: Status(Reason.SOURCE_DOWN, "refuses the login, although it has just renewed it"),
    403: Status(Reason.SOURCE_DOWN, "forbids this: the app needs its product Market Data"),
    # Schwab's gateway also answers 502 to a body above its limit; a chain of one day is far below.
    502: Status(Reason.SOURCE_DOWN, "is down, or the chain is too big a body for it", again=True),
}


class Schwab(LiveOnly):
    """Charles Schwab's market data, or a server that speaks its format."""

    name = NAME
    facts = "real-time quotes; no past sessions"
    delay_seconds = 0
    synthetic = False

    def __init__(self, login: SchwabLogin, http: HttpClient, *, expiries: int) -> None:
        self.login, self.http = login, http
        self.remote = http.remote
        self.polling = Polling(
            per_symbol=1, plan=ALLOWED, pace=http.pace, budget=http.budget, later=expiries
        )
        self._later = LaterExpiries(
            NAME,
            per_symbol=expiries,
            polling=self.polling,
            list_expiries=self._listed,
            fetch_expiry=self._expiry,
        )

    @classmethod
    def open(cls, rest: str, keys: VendorKeys = NO_KEYS) -> Self:
        """Open what follows ``schwab:``, e.g. ``http://127.0.0.1:8001/marketdata/v1?pace=0.5``.

        Parameters
        ----------
        rest : A base address, or nothing for Schwab's own, and the options ``pace``, ``timeout``
            and ``budget``, each in seconds, and ``expiries``: how many later expirations of a
            symbol are asked for in a slot, at most. The login is renewed at the same host.
        keys : the token file, and key and secret of the app.

        Returns
        -------
        Schwab
            The source. Nothing has been fetched yet.

        Raises
        ------
        UsageError
            For a setting that is missing, a token file that cannot be read, an unknown option, or
            a base that is no http(s) URL.
        """
        base, options = url.split_options(
            rest, pace="0.5", timeout="8", budget="12", expiries=str(DEFAULT)
        )
        base = base_of(NAME, base, BASE, keyed=True)

        def client(base: str, statuses: Mapping[int, Status]) -> HttpClient:
            return HttpClient(
                NAME,
                base,
                pace=seconds_option(options, "pace", 0.0, 10.0),
                timeout=seconds_option(options, "timeout", 0.05, 60.0),
                budget=seconds_option(options, "budget", 0.05, 120.0),
                statuses=statuses,
            )

        origin = str(httpx.URL(base).copy_with(path="", query=None, fragment=None)).rstrip("/")
        login = SchwabLogin(
            Path(keys.need("FLOW_SCHWAB_TOKEN_FILE")).expanduser(),
            app_key=keys.need("FLOW_SCHWAB_APP_KEY"),
            app_secret=keys.need("FLOW_SCHWAB_APP_SECRET"),
            http=client(origin, {}),
        )
        return cls(login, client(base, STATUSES), expiries=expiries_option(options))

    async def live(self, symbol: str, now: datetime) -> Frame:
        """Fetch the chain that expires today.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            Every contract that expires on the day of ``now``, and those of later days that have
            been fetched beside the slots.

        Raises
        ------
        ChainRefused
            ``source_down``, ``bad_answer``, or ``no_zero_dte`` when nothing expires today.
        """
        frame = await self._expiry(symbol, (market_day(now), ""), now)
        return self._later.complete(frame)

    async def _expiry(self, symbol: str, expiry: LaterExpiry, now: datetime) -> Frame:
        body = await self._authorized(_path(symbol, expiry[0]), symbol, now)

        def read() -> Frame:
            return parse_schwab_chain(body, symbol=symbol, now=now)

        return await asyncio.to_thread(read) if len(body) > THREAD_FROM else read()

    async def _listed(self, symbol: str, day: date, now: datetime) -> list[LaterExpiry]:
        path = f"/expirationchain?{urlencode({'symbol': _name(symbol)})}"
        body = await self._authorized(path, symbol, now)
        return [(other, "") for other in parse_schwab_expirations(body, symbol) if other > day]

    async def _authorized(self, path: str, symbol: str, now: datetime) -> bytes:
        """An answer's body, with the login renewed if it was refused."""
        bearer = await self.login.bearer(symbol, now)
        answer = await self._get(path, symbol, now, bearer, accept=frozenset({401}))
        if answer.status == 401:
            # The token may have been revoked before its end: it is renewed and tried once more.
            bearer = await self.login.bearer(symbol, now, refused=bearer)
            answer = await self._get(path, symbol, now, bearer)
        return answer.body or b""

    async def _get(
        self,
        path: str,
        symbol: str,
        now: datetime,
        bearer: str,
        accept: frozenset[int] = frozenset(),
    ) -> HttpAnswer:
        return await self.http.get(
            path,
            symbol=symbol,
            now=now,
            headers={"Authorization": f"Bearer {bearer}"},
            accept=accept,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._later.close()
        await super().close()
        await self.login.close()


def _name(symbol: str) -> str:
    return f"${symbol}" if instrument_of(symbol).index else symbol


def _path(symbol: str, day: date) -> str:
    """The request for one day's chain: a chain of all days is too big for Schwab's own gateway."""
    query = {
        "symbol": _name(symbol),
        "contractType": "ALL",
        "includeUnderlyingQuote": "true",
        "fromDate": day.isoformat(),
        "toDate": day.isoformat(),
    }
    return f"/chains?{urlencode(query)}"
