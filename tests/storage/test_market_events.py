"""Market events on samples that are listed by hand: each event is counted on paper."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from storage.market.calendar import session_on
from storage.notify.market import FlowHistory, MarketEvents, MarketSample, flow_history
from storage.notify.rules import parse_rules

DAY = date(2026, 6, 5)
#: 13:30 UTC to 20:00 UTC.
SESSION = session_on(DAY)
assert SESSION is not None
OPEN = SESSION.open
PLAIN: dict[str, Any] = {
    "delay_seconds": 0, "spot": 7500.0, "net_gex": 5e9, "gross_gex": 10e9, "gamma_flip": 7400.0,
    "regime": "positive_gamma", "call_wall": 7550.0, "put_wall": 7450.0, "magnet": 7500.0,
    "pin_score": 40, "remaining_1sd": 20.0, "hedge_flow_cumulative_all": 0.0, "definitions": "3",
    "flags": [],
}  # fmt: skip


def slot(number: int) -> datetime:
    return OPEN + timedelta(seconds=30 * number)


def follow(
    rule: dict[str, Any], samples: Sequence[tuple[int, dict[str, Any]]], **named: Any
) -> list[tuple[int, dict[str, Any]]]:
    """Slot number and figures of each event of samples that differ from ``PLAIN`` as listed.

    Time counts in slots of 30 s from the open; holds and margins are nought if not given.
    """
    nought = {"quiet_seconds": 0}
    if rule["kind"] != "gap":
        nought |= {"hold_seconds": 0, "after_open_seconds": 0, "before_close_seconds": 0}
    rules = parse_rules(json.dumps({"rules": [nought | rule]}))
    events = MarketEvents(rules, "SPX", SESSION, **named)
    events_of_rule = []
    for number, changes in samples:
        arrays = {
            name: np.array(changes.get(name, [])) for name in ("strike", "call_gex", "put_gex")
        }
        for event in events.take(MarketSample(slot(number), PLAIN | changes, arrays)):
            count = (event.began - OPEN) / timedelta(seconds=30)
            events_of_rule.append((int(count), dict(event.figures)))
    return events_of_rule


def numbers_of(events_of_rule: Sequence[tuple[int, dict[str, Any]]]) -> list[int]:
    return [number for number, _ in events_of_rule]


POSITIVE = {"regime": "positive_gamma", "net_gex": 5e9}
NEGATIVE = {"regime": "negative_gamma", "net_gex": -5e9}
WEAK = {"regime": "negative_gamma", "net_gex": -0.5e9}


def test_regime() -> None:
    """A new regime that stands for 60 s, with gamma that leans by a tenth, is an event at its third
    sample; the first regime of the day is none, one that goes back in time is none."""
    rule = {"kind": "regime", "hold_seconds": 60}
    plan = [POSITIVE] * 3 + [NEGATIVE] * 2 + [POSITIVE] * 3 + [NEGATIVE] * 4
    events = follow(rule, list(enumerate(plan)))
    assert numbers_of(events) == [10]
    assert (events[0][1]["from"], events[0][1]["to"]) == ("positive_gamma", "negative_gamma")
    plan = [POSITIVE] * 3 + [NEGATIVE] * 2 + [WEAK] + [NEGATIVE] * 2 + [WEAK] + [NEGATIVE] * 3
    assert numbers_of(follow(rule, list(enumerate(plan)))) == [11]
    plan = [POSITIVE] * 3 + [WEAK] * 20
    assert follow(rule, list(enumerate(plan))) == []
    unknown = NEGATIVE | {"regime": "unknown"}
    assert follow(rule, list(enumerate([POSITIVE] * 3 + [unknown] * 9))) == []


def test_doubtful_samples_do_not_count() -> None:
    """A sample whose flags name the figure neither settles a state nor unsettles it."""
    rule = {"kind": "regime", "hold_seconds": 60}
    doubtful = NEGATIVE | {"flags": ["stale_spot"]}
    assert follow(rule, list(enumerate([POSITIVE] * 3 + [doubtful] * 20))) == []
    harmless = NEGATIVE | {"flags": ["baseline", "revised", "unheard_of"]}
    assert numbers_of(follow(rule, list(enumerate([POSITIVE] * 3 + [harmless] * 20)))) == [5]
    # Doubtful ones between the first and the third that count: still 60 s in one state.
    plan = [POSITIVE] * 3 + [NEGATIVE, POSITIVE | {"flags": ["oi_partial"]}, NEGATIVE]
    assert numbers_of(follow(rule, list(enumerate(plan)))) == [5]
    # A flag that is about flow alone says nothing about the pin score's quotes.
    assert numbers_of(follow({"kind": "pin_score", "above": 50, "band": 5},
                     [(0, {}), (1, {"pin_score": 60, "flags": ["oi_recovered"]})])) == [1]  # fmt: skip


def test_a_hole_breaks_the_hold() -> None:
    """What stood before two minutes without a sample and stands after them has not stood meanwhile."""
    rule = {"kind": "regime", "hold_seconds": 120}
    first = [(n, POSITIVE) for n in range(5)]
    assert numbers_of(follow(rule, [*first, (5, NEGATIVE), (9, NEGATIVE)])) == [9]
    assert numbers_of(follow(rule, [*first, (5, NEGATIVE), (10, NEGATIVE), (13, NEGATIVE)])) == []
    assert numbers_of(follow(rule, [*first, (5, NEGATIVE), (10, NEGATIVE), (14, NEGATIVE)])) == [14]


def test_flip_cross() -> None:
    """Spot has crossed when it is a quarter of what is left beyond the flip; within it nothing is."""
    rule = {"kind": "flip_cross", "margin_sigmas": 0.25}

    def spots(*values: float, **more: Any) -> list[tuple[int, dict[str, Any]]]:
        return list(enumerate({"spot": v, "gamma_flip": 7500.0} | more for v in values))

    # The margin is 5 $: 7506 above, 7495.5 neither, 7494 below, 7504 neither, 7505 above.
    events = follow(rule, spots(7506, 7495.5, 7494, 7504, 7494, 7505))
    assert [(n, f["side"]) for n, f in events] == [(2, "below"), (5, "above")]
    assert follow(rule, spots(7506, 7495, 7504, remaining_1sd=0.0)) == []
    assert follow(rule, spots(7506, 7494, remaining_1sd=None)) == []
    assert follow(rule, [(0, {"spot": 7506.0, "gamma_flip": 7500.0}), (1, {"gamma_flip": None}),
                         (2, {"spot": 7506.0, "gamma_flip": 7501.0})]) == []  # fmt: skip


def test_another_flip_is_no_cross() -> None:
    """A flip that jumps to the other side of a spot that stands still crosses nothing; spot may then."""
    rule = {"kind": "flip_cross", "margin_sigmas": 0.25}
    plan = [
        {"spot": 7506.0, "gamma_flip": 7500.0},
        {"spot": 7506.0, "gamma_flip": 7560.0},
        {"spot": 7506.0, "gamma_flip": 7559.0},
        {"spot": 7570.0, "gamma_flip": 7558.0},
    ]
    events = follow(rule, list(enumerate(plan)))
    assert [(n, f["side"]) for n, f in events] == [(3, "above")]


STRIKES = [7525.0, 7550.0, 7575.0]


def walls(call_wall: float, *calls: float) -> dict[str, Any]:
    return {"call_wall": call_wall, "strike": STRIKES, "call_gex": calls, "put_gex": [0.0] * 3}


def test_wall() -> None:
    """The new wall must lead by a fifth for 60 s: a lead of 19 % never counts, and resets the time."""
    rule = {"kind": "wall", "levels": ["call_wall"], "lead_share": 0.2, "hold_seconds": 60}
    old, narrow, wide = walls(7550, 1, 10, 2), walls(7575, 1, 10, 11.9), walls(7575, 1, 10, 12)
    first = [old] * 3
    assert follow(rule, list(enumerate(first + [narrow] * 30))) == []
    events = follow(rule, list(enumerate([*first, wide, wide, narrow, wide, wide, wide, wide])))
    assert numbers_of(events) == [8]
    assert (events[0][1]["from"], events[0][1]["to"]) == (7550, 7575)
    assert events[0][1]["lead"] == pytest.approx(0.2)
    # It flickers from sample to sample: the page's own rule made an event of two in a row.
    flicker = [old, old, old, wide, wide, old, old, wide, wide, old, old, wide, wide]
    assert follow(rule, list(enumerate(flicker))) == []
    # Another one takes the place before the time has passed.
    third = walls(7525, 15, 10, 12)
    assert numbers_of(follow(rule, list(enumerate([*first, wide, wide, third, third, third])))) == [
        7
    ]


def test_wall_without_strikes() -> None:
    """Samples without exposures by strike do not count: what leads is not known."""
    rule = {"kind": "wall", "levels": ["call_wall"], "lead_share": 0.2}
    bare = {"call_wall": 7575.0}
    assert follow(rule, [(0, walls(7550, 1, 10, 2)), *((n, bare) for n in range(1, 9))]) == []
    assert follow(rule, [(0, walls(7550, 1, 10, 2)), (1, {"call_wall": None})]) == []
    gone = {"call_wall": 7575.0, "strike": [7575.0], "call_gex": [3.0], "put_gex": [0.0]}
    [(number, figures)] = follow(rule, [(0, walls(7550, 1, 10, 2)), (1, gone)])
    assert (number, figures["lead"]) == (1, None)


def test_put_wall_and_magnet() -> None:
    """The put wall leads by the size of the puts' gamma, the magnet by that of the net gamma."""

    def sample(level: str, strike: float, calls: list[float], puts: list[float]) -> dict[str, Any]:
        return {level: strike, "strike": STRIKES, "call_gex": calls, "put_gex": puts}

    old = sample("put_wall", 7550.0, [9.0, 0.0, 0.0], [-1.0, -10.0, -2.0])
    new = sample("put_wall", 7525.0, [99.0, 0.0, 0.0], [-15.0, -10.0, -2.0])
    rule = {"kind": "wall", "levels": ["put_wall"], "lead_share": 0.5}
    assert numbers_of(follow(rule, [(0, old), (1, new)])) == [1]
    assert numbers_of(follow(rule | {"lead_share": 0.51}, [(0, old), (1, new)])) == []
    old = sample("magnet", 7550.0, [0.0, 10.0, 0.0], [0.0, 0.0, 0.0])
    # Net -16 against net 10: it leads by 0.6, though its calls and puts are larger each.
    new = sample("magnet", 7525.0, [20.0, 10.0, 0.0], [-36.0, 0.0, 0.0])
    assert numbers_of(follow({"kind": "magnet", "lead_share": 0.6}, [(0, old), (1, new)])) == [1]
    assert numbers_of(follow({"kind": "magnet", "lead_share": 0.61}, [(0, old), (1, new)])) == []


