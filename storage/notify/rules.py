"""The rules of market events: which there are, their defaults, and how a file of them is read.

The file is JSON: ``{"rules": [{"kind": "regime"}, {"kind": "wall", "lead_share": 0.2}]}``. What a
rule leaves out has its default. ``docs/alerts.md`` says what each kind does.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from storage.errors import UsageError
from storage.market.instruments import parse_symbol

#: A file of rules is never larger. [bytes]
FILE_LIMIT = 256 << 10
_MOST_RULES = 100
_MOST_PROBLEMS = 5
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
#: Longest hold and longest quiet time. [s]
_HOUR, _DAY = 3600.0, 86_400.0
#: The levels that a rule ``wall`` may follow.
WALLS = ("call_wall", "put_wall")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number that a rule may set: its default and its bounds."""

    meaning: str
    default: float
    low: float
    high: float


def _seconds(meaning: str, default: float, most: float) -> Parameter:
    return Parameter(f"{meaning} [s]", default, 0.0, most)


_QUIET = "after an event of the rule, symbol and level, no other one for so long"
_AFTER_OPEN = "samples of so long after the open do not count"
_BEFORE_CLOSE = "no event in so long before the close"


def _common(
    hold: float, quiet: float, after_open: float = 300.0, before_close: float = 600.0
) -> dict[str, Parameter]:
    return {
        "hold_seconds": _seconds("the new state must stand for so long", hold, _HOUR),
        "quiet_seconds": _seconds(_QUIET, quiet, _DAY),
        "after_open_seconds": _seconds(_AFTER_OPEN, after_open, _DAY),
        "before_close_seconds": _seconds(_BEFORE_CLOSE, before_close, _DAY),
    }


#: Of a wall and of the magnet. Strikes near spot take the lead in turn at the end of a session.
_LEVEL = {
    "lead_share": Parameter(
        "part by which the new strike's gamma exceeds the old one's", 1.0, 0.0, 100.0
    ),
    **_common(1200.0, 14_400.0, before_close=1800.0),
}

