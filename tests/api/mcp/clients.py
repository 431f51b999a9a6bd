"""The official MCP client, connected to an application."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.api.site import Caller


@asynccontextmanager
async def assistant(app: Caller, **headers: str) -> AsyncIterator[Client]:
    """A client whose messages reach the application without a socket."""
    transport = httpx2.ASGITransport(app=app._transport.app)  # type: ignore[attr-defined]
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx2.AsyncClient(transport=transport, headers=sent) as http,
        Client(streamable_http_client("http://flow/mcp", http_client=http)) as client,
    ):
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The document that a tool returns."""
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content[0].text
    (content,) = answer.content
    return json.loads(content.text)


async def refusal(client: Client, tool: str, **arguments: Any) -> str:
    """The sentence with which a tool refuses."""
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    return str(answer.content[0].text)
