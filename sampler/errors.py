"""What can go wrong between a source and a row.

FlowError
├── Refused              a frame that makes no row; carries the gap's reason
└── UsageError
    └── NoHistory        the source keeps no past frames
"""

from __future__ import annotations

from storage.errors import FlowError, UsageError
from storage.record.row import Reason


class Refused(FlowError):
    """No row comes of this; ``reason`` is what the gap will say."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NoHistory(UsageError):
    """The source keeps no past frames."""
