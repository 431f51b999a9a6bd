"""The simulated session that comes with the package, computed anew: ``python -m tests.example_day``.

The command writes the files that ``storage.parquet.example_day`` reads. It is needed once after each
change of a formula, of the simulated market or of a row's columns; a test says so.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from sampler.chain import select_chain, slot_of_frame
from sampler.errors import ChainRefused
from sampler.measure.other_expiries import measure_other_expiries
from sampler.measure.revision import doubts_of
from sampler.measure.snapshot import measure_slot
from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import session_on
from storage.parquet.example_day import DAY, FOLDER, SEED, SYMBOL, write_example
from storage.record.row import Gap, SlotRecord

#: κ of the settings' default.
CONFIDENCE = 0.43


async def measure_day() -> tuple[list[SlotRecord], list[Gap]]:
    """Measure every frame of the session, as a backfill does: its records, and its gaps."""
    session = session_on(DAY)
    assert session is not None
    records: list[SlotRecord] = []
    gaps: list[Gap] = []
    async for frame in Synthetic(seed=SEED).history(SYMBOL, session):
        assert not isinstance(frame, ChainRefused)
        slot = slot_of_frame(frame, session)
        try:
            chain = select_chain(frame, session)
            record = measure_slot(
                chain,
                records[-1] if records else None,
                oi_confidence=CONFIDENCE,
                other_expiries=lambda market, frame=frame, chain=chain: measure_other_expiries(
                    frame, session, spot=market.spot, atm=market.atm, years=chain.years
                ),
            )
        except ChainRefused as refused:
            gaps.append(
                Gap(
                    symbol=SYMBOL, expiration=DAY, slot=slot, reason=refused.reason,
                    detail=str(refused), source=frame.source,
                )
            )  # fmt: skip
            continue
        # A store would have to mark earlier rows: another day is easier to explain.
        assert not doubts_of(record), (record.row.slot, doubts_of(record))
        records.append(record)
    return records, gaps


def main(folder: Path = FOLDER) -> None:
    """Write the files."""
    records, gaps = asyncio.run(measure_day())
    size = write_example(folder, records, gaps)
    print(f"{len(records)} rows and {len(gaps)} gaps written to {folder}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
