"""Print the results of a backfill: a line a session, the progress, and the totals."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import TextIO

from sampler.history.backfill import BackfillResult
from sampler.history.diff import DiffSummary
from sampler.history.jobs import SessionJob

_ERASE = "\r\x1b[K"


async def report_results(
    done: AsyncGenerator[BackfillResult, None],
    jobs: Sequence[SessionJob],
    *,
    period: str,
    dry_run: bool,
) -> int:
    """Print each result as it comes, and the totals at the end.

    Parameters
    ----------
    done : the results.
    jobs : what was planned; the progress line counts their slots.
    period : the days of the run, as text.
    dry_run : whether nothing is stored.

    Returns
    -------
    int
        The exit status: 1 if the run was interrupted, else 0.
    """
    sizes = {(job.symbol, job.day): job.slots for job in jobs}
    progress = Progress(sum(sizes.values()), sys.stderr)
    results: list[BackfillResult] = []
    _cancel_on_sigterm()
    try:
        async with aclosing(done):
            async for result in done:
                progress.clear()
                if result.frames:
                    results.append(result)
                    _print_result(result, dry_run=dry_run)
                progress.advance(sizes[result.symbol, result.day])
    except asyncio.CancelledError:
        progress.clear()
        print(
            f"flow-sampler: interrupted after {len(results)} of {len(jobs)} sessions; what was"
            " written stays, and a second run continues there",
            file=sys.stderr,
        )
        return 1
    finally:
        progress.clear()
    _print_sum(results, jobs, period=period, dry_run=dry_run)
    return 0


def _cancel_on_sigterm() -> None:
    """Let SIGTERM interrupt the command as Ctrl-C does."""
    task = asyncio.current_task()
    if task is not None:
        # Signal handlers can only be set in the main thread.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _print_result(result: BackfillResult, *, dry_run: bool) -> None:
    parts = []
    if result.diff.records and not result.written:
        verb = "would be rewritten" if dry_run else "rewritten"
        parts += [
            f"{result.diff.records} rows",
            f"{result.rewritten or result.diff.changed} {verb}",
        ]
    else:
        parts += [f"{result.written} written", f"{result.already_there} there already"]
        parts += [f"{result.rewritten} rewritten"] if result.rewritten else []
    parts += [f"{n} refused ({reason})" for reason, n in sorted(result.refused.items())]
    print(f"{result.symbol} {result.day}: {', '.join(parts)}", flush=True)
    for detail in result.details:
        print(f"  refused: {detail}", flush=True)


def _print_sum(
    results: Sequence[BackfillResult], jobs: Sequence[SessionJob], *, period: str, dry_run: bool
) -> None:
    written = sum(result.written for result in results)
    there = sum(result.already_there for result in results)
    rewritten = sum(result.rewritten for result in results)
    refused = sum(result.refused.total() for result in results)
    if not results:
        print(_nothing(jobs, period))
        return
    verdict = "" if written or rewritten else "; nothing changed"
    if not jobs[0].options.source:
        diff = DiffSummary()
        for result in results:
            diff.add(result.diff)
        verb = "would be rewritten" if dry_run else "rewritten"
        print(f"{diff.records} rows measured again, {rewritten} {verb}{verdict}")
        print("\n".join(diff.table_lines()), end="\n" if diff.fields else "")
        return
    changed = f", {rewritten} rewritten" if rewritten else ""
    print(
        f"{written} rows written{changed}, {there} there already, {refused} frames refused{verdict}"
    )


def _nothing(jobs: Sequence[SessionJob], period: str) -> str:
    if not jobs:
        return f"nothing to do in {period}"
    symbols = ", ".join(dict.fromkeys(job.symbol for job in jobs))
    return f"the source has no frames of {symbols} in {period}"


class Progress:
    """A progress line on a terminal; nothing is written to a file or a pipe."""

    def __init__(
        self,
        total: int,
        stream: TextIO,
        *,
        what: str = "slots",
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin at 0.

        Parameters
        ----------
        total : how much there is to do, in the unit of ``advance``.
        stream : where the line goes.
        what : the unit's name.
        seconds : a monotonic clock. [s]
        """
        self._total = max(total, 1)
        self._done = 0
        self._what = what
        self._stream = stream if stream.isatty() else None
        self._seconds = seconds
        self._since = seconds()

    def advance(self, amount: int) -> None:
        """Add to what is done, and show the line.

        Parameters
        ----------
        amount : how many slots were done since the last call.
        """
        self._done += amount
        if self._stream is not None:
            self._stream.write(_ERASE + self.line())
            self._stream.flush()

    def clear(self) -> None:
        """Erase the line, so that other output can take its place."""
        if self._stream is not None:
            self._stream.write(_ERASE)
            self._stream.flush()

    def line(self) -> str:
        """Return the line: percentage, amount, rate and time left."""
        took = max(self._seconds() - self._since, 1e-9)
        done = min(self._done, self._total)
        text = f"{done / self._total:4.0%}  {done:,} of {self._total:,} {self._what}"
        if not done:
            return text
        left = took / done * (self._total - done)
        return f"{text}, {self._done / took:,.0f} a second, {_duration(left)} left"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
