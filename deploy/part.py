"""A part of ``make run``: one of our programs, which ends when ``make run`` has ended.

``python deploy/part.py STARTER FOLDER PROGRAM ARGUMENTS``: PROGRAM is ``sampler``, ``api`` or
``storage``, STARTER the number of the process that ``make run`` is. Where that process was killed,
or its terminal closed, nobody is left to stop the program, so it gets SIGTERM from here.

Without a FOLDER (``-``) the program runs at once. With one it starts in two steps, so that a
simulated market begins when all are ready: this file loads the program, and the compiled formulas
for the sampler, writes the file FOLDER/PROGRAM, waits for the file FOLDER/clock, and runs the
program by the clock in it.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from threading import Thread

#: The file with the text of FLOW_CLOCK, which whoever starts the programs writes in the end.
CLOCK = "clock"
_LOOK_SECONDS = 0.02


def main(starter: int, folder: Path | None, program: str, arguments: Sequence[str]) -> int:
    """Prepare, wait, and run; the program's exit status.

    Parameters
    ----------
    starter : number of the process that started this one; the program ends after it.
    folder : where the programs say that they are ready, and where the clock will be; None where
        there is nothing to wait for.
    program : the package.
    arguments : its command line.

    Returns
    -------
    int
        The exit status.
    """
    end_after(starter)
    module = importlib.import_module(f"{program}.__main__")
    if folder is not None:
        # What is loaded when it is first used: the calendar everywhere, formulas in the sampler.
        importlib.import_module("storage.market.calendar").session_on(date(2026, 1, 2))
        if program == "sampler":
            importlib.import_module("sampler.compiling").load_formulas()
        (folder / program).touch()
        clock = folder / CLOCK
        while not clock.exists():
            time.sleep(_LOOK_SECONDS)
        os.environ["FLOW_CLOCK"] = clock.read_text()
    status: int = module.main(list(arguments))
    return status


def end_after(starter: int) -> None:
    """Send SIGTERM to this process once another one has ended.

    Parameters
    ----------
    starter : number of the other process.
    """
    try:
        handle = os.pidfd_open(starter)
    except ProcessLookupError:
        sys.exit(1)

    def watch() -> None:
        # Readable once the process has ended.
        select.select([handle], [], [])
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, name="starter", daemon=True).start()


def ready(folder: Path, programs: Sequence[str]) -> bool:
    """Say whether programs are ready to run.

    Parameters
    ----------
    folder : where they say so.
    programs : the packages.

    Returns
    -------
    bool
        True if all are.
    """
    return all((folder / program).exists() for program in programs)


def write_clock(folder: Path, clock: str) -> None:
    """Let the programs that are ready run by a clock.

    Parameters
    ----------
    folder : where they wait for it.
    clock : the text of FLOW_CLOCK.
    """
    draft = folder / f".{CLOCK}"
    draft.write_text(clock)
    draft.replace(folder / CLOCK)


if __name__ == "__main__":
    # This file's folder is first on the path; the packages are in the folder above.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    _starter, _folder, _program, *_arguments = sys.argv[1:]
    _waiting = None if _folder == "-" else Path(_folder)
    sys.exit(main(int(_starter), _waiting, _program, _arguments))
