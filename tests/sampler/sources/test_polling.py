"""Requests a minute beside what plan and pace allow; expected numbers are arithmetic on paper."""

from __future__ import annotations

import math

import pytest

from sampler.opening import describe_polling
from sampler.sources import open_source
from sampler.sources.polling import Polling
from storage.config.vendor_keys import VendorKeys

KEYS = VendorKeys.read({"FLOW_TRADIER_TOKEN": "token", "FLOW_MASSIVE_KEY": "key"})


@pytest.mark.parametrize(
    ("polling", "symbols", "requests", "most", "words"),
    [
        # 120 a minute are 60 a slot, of which one is for all prices.
        (
            Polling(per_symbol=1, shared=1, plan=120, pace=0.1, budget=12),
            20, 21, 59,
            ("x: 20 symbols take up to 21 requests a slot, 42 a minute; the plan allows 120 a minute,"
            " so 59 symbols fit"),
        ),
        # 12 s at 0.2 s apart.
        (
            Polling(per_symbol=1, pace=0.2, budget=12),
            1, 1, 60,
            ("x: 1 symbol takes up to 1 request a slot, 2 a minute; a pace of 0.2 s starts 60 within"
            " 12 s, so 60 symbols fit"),
        ),
        # The pace allows 24 a slot, less than the plan's 60.
        (
            Polling(per_symbol=1, plan=120, pace=0.5, budget=12),
            30, 30, 24,
            ("x: 30 symbols take up to 30 requests a slot, 60 a minute; a pace of 0.5 s starts 24"
            " within 12 s, so 24 symbols fit"),
        ),
        # 240 a slot, three a symbol.
        (Polling(per_symbol=3, pace=0.05, budget=12), 14, 42, 80, "so 80 symbols fit"),
        (Polling(per_symbol=1, pace=0, budget=12), 5, 5, math.inf, "10 a minute"),
        (Polling(per_symbol=1, shared=1, plan=60, pace=0, budget=12), 0, 0, 29, "so 29 symbols fit"),
    ],
)  # fmt: skip
def test_arithmetic(polling: Polling, symbols: int, requests: int, most: float, words: str) -> None:
    """What a slot takes, and how many symbols fit."""
    assert polling.requests(symbols) == requests
    assert polling.most_symbols == most
    assert polling.sentence("x", symbols).endswith(words)


def test_each_vendor_has_its_sentence() -> None:
    """With sources by symbol each vendor counts its own symbols; files take nothing."""
    symbols = [f"S{i}" for i in range(70)]
    source = open_source("SPX=tradier:sandbox,QQQ=massive:,IWM=recorded:example,*=cboe:", KEYS)
    sentences = describe_polling(source, ["SPX", "QQQ", "IWM", *symbols])
    assert [(words.partition(":")[0], fits) for words, fits in sentences] == [
        ("tradier", True),
        ("massive", True),
        ("cboe", False),
    ]
    assert "the plan allows 60 a minute, so 29 symbols fit" in sentences[0][0]
    assert "70 symbols take up to 70 requests a slot, 140 a minute" in sentences[2][0]
    assert describe_polling(open_source("recorded:example"), symbols) == []
