"""Where a task is in its life, as its class's users see it, and what went wrong with it."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any


class TaskStatus(str, enum.Enum):
    """Where a task is; equal to its lower-case word, in JSON too. ``TaskStatus("Completed")`` reads any case.

    ======== ==================================================== =========
    member   the task                                             ended
    ======== ==================================================== =========
    QUEUED   can run now (alias PENDING)
    SCHEDULED waits for its time
    WAITING  waits for a parent, or for a server that knows it
    RUNNING  runs
    RETRYING waits for another try after a failed one
    COMPLETED has returned its result                              yes
    FAILED   has failed for good (alias DEAD)                      yes
    CANCELLED was cancelled                                        yes
    STOPPED  was stopped by a person, who may retry it             yes
    EXPIRED  was not started in time                               yes
    ======== ==================================================== =========
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
        """Whether the task has ended: nothing happens to it any more unless a person asks for it."""
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
    """The status of a stored state about which no more is known."""
    return _BY_STATE.get(state, TaskStatus.WAITING)


def of_record(record: dict[str, Any]) -> TaskStatus:
    """The status of a stored task."""
    state = record["state"]
    if state == "waiting":
        reason = record["wait_reason"]
        if reason == "time" or (reason == "retry" and not record["failures"]):
            # One that snoozed has not failed.
            return TaskStatus.SCHEDULED
        return TaskStatus.RETRYING if reason == "retry" else TaskStatus.WAITING
    if state == "cancelled" and (record["error"] or {}).get("type") == "Expired":
        return TaskStatus.EXPIRED
    return of_state(state)


@dataclasses.dataclass(frozen=True)
class TaskError:
    """What went wrong in an attempt. Its text is the message; it is true even if that is empty."""

    #: One line for people.
    message: str
    #: The exception's class: ``ValueError``, ``app.mails.SmtpError``.
    type: str
    #: The traceback's text, if there was one.
    traceback: str | None = None
    #: Which attempt, from 1; None if that is not known.
    attempt: int | None = None
    #: When, in seconds since 1970 (UTC); None if that is not known.
    at: float | None = None

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return self.message

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return dataclasses.asdict(self)
