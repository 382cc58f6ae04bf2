"""The error of a request whose queue is unavailable, as Starlette and FastAPI answer it."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from .errors import QueueUnavailable


class RequestUnavailable(QueueUnavailable, HTTPException):
    """``QueueUnavailable`` that is answered with a 503 where nothing else handles it."""

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        QueueUnavailable.__init__(self, message, hint=hint)
        self.status_code = 503
        self.detail = message
        self.headers = None
