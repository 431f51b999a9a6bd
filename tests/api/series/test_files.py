"""Tables in ranges: strong tags of sessions that are over, one reading of those that run."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest
from pyarrow import parquet

from api.series.files import FileRequest, TableFile, TableFiles
from storage.postgres.store import Store
from tests.api.conftest import FLOWING, SERIES, Caller
from tests.api.rows import every, record, utc

FORMATS = ("csv", "ndjson", "parquet", "arrow")
WHOLE = f"{SERIES}SPX?date={FLOWING}&format="
MANY = f"/v1/flow/zero-dte/series?symbols=SPX&date={FLOWING}&format="


@pytest.fixture
def past(flowing: Caller) -> Caller:
    """A client on the day after the synthetic session."""
    flowing.clock.moment = datetime(2026, 11, 28, 15, 0, 0, tzinfo=UTC)
    return flowing


@pytest.mark.parametrize("address", [WHOLE, MANY])
@pytest.mark.parametrize("name", FORMATS)
async def test_a_past_session_in_parts(past: Caller, address: str, name: str) -> None:
    """The parts are those of the whole file, under one strong tag; days later the bytes are equal."""
    whole = await past.get(address + name)
    assert (whole.status_code, whole.headers["Accept-Ranges"]) == (200, "bytes")
    body, size, tag = whole.content, len(whole.content), whole.headers["ETag"]
    assert tag == f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    for header, piece in (
        ("bytes=0-3", body[:4]),
        ("bytes=-8", body[-8:]),
        ("bytes=100-", body[100:]),
        (f"bytes=0-{size + 5}", body),
    ):
        sent = await past.get(address + name, headers={"Range": header})
        assert (sent.status_code, sent.content) == (206, piece)
        first = size - len(piece) if header.startswith("bytes=-") else int(header[6:].split("-")[0])
        assert sent.headers["Content-Range"] == f"bytes {first}-{first + len(piece) - 1}/{size}"
        assert sent.headers["Content-Length"] == str(len(piece))
        assert sent.headers["ETag"] == tag
        assert sent.headers["Content-Type"] == whole.headers["Content-Type"]
    past.clock.moment = datetime(2026, 12, 2, 9, 0, 7, tzinfo=UTC)
    later = await past.get(address + name)
    assert (later.content, later.headers["ETag"]) == (body, tag)


async def test_the_same_bytes_from_another_server(past: Caller) -> None:
    """Neither the time of writing nor the server's name is in the file; the rest of the notes is."""
    first = (await past.get(WHOLE + "parquet")).content
    context = past._transport.app.context
    object.__setattr__(context, "node", "another")
    object.__setattr__(context, "files", TableFiles())
    past.clock.moment = datetime(2026, 12, 2, 9, 0, 7, tzinfo=UTC)
    assert (await past.get(WHOLE + "parquet")).content == first
    [notes] = orjson.loads(parquet.read_schema(pa.BufferReader(first)).metadata[b"zerodte_flow"])
    body = (await past.get(f"{SERIES}SPX?date={FLOWING}")).json()
    assert body.pop("as_of") == "2026-12-02T09:00:07Z"
    assert body["data_as_of"].pop("node") == "another"
    assert notes == body | {"bars": []}


async def test_a_slot_stored_late_changes_the_tag(store: Store, caller: Caller) -> None:
    """The tag is of the bytes: another row, another tag; a range of the old file sends all."""
    await store.write(every("13:30", "13:40"))
    caller.clock.moment = utc("2026-06-08 15:00")
    address = f"{SERIES}SPY?date=2026-06-05&format=csv"
    tag = (await caller.get(address)).headers["ETag"]
    piece = {"Range": "bytes=0-9", "If-Range": tag}
    assert (await caller.get(address, headers=piece)).status_code == 206
    await store.write([record(utc("13:40:30"))])
    # What earlier sessions were is asked of the store anew.
    caller._transport.app.context.sessions._earlier.clear()
    sent = await caller.get(address, headers=piece)
    assert (sent.status_code, sent.headers["ETag"] != tag) == (200, True)
    assert len(sent.content.splitlines()) == 23


