"""What reading one chain costs in each vendor's format: the same contracts, written and read.

``python -m tests.benchmarks.bench_parse``
"""

from __future__ import annotations

import asyncio
import sys
from datetime import date, timedelta
from pathlib import Path

from sampler.chain import Frame
from sampler.sources import open_source
from storage.market.calendar import session_on
from tests.benchmarks.bench_tick import timed

sys.path.insert(0, str(Path(__file__).parents[1]))  # for what the test servers import
from tests.vendors.formats import FORMATS
from tests.vendors.same_row import only_today


async def spx() -> Frame:
    """Today's contracts of a synthetic SPX, 45 minutes after the open."""
    session = session_on(date(2026, 8, 19))
    assert session is not None
    source = open_source("synthetic:?seed=7")
    return only_today(await source.live("SPX", session.open + timedelta(minutes=45)))


def main() -> None:
    """Print the table."""
    frame = asyncio.run(spx())
    for name, form in FORMATS.items():
        bodies = form.write(frame)
        size = sum(map(len, bodies)) / 1e3
        timed(
            f"{name}, {len(frame.strike)} contracts, {size:.0f} kB",
            lambda form=form, bodies=bodies: form.read(bodies, frame),  # type: ignore[misc]
        )


if __name__ == "__main__":
    main()
