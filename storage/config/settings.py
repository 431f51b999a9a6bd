"""Every FLOW_* setting: its meaning, its default, and how its text is read.

Only the programs' ``__main__`` modules read the environment, through ``Settings.read``. A command
line option of the same name wins over the environment.
"""

from __future__ import annotations

import argparse
import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.config.plans import DEFAULT_QUOTAS, Quotas, parse_quotas
from storage.config.source_url import parse_source
from storage.config.vendor_keys import NO_KEYS, VENDOR_NAMES, VendorKeys
from storage.errors import UsageError
from storage.market.calendar import CalendarOverrides, parse_overrides
from storage.market.clock import Clock, parse_clock
from storage.market.instruments import parse_symbols

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?|\[[0-9a-f:]+\]")


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise UsageError(f"{text!r} is not a number") from None
        if not low <= value <= high:
            raise UsageError(f"{text} is not between {low:g} and {high:g}")
        return value

    return read


def _days(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise UsageError(f"{text!r} is not a number of days: 0 to 99999")
    return int(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise UsageError(f"{text!r} is not a whole number from 0 to 99999")
    return int(text)


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise UsageError(f"{text!r} is not a port: 1 to 65535")
    return int(text)


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(item.strip().rstrip("/") for item in text.split(",") if item.strip())
    for origin in origins:
        if origin not in {"*", "auto"} and not _ORIGIN.fullmatch(origin):
            raise UsageError(f"{origin[:80]!r} is no origin, as in https://flow.example.org")
    return origins


def _hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(item.strip().rstrip(".") for item in text.split(",") if item.strip())
    for host in hosts:
        if host != "*" and not _HOST.fullmatch(host):
            raise UsageError(f"{host[:80]!r} is no host name, as in flow.example.org")
    return hosts


def _root_path(text: str) -> str:
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+){1,8}", path):
        raise UsageError(f"{text[:80]!r} is no path, as in /flow")
    return path


def _networks(text: str) -> tuple[str, ...]:
    networks = tuple(item.strip() for item in text.split(",") if item.strip())
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise UsageError(
                f"{network[:80]!r} is no address or network, as in 10.0.0.0/8"
            ) from None
    return networks


def _notify(text: str) -> tuple[str, ...]:
    urls = tuple(text.split())
    if not all(re.match(r"[a-z][a-z0-9+.-]*://", url) for url in urls):
        raise UsageError("a target has a scheme, as in https://... or ntfy://...")
    return urls


def _web_url(text: str) -> str:
    if text and not text.startswith(("https://", "http://")):
        raise UsageError("a heartbeat is called by https:// or http://")
    return text


def _port_or_none(text: str) -> int:
    return 0 if text == "0" else _port(text)


def _folder(text: str) -> Path:
    if not text.strip():
        raise UsageError("no folder is named")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text!r}: {error}") from error


def _maybe_folder(text: str) -> Path | None:
    return _folder(text) if text else None


