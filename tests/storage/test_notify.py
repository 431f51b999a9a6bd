"""Events on their way: signed, delivered once, tried again, told once and told when over."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from storage.config.settings import Settings
from storage.errors import UsageError
from storage.notify import target
from storage.notify.conditions import Conditions, Trouble
from storage.notify.notice import Notice
from storage.notify.notifier import Notifier, deliver
from storage.notify.target import Service, WebHook, configured_targets
from tests import forked
from tests.web_hook import web_hook

BEGAN = datetime(2026, 6, 5, 14, 0, tzinfo=UTC)
EVENT = Notice(kind="no_rows", symbols=("SPX",), began=BEGAN, sentence="SPX: no row.", node="desk")


async def test_a_web_hook_gets_signed_json():
    """The body is the event as JSON; openssl finds the same HMAC of it."""
    with web_hook() as hook:
        assert await WebHook(hook.url, "s3cret").deliver(EVENT) == ""
    (headers, body) = hook.requests[0]
    assert json.loads(body) == {
        "id": EVENT.id, "category": "operational", "kind": "no_rows", "state": "began",
        "symbols": ["SPX"], "began": "2026-06-05T14:00:00+00:00", "ended": None, "session": None,
        "slot": None, "message": "SPX: no row.", "figures": {}, "dataset": "", "node": "desk",
    }  # fmt: skip
    command = ["openssl", "dgst", "-sha256", "-hmac", "s3cret", "-hex"]
    shown = forked.run(command, input=body, capture_output=True, check=True).stdout.decode()
    assert headers["X-Flow-Signature"] == f"sha256={shown.split()[-1]}"


async def test_tried_again_until_a_2xx():
    """Errors and redirects are no delivery; each attempt has the same id, and none follows a 2xx."""
    with web_hook(503, 302, 400, 204) as hook:
        assert await deliver(WebHook(hook.url, ""), EVENT, pauses=(0.01,), most=10)
        await asyncio.sleep(0.1)
    ids = [json.loads(body)["id"] for _, body in hook.requests]
    assert ids == [EVENT.id] * 4


@asynccontextmanager
async def dripping(first: bytes) -> AsyncIterator[str]:
    """The URL of a server that says this much at once, and then a byte every 50 ms for ever."""

    answering = set()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        writer.write(first)
        try:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering)


@pytest.mark.parametrize(
    ("first", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", ""),
        (b"HTTP/1.1 500 No\r\nContent-Length: 1000000000\r\n\r\n", "status 500"),
        (b"HTTP/1.1 200 OK\r\nX-Endless: ", "no answer within 0.5 s"),
    ],
)
async def test_an_answer_that_never_ends(monkeypatch, first, outcome):
    """The status counts, the rest is not waited for; without a status it is no delivery in time."""
    monkeypatch.setattr(target, "_PATIENCE", 0.5)
    async with dripping(first) as url, asyncio.timeout(20):
        assert await WebHook(url, "").deliver(EVENT) == outcome


async def test_a_service_that_never_answers(monkeypatch):
    """It is given up in time; no second attempt begins before the first has ended, and none blocks."""
    pytest.importorskip("apprise")
    monkeypatch.setattr(target, "_PATIENCE", 0.3)
    service = Service("json://127.0.0.1:1/x")
    attempts, ended = [], threading.Event()

    def notify(**_: str) -> bool:
        attempts.append(threading.current_thread())
        return ended.wait(60)

    monkeypatch.setattr(service._service, "notify", notify)
    assert await service.deliver(EVENT) == "no answer within 0.3 s"
    assert "has not ended" in await service.deliver(EVENT)
    # The process may end while it goes on.
    assert [thread.daemon for thread in attempts] == [True]
    ended.set()
    attempts[0].join(10)
    assert await service.deliver(EVENT) == ""


async def test_given_up_and_said():
    """A target that never takes it is given up after the last attempt, with a line in the log."""
    with capture_logs() as lines:
        nowhere = WebHook("http://user:hunter2@127.0.0.1:1/token-abc", "")
        assert not await deliver(nowhere, EVENT, pauses=(0.01, 0.01))
    assert lines[-1]["event"] == "event given up"
    assert "hunter2" not in str(lines)
    assert "token-abc" not in str(lines)


async def test_in_order_to_each_target():
    """Events reach a target in their order, though the first attempt fails; others do not wait."""
    events = [Notice(kind="test", began=BEGAN, sentence=f"{i}") for i in range(3)]
    with web_hook(500) as slow, web_hook() as quick:
        targets = [WebHook(slow.url, ""), WebHook(quick.url, "")]
        async with Notifier(targets, pauses=(0.05,)).running() as notifier:
            for event in events:
                notifier.send(event)
            async with asyncio.timeout(5):
                while len(slow.requests) < 4 or len(quick.requests) < 3:
                    await asyncio.sleep(0.01)
    assert [json.loads(body)["message"] for _, body in slow.requests] == ["0", "0", "1", "2"]
    assert [json.loads(body)["message"] for _, body in quick.requests] == ["0", "1", "2"]


async def test_a_service_of_apprise():
    """Every scheme but http is apprise's; its own JSON target on loopback shows what it is sent."""
    with web_hook() as hook:
        service = Service(hook.url.replace("http://", "json://"))
        assert await service.deliver(EVENT) == ""
    body = json.loads(hook.requests[0][1])
    assert (body["title"], body["message"]) == ("zerodte-flow: no rows", "SPX: no row.")


