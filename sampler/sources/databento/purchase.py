"""``databento:``: past sessions bought from Databento, or ``databento:PATH``: files that you have.

``backfill`` shows what a session costs, and with ``--yes`` buys and keeps it: a folder with a file
a schema, the definitions of the day's contracts first, then everything else of the contracts that
expire on the day. A file that is there is never bought again, and reading asks the vendor nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import httpx

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources import url
from sampler.sources.databento.dbn import DEFINITION, read_dbn
from sampler.sources.databento.frames import NAME, todays_contracts
from sampler.sources.databento.source import DatabentoFiles
from sampler.sources.databento.vendor import (
    BASE,
    FREE,
    MOST_CONTRACTS,
    Price,
    Request,
    Vendor,
)
from sampler.sources.http import base_of, is_loopback
from sampler.sources.protocol import Source
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.errors import FlowError, UsageError
from storage.market.calendar import Session
from storage.market.instruments import CLOSING_ROOTS
from storage.record.row import Reason

#: What one command may spend where no cap is set. [$]
CAP = 10.0
#: Where files are kept, unless the URL says otherwise.
FOLDER = "~/.local/share/zerodte-flow/databento"
DEFINITIONS, INTEREST, TRADES, SIDES = "definition", "statistics", "trades", "tcbbo"
QUOTES = ("cbbo-1s", "cbbo-1m")
#: Quotes begin so long before the open: an option may not be quoted anew in the first second.
QUOTES_AHEAD = timedelta(minutes=15)


class DatabentoPurchases:
    """Databento's service. ``history`` reads what ``buy`` has bought."""

    name = NAME
    facts = "no quotes of now; past sessions: those of your files, or bought by size"
    delay_seconds = 0
    synthetic = False

    def __init__(
        self, vendor: Vendor, folder: Path, *, cap: float, schemas: Sequence[str], remote: bool
    ) -> None:
        """Set up without touching the network.

        Parameters
        ----------
        vendor : what is asked.
        folder : where the files are kept.
        cap : the most that ``buy`` spends, over all its calls. [$]
        schemas : what a session has beside its definitions.
        remote : whether the vendor is another machine.
        """
        self.remote = remote
        self._vendor, self._folder, self._cap = vendor, folder, cap
        self._schemas = tuple(schemas)
        #: [$]
        self._spent = 0.0
        #: By symbol and day: identifiers of the contracts that expire on it.
        self._known: dict[tuple[str, date], list[int]] = {}

    @classmethod
    def open(cls, rest: str, keys: VendorKeys = NO_KEYS) -> Source:
        """Open what follows ``databento:``.

        Parameters
        ----------
        rest : a file or folder that one has. Or a base address, or nothing for Databento's own, and
            the options ``folder``, where files are kept
            (``~/.local/share/zerodte-flow/databento``), ``quotes`` (cbbo-1s, or cbbo-1m) and
            ``sides`` (yes, or no).
        keys : to buy, ``FLOW_DATABENTO_KEY``, and ``FLOW_DATABENTO_CAP_USD`` where that is set.

        Returns
        -------
        DatabentoFiles or DatabentoPurchases
            The source. No file has been opened, and nothing has been asked yet.

        Raises
        ------
        UsageError
            If there is nothing at the path. To buy: without a key, for an unknown option, a cap
            that is no number, or a base that is no URL.
        """
        if rest and not rest.startswith(("?", "http:", "https:")):
            return DatabentoFiles.open(rest, keys)
        address, options = url.split_options(rest, folder="", quotes=QUOTES[0], sides="yes")
        for name, known in (("quotes", QUOTES), ("sides", ("yes", "no"))):
            if options[name] not in known:
                raise UsageError(
                    f"source option {name}={options[name][:20]!r} is none of {', '.join(known)}"
                )
        base = base_of(NAME, address, BASE, keyed=True)
        sides = (SIDES,) if options["sides"] == "yes" else ()
        return cls(
            Vendor(keys.need("FLOW_DATABENTO_KEY"), base),
            Path(options["folder"] or FOLDER).expanduser(),
            cap=_cap(keys.get("FLOW_DATABENTO_CAP_USD")),
            schemas=(options["quotes"], TRADES, INTEREST, *sides),
            remote=not is_loopback(httpx.URL(base).host),
        )

    def newest(self, symbol: str) -> datetime | None:
        """Tell nothing: files would have to be read to their ends.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        None
            Always.
        """
        return None

    async def live(self, symbol: str, now: datetime) -> Frame:
        """Refuse: it has past sessions alone.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            Never.

        Raises
        ------
        ChainRefused
            ``source_down``, always.
        """
        raise ChainRefused(
            Reason.SOURCE_DOWN,
            f"{symbol}: {NAME} has no quotes of now here: backfill buys past sessions from it",
        )

    async def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """Yield the chains of a session from its files, in order. Nothing is bought.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Yields
        ------
        Frame or ChainRefused
            A chain a slot; or one refusal, where files are missing or cannot be read.
        """
        try:
            missing = self._missing(symbol, session)
        except ChainRefused as refusal:
            yield refusal
            return
        if missing:
            yield ChainRefused(
                Reason.SOURCE_DOWN,
                f"{symbol}: {', '.join(missing)} of {session.day} has not been bought from {NAME}",
            )
            return
        async for frame in DatabentoFiles(self._place(symbol, session)).history(symbol, session):
            yield frame

    async def announce(self, symbol: str, sessions: Sequence[Session]) -> str:
        """Say what the files that are missing will cost. Nothing is bought.

        Parameters
        ----------
        symbol : the underlying.
        sessions : the sessions.

        Returns
        -------
        str
            The price and size of each schema.

        Raises
        ------
        FlowError
            If the vendor does not say.
        """
        new = [s for s in sessions if DEFINITIONS in self._missing(symbol, s)]
        old = [s for s in sessions if s not in new and self._missing(symbol, s)]
        have = len(sessions) - len(new) - len(old)
        parts = []
        if have:
            parts.append(f"{have:,} of {len(sessions):,} sessions have been bought")
        if new:
            exact = await self._by_schema([self._definitions(symbol, s) for s in new])
            most = await self._by_schema(
                [request for s in new for request in self._others(symbol, s, all_days=True)]
            )
            parts.append(
                f"{len(new):,} sessions will cost {_listed(exact)}; what the contracts of the day"
                f" cost is asked when their definitions are there: less than all of"
                f" {_parent(symbol)}, {_total(most)}: {_listed(most)}"
            )
        if old:
            exact = await self._by_schema([r for s in old for r in self._others(symbol, s)])
            parts.append(f"{len(old):,} sessions will cost {_total(exact)}: {_listed(exact)}")
        return f"{symbol}: {NAME}: {'; '.join(parts)}. Files are kept in {self._folder}"

    def complete(self, symbol: str, sessions: Sequence[Session]) -> bool:
        """Tell whether all files of some sessions are there.

        Parameters
        ----------
        symbol : the underlying.
        sessions : the sessions.

        Returns
        -------
        bool
            False where something would have to be bought.
        """
        return not any(self._missing(symbol, session) for session in sessions)

    async def buy(self, symbol: str, sessions: Sequence[Session]) -> AsyncIterator[str]:
        """Buy the files that are missing, within the cap.

        Parameters
        ----------
        symbol : the underlying.
        sessions : the sessions.

        Yields
        ------
        str
            What has been bought, and what is bought next for how much.

        Raises
        ------
        UsageError
            If it would cost more than the cap. What was bought before stays.
        FlowError
            If the vendor does not send a file whole.
        """
        self._vendor.require_client()
        new = [s for s in sessions if DEFINITIONS in self._missing(symbol, s)]
        definitions = [(session, self._definitions(symbol, session)) for session in new]
        async for line in self._buy_all(symbol, definitions):
            yield line
        # The definitions name the contracts whose quotes and trades are bought.
        others = [(s, request) for s in sessions for request in self._others(symbol, s)]
        async for line in self._buy_all(symbol, others):
            yield line

    async def close(self) -> None:
        """Nothing is held open."""

    async def _buy_all(
        self, symbol: str, wanted: Sequence[tuple[Session, Request]]
    ) -> AsyncIterator[str]:
        """Buy some files, if all of them together are within the cap."""
        prices = await self._vendor.prices([request for _, request in wanted])
        total = sum(prices, FREE)
        if self._spent + total.dollars > self._cap:
            spent = f" on top of {self._spent:,.2f} USD" if self._spent else ""
            raise UsageError(
                f"{symbol}: {NAME} wants {total}{spent}, more than the cap of {self._cap:,.2f} USD"
                " (FLOW_DATABENTO_CAP_USD); it was not bought"
            )
        for (session, request), price in zip(wanted, prices, strict=True):
            await self._download(request, self._file(symbol, session, request.schema))
            self._spent += price.dollars
            yield f"{symbol} {session.day}: bought {request.schema} for {price}"

    def _definitions(self, symbol: str, session: Session) -> Request:
        return Request(DEFINITIONS, _midnight(session), session.close, _parent(symbol))

    def _others(self, symbol: str, session: Session, *, all_days: bool = False) -> list[Request]:
        """What is missing beside the definitions: of the day's contracts, or of all expiries."""
        missing = self._missing(symbol, session)
        # Identifiers are of a day of UTC, in which the overnight session before lies as well.
        begins: Mapping[str, datetime] = {
            **dict.fromkeys(QUOTES, session.open - QUOTES_AHEAD),
            SIDES: session.open,
        }
        return [
            Request(
                schema,
                begins.get(schema, _midnight(session)),
                session.close,
                _parent(symbol),
                () if all_days else self._contracts(symbol, session),
            )
            for schema in self._schemas
            if schema in missing
        ]

    def _contracts(self, symbol: str, session: Session) -> list[int]:
        """Identifiers of the contracts that expire on the day, from the definitions bought."""
        if (symbol, session.day) not in self._known:
            path = self._file(symbol, session, DEFINITIONS)
            records = [run for _, run in read_dbn(path, frozenset({DEFINITION}))]
            contracts = todays_contracts(records, symbol, session)
            self._known[symbol, session.day] = contracts.instrument_id.tolist()
        known = self._known[symbol, session.day]
        if len(known) > MOST_CONTRACTS:
            raise FlowError(
                f"{symbol}: {len(known):,} contracts expire on {session.day}; {NAME} takes"
                f" {MOST_CONTRACTS:,} in a request"
            )
        return known

    async def _by_schema(self, requests: Sequence[Request]) -> dict[str, Price]:
        self._vendor.require_client()
        prices: dict[str, Price] = {}
        for request, price in zip(requests, await self._vendor.prices(requests), strict=True):
            prices[request.schema] = prices.get(request.schema, FREE) + price
        return prices

    async def _download(self, request: Request, path: Path) -> None:
        """Buy a file whole, or not at all: one that broke off is no file of the session."""
        # A reader of the folder takes names with .dbn alone.
        begun = path.with_name(f"{request.schema}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            begun.unlink(missing_ok=True)
            await self._vendor.download(request, begun)
            for _ in read_dbn(begun, frozenset()):
                pass
            with begun.open("rb") as file:
                os.fsync(file.fileno())
            begun.replace(path)
        except ChainRefused as refusal:
            raise FlowError(f"{NAME}: {request.schema} came broken: {refusal}") from None
        except OSError as error:
            raise FlowError(f"{NAME}: {path} cannot be kept: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                begun.unlink(missing_ok=True)

    def _missing(self, symbol: str, session: Session) -> list[str]:
        """Schemas without a file; of a day on which nothing expires the definitions are enough."""
        missing = [
            schema
            for schema in (DEFINITIONS, *self._schemas)
            if not self._file(symbol, session, schema).is_file()
        ]
        if missing and DEFINITIONS not in missing and not self._contracts(symbol, session):
            return []
        return missing

    def _place(self, symbol: str, session: Session) -> Path:
        return self._folder / symbol.replace("/", "_") / session.day.isoformat()

    def _file(self, symbol: str, session: Session, schema: str) -> Path:
        return self._place(symbol, session) / f"{schema}.dbn.zst"


def _parent(symbol: str) -> str:
    """What Databento calls all options of the root that settles on the close."""
    root = CLOSING_ROOTS.get(symbol, symbol)
    return f"{''.join(filter(str.isalnum, root))}.OPT"


def _midnight(session: Session) -> datetime:
    return datetime.combine(session.day, time(), UTC)


def _total(prices: Mapping[str, Price]) -> Price:
    return sum(prices.values(), FREE)


def _listed(prices: Mapping[str, Price]) -> str:
    return ", ".join(f"{schema} {price}" for schema, price in prices.items())


def _cap(text: str | None) -> float:
    if text is None:
        return CAP
    try:
        cap = float(text)
    except ValueError:
        cap = -1.0
    if not 0 <= cap <= 1e6:
        raise UsageError("FLOW_DATABENTO_CAP_USD: not a number of dollars from 0 to 1,000,000")
    return cap
