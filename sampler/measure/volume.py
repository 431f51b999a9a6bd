"""Each contract's volume of the day, kept as a high-water mark that a dirty feed cannot fool.

A feed reports a cumulative volume for each contract. Real feeds report it wrongly: one server lags
behind another, one frame reads 0 or far too much, a trade is busted, a contract is missing for a
minute. So a reported volume below the mark is never a reset. It opens a *dispute* between two
accounts of the contract: one says that the mark was right, the other that the lower figure is. One
account is published in the row, the other one is carried beside it, and the feed's next reports
decide:

- Recent rises are as large as the fall: what fell is taken out of them, with their own sign and
  dollars, at once. Three rises of the last ten minutes are remembered: the largest, the largest
  before it and the largest after it. Taken back is the smallest one that is large enough, else the
  largest with one of the others or both. The higher account is carried.
- Nothing explains the lower figure: the mark is published unchanged. The lower account is carried,
  with whatever trades above the lower figure.
- A report that reaches the higher account's volume restores the higher account, exactly. But where
  the lower one is published and has traded on since the fall, the lower one stays.
- A dispute that lasts ten minutes is decided for the lower account.

Only when the whole chain falls within the opening window is the fall a reset: the feed has begun
today's count. A contract's first readable volume is its own baseline: what traded before it belongs
to no slot. All of it is arithmetic on columns of (2, strikes), calls first; nothing reads a clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sampler.metrics.ledger import Counted, count_volumes, remember_rises

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: How long after a rise of volume a fall can withdraw it, and how long a dispute between two
#: volumes lasts before it is decided. [s]
DISPUTE_SECONDS = 600.0
#: The part of the chain that must fall, or come back, for a fall to be the whole chain's. [0-1]
WHOLE_CHAIN = 0.9
#: If contracts traded after a fall and this part of the fall comes back in one slot, nobody can
#: say whether that is new trading or volume that the feed had held back. [0-1]
RETURNED = 0.5
#: The part of the chain that must come back to its figures of before a reset in one slot. [0-1]
AT_ONCE = 0.5
#: A reset leaves less than this part of the chain's volume. [0-1]
RESET_LEFT = 0.5
#: A day that begins anew begins with almost no volume. So while a reset is undecided and more than
#: this part of the earlier volume is counted again, the feed may merely report too little. [0-1]
RESET_DOUBTFUL = 0.25

#: The columns of one account: volume counted, and the flow that belongs to it.
ACCOUNT: tuple[str, ...] = (
    "volume",  # the mark [contracts]; NaN: never readable
    "signed",  # B: customers' buys less sells [contracts]
    "dollars",  # H: hedge flow, positive: dealers buy [$]
    "gamma_dollars",  # the same of gamma [$ per 1 %]
    "counted",  # volume that belongs to slots: the mark less the baseline [contracts]
    "volume_squares",  # Σ ΔV² [contracts²]
)
#: The largest rise of the last ten minutes, so that it can be withdrawn; NaN: none.
RISE: tuple[str, ...] = (
    "rise",  # ΔV [contracts]
    "rise_sign",  # s [-1, 1]
    "rise_hedge",  # ΔV·M·Δ·S [$]
    "rise_gamma",  # ΔV·Γ·M·S²·0.01 [$ per 1 %]
    "rise_at",  # unix time [s]
)
#: The largest rise after that one, which is smaller: it explains a fall better. NaN: none.
LATER_RISE: tuple[str, ...] = tuple(f"later_{name}" for name in RISE)
#: The account that is not published, while there is a dispute; NaN: no dispute.
OTHER: tuple[str, ...] = (
    *(f"other_{name}" for name in ACCOUNT),
    "other_classified",  # its classified volume less the published account's [contracts]
    "other_variance",  # its Σ (ΔV·M·Δ·S)² less the published account's [$²]
    "other_since",  # unix time at which the dispute began [s]
    "other_gap",  # by how much the two volumes differed then; NaN: the chain began anew [contracts]
)
#: The largest rise before ``RISE``, and no larger: both may have been wrong. NaN: none.
EARLIER_RISE: tuple[str, ...] = tuple(f"earlier_{name}" for name in RISE)
#: The rises that are remembered, in the order in which ``remember_rises`` has them.
RISES: tuple[str, ...] = (*RISE, *LATER_RISE, *EARLIER_RISE)
#: All columns of the ledger, as the evidence stores them.
COLUMNS: tuple[str, ...] = (*ACCOUNT, *RISES, *OTHER, "volume_read_at")
#: Those of them that the evidence always has.
KNOWN_COLUMNS = frozenset({*ACCOUNT, *RISE, "volume_read_at"})
#: Columns that are moments: unix time here, ages in the stored evidence. [s]
MOMENTS = frozenset(
    {"rise_at", "later_rise_at", "earlier_rise_at", "other_since", "volume_read_at"}
)
#: Sums of a contract that begins at 0; every other column begins as unknown.
FLOW_SUMS = frozenset({"signed", "dollars", "gamma_dollars", "counted", "volume_squares"})


@dataclass(slots=True)
class Movement:
    """Contracts that one kind of correction has touched in a slot, and how much it moved."""

    contracts: int = 0
    #: Contracts of volume.
    volume: float = 0.0
    #: Hedge flow that it added to the published account. [$]
    dollars: float = 0.0

    def as_detail(self) -> dict[str, float]:
        """Plain values for the row's flag details."""
        return {
            "contracts": self.contracts,
            "volume": self.volume,
            "dollars": round(self.dollars, 2) + 0.0,
        }