@pytest.mark.parametrize("url", ["nonsense://x", "slack://"])
def test_an_address_that_cannot_be_used(url):
    """The refusal names the setting and the scheme, and nothing that may be a secret."""
    with pytest.raises(UsageError, match=f"FLOW_NOTIFY: .*{url.split(':')[0]}"):
        Service(url)


def test_targets_from_files(tmp_path):
    """URLs may stand in a file, one a line; a file that is not there is refused by its setting."""
    urls = tmp_path / "urls"
    urls.write_text("https://one.example/a\nhttps://two.example/b\n")
    settings = Settings.read({"FLOW_NOTIFY_FILE": str(urls)})
    names = [target.name for target in configured_targets(settings)]
    assert names == ["https://one.example", "https://two.example"]
    with pytest.raises(UsageError, match="FLOW_NOTIFY_SECRET_FILE"):
        configured_targets(Settings.read({"FLOW_NOTIFY_SECRET_FILE": str(tmp_path / "none")}))
    with pytest.raises(UsageError, match="FLOW_NOTIFY"):
        Settings.read({"FLOW_NOTIFY": "hooks.example/secret"})


def word(kind, symbols):
    return f"{kind} {' '.join(symbols)}"


def looks(conditions: Conditions, times, problems):
    """What is told at each of some times. [s]"""
    announced = []
    for second in times:
        now = BEGAN + timedelta(seconds=second)
        events = conditions.look(problems(second), monotonic=float(second), now=now)
        announced += [(second, event) for event in events]
    return announced


def test_a_problem_that_lasts_is_told_once_and_when_it_is_over():
    """Held for 20 s it is told, symbols together; 15 s after the last one is well, that it is over."""

    def problems(second):
        wrong = [Trouble("no_rows", "SPX", 20)] if second < 200 else []
        return wrong + ([Trouble("no_rows", "SPY", 20)] if second < 230 else [])

    announced = looks(Conditions(word), range(0, 400, 5), problems)
    assert [(second, event.ended is not None) for second, event in announced] == [
        (20, False),
        (240, True),
    ]
    first, over = (event for _, event in announced)
    assert first.symbols == over.symbols == ("SPX", "SPY")
    assert first.id == over.id
    assert first.began == BEGAN
    assert over.sentence == "Over: no_rows SPX SPY"


def test_a_problem_that_passes_is_not_told():
    """What is gone before its time never was."""

    def problems(second):
        return [Trouble("no_rows", "SPX", 20)] if second % 25 < 20 else []

    assert looks(Conditions(word), range(0, 300, 5), problems) == []


def test_a_problem_that_comes_and_goes_has_a_quiet_time():
    """Wrong for a minute every two minutes: told again only after a quarter of an hour."""

    def problems(second):
        return [Trouble("no_rows", "SPX", 0)] if second % 120 < 60 else []

    announced = looks(Conditions(word, quiet=900), range(0, 1800, 5), problems)
    assert [second for second, event in announced if event.ended is None] == [0, 960]


