"""``/mcp``: the MCP server over Streamable HTTP, in the API's own process, with the same keys."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api import errors
from api.access.gate import AccessError, request_key
from api.context import app_context
from api.http.json import json_response
from api.mcp.caller import OwnApi

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context

PATH = "/mcp"
#: No message of a client is longer. [bytes]
_BODY_LIMIT = 256 << 10
_NOT_INSTALLED = {
    "error": "not_installed",
    "message": "This server has no MCP: install it with pip install 'zerodte-flow[mcp]'.",
}
_FOREIGN_ORIGIN = {
    "error": "forbidden_origin",
    "message": "A page of this origin may not call this server; FLOW_CORS_ORIGINS names who may.",
}


class McpEndpoint:
    """Answers one message a request and keeps no session: any process can answer the next."""

    def __init__(self, app: FastAPI) -> None:
        """Begin without importing the MCP package, which a plain installation does not have.

        Parameters
        ----------
        app : the application whose documents the tools return.
        """
        self._app = app
        self._server: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check key and origin, then pass the message to the MCP server."""
        request = Request(scope, receive)
        context = app_context(request)
        origin = request.headers.get("origin")
        if origin is not None and not {"*", origin} & set(context.origins):
            await json_response(_FOREIGN_ORIGIN, 403)(scope, receive, send)
            return
        if find_spec("mcp") is None:
            await json_response(_NOT_INSTALLED, 501)(scope, receive, send)
            return
        try:
            # To list the tools costs nothing. A call is counted by the document that it asks for.
            await context.access.admit(key_of(scope), "Free", count=False)
        except AccessError as error:
            refusal = await errors.access_error_response(request, error)
            await refusal(scope, receive, send)
            return
        await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        from mcp.server.transport_security import TransportSecuritySettings

        from api.mcp.tools import make_server

        if self._server is None:
            self._server = make_server(self._caller_of)
        # One manager a request: it needs no lifespan of the application, and keeps nothing.
        application = self._server.streamable_http_app(
            streamable_http_path=PATH,
            json_response=True,
            stateless_http=True,
            max_request_body_size=_BODY_LIMIT,
            # The application has checked Host and Origin by its own settings.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        async with self._server.session_manager.run():
            await application(scope, receive, send)

    def _caller_of(self, ctx: Context) -> OwnApi:
        request = ctx.request_context.request
        assert isinstance(request, Request)
        headers = {"host": request.headers.get("host", "localhost")}
        if key := key_of(request.scope):
            headers["x-api-key"] = key
        peer = request.client or ("127.0.0.1", 0)
        return OwnApi(self._app, headers, (peer[0], peer[1]))


def key_of(scope: Scope) -> str | None:
    """Return the key of a request: as elsewhere, or as a bearer token, which MCP clients can send.

    Parameters
    ----------
    scope : the request, as ASGI passes it.

    Returns
    -------
    str or None
        The key; None without one.
    """
    scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return request_key(scope) or bearer or None


def add_mcp_route(app: FastAPI) -> None:
    """Add the route to an application.

    Parameters
    ----------
    app : the application.
    """
    app.router.routes.append(Route(PATH, McpEndpoint(app), methods=["POST"]))