@dataclass(slots=True, kw_only=True)
class VolumeStep:
    """What a frame's reported volumes mean: the ledger before this slot's flow is added to it."""

    #: ``COLUMNS`` by name, (2, n) each; those of ``OTHER`` are left out where no contract is
    #: disputed. An array that this slot does not change is the previous slot's object.
    ledger: dict[str, Floats]
    #: Contracts that traded, to be signed: on the published account or on the other one. (2, n)
    added: Floats
    #: Where what traded belongs to the account that is not published. (2, n)
    to_other: Bools
    #: Seconds since each contract's volume was last counted: ``added`` traded within them. (2, n)
    elapsed: Floats
    #: Change of the call and the put hedge flow by corrections. [$]
    corrected_dollars: tuple[float, float] = (0.0, 0.0)
    #: Change of the published classified volume [contracts] and variance [$²] by corrections.
    corrected_classified: float = 0.0
    corrected_variance: float = 0.0
    corrected_counted: float = 0.0
    #: The unix time of the earliest rise that is withdrawn in this slot, or of the earliest fall
    #: that is undone or may have been wrong: rows from there on are in doubt. None: there is none.
    wrong_since: float | None = None
    held: Movement = field(default_factory=Movement)
    recovered: Movement = field(default_factory=Movement)
    withdrawn: Movement = field(default_factory=Movement)
    restored: Movement = field(default_factory=Movement)
    busted: Movement = field(default_factory=Movement)
    #: Contracts first read in this slot, and their volume, which belongs to no slot.
    first_read: Movement = field(default_factory=Movement)
    #: Contracts whose volume has never been readable.
    unknown: int = 0
    #: Whether the feed has begun today's count anew in this slot, or may have done so lately; and
    #: when it last did. [unix s]
    reset: bool = False
    reset_at: float | None = None

    @property
    def published(self) -> Floats:
        """What traded on the account that is published. (2, n) [contracts]"""
        return np.where(self.to_other, 0.0, self.added) if OTHER[0] in self.ledger else self.added


def empty_ledger(shape: tuple[int, ...]) -> dict[str, Floats]:
    """Return a ledger that knows nothing yet: no volume is known, no flow has been counted.

    Parameters
    ----------
    shape : strikes of both rights. (2, n)

    Returns
    -------
    dict
        Name of the column → array: 0 for sums of flow, NaN for the rest.
    """
    return {
        name: np.zeros(shape) if name in FLOW_SUMS else np.full(shape, np.nan)
        for name in COLUMNS
        if name not in OTHER
    }


