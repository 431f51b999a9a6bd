"""Whole simulated sessions over streams, with faults: each slot is a row, or a gap that says why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import numpy as np
import pytest

from sampler.live.outcome import Outcome
from sampler.sources import open_source, print_stream
from sampler.sources.dxlink import source as dxlink_source
from sampler.sources.dxlink.source import Dxlink
from sampler.sources.synthetic.source import Synthetic
from storage.config.vendor_keys import VendorKeys
from storage.market.calendar import Session, session_on
from storage.record.row import Reason
from tests.vendors import server as faults
from tests.vendors.dxlink import REFRESH, SECRET, DxlinkVendor, streamer_symbol
from tests.vendors.same_row import only_today
from tests.vendors.session import PATIENCE_IN_TROUBLE, play_session
from tests.vendors.theta import ThetaVendor, prints_of
from tests.vendors.tradier import TOKEN, TradierVendor

DOWN, BAD = Reason.SOURCE_DOWN, Reason.BAD_ANSWER
#: What happens before a slot, the reason and words of its gap; no reason: it has a row.
Trouble = tuple[Callable[[Any], None], Reason | None, str]


def fault(injected: Any, path: str = "") -> Callable[[Any], None]:
    """A fault over all answers, or those of a path; it cuts the stream as well."""
    return lambda server: server.inject(injected, when=lambda r: r.path.endswith(path))


def cut(server: Any) -> None:
    server.cuts += 1
    # The server looks every 20 ms.
    time.sleep(0.1)


def silence(server: Any) -> None:
    server.silent = True


def say(raw: bytes) -> Callable[[Any], None]:
    def trouble(server: Any) -> None:
        server.raw = [raw]

    return trouble


def both(*troubles: Callable[[Any], None]) -> Callable[[Any], None]:
    def trouble(server: Any) -> None:
        for each in troubles:
            each(server)

    return trouble


def setting(name: str, value: Any) -> Callable[[Any], None]:
    return lambda server: setattr(server, name, value)


async def prints_to(server: Any, session: Session) -> None:
    """Put the trades of a simulated session on a server's tape."""
    frames = [only_today(f) async for f in Synthetic(seed=7).history("SPX", session)]
    server.tape.put("SPX", prints_of(frames)[0])


def sides_known(outcome: Outcome) -> float:
    """The part of a row's contracts with a volume whose signed volume is known."""
    columns = outcome.record.state[0]
    traded = np.isfinite(columns["volume"]) & columns["listed"].astype(bool)
    return float(np.isfinite(columns["signed_volume"][traded]).mean())


def assert_each_slot(
    outcomes: list[Outcome], session: Session, troubles: Mapping[int, Trouble]
) -> list[int]:
    """Every slot is the row or the gap that is expected; return the slots that have a row."""
    assert len(outcomes) == session.slot_count
    rows = []
    for number, (slot, outcome) in enumerate(zip(session.slots, outcomes, strict=True)):
        _, reason, words = troubles.get(number, (None, None, ""))
        if number == 0:
            reason, words = Reason.NOT_OPEN, ""
        assert outcome.reason is reason, (number, outcome.reason, outcome.detail)
        if outcome.record is None:
            assert words in outcome.detail, (number, outcome.detail)
        else:
            assert outcome.record.row.slot == slot
            rows.append(number)
    measured = [outcomes[number].record.row for number in rows]
    assert measured[-1].total_volume > measured[0].total_volume > 0
    return rows


# A chain that is a stream


class SlowReader(Dxlink):
    """Reads each message too late, while a server wants it to."""

    server: Any = None

    def _take(self, data: Any, fields: Any) -> None:
        if self.server is not None and self.server.slow_reader:
            time.sleep(3.0)
        super()._take(data, fields)


DXLINK: dict[int, Trouble] = {
    20: (cut, None, ""),
    40: (silence, DOWN, "in time"),
    60: (both(cut, setting("refuses_stream", True)), DOWN, "refuses the stream's token"),
    80: (fault(faults.status(401)), DOWN, "refuses the client secret"),
    90: (fault(faults.status(500)), DOWN, "answered 500"),
    100: (say(b'{"type":"FEED_DATA","data":7}'), None, ""),
    110: (fault(faults.html()), BAD, "an HTML page"),
    120: (say(b'{"type":"ERROR","error":"TIMEOUT"}'), None, ""),
    130: (fault(faults.slow(PATIENCE_IN_TROUBLE + 1.0)), DOWN, "did not answer in time"),
    140: (fault(faults.garbage()), BAD, "no JSON"),
    # A reader that is slow for one slot: the ping or the slot runs out of time.
    160: (setting("slow_reader", True), DOWN, ""),
    # A contract that sends nothing after a cut.
    180: (both(cut, lambda server: setattr(server, "mute", {server.quiet})), None, ""),
    **dict.fromkeys(range(200, 204), (fault(faults.status(503)), DOWN, "answered 503")),
    400: (cut, None, ""),
    401: (cut, None, ""),
}


class SlowDxlinkVendor(DxlinkVendor):
    """Says when its reader is to be slow."""

    slow_reader = False
    quiet = ""

    def heal(self) -> None:
        super().heal()
        self.slow_reader = False


