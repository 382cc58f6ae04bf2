"""The exceptions of Taskyard. Each class has the stable code of the engine's table of errors."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
from typing import Any

__all__ = [
    "CronError",
    "Cycle",
    "DatabaseError",
    "DuplicateId",
    "DuplicateSchedule",
    "EditedMeanwhile",
    "Fail",
    "FunctionRefused",
    "InvalidArgument",
    "InvalidTaskId",
    "LeaseLost",
    "NotAwaited",
    "NotInTask",
    "NotSerializable",
    "OptionConflict",
    "OverLimit",
    "ParentTaskFailed",
    "QueueUnavailable",
    "Retry",
    "ServiceNotFound",
    "SettingError",
    "ShutDown",
    "SignatureInvalid",
    "Snooze",
    "TaskCancelled",
    "TaskFailed",
    "TaskInterrupted",
    "TaskNotFound",
    "TaskRemoved",
    "TaskStopped",
    "TaskyardError",
    "UniqueKeyHeld",
    "UnknownParent",
    "UnknownQueue",
    "UnknownSchedule",
    "WaitTimeout",
    "WrongState",
]


class TaskyardError(Exception):
    """The base of all exceptions. ``code`` is stable; ``hint`` says what to do, or is None."""

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
    """A value that can never be valid."""

    code = "invalid_argument"


class CronError(InvalidArgument):
    """An invalid rule of a schedule. The message names the position in it."""

    code = "invalid_schedule"


class OptionConflict(InvalidArgument, TypeError):
    """A name that is an option of the call and a parameter of the function."""

    code = "option_conflict"


class OverLimit(TaskyardError, ValueError):
    """A value is too large. The message names the limit and its setting."""

    code = "over_limit"


class NotSerializable(TaskyardError, TypeError):
    """A value that cannot be stored and restored exactly."""

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
    """A task with this id exists already."""

    code = "duplicate_id"


class TaskNotFound(TaskyardError, LookupError):
    """The task does not exist."""

    code = "not_found"


class InvalidTaskId(TaskNotFound, InvalidArgument):
    """A text that is not a task's id."""

    code = "invalid_task_id"


class TaskRemoved(TaskNotFound):
    """The task existed and was removed by a purge, its retention or a restored database."""

    code = "task_removed"


class WrongState(TaskyardError):
    """The operation does not fit the task's state; nothing was changed."""

    code = "wrong_state"


class UniqueKeyHeld(TaskyardError):
    """A retry was refused because another task, which the message names, holds the unique key; nothing was changed."""

    code = "unique_key_held"


class EditedMeanwhile(TaskyardError):
    """The task was changed by another client between the read and the edit; nothing was changed."""

    code = "edited_meanwhile"


class UnknownQueue(TaskyardError, LookupError):
    """The queue does not exist."""

    code = "unknown_queue"


class UnknownSchedule(TaskyardError, LookupError):
    """The schedule does not exist."""

    code = "unknown_schedule"


class DuplicateSchedule(TaskyardError, ValueError):
    """A schedule of this name exists already."""

    code = "duplicate_schedule"


class QueueUnavailable(TaskyardError, ConnectionError):
    """The queue's database is unavailable.

    Either it cannot be reached, or too many additions wait for it in memory. Within a request, and in code without an
    event loop, it has not answered in time: an addition was withdrawn then, and the caller may try again. Raised by
    ``with`` and ``close()``: additions are not stored, or not known to be.
    """

    code = "queue_unavailable"
    #: Whether the caller has waited for the maximum time.
    given_up = False


class DatabaseError(TaskyardError):
    """The database refused a statement or failed."""

    code = "database"


class SettingError(TaskyardError, ValueError):
    """Settings that cannot be read."""

    code = "setting"


class ShutDown(TaskyardError, RuntimeError):
    """The queue was closed."""

    code = "shut_down"


class NotAwaited(TaskyardError, RuntimeError):
    """A task that was added on an async connection was not awaited before the transaction, the request, or the task's
    body ended. It was not added."""

    code = "not_awaited"


class LeaseLost(TaskyardError):
    """The attempt has lost its lease: another one may be running, and this one's write changed nothing."""

    code = "lease_lost"


class ServiceNotFound(TaskyardError, LookupError):
    """``get_service`` was called for a class without a registered service."""

    code = "service_not_found"


class NotInTask(TaskyardError, RuntimeError):
    """Called outside of a task."""

    code = "not_in_task"


class SignatureInvalid(TaskyardError):
    """A serialised value without a valid signature for this task."""

    code = "signature_invalid"


class TaskFailed(TaskyardError):
    """The awaited task failed.

    ``error_type`` is the name of the original exception's type, ``error`` its message, ``remote_traceback`` the text of
    its traceback or None.
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
    """The awaited task failed because an ancestor failed."""

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
    """The awaited task was stopped, and may be retried."""

    code = "task_stopped"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"task {task_id} was stopped", hint=f"`taskyard task retry {task_id}` runs it again")
        self.task_id = task_id


class TaskInterrupted(TaskyardError):
    """A task that this process claimed by ``dequeue`` was interrupted: cancelled, stopped, out of time, or given back.

    Raised by its ``execute()``; the task's own code received a ``CancelledError``.
    """

    code = "task_interrupted"

    def __init__(self, task_id: str, why: str) -> None:
        super().__init__(f"task {task_id} {why}")
        self.task_id = task_id


class WaitTimeout(TaskyardError, TimeoutError):
    """A wait was over before the task ended. The task is not affected."""

    code = "wait_timeout"


#: A hundred years in seconds: a longer pause is probably a mistake in the unit.
PAUSE_MAX = 100 * 366 * 86_400.0

#: The shortest positive time, in seconds: the unit of the database's clocks.
SECONDS_MIN = 1e-6


def seconds(what: str, value: Any, most: float | None = None, *, signed: bool = False) -> float:
    """Converts a number or a timedelta to seconds. Raises ``InvalidArgument`` for anything else.

    A negative value is refused unless ``signed``. A positive one is at least a microsecond, because 0 often has another
    meaning.
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
    """Raised in a task: this attempt failed; run it again after ``after`` (seconds or timedelta; default: by the retry
    policy) if a retry is left.

    Example::

        def fetch(page: int) -> str:
            raise Retry("too many requests", after=60)

        ref = tasks.add_task(fetch, 7)
        await tasks.drain()
        record = await ref.record()
        assert (record.state, record.failures) == ("waiting", 1)
    """

    def __init__(self, message: str = "", *, after: float | dt.timedelta | None = None) -> None:
        super().__init__(message or "the task requested another attempt")
        self.after = None if after is None else seconds("Retry(after=...)", after, PAUSE_MAX)


class Fail(Exception):
    """Raised in a task: the task has failed for good, even if retries are left: ``raise Fail("no such user")``.

    Example::

        def find(user: int) -> int:
            raise Fail("no such user")

        ref = tasks.add_task(find, 7, max_retries=5)
        await tasks.drain()
        record = await ref.record()
        assert (record.state, record.attempt) == ("failed", 1)
    """


class Snooze(Exception):
    """Raised in a task: run it again after this time (seconds or timedelta), without charging a retry: ``raise
    Snooze(300)``.

    Example::

        def export() -> None:
            raise Snooze(300)  # the other system is not ready

        ref = tasks.add_task(export)
        await tasks.drain()
        record = await ref.record()
        assert (record.state, record.failures) == ("waiting", 0)
    """

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
    """Returns the exception for a code of the engine's table (`taskyard_core::Error`)."""
    cls = _BY_CODE.get(code, DatabaseError)
    error = cls(message, hint=hint)
    error.code = code
    return error
