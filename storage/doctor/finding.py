"""A finding: what a check has seen, how bad it is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad a finding is."""

    OK = "ok"  #: as it should be
    WARN = "warn"  #: it works, and will cost something sooner or later
    FAIL = "fail"  #: it does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has seen."""

    #: The thing that was checked, such as ``database``.
    name: str
    state: State
    #: What was seen, in a sentence.
    sentence: str
    #: What to do; empty if nothing is to be done.
    advice: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the values as JSON has them."""
        return {
            "check": self.name,
            "state": str(self.state),
            "sentence": self.sentence,
            "advice": self.advice,
        }

    def __str__(self) -> str:
        line = f"{self.state:4}  {self.name:10}  {self.sentence}"
        return f"{line}\n{'':18}→ {self.advice}" if self.advice else line


def ok(name: str, sentence: str) -> Finding:
    """Return a finding of something that is as it should be.

    Parameters
    ----------
    name : the thing that was checked.
    sentence : what was seen.

    Returns
    -------
    Finding
        With the state ``ok``.
    """
    return Finding(name, State.OK, sentence)


def warn(name: str, sentence: str, advice: str) -> Finding:
    """Return a finding of a problem that does no harm yet, and will if it stays.

    Parameters
    ----------
    name : the thing that was checked.
    sentence : what was seen.
    advice : what to do.

    Returns
    -------
    Finding
        With the state ``warn``.
    """
    return Finding(name, State.WARN, sentence, advice)


def fail(name: str, sentence: str, advice: str) -> Finding:
    """Return a finding of something that does not work.

    Parameters
    ----------
    name : the thing that was checked.
    sentence : what was seen.
    advice : what to do.

    Returns
    -------
    Finding
        With the state ``fail``.
    """
    return Finding(name, State.FAIL, sentence, advice)
