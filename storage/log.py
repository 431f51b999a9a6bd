"""The log's one configuration: structlog, to standard error, a line an event."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(form: str = "auto", level: str = "info") -> None:
    """Set the log up for this process.

    ``form`` is ``json`` (one object a line), ``console`` (for people), or ``auto``: console on a
    terminal, JSON elsewhere. Standard output is never used: it belongs to a command's answer.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries keep quiet unless something is wrong: the canonical lines tell the story.
    logging.basicConfig(stream=sys.stderr, level=max(threshold, logging.WARNING))
