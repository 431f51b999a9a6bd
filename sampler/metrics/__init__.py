"""The formulas: arrays in, arrays out. No clock, no log, no input or output."""

from __future__ import annotations

from sampler.metrics import black, exposure, flip, flow, levels, liquidity


def warm() -> None:
    """Load or compile all machine code, so that no slot waits for it."""
    black.warm()
    exposure.warm()
    flip.warm()
    flow.warm()
    levels.warm()
    liquidity.warm()
