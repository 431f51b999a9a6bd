"""The formulas: arrays in, arrays out. No clock, no log, no input or output."""

from __future__ import annotations

# Importing a module registers its loops with ``special``.
from sampler.metrics import (  # noqa: F401
    black,
    crossings,
    exposure,
    flow,
    hedge,
    ledger,
    levels,
    liquidity,
    rounding,
    smile,
    special,
    width,
)


def load_compiled() -> None:
    """Load or compile all machine code ahead of the first slot, which would wait for it."""
    special.load_all_loops()
