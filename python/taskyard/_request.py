"""The HTTP request (or websocket) that the calling code serves: the references that it must settle, and its time limit.

Set by the middleware of ``_response.py``, which a lifespan of the queue puts around its application, and by code that
handles requests itself (``events.TaskRoutes``). A queue that was created by a dependency has its request without the
context variable.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .errors import DatabaseError, InvalidArgument, QueueUnavailable, ShutDown, TaskNotFound, TaskyardError

if TYPE_CHECKING:
    from ._refs import QueuedTaskRef

__all__ = [
    "ANSWERED",
    "UNAVAILABLE",
    "WAIT_MAX",
    "Request",
    "answering",
    "framework_parameters",
    "of",
    "serving",
    "unavailable_in",
]

#: Seconds that anything within a request waits for the queue's database.
WAIT_MAX = 5.0

#: Errors that are not the caller's fault. A request responds to them with 503.
UNAVAILABLE = (QueueUnavailable, DatabaseError, ShutDown)

#: Errors that a request turns into a response where the application does not handle them: 503 for those above, 404 for
#: the last.
ANSWERED = (*UNAVAILABLE, TaskNotFound)


def unavailable_in(error: BaseException | None) -> TaskyardError | None:
    """Returns the error that says that the queue is unavailable: this one, or the first one of an exception group that
    contains no others."""
    if isinstance(error, UNAVAILABLE):
        return error
    within = getattr(error, "exceptions", None)
    if not isinstance(error, Exception) or not isinstance(within, (tuple, list)) or not within:
        return None
    found = [unavailable_in(each) for each in within]
    return found[0] if all(found) else None


class Request:
    """A request: the references to settle before its response, and whether the response has begun."""

    def __init__(self, is_http: bool) -> None:
        #: References that must be settled before its response begins, by the `id()` of their objects.
        self.refs: dict[int, QueuedTaskRef[Any]] = {}
        self.is_http = is_http
        #: Whether its response has begun. Code that it has left behind has no time limit.
        self.is_over = False
        #: Whether the middleware observes the beginning of its response.
        self.has_middleware = False
        #: FastAPI's exit stack of this request, which settles its references when it is left.
        self.stack: Any = None
        #: The event loop that serves it; used by threads of its endpoint.
        self.loop: asyncio.AbstractEventLoop | None = None
        # An endpoint's threads may add tasks, too.
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises ``InvalidArgument`` if nothing makes the response wait for a task that would be added now."""
        if not (self.has_middleware or self.stack is not None or self.is_over):
            raise InvalidArgument(
                "the task was not added: the response to this request would not wait until it is stored, because this "
                "application does not make it wait here",
                hint="in an endpoint or dependency of FastAPI take the queue as a parameter (`tasks: TasksDep`). Elsewhere "
                "give the application the queue's lifespan, FastAPI(lifespan=queue.lifespan()), which a TestClient "
                "enters by `with`; or add taskyard.fastapi.FlushMiddleware; or use `tasks.nowait` and await the "
                "reference's get_task_id()",
            )

    def expect(self, refs: list[QueuedTaskRef[Any]]) -> None:
        """Makes the response wait for these references, unless it has begun."""
        with self._lock:
            if not self.is_over:
                for ref in refs:
                    self.refs[id(ref)] = ref
                    ref._settled_by = self

    def settled(self, ref: QueuedTaskRef[Any]) -> None:
        """Removes a settled reference. A request may run for long and add many tasks; a websocket does."""
        with self._lock:
            self.refs.pop(id(ref), None)

    def take(self, is_last: bool = False) -> list[QueuedTaskRef[Any]]:
        """Takes the references to be settled now. ``is_last``: the request is over, and later additions are not waited
        for."""
        with self._lock:
            refs, self.refs = list(self.refs.values()), {}
            self.is_over = self.is_over or is_last
            return refs

    def end_if_settled(self) -> bool:
        """Returns whether the response may begin because nothing is left to settle; the request is over then."""
        with self._lock:
            self.is_over = self.is_over or not self.refs
            return not self.refs

    def unavailable(self) -> TaskyardError:
        """Returns the error that is raised within the request when the database does not answer. Starlette turns it
        into a 503."""
        error = self.as_answer(QueueUnavailable(f"the queue's database has not answered within {WAIT_MAX:g} s"))
        assert isinstance(error, QueueUnavailable)
        error.given_up = True
        return error

    def as_answer(self, error: TaskyardError) -> TaskyardError:
        """Returns the variant of an error of ``ANSWERED`` that Starlette turns into a response."""
        if not self.is_http:
            return error
        try:
            from . import _http
        except ImportError:
            return error
        return _http.as_answer(error)


def framework_parameters() -> list[inspect.Parameter]:
    """Returns the parameters that FastAPI passes to a queue that it creates as a dependency. Raises ``ImportError``
    without Starlette."""
    from starlette.requests import HTTPConnection
    from starlette.responses import Response

    kind = inspect.Parameter.KEYWORD_ONLY
    given = {"connection": HTTPConnection, "response": Response}
    return [inspect.Parameter(name, kind, annotation=cls) for name, cls in given.items()]


#: Marks that no request limits a wait, not even the one that the queue was created for.
_NOBODY = Request(False)

current: ContextVar[Request | None] = ContextVar("taskyard_request", default=None)


def of(request: Request | None) -> Request | None:
    """Returns the request that limits a wait: the given one, or the calling code's."""
    serving = current.get()
    found = request or serving
    return None if found is None or found.is_over or serving is _NOBODY else found


@contextlib.contextmanager
def serving(request: Request | None) -> Iterator[None]:
    """Makes this the request of the code within. None: no request limits a wait, not even the one that the queue was
    created for."""
    token = current.set(request or _NOBODY)
    try:
        yield
    finally:
        current.reset(token)


@contextlib.contextmanager
def answering(request: Request | None) -> Iterator[None]:
    """Turns errors of the code within into variants that become the request's response: 503 for an unavailable queue,
    404 for a missing task."""
    try:
        yield
    except ANSWERED as error:
        bound = of(request)
        if bound is None:
            raise
        raise bound.as_answer(error) from None
