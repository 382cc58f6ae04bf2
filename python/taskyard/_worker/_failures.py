"""Logs failed attempts through ``logging``: a warning if another attempt follows, an error with its traceback if none
does.

The server decides which of the two it is, and replies right after it has received the failure; until then the exception
is stored here. Time limits, deaths of workers and other ends that happen outside of a body are in the server's own log.
"""

from __future__ import annotations

import datetime as dt
import logging
import sys
import traceback
from typing import Any, NamedTuple

from .. import _escape
from .._running import Running
from . import _ends

__all__ = ["Failures"]

log = logging.getLogger("queued_task")

#: Maximum length of an error's text in a log line, in characters. The traceback has the whole text.
TEXT_MAX = 500


class _Failure(NamedTuple):
    id: str
    kind: str
    attempt: int
    #: The error's type and message.
    text: str
    error: BaseException | None


class Failures:
    """The failures of one worker for which the server has not replied yet."""

    def __init__(self) -> None:
        self._unanswered: dict[int, _Failure] = {}

    def __bool__(self) -> bool:
        return bool(self._unanswered)

    def add(self, running: Running, told: tuple[Any, ...], error: BaseException | None) -> None:
        """Records the failure of an attempt; ``told`` is the value of ``_ends.describe`` that is sent to the server."""
        text = _escape.line(_ends.clean(f"{told[0]}: {told[2]}", TEXT_MAX))
        self._unanswered[running.slot] = _Failure(running.id, running.kind, running.attempt, text, error)

    def settle(self, answers: list[tuple[int, str, float]]) -> None:
        """Logs failures according to the server's replies: by slot, ``retry`` with seconds, ``dead``, or ``other``,
        which is not logged here."""
        for slot, after, seconds in answers:
            failure = self._unanswered.pop(slot, None)
            if failure is None or after == "other":
                continue
            if after == "retry":
                next_run = (dt.datetime.now().astimezone() + dt.timedelta(seconds=seconds)).isoformat(timespec="seconds")
                text = "task %s (%s): attempt %d failed, and the next one starts at %s: %s"
                values = (failure.id, failure.kind, failure.attempt, next_run, failure.text)
                _write(logging.WARNING, failure, text, values, next_run, with_traceback=False)
            else:
                text = "task %s (%s) has failed for good, in attempt %d: %s"
                _write(logging.ERROR, failure, text, (*failure[:3], failure.text))

    def end(self) -> None:
        """Logs the failures without a reply when the server has ended."""
        unanswered, self._unanswered = self._unanswered, {}
        for failure in unanswered.values():
            text = "task %s (%s): attempt %d failed as its server ended, which may run it again: %s"
            _write(logging.WARNING, failure, text, (*failure[:3], failure.text))


def _write(
    level: int,
    failure: _Failure,
    text: str,
    values: tuple[Any, ...],
    next_run: str | None = None,
    with_traceback: bool = True,
) -> None:
    error = failure.error if with_traceback else None
    fields = {
        "task_id": failure.id,
        "task_kind": failure.kind,
        "task_attempt": failure.attempt,
        "task_next_run": next_run,
    }
    try:
        info = None if error is None else (type(error), error, _ends.own_trace(error))
        log.log(level, text, *values, exc_info=info, extra=fields)
    except Exception:
        # A logging handler of the application raised. The worker continues.
        print(_escape.lines(traceback.format_exc()), file=sys.stderr)
