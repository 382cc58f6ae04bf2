"""Sets the exit code 120 for a process that has lost tasks, where Python allows it.

Python has decided on its exit code before the functions of ``atexit`` run, where the last tasks are written. Only the
final flush of the standard streams can still change it: if that flush fails, Python exits with 120. So ``apply`` makes
the flush fail. The exit code of an uncaught exception is kept. A process that ends by a signal or by ``os._exit`` runs
none of this.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["LOST", "apply", "fail", "ignore", "may_be_lost"]

#: Python's own exit code for lost output.
LOST = 120

_may_be_lost = False
_is_ignored = False


def fail() -> None:
    """Records that tasks may be lost and that no error has reported this to the program."""
    global _may_be_lost
    _may_be_lost = not _is_ignored


def ignore() -> None:
    """Makes :func:`fail` a no-op. In a test session tests lose tasks on purpose, and the exit code says whether they
    passed."""
    global _is_ignored
    _is_ignored = True


def may_be_lost() -> bool:
    return _may_be_lost


def apply() -> None:
    """Makes the interpreter exit with 120 if tasks may be lost. Called at its end."""
    stream = sys.stderr
    if not _may_be_lost or getattr(sys, "last_value", None) is not None:
        return
    if stream is not None and not getattr(stream, "closed", False):
        sys.stderr = _Unflushed(stream)


class _Unflushed:
    """A stream whose flush fails when the interpreter calls it at its end, and works when code calls it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def flush(self) -> None:
        self._stream.flush()
        if sys._getframe().f_back is None:
            raise OSError("tasks were lost")
