"""Check the product itself: its source, its keys, its last sessions, its retention."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from storage.config.settings import Settings
from storage.doctor.finding import Finding, fail, ok, warn
from storage.errors import RightMissing, UsageError
from storage.market.calendar import market_day, session_on
from storage.notify.rules_file import RulesFile
from storage.notify.target import configured_targets
from storage.opening import product_clock
from storage.postgres.coverage import FAILING_STATES, assess_coverage
from storage.postgres.retention import RetentionReport
from storage.postgres.store import Store

#: How long the source may take for a chain, with the start of a process and its compilation. [s]
_SOURCE_SECONDS = 90.0
#: Reasons that say nothing against a source: the market is closed, or nothing is new.
_CALM = frozenset({
    "before_open", "after_close", "market_closed", "not_open", "unchanged", "no_zero_dte", "stale",
})  # fmt: skip
#: Those of quotes that are of another time than now.
_OLD_QUOTES = frozenset({"before_open", "after_close", "market_closed", "stale"})
#: For so long after the open quotes of a delayed feed may be of before it.
_LONGEST_DELAY = timedelta(minutes=20)
#: How far back sessions are judged.
_LOOK_BACK = timedelta(days=7)
#: A key that ends sooner is announced.
_KEY_ENDS = timedelta(days=14)


async def check_source(settings: Settings, environment: Mapping[str, str]) -> Finding:
    """Ask the source for one chain, as the sampler does, and store nothing.

    Parameters
    ----------
    settings : the source and the symbols.
    environment : the process's environment, with the vendors' keys.

    Returns
    -------
    Finding
        What was seen.
    """
    if settings.source in ("", "auto"):
        return warn("source", "no source is named", "set FLOW_SOURCE; see flow-sampler sources")
    symbol = settings.symbols[0]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sampler", "once", "--dry-run", "--json", "--symbols", symbol),
        env={**environment, "FLOW_SOURCE": settings.source},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_SOURCE_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return fail("source", f"no chain within {_SOURCE_SECONDS:g} s", "look at the network")
    try:
        answer = orjson.loads(out.splitlines()[-1])
    except (orjson.JSONDecodeError, IndexError):
        words = err.decode(errors="replace").strip().splitlines()
        sentence = words[-1].removeprefix("flow-sampler: ") if words else "it has said nothing"
        return fail("source", sentence, "correct FLOW_SOURCE or the vendor's key (docs/sources.md)")
    if "reason" in answer:
        sentence = f"{symbol}: {answer['message']}"
        if answer["reason"] in _OLD_QUOTES and _is_under_way(product_clock(settings).now()):
            advice = "the market is open: look at the vendor, its plan, and this machine's clock"
            return warn("source", sentence, advice)
        if answer["reason"] in _CALM:
            return ok("source", f"it answers; {sentence}")
        return fail("source", sentence, "docs/operations.md has what to do for each reason")
    age, delay = answer["quote_age_seconds"], answer["delay_seconds"]
    shown = f"{answer['source']}: {symbol} at {answer['spot']:g}, quotes {age:.0f} s old"
    if age > delay + 120:
        advice = "look at the vendor's plan and at this machine's clock"
        return warn("source", f"{shown}, {delay} s declared", advice)
    return ok("source", f"{shown}, {delay} s declared")


def _is_under_way(now: datetime) -> bool:
    """Say whether a session runs, and every feed should have quotes of it."""
    session = session_on(market_day(now))
    return session is not None and session.open + _LONGEST_DELAY <= now < session.close


async def check_keys(store: Store, now: datetime, *, required: bool) -> Finding:
    """Check the API's keys.

    Parameters
    ----------
    store : the dataset's store.
    now : the present, UTC.
    required : whether the API's address requires keys.

    Returns
    -------
    Finding
        What was seen.
    """
    try:
        keys = [key for key in await store.keys.all() if key.valid(now)]
    except RightMissing:
        # The sampler's role, as flow-store grants makes it.
        shown = "this role may not read them; the API's role and the tables' owner can check them"
        return ok("keys", shown)
    if not required:
        return ok("keys", f"the API is open on loopback; {len(keys)} keys are in force")
    if not keys:
        advice = "make one: flow-api keys create --name NAME --plan PLAN"
        return fail("keys", "the API requires keys, and none is in force", advice)
    ending = sorted(k.name for k in keys if k.expires_at and k.expires_at < now + _KEY_ENDS)
    if ending:
        advice = "rotate them: flow-api keys rotate NAME"
        return warn("keys", f"these keys end within two weeks: {', '.join(ending)}", advice)
    return ok("keys", f"{len(keys)} keys are in force")


async def check_coverage(store: Store, settings: Settings, now: datetime) -> Finding:
    """Check how complete the last sessions are.

    Parameters
    ----------
    store : the dataset's store.
    settings : the symbols, and the coverage below which a session is thin.
    now : the market's time, UTC.

    Returns
    -------
    Finding
        What was seen.
    """
    last = market_day(now)
    first = last - _LOOK_BACK
    counts = await store.coverage(first, last, settings.symbols)
    lines = assess_coverage(
        counts,
        first=first,
        last=last,
        now=now,
        symbols=settings.symbols,
        least=settings.min_coverage,
    )
    if not counts:
        return warn("coverage", f"nothing is stored since {first}", "start the sampler")
    bad = [line for line in lines if line.state in FAILING_STATES]
    if bad:
        shown = f"{len(bad)} of {len(lines)} sessions since {first} are thin or missing"
        advice = "flow-store check names the reasons; backfill --missing if your feed has history"
        return warn("coverage", shown, advice)
    return ok("coverage", f"{len(lines)} sessions since {first}, each complete enough")


async def check_rules(path: Path | None) -> Finding:
    """Check the file with the rules of market events.

    Parameters
    ----------
    path : ``FLOW_ALERT_RULES``; None for the built-in rules.

    Returns
    -------
    Finding
        What was seen.
    """
    file = RulesFile(path)
    await file.refresh()
    if file.problem:
        advice = "correct it; docs/alerts.md has the kinds and their numbers"
        return fail("rules", file.problem.removeprefix("FLOW_ALERT_RULES: "), advice)
    where = "built in" if path is None else f"in {path}"
    return ok("rules", f"{len(file.rules)} rules of market events are {where}")


def check_targets(settings: Settings) -> Finding:
    """Check that each place where events are sent can be used; nothing is sent.

    Parameters
    ----------
    settings : the targets, and the file of the signature's key.

    Returns
    -------
    Finding
        What was seen.
    """
    try:
        targets = configured_targets(settings)
    except UsageError as error:
        return fail("notify", str(error), "correct it; then try it: flow-store notify --test")
    if not targets:
        return ok("notify", "events are sent nowhere; the log of alerts has them")
    names = ", ".join(dict.fromkeys(target.name for target in targets))
    return ok("notify", f"events are sent to {names}; flow-store notify --test tries it")


def check_retention(reports: Sequence[RetentionReport], overdue: Sequence[str]) -> Finding:
    """Check that old days were deleted as the settings of retention say.

    Parameters
    ----------
    reports : the tables with their sizes.
    overdue : tables that hold what should have been deleted some nights ago.

    Returns
    -------
    Finding
        What was seen.
    """
    shown = f"{sum(report.size for report in reports) / 1e6:,.0f} MB are stored"
    if overdue:
        sentence = f"{shown}; older than FLOW_KEEP_* allow: {', '.join(overdue)}"
        return warn("retention", sentence, "run flow-store prune each night")
    return ok("retention", f"{shown}, nothing older than FLOW_KEEP_* allow")
