"""The keys of vendors: where each may stand, how it is read, and how it stays out of sight.

A key stands in an environment variable, in a file that ``<name>_FILE`` names, or in a systemd
credential. It is read when a source asks for it, and no error, no ``repr`` and no source URL ever
shows it. A command line has no option for it, because every user of a machine sees those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from storage.errors import UsageError

#: No key is longer, and no file of one. [bytes]
KEY_LIMIT = 16 << 10


@dataclass(frozen=True, slots=True)
class VendorSetting:
    """One setting of a vendor's source."""

    meaning: str
    #: The source that reads it, by its scheme.
    scheme: str
    #: A ``secret`` may also stand in a file or a systemd credential; a ``path`` or ``number``
    #: stands in the environment alone.
    kind: Literal["secret", "path", "number"] = "secret"


#: Every setting of a vendor, by its name without the FLOW_ prefix, in lower case.
VENDOR_SETTINGS: dict[str, VendorSetting] = {
    "tradier_token": VendorSetting("access token of a Tradier account, for tradier:", "tradier"),
    "massive_key": VendorSetting("API key of Massive (Polygon.io), for massive:", "massive"),
    "schwab_token_file": VendorSetting(
        "file that the Schwab login tool writes and the sampler refreshes, for schwab:",
        "schwab",
        "path",
    ),
    "schwab_app_key": VendorSetting("key of your app at Schwab, for schwab:", "schwab"),
    "schwab_app_secret": VendorSetting("secret of your app at Schwab, for schwab:", "schwab"),
    "databento_key": VendorSetting(
        "API key of Databento, to buy past sessions with databento:", "databento"
    ),
    "databento_cap_usd": VendorSetting(
        "the most dollars that one backfill from databento: spends; empty: 10",
        "databento",
        "number",
    ),
    "orats_token": VendorSetting("API token of ORATS, for orats:", "orats"),
    "tastytrade_client_secret": VendorSetting(
        "client secret of your OAuth app at tastytrade, for dxlink:", "dxlink"
    ),
    "tastytrade_refresh_token": VendorSetting(
        "refresh token of your OAuth app at tastytrade, for dxlink:", "dxlink"
    ),
}

#: Every FLOW_* name by which a vendor's setting can come, without the prefix, in lower case.
VENDOR_NAMES = frozenset(
    {*VENDOR_SETTINGS}
    | {f"{name}_file" for name, setting in VENDOR_SETTINGS.items() if setting.kind == "secret"}
)


