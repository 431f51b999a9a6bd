"""The tables of the documentation that come from the code; ``make docs`` writes them.

Each stands below a heading of its page. What is around the table is written by hand.
"""

from __future__ import annotations

import inspect
import re
from enum import StrEnum
from pathlib import Path

from sampler.chain import select_chain
from sampler.history.conventions import convention_cells, conventions_of
from sampler.measure.snapshot import measure_slot
from storage.market.calendar import market_day, session_on
from storage.record.flag_figures import FIGURE_GROUPS, FLAG_GROUPS
from storage.record.glossary import GLOSSARY
from storage.record.row import Flag, Reason
from tests import real_chains

DOCS = Path(__file__).resolve().parents[1] / "docs"


def figures() -> list[list[str]]:
    """Every figure by name: meaning, unit, what a positive value means."""
    return [
        ["name", "formula or meaning", "unit", "positive means"],
        *([f"`{name}`", *term] for name, term in GLOSSARY.items()),
    ]


def members(enumeration: type[StrEnum], heading: str) -> list[list[str]]:
    """Members of an enumeration with the comment that stands beside each in the code."""
    comments = dict(re.findall(r'= "(\w+)"  #: (.+)', inspect.getsource(enumeration)))
    return [[heading, "meaning"], *([f"`{member}`", comments[member]] for member in enumeration)]


def flags() -> list[list[str]]:
    """Every flag: what it says, and the groups of figures not to rely on while it is set."""
    return [
        ["flag", "meaning", "do not rely on"],
        *([f"`{flag}`", flag.meaning, ", ".join(FLAG_GROUPS[flag])] for flag in Flag),
    ]


def figure_groups() -> list[list[str]]:
    """The figures of each group that a flag can name."""
    return [
        ["group", "figures"],
        *([group, ", ".join(f"`{n}`" for n in names)] for group, names in FIGURE_GROUPS.items()),
    ]


def conventions() -> list[list[str]]:
    """A recorded chain's figures by each convention, with their distances."""
    frame = real_chains.volkit().frame
    session = session_on(market_day(frame.quoted_at))
    assert session is not None
    record = measure_slot(select_chain(frame, session), None, oi_confidence=0.43)
    return [
        ["figure", "convention", "formula", "value", "distance"],
        *convention_cells(conventions_of(record, session)),
    ]


def written(table: list[list[str]]) -> str:
    """A table as Markdown; a bar in a cell is escaped."""
    head, *rows = [[cell.replace("|", r"\|") for cell in row] for row in table]
    lines = [
        "|" + "|".join(f" {cell} " if cell else " " for cell in row) + "|" for row in (head, *rows)
    ]
    lines.insert(1, "|" + "---|" * len(head))
    return "\n".join(lines) + "\n"


#: Page and heading, and the table below it.
TABLES = {
    ("definitions.md", "Glossary"): figures(),
    ("glossary.md", "Why a slot has no row"): members(Reason, "reason"),
    ("glossary.md", "What a row says against itself"): flags(),
    ("glossary.md", "Figures that a flag names"): figure_groups(),
    ("conventions.md", "On one chain"): conventions(),
}


def replaced(text: str, heading: str, table: str) -> str:
    """A page's text with the first table below a heading replaced."""
    pattern = rf"(^## {re.escape(heading)}\n(?:(?!\|).*\n)*)(?:\|.*\n)+"
    changed, count = re.subn(pattern, lambda m: m[1] + table, text, count=1, flags=re.MULTILINE)
    assert count, f"no table below {heading!r}"
    return changed


def main() -> None:
    """Write every table to its page."""
    for (page, heading), table in TABLES.items():
        path = DOCS / page
        text = path.read_text()
        changed = replaced(text, heading, written(table))
        if changed != text:
            path.write_text(changed)
            print(f"{page}: {heading}")


if __name__ == "__main__":
    main()
