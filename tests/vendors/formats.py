"""Each vendor's format as two functions: a frame's contracts of its day as bytes, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson
from cboe_server import from_frame

from sampler.chain import Frame
from sampler.sources.cboe_json import parse_chain
from sampler.sources.massive.parse import parse_massive_chain, parse_snapshot_page
from sampler.sources.schwab.parse import parse_schwab_chain
from sampler.sources.tradier.parse import parse_tradier_chain, parse_tradier_quotes
from storage.market.calendar import market_day
from tests.vendors.massive import massive_contract, massive_page
from tests.vendors.same_row import only_today
from tests.vendors.schwab import schwab_answer
from tests.vendors.tradier import tradier_chain, tradier_list, tradier_quote


@dataclass(frozen=True)
class Format:
    """How a vendor writes a frame, and how its source reads that."""

    #: The vendor's answers: one, or all that make a frame.
    write: Callable[[Frame], list[bytes]]
    #: The frame of those answers, as of the original frame's symbol and fetch; None: it lists none.
    read: Callable[[list[bytes], Frame], Frame | None]


def _write_tradier(frame: Frame) -> list[bytes]:
    chain = tradier_chain(frame, market_day(frame.quoted_at))
    quotes = tradier_list("quotes", "quote", [tradier_quote(frame)])
    return [orjson.dumps(chain), orjson.dumps(quotes)]


def _read_tradier(bodies: list[bytes], of: Frame) -> Frame | None:
    spot = parse_tradier_quotes(bodies[1], symbol=of.symbol)[of.symbol]
    return parse_tradier_chain(
        bodies[0], symbol=of.symbol, now=of.fetched_at, delay_seconds=0, spot=spot
    )


def _write_massive(frame: Frame) -> list[bytes]:
    today = only_today(frame)
    contracts = [massive_contract(today, i) for i in range(len(today.strike))]
    starts = range(0, max(len(contracts), 1), 250)
    return [orjson.dumps(massive_page(contracts[start : start + 250])) for start in starts]


def _read_massive(bodies: list[bytes], of: Frame) -> Frame | None:
    base = "https://api.massive.com"
    pages = [parse_snapshot_page(body, symbol=of.symbol, base=base) for body in bodies]
    return parse_massive_chain(pages, symbol=of.symbol, now=of.fetched_at, delay_seconds=0)


FORMATS: dict[str, Format] = {
    "cboe": Format(
        lambda frame: [orjson.dumps(from_frame(frame))],
        lambda bodies, of: parse_chain(
            bodies[0], symbol=of.symbol, now=of.fetched_at, delay_seconds=0
        ),
    ),
    "tradier": Format(_write_tradier, _read_tradier),
    "massive": Format(_write_massive, _read_massive),
    "schwab": Format(
        lambda frame: [orjson.dumps(schwab_answer(frame))],
        lambda bodies, of: parse_schwab_chain(bodies[0], symbol=of.symbol, now=of.fetched_at),
    ),
}