def test_pin_score() -> None:
    """A score of 75 is an event, and the next one only after it has been at 60 or below."""
    scores = [50, 74, 75, 80, 74, 61, 75, 60, 74, 75]
    rule = {"kind": "pin_score", "above": 75, "band": 15}
    assert numbers_of(follow(rule, [(n, {"pin_score": s}) for n, s in enumerate(scores)])) == [2, 9]
    # A score that is above from the first sample on has not risen.
    assert follow(rule, [(n, {"pin_score": 90}) for n in range(9)]) == []


def flows(*values: float) -> list[tuple[int, dict[str, Any]]]:
    return [(n, {"hedge_flow_cumulative_all": v}) for n, v in enumerate(values)]


def history(count: int) -> FlowHistory:
    """Sessions whose flow is 1, -2, 3, -4 ... M$ at every slot."""
    sizes = np.array([(-1) ** (n + 1) * n * 1e6 for n in range(1, count + 1)])
    return FlowHistory(np.repeat(sizes[:, None], 780, axis=1))


def test_hedge_flow() -> None:
    """Of 11 sessions with 1 to 11 M$ in size the 90th percentile is 10 M$ and the 50th 6 M$."""
    rule = {"kind": "hedge_flow", "percentile": 90, "ready_percentile": 50}
    events = follow(
        rule, flows(5e6, 10e6, -10.1e6, 12e6, 6.5e6, 11e6, 6e6, 11e6), history=history(11)
    )
    assert [(n, f["hedge_flow_cumulative_all"], f["sessions"]) for n, f in events] == [
        (2, -10.1e6, 11),
        (7, 11e6, 11),
    ]
    assert events[0][1]["threshold"] == 10e6


