"""One chain, every format: what is measured from a vendor's answer, beside Cboe's of the same chain."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import orjson

from sampler.chain import QUOTES, Frame, select_chain
from sampler.measure.snapshot import measure_slot
from sampler.sources.cboe_json import parse_chain
from storage.market.calendar import market_day, session_on
from storage.record.row import SlotRecord
from tests import real_chains
from tests.cboe_server import from_frame

#: Fields of a row that say where it came from, and when it was fetched.
ORIGIN = {"source", "delay_seconds", "fetched_at", "quote_age_seconds"}


def real_sessions() -> dict[str, list[Frame]]:
    """Recorded chains as frames of today's contracts: single chains, and minutes in order."""
    return {
        "volkit": [only_today(real_chains.volkit().frame)],
        "schwab": [only_today(whole_seconds(real_chains.schwab().frame))],
        "lean": [
            only_today(chain.frame)
            for chain in list(real_chains.lean_minutes(real_chains.LEAN_DAYS[0]))[100:110]
        ],
    }


def only_today(frame: Frame) -> Frame:
    """The contracts that expire on the day of the quotes."""
    which = frame.expiry == np.datetime64(market_day(frame.quoted_at))
    names = ("expiry", "root", "strike", "right", *QUOTES)
    return dataclasses.replace(frame, **{name: getattr(frame, name)[which] for name in names})


def whole_seconds(frame: Frame) -> Frame:
    """Times of trades without their fraction, which Cboe's format does not have."""
    return dataclasses.replace(frame, last_at=np.floor(frame.last_at))


def without(frame: Frame, *names: str) -> Frame:
    """The same with some columns, or its ``spot``, unknown."""
    unknown = np.full(len(frame.strike), np.nan)
    spot = {"spot": float("nan")} if "spot" in names else {}
    return dataclasses.replace(frame, **{n: unknown for n in names if n != "spot"}, **spot)


def through_cboe(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Each frame, written as Cboe's answer and read again."""
    for frame in frames:
        body = orjson.dumps(from_frame(frame))
        yield parse_chain(body, symbol=frame.symbol, now=frame.fetched_at, delay_seconds=0)


def measured_rows(frames: Iterable[Frame]) -> list[dict[str, Any]]:
    """The rows of some frames in order, without what says where they came from, and profiles."""
    rows = []
    previous: SlotRecord | None = None
    for frame in frames:
        chain = select_chain(frame, session_on(market_day(frame.quoted_at)))
        previous = measure_slot(chain, previous, oi_confidence=0.43)
        row = dataclasses.asdict(previous.row)
        profile = {name: values.tobytes() for name, values in previous.profile.items()}
        rows.append({k: v for k, v in row.items() if k not in ORIGIN} | profile)
    return rows
