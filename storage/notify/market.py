"""Market events: what the samples of a session say by the rules. Pure; times are arguments.

One object follows one symbol through one session. It is given the samples in order of their slots,
and the same samples always give the same events with the same names. A sample whose flags say not
to rely on a figure does not count for a rule that needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from math import inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.market.calendar import Session, to_new_york
from storage.market.constants import GRID_SECONDS, SLOT_WIDTH
from storage.notify.notice import MARKET, Notice, name_event
from storage.notify.rules import Rule
from storage.record.flag_figures import FLAG_FIGURES

#: A state must last before it counts as settled; a longer time without samples begins that anew.
_LONGEST_BREAK = timedelta(minutes=2)
#: A lead of 12 over 10 is a fifth, though the quotient of the doubles is a little less.
_ROUNDING = 1e-9
#: Columns of a row that the rules need.
COLUMNS = (
    "delay_seconds",
    "spot",
    "net_gex",
    "gross_gex",
    "gamma_flip",
    "regime",
    "call_wall",
    "put_wall",
    "magnet",
    "pin_score",
    "remaining_1sd",
    "hedge_flow_cumulative_all",
    "definitions",
    "flags",
)
#: Arrays by strike that the rules need.
ARRAYS = ("strike", "call_gex", "put_gex")
#: Flags that say not to rely on hedge flow: stored samples with one of them are not compared with.
DOUBTFUL_FLOW = tuple(
    flag for flag, names in FLAG_FIGURES.items() if "hedge_flow_cumulative_all" in names
)
#: A lead of so many times the other strike's exposure is not told in percent.
_TIMES = 5.0
_NAMES = {"call_wall": "call wall", "put_wall": "put wall", "magnet": "magnet"}


@dataclass(frozen=True, slots=True, eq=False)
class MarketSample:
    """What the rules need of one sample."""

    slot: datetime
    #: ``COLUMNS`` of its row, by name.
    figures: Mapping[str, Any]
    #: ``ARRAYS`` of its profile; empty arrays if it was stored without.
    arrays: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def counts(self, names: Sequence[str]) -> bool:
        """Say whether each of some figures is there and may be relied on.

        Parameters
        ----------
        names : the figures.

        Returns
        -------
        bool
            False if a flag of the sample names one of them, or one is null.
        """
        doubtful = {name for flag in self.figures["flags"] for name in FLAG_FIGURES.get(flag, ())}
        return not any(name in doubtful or self.figures[name] is None for name in names)


@dataclass(frozen=True, slots=True, eq=False)
class FlowHistory:
    """Hedge flow of stored sessions, each at the times of the session's grid."""

    #: Sum since the open by session and slot, NaN where there is none to rely on. [$]
    flow: NDArray[np.float64]

    def at_slot(self, number: int) -> NDArray[np.float64]:
        """Return the size of each session's flow at one time of day.

        Parameters
        ----------
        number : the slot, counted from the open.

        Returns
        -------
        numpy.ndarray, shape (n,)
            Absolute flow of the sessions that have one. [$]
        """
        if not 0 <= number < self.flow.shape[1]:
            return np.empty(0)
        flow = np.abs(self.flow[:, number])
        return flow[np.isfinite(flow)]


class _Settled:
    """A state that changes only when another one has stood for a time."""

    def __init__(self, hold: timedelta) -> None:
        self.state: Any = None
        self._hold = hold
        self._other: Any = None
        self._since = self._last = datetime.min.replace(tzinfo=UTC)

    def take(self, state: Any, slot: datetime) -> tuple[Any, Any] | None:
        """Take in the state of a sample; return the old and the new one when it has changed."""
        if state == self.state:
            self.stay()
            return None
        if state != self._other or slot - self._last > _LONGEST_BREAK:
            self._other, self._since = state, slot
        self._last = slot
        if slot - self._since < self._hold:
            return None
        before, self.state = self.state, state
        self.stay()
        return before, state

    def stay(self) -> None:
        """Take in a sample that speaks for no other state."""
        self._other = None


