"""The log: one event is one line, whatever is in it; and no key is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

from storage.config import log

KEY = "flow_0123456789ab_" + "s" * 43
#: What ends a line, moves a cursor, turns text round, or is no character at all.
NASTY = "a\n2026-01-01T00:00:00Z [info] request status=200\r\x1b[2J\x1b]0;x\x07\0\x7f\x85\u2028\u202e\udcff"


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("where", ["path", "event"])
def test_an_event_is_a_line(capsys, form, where):
    """No value of an event ends its line or reaches a terminal as a command."""
    log.configure(form)
    if where == "path":
        structlog.get_logger().warning("request", path=NASTY, others=[NASTY])
    else:
        structlog.get_logger().warning(NASTY)
    text = capsys.readouterr().err
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    if form == "json":
        read = json.loads(text)
        assert read.get(where) == NASTY


@pytest.mark.parametrize("form", ["json", "console"])
def test_dates_are_readable(capsys, form):
    """A moment and a day are written as a person writes them."""
    log.configure(form)
    moment = datetime(2026, 8, 19, 13, 30, tzinfo=UTC)
    structlog.get_logger().warning("late", first=moment, day=moment.date())
    text = capsys.readouterr().err
    assert "2026-08-19 13:30:00+00:00" in text
    assert "datetime" not in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_forges_nothing(capsys, form):
    """A message with lines of its own stays inside its event: JSON, or set apart by a bar."""
    log.configure(form)
    try:
        raise ValueError(NASTY + KEY)
    except ValueError:
        structlog.get_logger().exception("request failed", id="1")
    first, *rest = capsys.readouterr().err.rstrip("\n").split("\n")
    assert "request failed" in first
    assert (first + "".join(rest)).isprintable()
    assert all(line.startswith("  | ") for line in rest)
    assert bool(rest) is (form == "console")
    assert "s" * 43 not in first + "".join(rest)


@pytest.mark.parametrize("form", ["json", "console"])
def test_keys_are_left_out(capsys, form):
    """A key is cut wherever it turns up; its public part stays."""
    log.configure(form)
    url = f"/v1/x?apiKey={KEY}&bar=1m"
    structlog.get_logger().warning(f"GET {url}", url=url, key=KEY, other="?bar=1m&apiKey=topsecret")
    text = capsys.readouterr().err
    assert "s" * 43 not in text
    assert "topsecret" not in text
    assert "flow_0123456789ab_***" in text
    assert "apiKey=***&bar=1m" in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_libraries_are_written_alike(form):
    """What a library logs is one line of the same form, its traceback included."""
    program = (
        "import logging; from storage.config import log;"
        f"log.configure({form!r});"
        "other = logging.getLogger('uvicorn.error');"
        "other.info('chatter');"
        # A line a second while a database is away.
        "logging.getLogger('psycopg.pool').warning('chatter');"
        "other.warning('bad %s', 'a\\nb?apiKey=topsecret\\x1b[2J', exc_info=ValueError('x\\ny'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    first, *rest = done.stderr.rstrip("\n").split("\n")
    assert first.isprintable()
    assert "chatter" not in done.stderr
    assert "topsecret" not in done.stderr
    if form == "json":
        read = json.loads(first)
        assert (read["level"], read["event"]) == ("warning", "bad a\nb?apiKey=***")
        assert read["exception"].endswith("ValueError: x\ny")
        assert rest == []
    else:
        assert rest == ["  | ValueError: x", "  | y"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_full_disk_stops_no_work(form):
    """What the log's disk does not take is lost; what was to be done is done, and the status is 0."""
    program = (
        "import logging, structlog\n"
        "from storage.config import log\n"
        f"log.configure({form!r})\n"
        "for number in range(3000):\n"
        "    structlog.get_logger().warning('event', number=number)\n"
        "    logging.getLogger('library').error('line %d', number)\n"
        "print('done')\n"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert (done.returncode, done.stdout) == (0, b"done\n")
