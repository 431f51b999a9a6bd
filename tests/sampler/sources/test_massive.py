"""Massive: pages, absent objects, bars of another session, plans, refusals."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from sampler.chain import Frame, chain_of_record, select_chain
from sampler.errors import ChainRefused, NoHistory
from sampler.measure.snapshot import measure_slot
from sampler.sources import open_source
from sampler.sources.massive.parse import (
    SnapshotPage,
    parse_massive_chain,
    parse_next_expiry,
    parse_snapshot_page,
)
from sampler.sources.massive.source import Massive
from sampler.sources.synthetic.source import Synthetic
from storage.config.vendor_keys import VendorKeys
from storage.errors import UsageError
from storage.market.calendar import new_york_time, session_on
from storage.record.row import Reason
from tests.vendors.fuzz import mutated_json
from tests.vendors.massive import (
    KEY,
    MassiveVendor,
    massive_contract,
    massive_page,
    nanoseconds,
)
from tests.vendors.same_row import (
    measured_rows,
    only_today,
    real_sessions,
    through_cboe,
    whole_seconds,
)
from tests.vendors.server import VendorServer, cut, empty, html, slow, status
from tests.vendors.session import PATIENCE_IN_TROUBLE, play_session

DAY = date(2026, 8, 19)
NOW = datetime(2026, 8, 19, 14, 30, 0, tzinfo=UTC)
NS = nanoseconds(NOW.timestamp())
BASE = "https://api.massive.com"
KEYS = VendorKeys.read({"FLOW_MASSIVE_KEY": KEY})
NOT_AUTHORIZED = orjson.dumps(
    {"status": "NOT_AUTHORIZED", "request_id": "0", "message": f"{KEY} is not entitled"}
)


def contract(strike: float = 7700.0, right: str = "call", **changed: Any) -> dict[str, Any]:
    """A contract; an object that is None is absent, and a dict changes fields of its object."""
    whole: dict[str, Any] = {
        "details": {
            "ticker": f"O:SPXW260819{right[0].upper()}{round(strike * 1000):08d}",
            "contract_type": right, "strike_price": strike, "expiration_date": "2026-08-19",
            "shares_per_contract": 100,
        },
        "last_quote": {
            "bid": 7.1, "ask": 7.3, "last_updated": NS - 10**9, "timeframe": "REAL-TIME",
        },
        "last_trade": {"price": 7.2, "sip_timestamp": NS - 5 * 10**9, "size": 1},
        "day": {"volume": 5120, "last_updated": midnight_ns(DAY)},
        "open_interest": 310,
        "implied_volatility": 0.13,
        "underlying_asset": {
            "value": 7710.15, "ticker": "I:SPX", "last_updated": NS - 2 * 10**9,
            "timeframe": "REAL-TIME",
        },
    }  # fmt: skip
    for name, change in changed.items():
        if change is None:
            whole.pop(name)
        elif isinstance(change, dict):
            whole[name] = {k: v for k, v in (whole[name] | change).items() if v != "absent"}
        else:
            whole[name] = change
    return whole


def midnight_ns(day: date) -> int:
    return nanoseconds(new_york_time(day, 0).timestamp())


def read_page(answer: Any, base: str = BASE) -> SnapshotPage:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return parse_snapshot_page(body, symbol="SPX", base=base)


def read(*contracts: Any, delay: int = 0) -> Frame:
    page = read_page(massive_page(list(contracts)))
    frame = parse_massive_chain([page], symbol="SPX", now=NOW, delay_seconds=delay)
    assert frame is not None
    return frame


def first_changed(**changed: Any) -> Frame:
    return read(contract(**changed), contract(7710.0))


@pytest.fixture
async def server() -> AsyncIterator[MassiveVendor]:
    async with MassiveVendor() as server:
        yield server


def source(server: MassiveVendor, options: str = "pace=0&budget=2") -> Massive:
    return Massive.open(f"{server.url}?{options}", KEYS)


async def synthetic_frame(symbol: str = "SPX", now: datetime = NOW) -> Frame:
    return await Synthetic(seed=7).live(symbol, now)


async def refusal(feed: Massive, symbol: str = "SPX", now: datetime = NOW) -> ChainRefused:
    with pytest.raises(ChainRefused) as caught:
        await feed.live(symbol, now)
    assert KEY not in str(caught.value)
    return caught.value


# The format


def test_every_field_lands_in_its_column() -> None:
    """Each column holds the field of the same meaning; nanoseconds become seconds."""
    frame = first_changed(strike=7702.5, right="put")
    assert (frame.symbol, frame.source, frame.delay_seconds) == ("SPX", "massive", 0)
    assert frame.quoted_at == NOW - timedelta(seconds=1)
    assert frame.fetched_at == NOW
    assert (frame.spot, frame.underlying_at) == (7710.15, NOW - timedelta(seconds=2))
    assert (frame.root[0], frame.strike[0], frame.right[0]) == ("SPXW", 7702.5, -1)
    assert frame.expirations == [DAY]
    assert (frame.bid[0], frame.ask[0], frame.last[0]) == (7.1, 7.3, 7.2)
    assert (frame.open_interest[0], frame.volume[0], frame.source_iv[0]) == (310, 5120, 0.13)
    assert frame.last_at[0] == NOW.timestamp() - 5
    assert np.isnan(frame.signed_volume).all()


def test_absent_objects_are_unknown_and_harm_no_other_contract() -> None:
    """What a contract lacks is NaN; one that never traded has volume 0."""
    frame = first_changed(last_quote=None, last_trade=None, day=None, open_interest=None)
    assert np.isnan([frame.bid[0], frame.ask[0], frame.last[0], frame.last_at[0]]).all()
    assert np.isnan(frame.open_interest[0])
    assert frame.volume.tolist() == [0.0, 5120.0]
    assert (frame.bid[1], frame.open_interest[1]) == (7.1, 310)


@pytest.mark.parametrize(
    ("bar", "volume"),
    [
        ({"last_updated": midnight_ns(DAY)}, 5120.0),
        ({"last_updated": NS}, 5120.0),
        ({"last_updated": midnight_ns(DAY) - 1000}, 0.0),
        ({"last_updated": midnight_ns(date(2026, 8, 18))}, 0.0),
        ({"last_updated": midnight_ns(date(2026, 8, 20))}, 0.0),
        ({"last_updated": "absent"}, math.nan),
        ({"last_updated": 0}, math.nan),
        ({"volume": None}, math.nan),
        ({"volume": None, "last_updated": midnight_ns(date(2026, 8, 18))}, 0.0),
    ],
)
def test_a_bar_of_another_session_is_no_volume_today(bar: dict[str, Any], volume: float) -> None:
    """The bar's New York day decides; a bar without a time is of an unknown day."""
    assert first_changed(day=bar).volume.tolist() == pytest.approx([volume, 5120.0], nan_ok=True)


