"""A part of ``make run``: one of our programs, which ends when ``make run`` has ended.

``python deploy/part.py STARTER FOLDER PROGRAM ARGUMENTS``: PROGRAM is ``sampler``, ``api`` or
``storage``, STARTER the number of the process that ``make run`` is. Where that process was killed,
or its terminal closed, nobody is left to stop the program, so it gets SIGTERM from here.

Without a FOLDER (``-``) the program runs at once. With one it starts in two steps, so that a
simulated market begins when all are ready: this file loads the program, and for the sampler the
formulas, which it compiles first where that was never done; then it writes the file FOLDER/PROGRAM
and waits for the file FOLDER/begun, which FLOW_CLOCK names. The API does not wait: it shows what is
stored meanwhile, by a clock that stands until then.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from threading import Thread

#: The file with the machine's time at which the market begins.
BEGUN = "begun"
#: The file that says that nothing may delay the API: the others start once it answers.
API_FIRST = "api-first"
_LOOK_SECONDS = 0.02


def main(starter: int, folder: Path | None, program: str, arguments: Sequence[str]) -> int:
    """Prepare, wait, and run; the program's exit status.

    Parameters
    ----------
    starter : number of the process that started this one; the program ends after it.
    folder : where the programs say that they are ready, and where it is said that the market has
        begun; None where there is nothing to wait for.
    program : the package.
    arguments : its command line.

    Returns
    -------
    int
        The exit status.
    """
    end_after(starter)
    if folder is not None and program != "api" and (folder / API_FIRST).exists():
        while not _answers(os.environ["FLOW_HOST"], int(os.environ["FLOW_PORT"])):
            time.sleep(5 * _LOOK_SECONDS)
    module = importlib.import_module(f"{program}.__main__")
    if folder is not None:
        # What is loaded when it is first used: the calendar everywhere, formulas in the sampler.
        importlib.import_module("storage.market.calendar").session_on(date(2026, 1, 2))
        if program == "sampler":
            settings = importlib.import_module("storage.config.settings").Settings.read(os.environ)
            log = importlib.import_module("storage.config.log")
            log.configure(settings.log, settings.log_level)
            importlib.import_module("sampler.compiling").load_beside(settings.data_dir)
        (folder / program).touch()
        while program != "api" and not (folder / BEGUN).exists():
            time.sleep(_LOOK_SECONDS)
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


def _answers(host: str, port: int) -> bool:
    """Say whether the API takes connections."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


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


def begin(folder: Path, anchor: datetime) -> None:
    """Let the market begin for all programs.

    Parameters
    ----------
    folder : where they wait for it.
    anchor : the machine's time of the market's start, UTC.
    """
    draft = folder / f".{BEGUN}"
    draft.write_text(anchor.isoformat())
    draft.replace(folder / BEGUN)


if __name__ == "__main__":
    # This file's folder is first on the path; the packages are in the folder above.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    _starter, _folder, _program, *_arguments = sys.argv[1:]
    _waiting = None if _folder == "-" else Path(_folder)
    sys.exit(main(int(_starter), _waiting, _program, _arguments))
