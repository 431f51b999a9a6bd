"""The command line of the store: migrate, grants, check, doctor, tail, prune, settle, export."""

from __future__ import annotations

from storage.config.loading import finish_loading  # first: Ctrl-C is silent while the rest loads

# isort: split
import argparse
import asyncio
import dataclasses
import math
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson

from storage.changefeed import follow_changes
from storage.config.passwords import read_password
from storage.config.run import add_version, run_command
from storage.config.settings import Settings, add_options
from storage.doctor.examine import examine
from storage.doctor.finding import Finding, State, fail
from storage.errors import FlowError, StoreError, UsageError
from storage.market.calendar import market_day, session_on, to_new_york
from storage.market.clock import Clock
from storage.market.instruments import parse_symbol
from storage.notify.messenger import Messenger, shown_names
from storage.notify.notice import Notice
from storage.notify.notifier import deliver
from storage.notify.rules_file import RulesFile
from storage.notify.session_events import SessionEvents
from storage.notify.target import configured_targets
from storage.opening import (
    REAL,
    SYNTHETIC,
    Connections,
    connect,
    postgres_programs,
    product_clock,
    product_dataset,
    server_urls,
)
from storage.parquet import archive, example_day
from storage.postgres import retention
from storage.postgres.coverage import FAILING_STATES, assess_coverage
from storage.postgres.dump import restore_dump, write_dump
from storage.postgres.grants import ROLES, apply_grants, grant_statements
from storage.postgres.migrate import KEPT_TABLES, migrate

finish_loading()

#: The exit status after which systemd does not restart our units.
_WRONG_SETTING = "2"
#: For so long a unit that ends by itself is not told of again. [s]
_UNIT_QUIET = 900.0
#: Pauses between the attempts of ``notify``, which ends after the last one. [s]
_NOTIFY_PAUSES = (1.0, 3.0, 10.0)
_PARTS = ("database_url", "redis_url", "data_dir", "dataset", "log", "log_level")