def test_the_command(tmp_path):
    """``flow-store notify --test`` says of each target whether it has taken the test."""
    with web_hook() as hook:
        environment = os.environ | {"FLOW_NOTIFY": hook.url}
        command = [sys.executable, "-m", "storage", "notify"]
        done = forked.run(
            [*command, "--test"], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "http://127.0.0.1: delivered\n")
        assert json.loads(hook.requests[0][1])["kind"] == "test"
        stopped = environment | {"SERVICE_RESULT": "success"}
        assert (
            forked.run(
                [*command, "--unit", "a.service"],
                env=stopped,
                capture_output=True,
                text=True,
                check=False,
            ).returncode
            == 0
        )
        assert len(hook.requests) == 1
        killed = environment | {"SERVICE_RESULT": "watchdog"}
        assert (
            forked.run(
                [*command, "--unit", "a.service"],
                env=killed,
                capture_output=True,
                text=True,
                check=False,
            ).returncode
            == 0
        )
        event = json.loads(hook.requests[1][1])
        assert (event["kind"], "watchdog" in event["message"]) == ("unit_failed", True)
        done = forked.run(
            [*command, "--test"],
            env=os.environ | {"FLOW_NOTIFY": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "FLOW_NOTIFY" in done.stderr) == (2, True)


def unit_notice(hook, folder, unit="a.service", **environment):
    """What the web hook hears when a unit calls, and the exit status."""
    before = len(hook.requests)
    done = forked.run(
        [sys.executable, "-m", "storage", "notify", "--unit", unit],
        env=os.environ | {"FLOW_NOTIFY": hook.url, "STATE_DIRECTORY": str(folder)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    messages = [json.loads(body)["message"] for _, body in hook.requests[before:]]
    return done.returncode, messages, done.stderr


def test_a_unit_that_ends_again_and_again(tmp_path):
    """It restarts every five seconds: one message in a quarter of an hour, for each unit."""
    watchdog = {"SERVICE_RESULT": "watchdog", "EXIT_STATUS": "ABRT"}
    with web_hook() as hook:
        status, [first], _ = unit_notice(hook, tmp_path, **watchdog)
        assert (status, first.endswith("(watchdog); systemd restarts it.")) == (0, True)
        assert unit_notice(hook, tmp_path, **watchdog)[:2] == (0, [])
        assert len(unit_notice(hook, tmp_path, "b.service", **watchdog)[1]) == 1
        [stamp] = tmp_path.glob("*a.service")
        earlier = time.time() - 901
        os.utime(stamp, (earlier, earlier))
        assert len(unit_notice(hook, tmp_path, **watchdog)[1]) == 1


def test_the_notifier_knows_how_a_unit_ended(tmp_path):
    """A result behind a colon is a unit that restarts; a unit alone is given up, and always told."""
    with web_hook() as hook:
        status, [message], _ = unit_notice(hook, tmp_path, "zerodte-flow-api:signal")
        assert status == 0
        assert message.startswith("zerodte-flow-api on ")
        assert message.endswith("has ended by itself (signal); systemd restarts it.")
        assert unit_notice(hook, tmp_path, "zerodte-flow-api:watchdog")[:2] == (0, [])
        status, [message], _ = unit_notice(hook, tmp_path, "zerodte-flow-api")
        assert (status, "has failed, and systemd does not restart it" in message) == (0, True)


def test_a_message_that_nobody_took_is_not_the_last(tmp_path):
    """Where no target has taken the message, the next end of the unit is told again."""
    watchdog = {"SERVICE_RESULT": "watchdog", "EXIT_STATUS": "ABRT"}
    with web_hook() as hook:
        missed = {"FLOW_NOTIFY": "http://127.0.0.1:1/hook", **watchdog}
        assert unit_notice(hook, tmp_path, **missed)[:2] == (1, [])
        assert len(unit_notice(hook, tmp_path, **watchdog)[1]) == 1


def test_a_unit_with_a_wrong_setting(tmp_path):
    """systemd does not restart it: it is told once, by OnFailure=, with the setting that is wrong."""
    wrong = {"FLOW_PORT": "99999"}
    with web_hook() as hook:
        ended = {"SERVICE_RESULT": "exit-code", "EXIT_STATUS": "2", **wrong}
        assert unit_notice(hook, tmp_path, **ended)[:2] == (0, [])
        status, [message], _ = unit_notice(hook, tmp_path, **wrong)
        assert status == 0
        assert "has failed, and systemd does not restart it: FLOW_PORT: '99999'" in message
        status, [message], _ = unit_notice(hook, "")
        assert "does not restart it; journalctl -u a.service says why." in message


def test_a_setting_of_a_newer_release_is_a_warning(tmp_path):
    """An older program goes on without it, and says so."""
    with web_hook() as hook:
        newer = {"SERVICE_RESULT": "watchdog", "FLOW_OF_NEXT_YEAR": "s3cret"}
        status, messages, errors = unit_notice(hook, tmp_path, **newer)
    assert (status, len(messages)) == (0, 1)
    assert "not a setting of this release: ignored" in errors
    assert "FLOW_OF_NEXT_YEAR" in errors
    assert "s3cret" not in errors
