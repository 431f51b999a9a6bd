"""Databases and channels that cannot be used: a sentence with the setting's name, before a slot."""

from __future__ import annotations

import asyncio
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from supervised_servers import SupervisedServers, supervised_servers

from storage.errors import AccessDenied, LiveError, StoreError, StoreUnavailable
from storage.postgres.migrate import migrate
from storage.postgres.store import Store
from storage.redis.channel import RedisChannel
from tests import forked

SECRET = "s3cret/@%"


@pytest.fixture(scope="module")
def own() -> Iterator[SupervisedServers]:
    """A server whose rules may be changed."""
    with supervised_servers() as servers:
        yield servers


def admin(own: SupervisedServers, text: str, database: str = "flow") -> None:
    url = own.database_url.replace("/flow?", f"/{database}?")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(text)


@pytest.fixture(scope="module")
def guarded(own) -> str:
    """A role of that server that needs its password; a URL but for it."""
    admin(own, f"create role guarded login password '{SECRET}'")
    rules = own.folder / "pgdata" / "pg_hba.conf"
    rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
    admin(own, "select pg_reload_conf()")
    return own.database_url.replace("postgres@", "guarded:{}@")


async def refusal_of(url: str) -> str:
    """What opening and migrating say; the same, and no password."""
    words = []
    for work in (migrate(url, "live"), _open(url)):
        with pytest.raises(StoreError) as raised:
            await work
        words.append(str(raised.value))
    assert len(set(words)) == 1
    assert SECRET not in words[0]
    assert "\n" not in words[0]
    return words[0]


async def _open(url: str) -> None:
    async with Store.open(url, "live"):
        pass


@pytest.mark.parametrize("password", ["wrong", ""])
async def test_wrong_password(guarded, password):
    """A password that the server does not take, or none."""
    words = await refusal_of(guarded.format(password))
    assert words.startswith("FLOW_DATABASE_URL: the server does not let this user in: ")
    assert ("password authentication failed" in words) == bool(password)
    await _not_waited_for(guarded.format(password))


async def test_right_password(guarded):
    """The right one is only not allowed to make a schema, which is said, too."""
    with pytest.raises(StoreError, match=r"^FLOW_DATABASE_URL: the role may not do this: .*denied"):
        await migrate(guarded.format(quote(SECRET, safe="")), "live")


async def test_no_such_role(own):
    """A user that the server does not have."""
    words = await refusal_of(own.database_url.replace("postgres@", "nobody_here@"))
    assert words.startswith("FLOW_DATABASE_URL: the server does not let this user in: ")
    assert 'role "nobody_here" does not exist' in words
    await _not_waited_for(own.database_url.replace("postgres@", "nobody_here@"))


async def test_no_such_database(own):
    """A database that the server does not have is no fault of the user's."""
    words = await refusal_of(own.database_url.replace("/flow?", "/nothing_here?"))
    assert words.startswith("FLOW_DATABASE_URL: the database cannot be reached: ")


async def _not_waited_for(url: str) -> None:
    """What does not let us in is refused at once, also where a database may come later."""
    with pytest.raises(AccessDenied):
        async with Store.open(url, "live", later=True):
            pass


#: How servers of other languages say it, with the SQLSTATE, and whether it is the user's fault.
TRANSLATED = [
    ("28P01", "Passwort-Authentifizierung für Benutzer »u« fehlgeschlagen", True),
    ("28000", "no existe el rol «u»", True),
    ("28000", "pg_hba.conf にエントリがありません", True),
    ("57P03", "das Datenbanksystem startet password role ", False),
    ("53300", "демасиадос clientes: no pg_hba.conf entry", False),
    ("3D000", 'database "password" does not exist', False),
]


def message(kind: bytes, body: bytes) -> bytes:
    """A message of PostgreSQL: its kind, its length with the length itself, and its body."""
    return kind + (4 + len(body)).to_bytes(4, "big") + body


