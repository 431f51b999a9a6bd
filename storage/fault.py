"""Named points on a record's way from source to reader, at which a test can make something fail.

A component that has such points takes a ``Fault``. It is called at each point with the point's
name, and may raise or kill the process. Outside tests it is ``no_fault``.
"""

from __future__ import annotations

from collections.abc import Callable

Fault = Callable[[str], None]


def no_fault(point: str) -> None:
    """Let nothing fail: what runs outside of tests.

    Parameters
    ----------
    point : the name of the point; ignored.
    """
