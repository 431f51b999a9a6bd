"""What runs on a data folder: noted, found by other commands, stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from storage.config.running import (
    FormulasNote,
    note_running,
    note_stopped,
    read_formulas,
    read_running,
)
from storage.config.settings import Settings
from storage.market.clock import Clock
from storage.opening import product_clock, product_dataset

START = datetime(2026, 8, 19, 14, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    """A market sixty times as fast as the wall's."""
    return Clock(START, 60, datetime.now(UTC))


def settings(folder, **variables: str) -> Settings:
    return Settings.read({"FLOW_DATA_DIR": str(folder)} | variables)


def test_as_noted(tmp_path, clock):
    """What was noted is read back, the clock to the microsecond."""
    note_running(tmp_path, dataset="synthetic", clock=clock, port=8100, metrics_port=9472)
    product = read_running(tmp_path)
    assert (product.dataset, product.clock) == ("synthetic", clock)
    assert (product.port, product.metrics_port) == (8100, 9472)
    assert [path.name for path in tmp_path.iterdir()] == ["running.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"dataset": "live"}', '{"dataset": 1, "clock": "x"}']
)
def test_not_a_note(tmp_path, text):
    """A file that is none of ours says nothing."""
    (tmp_path / "running.json").write_text(text)
    assert read_running(tmp_path) is None
    assert read_running(tmp_path / "elsewhere") is None


def test_the_note_of_an_earlier_release(tmp_path):
    """A note without ports is read: the ports are not known."""
    (tmp_path / "running.json").write_text('{"dataset": "live", "clock": "real"}')
    product = read_running(tmp_path)
    assert (product.dataset, product.port, product.metrics_port) == ("live", 0, 0)


def test_a_folder_that_cannot_be_written(tmp_path, clock):
    """To note what runs is a convenience: its failure fails nothing."""
    note_running(tmp_path / "not there", dataset="live", clock=clock)
    note_stopped(tmp_path / "not there")


def test_a_stopped_market_stands_still(tmp_path, clock):
    """After the stop, market time does not go on; the dataset is still known."""
    note_running(tmp_path, dataset="synthetic", clock=clock)
    note_stopped(tmp_path)
    stopped = read_running(tmp_path)
    assert stopped.dataset == "synthetic"
    first = stopped.clock.now()
    assert START <= first < START + timedelta(minutes=10)
    time.sleep(0.05)
    assert abs(stopped.clock.now() - first) < timedelta(milliseconds=1)
    note_running(tmp_path, dataset="live", clock=Clock())
    note_stopped(tmp_path)
    assert read_running(tmp_path).clock == Clock()


def test_which_dataset_and_clock(tmp_path, clock):
    """An option or a source decides; else what runs here; else the real dataset and clock."""
    assert product_dataset(settings(tmp_path)) == "live"
    assert product_clock(settings(tmp_path)) == Clock()
    note_running(tmp_path, dataset="synthetic", clock=clock)
    by_product = settings(tmp_path)
    assert (product_dataset(by_product), product_clock(by_product)) == ("synthetic", clock)
    by_setting = settings(tmp_path, FLOW_DATASET="live")
    assert (product_dataset(by_setting), product_clock(by_setting)) == ("live", Clock())
    fed = settings(tmp_path, FLOW_SOURCE="cboe:")
    assert (product_dataset(fed), product_clock(fed)) == ("live", Clock())
    made_up = settings(tmp_path, FLOW_SOURCE="synthetic:?seed=1")
    assert (product_dataset(made_up), product_clock(made_up)) == ("synthetic", clock)
    own = settings(tmp_path, FLOW_CLOCK="simulated:2026-08-18T14:00:00+00:00@2")
    assert product_clock(own).speed == 2
    auto = settings(tmp_path, FLOW_SOURCE="auto")
    assert product_dataset(auto) == "synthetic"


def test_another_database_is_another_product(tmp_path, clock):
    """What runs on the embedded servers says nothing of a database that is given by its URL."""
    note_running(tmp_path, dataset="synthetic", clock=clock)
    elsewhere = settings(tmp_path, FLOW_DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert (product_dataset(elsewhere), product_clock(elsewhere)) == ("live", Clock())


def test_how_far_the_formulas_are_is_known_while_they_are_compiled(tmp_path):
    """Nothing before, the newest state meanwhile, nothing after."""
    note = FormulasNote(tmp_path)
    assert read_formulas(tmp_path) is None
    for done, seconds in ((0, 0.0), (7, 13.6), (14, 101.0)):
        note.say(done=done, total=15, seconds=seconds, expected=31.2)
        assert read_formulas(tmp_path) == {
            "done": done, "total": 15, "seconds": round(seconds), "expected_seconds": 31,
        }  # fmt: skip
    note.say(done=9, total=15, seconds=9.0, expected=9.0)
    assert read_formulas(tmp_path)["seconds"] == 9
    note.close()
    assert read_formulas(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_who_was_killed_while_compiling_compiles_no_longer(tmp_path):
    """The file that it leaves behind says nothing."""
    words = "FormulasNote(Path(sys.argv[1])).say(done=3, total=15, seconds=1, expected=9)"
    imports = "import os, sys; from pathlib import Path; "
    imports += "from storage.config.running import FormulasNote; note = "
    killed = imports + words + "; os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert [path.name for path in tmp_path.iterdir()] == ["formulas.json"]
    assert read_formulas(tmp_path) is None


def test_a_folder_that_is_not_there_has_no_note(tmp_path):
    """A first start has no folder yet; that stops no compilation."""
    note = FormulasNote(tmp_path / "none")
    note.say(done=1, total=15, seconds=1, expected=9)
    note.close()
    assert read_formulas(tmp_path / "none") is None
