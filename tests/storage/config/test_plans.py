"""Plans and quotas as a setting."""

from __future__ import annotations

import pytest

from storage.config.plans import DEFAULT_QUOTAS, PLANS, parse_plan, parse_quotas
from storage.errors import UsageError

PUBLISHED = {
    "Levels": 2500,
    "Free": 5,
    "Basic": 250,
    "Growth": 2500,
    "Alpha": None,
    "Enterprise": None,
}


def test_defaults():
    """The published quotas, in the order of the plans; None is without limit."""
    assert parse_quotas(DEFAULT_QUOTAS) == parse_quotas("") == PUBLISHED
    assert tuple(parse_quotas("Enterprise=1")) == PLANS


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("Free=100", {"Free": 100}),
        (" free = 0 , ALPHA=50000,", {"Free": 0, "Alpha": 50_000}),
        ("Basic=Unlimited", {"Basic": None}),
    ],
)
def test_some_plans(text, changed):
    """A plan that is not named keeps its default; blanks and case do not matter."""
    assert parse_quotas(text) == PUBLISHED | changed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Gold=5", "'Gold' is no plan: Levels, Free, Basic, Growth, Alpha, Enterprise"),
        ("Free", "'Free': a quota is a number"),
        ("Free=-1", "'Free=-1': a quota is a number"),
        ("Free=5.5", "a quota is a number"),
        ("Free=٣", "a quota is a number"),
        ("Free=none", "a quota is a number"),
        ("Free=5,free=6", "Free is named twice"),
        ("5", "'5' is no plan"),
    ],
)
def test_refusals(text, message):
    """What cannot be meant is refused with a sentence."""
    with pytest.raises(UsageError) as raised:
        parse_quotas(text)
    assert message in str(raised.value)


def test_plans():
    """A plan is found in any case, and no other is."""
    assert [parse_plan(name) for name in ("free", " ALPHA ", "Growth")] == [
        "Free",
        "Alpha",
        "Growth",
    ]
    with pytest.raises(UsageError, match="is no plan"):
        parse_plan("")