def read_volumes(
    ledger: Mapping[str, Floats],
    reported: Floats,
    *,
    now: float,
    opening: bool,
    reset_at: float | None = None,
) -> VolumeStep:
    """Decide what a frame's reported volumes mean, contract by contract.

    Parameters
    ----------
    ledger : the columns of ``COLUMNS`` as the previous slot left them, those of ``OTHER`` only if
        there may be a dispute. (2, n) each
    reported : the feed's cumulative volumes, NaN where unreadable or not listed. (2, n) [contracts]
    now : the quotes' unix time. [s]
    opening : whether the quotes are of the session's opening window, in which the whole chain's
        volume may begin anew.
    reset_at : when it last did so, unix; its dispute is decided for the whole chain at once. [s]

    Returns
    -------
    VolumeStep : flow is still to be signed and added, see ``add_flow``.
    """
    columns = dict(ledger)
    if OTHER[0] in columns and np.isnan(columns[OTHER[0]]).all():
        columns = {name: column for name, column in columns.items() if name not in OTHER}
    nowhere = np.zeros(reported.shape, np.bool_)
    counted = _count(columns, reported, nowhere, now)
    step = VolumeStep(
        ledger=columns,
        added=counted.added,
        to_other=nowhere,
        elapsed=counted.elapsed,
        reset_at=reset_at,
    )
    first = None
    if counted.first:
        # A first readable volume is the contract's own baseline.
        first = np.isnan(columns["volume"]) & ~np.isnan(reported)
        step.first_read = Movement(counted.first, float(reported[first].sum()))
    if counted.fallen or OTHER[0] in columns:
        counted = _count_disputed(step, reported, first, now=now, opening=opening)
    columns["volume"], columns["volume_read_at"] = counted.mark, counted.read_at
    step.unknown = counted.unknown
    return step


def _count(columns: Mapping[str, Floats], reported: Floats, left_out: Bools, now: float) -> Counted:
    return count_volumes(reported, columns["volume"], columns["volume_read_at"], left_out, now=now)


def _count_disputed(
    step: VolumeStep, reported: Floats, first: Bools | None, *, now: float, opening: bool
) -> Counted:
    """Count volumes of which some fell, or are disputed: on copies, with an account beside them."""
    columns = step.ledger
    for name in COLUMNS:
        known = columns.get(name)
        columns[name] = np.full(reported.shape, np.nan) if known is None else np.array(known)
    step.added = np.zeros(reported.shape)
    readable = ~np.isnan(reported)
    _forget_rises(columns, now - DISPUTE_SECONDS)
    if first is not None:
        columns["volume"][first] = reported[first]
    if opening and _is_reset(columns, reported, readable):
        _reset(step, reported, readable, now)
    disputed = ~np.isnan(columns["other_volume"])
    if disputed.any():
        _continue_disputes(step, reported, readable, disputed, now)
        disputed = ~np.isnan(columns["other_volume"])
    mark = columns["volume"]
    # A lower account that is published may itself have risen wrongly, and a fall may shrink to what
    # rises explain: the dispute begins anew. A reset is decided for the whole chain alone.
    rises = sum(np.nan_to_num(columns[names[0]]) for names in (RISE, LATER_RISE, EARLIER_RISE))
    again = disputed & (mark - reported <= rises)
    again &= ~_began_anew(step)
    fallen = readable & (reported < mark) & (~disputed | again)
    step.to_other &= ~fallen
    if fallen.any():
        _open_disputes(step, reported, fallen, now)
    counted = _count(columns, reported, step.to_other, now)
    step.added = np.where(step.to_other, step.added, counted.added)
    below = reported < counted.mark
    if below.any():
        gap = (counted.mark - reported)[below]
        step.held = Movement(int(below.sum()), float(gap.sum()))
    step.reset |= _is_reset_doubtful(step, reported)
    return counted


def _is_reset_doubtful(step: VolumeStep, reported: Floats) -> bool:
    """Whether a reset is undecided, and so much volume is left that it may be none."""
    anew = _began_anew(step)
    columns = step.ledger
    left = np.fmax(columns["volume"], reported)[anew].sum()
    return bool(left > RESET_DOUBTFUL * columns["other_volume"][anew].sum())


