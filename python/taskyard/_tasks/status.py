"""The status of a task as users of task classes see it, and the errors of its attempts."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

__all__ = ["TaskError", "TaskStatus", "of_record", "of_state"]


class TaskStatus(str, enum.Enum):
    """The status of a task, a string enum of lower-case words, in JSON too. ``TaskStatus("Completed")`` accepts any
    case.

    - ``QUEUED`` (alias ``PENDING``): can run now
    - ``SCHEDULED``: waits for its time
    - ``WAITING``: waits for a parent, or for a server that knows it
    - ``RUNNING``: runs
    - ``RETRYING``: waits for another attempt after a failed one
    - ``COMPLETED``: has returned its result (terminal)
    - ``FAILED`` (alias ``DEAD``): has failed for good (terminal)
    - ``CANCELLED``: was cancelled (terminal)
    - ``STOPPED``: was stopped, and may be retried (terminal)
    - ``EXPIRED``: was not started in time (terminal)
    """

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    WAITING = "waiting"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    EXPIRED = "expired"
    PENDING = "queued"
    DEAD = "failed"

    @classmethod
    def _missing_(cls, value: object) -> TaskStatus | None:
        return cls.__members__.get(value.strip().upper()) if isinstance(value, str) else None

    @property
    def is_terminal(self) -> bool:
        """Whether the task has ended: it does not change any more without an explicit request."""
        return self in _TERMINAL

    def __str__(self) -> str:
        return str(self.value)


_TERMINAL = frozenset(
    {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.STOPPED, TaskStatus.EXPIRED}
)
_BY_STATE = {
    "enqueued": TaskStatus.QUEUED,
    "doing": TaskStatus.RUNNING,
    "done": TaskStatus.COMPLETED,
    "failed": TaskStatus.FAILED,
    "cancelled": TaskStatus.CANCELLED,
    "stopped": TaskStatus.STOPPED,
}


def of_state(state: str) -> TaskStatus:
    """Returns the status for a stored state alone."""
    return _BY_STATE.get(state, TaskStatus.WAITING)


def of_record(record: dict[str, Any]) -> TaskStatus:
    """Returns the status of a stored task."""
    state = record["state"]
    if state == "waiting":
        reason = record["wait_reason"]
        if reason == "time" or (reason == "retry" and not record["failures"]):
            # A task that was snoozed has not failed.
            return TaskStatus.SCHEDULED
        return TaskStatus.RETRYING if reason == "retry" else TaskStatus.WAITING
    if state == "cancelled" and (record["error"] or {}).get("type") == "Expired":
        return TaskStatus.EXPIRED
    return of_state(state)


@dataclasses.dataclass(frozen=True)
class TaskError:
    """The error of an attempt. ``str(error)`` is the message; ``bool(error)`` is True even if that is empty."""

    #: The message, in one line.
    message: str
    #: The exception's class: ``ValueError``, ``app.mails.SmtpError``.
    type: str
    #: The traceback's text, if there was one.
    traceback: str | None = None
    #: The attempt, from 1; None if it is unknown.
    attempt: int | None = None
    #: Time in seconds since 1970 (UTC); None if it is unknown.
    at: float | None = None

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return self.message

    def to_dict(self) -> dict[str, Any]:
        """Returns a dict for JSON."""
        return dataclasses.asdict(self)
