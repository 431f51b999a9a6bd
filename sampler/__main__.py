"""The command line ``flow-sampler``: parses it, and runs the command that it names."""

from __future__ import annotations

from storage.config.loading import finish_loading  # first: Ctrl-C is silent while the rest loads

# isort: split
import argparse
import os
import sys
import time

from sampler.compiling import compile_formulas
from sampler.history.commands import add_history_commands
from sampler.live.commands import add_live_commands
from sampler.opening import (
    describe_expiries,
    describe_polling,
    open_configured_source,
)
from sampler.sources import SOURCES
from storage.config.run import add_version, run_command
from storage.config.settings import Settings, add_options
from storage.config.vendor_keys import VENDOR_SETTINGS

finish_loading()


def main(arguments: list[str] | None = None) -> int:
    """Run one command of ``flow-sampler``.

    Parameters
    ----------
    arguments : the command line without the program's name; None for that of this process.

    Returns
    -------
    int
        Exit status: 0 done, 1 failed, 2 wrong usage.
    """
    return run_command(_parser, arguments, os.environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flow-sampler", description="Sample 0DTE option chains into the flow series."
    )
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_live_commands(commands)
    add_history_commands(commands)

    warm = commands.add_parser(
        "warm", help="compile the formulas ahead of the first start, for images and installations"
    )
    add_options(warm, "log", "log_level")
    warm.set_defaults(command=_warm)

    sources = commands.add_parser("sources", help="list the sources there are")
    add_options(sources, "symbols", "source", "log", "log_level")
    sources.set_defaults(command=_sources)
    return parser


async def _warm(settings: Settings, parsed: argparse.Namespace) -> int:
    begun = time.monotonic()

    def report(done: int, total: int) -> None:
        print(f"formulas: {done} of {total} parts, {time.monotonic() - begun:.0f} s", flush=True)

    print(f"kept in {compile_formulas(report)}")
    return 0


async def _sources(settings: Settings, parsed: argparse.Namespace) -> int:
    for name, opened in SOURCES.items():
        description = (sys.modules[opened.__self__.__module__].__doc__ or "").strip()  # type: ignore[attr-defined]
        print(f"{name}:\n  " + description.replace("``", "").replace("\n", "\n  "))
        print(f"  Offers {opened.__self__.facts}.")  # type: ignore[attr-defined]
        for lower, setting in VENDOR_SETTINGS.items():
            if setting.scheme == name:
                place = settings.keys.place(shown := f"FLOW_{lower.upper()}")
                print(f"  {shown}: {'not set' if place is None else f'set, by {place}'}")
        print()
    if settings.source:
        source = open_configured_source(settings)
        print(f"FLOW_SOURCE={settings.source}: {source.name}, delay {source.delay_seconds} s")
        for sentence, _ in describe_polling(source, settings.symbols):
            print(sentence)
        print(describe_expiries(settings.symbols, settings.clock.now()))
        await source.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