def add_flow(step: VolumeStep, sign: Floats, hedge: Floats, gamma: Floats, *, now: float) -> None:
    """Remember what has traded in this slot: as the newest rise, and on the account carried along.

    The published account's own sums are the caller's; see ``sampler.metrics.hedge``.

    Parameters
    ----------
    sign : s of what was added. (2, n) [-1, 1]
    hedge : added·M·Δ·S, positive for a call. (2, n) [$]
    gamma : added·Γ·M·S²·0.01. (2, n) [$ per 1 %]
    now : the quotes' unix time. [s]
    """
    columns = step.ledger
    remembered = remember_rises(
        step.published,
        sign,
        hedge,
        gamma,
        rises=[columns[name] for name in RISES],
        counted=columns["counted"],
        volume_squares=columns["volume_squares"],
        now=now,
        oldest=now - DISPUTE_SECONDS,
    )
    names = (*RISES, "counted", "volume_squares")
    columns.update(zip(names, remembered, strict=True))
    if OTHER[0] not in columns:
        return
    disputed = ~np.isnan(columns["other_volume"]) & (step.added > 0)
    if not disputed.any():
        return
    squares = step.added * step.added
    # Both columns hold a sum of the other account less the same sum of the published one.
    side = np.where(step.to_other, 1.0, -1.0)
    classified = np.where(sign != 0, step.added, 0.0)
    columns["other_classified"][disputed] += (side * classified)[disputed]
    columns["other_variance"][disputed] += (side * hedge * hedge)[disputed]
    other = step.to_other & disputed
    for name, value in (
        ("other_volume", step.added),
        ("other_counted", step.added),
        ("other_signed", sign * step.added),
        ("other_dollars", sign * hedge),
        ("other_gamma_dollars", sign * gamma),
        ("other_volume_squares", squares),
    ):
        columns[name][other] += value[other]


def _began_anew(step: VolumeStep) -> Bools:
    """Contracts whose dispute is that of the whole chain, which began anew. (2, n)"""
    columns = step.ledger
    if step.reset_at is None:
        return np.zeros(columns["volume"].shape, np.bool_)
    return ~np.isnan(columns["other_volume"]) & np.isnan(columns["other_gap"])


def _forget_rises(columns: dict[str, Floats], earliest: float) -> None:
    """Forget rises older than a time; a later rise takes the place of a forgotten one."""
    _clear(columns, EARLIER_RISE, columns["earlier_rise_at"] < earliest)
    expired = columns["rise_at"] < earliest
    if expired.any():
        _clear(columns, LATER_RISE, columns["later_rise_at"] < earliest)
        _take_later_rise(columns, expired)


def _take_later_rise(columns: dict[str, Floats], which: Bools) -> None:
    """Put the later rise in the place of the largest one."""
    _move(columns, LATER_RISE, RISE, which)


def _move(
    columns: dict[str, Floats], names: Sequence[str], places: Sequence[str], which: Bools
) -> None:
    """Put one remembered rise in the place of another one."""
    for name, place in zip(names, places, strict=True):
        columns[place][which] = columns[name][which]
    _clear(columns, names, which)


def _clear(columns: dict[str, Floats], names: Sequence[str], which: Bools) -> None:
    """Make columns unknown for some contracts."""
    for name in names:
        columns[name][which] = np.nan


def _is_reset(columns: Mapping[str, Floats], reported: Floats, readable: Bools) -> bool:
    """Whether the whole chain's volume has fallen, and most of it is gone.

    A fall that takes back what has just risen is no reset: those volumes were too high.
    """
    mark = columns["volume"]
    known = readable & (mark > 0)
    fallen = known & (reported < mark)
    withdrawn = fallen & (reported >= mark - columns["rise"])
    return bool(
        fallen.any()
        and withdrawn.sum() < WHOLE_CHAIN * fallen.sum()
        and fallen.sum() >= WHOLE_CHAIN * known.sum()
        and reported[known].sum() < RESET_LEFT * mark[known].sum()
    )


def _reset(step: VolumeStep, reported: Floats, readable: Bools, now: float) -> None:
    """Count from the new figures, and keep the account before the reset until it is decided."""
    columns = step.ledger
    mark, other = columns["volume"], columns["other_volume"]
    fallen = readable & (reported < mark)
    # The account that was published is carried. A rise that had been withdrawn before is given up,
    # unless it is what stood before another beginning.
    anew = _began_anew(step)
    carried = fallen & (np.isnan(other) | ((other > mark) & ~anew))
    for name in ACCOUNT:
        columns[f"other_{name}"][carried] = columns[name][carried]
    for name in ("other_classified", "other_variance"):
        columns[name][carried] = 0.0
    columns["other_since"][carried] = now
    # A contract that was in dispute: its lower account is overtaken. What had passed its figure of
    # before another beginning was in none.
    _swap(columns, fallen & ~carried & (other < mark) & ~anew)
    columns["volume"][fallen] = reported[fallen]
    _clear(columns, ("other_gap",), fallen)
    step.reset, step.reset_at = True, now