class MarketEvents:
    """Follows one symbol through one session, and finds the events of some rules."""

    def __init__(
        self,
        rules: Sequence[Rule],
        symbol: str,
        session: Session,
        *,
        dataset: str = "",
        history: FlowHistory | None = None,
    ) -> None:
        """Begin before the session's first sample.

        Parameters
        ----------
        rules : the rules; those that are not for the symbol are left out.
        symbol, session : what is followed.
        dataset : the dataset of the samples, which is part of an event's name.
        history : hedge flow of stored sessions, to compare with; None: there is none.
        """
        self._followers = [
            _FOLLOWERS[rule.kind](rule, symbol, session, dataset, level, history)
            for rule in rules
            if rule.covers(symbol)
            for level in (rule.levels or ("",))
        ]
        #: The newest slot that was taken in.
        self.newest: datetime | None = None

    def take(self, sample: MarketSample) -> list[Notice]:
        """Take in the next sample; one that is not newer than the last one is left out.

        Parameters
        ----------
        sample : the sample.

        Returns
        -------
        list of Notice
            The events that it shows.
        """
        if self.newest is not None and sample.slot <= self.newest:
            return []
        self.newest = sample.slot
        return [event for follower in self._followers if (event := follower.follow(sample))]

    def wait(self, quoted: datetime) -> list[Notice]:
        """Take in that no newer sample has come.

        Parameters
        ----------
        quoted : up to when there should be quotes: the market's time less the feed's delay. UTC.

        Returns
        -------
        list of Notice
            The events that this shows.
        """
        return [event for follower in self._followers if (event := follower.wait(quoted))]


class _RuleFollower:
    """One rule, one symbol, one level."""

    #: The figures without which a sample does not count.
    needs: tuple[str, ...] = ()

    def __init__(
        self,
        rule: Rule,
        symbol: str,
        session: Session,
        dataset: str,
        level: str,
        history: FlowHistory | None,
    ) -> None:
        self._rule, self._symbol, self._session, self._dataset = rule, symbol, session, dataset
        self._level, self._history = level, history
        self._numbers = rule.numbers
        self._settled = _Settled(self._duration("hold_seconds"))
        self._last_event: datetime | None = None

    def _duration(self, name: str) -> timedelta:
        return timedelta(seconds=self._numbers.get(name, 0.0))

    def follow(self, sample: MarketSample) -> Notice | None:
        """Take in a sample."""
        begins = self._session.open + self._duration("after_open_seconds")
        if sample.slot < begins or not sample.counts(self.needs):
            return None
        return self._judge(sample)

    def wait(self, quoted: datetime) -> Notice | None:
        """Take in that no newer sample has come."""
        return None

    def _judge(self, sample: MarketSample) -> Notice | None:
        raise NotImplementedError

    def _event(
        self, slot: datetime, sentence: str, figures: Mapping[str, Any], *, identity: str = ""
    ) -> Notice | None:
        """The event, unless its quiet time or the end of the session forbids it."""
        quiet = self._duration("quiet_seconds")
        if slot > self._session.close - self._duration("before_close_seconds"):
            return None
        if self._last_event is not None and slot - self._last_event < quiet:
            return None
        self._last_event = slot
        day = self._session.day
        words = (self._rule.kind, self._rule.name, self._symbol, f"{day}", self._level)
        return Notice(
            kind=self._rule.kind,
            category=MARKET,
            symbols=(self._symbol,),
            began=slot,
            lasting=False,
            sentence=f"{self._symbol}: {sentence}",
            session=day,
            slot=slot,
            figures={"rule": self._rule.name} | dict(figures),
            topic=" ".join(filter(None, (self._rule.name, self._symbol, self._level))),
            quiet=quiet,
            name=name_event(*words, identity or slot.isoformat(), self._dataset),
        )