def main(arguments: list[str] | None = None) -> int:
    """Run one command of ``flow-store``.

    Parameters
    ----------
    arguments : the command line without the program's name; None for that of this process.

    Returns
    -------
    int
        Exit status: 0 done, 1 failed, 2 wrong usage.
    """
    return run_command(_parser, arguments, os.environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flow-store",
        description="Look after the stored flow series: schema, coverage, size, dumps, export.",
    )
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    migrate = commands.add_parser("migrate", help="bring the schema of both datasets up to date")
    add_options(migrate, "compress_after", *_PARTS)
    migrate.set_defaults(command=_migrate)

    check = commands.add_parser(
        "check", help="print the coverage of each symbol and session; exit 1 if one is too thin"
    )
    check.add_argument(
        "--from", dest="first", metavar="D", help="first day, ISO (default: 30 days ago)"
    )
    check.add_argument("--to", dest="last", metavar="D", help="last day, ISO (default: today)")
    check.add_argument("--json", action="store_true", help="print one JSON array")
    check.add_argument("--all-symbols", action="store_true", help="not only FLOW_SYMBOLS")
    add_options(check, "symbols", "min_coverage", "clock", *_PARTS)
    check.set_defaults(command=_check)

    tail = commands.add_parser("tail", help="print each row as it is stored, as a line of JSON")
    add_options(tail, "symbols", *_PARTS)
    tail.set_defaults(command=_tail)

    prune = commands.add_parser(
        "prune", help="delete what is older than FLOW_KEEP_* days; print sizes"
    )
    prune.add_argument("--dry-run", action="store_true", help="delete nothing, print sizes only")
    prune.add_argument(
        "--forecast",
        action="store_true",
        help="delete nothing; print what a session adds, and the sizes in a year",
    )
    prune.add_argument("--every", type=_seconds, metavar="S", help="again every S seconds")
    prune.add_argument("--json", action="store_true", help="print one JSON array")
    add_options(prune, *(f"keep_{table}" for table in KEPT_TABLES), "disk_cap", *_PARTS)
    prune.set_defaults(command=_prune)

    export = commands.add_parser(
        "export", help="write rows, profiles, chains and gaps as Parquet files"
    )
    export.add_argument(
        "folder", type=Path, help="folder to write to; created if it does not exist"
    )
    export.add_argument("--from", dest="first", metavar="D", required=True, help="first day, ISO")
    export.add_argument("--to", dest="last", metavar="D", required=True, help="last day, ISO")
    add_options(export, "symbols", *_PARTS)
    export.set_defaults(command=_export)

    take_in = commands.add_parser(
        "import", help="store what export wrote; a second run changes nothing"
    )
    take_in.add_argument("folder", type=Path, help="folder that export wrote to")
    take_in.add_argument("--from", dest="first", metavar="D", help="first day, ISO (default: all)")
    take_in.add_argument("--to", dest="last", metavar="D", help="last day, ISO (default: all)")
    take_in.add_argument("--all-symbols", action="store_true", help="not only FLOW_SYMBOLS")
    add_options(take_in, "symbols", *_PARTS)
    take_in.set_defaults(command=_import)

    example = commands.add_parser(
        "example",
        help="store the simulated session of the package; a second run changes nothing",
    )
    add_options(example, *_PARTS)
    example.set_defaults(command=_example)

    backup = commands.add_parser(
        "backup", help="dump the whole database to a file; while the product runs, if need be"
    )
    backup.add_argument(
        "folder", type=Path, nargs="?", help="folder of dumps (default: FLOW_BACKUP_DIR)"
    )
    add_options(backup, *_PARTS)
    backup.set_defaults(command=_backup)

    restore = commands.add_parser("restore", help="restore a dump into an empty database")
    restore.add_argument("file", type=Path, help="what backup wrote")
    add_options(restore, *_PARTS)
    restore.set_defaults(command=_restore)

    grants = commands.add_parser(
        "grants", help="print the SQL of roles that may do what sampler, API and analysts do"
    )
    grants.add_argument(
        "--prefix", default="flow_", help="what the roles' names begin with (default: flow_)"
    )
    grants.add_argument(
        "--apply", action="store_true", help="run it too, as the role of FLOW_DATABASE_URL"
    )
    grants.add_argument(
        "--passwords",
        type=Path,
        metavar="FOLDER",
        help="with --apply: files sampler, api, analyst with the passwords to set; each may lack",
    )
    add_options(grants, *_PARTS)
    grants.set_defaults(command=_grants)

    doctor = commands.add_parser(
        "doctor",
        help="check settings, servers, source, disk, keys; say what is wrong and what to do",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON array")
    doctor.add_argument(
        "--no-source", action="store_true", help="do not ask the source for a chain"
    )
    doctor.add_argument(
        "--skip", metavar="CHECK", action="append", default=[], help="leave a check out"
    )
    doctor.add_argument(
        "--after-failure",
        action="store_true",
        help="print only what has failed; do nothing if systemd reports a clean stop",
    )
    add_options(doctor, "symbols", "source", "clock", "min_coverage", "backup_dir", *_PARTS)
    doctor.set_defaults(command=_doctor, explain=_explain_settings)

    notify = commands.add_parser(
        "notify",
        help="send an event to FLOW_NOTIFY's targets, once; or print what rules make of a session",
    )
    notify.add_argument("--test", action="store_true", help="send a test")
    notify.add_argument(
        "--unit",
        metavar="U[:RESULT]",
        help="say that systemd has given a unit up, or, with a result, that it ends and restarts",
    )
    notify.add_argument(
        "--session", metavar="D", help="print the market events of a stored session; send nothing"
    )
    notify.add_argument("--symbol", metavar="S", help="with --session: the symbol (default: all)")
    notify.add_argument(
        "--rules", metavar="FILE", help="with --session: the rules (default: FLOW_ALERT_RULES)"
    )
    notify.add_argument("--feed", metavar="NAME", help="with --session: the feed (default: shown)")
    notify.add_argument(
        "--json", action="store_true", help="with --session: a line of JSON an event"
    )
    add_options(notify, "source", "alert_rules", *_PARTS)
    notify.set_defaults(command=_notify, explain=_notify_of_settings)
    _add_settle(commands)
    return parser


def _add_settle(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    settle = commands.add_parser("settle", help="note the official close of a session")
    settle.add_argument("--symbol", required=True, metavar="SYMBOL", help="the underlying")
    settle.add_argument("--day", required=True, metavar="D", help="the session, ISO")
    settle.add_argument("--close", required=True, type=float, metavar="PRICE", help="its close, $")
    settle.add_argument(
        "--note", default="", metavar="TEXT", help="where the close is published, for the record"
    )
    settle.add_argument(
        "--correct", action="store_true", help="where a close is noted already: this one counts"
    )
    add_options(settle, "clock", *_PARTS)
    settle.set_defaults(command=_settle)


async def _settle(settings: Settings, parsed: argparse.Namespace) -> int:
    symbol, day = parse_symbol(parsed.symbol), _day(parsed.day, date.min)
    session = session_on(day)
    if session is None:
        raise UsageError(f"--day: {day} has no session")
    if product_clock(settings).now() < session.close:
        raise UsageError(f"--day: the session of {day} is not over")
    if not 0 < parsed.close < math.inf:
        raise UsageError(f"--close: {parsed.close:g} is no price")
    async with connect(settings, product_dataset(settings), live=False, write=True) as connections:
        written = await connections.store.forecasts.settle(
            symbol,
            day,
            parsed.close,
            origin="entered",
            detail=parsed.note,
            quoted_at=session.close,
            correct=parsed.correct,
        )
    if not written:
        print(f"{symbol} {day} has a close already: --correct notes this one too, and it counts")
        return 1
    print(f"{symbol} {day}: {parsed.close:g}. flow-sampler score judges its forecasts by it")
    return 0


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 86_400:
        raise ValueError(text)
    return seconds


def _day(text: str | None, default: date) -> date:
    try:
        return default if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no date: {error}") from error


def _period(parsed: argparse.Namespace, first: date, last: date) -> tuple[date, date]:
    """The days of ``--from`` and ``--to``, else the two that are given."""
    first, last = _day(parsed.first, first), _day(parsed.last, last)
    if last < first:
        raise UsageError(f"--from, --to: {last} is before {first}")
    return first, last


async def _elsewhere(settings: Settings, dataset: str) -> str:
    """Where rows are, for somebody who looks at a dataset without any."""
    other = SYNTHETIC if dataset == REAL else REAL
    try:
        async with connect(settings, other, live=False) as connections:
            newest = await connections.store.newest_slot()
    except StoreError:
        return ""
    if newest is None:
        return ""
    return f"; the dataset {other} has rows up to {market_day(newest)}: --dataset {other}"


async def _grants(settings: Settings, parsed: argparse.Namespace) -> int:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", parsed.prefix):
        raise UsageError("--prefix: small letters, digits and _, beginning with a letter or _")
    if parsed.passwords is not None and not parsed.apply:
        raise UsageError("--passwords needs --apply: the SQL is printed without passwords")
    datasets = [settings.dataset] if settings.dataset else [REAL, SYNTHETIC]
    if parsed.apply:
        passwords = {
            name: read_password(str(file), file)
            for name in ROLES
            if parsed.passwords is not None and (file := parsed.passwords / name).is_file()
        }
        async with server_urls(settings, live=False) as (database_url, _):
            await apply_grants(database_url, datasets, parsed.prefix, passwords)
    for statement in grant_statements(datasets, parsed.prefix):
        print(statement if statement.startswith("--") else f"{statement};")
    return 0


async def _migrate(settings: Settings, parsed: argparse.Namespace) -> int:
    async with server_urls(settings, live=False) as (database_url, _):
        for dataset in [settings.dataset] if settings.dataset else [REAL, SYNTHETIC]:
            for sentence in await migrate(
                database_url, dataset, compress_after=settings.compress_after
            ):
                print(sentence)
    return 0


async def _prune(settings: Settings, parsed: argparse.Namespace) -> int:
    if parsed.forecast:
        return await _forecast(settings, parsed)
    stop = asyncio.Event()
    if parsed.every is not None:
        # After SIGTERM it ends with status 0, as the other services do.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    while not stop.is_set():
        try:
            await _prune_once(settings, parsed)
        except StoreError as error:
            if parsed.every is None:
                raise
            print(f"flow-store: {error}", file=sys.stderr)
        if parsed.every is None:
            return 0
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), parsed.every)
    return 0


