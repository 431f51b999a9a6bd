"""Find out why a server ended a connection as it began.

Of a failed connection libpq tells only the server's sentence, in the server's language, and not the
SQLSTATE. The server sends the SQLSTATE in its first messages: we begin a connection of our own and
read it there. No password is sent.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from asyncio import StreamReader, StreamWriter
from contextlib import suppress

from psycopg.pq import ConnStatus
from psycopg.pq.abc import PGconn

#: SQLSTATE class 28: the server does not accept the user, its password or its address.
_INVALID_AUTHORIZATION = "28"
#: An answer that takes longer is none. [s]
_PATIENCE = 5.0
_PROTOCOL = 3 << 16
_SSL_REQUEST = struct.pack(">ii", 8, 80_877_103)
_HEADER = struct.Struct(">ci")
#: Values of ``sslmode`` with which libpq sends nothing without TLS.
_DEMANDS_TLS = {"require", "verify-ca", "verify-full"}
#: No message of a beginning connection is longer; what is longer is no PostgreSQL. [bytes]
_LONGEST = 1 << 16


async def is_user_refused(failed: PGconn) -> bool:
    """Return whether a connection failed because the server does not let the user in.

    Parameters
    ----------
    failed : libpq's connection after the failed attempt. If it used a password and the server asks
        for one, the password is taken to be wrong.

    Returns
    -------
    bool
        True for an unknown user, a wrong password or an address that may not connect.
    """
    if failed.status != ConnStatus.BAD:
        return False
    if failed.needs_password:
        return True
    options = {option.keyword.decode(): (option.val or b"").decode() for option in failed.info}
    if options.get("sslmode") in _DEMANDS_TLS and not failed.ssl_in_use and not _is_local(failed):
        # No TLS, or a certificate that libpq refuses: the user was never named to the server.
        return False
    sqlstate = ""
    # OverflowError: a port above 65535.
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, OverflowError):
        async with asyncio.timeout(_PATIENCE):
            sqlstate = await _startup_sqlstate(failed, encrypt=options.get("sslmode") != "disable")
    return sqlstate.startswith(_INVALID_AUTHORIZATION) if sqlstate else failed.used_password


def _is_local(failed: PGconn) -> bool:
    """Return whether a connection is by a Unix socket, where libpq uses no TLS."""
    return failed.host.startswith((b"/", b"@"))


async def _startup_sqlstate(failed: PGconn, *, encrypt: bool) -> str:
    """Begin the failed connection again; return its SQLSTATE, or "" if the server wants proof."""
    reader, writer = await _open_socket(failed, encrypt=encrypt)
    try:
        names = {"user": failed.user.decode(), "database": failed.db.decode()}
        text = "".join(f"{name}\0{value}\0" for name, value in names.items()) + "\0"
        writer.write(struct.pack(">ii", 8 + len(text.encode()), _PROTOCOL) + text.encode())
        while True:
            kind, length = _HEADER.unpack(await reader.readexactly(_HEADER.size))
            if not 4 <= length <= _LONGEST:
                raise ValueError("not a message of PostgreSQL")
            body = await reader.readexactly(length - 4)
            if kind == b"E":
                codes = [f[1:].decode() for f in body.split(b"\0") if f.startswith(b"C")]
                return codes[0] if codes else ""
            if kind == b"Z" or (kind == b"R" and body[:4] != bytes(4)):
                return ""
    finally:
        writer.close()
        # The transport must be gone before the loop may end.
        with suppress(OSError):
            await writer.wait_closed()


async def _open_socket(failed: PGconn, *, encrypt: bool) -> tuple[StreamReader, StreamWriter]:
    host, port = failed.host.decode(), failed.port.decode()
    if _is_local(failed):
        path = f"{host}/.s.PGSQL.{port}"
        return await asyncio.open_unix_connection("\0" + path[1:] if host[0] == "@" else path)
    reader, writer = await asyncio.open_connection(failed.hostaddr.decode() or host, int(port))
    if encrypt:
        writer.write(_SSL_REQUEST)
        if await reader.readexactly(1) == b"S":
            # Nothing secret is sent: whose certificate it is does not matter.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            await writer.start_tls(context, server_hostname=host)
    return reader, writer
