"""Walls and magnet with hysteresis: a level moves when the new one has led for a while.

The strike of the largest gamma alternates where two strikes are nearly as large. Here a level stays
where it is until another strike exceeds it by ``LEAD`` in every sample of ``HOLD``. Every 30 s
sample is judged, whatever the bar size, so that levels do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from api.documents.rounding import Floats
from storage.postgres.windows import ProfileRow

#: Part by which the new strike's gamma exceeds that of the level.
LEAD = 0.10
#: For how long it must do so in every sample. A longer time without a sample begins it anew.
HOLD = timedelta(minutes=2)
#: The arrays by strike, and the columns of a row, to ask the store for.
ARRAYS = ("strike", "call_gex", "put_gex")
COLUMNS = ("slot", "call_wall", "put_wall", "magnet")
#: Level → how large each strike's claim to it is.
SIZES: dict[str, Callable[[Mapping[str, Floats]], Floats]] = {
    "call_wall": lambda arrays: arrays["call_gex"],
    "put_wall": lambda arrays: np.abs(arrays["put_gex"]),
    "magnet": lambda arrays: np.abs(arrays["call_gex"] + arrays["put_gex"]),
}


class LevelHolder:
    """Follows one level through the samples of a session."""

    def __init__(self) -> None:
        self._level: float | None = None
        self._rival: float | None = None
        self._since: datetime | None = None
        self._newest: datetime | None = None

    def take(
        self, slot: datetime, raw: float | None, size_of: Mapping[float, float]
    ) -> float | None:
        """Take the next sample in.

        Parameters
        ----------
        slot : the sample's slot, UTC.
        raw : the level as the sample alone says it; None if it has none. [$]
        size_of : strike → its size; empty where the sample was stored without figures by strike.

        Returns
        -------
        float or None
            The level as it is held; None where the sample has none. [$]
        """
        late = self._newest is not None and slot - self._newest > HOLD
        self._newest = slot
        unlisted = bool(size_of) and self._level not in size_of
        if raw is None or self._level is None or raw == self._level or unlisted:
            self._level, self._rival = raw, None
            return self._level
        if not size_of.get(raw, 0.0) > (1 + LEAD) * size_of.get(self._level, np.inf):
            self._rival = None
        elif self._rival != raw or late or self._since is None:
            self._rival, self._since = raw, slot
        elif slot - self._since >= HOLD:
            self._level, self._rival = raw, None
        return self._level


def held_levels(
    rows: Sequence[Mapping[str, Any]], profiles: Sequence[ProfileRow]
) -> dict[datetime, dict[str, float | None]]:
    """Hold the levels of a session.

    Parameters
    ----------
    rows : ``COLUMNS`` of every sample from the open on, oldest first.
    profiles : the same samples by strike, with ``ARRAYS``; one may be missing.

    Returns
    -------
    dict
        Slot → level → its strike as it is held. [$]
    """
    arrays = {profile.slot: profile.arrays for profile in profiles}
    holders = {name: LevelHolder() for name in SIZES}
    held = {}
    for row in rows:
        slot = row["slot"]
        known = arrays.get(slot)
        listed = [] if known is None else known["strike"].tolist()
        held[slot] = {
            name: holder.take(
                slot,
                row[name],
                dict(zip(listed, SIZES[name](known).tolist(), strict=True)) if known else {},
            )
            for name, holder in holders.items()
        }
    return held