def _word(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise UsageError(f"{text!r} is none of: {', '.join(known)}")
        return text

    return read


def _url(*schemes: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text and not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            # The value may hold a password: it is not repeated.
            raise UsageError(f"must begin with {' or '.join(f'{s}://' for s in schemes)}")
        return text

    return read


def default_data_dir() -> str:
    """Return the folder of the embedded servers: in the user's data folder; for root in /var/lib.

    Root's home is closed to the unprivileged user that PostgreSQL runs as.
    """
    if os.geteuid() == 0:
        return "/var/lib/zerodte-flow"
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return f"{home}/zerodte-flow"


@dataclass(frozen=True, slots=True)
class Setting:
    """One FLOW_* setting. ``default`` is text, and is read like any other value."""

    meaning: str
    default: str
    read: Callable[[str], Any] = str


#: Every setting there is, by its name without the FLOW_ prefix, in lower case.
REGISTRY: dict[str, Setting] = {
    "database_url": Setting(
        "URL of PostgreSQL, with or without TimescaleDB; empty: the embedded one",
        "",
        _url("postgresql", "postgres"),
    ),
    "database_password_file": Setting(
        "file with the password of FLOW_DATABASE_URL, which then has none; empty: none",
        "",
        _maybe_folder,
    ),
    "redis_url": Setting(
        "URL of Redis or Valkey, the live channel; empty: the embedded one",
        "",
        _url("redis", "rediss", "unix"),
    ),
    "redis_password_file": Setting(
        "file with the password of FLOW_REDIS_URL, which then has none; empty: none",
        "",
        _maybe_folder,
    ),
    "data_dir": Setting("folder of the embedded servers", default_data_dir(), _folder),
    "source": Setting("where chains come from; see flow-sampler sources", "", parse_source),
    "fallback": Setting(
        "a second source, sampled while the first one gives no rows; empty: none",
        "",
        parse_source,
    ),
    "fallback_after": Setting(
        "consecutive slots of the first source without a row after which the fallback begins; as"
        " many with a row end it",
        "4",
        _count,
    ),
    "symbols": Setting(
        "underlyings to sample, comma-separated; or @indices, @funds, @mag7, @all",
        "SPX,SPY,QQQ",
        parse_symbols,
    ),
    "dataset": Setting(
        "live (real) or synthetic (simulated); empty: by the source, or by what runs here",
        "",
        _word("", "live", "synthetic"),
    ),
    "clock": Setting("real, or simulated:<start>@<speed>@<wall anchor>", "real", parse_clock),
    "calendar_overrides": Setting(
        "days that differ from the market calendar: 2027-02-11=closed, or =13:00 for an early"
        " close, comma-separated",
        "",
        parse_overrides,
    ),
    "oi_confidence": Setting(
        "κ: the part of signed volume that counts as opened positions", "0.43", _number(0, 1)
    ),
    "tick_budget": Setting(
        "seconds that a symbol may take from its slot to its row", "20", _number(1, 30)
    ),
    "batch_seconds": Setting(
        "seconds that a tick's records wait for slower symbols before they are written",
        "1",
        _number(0, 10),
    ),
    "lease_max": Setting(
        "most symbols that one of several samplers takes; 0: all that no other one has",
        "0",
        _count,
    ),
    "spool_dir": Setting(
        "folder for records while the database is away; empty: spool in FLOW_DATA_DIR",
        "",
        _maybe_folder,
    ),
    "spool_mb": Setting("size that the spool may reach, in MB", "4096", _number(1, 1e6)),
    "metrics_port": Setting(
        "loopback port of the sampler's metrics; 0: none", "9471", _port_or_none
    ),
    "api_metrics_port": Setting(
        "loopback port on which the API serves /metrics alone; 0: on its own port",
        "0",
        _port_or_none,
    ),
    "backup_dir": Setting(
        "folder of the database's dumps; doctor warns when the newest is a week old; empty: none",
        "",
        _maybe_folder,
    ),
    "min_coverage": Setting(
        "part of a session's slots below which check fails", "0.9", _number(0, 1)
    ),
    "keep_rows": Setting("days that rows are kept; 0: for ever", "0", _days),
    "keep_profiles": Setting("days that figures by strike are kept; 0: for ever", "60", _days),
    "keep_chains": Setting("days that chains are kept; 0: for ever", "730", _days),
    "keep_gaps": Setting("days that gaps are kept; 0: for ever", "0", _days),
    "keep_alerts": Setting("days that the log of alerts is kept; 0: for ever", "730", _days),
    "compress_after": Setting(
        "days after which TimescaleDB compresses; longer than backfills reach back; 0: never",
        "30",
        _days,
    ),
    "disk_cap": Setting(
        "stored GB above which prune warns; 0: never", "100", _number(0, 1_000_000)
    ),
    "host": Setting("address that the API listens on", "127.0.0.1"),
    "port": Setting("port that the API listens on", "8000", _port),
    "cors_origins": Setting(
        "origins whose pages may call the API, comma-separated; *: any, empty: none;"
        " auto: any with keys, none on an open server",
        "auto",
        _origins,
    ),
    "allowed_hosts": Setting(
        "names, beside localhost, that an open server may be called by, comma-separated; *: any",
        "",
        _hosts,
    ),
    "root_path": Setting(
        "path under which a proxy serves the API, such as /flow; empty: the root",
        "",
        _root_path,
    ),
    "trusted_proxies": Setting(
        "addresses and networks of proxies whose X-Forwarded-For is believed, comma-separated;"
        " empty: none",
        "",
        _networks,
    ),
    "notify": Setting(
        "where events are sent, URLs with blanks between: https://... (JSON), slack://, discord://,"
        " tgram://, ntfy://, mailto://; empty: nowhere",
        "",
        _notify,
    ),
    "notify_file": Setting("file with those URLs, one a line", "", _maybe_folder),
    "notify_secret_file": Setting(
        "file with the key that signs the JSON of https:// targets; empty: not signed",
        "",
        _maybe_folder,
    ),
    "alert_rules": Setting(
        "JSON file with the rules of market events; empty: the built-in rules",
        "",
        _maybe_folder,
    ),
    "heartbeat_url": Setting(
        "URL that the API calls each minute, for a watcher outside; empty: none", "", _web_url
    ),
    "access": Setting(
        "who may call the API: open, keys, or auto (open on loopback, keys elsewhere)",
        "auto",
        _word("auto", "open", "keys"),
    ),
    "quotas": Setting(
        "requests a day by plan, counted from 00:00 UTC; name the plans that differ",
        DEFAULT_QUOTAS,
        parse_quotas,
    ),
    "log": Setting(
        "format of the log: auto, json or console", "auto", _word("auto", "json", "console")
    ),
    "log_level": Setting(
        "lowest level that is logged: debug, info, warning or error",
        "info",
        _word("debug", "info", "warning", "error"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one command, checked. ``REGISTRY`` has the meaning of each field."""

    database_url: str
    database_password_file: Path | None
    redis_url: str
    redis_password_file: Path | None
    data_dir: Path
    source: str
    fallback: str
    fallback_after: int
    symbols: tuple[str, ...]
    dataset: str
    clock: Clock
    calendar_overrides: CalendarOverrides
    oi_confidence: float
    tick_budget: float
    batch_seconds: float
    lease_max: int
    spool_dir: Path | None
    spool_mb: float
    metrics_port: int
    api_metrics_port: int
    backup_dir: Path | None
    min_coverage: float
    keep_rows: int
    keep_profiles: int
    keep_chains: int
    keep_gaps: int
    keep_alerts: int
    compress_after: int
    disk_cap: float
    host: str
    port: int
    cors_origins: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    root_path: str
    trusted_proxies: tuple[str, ...]
    #: Where events are sent. The URLs may hold passwords: they have no options.
    notify: tuple[str, ...]
    notify_file: Path | None
    notify_secret_file: Path | None
    alert_rules: Path | None
    heartbeat_url: str
    access: str
    quotas: Quotas
    log: str
    log_level: str
    #: The vendors' keys. They have no options: a process list would show those.
    keys: VendorKeys = NO_KEYS
    #: Where systemd listens to its services; empty if it did not start this process.
    notify_socket: str = ""
    #: Folder of the unit's systemd credentials; None without.
    credentials_dir: Path | None = None
    #: FLOW_* names that this release does not know: it goes on without them.
    unknown: tuple[str, ...] = ()

    @classmethod
    def read(
        cls, environment: Mapping[str, str], options: Mapping[str, str | None] | None = None
    ) -> Settings:
        """Read the settings from the environment, with command line options on top.

        Parameters
        ----------
        environment : the process's variables; ``FLOW_*``, and those that systemd sets.
        options : values of command line options by name; None for one that is not given.

        Returns
        -------
        Settings
            All settings, with their defaults.

        Raises
        ------
        UsageError
            For a misspelt FLOW_* name (the nearest known one is suggested), a bad value, or a
            vendor's key that stands in two places. A name that resembles none may be a newer
            release's: it is kept in ``unknown``.
        """
        unknown = []
        texts = {k[5:].lower(): (v, k) for k, v in environment.items() if k.startswith("FLOW_")}
        for name, (_, shown) in texts.items():
            if name in REGISTRY or name in VENDOR_NAMES:
                continue
            if near := _misspelt(name):
                raise UsageError(f"{shown} is no setting; did you mean FLOW_{near.upper()}?")
            unknown.append(shown)
        for name, value in (options or {}).items():
            if value is not None:
                texts[name] = (value, f"--{name.replace('_', '-')}")
        values: dict[str, Any] = {}
        for name, setting in REGISTRY.items():
            text, shown = texts.get(name, (setting.default, name))
            try:
                values[name] = setting.read(text)
            except UsageError as error:
                detail = str(error).removeprefix(f"FLOW_{name.upper()}: ")
                raise UsageError(f"{shown}: {detail}") from error
        return cls(
            **values,
            keys=VendorKeys.read(environment),
            notify_socket=environment.get("NOTIFY_SOCKET", ""),
            credentials_dir=_maybe_folder(environment.get("CREDENTIALS_DIRECTORY", "")),
            unknown=tuple(sorted(unknown)),
        )


def _misspelt(name: str) -> str:
    """The setting that a name is a misspelling of; empty if it resembles none."""
    known = {*REGISTRY, *VENDOR_NAMES}
    begun = [other for other in known if name and other.startswith(f"{name}_")]
    # Two slips may make another setting: FLOW_PORT and FLOW_HOST.
    near = [other for other in known if abs(len(other) - len(name)) <= 1]
    near = [other for other in near if count_slips(name, other) <= 1]
    candidates = difflib.get_close_matches(name, [*begun, *near], n=1, cutoff=0.0)
    return candidates[0] if candidates else ""


def count_slips(word: str, other: str) -> int:
    """Count the slips that make one word of another.

    A slip is a letter too many, too few or wrong, or two neighbours that are exchanged (the optimal
    string alignment distance).

    Parameters
    ----------
    word, other : two words.

    Returns
    -------
    int
        The least number of slips.
    """
    table = [[i + j for j in range(len(other) + 1)] for i in range(len(word) + 1)]
    for i, a in enumerate(word, 1):
        for j, b in enumerate(other, 1):
            table[i][j] = min(
                table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a != b)
            )
            if i > 1 and j > 1 and (a, word[i - 2]) == (other[j - 2], b):
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


def add_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Give a command the options of some settings; ``--help`` shows their FLOW_* names.

    Parameters
    ----------
    parser : the command's parser.
    names : settings, as ``REGISTRY`` names them.
    """
    for name in names:
        setting = REGISTRY[name]
        shown = setting.default or "none"
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            metavar=name.rsplit("_", maxsplit=1)[-1].upper(),
            help=f"{setting.meaning} (FLOW_{name.upper()}, default: {shown})".replace("%", "%%"),
        )


def options_of(parsed: argparse.Namespace) -> dict[str, str | None]:
    """Return the settings among the options of a parsed command line.

    Parameters
    ----------
    parsed : the parsed command line.

    Returns
    -------
    dict
        Value by setting; None for an option that is not given.
    """
    return {k: v for k, v in vars(parsed).items() if k in REGISTRY}
