"""The HTTP request (or websocket) that the calling code serves: what it must settle, and how long it may wait.

Set by the middleware of ``_response.py``, which a lifespan of the queue puts around its application, and by what answers
requests by itself (``events.TaskRoutes``). A queue that was made by a dependency knows its request without it.
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

#: How long anything within a request waits for the queue's database, in seconds.
WAIT_MAX = 5.0

#: The errors that are no fault of the caller's: a request answers them with a 503.
UNAVAILABLE = (QueueUnavailable, DatabaseError, ShutDown)

#: The errors that a request answers by itself where the application does not handle them: these, and a 404.
ANSWERED = (*UNAVAILABLE, TaskNotFound)


def unavailable_in(error: BaseException | None) -> TaskyardError | None:
    """The error that says that the queue is unavailable: this one, or the first of a group that holds no others."""
    if isinstance(error, UNAVAILABLE):
        return error
    within = getattr(error, "exceptions", None)
    if not isinstance(error, Exception) or not isinstance(within, (tuple, list)) or not within:
        return None
    found = [unavailable_in(each) for each in within]
    return found[0] if all(found) else None


class Request:
    """One request."""

    def __init__(self, is_http: bool) -> None:
        #: The references that must be settled before its response begins, by their objects' ids.
        self.refs: dict[int, QueuedTaskRef[Any]] = {}
        self.is_http = is_http
        #: Its response has begun: what it has left behind waits as long as it likes.
        self.is_over = False
        #: The middleware sees its response begin.
        self.has_middleware = False
        #: FastAPI's stack of this request, which settles its references when it is left.
        self.stack: Any = None
        #: The event loop that serves it, for the threads of its endpoint.
        self.loop: asyncio.AbstractEventLoop | None = None
        # An endpoint's threads add, too.
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises ``InvalidArgument`` if nothing makes the response wait for what would be added now."""
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
        """Makes the response wait for these, unless it has begun."""
        with self._lock:
            if not self.is_over:
                for ref in refs:
                    self.refs[id(ref)] = ref
                    ref._settled_by = self

    def settled(self, ref: QueuedTaskRef[Any]) -> None:
        """Nothing is left to be done for this one. A request may last long and add without end; a websocket does."""
        with self._lock:
            self.refs.pop(id(ref), None)

    def take(self, is_last: bool = False) -> list[QueuedTaskRef[Any]]:
        """Takes the references to be settled now. ``is_last``: nothing that is added from here on is."""
        with self._lock:
            refs, self.refs = list(self.refs.values()), {}
            self.is_over = self.is_over or is_last
            return refs

    def end_if_settled(self) -> bool:
        """Whether the response may begin, because nothing is left to be settled: the request is over then."""
        with self._lock:
            self.is_over = self.is_over or not self.refs
            return not self.refs

    def unavailable(self) -> TaskyardError:
        """What is raised in it when the database does not answer; where Starlette serves it, that is a 503."""
        error = self.as_answer(QueueUnavailable(f"the queue's database has not answered within {WAIT_MAX:g} s"))
        assert isinstance(error, QueueUnavailable)
        error.given_up = True
        return error

    def as_answer(self, error: TaskyardError) -> TaskyardError:
        """This error, one of ``ANSWERED``, as Starlette answers it with its status."""
        if not self.is_http:
            return error
        try:
            from . import _http
        except ImportError:
            return error
        return _http.as_answer(error)


def framework_parameters() -> list[inspect.Parameter]:
    """The parameters that FastAPI gives a queue that it makes as a dependency. Raises ``ImportError`` without Starlette."""
    from starlette.requests import HTTPConnection
    from starlette.responses import Response

    kind = inspect.Parameter.KEYWORD_ONLY
    given = {"connection": HTTPConnection, "response": Response}
    return [inspect.Parameter(name, kind, annotation=cls) for name, cls in given.items()]


#: No request bounds a wait, not even the one that the queue was made for.
_NOBODY = Request(False)

current: ContextVar[Request | None] = ContextVar("taskyard_request", default=None)


def of(request: Request | None) -> Request | None:
    """The request that bounds a wait: the given one, or the calling code's."""
    serving = current.get()
    found = request or serving
    return None if found is None or found.is_over or serving is _NOBODY else found


@contextlib.contextmanager
def serving(request: Request | None) -> Iterator[None]:
    """Within it, this is the request; None: no request bounds a wait, not even the one that the queue
    was made for."""
    token = current.set(request or _NOBODY)
    try:
        yield
    finally:
        current.reset(token)


@contextlib.contextmanager
def answering(request: Request | None) -> Iterator[None]:
    """Within it, a queue that is unavailable is the request's 503, and a task that does not exist its 404."""
    try:
        yield
    except ANSWERED as error:
        bound = of(request)
        if bound is None:
            raise
        raise bound.as_answer(error) from None
