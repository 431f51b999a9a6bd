"""Named points on a record's way from source to reader, at which a test lets something fail.

Whoever makes a part may give it a ``Fault``; it is called at each point with the point's name, and
may raise, or never return. Without one the points cost a call that does nothing.
"""

from __future__ import annotations

from collections.abc import Callable

Fault = Callable[[str], None]


def no_fault(point: str) -> None:
    """Nothing fails."""
