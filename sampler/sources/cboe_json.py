"""What Cboe's delayed quotes look like: one JSON answer, from bytes to a frame.

Pure: nothing here waits, and nothing is fetched; ``cboe`` does that.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Floats, Frame
from sampler.errors import ChainRefused
from sampler.sources.json_fields import decode_json, finite, number_columns
from storage.market.calendar import from_new_york, market_day, new_york_time
from storage.record.row import Reason

EPOCH = datetime(1970, 1, 2, tzinfo=UTC)
#: The vendor's name, as rows and source URLs have it.
NAME = "cboe"
#: Column of a frame → field of an option.
FIELDS = {
    "bid": "bid",
    "ask": "ask",
    "last": "last_trade_price",
    "open_interest": "open_interest",
    "volume": "volume",
    "source_iv": "iv",
}
#: The underlying's own time is the quotes' time, unless the contracts' prints are ahead of it by so
#: much: then it stands still.
PRINTS_AHEAD = timedelta(seconds=20)
#: Prints of so many contracts must say so: one wrong time is no evidence.
LEAST_PRINTS = 3
#: Without prints it stands still once the answer's own time, less the feed's delay, is ahead by so
#: much. An answer of a living feed is up to a minute ahead of the underlying's last trade.
ANSWER_AHEAD = timedelta(seconds=120)


def parse_chain(body: bytes, *, symbol: str, now: datetime, delay_seconds: int) -> Frame:
    """A frame from an answer's bytes.

    A number that is none becomes NaN, and a contract whose OCC symbol cannot be read gets right 0
    and, where its day cannot be read either, the day of the quotes: so the chain counts it.

    Parameters
    ----------
    body : the answer, unpacked.
    symbol : the underlying that was asked for.
    now : when the answer was fetched, UTC.
    delay_seconds : how far the feed's quotes are declared to lie behind. [s]

    Returns
    -------
    Frame
        Every contract of every expiry.

    Raises
    ------
    ChainRefused
        ``bad_answer``, with what is wrong.
    """

    def bad(what: str) -> ChainRefused:
        return ChainRefused(Reason.BAD_ANSWER, f"{symbol}: cboe answered {what}")

    try:
        answer = decode_json(body)
    except (ValueError, RecursionError) as error:
        start = body[:40].decode(errors="replace")
        raise bad(f"no JSON: {error}; it starts {start!r}" if body else "nothing") from None
    data = answer.get("data") if isinstance(answer, dict) else None
    options = data.get("options") if isinstance(data, dict) else None
    if not isinstance(answer, dict) or not isinstance(data, dict) or not isinstance(options, list):
        raise bad("JSON without data.options")
    for named in (answer.get("symbol"), data.get("symbol")):
        if isinstance(named, str) and _letters(named) != _letters(symbol):
            raise bad(f"for {named[:20]!r}")
    if not any(isinstance(option, dict) for option in options):
        raise bad("no option at all")
    options = [option if isinstance(option, dict) else {} for option in options]
    quoted = str(data.get("last_trade_time"))
    try:
        wall = datetime.fromisoformat(quoted if len(quoted) > 18 else "")  # no day alone
        quoted_at = wall.astimezone(UTC) if wall.tzinfo else from_new_york(wall)
    except (ValueError, OverflowError):
        raise bad(f"a last_trade_time that is no time: {quoted[:40]!r}") from None
    spot = finite(data.get("current_price"))
    columns = _contracts(options, market_day(quoted_at)) | _quotes(options)
    made_at = _answered_at(answer.get("timestamp"), now) - timedelta(seconds=delay_seconds)
    return Frame.of(
        symbol=symbol,
        source=NAME,
        delay_seconds=delay_seconds,
        quoted_at=_quotes_time(quoted_at, columns["last_at"], made_at, now),
        underlying_at=quoted_at,
        fetched_at=now,
        spot=spot if spot > 0 else math.nan,
        columns=columns,
    )


def _quotes_time(
    underlying_at: datetime, prints: Floats, made_at: datetime, now: datetime
) -> datetime:
    """When the quotes were made: the underlying's own time, unless that stands still.

    Parameters
    ----------
    underlying_at : when the underlying last traded.
    prints : unix times of the contracts' last trades. [s]
    made_at : the answer's own time less the feed's delay.
    now : when the answer was fetched; prints that are later are no evidence.
    """
    known = np.sort(prints[prints <= now.timestamp()])
    newest = underlying_at
    if len(known) >= LEAST_PRINTS:
        newest = datetime.fromtimestamp(float(known[-LEAST_PRINTS]), UTC)
    if newest - underlying_at < PRINTS_AHEAD and made_at - underlying_at < ANSWER_AHEAD:
        return underlying_at
    return max(newest, made_at, underlying_at)


def _answered_at(text: Any, now: datetime) -> datetime:
    """When an answer says that it was made, UTC; the epoch if it does not, or if that is ahead."""
    try:
        answered = datetime.fromisoformat(text if isinstance(text, str) else "")
        answered = answered.astimezone(UTC) if answered.tzinfo else answered.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return EPOCH
    return answered if answered <= now else EPOCH


def _contracts(options: list[dict[str, Any]], today: date) -> dict[str, NDArray[Any]]:
    """Root, expiry, right and strike from the OCC symbols, e.g. ``SPXW  260819C07700000``."""
    names = [option.get("option") for option in options]
    symbols = [text.strip() if isinstance(text, str) else "" for text in names]
    # What follows the root is 15 characters wide: one matrix of bytes is read column by column.
    tails = "".join([text[-15:].rjust(15) for text in symbols]).encode("ascii", "replace")
    codes = np.frombuffer(tails, np.uint8).reshape(-1, 15)
    digits = np.delete(codes, 6, axis=1) - np.uint8(ord("0"))
    figures = digits < 10
    strike = digits[:, 6:] @ 10 ** np.arange(7, -1, -1) / 1000
    number, day_index = np.unique(digits[:, :6] @ 10 ** np.arange(5, -1, -1), return_inverse=True)
    texts = [f"20{n // 10_000:02}-{n // 100 % 100:02}-{n % 100:02}" for n in number.tolist()]
    days = np.array([_moment(text) for text in texts], "datetime64[D]")[day_index]
    dated = figures[:, :6].all(axis=1) & ~np.isnat(days)
    side = np.select([codes[:, 6] == ord("C"), codes[:, 6] == ord("P")], [1, -1], 0)
    return {
        "root": np.array([text[:-15].rstrip() for text in symbols]),
        "expiry": np.where(dated, days, np.datetime64(today)),
        "right": np.where(dated, side, 0),
        "strike": np.where(figures[:, 6:].all(axis=1), strike, np.nan),
    }


def _quotes(options: list[dict[str, Any]]) -> dict[str, Floats]:
    """The columns that are numbers, and the unix time of each contract's last trade."""
    columns = number_columns(options, FIELDS)
    return columns | {"last_at": _unix([option.get("last_trade_time") for option in options])}


