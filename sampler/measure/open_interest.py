"""Which open interest counts: it is published once a day, so the first complete set stands.

Feeds send it with every chain, and some send it wrongly: nothing before the morning's file is
loaded, a part of it, yesterday's file, or two days' files in turn from two servers. The position is
built on one set a session:

- The first complete set stands: nearly every listed contract is readable, and the total is not 0.
- A later set that differs is flagged and not used. One exception: a different complete set that is
  sent unchanged for ten minutes, the last of them before 10:30, is this morning's file in the place
  of yesterday's. It is taken over, once a session.
- An incomplete set never takes the place of a complete one. Before there is a complete one, what is
  readable counts.
- A contract that the standing set does not know counts with the newest figure that was sent.

The state goes from slot to slot in the evidence, so a restarted sampler goes on with the same set.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampler.chain import Chain
from sampler.measure.previous import PreviousSlot
from storage.market.calendar import to_new_york
from storage.record.row import Flag

Floats = NDArray[np.float64]

#: A set is complete if this part of the listed contracts, or more, is readable. [0-1]
COMPLETE = 0.99
#: If more than this part of the contracts that had open interest read 0, the set is incomplete
#: and not that of another day. [0-1]
EMPTIED = 0.1
#: Another set replaces the first one if it is sent unchanged for so many seconds, and no later
#: than this New York time.
STANDING_SECONDS, LAST_CHANGE = 600.0, time(10, 30)
#: If two samples lie further apart, nobody knows whether a set was sent between them. [s]
UNSEEN_SECONDS = 330.0
#: Notes of the evidence about open interest.
NOTES = ("oi_stands", "oi_other_since", "oi_adopted", "oi_incomplete")
#: The column of the evidence that holds the standing set, where it is not what was sent.
STANDING = "standing_open_interest"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StandingOpenInterest:
    """The open interest that a row's position is built on."""

    #: On the chain's strikes; 0 where a contract is not listed or not known. (2, n) [contracts]
    values: Floats
    #: Whether any is known.
    known: bool
    #: What the next slot goes on from: columns on all strikes, and notes.
    columns: dict[str, NDArray[Any]]
    notes: dict[str, Any]
    flags: list[Flag]
    #: For each flag: how many contracts, and by how much they differ. [contracts]
    amounts: dict[str, dict[str, float]]


