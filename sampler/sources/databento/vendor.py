"""Databento's historical service, asked through its own client: prices, sizes, downloads.

The client's package is an extra of ours, and slow to load, so it is imported when it is asked.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from sampler.sources.databento.frames import NAME
from storage.errors import FlowError, UsageError

DATASET = "OPRA.PILLAR"
BASE = "https://hist.databento.com"
#: Identifiers in one request, the most that Databento takes.
MOST_CONTRACTS = 2_000
#: Prices that are asked for at the same time.
AT_ONCE = 4
#: What Databento means by a status.
MEANINGS = {
    400: "cannot read the request",
    401: "refuses the key",
    402: "wants the account paid first",
    403: "does not allow this to the account",
    404: "has nothing of the kind",
    422: "does not have this symbol, schema or time",
    429: "allows no more requests for now",
}
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Request:
    """One file of one schema."""

    schema: str
    start: datetime
    end: datetime
    #: Such as ``SPXW.OPT``; used where no identifiers are given.
    parent: str
    #: Identifiers of contracts, which are those of the request's day.
    contracts: Sequence[int] = ()

    def fields(self) -> dict[str, Any]:
        """The client's arguments.

        Returns
        -------
        dict
            By name.
        """
        by_contract = bool(self.contracts)
        return {
            "dataset": DATASET,
            "schema": self.schema,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "symbols": list(self.contracts) if by_contract else self.parent,
            "stype_in": "instrument_id" if by_contract else "parent",
        }


@dataclass(frozen=True, slots=True)
class Price:
    """What some files cost."""

    #: [$]
    dollars: float
    #: What is billed, unpacked. [bytes]
    size: int

    def __add__(self, other: Price) -> Price:
        return Price(self.dollars + other.dollars, self.size + other.size)

    def __str__(self) -> str:
        digits = 2 if self.dollars >= 1 or self.dollars == 0 else 4
        return f"{self.dollars:,.{digits}f} USD ({self.size / 1e6:,.1f} MB)"


FREE = Price(0.0, 0)


class Vendor:
    """Databento's service, or a server on this machine that speaks like it."""

    def __init__(self, key: str, base: str) -> None:
        """Set up without touching the network.

        Parameters
        ----------
        key : the account's key. It appears in no error.
        base : the address, such as ``https://host``.
        """
        self._key, self._base = key, base

    def require_client(self) -> None:
        """Check that the vendor's client is there.

        Raises
        ------
        UsageError
            If its package is not installed.
        """
        if find_spec("databento") is None:
            raise UsageError(
                f"{NAME}: buying needs a package that is not installed:"
                " pip install zerodte-flow[databento]"
            )

    async def prices(self, requests: Sequence[Request]) -> list[Price]:
        """Ask what some files cost, and how large they are. Nothing is bought.

        Parameters
        ----------
        requests : the files.

        Returns
        -------
        list of Price
            One a request.

        Raises
        ------
        FlowError
            If the vendor does not say.
        """
        gate = asyncio.Semaphore(AT_ONCE)

        async def price(request: Request) -> Price:
            async with gate:
                return await asyncio.to_thread(self._price, request)

        return list(await asyncio.gather(*(price(request) for request in requests)))

    async def download(self, request: Request, path: Path) -> None:
        """Buy one file.

        Parameters
        ----------
        request : what to buy.
        path : where it goes, as it comes: DBN, packed with Zstandard. There is no file yet.

        Raises
        ------
        FlowError
            If the vendor does not send it whole.
        """
        await asyncio.to_thread(self._download, request, path)

    def _price(self, request: Request) -> Price:
        from databento.historical.api.metadata import MetadataHttpAPI

        # The class behind Historical.metadata, which also takes an address without encryption:
        # a server on this machine has no certificate.
        api = MetadataHttpAPI(key=self._key, gateway=self._base)
        dollars = _ask(lambda: api.get_cost(**request.fields()))
        size = _ask(lambda: api.get_billable_size(**request.fields()))
        if not (_is_number(dollars) and _is_number(size) and math.isfinite(dollars + size)):
            raise FlowError(f"{NAME} answered a price or a size that is no number")
        if dollars < 0 or size < 0:
            raise FlowError(f"{NAME} answered a price or a size below zero")
        return Price(float(dollars), int(size))

    def _download(self, request: Request, path: Path) -> None:
        from databento.historical.api.timeseries import TimeseriesHttpAPI

        api = TimeseriesHttpAPI(key=self._key, gateway=self._base)
        _ask(lambda: api.get_range(**request.fields(), path=path))


def _ask(call: Callable[[], Answer]) -> Answer:
    """What a call of the client answers; its errors as sentences without the vendor's words.

    Those may repeat the key, or an address.
    """
    import requests
    import zstandard
    from databento.common.error import BentoError, BentoHttpError
    from databento_dbn import DBNError

    try:
        return call()
    except BentoHttpError as error:
        status = int(error.http_status)
        words = MEANINGS.get(status, "failed" if status >= 500 else "refused")
        case = _case(error.json_body)
        raise FlowError(f"{NAME} {words} (answer {status}{case})") from None
    except (BentoError, DBNError, zstandard.ZstdError):
        raise FlowError(f"{NAME} sent a file that is cut off or not in the format DBN") from None
    except requests.JSONDecodeError:
        raise FlowError(f"{NAME} sent an answer that is not JSON") from None
    except requests.RequestException as error:
        slow = isinstance(error, requests.Timeout)
        why = "did not answer in time" if slow else f"cannot be reached: {type(error).__name__}"
        raise FlowError(f"{NAME} {why}") from None
    except OSError as error:
        raise FlowError(f"{NAME}: a file cannot be written: {error.strerror or error}") from None
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise FlowError(
            f"{NAME} answered what its client cannot read: {type(error).__name__}"
        ) from None


def _case(body: Any) -> str:
    """The short name that Databento gives an error, such as ``auth_invalid_key``."""
    detail = body.get("detail") if isinstance(body, dict) else None
    case = detail.get("case") if isinstance(detail, dict) else None
    named = isinstance(case, str) and re.fullmatch(r"[a-z]+(_[a-z]+){1,8}", case)
    return f", {case}" if named else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
