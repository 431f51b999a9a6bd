"""A row's groups of figures: their keys, what an older release's lack, and what is refused."""

from __future__ import annotations

import dataclasses
import inspect
import math
import random
import re

import factories
import numpy as np
import orjson
import pytest

from storage.market.constants import MOVES
from storage.record.figures import (
    OTHER_EXPIRIES,
    DetailFigures,
    Figures,
    HedgeShares,
    SettledFigures,
    significant,
)
from storage.record.row import Row

#: The keys as they are stored, in their order: nobody may rename or move one.
BOOK = [
    "pin_probability_noise",
    "crossings",
    "pin_lower",
    "pin_upper",
    "hedging",
    "convexity_at_spot",
    "net_theta_dollars",
    "theta_per_hour_remaining",
    "gamma_acceleration",
]
SETTLED = [
    "net_gex",
    "call_gex",
    "put_gex",
    "gross_gex",
    "net_dex",
    "call_dex",
    "put_dex",
    "net_vex",
    "net_chex",
    "dealer_delta",
    "charm_dollars_per_hour",
    "charm_horizon_seconds",
    "gamma_flip",
    "gamma_flip_status",
    "distance_to_flip_sigmas",
    "flip_out_of_reach",
    "regime",
    "call_wall",
    "put_wall",
    "magnet",
    "magnet_gex",
    "max_pain",
    "pin_score",
    "pin_oi",
    "pin_proximity",
    "pin_time",
    "pin_gamma",
    "pin_probability_pct",
    *BOOK,
]
DETAIL = [
    *BOOK,
    "charm_curve",
    "projection",
    "atm_iv_uncertainty",
    "implied_1sd",
    "straddle_price",
    "skew_25d",
    "atm_spread_pct",
    "weighted_spread_pct",
    "median_spread_pct",
    "execution_score",
    "data_quality_score",
    "greek_smoothness_score",
    "total_chain_net_gex",
    "seven_dte_atm_iv",
    "iv_ratio_0dte_7dte",
    "other_expiries_age_seconds",
    "future_forward",
    "future_forward_scatter",
    "vix",
    "contracts_with_flow",
    "total_abs_delta_contracts",
    "volume_unattributed",
    "multi_leg_share",
    "pages_seconds",
    "flag_amounts",
]
#: A number itself, and the doubles next to it.
NEIGHBOURS = (float, lambda x: math.nextafter(x, 0.0), lambda x: math.nextafter(x, math.inf))
SHARES = [
    f"spot_{way}_{size}" for size in ("10bp", "25bp", "half_pct", "1pct") for way in ("up", "down")
]
KINDS: list[tuple[type[Figures], list[str]]] = [
    (SettledFigures, SETTLED),
    (DetailFigures, DETAIL),
    (HedgeShares, SHARES),
]
kinds = pytest.mark.parametrize(("kind", "keys"), KINDS, ids=[kind.__name__ for kind, _ in KINDS])


@kinds
def test_keys(kind, keys):
    """The stored keys and their order are a contract; the encoder writes what ``as_json`` says."""
    empty = kind.from_json({})
    assert keys == list(empty.as_json()) == list(orjson.loads(orjson.dumps(empty)))


def test_moves_and_other_expiries_are_keys():
    """The two lists of names are names of figures."""
    assert list(MOVES) == SHARES
    assert set(OTHER_EXPIRIES) <= set(DETAIL)


def test_an_earlier_name_is_read():
    """Amounts that were stored when only flags about volumes had them are read under their name."""
    amounts = {"volume_held": {"contracts": 2, "volume": 10.0, "dollars": 0.0}}
    assert DetailFigures.from_json({"volume_amounts": amounts}).flag_amounts == amounts


def test_a_curve_comes_back():
    """Pairs of level and dollars are read as they were written."""
    figures = DetailFigures.from_json({"charm_curve": [[7600.0, -1.5], [7700.0, 2.5]]})
    assert figures.charm_curve == ((7600.0, -1.5), (7700.0, 2.5))
    assert DetailFigures.from_json(figures.as_json()) == figures


@kinds
def test_what_an_older_release_did_not_store(kind, keys):
    """A missing key is None, never a zero."""
    assert set(kind.from_json({}).as_json().values()) == {None}
    some = kind.from_json({keys[-1]: 2.5})
    assert some.as_json() == dict.fromkeys(keys) | {keys[-1]: 2.5}


@kinds
def test_unknown_keys(kind, keys):
    """A key that is renamed is an error that names it, also where every other key is there."""
    for values in ({"gamma": 1.0}, dict.fromkeys(keys) | {"gamma": 1.0}):
        with pytest.raises(ValueError, match=f"^{kind.__name__} has no figure 'gamma'$"):
            kind.from_json(values)
    with pytest.raises(TypeError, match="gamma"):
        kind(**dict.fromkeys(keys), gamma=1.0)
    with pytest.raises(TypeError, match=keys[0]):
        kind(**dict.fromkeys(keys[1:]))
    with pytest.raises(AttributeError):
        _ = kind.from_json({}).gamma


