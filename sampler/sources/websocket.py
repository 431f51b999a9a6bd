"""One WebSocket to a vendor: opened without a trace in any log, read in order, asked for life.

Reading is in the order of arrival, and so is the answer to a ping: when that has come, everything
that was sent before it has been read.
"""

from __future__ import annotations

import asyncio
import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

from storage.errors import UsageError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

#: No message is larger. [bytes]
MESSAGE_LIMIT = 16 << 20
#: The library's log of a debug level has every message, and so keys.
_QUIET = logging.getLogger(f"{__name__}.messages")
_QUIET.setLevel(logging.WARNING)
_QUIET.propagate = False
_QUIET.addHandler(logging.NullHandler())


def require_websockets(what: str) -> None:
    """Refuse to open a source that needs the WebSocket library where it is missing.

    Parameters
    ----------
    what : the source's URL, as the sentence names it.

    Raises
    ------
    UsageError
        With what to install.
    """
    if find_spec("websockets") is None:
        raise UsageError(
            f"{what} needs a package that is not installed: pip install zerodte-flow[dxlink]"
        )


async def open_socket(url: str, *, proxy: bool) -> ClientConnection:
    """Connect to a WebSocket. Time limits are the caller's.

    Parameters
    ----------
    url : its address.
    proxy : whether the environment's proxy is used.

    Returns
    -------
    ClientConnection
        The connection.

    Raises
    ------
    OSError or WebSocketException
        Their words may quote an address or a header: show their kind alone.
    """
    from websockets.asyncio.client import connect

    return await connect(
        url,
        logger=_QUIET,
        max_size=MESSAGE_LIMIT,
        open_timeout=None,
        # A slot sends its own ping.
        ping_interval=None,
        close_timeout=1.0,
        proxy=True if proxy else None,
    )


async def sign_of_life(socket: ClientConnection, within: float) -> bool:
    """Ping; when the answer has come, all that was sent before it has been received.

    Parameters
    ----------
    socket : the connection.
    within : how long to wait. [s]

    Returns
    -------
    bool
        Whether it came.
    """
    from websockets.exceptions import ConnectionClosed

    try:
        async with asyncio.timeout(within):
            await (await socket.ping())
            # The library answers a ping by itself; messages before it may still wait for a reader.
            await asyncio.sleep(0.01)
    except (TimeoutError, ConnectionClosed):
        return False
    return True
