"""``synthetic:?seed=7``: made-up sessions of any symbol, the same for everyone who asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import lru_cache, partial

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources.synthetic import day as market
from sampler.sources.url import split_options, whole_option
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.errors import UsageError
from storage.market.calendar import Session, closed_day_kind, market_day, session_on, to_new_york
from storage.market.constants import GRID_SECONDS
from storage.record.row import Reason

#: Days kept at hand. A day of SPX is 4 MB, most others are less than half of that.
DAYS = 24


class Synthetic:
    """Days of ``market``, quoted on the slots. Options of its URL: ``seed``, ``delay`` [s]."""

    name = "synthetic"
    facts = "made-up quotes of now; any past session"
    synthetic = True
    remote = False

    def __init__(self, *, seed: int = 7, delay: int = 0) -> None:
        self.delay_seconds = delay
        #: The day of a symbol and a session.
        self.day = lru_cache(maxsize=DAYS)(partial(market.build_day, seed=seed))

    @classmethod
    def open(cls, rest: str, keys: VendorKeys = NO_KEYS) -> Synthetic:
        """A source from the part of its URL behind ``synthetic:``.

        Parameters
        ----------
        rest : the options ``seed`` and ``delay`` (in seconds), such as ``?seed=7``.
        keys : not needed.

        Returns
        -------
        Synthetic
            The source.

        Raises
        ------
        UsageError
            For a path, an unknown option, or a value out of bounds.
        """
        path, options = split_options(rest, seed="7", delay="0")
        if path:
            raise UsageError(f"synthetic: takes options only, e.g. synthetic:?seed=7, not {path!r}")
        return cls(
            seed=whole_option(options, "seed", 0, 2**32 - 1),
            delay=whole_option(options, "delay", 0, 3600),
        )

    async def live(self, symbol: str, now: datetime) -> Frame:
        """The frame of the newest slot that is ``delay`` old.

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
            ``market_closed``, ``before_open`` or ``after_close``.
        """
        quoted_at = now - timedelta(seconds=self.delay_seconds)
        clock = to_new_york(quoted_at).strftime("%Y-%m-%d %H:%M:%S")
        session = session_on(market_day(quoted_at))
        if session is None:
            why = f"a {closed_day_kind(market_day(quoted_at))}"
            raise ChainRefused(Reason.MARKET_CLOSED, f"{symbol}: {clock} New York is {why}")
        if quoted_at < session.open:
            raise ChainRefused(Reason.BEFORE_OPEN, f"{symbol}: {clock} New York is before the open")
        if quoted_at >= session.close:
            raise ChainRefused(Reason.AFTER_CLOSE, f"{symbol}: {clock} New York is after the close")
        slot = int((quoted_at - session.open).total_seconds()) // GRID_SECONDS
        return self._frame(symbol, session, slot, now)

    async def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """All frames of a session in order, each fetched as soon as it could be.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Yields
        ------
        Frame
            One frame a slot.
        """
        for slot, quoted_at in enumerate(session.slots):
            fetched_at = quoted_at + timedelta(seconds=self.delay_seconds)
            yield self._frame(symbol, session, slot, fetched_at)

    async def settlement(self, symbol: str, session: Session) -> float | None:
        """The price of a simulated session's last second.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Returns
        -------
        float
            The price. [$]
        """
        return float(self.day(symbol, session).tape.spot[-1])

    def newest(self, symbol: str) -> datetime | None:
        """Tell nothing: there is a frame at every time of a session.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        None
            Always: the simulated market exists at every time.
        """
        return None

    async def close(self) -> None:
        """Nothing to let go of."""

    def _frame(self, symbol: str, session: Session, slot: int, fetched_at: datetime) -> Frame:
        day = self.day(symbol, session)
        return Frame.of(
            symbol=symbol,
            source=self.name,
            delay_seconds=self.delay_seconds,
            quoted_at=session.open + timedelta(seconds=slot * GRID_SECONDS),
            fetched_at=fetched_at,
            spot=day.spot(slot),
            columns=day.columns(slot),
        )
