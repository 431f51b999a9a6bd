"""What runs on this machine's embedded servers: dataset, clock and ports, in the data folder.

``make run`` and ``flow-sampler run`` write it. A command in a second terminal reads it, so that it
looks at the rows that the product writes, at the product's time, and asks it at its ports. A
sampler also notes how far it is with compiling the formulas, for the API, which runs meanwhile.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson

from storage.errors import UsageError
from storage.locks import open_lock, try_lock
from storage.market.clock import Clock, parse_clock

_FILE = "running.json"
_FORMULAS = "formulas.json"
#: A clock that stands still, near enough: one market second in thirty years.
_STANDSTILL = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProduct:
    """What was started last on a data folder."""

    dataset: str
    clock: Clock
    #: Ports of the API and of the sampler's metrics; 0 if that is not known, or there is none.
    port: int = 0
    metrics_port: int = 0


def note_running(
    data_dir: Path, *, dataset: str, clock: Clock, port: int = 0, metrics_port: int = 0
) -> None:
    """Note what runs. Nothing happens where the folder cannot be written: it is a convenience.

    Parameters
    ----------
    data_dir : the data folder.
    dataset : ``live`` or ``synthetic``.
    clock : the clock that it runs by.
    port, metrics_port : ports of the API and of the sampler's metrics; 0: not known, or none.
    """
    noted = {
        "dataset": dataset,
        "clock": str(clock),
        "port": port,
        "metrics_port": metrics_port,
    }
    path = data_dir / _FILE
    with suppress(OSError):
        draft = path.with_name(f".{_FILE}.{os.getpid()}")
        draft.write_bytes(orjson.dumps(noted))
        draft.replace(path)


def note_stopped(data_dir: Path) -> None:
    """Note that it has stopped: a simulated market's time stands still until the next run.

    Parameters
    ----------
    data_dir : the data folder.
    """
    product = read_running(data_dir)
    if product is None or not product.clock.simulated:
        return
    stopped = stopped_clock(product.clock.now())
    note_running(data_dir, dataset=product.dataset, clock=stopped)


def stopped_clock(moment: datetime) -> Clock:
    """Return a simulated clock that stands still.

    Parameters
    ----------
    moment : the market's time that it shows, UTC.

    Returns
    -------
    Clock
        The clock.
    """
    return Clock(moment, _STANDSTILL, Clock().now())


def read_running(data_dir: Path) -> RunningProduct | None:
    """Read what was started last on a data folder; None if that is not known.

    Parameters
    ----------
    data_dir : the data folder.

    Returns
    -------
    RunningProduct or None
        Dataset, clock and ports; None without a readable note.
    """
    try:
        noted = orjson.loads((data_dir / _FILE).read_bytes())
        return RunningProduct(
            dataset=str(noted["dataset"]),
            clock=parse_clock(noted["clock"]),
            port=int(noted.get("port", 0)),
            metrics_port=int(noted.get("metrics_port", 0)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError):
        return None


class FormulasNote:
    """What a process says of compiling the formulas, until it closes this, or ends.

    Nothing happens where the folder is missing or cannot be written: it is a convenience.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / _FORMULAS
        self._file: int | None = None

    def say(self, *, done: int, total: int, seconds: float, expected: float) -> None:
        """Note how far it is.

        Parameters
        ----------
        done, total : modules whose formulas are compiled, and all that have some.
        seconds, expected : how long it has taken, and how long all of it will take. [s]
        """
        noted = {
            "done": done,
            "total": total,
            "seconds": round(seconds),
            "expected_seconds": round(expected),
        }
        with suppress(OSError):
            if self._file is None:
                self._file = open_lock(self._path)
                # Held until the end. Another sampler may hold it: the last one to write counts.
                try_lock(self._file)
            text = orjson.dumps(noted)
            os.pwrite(self._file, text, 0)
            os.ftruncate(self._file, len(text))

    def close(self) -> None:
        """Say that nothing is compiled any longer."""
        if self._file is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None


def read_formulas(data_dir: Path) -> dict[str, int] | None:
    """Read how far a process of this machine is with compiling the formulas.

    Parameters
    ----------
    data_dir : the data folder that it runs with.

    Returns
    -------
    dict or None
        ``done`` and ``total`` parts, ``seconds`` and ``expected_seconds``; None if none compiles.
    """
    try:
        with (data_dir / _FORMULAS).open("rb") as file:
            if try_lock(file.fileno(), shared=True):
                return None  # The process that wrote it has ended.
            noted: dict[str, int] = orjson.loads(file.read())
            return noted
    except (OSError, ValueError):
        return None
