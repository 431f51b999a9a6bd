"""Whether a chain's options, or the price of its underlying, stand still while the other moves.

Feeds freeze in parts: the options' quotes stand while the stock trades on, or the index value
stands while its options are quoted and traded. The first makes stale options, the second a stale
spot. A server that lags behind sends older options with a newer price of the underlying. A chain is
compared with the previous record's own columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from sampler.chain import REPORTED_VOLUME, Chain
from sampler.errors import ChainRefused
from storage.market.constants import BEFORE_OPEN, SLOT_WIDTH
from storage.record.row import Reason, SlotRecord

#: Prices that must stand still for options to count as unchanged.
PRICES = ("bid", "ask", "last")
#: From so many slots on, options that stand while the underlying trades make no row.
STALE_SLOTS = 3
#: A price of the underlying that is older than the quotes by more than this stands still,
#: whatever the previous slot had.
OWN_TIME_BEHIND = timedelta(seconds=60)
#: Options are ahead of their answer's time if so many contracts have traded this much later. [s]
LEAST_AHEAD, SECONDS_AHEAD = 3, 20.0


class Standstill(NamedTuple):
    """Since when something has not changed, and where the underlying stood then."""

    #: The first slot with these values.
    since: datetime
    #: For options the source's spot then, for a spot the parity forward then; NaN: there was
    #: none. [$]
    level: float

    def lasts(self, slot: datetime) -> bool:
        """Say whether it has lasted for three slots of the grid, whatever the feed's cadence.

        Parameters
        ----------
        slot : the slot now, UTC.

        Returns
        -------
        bool
            True if it has.
        """
        return slot - self.since >= STALE_SLOTS * SLOT_WIDTH


def options_standing(chain: Chain, previous: SlotRecord | None) -> Standstill | None:
    """Return since when no option shows anything new; None if one does.

    Parameters
    ----------
    chain : today's contracts.
    previous : the record of the earlier slot, with the columns that its chain had.

    Returns
    -------
    Standstill or None
        Since when, and the underlying's price at that time. Options stand if nothing has traded and
        no price has changed. They also stand if nothing has traded and a print is older than the
        earlier slot's: the answer is an older one.

    Notes
    -----
    A value that cannot be read, a crossed quote and a contract that is missing are no change. Nor
    is a volume up to the highest one known, or a print of an earlier session. At least half of the
    listed contracts must have a price that can be compared.
    """
    if previous is None:
        return None
    columns, notes = previous.state
    here: Any = slice(None)
    there: Any = slice(None)
    if columns["strike"].tobytes() != chain.strike.tobytes():
        _, here, there = np.intersect1d(
            chain.strike, columns["strike"], assume_unique=True, return_indices=True
        )
    # Comparisons with NaN are false: what is not listed or not readable never counts. Nor does a
    # volume that was sent before, though it may be above the one that counts.
    highest = columns["volume"][:, there]
    if REPORTED_VOLUME in columns:
        highest = np.fmax(highest, columns[REPORTED_VOLUME][:, there])
    if np.count_nonzero(chain.volume[:, here] > highest):
        return None
    printed, printed_before = chain.last_at[:, here], columns["last_at"][:, there]
    # The first print of a day says nothing beyond the volume that came with it.
    first = (chain.session.open - BEFORE_OPEN).timestamp()
    of_today = (printed >= first) & (printed_before >= first)
    if (of_today & (printed > printed_before)).any():
        return None
    older = bool((of_today & (printed < printed_before)).any())
    if not older and not _prices_stand(chain, columns, here, there):
        return None
    if "options_since" in notes:
        spot = notes["options_spot"]
        return Standstill(
            datetime.fromisoformat(notes["options_since"]), math.nan if spot is None else spot
        )
    spot = notes["spot"]
    return Standstill(previous.row.slot, math.nan if spot is None else spot)


def _prices_stand(chain: Chain, columns: Mapping[str, Any], here: Any, there: Any) -> bool:
    """Whether enough prices can be compared with the earlier slot's, and all are the same."""
    sound = (chain.bid <= chain.ask)[:, here] & (columns["bid"] <= columns["ask"])[:, there]
    comparable = 0
    for name in PRICES:
        now, before = getattr(chain, name)[:, here], columns[name][:, there]
        readable = ~np.isnan(now) & ~np.isnan(before)
        if name != "last":
            readable &= sound
        if (now[readable] != before[readable]).any():
            return False
        comparable = max(comparable, int(readable.sum()))
    return 2 * comparable >= int(chain.listed.sum())


