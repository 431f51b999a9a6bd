"""The documentation is true: names, links, commands, settings, the tour, and the worked example.

The example's answers come from this file alone: `math.erfc`, bisection and plain loops.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import shlex
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import chains
import generated_docs
import mpmath as mp
import pytest
from benchmarks import study_levels

from api.__main__ import main as api
from sampler.__main__ import main as sampler
from sampler.measure.snapshot import measure_slot
from sampler.metrics import black
from storage.__main__ import main as storage
from storage.config.settings import REGISTRY
from storage.config.vendor_keys import VENDOR_NAMES
from storage.record.glossary import GLOSSARY
from storage.record.row import COLUMNS, PROFILE, Reason
from tests import forked

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    ROOT / "deploy/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
DEFINITIONS = ROOT / "docs/definitions.md"
EXAMPLE = ROOT / "sampler/sources/example.json"
PROGRAMS = {"flow-sampler": sampler, "flow-store": storage, "flow-api": api}
#: A heading's part of a page: up to the next of its rank.
SECTION = r"^## {}\n(.*?)(?=^## |\Z)"


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def section(title: str) -> str:
    match = re.search(
        SECTION.format(re.escape(title)), DEFINITIONS.read_text(), re.MULTILINE | re.DOTALL
    )
    assert match, f"no section {title}"
    return match[1]


def tables(text: str) -> list[list[list[str]]]:
    """Each table's rows of cells, the ruler left out; ``\\|`` is a bar in a cell."""
    rows_by_table: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if not line.startswith("|"):
            rows_by_table.append([])
        elif not re.fullmatch(r"[|\s:-]+", line):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            rows_by_table[-1].append([cell.strip().replace(r"\|", "|") for cell in cells])
    return [table for table in rows_by_table if table]


def code(text: str) -> list[str]:
    """What stands in backticks or fences, by line."""
    fences = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    )
    return [*spans, *(line for fence in fences for line in fence.splitlines())]


# The glossary.


def test_glossary_has_every_number():
    """Every field of a row, key of its settled and detail parts and array of a profile has a term."""
    record = measure_slot(chains.chain(), None, oi_confidence=0.43)
    nested = set(record.row.settled.as_json()) | set(record.row.detail.as_json())
    assert set(GLOSSARY) == set(COLUMNS) | nested | set(PROFILE) | set(record.profile)


@pytest.mark.parametrize("where", generated_docs.TABLES, ids=" ".join)
def test_generated_tables_are_current(where):
    """Each table that comes from the code stands in its page as ``make docs`` writes it."""
    page, heading = where
    text = (ROOT / "docs" / page).read_text()
    table = generated_docs.written(generated_docs.TABLES[where])
    assert generated_docs.replaced(text, heading, table) == text, "run make docs"


# Links, commands, settings.


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page):
    """Every relative link names a file of the project, and a heading that the file has."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}
            assert anchor in slugs, f"{page.name}: {target}"


#: Commands that have commands of their own are two words.
COMMAND = re.compile(r"(?<![\w-])(flow-(?:sampler|store|api)) (keys [a-z]+|[a-z]+)(.*)")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_are_understood(page, capsys):
    """Every command in the docs has a --help, which names each option that the docs give it."""
    for line in code(page.read_text()):
        if not (match := COMMAND.search(line)):
            continue
        program, command, rest = match.groups()
        with pytest.raises(SystemExit) as exited:
            PROGRAMS[program]([*command.split(), "--help"])
        assert exited.value.code == 0, line
        shown = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        assert set(re.findall(r"--[a-z-]+", rest)) <= shown, line


def test_commands_are_found():
    """The pattern above reads the README's commands."""
    commands = [
        m.groups()[:2] for line in code(PAGES[0].read_text()) if (m := COMMAND.search(line))
    ]
    assert ("flow-sampler", "once") in commands
    assert len(set(commands)) >= 8


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_nothing_is_installed_from_an_index(page):
    """No index has the package: an extra comes from a checkout, or into an environment that has it."""
    for line in code(page.read_text()):
        if "pip install" in line and "zerodte-flow" in line:
            assert ".venv/bin/pip install" in line, line


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_settings_exist(page):
    """Every FLOW_* name in the docs is a setting."""
    named = set(re.findall(r"\bFLOW_([A-Z][A-Z_]*)", page.read_text()))
    assert {name.lower() for name in named} <= set(REGISTRY) | VENDOR_NAMES


def test_every_gap_reason_says_what_to_do():
    """The operator's table of reasons has each reason once."""
    page = (ROOT / "docs/operations.md").read_text()
    section = re.search(r"## Why a slot is missing\n(.*?)\n## ", page, re.DOTALL)[1]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = re.findall(r"`(\w+)`", "".join(cells))
    assert sorted(named) == sorted(Reason)


