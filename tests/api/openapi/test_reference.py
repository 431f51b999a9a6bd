"""Docs, OpenAPI and routes are the same; examples run; the description holds against a fuzzer."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from pydantic import TypeAdapter

from api.app import create_app
from api.openapi import catalogue
from storage.redis.channel import NoChannel
from tests.api import contract
from tests.api.conftest import ROOT, Caller, Still
from tests.api.serving import served

NOON = datetime(2026, 11, 27, 17, 0, 3, tzinfo=UTC)
DOCS = (ROOT / "docs/api.md").read_text() + (ROOT / "docs/terminals.md").read_text()
LOCAL = "http://127.0.0.1:8000"


def application() -> Any:
    return create_app(None, NoChannel(), Still(NOON), dataset="live")  # type: ignore[arg-type]


def documented() -> set[str]:
    """Paths of the docs' table."""
    return set(re.findall(r"^\| `(/[^`]*)` \|", DOCS, re.MULTILINE))


def test_docs_openapi_and_routes_are_equal() -> None:
    """Every route is described and documented, and nothing else is."""
    app = application()
    routes = {
        route.path.replace(":path", "")
        for route in app.routes
        if isinstance(route, APIRoute) and route.include_in_schema
    }
    assert set(app.openapi()["paths"]) == routes
    assert documented() == routes


def test_docs_tell_each_plan() -> None:
    """The plan in the table is the one that the route asks for."""
    plans = dict(re.findall(r"^\| `(/[^`]*)` \| (\w+|—) \|", DOCS, re.MULTILINE))
    paths = application().openapi()["paths"]
    for path, plan in plans.items():
        answers = paths[path]["get"]["responses"]
        if plan in ("Free", "Growth", "Alpha"):
            example = answers["403"]["content"]["application/json"]["example"]
            assert example["required_plan"] == plan, path
        else:
            assert "403" not in answers, path
        assert ("401" in answers) == (plan != "—"), path


def test_every_route_is_described_in_full() -> None:
    """A summary, a description, typed parameters, an example and a schema of every answer."""
    app = application()
    document = app.openapi()
    operations = set()
    for path, item in document["paths"].items():
        get = item["get"]
        assert get["summary"], path
        assert get["description"], path
        operations.add(get["operationId"])
        for parameter in get.get("parameters", []):
            assert parameter["schema"].get("type"), (path, parameter["name"])
            assert parameter.get("description"), (path, parameter["name"])
        if path in ("/health", "/ready", "/metrics", "/udf/time"):
            continue
        for status, answer in get["responses"].items():
            if status == "304" or (path.endswith("/stream") and status == "200"):
                continue
            assert answer["description"], (path, status)
            assert answer["content"], (path, status)
            for content in answer["content"].values():
                assert content["schema"], (path, status)
    assert len(operations) == len(document["paths"])
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.parametrize("name", catalogue.DOCUMENTS)
def test_examples_are_answers(name: str) -> None:
    """Each example is to the contract, and is in the description with its nulls."""
    path, _ = catalogue.DOCUMENTS[name]
    plain = path.replace("{symbol:path}", "{}")
    kind = contract.ROUTES.get(plain, contract.Leaderboard)
    example = catalogue.example(name)
    kind.model_validate(example)
    operation = application().openapi()["paths"][path.replace(":path", "")]["get"]
    assert operation["responses"]["200"]["content"]["application/json"]["example"] == example


async def test_answers_have_no_field_that_is_not_described(flowing: Caller) -> None:
    """The description's models read every answer, and name every key of it, all the way down."""
    flowing.clock.moment = NOON

    def keys(read: Any, body: Any, where: str) -> None:
        if isinstance(body, dict) and isinstance(read, dict):
            assert set(body) == set(read), where
            for name, value in body.items():
                keys(read[name], value, f"{where}.{name}")
        elif isinstance(body, list) and body and isinstance(read, list):
            keys(read[0], body[0], f"{where}[0]")

    for name, (path, described) in catalogue.DOCUMENTS.items():
        body = (await flowing.get(path.replace("{symbol:path}", "SPX"))).json()
        reader = TypeAdapter(described["responses"][200]["model"])
        read = reader.validate_python(body)
        keys(reader.dump_python(read, by_alias=True, exclude_unset=True), body, name)


# The docs, followed literally.


@pytest.fixture(scope="module")
def address(sessions_database: str) -> Iterator[str]:
    """A server on the synthetic session, at noon."""
    with served(sessions_database, "synthetic", NOON) as (url, _):
        yield url


def fences(language: str, *, endless: bool = False) -> list[str]:
    """Examples of a language; without those that read a stream until somebody stops them."""
    fenced = re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)
    return [fence for fence in fenced if endless or "/stream" not in fence]


def test_documented_curl(address: str) -> None:
    """Every curl command of the docs answers 200 with JSON."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    commands = [line for fence in fences("sh") for line in fence.splitlines() if "curl" in line]
    assert len(commands) >= 18
    for command in commands:
        name, *arguments = shlex.split(command.replace(LOCAL, address))
        done = subprocess.run(
            [name, "-sSf", *arguments], capture_output=True, text=True, timeout=20, check=False
        )
        begins = ("symbol,t,",) if "format=csv" in command else ("{", "[")
        if "/udf/time" in command:
            begins = ("1", "2")
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.startswith(begins), command


def test_documented_python(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every Python example of the docs runs, one after the other, and prints something."""
    examples = fences("python")
    assert len(examples) >= 18
    names: dict[str, Any] = {}
    for example in examples:
        exec(example.replace(LOCAL, address), names)
        assert capsys.readouterr().out.strip(), example


@pytest.mark.parametrize(
    "path", sorted(documented() - {"/health", "/ready", "/metrics", "/v1/account"})
)
def test_each_endpoint_has_three_examples(path: str) -> None:
    """curl, Python and JavaScript."""
    plain = path.replace("{symbol}", "SPX")
    called = re.escape(LOCAL + plain) + r'[?"]'
    for language in ("sh", "js"):
        assert any(re.search(called, fence) for fence in fences(language, endless=True)), (
            f"docs/api.md has no example of {path} in a ```{language} fence, with SPX"
        )
    # By the client's method, or by its address.
    name = path.removeprefix("/v1/").replace("/{symbol}", "").replace("/", "_").replace("-", "_")
    name = {"exposure_zero_dte": "zero_dte"}.get(name, name)
    python = "\n".join(fences("python", endless=True))
    assert f"client.{name}(" in python or LOCAL + plain in python, (
        f"docs/api.md has no example of {path} in a ```python fence, with SPX"
    )


# A generator of requests from the description.


def test_description_holds(sessions_database: str) -> None:
    """Generated requests, valid and not: no server error, no status, type or body undescribed."""
    with served(sessions_database, "synthetic", NOON) as (url, _):
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        schema = schema.exclude(path_regex="/stream$")
        checks = [
            schemathesis.checks.not_a_server_error,
            schemathesis.checks.status_code_conformance,
            schemathesis.checks.content_type_conformance,
            schemathesis.checks.response_schema_conformance,
        ]
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) >= 19
        for operation in operations:
            run(operation, url, checks)


def run(operation: Any, url: str, checks: list[Any]) -> None:
    @settings(
        max_examples=10,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        case.call_and_validate(base_url=url, checks=checks)

    ask()