@dataclass(frozen=True, slots=True, repr=False)
class VendorKeys:
    """The vendors' settings that this process has. Its ``repr`` shows names alone."""

    _texts: Mapping[str, str] = field(default_factory=dict)
    #: Name → where it stands, in words, and the file.
    _files: Mapping[str, tuple[str, Path]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"VendorKeys({', '.join(sorted({*self._texts, *self._files}))})"

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> VendorKeys:
        """Note where each setting stands. No file is opened yet.

        Parameters
        ----------
        environment : the process's environment: FLOW_* names, and ``CREDENTIALS_DIRECTORY``, which
            systemd sets for a unit that has credentials. An empty value counts as not set.

        Returns
        -------
        VendorKeys
            The settings that are there.

        Raises
        ------
        UsageError
            If one setting stands in two places.
        """
        texts: dict[str, str] = {}
        files: dict[str, tuple[str, Path]] = {}
        credentials = environment.get("CREDENTIALS_DIRECTORY", "")
        for lower, setting in VENDOR_SETTINGS.items():
            name = f"FLOW_{lower.upper()}"
            places = []
            if environment.get(name, "").strip():
                places.append(name)
                texts[name] = environment[name].strip()
            if setting.kind == "secret":
                if path := environment.get(f"{name}_FILE", "").strip():
                    places.append(f"{name}_FILE")
                    files[name] = (f"{name}_FILE", Path(path).expanduser())
                credential = Path(credentials) / name.lower()
                if credentials and credential.is_file():
                    places.append(f"the systemd credential {name.lower()}")
                    files[name] = (places[-1], credential)
            if len(places) > 1:
                raise UsageError(f"{places[0]} and {places[1]} are both set; only one may be")
        return cls(texts, files)

    def place(self, name: str) -> str | None:
        """Say where a setting stands, in words; None where it is not set.

        Parameters
        ----------
        name : such as ``FLOW_TRADIER_TOKEN``.

        Returns
        -------
        str or None
            Name of the variable, or of the systemd credential.
        """
        _setting(name)
        if name in self._files:
            return self._files[name][0]
        return name if name in self._texts else None

    def get(self, name: str) -> str | None:
        """The value of a setting, from wherever it stands; a file is read anew each time.

        Parameters
        ----------
        name : such as ``FLOW_TRADIER_TOKEN``.

        Returns
        -------
        str or None
            The value without blanks around it; None where it is not set.

        Raises
        ------
        UsageError
            If its file cannot be read, or it can be no key. The sentence does not show the value.
        """
        kind = _setting(name).kind
        if name in self._files:
            shown, path = self._files[name]
            value = _content(shown, path)
        elif name in self._texts:
            shown, value = name, self._texts[name]
        else:
            return None
        if kind == "secret" and not re.fullmatch(r"[!-~]+", value):
            raise UsageError(
                f"{shown}: a key has visible ASCII characters only, and no blank or line break"
            )
        return value

    def need(self, name: str) -> str:
        """The value of a setting that a source cannot do without.

        Parameters
        ----------
        name : such as ``FLOW_TRADIER_TOKEN``.

        Returns
        -------
        str
            The value.

        Raises
        ------
        UsageError
            If it is not set, with every way to set it; or as ``get`` does.
        """
        value = self.get(name)
        if value is None:
            setting = _setting(name)
            ways = [name]
            if setting.kind == "secret":
                ways += [f"{name}_FILE", f"the systemd credential {name.lower()}"]
            raise UsageError(f"{setting.scheme}: needs {' or '.join(ways)}: {setting.meaning}")
        return value

    def complete(self) -> list[str]:
        """The schemes of the sources whose settings are all set, but for numbers.

        Returns
        -------
        list of str
            In the order of ``VENDOR_SETTINGS``; a source without a key is not among them.
        """
        schemes = dict.fromkeys(setting.scheme for setting in VENDOR_SETTINGS.values())
        for name, setting in VENDOR_SETTINGS.items():
            if setting.kind != "number" and self.place(f"FLOW_{name.upper()}") is None:
                schemes.pop(setting.scheme, None)
        return list(schemes)


#: What a source gets that is opened without a command line: no key at all.
NO_KEYS = VendorKeys()

#: An option whose name says that its value is a key, and a password before a host.
_NAMED_KEY = re.compile(r"(?i)(?:^|[?&;:])[a-z0-9_.-]*(?:key|token|secret|passw|auth)[a-z0-9_.-]*=")
_USER = re.compile(r"//[^/?#]*@")
#: A run of characters that could be a key: at least 16, with a letter and a digit.
_RUN = re.compile(r"(?=[A-Za-z_-]*[0-9])(?=[0-9_-]*[A-Za-z])[A-Za-z0-9_-]{16,}")
_DATABENTO_KEY = re.compile(r"db-[A-Za-z0-9]{16,}")
#: Sources whose rest is a path, in which a long name with digits is nothing odd.
_PATHS = frozenset({"recorded", "parquet", "datashop", "synthetic"})


def refuse_key(source: str) -> str:
    """Refuse a source's URL that carries a key: logs, rows and the process list would show it.

    Parameters
    ----------
    source : a source's URL, such as ``tradier:``.

    Returns
    -------
    str
        The URL, as it was.

    Raises
    ------
    UsageError
        If it has an option that is named like a key, a user before a host, or something in a
        vendor's URL that looks like a key. The sentence names the right setting, not the value.
    """
    scheme, colon, rest = source.partition(":")
    # A key has no slash; a path of massive: has one.
    is_path = scheme == "massive" and "/" in rest and not rest.startswith(("http:", "https:", "?"))
    if colon and (scheme in _PATHS or is_path):
        looks = _USER.search(rest)
    elif colon and scheme == "databento":
        looks = _NAMED_KEY.search(rest) or _USER.search(rest) or _DATABENTO_KEY.search(rest)
    else:
        looks = _NAMED_KEY.search(source) or _USER.search(source) or _RUN.search(source)
    if not looks:
        return source
    known = [name for name, setting in VENDOR_SETTINGS.items() if setting.kind == "secret"]
    own = [name for name in known if VENDOR_SETTINGS[name].scheme == scheme]
    if scheme in ("cboe", "theta", *_PATHS):
        right = f"{scheme}: needs none"
    else:
        right = "it belongs into " + " or ".join(f"FLOW_{name.upper()}" for name in own or known)
    raise UsageError(f"the source looks as if it carried a key, which logs would show; {right}")


def _setting(name: str) -> VendorSetting:
    return VENDOR_SETTINGS[name.removeprefix("FLOW_").lower()]


def _content(shown: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(KEY_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{shown}: cannot read {path}: {error.strerror}") from error
    if len(content) > KEY_LIMIT:
        raise UsageError(f"{shown}: {path} has over {KEY_LIMIT:,} bytes: that is no key")
    text = content.decode("latin-1").strip()
    if not text:
        raise UsageError(f"{shown}: {path} is empty")
    return text