class _Regime(_RuleFollower):
    needs = ("regime", "net_gex", "gross_gex")

    def _judge(self, sample: MarketSample) -> Notice | None:
        figures = sample.figures
        gross = figures["gross_gex"]
        share = abs(figures["net_gex"]) / gross if gross else 0.0
        if figures["regime"] == "unknown" or share < self._numbers["min_share"]:
            self._settled.stay()
            return None
        change = self._settled.take(figures["regime"], sample.slot)
        if change is None or change[0] is None:
            return None
        word = str(change[1]).replace("_", " ")
        meaning = "dampen" if change[1] == "positive_gamma" else "amplify"
        sentence = (
            f"the regime is now {word}: dealers' hedges {meaning} moves"
            f" (net {_money(figures['net_gex'])} a percent, spot {figures['spot']:,.2f})."
        )
        shown = {name: figures[name] for name in ("net_gex", "gross_gex", "spot")}
        return self._event(sample.slot, sentence, {"from": change[0], "to": change[1]} | shown)


class _FlipCross(_RuleFollower):
    needs = ("spot", "gamma_flip", "remaining_1sd")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._flip: float | None = None

    def _judge(self, sample: MarketSample) -> Notice | None:
        figures = sample.figures
        spot, flip, sigma = (figures[name] for name in self.needs)
        before, self._flip = self._flip, flip
        if before is not None and abs(flip - before) > self._numbers["leap_share"] * before:
            # Another flip is now the nearest one: spot has crossed nothing.
            self._settled = _Settled(self._duration("hold_seconds"))
        if not sigma or abs(spot - flip) < self._numbers["margin_sigmas"] * sigma:
            self._settled.stay()
            return None
        change = self._settled.take("above" if spot > flip else "below", sample.slot)
        if change is None or change[0] is None:
            return None
        sentence = f"spot {spot:,.2f} is now {change[1]} the gamma flip {flip:,.2f}."
        return self._event(
            sample.slot, sentence, {"side": change[1], "spot": spot, "gamma_flip": flip}
        )


