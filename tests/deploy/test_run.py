"""``make run`` as a first visitor sees it: bars within a minute, a clean stop, data that stays."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from storage.parquet.example_day import DAY
from tests import forked

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(data_dir: Path) -> Path:
    """A data folder of its own, beside the other tests'."""
    return data_dir / "visitor"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Run:
    """deploy/run.py as a process, in a group of its own as under make."""

    def __init__(self, folder: Path, log: Path, *, reader: bool = False, **settings: str) -> None:
        self.port = free_port()
        self.log = log
        environment = os.environ | {
            "FLOW_DATA_DIR": str(folder),
            "FLOW_PORT": str(self.port),
            "FLOW_SYMBOLS": "SPY",
            **settings,
        }
        with log.open("w") as out:
            self.process = forked.Popen(
                [sys.executable, str(ROOT / "deploy/run.py")],
                env=environment,
                stdout=subprocess.PIPE if reader else out,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def answer(self, path: str) -> dict:
        """An answer of the API, once it answers; fails after a minute."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()
            with suppress(requests.ConnectionError):
                return requests.get(f"http://127.0.0.1:{self.port}/v1/{path}", timeout=20).json()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def bars(self, least: int, symbol: str = "SPY") -> dict:
        """The series once it has so many bars; fails after a minute."""
        until = time.monotonic() + 60
        url = f"http://127.0.0.1:{self.port}/v1/flow/zero-dte/series/{symbol}?minutes=390"
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()
            try:
                answer = requests.get(url, timeout=5).json()
            except (requests.ConnectionError, ValueError):
                answer = {"bars": []}
            if len(answer["bars"]) >= least:
                return answer
            time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def day_before(self) -> dict:
        """The stored session before the first one, once it is filled and scored."""
        until = time.monotonic() + 120
        while "is stored and scored" not in self.log.read_text():
            assert time.monotonic() < until, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)
        url = f"http://127.0.0.1:{self.port}/v1/flow/zero-dte/sessions/SPY"
        return requests.get(url, timeout=20).json()["sessions"][0]

    def stop(self) -> str:
        """Ctrl-C; what was printed."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(45) == 0, self.log.read_text()
        return self.log.read_text()


def second_terminal(folder: Path, *command: str) -> str:
    """What ``flow-store`` prints where nothing is set but the folder."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("FLOW_")
    }
    done = forked.run(
        [sys.executable, "-m", "storage", *command],
        env=environment | {"FLOW_DATA_DIR": str(folder), "FLOW_SYMBOLS": "SPY"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.clocked
def test_a_first_visit_and_a_second_one(folder, tmp_path):
    """Bars of the simulated market come, and say so; the second run goes on after the first."""
    first = Run(folder, tmp_path / "first", FLOW_SOURCE="synthetic:?seed=7")
    try:
        answer = first.bars(5)
        page = requests.get(f"http://127.0.0.1:{first.port}/", timeout=5)
        assert page.status_code == 200
        # A second terminal, with nothing set but the folder, finds the product and its time.
        reports = [second_terminal(folder, "check")]
        examined = second_terminal(folder, "doctor", "--no-source")
        whole = first.day_before()
        scores = requests.get(f"http://127.0.0.1:{first.port}/v1/scorecard/SPY", timeout=20).json()
        twin = Run(folder, tmp_path / "twin", FLOW_PORT=str(first.port))
        assert twin.process.wait(60) == 2
        output = first.stop()
    finally:
        first.process.kill()
    assert answer["source"] == "synthetic"
    assert "SIMULATED MARKET" in output
    # Behind the first session stands a whole one: each slot but the open's, at which nothing trades.
    assert (whole["slots"] - whole["rows"], whole["reasons"]) == (1, {"not_open": 1})
    assert whole["feed"] == "synthetic"
    assert whole["date"] < answer["session"]["open"][:10]
    # Its forecasts are judged apart from frozen ones: nobody made them on that day.
    judged = scores["kinds"]["backfilled"]
    assert (judged["sessions"], judged["simulated"]) == (1, True)
    assert f"http://127.0.0.1:{first.port}/" in output
    assert output.rstrip().endswith("stopped")
    assert not (folder / "pgdata" / "postmaster.pid").exists()
    assert re.search(rf"^ok    port .*FLOW_PORT {first.port} is served by", examined, re.MULTILINE)
    # What has the port is no other program, and what is advised would run beside it.
    refusal = twin.log.read_text()
    assert f"runs already at http://127.0.0.1:{first.port}/ (" in refusal
    advised = re.search(r"FLOW_PORT=(\d+) FLOW_DATA_DIR=(\S+) make run", refusal)
    assert (int(advised[1]) != first.port, advised[2]) == (True, f"{folder}-2")
    assert "another program" not in refusal
    assert "starting PostgreSQL" not in refusal
    reports.append(second_terminal(folder, "check"))
    for out in reports:
        # The last line is the running session's.
        match = re.findall(r"([0-9]+) of ([0-9]+) slots", out)[-1]
        assert 0 < int(match[0]) <= int(match[1]) < 780
    newest = answer["bars"][-1]["sampled_at"]

    second = Run(folder, tmp_path / "second", FLOW_SOURCE="synthetic:?seed=7")
    try:
        again = second.bars(len(answer["bars"]) + 3)
        # A market that has rows gets no other day behind it.
        assert "day before" not in second.stop()
    finally:
        second.process.kill()
    slots = [bar["sampled_at"] for bar in again["bars"]]
    assert newest in slots
    assert slots == sorted(set(slots))
    bars = {bar["sampled_at"]: bar for bar in again["bars"]}
    assert all(bars[bar["sampled_at"]] == bar for bar in answer["bars"])


#: Makes the sampler's process slow to load, as on a small or busy machine.
SLOW = """
import sys, time
if "sampler" in sys.orig_argv:
    time.sleep(8)
"""


@pytest.mark.clocked
def test_a_slow_machine_loses_no_slot(folder, tmp_path):
    """The simulated market begins when the sampler is ready, be that 8 s later: 16 slots at this speed."""
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    run = Run(folder, tmp_path / "log", FLOW_SOURCE="synthetic:?seed=7", PYTHONPATH=path)
    try:
        answer = run.bars(3)
        run.stop()
    finally:
        run.process.kill()
    # At the open itself no option trades yet.
    assert [gap["reason"] for gap in answer["gap_intervals"]] in ([], ["not_open"])
    first = min(bar["sampled_at"] for bar in answer["bars"])
    assert first in (answer["session"]["open"], answer["session"]["open"].replace(":00Z", ":30Z"))


@pytest.mark.clocked
def test_the_first_figure_does_not_wait_for_the_sampler(folder, tmp_path):
    """The API answers with the session of the package, and says that today has not begun.

    A run that ends before today's first sample leaves a market that is as new to the next one.
    """
    folder = folder.with_name("newcomer")
    (tmp_path / "sitecustomize.py").write_text(SLOW.replace("8", "600"))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    settings = {"FLOW_SOURCE": "synthetic:?seed=7", "FLOW_SYMBOLS": "SPX"}
    run = Run(folder, tmp_path / "log", PYTHONPATH=path, **settings)
    try:
        assert run.answer("market")["waiting"] is True
        moments = {run.answer("market")["server_time"] for _ in range(3)}
        [stored] = run.answer("flow/zero-dte/sessions/SPX")["sessions"]
        output = run.stop()
    finally:
        run.process.kill()
    # The market's time stands.
    assert len(moments) == 1
    assert (stored["date"], stored["rows"], stored["feed"]) == (f"{DAY}", 779, "synthetic")
    assert f"the page shows SPX's simulated session of {DAY}" in output
    assert "SIMULATED MARKET" not in output

    again = Run(folder, tmp_path / "again", **settings)
    try:
        bars = again.bars(3, "SPX")["bars"]
        market = again.answer("market")
        output = again.stop()
    finally:
        again.process.kill()
    assert (market["waiting"], market["formulas"]) == (False, None)
    assert bars[0]["sampled_at"][:10] == market["session"]["date"] > f"{DAY}"
    assert "09:29 New York" in output


@pytest.mark.clocked
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_nothing_is_left_when_it_cannot_stop_its_parts(folder, tmp_path, number):
    """It was killed, or its terminal was closed: its parts and its servers end by themselves."""
    run = Run(folder, tmp_path / "log", FLOW_SOURCE="synthetic:?seed=7")
    try:
        run.bars(1)
        assert len(processes_with(str(folder))) >= 3
        run.process.send_signal(number)
        run.process.wait(10)
        until = time.monotonic() + 45
        while left := processes_with(str(folder)):
            assert time.monotonic() < until, (left, run.log.read_text())
            time.sleep(0.2)
    finally:
        run.process.kill()


@pytest.mark.clocked
def test_the_reader_of_its_lines_goes_away(folder, tmp_path):
    """``make run | head`` goes on after head has ended, and stops as ever."""
    run = Run(folder, tmp_path / "log", reader=True, FLOW_SOURCE="synthetic:?seed=7")
    try:
        assert "starting PostgreSQL" in run.process.stdout.readline()
        run.process.stdout.close()
        # Beyond the first lines of its parts, none of which anybody reads.
        run.bars(25)
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(45) == 0
        assert processes_with(str(folder)) == []
    finally:
        run.process.kill()


def processes_with(folder: str) -> list[str]:
    """Command lines of the processes that have a data folder in their environment or their words."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if folder.encode() in words:
                lines.append((process / "cmdline").read_bytes().decode().replace("\0", " "))
    return lines


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"FLOW_SOURCE": "tape:"}, "unknown source"),
        ({"FLOW_SYMBOL": "SPX"}, "did you mean FLOW_SYMBOLS?"),
        ({"FLOW_HOST": "0.0.0.0"}, "loopback"),
    ],
)
def test_a_wrong_setting_ends_it_with_a_sentence(folder, tmp_path, settings, sentence):
    """Nothing hangs, nothing is half started, and the last lines say why."""
    run = Run(folder, tmp_path / "log", **({"FLOW_SOURCE": "synthetic:?seed=7"} | settings))
    try:
        assert run.process.wait(60) != 0
    finally:
        run.process.kill()
    assert sentence in run.log.read_text()
    assert "Traceback" not in run.log.read_text()


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("--port=8001", 2), ("stop", 2)])
def test_it_takes_no_arguments(argument, status):
    """Whoever asks what it does, or gives it something to do, starts nothing."""
    command = [sys.executable, "deploy/run.py", argument]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert ("the whole product on this machine" in done.stdout) == (status == 0)
    assert ("unrecognized arguments" in done.stderr) == (status == 2)
    assert "starting" not in done.stdout


