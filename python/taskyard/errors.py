"""Everything that Taskyard raises. Each class carries the stable code of the engine's table of errors."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
from typing import Any


class TaskyardError(Exception):
    """The base of all. ``code`` is stable; ``hint`` says what to do, if there is something."""

    code: str = "error"
    hint: str | None = None

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class InvalidArgument(TaskyardError, ValueError):
    """A value that can never be right."""

    code = "invalid_argument"


class CronError(InvalidArgument):
    """A rule of a schedule that can never be right; the message names the place in it."""

    code = "invalid_schedule"


class OptionConflict(InvalidArgument, TypeError):
    """A name that is an option of the call and a parameter of the function."""

    code = "option_conflict"


class OverLimit(TaskyardError, ValueError):
    """Too large; the message names the limit and its setting."""

    code = "over_limit"


class NotSerializable(TaskyardError, TypeError):
    """A value that would not survive the trip exactly."""

    code = "not_representable"


class FunctionRefused(TaskyardError, TypeError):
    """A callable that cannot be a task."""

    code = "function_refused"


class UnknownParent(TaskyardError):
    """A parent that does not exist."""

    code = "unknown_parent"


class Cycle(TaskyardError):
    """Tasks that would wait for each other."""

    code = "cycle"


class DuplicateId(TaskyardError):
    """The id is taken."""

    code = "duplicate_id"


class TaskNotFound(TaskyardError, LookupError):
    """No such task."""

    code = "not_found"


class InvalidTaskId(TaskNotFound, InvalidArgument):
    """A text that is not a task's id: there is no such task."""

    code = "invalid_task_id"


class TaskRemoved(TaskNotFound):
    """The awaited task was there and is gone: a purge, its retention or a restored database removed it."""

    code = "task_removed"


class WrongState(TaskyardError):
    """The operation does not fit the task's state; nothing was changed."""

    code = "wrong_state"


class UniqueKeyHeld(TaskyardError):
    """A retry was refused because another task, which the message names, holds the unique key; nothing was changed."""

    code = "unique_key_held"


class EditedMeanwhile(TaskyardError):
    """Somebody else changed the task between the look at it and the edit; nothing was changed."""

    code = "edited_meanwhile"


class UnknownQueue(TaskyardError, LookupError):
    """No such queue."""

    code = "unknown_queue"


class UnknownSchedule(TaskyardError, LookupError):
    """No such schedule."""

    code = "unknown_schedule"


class DuplicateSchedule(TaskyardError, ValueError):
    """There is a schedule of this name."""

    code = "duplicate_schedule"


class QueueUnavailable(TaskyardError, ConnectionError):
    """The database is away and too much waits in memory, or it cannot be reached at all. Within a request, and in code without an
    event loop: it has not answered in time; an addition was withdrawn then, and the caller may try again. From ``with`` and
    ``close()``: what was added is not stored, or not known to be."""

    code = "queue_unavailable"
    #: The caller has waited for it as long as it may.
    given_up = False


class DatabaseError(TaskyardError):
    """The database refused or failed."""

    code = "database"


class SettingError(TaskyardError, ValueError):
    """Settings that cannot be read."""

    code = "setting"


class ShutDown(TaskyardError, RuntimeError):
    """The queue was closed."""

    code = "shut_down"


class NotAwaited(TaskyardError, RuntimeError):
    """A task that was added on an async connection was not awaited before the transaction, the request, or the task's body
    ended; it was not added."""

    code = "not_awaited"


class LeaseLost(TaskyardError):
    """Another attempt may run already; this one's write changed nothing."""

    code = "lease_lost"


class ServiceNotFound(TaskyardError, LookupError):
    """``get_service`` was asked for something that nobody registered."""

    code = "service_not_found"


class NotInTask(TaskyardError, RuntimeError):
    """Called outside of a task."""

    code = "not_in_task"


class SignatureInvalid(TaskyardError):
    """A serialised value that was not signed for this task."""

    code = "signature_invalid"


class TaskFailed(TaskyardError):
    """The awaited task failed.

    ``error_type`` is the original's type by name, ``error`` its message, ``remote_traceback`` its traceback's text.
    """

    code = "task_failed"

    def __init__(self, task_id: str, error_type: str, error: str, remote_traceback: str | None) -> None:
        super().__init__(f"task {task_id} failed: {error_type}: {error}")
        self.task_id = task_id
        self.error_type = error_type
        self.error = error
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        return f"{self.message}\n\n{self.remote_traceback}" if self.remote_traceback else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.task_id, self.error_type, self.error, self.remote_traceback)


