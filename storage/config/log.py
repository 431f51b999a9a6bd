"""Configure the log: structlog, to standard error, one line an event.

No value can forge a line: characters that cannot be printed are escaped, and tracebacks are
indented. API keys are masked.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from contextlib import suppress
from datetime import date
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, ExcInfo, Processor

#: What API keys look like, in a URL and by themselves. The public part of a key is kept.
_SECRETS = (
    ("apiKey=", re.compile(r"(apiKey=)[^&\s\"'\\]+")),
    ("flow_", re.compile(r"(flow_[0-9a-f]{12}_)[A-Za-z0-9_-]{43}")),
)
#: Dates and dataclasses are written as ``str`` writes them, by either JSON encoder.
_AS_TEXT = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


class LossyFile:
    """A file whose failures stop no work: what a full disk does not take is lost."""

    def __init__(self, file: TextIO) -> None:
        """Write to a file from now on.

        Parameters
        ----------
        file : such as standard error.
        """
        self._file = file

    def write(self, text: str) -> None:
        """Write a text, or lose it.

        Parameters
        ----------
        text : the text.
        """
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        """Hand on what was written, or lose it."""
        with suppress(OSError):
            self._file.flush()

    def isatty(self) -> bool:
        """Return whether it is a terminal.

        Returns
        -------
        bool
            What the file itself says.
        """
        return self._file.isatty()


def configure(form: str = "auto", level: str = "info") -> None:
    """Configure the log of this process.

    Standard output is never used: it belongs to a command's answer.

    Parameters
    ----------
    form : ``json`` (one object a line), ``console`` (for people), or ``auto``: console on a
        terminal, JSON elsewhere.
    level : the least level that is logged: ``debug``, ``info``, ``warning``, ``error`` or
        ``critical``.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    first: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last = _json() if form == "json" else _console()
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", LossyFile(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    # Libraries log warnings and errors only. They are written in the format of our own lines.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=first,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING))
    # It warns of each connection that it cannot make: while a database is away, a line a second all
    # day. That the database is away is said by ours, once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def _json() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        _without_keys,
        _object,
    ]


def _object(_: Any, __: str, event: EventDict) -> str:
    """Encode an event as JSON of printable ASCII."""
    try:
        text = orjson.dumps(event, default=str, option=_AS_TEXT).decode()
    except TypeError:
        # orjson refuses numbers beyond 64 bits, lone surrogates and keys that are not text.
        text = ""
    if text.isascii() and text.isprintable() and text:
        return text
    return json.dumps(event, default=str)


def _console() -> list[Processor]:
    colors = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_traceback)
    return [_without_keys, _printable, renderer]


def _redacted(text: str) -> str:
    for sign, pattern in _SECRETS:
        if sign in text:
            text = pattern.sub(r"\1***", text)
    return text


def _escaped(text: str) -> str:
    """Escape every character that cannot be printed."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _without_keys(_: Any, __: str, event: EventDict) -> EventDict:
    return {name: _redacted(v) if isinstance(v, str) else v for name, v in event.items()}


def _printable(_: Any, __: str, event: EventDict) -> EventDict:
    return {
        name: _escaped(v) if isinstance(v, str) else str(v) if isinstance(v, date) else v
        for name, v in event.items()
    }


def _traceback(out: TextIO, exc_info: ExcInfo) -> None:
    """Write a traceback with every line indented, so that none looks like an event."""
    text = "".join(traceback.format_exception(*exc_info)).rstrip()
    out.writelines(f"\n  | {_escaped(line)}" for line in _redacted(text).split("\n"))
