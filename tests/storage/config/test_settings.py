"""The FLOW_* registry: defaults, where values come from, and what is said about bad ones."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest

from storage.config import settings as module
from storage.config.settings import REGISTRY, Settings, add_options, count_slips, options_of
from storage.config.vendor_keys import VENDOR_NAMES
from storage.errors import UsageError
from storage.market.clock import Clock
from storage.market.instruments import parse_symbol

#: Every FLOW_* name, its field's default.
DEFAULTS = {
    "database_url": "",
    "database_password_file": None,
    "redis_url": "",
    "redis_password_file": None,
    "source": "",
    "fallback": "",
    "fallback_after": 4,
    "symbols": ("SPX", "SPY", "QQQ"),
    "dataset": "",
    "clock": Clock(),
    "calendar_overrides": {},
    "oi_confidence": 0.43,
    "tick_budget": 20.0,
    "batch_seconds": 1.0,
    "lease_max": 0,
    "spool_dir": None,
    "spool_mb": 4096.0,
    "metrics_port": 9471,
    "api_metrics_port": 0,
    "backup_dir": None,
    "min_coverage": 0.9,
    "keep_rows": 0,
    "keep_profiles": 60,
    "keep_chains": 730,
    "keep_gaps": 0,
    "keep_alerts": 730,
    "compress_after": 30,
    "disk_cap": 100.0,
    "host": "127.0.0.1",
    "port": 8000,
    "access": "auto",
    "quotas": {
        "Levels": 2500,
        "Free": 5,
        "Basic": 250,
        "Growth": 2500,
        "Alpha": None,
        "Enterprise": None,
    },
    "cors_origins": ("auto",),
    "allowed_hosts": (),
    "root_path": "",
    "trusted_proxies": (),
    "notify": (),
    "notify_file": None,
    "notify_secret_file": None,
    "alert_rules": None,
    "heartbeat_url": "",
    "log": "auto",
    "log_level": "info",
}


def refused(environment: dict[str, str], options: dict[str, str | None] | None = None) -> str:
    with pytest.raises(UsageError) as raised:
        Settings.read(environment, options)
    return str(raised.value)


def test_defaults():
    """With nothing set, every setting has its documented default."""
    read = Settings.read({})
    assert {name: getattr(read, name) for name in DEFAULTS} == DEFAULTS
    assert {*DEFAULTS, "data_dir"} == set(REGISTRY)


def test_other_names_are_nobodys_business():
    """Environment names without the prefix are not looked at."""
    assert Settings.read({}) == Settings.read({"SYMBOLS": "X", "MY_FLOW_PORT": "x", "PATH": "/"})


def test_default_data_dir(monkeypatch):
    """Root's data is in /var/lib; a user's where XDG says, or in ~/.local/share."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert module.default_data_dir() == "/var/lib/zerodte-flow"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/home/me/data")
    assert module.default_data_dir() == "/home/me/data/zerodte-flow"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert module.default_data_dir() == "~/.local/share/zerodte-flow"


def test_home_is_expanded(monkeypatch):
    """A ~ in a folder's name is the home folder."""
    monkeypatch.setenv("HOME", "/home/me")
    assert Path("/home/me/flow") == Settings.read({"FLOW_DATA_DIR": "~/flow"}).data_dir


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("FLOW_SYMBOL", "FLOW_SYMBOLS"),
        ("FLOW_DATABSE_URL", "FLOW_DATABASE_URL"),
        ("FLOW_REDIS", "FLOW_REDIS_URL"),
        ("FLOW_LOGLEVEL", "FLOW_LOG_LEVEL"),
        ("FLOW_PROT", "FLOW_PORT"),
    ],
)
def test_unknown_names(unknown, nearest):
    """A misspelt name is refused, and the nearest one suggested; its value is not repeated."""
    assert f"{unknown} is no setting; did you mean {nearest}?" == refused({unknown: "s3cret"})


@pytest.mark.parametrize(
    "name",
    ["FLOW_", "FLOW_Q", "FLOW_日本", "FLOW_NEXT_RELEASE", "FLOW_API_METRICS_HOST", "FLOW_PAST"],
)
def test_names_near_to_nothing(name):
    """A name that resembles none may be a newer release's: the settings are read without it."""
    settings = Settings.read({name: "1", "FLOW_PORT": "8001"})
    assert (settings.unknown, settings.port) == ((name,), 8001)


