"""A PostgreSQL and a Valkey of a test's own, to be killed with -9 and started again."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote

from storage.embedded import programs as wheels
from storage.embedded import supervisor


class KillableServers:
    """Both servers in a folder of their own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flow-mortal-"))
        self.folder.chmod(0o755)
        (self.folder / "run").mkdir(mode=0o755)
        # Nobody else's lock; the servers inherit it all the same.
        descriptor = os.open(self.folder / "run/lock", os.O_RDWR | os.O_CREAT)
        account = wheels.choose_account(self.folder, descriptor)
        sockets = wheels.ensure_socket_folder(self.folder, account)
        programs = wheels.locate_programs(wheels.PG_WHEEL, self.folder, account)
        self.postgres = supervisor._postgres(programs, self.folder, sockets, account)
        programs = wheels.locate_programs(wheels.VALKEY_WHEEL, self.folder, account)
        self.valkey = supervisor._valkey(programs, self.folder, sockets, account)
        self.database_url = f"postgresql://postgres@/flow?host={quote(str(sockets))}"
        self.redis_url = f"unix://{quote(str(sockets))}/valkey.sock"
        self._descriptor = descriptor

    def __enter__(self) -> Self:
        for server in (self.postgres, self.valkey):
            server.start()
            server.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self.postgres, self.valkey):
            if server.lives:
                server.stop()
                server.wait_until_gone()
        os.close(self._descriptor)
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def kill(server) -> None:
        """kill -9 of a server; PostgreSQL's own processes go when they notice."""
        with suppress(ProcessLookupError):
            server.process.send_signal(signal.SIGKILL)
        server.process.wait()

    @staticmethod
    def revive(server) -> None:
        """Start it again, and wait until it answers."""
        server.start()
        server.wait_until_ready()