def _continue_disputes(
    step: VolumeStep, reported: Floats, readable: Bools, disputed: Bools, now: float
) -> None:
    columns = step.ledger
    mark, other = columns["volume"], columns["other_volume"]
    old = disputed & (now - columns["other_since"] >= DISPUTE_SECONDS)
    highest = np.maximum(mark, other)
    back = disputed & readable & (reported >= highest)
    anew = _began_anew(step)
    if step.reset_at is not None:
        # A contract's new count may pass its count before the reset by trading: it goes on then.
        # The fall was wrong only if nearly all of the chain comes back in one slot.
        comparable = anew & readable
        back_at_once = comparable & (reported >= other)
        newly = (back_at_once & (mark < other)).sum()
        whole = back_at_once.sum() >= WHOLE_CHAIN * comparable.sum() and newly >= max(
            AT_ONCE * comparable.sum(), 1
        )
        # Contracts that have not come back by then fell from their volume before the reset, and are
        # disputed as any other volume that is reported too low.
        back = np.where(anew, comparable & whole, back)
        if now - step.reset_at >= DISPUTE_SECONDS or whole:
            step.reset_at = None
    # What has begun anew is never the higher account, whatever it has reached.
    published_high = (mark > other) & ~anew
    _close(step, back & published_high, "recovered")
    # If volume comes back before the contract trades on the lower account, the fall was wrong. If
    # it has traded there, the fall was right; but if most of the fall then comes back in one slot,
    # nobody can say, and the rows since the fall are in doubt.
    returned = back & ~published_high
    gap, before = other - mark, columns["other_gap"]
    traded_on = returned & (gap < before)
    unclear = traded_on & (gap >= RETURNED * before)
    undone = returned & ~traded_on
    if (unclear | undone).any():
        step.wrong_since = float(columns["other_since"][unclear | undone].min())
    _close(step, unclear, "recovered")
    _close(step, traded_on & ~unclear, "")
    _remember_restored(columns, undone & (reported >= highest))
    _publish_other(step, undone, "restored")
    left = disputed & ~back
    _publish_other(step, left & old & published_high, "busted")
    _close(step, left & old & ~published_high, "")
    carried = left & ~old & published_high & readable
    if not carried.any():
        return
    step.to_other |= carried
    lower = carried & (reported < other)
    if lower.any():
        _scale_other(columns, lower, reported)
    rising = carried & (reported > other)
    step.added[rising] = reported[rising] - other[rising]


def _remember_restored(columns: dict[str, Floats], which: Bools) -> None:
    """What is put back counts as a rise again, so that it can be withdrawn a second time."""
    which = which & (columns["other_volume"] > columns["volume"])
    if not which.any():
        return
    gone = columns["other_volume"] - columns["volume"]
    # The places are those that ``remember_rises`` gives a rise of this slot.
    largest = which & ~(gone < columns["rise"])
    _move(columns, RISE, EARLIER_RISE, largest & (columns["rise"] > 0))
    _clear(columns, LATER_RISE, largest)
    later = which & ~largest & ~(gone < columns["later_rise"])
    for names, chosen in ((RISE, largest), (LATER_RISE, later)):
        size = gone[chosen]
        sign = (columns["other_signed"] - columns["signed"])[chosen] / size
        divisor = np.where(sign != 0, sign, 1.0)
        hedge = (columns["other_dollars"] - columns["dollars"])[chosen] / divisor
        gamma = (columns["other_gamma_dollars"] - columns["gamma_dollars"])[chosen] / divisor
        values = (size, sign, hedge, gamma, columns["other_since"][chosen])
        for name, value in zip(names, values, strict=True):
            columns[name][chosen] = value


