"""Run work on processes of this machine or on a Dask cluster, and take results as they come."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from storage.errors import FlowError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

#: How long a Dask scheduler may take to answer. [s]
_SCHEDULER_TIMEOUT = 5
_ADDRESS = re.compile(r"(tcp|tls)://\S+:[0-9]+")
#: How often an item is given to another Dask worker after its own has died or failed.
_RETRIES = 2


#: Pools that an exception has ended.
_ended: list[Executor] = []


class _Pool(ProcessPoolExecutor):
    """A pool whose processes never see the terminal's Ctrl-C, also while they load their modules.

    A terminal sends it to them as well. The pool would take their end for a fault.
    """

    def submit(self, work: Callable[..., Any], /, *values: Any, **named: Any) -> Future[Any]:
        """Submit work. The first call starts the processes, which inherit what is blocked."""
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(work, *values, **named)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextmanager
def process_pool(jobs: int) -> Iterator[Executor]:
    """Open a pool of processes on this machine.

    When the block is left by an exception the processes are terminated at once. Work in the
    middle of a transaction leaves nothing half written.

    Parameters
    ----------
    jobs : how many processes.

    Yields
    ------
    Executor
        The pool; it ends with the block.
    """
    pool = _Pool(
        # Spawned, because a forked process would share this one's connections and locks.
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_prepare_process,
    )
    try:
        yield pool
    except BaseException:
        # The pool's thread wakes later, and forgets the cancelled work only if the pool is there
        # still. Else it takes the processes' end for a fault, and prints a traceback.
        _ended.append(pool)
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    pool.shutdown()


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """Connect to the workers of a Dask scheduler.

    Parameters
    ----------
    address : of the scheduler, e.g. ``tcp://scheduler:8786``.

    Yields
    ------
    Executor
        An executor that runs work on the scheduler's workers; it closes with the block.

    Raises
    ------
    UsageError
        If the address has another form, Dask is not installed, or no scheduler answers there.
    """
    if not _ADDRESS.fullmatch(address):
        raise UsageError(f"--dask: {address!r} is not an address such as tcp://scheduler:8786")
    try:
        import distributed
    except ImportError as error:
        raise UsageError(
            "--dask: Dask is not installed; run pip install 'zerodte-flow[dask]'"
        ) from error
    # Dask logs a lost worker with a traceback. ``map_unordered`` raises a sentence instead.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    # Dask's functions are only partly annotated.
    connect: Any = distributed.Client
    try:
        client = connect(address, timeout=_SCHEDULER_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"--dask: no scheduler answers at {address}: {error}") from error
    try:
        yield client.get_executor(pure=False, retries=_RETRIES)
    finally:
        client.close()


async def map_unordered(
    executor: Executor, work: Callable[[Item], Result], items: Sequence[Item]
) -> AsyncGenerator[Result, None]:
    """Yield the result of each item as it comes, in any order.

    Parameters
    ----------
    executor : runs the work.
    work : called with an item, in another process.
    items : what to work on.

    Yields
    ------
    Result
        What ``work`` returned for an item.

    Raises
    ------
    FlowError
        What ``work`` raised, or a sentence about a worker that died. The first error cancels all
        items that are left.
    """
    futures = [asyncio.wrap_future(executor.submit(work, item)) for item in items]
    try:
        for done in asyncio.as_completed(futures):
            try:
                yield await done
            except FlowError:
                raise
            except (BrokenProcessPool, CancelledError) as error:
                raise FlowError(
                    "a worker process died, perhaps for lack of memory; what it stored stays."
                    " Run the command again, or with fewer --jobs"
                ) from error
            except Exception as error:
                raise FlowError(f"a worker failed: {type(error).__name__}: {error}") from error
    finally:
        for future in futures:
            future.cancel()
        # Wait for the cancelled ones, so that no exception is reported as never retrieved.
        await asyncio.gather(*futures, return_exceptions=True)


def _prepare_process() -> None:
    """Let SIGTERM or the end of the parent process, but not SIGINT, end this process silently."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent: Any = multiprocessing.parent_process()

    def exit_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()
