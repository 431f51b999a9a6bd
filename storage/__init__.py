"""Rows in, windows out: the ground floor. Knows no greek and no HTTP."""

from importlib import metadata


def installed_version() -> str:
    """Return the version of the installed package; ``0`` where it is not installed."""
    try:
        return metadata.version("zerodte-flow")
    except metadata.PackageNotFoundError:
        return "0"
