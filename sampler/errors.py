"""What can go wrong between a source and a row.

FlowError
├── ChainRefused         a frame that makes no row; carries the gap's reason
└── UsageError
    └── NoHistory        the source keeps no past frames
"""

from __future__ import annotations

from datetime import date, datetime

from storage.errors import FlowError, UsageError
from storage.market.calendar import to_new_york
from storage.record.row import Reason


class ChainRefused(FlowError):
    """A frame that makes no row; ``reason`` becomes the reason of the slot's gap.

    ``next_expiry`` goes with ``no_zero_dte``: the next day on which something of the symbol
    expires, None where the source lists none. ``quoted_at`` goes with a frame that cannot be read:
    when its quotes were made, UTC, None where that is not known either.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        next_expiry: date | None = None,
        quoted_at: datetime | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.next_expiry = next_expiry
        self.quoted_at = quoted_at


def no_chain_quoted_by(moment: datetime, symbol: str, place: str) -> ChainRefused:
    """Make the refusal of files that have no chain quoted by a time.

    Parameters
    ----------
    moment : the time, UTC.
    symbol : the underlying.
    place : name of the file or folder.

    Returns
    -------
    ChainRefused
        With reason ``source_down``.
    """
    wall_time = to_new_york(moment).strftime("%Y-%m-%d %H:%M:%S")
    return ChainRefused(
        Reason.SOURCE_DOWN, f"{symbol}: no chain quoted by {wall_time} New York in {place}"
    )


class NoHistory(UsageError):
    """The source keeps no past frames."""
