"""For FastAPI and Starlette: the queue as a dependency, its lifespan, and routes for tasks.

``_response.py`` makes responses wait for their tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from . import _config, _exit_code, _port, _request, _response, events
from ._response import FlushMiddleware as FlushMiddleware
from .errors import ShutDown, TaskyardError
from .queued_tasks import QueuedTaskRef, QueuedTasks

__all__ = ["FlushMiddleware", "Lifespan", "TasksDep", "lifespan", "router", "task_router"]

log = logging.getLogger("taskyard")

if TYPE_CHECKING:
    from ._worker import Embedded

    TasksDep = Annotated[QueuedTasks, Any]
else:
    try:
        from fastapi import Depends

        #: The queue as a dependency: ``async def endpoint(tasks: TasksDep): ...``
        TasksDep = Annotated[QueuedTasks, Depends()]
    except ImportError:  # pragma: no cover - depends on what is installed
        TasksDep = QueuedTasks

Lifespan = Callable[[Any], contextlib.AbstractAsyncContextManager[Any]]


def lifespan(
    tasks: QueuedTasks, inner: Lifespan | None, workers: int, concurrency: int | None, in_workers: bool
) -> Lifespan:
    """See :meth:`QueuedTasks.lifespan`."""

    @contextlib.asynccontextmanager
    async def live(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with contextlib.AsyncExitStack() as stack:
            opening = asyncio.ensure_future(tasks._open())
            # An application starts even if the database is away: its additions wait in memory, in order.
            await asyncio.wait([opening], timeout=OPEN_MAX)
            if opening.done():
                opening.result()
            else:
                log.warning("the queue's database is not open yet; tasks wait in memory")
                opening.add_done_callback(_say_not_opened)
            stack.push_async_callback(_close, tasks, opening)
            if tasks._own is not None and not _port.of_tests:
                # Makes the application's queue the one that its endpoints receive.
                before = _port.use(tasks._own)
                stack.callback(_port.use, before)
            with contextlib.suppress(AttributeError):
                app.state.tasks = tasks
            state: dict[str, Any] = {"tasks": tasks}
            if inner is not None and in_workers:
                # Entered before the workers start, whose tasks use what it opens.
                state.update(await stack.enter_async_context(inner(app)) or {})
            if workers:
                from ._worker import Embedded

                embedded = Embedded(tasks, workers, concurrency, app)
                await stack.enter_async_context(embedded.hooks())
                await _start(stack, embedded)
            else:
                _config.have_no_effect("no worker runs in this process")
                stack.callback(_config.have_no_effect, None)
            if inner is not None and not in_workers:
                state.update(await stack.enter_async_context(inner(app)) or {})
            # After the application's own lifespan, which may mount other applications.
            stack.callback(_response.wrap(app))
            try:
                yield state
            finally:
                events.close_streams()

    return live


async def _start(stack: contextlib.AsyncExitStack, embedded: Embedded) -> None:
    """Starts the workers; in the background if the database is away, so that the application can start and stop."""
    starting = asyncio.ensure_future(embedded.start())

    async def end() -> None:
        if not starting.done():
            starting.cancel()
            await asyncio.wait([starting])
        elif starting.exception() is None:
            await embedded.stop()

    stack.push_async_callback(end)
    await asyncio.wait([starting], timeout=OPEN_MAX)
    if starting.done():
        starting.result()
    else:
        log.warning("the queue's database is not open yet; the workers start when it is")
        starting.add_done_callback(_say_failure)


def _say_failure(starting: asyncio.Future[Any]) -> None:
    if not starting.cancelled() and (error := starting.exception()) is not None:
        log.error("the workers in this process could not be started, and run nothing", exc_info=error)


#: Seconds that an application's start waits for the database.
OPEN_MAX = 5.0


async def _close(tasks: QueuedTasks, opening: asyncio.Future[Any]) -> None:
    try:
        await tasks.__aexit__(None, None, None)
    except ShutDown:
        # The database was never reached. The engine has logged how many additions were lost.
        pass
    except TaskyardError as error:
        _exit_code.fail()
        log.error("closing the queue failed: %s", error)
    finally:
        # The reply is retrieved, or the engine would report it as lost.
        await asyncio.wait([opening], timeout=1.0)
        opening.cancel()
        _port.flush_logs()


def _say_not_opened(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and (error := opening.exception()) is not None and not isinstance(error, ShutDown):
        log.error("the queue's database could not be opened: %s", error)


def router(
    tasks: QueuedTasks | None = None, *, allow: events.Allow | None = None, allow_anyone: bool = False, **options: Any
) -> Any:
    """Returns a router to inspect and control tasks: ``app.include_router(taskyard.fastapi.router(allow=may_see),
    prefix="/tasks")``.

    Routes: ``GET /{id}``, ``GET /{id}/logs``, ``POST /{id}/cancel``, ``POST /{id}/retry``. ``allow(request, id)``, sync
    or async, returns whether the caller has access. Alternatively ``dependencies=[Depends(...)]`` authenticate the
    caller, or ``allow_anyone=True`` gives access to everyone who has an id. A change that is requested by a page of
    another origin is refused with 403.

    Raises ``InvalidArgument`` without any of the three.
    """
    from fastapi import APIRouter, Depends, HTTPException, Request

    dependencies = list(options.pop("dependencies", None) or ())
    if not dependencies or allow_anyone:
        events.check_allow("router", allow, allow_anyone)

    # Annotations are evaluated when a dependency is added, but `Request` is local.
    async def may(id, request):  # type: ignore[no-untyped-def]
        if not await answer(allowed(request, id)):
            raise HTTPException(403, events.NOT_YOURS)

    async def allowed(request: Any, id: str) -> bool:
        return await events.is_allowed(allow, request, events.stored_id(id))

    may.__annotations__ = {"id": str, "request": Request}
    routes = APIRouter(dependencies=[*dependencies, Depends(may)], **options)

    def ref(id: str) -> QueuedTaskRef[Any]:
        return (tasks or QueuedTasks()).get(events.stored_id(id))

    async def answer(awaitable: Any) -> Any:
        try:
            with _request.serving(_request.of(None) or _request.Request(False)):
                return await awaitable
        except TaskyardError as error:
            raise HTTPException(events.status_of(error), error.message) from None

    def same_site(request: Any) -> None:
        if events.is_cross_site(request.headers):
            raise HTTPException(403, events.CROSS_SITE)

    @routes.get("/{id}")
    async def show(id: str) -> dict[str, Any]:
        found = await answer(ref(id).record())
        progress = await answer(ref(id).get_progress())
        found["progress"] = None if progress is None else progress.to_dict()
        return {name: found[name] for name in ("id", "name", "state", "queue", "attempt", "progress", "error")}

    @routes.get("/{id}/logs")
    async def logs(id: str) -> list[dict[str, Any]]:
        return [*await answer(ref(id).get_logs())]

    # Annotations are evaluated when a route is added, but `Request` is local.
    async def cancel(id, request):  # type: ignore[no-untyped-def]
        same_site(request)
        return {"state": await answer(ref(id).cancel())}

    async def retry(id, request):  # type: ignore[no-untyped-def]
        same_site(request)
        return {"state": await answer(ref(id).retry())}

    for path, endpoint in (("/{id}/cancel", cancel), ("/{id}/retry", retry)):
        endpoint.__annotations__ = {"id": str, "request": Request, "return": dict[str, Any]}
        routes.add_api_route(path, endpoint, methods=["POST"])
    return routes


def task_router(
    tasks: QueuedTasks | None = None,
    *,
    allow: events.Allow | None = None,
    allow_anyone: bool = False,
    origins: Sequence[str] = (),
    ping: float | dt.timedelta = events.PING,
    **options: Any,
) -> Any:
    """Returns a router for pages that follow their tasks:
    ``app.include_router(taskyard.fastapi.task_router(allow=may_see))``.

    Routes: ``GET /task/{id}`` (``ETag``, ``?wait=30&since=seq``), ``GET /task/{id}/progress``, ``GET
    /task/{id}/events`` (server-sent events), ``GET /tasks/events?ids=A,B`` (one stream of several tasks), ``POST
    /task/{id}/cancel``. ``allow(request, id)``, sync or async, returns whether the caller has access;
    ``allow_anyone=True`` gives access to everyone who has an id. A cancel by a page of another origin is refused,
    except for ``origins`` (``"https://app.example.com"``). ``ping`` is the interval of keep-alive comments in streams
    (seconds or timedelta, default 15). See :class:`taskyard.events.TaskRoutes`.

    Raises ``InvalidArgument`` without either ``allow`` or ``allow_anyone=True``.
    """
    events.check_allow("task_router", allow, allow_anyone)
    from fastapi import APIRouter, Request
    from fastapi.responses import Response

    routes = APIRouter(**options)
    made = events.TaskRoutes(tasks or QueuedTasks(), allow, ping, origins, allow_anyone=allow_anyone)

    class Sent(Response):
        def __init__(self, answer: events.Answer) -> None:
            super().__init__(answer.content, answer.status, answer.all_headers())
            self._answer = answer

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await events.send_answer(self._answer, receive, send)

    # Annotations are evaluated when a route is added, but `Request` is local.
    async def task(id, request):  # type: ignore[no-untyped-def]
        return Sent(await made.task(request, id, request.headers, request.query_params))

    async def progress(id, request):  # type: ignore[no-untyped-def]
        return Sent(await made.progress(request, id, request.headers, request.query_params))

    async def stream(id, request):  # type: ignore[no-untyped-def]
        return Sent(await made.events(request, id, request.headers, request.query_params))

    async def cancel(id, request):  # type: ignore[no-untyped-def]
        return Sent(await made.cancel(request, id, request.headers, request.query_params))

    async def many(request):  # type: ignore[no-untyped-def]
        return Sent(await made.many(request, request.headers, request.query_params))

    many.__annotations__ = {"request": Request}
    routes.add_api_route("/tasks/events", many, methods=["GET"], response_model=None)
    for path, method, endpoint in (
        ("/task/{id}", "GET", task),
        ("/task/{id}/progress", "GET", progress),
        ("/task/{id}/events", "GET", stream),
        ("/task/{id}/cancel", "POST", cancel),
    ):
        endpoint.__annotations__ = {"id": str, "request": Request}
        routes.add_api_route(path, endpoint, methods=[method], response_model=None)
    return routes
