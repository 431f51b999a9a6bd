"""One moment of a symbol's expiring chain: the live snapshot, and the same of the settled book.

``snapshot`` is on effective open interest, this morning's moved by today's signed volume, with a
block that says what flow has changed; ``exposure`` is on this morning's alone.
"""

from __future__ import annotations

from typing import Any

from api.documents import dynamics, positioning, trading
from api.documents.book import Book, read_book
from api.documents.direction import flow_direction
from api.documents.sample import Seen
from api.documents.strikes import DEFAULT_RANGE, table


def snapshot(seen: Seen) -> dict[str, Any]:
    """The live document."""
    live, settled = read_book(seen.record, live=True), read_book(seen.record, live=False)
    made = _document(seen, live, DEFAULT_RANGE)
    return made | {"flow_direction": flow_direction(settled, live)} | seen.origin()


def exposure(seen: Seen, reach: float = DEFAULT_RANGE) -> dict[str, Any]:
    """The settled document; ``reach`` limits its strikes and the two scores of its quotes."""
    return _document(seen, read_book(seen.record, live=False), reach) | seen.origin()


def _document(seen: Seen, book: Book, reach: float) -> dict[str, Any]:
    row = book.row
    return {
        "symbol": row.symbol,
        "underlying_price": row.spot,
        "expiration": row.expiration,
        **seen.clock(),
        "regime": positioning.regime(seen, book),
        "exposures": positioning.exposures(book),
        "expected_move": dynamics.expected_move(seen),
        "pin_risk": positioning.pin_risk(book),
        "hedging": dynamics.hedging(book),
        "decay": dynamics.decay(seen, book),
        "vol_context": dynamics.vol_context(seen, book),
        "flow": trading.flow(book),
        "levels": positioning.levels(seen, book),
        "liquidity": trading.liquidity(book),
        "metadata": trading.metadata(seen, book, reach),
        "strikes": table(book, reach),
        **trading.warnings(seen),
    }
