"""The same work on this machine's processes, or on a Dask cluster: distributed's one home."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from storage.errors import FlowError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Seconds that a scheduler may take to answer.
_SCHEDULER_TIMEOUT = 5
_ADDRESS = re.compile(r"(tcp|tls)://\S+:[0-9]+")
#: How often a item is given to another worker when its own has died or failed.
_RETRIES = 2


@contextmanager
def process_pool(jobs: int) -> Iterator[Executor]:
    """So many processes; when the block is left early, they end at once.

    That is safe: a transaction is whole or not at all.
    """
    pool = ProcessPoolExecutor(
        # A fork would share connections and locks of this process.
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_prepare_process,
    )
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    pool.shutdown()


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """The workers of a Dask scheduler, e.g. ``tcp://scheduler:8786``.

    Raises
    ------
    UsageError
        If that is no address, Dask is not installed, or no scheduler answers there.
    """
    if not _ADDRESS.fullmatch(address):
        raise UsageError(f"--dask: {address!r} is no address such as tcp://scheduler:8786")
    try:
        import distributed
    except ImportError as error:
        raise UsageError("--dask: needs pip install 'zerodte-flow[dask]'") from error
    # What goes wrong is told by us, in a sentence.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    # Its types are partly there.
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
    """Results as they come, in whatever order. The first error ends the rest.

    Raises
    ------
    FlowError
        What the work raised, or that a worker is gone.
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
                    "a worker process is gone (out of memory?); what was written stays: run it"
                    " again, or with fewer --jobs"
                ) from error
            except Exception as error:
                raise FlowError(f"a worker failed: {type(error).__name__}: {error}") from error
    finally:
        for future in futures:
            future.cancel()
        # Nobody asks for what the others came to.
        await asyncio.gather(*futures, return_exceptions=True)


def _prepare_process() -> None:
    """In each process: a signal ends it without a trace, and so does the end of who started it."""
    for told_to_go in (signal.SIGINT, signal.SIGTERM):
        signal.signal(told_to_go, signal.SIG_DFL)
    parent: Any = multiprocessing.parent_process()

    def leave() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()
