"""How a tool asks the API: in this process, or a server elsewhere by HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.gate import Admission
from api.context import request_context

#: The wait for an answer. The first series of a long session takes some seconds. [s]
PATIENCE = 60.0


class ToolRefusal(Exception):
    """The API refused a request; the message is a sentence for the assistant."""


class ApiCaller(Protocol):
    """Asks the API for documents, with the rights of whoever called the tool."""

    async def document(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Ask for a document. The request counts against the caller's quota.

        Parameters
        ----------
        path : the path of the endpoint.
        query : its parameters.

        Returns
        -------
        dict
            The document.

        Raises
        ------
        ToolRefusal
            If the API answers anything but 200, or does not answer.
        """
        ...

    async def companion(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """Ask for a second document that makes the first one's answer whole.

        Parameters
        ----------
        path : the path of the endpoint.
        query : its parameters.

        Returns
        -------
        dict or None
            The document; None where the API refuses it.
        """
        ...


class RemoteApi:
    """A server that is reached by HTTP, such as one on another machine."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Begin without a request.

        Parameters
        ----------
        client : its base URL is the server's, its headers carry the key.
        """
        self._client = client

    async def document(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Ask for a document, as ``ApiCaller.document`` promises.

        Parameters
        ----------
        path : the path of the endpoint.
        query : its parameters.

        Returns
        -------
        dict
            The document.

        Raises
        ------
        ToolRefusal
            If the API answers anything but 200, or does not answer.
        """
        try:
            answer = await self._client.get(path, params=dict(query), timeout=PATIENCE)
        except httpx.HTTPError as error:
            url = self._client.base_url
            raise ToolRefusal(
                f"The API at {url} does not answer: {type(error).__name__}"
            ) from error
        return _document(answer)

    async def companion(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """Ask for a second document, as ``ApiCaller.companion`` promises. It counts, too.

        Parameters
        ----------
        path : the path of the endpoint.
        query : its parameters.

        Returns
        -------
        dict or None
            The document; None where the API refuses it.
        """
        try:
            return await self.document(path, query)
        except ToolRefusal:
            return None


class OwnApi:
    """The application of this process. Its access, quotas and log are those of HTTP requests."""

    def __init__(
        self, app: ASGIApp, headers: Mapping[str, str], peer: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        """Begin without a request.

        Parameters
        ----------
        app : the application.
        headers : headers of each request: ``host``, and the key where there is one.
        peer : address and port of whoever called the tool, for the log.
        """
        self._app = app
        self._headers = dict(headers)
        self._peer = peer
        #: Set by the first document.
        self._admission: Admission | None = None

    async def document(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Ask for a document, as ``ApiCaller.document`` promises.

        Parameters
        ----------
        path : the path of the endpoint.
        query : its parameters.

        Returns
        -------
        dict
            The document.

        Raises
        ------
        ToolRefusal
            If the API answers anything but 200.
        """
        return _document(await self._get(path, query))

    async def companion(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """Ask for a second document, as ``ApiCaller.companion`` promises. It does not count again.

        Parameters
        ----------
        path : the path of the endpoint.
        query : its parameters.

        Returns
        -------
        dict or None
            The document; None where the API refuses it.
        """
        answer = await self._get(path, query, admission=self._admission)
        return answer.json() if answer.status_code == 200 else None

    async def _get(
        self, path: str, query: Mapping[str, str], *, admission: Admission | None = None
    ) -> httpx.Response:
        async def pass_on(scope: Scope, receive: Receive, send: Send) -> None:
            # An application that has seen the admission does not count the request again.
            context = request_context(scope)
            context.admission = admission
            await self._app(scope, receive, send)
            self._admission = context.admission

        transport = httpx.ASGITransport(app=pass_on, client=self._peer)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, params=dict(query), headers=self._headers)


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ToolRefusal(f"The API answered {answer.status_code} without a JSON document")
    if answer.status_code != 200:
        sentence = document.get("message") or document.get("detail") or "no reason was given"
        code = document.get("error") or document.get("title") or "error"
        raise ToolRefusal(f"{sentence} ({code}, status {answer.status_code})")
    return document
