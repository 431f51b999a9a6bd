"""What runs on this machine's embedded servers: dataset, clock and ports, in the data folder.

``make run`` and ``flow-sampler run`` write it. A command in a second terminal reads it, so that it
looks at the rows that the product writes, at the product's time, and asks it at its ports.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from storage.errors import UsageError
from storage.market.clock import Clock, parse_clock

_FILE = "running.json"
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
    wall = Clock().now()
    stopped = Clock(product.clock.market_time(wall), _STANDSTILL, wall)
    note_running(data_dir, dataset=product.dataset, clock=stopped)


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
