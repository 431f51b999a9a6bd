"""The commands below ``flow-api keys``: create, list, revoke, rotate and rights.

A new key is printed once, alone on standard output; everything else goes to standard error.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import orjson

from api.access.keys import key_digest, key_with_new_secret, make_key
from storage.config.plans import PLANS, RIGHTS, parse_plan
from storage.config.settings import add_options
from storage.errors import FlowError, UsageError
from storage.postgres.keys import ApiKey, KeyTable
from storage.record.row import utc_text

#: The form of an id. No name may have it, so that a name cannot be mistaken for an id.
_ID = re.compile(r"[0-9a-f]{12}")
_NAME_LENGTH, _EMAIL_LENGTH, _DAYS = 64, 254, 36_500
_EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")
#: Settings that each of the commands takes as an option.
_SETTINGS = ("dataset", "source", "database_url", "data_dir", "log", "log_level")


def add_key_commands(parser: argparse.ArgumentParser, command: Callable[..., Any]) -> None:
    """Add the commands and their options to the parser of ``flow-api keys``.

    Parameters
    ----------
    parser
        The parser of ``flow-api keys``.
    command
        Called with the settings and the parsed arguments of whichever command was chosen.
    """
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="what")
    create = commands.add_parser("create", help="make a key and print it once")
    create.add_argument("--name", required=True, help="who or what uses the key")
    create.add_argument("--plan", required=True, help=", ".join(PLANS))
    create.add_argument("--email", default="", help="shown by /v1/account")
    create.add_argument("--days", help="days until the key expires (default: it never does)")
    listing = commands.add_parser("list", help="list all keys: plan, created, last used, state")
    listing.add_argument("--json", action="store_true", help="print one JSON array")
    revoke = commands.add_parser(
        "revoke", help="end a key for good; servers refuse it within seconds"
    )
    rotate = commands.add_parser(
        "rotate", help="give a key a new secret; servers refuse the old one within seconds"
    )
    rights = commands.add_parser(
        "rights", help="set what a key may do beside its plan; servers follow within seconds"
    )
    for subparser in (create, rights):
        subparser.add_argument(
            "--right",
            action="append",
            default=[],
            metavar="R",
            help="what it may do beside its plan: alerts (change the rules of alerts)",
        )
    for subparser in (revoke, rotate, rights):
        subparser.add_argument("which", metavar="KEY", help="the key's name, or its id from list")
    for subparser in (create, listing, revoke, rotate, rights):
        add_options(subparser, *_SETTINGS)
        subparser.set_defaults(command=command)


async def run_key_command(keys: KeyTable, parsed: argparse.Namespace, now: datetime) -> int:
    """Run the command that the arguments name.

    Parameters
    ----------
    keys
        The stored keys of one dataset.
    parsed
        The command (``what``) and its arguments.
    now
        The present, which decides about expiry. Aware of its time zone.

    Returns
    -------
    int
        The process's exit status, 0.

    Raises
    ------
    UsageError
        If a name, plan, address or number of days is not valid.
    FlowError
        If the name is taken, or no key in force has the name or id.
    """
    commands = {
        "create": _create,
        "list": _list,
        "revoke": _revoke,
        "rotate": _rotate,
        "rights": _rights,
    }
    await commands[parsed.what](keys, parsed, now)
    return 0


async def _create(keys: KeyTable, parsed: argparse.Namespace, now: datetime) -> None:
    name, plan = _name(parsed.name), parse_plan(parsed.plan)
    if parsed.email and (len(parsed.email) > _EMAIL_LENGTH or not _EMAIL.fullmatch(parsed.email)):
        raise UsageError(f"--email: {parsed.email[:80]!r} is not an address")
    expires = None if parsed.days is None else now + timedelta(days=_days(parsed.days))
    key_id, key = make_key()
    inserted = await keys.insert(
        key_id,
        key_digest(key),
        name=name,
        email=parsed.email,
        plan=plan,
        expires_at=expires,
        rights=_read_rights(parsed.right),
    )
    if inserted is None:
        raise FlowError(
            f"a key named {name!r} is in force already: choose another name, or replace that key"
            f" with flow-api keys rotate {name}"
        )
    expiry = f", ends {utc_text(expires)}" if expires else ""
    _print_key(key, f"key {name!r}, plan {plan}{expiry}: this is the only time that it is shown")


async def _list(keys: KeyTable, parsed: argparse.Namespace, now: datetime) -> None:
    stored_keys = await keys.all()
    if parsed.json:
        documents = [_key_document(key, now) for key in stored_keys]
        print(orjson.dumps(documents, option=orjson.OPT_INDENT_2).decode())
        return
    if not stored_keys:
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
        for key in stored_keys
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


async def _revoke(keys: KeyTable, parsed: argparse.Namespace, now: datetime) -> None:
    # No name has characters that cannot be printed, and PostgreSQL refuses some of them.
    revoked = await keys.revoke(parsed.which) if parsed.which.isprintable() else None
    if revoked is None:
        raise _unknown_key(parsed.which)
    print(f"key {revoked.name!r} ({revoked.id}) is revoked; servers refuse it within 5 seconds")


async def _rotate(keys: KeyTable, parsed: argparse.Namespace, now: datetime) -> None:
    unrevoked = [k for k in await keys.all() if k.revoked_at is None]
    old = next((k for k in unrevoked if parsed.which in {k.id, k.name}), None)
    key = key_with_new_secret(old.id) if old else ""
    if old is None or await keys.rotate(old.id, key_digest(key)) is None:
        raise _unknown_key(parsed.which)
    _print_key(
        key,
        f"key {old.name!r} is replaced: servers refuse the old one within 5 seconds;"
        " this is the only time that the new one is shown",
    )


def _print_key(key: str, sentence: str) -> None:
    # The key is alone on standard output, so that KEY=$(flow-api keys create ...) works.
    print(f"flow-api: {sentence}", file=sys.stderr)
    print(key)


def _key_document(key: ApiKey, now: datetime) -> dict[str, Any]:
    moments = ("created_at", "issued_at", "expires_at", "last_used_at", "revoked_at")
    identity = {"id": key.id, "name": key.name, "email": key.email, "plan": key.plan}
    times = {name: (moment := getattr(key, name)) and utc_text(moment) for name in moments}
    return {**identity, **times, "rights": list(key.rights), "state": _state(key, now)}


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if not key.valid(now):
        return "expired"
    return f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "in force"


async def _rights(keys: KeyTable, parsed: argparse.Namespace, now: datetime) -> None:
    rights = _read_rights(parsed.right)
    key = await keys.set_rights(parsed.which, rights)
    if key is None:
        raise _unknown_key(parsed.which)
    shown = ", ".join(key.rights) or "no rights beside its plan"
    print(f"flow-api: key {key.name!r} has {shown}", file=sys.stderr)


def _read_rights(names: list[str]) -> tuple[str, ...]:
    if unknown := sorted(set(names) - set(RIGHTS)):
        raise UsageError(f"--right: {unknown[0][:40]!r} is no right: {', '.join(RIGHTS)}")
    return tuple(dict.fromkeys(names))


def _unknown_key(which: str) -> FlowError:
    return FlowError(f"no key {which[:80]!r} is in force: flow-api keys list shows names and ids")


def _name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > _NAME_LENGTH or not name.isprintable() or _ID.fullmatch(name):
        raise UsageError(
            f"--name: {text[:80]!r} is not a valid name: a name has 1 to {_NAME_LENGTH}"
            " characters that can be printed, and is not 12 of 0-9 a-f, which look like an id"
        )
    return name


def _days(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= _DAYS:
        raise UsageError(f"--days: {text[:40]!r} is not a number of days from 1 to {_DAYS}")
    return int(text)