class _LevelMove(_RuleFollower):
    """A wall or the magnet."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._column = self._level or "magnet"
        self.needs = (self._column,)

    def _judge(self, sample: MarketSample) -> Notice | None:
        strike, before = sample.figures[self._column], self._settled.state
        lead = inf
        if before is not None and strike != before:
            known = self._lead(sample, strike, before)
            if known is None:
                return None
            lead = known
            if lead < self._numbers["lead_share"] - _ROUNDING:
                self._settled.stay()
                return None
        change = self._settled.take(strike, sample.slot)
        if change is None or change[0] is None:
            return None
        by = f"by {100 * lead:.0f} %" if lead < _TIMES else f"{1 + lead:.0f} times over"
        by = by if isfinite(lead) else "alone"
        minutes = self._numbers["hold_seconds"] / 60
        sentence = (
            f"the {_NAMES[self._column]} has moved from {before:g} to {strike:g}, which leads"
            f" {by} after {minutes:g} minutes in front."
        )
        shown = {
            "level": self._column,
            "from": before,
            "to": strike,
            "lead": lead if isfinite(lead) else None,
        }
        return self._event(sample.slot, sentence, shown | {"spot": sample.figures["spot"]})

    def _lead(self, sample: MarketSample, strike: float, before: float) -> float | None:
        """By what part the exposure at one strike exceeds that at another; None: not known."""
        strikes = sample.arrays.get("strike", np.empty(0))
        if not len(strikes):
            return None
        calls, puts = sample.arrays["call_gex"], sample.arrays["put_gex"]
        exposure = {"call_wall": calls, "put_wall": np.abs(puts)}.get(
            self._column, np.abs(calls + puts)
        )
        new, old = (float(exposure[strikes == level].sum()) for level in (strike, before))
        if not (isfinite(new) and isfinite(old)):
            return None
        return new / old - 1.0 if old > 0.0 else inf


class _PinScore(_RuleFollower):
    needs = ("pin_score", "magnet")

    def _judge(self, sample: MarketSample) -> Notice | None:
        score, above = sample.figures["pin_score"], self._numbers["above"]
        if above - self._numbers["band"] < score < above:
            self._settled.stay()
            return None
        change = self._settled.take(score >= above, sample.slot)
        if change != (False, True):
            return None
        magnet = sample.figures["magnet"]
        sentence = f"the pin score has risen to {score}; the magnet is {magnet:g}."
        shown = {"pin_score": score, "magnet": magnet, "spot": sample.figures["spot"]}
        return self._event(sample.slot, sentence, shown)


class _HedgeFlow(_RuleFollower):
    needs = ("hedge_flow_cumulative_all",)

    def _judge(self, sample: MarketSample) -> Notice | None:
        if self._history is None:
            return None
        number = int((sample.slot - self._session.open).total_seconds()) // GRID_SECONDS
        stored = self._history.at_slot(number)
        if len(stored) < self._numbers["min_sessions"]:
            # Too few to compare with: nothing is known, so nothing settles.
            self._settled.stay()
            return None
        percentiles = [self._numbers["percentile"], self._numbers["ready_percentile"]]
        high, low = np.percentile(stored, percentiles)
        flow = sample.figures["hedge_flow_cumulative_all"]
        if low < abs(flow) <= high:
            self._settled.stay()
            return None
        change = self._settled.take(bool(abs(flow) > high), sample.slot)
        if change is None or not change[1]:
            return None
        word = "bought" if flow > 0 else "sold"
        sentence = (
            f"dealers have {word} {_money(abs(flow))} since the open to hedge trades, more than on"
            f" {self._numbers['percentile']:g} % of {len(stored)} stored sessions by this time."
        )
        shown = {"hedge_flow_cumulative_all": flow, "threshold": round(float(high), 2)}
        return self._event(sample.slot, sentence, shown | {"sessions": len(stored)})


class _Gap(_RuleFollower):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._newest: datetime | None = None

    def follow(self, sample: MarketSample) -> Notice | None:
        event = self._since_newest(sample.slot - SLOT_WIDTH)
        self._newest = sample.slot
        return event

    def wait(self, quoted: datetime) -> Notice | None:
        return self._since_newest(min(quoted, self._session.close) - SLOT_WIDTH)

    def _since_newest(self, until: datetime) -> Notice | None:
        newest, seconds = self._newest, self._numbers["seconds"]
        if newest is None or until - newest < timedelta(seconds=seconds):
            return None
        shown = to_new_york(newest)
        sentence = f"no sample has come since {shown:%H:%M:%S} New York for {seconds:g} seconds."
        slot = newest + timedelta(seconds=seconds)
        return self._event(
            slot, sentence, {"newest": newest.isoformat()}, identity=newest.isoformat()
        )


_FOLLOWERS: dict[str, type[_RuleFollower]] = {
    "regime": _Regime,
    "flip_cross": _FlipCross,
    "wall": _LevelMove,
    "magnet": _LevelMove,
    "pin_score": _PinScore,
    "hedge_flow": _HedgeFlow,
    "gap": _Gap,
}


def flow_history(
    stored: Mapping[date, tuple[NDArray[np.float64], NDArray[np.float64]]],
    sessions: Mapping[date, Session],
) -> FlowHistory:
    """Put the hedge flow of stored sessions on the grid of a session.

    Parameters
    ----------
    stored : slots [s since 1970] and flow since the open [$] of each day's samples.
    sessions : the session of each day; days without one are left out.

    Returns
    -------
    FlowHistory
        One line a day.
    """
    days = sorted(set(stored) & set(sessions))
    width = max((sessions[day].slot_count for day in days), default=0)
    flow = np.full((len(days), width), np.nan)
    for line, day in enumerate(days):
        slots, values = stored[day]
        numbers = (slots - sessions[day].open.timestamp()).astype(np.int64) // GRID_SECONDS
        inside = (numbers >= 0) & (numbers < width)
        flow[line, numbers[inside]] = values[inside]
    return FlowHistory(flow)


def _money(dollars: float) -> str:
    sign = "-" if dollars < 0 else ""
    for size, word in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if abs(dollars) >= size:
            return f"{sign}${abs(dollars) / size:.3g}{word}"
    return f"{sign}${abs(dollars):.0f}"
