"""flow-api keys as a command: what it prints, what it refuses."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from api.__main__ import main
from api.access.keys import key_digest
from storage.postgres.keys import ApiKey
from storage.postgres.store import Store

KEY = re.compile(r"flow_[0-9a-f]{12}_[A-Za-z0-9_-]{43}\n")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Runs flow-api keys in this process; exit status, standard output and error."""
    monkeypatch.setenv("FLOW_DATABASE_URL", database)

    def start(*arguments: str) -> tuple[int, str, str]:
        code = main(["keys", *arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    yield start
    structlog.reset_defaults()


def stored(url: str) -> list[ApiKey]:
    async def read() -> list[ApiKey]:
        async with Store.open(url, "live", size=1) as store:
            return await store.keys.all()

    return asyncio.run(read())


def test_life_of_a_key(run: Run, database: str) -> None:
    """Create, list, rotate, revoke: the key is alone on standard output, once."""
    assert run("list") == (0, "no keys\n", "")
    code, printed, stderr = run(
        "create", "--name", "Alice's notebook", "--plan", "growth", "--email", "a@example.com"
    )
    assert (code, bool(KEY.fullmatch(printed))) == (0, True)
    assert stderr == (
        'flow-api: key "Alice\'s notebook", plan Growth: this is the only time that it is shown\n'
    )
    [entry] = stored(database)
    assert (entry.digest, entry.plan) == (key_digest(printed.strip()), "Growth")

    code, listed, _ = run("list")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert [re.split(r"  +", line) for line in listed.splitlines()] == [
        ["id", "name", "plan", "created", "last used", "state"],
        [entry.id, "Alice's notebook", "Growth", today, "never", "in force"],
    ]
    [line] = json.loads(run("list", "--json")[1])
    assert set(line) == {
        "id", "name", "email", "plan", "created_at", "issued_at", "expires_at", "last_used_at",
        "revoked_at", "rights", "state",
    }  # fmt: skip
    assert (line["email"], line["last_used_at"], line["state"]) == (
        "a@example.com",
        None,
        "in force",
    )

    code, turned, stderr = run("rotate", "Alice's notebook")
    assert (code, turned != printed, turned[:18] == printed[:18]) == (0, True, True)
    assert KEY.fullmatch(turned)
    assert "is replaced: servers refuse the old one within 5 seconds" in stderr
    assert stored(database)[0].digest == key_digest(turned.strip())

    assert run("revoke", entry.id) == (
        0,
        f'key "Alice\'s notebook" ({entry.id}) is revoked; servers refuse it within 5 seconds\n',
        "",
    )
    assert "revoked" in run("list")[1]
    for command in ("revoke", "rotate"):
        code, out, stderr = run(command, entry.id)
        assert (code, out) == (1, "")
        assert stderr == (
            f"flow-api: no key {entry.id!r} is in force: flow-api keys list shows names and ids\n"
        )


def test_days(run: Run, database: str) -> None:
    """A key can end by itself."""
    code, _, stderr = run("create", "--name", "guest", "--plan", "Free", "--days", "30")
    [entry] = stored(database)
    ends = datetime.now(UTC) + timedelta(days=30)
    assert entry.expires_at is not None
    assert abs(entry.expires_at - ends) < timedelta(minutes=5)
    assert code == 0
    assert f"plan Free, ends {ends:%Y-%m-%d}T" in stderr
    assert f"until {ends:%Y-%m-%d}" in run("list")[1]


def test_same_name(run: Run) -> None:
    """A second key of a name is refused, and the message says what to do."""
    assert run("create", "--name", "a", "--plan", "Free")[0] == 0
    code, out, stderr = run("create", "--name", "a", "--plan", "Alpha")
    assert (code, out) == (1, "")
    assert stderr == (
        "flow-api: a key named 'a' is in force already: choose another name, or replace that key"
        " with flow-api keys rotate a\n"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--name", "a", "--plan", "Gold"], "'Gold' is no plan: Levels, Free, Basic"),
        (["--name", "  ", "--plan", "Free"], "--name: '  ' is not a valid name"),
        (["--name", "a" * 65, "--plan", "Free"], "is not a valid name"),
        (["--name", "a\nb", "--plan", "Free"], "--name: 'a\\nb' is not a valid name"),
        (["--name", "\x1b[31m", "--plan", "Free"], "is not a valid name"),
        (["--name", "a\udcff", "--plan", "Free"], "is not a valid name"),
        (["--name", "0123456789ab", "--plan", "Free"], "which look like an id"),
        (
            ["--name", "a", "--plan", "Free", "--email", "nobody"],
            "--email: 'nobody' is not an address",
        ),
        (["--name", "a", "--plan", "Free", "--email", "a@b c"], "is not an address"),
        (["--name", "a", "--plan", "Free", "--days", "0"], "--days: '0' is not a number of days"),
        (["--name", "a", "--plan", "Free", "--days", "1e3"], "is not a number of days"),
        (["--name", "a", "--plan", "Free", "--days", "36501"], "is not a number of days"),
    ],
)
def test_refusals(run: Run, database: str, arguments: list[str], sentence: str) -> None:
    """A value that is not valid gives one sentence and exit 2, and nothing is stored."""
    code, out, stderr = run("create", *arguments)
    assert (code, out, stderr.count("\n")) == (2, "", 1)
    assert stderr.startswith("flow-api: ")
    assert sentence in stderr
    assert stored(database) == []


@pytest.mark.parametrize("which", ["", "nobody", "a\udcff", "' or true --", "%", "\x1b[2J"])
def test_no_such_key(run: Run, which: str) -> None:
    """An unknown key gives one line of error, whatever its characters."""
    run("create", "--name", "a", "--plan", "Free")
    for command in ("revoke", "rotate"):
        code, out, stderr = run(command, which)
        assert (code, out, stderr.count("\n")) == (1, "", 1)
        assert "\x1b" not in stderr


def test_datasets_have_keys_of_their_own(run: Run) -> None:
    """A key of the made-up data is none of the real data's."""
    run("create", "--name", "a", "--plan", "Free", "--source", "synthetic:?seed=7")
    assert run("list")[1] == "no keys\n"
    assert " a " in run("list", "--dataset", "synthetic")[1]


@pytest.mark.parametrize("arguments", [[], ["create"], ["create", "--name", "a"], ["revoke"]])
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    """A missing argument is wrong usage."""
    with pytest.raises(SystemExit) as left:
        run(*arguments)
    assert left.value.code == 2


def test_database_is_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the database it is one sentence."""
    monkeypatch.setenv("FLOW_DATABASE_URL", "postgresql://flow:hunter2@127.0.0.1:1/flow")
    code, out, stderr = run("list")
    assert (code, out, stderr.count("\n")) == (1, "", 1)
    assert "hunter2" not in stderr


def test_rights(run: Run, database: str) -> None:
    """A right is given with the key or later, and taken away; another word is refused."""
    assert run("create", "--name", "a", "--plan", "Growth", "--right", "alerts")[0] == 0
    assert run("create", "--name", "b", "--plan", "Growth")[0] == 0
    assert [key.rights for key in stored(database)] == [("alerts",), ()]
    assert run("rights", "a")[2] == "flow-api: key 'a' has no rights beside its plan\n"
    assert run("rights", "b", "--right", "alerts")[2] == "flow-api: key 'b' has alerts\n"
    assert [key.rights for key in stored(database)] == [(), ("alerts",)]
    assert run("rotate", "b")[0] == 0
    assert [line["rights"] for line in json.loads(run("list", "--json")[1])] == [[], ["alerts"]]
    code, _, stderr = run("rights", "b", "--right", "all")
    assert (code, "'all' is no right: alerts" in stderr) == (2, True)
    assert run("rights", "nobody")[0] == 1