def _open_disputes(step: VolumeStep, reported: Floats, fallen: Bools, now: float) -> None:
    """Withdraw the rises that explain a fall; where none do, carry the lower account along."""
    columns = step.ledger
    fall = np.where(fallen, columns["volume"] - reported, 0.0)
    taken, since = _explain(columns, fall, now)
    explained = fallen & (since <= now)
    for name in ACCOUNT:
        columns[f"other_{name}"][fallen] = columns[name][fallen]
    for name in ("other_classified", "other_variance"):
        columns[name][fallen] = 0.0
    columns["other_since"][fallen] = now
    columns["other_gap"][fallen] = fall[fallen]
    if explained.any():
        step.wrong_since = min(float(since[explained].min()), step.wrong_since or math.inf)
    # The account of the fall, made where the other one stands; published where it is explained.
    for names, gone in taken:
        _take_out(columns, names, gone, fallen & (gone > 0))
    unexplained = fallen & ~explained
    if unexplained.any():
        _scale_other(columns, unexplained, reported)
    _publish_other(step, explained, "withdrawn", keep=True)
    # What is left of a rise, and what explains no part of this fall, may explain a later one.
    for names, gone in taken:
        _shrink(columns, names, gone, explained & (gone > 0))
    smaller = explained & (columns["rise"] < columns["later_rise"])
    _move(columns, RISE, EARLIER_RISE, smaller & ~(columns["earlier_rise"] > columns["rise"]))
    _clear(columns, RISE, smaller)
    for names in (LATER_RISE, EARLIER_RISE):
        _move(columns, names, RISE, explained & np.isnan(columns["rise"]))
    # What is left of the largest rise is smaller than the one before it: that is the largest now.
    smaller = explained & (columns["rise"] < columns["earlier_rise"])
    _move(columns, RISE, LATER_RISE, smaller)
    _move(columns, EARLIER_RISE, RISE, smaller)


def _explain(
    columns: Mapping[str, Floats], fall: Floats, now: float
) -> tuple[list[tuple[Sequence[str], Floats]], Floats]:
    """Tell which remembered rises a fall takes back, and since when rows are in doubt.

    Parameters
    ----------
    columns : the ledger.
    fall : by how much a report is below the mark; 0 where it is not. (2, n) [contracts]
    now : the quotes' unix time. [s]

    Returns
    -------
    list
        The columns of each kind of rise, and how much of it is taken back. (2, n) [contracts]
    ndarray
        The earliest time of a rise that may have been the wrong one; infinite where no remembered
        rises are as large as the fall. (2, n) [unix s]
    """
    kinds = (LATER_RISE, RISE, EARLIER_RISE)
    later, rise, earlier = sizes = [np.nan_to_num(columns[names[0]]) for names in kinds]
    times = [
        np.where(size > 0, columns[names[4]], math.inf)
        for size, names in zip(sizes, kinds, strict=True)
    ]
    # One rise that is large enough: the smallest of them, and of equals the later one.
    fits = [np.where(size >= fall, size, math.inf) for size in sizes]
    smallest = np.minimum(np.minimum(fits[0], fits[1]), fits[2])
    alone = np.isfinite(smallest) & (fall > 0)
    since = np.full(fall.shape, math.inf)
    taken = [np.zeros(fall.shape) for _ in kinds]
    free = alone.copy()
    for gone, fit, risen_at in zip(taken, fits, times, strict=True):
        chosen = free & (fit == smallest)
        gone[chosen] = fall[chosen]
        free &= ~chosen
        # Each one that is large enough may have been the wrong one.
        doubted = alone & np.isfinite(fit)
        since[doubted] = np.minimum(since, risen_at)[doubted]
    # No single rise is as large as the fall: the largest is taken with one of the others, or all
    # three are, or none if their sum is smaller than the fall.
    rest = (fall > 0) & ~alone
    for gone, share in zip(
        taken,
        (
            np.where((fall <= rise + later) | (fall > rise + earlier), later, 0.0),
            rise,
            np.where(fall > rise + later, earlier, 0.0),
        ),
        strict=True,
    ):
        gone[rest] = share[rest]
    enough = rest & (taken[0] + taken[1] + taken[2] >= fall)
    for gone, risen_at in zip(taken, times, strict=True):
        doubted = enough & (gone > 0)
        since[doubted] = np.minimum(since, risen_at)[doubted]
    # Of the smallest rise only what the others leave of the fall.
    last = np.where(taken[2] > 0, 2, np.where(taken[0] > 0, 1, 0))
    too_much = np.where(enough, taken[0] + taken[1] + taken[2] - fall, 0.0)
    taken[2] -= np.where(last == 2, too_much, 0.0)
    taken[1] -= np.where(last == 1, too_much, 0.0)
    # Only a part of an earlier rise is taken out: the wrong rise may be a forgotten one.
    since[enough & (last == 2) & (too_much > 0)] = now - DISPUTE_SECONDS
    taken[0][rest & ~enough] = 0.0
    taken[2][rest & ~enough] = 0.0
    return list(zip(kinds, taken, strict=True)), since


