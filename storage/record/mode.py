"""What a write does to a slot that has a row already."""

from __future__ import annotations

from enum import StrEnum


class WriteMode(StrEnum):
    """What happens when a record is written to a slot that has a row already."""

    #: The first sampled row stays. It takes the place of a backfilled row.
    KEEP = "keep"
    #: A record with later quotes wins. Any sampled record takes the place of a backfilled row.
    NEWER = "newer"
    #: Backfilled records: a sampled row stays; of backfilled ones, the one with later quotes wins.
    FILL = "fill"
    #: The record always wins; one that equals the row is not written.
    REWRITE = "rewrite"
    #: The record always wins, and is written even where it equals the row.
    REPLACE = "replace"
