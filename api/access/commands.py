"""flow-api keys: create, list, revoke, rotate. A key is printed once and alone."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import orjson

from api.access.keys import key_digest, key_with_new_secret, make_key
from storage.config.plans import PLANS, parse_plan
from storage.config.settings import add_options
from storage.errors import FlowError, UsageError
from storage.postgres.keys import ApiKey, KeyTable
from storage.record.row import utc_text

#: What ids look like: no name may, so that either says which key is meant.
_ID = re.compile(r"[0-9a-f]{12}")
_NAME_LENGTH, _EMAIL_LENGTH, _DAYS = 64, 254, 36_500
_EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")
_PARTS = ("dataset", "source", "database_url", "data_dir", "log", "log_level")


def add_key_commands(parser: argparse.ArgumentParser, command: Callable[..., Any]) -> None:
    """The commands below ``flow-api keys``; each is run by ``command``."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="what")
    create = commands.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--name", required=True, help="whose key it is, or what for")
    create.add_argument("--plan", required=True, help=", ".join(PLANS))
    create.add_argument("--email", default="", help="shown by /v1/account")
    create.add_argument("--days", help="days after which it ends by itself (default: never)")
    listing = commands.add_parser("list", help="all keys: plan, created, last used, state")
    listing.add_argument("--json", action="store_true", help="print one JSON array")
    revoke = commands.add_parser("revoke", help="end a key for good, within seconds")
    rotate = commands.add_parser("rotate", help="replace a key by a new one of the same name")
    for which in (revoke, rotate):
        which.add_argument("which", metavar="KEY", help="its name, or its id as list shows it")
    for each in (create, listing, revoke, rotate):
        add_options(each, *_PARTS)
        each.set_defaults(command=command)


async def run_key_command(keys: KeyTable, parsed: argparse.Namespace, now: datetime) -> int:
    """Run one command; its exit status.

    Raises
    ------
    UsageError
        For a name, plan, address or number of days that cannot be meant.
    FlowError
        If the name is taken, or there is no such key.
    """
    commands = {"create": _create, "list": _list, "revoke": _revoke, "rotate": _rotate}
    await commands[parsed.what](keys, parsed, now)
    return 0


async def _create(keys: KeyTable, parsed: argparse.Namespace, now: datetime) -> None:
    name, plan = _name(parsed.name), parse_plan(parsed.plan)
    if parsed.email and (len(parsed.email) > _EMAIL_LENGTH or not _EMAIL.fullmatch(parsed.email)):
        raise UsageError(f"--email: {parsed.email[:80]!r} is no address")
    expires = None if parsed.days is None else now + timedelta(days=_days(parsed.days))
    known_as, key = make_key()
    made = await keys.insert(
        known_as, key_digest(key), name=name, email=parsed.email, plan=plan, expires_at=expires
    )
    if made is None:
        raise FlowError(
            f"a key named {name!r} is in force already: choose another name, or replace that one"
            f" with flow-api keys rotate {name}"
        )
    ends = f", ends {utc_text(expires)}" if expires else ""
    _show(key, f"key {name!r}, plan {plan}{ends}: this is the only time that it is shown")


async def _list(keys: KeyTable, parsed: argparse.Namespace, now: datetime) -> None:
    found = await keys.all()
    if parsed.json:
        lines = [_line(key, now) for key in found]
        print(orjson.dumps(lines, option=orjson.OPT_INDENT_2).decode())
        return
    if not found:
        print("no keys")
        return
    rows = [("id", "name", "plan", "created", "last used", "state")]
    rows += [
        (
            key.id,
            key.name,
            key.plan,
            f"{key.created_at:%Y-%m-%d}",
            f"{key.last_used_at:%Y-%m-%d %H:%M}Z" if key.last_used_at else "never",
            _state(key, now),
        )
        for key in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


async def _revoke(keys: KeyTable, parsed: argparse.Namespace, now: datetime) -> None:
    # What cannot be printed is no name, and nothing that a database takes.
    ended = await keys.revoke(parsed.which) if parsed.which.isprintable() else None
    if ended is None:
        raise _unknown(parsed.which)
    print(f"key {ended.name!r} ({ended.id}) is revoked; servers refuse it within 5 seconds")


async def _rotate(keys: KeyTable, parsed: argparse.Namespace, now: datetime) -> None:
    wanted = [k for k in await keys.all() if k.revoked_at is None]
    old = next((k for k in wanted if parsed.which in {k.id, k.name}), None)
    key = key_with_new_secret(old.id) if old else ""
    if old is None or await keys.rotate(old.id, key_digest(key)) is None:
        raise _unknown(parsed.which)
    _show(
        key,
        f"key {old.name!r} is replaced: servers refuse the old one within 5 seconds;"
        " this is the only time that the new one is shown",
    )


def _show(key: str, sentence: str) -> None:
    # Alone on standard output: KEY=$(flow-api keys create ...).
    print(f"flow-api: {sentence}", file=sys.stderr)
    print(key)


def _line(key: ApiKey, now: datetime) -> dict[str, Any]:
    moments = ("created_at", "issued_at", "expires_at", "last_used_at", "revoked_at")
    told = {"id": key.id, "name": key.name, "email": key.email, "plan": key.plan}
    times = {name: (at := getattr(key, name)) and utc_text(at) for name in moments}
    return {**told, **times, "state": _state(key, now)}


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if not key.valid(now):
        return "expired"
    return f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "in force"


def _unknown(which: str) -> FlowError:
    return FlowError(
        f"there is no key {which[:80]!r} in force: flow-api keys list shows names and ids"
    )


def _name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > _NAME_LENGTH or not name.isprintable() or _ID.fullmatch(name):
        raise UsageError(
            f"--name: {text[:80]!r} is no name: 1 to {_NAME_LENGTH} characters that can be printed,"
            " and not 12 of 0-9 a-f, which look like an id"
        )
    return name


def _days(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= _DAYS:
        raise UsageError(f"--days: {text[:40]!r} is no number of days: 1 to {_DAYS}")
    return int(text)
