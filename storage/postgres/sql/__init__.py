"""SQL files: each query stands under ``-- name --`` and a comment with its purpose."""

from __future__ import annotations

import re
from importlib.resources import files

_NAME = re.compile(r"^-- ([a-z_]+) --$", re.MULTILINE)


def load(file: str) -> dict[str, str]:
    """Return the queries of one .sql file by their names.

    Parameters
    ----------
    file : the file's name in this folder.

    Returns
    -------
    dict
        SQL by the query's name.
    """
    pieces = _NAME.split(files(__package__).joinpath(file).read_text(encoding="utf-8"))
    return dict(zip(pieces[1::2], (text.strip() for text in pieces[2::2]), strict=True))


def migrations() -> list[tuple[int, str]]:
    """Return the migrations in order, each with its number."""
    folder = files(__package__).joinpath("migrations")
    paths = [path for path in folder.iterdir() if path.name.endswith(".sql")]
    return sorted(
        (int(path.name.split("_")[0]), path.read_text(encoding="utf-8")) for path in paths
    )
