"""The formulas: arrays in, arrays out. No clock, no log, no input or output."""

from __future__ import annotations

from collections.abc import Callable

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
