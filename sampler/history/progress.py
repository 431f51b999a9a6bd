"""How far a long command is and when it will be done, on a terminal's last line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

_ERASE = "\r\x1b[K"


class Progress:
    """Counts what is done of a known amount; silent where nobody watches."""

    def __init__(
        self,
        total: int,
        stream: TextIO,
        *,
        what: str = "slots",
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """``total`` is how much there is to do, in what is counted by ``advance``."""
        self._total = max(total, 1)
        self._done = 0
        self._what = what
        self._stream = stream if stream.isatty() else None
        self._seconds = seconds
        self._since = seconds()

    def advance(self, amount: int) -> None:
        """So much more is done."""
        self._done += amount
        if self._stream is not None:
            self._stream.write(_ERASE + self.line())
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away, for others to write in its place."""
        if self._stream is not None:
            self._stream.write(_ERASE)
            self._stream.flush()

    def line(self) -> str:
        """What the terminal shows: part, amount, rate and time left."""
        took = max(self._seconds() - self._since, 1e-9)
        done = min(self._done, self._total)
        text = f"{done / self._total:4.0%}  {done:,} of {self._total:,} {self._what}"
        if not done:
            return text
        left = took / done * (self._total - done)
        return f"{text}, {self._done / took:,.0f} a second, {_span(left)} left"


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
