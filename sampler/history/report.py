"""What a backfill tells: a line a session, how far it is, and what came of it all."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress

from sampler.history.backfill import Filled
from sampler.history.diff import Shifts
from sampler.history.jobs import Task
from sampler.history.progress import Progress


async def follow(
    done: AsyncGenerator[Filled, None], todo: Sequence[Task], *, period: str, dry_run: bool
) -> int:
    """Print results as they come, and the sum; the exit status: 1 if it was interrupted."""
    sizes = {(task.symbol, task.day): task.slots for task in todo}
    progress = Progress(sum(sizes.values()), sys.stderr)
    results: list[Filled] = []
    _end_as_by_hand()
    try:
        async with aclosing(done):
            async for filled in done:
                progress.clear()
                if filled.frames:
                    results.append(filled)
                    _tell(filled, dry_run=dry_run)
                progress.advance(sizes[filled.symbol, filled.day])
    except asyncio.CancelledError:
        progress.clear()
        print(
            f"flow-sampler: interrupted after {len(results)} of {len(todo)} sessions; what was"
            " written stays, a second run goes on from there",
            file=sys.stderr,
        )
        return 1
    finally:
        progress.clear()
    _sum_up(results, todo, period=period, dry_run=dry_run)
    return 0


def _end_as_by_hand() -> None:
    """Have SIGTERM end the command as Ctrl-C does."""
    task = asyncio.current_task()
    if task is not None:
        # Not possible outside the main thread.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _tell(filled: Filled, *, dry_run: bool) -> None:
    parts = []
    if filled.shifts.records and not filled.written:
        verb = "would be rewritten" if dry_run else "rewritten"
        parts += [
            f"{filled.shifts.records} rows",
            f"{filled.rewritten or filled.shifts.changed} {verb}",
        ]
    else:
        parts += [f"{filled.written} written", f"{filled.there_already} there already"]
        parts += [f"{filled.rewritten} rewritten"] if filled.rewritten else []
    parts += [f"{n} {why}" for why, n in sorted(filled.refused.items())]
    print(f"{filled.symbol} {filled.day}: {', '.join(parts)}", flush=True)
    for detail in filled.details:
        print(f"  refused: {detail}", flush=True)


def _sum_up(results: Sequence[Filled], todo: Sequence[Task], *, period: str, dry_run: bool) -> None:
    written = sum(f.written for f in results)
    there = sum(f.there_already for f in results)
    rewritten = sum(f.rewritten for f in results)
    refused = sum(f.refused.total() for f in results)
    if not results:
        print(_nothing(todo, period))
        return
    verdict = "" if written or rewritten else "; nothing changed"
    if not todo[0].order.source:
        shifts = Shifts()
        for filled in results:
            shifts.add(filled.shifts)
        verb = "would be rewritten" if dry_run else "rewritten"
        print(f"{shifts.records} rows measured again, {rewritten} {verb}{verdict}")
        print("\n".join(shifts.tell()), end="\n" if shifts.fields else "")
        return
    again = f", {rewritten} rewritten" if rewritten else ""
    print(
        f"{written} rows written{again}, {there} there already, {refused} frames refused{verdict}"
    )


def _nothing(todo: Sequence[Task], period: str) -> str:
    if not todo:
        return f"nothing to do from {period}"
    symbols = ", ".join(dict.fromkeys(task.symbol for task in todo))
    return f"the source has nothing for {symbols} from {period}"
