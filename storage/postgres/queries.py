"""The store's SQL by name, with its lists of columns filled in."""

from __future__ import annotations

from collections.abc import Sequence

from storage.postgres import sql
from storage.record.row import PROFILE_ARRAYS

_QUERIES = sql.load("queries.sql")
_KEY = ("symbol", "expiration", "source", "slot")
_SHOWN = _QUERIES["shown"]


def _names(*columns: str) -> str:
    return ", ".join(columns)


def query(
    name: str, columns: Sequence[str] = (), arrays: Sequence[str] = PROFILE_ARRAYS, **parts: str
) -> str:
    """Return a query of queries.sql with its lists of columns filled in.

    Parameters
    ----------
    name : the name of the query.
    columns : columns of rows. They come from our own dataclasses, never from a user.
    arrays : arrays of the profile to select.
    parts : further placeholders of this query, with their SQL.

    Returns
    -------
    str
        The SQL, with placeholders for values only.
    """
    text = _QUERIES[name]
    if "{" in text:
        changing = [c for c in columns if c not in _KEY]
        text = text.format(
            feed=_SHOWN,
            columns=_names(*columns),
            values=_names(*(f"%({c})s" for c in columns)),
            assignments=_names(*(f"{c} = excluded.{c}" for c in changing)),
            stored=_names(*(f"rows.{c}" for c in changing)),
            offered=_names(*(f"excluded.{c}" for c in changing)),
            # Rows and profiles share names: call_gex is a sum in a row, an array in a profile.
            sent=_names(*(f"array_send(p.{c}) as p_{c}" for c in arrays)),
            # In two steps, for a query that sorts before it reads the arrays.
            named=_names(*(f"p.{c} as p_{c}" for c in arrays)),
            sent_later=_names(*(f"array_send(p_{c}) as p_{c}" for c in arrays)),
            **parts,
        )
    return text
