"""``/v1/alerts/rules``: read, replaced by those who may, and refused to all others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.access.gate import OpenAccess
from api.access.keys import KeyedAccess, KeyRing, key_digest, make_key
from api.openapi import alerts as models
from storage.config.plans import parse_quotas
from storage.notify.rules import PARAMETERS
from storage.notify.rules_file import RulesFile
from storage.postgres.store import Store
from storage.redis.counters import Counters
from tests.api.rows import utc
from tests.api.site import Caller

PATH = "/v1/alerts/rules"
PIN = {"rules": [{"kind": "pin_score", "above": 80}]}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.json"
    path.write_text('{"rules": [{"kind": "regime", "symbols": ["SPX"]}]}')
    return path


@pytest.fixture
async def app(open_app: Callable[..., Any], file: Path) -> Caller:
    return await open_app(None, rules=RulesFile(file))


async def put(app: Caller, body: Any, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await app.put(PATH, content=content, headers=JSON | named)


async def test_built_in(open_app: Callable[..., Any]) -> None:
    """Without a file the built-in rules are shown, one of each kind, and cannot be changed."""
    app = await open_app(None)
    body = (await app.get(PATH)).json()
    assert [rule["kind"] for rule in body["rules"]] == list(PARAMETERS)
    assert (body["source"], body["problem"]) == ("built-in", None)
    models.Rules.model_validate(body)
    sent = await put(app, PIN)
    assert (sent.status_code, sent.json()["error"]) == (409, "rules_not_writable")


async def test_read_and_replaced(app: Caller, file: Path) -> None:
    """What is put is in the file and in force; each state has a tag of its own."""
    first = await app.get(PATH)
    [rule] = first.json()["rules"]
    assert (rule["symbols"], rule["min_share"], first.json()["source"]) == (["SPX"], 0.1, "file")
    sent = await put(app, PIN, If_Match=first.headers["ETag"])
    assert (sent.status_code, sent.json()["rules"][0]["above"]) == (200, 80)
    assert json.loads(file.read_text()) == PIN
    again = await app.get(PATH)
    assert again.headers["ETag"] == sent.headers["ETag"] != first.headers["ETag"]
    assert again.json()["rules"] == sent.json()["rules"]
    # What was read, with every number, may be put back.
    assert (await put(app, {"rules": again.json()["rules"]})).status_code == 200


async def test_conflict(app: Caller, file: Path) -> None:
    """Whoever has seen other rules is refused; so is one whose file another program has changed."""
    tag = (await app.get(PATH)).headers["ETag"]
    assert (await put(app, PIN, If_Match=tag)).status_code == 200
    refused = await put(app, {"rules": []}, If_Match=tag)
    assert (refused.status_code, refused.json()["error"]) == (412, "rules_changed")
    tag = (await app.get(PATH)).headers["ETag"]
    file.write_text('{"rules": [{"kind": "gap"}]}')
    assert (await put(app, PIN, If_Match=tag)).status_code == 412
    assert (await app.get(PATH)).json()["rules"][0]["kind"] == "gap"
    assert (await put(app, PIN, If_Match="*")).status_code == 200


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        ([], 'a list "rules"'),
        ({"rules": [{"kind": "regime", "hold": 5}]}, "did you mean hold_seconds"),
        ({"rules": [{"kind": "pin_score", "above": 101}]}, "rules[0]: above: 101 is not between"),
    ],
)
async def test_bad_rules(app: Caller, file: Path, body: Any, sentence: str) -> None:
    """What is wrong is said, and the file stays as it is."""
    before = file.read_bytes()
    sent = await put(app, body)
    assert (sent.status_code, sent.json()["error"]) == (400, "invalid_rules")
    assert sentence in sent.json()["message"]
    assert file.read_bytes() == before


async def test_a_broken_file(app: Caller, file: Path) -> None:
    """A file that another program has broken is told, and can be replaced by the API."""
    await app.get(PATH)
    file.write_text("{")
    body = (await app.get(PATH)).json()
    assert (body["rules"][0]["kind"], "not JSON" in body["problem"]) == ("regime", True)
    sent = await put(app, PIN)
    assert (sent.status_code, sent.json()["problem"]) == (200, None)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://flow"}, 200),
        ({"Origin": "https://flow", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://flow:8000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://flow.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
async def test_own_origin(app: Caller, headers: dict[str, str], status: int) -> None:
    """Only pages of this server, and programs that are no browser, may change the rules."""
    sent = await app.put(PATH, json=PIN, headers=headers)
    assert sent.status_code == status
    if status == 403:
        assert sent.json()["error"] == "foreign_origin"


async def test_no_page_may_ask(open_app: Callable[..., Any], file: Path) -> None:
    """A browser that asks for leave first is told that PUT is not for pages of other origins."""
    app = await open_app(None, rules=RulesFile(file), access=OpenAccess(), origins=("*",))
    preflight = await app.options(
        PATH, headers={"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}
    )
    assert preflight.status_code == 400
    assert "PUT" not in preflight.headers["Access-Control-Allow-Methods"]


async def test_not_json_and_too_long(app: Caller) -> None:
    """A form is refused by its type, which a page may send without leave; so is a long body."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        sent = await app.put(PATH, content=json.dumps(PIN), headers={"Content-Type": kind})
        assert (sent.status_code, sent.json()["error"]) == (415, "not_json")
    sent = await put(app, b" " * (256 * 1024 + 1))
    assert (sent.status_code, sent.json()["error"]) == (413, "too_large")


async def test_a_right_of_its_own(
    store: Store, servers: Any, open_app: Callable[..., Any], file: Path
) -> None:
    """A key changes the rules, and sees targets, with the right alone; its plan must read them too."""
    ids = {}
    for name, plan in (("high", "Enterprise"), ("desk", "Growth"), ("free", "Free")):
        key_id, key = make_key()
        ids[name] = key
        rights = ("alerts",) if name != "high" else ()
        await store.keys.insert(
            key_id, key_digest(key), name=name, email="", plan=plan, expires_at=None, rights=rights
        )
    ring = KeyRing(store.keys, lambda: utc("14:30"))
    async with (
        ring.current(interval=0.02),
        Counters.open(servers.redis_url, f"flow:{file.parent.name}") as counters,
    ):
        access = KeyedAccess(ring, counters, parse_quotas(""), lambda: utc("14:30"))
        app = await open_app(store, rules=RulesFile(file), access=access)

        async def change(name: str) -> tuple[int, str]:
            sent = await put(app, PIN, X_Api_Key=ids[name])
            return sent.status_code, sent.json().get("error", "")

        assert await change("high") == (403, "right_missing")
        assert await change("free") == (403, "tier_restricted")
        assert (await app.put(PATH, json=PIN)).status_code == 401
        assert await change("desk") == (200, "")
        assert (await app.get(PATH, headers={"X-Api-Key": ids["high"]})).status_code == 200
        assert await store.keys.set_rights("desk", ())
        assert await store.keys.set_rights("high", ("alerts",))
        await ring.refresh()
        assert await change("desk") == (403, "right_missing")
        assert await change("high") == (200, "")
