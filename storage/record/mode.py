"""What a write does to a slot that has a row already: the modes, and the rule of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Replaces(StrEnum):
    """When a record takes the place of the row that its slot has already."""

    NEVER = "never"
    #: If its quotes are later than those of the row.
    LATER = "later"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictRule:
    """How a write mode treats a slot that has a row already.

    This is the only statement of the rule. The SQL of a write gets its fields as parameters.
    """

    #: When a record replaces a row that was sampled live.
    sampled: Replaces
    #: When a record replaces a row that was backfilled.
    backfilled: Replaces
    #: Whether a record is written even where it equals the row; it gets a new revision then.
    writes_equal: bool = False
    #: Whether a replaced row stays marked as sampled or backfilled, as it was.
    keeps_origin: bool = False

    def replaces(self, *, backfilled: bool, stored_at: datetime, offered_at: datetime) -> bool:
        """Return whether a record takes the place of a row.

        Parameters
        ----------
        backfilled : whether the row was backfilled.
        stored_at, offered_at : when the quotes of the row, and of the record, were made.

        Returns
        -------
        bool
            Whether the record is written over the row.
        """
        when = self.backfilled if backfilled else self.sampled
        return when is Replaces.ALWAYS or (when is Replaces.LATER and offered_at > stored_at)


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

    @property
    def rule(self) -> ConflictRule:
        """How the mode treats a slot that has a row already."""
        return _RULES[self]

    @property
    def backfills(self) -> bool:
        """Whether rows that are new in this mode are marked as backfilled."""
        return self is WriteMode.FILL


_RULES = {
    WriteMode.KEEP: ConflictRule(sampled=Replaces.NEVER, backfilled=Replaces.ALWAYS),
    WriteMode.NEWER: ConflictRule(sampled=Replaces.LATER, backfilled=Replaces.ALWAYS),
    WriteMode.FILL: ConflictRule(sampled=Replaces.NEVER, backfilled=Replaces.LATER),
    WriteMode.REWRITE: ConflictRule(
        sampled=Replaces.ALWAYS, backfilled=Replaces.ALWAYS, keeps_origin=True
    ),
    WriteMode.REPLACE: ConflictRule(
        sampled=Replaces.ALWAYS, backfilled=Replaces.ALWAYS, keeps_origin=True, writes_equal=True
    ),
}