@pytest.mark.parametrize(
    ("word", "other", "slips"),
    [("", "abc", 3), ("port", "port", 0), ("prot", "port", 1), ("post", "port", 1),
     ("kitten", "sitting", 3), ("symbol", "symbols", 1), ("ca", "abc", 3)],
)  # fmt: skip
def test_slips(word, other, slips):
    """Published examples of the optimal string alignment distance, and the same the other way."""
    assert count_slips(word, other) == count_slips(other, word) == slips


def test_no_two_settings_are_a_slip_apart():
    """A setting of today is no misspelling to a release that had all the others."""
    names = sorted({*REGISTRY, *VENDOR_NAMES})
    for name in names:
        for other in names:
            assert name == other or count_slips(name, other) > 1


def test_environment():
    """Each setting is read from its FLOW_ name."""
    read = Settings.read(
        {
            "FLOW_DATABASE_URL": "postgresql://u:p@db/flow",
            "FLOW_REDIS_URL": "redis://r:6379/0",
            "FLOW_DATABASE_PASSWORD_FILE": "/etc/flow/database",
            "FLOW_REDIS_PASSWORD_FILE": "/etc/flow/redis",
            "FLOW_DATA_DIR": "/srv/flow",
            "FLOW_SOURCE": "theta:",
            "FLOW_FALLBACK": "SPX=tradier:,*=cboe:",
            "FLOW_FALLBACK_AFTER": "6",
            "FLOW_SYMBOLS": "SPY",
            "FLOW_DATASET": "synthetic",
            "FLOW_CLOCK": "simulated:2026-08-19T13:30Z@60@2026-01-01T00:00Z",
            "FLOW_CALENDAR_OVERRIDES": "2027-02-11=13:00, 2027-02-12=closed",
            "FLOW_OI_CONFIDENCE": "0.5",
            "FLOW_TICK_BUDGET": "12.5",
            "FLOW_BATCH_SECONDS": "0.5",
            "FLOW_LEASE_MAX": "40",
            "FLOW_SPOOL_DIR": "/srv/spool",
            "FLOW_SPOOL_MB": "100",
            "FLOW_METRICS_PORT": "9100",
            "FLOW_API_METRICS_PORT": "9101",
            "FLOW_MIN_COVERAGE": "0.8",
            "FLOW_KEEP_ROWS": "1000",
            "FLOW_KEEP_PROFILES": "5",
            "FLOW_KEEP_CHAINS": "0",
            "FLOW_KEEP_GAPS": "99999",
            "FLOW_KEEP_ALERTS": "31",
            "FLOW_COMPRESS_AFTER": "7",
            "FLOW_DISK_CAP": "2.5",
            "FLOW_HOST": "::1",
            "FLOW_PORT": "8080",
            "FLOW_ACCESS": "keys",
            "FLOW_QUOTAS": "Free=20, Alpha=9000",
            "FLOW_CORS_ORIGINS": "https://flow.example.org/, http://localhost:3000",
            "FLOW_ALLOWED_HOSTS": "flow.example.org",
            "FLOW_BACKUP_DIR": "/var/backups/flow",
            "FLOW_ROOT_PATH": "/flow/spx/",
            "FLOW_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8,fd00::/8",
            "FLOW_NOTIFY": "https://hooks.example/a ntfy://topic",
            "FLOW_NOTIFY_FILE": "/etc/flow/notify",
            "FLOW_NOTIFY_SECRET_FILE": "/etc/flow/secret",
            "FLOW_ALERT_RULES": "/etc/rules.json",
            "FLOW_HEARTBEAT_URL": "https://watch.example/b",
            "FLOW_LOG": "json",
            "FLOW_LOG_LEVEL": "debug",
        }
    )
    expected = Settings(
        database_url="postgresql://u:p@db/flow",
        redis_url="redis://r:6379/0",
        database_password_file=Path("/etc/flow/database"),
        redis_password_file=Path("/etc/flow/redis"),
        data_dir=Path("/srv/flow"),
        source="theta:",
        fallback="SPX=tradier:,*=cboe:",
        fallback_after=6,
        symbols=("SPY",),
        dataset="synthetic",
        clock=Clock(
            datetime(2026, 8, 19, 13, 30, tzinfo=UTC), 60.0, datetime(2026, 1, 1, tzinfo=UTC)
        ),
        calendar_overrides={date(2027, 2, 11): time(13), date(2027, 2, 12): None},
        oi_confidence=0.5,
        tick_budget=12.5,
        batch_seconds=0.5,
        lease_max=40,
        spool_dir=Path("/srv/spool"),
        spool_mb=100.0,
        metrics_port=9100,
        api_metrics_port=9101,
        min_coverage=0.8,
        keep_rows=1000,
        keep_profiles=5,
        keep_chains=0,
        keep_gaps=99_999,
        keep_alerts=31,
        compress_after=7,
        disk_cap=2.5,
        host="::1",
        port=8080,
        access="keys",
        quotas={
            "Levels": 2500,
            "Free": 20,
            "Basic": 250,
            "Growth": 2500,
            "Alpha": 9000,
            "Enterprise": None,
        },
        cors_origins=("https://flow.example.org", "http://localhost:3000"),
        allowed_hosts=("flow.example.org",),
        backup_dir=Path("/var/backups/flow"),
        root_path="/flow/spx",
        trusted_proxies=("127.0.0.1", "10.0.0.0/8", "fd00::/8"),
        notify=("https://hooks.example/a", "ntfy://topic"),
        notify_file=Path("/etc/flow/notify"),
        notify_secret_file=Path("/etc/flow/secret"),
        alert_rules=Path("/etc/rules.json"),
        heartbeat_url="https://watch.example/b",
        log="json",
        log_level="debug",
    )
    assert expected == read