def test_without_any_bar_no_volume_is_known() -> None:
    """A plan without bars says nothing of volume, least of all that it is 0."""
    frame = read(contract(day=None), contract(7710.0, day={"last_updated": "absent"}))
    assert np.isnan(frame.volume).all()


def test_a_contract_that_has_not_traded_since_yesterday_has_no_volume() -> None:
    """A last trade before 20:00 of the evening before speaks against a bar of today."""
    evening = midnight_ns(DAY) - 4 * 3600 * 10**9
    assert first_changed(last_trade={"sip_timestamp": evening - 1000}).volume[0] == 0
    assert first_changed(last_trade={"sip_timestamp": evening}).volume[0] == 5120


@pytest.mark.parametrize(
    ("traded_at", "known"), [(NS, True), (midnight_ns(DAY), True), (midnight_ns(DAY) - 1000, False)]
)
def test_a_last_trade_of_another_day_is_none(traded_at: int, known: bool) -> None:
    """Price and time of a trade of another New York day are both unknown."""
    frame = first_changed(last_trade={"sip_timestamp": traded_at})
    assert np.isfinite(frame.last[0]) == np.isfinite(frame.last_at[0]) == known


def test_the_newest_price_of_the_underlying_counts() -> None:
    """Pages are not one instant; ``price`` and ``value`` are the same thing."""
    newer = {"value": 7711.0, "last_updated": NS - 10**9}
    assert first_changed(underlying_asset=newer).spot == 7711.0
    share = {"value": "absent", "price": 95.5, "last_updated": NS}
    assert first_changed(underlying_asset=share).spot == 95.5
    none = {"value": "absent", "last_updated": "absent"}
    frame = read(contract(underlying_asset=none), contract(7710.0, underlying_asset=None))
    assert math.isnan(frame.spot)
    assert frame.underlying_at is None


