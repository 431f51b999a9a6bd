"""Compile the formulas to machine code, or load them, and say how far that is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import structlog

from sampler import metrics
from sampler.metrics import special
from storage.config.running import FormulasNote
from storage.errors import FlowError

#: By how much the priority of a service's compilation is lower than that of the API.
_NICER = 10
_NO_PLACE = "set NUMBA_CACHE_DIR to a folder that can be written"
#: Processor time of each module's loops, as measured on the machine of docs/performance.md. [s]
_USUAL_SECONDS = {
    "black": 3.7,
    "exposure": 3.4,
    "book_figures": 2.3,
    "chain_sums": 3.6,
    "smile": 1.7,
    "contradiction": 1.9,
    "crossings": 1.8,
    "flow": 1.0,
    "hedge": 0.4,
    "ledger": 1.4,
    "pin": 1.2,
    "width": 0.8,
    "quotes": 3.8,
    "rounding": 0.2,
    "slot_flow": 5.6,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """How far the compilation of the formulas is."""

    #: Modules whose formulas are compiled, and all modules that have some.
    done: int
    total: int
    #: How long it has taken so far, and how long all of it will take by what is known now. [s]
    seconds: float
    expected: float


Hear = Callable[[Compilation], None]


def log_compilation(state: Compilation) -> None:
    """Log how far the compilation is; the listener of a service.

    Parameters
    ----------
    state : how far it is.
    """
    sentence = "formulas compiled" if state.done == state.total else "compiling formulas, once"
    structlog.get_logger().info(
        sentence,
        done=state.done,
        total=state.total,
        seconds=round(state.seconds),
        expected_seconds=round(state.expected),
    )


def print_compilation(state: Compilation) -> None:
    """Say to a person, on standard error, what is compiled and for how long.

    Parameters
    ----------
    state : how far it is.
    """
    seconds, expected = round(state.seconds), round(state.expected)
    if not state.done:
        sentence = (
            "compiling the formulas (sampler.metrics) to machine code: once on this machine,"
            f" about {expected} s; later starts load them"
        )
    elif state.done < state.total:
        sentence = f"compiling the formulas: {seconds} of about {expected} s"
    else:
        folder = special.cache_folder()
        place = f"kept in {folder}" if folder else f"not kept, so each start does it: {_NO_PLACE}"
        sentence = f"the formulas are compiled, in {seconds} s; {place}"
    print(f"flow-sampler: {sentence}", file=sys.stderr, flush=True)


def load_formulas(hear: Hear = log_compilation) -> None:
    """Load the compiled formulas, or compile those that are not in numba's cache.

    Parameters
    ----------
    hear : called when the first formula must be compiled, after each module from then on, and at
        the end; never where all of them are loaded.
    """
    begun = time.monotonic()
    usual = [_USUAL_SECONDS[name] for name in metrics.module_names()]
    done = 0
    compiles = False

    def tell() -> None:
        seconds = time.monotonic() - begun
        pace = seconds / sum(usual[:done]) if done else 1.0
        expected = seconds if done == len(usual) else max(pace * sum(usual), seconds)
        hear(Compilation(done=done, total=len(usual), seconds=seconds, expected=expected))

    def note_first() -> None:
        nonlocal compiles
        if not compiles:
            compiles = True
            tell()

    def report(parts: int, total: int) -> None:
        nonlocal done
        news, done = parts > done, parts
        if compiles and news:
            tell()

    with metrics.on_compiling(note_first):
        metrics.load_compiled(report)


def load_beside(data_dir: Path) -> None:
    """Load the compiled formulas, or compile them with a low priority, and note how far that is.

    For services: the API beside them goes on answering meanwhile, and says what they do.

    Parameters
    ----------
    data_dir : the folder in which the API reads how far it is.

    Raises
    ------
    Exception
        Whatever the compilation raises.
    """
    failed: list[BaseException] = []

    def hear(state: Compilation) -> None:
        log_compilation(state)
        note.say(done=state.done, total=state.total, seconds=state.seconds, expected=state.expected)

    def work() -> None:
        # In Linux a priority is a thread's own, and a process without rights cannot raise it again.
        os.setpriority(os.PRIO_PROCESS, 0, min(os.getpriority(os.PRIO_PROCESS, 0) + _NICER, 19))
        try:
            load_formulas(hear)
        except BaseException as error:
            failed.append(error)

    with closing(FormulasNote(data_dir)) as note:
        working = Thread(target=work, name="formulas", daemon=True)
        working.start()
        working.join()
    if failed:
        raise failed[0]


def compile_formulas(report: Callable[[int, int], None]) -> str:
    """Compile the formulas into numba's cache, or load them from there.

    Parameters
    ----------
    report : called as the work goes on, with the parts that are done and all parts.

    Returns
    -------
    str
        The folder in which they are kept.

    Raises
    ------
    FlowError
        If they cannot be kept, so that each start would compile them again.
    """
    metrics.load_compiled(report)
    folder = special.cache_folder()
    if folder is None:
        raise FlowError(f"the compiled formulas cannot be kept: {_NO_PLACE}")
    return folder
