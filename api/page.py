"""Routes of the page and of the reference's viewer (Swagger UI).

Both load every file from this server, so that they work without a network.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
from importlib.resources import files
from importlib.util import find_spec
from mimetypes import guess_type
from pathlib import Path
from stat import S_ISREG

from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from api.context import app_context
from api.definitions import definitions_page
from api.first_answers import first_answers
from api.http.compression import Body, coding_of
from api.page_script import SCRIPT, JoinedScript

DESCRIPTION = """\
A 0DTE dealer-flow time series that you run yourself: sampled every 30 seconds, every formula
shown, every slot a row or a gap with its reason. Times are UTC, money is US dollars, volatility is
a decimal.
"""
_STATIC = Path(__file__).parent / "static"
_OWN_ONLY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
#: Security and cache headers of every file of the page.
_HEADERS = {
    "Content-Security-Policy": _OWN_ONLY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
#: Files of the chart library, uPlot, in its package. The page names the hashes that it expects.
_CHARTS = {
    "uplot.js": ("uplot.iife.min.js", "text/javascript"),
    "uplot.css": ("uplot.min.css", "text/css"),
}
#: Where the page has its first answers.
_ANSWERS = '<meta name="first-answers" content="">'
#: Swagger UI needs inline styles and images in data URLs.
_SWAGGER = f"{_OWN_ONLY}; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
_REFERENCE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Zero-DTE Flow: reference</title>
<link rel="icon" href="static/icon.svg">
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<div id="reference"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
_START = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
"""
_ICON = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect width="32" height="32" rx="7" fill="#101828"/>
<path d="M5 21l6-7 5 4 5-9 6 5" fill="none" stroke="#4cc9b0" stroke-width="3"
 stroke-linecap="round" stroke-linejoin="round"/>
</svg>
"""


def add_page(app: FastAPI) -> None:
    """Add the page's and the reference's routes to an application.

    Parameters
    ----------
    app : the application.
    """

    def text(path: str, body: str | bytes, kind: str, policy: str = _OWN_ONLY) -> None:
        headers = _HEADERS | {"Content-Security-Policy": policy}

        async def get() -> Response:
            return Response(body, headers=headers, media_type=kind)

        app.get(path, include_in_schema=False)(get)

    page = (_STATIC / "index.html").read_text()

    async def get_page(request: Request) -> Response:
        answers = html.escape((await first_answers(app_context(request))).decode())
        # Market and symbols in the page are those of now. A browser that goes back to the page must
        # not take old ones from its cache.
        headers = _HEADERS | {"Cache-Control": "no-store"}
        body = page.replace(_ANSWERS, _ANSWERS.replace('""', f'"{answers}"'), 1)
        return Response(body, headers=headers, media_type="text/html")

    # The same page at both: its script begins the tour at the second address.
    for path in ("/", "/tour"):
        app.get(path, include_in_schema=False)(get_page)
    text("/definitions", definitions_page(), "text/html")
    text("/static/icon.svg", _ICON, "image/svg+xml")
    for name, (file, kind) in _CHARTS.items():
        text(f"/static/charts/{name}", (_charts() / file).read_bytes(), kind)
    text("/docs", _REFERENCE, "text/html", _SWAGGER)
    text("/docs/start.js", _START, "text/javascript")
    # FastAPI's own page loads Swagger UI from another host; fastapi_offline has it as files.
    assets = StaticFiles(directory=str(files("fastapi_offline") / "static"))
    app.mount("/docs/assets", assets, name="assets")
    app.mount("/static", _Static(directory=_STATIC), name="static")


class _Static(StaticFiles):
    """The page's own files, from memory. Browsers ask each time: 304 while a file is unchanged."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        #: By path: time of change and size of the file, its bytes, and its type.
        self._files: dict[str, tuple[tuple[int, int], bytes, str]] = {}
        self._joined = JoinedScript(directory)
        self._script = Body(b"")

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer without a thread, which would cost more than the file. See ``StaticFiles``."""
        if path == SCRIPT and scope["method"] in ("GET", "HEAD"):
            return await self._script_response(scope)
        place, stat = self.lookup_path(path)
        if stat is None or not S_ISREG(stat.st_mode) or scope["method"] not in ("GET", "HEAD"):
            return await super().get_response(path, scope)
        stamp = (stat.st_mtime_ns, stat.st_size)
        if place not in self._files or self._files[place][0] != stamp:
            kind = guess_type(place)[0] or "text/plain"
            body = await asyncio.to_thread(Path(place).read_bytes)
            self._files[place] = (stamp, body, kind)
        _, body, kind = self._files[place]
        return self._answer(body, kind, {"ETag": f'"{stamp[0]:x}-{stamp[1]:x}"'}, scope)

    async def _script_response(self, scope: Scope) -> Response:
        script = self._joined.read()
        if script != self._script.plain:
            tag = hashlib.sha256(script, usedforsecurity=False).hexdigest()[:16]
            self._script = Body(script, tag=tag)
        coding = coding_of(Headers(scope=scope).get("accept-encoding", ""))
        body = await self._script.compress(coding, b"") if coding else script
        headers = {"ETag": f'"{self._script.tag}{coding}"', "Vary": "Accept-Encoding"}
        if coding:
            headers["Content-Encoding"] = coding
        return self._answer(body, "text/javascript", headers, scope)

    def _answer(self, body: bytes, kind: str, headers: dict[str, str], scope: Scope) -> Response:
        response = Response(body, headers=_HEADERS | headers, media_type=kind)
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response


def _charts() -> Path:
    # The package is located and not imported: only its files are needed.
    spec = find_spec("youplot")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "vendor"
