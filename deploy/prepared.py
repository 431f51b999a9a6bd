"""Start one of our programs in two steps, so that a simulated market begins when all are ready.

``python deploy/prepared.py FOLDER PROGRAM ARGUMENTS``: PROGRAM is ``sampler``, ``api`` or
``storage``. It loads the program, and the compiled formulas for the sampler, writes the file
FOLDER/PROGRAM, waits for the file FOLDER/clock, and runs the program by the clock in it.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

#: The file with the text of FLOW_CLOCK, which whoever starts the programs writes in the end.
CLOCK = "clock"
_LOOK_SECONDS = 0.02


def main(folder: Path, program: str, arguments: Sequence[str]) -> int:
    """Prepare, wait, and run; the program's exit status.

    Parameters
    ----------
    folder : where the programs say that they are ready, and where the clock will be.
    program : the package.
    arguments : its command line.

    Returns
    -------
    int
        The exit status.
    """
    module = importlib.import_module(f"{program}.__main__")
    # What is loaded when it is first used: the calendar in each program, formulas in the sampler.
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
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
