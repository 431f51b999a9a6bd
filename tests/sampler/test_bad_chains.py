"""Odd chains through the whole step: each a stored row without a NaN, or a gap with its reason."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import orjson
import pytest
from chains import DAY, TEN_FOURTEEN, frame

from sampler.chain import Frame
from sampler.live.tick import Tick
from storage.postgres.store import Store
from storage.record.row import Reason
from storage.redis.channel import NoChannel

STEP = timedelta(seconds=30)
STRIKES = [7600.0 + 10 * i for i in range(21)]
N = 2 * len(STRIKES)
NAN, INF = float("nan"), float("inf")
CLOSE = TEN_FOURTEEN.replace(hour=20, minute=0, second=0)
MANY = 2.0**53
NO_PUTS = [1] * 21 + [0] * 21
NO_STRIKES = [-1e3, 0.0, 1e-5, 1e9, NAN, INF]

#: What is odd about a chain → a row, or the reason of its slot's gap.
CASES: dict[str, tuple[dict[str, object], str]] = {
    "no strikes": ({"strikes": []}, "no_zero_dte"),
    "one strike": ({"strikes": [7700.0]}, "stored"),
    "two strikes": ({"strikes": [7700.0, 7710.0]}, "stored"),
    "one strike, no spot": ({"strikes": [7700.0], "spot": NAN, "forward": 7700.0}, "no_spot"),
    "only calls": ({"right": NO_PUTS}, "stored"),
    "only puts": ({"right": [0] * 21 + [-1] * 21}, "stored"),
    "no rights": ({"right": [0] * N}, "no_zero_dte"),
    "no bids": ({"bid": [0.0] * N}, "no_iv"),
    "no asks": ({"ask": [0.0] * N}, "no_iv"),
    "bids of calls, asks of puts": ({"bid": [1.0] * 21 + [0.0] * 21}, "stored"),
    "no quotes": ({"bid": [NAN] * N, "ask": [NAN] * N}, "no_iv"),
    "all crossed": ({"bid": [2.0] * N, "ask": [1.0] * N}, "no_iv"),
    "negative quotes": ({"bid": [-1.0] * N, "ask": [-0.5] * N}, "no_iv"),
    "infinite quotes": ({"bid": [INF] * N, "ask": [INF] * N}, "no_iv"),
    "quotes below intrinsic": ({"bid": [1e-3] * N, "ask": [2e-3] * N, "forward": 9000.0}, "stored"),
    "quotes above the strike": ({"bid": [8e3] * N, "ask": [9e3] * N}, "no_iv"),
    "quotes of next to nothing": ({"bid": [5e-324] * N, "ask": [1e-323] * N}, "stored"),
    "trades without bounds": ({"signed_volume": [INF, -INF, 1e300] * 14}, "stored"),
    "spot 0": ({"spot": 0.0, "forward": 7700.0}, "stored"),
    "spot NaN": ({"spot": NAN, "forward": 7700.0}, "stored"),
    "spot negative": ({"spot": -7700.0, "forward": 7700.0}, "stored"),
    "spot infinite": ({"spot": INF, "forward": 7700.0}, "stored"),
    "spot NaN, no quotes": ({"spot": NAN, "forward": 7700.0, "bid": [0.0] * N}, "no_spot"),
    "spot 1e-3": ({"spot": 1e-3, "forward": 7700.0}, "stored"),
    "no open interest": ({"open_interest": [0.0] * N}, "stored"),
    "open interest NaN": ({"open_interest": [NAN] * N}, "stored"),
    "open interest negative": ({"open_interest": [-1.0] * N}, "stored"),
    "open interest near 2^53": ({"open_interest": [MANY - 1] * N}, "stored"),
    "strikes from 1e-3 to 1e6": ({"strikes": [1e-3, *STRIKES, 1e6]}, "stored"),
    "strikes that are none": ({"strike": [*NO_STRIKES, *STRIKES[6:], *STRIKES]}, "stored"),
    "no usable strike": ({"strike": NO_STRIKES * 7}, "no_zero_dte"),
    "strikes twice": ({"strikes": sorted([*STRIKES, *STRIKES])}, "stored"),
    "volume near 2^53": ({"volume": [MANY - 1] * N}, "stored"),
    "volume beyond 2^53": ({"volume": [1e300] * N}, "stored"),
    "volume NaN": ({"volume": [NAN] * N}, "stored"),
    "volume negative": ({"volume": [-5.0] * N}, "stored"),
    "volume down to 0": ({"volume": [0.0] * N}, "stored"),
    "last trades without a price": ({"last": [NAN] * N, "volume": [99.0] * N}, "stored"),
    "last trades of another day": ({"last_at": [0.0] * N, "volume": [99.0] * N}, "stored"),
    "a volatility of 900 %": ({"sigma": 9.0}, "stored"),
    "hardly any volatility": ({"sigma": 1e-3}, "stored"),
    "quotes locked": ({"half_spread": 0.0}, "stored"),
}
#: Seconds before the close; what is left of a quiet chain by then.
ENDS = {1e-6: "stored", 1.0: "stored", 59.0: "stored", 0.0: "after_close", -1.0: "after_close"}


class Script:
    """A source whose next answer is the test's."""

    name, delay_seconds, synthetic, remote = "test", 0, False, False
    answer: Frame

    async def live(self, symbol, now):
        return self.answer

    def newest(self, symbol):
        return None

    async def close(self):
        pass


