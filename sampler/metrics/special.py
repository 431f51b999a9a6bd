"""The normal distribution for compiled loops, and the compiling itself.

`norm_pdf`, `norm_cdf` and `mills` are numba functions of one float: call them from other compiled
functions. `compiled` turns a loop over arrays into machine code.
"""

import functools
import hashlib
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

#: Types for `compiled`: a float64 column that is only read, and one that is written.
READ = numba.types.Array(numba.float64, 1, "C", readonly=True)
WRITE = numba.types.Array(numba.float64, 1, "C")
#: The same for bool columns and for a table written row by row.
READ_BOOL = numba.types.Array(numba.boolean, 1, "C", readonly=True)
WRITE_TABLE = numba.types.Array(numba.float64, 2, "C")

_ROOT_2PI = math.sqrt(2.0 * math.pi)

# Mills' ratio Y(a) = N(-a)/n(a) and D(a) = 1 - a·Y(a) as P/Q and N/Q with one Q. Fitted by us at
# 70 digits with mpmath over 0 <= a <= 60: linearised least squares for D = N/Q, degrees 10 and 12,
# N(0) = Q(0) = 1, reweighted (Lawson) until the relative errors of D and of Y level out, at 5e-18;
# then P = (Q - N)/a exactly. All coefficients come out positive, so nothing cancels.
_P = (
    1.2533141373155003, 2.323333808716885, 2.1294483571097085, 1.2572535388578077,
    0.5275518403757427, 0.16461144520366133, 0.03893705532852838, 0.006990074254855872,
    0.0009364269200821191, 8.96800593342361e-05, 5.57915803386643e-06, 1.7372531815999435e-07,
)  # fmt: skip
_N = (
    1.0, 1.3983225990538843, 0.9914201712548425, 0.4586290061214708, 0.15151524750618847,
    0.037119992869643, 0.006812451394419303, 0.0009252686039222527, 8.933260869904687e-05,
    5.579158033858139e-06, 1.737253181600216e-07,
)  # fmt: skip
_Q = (
    1.0, 2.6516367363693845, 3.3147539799717274, 2.5880773632311795, 1.4087687863639962,
    0.5646718332453857, 0.17142389659808066, 0.039862323932450636, 0.007079406863554919,
    0.0009420060781159772, 8.985378465239613e-05, 5.57915803386643e-06, 1.7372531815999435e-07,
)  # fmt: skip


def scalar(function: Function) -> Function:
    """Make a small function callable from compiled ones; LLVM inlines it, nothing is cached."""
    jitted: Function = numba.njit(error_model="numpy")(function)
    return jitted


def compiled(function: Callable[..., None], *types: Any) -> Callable[..., None]:
    """Compile a loop for exactly these argument types, from numba's cache where there is one.

    The cache is $NUMBA_CACHE_DIR, the source's __pycache__ or the home's, whichever can be
    written. Where none can (a hardened service), or what lies there is damaged or full, it is
    compiled in memory instead: seconds at each start, but never an error.
    """
    # numba notices changes of the function's own file only, not of what it calls elsewhere.
    function.__qualname__ = f"{function.__name__}-{_fingerprint(function)}"
    signature = numba.void(*types)
    try:
        return _jit(function, signature, cache=True)
    except Exception:  # whatever a foreign file can do: OSError, RuntimeError, UnpicklingError…
        return _jit(function, signature, cache=False)


def _jit(function: Callable[..., None], signature: Any, *, cache: bool) -> Callable[..., None]:
    # fastmath stays off: it would let scalar and array results differ in the last bits.
    jit = numba.njit(signature, cache=cache, error_model="numpy", nogil=True)
    dispatcher: Callable[..., None] = jit(function)
    return dispatcher


def _fingerprint(function: Callable[..., None]) -> str:
    """Return a hash over the bytecode and constants of a function and of all that it calls."""
    digest, todo, seen = hashlib.sha256(), [function], set()
    while todo:
        current = todo.pop()
        code = current.__code__
        digest.update(repr((code.co_name, code.co_code, code.co_consts)).encode())
        for name in code.co_names:
            value = current.__globals__.get(name)
            called = getattr(value, "py_func", None)
            if called is None:
                digest.update(repr((name, value)).encode() if isinstance(value, float | tuple) else b"")
            elif called not in seen:
                seen.add(called)
                todo.append(called)
    return digest.hexdigest()[:12]


@scalar
def _horner(coefficients: tuple[float, ...], x: float) -> float:
    total = coefficients[-1]
    for i in range(len(coefficients) - 2, -1, -1):
        total = total * x + coefficients[i]
    return total


@scalar
def mills(a: float) -> tuple[float, float]:
    """Return Y(a) = N(-a)/n(a) and D(a) = 1 - a·Y(a), for a >= 0, to ~4e-16 relative.

    Y is Mills' ratio, √(π/2)·erfcx(a/√2), and D its slope's size, without the cancellation of
    1 - a·Y. Both fall from 1.2533 and 1 like 1/a and 1/a².
    """
    a = min(a, 1e16)  # so that the powers stay finite; n(a) is 0 long before
    q = 1.0 / _horner(_Q, a)
    return _horner(_P, a) * q, _horner(_N, a) * q


@scalar
def norm_pdf(x: float) -> float:
    """Return n(x) = exp(-x²/2)/√(2π)."""
    return math.exp(-0.5 * x * x) / _ROOT_2PI


@scalar
def norm_cdf(x: float) -> float:
    """Return N(x), to ~x²·1e-16 relative in the lower tail, where it falls to 0 at x = -38."""
    tail = norm_pdf(x) * mills(abs(x))[0]
    return tail if x < 0.0 else 1.0 - tail
