"""One moment of a symbol's expiring chain: the live snapshot, and the same of the settled book.

``snapshot`` is on effective open interest, this morning's moved by today's signed volume, with a
block that says what flow has changed; ``exposure`` is on this morning's alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.documents import dynamics, positioning, trading
from api.documents.book import PositionBook, read_book
from api.documents.direction import flow_direction
from api.documents.sample import Sample
from api.documents.scorecard import probabilities_block
from api.documents.strikes import DEFAULT_RANGE, strike_table


def snapshot(sample: Sample, scores: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Answer with one moment of the chain on effective open interest, and what flow has changed.

    Parameters
    ----------
    sample : the sample.
    scores : how the symbol's frozen forecasts came out; None where nothing is scored.

    Returns
    -------
    dict
        The answer.
    """
    live, settled = read_book(sample.record, live=True), read_book(sample.record, live=False)
    document = _document(sample, live, DEFAULT_RANGE)
    document["flow_direction"] = flow_direction(settled, live)
    document["probabilities"] = probabilities_block(sample, scores)
    return document | sample.provenance_fields()


def exposure(sample: Sample, reach: float = DEFAULT_RANGE) -> dict[str, Any]:
    """Answer with one moment of the chain on this morning's open interest.

    Parameters
    ----------
    sample : the sample.
    reach : part of spot that its strikes and the two scores of its quotes reach to. [0-1]

    Returns
    -------
    dict
        The answer.
    """
    return (
        _document(sample, read_book(sample.record, live=False), reach) | sample.provenance_fields()
    )


def _document(sample: Sample, book: PositionBook, reach: float) -> dict[str, Any]:
    row = book.row
    return {
        "symbol": row.symbol,
        "underlying_price": row.spot,
        "expiration": row.expiration,
        **sample.time_fields(),
        "regime": positioning.regime_block(sample, book),
        "exposures": positioning.exposures_block(book),
        "expected_move": dynamics.expected_move_block(sample),
        "pin_risk": positioning.pin_risk_block(book),
        "hedging": dynamics.hedging_block(book),
        "decay": dynamics.decay_block(sample, book),
        "vol_context": dynamics.vol_context_block(sample, book),
        "flow": trading.flow_block(book),
        "levels": positioning.levels_block(sample, book),
        "liquidity": trading.liquidity_block(book),
        "metadata": trading.metadata_block(sample, book, reach),
        "strikes": strike_table(book, reach),
        **trading.closing_warnings(sample),
    }
