"""``make run``: the whole product on this machine, until Ctrl-C.

It starts the embedded servers, unless FLOW_DATABASE_URL and FLOW_REDIS_URL name others. It chooses
a source, unless FLOW_SOURCE names one: a vendor whose keys are set, else the free delayed feed,
else the simulated market. Then it runs the sampler and the API as in production. A simulated market
begins when all parts are ready, so that a slow machine does not lose its first minutes. Until then
the page shows the session that comes with the package, where nothing else is stored. Behind a new
market stands a whole day: the session before is filled and scored while the first one runs.
"""

from __future__ import annotations

from storage.config.loading import finish_loading  # first: Ctrl-C is silent while the rest loads

# isort: split
import argparse
import asyncio
import os
import shlex
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock, Thread
from typing import TextIO, cast

import honcho.manager
from honcho.printer import Printer
from part import API_FIRST, BEGUN, begin, ready

from api.http.listening import bound_socket
from storage.config.log import LossyFile
from storage.config.running import note_running, note_stopped, stopped_clock
from storage.config.settings import Settings
from storage.config.source_url import is_simulated
from storage.doctor.ports import process_of_product
from storage.embedded import attach as embedded
from storage.errors import FlowError, UsageError
from storage.market.calendar import (
    last_session,
    market_day,
    session_on,
    to_new_york,
    use_overrides,
)
from storage.market.clock import Clock
from storage.market.constants import GRID_SECONDS
from storage.opening import REAL, SYNTHETIC, connect
from storage.parquet import example_day
from storage.postgres.store import Store

finish_loading()

#: Speed of the simulated market: a session takes six and a half minutes.
SPEED = 60
#: Wall time until the simulated market begins, once the parts are loaded: they connect meanwhile.
HEAD_START = timedelta(seconds=3)
#: Market time by which a simulated session has its first sample.
FIRST_SAMPLE = timedelta(minutes=2)
#: No feed's quotes are older than this while its market is open.
LATEST_FEED = timedelta(hours=1)
CLOSED = "the market is closed"
SYNTHETIC_SOURCE = f"synthetic:?seed={example_day.SEED}"


