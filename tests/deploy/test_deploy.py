"""What a server is set up from: units, settings, containers and CI agree with the commands."""

from __future__ import annotations

import argparse
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from api.prometheus import ApiMetrics
from sampler.live.prometheus import LIVE_REASONS, SamplerMetrics
from storage.config.settings import REGISTRY, Settings, default_data_dir
from storage.config.vendor_keys import VENDOR_NAMES, VENDOR_SETTINGS
from storage.record.row import Reason

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
#: Where the units expect the commands.
INSTALLED = "/opt/zerodte-flow/venv/bin"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

has_systemd = pytest.mark.skipif(
    # In CI it must be there: a missing judge fails.
    not shutil.which("systemd-analyze") and os.environ.get("CI") != "true",
    reason="no systemd-analyze",
)
#: The judge works in a folder of its own there, whatever TMPDIR says.
has_tmp = pytest.mark.skipif(
    not os.access("/tmp", os.W_OK),
    reason="systemd-analyze works in /tmp, which this user may not write",
)
each_service = pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)


def entries(unit: Path, key: str) -> list[str]:
    """The values of a key in a unit, in order."""
    return re.findall(rf"^{key}=-?(.*)$", unit.read_text(), re.MULTILINE)


def accepted(program: str, *arguments: str) -> argparse.Namespace:
    """What a command of ours makes of its arguments; SystemExit if it refuses them."""
    module = PROJECT["project"]["scripts"][program].partition(":")[0]
    return pytest.importorskip(module)._parser().parse_args(arguments)


def ran(line: str, folder: Path, **environment: str) -> tuple[int, list[str]]:
    """Run an Exec line as systemd would, on commands that only tell how they were called."""
    for program in PROJECT["project"]["scripts"]:
        stub = folder / program
        stub.write_text(f'#!/bin/sh\nprintf "%s\\n" {program} "$@"\n')
        stub.chmod(0o755)
    words = [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(line)]
    command = [word.replace(INSTALLED, str(folder)) for word in words]
    done = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines()


