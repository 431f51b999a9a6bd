"""Ctrl-C while a program loads its modules: it ends at once, without a traceback.

Importing this module is the first thing that a program does. From then on SIGINT ends the process,
as it ends a program that has no handler: silently, and a shell says 130. ``finish_loading``, when
all modules are loaded, gives Ctrl-C back to Python, and to the command that runs.
"""

from __future__ import annotations

import signal
import threading


def _begin_loading() -> bool:
    """Let SIGINT end the process; say whether it did something else before."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        return False
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return True


_changed = _begin_loading()


def finish_loading() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, if this module has changed that."""
    global _changed  # noqa: PLW0603  # a process has one handler of SIGINT
    if _changed and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _changed = False
