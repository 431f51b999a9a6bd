"""ORATS's one-minute chains: columns, times, past sessions minute by minute, and every refusal."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from sampler.chain import Frame, select_chain
from sampler.errors import ChainRefused
from sampler.sources import open_source
from sampler.sources.orats.parse import parse_orats_chain
from sampler.sources.orats.source import Orats
from storage.config.vendor_keys import VendorKeys
from storage.market.calendar import session_on
from storage.record.row import Reason
from tests import forked
from tests.sampler.sources.test_databento import simulated
from tests.vendors import server as faults
from tests.vendors.orats import HEADER, TOKEN, OratsVendor, orats_csv
from tests.vendors.same_row import measured_rows, real_sessions, through_cboe, without

DAY = date(2026, 11, 27)
SESSION = session_on(DAY)
NOW = datetime(2022, 6, 8, 14, 0, 5, tzinfo=UTC)
KEYS = VendorKeys.read({"FLOW_ORATS_TOKEN": TOKEN})
#: A line in the columns of the vendor's documentation, its values by hand.
CELLS = {
    "ticker": "SPY", "tradeDate": "2022-06-08", "expirDate": "2022-06-08", "strike": "412.5",
    "stockPrice": "412.3", "callVolume": "150", "callOpenInterest": "28206", "putVolume": "7",
    "putOpenInterest": "18438", "callBidPrice": "1.8", "callAskPrice": "1.9",
    "putBidPrice": "2.0", "putAskPrice": "2.1", "callMidIv": "0.31", "putMidIv": "0.32",
    "quoteDate": "2022-06-08T13:59:50Z", "expiryTod": "pm",
}  # fmt: skip


def answer(*rows: dict[str, str], header: str = HEADER) -> bytes:
    lines = [header]
    for row in rows:
        lines.append(",".join((CELLS | row).get(name, "0") for name in header.split(",")))
    return ("\n".join(lines) + "\n").encode()


def parse(body: bytes, symbol: str = "SPY", *, with_spot: bool = True) -> Frame:
    return parse_orats_chain(body, symbol=symbol, now=NOW, with_spot=with_spot)


def test_a_line_is_a_call_and_a_put() -> None:
    """Every cell lands in its column; the time is that of the newest quote of today's."""
    frame = parse(
        answer({}, {"strike": "413", "quoteDate": "2022-06-08T13:59:55Z"},
               {"expirDate": "2022-06-10", "quoteDate": "2022-06-08T13:59:59Z"})
    )  # fmt: skip
    assert (frame.symbol, frame.source, frame.delay_seconds) == ("SPY", "orats", 0)
    assert frame.quoted_at == datetime(2022, 6, 8, 13, 59, 55, tzinfo=UTC)
    assert frame.fetched_at == NOW
    assert frame.spot == 412.3
    assert frame.right.tolist() == [1, 1, 1, -1, -1, -1]
    assert frame.strike.tolist() == [412.5, 413.0, 412.5] * 2
    assert str(frame.expiry[2]) == "2022-06-10"
    call, put = 0, 3
    for column, of_call, of_put in (
        ("bid", 1.8, 2.0), ("ask", 1.9, 2.1), ("volume", 150.0, 7.0),
        ("open_interest", 28206.0, 18438.0), ("source_iv", 0.31, 0.32),
    ):  # fmt: skip
        assert (getattr(frame, column)[call], getattr(frame, column)[put]) == (of_call, of_put)
    assert np.isnan(frame.last).all()
    assert np.isnan(parse(answer({}), with_spot=False).spot)


def test_what_is_unknown_is_unknown() -> None:
    """No quote on either side is none, a bid of 0 beside an ask is one; an empty cell is unknown."""
    frame = parse(
        answer({"callBidPrice": "0", "callAskPrice": "0", "callVolume": "", "callMidIv": "0",
                "putBidPrice": "0", "putOpenInterest": "x"})
    )  # fmt: skip
    assert np.isnan([frame.bid[0], frame.ask[0], frame.volume[0], frame.source_iv[0]]).all()
    assert (frame.bid[1], frame.ask[1]) == (0.0, 2.1)
    assert np.isnan(frame.open_interest[1])


