"""Linters take the description; clients that generators make of it compile, and read a server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.openapi.foreign import CLIENTS, PYTHON, program, run
from tests.api.openapi.test_reference import application
from tests.api.serving import served

NOON = datetime(2026, 11, 27, 17, 0, 3, tzinfo=UTC)
HERE = Path(__file__).parent
#: Without a file of rules the server cannot change them.
REFUSED = {"put_alert_rules": 409}


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The description as a file."""
    file = tmp_path_factory.mktemp("description") / "openapi.json"
    file.write_text(json.dumps(application().openapi()))
    return file


def test_linters(description: Path) -> None:
    """Redocly's recommended rules and Spectral's have nothing to say: no error, no warning."""
    redocly, spectral = program("redocly"), program("spectral")
    folder = description.parent
    printed = run([redocly, "lint", description.name, "--extends=recommended"], folder)
    assert "Your API description is valid" in printed
    assert "warning" not in printed.partition("validating")[2], printed
    (folder / "rules.yaml").write_text('extends: ["spectral:oas"]\n')
    lint = [spectral, "lint", description.name, "--ruleset", "rules.yaml", "--format", "json"]
    printed = run([*lint, "--fail-severity", "warn", "--quiet"], folder)
    assert json.loads(printed or "[]") == []


def test_linters_notice(description: Path, tmp_path: Path) -> None:
    """Both refuse a description without a server and with an operation that has no security."""
    spectral, redocly = program("spectral"), program("redocly")
    document = json.loads(description.read_text())
    del document["servers"]
    del document["paths"]["/health"]["get"]["security"]
    (tmp_path / "wrong.json").write_text(json.dumps(document))
    (tmp_path / "rules.yaml").write_text('extends: ["spectral:oas"]\n')
    lint = [spectral, "lint", "wrong.json", "--ruleset", "rules.yaml", "--fail-severity", "warn"]
    with pytest.raises(AssertionError, match="oas3-api-servers"):
        run(lint, tmp_path)
    with pytest.raises(AssertionError, match="security-defined"):
        run([redocly, "lint", "wrong.json", "--extends=recommended"], tmp_path)


# Generated clients, against a running server.


@pytest.fixture(scope="module")
def address(sessions_database: str) -> Iterator[str]:
    """A server on the synthetic session, at noon."""
    with served(sessions_database, "synthetic", NOON, follows=True) as (url, _):
        yield url


@pytest.fixture(scope="module")
def calls(address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The running server's description as a file, and each operation with its arguments."""
    document = httpx.get(f"{address}/openapi.json", timeout=60).json()
    file = tmp_path_factory.mktemp("clients") / "openapi.json"
    file.write_text(json.dumps(document))
    operations = {}
    for item in document["paths"].values():
        for operation in item.values():
            arguments = {
                parameter["name"]: argument(parameter)
                for parameter in operation.get("parameters", [])
                if parameter.get("required")
            }
            [tag] = operation["tags"]
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            operations[operation["operationId"]] = {
                "arguments": arguments,
                "tag": tag,
                "body": body.get("example"),
                "stream": "text/event-stream" in operation["responses"]["200"]["content"],
                "json": "application/json" in operation["responses"]["200"]["content"],
                "path": [
                    parameter["name"]
                    for parameter in operation.get("parameters", [])
                    if parameter["in"] == "path"
                ],
            }
    return file, operations


def argument(parameter: dict[str, Any]) -> Any:
    known = {"symbol": "SPX", "symbols": "SPX"}
    schema = parameter["schema"]
    values = schema.get("enum") or schema.get("examples") or [None]
    return known.get(parameter["name"]) or parameter.get("example") or values[0]


def check(printed: str, operations: dict[str, Any]) -> None:
    """Each operation was called, and answered with what the client makes objects of."""
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    answers = {line["id"]: line for line in lines}
    assert set(answers) == set(operations)
    for name, answer in answers.items():
        assert answer["status"] == REFUSED.get(name, 200), answer
        assert answer["read"], answer


def test_openapi_python_client(
    calls: tuple[Path, dict[str, Any]], address: str, tmp_path: Path
) -> None:
    """openapi-python-client leaves nothing out; each function returns its model."""
    file, operations = calls
    generator = program("openapi-python-client")
    printed = run(
        [generator, "generate", "--path", file, "--output-path", "flow_client", "--meta", "none"],
        tmp_path,
    )
    assert "will not be generated" not in printed, printed
    assert "WARNING" not in printed.upper(), printed
    run([PYTHON, "-m", "compileall", "-q", "flow_client"], tmp_path)
    shutil.copy(HERE / "call_python_client.py", tmp_path)
    printed = run(
        [PYTHON, "call_python_client.py", address], tmp_path, input=json.dumps(operations)
    )
    check(printed, operations)


def test_openapi_generator(
    calls: tuple[Path, dict[str, Any]], address: str, tmp_path: Path
) -> None:
    """OpenAPI Generator's Python client reads every answer into its pydantic models."""
    file, operations = calls
    generator = program("openapi-generator-cli")
    options = ["-g", "python", "--package-name", "flow_client", "--skip-validate-spec"]
    tests = ["--global-property", "apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"]
    run([generator, "generate", "-i", file, "-o", ".", *options, *tests], tmp_path)
    run([PYTHON, "-m", "compileall", "-q", "flow_client"], tmp_path)
    shutil.copy(HERE / "call_openapi_generator.py", tmp_path)
    printed = run(
        [PYTHON, "call_openapi_generator.py", address], tmp_path, input=json.dumps(operations)
    )
    check(printed, operations)


def test_orval(calls: tuple[Path, dict[str, Any]], address: str, tmp_path: Path) -> None:
    """orval's TypeScript compiles in strict mode, and its functions read the server."""
    file, operations = calls
    orval, compiler = program("orval"), program("tsc")
    output = {"target": "./flow.ts", "client": "fetch", "mode": "single", "baseUrl": address}
    config = {"flow": {"input": str(file), "output": output}}
    (tmp_path / "orval.config.cjs").write_text(f"module.exports = {json.dumps(config)};\n")
    run([orval, "--config", "orval.config.cjs"], tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}\n')
    strict = ["--strict", "--target", "es2022", "--lib", "es2022,dom"]
    run([compiler, *strict, "--module", "nodenext", "flow.ts"], tmp_path)
    shutil.copy(HERE / "call_orval.js", tmp_path)
    printed = run(["node", "call_orval.js"], tmp_path, input=json.dumps(operations))
    check(printed, operations)


def test_what_is_installed() -> None:
    """The programs are those of the folder that make clients fills."""
    assert program("orval").is_relative_to(CLIENTS)