def require_live_options(chain: Chain, standing: Standstill, *, contradicted: bool) -> None:
    """Refuse options that stand while the underlying trades.

    Parameters
    ----------
    chain, standing : the options, and since when they stand.
    contradicted : whether put-call parity of these options contradicts the source's spot.

    Raises
    ------
    ChainRefused
        ``stale`` from the third slot on, and at once where parity contradicts a spot that has
        moved.
    """
    trades = math.isfinite(chain.spot) and chain.spot != standing.level
    if trades and not math.isnan(standing.level) and (contradicted or standing.lasts(chain.slot)):
        seconds = (chain.slot - standing.since).total_seconds()
        raise ChainRefused(
            Reason.STALE,
            f"{chain.symbol}: no option has shown anything new for {seconds:.0f} s, and the"
            f" underlying went from {standing.level:g} to {chain.spot:g}",
        )


def spot_standing(chain: Chain, previous: SlotRecord | None) -> Standstill | None:
    """Return since when the source's spot is the same to the cent; None if it moved or is missing.

    Parameters
    ----------
    chain : today's contracts.
    previous : the record of the earlier slot; None without one.

    Returns
    -------
    Standstill or None
        Since when, and the parity forward at that time.
    """
    if previous is None or not math.isfinite(chain.spot):
        return None
    notes = previous.state[1]
    if notes["spot"] != chain.spot:
        return None
    if "spot_since" in notes:
        return Standstill(datetime.fromisoformat(notes["spot_since"]), notes["spot_forward"])
    return Standstill(previous.row.slot, previous.row.forward)


def own_time_stands(chain: Chain, previous: SlotRecord | None) -> bool:
    """Say whether the time that the source gives for the underlying's price stands still.

    It does if it lies far behind the quotes, or is the previous slot's, while the quotes are newer.

    Parameters
    ----------
    chain : today's contracts.
    previous : the record of the earlier slot; None without one.

    Returns
    -------
    bool
        True if it stands still; False too where the source gives no such time.
    """
    if chain.underlying_at is None or chain.underlying_at >= chain.quoted_at:
        return False
    if chain.quoted_at - chain.underlying_at > OWN_TIME_BEHIND:
        return True
    earlier = previous.state[1].get("underlying_at") if previous is not None else None
    return earlier is not None and datetime.fromisoformat(earlier) >= chain.underlying_at


def seconds_ahead(chain: Chain) -> float | None:
    """Return how much later options have traded than the time of their own answer; None if not.

    Such an answer has the time and the spot of one moment, and the options of a later one.

    Parameters
    ----------
    chain : today's contracts.

    Returns
    -------
    float or None
        From the answer's time to the third newest print, if that is over 20 s. [s]
    """
    answered = chain.quoted_at.timestamp()
    # Comparisons with NaN are false: a contract without a print is not ahead.
    ahead = chain.last_at > answered + SECONDS_AHEAD
    if np.count_nonzero(ahead) < LEAST_AHEAD:
        return None
    return float(np.sort(chain.last_at[ahead])[-LEAST_AHEAD]) - answered


def standstill_notes(
    options: Standstill | None, spot: Standstill | None, underlying_at: datetime | None
) -> dict[str, Any]:
    """Return what the next slot must know of a standstill; nothing of what moves.

    Parameters
    ----------
    options : what stands still of the options; None if they move.
    spot : what stands still of spot; None if it moves.
    underlying_at : the time that the source gives for the underlying's price, UTC.

    Returns
    -------
    dict
        Notes for the evidence, as plain values.
    """
    notes: dict[str, Any] = {}
    if options is not None:
        notes["options_since"] = options.since.isoformat()
        notes["options_spot"] = options.level if math.isfinite(options.level) else None
    if spot is not None:
        notes["spot_since"] = spot.since.isoformat()
        notes["spot_forward"] = spot.level
    if underlying_at is not None:
        notes["underlying_at"] = underlying_at.isoformat()
    return notes
