"""What ORATS answers: a line of CSV for each expiry and strike, call and put beside each other."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Floats, Frame
from sampler.errors import ChainRefused
from sampler.sources.json_fields import day_of, finite
from storage.market.calendar import market_day
from storage.market.instruments import CLOSING_ROOTS, instrument_of
from storage.record.row import Reason

#: The vendor's name, as rows and source URLs have it.
NAME = "orats"
#: Column of a frame → what follows ``call`` or ``put`` in the answer's.
SIDES = {
    "bid": "BidPrice",
    "ask": "AskPrice",
    "volume": "Volume",
    "open_interest": "OpenInterest",
    "source_iv": "MidIv",
}
TEXTS = ("ticker", "expirDate", "quoteDate")
NUMBERS = ("strike", "stockPrice")
#: Says whether contracts settle on the morning's prices; absent: on the close.
SETTLES = "expiryTod"


def parse_orats_chain(body: bytes, *, symbol: str, now: datetime, with_spot: bool) -> Frame:
    """A frame from the answer of a chain of one minute.

    Parameters
    ----------
    body : the answer, unpacked.
    symbol : the underlying that was asked for.
    now : when it was asked for, UTC.
    with_spot : whether ``stockPrice`` is a price. ORATS derives that of the last 15 minutes from
        put-call parity, which the measurement does by itself.

    Returns
    -------
    Frame
        All contracts of all expiries; a side of a strike of which nothing is known beside the
        other is not listed. Its time is that of the newest quote of today's.

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong; ``source_down`` for an answer without a contract.
    """
    texts, numbers, settles = _columns(body, symbol)
    ours = np.array([text.strip().upper() == symbol for text in texts["ticker"]], np.bool_)
    if not len(ours):
        raise ChainRefused(Reason.SOURCE_DOWN, f"{symbol}: {NAME} has no options of it")
    expiry = np.array([day_of(text) for text in texts["expirDate"]], "datetime64[D]")
    moments = np.array([_seconds(text) for text in texts["quoteDate"]])
    if not (ours & ~np.isnat(expiry)).any():
        raise _bad(symbol, "a chain of another symbol, or without a day of expiry")
    today = ours & (expiry == np.datetime64(market_day(now)))
    known = moments[(today if today.any() else ours) & np.isfinite(moments)]
    if not len(known):
        raise _bad(symbol, "a chain in which no quote has a time")
    keep = np.flatnonzero(ours & ~np.isnat(expiry)).tolist()
    morning = sorted(instrument_of(symbol).am_roots)
    closing = CLOSING_ROOTS.get(symbol, symbol)
    roots = [
        morning[0] if morning and settles[i].strip().lower() == "am" else closing for i in keep
    ]
    spots = numbers["stockPrice"][today]
    spots = spots[spots > 0]
    columns: dict[str, Floats] = {}
    for name, end in SIDES.items():
        columns[name] = np.concatenate([numbers[side + end][keep] for side in ("call", "put")])
    # A line is of both sides: of one that is not listed it can have nothing.
    known_side = np.isfinite(np.stack(list(columns.values()))).any(axis=0)
    other_side = np.roll(known_side, len(keep))
    listed = known_side | ~other_side
    nothing = ~((columns["bid"] > 0) | (columns["ask"] > 0))
    columns["bid"][nothing] = columns["ask"][nothing] = np.nan
    iv = columns["source_iv"]
    return Frame.of(
        symbol=symbol,
        source=NAME,
        delay_seconds=0,
        quoted_at=datetime.fromtimestamp(float(known.max()), UTC),
        fetched_at=now,
        spot=float(spots[0]) if with_spot and len(spots) else math.nan,
        columns={
            name: values[listed]
            for name, values in {
                **columns,
                "source_iv": np.where(iv > 0, iv, np.nan),
                "expiry": np.tile(expiry[keep], 2),
                "root": np.array(roots * 2, np.str_),
                "strike": np.tile(numbers["strike"][keep], 2),
                "right": np.repeat([1, -1], len(keep)),
            }.items()
        },
    )


def _columns(
    body: bytes, symbol: str
) -> tuple[dict[str, Sequence[str]], dict[str, Floats], Sequence[str]]:
    """Texts and numbers by name, and when each line's contracts settle."""
    start = body[:512].lower()
    if b"<html" in start or start.lstrip().startswith(b"<!doctype"):
        raise _bad(symbol, "an HTML page in place of CSV")
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error):
        raise _bad(symbol, "what is no CSV") from None
    if not rows:
        raise _bad(symbol, "nothing")
    header = [name.strip() for name in rows[0]]
    names = [*NUMBERS, *(side + end for side in ("call", "put") for end in SIDES.values())]
    for name in (*TEXTS, *names):
        if name not in header:
            raise _bad(symbol, f"CSV without the column {name}")
    lines = [row for row in rows[1:] if row]
    if any(len(row) != len(header) for row in lines):
        raise _bad(symbol, "a line with another number of values than its first line")
    table = list(zip(*lines, strict=True)) if lines else [()] * len(header)
    by_name = dict(zip(header, table, strict=True))
    numbers = {name: _floats(by_name[name]) for name in names}
    settles = by_name.get(SETTLES) or [""] * len(lines)
    return {name: by_name[name] for name in TEXTS}, numbers, settles


def _floats(texts: Sequence[str]) -> Floats:
    """Numbers of a column; NaN for what is none."""
    try:
        numbers: NDArray[np.float64] = np.array(texts, np.float64)
    except ValueError:
        numbers = np.array([finite(text) for text in texts])
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _seconds(text: str) -> float:
    """Unix time; NaN for what is no time of 1990 to 2100. ORATS writes UTC."""
    try:
        moment = datetime.fromisoformat(text.strip())
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.nan
    return seconds if 631_152_000 <= seconds < 4_102_444_800 else math.nan


def _bad(symbol: str, what: str) -> ChainRefused:
    return ChainRefused(Reason.BAD_ANSWER, f"{symbol}: {NAME} answered {what}")
