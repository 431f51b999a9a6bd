"""Roles that may do what their program does and nothing else: the SQL that makes them.

The role that runs ``flow-store migrate`` owns the tables; so ``migrate``, ``prune``, ``backup`` and
``flow-api keys`` stay with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql as compose

from storage.postgres.database import open_connection, translate_errors

_ALL_ROWS = ("rows", "profiles", "chains", "gaps", "heads", "sessions", "watched")


@dataclass(frozen=True, slots=True)
class RolePrivileges:
    """What one program's role may do within a dataset's schema."""

    meaning: str
    #: Table → privileges, as a GRANT names them.
    tables: Mapping[str, str] = field(default_factory=dict)
    #: Sequences that it takes numbers from.
    sequences: Sequence[str] = ()
    #: Whether it makes temporary tables.
    temporary: bool = False
    #: Whether it reads the views for analysts.
    views: bool = False


#: The interface for analysts: views, which show no more than the tables that they read. They lie
#: in the dataset's schema, and under the names that users know in ``interface_schema``.
VIEWS = (
    *("interface", "bars_30s", "bars_1m", "bars_5m", "bars_15m"),
    *("strikes", "missing_slots", "stored_sessions"),
)
_RECORD = ("forecasts", "settlements", "scores")
_READ = dict.fromkeys((*_ALL_ROWS, *_RECORD, "schema_version"), "select")
#: Every role, by the end of its name.
ROLES: dict[str, RolePrivileges] = {
    "sampler": RolePrivileges(
        "flow-sampler: writes rows and gaps, sees no key of the API",
        _READ
        | dict.fromkeys(
            ("rows", "profiles", "chains", "gaps", "heads", "sessions"),
            "select, insert, update, delete",
        )
        | dict.fromkeys(("watched", "forecasts", "settlements"), "select, insert")
        | {"scores": "select, insert, update"}
        | dict.fromkeys(("alerts", "deliveries"), "select, insert, update"),
        sequences=("revision",),
        temporary=True,
    ),
    "api": RolePrivileges(
        "flow-api serve: reads, notes when keys were last used, keeps the log of alerts",
        _READ
        | {"keys": "select, update (last_used_at)"}
        | dict.fromkeys(("alerts", "deliveries"), "select, insert, update"),
    ),
    "analyst": RolePrivileges(
        "a person: reads everything but keys",
        _READ | dict.fromkeys(("alerts", "deliveries", *VIEWS), "select"),
        views=True,
    ),
}


def interface_schema(dataset: str) -> str:
    """Return the schema in which a dataset's views for analysts lie.

    Parameters
    ----------
    dataset : the dataset's schema.

    Returns
    -------
    str
        ``flow`` for live rows; ``flow_`` and the dataset for others, which are not real.
    """
    return "flow" if dataset == "live" else f"flow_{dataset}"


def grant_statements(datasets: Sequence[str], prefix: str) -> list[str]:
    """Return the SQL that makes the roles and gives them their privileges.

    It can be run again, and takes away what a role has beyond its list.

    Parameters
    ----------
    datasets : schemas, which must be there.
    prefix : what the roles' names begin with, such as ``flow_``.

    Returns
    -------
    list of str
        Statements, and comments that begin with two dashes.
    """
    statements = ["-- the views for analysts, where the migrations might not make their schema"]
    for dataset in datasets:
        interface = _quoted(interface_schema(dataset))
        statements.append(
            "do $$ begin\n"
            f"  if to_regnamespace('{interface}') is null then create schema {interface}; end if;\n"
            "end $$"
        )
        statements += [
            f"create or replace view {interface}.{view} as table {_quoted(dataset)}.{view}"
            for view in VIEWS
        ]
    for name, role in ROLES.items():
        quoted = _quoted(f"{prefix}{name}")
        statements.append(f"-- {role.meaning}")
        statements.append(
            "do $$ begin\n"
            f"  if to_regrole('{quoted}') is null then create role {quoted} login; end if;\n"
            f"  execute format('grant connect{', temporary' * role.temporary} on database %I"
            f" to {quoted}', current_database());\n"
            "end $$"
        )
        for dataset in datasets:
            schema = _quoted(dataset)
            statements += [
                f"revoke all on all tables in schema {schema} from {quoted}",
                f"revoke all on all sequences in schema {schema} from {quoted}",
                f"grant usage on schema {schema} to {quoted}",
            ]
            by_privileges: dict[str, list[str]] = {}
            for table, privileges in role.tables.items():
                by_privileges.setdefault(privileges, []).append(f"{schema}.{table}")
            statements += [
                f"grant {privileges} on {', '.join(tables)} to {quoted}"
                for privileges, tables in by_privileges.items()
            ]
            if role.views:
                interface = _quoted(interface_schema(dataset))
                statements += [
                    f"grant usage on schema {interface} to {quoted}",
                    f"grant select on all tables in schema {interface} to {quoted}",
                ]
            statements += [
                f"grant usage on sequence {schema}.{sequence} to {quoted}"
                for sequence in role.sequences
            ]
    return statements


async def apply_grants(
    url: str, datasets: Sequence[str], prefix: str, passwords: Mapping[str, str]
) -> None:
    """Run the statements in one transaction, and set passwords.

    Parameters
    ----------
    url : the database, as a role that may make roles and owns the tables.
    datasets, prefix : as for ``grant_statements``.
    passwords : by the end of a role's name; other roles keep what they have. The server and its log
        see hashes alone.

    Raises
    ------
    StoreError
        If the database cannot be reached, or the role may not do this.
    """
    async with open_connection(url, datasets[0]) as opened:
        with translate_errors():
            async with opened.transaction():
                for statement in grant_statements(datasets, prefix):
                    if not statement.startswith("--"):
                        await opened.execute(statement.encode())
                for name, password in passwords.items():
                    role = f"{prefix}{name}"
                    digest = opened.pgconn.encrypt_password(
                        password.encode(), role.encode(), b"scram-sha-256"
                    ).decode()
                    await opened.execute(
                        compose.SQL("alter role {} password {}").format(
                            compose.Identifier(role), compose.Literal(digest)
                        )
                    )


def _quoted(name: str) -> str:
    return compose.Identifier(name).as_string(None)
