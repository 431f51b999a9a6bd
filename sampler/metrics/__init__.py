"""The formulas: arrays in, arrays out. No clock, no log, no input or output."""

from __future__ import annotations

from sampler.metrics import black, crossings, exposure, flow, hedge, levels, liquidity, smile


def warm() -> None:
    """Load or compile all machine code, so that no slot waits for it."""
    for module in (black, crossings, exposure, flow, hedge, levels, liquidity, smile):
        module.warm()
