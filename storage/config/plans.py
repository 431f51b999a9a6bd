"""Plans and how many requests a day each may make."""

from __future__ import annotations

import re
from collections.abc import Mapping

from storage.errors import UsageError

#: From the least to the most; each includes what the plans before it may do. Levels is for keys
#: that stand in an address: it reads the levels of a symbol and its own account, nothing else.
PLANS = ("Levels", "Free", "Basic", "Growth", "Alpha", "Enterprise")
UNLIMITED = "unlimited"
#: What a key may be allowed beside what its plan includes.
RIGHTS = ("alerts",)
#: The default of ``FLOW_QUOTAS``. A setting that names some plans leaves the others as here.
DEFAULT_QUOTAS = "Levels=2500,Free=5,Basic=250,Growth=2500,Alpha=unlimited,Enterprise=unlimited"
_NUMBER = re.compile(r"[0-9]{1,12}")

#: Requests a day by plan; None: without limit.
Quotas = Mapping[str, int | None]


def parse_plan(text: str) -> str:
    """Read the name of a plan, in upper or lower case.

    Parameters
    ----------
    text : the name.

    Returns
    -------
    str
        The name as ``PLANS`` has it.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    name = text.strip().capitalize()
    if name not in PLANS:
        raise UsageError(f"{text[:40]!r} is no plan: {', '.join(PLANS)}")
    return name


def parse_quotas(text: str) -> dict[str, int | None]:
    """Read ``FLOW_QUOTAS``: the daily quota of each plan, the default for plans it does not name.

    Parameters
    ----------
    text : pairs such as ``Free=5,Alpha=unlimited``.

    Returns
    -------
    dict
        Requests a day by plan; None for any number.

    Raises
    ------
    UsageError
        For an unknown plan, one that is named twice, or what is neither a number nor unlimited.
    """
    overrides = _read(text)
    return _read(DEFAULT_QUOTAS) | overrides


def _read(text: str) -> dict[str, int | None]:
    quotas: dict[str, int | None] = {}
    for item in filter(str.strip, text.split(",")):
        name, _, value = (piece.strip() for piece in item.partition("="))
        plan = parse_plan(name)
        if plan in quotas:
            raise UsageError(f"{plan} is named twice")
        if value.lower() != UNLIMITED and not _NUMBER.fullmatch(value):
            raise UsageError(
                f"{item.strip()[:40]!r}: a quota is a number of requests a day or {UNLIMITED},"
                " e.g. Free=5,Alpha=unlimited"
            )
        quotas[plan] = None if value.lower() == UNLIMITED else int(value)
    return quotas
