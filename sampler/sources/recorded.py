"""``recorded:PATH``: chains on disk, a file or a folder of them.

The format is the compact JSON ``{sym, spot, asof, fetched, o: [{e, t, k, iv, oi, v, b, a, l}]}``:
``asof`` is the quotes' time, New York's without an offset; ``fetched`` is UTC without one; ``e`` is
an expiry in unix seconds. A file named
``SPX_2026-08-19T101421.json`` is found by its name; others are opened to see what they hold.
``recorded:example`` is a made-up chain of SPX that comes with the package, unless a file or folder
of that name is there.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from sampler.chain import Frame
from sampler.errors import ChainRefused, no_chain_quoted_by
from sampler.sources import url
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.market.calendar import Session, from_new_york, market_day
from storage.record.row import Reason

#: The chain that ``recorded:example`` reads. It comes with the package; we made it up.
EXAMPLE = Path(__file__).with_name("example.json")
_NAME = re.compile(r"(?P<symbol>[^_]+)_(?P<time>\d{4}-\d\d-\d\dT\d{6})")
#: No file is read that is larger than this; a chain of SPX has 0.7 MB. [bytes]
FILE_LIMIT = 64 << 20
#: Unix seconds of 1990 and of 2100: expiries lie between.
_EXPIRIES = (631_152_000, 4_102_444_800)
#: The compact format's names of our columns.
_COMPACT = {
    "b": "bid",
    "a": "ask",
    "l": "last",
    "oi": "open_interest",
    "v": "volume",
    "iv": "source_iv",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    symbol: str
    quoted_at: datetime
    path: Path


class Recorded:
    """A recording. Its age is measured against the tick's clock; the delay is 0 unless declared."""

    name = "recorded"
    facts = "as the files say; past sessions: those of the files"
    synthetic = False
    remote = False

    def __init__(self, path: Path, delay_seconds: int = 0) -> None:
        self.path = path
        self.delay_seconds = delay_seconds
        self._index: list[_Entry] | None = None

    @classmethod
    def open(cls, rest: str, keys: VendorKeys = NO_KEYS) -> Self:
        """Open what follows ``recorded:``.

        Parameters
        ----------
        rest : ``PATH[?delay=SECONDS]``.
        keys : not needed.

        Returns
        -------
        Recorded
            The source.

        Raises
        ------
        UsageError
            If there is nothing at the path, or an option makes no sense.
        """
        name, options = url.split_options(rest, delay="0")
        bundled = name == "example" and not Path(name).exists()
        path = EXAMPLE if bundled else url.existing_path(name, "recorded")
        return cls(path, url.whole_option(options, "delay", 0, 86_400))

    def newest(self, symbol: str) -> datetime | None:
        """Return when the newest chain of a symbol was quoted.

        Parameters
        ----------
        symbol : the underlying.

        Returns
        -------
        datetime or None
            UTC; None if there is no chain.
        """
        times = [entry.quoted_at for entry in self._entries(symbol)]
        return times[-1] if times else None

    async def live(self, symbol: str, now: datetime) -> Frame:
        """Return the newest chain that was quoted by a time.

        Parameters
        ----------
        symbol : the underlying.
        now : the time, UTC.

        Returns
        -------
        Frame
            The chain.

        Raises
        ------
        ChainRefused
            ``bad_answer`` for a file that is no chain, ``source_down`` without a file.
        """
        known = [entry for entry in self._entries(symbol) if entry.quoted_at <= now]
        if not known:
            raise no_chain_quoted_by(now, symbol, self.path.name)
        return self._read(known[-1])

    async def history(self, symbol: str, session: Session) -> AsyncIterator[Frame | ChainRefused]:
        """Yield the chains of a session in order, and a refusal in place of an unreadable one.

        Parameters
        ----------
        symbol : the underlying.
        session : the session.

        Yields
        ------
        Frame or ChainRefused
            A chain, or ``bad_answer``.
        """
        for entry in self._entries(symbol):
            if market_day(entry.quoted_at) != session.day:
                continue
            try:
                yield self._read(entry)
            except ChainRefused as refusal:
                yield ChainRefused(refusal.reason, str(refusal), quoted_at=entry.quoted_at)

    async def close(self) -> None:
        """Nothing is held open."""

    def _entries(self, symbol: str) -> list[_Entry]:
        if self._index is None:
            self._index = sorted(self._find(), key=lambda e: (e.symbol, e.quoted_at, e.path))
        return [entry for entry in self._index if entry.symbol == symbol]

    def _find(self) -> list[_Entry]:
        if self.path.is_file():
            # One file that cannot be read is an answer of its own, not an empty recording.
            return [_entry_of_content(self.path, self.delay_seconds)]
        entries = []
        for path in self.path.rglob("*.json"):
            if not path.is_file():
                continue
            if entry := _entry_of_name(path):
                entries.append(entry)
                continue
            with suppress(ChainRefused):
                entries.append(_entry_of_content(path, self.delay_seconds))
        return entries

    def _read(self, entry: _Entry) -> Frame:
        frame = read_chain(entry.path, self.delay_seconds)
        if frame.symbol != entry.symbol:
            raise ChainRefused(
                Reason.BAD_ANSWER,
                f"{entry.path.name}: holds {frame.symbol}, its name says {entry.symbol}",
            )
        return frame


