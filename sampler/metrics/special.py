"""Normal distribution and normalised Black for compiled loops, and the compiling itself.

`norm_pdf`, `norm_cdf`, `mills`, `log_moneyness`, `time_value` are numba functions of floats, to be
called from other compiled functions; `compiled` makes machine code of a loop over arrays.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import operator
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Loop = Callable[..., None]
Function = TypeVar("Function", bound=Callable[..., Any])

#: Argument types for `compiled`: a float; a column, table, table of flags to read; ones to fill.
LEVEL = numba.float64
READ = numba.types.Array(numba.float64, 1, "C", readonly=True)
READ_TABLE = numba.types.Array(numba.float64, 2, "C", readonly=True)
READ_FLAGS = numba.types.Array(numba.boolean, 2, "C", readonly=True)
WRITE = numba.types.Array(numba.float64, 1, "C")
WRITE_TABLE = numba.types.Array(numba.float64, 2, "C")

#: Total volatility σ√T up to which four terms of `price_to_vega_series` are exact.
NARROW = 0.04
_FLOAT = np.dtype(np.float64)
_FLOATS = {float, np.float64}
#: The functions that compile a module's loops, in the order of import.
_LOADERS: list[Callable[[], Any]] = []
#: The loops that are loaded.
_COMPILED: list[Any] = []
_SHAPE = operator.attrgetter("shape")
_ROOT_2PI = math.sqrt(2.0 * math.pi)

# Mills' ratio Y(a) = N(-a)/n(a) and D(a) = 1 - a·Y(a) as P/Q and N/Q over one Q. Our own fit, at 70
# digits with mpmath, for 0 <= a <= 60: linearised least squares for D = N/Q, degrees 10 and 12 with
# N(0) = Q(0) = 1, reweighted (Lawson) until the relative errors of D and Y are level, at 5e-18;
# then P = (Q - N)/a, exactly. Every coefficient comes out positive, so nothing cancels.
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
    """Make a function of floats callable from compiled code; LLVM decides whether to inline it.

    Parameters
    ----------
    function : of floats, or of columns of floats.

    Returns
    -------
    callable
        The same function, compiled at its first use.
    """
    return cast("Function", numba.njit(error_model="numpy")(function))


def inlined(function: Function) -> Function:
    """Make a function of floats part of its callers, so that LLVM can run their loops on vectors.

    For hot, branch-free code: it is compiled anew in each place.

    Parameters
    ----------
    function : of floats, or of columns of floats.

    Returns
    -------
    callable
        The same function, compiled into its callers.
    """
    return cast("Function", numba.njit(error_model="numpy", forceinline=True)(function))


def compiled(function: Loop, *types: Any) -> Loop:
    """Compile a loop for exactly these argument types, or load it from numba's cache.

    The cache is in $NUMBA_CACHE_DIR, beside the source or in the home, the first that can be
    written. Where none can, or what is there is damaged, the code is compiled in memory: some
    seconds at each start, but never an error.

    Parameters
    ----------
    function : fills its last arguments, and returns nothing; it may be a ``scalar`` one.
    *types : of its arguments, such as ``LEVEL``, ``READ`` and ``WRITE_TABLE``.

    Returns
    -------
    callable
        Machine code that takes these types alone, and lets other threads run.
    """
    function = getattr(function, "py_func", function)
    # fastmath stays off: results would depend on an element's place in its array.
    jit = functools.partial(numba.njit, numba.void(*types), error_model="numpy", nogil=True)
    try:
        # numba looks for changes in the function's own file only; the name carries the rest.
        function.__qualname__ = f"{function.__name__}-{_sources_hash(function)}"
        loop = jit(cache=True)(function)
    except Exception:  # OSError, RuntimeError, UnpicklingError, EOFError: whatever a file can do
        loop = jit()(function)
    _COMPILED.append(loop)
    return cast("Loop", loop)


def load_once(load: Function) -> Function:
    """Run a loader of compiled loops once, at its first use or when all loops are loaded.

    Parameters
    ----------
    load : without arguments; returns a module's compiled loops.

    Returns
    -------
    callable
        The loader; from its second call on it gives the first result.
    """
    once = functools.cache(load)
    _LOADERS.append(once)
    return cast("Function", once)


def load_all_loops(report: Callable[[int, int], None] | None = None) -> None:
    """Load or compile the loops of every module that was imported.

    Parameters
    ----------
    report : called before each loader and at the end, with the loaders that are done and all.
    """
    for done, load in enumerate(_LOADERS):
        if report is not None:
            report(done, len(_LOADERS))
        load()
    if report is not None:
        report(len(_LOADERS), len(_LOADERS))


def cache_folder() -> str | None:
    """Return the folder where the loaded loops are kept; None if one of them is not kept."""
    folders = [loop.stats.cache_path for loop in _COMPILED]
    return str(folders[0]) if folders and all(folders) else None


def _sources_hash(function: Loop) -> str:
    """Hash the modules of a function and of every compiled function it reaches, and their numbers.

    A number may come from a module that no function is called of; compiled code has it built in.
    """
    sources, todo = {}, [function]
    for reached in todo:
        sources[reached.__module__] = inspect.getsource(sys.modules[reached.__module__])
        for name in reached.__code__.co_names:
            named = reached.__globals__.get(name)
            if isinstance(named, int | float):
                sources[f"{reached.__module__}.{name}"] = repr(named)
            callee = getattr(named, "py_func", None)
            if callee is not None and callee not in todo:
                todo.append(callee)
    return hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()[:12]


def tabulate(
    loop: Loop, rows: int, levels: tuple[ArrayLike, ...], columns: tuple[ArrayLike, ...]
) -> Floats:
    """Return the table (rows, *shape) that a loop fills from arguments that broadcast.

    The loop takes the levels (forward, years, ...) as floats, then the columns (strike, ...), each
    of one common length or of length 1 for `at`, then the table. Levels may be arrays too, but
    then each element costs a call.

    Parameters
    ----------
    loop : compiled; fills the table's rows.
    rows : how many rows the table has.
    levels, columns : arrays that broadcast, or scalars, in the units that the loop takes.

    Returns
    -------
    ndarray
        The table. (rows, *shape), shape the common one of levels and columns.

    Raises
    ------
    ValueError
        Where the shapes do not broadcast.
    """
    arrays = [np.ascontiguousarray(column, _FLOAT) for column in columns]
    shapes = set(map(_SHAPE, arrays))
    shapes.discard((1,))
    if len(shapes) == 1 and _FLOATS.issuperset(map(type, levels)):
        (shape,) = shapes
        if len(shape) == 1:  # a chain: broadcasting would take longer than the loop
            table = np.empty((rows, shape[0]))
            loop(*levels, *arrays, table)
            return table
    return _tabulate_any(loop, rows, levels, columns)


def _tabulate_any(
    loop: Loop, rows: int, levels: tuple[ArrayLike, ...], columns: tuple[ArrayLike, ...]
) -> Floats:
    shape = np.broadcast_shapes(*map(np.shape, levels), *map(np.shape, columns))

    def flat(value: ArrayLike) -> Floats:
        return np.array(np.broadcast_to(value, shape), _FLOAT).reshape(-1)

    arrays = [flat(column) for column in columns]
    table = np.empty((rows, math.prod(shape)))
    if all(np.ndim(level) == 0 for level in levels):
        loop(*[float(np.asarray(level)) for level in levels], *arrays, table)
    else:
        fixed, cell = [flat(level) for level in levels], np.empty((rows, 1))
        for i in range(table.shape[1]):
            loop(*[level[i] for level in fixed], *[column[i : i + 1] for column in arrays], cell)
            table[:, i] = cell[:, 0]
    return table.reshape(rows, *shape)


@inlined
def element(column: Floats, i: int) -> float:
    """Element i of a column, or the only one of a column of length 1.

    Parameters
    ----------
    column : (n,) or (1,), in any unit.
    i : index, 0 to n - 1.

    Returns
    -------
    float
        The element, in the column's unit.
    """
    value: float = column[min(i, column.size - 1)]
    return value


@inlined
def _horner(coefficients: tuple[float, ...], x: float) -> float:
    total = coefficients[-1]
    for i in range(len(coefficients) - 2, -1, -1):
        total = total * x + coefficients[i]
    return total


@inlined
def mills(a: float) -> tuple[float, float]:
    """Return Y(a) = N(-a)/n(a) and D(a) = 1 - a·Y(a), for a >= 0.

    Y is Mills' ratio, √(π/2)·erfcx(a/√2); D, the size of its slope, comes without the cancellation
    of 1 - a·Y. They fall from 1.2533 and 1 like 1/a and 1/a².

    Parameters
    ----------
    a : 0 or more. [standard deviations]

    Returns
    -------
    tuple of float
        Y and D, without unit.
    """
    a = min(a, 1e16)  # so that the powers stay finite; n(a) is 0 long before
    q = 1.0 / _horner(_Q, a)
    return _horner(_P, a) * q, _horner(_N, a) * q


@inlined
def norm_pdf(x: float) -> float:
    """Return n(x) = exp(-x²/2)/√(2π).

    Parameters
    ----------
    x : any. [standard deviations]

    Returns
    -------
    float
        Density of the normal distribution.
    """
    return math.exp(-0.5 * x * x) / _ROOT_2PI


@inlined
def norm_cdf(x: float) -> float:
    """Return N(x); in the lower tail the relative error is about x²·1e-16, down to x = -37.

    Parameters
    ----------
    x : any. [standard deviations]

    Returns
    -------
    float
        Normal probability of a value below x. [0-1]
    """
    tail = norm_pdf(x) * mills(abs(x))[0]
    return tail if x < 0.0 else 1.0 - tail


@inlined
def log_moneyness(forward: float, strike: float) -> float:
    """Return ln(F/K), from the difference: near the money that is exact and F/K is not.

    Parameters
    ----------
    forward, strike : F and K, above 0. [$]

    Returns
    -------
    float
        ln(F/K), without unit.
    """
    x = math.log1p(abs(forward - strike) / min(forward, strike))
    return x if forward >= strike else -x


@scalar
def mills_at(z: float) -> float:
    """Return Y(z) = N(-z)/n(z) for either sign; infinite below z = -37.

    Parameters
    ----------
    z : any. [standard deviations]

    Returns
    -------
    float
        Y, without unit.
    """
    y = mills(abs(z))[0]
    return y if z >= 0.0 else _ROOT_2PI * math.exp(0.5 * z * z) - y


@inlined
def price_to_vega_series(a: float, t: float, terms: int) -> float:
    """Return Y(a-t) - Y(a+t) as a Taylor series in t; the difference cancels when t is small.

    Four terms are exact for 2t < NARROW, twelve for t < 1/2 and a·t < 1/2.

    Parameters
    ----------
    a : |ln(F/K)|/σ√T. [standard deviations]
    t : σ√T/2, without unit.
    terms : how many of the series.

    Returns
    -------
    float
        The difference, without unit.
    """
    # Derivatives in -a, all positive: Y' = 1 - a·Y = D, then the recurrence of Y'' = Y - a·Y'.
    even, odd = mills(a)
    total, power = odd, 1.0
    for k in range(1, terms):
        even = (2 * k - 1) * even - a * odd
        odd = 2 * k * odd - a * even
        power *= t * t * (1.0 / (2 * k * (2 * k + 1)))
        total += power * odd
    return 2.0 * t * total


@scalar
def price_to_vega(a: float, t: float) -> float:
    """Return R = Y(a-t) - Y(a+t), an out-of-the-money price over its vega in s = σ√T.

    a = |ln(F/K)|/s, t = s/2; the vega is √(FK)·n(a)·exp(-t²/2). Relative error below a²·1e-15.

    Parameters
    ----------
    a : |ln(F/K)|/σ√T. [standard deviations]
    t : σ√T/2, without unit.

    Returns
    -------
    float
        R, without unit.
    """
    if t < 0.5 and a * t < 0.5:
        return price_to_vega_series(a, t, 4 if 2.0 * t < NARROW else 12)
    return mills_at(a - t) - mills_at(a + t)


@scalar
def time_value(low: float, high: float, total: float) -> float:
    """Black price of the out-of-the-money option between F and K, in order, at s = `total`.

    Parameters
    ----------
    low, high : the lower and the higher of F and K, above 0. [$]
    total : σ√T, above 0.

    Returns
    -------
    float
        The price, undiscounted. [$]
    """
    a, t = log_moneyness(high, low) / total, 0.5 * total
    vega = math.sqrt(low) * math.sqrt(high) * math.exp(-0.5 * (a * a + t * t)) / _ROOT_2PI
    if t >= 0.5 and a < t:  # here R grows without bound: what is missing to the price's bound
        return low - vega * (mills(t - a)[0] + mills(a + t)[0])
    return vega * price_to_vega(a, t)