#: What a server sends before it ends a connection.
LET_IN = message(b"R", bytes(4))
BEFORE = {
    "at once": b"",
    "after it is let in": LET_IN,
    "after a parameter": LET_IN + message(b"S", b"server_version\x0018.0\0"),
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(("sqlstate", "sentence", "refused"), TRANSLATED)
async def test_other_languages(sqlstate, sentence, refused, before):
    """Errors of a beginning connection are told apart by SQLSTATE, whatever the sentence says."""
    fields = f"S致命的\0VFATAL\0C{sqlstate}\0M{sentence}\0\0".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while length := int.from_bytes(await reader.read(4), "big"):
            request = await reader.readexactly(length - 4)
            if request.startswith((80_877_103).to_bytes(4, "big")):
                writer.write(b"N")
                continue
            writer.write(BEFORE[before] + message(b"E", fields))
            break
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://u@127.0.0.1:{port}/flow?gssencmode=disable"
        with pytest.raises(StoreUnavailable) as raised:
            await _open(url)
    assert isinstance(raised.value, AccessDenied) == refused
    assert sentence.split(" ")[0] in str(raised.value)


async def test_the_second_time_it_is_let_in():
    """A server that turns the first connection away, and lets the next one in, is only unsteady."""
    answers = iter(
        (
            message(b"E", b"SFATAL\0C28000\0Mno entry\0\0"),
            LET_IN + message(b"K", bytes(8)) + message(b"Z", b"I"),
        )
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(StopIteration, asyncio.IncompleteReadError):
            writer.write(next(answers))
            await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://u@127.0.0.1:{port}/flow?gssencmode=disable&sslmode=disable"
        with pytest.raises(StoreUnavailable) as raised:
            await _open(url)
    assert not isinstance(raised.value, AccessDenied)


@pytest.mark.parametrize(("length", "refused"), [(65_536, True), (65_537, False)])
async def test_a_message_that_is_too_long_is_of_no_database(length, refused):
    """Before the error comes a notice, its length with it; above 65,536 bytes nothing is read on."""
    error = message(b"E", b"SFATAL\0C28000\0Mno entry\0\0")
    notice = message(b"N", b"SNOTICE\0M" + b"x" * (length - 4 - 11) + b"\0\0")
    assert int.from_bytes(notice[1:5], "big") == length == len(notice) - 1
    answers = iter((error, LET_IN + notice + error))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(StopIteration, ConnectionError):
            writer.write(next(answers))
            await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://u@127.0.0.1:{port}/flow?gssencmode=disable&sslmode=disable"
        with pytest.raises(StoreUnavailable) as raised:
            await _open(url)
    assert isinstance(raised.value, AccessDenied) == refused


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_other_encoding(own, encoding):
    """A database that cannot hold every text is refused before anything is in it."""
    name = f"other_{encoding.lower()}"
    admin(own, f"create database {name} encoding '{encoding}' locale 'C' template template0")
    words = await refusal_of(own.database_url.replace("/flow?", f"/{name}?"))
    assert words.startswith(
        f"FLOW_DATABASE_URL: the database's encoding is {encoding}, not UTF8; make another:"
    )


async def test_client_of_another_encoding(own, monkeypatch):
    """What the user's environment says of encodings and time zones does not matter."""
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGTZ", "Asia/Kolkata")
    await migrate(own.database_url, "synthetic")
    async with Store.open(own.database_url, "synthetic") as store:
        await store._one("select 'é日' as word")
        answer = await store._one("select 'é日' as word, timestamptz '2026-01-01 00:00Z' as moment")
        assert (answer["word"], answer["moment"].isoformat()) == (
            "é日",
            "2026-01-01T00:00:00+00:00",
        )


class TestWritable:
    """A database that a sampler could not write to is refused when it starts."""

    async def refused(self, url: str) -> str:
        with pytest.raises(StoreError) as raised:
            async with Store.open(url, "live", write=True):
                pass
        async with Store.open(url, "live") as reader:
            assert await reader.heads() == {}
        return str(raised.value)

    async def test_read_only(self, own):
        """A read-only one; whoever only reads is let in."""
        await migrate(own.database_url, "live")
        url = own.database_url + "&options=-c%20default_transaction_read_only%3Don"
        words = await self.refused(url)
        assert words == "FLOW_DATABASE_URL: the database is read-only: nothing can be stored"

    async def test_role(self, own):
        """One whose tables the role may only read."""
        await migrate(own.database_url, "live")
        admin(own, "create role reader login")
        admin(own, "grant usage on schema live to reader")
        admin(own, "grant select on all tables in schema live to reader")
        words = await self.refused(own.database_url.replace("postgres@", "reader@"))
        assert words.startswith("FLOW_DATABASE_URL: the role reader may not write here: it needs")


@asynccontextmanager
async def web_server() -> AsyncIterator[int]:
    """The port of an HTTP server."""

    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


class TestChannel:
    """Channels that waiting does not mend."""

    async def refused(self, url: str) -> str:
        async with RedisChannel.open(url, "flow:bad") as channel:
            with pytest.raises(LiveError) as raised:
                await channel.require_usable()
        assert SECRET not in str(raised.value)
        return str(raised.value)

    async def test_password(self, own):
        """A server that wants a password, and another one than ours."""
        async with RedisChannel.open(own.redis_url, "flow:bad") as channel:
            await channel.require_usable()
            await channel._client.config_set("requirepass", "other")
            try:
                for url in (own.redis_url, own.redis_url.replace("//", f"//:{quote(SECRET, '')}@")):
                    assert (await self.refused(url)).startswith(
                        "FLOW_REDIS_URL: the server wants another user or password: "
                    )
            finally:
                await channel._client.config_set("requirepass", "")

    async def test_something_else(self):
        """A web server is no Redis; nor a database."""
        async with web_server() as port, asyncio.timeout(20):
            words = await self.refused(f"redis://127.0.0.1:{port}")
            assert words.startswith("FLOW_REDIS_URL: what answers there is no Redis: ")
            with pytest.raises(StoreUnavailable, match=r"^FLOW_DATABASE_URL: the database cannot"):
                await _open(f"postgresql://u@127.0.0.1:{port}/flow")

    async def test_no_such_database(self, own):
        """A number that the server does not have."""
        words = await self.refused(own.redis_url + "?db=99")
        assert words.startswith("FLOW_REDIS_URL: the server cannot be used: ")

    async def test_away(self):
        """One that is only away is waited for."""
        async with RedisChannel.open("redis://127.0.0.1:1", "flow:bad") as channel:
            await channel.require_usable()


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("FLOW_DATABASE_URL", "read-only", "FLOW_DATABASE_URL: the database is read-only"),
        ("FLOW_REDIS_URL", "web", "FLOW_REDIS_URL: what answers there is no Redis"),
    ],
)
async def test_a_sampler_does_not_start(own, setting, value, words):
    """The command ends with the sentence, before its first slot."""
    await migrate(own.database_url, "synthetic")
    async with web_server() as port:
        urls = {"FLOW_DATABASE_URL": own.database_url, "FLOW_REDIS_URL": own.redis_url}
        bad = {
            "read-only": own.database_url + "&options=-c%20default_transaction_read_only%3Don",
            "web": f"redis://127.0.0.1:{port}",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sampler", "run", "--source", "synthetic:?seed=7"),
            env=os.environ | urls | {setting: bad[value]},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert words in err.decode()
    assert "Traceback" not in err.decode()


async def test_passwords_in_files_and_credentials(own, guarded, tmp_path):
    """Every command finds them, a wrong one is told as such, and no output or argument has one."""
    url = guarded.replace(":{}", "")
    admin(own, "alter role guarded superuser")
    (tmp_path / "flow_database_password").write_text(SECRET + "\n")
    (tmp_path / "redis").write_text(SECRET)
    (tmp_path / "wrong").write_text("canary-wrong")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOW_")} | {
        "FLOW_DATABASE_URL": url,
        "FLOW_REDIS_URL": own.redis_url,
        "FLOW_REDIS_PASSWORD_FILE": str(tmp_path / "redis"),
        "FLOW_LOG_LEVEL": "debug",
        "FLOW_DATASET": "synthetic",
    }
    beside = environment | {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    wrong = environment | {"FLOW_DATABASE_PASSWORD_FILE": str(tmp_path / "wrong")}
    outputs = []

    async def run(*command: str, env: dict[str, str]) -> int:
        done = await asyncio.to_thread(
            forked.run, [sys.executable, "-m", *command],
            env=env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        outputs.append(done.stdout + done.stderr)
        return done.returncode

    async with RedisChannel.open(own.redis_url, "flow:bad") as channel:
        await channel._client.config_set("requirepass", SECRET)
        try:
            assert await run("storage", "migrate", env=beside) == 0, outputs[-1]
            doctor = ("storage", "doctor", "--no-source")
            await run(*doctor, env=beside)
            lines = outputs[-1].splitlines()
            for check in ("database", "redis"):
                assert any(line.startswith("ok") and f" {check} " in line for line in lines), lines
            assert await run("storage", "check", env=wrong) == 1
            assert "password authentication failed" in outputs[-1]
            none = environment | {"FLOW_REDIS_PASSWORD_FILE": ""}
            assert await run("storage", "tail", env=none | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
            assert "the server wants another user or password" in outputs[-1]
        finally:
            fresh = quote(SECRET, "")
            async with RedisChannel.open(
                own.redis_url.replace("//", f"//:{fresh}@"), "flow:bad"
            ) as mender:
                await mender._client.config_set("requirepass", "")
    for text in outputs:
        for secret in (SECRET, quote(SECRET, ""), "canary-wrong"):
            assert secret not in text