async def test_if_range(past: Caller) -> None:
    """Only the same strong tag is answered with a piece: no weak one, no list, no date."""
    tag = (await past.get(WHOLE + "csv")).headers["ETag"]
    for condition, status in (
        (tag, 206),
        (f"W/{tag}", 200),
        (f"{tag}, {tag}", 200),
        ("*", 200),
        ("Fri, 27 Nov 2026 18:00:00 GMT", 200),
        ('"another"', 200),
    ):
        headers = {"Range": "bytes=0-3", "If-Range": condition}
        sent = await past.get(WHOLE + "csv", headers=headers)
        assert sent.status_code == status, condition


async def test_unchanged_before_any_range(past: Caller) -> None:
    """304 to whoever has the file, with or without a range."""
    tag = (await past.get(WHOLE + "csv")).headers["ETag"]
    for headers in ({}, {"Range": "bytes=0-3"}, {"Range": "bytes=99999999-"}):
        sent = await past.get(WHOLE + "csv", headers={"If-None-Match": tag, **headers})
        assert (sent.status_code, sent.content, sent.headers["ETag"]) == (304, b"", tag)


async def test_past_the_end(past: Caller) -> None:
    """416 with the length, and an error as everywhere."""
    size = len((await past.get(WHOLE + "csv")).content)
    sent = await past.get(WHOLE + "csv", headers={"Range": f"bytes={size}-"})
    assert (sent.status_code, sent.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert sent.json()["error"] == "range_not_satisfiable"
    refused = await past.get(WHOLE + "csv", headers={"Range": f"bytes={size}-", "If-Range": '"x"'})
    assert refused.status_code == 200


async def test_several_ranges_are_the_whole_file(past: Caller) -> None:
    """Also other units, and what is no range."""
    whole = (await past.get(WHOLE + "csv")).content
    for header in ("bytes=0-1,4-5", "lines=0-1", "bytes=9-1", "bytes"):
        sent = await past.get(WHOLE + "csv", headers={"Range": header})
        assert (sent.status_code, sent.content) == (200, whole)


async def test_json_has_no_parts(past: Caller) -> None:
    """Its time is of the request, so a range of it would be of nothing that was before."""
    sent = await past.get(f"{SERIES}SPX?date={FLOWING}", headers={"Range": "bytes=0-3"})
    assert sent.status_code == 200
    assert len(sent.json()["bars"]) == 419
    assert "Accept-Ranges" not in sent.headers


async def test_head_has_the_length(past: Caller) -> None:
    """The headers of the file, without the file."""
    sent = await past.head(WHOLE + "parquet")
    whole = await past.get(WHOLE + "parquet")
    for name in ("Content-Length", "ETag", "Accept-Ranges", "Content-Type", "Content-Disposition"):
        assert sent.headers[name] == whole.headers[name]


async def test_a_running_session_is_read_whole(store: Store, caller: Caller) -> None:
    """`none`, a weak tag, and always the newest rows."""
    await store.write(every("14:20", "14:28"))
    address = f"{SERIES}SPY?format=csv"
    sent = await caller.get(address)
    assert sent.headers["Accept-Ranges"] == "none"
    assert sent.headers["ETag"].startswith('W/"')
    assert len(sent.content.splitlines()) == 18


async def test_a_reading_of_a_running_session(store: Store, caller: Caller) -> None:
    """Its parts are of one file, while rows arrive; the next reading has the new rows."""
    now = [100.0]
    files = TableFiles(now=lambda: now[0])
    object.__setattr__(caller._transport.app.context, "files", files)
    await store.write(every("14:20", "14:28"))
    address = f"{SERIES}SPY?format=parquet"
    head = await caller.head(address)
    size = int(head.headers["Content-Length"])
    assert head.headers["Accept-Ranges"] == "none"
    await store.write([record(utc("14:28:30"))])
    pieces = []
    for first in range(0, size, 1000):
        now[0] += 0.1
        piece = await caller.get(address, headers={"Range": f"bytes={first}-{first + 999}"})
        assert (piece.status_code, piece.headers["ETag"]) == (206, head.headers["ETag"])
        assert piece.headers["Content-Range"].endswith(f"/{size}")
        assert "Accept-Ranges" not in piece.headers
        pieces.append(piece.content)
    rows = parquet.read_table(io.BytesIO(b"".join(pieces)))
    assert len(rows) == 17
    assert len(parquet.read_table(io.BytesIO((await caller.get(address)).content))) == 18
    # A reading that goes on keeps its file; one that begins later has the new one.
    now[0] = 159.0
    piece = await caller.get(address, headers={"Range": f"bytes={size - 100}-"})
    assert piece.headers["ETag"] == head.headers["ETag"]
    for begins in ({"Range": "bytes=-8"}, {"Range": "bytes=0-3"}):
        now[0] += 6.0
        again = await caller.get(address, headers=begins)
        assert again.headers["ETag"] != head.headers["ETag"]


async def test_a_reading_that_went_to_another_process(
    store: Store, caller: Caller, open_app: Callable[..., Any]
) -> None:
    """It cannot know the file of the first one: it sends the whole table, never a piece of another."""
    await store.write(every("14:20", "14:28"))
    address = f"{SERIES}SPY?format=parquet"
    head = await caller.head(address)
    await store.write([record(utc("14:28:30"))])
    other = await open_app(store)
    for condition in ({}, {"If-Range": head.headers["ETag"]}):
        sent = await other.get(address, headers={"Range": "bytes=100-199"} | condition)
        assert (sent.status_code, "Content-Range" in sent.headers) == (200, False)
        assert len(parquet.read_table(io.BytesIO(sent.content))) == 18
        assert sent.headers["ETag"] != head.headers["ETag"]
    # Where it has a file of its own, a caller who names the first one's learns it.
    await other.head(address)
    piece = {"Range": "bytes=100-199", "If-Match": head.headers["ETag"]}
    sent = await other.get(address, headers=piece)
    assert (sent.status_code, sent.json()["error"]) == (412, "precondition_failed")
    sent = await caller.get(address, headers=piece)
    assert (sent.status_code, len(sent.content)) == (206, 100)


async def test_two_readers_do_not_share_a_reading(store: Store, caller: Caller) -> None:
    """Another key's, another address's."""
    await store.write(every("14:20", "14:28"))
    first = await caller.head(f"{SERIES}SPY?format=csv", headers={"X-Api-Key": "one"})
    await store.write([record(utc("14:28:30"))])
    other = await caller.head(f"{SERIES}SPY?format=csv", headers={"X-Api-Key": "other"})
    again = await caller.head(f"{SERIES}SPY?format=csv", headers={"X-Api-Key": "one"})
    assert first.headers["ETag"] == again.headers["ETag"] != other.headers["ETag"]


async def test_after_the_close(store: Store, caller: Caller) -> None:
    """Five minutes past close and delay nothing changes with time: from then on there are ranges."""
    await store.write(every("19:50", "19:59:30"))
    for moment, accepted in (("20:04:59", "none"), ("20:05", "bytes")):
        caller.clock.moment = utc(moment)
        sent = await caller.get(f"{SERIES}SPY?format=csv")
        assert sent.headers["Accept-Ranges"] == accepted


def request(header: str | None = None, *, wants_body: bool = True) -> FileRequest:
    return FileRequest(if_none_match=None, range=header, if_range=None, wants_body=wants_body)


async def test_room_is_kept() -> None:
    """The files unused for longest go first; one that is larger than the room is still served."""
    files = TableFiles(room=250)
    written = []

    async def read(reader: str, size: int) -> TableFile:
        async def make() -> TableFile:
            written.append(reader)
            return TableFile(bytes(size), '"x"', [])

        return await files.of_reading(reader, request("bytes=0-9"), make)

    for reader, size in (("a", 100), ("b", 100), ("a", 100), ("c", 100), ("a", 100), ("b", 100)):
        assert len((await read(reader, size)).body) == size
    assert written == ["a", "b", "c", "b"]
    assert len((await read("d", 1000)).body) == 1000
    await read("a", 100)
    assert written == ["a", "b", "c", "b", "d", "a"]


async def test_whoever_comes_second_has_the_first_ones_file() -> None:
    """Two requests that begin at once read one file."""
    files = TableFiles()

    async def slow(make_other: bool) -> TableFile:
        if make_other:
            await files.of_reading("x", request("bytes=0-3"), lambda: slow(make_other=False))
        return TableFile(b"late" if make_other else b"early", '"x"', [])

    file: Any = await files.of_reading("x", request("bytes=0-3"), lambda: slow(make_other=True))
    assert file.body == b"early"
