"""The errors of a request that Starlette and FastAPI answer by themselves: a queue that is unavailable with a 503, a task that
does not exist with a 404."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from .errors import DatabaseError, InvalidTaskId, QueueUnavailable, ShutDown, TaskNotFound, TaskRemoved, TaskyardError


class _Answer(TaskyardError, HTTPException):
    """Its other base says what it is; a handler for that one goes before Starlette's for ``HTTPException``."""

    status_code = 503

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        # Not that of HTTPException, which takes a status first.
        Exception.__init__(self, message)
        self.message = message
        if hint is not None:
            self.hint = hint
        self.detail = message
        self.headers = None


class RequestUnavailable(QueueUnavailable, _Answer):
    """``QueueUnavailable`` that is answered with a 503 where nothing else handles it."""


class RequestDatabaseError(DatabaseError, _Answer):
    """The same of ``DatabaseError``."""


class RequestShutDown(ShutDown, _Answer):
    """The same of ``ShutDown``."""


class RequestTaskNotFound(TaskNotFound, _Answer):
    """``TaskNotFound`` that is answered with a 404 where nothing else handles it."""

    status_code = 404


class RequestTaskRemoved(TaskRemoved, _Answer):
    """The same of ``TaskRemoved``."""

    status_code = 404


class RequestInvalidTaskId(InvalidTaskId, _Answer):
    """The same of ``InvalidTaskId``."""

    status_code = 404


#: The class of each error; a more special one stands first.
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
    """This error as one that Starlette answers with its status, if it is one of those above."""
    if isinstance(error, HTTPException):
        return error
    for base, cls in _ANSWERS.items():
        if isinstance(error, base):
            made: TaskyardError = cls(error.message, hint=error.hint)
            made.code = error.code
            return made
    return error