@pytest.mark.parametrize("page", [*PAGES, EXAMPLE], ids=page_name)
def test_no_paths_of_a_machine(page):
    """No page names a folder of its author's machine."""
    assert not re.search(r"/(work|Users|tmp)/|/home/\w|/root\b|[A-Z]:\\", page.read_text())


# The tour.

TOUR = ROOT / "docs/architecture.md"
#: Packages and their folders: what a heading of the tour may name.
PACKAGES = ("sampler", "storage", "api")


def toured() -> list[str]:
    """Each module that the tour's tables name, as ``folder/module``, in order."""
    modules, folder = [], ""
    for line in TOUR.read_text().splitlines():
        if heading := re.match(r"#+ (?:`([^`]+)/`)?", line):
            folder = heading[1] or ""
        elif folder and line.startswith("| `"):
            first = line.split("|")[1]
            modules += [f"{folder}/{name}" for name in re.findall(r"`([^`]+)`", first)]
    return modules


def test_tour_has_every_module():
    """Each module is on exactly one line, below its folder; packages' own files where they hold code."""
    modules = [
        str(path.relative_to(ROOT).with_suffix(""))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.stem != "__init__"
    ]
    tour = toured()
    expected = {*modules, *(name for name in tour if name.endswith("/__init__"))}
    assert expected - set(tour) == set(), "give each a line in docs/architecture.md"
    assert set(tour) - expected == set(), "docs/architecture.md has lines of modules that are gone"
    assert len(tour) == len(expected), "docs/architecture.md has two lines of one module"


def test_tour_names_what_is_there():
    """Each path that the tour names, in tables, drawings or sentences, is a file or a folder."""
    named = re.findall(r"(?:sampler|storage|api|tests|docs)/[\w/]*\w/?", TOUR.read_text())
    missing = {
        path
        for path in [*named, *toured()]
        if not (ROOT / path).exists() and not (ROOT / f"{path}.py").exists()
    }
    assert missing == set()


# The worked example.