def test_option_beats_environment():
    """A command line option wins; one that was not given leaves the environment's value."""
    environment = {"FLOW_PORT": "8001", "FLOW_HOST": "::1"}
    read = Settings.read(environment, {"port": "8002", "host": None, "symbols": None})
    assert (read.port, read.host, read.symbols) == (8002, "::1", ("SPX", "SPY", "QQQ"))


def test_option_saves_from_a_bad_environment():
    """A bad value that an option overrules does not matter."""
    assert Settings.read({"FLOW_PORT": "x"}, {"port": "8002"}).port == 8002


BAD = [
    ("database_url", "mysql://u:s3cret@db/flow", "must begin with postgresql:// or postgres://"),
    ("database_url", "u:s3cret@db/flow", "must begin with postgresql:// or postgres://"),
    ("redis_url", "http://:s3cret@r", "must begin with redis:// or rediss:// or unix://"),
    ("data_dir", "", "no folder is named"),
    ("data_dir", "  ", "no folder is named"),
    ("data_dir", "~nobody-of-that-name/x", "Could not determine home directory"),
    ("symbols", "", "no symbol is named"),
    ("symbols", " , ,", "no symbol is named"),
    ("symbols", "SPX,S PY", "'S PY' is not a symbol: 1 to 16 of"),
    ("symbols", "SPX,@mag8", "'@mag8' is no group; the known ones are @indices, @funds, @mag7"),
    ("dataset", "real", "'real' is none of: , live, synthetic"),
    ("clock", "fake", "'fake': unknown form; expected real, or simulated:"),
    ("calendar_overrides", "tomorrow", "'tomorrow' is not of the form 2027-02-11=closed or"),
    ("calendar_overrides", "2027-02-30=closed", "'2027-02-30=closed' is not of the form"),
    ("calendar_overrides", "2027-02-11=shut", "'2027-02-11=shut' is not of the form"),
    ("calendar_overrides", "2027-02-11=9:30", "'2027-02-11=9:30' is not of the form"),
    ("calendar_overrides", "2027-02-11=09:30", "a close is a minute after 09:30 and up to 16:00"),
    ("calendar_overrides", "2027-02-11=16:01", "a close is a minute after 09:30 and up to 16:00"),
    ("calendar_overrides", "2027-02-11=13:00:10", "a close is a minute after 09:30"),
    ("calendar_overrides", "2027-02-11=13:00+01:00", "a close is a minute after 09:30"),
    ("calendar_overrides", "2027-02-11=closed,2027-02-11=13:00", "2027-02-11 stands there twice"),
    ("calendar_overrides", "2027-02-13=13:00", "2027-02-13 is a weekend"),
    ("oi_confidence", "half", "'half' is not a number"),
    ("oi_confidence", "1.01", "1.01 is not between 0 and 1"),
    ("oi_confidence", "-0.1", "-0.1 is not between 0 and 1"),
    ("oi_confidence", "nan", "nan is not between 0 and 1"),
    ("tick_budget", "0.5", "0.5 is not between 1 and 30"),
    ("tick_budget", "inf", "inf is not between 1 and 30"),
    ("min_coverage", "45%", "'45%' is not a number"),
    ("port", "", "'' is not a port: 1 to 65535"),
    ("port", "0", "'0' is not a port: 1 to 65535"),
    ("port", "65536", "'65536' is not a port: 1 to 65535"),
    ("port", "-1", "'-1' is not a port: 1 to 65535"),
    ("port", "80.0", "'80.0' is not a port: 1 to 65535"),
    ("port", "9" * 5000, "is not a port: 1 to 65535"),
    ("root_path", "flow", "'flow' is no path, as in /flow"),
    ("root_path", "/a/../b?", "is no path, as in /flow"),
    ("root_path", "https://flow.example/x", "is no path, as in /flow"),
    ("trusted_proxies", "*", "'*' is no address or network, as in 10.0.0.0/8"),
    ("trusted_proxies", "10.0.0.1/8", "'10.0.0.1/8' is no address or network"),
    ("trusted_proxies", "proxy.example", "'proxy.example' is no address or network"),
    ("log", "xml", "'xml' is none of: auto, json, console"),
    ("log_level", "INFO", "'INFO' is none of: debug, info, warning, error"),
]


