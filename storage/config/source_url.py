"""What FLOW_SOURCE says: one source's URL, or one for each symbol, and never a key."""

from __future__ import annotations

import re

from storage.config.vendor_keys import refuse_key
from storage.errors import UsageError
from storage.market.instruments import parse_symbol

#: Every symbol that has no source of its own.
OTHERS = "*"
_ENTRY = re.compile(r"(?:^|,)\s*([^,:\s]+)=(?=[a-z]+:)")


def urls_by_symbol(source: str) -> dict[str, str]:
    """Which source each symbol comes from.

    Parameters
    ----------
    source : a source's URL, or entries such as ``SPX=theta:,SPY=tradier:,*=cboe:``.

    Returns
    -------
    dict of str
        Symbol → URL; ``*`` stands for every other symbol. A URL alone is ``*`` alone.

    Raises
    ------
    UsageError
        If a symbol stands twice, or an entry is no symbol with a URL.
    """
    if not _ENTRY.match(source):
        return {OTHERS: source}
    urls: dict[str, str] = {}
    # What is split off: nothing, then symbol and URL in turn.
    parts = _ENTRY.split(source)[1:]
    for name, url in zip(parts[::2], parts[1::2], strict=True):
        symbol = OTHERS if name == OTHERS else parse_symbol(name)
        if symbol in urls:
            raise UsageError(f"names two sources for {symbol}")
        urls[symbol] = url.strip()
    return urls


def is_simulated(source: str) -> bool:
    """Whether rows of FLOW_SOURCE are made up.

    Parameters
    ----------
    source : the setting.

    Returns
    -------
    bool
        True if a symbol comes from the simulated market: then all do, or the source is refused.
    """
    return any(url.startswith("synthetic:") for url in urls_by_symbol(source).values())


def parse_source(text: str) -> str:
    """Read the setting FLOW_SOURCE.

    Parameters
    ----------
    text : its text.

    Returns
    -------
    str
        The text, as it was.

    Raises
    ------
    UsageError
        If a URL carries a key, or a symbol stands twice.
    """
    for url in urls_by_symbol(text).values():
        refuse_key(url)
    return text
