"""What can go wrong between a source and a row.

FlowError
├── ChainRefused         a frame that makes no row; carries the gap's reason
└── UsageError
    └── NoHistory        the source keeps no past frames
"""

from __future__ import annotations

from datetime import date, datetime

from storage.errors import FlowError, UsageError
from storage.record.row import Reason


class ChainRefused(FlowError):
    """No row comes of this; ``reason`` is what the gap will say.

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


class NoHistory(UsageError):
    """The source keeps no past frames."""
