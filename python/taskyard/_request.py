"""The HTTP request (or websocket) that the calling code serves: what it must settle, and how long it may wait.

Set by the middleware of ``fastapi.py``, which a lifespan of the queue puts around its application, and by what answers
requests by itself (``events.TaskRoutes``). A queue that was made by a dependency knows its request without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .errors import QueueUnavailable

if TYPE_CHECKING:
    from ._refs import QueuedTaskRef

#: How long anything within a request waits for the queue's database, in seconds.
WAIT_MAX = 5.0


class Request:
    """One request."""

    def __init__(self, is_http: bool) -> None:
        #: The references that must be settled before its response begins.
        self.refs: list[QueuedTaskRef[Any]] = []
        self.is_http = is_http
        #: It was answered: what it has left behind waits as long as it likes.
        self.is_over = False

    def unavailable(self) -> QueueUnavailable:
        """What is raised in it when the database does not answer; where Starlette serves it, that is a 503."""
        error = self.as_answer(QueueUnavailable(f"the queue's database has not answered within {WAIT_MAX:g} s"))
        error.given_up = True
        return error

    def as_answer(self, error: QueueUnavailable) -> QueueUnavailable:
        """This error, as Starlette answers it with a 503."""
        if not self.is_http:
            return error
        try:
            from ._http import RequestUnavailable
        except ImportError:
            return error
        return error if isinstance(error, RequestUnavailable) else RequestUnavailable(error.message, hint=error.hint)


current: ContextVar[Request | None] = ContextVar("taskyard_request", default=None)


def of(request: Request | None) -> Request | None:
    """The request that bounds a wait: the given one, or the calling code's."""
    found = request or current.get()
    return None if found is None or found.is_over else found


@contextlib.contextmanager
def serving(request: Request | None) -> Iterator[None]:
    """Within it, this is the request; None: waits are nobody's."""
    token = current.set(request)
    try:
        yield
    finally:
        current.reset(token)


@contextlib.contextmanager
def answering(request: Request | None) -> Iterator[None]:
    """Within it, a queue that is unavailable is the request's 503."""
    try:
        yield
    except QueueUnavailable as error:
        bound = of(request)
        if bound is None:
            raise
        raise bound.as_answer(error) from None