def test_too_few_sessions() -> None:
    """With fewer than ten sessions, or without any, nothing fires however large the flow is."""
    rule = {"kind": "hedge_flow"}
    assert follow(rule, flows(1e12, 1e12, 1e12), history=history(9)) == []
    assert follow(rule, flows(1e12, 1e12, 1e12)) == []
    assert numbers_of(follow(rule, flows(1e12, 1e12, 1e12), history=history(10))) == [0]


def test_flow_history() -> None:
    """Flow goes to its time of day, also of a short day; what lies outside a session is left out."""
    short = session_on(date(2026, 11, 27))
    assert short is not None

    def stored(day_open: datetime, *points: tuple[float, float]) -> Any:
        slots = [(day_open + timedelta(minutes=minute)).timestamp() for minute, _ in points]
        return np.array(slots), np.array([value for _, value in points])

    history = flow_history(
        {
            DAY: stored(OPEN, (-1, 9.0), (0, 1.0), (10, 2.0), (389.5, 5.0), (390, 9.0)),
            short.day: stored(short.open, (10, -4.0)),
            date(2026, 6, 8): stored(OPEN, (0, 7.0)),
        },
        {DAY: SESSION, short.day: short},
    )
    assert [sorted(history.at_slot(n).tolist()) for n in (0, 1, 20, 40, 779, 780, -1)] == [
        [1.0], [], [2.0, 4.0], [], [5.0], [], [],
    ]  # fmt: skip