def test_the_delay_is_what_the_quotes_say() -> None:
    """DELAYED is 15 minutes; where nothing is said the declared delay counts."""
    assert first_changed(last_quote={"timeframe": "DELAYED"}).delay_seconds == 900
    assert read(contract(), delay=900).delay_seconds == 0
    silent = {"timeframe": "absent"}
    assert read(contract(last_quote=silent), delay=900).delay_seconds == 900
    page = read_page(massive_page([contract(last_quote=silent)]) | {"status": "DELAYED"})
    frame = parse_massive_chain([page], symbol="SPX", now=NOW, delay_seconds=0)
    assert frame is not None
    assert frame.delay_seconds == 900


def test_adjusted_and_unreadable_contracts() -> None:
    """Another size is left out and counted; what cannot be read costs its contract alone."""
    frame = read(
        contract(), contract(7710.0, details={"shares_per_contract": 10}),
        contract(7715.0, details={"contract_type": "other"}), contract(7720.0, details=None),
        contract(7725.0, details={"strike_price": "x"}), contract(7730.0, right="put"),
    )  # fmt: skip
    assert frame.dropped == {"adjusted": 1}
    chain = select_chain(frame, session_on(DAY))
    assert chain.dropped == {"adjusted": 1, "bad_strike": 2, "bad_right": 1}
    assert chain.listed.sum() == 2


def test_both_kinds_of_adjusted_contracts_are_one_count() -> None:
    """One is told by its size here, another by the digit of its root in the selection."""
    digit = {"ticker": "O:SPXW1260819C07700000"}
    frame = read(contract(), contract(details=digit), contract(details={"shares_per_contract": 7}))
    assert select_chain(frame, session_on(DAY)).dropped == {"adjusted": 2}


def test_morning_settled_contracts_are_told_by_their_root() -> None:
    """``O:SPX…`` settles in the morning, ``O:SPXW…`` on the close."""
    morning = {"ticker": "O:SPX260819C07700000"}
    chain = select_chain(read(contract(), contract(details=morning)), session_on(DAY))
    assert chain.dropped == {"am_settled": 1}


def test_the_quotes_time_is_that_of_two_sided_quotes_and_not_of_the_future() -> None:
    """A quote without a bid does not make the chain newer, nor does one an hour ahead."""
    frame = read(
        contract(last_quote={"last_updated": NS - 8 * 10**9}),
        contract(7705.0, last_quote={"bid": 0.0}),
        contract(7710.0, last_quote={"last_updated": NS + 3600 * 10**9}),
    )
    assert frame.quoted_at == NOW - timedelta(seconds=8)