async def _forecast(settings: Settings, parsed: argparse.Namespace) -> int:
    """Print each table today and in a year; 1 if the embedded database's disk is too small."""
    keep = {table: getattr(settings, f"keep_{table}") for table in KEPT_TABLES}
    lines: list[dict[str, Any]] = []
    async with server_urls(settings, live=False) as (database_url, _):
        for dataset in [settings.dataset] if settings.dataset else [REAL, SYNTHETIC]:
            if not settings.database_url:
                await migrate(database_url, dataset)
            tables = await retention.forecast(database_url, dataset, keep)
            lines += [{"dataset": dataset} | dataclasses.asdict(table) for table in tables]
    if parsed.json:
        print(orjson.dumps(lines, option=orjson.OPT_INDENT_2).decode())
    else:
        print(f"{'':18}{'today':>14}{'sessions':>10}{'a session':>13}{'in a year':>14}")
    for line in [] if parsed.json else lines:
        growth = "" if line["growth"] is None else f"{line['growth'] / 1e6:,.2f} MB"
        ahead = "" if line["ahead"] is None else f"{line['ahead'] / 1e6:,.1f} MB"
        today = f"{line['size'] / 1e6:,.1f} MB"
        print(
            f"{line['dataset']:9} {line['table']:8}{today:>14}{line['sessions']:>10}"
            f"{growth:>13}{ahead:>14}"
        )
    today = sum(line["size"] for line in lines)
    ahead = sum(line["ahead"] or line["size"] for line in lines)
    if not parsed.json:
        print(f"{'together':18}{today / 1e6:>11,.1f} MB{'':23}{ahead / 1e6:>11,.1f} MB")
    if settings.disk_cap and ahead > settings.disk_cap * 1e9:
        print(
            f"flow-store: WARNING: in a year {ahead / 1e9:,.1f} GB are stored, more than"
            f" FLOW_DISK_CAP ({settings.disk_cap:g} GB): keep less, or raise it",
            file=sys.stderr,
        )
    if settings.database_url:
        return 0
    free = shutil.disk_usage(settings.data_dir).free
    if ahead - today > free:
        print(
            f"flow-store: {settings.data_dir} has {free / 1e9:,.1f} GB free, and a year adds"
            f" {(ahead - today) / 1e9:,.1f} GB",
            file=sys.stderr,
        )
    return int(ahead - today > free)


