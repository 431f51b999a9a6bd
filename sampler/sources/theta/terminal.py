"""Requests to Theta's terminal: as many at once as the plan allows, each status with its meaning.

The terminal runs on this machine, does the login and holds the plan; it answers without a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from sampler.errors import ChainRefused
from sampler.sources.http import HttpClient, Status
from sampler.sources.theta.answers import NAME
from storage.record.row import Reason

BASE = "http://127.0.0.1:25503/v3"
#: Requests that a plan's terminal works on at the same time.
PLANS = {"free": 1, "value": 2, "standard": 4, "pro": 8}
#: The least plan of a path, as Theta's reference has it.
LEAST_PLAN = {
    "option/snapshot/quote": "Options Value, or Standard, which Theta's two lists disagree about",
    "option/snapshot/ohlc": "Options Value",
    "option/snapshot/open_interest": "Options Value",
    "option/history/quote": "Options Value",
    "option/history/ohlc": "Options Value",
    "option/history/open_interest": "Options Value",
    "option/history/trade_quote": "Options Standard; with theta:?plan=value nobody asks for it",
}
PERMISSION = frozenset({470, 471})
NO_DATA, INVALID, TOO_LARGE = 472, 473, 570
STATUSES = {
    404: Status(Reason.SOURCE_DOWN, "has no such path; the terminal must be of version 3"),
    410: Status(Reason.SOURCE_DOWN, "has given this path up; FLOW_SOURCE must end in /v3"),
    429: Status(
        Reason.SOURCE_DOWN,
        "has a full queue; theta:?plan= in FLOW_SOURCE says how much the plan allows at once",
        again=True,
    ),
    474: Status(Reason.SOURCE_DOWN, "has lost its connection to Theta Data", again=True),
    476: Status(
        Reason.SOURCE_DOWN,
        "refuses this address; FLOW_SOURCE must name it as other programs do, 127.0.0.1 or"
        " localhost",
    ),
    571: Status(Reason.SOURCE_DOWN, "is still starting", again=True),
}
#: A past session's answer is waited for this many times longer than one attempt at it.
PATIENT_ATTEMPTS = 2.5


class NotInPlan(ChainRefused):
    """The terminal's account does not include what was asked for."""


class TooLarge(ChainRefused):
    """Theta does not send so many rows at once."""


class Terminal:
    """A terminal under its address."""

    def __init__(
        self,
        base: str,
        *,
        plan: str,
        pace: float,
        timeout: float,
        budget: float,
        patience: float,
    ) -> None:
        """Set up without touching the network.

        Parameters
        ----------
        base : the terminal's address, with its version.
        plan : one of ``PLANS``.
        pace : time between the starts of two requests. [s]
        timeout, budget : time limits of an attempt and of all attempts at an answer of now. [s]
        patience : time limit of an attempt at an answer of the past. [s]
        """
        self._now, self._past = (
            HttpClient(
                NAME,
                base,
                pace=pace,
                timeout=limit,
                budget=total,
                headers={"Accept": "text/csv"},
                statuses=STATUSES,
                connections=PLANS[plan],
            )
            for limit, total in ((timeout, budget), (patience, PATIENT_ATTEMPTS * patience))
        )
        #: The terminal's own address is a live vendor, though it is this machine's.
        self.remote = self._now.remote or base == BASE
        self._turns = asyncio.Semaphore(PLANS[plan])

    async def ask(
        self, path: str, params: Mapping[str, str], *, symbol: str, now: datetime
    ) -> bytes | None:
        """Ask for a path.

        Parameters
        ----------
        path : such as ``option/snapshot/quote``. One of history has more time.
        params : its parameters.
        symbol : the underlying; sentences begin with it.
        now : the caller's time, UTC.

        Returns
        -------
        bytes or None
            The CSV; None where the terminal has no data.

        Raises
        ------
        ChainRefused
            ``NotInPlan`` where the account does not include it, ``TooLarge`` where it has more rows
            than Theta sends at once; else ``source_down`` or ``bad_answer``.
        """
        client = self._past if "/history/" in path else self._now
        query = urlencode({**params, "format": "csv"})
        accept = frozenset({NO_DATA, INVALID, TOO_LARGE, *PERMISSION})
        async with self._turns:
            answer = await client.get(f"/{path}?{query}", symbol=symbol, now=now, accept=accept)
        status, body = answer.status, answer.body or b""
        if status == NO_DATA:
            return None
        begin = f"{symbol}: {NAME}"
        if status in PERMISSION:
            least = LEAST_PLAN.get(path)
            raise NotInPlan(
                Reason.SOURCE_DOWN,
                f"{begin} answers that the plan is without {path} (answer {status})"
                + (f"; it needs {least}" if least else ""),
            )
        if status == TOO_LARGE:
            raise TooLarge(
                Reason.SOURCE_DOWN, f"{begin} finds {path} too large to send (answer {status})"
            )
        if status == INVALID:
            words = " ".join(body[:400].decode(errors="replace").split())[:120]
            raise ChainRefused(
                Reason.SOURCE_DOWN, f"{begin} finds {path} wrong (answer {status}): {words!r}"
            )
        return body

    async def close(self) -> None:
        """Close the connections."""
        await self._now.close()
        await self._past.close()


async def together(*jobs: Coroutine[Any, Any, Any]) -> list[Any]:
    """Results of some jobs that run at the same time; the first error ends the others.

    Parameters
    ----------
    *jobs : coroutines.

    Returns
    -------
    list
        Their results, in their order.
    """
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
