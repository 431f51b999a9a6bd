"""The MCP server over standard input and output, for an assistant on a desktop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.types import ASGIApp

from api.mcp.caller import ApiCaller, OwnApi, RemoteApi
from storage.errors import UsageError


@asynccontextmanager
async def remote_api(url: str, key: str | None) -> AsyncIterator[ApiCaller]:
    """Open a client of a server elsewhere.

    Parameters
    ----------
    url : the server's address, such as ``http://127.0.0.1:8000``.
    key : the key for it; None for an open server.

    Yields
    ------
    ApiCaller
        The client.

    Raises
    ------
    UsageError
        If the address is none.
    """
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"--url: {url!r} is no address: {error}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise UsageError(f"--url: {url!r} must begin with http:// or https:// and name a host")
    headers = {"X-Api-Key": key} if key else {}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        yield RemoteApi(client)


def own_api(app: ASGIApp) -> ApiCaller:
    """Return what asks an application of this process, which has no keys.

    Parameters
    ----------
    app : the application.

    Returns
    -------
    ApiCaller
        The caller.
    """
    return OwnApi(app, {"host": "localhost"})


async def serve_stdio(caller: ApiCaller) -> None:
    """Answer messages of standard input until it ends.

    Parameters
    ----------
    caller : what asks the API.

    Raises
    ------
    UsageError
        If the MCP package is not installed.
    """
    try:
        from api.mcp.tools import make_server
    except ModuleNotFoundError as error:
        raise UsageError(
            "the MCP package is not installed: pip install 'zerodte-flow[mcp]'"
        ) from error
    await make_server(lambda _: caller).run_stdio_async()
