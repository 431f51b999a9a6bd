"""Run a command: read its settings, and turn errors into sentences and exit statuses."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import structlog

from storage import installed_version
from storage.config import log
from storage.config.settings import Settings, options_of
from storage.errors import FlowError, UsageError
from storage.market.calendar import use_overrides
from storage.record.row import DEFINITIONS


def add_version(parser: argparse.ArgumentParser) -> None:
    """Give a program ``--version``: the release, and the version of its formulas.

    Parameters
    ----------
    parser : the program's parser.
    """
    release = installed_version()
    if release == "0":
        release = "of a source tree that is not installed"
    parser.add_argument(
        "--version",
        action="version",
        version=f"{parser.prog} {release}, definitions {DEFINITIONS}",
        help="print the release and the version of the formulas",
    )


def run_command(
    make_parser: Callable[[], argparse.ArgumentParser],
    arguments: Sequence[str] | None,
    environment: Mapping[str, str],
    *,
    run: Callable[[Coroutine[Any, Any, int | None]], int | None] = asyncio.run,
    interrupted: int = 1,
) -> int:
    """Run the command that a command line names, and return its exit status.

    Parameters
    ----------
    make_parser : makes the program's parser. Its default ``command`` takes the settings and the
        parsed command line; its default ``explain``, if any, takes the parsed command line and an
        error of the settings.
    arguments : the command line; None for the process's own.
    environment : where the FLOW_* settings are read from.
    run : runs the command's coroutine.
    interrupted : the status after Ctrl-C.

    Returns
    -------
    int
        0 done, 1 failed, 2 wrong usage.
    """
    try:
        parser = make_parser()
        parsed = parser.parse_args(arguments)
        try:
            settings = Settings.read(environment, options_of(parsed))
            use_overrides(settings.calendar_overrides)
        except UsageError as error:
            if "explain" in parsed:
                return int(parsed.explain(parsed, error))
            raise
        log.configure(settings.log, settings.log_level)
        for name in settings.unknown:
            structlog.get_logger().warning(
                "not a setting of this release: ignored", name=name, release=installed_version()
            )
        return run(parsed.command(settings, parsed)) or 0
    except UsageError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except FlowError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Python flushes standard output once more at its end: let that go to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return interrupted
