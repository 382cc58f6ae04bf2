"""The errors of a request whose queue is unavailable, as Starlette and FastAPI answer them: with a 503."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from .errors import DatabaseError, QueueUnavailable, ShutDown, TaskyardError


class _Unavailable(TaskyardError, HTTPException):
    """Its other base says what it is; a handler for that one goes before Starlette's for ``HTTPException``."""

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        # Not that of HTTPException, which takes a status first.
        Exception.__init__(self, message)
        self.message = message
        if hint is not None:
            self.hint = hint
        self.status_code = 503
        self.detail = message
        self.headers = None


class RequestUnavailable(QueueUnavailable, _Unavailable):
    """``QueueUnavailable`` that is answered with a 503 where nothing else handles it."""


class RequestDatabaseError(DatabaseError, _Unavailable):
    """The same of ``DatabaseError``."""


class RequestShutDown(ShutDown, _Unavailable):
    """The same of ``ShutDown``."""


def as_answer(error: TaskyardError) -> TaskyardError:
    """This error that says that the queue is unavailable, as one that Starlette answers with a 503."""
    if isinstance(error, HTTPException):
        return error
    for cls in (RequestUnavailable, RequestShutDown, RequestDatabaseError):
        if isinstance(error, cls.__bases__[0]):
            made: TaskyardError = cls(error.message, hint=error.hint)
            made.code = error.code
            return made
    return error
