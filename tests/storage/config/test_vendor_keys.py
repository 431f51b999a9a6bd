"""Vendors' keys: where each may stand, what is refused, and that none is ever shown."""

from __future__ import annotations

import pickle

import pytest

from sampler.sources import open_source
from storage.config.settings import REGISTRY, Settings
from storage.config.vendor_keys import (
    KEY_LIMIT,
    NO_KEYS,
    VENDOR_NAMES,
    VENDOR_SETTINGS,
    VendorKeys,
    refuse_key,
)
from storage.errors import UsageError

CANARY = "canary9d2f4b7c1e8a"
SECRETS = [
    "FLOW_TRADIER_TOKEN",
    "FLOW_MASSIVE_KEY",
    "FLOW_SCHWAB_APP_KEY",
    "FLOW_SCHWAB_APP_SECRET",
    "FLOW_DATABENTO_KEY",
    "FLOW_ORATS_TOKEN",
    "FLOW_TASTYTRADE_CLIENT_SECRET",
    "FLOW_TASTYTRADE_REFRESH_TOKEN",
]


def refused(run, *args) -> str:
    with pytest.raises(UsageError) as caught:
        run(*args)
    assert CANARY not in str(caught.value)
    return str(caught.value)


def test_every_setting_is_listed():
    """The secrets are those named here; a path is no secret."""
    kinds = {f"FLOW_{name.upper()}": setting.kind for name, setting in VENDOR_SETTINGS.items()}
    assert kinds == {
        **dict.fromkeys(SECRETS, "secret"),
        "FLOW_SCHWAB_TOKEN_FILE": "path",
        "FLOW_DATABENTO_CAP_USD": "number",
    }, "SECRETS of this file lists every secret by hand"
    assert not set(REGISTRY) & VENDOR_NAMES