async def _prune_once(settings: Settings, parsed: argparse.Namespace) -> None:
    keep = {table: getattr(settings, f"keep_{table}") for table in KEPT_TABLES}
    lines = []
    async with server_urls(settings, live=False) as (database_url, _):
        for dataset in [settings.dataset] if settings.dataset else [REAL, SYNTHETIC]:
            if not settings.database_url:
                await migrate(database_url, dataset)
            done = await retention.prune(database_url, dataset, keep, dry=parsed.dry_run)
            lines += [{"dataset": dataset} | dataclasses.asdict(pruned) for pruned in done]
    if parsed.json:
        print(orjson.dumps(lines, option=orjson.OPT_INDENT_2).decode())
    # A run that repeats prints only what it deleted.
    for line in [] if parsed.json else lines:
        if parsed.every is None or line["dropped"]:
            keeps = f"kept from {line['before']} on" if line["before"] else "kept for ever"
            gone = f", {line['dropped']} {line['unit']} dropped" if line["dropped"] else ""
            size = f"{line['size'] / 1e6:,.1f} MB"
            print(f"{line['dataset']:9} {line['table']:8} {size:>14}  {keeps}{gone}", flush=True)
    total = sum(line["size"] for line in lines) / 1e9
    if settings.disk_cap and total > settings.disk_cap:
        print(
            f"flow-store: WARNING: {total:,.3f} GB are stored, more than FLOW_DISK_CAP"
            f" ({settings.disk_cap:g} GB): keep less (FLOW_KEEP_PROFILES, FLOW_KEEP_CHAINS),"
            " or raise it",
            file=sys.stderr,
            flush=True,
        )