def _entry_of_name(path: Path) -> _Entry | None:
    """What a file's name says; None if it says no symbol and time."""
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return None
    try:
        quoted_at = from_new_york(datetime.strptime(match["time"], "%Y-%m-%dT%H%M%S"))
    except (ValueError, OverflowError):
        return None
    return _Entry(match["symbol"].upper(), quoted_at, path)


def _entry_of_content(path: Path, delay_seconds: int) -> _Entry:
    """What a file holds by itself; a chain that cannot be read may still say whose it is.

    Raises
    ------
    ChainRefused
        ``bad_answer`` for a file that says neither symbol nor time.
    """
    try:
        frame = read_chain(path, delay_seconds)
    except ChainRefused:
        try:
            if path.stat().st_size > FILE_LIMIT:
                raise
            answer = orjson.loads(path.read_bytes())
            return _Entry(_symbol(answer["sym"]), _moment(answer["asof"], from_new_york), path)
        except (OSError, KeyError, AttributeError, TypeError, ValueError, OverflowError):
            pass
        raise
    return _Entry(frame.symbol, frame.quoted_at, path)


def read_chain(path: Path, delay_seconds: int = 0) -> Frame:
    """Read one file.

    Parameters
    ----------
    path : a file in the compact JSON format.
    delay_seconds : how far the quotes lay behind when they were recorded. [s]

    Returns
    -------
    Frame
        The chain.

    Raises
    ------
    ChainRefused
        ``bad_answer`` if it is no such chain, or larger than ``FILE_LIMIT``.
    """
    try:
        if (size := path.stat().st_size) > FILE_LIMIT:
            raise ValueError(f"{size:,} bytes are more than {FILE_LIMIT:,}")
        return _compact(path.read_bytes(), delay_seconds)
    except OSError as error:
        raise ChainRefused(Reason.BAD_ANSWER, f"{path.name}: {error.strerror}") from error
    except KeyError as error:
        raise ChainRefused(Reason.BAD_ANSWER, f"{path.name}: no field {error}") from error
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ChainRefused(Reason.BAD_ANSWER, f"{path.name}: not a chain: {error}") from error


def _compact(body: bytes, delay_seconds: int) -> Frame:
    answer = orjson.loads(body)
    options = answer["o"]
    if not options:
        raise ValueError("no option at all")
    read_columns: dict[str, Any] = {
        name: [_number(option.get(key)) for option in options] for key, name in _COMPACT.items()
    }
    read_columns["strike"] = [_number(option.get("k")) for option in options]
    read_columns["right"] = [{"C": 1, "P": -1}.get(option.get("t"), 0) for option in options]
    read_columns["expiry"] = _expiries([int(o["e"]) for o in options])
    return Frame.of(
        symbol=_symbol(answer["sym"]),
        source=Recorded.name,
        delay_seconds=delay_seconds,
        quoted_at=_moment(answer["asof"], from_new_york),
        fetched_at=_moment(answer["fetched"], lambda wall: wall.replace(tzinfo=UTC)),
        spot=_number(answer["spot"]),
        columns=read_columns,
    )


def _expiries(seconds: list[int]) -> NDArray[np.datetime64]:
    """Expiries from unix seconds; ValueError for one that is no day of this or the last century.

    Milliseconds in place of seconds would be the year 58,000: no calendar takes it.
    """
    first, last = _EXPIRIES
    if odd := next((s for s in seconds if not first <= s < last), None):
        raise ValueError(f"an expiry of {odd} is no unix time in seconds")
    return np.array(seconds, "datetime64[s]")


def _moment(text: str, without_offset: Callable[[datetime], datetime]) -> datetime:
    """A time as UTC. Its own offset counts; ``without_offset`` places one that has none."""
    if len(text) < len("2026-06-10T14:00"):
        raise ValueError(f"{text!r} is no time but a day")
    wall = datetime.fromisoformat(text)
    return (wall if wall.tzinfo else without_offset(wall)).astimezone(UTC)


def _symbol(value: Any) -> str:
    """A symbol in capitals; a value that is no text, such as a number, is made one."""
    return str(value).strip().upper()


def _number(value: Any) -> float:
    """A number as a float; NaN for a value that is no number."""
    return float(value) if isinstance(value, int | float) else float("nan")
