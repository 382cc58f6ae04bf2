"""Variants of errors that Starlette and FastAPI turn into responses: 503 for a queue that is unavailable, 404 for a
task that does not exist."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from .errors import DatabaseError, InvalidTaskId, QueueUnavailable, ShutDown, TaskNotFound, TaskRemoved, TaskyardError

__all__ = ["as_answer"]


class _Answer(TaskyardError, HTTPException):
    """Base of the variants. An application's handler for the original error class takes precedence over Starlette's for
    ``HTTPException``."""

    status_code = 503

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        # Not the `__init__` of HTTPException, whose first parameter is a status.
        Exception.__init__(self, message)
        self.message = message
        if hint is not None:
            self.hint = hint
        self.detail = message
        self.headers = None


class RequestUnavailable(QueueUnavailable, _Answer):
    """``QueueUnavailable`` that becomes a 503 where the application does not handle it."""


class RequestDatabaseError(DatabaseError, _Answer):
    """``DatabaseError`` that becomes a 503 where the application does not handle it."""


class RequestShutDown(ShutDown, _Answer):
    """``ShutDown`` that becomes a 503 where the application does not handle it."""


class RequestTaskNotFound(TaskNotFound, _Answer):
    """``TaskNotFound`` that becomes a 404 where the application does not handle it."""

    status_code = 404


class RequestTaskRemoved(TaskRemoved, _Answer):
    """``TaskRemoved`` that becomes a 404 where the application does not handle it."""

    status_code = 404


class RequestInvalidTaskId(InvalidTaskId, _Answer):
    """``InvalidTaskId`` that becomes a 404 where the application does not handle it."""

    status_code = 404


#: The variant of each error. Subclasses come before their bases.
_ANSWERS = {
    cls.__bases__[0]: cls
    for cls in (
        RequestUnavailable,
        RequestShutDown,
        RequestDatabaseError,
        RequestTaskRemoved,
        RequestInvalidTaskId,
        RequestTaskNotFound,
    )
}


def as_answer(error: TaskyardError) -> TaskyardError:
    """Returns the variant of an error that Starlette turns into a response, or the error itself if it has none."""
    if isinstance(error, HTTPException):
        return error
    for base, cls in _ANSWERS.items():
        if isinstance(error, base):
            made: TaskyardError = cls(error.message, hint=error.hint)
            made.code = error.code
            return made
    return error
