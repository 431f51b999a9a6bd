"""A session at top speed with a fault every few slots, and what must be true when it is over.

``python -m tests.soak [SLOTS [SYMBOLS [SEED]]]``; without words a whole session of 20 symbols. Two samplers
share a database and a live channel of their own; samplers and servers are killed with -9, connections cut
and stalled, the disk filled, the spool torn, the source disturbed, the clock put forward and back.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

sys.path.insert(0, str(Path(__file__).resolve().parent))

from killable_servers import KillableServers
from proxy import Proxy
from rig import STEP
from sampler_process import SamplerProcess

from sampler.errors import ChainRefused
from sampler.live.outcome import Outcome
from sampler.live.tick import Tick
from sampler.sources.synthetic.source import Synthetic
from storage.market.calendar import session_on
from storage.postgres.migrate import migrate
from storage.record import packing
from storage.record.mode import WriteMode
from storage.record.result import WriteResult
from storage.record.row import COLUMNS, Row
from storage.redis.channel import NoChannel
from storage.spool.segment import Segment

SESSION = session_on(date(2026, 8, 19))
SOURCE_SEED = 7
SYMBOLS = [
    "SPX",
    "SPY",
    "QQQ",
    "IWM",
    "XSP",
    "NDX",
    "RUT",
    "DIA",
    "AAPL",
    "TSLA",
    "NVDA",
    "AMZN",
    "META",
    "MSFT",
    "GOOG",
    "AMD",
    "NFLX",
    "COIN",
    "PLTR",
    "GLD",
]
POINTS = [
    "fetching",
    "fetched",
    "measured",
    "writing",
    "committing",
    "written",
    "published",
    "kept",
]
SPOOLING = ["spooling", "half spooled", "spooled", "landed"]
#: What a row is compared without: when it was fetched is not the chain's.
PASSING = {"fetched_at", "quote_age_seconds"}


@dataclass
class Report:
    """What happened and what was found."""

    slots: int
    symbols: int
    seconds: float = 0.0
    faults: Counter = field(default_factory=Counter)
    rows: int = 0
    gaps: Counter = field(default_factory=Counter)
    compared: int = 0
    conserved: int = 0
    #: Resident memory by slot, of samplers that had lived for a while. [bytes]
    memory: list[tuple[int, int]] = field(default_factory=list)
    #: What was done, and what the samplers said, slot by slot.
    story: list[str] = field(default_factory=list)
    #: What is not as it must be.
    wrong: list[str] = field(default_factory=list)

    def tell(self) -> str:
        lines = [
            f"{self.slots} slots of {self.symbols} symbols in {self.seconds:.0f} s,"
            f" {self.faults.total()} faults: "
            + ", ".join(f"{n} {what}" for what, n in sorted(self.faults.items())),
            f"{self.rows} rows; gaps: "
            + (", ".join(f"{n} {why}" for why, n in sorted(self.gaps.items())) or "none"),
            f"{self.compared} rows before a symbol's first missed chain equal the fault-free run's",
            f"volume conserved in {self.conserved} rows",
        ]
        if self.memory:
            first, last = self.grown()
            lines.append(f"memory of a sampler: {first / 1e6:.0f} MB, then {last / 1e6:.0f} MB")
        return "\n".join([*lines, *(f"WRONG: {line}" for line in self.wrong[:20])])

    def grown(self) -> tuple[float, float]:
        """The median of the first and of the last third's memory."""
        sizes = [size for _, size in self.memory]
        third = max(len(sizes) // 3, 1)
        return sorted(sizes[:third])[third // 2], sorted(sizes[-third:])[third // 2]


class Soak:
    """One run."""

    def __init__(self, folder: Path, slots: int, symbols: int, seed: int) -> None:
        self.report = Report(slots, symbols)
        self.folder = folder
        self.symbols = SYMBOLS[:symbols]
        self.random = random.Random(seed)
        #: What a gap of a slot may say, by slot and symbol; None for all symbols.
        self.allowed: dict[tuple[int, str | None], set[str]] = defaultdict(set)
        #: Until which slot something stays as it is.
        self.until: dict[str, int] = {}
        self.away: dict[str, int] = {}
        self.trouble: dict[str, object] = {}
        self.full = False

    def run(self) -> Report:
        began = time.monotonic()
        with KillableServers() as self.servers, Proxy(self.servers.database_url) as self.proxy:
            for dataset in ("live", "synthetic"):
                asyncio.run(migrate(self.servers.database_url, dataset))
            self.samplers = {name: SamplerProcess(self.folder / "log") for name in ("a", "b")}
            try:
                for name, sampler in self.samplers.items():
                    sampler.settings = {
                        "database": self.proxy.url,
                        "redis": self.servers.redis_url,
                        "spool": str(self.folder / "spool" / name),
                        "symbols": self.symbols,
                        "seed": SOURCE_SEED,
                    }
                for step in range(self.report.slots):
                    self._slot(step)
                self._end()
            finally:
                for sampler in self.samplers.values():
                    sampler.close()
            self.report.seconds = time.monotonic() - began
            self._check()
        return self.report

    # One slot.

    def _now(self, step: int) -> datetime:
        return SESSION.open + step * STEP + timedelta(seconds=1)

    def _slot(self, step: int) -> None:
        for what, until in list(self.until.items()):
            if until <= step:
                self.report.story.append(f"{what} mended")
                del self.until[what]
                self._mend(what)
        order: dict[str, object] = {}
        if step > 2 and self.random.random() < 0.25:
            order = self._fault(step)
        if "nobody" in self.until:
            self.allowed[step, None] |= {"not_running", "late"}
            return
        done: set[str] = set()
        for name, sampler in sorted(self.samplers.items(), key=lambda _: self.random.random()):
            if name == "b" and self._careful(step):
                # A successor, who cannot have the other one's spool, would miss a chain.
                continue
            if name in self.away:
                if self.away[name] > step:
                    continue
                del self.away[name]
            if not sampler.lives:
                sampler.start(self._now(step))
            reply = sampler.tick(self._now(step), trouble=self.trouble, full=self.full, **order)
            if "dead" in reply:
                assert reply == {"dead": -9}, reply
                # Back at once, or after a while; a sampler on its own is missed.
                while_away = [0] if self._careful(step) else [0, 0, 1, 3]
                self.away[name] = step + self.random.choice(while_away)
                if self.away[name] == step:
                    sampler.start(self._now(step))
                    reply = sampler.tick(self._now(step), trouble=self.trouble, full=self.full)
                self.report.story.append(f"{step} {name} died, away until {self.away[name]}")
                order = {}
            done |= set(reply.get("words", {}))
            words = dict(Counter(reply.get("words", {}).values()))
            self.report.story.append(f"{step} {name} {words} waiting {reply.get('waiting')}")
            if sampler.lives and "rss" in reply:
                self.report.memory.append((step, reply["rss"]))
        for symbol in self.symbols:
            if isinstance(self.trouble.get(symbol), str):
                self.allowed[step, symbol].add(self.trouble[symbol])
            if symbol not in done:
                self.allowed[step, symbol] |= {"not_running", "late"}

    # What fails.

    def _fault(self, step: int) -> dict[str, object]:
        """Let something fail; what the samplers are told of it."""
        # At first only what must cost no chain at all; then whatever comes.
        harmless = ["kill", "kill", "kill", "kill spooling", "slow", "cut", "refuse", "stall",
                    "database", "redis"]  # fmt: skip
        others = ["source", "source", "disk", "torn", "forward", "back", "nobody"]
        what = self.random.choice(harmless if self._careful(step) else harmless + others)
        span = step + self.random.randint(1, 6)
        return getattr(self, f"_{what.replace(' ', '_')}")(step, span) or {}

    def _careful(self, step: int) -> bool:
        return step < self.report.slots // 2

    def _count(self, what: str) -> None:
        self.report.faults[what] += 1
        self.report.story.append(what)

    def _kill(self, step: int, span: int) -> dict[str, object]:
        self._count("sampler killed")
        return {"kill": (self.random.choice(POINTS), self.random.randint(1, 3))}

    def _kill_spooling(self, step: int, span: int) -> dict[str, object]:
        self._count("sampler killed")
        return {"kill": (self.random.choice(SPOOLING), 1)}

    def _source(self, step: int, span: int) -> None:
        self._count("source")
        hit = self.random.sample(self.symbols, k=self.random.randint(1, 3))
        why = self.random.choice(["source_down", "bad_answer", "stale"])
        self.trouble |= dict.fromkeys(hit, why)
        self.until["source"] = span

    def _slow(self, step: int, span: int) -> None:
        self._count("slow symbol")
        self.trouble[self.random.choice(self.symbols)] = 0.7
        self.until["source"] = step + 1

    def _cut(self, step: int, span: int) -> None:
        self._count("connections cut")
        self.proxy.cut()

    def _refuse(self, step: int, span: int) -> None:
        if "network" not in self.until:
            self._count("network away")
            self.proxy.refuse()
            self.until["network"] = span

    def _stall(self, step: int, span: int) -> None:
        if "network" not in self.until:
            self._count("network silent")
            self.proxy.stall()
            self.until["network"] = step + 1

    def _database(self, step: int, span: int) -> None:
        if "database" not in self.until:
            self._count("database killed")
            self.servers.kill(self.servers.postgres)
            self.until["database"] = step + self.random.choice([1, 5, 20, 50])

    def _redis(self, step: int, span: int) -> None:
        if "redis" not in self.until:
            self._count("redis killed")
            self.servers.kill(self.servers.valkey)
            self.until["redis"] = span

    def _disk(self, step: int, span: int) -> None:
        self._count("disk full")
        self.full = True
        self.until["disk"] = step + 2
        # What waits in memory meanwhile dies with its process.
        for passed in range(step, step + 3):
            self.allowed[passed, None] |= {"not_running", "no_room"}

    def _torn(self, step: int, span: int) -> dict[str, object]:
        """The last entry of a dead sampler's spool is cut short."""
        for name, sampler in self.samplers.items():
            segments = sorted((self.folder / "spool" / name).glob("*.spool"))
            if sampler.lives or not segments or segments[-1].stat().st_size < 500:
                continue
            self._count("spool torn")
            with segments[-1].open("rb") as file:
                entries = list(Segment(segments[-1], file.fileno(), own=False).entries())
            last = entries[-1].slots if entries else []
            os.truncate(segments[-1], segments[-1].stat().st_size - 40)
            for symbol, slot in last:
                self.allowed[int((slot - SESSION.open) / STEP), symbol].add("not_running")
        return {}

    def _forward(self, step: int, span: int) -> None:
        self._jump(step, 3)

    def _back(self, step: int, span: int) -> None:
        self._jump(step, -3)

    def _jump(self, step: int, steps: int) -> None:
        """A tick at a time that is not now: 90 seconds ahead or behind."""
        self._count("clock jumped")
        ahead = step + steps
        if ahead < 0 or ahead >= self.report.slots:
            return
        for sampler in self.samplers.values():
            if sampler.lives:
                sampler.tick(self._now(ahead), trouble=self.trouble, full=self.full)
        for passed in range(min(step, ahead), max(step, ahead) + 1):
            self.allowed[passed, None] |= {"late", "unchanged", "stale", "not_running"}

    def _nobody(self, step: int, span: int) -> None:
        """Both samplers are dead for a while."""
        self._count("nobody there")
        for sampler in self.samplers.values():
            if sampler.lives:
                sampler.drop()
        self.until["nobody"] = span

    def _mend(self, what: str) -> None:
        if what == "source":
            self.trouble = {}
        elif what == "network":
            self.proxy.mend()
        elif what == "database":
            self.servers.revive(self.servers.postgres)
        elif what == "redis":
            self.servers.revive(self.servers.valkey)
        elif what == "disk":
            self.full = False

    def _end(self) -> None:
        """Everything is well again; what waits lands; the session is looked through."""
        for what in list(self.until):
            self._mend(what)
        self.until, self.away = {}, {}
        last = self._now(self.report.slots)
        if self.report.slots == SESSION.slot_count:
            last = SESSION.close + timedelta(seconds=5)
        for again in (False, True):
            for sampler in self.samplers.values():
                if not sampler.lives:
                    sampler.start(last)
                reply = sampler.tick(last, settle=60)
                # A server that was only just mended may cost the first round.
                if again and reply.get("waiting"):
                    self.report.wrong.append(f"{reply['waiting']} batches wait still")
        for sampler in self.samplers.values():
            sampler.stop()

    # What must be true.

    def _check(self) -> None:
        report = self.report
        with psycopg.connect(self.servers.database_url, row_factory=dict_row) as connection:
            connection.execute("set search_path to synthetic")
            connection.execute("set timezone to 'UTC'")
            rows = connection.execute("select * from rows order by slot").fetchall()
            gaps = connection.execute("select * from gaps").fetchall()
            chains = connection.execute("select symbol, slot, evidence from chains").fetchall()
            heads = connection.execute("select * from heads").fetchall()
        slots = SESSION.slots[: report.slots]
        rows = [row for row in rows if row["slot"] in set(slots)]
        gaps = [gap for gap in gaps if gap["slot"] in set(slots)]
        report.rows = len(rows)
        report.gaps = Counter(gap["reason"] for gap in gaps)
        have = Counter((r["symbol"], r["slot"]) for r in [*rows, *gaps])
        for symbol in self.symbols:
            for slot in slots:
                if have[symbol, slot] != 1:
                    report.wrong.append(f"{symbol} {slot}: told of {have[symbol, slot]} times")
        whole, refused = asyncio.run(_straight(self.symbols, report.slots))
        self._check_reasons(gaps, refused)
        self._check_rows(rows, whole, {(c["symbol"], c["slot"]): c["evidence"] for c in chains})
        newest = {r["symbol"]: 0 for r in rows}
        for line in [*rows, *gaps]:
            newest[line["symbol"]] = max(newest.get(line["symbol"], 0), line["revision"])
        for head in heads:
            if head["revision"] < newest.get(head["symbol"], 0):
                report.wrong.append(f"{head['symbol']}: its head lies behind its rows")
        self._check_command()

    def _check_reasons(self, gaps: list[dict], refused: dict) -> None:
        for gap in gaps:
            step = int((gap["slot"] - SESSION.open) / STEP)
            # What no fault has to do with: a chain that has no quotes yet, or none any more.
            why = {refused.get((gap["symbol"], gap["slot"]))} - {None}
            if "not_open" in why:
                # Started while the database was away: whether it had opened before, nobody could say.
                why.add("no_state")
            why |= self.allowed[step, None] | self.allowed[step, gap["symbol"]]
            if gap["reason"] not in why:
                self.report.wrong.append(
                    f"{gap['symbol']} slot {step}: {gap['reason']} ({gap['detail']}),"
                    f" may be {sorted(why)}"
                )

    def _check_rows(self, rows: list[dict], whole: dict, evidence: dict) -> None:
        broken: set[str] = set()
        following: dict[str, datetime] = {}
        for columns in rows:
            symbol, slot = columns["symbol"], columns["slot"]
            row = Row.from_columns(columns)
            expected = whole[symbol, slot]
            missed = symbol in following and slot - following[symbol] > STEP
            following[symbol] = slot
            if (missed or "after_gap" in row.flags) and symbol not in broken:
                broken.add(symbol)
                self.report.story.append(f"{symbol}: a chain is missed before {slot:%H:%M:%S}")
            if symbol not in broken:
                self.report.compared += 1
                for name in COLUMNS:
                    ours, theirs = getattr(row, name), getattr(expected.row, name)
                    if name not in PASSING and ours != theirs:
                        self.report.wrong.append(f"{symbol} {slot} {name}: {ours} not {theirs}")
            traded = packing.unpack(evidence[symbol, slot])[1]["traded"]
            if (row.total_volume, traded) != (
                expected.row.total_volume,
                expected.state[1]["traded"],
            ):
                self.report.wrong.append(f"{symbol} {slot}: {traded} traded")
            else:
                self.report.conserved += 1

    def _check_command(self) -> None:
        # A slot is due a step after its time.
        moment = SESSION.open + (self.report.slots + 1) * STEP - timedelta(seconds=1)
        output = subprocess.run(
            [sys.executable, "-m", "storage", "check", "--json", "--all-symbols",
             "--dataset", "synthetic", "--from", f"{SESSION.day}", "--to", f"{SESSION.day}",
             "--clock", f"simulated:{moment.isoformat()}@0.0001"],
            env=os.environ | {"FLOW_DATABASE_URL": self.servers.database_url},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = json.loads(output.stdout) if output.stdout else []
        if len(lines) != len(self.symbols):
            self.report.wrong.append(f"check: {output.stdout[-300:]}{output.stderr[-300:]}")
        for line in lines:
            if line["unaccounted"] or line["slots"] != self.report.slots:
                self.report.wrong.append(f"check: {line}")


async def _straight(symbols: list[str], slots: int) -> tuple[dict, dict]:
    """The records of a run in which nothing fails, and why its other slots have none."""
    source, records, refused = Synthetic(seed=SOURCE_SEED), {}, {}

    class Memory:
        async def write(self, batch=(), gaps=(), *, mode=WriteMode.KEEP):
            for record in batch:
                records[record.row.symbol, record.row.slot] = record
            return WriteResult()

        async def before(self, symbol, expiration, slot, feed):
            return newest

    for symbol in symbols:
        newest = None
        tick = Tick(source, Memory(), NoChannel(), oi_confidence=0.43, budget=5)
        for step in range(slots):
            now = SESSION.open + step * STEP + timedelta(seconds=1)
            outcome = Outcome(symbol=symbol)
            try:
                await tick.store_frame(await source.live(symbol, now), outcome)
            except ChainRefused as why:
                refused[symbol, SESSION.slots[step]] = str(why.reason)
                continue
            newest = outcome.record
    return records, refused


def main() -> int:
    words = [int(word) for word in sys.argv[1:]]
    slots, symbols, seed = [*words, *[SESSION.slot_count, len(SYMBOLS), 1][len(words) :]]
    with tempfile.TemporaryDirectory(prefix="flow-soak-") as folder:
        report = Soak(Path(folder), slots, symbols, seed).run()
    print(report.tell())
    if report.wrong or "SOAK_STORY" in os.environ:
        print(*report.story, sep="\n", file=sys.stderr)
    return int(bool(report.wrong))


if __name__ == "__main__":
    sys.exit(main())
