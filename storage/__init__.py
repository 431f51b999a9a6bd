"""Rows in, windows out: the ground floor. Knows no greek and no HTTP."""


def installed_version() -> str:
    """Return the version of the installed package; ``0`` where it is not installed."""
    # Imported here, because it takes half of a program's first 50 ms, and Ctrl-C still prints a
    # traceback in them.
    from importlib import metadata

    try:
        return metadata.version("zerodte-flow")
    except metadata.PackageNotFoundError:
        return "0"
