"""acme: an example of a source of your own. One JSON answer a symbol, with the quotes of now."""

from __future__ import annotations

from datetime import UTC, date, datetime
from urllib.parse import quote

from sampler.chain import Frame
from sampler.errors import ChainRefused
from sampler.sources import url
from sampler.sources.http import HttpClient, base_of
from sampler.sources.json_fields import decode_json, number_columns
from sampler.sources.live_only import LiveOnly
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.record.row import Reason

NUMBERS = {"strike": "k", "bid": "b", "ask": "a", "open_interest": "oi", "volume": "v"}


class Acme(LiveOnly):
    """What is asked for, and when. A vendor with a key takes it from ``keys``."""

    name, facts = "acme", "real-time quotes; no past sessions"
    delay_seconds, synthetic = 0, False

    def __init__(self, base: str) -> None:
        self.http = HttpClient("acme", base, pace=0.2, timeout=8, budget=12)
        self.remote = self.http.remote

    @classmethod
    def open(cls, rest: str, keys: VendorKeys = NO_KEYS) -> Acme:
        base, _ = url.split_options(rest)
        return cls(base_of("acme", base, "https://feed.example/v1"))

    async def live(self, symbol: str, now: datetime) -> Frame:
        answer = await self.http.get(f"/{quote(symbol, safe='')}", symbol=symbol, now=now)
        return parse_acme_chain(answer.body or b"", symbol, now)


def parse_acme_chain(body: bytes, symbol: str, now: datetime) -> Frame:
    """The format. What it does not have, such as the index's price, is left out: unknown."""
    try:
        answer = decode_json(body)
        contracts = answer["options"]
        columns = number_columns(contracts, NUMBERS) | {
            "right": [{"C": 1, "P": -1}.get(contract["cp"], 0) for contract in contracts],
            "expiry": [date.fromisoformat(contract["day"]) for contract in contracts],
            "root": [contract["root"] for contract in contracts],
        }
        quoted_at = datetime.fromtimestamp(answer["at"], UTC)
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError, OSError) as error:
        why = f"{symbol}: acme answered what is no chain ({type(error).__name__})"
        raise ChainRefused(Reason.BAD_ANSWER, why) from error
    return Frame.of(
        symbol=symbol,
        source="acme",
        delay_seconds=0,
        quoted_at=quoted_at,
        fetched_at=now,
        spot=float("nan"),
        columns=columns,
    )