def main() -> int:
    """Run everything; 0 after Ctrl-C."""
    # Whoever reads its lines may be gone (``make run | head``): it goes on, and can be stopped.
    sys.stdout = cast("TextIO", LossyFile(sys.stdout))
    # It takes no arguments, and starts nothing where it is given some; --help says what it does.
    argparse.ArgumentParser(
        prog="deploy/run.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        return _run()
    except UsageError as error:
        print(f"make run: {error}", file=sys.stderr)
        return 2
    except FlowError as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _run() -> int:
    settings = Settings.read(os.environ)
    use_overrides(settings.calendar_overrides)
    _require_free_port(settings)
    try:
        return _run_all(settings)
    except UsageError:
        raise
    except FlowError as error:
        print(f"make run: {error}", file=sys.stderr)
        _examine(dict(os.environ))
        return 1


def _require_free_port(settings: Settings) -> None:
    """Refuse a port that is taken, before anything is started."""
    try:
        with bound_socket(settings.host, settings.port):
            return
    except UsageError:
        raise
    except FlowError as error:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            free = probe.getsockname()[1]
        process = process_of_product(settings.host, settings.port)
        if process is not None:
            raise UsageError(
                f"it runs already at http://{settings.host}:{settings.port}/"
                f"{f' {process}' if process else ''}; nothing was started. Use that one, or stop"
                " it with Ctrl-C in its terminal. A second one needs a port and a data folder"
                f" of its own: FLOW_PORT={free} FLOW_DATA_DIR={settings.data_dir}-2 make run"
            ) from error
        sentence = str(error).partition(";")[0]
        raise UsageError(
            f"{sentence}; nothing was started. Stop that program, or choose another port:"
            f" FLOW_PORT={free} make run"
        ) from error


def _examine(environment: dict[str, str]) -> None:
    """Print what the doctor finds wrong."""
    _print("what flow-store doctor finds wrong:")
    command = [sys.executable, "-m", "storage", "doctor", "--after-failure", "--no-source"]
    folder = Path(__file__).resolve().parents[1]
    try:
        subprocess.run(command, env=environment, cwd=folder, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        _print("the doctor has not finished in two minutes")


def _run_all(settings: Settings) -> int:
    with ExitStack() as stack:
        if not (settings.database_url and settings.redis_url):
            _print(f"starting PostgreSQL and Valkey, data in {settings.data_dir}")
            # While the servers start, the calendar is loaded, which takes half a second.
            Thread(target=last_session, args=(datetime.now(UTC),), daemon=True).start()
            # Closed last, so that the command returns after both servers have stopped.
            stack.enter_context(embedded.attach(settings.data_dir, wait=True))
        chosen = asyncio.run(_choose_environment(settings))
        where = f"http://{settings.host}:{settings.port}"
        _print(f"page    {where}/")
        _print(f"API     {where}/v1/flow/zero-dte/series/{settings.symbols[0]}   docs {where}/docs")
        _print("Ctrl-C stops everything")
        # Seconds that a tick in progress may take to finish. honcho's default would kill it.
        honcho.manager.KILL_WAIT = 30
        manager = honcho.manager.Manager(Printer(sys.stdout))
        embedded_database = not settings.database_url
        address = {"FLOW_HOST": settings.host, "FLOW_PORT": str(settings.port)}
        environment = dict(os.environ) | chosen | address | {"PYTHONUNBUFFERED": "1"}
        folder = str(Path(__file__).resolve().parents[1])
        parts = {
            "sampler": ("sampler", "run"),
            "api": ("api", "serve"),
            # The simulated market fills the disk sixty times as fast as a real one.
            "upkeep": ("storage", "prune --every 600"),
        }
        market = None
        folder_to_wait_in = "-"
        if chosen["FLOW_DATASET"] == SYNTHETIC and "FLOW_CLOCK" not in chosen:
            waiting = Path(stack.enter_context(TemporaryDirectory(prefix="flow-start-")))
            folder_to_wait_in = str(waiting)
            resume, first = asyncio.run(_prepare_market(settings, chosen["FLOW_SOURCE"]))
            environment["FLOW_CLOCK"] = str(Clock(resume, SPEED, anchor_file=waiting / BEGUN))
            if embedded_database:
                # In a second terminal its time stands, until it begins.
                _note_running(settings, SYNTHETIC, stopped_clock(resume))
            if first:
                (waiting / API_FIRST).touch()
            yesterday = Yesterday(last_session(resume).day, environment) if first else None
            if yesterday is not None:
                stack.callback(yesterday.stop)
            market = Thread(
                target=_begin_market, args=(settings, waiting, resume, yesterday), daemon=True
            )
        elif embedded_database:
            _note_running(settings, chosen["FLOW_DATASET"], settings.clock)
        for name, (program, arguments) in parts.items():
            start = shlex.join(_part(folder_to_wait_in, program))
            command = f"exec {start} {arguments}"
            manager.add_process(name, command, env=environment, cwd=folder)
        if market is not None:
            market.start()
        manager.loop()
        stopped = manager.returncode in (0, 130, 143)
        if not stopped:
            # While the servers still run, so that they are examined too.
            _examine(environment)
        if embedded_database:
            note_stopped(settings.data_dir)
        _print("stopping the database and the live channel")
    _print("stopped" if stopped else "a process has failed; see above")
    return 0 if stopped else 1


def _part(folder: str, program: str) -> list[str]:
    """Return the words that start a program as a part of this process: it ends with it."""
    return [sys.executable, "deploy/part.py", str(os.getpid()), folder, program]


class Yesterday:
    """The session before a new simulated market's first one: filled and scored beside the market.

    The commands have a lower priority than the sampler, whose slots come twice a second.
    """

    def __init__(self, day: date, environment: dict[str, str]) -> None:
        self._days = ["--from", f"{day}", "--to", f"{day}"]
        self._environment = environment
        self._lock = Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def fill(self, clock: Clock) -> None:
        """Fill the session and score it. Return early once it is stopped, or a command has failed.

        Parameters
        ----------
        clock : the simulated market's clock.
        """
        environment = self._environment | {"FLOW_CLOCK": str(clock), "FLOW_LOG_LEVEL": "error"}
        folder = Path(__file__).resolve().parents[1]
        for command in ("backfill", "score"):
            with self._lock:
                if self._stopped:
                    return
                self._running = subprocess.Popen(
                    ["nice", "-n", "10", *_part("-", "sampler"), command, *self._days],
                    env=environment,
                    cwd=folder,
                    stdout=subprocess.DEVNULL,
                )
            if self._running.wait() != 0:
                if not self._stopped:
                    _print(f"the simulated day before is not whole: flow-sampler {command} failed")
                return
        _print(f"the simulated day before, {self._days[1]}, is stored and scored")

    def stop(self) -> None:
        """End the command that runs, and start no other."""
        with self._lock:
            self._stopped = True
            if self._running is not None and self._running.poll() is None:
                self._running.terminate()
                self._running.wait()


def _begin_market(
    settings: Settings, folder: Path, start: datetime, yesterday: Yesterday | None
) -> None:
    """Wait until the parts are ready, let the simulated market begin, and fill the day before."""
    while not ready(folder, ["sampler", "api"]):
        time.sleep(0.02)
    anchor = datetime.now(UTC) + HEAD_START
    clock = Clock(start, SPEED, anchor)
    if not settings.database_url:
        _note_running(settings, SYNTHETIC, clock)
    _print(f"SIMULATED MARKET: made-up prices, {clock.speed:g} times as fast as real ones,")
    _print(f"  from {to_new_york(start):%Y-%m-%d %H:%M} New York; kept apart from real rows")
    begin(folder, anchor)
    if yesterday is not None:
        # Today's first sample comes first, so that the page goes on with today.
        while clock.now() < start + FIRST_SAMPLE:
            time.sleep(0.1)
        yesterday.fill(clock)


def _note_running(settings: Settings, dataset: str, clock: Clock) -> None:
    note_running(
        settings.data_dir,
        dataset=dataset,
        clock=clock,
        port=settings.port,
        metrics_port=settings.metrics_port,
    )


def _print(sentence: str) -> None:
    print(f"zerodte-flow: {sentence}", flush=True)


async def _choose_environment(settings: Settings) -> dict[str, str]:
    """Choose source, clock and dataset; the environment of both processes."""
    source = settings.source or "auto"
    if source == "auto":
        source, why = await _choose_source(settings, datetime.now(UTC))
        _print(f"source: {source.partition(':')[0]}, because {why}")
    else:
        _print(f"source: {source}")
    chosen = {"FLOW_SOURCE": source, "FLOW_LOG": os.environ.get("FLOW_LOG", "console")}
    if not is_simulated(source):
        return chosen | {"FLOW_DATASET": REAL}
    chosen |= {"FLOW_DATASET": SYNTHETIC}
    clock = settings.clock
    if not clock.simulated and "FLOW_CLOCK" not in os.environ:
        # Its clock is set when the parts are ready.
        return chosen
    _print(f"SIMULATED MARKET: made-up prices, {clock.speed:g} times as fast as real ones,")
    _print(f"  from {to_new_york(clock.now()):%Y-%m-%d %H:%M} New York; kept apart from real rows")
    return chosen | {"FLOW_CLOCK": str(clock)}


async def _choose_source(settings: Settings, now: datetime) -> tuple[str, str]:
    """Choose a vendor whose keys are set, else the free delayed feed, else the simulated market.

    A feed is chosen while its market is open and it answers. Returns the source and why.
    """
    today = session_on(market_day(now))
    if today is None or not today.open <= now < today.close + LATEST_FEED:
        # No feed is asked, so none is imported, which would take half a second.
        return SYNTHETIC_SOURCE, CLOSED
    from sampler.errors import ChainRefused
    from sampler.sources import SOURCES, open_source

    refusals = []
    for scheme in [*settings.keys.complete(), "cboe"]:
        if scheme not in SOURCES:
            continue
        try:
            source = open_source(f"{scheme}:", settings.keys)
        except UsageError as error:
            refusals.append(f"{scheme}: cannot be used: {error}")
            continue
        try:
            quoted = now - timedelta(seconds=source.delay_seconds)
            session = session_on(market_day(quoted))
            if session is None or not session.open <= quoted < session.close:
                continue
            await source.live(settings.symbols[0], now)
        except ChainRefused as refused:
            refusals.append(f"{scheme}: cannot be used here: {refused}")
            continue
        finally:
            await source.close()
        key = "needs no key" if scheme == "cboe" else "has its keys set"
        late = f", its quotes are {source.delay_seconds // 60} minutes old"
        why = f"it {key}, and the market is open{late if source.delay_seconds else ''}"
        return f"{scheme}:", "; ".join([why, *refusals])
    return SYNTHETIC_SOURCE, "; ".join(refusals) or CLOSED


async def _prepare_market(settings: Settings, source: str) -> tuple[datetime, bool]:
    """Return when the simulated market goes on, and whether it has no row of its own so far.

    That is after its newest row; without one, before the open of the last session. Such a new
    market gets the session that comes with the package, as an earlier one of its own.
    """
    async with connect(settings, SYNTHETIC, live=False) as connections:
        newest = await connections.store.newest_slot()
        if newest is not None and market_day(newest) != example_day.DAY:
            return newest + timedelta(seconds=GRID_SECONDS - 1), False
        start = last_session(datetime.now(UTC)).open - timedelta(seconds=1)
        # Only a session that this market continues: of its seed and its symbols, and earlier.
        if (
            source == SYNTHETIC_SOURCE
            and example_day.SYMBOL in settings.symbols
            and last_session(start).day > example_day.DAY
        ):
            await _store_example(connections.store)
        return start, True


async def _store_example(store: Store) -> None:
    name = f"{example_day.SYMBOL}'s simulated session of {example_day.DAY}"
    try:
        await example_day.store_example(store, SYNTHETIC)
    except FlowError as error:
        _print(f"{name} cannot be shown meanwhile: {error}")
    else:
        _print(f"the page shows {name}, which comes with the program, until today's begins")


if __name__ == "__main__":
    sys.exit(main())
