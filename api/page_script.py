"""The page's script: all its modules in one file, which a browser loads with one request.

A browser has six connections to an HTTP/1.1 server, and each module costs it some milliseconds: 55
modules took a third of the time until the page was drawn. The modules themselves stay as they are.
``docs/page.md`` has the figures.
"""

from __future__ import annotations

import re
from pathlib import Path

#: The name of the joined file, in the folder of the modules.
SCRIPT = "page.js"
#: The module that the page starts with.
_ENTRY = "main"
_NAMES = r"\w+(?: as \w+)?"
_IMPORT = re.compile(
    rf'^import (?:\{{ ({_NAMES}(?:, {_NAMES})*) \}} from )?"\./([a-z]+)\.js";\n', re.MULTILINE
)
_EXPORT = re.compile(r"^export ((?:async function|function|class|const) (\w+))", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


class ModuleError(ValueError):
    """A module that cannot be joined with the others."""


def join_modules(folder: Path) -> str:
    """Join the page's modules into one: each is a function that runs after those it imports.

    Parameters
    ----------
    folder
        Where the modules are; ``main.js`` is the one that the others are needed by.

    Returns
    -------
    str
        One module. It exports each module by its name, with a ``$`` before it.

    Raises
    ------
    ModuleError
        A module imports or exports in a form that is not known here, or two import each other.
    """
    joined: dict[str, str] = {}

    def add(name: str, importers: tuple[str, ...]) -> None:
        if name in importers:
            raise ModuleError(f"Modules import each other: {', '.join((*importers, name))}.")
        if name in joined:
            return
        source = (folder / f"{name}.js").read_text()
        body = _EXPORT.sub(r"\1", _IMPORT.sub(_constants, source))
        if other := _OTHER.search(body):
            raise ModuleError(f"{name}.js has a form that cannot be joined: {other[0]}")
        for statement in _IMPORT.finditer(source):
            add(statement[2], (*importers, name))
        exported = ", ".join(statement[2] for statement in _EXPORT.finditer(source))
        joined[name] = (
            f"// {name}.js\nexport const ${name} = (() => {{\n{body}"
            f"return {{ {exported} }};\n}})();\n"
        )

    add(_ENTRY, ())
    return "".join(joined.values())


def _constants(imported: re.Match[str]) -> str:
    names, module = imported.groups()
    return f"const {{ {names.replace(' as ', ': ')} }} = ${module};\n" if names else ""


class JoinedScript:
    """The joined file, made anew when a module has changed.

    Parameters
    ----------
    folder
        Where the modules are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamps: list[tuple[str, int, int]] = []
        self._script = b""

    def read(self) -> bytes:
        """Return the file as it is now.

        Returns
        -------
        bytes
            The module, in UTF-8.

        Raises
        ------
        ModuleError
            See ``join_modules``.
        """
        stats = [(path.name, path.stat()) for path in sorted(self._folder.glob("*.js"))]
        stamps = [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats]
        if stamps != self._stamps:
            self._script = join_modules(self._folder).encode()
            self._stamps = stamps
        return self._script
