"""Each vendor's format as two functions: a frame's contracts of its day as bytes, and back."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from cboe_server import from_frame

from sampler.chain import QUOTES, Frame
from sampler.errors import ChainRefused
from sampler.sources.assembler import ChainAssembler
from sampler.sources.cboe_json import parse_chain
from sampler.sources.dxlink.parse import parse_listed_day, read_message
from sampler.sources.dxlink.source import Dxlink, StreamedSymbol
from sampler.sources.massive.parse import parse_massive_chain, parse_snapshot_page
from sampler.sources.orats.parse import parse_orats_chain
from sampler.sources.schwab.parse import parse_schwab_chain
from sampler.sources.theta.answers import read_answer
from sampler.sources.theta.frames import BAR, INTEREST, PRICE, QUOTE, RootAnswers, join_live
from sampler.sources.theta.past import roots_of
from sampler.sources.tradier.parse import parse_tradier_chain, parse_tradier_quotes
from storage.config.vendor_keys import VendorKeys
from storage.market.calendar import market_day, session_on
from storage.record.row import Reason
from tests.vendors.dxlink import FIELDS, REFRESH, SECRET, compact, events_of, nested_chain
from tests.vendors.massive import massive_contract, massive_page
from tests.vendors.orats import orats_csv
from tests.vendors.same_row import only_today
from tests.vendors.schwab import schwab_answer
from tests.vendors.server import Request
from tests.vendors.theta import ThetaVendor
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


def _read_tradier(bodies: list[bytes], sent: Frame) -> Frame | None:
    spot = parse_tradier_quotes(bodies[1], symbol=sent.symbol)[sent.symbol]
    return parse_tradier_chain(
        bodies[0], symbol=sent.symbol, now=sent.fetched_at, delay_seconds=0, spot=spot
    )


def _write_massive(frame: Frame) -> list[bytes]:
    today = only_today(frame)
    contracts = [massive_contract(today, i) for i in range(len(today.strike))]
    starts = range(0, max(len(contracts), 1), 250)
    return [orjson.dumps(massive_page(contracts[start : start + 250])) for start in starts]


def _read_massive(bodies: list[bytes], sent: Frame) -> Frame | None:
    base = "https://api.massive.com"
    pages = [parse_snapshot_page(body, symbol=sent.symbol, base=base) for body in bodies]
    return parse_massive_chain(pages, symbol=sent.symbol, now=sent.fetched_at, delay_seconds=0)


#: Path of a snapshot → what is read of it, in the order of a frame's answers.
_SNAPSHOTS = {"quote": QUOTE, "ohlc": BAR, "open_interest": INTEREST}


def _write_theta(frame: Frame) -> list[bytes]:
    vendor = ThetaVendor()
    vendor.put(frame)
    day = market_day(frame.quoted_at).isoformat()
    queries = [
        (f"/option/snapshot/{path}", {"symbol": root, "expiration": day})
        for root in roots_of(frame.symbol)
        for path in _SNAPSHOTS
    ]
    queries.append(("/index/snapshot/price", {"symbol": frame.symbol}))
    answers = [
        vendor.respond(Request("GET", path, query | {"format": "csv"}, {}, b"", 0, 0.0))
        for path, query in queries
    ]
    # 472 is an answer without data.
    return [answer.body if answer.status == 200 else b"" for answer in answers]


def _read_theta(bodies: list[bytes], sent: Frame) -> Frame | None:
    symbol, day = sent.symbol, market_day(sent.quoted_at)
    roots = []
    for number, root in enumerate(roots_of(symbol)):
        quotes, bars, interest = (
            read_answer(body, names, path=path, symbol=symbol, root=root, expiration=day)
            if body
            else None
            for body, (path, names) in zip(
                bodies[3 * number : 3 * number + 3], _SNAPSHOTS.items(), strict=True
            )
        )
        if quotes is not None:
            answers = RootAnswers(root=root, quotes=quotes, bars=bars, interest=interest)
            roots.append(answers)
    if not roots:
        return None
    spot = float("nan"), float("nan")
    # The source asks for an index's price alone; a stock's stands in the same columns.
    if bodies[-1]:
        price = read_answer(bodies[-1], PRICE, path="price", symbol=symbol)
        spot = float(price["price"][0]), float(price["timestamp"][0])
    return join_live(roots, symbol=symbol, now=sent.fetched_at, day=day, spot=spot)


def _write_dxlink(frame: Frame) -> list[bytes]:
    events = list(events_of(frame))
    messages = [
        {"type": "FEED_DATA", "channel": 1, "data": compact(events[begin : begin + 300])}
        for begin in range(0, len(events), 300)
    ]
    return [orjson.dumps(nested_chain(frame)), *map(orjson.dumps, messages)]


def _read_orats(bodies: list[bytes], sent: Frame) -> Frame | None:
    """Read a past minute's answer: the newest one has no price of the underlying."""
    frame = parse_orats_chain(bodies[0], symbol=sent.symbol, now=sent.fetched_at, with_spot=True)
    # A line is of a call and a put. The tests compare contracts by their place in the frame.
    places: dict[tuple[float, int, str], list[int]] = {}
    for i in range(len(frame.strike)):
        key = (float(frame.strike[i]), int(frame.right[i]), str(frame.root[i]))
        places.setdefault(key, []).append(i)
    wanted = only_today(sent)
    order = [
        places_left.pop(0)
        for i in range(len(wanted.strike))
        if (
            places_left := places.get(
                (float(wanted.strike[i]), int(wanted.right[i]), str(wanted.root[i]))
            )
        )
    ]
    order += [i for left in places.values() for i in left]
    names = ("expiry", "root", "strike", "right", *QUOTES)
    return dataclasses.replace(frame, **{name: getattr(frame, name)[order] for name in names})