def _shrink(columns: dict[str, Floats], names: Sequence[str], gone: Floats, which: Bools) -> None:
    """Remember what is left of a rise of which a part has been withdrawn; nothing if all was."""
    size, _, hedge, gamma, _ = (columns[name] for name in names)
    left = (size - gone)[which]
    for money in (hedge, gamma):
        money[which] *= left / size[which]
    size[which] = left
    _clear(columns, names, which & ~(size > 0))


def _take_out(columns: dict[str, Floats], names: Sequence[str], gone: Floats, which: Bools) -> None:
    """Take a part of a rise out of the account that is carried, with its own sign and dollars."""
    if not which.any():
        return
    rise, sign, hedge, gamma, _ = (columns[name] for name in names)
    withdrawn = gone / np.where(which, rise, 1.0)
    squares = withdrawn * (2.0 - withdrawn)
    for name, share in (
        ("volume", gone),
        ("counted", gone),
        ("signed", sign * gone),
        ("dollars", sign * withdrawn * hedge),
        ("gamma_dollars", sign * withdrawn * gamma),
        ("volume_squares", squares * rise * rise),
        ("classified", np.where(sign != 0, gone, 0.0)),
        ("variance", squares * hedge * hedge),
    ):
        columns[f"other_{name}"][which] -= share[which]
    # A sum of squares whose last part is taken out may be a rounding below 0.
    np.maximum(squared := columns["other_volume_squares"], 0.0, out=squared)


def _scale_other(columns: dict[str, Floats], which: Bools, reported: Floats) -> None:
    """Bring the carried account down to a lower report: what it counted shrinks in proportion."""
    counted = columns["other_counted"][which]
    gone = np.minimum(columns["other_volume"][which] - reported[which], counted)
    remaining = np.where(counted > 0, 1.0 - gone / np.where(counted > 0, counted, 1.0), 1.0)
    for name in ("other_signed", "other_dollars", "other_gamma_dollars", "other_volume_squares"):
        columns[name][which] *= remaining
    columns["other_counted"][which] = counted - gone
    columns["other_volume"][which] = reported[which]


def _publish_other(step: VolumeStep, which: Bools, name: str, *, keep: bool = False) -> None:
    """Publish the account that was carried; the published one is carried on, or dropped."""
    if not which.any():
        return
    columns = step.ledger
    before = columns["dollars"].copy()
    volume, counted = columns["volume"][which].sum(), columns["counted"][which].sum()
    step.corrected_classified += float(columns["other_classified"][which].sum())
    step.corrected_variance += float(columns["other_variance"][which].sum())
    _swap(columns, which)
    change = np.where(which, columns["dollars"] - before, 0.0)
    calls, puts = change.sum(axis=1).tolist()
    step.corrected_dollars = (step.corrected_dollars[0] + calls, step.corrected_dollars[1] + puts)
    step.corrected_counted += float(columns["counted"][which].sum() - counted)
    moved = Movement(int(which.sum()), float(columns["volume"][which].sum() - volume), calls + puts)
    setattr(step, name, moved)
    if not keep:
        _close(step, which, "")


def _close(step: VolumeStep, which: Bools, name: str) -> None:
    """End disputes for the account that is published."""
    if not which.any():
        return
    columns = step.ledger
    if name:
        held = np.abs(columns["volume"] - columns["other_volume"])[which].sum()
        earlier = getattr(step, name)
        contracts = earlier.contracts + int(which.sum())
        setattr(step, name, Movement(contracts, earlier.volume + float(held)))
    _clear(columns, OTHER, which)


def _swap(columns: dict[str, Floats], which: Bools) -> None:
    """Exchange the published and the carried account."""
    if not which.any():
        return
    for name in ACCOUNT:
        published = columns[name][which]
        columns[name][which] = columns[f"other_{name}"][which]
        columns[f"other_{name}"][which] = published
    for name in ("other_classified", "other_variance"):
        columns[name][which] *= -1.0
