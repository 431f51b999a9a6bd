"""What the page asks first, answered within the page itself: the market and the symbols.

A browser is busy with the page's script when the answers to its first requests come, and asks for
the session only after that. With both answers in the page it asks at once: the session is there
100 ms earlier.
"""

from __future__ import annotations

import asyncio

from api.access.gate import AccessError
from api.context import AppContext
from api.http.json import encode_json
from api.routes.server import market_body, symbols_body
from storage.errors import StoreError

#: A page waits no longer for a slow database: it then asks by itself, and says what is wrong.
_PATIENCE_SECONDS = 0.25


async def first_answers(context: AppContext) -> bytes:
    """Return the answers of ``/v1/market`` and ``/v1/symbols`` by path, for a caller without a key.

    Parameters
    ----------
    context : the parts of the application.

    Returns
    -------
    bytes
        A JSON object; empty where the server wants a key, or the database does not answer at once.
    """
    try:
        await context.access.admit(None, "Free", count=False)
        symbols = await asyncio.wait_for(symbols_body(context), _PATIENCE_SECONDS)
    except (AccessError, StoreError, TimeoutError):
        return b""
    return encode_json({"v1/market": market_body(context), "v1/symbols": symbols})