class ParentTaskFailed(TaskFailed):
    """An ancestor of the awaited task failed, and took it down."""

    code = "parent_task_failed"


class TaskCancelled(asyncio.CancelledError):
    """The awaited task was cancelled. ``except asyncio.CancelledError`` catches it.

    Within an ``asyncio.TaskGroup`` a ``CancelledError`` is swallowed; use ``await ref.outcome()`` there.
    """

    code = "task_cancelled"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"task {task_id} was cancelled")
        self.task_id = task_id


class TaskStopped(TaskyardError):
    """The awaited task was stopped by a person, and may be retried."""

    code = "task_stopped"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"task {task_id} was stopped", hint=f"`taskyard task retry {task_id}` runs it again")
        self.task_id = task_id


class TaskInterrupted(TaskyardError):
    """A task that this process took by ``dequeue`` was to end before it did: cancelled, stopped, out of time, or given
    back. Raised by its ``execute()``; what the task's own code saw was a ``CancelledError``."""

    code = "task_interrupted"

    def __init__(self, task_id: str, why: str) -> None:
        super().__init__(f"task {task_id} {why}")
        self.task_id = task_id


class WaitTimeout(TaskyardError, TimeoutError):
    """The wait ended before the task did; the task goes on."""

    code = "wait_timeout"


#: A hundred years: a longer pause is a mistake in the unit.
PAUSE_MAX = 100 * 366 * 86_400.0

#: The shortest positive time, in seconds: the unit of the database's clocks.
SECONDS_MIN = 1e-6


def seconds(what: str, value: Any, most: float | None = None, *, signed: bool = False) -> float:
    """A number of seconds, from a number or a timedelta; raises ``InvalidArgument`` for anything else.

    A negative one is refused unless ``signed``. A positive one is a microsecond at least: 0 often means something else.
    """
    given = value.total_seconds() if isinstance(value, dt.timedelta) else value
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number or not abs(given) <= sys.float_info.max or (given < 0 and not signed):
        wanted = "a finite number of seconds" if signed else "a time of 0 or more"
        raise InvalidArgument(f"{what}: {value!r} is not {wanted}: give seconds or a timedelta")
    if most is not None and given > most:
        raise InvalidArgument(f"{what}: {value!r} is over a hundred years")
    return max(float(given), SECONDS_MIN) if given > 0 else float(given)


_seconds = seconds


class Retry(Exception):
    """Raise it in a task: this attempt failed, run it again ``after`` seconds (or a timedelta) if a retry is left."""

    def __init__(self, message: str = "", *, after: float | dt.timedelta | None = None) -> None:
        super().__init__(message or "the task requested another attempt")
        self.after = None if after is None else seconds("Retry(after=...)", after, PAUSE_MAX)


class Fail(Exception):
    """Raise it in a task: it has failed for good, whatever retries are left."""


class Snooze(Exception):
    """Raise it in a task: run it again after so many seconds (or a timedelta); that costs no retry."""

    def __init__(self, seconds: float | dt.timedelta) -> None:
        self.seconds = _seconds("Snooze(...)", seconds, PAUSE_MAX)
        super().__init__(f"snoozed for {self.seconds:g} s")


_BY_CODE: dict[str, type[TaskyardError]] = {
    cls.code: cls
    for cls in (
        InvalidArgument,
        CronError,
        UnknownSchedule,
        DuplicateSchedule,
        OverLimit,
        NotSerializable,
        UnknownParent,
        Cycle,
        DuplicateId,
        TaskNotFound,
        InvalidTaskId,
        TaskRemoved,
        WrongState,
        UniqueKeyHeld,
        EditedMeanwhile,
        UnknownQueue,
        QueueUnavailable,
        SettingError,
        ShutDown,
        LeaseLost,
    )
}
_BY_CODE["connection"] = QueueUnavailable
_BY_CODE["locked"] = QueueUnavailable
_BY_CODE["database_fault"] = QueueUnavailable
_BY_CODE["not_storable"] = InvalidArgument


def make(code: str, message: str, hint: str | None = None) -> TaskyardError:
    """The error of a code of the engine's table (`taskyard_core::Error`)."""
    cls = _BY_CODE.get(code, DatabaseError)
    error = cls(message, hint=hint)
    error.code = code
    return error