_DXLINK_KEYS = VendorKeys.read(
    {"FLOW_TASTYTRADE_CLIENT_SECRET": SECRET, "FLOW_TASTYTRADE_REFRESH_TOKEN": REFRESH}
)


def _read_dxlink(bodies: list[bytes], sent: Frame) -> Frame | None:
    """Read a listing and a connection's messages, as a source does that has just connected."""
    session = session_on(market_day(sent.fetched_at))
    if session is None:
        raise ChainRefused(Reason.MARKET_CLOSED, f"{sent.symbol}: no session")
    listed = parse_listed_day(bodies[0], session.day)
    if not listed.contracts:
        return None
    table = ChainAssembler(sent.symbol, session, source="dxlink", delay_seconds=0)
    table.list_contracts(listed.contracts, adjusted=listed.adjusted)
    table.begin_connection(sent.fetched_at.timestamp())
    source = Dxlink.open("", _DXLINK_KEYS)
    source._by_number[1] = source._underlyings[sent.symbol] = symbol = StreamedSymbol(
        table, 1, 0.0, True
    )
    source._place(symbol, 0)
    source._now, source._now_at = sent.fetched_at.timestamp(), time.monotonic()
    for body in bodies[1:]:
        source._take(read_message(body)["data"], FIELDS)
    return table.frame(sent.fetched_at)


FORMATS: dict[str, Format] = {
    "cboe": Format(
        lambda frame: [orjson.dumps(from_frame(frame))],
        lambda bodies, sent: parse_chain(
            bodies[0], symbol=sent.symbol, now=sent.fetched_at, delay_seconds=0
        ),
    ),
    "tradier": Format(_write_tradier, _read_tradier),
    "massive": Format(_write_massive, _read_massive),
    "schwab": Format(
        lambda frame: [orjson.dumps(schwab_answer(frame))],
        lambda bodies, sent: parse_schwab_chain(bodies[0], symbol=sent.symbol, now=sent.fetched_at),
    ),
    "theta": Format(_write_theta, _read_theta),
    "dxlink": Format(_write_dxlink, _read_dxlink),
    "orats": Format(lambda frame: [orats_csv(only_today(frame))], _read_orats),
}
