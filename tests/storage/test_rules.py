"""The file of rules: what is read, what is refused and how the refusal is worded; replaced as a whole."""

from __future__ import annotations

import asyncio
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from storage.errors import UsageError
from storage.notify.notice import KINDS, MARKET
from storage.notify.rules import (
    DEFAULT_RULES,
    FILE_LIMIT,
    PARAMETERS,
    parse_rules,
    rules_as_json,
)
from storage.notify.rules_file import RulesConflict, RulesFile


def read(*rules: Any) -> Any:
    return parse_rules(json.dumps({"rules": rules}))


def test_defaults() -> None:
    """The built-in rules are one of each kind, for every symbol, and each kind is one of the log."""
    assert [rule.kind for rule in DEFAULT_RULES] == [k for k, c in KINDS.items() if c == MARKET]
    assert all(rule.covers("SPX") and rule.covers("XYZ") for rule in DEFAULT_RULES)
    assert set(PARAMETERS) == {rule.kind for rule in DEFAULT_RULES}


def test_what_is_left_out_has_its_default() -> None:
    """A rule says what differs; what is written back, with every default, reads as the same rules."""
    rules = read(
        {"kind": "wall", "symbols": ["spx", "SPX"], "levels": ["put_wall"], "lead_share": 0.2},
        {"kind": "pin_score", "name": "late-pin", "above": 80},
        {"kind": "pin_score"},
    )
    wall, late, pin = rules
    assert (wall.symbols, wall.levels, wall.numbers["lead_share"]) == (("SPX",), ("put_wall",), 0.2)
    assert (wall.covers("SPX"), wall.covers("SPY")) == (True, False)
    assert wall.numbers["hold_seconds"] == 1200
    assert (late.name, late.numbers["above"]) == ("late-pin", 80)
    assert (pin.name, pin.numbers["above"]) == ("pin_score", 75)
    assert parse_rules(json.dumps(rules_as_json(rules))) == rules
    assert read() == ()


def test_a_mute_has_an_end() -> None:
    """A muted rule is as it was without, and says in UTC until when it is muted."""
    plain, muted = read(
        {"kind": "regime"},
        {"kind": "regime", "name": "other", "muted_until": "2026-11-27T10:30:00-05:00"},
    )
    assert muted.is_muted(datetime(2026, 11, 27, 15, 29, 59, tzinfo=UTC))
    assert not muted.is_muted(datetime(2026, 11, 27, 15, 30, tzinfo=UTC))
    assert not plain.is_muted(datetime(2026, 11, 27, tzinfo=UTC))
    assert muted.as_json()["muted_until"] == "2026-11-27T15:30:00Z"
    assert "muted_until" not in plain.as_json()
    assert parse_rules(json.dumps(rules_as_json((plain, muted)))) == (plain, muted)


@pytest.mark.parametrize("until", ["2026-11-27T10:30:00", "tomorrow", 5, "", "9999-99-99T00:00Z"])
def test_a_mute_without_a_time(until: Any) -> None:
    """A time without its offset, or none at all, is refused."""
    with pytest.raises(UsageError, match=r"rules\[0\]: muted_until: a time with its offset"):
        read({"kind": "regime", "muted_until": until})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", 'a list "rules"'),
        ('{"rules": {}}', 'a list "rules"'),
        ('{"rules": [], "rule": 1}', "'rule' is no key beside 'rules'"),
        ('{"rules": [1]}', r"rules\[0\]: a rule is an object"),
        ('{"rules": [{}]}', r"rules\[0\]: kind is missing: one of regime, "),
        ('{"rules": [{"kind": "regim"}]}', r"rules\[0\]: 'regim' is no kind"),
        ('{"rules": [{"kind": ["regime"]}]}', "is no kind"),
        ('{"rules": [{"kind": "regime", "hold": 5}]}', "'hold' is no key of regime; did you mean hold_seconds"),
        ('{"rules": [{"kind": "regime", "levels": ["call_wall"]}]}', "'levels' is no key of regime"),
        ('{"rules": [{"kind": "regime", "hold_seconds": "5"}]}', "hold_seconds: not a number"),
        ('{"rules": [{"kind": "regime", "hold_seconds": true}]}', "hold_seconds: not a number"),
        ('{"rules": [{"kind": "regime", "hold_seconds": null}]}', "hold_seconds: not a number"),
        ('{"rules": [{"kind": "regime", "hold_seconds": -1}]}', "hold_seconds: -1 is not between 0 and 3600"),
        ('{"rules": [{"kind": "pin_score", "above": 101}]}', "above: 101 is not between 1 and 100"),
        ('{"rules": [{"kind": "pin_score", "above": 10, "band": 10}]}', "band: not below above"),
        ('{"rules": [{"kind": "hedge_flow", "min_sessions": 21}]}', "min_sessions: more than sessions"),
        ('{"rules": [{"kind": "hedge_flow", "min_sessions": 9.5}]}', "min_sessions: not a whole number"),
        ('{"rules": [{"kind": "hedge_flow", "ready_percentile": 99}]}', "ready_percentile: above"),
        ('{"rules": [{"kind": "wall", "levels": []}]}', "levels: a list of call_wall, put_wall"),
        ('{"rules": [{"kind": "wall", "levels": ["magnet"]}]}', "levels: a list of"),
        ('{"rules": [{"kind": "wall", "levels": [[]]}]}', "levels: a list of"),
        ('{"rules": [{"kind": "wall", "symbols": "SPX"}]}', "symbols: not a list"),
        ('{"rules": [{"kind": "wall", "symbols": [1]}]}', "symbols: "),
        ('{"rules": [{"kind": "wall", "symbols": ["A B"]}]}', "symbols: "),
        ('{"rules": [{"kind": "wall", "name": "A B"}]}', "name: up to 40"),
        ('{"rules": [{"kind": "wall"}, {"kind": "wall"}]}', r"rules\[1\]: the name 'wall' is taken"),
        ('{"rules": [' + ",".join(['{"kind": "x"}'] * 7) + "]}", "and 2 more"),
        ('{"rules": [' + ",".join(["1"] * 101) + "]}", "more than 100 rules"),
        (" " * (FILE_LIMIT + 1), "more than 256 KB"),
    ],
)  # fmt: skip
def test_refused(text: str, sentence: str) -> None:
    """What is wrong is named with the rule's place in the file."""
    with pytest.raises(UsageError, match=sentence):
        parse_rules(text)