@pytest.mark.parametrize(
    ("body", "reason", "says"),
    [
        (b"", Reason.BAD_ANSWER, "nothing"),
        (b"<!DOCTYPE html><html>", Reason.BAD_ANSWER, "an HTML page"),
        (b"x" + KEY.encode(), Reason.BAD_ANSWER, "no JSON"),
        (b"[" * 100_000, Reason.BAD_ANSWER, "no JSON"),
        (b"[]", Reason.BAD_ANSWER, "no object"),
        (b"{}", Reason.BAD_ANSWER, "JSON without results"),
        (b'{"status":"ERROR","error":"x"}', Reason.BAD_ANSWER, "an error in place of data"),
        (b'{"status":["OK"],"results":[]}', Reason.BAD_ANSWER, "an error in place of data"),
        (b'{"status":"OK","results":7}', Reason.BAD_ANSWER, "no list"),
        (b'{"status":"OK","results":[7]}', Reason.BAD_ANSWER, "no objects"),
        (NOT_AUTHORIZED, Reason.SOURCE_DOWN, "Options Starter"),
    ],
)
def test_what_is_no_page_is_refused(body: bytes, reason: Reason, says: str) -> None:
    """A body that is no page is refused with a sentence that says what it is."""
    with pytest.raises(ChainRefused) as caught:
        read_page(body)
    assert caught.value.reason is reason
    assert says in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_plan_without_quotes_and_quotes_that_have_not_begun_are_two_things() -> None:
    """No quote object at all is the plan's; quotes that are null are the hour's."""
    with pytest.raises(ChainRefused, match="the plan Options Advanced has them") as caught:
        read(contract(last_quote=None), contract(7710.0, last_quote=None))
    assert caught.value.reason is Reason.SOURCE_DOWN
    early = contract()
    early["last_quote"] = None
    with pytest.raises(ChainRefused, match="quoting has not begun") as caught:
        read(early)
    assert caught.value.reason is Reason.BAD_ANSWER


@pytest.mark.parametrize(
    ("next_url", "base", "path"),
    [
        (None, BASE, None),
        ("", BASE, None),
        (f"{BASE}/v3/snapshot/options/I:SPX?cursor=abc", BASE,
         "/v3/snapshot/options/I:SPX?cursor=abc"),
        (f"{BASE}/v3/snapshot/options/I:SPX?cursor=a%2Bb&apiKey={KEY}", BASE,
         "/v3/snapshot/options/I:SPX?cursor=a%2Bb"),
        ("https://api.polygon.io/v3/snapshot/options/I:SPX?cursor=abc", BASE,
         "/v3/snapshot/options/I:SPX?cursor=abc"),
        (f"{BASE}/v3/snapshot/options/SPY?cursor=abc", "http://127.0.0.1:9/base",
         "/v3/snapshot/options/SPY?cursor=abc"),
        ("http://127.0.0.1:9/base/v3/snapshot/options/SPY?cursor=abc", "http://127.0.0.1:9/base",
         "/v3/snapshot/options/SPY?cursor=abc"),
    ],
)  # fmt: skip
def test_a_next_page_is_asked_of_the_sources_own_base(
    next_url: str | None, base: str, path: str | None
) -> None:
    """Path and query go on, without a key."""
    assert read_page(massive_page([contract()], next_url), base).next_path == path


@pytest.mark.parametrize(
    "next_url",
    [
        "https://example.com/v3/snapshot/options/I:SPX?cursor=abc",
        "https://api.massive.com.example.com/v3/snapshot/options/I:SPX?cursor=abc",
        "https://api.massive.com@example.com/v3/snapshot/options/I:SPX?cursor=abc",
        "http://api.massive.com/v3/snapshot/options/I:SPX?cursor=abc",
        "https://api.massive.com/v1/other?cursor=abc",
        "//example.com/v3/snapshot/options/I:SPX",
        "https://[::1/v3/snapshot/options/I:SPX",
        7,
    ],
)
def test_a_next_page_elsewhere_is_refused(next_url: Any) -> None:
    """The key goes to no other host, nor over plain http."""
    with pytest.raises(ChainRefused, match="not on its own host"):
        read_page(massive_page([contract()], next_url))