@pytest.mark.parametrize("kind", [SettledFigures, DetailFigures])
def test_unknown_hedges(kind):
    """The keys of the hedges are held to their names too."""
    with pytest.raises(ValueError, match="HedgeShares has no figure 'spot_up_2pct'"):
        kind.from_json({"hedging": {"spot_up_2pct": 1.0}})


@kinds
def test_every_figure_says_its_meaning_and_unit(kind, keys):
    """Each field has a comment line above it, and each number's ends with its unit."""
    source = inspect.getsource(kind)
    for field in dataclasses.fields(kind):
        comment = re.search(rf"((?:^    #: .*\n)+)    {field.name}: ", source, re.MULTILINE)
        assert comment, field.name
        if not str(field.type).startswith(("str", "bool")):
            assert re.search(r"\[[^\]]+\]\n\Z", comment[1]), field.name


def test_what_the_settled_book_shares_with_the_row():
    """Every headline figure of the settled book is a field of the row, of the same type."""
    row = {f.name: str(f.type).removesuffix(" | None") for f in dataclasses.fields(Row)}
    settled = {f.name: str(f.type) for f in dataclasses.fields(SettledFigures)}
    assert {n: row[n] for n in SETTLED[:28]} == {
        n: settled[n].removesuffix(" | None") for n in SETTLED[:28]
    }


def test_rounded_when_made():
    """Floats have 12 digits, what is not finite is None, a negative zero is a zero."""
    columns = dict.fromkeys(DETAIL) | {
        "crossings": [2 / 3, math.nan],
        "hedging": HedgeShares(**dict.fromkeys(SHARES, 1 / 3)),
        "vix": np.float64(1 / 3),
        "skew_25d": -math.inf,
        "implied_1sd": -0.0,
        "execution_score": 7,
    }
    figures = DetailFigures(**columns)
    assert figures.crossings == (0.666666666667, None)
    assert figures.hedging.spot_up_1pct == 0.333333333333
    assert (figures.vix, type(figures.vix)) == (0.333333333333, float)
    assert (figures.skew_25d, str(figures.implied_1sd), figures.execution_score) == (None, "0.0", 7)
    plain = figures.as_json()
    assert plain["crossings"] == [0.666666666667, None]
    assert plain["hedging"] == dict.fromkeys(SHARES, 0.333333333333)


def test_rounded_as_text_rounds():
    """To the bit: numbers of every size, powers of ten and their neighbours, middles of decimals."""
    rng = random.Random(3)
    numbers = [0.0, -0.0, 5e-324, 1.7e308]
    for power in range(-14, 16):
        ten = float(f"1e{power}")
        numbers += [ten, math.nextafter(ten, 0.0), math.nextafter(ten, math.inf)]
        numbers += [rng.uniform(1.0, 10.0) * ten for _ in range(300)]
        middles = [f"{rng.randrange(10**11, 10**12)}5e{power - 12}" for _ in range(300)]
        numbers += [beside(float(m)) for m in middles for beside in NEIGHBOURS]
    for number in numbers:
        for value in (number, -number):
            rounded = float(f"{value:.12g}") + 0.0
            assert significant(value).hex() == rounded.hex(), value.hex()


def test_as_stored_and_back():
    """What is stored is read back equal, of the same types."""
    figures = factories.row().detail
    back = DetailFigures.from_json(orjson.loads(orjson.dumps(figures)))
    assert (back, repr(back)) == (figures, repr(figures))
    assert isinstance(back.hedging, HedgeShares)
    assert back.crossings == (7650.5, 7810.25)


def test_figures_do_not_change():
    """Figures are frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        factories.row().settled.net_gex = 1.0


def test_rows_of_an_older_release():
    """A row whose groups are empty objects is read, from the table, from plain values, by wire."""
    stored = {name: getattr(factories.row(), name) for name in Row.__slots__}
    old = stored | {"settled": {}, "detail": {}}
    row = Row.from_columns(old)
    assert (row.settled, row.detail) == (
        SettledFigures.from_json({}),
        DetailFigures.from_json({}),
    )
    plain = factories.row().as_json() | {"settled": {}, "detail": {}}
    assert Row.from_json(plain).settled == Row.from_wire(plain).settled == row.settled
    for read, values in ((Row.from_columns, old), (Row.from_json, plain), (Row.from_wire, plain)):
        with pytest.raises(ValueError, match="SettledFigures has no figure 'net_gexx'"):
            read(values | {"settled": {"net_gexx": 1.0}})