@pytest.mark.parametrize(("name", "value", "why"), BAD, ids=lambda v: str(v)[:20])
def test_bad_values_name_their_setting(name, value, why):
    """A bad value is refused by the name it came under, with what is wrong, once."""
    shown = f"FLOW_{name.upper()}"
    message = refused({shown: value})
    assert message.startswith(f"{shown}: ")
    assert why in message
    assert message.count(shown) == 1


@pytest.mark.parametrize(("name", "value", "why"), BAD, ids=lambda v: str(v)[:20])
def test_bad_options_name_their_option(name, value, why):
    """A bad option is refused by its own name."""
    message = refused({}, {name: value})
    assert message.startswith(f"--{name.replace('_', '-')}: ")
    assert why in message


@pytest.mark.parametrize("name", ["database_url", "redis_url"])
@pytest.mark.parametrize(
    "value",
    [
        "postgresql:/flow:s3cret@db/flow",
        "postgressql://flow:s3cret@db/flow",
        " redis://:s3cret@r/0",
        "redis:/:s3cret@r",
    ],
)
def test_passwords_are_not_repeated(name, value):
    """A URL's error never shows the URL."""
    assert "s3cret" not in refused({f"FLOW_{name.upper()}": value})
    assert "s3cret" not in refused({}, {name: value})


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("SPX", ("SPX",)),
        (" spx ,Qqq", ("SPX", "QQQ")),
        ("QQQ,SPX,qqq, SPX ,IWM", ("QQQ", "SPX", "IWM")),
        ("SPX,,SPY,", ("SPX", "SPY")),
        ("BRK.B,^VIX,ES=F", None),
        ("BRK.B,ES=F,A_B,BF-B,0DTE", ("BRK.B", "ES=F", "A_B", "BF-B", "0DTE")),
        ("ABCDEFGHIJKLMNOP", ("ABCDEFGHIJKLMNOP",)),
        ("@indices", ("SPX", "XSP", "NDX", "RUT")),
        ("spy, @Funds ,spx", ("SPY", "QQQ", "IWM", "SPX")),
        ("@mag7", ("AAPL", "AMZN", "GOOGL", "META", "MSFT", "NVDA", "TSLA")),
        (
            "@all",
            (
                "SPX",
                "XSP",
                "NDX",
                "RUT",
                "SPY",
                "QQQ",
                "IWM",
                "AAPL",
                "AMZN",
                "GOOGL",
                "META",
                "MSFT",
                "NVDA",
                "TSLA",
                "AVGO",
                "IBIT",
            ),
        ),
    ],
)
def test_symbols(text, symbols):
    """Symbols are trimmed, upper case, each once in the order given; they begin with a letter."""
    if symbols is None:
        assert "'^VIX' is not a symbol" in refused({"FLOW_SYMBOLS": text})
    else:
        assert symbols == Settings.read({"FLOW_SYMBOLS": text}).symbols