def _unix(texts: list[Any]) -> Floats:
    """Unix seconds of New York wall times; NaN for what is none."""
    texts = [text[:19] if isinstance(text, str) and len(text) > 18 else "" for text in texts]
    try:
        wall = np.array(texts, "datetime64[s]")
    except ValueError:
        wall = np.array([_moment(text) for text in texts], "datetime64[s]")
    seconds = np.full(len(wall), np.nan)
    known = (wall > np.datetime64("1970-01-02")) & (wall < np.datetime64("2100-01-01"))
    days, day_index = np.unique(wall[known].astype("datetime64[D]"), return_inverse=True)
    # One offset a day: no option trades in the hours when it changes.
    noons = np.array([new_york_time(day, 12).timestamp() for day in days.tolist()])
    shift = noons - (days.astype("datetime64[s]").astype(np.int64) + 43_200)
    seconds[known] = wall[known].astype(np.int64) + shift[day_index]
    return seconds


def _moment(text: str) -> np.datetime64:
    # With the unit: NumPy takes an empty text for a time without one, which it will refuse.
    try:
        return np.datetime64(text, "s")
    except ValueError:
        return np.datetime64("NaT", "s")


def _letters(symbol: str) -> str:
    """What is left of ``_SPX``, ``^SPX`` or ``BRK/B`` when spellings do not count."""
    return re.sub(r"[^A-Z0-9]", "", symbol.upper())
