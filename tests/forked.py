"""The product's commands in processes that share one import: a fork of a process that has loaded them.

An interpreter that imports the product anew takes more than a second of processor time, and the
tests start hundreds. ``Popen`` and ``run`` take what ``subprocess`` takes. A command such as
``[sys.executable, "-m", "api", "serve"]`` becomes a fork, with its own environment, folder, files,
signals and exit status; anything else, and whatever ``subprocess`` alone can do, becomes an
ordinary process. A test about the start of an interpreter uses ``subprocess`` itself.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import inspect
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ("api", "sampler", "storage")
#: What the programs import only when they need it.
LATER = (
    "api.app", "pandas", "pandas_market_calendars", "psycopg_pool", "pyarrow.parquet",
    "sampler.live.daemon", "sampler.sources", "storage.opening",
)  # fmt: skip
#: Settings that an interpreter, or a library as it is loaded, reads at its start.
EARLY = ("COV", "LD_", "LLVM", "MALLOC", "NUMBA", "OMP_", "OPENBLAS", "PYTHON")


def early(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(EARLY)}


class Nursery:
    """The process that has loaded the programs, one for each process that runs tests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self.early: dict[str, str] = {}

    def fork(
        self, words: Sequence[str], environment: dict[str, str], cwd: str, files: list[int]
    ) -> tuple[int, int]:
        """Start a command; its number, and where its exit status can be read once it has ended."""
        with self._lock:
            line = self._line or self._begin()
            status, exit_pipe = os.pipe()
            order = json.dumps([list(words), environment, cwd]).encode("utf-8", "surrogateescape")
            try:
                socket.send_fds(line, [len(order).to_bytes(8, "big")], [*files, exit_pipe])
                line.sendall(order)
                number = line.recv(8, socket.MSG_WAITALL)
            finally:
                os.close(exit_pipe)
        if len(number) < 8:
            os.close(status)
            raise OSError("the process that forks the commands has ended")
        return int.from_bytes(number, "big"), status

    def _begin(self) -> socket.socket:
        self._line, theirs = socket.socketpair()
        self.early = early(dict(os.environ))
        started = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if not k.startswith("FLOW_")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        # It ends with this process, so nobody waits for it and nothing warns that nobody does.
        started.returncode = 0
        theirs.close()
        atexit.register(self._line.close)
        return self._line


NURSERY = Nursery()
_SIGNATURE = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]
#: What a fork cannot have.
_ORDINARY = ("preexec_fn", "pass_fds", "shell", "start_new_session", "executable", "gids")


class Popen(subprocess.Popen):  # type: ignore[type-arg]
    """A process as ``subprocess`` has it; a command of the product is forked."""

    _status: int | None = None

    def _execute_child(self, *values: Any) -> None:
        values_by_name = _SIGNATURE.bind(self, *values).arguments
        args, environment = values_by_name["args"], values_by_name["env"]
        environment = dict(os.environ if environment is None else environment)
        ordinary = (
            any(values_by_name.get(name) for name in _ORDINARY)
            or isinstance(args, (str, bytes, os.PathLike))
            or list(args[:2]) != [sys.executable, "-m"]
            or args[2] not in PROGRAMS
            or early(environment) != (NURSERY.early or early(dict(os.environ)))
        )
        if ordinary:
            super()._execute_child(*values)  # type: ignore[misc]
            return
        # Standard input, output and errors: -1 is that of this process.
        files = [
            number if values_by_name[name] == -1 else values_by_name[name]
            for number, name in enumerate(("p2cread", "c2pwrite", "errwrite"))
        ]
        folder = os.fspath(values_by_name["cwd"] or Path.cwd())
        try:
            self.pid, self._status = NURSERY.fork(args[2:], environment, folder, files)
            self._child_created = True
        finally:
            pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            self._close_pipe_fds(*(values_by_name[name] for name in pipes))  # type: ignore[attr-defined]

    def _read_status(self, timeout: float | None) -> int | None:
        if self.returncode is None and self._status is not None:
            ended = select.poll()
            ended.register(self._status, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                return None
            with self._waitpid_lock:  # type: ignore[attr-defined]
                if self.returncode is None:
                    word = os.read(self._status, 16)
                    os.close(self._status)
                    # Nothing: the process that forks was killed, and the status with it.
                    self.returncode = int(word) if word else -signal.SIGKILL
        return self.returncode

    def _internal_poll(self, *arguments: Any, **options: Any) -> int | None:
        if self._status is None:
            return super()._internal_poll(*arguments, **options)  # type: ignore[misc, no-any-return]
        return self._read_status(0)

    def _wait(self, timeout: float | None) -> int:
        if self._status is None:
            return super()._wait(timeout=timeout)  # type: ignore[misc, no-any-return]
        code = self._read_status(timeout)
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code


def run(
    args: Sequence[str],
    *,
    input: Any = None,  # noqa: A002 - the name that subprocess.run has
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """``subprocess.run`` with a ``Popen`` of this module."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options["stdout"] = options["stderr"] = subprocess.PIPE
    with Popen(args, **options) as process:
        try:
            out, errors = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
    done = subprocess.CompletedProcess(args, process.returncode, out, errors)
    if check:
        done.check_returncode()
    return done


def _load() -> None:
    for name in (*(f"{program}.__main__" for program in PROGRAMS), *LATER):
        importlib.import_module(name)
    from sampler import metrics

    metrics.load_compiled(lambda done, total: None)


def _serve_forks(line: socket.socket) -> tuple[list[str], dict[str, str], str, list[int]]:
    """Fork a child for each order; return in the child, with what it is to do."""
    ended, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    #: Process → where its exit status is written.
    running: dict[int, int] = {}
    while True:
        ready = select.select([line, ended], [], [])[0]
        if ended in ready:
            os.read(ended, 4096)
            for pid in list(running):
                number, status = os.waitpid(pid, os.WNOHANG)
                if number:
                    code = str(os.waitstatus_to_exitcode(status)).encode()
                    # Whoever has started it may be gone.
                    with suppress(BrokenPipeError):
                        os.write(running[pid], code)
                    os.close(running.pop(pid))
        if line in ready:
            head, files, _, _ = socket.recv_fds(line, 8, 4)
            if not head:
                raise SystemExit(0)
            order = line.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
            with warnings.catch_warnings():
                # Libraries have idle threads of their own; none is in use here.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                words, environment, cwd = json.loads(order.decode("utf-8", "surrogateescape"))
                return words, environment, cwd, files[:3]
            *standard, running[pid] = files
            for number in standard:
                os.close(number)
            line.sendall(pid.to_bytes(8, "big"))


def main() -> None:
    """Wait for orders. In each child: become the command, as if an interpreter had begun with it."""
    line = socket.socket(fileno=int(sys.argv[1]))
    # Ctrl-C is for the tests; this ends when they have.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _load()
    gc.collect()
    gc.freeze()
    words, environment, cwd, files = _serve_forks(line)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    line.detach()
    for standard, number in enumerate(files):
        os.dup2(number, standard)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(cwd)
    sys.argv = ["", *words[1:]]
    del sys.modules[f"{words[0]}.__main__"]
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
