"""Trades add up: the recorded prints, cancels, legs, hours; by an independent slow count."""

from __future__ import annotations

import csv
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampler.sources import trades
from sampler.sources.theta.conditions import kinds_of
from sampler.sources.trades import PrintKind, Prints, TradeTally

OPENS = datetime(2024, 6, 14, 13, 30, tzinfo=UTC)
CLOSES = datetime(2024, 6, 14, 20, 0, tzinfo=UTC)
NOON = OPENS.timestamp() + 9000
PENNY = (0.01, 0.01)
SIDED, MULTI, UNSIDED, CANCEL, FIRST, IGNORED = PrintKind
NAN = math.nan


def tally(contracts: int = 0) -> TradeTally:
    return TradeTally(opens=OPENS, closes=CLOSES, price_steps=PENNY, contracts=contracts)


def prints(*rows: tuple[object, ...], side: list[float] | None = None) -> Prints:
    """Prints from (kind, size, price, seconds after noon, contract); quoted 1.90 at 2.10."""
    full = [(*row, *(SIDED, 1.0, 2.0, 0.0, 0)[len(row) :]) for row in rows]
    kind, size, price, after, contract = (list(column) for column in zip(*full, strict=True))
    return Prints(
        contract=np.array(contract, np.intp),
        at=NOON + np.array(after, float),
        price=np.array(price, float),
        size=np.array(size, float),
        bid=np.full(len(full), 1.9),
        ask=np.full(len(full), 2.1),
        kind=np.array(kind, np.int8),
        side=None if side is None else np.array(side),
    )


def totals(totalled: TradeTally, contract: int = 0) -> tuple[float, float, float]:
    """Volume, signed volume and multi-leg volume of a contract."""
    columns = (totalled.volume, totalled.signed_volume, totalled.multi_leg_volume)
    return tuple(round(float(column[contract]), 9) for column in columns)


def recorded(shared: Path) -> list[dict[str, str]]:
    path = shared / "vendors/theta/csv/option_history_trade_quote.csv"
    with path.open() as lines:
        return list(csv.DictReader(lines))