def test_a_side_that_is_not_listed() -> None:
    """Of a line in which all cells of one side are empty the other side alone is a contract."""
    ends = ("BidPrice", "AskPrice", "Volume", "OpenInterest", "MidIv")
    calls, puts = ({side + end: "" for end in ends} for side in ("call", "put"))
    frame = parse(answer({}, calls | {"strike": "413"}, puts | {"strike": "414"}))
    assert list(zip(frame.strike.tolist(), frame.right.tolist(), strict=True)) == [
        (412.5, 1), (414.0, 1), (412.5, -1), (413.0, -1),
    ]  # fmt: skip
    # A line without anything is of two contracts that cannot be read.
    assert parse(answer({}, calls | puts)).right.tolist() == [1, 1, -1, -1]


def test_morning_contracts_of_an_index_have_their_root() -> None:
    rows = [{"ticker": "SPX", "expiryTod": tod} for tod in ("pm", "am", "")]
    assert parse(answer(*rows), "SPX").root.tolist() == ["SPXW", "SPX", "SPXW"] * 2
    bare = HEADER.replace(",expiryTod", "")
    assert set(parse(answer(rows[1], header=bare), "SPX").root.tolist()) == {"SPXW"}


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        (b"", Reason.BAD_ANSWER, "answered nothing"),
        (b"<!DOCTYPE html>", Reason.BAD_ANSWER, "an HTML page"),
        (b"\xff\xfe\x00", Reason.BAD_ANSWER, "no CSV"),
        (b'{"message":"x"}', Reason.BAD_ANSWER, "without the column ticker"),
        (answer({}, header=HEADER.replace("putAskPrice", "ask")), Reason.BAD_ANSWER,
         "without the column putAskPrice"),
        (answer({})[:-9], Reason.BAD_ANSWER, "another number of values"),
        (answer({"ticker": "QQQ"}), Reason.BAD_ANSWER, "another symbol"),
        (answer({"expirDate": "soon"}), Reason.BAD_ANSWER, "without a day of expiry"),
        (answer({"quoteDate": ""}), Reason.BAD_ANSWER, "no quote has a time"),
        (answer(), Reason.SOURCE_DOWN, "has no options of it"),
    ],
)  # fmt: skip
def test_what_is_no_chain(body: bytes, reason: Reason, words: str) -> None:
    with pytest.raises(ChainRefused, match=words) as caught:
        parse(body)
    assert caught.value.reason is reason


@pytest.mark.parametrize("name", ["volkit", "schwab"])
def test_the_same_chain_makes_the_same_row_as_through_cboe(name: str) -> None:
    """Real chains without last prints, which this format does not have, agree to the last bit."""
    chains = [without(f, "last", "last_at", "signed_volume") for f in real_sessions()[name]]
    ours = [
        parse_orats_chain(orats_csv(f), symbol=f.symbol, now=f.fetched_at, with_spot=True)
        for f in chains
    ]
    assert measured_rows(ours) == measured_rows(through_cboe(chains))


def minutes(frames: list[Frame]) -> list[Frame]:
    """Every second frame, as of ten seconds before a whole minute."""
    whole = [frame for frame in frames if frame.quoted_at.second < 15]
    return [
        dataclasses.replace(f, quoted_at=f.quoted_at.replace(second=0, microsecond=0) - timedelta(seconds=10))
        for f in whole
    ]  # fmt: skip


async def test_history_is_asked_for_minute_by_minute() -> None:
    """In New York time, in order; a minute without a chain is a refusal with its time."""
    chains = minutes(await simulated(12))
    async with OratsVendor() as server:
        server.put(*chains)
        source = open_source(f"orats:{server.url}?pace=0", KEYS)
        assert isinstance(source, Orats)
        text = await source.announce("SPX", [SESSION])
        assert text.startswith("SPX: orats will be asked 210 requests for 1 sessions")
        assert server.requests == []
        got = [outcome async for outcome in source.history("SPX", SESSION)]
        await source.close()
    frames = [outcome for outcome in got if isinstance(outcome, Frame)]
    assert [f.quoted_at for f in frames] == [f.quoted_at for f in chains]
    first = got[0]
    assert isinstance(first, ChainRefused)
    assert first.quoted_at == SESSION.open + timedelta(minutes=1)
    assert "(the chain of 09:31)" in str(first)
    assert TOKEN not in str(first)
    requested = [request.query["tradeDate"] for request in server.requests]
    assert min(requested) == "202611270931"
    # Eight refusals in a row after the last chain are the end.
    refusals = [outcome for outcome in got[-8:] if isinstance(outcome, ChainRefused)]
    assert len(refusals) == 8
    assert len(requested) < 210