def test_the_clients_own_example(shared: Path) -> None:
    """The example of Massive's own client: one share option, a bar of another day."""
    body = (shared / "vendors/massive/v3_snapshot_options_AAPL.json").read_bytes()
    now = datetime(2022, 4, 29, 17, 44, 30, tzinfo=UTC)
    page = parse_snapshot_page(body, symbol="AAPL", base=BASE)
    frame = parse_massive_chain([page], symbol="AAPL", now=now, delay_seconds=0)
    assert frame is not None
    assert page.next_path is None
    assert frame.quoted_at == datetime(2022, 4, 29, 17, 44, 20, 800060, tzinfo=UTC)
    assert (frame.root[0], frame.strike[0], frame.right[0]) == ("AAPL", 150.0, 1)
    assert (frame.bid[0], frame.ask[0], frame.open_interest[0]) == (28.9, 29.25, 8133)
    assert frame.expirations == [date(2023, 6, 16)]
    assert frame.spot == 159.9606
    assert frame.volume[0] == 8  # the bar's time is that day's midnight in New York
    assert np.isnan(frame.last[0])  # traded in 2023
    single = (shared / "vendors/massive/v3_snapshot_options_AAPL_contract.json").read_bytes()
    assert len(parse_snapshot_page(single, symbol="AAPL", base=BASE).contracts) == 1


# One chain, every format


@pytest.mark.parametrize("name", ["volkit", "schwab", "lean"])
def test_a_real_chain_makes_the_same_row_as_through_cboe(name: str) -> None:
    """Real chains in both formats agree in every figure, to the last bit."""
    frames = real_sessions()[name]
    assert measured_rows(map(_through_massive, frames)) == measured_rows(through_cboe(frames))


async def test_a_simulated_session_makes_the_same_rows_as_through_cboe() -> None:
    """Rows with flow, after each other: what both formats determine is the same to the last bit."""
    times = [NOW + timedelta(seconds=30 * i) for i in range(4)]
    frames = [whole_seconds(only_today(await synthetic_frame(now=now))) for now in times]
    ours, theirs = measured_rows(map(_through_massive, frames)), measured_rows(through_cboe(frames))
    assert ours == theirs
    assert ours[-1]["total_volume"] > ours[0]["total_volume"] > 0
    assert 0 < ours[-1]["classified_share"] <= 1


def _through_massive(frame: Frame) -> Frame:
    """In two pages."""
    contracts = [massive_contract(frame, i) for i in range(len(frame.strike))]
    pages = [
        parse_snapshot_page(orjson.dumps(massive_page(page)), symbol=frame.symbol, base=BASE)
        for page in (contracts[:100], contracts[100:])
    ]
    read_again = parse_massive_chain(
        pages, symbol=frame.symbol, now=frame.fetched_at, delay_seconds=0
    )
    assert read_again is not None
    return read_again


# A session, and answers at random


def _inject(fault: Any, path: str = "") -> Any:
    def trouble(server: VendorServer) -> None:
        server.inject(fault, when=lambda request: path in f"{request.path}?{request.query}")

    return trouble


def _freeze(server: VendorServer) -> None:
    server.frozen = True


def _body(body: bytes) -> Any:
    return lambda answer: replace(answer, headers={}, body=body)


#: Slot → what the vendor does, and the reason and words of the gap.
TROUBLES: dict[int, tuple[Any, Reason, str]] = {
    5: (_inject(status(503)), Reason.SOURCE_DOWN, "massive answered 503"),
    6: (_inject(status(401)), Reason.SOURCE_DOWN, "massive refuses the key"),
    7: (_inject(status(403, body=NOT_AUTHORIZED)), Reason.SOURCE_DOWN, "plan Options Starter"),
    10: (_inject(html(403)), Reason.SOURCE_DOWN, "a firewall's page"),
    11: (_inject(html()), Reason.BAD_ANSWER, "massive answered an HTML page"),
    15: (_inject(status(499)), Reason.SOURCE_DOWN, "massive answered 499"),
    16: (_inject(empty()), Reason.BAD_ANSWER, "massive answered nothing"),
    20: (_inject(cut(), "cursor"), Reason.SOURCE_DOWN, "SPX: massive "),
    21: (
        _inject(slow(PATIENCE_IN_TROUBLE + 1.0), "cursor"),
        Reason.SOURCE_DOWN,
        "did not answer in time",
    ),
    22: (_inject(status(500), "cursor"), Reason.SOURCE_DOWN, "massive answered 500"),
    25: (
        _inject(_body(b'{"status":"OK","results":[]}'), "snapshot"),
        Reason.BAD_ANSWER,
        "lists as an expiry",
    ),
    35: (_freeze, Reason.UNCHANGED, "nothing newer"),
    **dict.fromkeys(range(101, 105), (_freeze, Reason.UNCHANGED, "nothing newer")),
    **dict.fromkeys(range(105, 110), (_freeze, Reason.STALE, "quotes are")),
}


