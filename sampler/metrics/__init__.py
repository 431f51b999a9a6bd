"""The formulas: arrays in, arrays out. No clock, no log, no input or output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event

# Importing a module registers its loops with ``special``.
from sampler.metrics import (  # noqa: F401
    black,
    book_figures,
    chain_sums,
    contradiction,
    crossings,
    exposure,
    flow,
    hedge,
    ledger,
    levels,
    pin,
    quotes,
    rounding,
    slot_flow,
    smile,
    special,
    width,
)


def load_compiled(report: Callable[[int, int], None] | None = None) -> None:
    """Load or compile all machine code ahead of the first slot, which would wait for it.

    Parameters
    ----------
    report : called as the work goes on, with the parts that are done and all parts.
    """
    special.load_all_loops(report)


def module_names() -> list[str]:
    """Return the names of the modules that have loops, in the order in which they are loaded."""
    return [load.__module__.rpartition(".")[2] for load in special._LOADERS]


class _Listener(event.Listener):
    """Hears from numba that machine code is made, and not taken from its cache."""

    def __init__(self, begins: Callable[[], None]) -> None:
        self._begins = begins

    def on_start(self, event: Any) -> None:
        self._begins()

    def on_end(self, event: Any) -> None:
        """Nothing waits for it."""


@contextmanager
def on_compiling(begins: Callable[[], None]) -> Iterator[None]:
    """Call a function each time that machine code is made, and not taken from numba's cache.

    Parameters
    ----------
    begins : called before the code is made.

    Yields
    ------
    None
        While numba is listened to.
    """
    with event.install_listener("numba:compile", _Listener(begins)):
        yield
