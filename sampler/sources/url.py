"""The part of a source's URL behind its scheme: a path and ``?key=value&…`` options."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

from storage.errors import UsageError


def split_options(rest: str, **defaults: str) -> tuple[str, dict[str, str]]:
    """The path, and each option's value or default.

    Parameters
    ----------
    rest : what follows a source's scheme.
    **defaults : each known option with its default.

    Returns
    -------
    tuple of str and dict
        The path, and the value of each option.

    Raises
    ------
    UsageError
        For an option that is not among ``defaults``.
    """
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in defaults:
            known = ", ".join(defaults) or "none"
            raise UsageError(f"unknown source option {name!r}; the known ones are: {known}")
    return path, defaults | options


def whole_option(options: dict[str, str], name: str, low: int, high: int) -> int:
    """An option that is a whole number within bounds.

    Parameters
    ----------
    options : values by name.
    name : the option.
    low, high : its bounds, both included.

    Returns
    -------
    int
        The number.

    Raises
    ------
    UsageError
        If it is not.
    """
    text = options[name]
    if not text.isdecimal() or not low <= int(text) <= high:
        raise UsageError(f"source option {name}={text!r} is not a whole number {low}-{high}")
    return int(text)


def yes_option(options: dict[str, str], name: str) -> bool:
    """An option that is ``yes`` or ``no``.

    Parameters
    ----------
    options : values by name.
    name : the option.

    Returns
    -------
    bool
        Whether it is ``yes``.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if options[name] not in ("yes", "no"):
        raise UsageError(f"source option {name}={options[name][:20]!r} is neither yes nor no")
    return options[name] == "yes"


def existing_path(name: str, scheme: str) -> Path:
    """A file or folder that is there.

    Parameters
    ----------
    name : the path; ``~`` is the user's home.
    scheme : the source's scheme, for the error.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    UsageError
        If there is nothing at it, or no path is named.
    """
    path = Path(name).expanduser()
    if not name or not path.exists():
        raise UsageError(f"{scheme}: no such file or folder: {name or '(empty)'}")
    return path