async def test_a_session_with_faults_is_rows_and_gaps_with_reasons(server: MassiveVendor) -> None:
    """A short session at 30 s: 420 slots, each a row on its own slot, or the vendor's reason."""
    feed = source(server, "pace=0&expiries=0")
    server.page_size = 100
    session = session_on(date(2026, 11, 27))
    assert session is not None
    outcomes = await play_session(
        feed, server, "SPX", session, {slot: t[0] for slot, t in TROUBLES.items()}
    )
    await feed.close()
    assert len(outcomes) == session.slot_count == 420
    reasons = {0: Reason.NOT_OPEN, **{slot: t[1] for slot, t in TROUBLES.items()}}
    words = {slot: t[2] for slot, t in TROUBLES.items()}
    for number, (slot, outcome) in enumerate(zip(session.slots, outcomes, strict=True)):
        assert outcome.reason is reasons.get(number), (number, outcome.reason, outcome.detail)
        assert words.get(number, "") in outcome.detail
        assert outcome.record is None or outcome.record.row.slot == slot
    rows = [outcome.record.row for outcome in outcomes if outcome.record]
    assert len(rows) == 420 - len(reasons)
    assert rows[-1].total_volume > rows[0].total_volume > 0


def fuzz(cases: int, seed: int) -> Counter[str]:
    """Parse mutated answers of both kinds; count what came of them."""
    rng = random.Random(seed)
    contracts = [contract(7690.0 + 5 * i, right) for i in range(3) for right in ("call", "put")]
    next_url = f"{BASE}/v3/snapshot/options/I:SPX?cursor=abc"
    bodies = {
        "page": json.dumps(massive_page(contracts, next_url)).encode(),
        "days": json.dumps(massive_page([{"expiration_date": "2026-08-20"}])).encode(),
    }
    outcomes: Counter[str] = Counter()
    for _ in range(cases):
        kind = rng.choice(("page", "page", "page", "days"))
        body = mutated_json(bodies[kind], rng)
        try:
            if kind == "days":
                parse_next_expiry(body, symbol="SPX")
                outcomes["days"] += 1
                continue
            pages = [read_page(body)]
            frame = parse_massive_chain(pages, symbol="SPX", now=NOW, delay_seconds=0)
            if frame is not None:
                chain = select_chain(frame, session_on(DAY))
                measure_slot(chain, None, oi_confidence=0.43)
            outcomes["none" if frame is None else "row"] += 1
        except ChainRefused as refused:
            outcomes[str(refused.reason)] += 1
    return outcomes


def test_answers_at_random_are_refused_or_read() -> None:
    """500 mutated answers: a row, nothing, or a refusal; never another exception."""
    outcomes = fuzz(500, seed=1)
    assert outcomes["row"] > 50
    assert outcomes["bad_answer"] > 50


# Over the network


async def test_all_pages_are_fetched_with_the_key_as_a_header(server: MassiveVendor) -> None:
    """An index is asked for as ``I:SPX``, a fund by its name; the key is in no address."""
    frame = await synthetic_frame()
    server.put(frame, await synthetic_frame("SPY"))
    server.page_size = 50
    feed = source(server)
    got = await feed.live("SPX", NOW)
    todays = frame.expiry == np.datetime64(DAY)
    assert len(got.strike) == todays.sum() > 100
    assert np.array_equal(got.bid, frame.bid[todays], equal_nan=True)
    assert np.array_equal(got.volume, frame.volume[todays])
    assert len(server.requests) == math.ceil(todays.sum() / 50)
    first = server.requests[0]
    assert (first.path, first.query) == (
        "/v3/snapshot/options/I:SPX", {"expiration_date": "2026-08-19", "limit": "250"},
    )  # fmt: skip
    await feed.live("SPY", NOW)
    assert server.requests[-1].path == "/v3/snapshot/options/SPY"
    for request in server.requests:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in f"{request.path}{request.query}"
    await feed.close()


