"""Rows in, windows out: the ground floor. Knows no greek and no HTTP."""


def installed_version() -> str:
    """Return the version of the installed package; ``0`` where it is not installed."""
    # Half of a program's first 50 ms, in which Ctrl-C prints a traceback.
    from importlib import metadata

    try:
        return metadata.version("zerodte-flow")
    except metadata.PackageNotFoundError:
        return "0"
