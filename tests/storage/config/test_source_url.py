"""FLOW_SOURCE: one URL, or one for each symbol."""

from __future__ import annotations

import pytest

from storage.config.settings import Settings
from storage.config.source_url import is_simulated, urls_by_symbol
from storage.errors import UsageError


@pytest.mark.parametrize(
    ("source", "urls"),
    [
        ("", {"*": ""}),
        ("auto", {"*": "auto"}),
        ("cboe:", {"*": "cboe:"}),
        ("synthetic:?seed=7", {"*": "synthetic:?seed=7"}),
        ("recorded:/data/a=b:c,d", {"*": "recorded:/data/a=b:c,d"}),
        ("SPX=theta:", {"SPX": "theta:"}),
        (
            "SPX=theta:,SPY=tradier:,*=cboe:",
            {"SPX": "theta:", "SPY": "tradier:", "*": "cboe:"},
        ),
        (
            "spx=theta:http://127.0.0.1:25503/v3?plan=standard, *=cboe:?pace=0.5,QQQ=tradier:sandbox",
            {
                "SPX": "theta:http://127.0.0.1:25503/v3?plan=standard",
                "*": "cboe:?pace=0.5",
                "QQQ": "tradier:sandbox",
            },
        ),
        ("ES=F=cboe:,BRK.B=schwab:", {"ES=F": "cboe:", "BRK.B": "schwab:"}),
    ],
)
def test_urls_by_symbol(source, urls):
    """A URL alone is every symbol's; entries are a symbol and a URL, in any order."""
    assert urls_by_symbol(source) == urls
    assert Settings.read({"FLOW_SOURCE": source}).source == source


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("SPX=theta:,SPX=cboe:", "names two sources for SPX"),
        ("*=theta:,*=cboe:", "names two sources for *"),
        ("S$X=theta:,*=cboe:", "'S$X' is not a symbol"),
        ("SPX=theta:,SPY=tradier:?token=abc", "FLOW_TRADIER_TOKEN"),
        ("SPX=recorded:/data/chains_20260210_from_0930,SPY=massive:k1k2k3k4k5k6k7k8", "MASSIVE"),
    ],
)
def test_bad_entries(source, words):
    """A symbol that stands twice, no symbol, and a key in one of the entries are refused."""
    with pytest.raises(UsageError) as caught:
        Settings.read({"FLOW_SOURCE": source})
    assert words in str(caught.value)
    assert "k1k2k3" not in str(caught.value)


def test_simulated():
    """Rows are made up where a source is the simulated market."""
    assert is_simulated("synthetic:?seed=1")
    assert is_simulated("SPX=synthetic:?seed=1")
    assert not is_simulated("SPX=theta:,*=cboe:")
    assert not is_simulated("")