async def step(store: Store, source: Script, symbol: str, answer: Frame):
    """One step that asks for the slot nearest to what the source will answer."""
    source.answer = answer
    tick = Tick(source, store, NoChannel(), oi_confidence=0.43, budget=5, quiet=True)
    quoted = answer.quoted_at
    on_grid = quoted.replace(second=quoted.second // 30 * 30, microsecond=0)
    return await tick.sample(symbol, now=quoted, target=min(on_grid, CLOSE - STEP))


def finite(value: object) -> bool:
    """Whether a row's values hold no number that is none."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(finite, value))
    return not isinstance(value, float) or bool(np.isfinite(value))


def sound(record) -> None:
    """Assert that a stored record can be served: JSON without NaN, profiles of finite numbers."""
    plain = record.row.as_json()
    assert finite(plain)
    assert orjson.loads(orjson.dumps(plain))["symbol"] == record.row.symbol
    market = ("own_iv", "call_bid", "call_ask", "put_bid", "put_ask")
    for name, array in record.profile.items():
        assert name in market or np.isfinite(array).all(), name


async def test_odd_chains_are_rows_or_gaps(store):
    """In the middle of a session and as its first sample, and the next good one goes on."""
    outcomes, expected = {}, {}
    source = Script()
    for number, (name, (changes, outcome)) in enumerate(CASES.items()):
        for start in ("first", "later"):
            symbol = f"{start[0].upper()}{number}"
            good = [frame(symbol=symbol, quoted_at=TEN_FOURTEEN + i * STEP) for i in range(3)]
            if start == "later":
                assert (await step(store, source, symbol, good[0])).stored
            odd = frame(**({"symbol": symbol, "quoted_at": TEN_FOURTEEN + STEP} | changes))
            taken = await step(store, source, symbol, odd)
            # Once the session has a row, an answer without today's contracts is a bad one.
            sampled = start == "later" and outcome == "no_zero_dte"
            expected[name, start] = "bad_answer" if sampled else outcome
            outcomes[name, start] = "stored" if taken.stored else str(taken.reason)
            if taken.record is not None:
                sound(taken.record)
            elif taken.reason is not Reason.FAILED:
                (gap,) = await store.gaps(symbol, DAY)
                assert (gap["reason"], bool(gap["detail"])) == (taken.reason, True), name
            after = await step(store, source, symbol, good[2])
            idle = start == "first" and after.reason is Reason.NO_ZERO_DTE
            assert after.stored or idle, (name, start, after.detail)
            if after.record is not None:
                sound(after.record)
    assert outcomes == expected


@pytest.mark.parametrize("symbol", ["SPX", "SPY"])
async def test_the_end_of_a_session(store, symbol):
    """To the last microsecond a row; from the close on a gap, never an exception."""
    outcomes = {}
    for number, seconds in enumerate(ENDS):
        name = symbol if number == 0 else f"{symbol}{number}"
        moment = CLOSE - timedelta(seconds=seconds)
        dense = [7690.0 + i for i in range(21)]
        odd = frame(symbol=name, quoted_at=moment, strikes=dense, half_spread=0.01)
        outcome = await step(store, Script(), name, odd)
        outcomes[seconds] = "stored" if outcome.stored else str(outcome.reason)
        if outcome.record is not None:
            sound(outcome.record)
    assert outcomes == ENDS