def cdf(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


def pdf(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def bisect(f: Callable[[float], float], low: float, high: float) -> float:
    """A root between two ends of different sign."""
    for _ in range(200):
        middle = (low + high) / 2
        if (f(middle) > 0) == (f(high) > 0):
            high = middle
        else:
            low = middle
    return (low + high) / 2


class Example:
    """The example chain measured by the rules of the docs, in plain loops."""

    def __init__(self, answer: dict) -> None:
        by = {(o["k"], o["t"]): o for o in answer["o"]}
        self.strikes = sorted({k for k, _ in by})
        self.oi = {(k, t): by[k, t]["oi"] for k, t in by}
        self.mid = {key: (o["b"] + o["a"]) / 2 for key, o in by.items()}
        self.spot = answer["spot"]
        hours, minutes, seconds = map(int, answer["asof"][11:].split(":"))
        left = (16 - hours) * 3600 - minutes * 60 - seconds
        self.years = left / 31_536_000
        self.elapsed = 1 - left / 23_400
        self.parity = {k: k + self.mid[k, "C"] - self.mid[k, "P"] for k in self.strikes}
        self.forward = statistics.median(self.parity.values())
        self.own = {}
        for k in self.strikes:
            side = "C" if k >= self.forward else "P"
            if by[k, side]["b"] > 0:
                self.own[k] = self.implied(k, side)
        self.iv = {k: self.smile(k) for k in self.strikes}
        self.atm = self.smile(self.forward)
        self.sigma_left = self.forward * self.atm * math.sqrt(self.years)
        self.gamma = {k: self.gamma_at(k, self.spot) for k in self.strikes}
        self.gex = {k: self.gex_at(k, self.spot) for k in self.strikes}
        self.side_gex = {
            (k, t): (1 if t == "C" else -1)
            * self.oi[k, t]
            * self.gamma[k]
            * 100
            * self.spot**2
            * 0.01
            for k, t in self.oi
        }
        self.flip = self.turns()
        self.pin = max(self.strikes, key=lambda k: abs(self.gex[k]))

    def d1(self, strike: float, sigma: float, level: float) -> float:
        total = sigma * math.sqrt(self.years)
        return math.log(level / strike) / total + total / 2

    def price(self, strike: float, sigma: float, side: str) -> float:
        d1 = self.d1(strike, sigma, self.forward)
        d2 = d1 - sigma * math.sqrt(self.years)
        if side == "C":
            return self.forward * cdf(d1) - strike * cdf(d2)
        return strike * cdf(-d2) - self.forward * cdf(-d1)

    def implied(self, strike: float, side: str) -> float:
        return bisect(
            lambda sigma: self.price(strike, sigma, side) - self.mid[strike, side], 0.01, 3
        )

    def smile(self, strike: float) -> float:
        """Linear between strikes with a volatility of their own, flat outside."""
        known = sorted(self.own)
        if not known[0] < strike < known[-1]:
            return self.own[min(max(strike, known[0]), known[-1])]
        low = max(k for k in known if k <= strike)
        high = min(k for k in known if k > strike)
        place = (strike - low) / (high - low)
        return self.own[low] + place * (self.own[high] - self.own[low])

    def gamma_at(self, strike: float, level: float) -> float:
        """With spot at a level; the forward moves in proportion."""
        sigma = self.iv[strike]
        d1 = self.d1(strike, sigma, self.forward * level / self.spot)
        return pdf(d1) / (level * sigma * math.sqrt(self.years))

    def gex_at(self, strike: float, level: float) -> float:
        net = self.oi[strike, "C"] - self.oi[strike, "P"]
        return net * self.gamma_at(strike, level) * 100 * level**2 * 0.01

    def book(self, level: float) -> float:
        return sum(self.gex_at(k, level) for k in self.strikes)

    def turns(self) -> float:
        """The crossing nearest spot that is passed by 1 % of the largest |G| on both sides."""
        levels = [self.spot * (0.9 + i / 10_000) for i in range(2001)]
        books = [self.book(x) for x in levels]
        clear = [i for i, g in enumerate(books) if abs(g) > 0.01 * max(map(abs, books))]
        roots = [
            bisect(self.book, levels[i], levels[j])
            for i, j in itertools.pairwise(clear)
            if (books[i] > 0) != (books[j] > 0)
        ]
        return min(roots, key=lambda x: abs(x - self.spot))

    def over(self, strike: float) -> float:
        """P(S_T > K) from the slope of the smile between two even steps."""
        low, high = strike - 5, strike + 5
        slope = (self.own[high] - self.own[low]) / 10
        d1 = self.d1(strike, self.own[strike], self.forward)
        root = math.sqrt(self.years)
        return cdf(d1 - self.own[strike] * root) - self.forward * pdf(d1) * root * slope

    def paid(self, level: float) -> float:
        return sum(
            self.oi[k, "C"] * max(level - k, 0) + self.oi[k, "P"] * max(k - level, 0)
            for k in self.strikes
        )

    def numbers(self) -> dict[str, float]:
        """What the docs quote, by the name they quote it under."""
        total = self.iv[6000] * math.sqrt(self.years)
        d1 = self.d1(6000, self.iv[6000], self.forward)
        net, calls = sum(self.gex.values()), [v for (_, t), v in self.side_gex.items() if t == "C"]
        near = sorted(
            self.oi[k, "C"] + self.oi[k, "P"]
            for k in self.strikes
            if abs(k - self.spot) <= self.spot / 100
        )
        share, even = sum(near[-3:]) / sum(near), 3 / len(near)
        excess = (share - even) / (1 - even)
        pin = {
            "pin_oi": 100 * min(max(excess / 0.277, 0), 1),
            "pin_proximity": 100 * math.exp(-(((self.spot - self.pin) / self.sigma_left) ** 2) / 2),
            "pin_time": 100 * self.elapsed,
            "pin_gamma": 100
            * min(max(self.gex[self.pin], 0) / (0.45 * sum(map(abs, self.gex.values()))), 1),
        }
        weights = (0.30, 0.25, 0.25, 0.20)
        score = sum(w * p for w, p in zip(weights, pin.values(), strict=True))
        below, above = self.pin - 5, self.pin + 5
        return {
            "`years_to_expiry`": self.years,
            "`forward`": self.forward,
            "σ of 6000": self.iv[6000],
            "σ√T of 6000": total,
            "d₁ of 6000": d1,
            "put of 6000": self.price(6000, self.iv[6000], "P"),
            "n(d₁) of 6000": pdf(d1),
            "Γ of 6000": self.gamma[6000],
            "GEX of 6000": self.gex[6000],
            "`atm_iv`": self.atm,
            "`remaining_1sd`": self.sigma_left,
            "`call_gex`": sum(calls),
            "`put_gex`": net - sum(calls),
            "`net_gex`": net,
            "`gamma_flip`": self.flip,
            "`call_wall`": max(self.strikes, key=lambda k: self.side_gex[k, "C"]),
            "`put_wall`": min(self.strikes, key=lambda k: self.side_gex[k, "P"]),
            "`magnet`": self.pin,
            "`magnet_gex`": self.gex[self.pin],
            "`max_pain`": min(self.strikes, key=self.paid),
            "share": share,
            "e": excess,
            **{f"`{name}`": value for name, value in pin.items()},
            "`pin_score`": math.floor(score + 0.5),
            "σ′ of 6005": (self.own[6010] - self.own[6000]) / 10,
            "P(S_T > 6005)": self.over(below),
            "P(S_T > 6015)": self.over(above),
            "`pin_probability_pct`": 100 * (self.over(below) - self.over(above)),
        }


@pytest.fixture(scope="module")
def example() -> Example:
    return Example(json.loads(EXAMPLE.read_text()))


def same(quoted: str, value: float) -> bool:
    """Whether a quoted number is the value, rounded to the digits that it is quoted with."""
    text = quoted.replace(",", "").replace("−", "-")
    digits = len(text.partition(".")[2])
    return text == f"{round(value, digits) + 0.0:.{digits}f}"


def test_example_strikes_are_right(example):
    """Every number of the example's table by strike is what this file computes."""
    (head, *rows), _ = tables(section("A worked example"))
    assert [float(row[0]) for row in rows[:-1]] == example.strikes
    known = {
        "C": lambda k: example.mid[k, "C"],
        "P": lambda k: example.mid[k, "P"],
        "K + C − P": lambda k: example.parity[k],
        "σ": lambda k: example.iv[k],
        "Γ": lambda k: example.gamma[k],
        "call OI": lambda k: example.oi[k, "C"],
        "put OI": lambda k: example.oi[k, "P"],
        "net GEX, mm": lambda k: example.gex[k] / 1e6,
        "at the flip, mm": lambda k: example.gex_at(k, example.flip) / 1e6,
    }
    assert head == ["K", *known]
    for row in rows[:-1]:
        for name, quoted in zip(head[1:], row[1:], strict=True):
            value = known[name](float(row[0]))
            assert same(quoted, value), f"{name} of {row[0]}: {quoted} is {value}"
    sums = {name: sum(map(known[name], example.strikes)) for name in head[6:]}
    for name, quoted in zip(head[6:], rows[-1][6:], strict=True):
        assert same(quoted, sums[name]), f"sum of {name}: {quoted} is {sums[name]}"


def test_example_numbers_are_right(example):
    """Every number of the example's walk is what this file computes, and none is left out."""
    _, (_, *rows) = tables(section("A worked example"))
    numbers = example.numbers()
    for name, _, quoted in rows:
        assert same(quoted, numbers[name]), f"{name}: {quoted} is {numbers[name]}"
    assert {name for name in numbers if "`" in name} <= {name for name, _, _ in rows}


def test_example_command_gives_the_example(example):
    """The example's command, run as it stands, prints the same figures to ten digits."""
    (command,) = [line for line in code(section("A worked example")) if "--json" in line]
    name, *arguments = shlex.split(command)
    assert name == "flow-sampler"
    done = forked.run(
        [sys.executable, "-m", "sampler", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    for name, value in example.numbers().items():
        if name.startswith("`"):
            assert row[name.strip("`")] == pytest.approx(value, rel=1e-10), name


# What a price knows of its volatility.


def exact(away: float, total: float, *, itm: bool) -> tuple[mp.mpf, mp.mpf, mp.mpf]:
    """Strike, price and condition number of an option on 1 for T = 1, at mpmath's precision."""
    strike = mp.exp(mp.mpf(away) * total)
    d1 = -mp.mpf(away) + mp.mpf(total) / 2
    price = mp.ncdf(d1) - strike * mp.ncdf(d1 - total) + (strike - 1 if itm else 0)
    return strike, price, price / (mp.npdf(d1) * total)


def test_condition_numbers_are_right():
    """Each is p/(σ·vega) to two digits, marked by what it costs; and the solver loses no more."""
    (head, *rows) = tables(section("Volatility"))[0]
    places, itm = [], False
    for cell in head[1:]:
        itm = itm or cell.startswith("ITM")
        places.append((float(cell.rpartition("= ")[2]), itm))
    assert len(rows) * len(places) == 60
    with mp.workdps(60):
        for total, *cells in rows:
            for (away, inside), quoted in zip(places, cells, strict=True):
                strike, price, kappa = exact(away, float(total), itm=inside)
                digits = f"{float(kappa):.1e}"
                assert float(quoted.strip("*")) == pytest.approx(float(digits)), (total, away)
                marks = 1 if kappa > 9000 else 2 if kappa > 100 else 0
                assert quoted.count("*") == 2 * marks, quoted
                if kappa > 1e11:
                    continue
                # Both doubles are rounded; the strike's matters for a price deep in the money.
                volatility = black.implied_volatility(
                    float(price), 1.0, float(strike), 1.0, not inside
                )
                lost = float(abs(mp.mpf(float(volatility)) / float(total) - 1))
                known = 1.2e-16 * float(kappa) * (1 + float(strike) / float(price))
                assert lost <= known + 3e-15, (total, away, lost, known)


# Why levels differ.


def test_measured_levels_are_the_studys(shared):
    """The docs' table of rules is what the study measures on the recorded chains."""
    scenes = study_levels.scenes(shared / "chains")
    expected = study_levels.table(scenes, study_levels.measure(scenes))
    (quoted,) = tables(section("Why levels differ between platforms"))
    assert quoted == expected