@pytest.mark.parametrize(
    "text",
    ["", "  ", "S PX", "S\tX", "SPX\nSPY", "../", "..", "../../etc/passwd", "/ES", "$SPX", "_SPX",
     "SPX;drop", "SPX'", "S*", "ABCDEFGHIJKLMNOPQ", "日本", "SPX\x00", "É"],
)  # fmt: skip
def test_no_symbols(text):
    """What no exchange lists is refused, and the rule told."""
    with pytest.raises(UsageError) as raised:
        parse_symbol(text)
    assert f"{text!r} is not a symbol: 1 to 16 of A-Z 0-9 . ^ = _ / -" == str(raised.value)


def test_a_long_symbol_is_not_repeated_in_full():
    """Of 500 characters, the message shows 40."""
    with pytest.raises(UsageError) as raised:
        parse_symbol("A" * 500)
    assert f"'{'A' * 40}' is not a symbol" in str(raised.value)
    assert "A" * 41 not in str(raised.value)


def test_help_shows_name_and_default():
    """Each option's help shows its meaning, its FLOW_ name and its default."""
    parser = argparse.ArgumentParser(prog="x")
    add_options(parser, "symbols", "database_url", "oi_confidence")
    text = " ".join(parser.format_help().split())
    assert (
        "--symbols SYMBOLS underlyings to sample, comma-separated; or @indices, @funds, @mag7, @all"
        " (FLOW_SYMBOLS, default: SPX,SPY,QQQ)" in text
    )
    assert "(FLOW_DATABASE_URL, default: none)" in text
    assert "(FLOW_OI_CONFIDENCE, default: 0.43)" in text


def test_options_reach_settings():
    """A parsed command line gives the settings that were named, and nothing else."""
    parser = argparse.ArgumentParser()
    add_options(parser, "log_level", "symbols")
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args(["--log-level", "error", "--json"])
    assert options_of(parsed) == {"log_level": "error", "symbols": None}
    assert Settings.read({}, options_of(parsed)).log_level == "error"


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_setting_can_be_an_option(name):
    """argparse takes each help text, percent signs and all."""
    parser = argparse.ArgumentParser(prog="x")
    add_options(parser, name)
    assert f"FLOW_{name.upper()}" in " ".join(parser.format_help().split())


@pytest.mark.parametrize(
    "text", ["flow.example.org", "https://a/b", "ftp://a", "https://a b", "*.a"]
)
def test_bad_origins(text):
    """An origin is a scheme, a host and perhaps a port."""
    message = refused({"FLOW_CORS_ORIGINS": f"https://a,{text}"})
    assert message == f"FLOW_CORS_ORIGINS: {text!r} is no origin, as in https://flow.example.org"


@pytest.mark.parametrize(
    ("text", "origins"), [("", ()), ("*", ("*",)), ("http://[::1]:8", ("http://[::1]:8",))]
)
def test_origins(text, origins):
    """None, any, or some."""
    assert Settings.read({"FLOW_CORS_ORIGINS": text}).cors_origins == origins


@pytest.mark.parametrize("text", ["a b", "http://flow", "flow:8000", "-", "flow/x"])
def test_a_name_that_is_no_host(text):
    """A URL, a port or a blank in FLOW_ALLOWED_HOSTS is refused with an example."""
    message = refused({"FLOW_ALLOWED_HOSTS": f"flow.example.org,{text}"})
    assert message == f"FLOW_ALLOWED_HOSTS: {text!r} is no host name, as in flow.example.org"


def test_hosts_that_are_allowed():
    """Names are listed with commas; a final dot is the same name."""
    read = Settings.read({"FLOW_ALLOWED_HOSTS": "flow.example.org., [fd00::1] ,desk7"})
    assert read.allowed_hosts == ("flow.example.org", "[fd00::1]", "desk7")
