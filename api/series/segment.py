"""One segment of a path, as it was sent."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request


def segment(request: Request, symbol: str, after: str = "") -> str:
    """The symbol, if it is one segment of the path as it was sent: ``BRK%2FB`` is, ``A/B`` not.

    ``after`` is what follows it in the path.
    """
    sent = request.scope.get("raw_path") or request.scope["path"].encode()
    path = sent.partition(b"?")[0].removesuffix(after.encode())
    last = unquote(path.rpartition(b"/")[2].decode("ascii", "replace"))
    if last != symbol:
        raise HTTPException(404)
    return symbol
