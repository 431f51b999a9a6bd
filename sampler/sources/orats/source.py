"""``orats:``: ORATS's chains of one minute, the newest one and those since August 2020.

The token is ``FLOW_ORATS_TOKEN``. An answer has all expirations of a symbol; there are no trades.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlencode

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources import url
from sampler.sources.http import HttpClient, base_of, seconds_option
from sampler.sources.orats.parse import NAME, parse_orats_chain
from sampler.sources.polling import Polling
from storage.config.vendor_keys import VendorKeys
from storage.market.calendar import Session, to_new_york

BASE = "https://api.orats.io/datav2"
MINUTE = timedelta(minutes=1)
#: Minutes of a past session that are asked for at the same time.
AT_ONCE = 4
#: So many refusals one after the other end a past session. [count]
MOST_REFUSED = 8


class Orats:
    """ORATS's one-minute chains, or a server that speaks their format."""

    name = NAME
    facts = "quotes by the minute; past sessions by the minute since August 2020"
    delay_seconds = 0
    synthetic = False

    def __init__(
        self, base: str, token: str, *, pace: float, timeout: float, budget: float
    ) -> None:
        self._token = token
        self.http = HttpClient(
            NAME, base, pace=pace, timeout=timeout, budget=budget, headers={"Accept": "text/csv"}
        )
        self.remote = self.http.remote
        self.polling = Polling(per_symbol=1, pace=pace, budget=budget)

    @classmethod
    def open(cls, rest: str, keys: VendorKeys) -> Orats:
        """Open what follows ``orats:``, e.g. ``http://127.0.0.1:8001/datav2?pace=0``.

        Parameters
        ----------
        rest : a base address, or nothing for ORATS's own, and the options ``pace``, ``timeout`` and
            ``budget``, each in seconds.
        keys : has ``FLOW_ORATS_TOKEN``.

        Returns
        -------
        Orats
            The source. Nothing has been fetched yet.

        Raises
        ------
        UsageError
            Without a token, for an unknown option, one out of bounds, or a base that is no URL.
        """
        address, options = url.split_options(rest, pace="0.1", timeout="10", budget="15")
        return cls(
            base_of(NAME, address, BASE, keyed=True),
            keys.need("FLOW_ORATS_TOKEN"),
            pace=seconds_option(options, "pace", 0.0, 10.0),
            timeout=seconds_option(options, "timeout", 0.05, 60.0),
            budget=seconds_option(options, "budget", 0.05, 120.0),
        )

    async def live(self, symbol: str, now: datetime) -> Frame:
        """The newest chain, of all expirations.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            Its spot is unknown: ORATS derives it from parity too.

        Raises
        ------
        ChainRefused
            ``source_down`` or ``bad_answer``.
        """
        return await self._chain("live/one-minute", symbol, now, {}, with_spot=False)

    async def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """The chain of each minute of a session, in order.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Yields
        ------
        Frame or ChainRefused
            A chain, or why there is none of that minute; the rest follows, unless many minutes in a
            row are refused.
        """
        minutes = _minutes(session)
        refused = 0
        for begin in range(0, len(minutes), AT_ONCE):
            some = minutes[begin : begin + AT_ONCE]
            for got in await asyncio.gather(*(self._minute(symbol, moment) for moment in some)):
                yield got
                refused = refused + 1 if isinstance(got, ChainRefused) else 0
                if refused == MOST_REFUSED:
                    return

    async def announce(self, symbol: str, sessions: Sequence[Session]) -> str:
        """Say how much a backfill will ask for. Nothing is asked.

        Parameters
        ----------
        symbol : the underlying.
        sessions : the sessions.

        Returns
        -------
        str
            A sentence with the number of requests.
        """
        requests = sum(len(_minutes(session)) for session in sessions)
        return (
            f"{symbol}: {NAME} will be asked {requests:,} requests for {len(sessions):,} sessions,"
            " each for the chain of a minute with all its expirations; no trades, so the sides"
            " come from the quotes"
        )

    def newest(self, symbol: str) -> None:
        """Tell nothing: what is newest is only known by asking.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        None
            Always.
        """
        return

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close()

    async def _minute(self, symbol: str, moment: datetime) -> Frame | ChainRefused:
        wall = {"tradeDate": f"{to_new_york(moment):%Y%m%d%H%M}"}
        try:
            return await self._chain("historical/one-minute", symbol, moment, wall, with_spot=True)
        except ChainRefused as refusal:
            return ChainRefused(
                refusal.reason,
                f"{refusal} (the chain of {to_new_york(moment):%H:%M})",
                quoted_at=moment,
            )

    async def _chain(
        self, kind: str, symbol: str, now: datetime, more: dict[str, str], *, with_spot: bool
    ) -> Frame:
        query = urlencode({"token": self._token, "ticker": symbol, **more})
        answer = await self.http.get(f"/{kind}/strikes/chain?{query}", symbol=symbol, now=now)
        body = answer.body or b""
        return await asyncio.to_thread(
            parse_orats_chain, body, symbol=symbol, now=now, with_spot=with_spot
        )


def _minutes(session: Session) -> list[datetime]:
    """When the chains of a session are taken: the first one a minute behind the open."""
    count = round((session.close - session.open) / MINUTE)
    return [session.open + n * MINUTE for n in range(1, count + 1)]