def read_open_interest(chain: Chain, past: PreviousSlot) -> StandingOpenInterest:
    """Decide which open interest a chain's position is built on.

    Parameters
    ----------
    chain : today's contracts with the open interest as it was sent, NaN where it is unreadable.
    past : the previous slot's evidence, on the strikes of both.

    Returns
    -------
    StandingOpenInterest
        The set that counts, and the flags ``no_open_interest``, ``oi_partial``, ``oi_changed`` and
        ``oi_recovered`` with their amounts.
    """
    if _nothing_new(chain, past):
        unreadable = np.isnan(chain.open_interest)
        return StandingOpenInterest(
            values=(
                np.where(unreadable, 0.0, chain.open_interest)
                if np.count_nonzero(unreadable)
                else chain.open_interest
            ),
            known=True,
            columns={},
            notes={name: past.notes[name] for name in NOTES if name in past.notes},
            flags=[],
            amounts={},
        )
    sent = np.where(chain.listed, chain.open_interest, np.nan)
    complete = _is_complete(sent, chain)
    wide = past.widen(sent)
    standing, stands = _standing(past)
    since, adopted = past.notes.get("oi_other_since"), bool(past.notes.get("oi_adopted"))
    now = chain.quoted_at.timestamp()
    amounts: dict[str, dict[str, float]] = {}
    if stands:
        differs = (wide != standing) & ~np.isnan(wide) & ~np.isnan(standing)
        if complete and differs.any():
            same = since is not None and _unchanged(wide, past, now)
            if not same:
                since = now
            emptied = ((wide == 0) & (standing > 0)).sum() > EMPTIED * (standing > 0).sum()
            adopted_now = not adopted and not emptied and _may_adopt(chain.quoted_at, since)
            amounts[Flag.OI_CHANGED] = {
                "contracts": int(differs.sum()),
                "open_interest": float((wide - standing)[differs].sum()),
                "adopted": int(adopted_now),
            }
            if adopted_now:
                # What the new set lacks is still known from the old one.
                standing = np.where(np.isnan(wide), standing, wide)
                since, adopted = None, True
        else:
            since = None
        if not complete:
            lost = past.widen(chain.listed, fill=False) & (np.isnan(wide) | differs)
            amounts[Flag.OI_PARTIAL] = {
                "contracts": int(lost.sum()),
                "open_interest": float(np.nansum(np.where(lost, standing, 0.0))),
            }
        standing = np.where(np.isnan(standing), wide, standing)
    else:
        standing, stands = wide, complete
        if not np.nansum(sent) > 0:
            amounts[Flag.NO_OPEN_INTEREST] = {"contracts": int(chain.listed.sum())}
        elif not complete:
            missing = chain.listed & np.isnan(sent)
            amounts[Flag.OI_PARTIAL] = {"contracts": int(missing.sum())}
    # A contract without any known figure counts as 0, which may be wrong: the row says so.
    unknown = int((chain.listed & np.isnan(past.narrow(standing))).sum())
    if unknown and not amounts.keys() & {Flag.OI_PARTIAL, Flag.NO_OPEN_INTEREST}:
        amounts[Flag.OI_PARTIAL] = {"contracts": unknown}
    incomplete = Flag.NO_OPEN_INTEREST in amounts or Flag.OI_PARTIAL in amounts
    if past.notes.get("oi_incomplete") and not incomplete:
        amounts[Flag.OI_RECOVERED] = {"contracts": int(chain.listed.sum())}
    values = np.where(chain.listed, np.nan_to_num(past.narrow(standing)), 0.0)
    marks = {"oi_other_since": since, "oi_adopted": adopted, "oi_incomplete": incomplete}
    notes = {"oi_stands": stands} | {name: value for name, value in marks.items() if value}
    return StandingOpenInterest(
        values=values,
        known=bool(stands or np.nansum(sent) > 0),
        columns=_standing_column(standing, wide),
        notes=notes,
        flags=[Flag(name) for name in amounts],
        amounts={str(name): amount for name, amount in amounts.items()},
    )


def _nothing_new(chain: Chain, past: PreviousSlot) -> bool:
    """Whether the standing set was sent again, as on nearly every slot: nothing to decide."""
    notes = past.notes
    return bool(
        past.here is None
        and notes.get("oi_stands")
        and not notes.get("oi_other_since")
        and not notes.get("oi_incomplete")
        and not past.has(STANDING)
        # Bytes are compared: that takes a fifth of the time of a comparison of values with NaN.
        and past.recall("listed").tobytes() == chain.listed.tobytes()
        and past.recall("open_interest").tobytes() == chain.open_interest.tobytes()
    )


def _is_complete(sent: Floats, chain: Chain) -> bool:
    readable = int((~np.isnan(sent)).sum())
    return bool(readable >= COMPLETE * chain.listed.sum() and np.nansum(sent) > 0)


def _standing(past: PreviousSlot) -> tuple[Floats, bool]:
    """The standing set on all strikes, NaN where it does not know a contract; and if it stands.

    A record of an earlier release says nothing of it: what it was measured with stands.
    """
    sent = past.sent_open_interest()
    known = past.recall(STANDING) if past.has(STANDING) else sent
    if "oi_stands" in past.notes:
        return known, bool(past.notes["oi_stands"])
    return known, past.row is not None and bool(np.nansum(sent) > 0)


def _unchanged(wide: Floats, past: PreviousSlot, now: float) -> bool:
    """Whether a slot shortly before was sent the same set, as far as both are readable."""
    if past.row is None or now - past.row.quoted_at.timestamp() > UNSEEN_SECONDS:
        return False
    before = past.sent_open_interest()
    both = ~np.isnan(wide) & ~np.isnan(before)
    return bool(both.any() and (wide[both] == before[both]).all())


def _may_adopt(quoted_at: datetime, since: float | None) -> bool:
    if since is None or to_new_york(quoted_at).time() >= LAST_CHANGE:
        return False
    return quoted_at.timestamp() - since >= STANDING_SECONDS


def _standing_column(standing: Floats, sent: Floats) -> dict[str, NDArray[Any]]:
    """The standing set for the evidence, where the set that was sent does not tell it."""
    same = (standing == sent) | (np.isnan(standing) & np.isnan(sent))
    return {} if same.all() else {STANDING: standing}
