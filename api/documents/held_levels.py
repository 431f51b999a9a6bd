"""Walls, magnet and flip with hysteresis: a level moves when the new one has led for a while.

The strike of the largest gamma alternates where two strikes are nearly as large. Here a level stays
where it is until another strike exceeds it by ``LEAD`` in every sample of ``HOLD``. The flip is a
level between strikes that drifts: it is followed as it drifts, and a leap to another crossing is
held back in the same way. Every 30 s sample is judged, whatever the bar size, so that levels do not
depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import eq
from typing import Any

import numpy as np

from api.documents.rounding import Floats
from storage.postgres.windows import ProfileRow

#: Part by which the new strike's gamma exceeds that of the level.
LEAD = 0.10
#: For how long it must do so in every sample. A longer time without a sample begins it anew.
HOLD = timedelta(minutes=2)
#: A flip that moves by more than this part of itself from one sample to the next is another one.
LEAP = 0.005
#: The arrays by strike, and the columns of a row, to ask the store for.
ARRAYS = ("strike", "call_gex", "put_gex")
COLUMNS = ("slot", "spot", "gamma_flip", "call_wall", "put_wall", "magnet")
#: Level → how large each strike's claim to it is.
SIZES: dict[str, Callable[[Mapping[str, Floats]], Floats]] = {
    "call_wall": lambda arrays: arrays["call_gex"],
    "put_wall": lambda arrays: np.abs(arrays["put_gex"]),
    "magnet": lambda arrays: np.abs(arrays["call_gex"] + arrays["put_gex"]),
}


class _Holder:
    """A level that moves once another one has led in every sample of ``HOLD``."""

    def __init__(self) -> None:
        self._level: float | None = None
        self._rival: float | None = None
        self._since: datetime | None = None
        self._newest: datetime | None = None

    def _take(
        self,
        slot: datetime,
        raw: float | None,
        leads: Callable[[float, float], bool],
        is_same: Callable[[float, float], bool],
    ) -> float | None:
        """Take in a sample's level; ``leads`` and ``is_same`` compare it with an earlier one."""
        late = self._newest is not None and slot - self._newest > HOLD
        self._newest = slot
        if raw is None or self._level is None or is_same(raw, self._level):
            self._level, self._rival = raw, None
            return self._level
        rival, self._rival = self._rival, raw
        if not leads(raw, self._level):
            self._rival = None
        elif rival is None or late or self._since is None or not is_same(raw, rival):
            self._since = slot
        elif slot - self._since >= HOLD:
            self._level, self._rival = raw, None
        return self._level


class LevelHolder(_Holder):
    """Follows a wall or the magnet through the samples of a session."""

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
        if size_of and self._level not in size_of:
            # A strike that is not listed any more is left at once.
            self._level = None

        def leads(strike: float, held: float) -> bool:
            return size_of.get(strike, 0.0) > (1 + LEAD) * size_of.get(held, np.inf)

        return self._take(slot, raw, leads, eq)


class FlipHolder(_Holder):
    """Follows the gamma flip through the samples of a session."""

    def take(self, slot: datetime, raw: float | None, spot: float) -> float | None:
        """Take the next sample in.

        A sample's flip is the crossing nearest to spot. One that has leapt leads where it is nearer
        to spot than the held one by ``LEAD``. It leads too where it is farther: the held one, which
        would be the nearest, has then gone.

        Parameters
        ----------
        slot : the sample's slot, UTC.
        raw : the flip as the sample alone says it; None if it has none. [$]
        spot : the sample's price. [$]

        Returns
        -------
        float or None
            The flip as it is held; None where the sample has none. [$]
        """

        def leads(flip: float, held: float) -> bool:
            distance = abs(flip - spot)
            return not distance <= abs(held - spot) <= (1 + LEAD) * distance

        return self._take(slot, raw, leads, _is_same_flip)


def _is_same_flip(flip: float, before: float) -> bool:
    return abs(flip - before) <= LEAP * before


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
        Slot → level → where it is held. [$]
    """
    arrays = {profile.slot: profile.arrays for profile in profiles}
    holders = {name: LevelHolder() for name in SIZES}
    flip = FlipHolder()
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
        } | {"gamma_flip": flip.take(slot, row["gamma_flip"], row["spot"])}
    return held
