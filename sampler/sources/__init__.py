"""Where chains come from: one file a source, opened by URL.

A source knows its vendor's format and its network, and nothing else: no store, no clock, and no log
but for what it alone can know, such as a login that is about to end.
"""

from __future__ import annotations

from collections.abc import Callable

from sampler.sources.by_symbol import BySymbol
from sampler.sources.cboe import Cboe
from sampler.sources.databento.purchase import DatabentoPurchases
from sampler.sources.datashop.source import DataShop
from sampler.sources.dxlink.source import Dxlink
from sampler.sources.exported import ExportedChains
from sampler.sources.massive.source import Massive
from sampler.sources.orats.source import Orats
from sampler.sources.protocol import AnnouncedHistory, KnowsCloses, PaidHistory, Source
from sampler.sources.recorded import Recorded
from sampler.sources.schwab.source import Schwab
from sampler.sources.synthetic.source import Synthetic
from sampler.sources.theta.source import Theta
from sampler.sources.tradier.source import Tradier
from storage.config.source_url import OTHERS, urls_by_symbol
from storage.config.vendor_keys import NO_KEYS, VendorKeys, refuse_key
from storage.errors import UsageError

__all__ = ["SOURCES", "AnnouncedHistory", "KnowsCloses", "PaidHistory", "Source", "open_source"]

#: URL scheme → what opens it, with the rest of the URL and the vendors' keys.
SOURCES: dict[str, Callable[[str, VendorKeys], Source]] = {
    "cboe": Cboe.open,
    "recorded": Recorded.open,
    "parquet": ExportedChains.open,
    "synthetic": Synthetic.open,
    "tradier": Tradier.open,
    "massive": Massive.open,
    "theta": Theta.open,
    "schwab": Schwab.open,
    "dxlink": Dxlink.open,
    "datashop": DataShop.open,
    "databento": DatabentoPurchases.open,
    "orats": Orats.open,
}


def open_source(url: str, keys: VendorKeys = NO_KEYS) -> Source:
    """The source that a URL names, e.g. ``cboe:``, ``recorded:chains/``, ``synthetic:?seed=7``.

    Or one for each symbol: ``SPX=theta:,*=cboe:``.

    Parameters
    ----------
    url : A scheme of ``SOURCES``, a colon, and what that source reads from the rest; or
        entries ``SYMBOL=URL``, comma-separated, ``*`` for every other symbol.
    keys : the vendors' keys; a source takes its own.

    Returns
    -------
    Source
        The source. Nothing has been fetched yet.

    Raises
    ------
    UsageError
        For an unknown scheme, an unknown option, a missing file or key, or a URL that carries a
        key.
    """
    urls = urls_by_symbol(url)
    if set(urls) != {OTHERS}:
        return BySymbol(urls, lambda own_url: open_source(own_url, keys))
    scheme, _, rest = refuse_key(urls[OTHERS]).partition(":")
    if scheme not in SOURCES:
        known = ", ".join(f"{name}:" for name in SOURCES)
        raise UsageError(f"unknown source {url[:60]!r}; the known ones are {known}")
    return SOURCES[scheme](rest, keys)
