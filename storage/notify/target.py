"""Where events are sent: a web hook that takes JSON, or a service that apprise knows.

A target's URL may hold a password or a token, so only its scheme and host are ever shown.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import orjson

from storage.config.settings import Settings
from storage.errors import UsageError
from storage.notify.notice import Notice

#: How long one delivery may take. [s]
_PATIENCE = 10.0
#: The header with the signature of a web hook's body.
SIGNATURE = "X-Flow-Signature"


class Target(Protocol):
    """Somewhere that events are sent to."""

    #: Scheme and host, for the log.
    name: str

    async def deliver(self, event: Notice) -> str:
        """Deliver an event once.

        Parameters
        ----------
        event : what to tell.

        Returns
        -------
        str
            Empty if it has arrived, else why not.
        """
        ...


class WebHook:
    """A URL that takes each event as JSON by POST, signed if there is a secret."""

    def __init__(self, url: str, secret: str) -> None:
        """Note the address; nothing is sent yet.

        Parameters
        ----------
        url : ``https://...``, or ``http://...``.
        secret : the key of the signature; empty for none.
        """
        self._url, self._secret = url, secret
        self.name = _shown(url)

    async def deliver(self, event: Notice) -> str:
        """Send the event; anything but a 2xx is a failure.

        Parameters
        ----------
        event : what to tell.

        Returns
        -------
        str
            Empty if it has arrived, else why not.
        """
        body = orjson.dumps(event.as_json())
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"{event.id}"}
        if self._secret:
            headers[SIGNATURE] = sign(body, self._secret)
        return await call("POST", self._url, content=body, headers=headers)


async def call(method: str, url: str, **request: Any) -> str:
    """Call a URL once; what the answer says beside its status is not read.

    Parameters
    ----------
    method, url : what to call; no redirect is followed.
    request : ``content`` and ``headers``.

    Returns
    -------
    str
        Empty after a 2xx, else what happened, without the URL.
    """
    try:
        # httpx limits each read alone: a body that drips would take for ever, so would a long one.
        async with (
            asyncio.timeout(_PATIENCE),
            httpx.AsyncClient(timeout=_PATIENCE, follow_redirects=False) as client,
            client.stream(method, url, **request) as answer,
        ):
            return "" if answer.is_success else f"status {answer.status_code}"
    except TimeoutError:
        return f"no answer within {_PATIENCE:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        # The text of the error may repeat the URL.
        return type(error).__name__


class Service:
    """A service that the package apprise knows: Slack, Discord, Telegram, ntfy, e-mail."""

    def __init__(self, url: str) -> None:
        """Read the address; nothing is sent yet.

        Parameters
        ----------
        url : such as ``ntfy://topic`` or ``mailto://user:password@host``.

        Raises
        ------
        UsageError
            If apprise is not installed, or cannot read the address. The sentence hides the rest.
        """
        if find_spec("apprise") is None:
            raise UsageError(
                f"FLOW_NOTIFY: {_shown(url)} needs the package apprise:"
                " pip install 'zerodte-flow[notify]'"
            )
        import apprise

        # The plug-in itself: apprise's threads around it would keep the process from ending.
        service = apprise.Apprise.instantiate(url)
        if service is None:
            raise UsageError(f"FLOW_NOTIFY: apprise cannot read the address {_shown(url)}")
        self._service: Any = service
        self._sending: threading.Thread | None = None
        self.name = _shown(url)

    async def deliver(self, event: Notice) -> str:
        """Send the event's sentence.

        Parameters
        ----------
        event : what to tell.

        Returns
        -------
        str
            Empty if it has arrived, else why not.
        """
        title = f"zerodte-flow: {event.kind.replace('_', ' ')}" + (" is over" * bool(event.ended))
        if self._sending is not None and self._sending.is_alive():
            return "the attempt before has not ended"
        outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        loop = outcome.get_loop()

        def note(sent: bool) -> None:  # noqa: FBT001
            if not outcome.done():
                outcome.set_result(sent)

        def send() -> None:
            try:
                sent = bool(self._service.notify(title=title, body=event.sentence))
            except Exception:  # whatever a plug-in raises: its text may hold the address
                sent = False
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(note, sent)

        # Apprise has no limit for an answer that drips, and a thread of the loop's own pool would
        # keep the process from ending.
        self._sending = threading.Thread(target=send, name="apprise", daemon=True)
        self._sending.start()
        try:
            async with asyncio.timeout(_PATIENCE):
                return "" if await outcome else "the service did not take it"
        except TimeoutError:
            return f"no answer within {_PATIENCE:g} s"


def sign(body: bytes, secret: str) -> str:
    """Return the signature of a web hook's body.

    Parameters
    ----------
    body : the JSON, as it is sent.
    secret : the key.

    Returns
    -------
    str
        ``sha256=`` and the HMAC in hexadecimal digits.
    """
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def open_targets(urls: Sequence[str], secret: str) -> list[Target]:
    """Return the targets of some URLs.

    Parameters
    ----------
    urls : ``https://`` and ``http://`` are web hooks; every other scheme is apprise's.
    secret : the key of the web hooks' signatures; empty for none.

    Returns
    -------
    list of Target
        One a URL.

    Raises
    ------
    UsageError
        If one cannot be read.
    """
    return [
        WebHook(url, secret) if url.startswith(("https://", "http://")) else Service(url)
        for url in urls
    ]


def configured_targets(settings: Settings) -> list[Target]:
    """Return the targets that the settings name.

    Parameters
    ----------
    settings : ``FLOW_NOTIFY``, or the file with its URLs, and the file of the signature's key.

    Returns
    -------
    list of Target
        One a URL; empty if none is named.

    Raises
    ------
    UsageError
        If a file cannot be read, or a URL cannot be used.
    """
    urls = [*settings.notify]
    if settings.notify_file is not None:
        urls += _text("FLOW_NOTIFY_FILE", settings.notify_file).split()
    secret = ""
    if settings.notify_secret_file is not None:
        secret = _text("FLOW_NOTIFY_SECRET_FILE", settings.notify_secret_file).strip()
    return open_targets(urls, secret)


def _text(setting: str, path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{setting}: {path} cannot be read: {type(error).__name__}") from error


def _shown(url: str) -> str:
    """Scheme and host of a URL: what follows may be a secret, and so may a name before the host."""
    scheme = url.partition(":")[0]
    if scheme not in ("http", "https"):
        return f"{scheme}://..."
    return f"{scheme}://{urlsplit(url).hostname}"
