"""Time per contract of the implied volatility and the greeks, beside the peers that are installed.

Run it with an interpreter that has numba and the peers (iv-engine, py_vollib_vectorized, vollib,
QuantLib), none of which this project needs: ``python tests/benchmarks/bench_black.py``.

All run in one thread, interleaved: each round times everybody once, and the medians over rounds
are shown, of the times and of ours over theirs in the same round. A peer gets its arrays ready-made
in the form it likes, puts and calls apart where it takes one right a call. Errors are of σ,
relative, against the σ that made the prices; on the real chain, against ours.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
CHAIN = ROOT / "../shared/data/chains/SPX/SPX_2026-08-19T101421.json"
sys.path.insert(0, str(ROOT))

from sampler import metrics  # noqa: E402
from sampler.metrics import black  # noqa: E402

YEAR = 31_536_000.0
ROUNDS = 201
#: A round repeats a call for at least this long. [s]
LEAST = 0.001

Run = Callable[[], Any]


class Chain(NamedTuple):
    name: str
    forward: float
    strike: NDArray[np.float64]
    years: float
    price: NDArray[np.float64]
    call: NDArray[np.bool_]
    sigma: NDArray[np.float64]


def synthetic(n: int = 500) -> Chain:
    """Out-of-the-money contracts six standard deviations either way, on a smile."""
    forward, years = 7711.95, 20_739 / YEAR
    z = np.linspace(-6, 6, n)
    strike = forward * np.exp(z * 0.15 * years**0.5)
    sigma = 0.15 - 0.01 * z + 0.005 * z * z
    call = strike >= forward
    value = np.asarray(black.price(forward, strike, years, sigma, call))
    return Chain(f"{n} contracts, synthetic", forward, strike, years, value, call, sigma)


def recorded() -> Chain | None:
    """Today's two-sided out-of-the-money quotes of a real SPX chain; None where it is absent."""
    if not CHAIN.exists():
        return None
    quotes = json.loads(CHAIN.read_text())["o"]
    today = min(q["e"] for q in quotes)
    mid = {
        (q["k"], q["t"]): (q["b"] + q["a"]) / 2
        for q in quotes
        if q["e"] == today and q["a"] >= q["b"] > 0
    }
    pairs = sorted(
        (abs(mid[k, "C"] - mid[k, "P"]), k + mid[k, "C"] - mid[k, "P"])
        for k, right in mid
        if right == "C" and (k, "P") in mid
    )
    forward = statistics.median(level for _, level in pairs[:12])
    usable = sorted(k for k, right in mid if right == ("C" if k >= forward else "P"))
    strike = np.array(usable, np.float64)
    call = strike >= forward
    value = np.array([mid[k, "C" if c else "P"] for k, c in zip(usable, call, strict=True)])
    years = 20_739 / YEAR
    sigma = black.implied_volatility(value, forward, strike, years, call)
    return Chain(f"{len(strike)} contracts, SPX", forward, strike, years, value, call, sigma)


def ours(c: Chain) -> tuple[Run, Run]:
    return (
        lambda: black.implied_volatility(c.price, c.forward, c.strike, c.years, c.call),
        lambda: black.greeks(c.forward, c.forward, c.strike, c.years, c.sigma),
    )


def iv_engine(c: Chain) -> tuple[Run, Run]:
    """Its four greeks: it has no theta and no charm for arrays; puts' deltas come by parity."""
    iv = importlib.import_module("iv_engine")
    put = ~c.call
    sides = [(c.price[put], c.strike[put], False), (c.price[c.call], c.strike[c.call], True)]

    def volatility() -> Any:
        return np.concatenate(
            [
                iv.implied_volatilities(p, c.forward, k, c.years, right, parallel=False)
                for p, k, right in sides
            ]
        )

    def greeks() -> Any:
        return [
            greek(c.forward, c.strike, c.years, c.sigma, parallel=False)
            for greek in (iv.deltas, iv.gammas, iv.vegas, iv.vannas)
        ]

    return volatility, greeks


def py_vollib_vectorized(c: Chain) -> tuple[Run, Run]:
    """Its four greeks: delta, gamma, theta, vega."""
    if importlib.util.find_spec("vollib"):
        raise RuntimeError("breaks vollib by patching it: wants an environment without")
    lib = importlib.import_module("py_vollib_vectorized")
    flag = np.where(c.call, "c", "p")
    args = (flag, c.forward, c.strike, c.years, 0.0)
    kinds = (
        lib.vectorized_delta,
        lib.vectorized_gamma,
        lib.vectorized_theta,
        lib.vectorized_vega,
    )
    return (
        lambda: lib.vectorized_implied_volatility_black(
            c.price, c.forward, c.strike, 0.0, c.years, flag, return_as="numpy"
        ),
        lambda: [kind(*args, c.sigma, model="black", return_as="numpy") for kind in kinds],
    )


