"""The exit code of a process that has lost tasks: not 0, as far as Python lets that be.

Python has decided on its exit code before the functions of ``atexit`` run, where the last tasks are written. What can still change
it is the flush of the standard streams behind them: if that fails, Python exits with 120. So ``apply`` makes it fail. A code that
is not 0 stays: that of an uncaught exception, and one that the program gave to ``sys.exit`` (with ``raise SystemExit(3)`` it is 120,
too). A process that ends by a signal or by ``os._exit`` runs none of this.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, NoReturn

_may_be_lost = False
_exit = sys.exit
#: What the main thread gave to ``sys.exit`` last. Python tells nobody else.
_given: Any = None


def watch() -> None:
    """From now on the codes that the program gives to ``sys.exit`` are noted."""
    global _exit
    if sys.exit is not _note:
        _exit, sys.exit = sys.exit, _note


def _note(status: Any = None, /) -> NoReturn:
    global _given
    if threading.current_thread() is threading.main_thread():
        _given = status
    _exit(status)


def fail() -> None:
    """Tasks may be lost, and no code of the program has heard of it."""
    global _may_be_lost
    _may_be_lost = True


def apply() -> None:
    """Called at the end of the interpreter."""
    has_failed = _given not in (None, 0) or getattr(sys, "last_value", None) is not None
    if not _may_be_lost or has_failed:
        return
    if sys.stderr is not None and not sys.stderr.closed:
        sys.stderr = _Unflushed(sys.stderr)


class _Unflushed:
    """A stream that the interpreter itself cannot flush; code can."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def flush(self) -> None:
        self._stream.flush()
        if sys._getframe().f_back is None:
            raise OSError("tasks were lost")
