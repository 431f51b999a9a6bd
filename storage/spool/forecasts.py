"""Frozen forecasts that could not be written yet: a file each, until the database has it.

A file is whole when it has its name. Any process may write any of them to the database: the second
time changes nothing there.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from storage.errors import SpoolError
from storage.scorecard.forecast import FrozenForecast

#: How the name of a file ends, and of one that could not be read.
_ENDING, _UNREADABLE = ".forecast", ".unreadable"


class WaitingForecasts:
    """The frozen forecasts that wait in a folder."""

    def __init__(self, folder: Path) -> None:
        """Read nothing yet.

        Parameters
        ----------
        folder : where the files are; made with the first of them.
        """
        self._folder = folder

    def add(self, forecast: FrozenForecast) -> None:
        """Write a forecast to disk.

        Parameters
        ----------
        forecast : the forecast.

        Raises
        ------
        SpoolError
            If the disk does not take it.
        """
        name = f"{forecast.symbol}-{forecast.source}-{forecast.freeze_time:%Y%m%dT%H%M%S}"
        path = self._folder / (name.replace("/", "_") + _ENDING)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.exists():
                return
            with draft.open("wb") as file:
                file.write(forecast.as_line())
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        except OSError as error:
            raise SpoolError(f"{path}: {error.strerror}") from error

    def waiting(self) -> list[tuple[Path, FrozenForecast]]:
        """Return the forecasts that wait, oldest first, each with its file.

        A file that cannot be read is put aside under another name.
        """
        forecasts = []
        try:
            paths = sorted(self._folder.glob(f"*{_ENDING}"))
        except OSError:
            return []
        for path in paths:
            try:
                forecasts.append((path, FrozenForecast.from_line(path.read_bytes())))
            except FileNotFoundError:
                continue
            except (OSError, ValueError):
                with suppress(OSError):
                    path.rename(path.with_suffix(_UNREADABLE))
        return sorted(forecasts, key=lambda pair: pair[1].freeze_time)

    def remove(self, path: Path) -> None:
        """Delete a file whose forecast the database has.

        Parameters
        ----------
        path : the file.
        """
        with suppress(OSError):
            path.unlink()
