"""Passwords beside their URLs: where each may stand, and what is said about bad ones."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio.connection import parse_url

from storage.config.passwords import url_with_password
from storage.config.settings import Settings
from storage.errors import UsageError

SECRET = " s3cret/@:%?#é "


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with the password and the line end of an editor."""
    path = tmp_path / "password"
    path.write_text(SECRET + "\n")
    return path


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgresql://flow@db.example:5432/flow", "db.example"),
        ("postgres://flow@db.example/flow?sslmode=require", "db.example"),
        ("postgresql://flow@/flow?host=/run/postgresql", "/run/postgresql"),
        ("postgresql:///flow?host=/run/postgresql&user=flow", "/run/postgresql"),
        ("postgresql://flow@one,two:5433/flow", "one,two"),
    ],
)
def test_libpq_reads_it(url: str, host: str, file: Path) -> None:
    """The password arrives to the character, and nothing else of the URL changes."""
    before = conninfo_to_dict(url)
    after = conninfo_to_dict(url_with_password(url, "database", file, None))
    assert after.pop("password") == SECRET
    assert after == before
    assert after["host"] == host


@pytest.mark.parametrize(
    "url", ["redis://r:6379/1", "rediss://flow@r", "unix:///run/redis/redis.sock?db=2"]
)
def test_redis_reads_it(url: str, file: Path) -> None:
    """The same for the three kinds of Redis URL."""
    before = parse_url(url)
    after = parse_url(url_with_password(url, "redis", file, None))
    assert unquote(after.pop("password")) == SECRET
    assert {k: v for k, v in after.items() if v} == {k: v for k, v in before.items() if v}


def test_a_credential(tmp_path: Path) -> None:
    """A systemd credential of the service's name; the other service's is left alone."""
    (tmp_path / "flow_database_password").write_text("one")
    url = "postgresql://u@db/flow"
    assert url_with_password(url, "database", None, tmp_path) == "postgresql://u:one@db/flow"
    assert url_with_password("redis://r", "redis", None, tmp_path) == "redis://r"
    read = Settings.read({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert read.credentials_dir == tmp_path


def test_what_is_refused(file: Path, tmp_path: Path) -> None:
    """Two places, no URL, no file, no password: each names its setting, and shows no password."""
    (tmp_path / "flow_redis_password").write_text(SECRET)
    empty, binary, lines = tmp_path / "empty", tmp_path / "binary", tmp_path / "lines"
    empty.write_text("\n")
    binary.write_bytes(b"\xff\xfe")
    lines.write_text(f"{SECRET}\n{SECRET}\n")
    name = "FLOW_REDIS_PASSWORD_FILE"
    cases = [
        ("redis://:other@r", file, None, f"{name} and the password in FLOW_REDIS_URL are both"),
        ("redis://r", file, tmp_path, f"{name} and the systemd credential flow_redis_password"),
        ("", file, None, f"{name}: there is no FLOW_REDIS_URL that it belongs to"),
        ("redis://r", tmp_path / "none", None, f"{name}: cannot read {tmp_path}/none: No such"),
        ("redis://r", empty, None, f"{name}: {empty} holds no password"),
        ("redis://r", lines, None, f"{name}: {lines} holds no password"),
        ("redis://r", binary, None, f"{name}: {binary} is not text in UTF-8"),
        ("redis://r?password=x", file, None, f"{name} and the password in FLOW_REDIS_URL are"),
    ]
    for url, path, credentials, words in cases:
        with pytest.raises(UsageError) as raised:
            url_with_password(url, "redis", path, credentials)
        assert str(raised.value).startswith(words)
        assert "s3cret" not in str(raised.value)


def test_without_one_nothing_changes() -> None:
    """A URL with its own password, and an embedded server, stay as they are."""
    assert url_with_password("redis://:own@r", "redis", None, None) == "redis://:own@r"
    assert url_with_password("", "database", None, None) == ""
