"""A database behind TLS: a good certificate, a wrong one, and a user that is not let in."""

from __future__ import annotations

import select
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest
from psycopg.conninfo import conninfo_to_dict

from storage.errors import AccessDenied, StoreUnavailable
from storage.postgres.store import Store

#: What a client sends to ask for TLS: the length, and the number that the protocol fixes.
SSL_REQUEST = (8).to_bytes(4, "big") + (80_877_103).to_bytes(4, "big")


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def authority(folder: Path, name: str) -> None:
    """A certificate authority: ``name``.pem and its key."""
    openssl(
        *("req", "-x509", *_EC, "-subj", f"/CN={name}", "-days", "2"),
        *("-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem"),
    )


def certificate(folder: Path, host: str, by: str) -> None:
    """A server's certificate for a host name, ``host``.pem and its key, signed by an authority."""
    (folder / "names").write_text(f"subjectAltName=DNS:{host}\n")
    openssl(
        *("req", "-new", *_EC, "-subj", f"/CN={host}"),
        *("-keyout", f"{folder}/{host}.key", "-out", f"{folder}/{host}.csr"),
    )
    openssl(
        *("x509", "-req", "-in", f"{folder}/{host}.csr", "-days", "2"),
        *("-CA", f"{folder}/{by}.pem", "-CAkey", f"{folder}/{by}.key", "-CAcreateserial"),
        *("-extfile", f"{folder}/names", "-out", f"{folder}/{host}.pem"),
    )


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    """``ours`` has signed the certificates of localhost and of elsewhere, ``other`` has not."""
    folder = Path(mkdtemp(prefix="flow-certificates-"))
    authority(folder, "ours")
    authority(folder, "other")
    certificate(folder, "localhost", by="ours")
    certificate(folder, "elsewhere", by="ours")
    yield folder
    shutil.rmtree(folder)


@contextmanager
def encrypted(url: str, certificates: Path | None, host: str = "") -> Iterator[int]:
    """The port of a database that speaks TLS with a host's certificate, or refuses to speak it.

    The embedded PostgreSQL is built without TLS: this stands in front of it. It answers the request
    for TLS as PostgreSQL does, and then passes on what is inside.
    """
    server = conninfo_to_dict(url)
    address, port = str(server["host"]), str(server.get("port", 5432))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificates is not None:
        context.load_cert_chain(certificates / f"{host}.pem", certificates / f"{host}.key")

    def far_end() -> socket.socket:
        if not address.startswith("/"):
            return socket.create_connection((address, int(port)))
        far = socket.socket(socket.AF_UNIX)
        far.connect(f"{address}/.s.PGSQL.{port}")
        return far

    class Connection(socketserver.BaseRequestHandler):
        """One client's connection, until either end closes it."""

        def handle(self) -> None:
            near: socket.socket = self.request
            near.settimeout(30)
            # OSError: also an error of TLS, as of a client that refuses the certificate.
            with suppress(OSError), ExitStack() as stack:
                begin = near.recv(8, socket.MSG_WAITALL)
                if begin == SSL_REQUEST:
                    near.sendall(b"N" if certificates is None else b"S")
                    if certificates is not None:
                        near = stack.enter_context(context.wrap_socket(near, server_side=True))
                    begin = b""
                far = stack.enter_context(far_end())
                far.sendall(begin)
                while True:
                    decrypted = isinstance(near, ssl.SSLSocket) and near.pending()
                    ready = [near] if decrypted else select.select([near, far], [], [], 30)[0]
                    for source in ready:
                        if not (data := source.recv(1 << 16)):
                            return
                        (far if source is near else near).sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection) as listening:
        # Connections that are open at the end are their clients' to close.
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield listening.server_address[1]
        finally:
            listening.shutdown()
            thread.join()


