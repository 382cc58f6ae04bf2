"""Settles the tasks of a request before its response: a success is sent only once they are stored, and a 503 if they
cannot be.

The middleware settles a request's references right before its response begins, and observes that beginning. A lifespan
of the queue puts it around the application. Without the middleware, a queue that FastAPI created as a dependency is
settled by the exit stack that FastAPI leaves between the endpoint and the response; a task that is added after that,
where nothing would make the response wait, is refused (``Request.check``). Read next: ``_request.py``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from . import _request, _uncommitted
from ._request import Request
from ._transaction import PendingRef
from .errors import QueueUnavailable, TaskyardError

if TYPE_CHECKING:
    from ._refs import QueuedTaskRef

__all__ = ["FlushMiddleware", "before_response", "wrap"]

log = logging.getLogger("taskyard")

#: Key of the request in the connection's scope.
_SCOPE = "taskyard.request"
#: Number of times that a response waits for further tasks of its request. Tasks that are added later are stored after
#: the response: an endpoint may have started something that adds tasks without end.
_ROUNDS = 3
#: Layers of middlewares and mounted applications that are searched.
_DEPTH_MAX = 100


def before_response(connection: Any, by_framework: bool = False) -> Request:
    """Returns the request of a connection. ``by_framework``: FastAPI is resolving a dependency, so that its exit stack
    is open."""
    scope = connection.scope
    request: Request | None = scope.get(_SCOPE)
    if request is None:
        request = Request(scope["type"] == "http")
        if by_framework:
            scope[_SCOPE] = request
    stack = scope.get("fastapi_function_astack") if by_framework else None
    if stack is None or stack is request.stack:
        return request
    request.stack = stack

    def forget() -> None:
        request.stack = None
        if not request.has_middleware:
            # Now FastAPI sends the response, or an exception handler creates another one, which cannot be delayed from
            # here.
            scope.pop(_SCOPE, None)

    # FastAPI leaves this stack after the response or, with an error, before an exception handler runs.
    outer = scope.get("fastapi_inner_astack")

    async def leave(_: Any, error: BaseException | None, *__: Any) -> None:
        is_done = outer is None
        try:
            await _settle_endpoint(request, error)
            is_done = is_done or error is None
        finally:
            if is_done:
                forget()

    async def leave_outer(_: Any, error: BaseException | None, *__: Any) -> None:
        if request.stack is not stack:
            return
        try:
            # Dependencies that handled the error may have added more tasks.
            await _settle_endpoint(request, error)
        finally:
            forget()

    if outer is not None:
        outer.push_async_exit(leave_outer)
    # FastAPI leaves this stack after the endpoint has returned and before anything is sent.
    stack.push_async_exit(leave)
    return request


async def _settle_endpoint(request: Request, error: BaseException | None) -> None:
    if not request.is_http:
        await _settle_bound(request.take(), error is not None)
        return
    # Without the middleware, later phases of the request are not observed: the response follows, or an exception
    # handler.
    try:
        await settle(request, error is not None, is_last=error is None and not request.has_middleware)
    except TaskyardError as refused:
        raise _refused(refused) from refused
    found = _request.unavailable_in(error)
    if found is not None and found is not error:
        raise request.as_answer(found) from error


def _refused(error: TaskyardError) -> Exception:
    from starlette.exceptions import HTTPException

    return HTTPException(503, f"the task could not be queued: {error.message}")


async def settle(request: Request, failed: bool, is_last: bool = True) -> None:
    """Returns once all tasks of the request are durable. Raises the first error of one that is not.

    ``failed``: the response reports an error. ``is_last``: the request is over afterwards, and later additions are not
    waited for.
    """
    until = time.monotonic() + _request.WAIT_MAX
    first: Exception | None = None
    rounds = _ROUNDS if is_last else 1
    while request.refs if not is_last else not request.end_if_settled():
        # An asyncio task that the endpoint has started may add more tasks meanwhile.
        rounds -= 1
        left = until - time.monotonic()
        try:
            await flush(request.take(is_last and (rounds == 0 or left <= 0)), failed or first is not None, left)
        except Exception as error:
            first = first or error
        if rounds == 0:
            break
    if first is not None:
        raise first


async def flush(refs: list[QueuedTaskRef[Any]], failed: bool = False, timeout: float | None = None) -> None:
    """Returns once all of these references are durable.

    Raises the error of one that is not, unless it was raised in the endpoint before. If the response reports an error
    in any case (``failed``), only errors after which the caller may try again are raised. Additions that are not
    written in time are withdrawn, so that a caller who receives the error may try again.
    """
    reported = {ref._source() for ref in refs if ref._is_reported}
    stored = [ref for ref in refs if not isinstance(ref, PendingRef) and ref._source() not in reported]
    durable = asyncio.gather(
        _settle_bound(refs, failed), *(each._before_response(failed) for each in stored), return_exceptions=True
    )
    try:
        await asyncio.wait([durable], timeout=_request.WAIT_MAX if timeout is None else max(0.0, timeout))
    finally:
        is_late = not durable.done()
        # Not awaited: the cancellation of a statement may take as long as the statement. The callback retrieves the
        # error, which asyncio would log otherwise.
        durable.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        durable.cancel()
    if is_late:
        error = QueueUnavailable(f"the queue's database has not answered within {_request.WAIT_MAX:g} s")
        for ref in refs:
            ref._withdraw(error)
        raise error
    for outcome in durable.result():
        if not isinstance(outcome, BaseException):
            continue
        if failed and isinstance(outcome, Exception) and _request.unavailable_in(outcome) is None:
            log.error("another task of a failed request could not be queued: %s", outcome)
            continue
        raise outcome
    for ref in refs:
        if ref._known:
            await ref._inline_end()


async def _settle_bound(refs: list[QueuedTaskRef[Any]], failed: bool) -> None:
    """Settles the references in callers' transactions one after another, because a connection runs one statement at a
    time."""
    first: Exception | None = None
    bound = [ref for ref in refs if isinstance(ref, PendingRef)]
    await _uncommitted.reported(bound)
    for ref in bound:
        try:
            await ref._before_response(failed)
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


class FlushMiddleware:
    """ASGI middleware that makes every response wait until the tasks of its request are durable.

    Sends a 503 if one of them cannot be stored, or if the application raises that the queue is unavailable. Within a
    request nothing waits longer than 5 seconds for the queue's database.

    Applications with the queue's lifespan have it already. Others need it for plain Starlette, for FastAPI before
    0.121, and for tasks that are added in middlewares and exception handlers. It belongs outside of all other
    middlewares (``add_middleware`` last)::

        app.add_middleware(FlushMiddleware)
    """

    def __init__(self, app: Any) -> None:
        self.app = Answering(app)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        request: Request = scope.setdefault(_SCOPE, Request(scope["type"] == "http"))
        if request.has_middleware:
            # The outer middleware covers tasks that are added between the two.
            await self.app(scope, receive, send)
            return
        request.has_middleware, request.loop = True, asyncio.get_running_loop()
        try:
            with _request.serving(request):
                if request.is_http:
                    await self._respond(request, scope, receive, send)
                else:
                    await self.app(scope, receive, send)
        finally:
            request.is_over = True

    async def _respond(self, request: Request, scope: Any, receive: Any, send: Any) -> None:
        refused = False

        async def send_after(message: Any) -> None:
            nonlocal refused
            if refused:
                return
            if message["type"] == "http.response.start":
                try:
                    await settle(request, message["status"] >= 400)
                except TaskyardError as error:
                    refused = True
                    await _answer(f"the task could not be queued: {error.message}")(scope, receive, send)
                    return
            await send(message)

        await self.app(scope, receive, send_after)


def _answer(detail: str) -> Any:
    from starlette.responses import JSONResponse

    return JSONResponse({"detail": detail}, 503)


class Answering:
    """ASGI middleware that responds with 503 if the application raises that the queue is unavailable, also from a
    middleware or in an exception group, which Starlette's own exception handlers do not see."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_begun = False

        async def noting(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception as error:
            found = _request.unavailable_in(error)
            if has_begun or found is None:
                raise
            log.warning("a request is answered with a 503: %s", found.message)
            await _answer(found.message)(scope, receive, send)


def wrap(app: Any) -> Callable[[], None]:
    """Puts the middleware around a running Starlette application, so that queues that were not created by a dependency
    have their request as well. Returns a function that removes it."""
    inner = getattr(app, "middleware_stack", None)
    if inner is None:
        return lambda: None
    # Starlette sends a 500 before it raises an exception to outer layers, so it must be caught inside.
    within = [(layer, Answering(layer.app)) for layer in _error_layers(app)]
    for layer, answering in within:
        layer.app = answering
    app.middleware_stack = outer = FlushMiddleware(inner)

    def unwrap() -> None:
        if app.middleware_stack is outer:
            app.middleware_stack = inner
        for layer, answering in within:
            if layer.app is answering:
                layer.app = answering.app

    return unwrap


def _error_layers(app: Any) -> Iterator[Any]:
    """Yields the middlewares that turn exceptions into a 500: the application's, and those of all applications mounted
    in it."""
    from starlette.applications import Starlette
    from starlette.middleware.errors import ServerErrorMiddleware

    seen: set[int] = set()
    left = [(app, 0)]
    while left:
        layer, depth = left.pop()
        # A mounted mock contains an endless chain of applications.
        if layer is None or id(layer) in seen or depth > _DEPTH_MAX:
            continue
        seen.add(id(layer))
        if isinstance(layer, ServerErrorMiddleware):
            yield layer
        if isinstance(layer, Starlette):
            if layer.middleware_stack is None:
                # A mounted application builds its stack at its first request.
                layer.middleware_stack = layer.build_middleware_stack()
            left.append((layer.middleware_stack, depth + 1))
        routes = getattr(layer, "routes", None)
        left.extend((getattr(route, "app", None), depth + 1) for route in (routes if isinstance(routes, list) else ()))
        left.append((getattr(layer, "app", None), depth + 1))