@pytest.mark.parametrize("name", SECRETS)
def test_three_places(tmp_path, name):
    """A key comes from the environment, from a file, or from a systemd credential."""
    file = tmp_path / "key"
    file.write_text(f"{CANARY}\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / name.lower()).write_text(f" {CANARY}\r\n")
    credentials = str(tmp_path / "credentials")
    for environment, place in (
        ({name: f" {CANARY} "}, name),
        ({f"{name}_FILE": str(file)}, f"{name}_FILE"),
        ({"CREDENTIALS_DIRECTORY": credentials}, f"the systemd credential {name.lower()}"),
    ):
        keys = Settings.read(environment).keys
        assert (keys.need(name), keys.get(name), keys.place(name)) == (CANARY, CANARY, place)
        assert CANARY not in repr(keys) + str(keys) + repr(Settings.read(environment))
        assert pickle.loads(pickle.dumps(keys)).need(name) == CANARY


def test_nowhere():
    """What is not set is None; who needs it is shown every way to set it."""
    keys = VendorKeys.read({"FLOW_TRADIER_TOKEN": "", "CREDENTIALS_DIRECTORY": "/nowhere"})
    assert keys == NO_KEYS
    assert keys.get("FLOW_TRADIER_TOKEN") is None
    assert keys.place("FLOW_TRADIER_TOKEN") is None
    assert refused(keys.need, "FLOW_TRADIER_TOKEN") == (
        "tradier: needs FLOW_TRADIER_TOKEN or FLOW_TRADIER_TOKEN_FILE or the systemd credential"
        " flow_tradier_token: access token of a Tradier account, for tradier:"
    )


def test_two_places_are_refused(tmp_path):
    """Each pair of places is refused, and both are named."""
    (tmp_path / "flow_massive_key").write_text(CANARY)
    in_text = {"FLOW_MASSIVE_KEY": CANARY}
    in_file = {"FLOW_MASSIVE_KEY_FILE": str(tmp_path / "flow_massive_key")}
    credential = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    pairs = [
        (in_text | in_file, ("FLOW_MASSIVE_KEY", "FLOW_MASSIVE_KEY_FILE")),
        (in_text | credential, ("FLOW_MASSIVE_KEY", "the systemd credential flow_massive_key")),
        (
            in_file | credential,
            ("FLOW_MASSIVE_KEY_FILE", "the systemd credential flow_massive_key"),
        ),
    ]
    for environment, (first, second) in pairs:
        words = refused(Settings.read, environment)
        assert words == f"{first} and {second} are both set; only one may be"


def test_a_path_stands_in_the_environment_alone(tmp_path):
    """The token file is a path, never a content; there is no file of the file's name."""
    keys = VendorKeys.read({"FLOW_SCHWAB_TOKEN_FILE": "~/token.json"})
    assert keys.get("FLOW_SCHWAB_TOKEN_FILE") == "~/token.json"
    settings = Settings.read({"FLOW_SCHWAB_TOKEN_FILE_FILE": "x"})
    assert settings.unknown == ("FLOW_SCHWAB_TOKEN_FILE_FILE",)
    assert settings.keys.get("FLOW_SCHWAB_TOKEN_FILE") is None


def test_bad_files(tmp_path):
    """A file that is missing, empty, huge or no text is refused by its setting, when it is read."""
    for name, content, words in (
        ("missing", None, "No such file"),
        ("empty", b" \n", "is empty"),
        ("huge", b"x" * (KEY_LIMIT + 1), "that is no key"),
        ("lines", f"{CANARY}\n{CANARY}".encode(), "visible ASCII characters only"),
        ("zero", f"{CANARY}\0".encode(), "visible ASCII characters only"),
    ):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        keys = VendorKeys.read({"FLOW_MASSIVE_KEY_FILE": str(file)})
        assert words in (text := refused(keys.get, "FLOW_MASSIVE_KEY"))
        assert text.startswith("FLOW_MASSIVE_KEY_FILE: ")


def test_a_file_is_read_anew(tmp_path):
    """A key that was changed in its file is the next one read."""
    file = tmp_path / "key"
    file.write_text("first")
    keys = VendorKeys.read({"FLOW_MASSIVE_KEY_FILE": str(file)})
    assert keys.get("FLOW_MASSIVE_KEY") == "first"
    file.write_text("second")
    assert keys.get("FLOW_MASSIVE_KEY") == "second"


def test_a_misspelt_key_setting():
    """The nearest name is suggested, and the value not repeated."""
    assert refused(Settings.read, {"FLOW_TRADIER_TOKN": CANARY}) == (
        "FLOW_TRADIER_TOKN is no setting; did you mean FLOW_TRADIER_TOKEN?"
    )


@pytest.mark.parametrize(
    ("source", "right"),
    [
        (f"tradier:{CANARY}", "it belongs into FLOW_TRADIER_TOKEN"),
        (f"tradier:?token={CANARY}", "it belongs into FLOW_TRADIER_TOKEN"),
        (f"tradier:http://127.0.0.1:1/v1/{CANARY}", "it belongs into FLOW_TRADIER_TOKEN"),
        ("massive:?apiKey=short", "it belongs into FLOW_MASSIVE_KEY"),
        (f"massive:https://api.massive.com?pace=1&apiKey={CANARY}", "FLOW_MASSIVE_KEY"),
        ("schwab:https://user:pass@api.schwabapi.com/x", "FLOW_SCHWAB_APP_KEY or FLOW_SCHWAB_APP"),
        ("databento:db-Abc123Abc123Abc123Abc123Abc12", "it belongs into FLOW_DATABENTO_KEY"),
        ("databento:?key=x", "it belongs into FLOW_DATABENTO_KEY"),
        ("massive:1b4e28ba-2fa1-11d2-883f-0016d3cca427", "it belongs into FLOW_MASSIVE_KEY"),
        ("dxlink:?refresh_token=eyJhbGciOi", "FLOW_TASTYTRADE_CLIENT_SECRET or FLOW_TASTYTRADE_RE"),
        (f"cboe:?apikey={CANARY}", "cboe: needs none"),
        ("theta:http://me:secret@127.0.0.1:25503/v3", "theta: needs none"),
        (CANARY, "it belongs into FLOW_TRADIER_TOKEN or FLOW_MASSIVE_KEY or"),
        (f"{CANARY}:", "it belongs into FLOW_TRADIER_TOKEN or FLOW_MASSIVE_KEY or"),
    ],
)
def test_a_source_with_a_key_is_refused(source, right):
    """What looks like a key is not repeated; the setting where it belongs is named."""
    words = refused(Settings.read, {"FLOW_SOURCE": source})
    assert words.startswith("FLOW_SOURCE: the source looks as if it carried a key")
    assert right in words
    assert "short" not in words
    assert "pass@" not in words
    assert refused(Settings.read, {}, {"source": source}).startswith("--source: ")
    assert right in refused(open_source, source)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "auto",
        "cboe:",
        "cboe:http://127.0.0.1:8001/api/global/delayed_quotes/options?pace=0.5&delay=0",
        "recorded:example",
        "recorded:/data/SPXW_2026-02-09_from_0930_to_1600/chains?delay=900",
        "parquet:/var/backups/zerodte-flow/2026-02-09T160000Z",
        "synthetic:?seed=4294967295",
        "theta:http://127.0.0.1:25503/v3",
        "tradier:https://sandbox.tradier.com/v1",
        "massive:https://api.polygon.io",
        "schwab:https://api.schwabapi.com/marketdata/v1",
        "databento:/data/opra-pillar-20260810.cbbo-1s.dbn.zst",
        "datashop:/data/UnderlyingOptionsIntervals_60sec_2026-02-09.csv",
        "dxlink:wss://demo.dxfeed.com/dxlink-ws",
    ],
)
def test_sources_without_a_key_pass(source):
    """Paths with dates, and vendors' own addresses, are no keys."""
    assert refuse_key(source) == source
    assert Settings.read({"FLOW_SOURCE": source}).source == source
