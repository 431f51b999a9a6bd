"""Quotes at the money that stand while others, or the underlying, move.

A feed may freeze in a part: all calls, all puts, the strikes on one side of spot, some contracts.
Its quotes agree with the others within their spreads at first, and again whenever spot comes back.
So the evidence remembers since when a quote has not changed, and where spot was then.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sampler.chain import CALL, PUT, Chain
from sampler.measure.standstill import STALE_SLOTS
from storage.market.constants import SLOT_WIDTH, YEAR_SECONDS
from storage.record.row import SlotRecord

#: Quotes of this many strikes on each side of the forward are examined; they are reported if at
#: least the second number of them stand still, since fewer may do so by chance.
STRIKES_BESIDE, LEAST_STANDING = 4, 3
#: A quote in the money moves by no less than this part of what spot does.
LEAST_DELTA = 0.5
#: A standing quote is wrong once the option's value must have moved by the quote's width and this
#: much more. [$]
CENTS = 0.02
#: The value of an option at the money, in standard deviations of what is left: 1/√(2π).
AT_THE_MONEY = 0.4


class Begun(NamedTuple):
    """The first slot with a quote that has not changed since."""

    #: When it was quoted, since the session's open. [s]
    since: float
    #: The source's spot then; None: there was none, or it was not used. [$]
    spot: float | None


#: Strike, bid and ask of a two-sided quote that has not changed for a slot or more. [$]
StandingQuote = tuple[float, float, float]
#: Since when quotes stand → those of calls and those of puts, ascending by strike.
StandingQuotes = dict[Begun, tuple[list[StandingQuote], list[StandingQuote]]]


def standing_quotes(chain: Chain, previous: SlotRecord | None, forward: float) -> StandingQuotes:
    """Return the quotes at the money that are the same as in the previous slot.

    Parameters
    ----------
    chain : today's contracts.
    previous : the record of the earlier slot; None without one.
    forward : the forward. [$]

    Returns
    -------
    dict
        Those of the four strikes on each side of the forward, and any that stood there before.
    """
    if previous is None:
        return {}
    columns, notes = previous.state
    same_strikes = columns["strike"].tobytes() == chain.strike.tobytes()
    place = int(chain.strike.searchsorted(forward))
    first, end = max(place - STRIKES_BESIDE, 0), min(place + STRIKES_BESIDE, len(chain.strike))
    here: Any = slice(first, end)
    #: Strike and row of the chain → since when its quote stands, and where spot was.
    remembered = {
        (level, side): Begun(since, spot)
        for since, spot, *sides in notes.get("standing", ())
        for side, levels in zip((CALL, PUT), sides, strict=True)
        for level in levels
    }
    if remembered:
        known = np.isin(chain.strike, [level for level, _ in remembered])
        known[here] = True
        here = np.flatnonzero(known)
    strike, there = chain.strike[here], here
    if not same_strikes:
        there = np.searchsorted(columns["strike"], strike)
        there = np.minimum(there, len(columns["strike"]) - 1)
    strikes = strike.tolist()
    strikes_before = strikes if same_strikes else columns["strike"][there].tolist()
    quotes = [
        values.tolist()
        for values in (
            chain.bid[:, here],
            columns["bid"][:, there],
            chain.ask[:, here],
            columns["ask"][:, there],
        )
    ]
    # For some sixteen quotes lists are faster than NumPy: each of its operations takes a µs.
    # Comparisons with NaN are false: a quote that cannot be read does not stand.
    calls, puts = [
        [
            (level, bid, ask)
            for level, level_before, bid, bid_before, ask, ask_before in zip(
                strikes, strikes_before, *side, strict=True
            )
            if bid == bid_before
            and ask == ask_before
            and 0.0 < bid <= ask
            and level == level_before
        ]
        for side in zip(*quotes, strict=True)
    ]
    if not (calls or puts):
        return {}
    row = previous.row
    # Where parity was used instead, the source's spot is no measure of how far it has moved.
    begun = Begun(
        round((row.quoted_at - chain.session.open).total_seconds(), 3),
        row.source_spot if row.spot == row.source_spot else None,
    )
    if not remembered:
        return {begun: (calls, puts)}
    standing: StandingQuotes = {}
    # By strike, so that the evidence has them in one order.
    for quote, side in sorted([*((q, CALL) for q in calls), *((q, PUT) for q in puts)], key=_place):
        since = remembered.get((quote[0], side), begun)
        standing.setdefault(since, ([], []))[side].append(quote)
    return standing


def _place(quote: tuple[StandingQuote, int]) -> tuple[float, int]:
    return quote[0][0], quote[1]


def count_outrun(
    standing: StandingQuotes,
    chain: Chain,
    *,
    forward: float,
    remaining: float,
    spot: float | None,
) -> int:
    """Count the quotes in the money that stand though spot has carried their value away.

    Parameters
    ----------
    standing : the quotes that stand.
    chain : today's contracts.
    forward : the forward. [$]
    remaining : one standard deviation of what is left until expiry. [$]
    spot : the source's; None: there is none, or it is not used. [$]

    Returns
    -------
    int
        How many have stood for three slots of the grid, while half of what spot has moved since is
        more than the quote's width, two cents and what the time has taken; 0 if fewer than three
        have.
    """
    if spot is None:
        return 0
    now = (chain.quoted_at - chain.session.open).total_seconds()
    least = STALE_SLOTS * SLOT_WIDTH.total_seconds()
    # The value falls by the root of the time: by half of the part of the time that has passed.
    decay = AT_THE_MONEY * remaining / 2.0 / (chain.years * YEAR_SECONDS)
    outrun = 0
    for begun, (calls, puts) in standing.items():
        lasted = now - begun.since
        if begun.spot is None or lasted < least - 0.5:
            continue
        moved = LEAST_DELTA * abs(spot - begun.spot)
        in_the_money = [(b, a) for k, b, a in calls if k < forward]
        in_the_money += [(b, a) for k, b, a in puts if k >= forward]
        outrun += sum(moved > (ask - bid) + CENTS + decay * lasted for bid, ask in in_the_money)
    return outrun if outrun >= LEAST_STANDING else 0


def count_doubtful(standing: StandingQuotes, previous: SlotRecord | None) -> int:
    """Count the quotes that have stood since quotes contradicted each other.

    Parameters
    ----------
    standing : the quotes that stand.
    previous : the record of the earlier slot; None without one.

    Returns
    -------
    int
        How many; 0 if fewer than three have, or if nothing contradicted.
    """
    since = None if previous is None else previous.state[1].get("contradicted_at")
    if since is None:
        return 0
    doubtful = sum(
        len(calls) + len(puts) for begun, (calls, puts) in standing.items() if begun.since < since
    )
    return doubtful if doubtful >= LEAST_STANDING else 0


def standing_notes(standing: StandingQuotes, contradicted_at: float | None) -> dict[str, Any]:
    """Return what the next slot must know of quotes that stand; nothing if none do.

    Parameters
    ----------
    standing : the quotes that stand.
    contradicted_at : when quotes last contradicted each other, since the session's open. [s]

    Returns
    -------
    dict
        Notes for the evidence, as plain values.
    """
    notes: dict[str, Any] = {}
    if standing:
        notes["standing"] = [
            [*begun, *([strike for strike, _, _ in side] for side in sides)]
            for begun, sides in standing.items()
        ]
    if contradicted_at is not None:
        notes["contradicted_at"] = contradicted_at
    return notes
