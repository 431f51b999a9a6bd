"""The page and the reference: complete in themselves, and true."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.openapi import status, windows
from api.page_script import JoinedScript, ModuleError
from storage.postgres.store import Store
from tests.api.conftest import SERIES, Caller
from tests.api.rows import record, utc
from tests.api.site import Away
from tests.api.test_app import Table

STATIC = Path(__file__).resolve().parents[2] / "api" / "static"
OURS = (
    "/",
    "/static/icon.svg",
    "/static/page.js",
    *(f"/static/{p.name}" for p in sorted(STATIC.iterdir())),
)
#: uPlot 1.6.31 as its author published it (npm uplot, dist/): the page loads these bytes or none.
UPLOT = {
    "/static/charts/uplot.js": "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
    "/static/charts/uplot.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


async def test_page_is_complete_in_itself(caller: Caller) -> None:
    """The page asks nobody else for anything, and the browser is told to see to that."""
    for path in OURS:
        sent = await caller.get(path)
        assert sent.status_code == 200, path
        assert sent.headers["Content-Security-Policy"].startswith("default-src 'self';")
        assert "unsafe" not in sent.headers["Content-Security-Policy"]
        assert sent.headers["X-Content-Type-Options"] == "nosniff"
        # The page has answers of the moment in it, so that no browser may keep it.
        assert sent.headers["Cache-Control"] == ("no-store" if path == "/" else "no-cache")
        text = sent.text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text), path
    page = (await caller.get("/")).text
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\bon[a-z]+=|<style", page)


async def test_page_names_what_is_there(caller: Caller) -> None:
    """Whatever the page links to is served."""
    page = (await caller.get("/")).text
    # Relative, so that the page works under any path.
    linked = set(re.findall(r'(?:src|href)="([^"]*)"', page))
    assert {"static/page.js", "static/app.css", "docs"} <= linked
    for path in linked:
        assert not path.startswith("/"), path
        assert (await caller.get(f"/{path.removeprefix('./')}")).status_code == 200, path


async def test_charts_are_what_their_author_published(caller: Caller) -> None:
    """The package only carries the library: its bytes are checked here, and by every browser."""
    page = (await caller.get("/")).text
    for path, known in UPLOT.items():
        sent = await caller.get(path)
        assert known == hashlib.sha256(sent.content).hexdigest()
        digest = base64.b64encode(bytes.fromhex(known)).decode()
        assert re.search(f'"{path[1:]}" integrity="sha256-{re.escape(digest)}"', page)


def answers_in(page: str) -> str:
    content = re.search(r'<meta name="first-answers" content="([^"]*)">', page)
    assert content
    return html.unescape(content[1])


async def test_page_has_its_first_answers(store: Store, caller: Caller) -> None:
    """Market and symbols stand in the page word for word, so that its script need not ask for them."""
    await store.write([record(utc("14:28")), record(utc("14:29:30"), symbol="QQQ")])
    for path in ("/", "/tour"):
        answers = json.loads(answers_in((await caller.get(path)).text))
        assert set(answers) == {"v1/market", "v1/symbols"}
        for name, body in answers.items():
            assert body == (await caller.get(f"/{name}")).json()
    assert answers["v1/symbols"]["symbols"] == ["QQQ", "SPY"]


async def test_page_answers_nobody_without_a_key(
    store: Store, open_app: Callable[..., Any]
) -> None:
    """A server that wants keys writes nothing into a page that anybody may read."""
    await store.write([record(utc("14:28"))])
    app = await open_app(store, access=Table())
    assert (await app.get("/v1/symbols")).status_code == 401
    sent = await app.get("/")
    assert (sent.status_code, answers_in(sent.text)) == (200, "")


async def test_page_does_not_wait_for_the_database(
    store: Store, open_app: Callable[..., Any]
) -> None:
    """Without the database, or with one that hangs, the page comes all the same and asks by itself."""
    away = Away(store)
    app = await open_app(away)
    assert answers_in((await app.get("/")).text) != ""
    away.away = True
    assert answers_in((await app.get("/")).text) == ""

    class Hanging:
        async def symbols(self) -> None:
            await asyncio.Event().wait()

    hanging = await open_app(Hanging())
    sent = await asyncio.wait_for(hanging.get("/"), 30)
    assert (sent.status_code, answers_in(sent.text)) == (200, "")


async def test_page_is_not_sent_twice(stranger: Caller) -> None:
    """Files are asked for again each time, and answered in a few bytes while they are the same."""
    first = await stranger.get("/static/main.js")
    again = await stranger.get("/static/main.js", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.content == b""


async def test_the_script_is_all_modules_in_one(stranger: Caller) -> None:
    """Each module stands in the script once and whole, after those that it imports."""
    sent = await stranger.get("/static/page.js", headers={"Accept-Encoding": "br"})
    assert sent.headers["Content-Encoding"] == "br"
    assert sent.headers["Vary"].startswith("Accept-Encoding")
    modules = sorted(p for p in STATIC.glob("*.js") if p.name not in ("theme.js", "early.js"))
    starts = [sent.text.index(f"// {path.name}\nexport const ${path.stem} = ") for path in modules]
    places = dict(zip((path.stem for path in modules), starts, strict=True))
    assert sent.text.count("\nexport const $") == len(modules)
    for path in modules:
        imported = re.findall(r'from "\./(.*)\.js"', path.read_text())
        assert all(places[name] < places[path.stem] for name in imported), path
        for line in path.read_text().splitlines():
            assert line.startswith("import ") or line.removeprefix("export ") in sent.text
    plain = await stranger.get("/static/page.js", headers={"Accept-Encoding": "identity"})
    assert plain.text == sent.text
    known = {"If-None-Match": plain.headers["ETag"], "Accept-Encoding": "identity"}
    assert (await stranger.get("/static/page.js", headers=known)).status_code == 304
    known["Accept-Encoding"] = "br"
    assert (await stranger.get("/static/page.js", headers=known)).status_code == 200


async def test_what_cannot_be_joined(tmp_path: Path) -> None:
    """A module in another form is refused, as joined code would be wrong; a change is seen."""
    (tmp_path / "main.js").write_text('import { two as deux } from "./two.js";\nlog(deux());\n')
    (tmp_path / "two.js").write_text("export function two() {\n  return 2;\n}\n")
    joined = JoinedScript(tmp_path)
    assert joined.read().decode() == (
        "// two.js\nexport const $two = (() => {\nfunction two() {\n  return 2;\n}\nreturn { two };\n})();\n"
        "// main.js\nexport const $main = (() => {\nconst { two: deux } = $two;\nlog(deux());\nreturn {  };\n})();\n"
    )
    (tmp_path / "two.js").write_text("export const two = () => 'two';\n")
    assert b"'two'" in joined.read()
    for source, reason in (
        ("export default 2;\n", "two.js .*: export default 2;"),
        ('import * as all from "./three.js";\n', r"import \*"),
        ('import one from "./three.js";\n', "import one"),
        ("export let two = 2;\n", "export let"),
        ('import { one } from "./main.js";\nexport const two = one;\n', "main, two, main"),
    ):
        (tmp_path / "two.js").write_text(source)
        with pytest.raises(ModuleError, match=reason):
            joined.read()


async def test_no_file_of_the_page_is_long() -> None:
    """The page is plain files without a build step: each is read in one go."""
    long = {p.name for p in STATIC.glob("*.js") if len(p.read_text().splitlines()) > 300}
    assert set() == long


async def test_reference_is_complete_in_itself(stranger: Caller) -> None:
    """The reference loads its viewer from this server."""
    sent = await stranger.get("/docs")
    assert "//" not in sent.text
    policy = sent.headers["Content-Security-Policy"]
    assert "http" not in policy
    assert "default-src 'self'" in policy
    for path in re.findall(r'(?:src|href)="([^"]*)"', sent.text):
        assert (await stranger.get(path)).status_code == 200, path
    viewer = (await stranger.get("/docs/assets/swagger-ui-bundle.js")).text
    version = re.search(r'PACKAGE_VERSION:"(\d+)\.', viewer)
    assert version
    assert int(version[1]) >= 5, "older ones do not render OpenAPI 3.1"


async def test_reference_tells_of_the_series(stranger: Caller) -> None:
    """The series is in the reference with its parameters, answers and errors."""
    document = (await stranger.get("/openapi.json")).json()
    series = document["paths"]["/v1/flow/zero-dte/series/{symbol}"]["get"]
    assert [p["name"] for p in series["parameters"]] == [
        "symbol",
        "bar",
        "minutes",
        "date",
        "feed",
        "since",
        "If-None-Match",
        "format",
        "Range",
        "If-Range",
        "If-Match",
    ]
    refused = {"400", "401", "403", "412", "416", "421", "429", "503", "default"}
    assert set(series["responses"]) == {"200", "206", "304"} | refused
    assert {next(iter(way)) for way in series["security"]} == {"APIKeyHeader", "APIKeyQuery"}
    example = series["responses"]["200"]["content"]["application/json"]["example"]
    windows.Series.model_validate(example)
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_reference_is_true(store: Store, caller: Caller) -> None:
    """Real answers have the documented shape, and no field that is not documented."""
    await store.write([record(utc("14:28")), record(utc("14:29:30"))])
    for path, model in (
        (f"{SERIES}SPY?minutes=2", windows.Series),
        (f"{SERIES}XYZ", windows.Series),
        ("/v1/symbols", status.Symbols),
        ("/v1/market", status.Market),
        ("/health", status.Health),
    ):
        body = (await caller.get(path)).json()
        read = model.model_validate(body)
        fields = read.model_dump(by_alias=True, exclude_unset=True)
        assert set(fields) == set(body)
        for bar, shape in zip(body.get("bars", []), fields.get("bars", []), strict=True):
            assert list(bar) == list(shape)
        for gap, shape in zip(
            body.get("gap_intervals", []), fields.get("gap_intervals", []), strict=True
        ):
            assert set(gap) == set(shape)