def test_the_recorded_prints(shared):
    """98 prints with their quotes: 77 legs of 627 contracts, 21 others of 55 that sum to −16.2."""
    rows = recorded(shared)
    column = {name: np.array([float(r[name]) for r in rows]) for name in ("price", "size")}
    column |= {name: np.array([float(r[name]) for r in rows]) for name in ("bid", "ask")}
    condition = np.array([int(r["condition"]) for r in rows])
    kind = kinds_of(condition)
    totalled = tally()
    totalled.add(
        Prints(
            contract=np.zeros(len(rows), np.intp),
            at=NOON + np.arange(len(rows), dtype=float),
            kind=kind,
            **column,
        )
    )
    # A slow count of its own, with the rule as docs/signing.md has it.
    legs, singles, signed, on_quote = [], [], 0.0, 0
    for row in rows:
        size, price, bid, ask = (float(row[n]) for n in ("size", "price", "bid", "ask"))
        if 130 <= int(row["condition"]) <= 144:
            legs.append(size)
            continue
        singles.append(size)
        s = (price - (bid + ask) / 2) / ((ask - bid) / 2)
        signed += max(-1.0, min(1.0, s)) * size
        on_quote += price in (bid, ask)
    # By the vendor's answer, counted once by hand.
    assert (len(legs), sum(legs), len(singles), sum(singles), on_quote) == (77, 627, 21, 55, 2)
    assert round(signed, 1) == -16.2
    assert totalled.volume[0] == 682
    assert totalled.multi_leg_volume[0] == 627
    assert totalled.signed_volume[0] == pytest.approx(signed, abs=1e-9)
    assert totalled.last[0] == float(rows[-1]["price"])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # On the ask, on the bid, half way up, through the ask.
        ([(SIDED, 3, 2.1)], (3, 3, 0)),
        ([(SIDED, 3, 1.9)], (3, -3, 0)),
        ([(SIDED, 4, 2.05)], (4, 2, 0)),
        ([(SIDED, 3, 9.0)], (3, 3, 0)),
        # A leg on the ask has no side; a late report neither, and is no leg.
        ([(MULTI, 3, 2.1)], (3, 0, 3)),
        ([(UNSIDED, 3, 2.1)], (3, 0, 0)),
        ([(IGNORED, 3, 2.1)], (0, 0, 0)),
        # A cancel takes back volume, side and leg of what it names, once.
        ([(SIDED, 3, 2.1), (SIDED, 5, 1.9), (CANCEL, 3, 2.1)], (5, -5, 0)),
        ([(MULTI, 3, 2.1), (SIDED, 5, 1.9), (CANCEL, 3, 2.1)], (5, -5, 0)),
        ([(SIDED, 3, 2.1), (CANCEL, 3, 2.1), (CANCEL, 3, 2.1)], (0, 0, 0)),
        # The newest of its price and size, or the first where the cancel is of the opening print.
        ([(SIDED, 3, 2.1), (MULTI, 3, 2.1), (CANCEL, 3, 2.1)], (3, 3, 0)),
        ([(SIDED, 3, 2.1), (MULTI, 3, 2.1), (FIRST, 3, 2.1)], (3, 0, 3)),
        # Another price, size or contract is not named.
        ([(SIDED, 3, 2.1), (CANCEL, 3, 2.0)], (3, 3, 0)),
        ([(SIDED, 3, 2.1), (CANCEL, 2, 2.1)], (3, 3, 0)),
        ([(SIDED, 3, 2.1), (CANCEL, 3, 2.1, 0, 1)], (3, 3, 0)),
        # Before 09:30: volume and no side. 16:00 and later: nothing.
        ([(SIDED, 3, 2.1, -9001.0)], (3, 0, 0)),
        ([(SIDED, 3, 2.1, -9000.0)], (3, 3, 0)),
        ([(SIDED, 3, 2.1), (SIDED, 5, 2.1, 14400.0)], (3, 3, 0)),
        ([(SIDED, 3, 2.1), (SIDED, 5, 2.1, 14399.999)], (8, 8, 0)),
        # Times that run backwards change nothing.
        ([(SIDED, 3, 2.1, 60.0), (SIDED, 5, 1.9, 30.0)], (8, -2, 0)),
        # A size or a contract that cannot be read.
        ([(SIDED, 1, 2.1), (SIDED, NAN, 2.1), (SIDED, -2, 2.1), (SIDED, 0, 2.1)], (1, 1, 0)),
        ([(SIDED, 1, 2.1), (SIDED, 7, 2.1, 0, -1), (SIDED, 1e300, 2.1)], (1, 1, 0)),
        # No price: traded, by nobody knows whom.
        ([(SIDED, 3, NAN)], (3, 0, 0)),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_what_prints_add_up_to(rows, expected, together):
    """By the rule, whether they come at once or one by one."""
    totalled = tally(1)
    for batch in [rows] if together else [[row] for row in rows]:
        totalled.add(prints(*batch))
    assert totals(totalled) == expected


def test_a_feeds_own_word_on_the_side_comes_first():
    """A buyer's print below the mid is bought; where the feed is silent the quote decides."""
    totalled = tally()
    totalled.add(prints((SIDED, 3, 1.9), (SIDED, 4, 1.9), (MULTI, 5, 2.0), side=[1.0, NAN, 1.0]))
    assert totals(totalled) == (12, 3 - 4, 5)


def test_no_quote_no_side():
    """A print before the contract's first quote adds volume alone."""
    unquoted = prints((SIDED, 3, 2.1))
    for bid, ask in ((NAN, NAN), (0.0, 0.0), (2.2, 2.1), (NAN, 2.1)):
        totalled = tally()
        totalled.add(
            Prints(
                contract=unquoted.contract,
                at=unquoted.at,
                price=unquoted.price,
                size=unquoted.size,
                bid=np.array([bid]),
                ask=np.array([ask]),
                kind=unquoted.kind,
            )
        )
        assert totals(totalled) == (3, 0, 0)


def test_the_last_trade():
    """The newest by its time; late reports and cancelled prints are none."""
    totalled = tally()
    totalled.add(prints((SIDED, 1, 2.0, 10), (SIDED, 1, 2.05, 30), (SIDED, 1, 1.95, 20)))
    assert (totalled.last[0], totalled.last_at[0]) == (2.05, NOON + 30)
    totalled.add(prints((UNSIDED, 1, 7.0, 40)))
    assert (totalled.last[0], totalled.last_at[0]) == (2.05, NOON + 30)
    totalled.add(prints((CANCEL, 1, 2.05, 50)))
    assert (totalled.last[0], totalled.last_at[0]) == (1.95, NOON + 20)
    totalled.add(prints((CANCEL, 1, 1.95), (CANCEL, 1, 2.0)))
    assert np.isnan([totalled.last[0], totalled.last_at[0]]).all()
    assert (totalled.cancelled, totalled.unmatched) == (3, 0)