def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path):
    """The sentence names the port, and the command that it advises takes another one."""
    folder = tmp_path / "data"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run = Run(folder, tmp_path / "log", FLOW_PORT=str(port), FLOW_SOURCE="synthetic:?seed=7")
        try:
            assert run.process.wait(60) == 2
        finally:
            run.process.kill()
    log = run.log.read_text()
    assert f"port {port} of 127.0.0.1 is taken by another program" in log
    advised = re.search(r"FLOW_PORT=(\d+) make run", log)
    assert advised
    assert int(advised[1]) != port
    assert "starting PostgreSQL" not in log
    assert not folder.exists()


def test_the_doctor_is_asked_when_a_part_fails(folder, tmp_path):
    """An API that would be open to the network ends the run; the doctor's findings follow."""
    busy = socket.socket()
    busy.bind(("127.0.0.1", 0))
    busy.listen()
    settings = {"FLOW_HOST": "0.0.0.0", "FLOW_METRICS_PORT": str(busy.getsockname()[1])}
    run = Run(folder, tmp_path / "log", FLOW_SOURCE="synthetic:?seed=7", **settings)
    try:
        assert run.process.wait(120) == 1
    finally:
        run.process.kill()
        busy.close()
    log = run.log.read_text()
    _, _, examined = log.partition("what flow-store doctor finds wrong:")
    assert re.search(r"^fail  port .*FLOW_METRICS_PORT .* is taken", examined, re.MULTILINE)
    assert not re.search(r"^(ok|warn) ", examined, re.MULTILINE)