async def _check(settings: Settings, parsed: argparse.Namespace) -> int:
    now, dataset = product_clock(settings).now(), product_dataset(settings)
    today = market_day(now)
    first, last = _period(parsed, today - timedelta(days=30), today)
    async with connect(settings, dataset, live=False) as connections:
        wanted = None if parsed.all_symbols else settings.symbols
        covered = await connections.store.coverage(first, last, wanted)
    elsewhere = "" if covered else await _elsewhere(settings, dataset)
    lines = assess_coverage(
        covered, first=first, last=last, now=now, symbols=wanted, least=settings.min_coverage
    )
    if parsed.json:
        plain = [line.as_json() for line in lines]
        print(orjson.dumps(plain, option=orjson.OPT_INDENT_2).decode())
    elif not covered:
        print(f"nothing stored from {first} to {last} in the dataset {dataset}{elsewhere}")
    else:
        print("\n".join(map(str, lines)))
    return int(any(line.state in FAILING_STATES for line in lines))


async def _backup(settings: Settings, parsed: argparse.Namespace) -> int:
    folder = parsed.folder or settings.backup_dir
    if folder is None:
        raise UsageError("backup: name a folder, or set FLOW_BACKUP_DIR")
    async with server_urls(settings, live=False) as (url, _):
        programs = postgres_programs(settings)
        file = await write_dump(url, folder, Clock().now(), programs, os.environ)
    print(f"{file}, {file.stat().st_size / 1e6:,.1f} MB")
    return 0


async def _restore(settings: Settings, parsed: argparse.Namespace) -> int:
    async with server_urls(settings, live=False) as (url, _):
        await restore_dump(url, parsed.file, postgres_programs(settings), os.environ)
        for dataset in [REAL, SYNTHETIC]:
            # A dump of an earlier release gets today's tables.
            for sentence in await migrate(url, dataset, compress_after=settings.compress_after):
                print(sentence)
            days = await retention.count_session_days(url, dataset)
            print(f"{dataset}: {days} days with sessions restored")
    return 0


async def _doctor(settings: Settings, parsed: argparse.Namespace) -> int:
    if _stopped_cleanly(parsed):
        return 0
    findings = []
    async with aclosing(examine(settings, os.environ, source=not parsed.no_source)) as examination:
        async for finding in examination:
            if finding.name in parsed.skip:
                continue
            findings.append(finding)
            if not parsed.json and (finding.state is State.FAIL or not parsed.after_failure):
                print(finding, flush=True)
    return _conclude(findings, as_json=parsed.json)


def _stopped_cleanly(parsed: argparse.Namespace) -> bool:
    """Whether a unit calls after a service that was stopped, and has nothing to explain."""
    return parsed.after_failure and os.environ.get("SERVICE_RESULT") == "success"


def _explain_settings(parsed: argparse.Namespace, error: UsageError) -> int:
    if _stopped_cleanly(parsed):
        return 0
    finding = fail("settings", str(error), "correct it; deploy/flow.env.example has all settings")
    if not parsed.json:
        print(finding)
    return _conclude([finding], as_json=parsed.json)


def _conclude(findings: list[Finding], *, as_json: bool) -> int:
    """Print what is left to print; 1 if a check has failed."""
    if as_json:
        plain = [finding.as_json() for finding in findings]
        print(orjson.dumps(plain, option=orjson.OPT_INDENT_2).decode())
    failed = sum(finding.state is State.FAIL for finding in findings)
    warned = sum(finding.state is State.WARN for finding in findings)
    if not as_json:
        print(f"{len(findings)} checks: {failed} failed, {warned} warnings")
    return int(failed > 0)


def _notify_of_settings(parsed: argparse.Namespace, error: UsageError) -> int:
    """Send the message that a unit has failed where wrong settings made it fail."""
    if not parsed.unit:
        print(f"flow-store: {error}", file=sys.stderr)
        return 2
    notifying = {k: v for k, v in os.environ.items() if k.startswith("FLOW_NOTIFY")}
    try:
        return asyncio.run(_notify(Settings.read(notifying), parsed, because=str(error)))
    except UsageError as worse:
        print(f"flow-store: {worse}", file=sys.stderr)
        return 2


