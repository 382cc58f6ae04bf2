"""The exit code of a process that has lost tasks: 120, as far as Python lets that be.

Python has decided on its exit code before the functions of ``atexit`` run, where the last tasks are written. The one thing that can
change it from there is the flush of the standard streams behind them: if that fails, Python exits with 120. So ``apply`` makes it fail.
The code of an uncaught exception stays. A process that ends by a signal or by ``os._exit`` runs none of this.
"""

from __future__ import annotations

import sys
from typing import Any

#: Python's own, for output that was lost.
LOST = 120

_may_be_lost = False
_is_ignored = False


def fail() -> None:
    """Tasks may be lost, and the program has not been told by an error."""
    global _may_be_lost
    _may_be_lost = not _is_ignored


def ignore() -> None:
    """From now on nothing is noted: in a test session, tests lose tasks on purpose, and its exit code says whether they passed."""
    global _is_ignored
    _is_ignored = True


def may_be_lost() -> bool:
    return _may_be_lost


def apply() -> None:
    """Called at the end of the interpreter."""
    stream = sys.stderr
    if not _may_be_lost or getattr(sys, "last_value", None) is not None:
        return
    if stream is not None and not getattr(stream, "closed", False):
        sys.stderr = _Unflushed(stream)


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
