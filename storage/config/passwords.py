"""Passwords of database and Redis that stand beside their URLs: in a file, or a systemd credential.

A URL with its password stands in the environment, which other programs of the same user can read.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, quote

from storage.errors import UsageError

#: No password is longer, and no file of one. [bytes]
_LIMIT = 4 << 10


def url_with_password(url: str, service: str, file: Path | None, credentials: Path | None) -> str:
    """Return a URL with the password that stands beside it.

    Parameters
    ----------
    url : the URL of the settings; empty for an embedded server, which needs no password.
    service : ``database`` or ``redis``, as the names of its settings begin.
    file : the file with the password; None if there is none.
    credentials : the folder of the unit's systemd credentials; None without.

    Returns
    -------
    str
        The URL; unchanged where no password stands beside it.

    Raises
    ------
    UsageError
        If a password stands in two places, cannot be read, or belongs to no URL. The sentence does
        not show it.
    """
    setting = f"FLOW_{service.upper()}_PASSWORD_FILE"
    credential = credentials / f"flow_{service}_password" if credentials else None
    places: list[tuple[str, Path]] = [(setting, file)] if file is not None else []
    if credential is not None and credential.is_file():
        places.append((f"the systemd credential {credential.name}", credential))
    if not places:
        return url
    if len(places) > 1:
        raise UsageError(f"{places[0][0]} and {places[1][0]} are both set; only one may be")
    shown, path = places[0]
    own = f"FLOW_{service.upper()}_URL"
    if not url:
        raise UsageError(f"{shown}: there is no {own} that it belongs to")
    scheme, _, rest = url.partition("://")
    end = min((place for mark in "/?#" if (place := rest.find(mark)) >= 0), default=len(rest))
    login, _, host = rest[:end].rpartition("@")
    user, colon, _ = login.partition(":")
    if colon or "password" in parse_qs(rest[end:].partition("?")[2]):
        raise UsageError(f"{shown} and the password in {own} are both set; only one may be")
    password = quote(read_password(shown, path), safe="")
    return f"{scheme}://{user}:{password}@{host}{rest[end:]}"


def read_password(shown: str, path: Path) -> str:
    """Read the password that a file holds, without the line end.

    Parameters
    ----------
    shown : where the file was named, for errors.
    path : the file.

    Returns
    -------
    str
        One line of text.

    Raises
    ------
    UsageError
        If the file cannot be read or holds something else. The sentence does not show it.
    """
    try:
        with path.open("rb") as opened:
            content = opened.read(_LIMIT + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"{shown}: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{shown}: {path} is not text in UTF-8") from None
    if len(content) > _LIMIT or not text or not text.isprintable():
        raise UsageError(f"{shown}: {path} holds no password: one line of text, at most 4 kB")
    return text