async def _notify(settings: Settings, parsed: argparse.Namespace, *, because: str = "") -> int:
    if parsed.session or parsed.rules:
        return await _replay(settings, parsed)
    targets = configured_targets(settings)
    if not targets:
        if parsed.unit:
            return 0
        raise UsageError("FLOW_NOTIFY: no target is named")
    if bool(parsed.test) == bool(parsed.unit):
        raise UsageError("notify: give --test, or --unit with a name")
    now, node = Clock().now(), socket.gethostname()
    if parsed.test:
        kind, sentence = "test", f"This is a test from {node}. Events of zerodte-flow come here."
    else:
        unit, _, result = parsed.unit.partition(":")
        result = result or os.environ.get("SERVICE_RESULT", "")
        kind, sentence = "unit_failed", _unit_sentence(unit, result, node, because)
        if not sentence or (result and _told_lately(unit)):
            return 0
    event = Notice(kind=kind, began=now, sentence=sentence, node=node, lasting=False)
    attempts = [await deliver(target, event, pauses=_NOTIFY_PAUSES) for target in targets]
    for target, done in zip(targets, attempts, strict=True):
        print(f"{target.name}: {'delivered' if done else 'NOT delivered'}")
    if parsed.unit and any(attempts):
        _note_told(unit)
    if parsed.unit and settings.database_url:
        await _log_event(settings, event, dict(zip(shown_names(targets), attempts, strict=True)))
    return int(not all(attempts))


def _unit_sentence(unit: str, result: str, node: str, because: str) -> str:
    """What to tell of a unit; empty if there is nothing to tell, or OnFailure= tells it."""
    if not result:
        why = f": {because}" if because else f"; journalctl -u {unit} says why"
        return f"{unit} on {node} has failed, and systemd does not restart it{why}."
    if result == "success" or os.environ.get("EXIT_STATUS") == _WRONG_SETTING:
        return ""
    return f"{unit} on {node} has ended by itself ({result}); systemd restarts it."


def _told_lately(unit: str) -> bool:
    """Whether a message about this unit, which ends again and again, was sent a short time ago."""
    with suppress(OSError):
        stamp = _stamp(unit)
        now = Clock().now().timestamp()
        return stamp is not None and 0 <= now - stamp.stat().st_mtime < _UNIT_QUIET
    return False


def _note_told(unit: str) -> None:
    stamp = _stamp(unit)
    if stamp is not None:
        with suppress(OSError):
            stamp.touch()


def _stamp(unit: str) -> Path | None:
    """The file that is touched when a message about a unit is sent; None without a folder."""
    folder = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(folder) / f".told-{unit}" if folder else None


async def _log_event(settings: Settings, event: Notice, attempts: Mapping[str, int]) -> None:
    """Write an event that was sent to the log of alerts, if the database is there."""
    try:
        async with connect(settings, product_dataset(settings), live=False) as connections:
            table = connections.store.alerts
            await Messenger(table, []).tell(event, sent=False)
            for target, count in attempts.items():
                if count:
                    await table.note_delivery(event.id, "began", target, count)
    except FlowError as error:
        print(f"flow-store: not in the log of alerts: {error}", file=sys.stderr)


async def _replay(settings: Settings, parsed: argparse.Namespace) -> int:
    """Print the market events of a stored session, as the rules find them."""
    rules = RulesFile(Path(parsed.rules) if parsed.rules else settings.alert_rules)
    await rules.refresh()
    if rules.problem:
        raise UsageError(rules.problem.replace("FLOW_ALERT_RULES", "--rules"))
    if not parsed.session:
        print(f"{len(rules.rules)} rules: {', '.join(rule.name for rule in rules.rules)}")
        return 0
    day = _day(parsed.session, date.min)
    session = session_on(day)
    if session is None:
        raise UsageError(f"--session: {day} has no session")
    symbol = parse_symbol(parsed.symbol) if parsed.symbol else None
    dataset = product_dataset(settings)
    count = followed = 0
    async with connect(settings, dataset, live=False) as connections:
        store = connections.store
        feeds = {head["symbol"]: head["source"] for head in await store.session_heads(day)}
        if parsed.feed:
            wanted = [symbol] if symbol else list(feeds)
            feeds = {
                name: parsed.feed for name in wanted if parsed.feed in await store.feeds(name, day)
            }
        for name, feed in feeds.items():
            if symbol not in (None, name):
                continue
            events = SessionEvents(store, rules.rules, name, session, feed, dataset=dataset)
            followed += 1
            for event in [*await events.read(), *events.wait(session.close)]:
                count += 1
                if parsed.json:
                    print(orjson.dumps(event.as_json()).decode())
                else:
                    print(f"{to_new_york(event.began):%H:%M:%S} {event.kind:10} {event.sentence}")
    if not followed:
        elsewhere = await _elsewhere(settings, dataset)
        print(
            f"nothing stored of {symbol or 'any symbol'} on {day} in the dataset {dataset}"
            f"{elsewhere}"
        )
        return 1
    if not parsed.json:
        print(f"{count} events of {followed} symbols on {day}; nothing was sent")
    return 0