async def test_a_row_says_how_far_apart_its_pages_are(server: MassiveVendor) -> None:
    """Two pages of which the first is slow: the row, and the row measured again, have its time."""
    server.put(await synthetic_frame())
    server.page_size = 200
    feed = source(server)
    server.inject(slow(0.3), when=lambda request: "cursor" not in request.query)
    frame = await feed.live("SPX", NOW)
    assert frame.pages_seconds == pytest.approx(0.3, abs=0.25)
    assert frame.pages_seconds > 0.29
    session = session_on(DAY)
    record = measure_slot(select_chain(frame, session), None, oi_confidence=0.43)
    assert record.row.detail.pages_seconds == frame.pages_seconds
    again = measure_slot(chain_of_record(record, session), None, oi_confidence=0.43)
    assert again.row == record.row
    one_piece = measure_slot(
        select_chain(replace(frame, pages_seconds=None), session), None, oi_confidence=0.43
    )
    assert one_piece.row.detail.pages_seconds is None
    assert "pages_seconds" not in one_piece.state[1]
    await feed.close()


async def test_pages_may_name_massives_own_host(server: MassiveVendor) -> None:
    """Behind another base, a next page on ``api.massive.com`` is asked of that base."""
    server.put(await synthetic_frame())
    server.page_size, server.next_base = 200, BASE
    feed = source(server)
    await feed.live("SPX", NOW)
    assert len(server.requests) == 2
    server.next_base = "https://example.com"
    assert "not on its own host" in str(await refusal(feed))
    await feed.close()


async def test_pages_without_end_are_refused(server: MassiveVendor) -> None:
    """A next page that leads to itself is not followed for ever."""
    server.put(await synthetic_frame())
    feed = source(server)
    loop = massive_page([contract()], f"{server.url}/v3/snapshot/options/I:SPX?cursor=2026-08-19_0")
    server.inject(_body(orjson.dumps(loop)))
    assert "over 40 pages" in str(await refusal(feed))
    assert len(server.requests) == 40
    await feed.close()


async def test_a_delayed_plan_says_so_in_the_frame(server: MassiveVendor) -> None:
    """The frame has 15 minutes whatever was declared; the option makes slots due later."""
    server.put(await synthetic_frame())
    server.delayed = True
    feed = source(server)
    assert (await feed.live("SPX", NOW + timedelta(minutes=15))).delay_seconds == 900
    assert feed.delay_seconds == 0
    assert source(server, "delay=900").delay_seconds == 900
    await feed.close()


async def test_on_a_day_without_a_session_nothing_is_asked(server: MassiveVendor) -> None:
    """A Saturday and a holiday are said to be such, at no cost to the vendor."""
    server.put(await synthetic_frame())
    feed = source(server)
    for day, word in ((date(2026, 8, 22), "weekend"), (date(2026, 11, 26), "holiday")):
        noon = datetime(day.year, day.month, day.day, 17, tzinfo=UTC)
        refused = await refusal(feed, now=noon)
        assert refused.reason is Reason.MARKET_CLOSED
        assert word in str(refused)
    assert server.requests == []
    await feed.close()


