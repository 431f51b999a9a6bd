"""A short soak; ``make soak`` runs a whole session of twenty symbols."""

from __future__ import annotations

import pytest
import soak


@pytest.mark.clocked
def test_a_short_soak(tmp_path):
    """Every slot is a row or a gap with a true reason; rows before a first missed chain are a
    fault-free run's; volume is conserved; memory is flat."""
    report = soak.Soak(tmp_path, slots=80, symbols=4, seed=5).run()
    assert report.wrong == [], report.tell()
    assert report.faults.total() > 10
    assert report.rows + report.gaps.total() == 80 * 4
    # The first half's faults must cost no chain at all.
    assert report.compared > 120
    assert report.conserved == report.rows
    first, last = report.grown()
    assert last < 1.3 * first