#: Kind of a rule → its numbers. With these defaults a session has a handful of events:
#: ``docs/alerts.md`` has the count on simulated sessions.
PARAMETERS: dict[str, dict[str, Parameter]] = {
    "regime": {
        "min_share": Parameter("|net_gex| / gross_gex of the new regime, at least", 0.1, 0.0, 1.0),
        **_common(1200.0, 10_800.0, before_close=1800.0),
    },
    "flip_cross": {
        "margin_sigmas": Parameter(
            "distance from the flip, in standard deviations of what is left of the session",
            0.5,
            0.0,
            10.0,
        ),
        "leap_share": Parameter(
            "a flip that jumps by more than this part of itself is another flip: no cross",
            0.005,
            0.0001,
            1.0,
        ),
        **_common(600.0, 10_800.0, before_close=1800.0),
    },
    "wall": _LEVEL,
    "magnet": _LEVEL,
    "pin_score": {
        "above": Parameter("the score", 75.0, 1.0, 100.0),
        "band": Parameter("so far below it the rule is ready again", 15.0, 0.0, 100.0),
        **_common(300.0, 3600.0),
    },
    "hedge_flow": {
        "percentile": Parameter("of |flow| of stored sessions at the same time", 95.0, 50.0, 100.0),
        "ready_percentile": Parameter("below this the rule is ready again", 75.0, 0.0, 100.0),
        "sessions": Parameter("how many stored sessions count, the newest", 20.0, 5.0, 250.0),
        "min_sessions": Parameter("with fewer of them it never fires", 10.0, 5.0, 250.0),
        **_common(300.0, 7200.0, after_open=1800.0),
    },
    "gap": {
        "seconds": _seconds("without a sample", 300.0, _DAY),
        "quiet_seconds": _seconds(_QUIET, 1800.0, _DAY),
    },
}
#: Parameters that are whole numbers.
_WHOLE = frozenset({"sessions", "min_sessions"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, checked, with its defaults."""

    #: Tells the rule from others, also those of its kind.
    name: str
    kind: str
    #: The symbols that it is for; empty: every symbol.
    symbols: tuple[str, ...]
    #: Levels of a rule ``wall``; empty for other kinds.
    levels: tuple[str, ...]
    #: Numbers by name; see ``PARAMETERS``.
    numbers: Mapping[str, float]
    #: Until then its events are written to the log and sent to nobody, UTC; None: they are sent.
    muted_until: datetime | None = None

    def is_muted(self, moment: datetime) -> bool:
        """Say whether the rule's events are sent to nobody.

        Parameters
        ----------
        moment : the market's time, UTC.

        Returns
        -------
        bool
            True before ``muted_until``.
        """
        return self.muted_until is not None and moment < self.muted_until

    def covers(self, symbol: str) -> bool:
        """Say whether the rule is for a symbol.

        Parameters
        ----------
        symbol : the symbol.

        Returns
        -------
        bool
            True if it is.
        """
        return not self.symbols or symbol in self.symbols

    def as_json(self) -> dict[str, Any]:
        """Return the rule as a file has it, with every default."""
        plain: dict[str, Any] = {"name": self.name, "kind": self.kind}
        plain |= {"symbols": list(self.symbols)} if self.symbols else {}
        plain |= {"levels": list(self.levels)} if self.levels else {}
        if self.muted_until is not None:
            until = self.muted_until.astimezone(UTC).isoformat(timespec="seconds")
            plain["muted_until"] = until.replace("+00:00", "Z")
        return plain | {
            name: int(value) if value == int(value) else value
            for name, value in self.numbers.items()
        }


def parse_rules(text: bytes | str) -> tuple[Rule, ...]:
    """Read a file of rules.

    Parameters
    ----------
    text : JSON: an object whose ``rules`` is a list of rules.

    Returns
    -------
    tuple of Rule
        The rules, in the file's order.

    Raises
    ------
    UsageError
        If it is no such file. The sentence names each rule and key that is wrong, up to five.
    """
    if len(text) > FILE_LIMIT:
        raise UsageError(f"more than {FILE_LIMIT >> 10} KB of rules")
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("rules"), list):
        raise UsageError('the rules are an object with a list "rules"')
    if unknown := sorted(set(document) - {"rules"}):
        raise UsageError(f"{unknown[0][:40]!r} is no key beside 'rules'")
    if len(document["rules"]) > _MOST_RULES:
        raise UsageError(f"more than {_MOST_RULES} rules")
    rules: list[Rule] = []
    problems: list[str] = []
    for number, item in enumerate(document["rules"]):
        rule, wrong = _rule(item)
        problems += [f"rules[{number}]: {sentence}" for sentence in wrong]
        if rule is None:
            continue
        if any(rule.name == other.name for other in rules):
            problems.append(f"rules[{number}]: the name {rule.name!r} is taken by an earlier rule")
        rules.append(rule)
    if problems:
        more = f"; and {len(problems) - _MOST_PROBLEMS} more" * (len(problems) > _MOST_PROBLEMS)
        raise UsageError("; ".join(problems[:_MOST_PROBLEMS]) + more)
    return tuple(rules)


def _rule(item: Any) -> tuple[Rule | None, list[str]]:
    """A rule of the file, and what is wrong with it."""
    if not isinstance(item, dict):
        return None, ["a rule is an object"]
    kind = item.get("kind")
    if not isinstance(kind, str) or kind not in PARAMETERS:
        shown = "kind is missing" if kind is None else f"{str(kind)[:40]!r} is no kind"
        return None, [f"{shown}: one of {', '.join(PARAMETERS)}"]
    known = PARAMETERS[kind]
    keys = {"name", "kind", "symbols", "muted_until", *known} | (
        {"levels"} if kind == "wall" else set()
    )
    problems = []
    for key in sorted(set(item) - keys):
        near = difflib.get_close_matches(key, keys, n=1, cutoff=0.4)
        problems.append(
            f"{key[:40]!r} is no key of {kind}" + (f"; did you mean {near[0]}?" if near else "")
        )
    name = item.get("name", kind)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problems.append("name: up to 40 of a-z, 0-9, _ and -")
    symbols, wrong = _symbols(item.get("symbols", []))
    problems += wrong
    muted_until, wrong = _moment(item.get("muted_until"))
    problems += wrong
    levels = item.get("levels", list(WALLS)) if kind == "wall" else []
    if (
        not isinstance(levels, list)
        or (kind == "wall" and not levels)
        or set(map(str, levels)) - set(WALLS)
    ):
        problems.append(f"levels: a list of {', '.join(WALLS)}")
        levels = []
    numbers: dict[str, float] = {}
    for key, parameter in known.items():
        value = item.get(key, parameter.default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            problems.append(f"{key}: not a number")
        elif not parameter.low <= value <= parameter.high:
            problems.append(
                f"{key}: {value:g} is not between {parameter.low:g} and {parameter.high:g}"
            )
        elif key in _WHOLE and value != int(value):
            problems.append(f"{key}: not a whole number")
        else:
            numbers[key] = float(value)
    problems += _relations(numbers)
    if problems:
        return None, problems
    return Rule(name, kind, symbols, tuple(levels), numbers, muted_until), []


def _moment(value: Any) -> tuple[datetime | None, list[str]]:
    if value is None:
        return None, []
    problem = "muted_until: a time with its offset, such as 2026-11-27T15:30:00Z"
    if not isinstance(value, str) or len(value) > 40:
        return None, [problem]
    try:
        moment = datetime.fromisoformat(value)
        return (None, [problem]) if moment.tzinfo is None else (moment.astimezone(UTC), [])
    except (ValueError, OverflowError):
        return None, [problem]


def _symbols(value: Any) -> tuple[tuple[str, ...], list[str]]:
    if not isinstance(value, list) or len(value) > 1000:
        return (), ["symbols: not a list of symbols"]
    symbols = []
    for text in value:
        try:
            symbols.append(parse_symbol(text if isinstance(text, str) else ""))
        except UsageError as error:
            return (), [f"symbols: {error}"]
    return tuple(dict.fromkeys(symbols)), []


def _relations(numbers: Mapping[str, float]) -> list[str]:
    """What is wrong between a rule's numbers, each of which is right by itself."""
    problems = []
    if numbers.get("band", 0.0) >= numbers.get("above", math.inf):
        problems.append("band: not below above")
    if numbers.get("ready_percentile", 0.0) > numbers.get("percentile", math.inf):
        problems.append("ready_percentile: above percentile")
    if numbers.get("min_sessions", 0.0) > numbers.get("sessions", math.inf):
        problems.append("min_sessions: more than sessions")
    return problems


def rules_as_json(rules: Sequence[Rule]) -> dict[str, Any]:
    """Return rules as a file has them, with every default.

    Parameters
    ----------
    rules : the rules.

    Returns
    -------
    dict
        The file's object.
    """
    return {"rules": [rule.as_json() for rule in rules]}


def kinds_as_json() -> dict[str, list[dict[str, Any]]]:
    """Return which numbers a rule of each kind may set.

    Returns
    -------
    dict
        Kind → its numbers: name, meaning, default, least, most, and whether it is a whole number.
    """
    return {
        kind: [
            {
                "name": name,
                "meaning": number.meaning,
                "default": number.default,
                "least": number.low,
                "most": number.high,
                "whole": name in _WHOLE,
            }
            for name, number in numbers.items()
        ]
        for kind, numbers in PARAMETERS.items()
    }


#: The rules where no file is named: one of each kind, for every symbol.
DEFAULT_RULES = parse_rules(orjson.dumps({"rules": [{"kind": kind} for kind in PARAMETERS]}))