async def test_a_symbol_without_todays_expiry(server: MassiveVendor) -> None:
    """The next expiry comes with the refusal; a symbol without options is one sentence."""
    whole = await synthetic_frame()
    later = whole.expiry > np.datetime64(DAY)
    columns = {
        name: getattr(whole, name)[later]
        for name in ("expiry", "root", "strike", "right", "bid", "ask", "open_interest")
    }
    server.put(
        Frame.of(
            symbol="NVDA", source="x", delay_seconds=0, quoted_at=NOW, fetched_at=NOW,
            spot=100.0, columns=columns,
        )
    )  # fmt: skip
    feed = source(server)
    refused = await refusal(feed, "NVDA")
    assert refused.reason is Reason.NO_ZERO_DTE
    assert refused.next_expiry == min(whole.expiry[later]).item()
    nothing = await refusal(feed, "ZZZZ")
    assert (nothing.reason, str(nothing)) == (
        Reason.SOURCE_DOWN, "ZZZZ: massive has no options of it",
    )  # fmt: skip
    server.put(whole)
    server.inject(_body(b'{"status":"OK","results":[]}'), when=lambda r: "snapshot" in r.path)
    listed = await refusal(feed)
    assert listed.reason is Reason.BAD_ANSWER
    assert "which it lists as an expiry" in str(listed)
    await feed.close()


async def test_a_429_is_tried_again_and_then_a_sentence(server: MassiveVendor) -> None:
    """One passes within the budget; the free plan's five a minute end in a refusal."""
    server.put(await synthetic_frame())
    feed = source(server)
    server.inject(status(429), times=1)
    assert (await feed.live("SPX", NOW)).symbol == "SPX"
    server.heal()
    server.inject(status(429, {"Retry-After": "30"}))
    assert "asked for a pause (answer 429)" in str(await refusal(feed))
    await feed.close()


async def test_a_plan_without_snapshots_is_named(server: MassiveVendor) -> None:
    """403 with NOT_AUTHORIZED is the plan's; another 403 forbids the request."""
    server.put(await synthetic_frame())
    feed = source(server)
    server.inject(status(403, body=NOT_AUTHORIZED))
    assert "snapshots of chains begin with the plan Options Starter" in str(await refusal(feed))
    server.heal()
    server.inject(status(403))
    assert "forbids this request (answer 403)" in str(await refusal(feed))
    await feed.close()


async def test_symbols_at_the_same_time(server: MassiveVendor) -> None:
    """Each symbol has its own pages."""
    for symbol in ("SPX", "SPY", "QQQ"):
        server.put(await synthetic_frame(symbol))
    server.page_size = 60
    feed = source(server)
    frames = await asyncio.gather(*(feed.live(s, NOW) for s in ("SPX", "SPY", "QQQ")))
    assert [frame.symbol for frame in frames] == ["SPX", "SPY", "QQQ"]
    for frame in frames:
        theirs = server.newest(frame.symbol)
        assert theirs is not None
        assert frame.spot == theirs.spot
    await feed.close()


def test_a_url_that_makes_no_sense_is_a_usage_error() -> None:
    """Without a key, with an unknown option, or over plain http: before anything is asked."""
    with pytest.raises(UsageError, match="FLOW_MASSIVE_KEY"):
        Massive.open("", VendorKeys())
    for rest in ("?x=1", "?delay=-1", "?pace=no", "ftp://host", "http://example.com"):
        with pytest.raises(UsageError):
            Massive.open(rest, KEYS)
    feed = open_source("massive:", KEYS)
    assert isinstance(feed, Massive)
    assert (feed.http.base, feed.remote) == (BASE, True)


def test_there_is_no_history() -> None:
    """Past chains are not read."""
    feed = Massive.open("", KEYS)
    assert feed.newest("SPX") is None
    with pytest.raises(NoHistory, match="massive: keeps no history"):
        feed.history("SPX", session_on(DAY))  # type: ignore[arg-type]


async def test_the_key_is_in_no_log(
    server: MassiveVendor, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither pages nor a refusal log the key, at any level."""
    caplog.set_level(logging.DEBUG)
    server.put(await synthetic_frame())
    server.page_size = 100
    feed = source(server)
    await feed.live("SPX", NOW)
    server.inject(status(403, body=NOT_AUTHORIZED))
    await refusal(feed)
    assert "cursor=" in caplog.text
    assert KEY not in caplog.text
    await feed.close()