async def test_a_session_over_dxlink(monkeypatch: pytest.MonkeyPatch) -> None:
    """780 slots at 30 s; after each cut one row without sides, and then sides again."""
    monkeypatch.setattr(dxlink_source, "BACK_OFF", 0.1)
    session = session_on(date(2026, 8, 19))
    keys = VendorKeys.read(
        {"FLOW_TASTYTRADE_CLIENT_SECRET": SECRET, "FLOW_TASTYTRADE_REFRESH_TOKEN": REFRESH}
    )
    async with SlowDxlinkVendor() as server:
        await prints_to(server, session)
        first = only_today(await Synthetic(seed=7).live("SPX", session.open))
        server.quiet = streamer_symbol(first, int(np.argmax(first.volume)))
        source = SlowReader.open(f"{server.url}?pace=0&timeout=5&budget=5", keys)
        source.server = server
        outcomes = await play_session(
            source, server, "SPX", session, {slot: t[0] for slot, t in DXLINK.items()}, budget=8
        )
        await source.close()
    rows = assert_each_slot(outcomes, session, DXLINK)
    assert len(rows) == 780 - 1 - sum(reason is not None for _, reason, _ in DXLINK.values())
    waiting = False
    for number in range(1, 780):
        waiting = waiting or number in DXLINK
        if number not in rows:
            continue
        row = outcomes[number].record.row
        if number == 161:
            # A slow reader has read everything in the end, or its connection was given up.
            waiting = False
        elif waiting:
            # But for the contract that sends nothing: its count waits as its volume does.
            assert sides_known(outcomes[number]) < 0.01, number
            assert row.detail.multi_leg_share is None
            waiting = False
        else:
            assert sides_known(outcomes[number]) > 0.99, number
    shares = [outcomes[number].record.row.detail.multi_leg_share for number in rows]
    assert sum(share is not None for share in shares) > 700
    # The contract that was quiet after its cut is not taken for one without trades.
    assert "volume_held" in outcomes[180].record.row.flags
    assert "volume_held" not in outcomes[182].record.row.flags


# Streams beside polled chains

#: Slots between two troubles are enough for a new connection.
BESIDE: dict[int, Trouble] = {
    58: (cut, None, ""),
    96: (silence, None, ""),
    134: (both(setting("no_stream", True), cut), None, ""),
    172: (say(b"[]"), None, ""),
    210: (say(b"\x00\xff"), None, ""),
    248: (fault(faults.status(500)), DOWN, "answered 500"),
    286: (fault(faults.html()), BAD, ""),
    324: (fault(faults.slow(PATIENCE_IN_TROUBLE + 1.0)), DOWN, "did not answer in time"),
}
TRADIER = BESIDE | {
    362: (both(setting("refuses_session", True), cut), None, ""),
    400: (fault(faults.status(401)), DOWN, "refuses the token"),
}
THETA = BESIDE | {
    362: (setting("connected", False), None, ""),
    400: (fault(faults.status(571)), DOWN, "is still starting"),
}


def until_sides_are_back(outcome: Outcome) -> float:
    """A third of a second where a row has no sides: the stream is opening. [s]"""
    return 0.3 if outcome.record and sides_known(outcome) < 0.99 else 0.0


@pytest.mark.parametrize(
    ("scheme", "vendor", "troubles"),
    [("tradier", TradierVendor, TRADIER), ("theta", ThetaVendor, THETA)],
    ids=["tradier", "theta"],
)
async def test_a_session_with_a_stream_beside_polled_chains(
    scheme: str, vendor: Any, troubles: dict[int, Trouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short day: a stream's fault costs no row, only sides; they are back some slots later."""
    monkeypatch.setattr(print_stream, "BACK_OFF", 0.05)
    monkeypatch.setattr(print_stream, "LONGEST_BACK_OFF", 0.2)
    for module in ("tradier", "theta"):
        monkeypatch.setattr(f"sampler.sources.{module}.source.STREAM_TIMEOUT", 0.6)
    session = session_on(date(2026, 11, 27))
    async with vendor() as server:
        await prints_to(server, session)
        stream = "yes"
        if scheme == "theta":
            stream = f"{server.url.replace('http', 'ws').removesuffix('/v3')}/v1/events&plan=pro"
        source = open_source(
            f"{scheme}:{server.url}?pace=0&expiries=0&stream={stream}",
            VendorKeys.read({"FLOW_TRADIER_TOKEN": TOKEN}),
        )
        outcomes = await play_session(
            source,
            server,
            "SPX",
            session,
            {slot: t[0] for slot, t in troubles.items()},
            rest=until_sides_are_back,
        )
        await source.close()
    rows = assert_each_slot(outcomes, session, troubles)
    for number, (_, reason, _) in troubles.items():
        if reason is None:
            # In the slot itself or the next one: what cannot be read may come behind a ping.
            near = [sides_known(outcomes[n]) for n in (number, number + 1)]
            assert min(near) == 0, (number, near)
        else:
            # The stream went on while nobody could poll.
            after = [sides_known(outcomes[n]) for n in range(number + 1, number + 19)]
            assert max(after) > 0.9, number
    # The first connection takes its time, too.
    quiet = [n for n in rows if n > 30 and all(not 0 <= n - k < 30 for k in troubles)]
    assert len(quiet) > 80
    known = [number for number in quiet if sides_known(outcomes[number]) > 0.99]
    assert known == quiet, set(quiet) - set(known)
    if scheme == "theta":
        shares = [outcomes[number].record.row.detail.multi_leg_share for number in known[8:]]
        assert all(share is not None for share in shares)
        assert float(np.mean(shares)) > 0.1
