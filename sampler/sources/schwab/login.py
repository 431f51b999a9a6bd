"""The login at Schwab: a token file in the usual login tool's format, refreshed by ourselves.

A person logs in with that tool (schwab-py) in a browser; the file then has an access token for 30
minutes and a refresh token for 7 days, and only another login renews the latter. The file has
``{"creation_timestamp": …, "token": {"access_token": …, "refresh_token": …, "expires_at": …}}``.
Whatever another program writes into it counts at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import tempfile
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

import orjson
import structlog

from sampler.errors import ChainRefused
from sampler.sources.http import HttpClient
from sampler.sources.json_fields import finite
from storage.errors import UsageError
from storage.record.row import Reason

#: An access token is renewed so long before it ends. [s]
LEEWAY = 120.0
#: How long a login lasts, and from which age on the log warns each day. [s]
LOGIN_LASTS, WARN_FROM = 7 * 86_400.0, 6 * 86_400.0
#: What an access token lasts where the answer does not say. [s]
ACCESS_LASTS = 1800.0
#: After a failure all symbols get the same refusal for so long, instead of an attempt each. [s]
FAILED_PAUSE = 20.0
#: After a refused refresh token, which stays refused. [s]
REFUSED_PAUSE = 600.0
#: No token file is larger. [bytes]
FILE_LIMIT = 64 << 10
#: Where tokens are renewed, under the host's address.
RENEWAL = "/v1/oauth/token"
_AGAIN = "log in again with the tool that wrote FLOW_SCHWAB_TOKEN_FILE"
_APP = "check FLOW_SCHWAB_APP_KEY and FLOW_SCHWAB_APP_SECRET"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, repr=False)
class SchwabToken:
    """What a token file says. Its ``repr`` shows no token."""

    access: str
    refresh: str
    #: When the access token ends, and when the person logged in; unix time. [s]
    ends_at: float
    login_at: float
    #: The whole file, for what another tool keeps in it.
    document: Mapping[str, Any]


class SchwabLogin:
    """The bearer token of each request, renewed once however many symbols wait for it."""

    def __init__(self, path: Path, *, app_key: str, app_secret: str, http: HttpClient) -> None:
        """Read the token file; nothing is asked of the network yet.

        Parameters
        ----------
        path : the token file.
        app_key, app_secret : of the app that the person registered with Schwab.
        http : asks the host that renews tokens, under ``/v1/oauth/token``.

        Raises
        ------
        UsageError
            If the file cannot be read as a token file.
        """
        self._path = path
        pair = b64encode(f"{app_key}:{app_secret}".encode()).decode()
        self._app = f"Basic {pair}"
        self._http = http
        self._lock = asyncio.Lock()
        self._content: bytes | None = None
        self._token: SchwabToken | None = None
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise UsageError(f"FLOW_SCHWAB_TOKEN_FILE: {_why(path, error)}") from None
        #: After a failed renewal: until when it is not tried again (monotonic) [s], the token, and
        #: the sentence of the refusal.
        self._failed: tuple[float, str, str] = (0.0, "", "")
        #: The day of the newest warning, counted from the login.
        self._warned = -1

    async def bearer(self, symbol: str, now: datetime, *, refused: str = "") -> str:
        """The access token to send.

        Parameters
        ----------
        symbol : the symbol that it is for; errors name it.
        now : the time, UTC.
        refused : an access token that Schwab has just refused.

        Returns
        -------
        str
            A token that is not ``refused``, and is valid for some time.

        Raises
        ------
        ChainRefused
            ``source_down``: the login has ended, or no token can be had.
        """
        async with self._lock:
            try:
                self._read()
            except (OSError, ValueError) as error:
                # Another program may be writing it. What it said before is still true.
                if self._token is None:
                    raise _down(symbol, _why(self._path, error)) from None
            token = self._token
            assert token is not None
            self._warn(token, now)
            if token.access != refused and token.ends_at - LEEWAY > now.timestamp():
                return token.access
            until, refused_token, words = self._failed
            if time.monotonic() < until and refused_token == token.refresh:
                raise _down(symbol, words)
            self._token = await self._renewed(token, symbol, now)
            return self._token.access

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def _read(self) -> None:
        with self._path.open("rb") as file:
            content = file.read(FILE_LIMIT + 1)
        if content != self._content:
            self._token = _token(content)
            self._content = content

    async def _renewed(self, token: SchwabToken, symbol: str, now: datetime) -> SchwabToken:
        """Ask for new tokens and keep them."""
        try:
            answer = await self._http.get(
                RENEWAL,
                form={"grant_type": "refresh_token", "refresh_token": token.refresh},
                symbol=symbol,
                now=now,
                headers={"Authorization": self._app},
                accept=frozenset({400, 401}),
            )
        except ChainRefused as refused:
            # Without its symbol: other symbols are told the same.
            words = str(refused).partition(": schwab ")[2] + "; it was asked to renew the login"
            self._failed = (time.monotonic() + FAILED_PAUSE, token.refresh, words)
            raise _down(symbol, words) from None
        document = _document(answer.body or b"")
        access = document.get("access_token")
        if answer.status == 200 and _is_token(access):
            return self._write(token, document, now)
        pause = FAILED_PAUSE
        words = "renewed the login with an answer that has no token"
        if answer.status != 200:
            pause = REFUSED_PAUSE
            age = (now.timestamp() - token.login_at) / 86_400
            words = f"has ended the login of {age:.1f} days ago (answer {answer.status}): {_AGAIN}"
            if document.get("error") == "invalid_client":
                words = f"refuses the app (answer {answer.status}): {_APP}"
        self._failed = (time.monotonic() + pause, token.refresh, words)
        raise _down(symbol, words)

    def _write(self, token: SchwabToken, answer: dict[str, Any], now: datetime) -> SchwabToken:
        """Keep what was answered, in memory and in the file."""
        lasts = finite(answer.get("expires_in"))
        ends_at = int(now.timestamp() + (lasts if lasts > 0 else ACCESS_LASTS))
        tokens = {**token.document["token"], **answer, "expires_at": ends_at}
        content = orjson.dumps({**token.document, "token": tokens})
        # A file that cannot be written is left as it is: the refresh token in it stays valid.
        with contextlib.suppress(OSError):
            replace_private(self._path, content)
            self._content = content
        return _token(content)

    def _warn(self, token: SchwabToken, now: datetime) -> None:
        """Warn once a day from the sixth day of the login on: it ends with the seventh."""
        age = now.timestamp() - token.login_at
        day = int(age // 86_400)
        if age < WARN_FROM or day == self._warned:
            return
        self._warned = day
        left = (LOGIN_LASTS - age) / 3600
        ends = f"ends in {left:.0f} h" if left > 0 else "should have ended"
        log.warning("login ends", source="schwab", detail=f"the login at Schwab {ends}: {_AGAIN}")


def replace_private(path: Path, content: bytes) -> None:
    """Replace a file at once, as one that only its owner can read.

    Parameters
    ----------
    path : the file; of a link, what it points to.
    content : its new content.

    Raises
    ------
    OSError
        If its folder cannot be written. The file is then as it was.
    """
    path = path.resolve()
    # mkstemp makes it 0600; a program that dies here leaves it, beside a whole file.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            owner = path.stat()
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.fchmod(file.fileno(), stat.S_IRUSR | stat.S_IWUSR)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _token(content: bytes) -> SchwabToken:
    """Read a token file's content.

    Raises
    ------
    ValueError
        What is wrong, in words that hold none of the content.
    """
    if len(content) > FILE_LIMIT:
        raise ValueError(f"over {FILE_LIMIT:,} bytes")
    document = _document(content)
    token = document.get("token")
    if not isinstance(token, dict) or "creation_timestamp" not in document:
        raise ValueError("no token and creation_timestamp in it, as the login tool writes them")
    access, refresh = token.get("access_token"), token.get("refresh_token")
    if not (_is_token(access) and _is_token(refresh)):
        raise ValueError("no access_token and refresh_token in it")
    ends_at, login_at = finite(token.get("expires_at")), finite(document["creation_timestamp"])
    if not login_at > 0:
        raise ValueError("a creation_timestamp that is no time")
    return SchwabToken(access, refresh, ends_at if ends_at > 0 else 0.0, login_at, document)


def _document(content: bytes) -> dict[str, Any]:
    """The JSON object that the bytes hold; an empty one where they hold something else."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _is_token(text: Any) -> TypeGuard[str]:
    """Whether a value is a text that an HTTP header can carry."""
    return isinstance(text, str) and text.isascii() and text.isprintable() and text != ""


def _why(path: Path, error: OSError | ValueError) -> str:
    """A sentence on what is wrong with a token file, without anything of its content."""
    if isinstance(error, OSError):
        return f"cannot read the token file {path}: {error.strerror}"
    return f"{path} is no token file of the Schwab login tool: {error}"


def _down(symbol: str, words: str) -> ChainRefused:
    return ChainRefused(Reason.SOURCE_DOWN, f"{symbol}: schwab {words}")