def vollib(c: Chain) -> tuple[Run, Run]:
    """Scalar functions in a loop; its four analytical greeks."""
    solve = importlib.import_module("vollib.black.implied_volatility").implied_volatility
    greek = importlib.import_module("vollib.black.greeks.analytical")
    kinds = (greek.delta, greek.gamma, greek.theta, greek.vega)
    flag = ["c" if right else "p" for right in c.call]
    rows = list(zip(c.price.tolist(), c.strike.tolist(), flag, c.sigma.tolist(), strict=True))
    return (
        lambda: [solve(p, c.forward, k, 0.0, c.years, f) for p, k, f, _ in rows],
        lambda: [kind(f, c.forward, k, c.years, 0.0, s) for _, k, f, s in rows for kind in kinds],
    )


def quantlib(c: Chain) -> tuple[Run, Run]:
    """Scalar functions in a loop, through SWIG; delta, gamma, vega, theta."""
    ql = importlib.import_module("QuantLib")
    right = [ql.Option.Call if call else ql.Option.Put for call in c.call]
    rows = list(zip(c.price.tolist(), c.strike.tolist(), right, c.sigma.tolist(), strict=True))
    root = c.years**0.5

    def greeks() -> Any:
        table_rows = []
        for _, k, r, s in rows:
            black_ = ql.BlackCalculator(ql.PlainVanillaPayoff(r, k), c.forward, s * root)
            table_rows.append(
                (
                    black_.delta(c.forward),
                    black_.gamma(c.forward),
                    black_.vega(c.years),
                    black_.theta(c.forward, c.years),
                )
            )
        return table_rows

    return (
        lambda: [
            ql.blackFormulaImpliedStdDev(r, k, c.forward, p, 1.0, 0.0, 0.005, 1e-14, 100) / root
            for p, k, r, _ in rows
        ],
        greeks,
    )


PEERS = {
    "iv-engine": iv_engine,
    "vollib": vollib,
    "QuantLib": quantlib,
    "py_vollib_vectorized": py_vollib_vectorized,
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def tried(run: Run) -> Run | str:
    try:
        run()
    except Exception as error:
        return f"does not run: {type(error).__name__}: {error}".splitlines()[0]
    return run


def once(run: Run, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def rounds(runs: dict[str, Run]) -> dict[str, list[float]]:
    """Seconds a call, by round; who takes long gets fewer rounds."""
    times = {name: max(1, int(LEAST / max(once(run, 3), 1e-9))) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS):
        for name, run in runs.items():
            if turn < 5 or sum(seconds[name]) * times[name] < 2.0:
                seconds[name].append(once(run, times[name]))
    return seconds


def table(title: str, chain: Chain, runs: dict[str, Run | str], *, errors: bool) -> None:
    print(f"\n{title}, {chain.name}")
    times = rounds({name: run for name, run in runs.items() if not isinstance(run, str)})
    for name, run in runs.items():
        if isinstance(run, str):
            print(f"  {name:<22}{run}")
            continue
        seconds = statistics.median(times[name])
        ratio = statistics.median(a / b for a, b in zip(times["ours"], times[name], strict=False))
        line = f"  {name:<22}{seconds * 1e9 / len(chain.strike):10.0f} ns a contract"
        line += f"{seconds * 1e6:10.1f} µs a call   ours/theirs {ratio:.3f}"
        if errors:
            line += f"   largest error {np.max(np.abs(np.asarray(run()) / chain.sigma - 1)):.0e}"
        print(line)


def main() -> None:
    metrics.load_compiled()
    for chain in (synthetic(), recorded()):
        if chain is None:
            print(f"\nno recorded chain at {CHAIN}")
            continue
        volatility, greeks = ours(chain)
        ivs: dict[str, Run | str] = {"ours": volatility}
        gks: dict[str, Run | str] = {"ours": greeks}
        for name, peer in PEERS.items():
            try:
                ivs[name], gks[name] = map(tried, peer(chain))
            except ModuleNotFoundError as error:
                ivs[name] = gks[name] = f"not installed ({error.name})"
            except RuntimeError as error:
                ivs[name] = gks[name] = str(error)
        table("Implied volatility", chain, ivs, errors=True)
        table("Greeks (ours seven, theirs four)", chain, gks, errors=False)


if __name__ == "__main__":
    with quiet():
        main()