def test_gap() -> None:
    """Five minutes without a sample: told when they have passed, or at the next sample, once."""
    rules = parse_rules('{"rules": [{"kind": "gap", "seconds": 300, "quiet_seconds": 0}]}')
    waiting, later = (MarketEvents(rules, "SPX", SESSION) for _ in range(2))
    for events in (waiting, later):
        assert events.wait(slot(50)) == []
        for number in range(3):
            assert events.take(MarketSample(slot(number), PLAIN)) == []
    assert waiting.wait(slot(2) + timedelta(seconds=329)) == []
    [event] = waiting.wait(slot(2) + timedelta(seconds=330))
    assert (event.began, event.figures["newest"]) == (slot(12), slot(2).isoformat())
    assert "since 09:31:00 New York" in event.sentence
    assert later.take(MarketSample(slot(12), PLAIN)) == []
    fresh = MarketEvents(rules, "SPX", SESSION)
    fresh.take(MarketSample(slot(2), PLAIN))
    [same] = fresh.take(MarketSample(slot(13), PLAIN))
    assert (same.id, same.sentence) == (event.id, event.sentence)
    # Nothing is missing after the close.
    end = MarketEvents(rules, "SPX", SESSION)
    end.take(MarketSample(SESSION.close - timedelta(seconds=30), PLAIN))
    assert end.wait(SESSION.close + timedelta(hours=5)) == []


def test_quiet_time() -> None:
    """After an event the same rule, symbol and level is quiet for its time; other levels are not."""
    flips = [(n, POSITIVE if n % 2 else NEGATIVE) for n in range(12)]
    assert numbers_of(follow({"kind": "regime"}, flips)) == list(range(1, 12))
    assert numbers_of(follow({"kind": "regime", "quiet_seconds": 90}, flips)) == [1, 4, 7, 10]
    both = [
        (0, {"call_wall": 7550.0, "put_wall": 7450.0, "strike": [1.0], "call_gex": [0], "put_gex": [0]}),
        (1, {"call_wall": 7575.0, "put_wall": 7425.0, "strike": [1.0], "call_gex": [0], "put_gex": [0]}),
    ]  # fmt: skip
    assert numbers_of(follow({"kind": "wall", "quiet_seconds": 600}, both)) == [1, 1]


def test_open_and_close() -> None:
    """Samples soon after the open do not count; in the last minutes nothing is told."""
    rule = {"kind": "pin_score", "above": 75, "band": 15, "after_open_seconds": 60}
    assert follow(rule, [(0, {}), (1, {}), (2, {"pin_score": 80})]) == []
    assert numbers_of(follow(rule, [(0, {}), (2, {}), (3, {"pin_score": 80})])) == [3]
    late = {"kind": "pin_score", "before_close_seconds": 600}
    assert numbers_of(follow(late, [(700, {}), (760, {"pin_score": 80})])) == [760]
    assert follow(late, [(700, {}), (761, {"pin_score": 80})]) == []


def test_names_are_stable() -> None:
    """The same samples give the same names, whoever follows them; each dataset has its own."""
    rules = parse_rules('{"rules": [{"kind": "regime", "hold_seconds": 0, "quiet_seconds": 0, "after_open_seconds": 0}]}')  # fmt: skip

    def names(symbol: str = "SPX", **named: Any) -> list[str]:
        events = MarketEvents(rules, symbol, SESSION, **named)
        plan = [POSITIVE, NEGATIVE, POSITIVE]
        return [
            e.id for n, s in enumerate(plan) for e in events.take(MarketSample(slot(n), PLAIN | s))
        ]

    assert names() == names()
    assert len({*names(), *names("SPY"), *names(dataset="synthetic")}) == 6


def test_an_older_sample_is_left_out() -> None:
    """A sample that comes late, or again, changes nothing."""
    rules = parse_rules(
        '{"rules": [{"kind": "pin_score", "hold_seconds": 0, "after_open_seconds": 0}]}'
    )
    events = MarketEvents(rules, "SPX", SESSION)
    events.take(MarketSample(slot(5), PLAIN))
    assert events.take(MarketSample(slot(4), PLAIN | {"pin_score": 99})) == []
    assert events.take(MarketSample(slot(5), PLAIN | {"pin_score": 99})) == []
    assert len(events.take(MarketSample(slot(6), PLAIN | {"pin_score": 99}))) == 1
    assert datetime.now(UTC) > slot(6)