async def test_a_file_that_breaks(tmp_path: Path) -> None:
    """A broken file leaves the rules of before in force and says what is wrong; mended, it counts."""
    path = tmp_path / "rules.json"
    file = RulesFile(path)
    assert not await file.refresh()
    assert "cannot be read: No such file" in file.problem
    path.write_text('{"rules": [{"kind": "regime"}]}')
    assert await file.refresh()
    assert (file.problem, [rule.kind for rule in file.rules]) == ("", ["regime"])
    assert not await file.refresh()
    path.write_text('{"rules": [{"kind": "regime"')
    assert not await file.refresh()
    assert "not JSON" in file.problem
    assert [rule.kind for rule in file.rules] == ["regime"]
    path.write_text('{"rules": [{"kind": "gap"}]}')
    assert await file.refresh()
    assert (file.problem, [rule.kind for rule in file.rules]) == ("", ["gap"])


async def test_replaced(tmp_path: Path) -> None:
    """A bad file is refused before anything is written; one that changed meanwhile is a conflict."""
    path = tmp_path / "rules.json"
    path.write_text('{"rules": []}')
    path.chmod(0o600)
    file = RulesFile(path)
    await file.refresh()
    tag = file.tag
    with pytest.raises(UsageError, match="kind is missing"):
        await file.replace(b'{"rules": [{}]}', tag)
    await file.replace(b'{"rules": [{"kind": "gap"}]}', tag)
    assert [rule.kind for rule in file.rules] == ["gap"]
    assert file.tag != tag
    with pytest.raises(RulesConflict):
        await file.replace(b'{"rules": [{"kind": "regime"}]}', tag)
    await file.replace(b'{"rules": [{"kind": "regime"}]}', None)
    assert json.loads(path.read_text())["rules"] == [{"kind": "regime"}]
    assert path.stat().st_mode & 0o777 == 0o600
    assert {p.name for p in tmp_path.iterdir()} == {"rules.json", ".rules.json.lock"}
    with pytest.raises(UsageError, match="names no file"):
        await RulesFile(None).replace(b'{"rules": []}', None)


async def test_one_of_many_writers(tmp_path: Path) -> None:
    """Of ten writers who have read the same file one succeeds; the file is whole all the time."""
    path = tmp_path / "rules.json"
    path.write_text('{"rules": []}')
    files = [RulesFile(path) for _ in range(10)]
    for file in files:
        await file.refresh()
    texts = [
        json.dumps({"rules": [{"kind": "gap", "seconds": 60 + n}]}).encode() for n in range(10)
    ]
    done = await asyncio.gather(
        *(file.replace(text, file.tag) for file, text in zip(files, texts, strict=True)),
        return_exceptions=True,
    )
    assert sum(result is None for result in done) == 1
    assert sum(isinstance(result, RulesConflict) for result in done) == 9
    assert path.read_bytes() == texts[done.index(None)]


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The refusal names the setting and the file."""
    if os.geteuid() == 0:
        missing = tmp_path / "none" / "rules.json"
    else:
        missing = tmp_path / "rules.json"
        tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match=r"FLOW_ALERT_RULES: .*rules.json cannot be written"):
        await RulesFile(missing).replace(b'{"rules": []}', None)


def test_the_documented_defaults() -> None:
    """The table of docs/alerts.md has each number with its default and bounds."""
    page = (Path(__file__).resolve().parents[2] / "docs/alerts.md").read_text()
    cells = [
        line.split("|")[1:-1] for line in page.splitlines() if "`." not in line and ".`" not in line
    ]
    documented = {
        row[0].strip().strip("`"): tuple(float(cell) for cell in row[1:])
        for row in cells
        if len(row) == 4 and "." in row[0]
    }
    assert documented == {
        f"{kind}.{name}": (parameter.default, parameter.low, parameter.high)
        for kind, parameters in PARAMETERS.items()
        for name, parameter in parameters.items()
    }
    [example] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert [rule.name for rule in parse_rules(example)] == [
        "regime",
        "wall",
        "late-pin",
        "hedge_flow",
    ]