def test_only_so_many_prints_can_be_cancelled(monkeypatch):
    """Memory is bounded: an older print than that stays, and the cancel is counted as unmatched."""
    monkeypatch.setattr(trades, "KEPT_PRINTS", 4)
    totalled = tally()
    sizes = range(1, 8)
    totalled.add(prints(*[(SIDED, size, 2.1) for size in sizes]))
    assert totals(totalled) == (28, 28, 0)
    totalled.add(prints((CANCEL, 3, 2.1), (CANCEL, 4, 2.1), (CANCEL, 7, 2.1)))
    assert totals(totalled) == (17, 17, 0)
    assert (totalled.cancelled, totalled.unmatched) == (2, 1)


def slow(rows: list[tuple[object, ...]]) -> dict[int, tuple[float, float, float]]:
    """The same totals, print by print from lists."""
    standing: list[dict[str, float]] = []
    for kind, size, price, after, contract in rows:
        moment = NOON + after
        if moment >= CLOSES.timestamp() or kind == IGNORED:
            continue
        if kind in (CANCEL, FIRST):
            fits = [p for p in standing if (p["c"], p["p"], p["z"]) == (contract, price, size)]
            if fits:
                wrong = fits[0 if kind == FIRST else -1]
                standing = [p for p in standing if p is not wrong]
            continue
        signed = 0.0
        if kind == SIDED and moment >= OPENS.timestamp():
            signed = max(-1.0, min(1.0, (price - 2.0) / 0.1)) * size
        leg = size if kind == MULTI else 0.0
        standing.append({"c": contract, "p": price, "z": size, "s": signed, "m": leg})
    by_contract = {}
    for contract in range(3):
        its_prints = [p for p in standing if p["c"] == contract]
        by_contract[contract] = tuple(round(sum(p[k] for p in its_prints), 9) for k in "zsm")
    return by_contract


PRINT = st.tuples(
    st.sampled_from(list(PrintKind)),
    st.sampled_from([1.0, 2.0, 5.0]),
    st.sampled_from([1.85, 1.9, 2.0, 2.05, 2.1]),
    st.sampled_from([-10_000.0, -9000.0, 0.0, 1.0, 14_399.0, 14_400.0]),
    st.integers(0, 2),
)


@given(st.lists(PRINT, min_size=1, max_size=40), st.integers(1, 7))
def test_batches_of_any_size_add_up_to_the_slow_count(rows, step):
    """Any prints in any batches: the totals of a count over lists."""
    totalled = tally(3)
    for begin in range(0, len(rows), step):
        totalled.add(prints(*rows[begin : begin + step]))
    # In a sum of thousandths the order may show in the last digit.
    for contract, expected in slow(rows).items():
        assert totals(totalled, contract) == pytest.approx(expected, abs=1e-8)


# Theta's codes.


def test_every_code_of_the_vendors_table(shared):
    """Cancels, legs, late reports and what adds no volume: as the table of conditions says."""
    with (shared / "vendors/theta/trade-conditions.csv").open() as lines:
        table = list(csv.DictReader(lines))
    assert len(table) == 145
    for row in table:
        code, kind = int(row["Code"]), PrintKind(int(kinds_of(np.array([int(row["Code"])]))[0]))
        assert (kind in (CANCEL, FIRST)) is (row["Cancel"] == "true"), code
        if row["Cancel"] == "true":
            continue
        assert (kind is IGNORED) is (row["Volume"] != "true"), code
        if 130 <= code <= 144:
            assert kind is MULTI
        if kind is not IGNORED and row["LateReport"] == "true" and row["Last"] != "true":
            assert kind is UNSIDED, code


def test_codes_of_options():
    """Automatic, sweep, single-leg auction: sided. Codes that nobody knows: volume alone."""
    assert kinds_of(np.array([18, 95, 125, 0])).tolist() == [SIDED] * 4
    assert kinds_of(np.array([129, 130, 144, 145])).tolist() == [SIDED, MULTI, MULTI, SIDED]
    assert kinds_of(np.array([-1, 256, 10**6])).tolist() == [UNSIDED] * 3
    assert (
        kinds_of(np.array([40, 41, 42, 43, 44])).tolist() == [CANCEL] * 2 + [FIRST] + [CANCEL] * 2
    )