def address_of(url: str, port: int, user: str = "", **options: str) -> str:
    """The URL of the same database at that port of localhost."""
    server = conninfo_to_dict(url)
    words = "&".join(f"{k}={v}" for k, v in {"gssencmode": "disable", **options}.items())
    return (
        f"postgresql://{user or server['user']}@localhost:{port}/{server['dbname']}"
        f"?hostaddr=127.0.0.1&{words}"
    )


async def opened(url: str) -> None:
    async with Store.open(url, "live") as store:
        assert await store.heads() == {}


async def sentence_of(url: str, kind: type[Exception]) -> str:
    """What opening says; the error is of that class, and of no narrower one."""
    with pytest.raises(StoreUnavailable) as raised:
        await opened(url)
    assert type(raised.value) is kind
    return str(raised.value)


async def test_verified(database, certificates):
    """A certificate of the host's name, by the authority that the URL names, is accepted."""
    trusted = {"sslmode": "verify-full", "sslrootcert": f"{certificates}/ours.pem"}
    with encrypted(database, certificates, "localhost") as port:
        await opened(address_of(database, port, **trusted))
        # The same server lets those in who do not ask for TLS.
        await opened(address_of(database, port, sslmode="disable"))


@pytest.mark.parametrize("user", ["", "nobody_here"])
@pytest.mark.parametrize(
    ("host", "root", "words"),
    [
        ("elsewhere", "ours", 'server certificate for "elsewhere" does not match host name'),
        ("localhost", "other", "certificate verify failed"),
    ],
)
async def test_wrong_certificate(database, certificates, host, root, words, user):
    """Another host's certificate, and another authority's, are refused as the server's fault.

    That holds as well for a user that this server would not let in: no name was sent to it.
    """
    trusted = {"sslmode": "verify-full", "sslrootcert": f"{certificates}/{root}.pem"}
    with encrypted(database, certificates, host) as port:
        sentence = await sentence_of(address_of(database, port, user, **trusted), StoreUnavailable)
    assert sentence.startswith("FLOW_DATABASE_URL: the database cannot be reached: ")
    assert words in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("user", ["", "nobody_here"])
async def test_without_tls(database, user):
    """A server that does not speak TLS is refused where the URL demands it, whoever connects."""
    with encrypted(database, None) as port:
        url = address_of(database, port, user, sslmode="require")
        sentence = await sentence_of(url, StoreUnavailable)
    assert sentence.startswith("FLOW_DATABASE_URL: the database cannot be reached: ")
    assert "does not support SSL" in sentence


@pytest.mark.parametrize("mode", ["require", "verify-full", "prefer", "disable"])
async def test_user_is_refused(database, certificates, mode):
    """The SQLSTATE that tells an unknown user is read through TLS too, whatever the mode."""
    trusted = {"sslmode": mode}
    if mode == "verify-full":
        trusted["sslrootcert"] = f"{certificates}/ours.pem"
    with encrypted(database, certificates, "localhost") as port:
        url = address_of(database, port, "nobody_here", **trusted)
        sentence = await sentence_of(url, AccessDenied)
    assert sentence.startswith("FLOW_DATABASE_URL: the server does not let this user in: ")
    assert 'role "nobody_here" does not exist' in sentence


async def test_user_is_refused_at_a_socket(database):
    """By a Unix socket libpq uses no TLS, whatever the mode: an unknown user is still told."""
    if "host=/" not in database:
        pytest.skip("TEST_DATABASE_URL names no Unix socket")
    url = database.replace("postgres@", "nobody_here@") + "&sslmode=require"
    sentence = await sentence_of(url, AccessDenied)
    assert 'role "nobody_here" does not exist' in sentence


async def test_user_is_refused_at_an_address_beside_the_name(database):
    """Where the URL has an address beside a name, the server is asked at the address, as libpq does."""
    with encrypted(database, None) as port:
        url = address_of(database, port, "nobody_here", sslmode="disable")
        sentence = await sentence_of(url.replace("localhost", "nowhere.invalid"), AccessDenied)
    assert 'role "nobody_here" does not exist' in sentence