async def _tail(settings: Settings, parsed: argparse.Namespace) -> int:
    async with (
        connect(settings, product_dataset(settings)) as connections,
        aclosing(_rows(connections, settings.symbols)) as lines,
    ):
        async for line in lines:
            print(line, flush=True)
    return 0


async def _rows(connections: Connections, symbols: tuple[str, ...]) -> AsyncGenerator[str, None]:
    """Yield rows that are stored from now on, each once, as JSON with their revision."""
    heads = await connections.store.heads(symbols)
    async with aclosing(
        follow_changes(connections.store, connections.live, heads, symbols)
    ) as changes:
        async for change in changes:
            for revision, row in change.rows:
                yield orjson.dumps(row.as_json() | {"revision": revision}).decode()


async def _export(settings: Settings, parsed: argparse.Namespace) -> int:
    first, last = _period(parsed, date.min, date.max)
    dataset = product_dataset(settings)
    async with connect(settings, dataset, live=False) as connections:
        done = await archive.export_sessions(
            connections.store,
            dataset,
            parsed.folder,
            first=first,
            last=last,
            symbols=settings.symbols,
        )
    size = sum(done.sizes.values())
    print(
        f"{done.slots} slots of {done.sessions} sessions written to {parsed.folder},"
        f" {size / 1e6:.1f} MB"
        + (f"; {done.forecasts} lines of the record of forecasts" if done.forecasts else "")
    )
    print("\n".join(archive.size_table(done)), end="\n" if done.slots else "")
    return 0


async def _import(settings: Settings, parsed: argparse.Namespace) -> int:
    first, last = _period(parsed, date.min, date.max)
    dataset = product_dataset(settings)
    stored = there = gaps = 0
    async with connect(settings, dataset, live=False) as connections:
        taken = archive.import_sessions(
            connections.store,
            dataset,
            parsed.folder,
            first=first,
            last=last,
            symbols=None if parsed.all_symbols else settings.symbols,
        )
        async for imported in taken:
            name = " ".join(
                filter(
                    None,
                    (
                        imported.partition.symbol,
                        str(imported.partition.day),
                        imported.partition.feed,
                    ),
                )
            )
            marked = f", {imported.gaps} gaps" if imported.gaps else ""
            counts = f"{imported.stored} stored, {imported.there_already} there already{marked}"
            print(f"{name}: {counts}", flush=True)
            stored, there = stored + imported.stored, there + imported.there_already
            gaps += imported.gaps
    verdict = "" if stored or gaps else "; nothing changed"
    print(f"{stored} slots stored, {there} there already{verdict}")
    return 0


async def _example(settings: Settings, parsed: argparse.Namespace) -> int:
    # Never the dataset that runs: simulated rows have one of their own.
    dataset = settings.dataset or SYNTHETIC
    if dataset != SYNTHETIC:
        raise UsageError(f"--dataset: the example is a simulated session, never one of {dataset}")
    async with connect(settings, dataset, live=False, write=True) as connections:
        stored = await example_day.store_example(connections.store, dataset)
    name = f"{example_day.SYMBOL} {example_day.DAY}, simulated"
    print(f"{name}: {f'{stored} rows stored' if stored else 'there already; nothing changed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
