"""What generators, linters and readers take from the description: names, examples, media types."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import pytest

from api.openapi.catalogue import TAGS
from tests.api.conftest import Caller
from tests.api.openapi.test_reference import application

NOON = datetime(2026, 11, 27, 17, 0, 3, tzinfo=UTC)
SERIES = "/v1/flow/zero-dte/series"
OPEN = {"/health", "/ready", "/metrics", "/udf/config", "/udf/time"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The description as a generator reads it."""
    return application().openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def pascal(*names: str) -> str:
    """Names as generators join them to one type's name."""
    return "".join(word.capitalize() for name in names for word in re.split(r"[^A-Za-z0-9]", name))


def test_ids_are_of_one_kind(document: dict[str, Any]) -> None:
    """An id is its method and a noun; each operation has its own."""
    ids = []
    for method, path, operation in operations(document):
        assert re.fullmatch(rf"{method}(_[a-z0-9]+)+", operation["operationId"]), path
        ids.append(operation["operationId"])
    assert len(ids) == len(set(ids))


def test_no_generated_name_is_a_models(document: dict[str, Any]) -> None:
    """Generators make types of ids and parameters, and of models and fields: none collide."""
    models = document["components"]["schemas"]
    names = {name.lower() for name in models}
    names |= {pascal(name, field).lower() for name in models for field in properties(models[name])}
    assert "heatmapmetric" in names
    for _, _, operation in operations(document):
        generated = [operation["operationId"]]
        generated += [f"{generated[0]}_{p['name']}" for p in operation.get("parameters", ())]
        generated += [
            f"{generated[0]}_{suffix}" for suffix in ("params", "response", "body", "status")
        ]
        assert not {pascal(name).lower() for name in generated} & names


def properties(model: dict[str, Any]) -> dict[str, Any]:
    return model.get("properties", {})


def test_tags_are_listed(document: dict[str, Any]) -> None:
    """Each operation has one tag, the list names and describes it, and no tag is without one."""
    used = {tuple(operation["tags"]) for _, _, operation in operations(document)}
    assert used == {(tag["name"],) for tag in TAGS}
    assert document["tags"] == TAGS
    assert all(tag["description"] for tag in TAGS)


def test_keys_and_refusals(document: dict[str, Any]) -> None:
    """A route without a key says so, each other one names how a key comes; all can refuse."""
    for _, path, operation in operations(document):
        keys = [] if path in OPEN else [{"APIKeyHeader": []}, {"APIKeyQuery": []}]
        assert operation["security"] == keys, path
        assert [status for status in operation["responses"] if status.startswith("4")], path


def examples(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each example, with the schema that it is for."""
    if isinstance(value, list):
        for item in value:
            yield from examples(item)
    if not isinstance(value, dict):
        return
    if "schema" in value and "example" in value:
        yield value["schema"], value["example"]
    if isinstance(value.get("examples"), list):
        yield from ((value, each) for each in value["examples"])
    for name, item in value.items():
        if name != "example":
            yield from examples(item)


def test_examples_are_to_their_schemas(document: dict[str, Any]) -> None:
    """Of answers, of bodies, of parameters and of fields: formats, patterns and enums too."""
    count = 0
    for schema, example in examples(document):
        whole = schema | {"components": document["components"]}
        jsonschema_rs.validator_for(whole, validate_formats=True).validate(example)
        count += 1
    assert count > 200


def test_a_wrong_example_is_noticed(document: dict[str, Any]) -> None:
    """A day that is no day, and a field that is missing."""
    path = document["paths"]["/v1/flow/zero-dte/sessions/{symbol}"]["get"]
    schema = path["responses"]["200"]["content"]["application/json"]["schema"]
    example = path["responses"]["200"]["content"]["application/json"]["example"]
    whole = schema | {"components": document["components"]}
    validator = jsonschema_rs.validator_for(whole, validate_formats=True)
    assert validator.is_valid(example)
    assert not validator.is_valid(example | {"as_of": "yesterday"})
    assert not validator.is_valid({k: v for k, v in example.items() if k != "count"})


@pytest.mark.parametrize("path", [f"{SERIES}/SPX", SERIES])
async def test_described_media_types_are_sent(
    flowing: Caller, document: dict[str, Any], path: str
) -> None:
    """Whoever asks for a described type by its name gets it, and no other type is sent."""
    flowing.clock.moment = NOON
    described = path.replace("/SPX", "/{symbol}")
    answers = document["paths"][described]["get"]["responses"]["200"]["content"]
    sent = []
    for name in answers:
        answer = await flowing.get(path, params={"symbols": "SPX"}, headers={"Accept": name})
        assert answer.status_code == 200
        sent.append(answer.headers["content-type"].partition(";")[0])
    assert sent == list(answers)
    [named] = [
        p
        for p in document["paths"][described]["get"]["parameters"]
        if p["in"] == "query" and p["name"] == "format"
    ]
    for name in named["schema"]["enum"]:
        answer = await flowing.get(path, params={"symbols": "SPX", "format": name})
        assert answer.headers["content-type"].partition(";")[0] in answers


async def test_text_is_no_json(flowing: Caller, document: dict[str, Any]) -> None:
    """The metrics and the stream are described as the one type that they are."""
    metrics = document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    stream = document["paths"][SERIES + "/{symbol}/stream"]["get"]["responses"]["200"]["content"]
    assert (list(metrics), list(stream)) == (["text/plain"], ["text/event-stream"])
    assert (await flowing.get("/metrics")).headers["content-type"].startswith("text/plain;")


def test_what_generators_ask_for(document: dict[str, Any]) -> None:
    """A server, a licence, a contact."""
    assert [server["url"] for server in document["servers"]] == ["/"]
    assert document["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    assert document["info"]["contact"]["name"]