@has_systemd
@has_tmp
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` is silent about each unit, rendered for this environment."""
    for other in UNITS:
        here = str(Path(sys.executable).parent)
        (tmp_path / other.name).write_text(other.read_text().replace(INSTALLED, here))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@has_systemd
@pytest.mark.parametrize("name", ["backfill", "prune"])
def test_systemd_reads_the_timer(name: str) -> None:
    """The timer's calendar is understood, New York time included."""
    (calendar,) = entries(DEPLOY / "systemd" / f"zerodte-flow-{name}.timer", "OnCalendar")
    assert calendar.endswith(" America/New_York")
    done = subprocess.run(
        ["systemd-analyze", "calendar", calendar], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Next elapse" in done.stdout


@each_service
def test_services_are_confined(unit: Path) -> None:
    """Each service has its own user, gains no privileges and sees a read-only system."""
    for key, value in {
        "User": "zerodte-flow",
        "NoNewPrivileges": "true",
        "ProtectSystem": "strict",
        "EnvironmentFile": "/etc/zerodte-flow/flow.env",
        # A core dump would hold the keys.
        "LimitCORE": "0",
    }.items():
        assert entries(unit, key) == [value]
    assert set(entries(unit, "StateDirectory")) <= {"zerodte-flow", "zerodte-flow-api"}
    assert entries(unit, "ReadWritePaths") == []


@has_systemd
@has_tmp
@each_service
def test_exposure(unit: Path) -> None:
    """systemd's own judge finds each service well confined: 1.5 of 10 at most."""
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=15"]
    done = subprocess.run([*command, str(unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    Path("/proc/sys/kernel/core_pattern").read_text().strip() != "core",
    reason="core dumps are not written into the working folder here",
)
def test_no_core_dump_has_the_keys(tmp_path: Path) -> None:
    """A process that aborts leaves its keys in a core dump, and none under the units' limit."""
    limit = int(entries(DEPLOY / "systemd" / "zerodte-flow-sampler.service", "LimitCORE")[0])
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    program = (
        "import os, resource, sys\n"
        "from storage.config.settings import Settings\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (int(sys.argv[1]), int(sys.argv[1])))\n"
        "settings = Settings.read(os.environ)\n"
        "os.abort()\n"
    )
    environment = os.environ | {
        "FLOW_DATABASE_URL": "postgresql://flow:canary-7f3a@127.0.0.1:1/flow",
        "PYTHONPATH": str(ROOT),
    }
    dumped = {}
    for name, size in (("as the kernel likes", hard), ("as the units say", limit)):
        folder = tmp_path / name
        folder.mkdir()
        subprocess.run(
            [sys.executable, "-c", program, str(size)],
            cwd=folder,
            env=environment,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        dumped[name] = [b"canary-7f3a" in core.read_bytes() for core in folder.iterdir()]
    assert dumped["as the units say"] == []
    if hard == resource.RLIM_INFINITY:
        assert dumped["as the kernel likes"] == [True]


def test_compiled_loops_stay_possible() -> None:
    """What compiles formulas may run what it wrote, and keep it; the API needs neither."""
    denied = {unit.stem: entries(unit, "MemoryDenyWriteExecute") for unit in SERVICES}
    assert denied.pop("zerodte-flow-api") == ["true"]
    assert denied.pop("zerodte-flow-notify@") == ["true"]
    assert denied.pop("zerodte-flow-prune") == ["true"]
    assert not any(denied.values())
    for unit in SERVICES:
        if unit.stem in denied:
            assert entries(unit, "CacheDirectory") == ["zerodte-flow"]
            assert "NUMBA_CACHE_DIR=%C/zerodte-flow" in entries(unit, "Environment")
    program = "import api.__main__, sys; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", ["sampler", "api"])
def test_wrong_usage_is_not_tried_again(name: str) -> None:
    """A daemon comes back after a failure, but not after exit 2, and a step in hand may end."""
    unit = DEPLOY / "systemd" / f"zerodte-flow-{name}.service"
    assert entries(unit, "Restart") == ["on-failure"]
    assert entries(unit, "RestartPreventExitStatus") == ["2"]
    assert int(*entries(unit, "TimeoutStopSec")) >= 30


def test_each_timer_starts_its_service(tmp_path: Path) -> None:
    """Prune and backfill are services of their own, each started by the timer of its name."""
    timers = {unit.stem for unit in UNITS if unit.suffix == ".timer"}
    assert timers == {"zerodte-flow-backfill", "zerodte-flow-prune"}
    (line,) = entries(DEPLOY / "systemd" / "zerodte-flow-prune.service", "ExecStart")
    assert ran(line, tmp_path) == (0, ["flow-store", "prune"])
    assert (
        "flow-store prune" not in (DEPLOY / "systemd" / "zerodte-flow-backfill.service").read_text()
    )


def test_a_failed_prune_is_told() -> None:
    """What deletes old rows tells somebody when it fails: the disk fills from then on."""
    unit = DEPLOY / "systemd" / "zerodte-flow-prune.service"
    assert entries(unit, "OnFailure") == [f"zerodte-flow-notify@{unit.name}"]


@pytest.mark.parametrize("name", ["sampler", "api", "backfill"])
def test_somebody_hears_of_a_failure(name: str, tmp_path: Path) -> None:
    """A service that systemd gives up, or that ends by itself, is told by a unit of its own."""
    unit = DEPLOY / "systemd" / f"zerodte-flow-{name}.service"
    assert entries(unit, "OnFailure") == [f"zerodte-flow-notify@{unit.name}"]
    if name == "backfill":
        assert entries(unit, "ExecStopPost") == []
        return
    assert entries(unit, "Type") == ["notify"]
    assert 10 <= int(*entries(unit, "WatchdogSec")) <= 30
    assert int(*entries(unit, "LimitNOFILE")) >= 65_536
    [line] = entries(unit, "ExecStopPost")
    called = tmp_path / "systemctl"
    called.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    called.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    for result, status, notifier in (
        ("watchdog", "ABRT", [f"zerodte-flow-notify@{unit.stem}:watchdog.service"]),
        ("exit-code", "1", [f"zerodte-flow-notify@{unit.stem}:exit-code.service"]),
        ("success", "0", []),
        ("exit-code", "2", []),
    ):
        ended = {"SERVICE_RESULT": result, "EXIT_STATUS": status, "PATH": path}
        code, words = ran(line.removeprefix("+"), tmp_path, **ended)
        # What waits for the notifier would hold up the restart.
        waits = [] if not notifier else ["--no-block", "--job-mode=fail", "start"]
        assert (code, words) == (0, waits + notifier)


def test_the_notifier_looks_for_what_is_wrong(tmp_path: Path) -> None:
    """It tells first, then examines: with the folders of the sampler, so that nothing looks missing."""
    unit = DEPLOY / "systemd" / "zerodte-flow-notify@.service"
    notify, doctor = (line.replace("%i", "a:watchdog") for line in entries(unit, "ExecStart"))
    assert ran(notify, tmp_path) == (0, ["flow-store", "notify", "--unit", "a:watchdog"])
    code, words = ran(doctor, tmp_path)
    assert (code, accepted(*words).after_failure) == (0, True)
    sampler = DEPLOY / "systemd" / "zerodte-flow-sampler.service"
    for key in ("StateDirectory", "CacheDirectory", "Environment", "LimitNOFILE"):
        assert entries(unit, key) == entries(sampler, key)


@each_service
def test_exec_lines_are_accepted(unit: Path, tmp_path: Path) -> None:
    """Every command line of a unit is one that our commands take."""
    lines = entries(unit, "ExecStartPre") + entries(unit, "ExecStart")
    assert lines
    for line in lines:
        code, output = ran(line, tmp_path, FLOW_SOURCE="cboe:")
        assert code == 0
        accepted(*output)


def test_one_unit_migrates(tmp_path: Path) -> None:
    """The sampler migrates before it starts, nobody else does, and the others come after it."""
    before = {unit.stem: entries(unit, "ExecStartPre") for unit in SERVICES}
    (line,) = before.pop("zerodte-flow-sampler")
    assert ran(line, tmp_path) == (0, ["flow-store", "migrate"])
    assert not any(before.values())
    # The one that tells of failures needs no database.
    del before["zerodte-flow-notify@"]
    for unit in SERVICES:
        if unit.stem in before:
            assert "zerodte-flow-sampler.service" in " ".join(entries(unit, "After")).split()


def test_a_failed_migration_is_left_to_the_main_process() -> None:
    """A database that is away must not keep the sampler from its spool; it judges for itself."""
    text = (DEPLOY / "systemd" / "zerodte-flow-sampler.service").read_text()
    assert f"ExecStartPre=-{INSTALLED}/flow-store migrate" in text.splitlines()


def test_the_spool_outlives_the_service(services: dict[str, Any]) -> None:
    """What waits for the database lies where a service may write, and stays when it is replaced."""
    unit = DEPLOY / "systemd" / "zerodte-flow-sampler.service"
    assert entries(unit, "StateDirectory") == ["zerodte-flow"]
    assert "FLOW_DATA_DIR=%S/zerodte-flow" in entries(unit, "Environment")
    folder = services["sampler"]["environment"]["FLOW_SPOOL_DIR"]
    assert f"spool:{folder}" in services["sampler"]["volumes"]
    # A volume takes the owner of what it covers.
    assert f" {folder}" in (DEPLOY / "Dockerfile").read_text()


@pytest.mark.parametrize(
    ("variables", "source"),
    [
        ({"FLOW_SOURCE": "cboe:"}, "cboe:"),
        ({"FLOW_SOURCE": "cboe:", "BACKFILL_SOURCE": ""}, "cboe:"),
        ({"FLOW_SOURCE": "cboe:", "BACKFILL_SOURCE": "recorded:a b/?delay=900"}, "recorded:a b/?delay=900"),
    ],
)  # fmt: skip
def test_backfill_covers_a_week_of_its_source(
    variables: dict[str, str], source: str, tmp_path: Path
) -> None:
    """The nightly fill asks its own source, else the sampler's, for the last week's missing slots."""
    (line,) = entries(DEPLOY / "systemd" / "zerodte-flow-backfill.service", "ExecStart")
    parsed = accepted(*ran(line, tmp_path, TZ="America/New_York", **variables)[1])
    assert (parsed.source, parsed.missing) == (source, True)
    assert (date.fromisoformat(parsed.last) - date.fromisoformat(parsed.first)).days in (7, 8)


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2026-08-19 22:30 UTC", "2026-08-19"),  # the timer itself: 18:30 in summer
        ("2026-11-23 23:30 UTC", "2026-11-23"),  # and in winter
        ("2026-08-20 03:00 UTC", "2026-08-19"),  # 23:00, when London has the next day
        ("2026-08-20 14:00 UTC", "2026-08-19"),  # made up for at 10:00, in the next session
    ],
)
def test_backfill_ends_with_a_session_that_is_over(now: str, last: str, tmp_path: Path) -> None:
    """Whenever it runs, it never asks for the slots of a session that is still going on."""
    (line,) = entries(DEPLOY / "systemd" / "zerodte-flow-backfill.service", "ExecStart")
    moved = re.sub(r'date -d "(.*?)"', rf'date -d "{now} \1"', line)
    assert moved != line
    parsed = accepted(*ran(moved, tmp_path, TZ="America/New_York", FLOW_SOURCE="cboe:")[1])
    assert parsed.last == last


def example() -> Iterator[tuple[str, str, list[str]]]:
    """Name, value and the comment above of each setting in the example."""
    comment: list[str] = []
    for line in (DEPLOY / "flow.env.example").read_text().splitlines():
        if match := re.fullmatch(r"#(\w+)=(.*)", line):
            yield match[1], match[2], comment
        assert not line or line.startswith("#"), f"not a comment: {line}"
        comment = [*comment, line.removeprefix("# ")] if line.startswith("# ") else []


def test_example_holds_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """flow.env.example has each setting once, with the registry's default and meaning."""
    # The default folder is the user's own; a service's is root's.
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    defaults = {name: setting.default for name, setting in REGISTRY.items()}
    defaults |= dict.fromkeys(VENDOR_SETTINGS, "")
    meanings = {name: setting.meaning for name, setting in (REGISTRY | VENDOR_SETTINGS).items()}
    defaults["data_dir"] = default_data_dir()
    settings = [entry for entry in example() if entry[0] != "BACKFILL_SOURCE"]
    shown = [(name, value) for name, value, _ in settings]
    expected = {(f"FLOW_{name.upper()}", default) for name, default in defaults.items()}
    assert expected - set(shown) == set(), "deploy/flow.env.example lacks these lines"
    assert set(shown) - expected == set(), "deploy/flow.env.example has lines of no setting"
    assert len(shown) == len(expected)
    for name, _, comment in settings:
        assert meanings[name[5:].lower()] in comment, f"{name}: its meaning differs"


def test_example_is_accepted() -> None:
    """The example with every line uncommented is a valid environment."""
    Settings.read({name: value for name, value, _ in example()})


def test_no_unknown_setting_is_named() -> None:
    """Every FLOW_* name in deploy/ is one that the commands know."""
    named = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in DEPLOY.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        for name in re.findall(r"\bFLOW_[A-Z]+(?:_[A-Z]+)*", path.read_text())
    }
    assert named
    known = set(REGISTRY) | VENDOR_NAMES
    assert {(path, name) for path, name in named if name[5:].lower() not in known} == set()


@pytest.fixture
def services() -> dict[str, Any]:
    """The services of compose.yaml."""
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def pinned(image: str) -> bool:
    """Whether an image's tag names a major version."""
    return re.search(r"\d", image.rpartition(":")[2]) is not None and ":" in image


def test_images_are_pinned(services: dict[str, Any]) -> None:
    """No image, in compose, Dockerfile or CI, can change its major version by itself."""
    images = [service["image"] for service in services.values() if "build" not in service]
    images += re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for job in yaml.safe_load(WORKFLOW.read_text())["jobs"].values():
        images += [service["image"] for service in job.get("services", {}).values()]
    assert len(images) >= 6
    assert [image for image in images if not pinned(image)] == []


def test_nothing_is_published_beyond_loopback(services: dict[str, Any]) -> None:
    """Ports are published on 127.0.0.1 alone, and the API alone is on the host's network."""
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    assert [name for name, service in services.items() if "network_mode" in service] == ["api"]
    assert "FLOW_HOST" not in services["api"]["environment"]


def test_compose_has_no_password(services: dict[str, Any]) -> None:
    """Passwords come from outside, and without one nothing starts; no command line has one."""
    text = (DEPLOY / "compose.yaml").read_text()
    used = re.findall(r"\$\{(\w*PASSWORD)([^}]*)\}", text)
    names = {"POSTGRES_PASSWORD", "SAMPLER_PASSWORD", "API_PASSWORD", "REDIS_PASSWORD"}
    assert {name for name, _ in used} == names
    assert [name for name, rest in used if not rest.startswith(":?")] == []
    for service in services.values():
        # Compose writes ${NAME} into the command; of $$NAME the container's shell takes its own.
        assert not re.search(r"(?<!\$)\$\{?\w*PASSWORD", " ".join(service.get("command", [])))


def test_compose_puts_no_file_into_a_read_only_root(services: dict[str, Any]) -> None:
    """Compose copies a config or secret that is no file into the container; a read-only root takes none."""
    whole = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for kind in ("configs", "secrets"):
        copied = {name for name, thing in whole.get(kind, {}).items() if "file" not in thing}
        for name, service in services.items():
            used = {u if isinstance(u, str) else u["source"] for u in service.get(kind, [])}
            assert not (service.get("read_only") and used & copied), name


def test_compose_hands_over_the_roles_passwords(services: dict[str, Any], tmp_path: Path) -> None:
    """The service grants makes the files that its command reads, for its user alone, in memory."""
    line = services["grants"]["command"][2].replace("/tmp/", f"{tmp_path}/")
    stub = tmp_path / "flow-store"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" flow-store "$@"\n')
    stub.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment |= {"SAMPLER_PASSWORD": "one", "API_PASSWORD": "two"}
    done = subprocess.run(
        ["sh", "-c", line], env=environment, capture_output=True, text=True, check=True
    )
    folder = Path(accepted(*done.stdout.splitlines()).passwords)
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "sampler": "one\n",
        "api": "two\n",
    }
    assert folder.stat().st_mode & 0o077 == 0
    assert services["grants"]["tmpfs"] == ["/tmp"]


def test_compose_settings_of_redis(services: dict[str, Any], tmp_path: Path) -> None:
    """A Redis takes its settings by standard input; its command line has no password."""
    program = shutil.which("redis-server")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no redis-server")
        pytest.skip("no redis-server")
    place = tmp_path / "socket"
    # Beside the lines of the file: no port, for other servers run here.
    line = services["redis"]["command"][2].replace("$$", "$")
    line = line.replace("<<END\n", f"<<END\nport 0\nunixsocket {place}\n")
    environment = {"PATH": os.environ["PATH"]} | {"REDISCLI_AUTH": "canary"}
    process = subprocess.Popen(
        ["sh", "-c", line], env=environment, stdout=subprocess.DEVNULL, cwd=tmp_path
    )
    try:
        ends = time.monotonic() + 20
        while not place.exists():
            assert time.monotonic() < ends
            time.sleep(0.05)
        stranger = redis.Redis(unix_socket_path=str(place))
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        wanted = {
            "save": "", "appendonly": "no", "maxmemory": str(256 * 1024**2),
            "maxmemory-policy": "noeviction",
        }  # fmt: skip
        with redis.Redis(
            unix_socket_path=str(place), password="canary", decode_responses=True
        ) as client:
            shown: Any = client.config_get(*wanted)
        assert shown == wanted
        assert b"canary" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    finally:
        process.terminate()
        process.wait(20)


def test_compose_commands_are_accepted(services: dict[str, Any]) -> None:
    """Our containers run commands that exist, after one migration and with both servers given."""
    ours = {name: service for name, service in services.items() if "build" in service}
    assert set(ours) == {"migrate", "grants", "prune", "sampler", "standby", "api"}
    for name, service in ours.items():
        assert {"FLOW_DATABASE_URL", "FLOW_REDIS_URL"} <= set(service["environment"])
        before = {"migrate": "db", "grants": "migrate", "prune": "migrate"}.get(name, "grants")
        condition = "service_healthy" if before == "db" else "service_completed_successfully"
        assert service["depends_on"][before]["condition"] == condition
        # Only what runs as the owner has the owner's password; the others log in as their role.
        owner = name in ("migrate", "grants", "prune")
        role = "sampler" if name == "standby" else name
        password = "POSTGRES_PASSWORD" if owner else f"{role.upper()}_PASSWORD"
        assert service["environment"]["PGPASSWORD"].startswith(f"${{{password}:?")
        user = "flow" if owner else f"flow_{role}"
        assert f"//{user}@" in service["environment"]["FLOW_DATABASE_URL"]
        if name != "grants":
            accepted(*service["command"])


def test_containers_are_confined(services: dict[str, Any]) -> None:
    """Each has bounds for memory and log; ours write to volumes alone, and what serves is watched."""
    for name, service in services.items():
        assert service["mem_limit"], name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name
        if "build" in service:
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["ulimits"] == {"core": 0}
        if name not in {"migrate", "grants", "prune"}:
            assert service["healthcheck"]["test"], name
    # A standby has a spool of its own, and begins only when it is asked for.
    assert services["standby"]["profiles"] == ["standby"]
    spools = {
        name: [v for v in services[name]["volumes"] if v.endswith("/spool")]
        for name in ("sampler", "standby")
    }
    assert spools["sampler"] != spools["standby"]


def test_compose_is_accepted(tmp_path: Path) -> None:
    """`docker compose config` takes the file; it needs no engine."""
    if (
        not shutil.which("docker")
        or subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no docker compose")
    for name in ("compose.yaml", "Dockerfile"):
        shutil.copy(DEPLOY / name, tmp_path)
    shutil.copy(DEPLOY / "flow.env.example", tmp_path / "flow.env")
    environment = os.environ | {
        f"{name}_PASSWORD": name for name in ("POSTGRES", "SAMPLER", "API", "REDIS")
    }
    command = ["docker", "compose", "--file", str(tmp_path / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_image_holds_the_product() -> None:
    """The Dockerfile copies each package of the wheel and leaves root behind."""
    text = (DEPLOY / "Dockerfile").read_text()
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert f"COPY {package} " in text
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["zerodte-flow"]


def test_workflow_covers_what_is_promised() -> None:
    """CI runs the one recipe on the oldest and a new Python, and tries the wheel on its own."""
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert set(jobs["test"]["services"]) == {"timescaledb", "redis"}
    assert any(step.get("run") == "bash .ci/run" for step in jobs["test"]["steps"])
    # The commands refuse FLOW_* names that they do not know.
    assert not [name for name in jobs["test"]["env"] if name.startswith("FLOW_")]
    wheel = "\n".join(step.get("run", "") for step in jobs["wheel"]["steps"])
    for program in PROJECT["project"]["scripts"]:
        assert f"{program} --help" in wheel


def alerts() -> list[dict[str, Any]]:
    """The rules of the alerts file."""
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def sampler_families() -> list[Any]:
    """The metrics of a sampler with a spool."""

    class Writer:
        spooling_seconds = 0.0
        spool_batches = spool_bytes = 0

    metrics = SamplerMetrics(["SPY"], "0")
    metrics.watch_writer(Writer(), ROOT)
    return list(metrics.registry.collect())


def test_alerts_read_metrics_that_exist() -> None:
    """Every metric in the alerts and the docs is one that the API or the sampler has."""
    families = list(ApiMetrics("live", "0").registry.collect())
    sampler = sampler_families()
    kinds = {"counter": ("_total",), "histogram": ("", "_bucket", "_count", "_sum"), "gauge": ("",)}
    there = {f"{f.name}{end}" for f in families + sampler for end in kinds[f.type]}
    expressions = " ".join(rule["expr"] for rule in alerts())
    assert set(re.findall(r"\bflow_\w+", expressions)) <= there
    table = re.findall(r"^\| `(flow_\w+)", (ROOT / "docs/access.md").read_text(), re.MULTILINE)
    own = {f.name + ("_total" if f.type == "counter" else "") for f in families + sampler}
    assert sorted(table) == sorted(name for name in own if name.startswith("flow_"))
    for reasons in re.findall(r'reason=~"([\w|]+)"', expressions):
        # What is no fault of anybody's stands in no alert.
        calm = {Reason.UNCHANGED, Reason.NOT_OPEN, Reason.NO_ZERO_DTE}
        assert set(reasons.split("|")) <= set(LIVE_REASONS) - calm
    parts = set(re.findall(r'part="(\w+)"', expressions))
    assert parts == {"database", "live_channel"}


def test_alerts_are_rules() -> None:
    """Prometheus reads the rules, and they fire when they should and not before."""
    if not shutil.which("promtool") and os.environ.get("CI") != "true":
        pytest.skip("no promtool")
    rules, cases = (
        DEPLOY / "prometheus" / "alerts.yaml",
        Path(__file__).with_name("alerts_test.yaml"),
    )
    for command in (["check", "rules", str(rules)], ["test", "rules", str(cases)]):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_its_advice() -> None:
    """docs/operations.md has a row for each alert, and none for others."""
    text = (ROOT / "docs/operations.md").read_text()
    rows = re.findall(r"^\| `(Flow\w+)` \|", text, re.MULTILINE)
    assert rows == [rule["alert"] for rule in alerts()]