async def test_live_and_past_are_the_same_chain_but_for_spot() -> None:
    """The figures that do not need the underlying's price have the same definition."""
    (chain, *_) = minutes(await simulated(4))
    async with OratsVendor() as server:
        server.put(chain)
        source = open_source(f"orats:{server.url}?pace=0", KEYS)
        now = await source.live("SPX", chain.quoted_at + timedelta(seconds=20))
        past = [
            outcome
            async for outcome in source.history("SPX", SESSION)
            if isinstance(outcome, Frame)
        ]
        await source.close()
    (then,) = past
    for name in ("strike", "right", "bid", "ask", "volume", "open_interest", "root", "expiry"):
        np.testing.assert_array_equal(getattr(now, name), getattr(then, name))
    assert now.quoted_at == then.quoted_at == chain.quoted_at
    assert np.isnan(now.spot)


async def test_a_backfill_twice_writes_the_same_bytes(servers: Any, database: str) -> None:
    """A part of a session; again, nothing changes. The token is in no output."""
    frames = minutes(await simulated(12))
    first = SESSION.open + timedelta(seconds=50)
    frames = [
        dataclasses.replace(f, quoted_at=first + n * timedelta(minutes=1)) for n, f in enumerate(frames)
    ]  # fmt: skip
    async with OratsVendor() as server:
        server.put(*frames)

        def run() -> tuple[str, list[str]]:
            done = forked.run(
                [
                    *(sys.executable, "-m", "sampler", "backfill", "--symbols", "SPX"),
                    *("--from", f"{DAY}", "--to", f"{DAY}", "--source", f"orats:{server.url}?pace=0"),
                ],
                env=os.environ
                | {"FLOW_DATABASE_URL": database, "FLOW_REDIS_URL": servers.redis_url}
                | {"FLOW_ORATS_TOKEN": TOKEN, "FLOW_LOG_LEVEL": "debug"},
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert TOKEN not in done.stdout + done.stderr
            with psycopg.connect(database) as connection:
                tables = ("rows", "profiles", "chains", "gaps")
                stored = [
                    str(line)
                    for table in tables
                    for line in connection.execute(f"select * from live.{table} order by slot")
                ]
            return done.stdout, stored

        text, stored = run()
        assert f"{len(frames)} rows written" in text, text
        again, same = run()
    assert "0 rows written" in again
    assert same == stored


async def test_faults_cost_their_minute_alone() -> None:
    """A bad answer is one refusal among chains."""
    chains = minutes(await simulated(12))
    async with OratsVendor() as server:
        server.put(*chains)
        server.inject(faults.truncated(0.5), when=lambda r: r.query["tradeDate"].endswith("0940"))
        source = open_source(f"orats:{server.url}?pace=0", KEYS)
        got = [outcome async for outcome in source.history("SPX", SESSION)]
        await source.close()
    bad = [
        outcome for outcome in got if isinstance(outcome, ChainRefused) and "09:40" in str(outcome)
    ]
    assert [refusal.reason for refusal in bad] == [Reason.BAD_ANSWER]
    assert sum(isinstance(outcome, Frame) for outcome in got) == len(chains) - 1


def mutated(body: bytes, seed: int) -> None:
    """Change bytes of an answer at random; read it."""
    rng = random.Random(seed)
    content = bytearray(body)
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = rng.randrange(len(content))
        odd = rng.choice([b",", b"\n", b'"', b"-", b"9" * 40, b"\0", b"e", b"nan", b"", b"\xff", rng.randbytes(3)])  # fmt: skip
        content[place : place + rng.choice([0, 1, 1, 30])] = odd
    with contextlib.suppress(ChainRefused):
        frame = parse(bytes(content))
        select_chain(frame, session_on(date(2022, 6, 8)))


FUZZED = answer(
    *({"strike": f"{400 + k}", "expirDate": f"2022-06-{8 + k % 2:02}"} for k in range(6))
)


def test_nonsense_is_refused_in_a_sentence() -> None:
    """Whatever is changed in an answer: a frame comes of it, or a refusal."""
    for seed in range(400):
        mutated(FUZZED, seed)
