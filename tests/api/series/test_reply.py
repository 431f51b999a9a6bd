"""An answer's bytes from a session in memory: compressed or plain, kept or made anew."""

from __future__ import annotations

import gzip
import zlib
from datetime import timedelta

import brotli
import orjson
import pytest
import zstandard

from api.http.compression import Body, CompressedBodies
from api.series.bars import SessionBars
from api.series.params import Query
from api.series.reply import Reply, compressed_reply, multi_series_reply, series_reply
from api.series.window import AnswerContext, Selection, select_bars
from storage.market.calendar import session_on
from tests.api.rows import FRIDAY, every, utc

UNPACK = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda packed: zstandard.ZstdDecompressor().decompress(packed),
}


def session(first: str = "13:30", last: str = "14:29:30") -> SessionBars:
    day = SessionBars("SPY", FRIDAY, session_on(FRIDAY))
    day.apply_changes([(n, r.row) for n, r in enumerate(every(first, last), 1)], [])
    return day


def selection(day: SessionBars, now: str = "14:30", minutes: int = 60, **context) -> Selection:
    query = Query(symbol="SPY", bar="1m", minutes=minutes, day=None, since=None)
    known = {"known": True, "delay": timedelta(), "node": "here"} | context
    return select_bars(day, query, AnswerContext(**known), utc(now))


async def reply(chosen: Selection, bodies: CompressedBodies, **conditions) -> Reply:
    return await series_reply(
        chosen, bodies, **({"if_none_match": None, "accepts": ""} | conditions)
    )


@pytest.mark.parametrize("coding", UNPACK)
async def test_each_coding_unpacks_to_the_plain_bytes(coding: str) -> None:
    """An hour of bars is worth it; the headers say the coding and the length that is sent."""
    chosen = selection(session())
    plain = await reply(chosen, CompressedBodies())
    packed = await reply(chosen, CompressedBodies(), accepts=coding)
    whole = b"".join(plain.parts)
    assert len(orjson.loads(whole)["bars"]) == 60
    assert UNPACK[coding](b"".join(packed.parts)) == whole
    for sent, length in ((plain, len(whole)), (packed, len(b"".join(packed.parts)))):
        headers = dict(sent.headers)
        assert headers[b"content-length"] == str(length).encode()
        assert headers[b"content-type"] == b"application/json"
        assert headers[b"etag"] == b'W/"120"'
    assert dict(packed.headers)[b"content-encoding"] == coding.encode()
    assert b"content-encoding" not in dict(plain.headers)


@pytest.mark.parametrize(("length", "packed"), [(2047, False), (2048, True)])
async def test_short_bodies_go_out_as_they_are(length: int, packed: bool) -> None:
    """From 2,048 bytes on compression pays."""
    head, body = b"{", Body(b"x" * length)
    sent = await compressed_reply(head, body, [], "gzip")
    assert (b"content-encoding" in dict(sent.headers)) == packed
    whole = b"".join(sent.parts)
    assert (zlib.decompress(whole, 31) if packed else whole) == head + body.plain
    unasked = await compressed_reply(head, body, [], "")
    assert b"content-encoding" not in dict(unasked.headers)


async def test_a_body_with_bars_is_kept() -> None:
    """The same window is joined once; an answer without bars says another reason in a minute."""
    bodies, day = CompressedBodies(), session()
    chosen = selection(day, "14:30:10")
    await reply(chosen, bodies)
    cached = bodies.get(chosen.key)
    assert cached is not None
    # Ten seconds later the window has the same slots.
    later = selection(day, "14:30:20")
    await reply(later, bodies)
    assert bodies.get(later.key) is cached
    nothing = selection(SessionBars("SPY", FRIDAY, session_on(FRIDAY)))
    await reply(nothing, bodies)
    assert bodies.get(nothing.key) is None


async def test_whoever_has_the_answer_gets_none() -> None:
    """304 for the tag of what is there; an answer without bars always comes whole."""
    chosen = selection(session())
    for named, status in (('W/"120"', 304), ('"120"', 304), ("*", 304), ('W/"119"', 200)):
        sent = await reply(chosen, CompressedBodies(), if_none_match=named)
        assert (sent.status, bool(sent.parts)) == (status, status == 200)
    nothing = selection(SessionBars("SPY", FRIDAY, session_on(FRIDAY)))
    assert (await reply(nothing, CompressedBodies(), if_none_match="*")).status == 200


async def test_several_symbols_are_each_what_they_are_alone() -> None:
    """Two answers in one, with both cursors; whoever has both gets none."""
    several = [selection(session()), selection(session("13:30", "13:59"), minutes=390)]
    alone = [orjson.loads(b"".join((await reply(c, CompressedBodies())).parts)) for c in several]

    async def together(**conditions) -> Reply:
        conditions = {"stamped": {"x": 1}, "if_none_match": None, "accepts": ""} | conditions
        return await multi_series_reply(several, CompressedBodies(), **conditions)

    whole = await together()
    body = orjson.loads(b"".join(whole.parts))
    assert body == {"count": 2, "cursor": "120,59", "series": alone, "x": 1}
    tag = dict(whole.headers)[b"etag"].decode()
    assert (await together(if_none_match=tag)).status == 304
    assert (await together(if_none_match='W/"120"')).status == 200


def test_slots_after_the_last_contact_are_not_missing() -> None:
    """While the store is away, only slots count as missing that had passed before.

    The last contact is at 14:00:00: the slot of 13:59:30 had passed then, that of 14:00:00 had not.
    Of a feed that is 15 minutes late they are those of a quarter of an hour before.
    """
    for delay, last in ((timedelta(), "14:00"), (timedelta(minutes=15), "13:45")):
        chosen = selection(
            SessionBars("SPY", FRIDAY, session_on(FRIDAY)), delay=delay, known_at=utc("14:00")
        )
        (run,) = chosen.missing
        assert run.first == utc("13:30").timestamp()
        assert run.until == utc(last).timestamp()
        assert (
            chosen.tag == f'W/"0-{(run.until - run.first) // 30}-k{int(utc("14:00").timestamp())}"'
        )
