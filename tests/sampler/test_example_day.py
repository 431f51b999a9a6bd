"""The session that comes with the package is what the code computes: ``python -m tests.example_day``."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import expiry_moment, session_on
from storage.parquet.example_day import DAY, SEED, SYMBOL, has_profile, read_example
from storage.record.row import SlotRecord
from tests import independent
from tests.example_day import measure_day

ANEW = "a formula or the simulated market has changed: python -m tests.example_day"


def plain(record: SlotRecord) -> dict:
    return record.row.as_json()


def same(wanted, stored) -> bool:
    """Equal, but for the last digits in which another processor may differ."""
    if isinstance(wanted, dict):
        return wanted.keys() == stored.keys() and all(same(v, stored[k]) for k, v in wanted.items())
    if isinstance(wanted, list):
        return len(wanted) == len(stored) and all(map(same, wanted, stored))
    if isinstance(wanted, float) and isinstance(stored, float):
        return wanted == pytest.approx(stored, rel=1e-9, abs=1e-9)
    return wanted == stored


async def test_every_slot_is_what_the_code_computes() -> None:
    """All rows, all gaps, and the figures by strike where there are some."""
    records, gaps = await measure_day()
    stored, stored_gaps = read_example()
    assert stored_gaps == gaps
    assert [r.row.slot for r in stored] == [r.row.slot for r in records]
    for wanted, own in zip(records, stored, strict=True):
        assert same(plain(wanted), plain(own)), f"{wanted.row.slot}: {ANEW}"
        if not has_profile(wanted):
            assert own.profile == {}
            continue
        for name, column in wanted.profile.items():
            assert np.allclose(own.profile[name], column, rtol=1e-9, atol=1e-6, equal_nan=True), (
                f"{wanted.row.slot}, {name}: {ANEW}"
            )


@pytest.mark.parametrize("number", [29, 389, 659])
async def test_the_book_of_the_morning_is_what_a_second_program_computes(number: int) -> None:
    """Figures that need no flow, by the plain formulas of ``tests.independent``, at three times of day."""
    session = session_on(DAY)
    slot = session.slots[number]
    frame = await Synthetic(seed=SEED).live(SYMBOL, slot)
    contracts = [
        independent.Contract(
            strike=float(frame.strike[i]), right=int(frame.right[i]),
            bid=float(frame.bid[i]), ask=float(frame.ask[i]),
            last=float(frame.last[i]), last_at=float(frame.last_at[i]),
            open_interest=float(frame.open_interest[i]), volume=float(frame.volume[i]),
        )
        for i in np.flatnonzero(frame.expiry == np.datetime64(DAY))
    ]  # fmt: skip
    sample = independent.Sample(
        contracts=contracts,
        spot=frame.spot,
        quoted_at=slot.timestamp(),
        seconds_left=(expiry_moment(SYMBOL, session) - slot).total_seconds(),
        seconds_gone=(slot - session.open).total_seconds(),
        session_seconds=(session.close - session.open).total_seconds(),
        tick=lambda price: 0.05 if price < 3 else 0.1,
    )
    settled = independent.answer(sample).settled
    [row] = [r.row for r in read_example()[0] if r.row.slot == slot]
    for name in ("net_gex", "call_gex", "put_gex", "net_dex", "net_vex", "gamma_flip", "max_pain"):
        assert getattr(row.settled, name) == pytest.approx(settled[name], rel=1e-6), name
    assert row.differenced_from == slot - timedelta(seconds=30)
