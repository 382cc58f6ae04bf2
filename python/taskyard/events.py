"""Tasks over HTTP, for any framework: streams of server-sent events, polling, progress, cancelling.

    from taskyard.events import HEADERS, last_event_id, sse

    return StreamingResponse(sse(tasks, id, last_event_id(request.headers, request.query_params)), headers=HEADERS)

A stream carries the events of a task (``taskyard.watching``): ``event:`` is the type, ``id:`` the number, ``data:`` the
JSON. It ends with the task or, if the task is removed from the database, with an event ``removed``. A browser's
``EventSource`` reconnects with the number of the last event that it has received and misses no state change, whichever
process serves it. A client that disconnects never cancels a task; a server that stops ends its streams, and their clients
reconnect.

:class:`TaskRoutes` adds statuses and errors: an ASGI application, and the base of ``taskyard.fastapi.task_router``.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import inspect
import json
import time
import urllib.parse
import uuid
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _loops, _port, _request
from ._core import ClientRequest
from .errors import InvalidArgument, TaskNotFound, TaskyardError, UniqueKeyHeld, WrongState, seconds
from .watching import TaskEvent

if TYPE_CHECKING:
    from .queued_tasks import QueuedTasks

__all__ = [
    "CONTENT_TYPE",
    "HEADERS",
    "PING",
    "Answer",
    "TaskRoutes",
    "close_streams",
    "frame",
    "last_event_id",
    "sse",
    "sse_many",
]

CONTENT_TYPE = "text/event-stream"
#: Headers of a stream's response: proxies must neither cache nor buffer it.
HEADERS = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
#: Pause before a client reconnects, in milliseconds.
RETRY_MS = 3000
#: Interval of a stream's keep-alive comments, in seconds.
PING = 15.0
#: Maximum wait of one poll, in seconds.
WAIT_MAX = 60.0
#: Maximum number of tasks in one stream.
MANY_MAX = 50
#: Seconds after its addition before which no task is removed.
REMOVED_AFTER = 60.0

_RETRY = f"retry: {RETRY_MS}\n\n".encode()
_PING = b": ping\n\n"


def frame(event: TaskEvent, id: str | None = None) -> bytes:
    """Encodes an event for a stream. ``id`` replaces its number as the position that a client sends when it reconnects."""
    data = json.dumps(event.to_dict(), ensure_ascii=False, separators=(",", ":"))
    return f"id: {id or event.seq}\nevent: {event.type}\ndata: {data}\n\n".encode()


def _removed(task_id: str, seq: int | None, id: str | int | None) -> bytes:
    """Encodes the end of the stream of a task that does not exist; ``seq`` is the number of the last event."""
    data = json.dumps({"type": "removed", "task_id": task_id, "seq": seq, "status": "removed"}, separators=(",", ":"))
    return f"id: {'' if id is None else id}\nevent: removed\ndata: {data}\n\n".encode()


def last_event_id(headers: Mapping[str, Any], query: Mapping[str, Any] | None = None) -> int | None:
    """Returns the number of the last event that a client has: the header ``Last-Event-ID``, else ``?last_event_id=``. None
    if it is missing or not a number."""
    return _number(_last_event_id(headers, query))


def _last_event_id(headers: Mapping[str, Any], query: Mapping[str, Any] | None) -> Any:
    found: Any = None
    for name, value in headers.items():
        if _text(name).lower() == "last-event-id":
            found = value
    return found or (query or {}).get("last_event_id")


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _number(value: Any) -> int | None:
    text = _text(value).strip() if value is not None else ""
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        return None
    number = int(text)
    return number if number < 1 << 64 else None


async def sse(
    tasks: QueuedTasks, task_id: str, last_event_id: int | None = None, ping: float | dt.timedelta = PING
) -> AsyncIterator[bytes]:
    """Yields the stream of a task until its end. A task that does not exist (any more) ends it with an event ``removed``.
    ``last_event_id`` is the last number that the client has; ``ping`` the interval of keep-alives (seconds or timedelta; 0:
    none)."""
    ping = seconds("ping", ping)
    watch = tasks.watch(task_id, since=last_event_id)
    async with contextlib.aclosing(_stream([watch], ping)) as stream:
        async for piece in stream:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield _removed(task_id, watch.since, watch.since) if piece[1] is None else frame(piece[1])


async def sse_many(
    tasks: QueuedTasks, task_ids: Sequence[str], last_event_id: str | None = None, ping: float | dt.timedelta = PING
) -> AsyncIterator[bytes]:
    """Yields one stream of several tasks (at most 50) until the last has ended, because browsers limit connections. ``id:``
    holds the position in each task, in their order; a client that reconnects with the same ids misses nothing. A task that
    is removed ends as in :func:`sse`; the others continue."""
    ping = seconds("ping", ping)
    known = _positions(last_event_id, len(task_ids))
    watches = [tasks.watch(id, since=since) for id, since in zip(task_ids, known, strict=True)]
    async with contextlib.aclosing(_stream(watches, ping)) as stream:
        async for piece in stream:
            if isinstance(piece, bytes):
                yield piece
                continue
            place, event = piece
            known[place] = event.seq if event is not None else known[place]
            text = ".".join("" if seq is None else str(seq) for seq in known)
            yield _removed(task_ids[place], known[place], text) if event is None else frame(event, text)


def _positions(text: str | None, count: int) -> list[int | None]:
    """Parses the positions of several tasks; None for each if the text is not such a list."""
    found = (text or "").strip().split(".")
    return [_number(seq) for seq in found] if len(found) == count else [None] * count


async def _stream(watches: Sequence[Any], ping: float) -> AsyncGenerator[bytes | tuple[int, TaskEvent | None], None]:
    """Yields bytes to be sent as they are, and events (None: no such task) with the index of their watch, until all have
    ended."""
    closing = _closing()
    pending: dict[asyncio.Future[TaskEvent | None], int] = {}
    with closing.stream() as over:
        try:
            yield _RETRY
            pending = {asyncio.ensure_future(_next_of_stream(watch)): place for place, watch in enumerate(watches)}
            while pending:
                await asyncio.wait({*pending, over}, timeout=ping or None, return_when=asyncio.FIRST_COMPLETED)
                told = [each for each in pending if each.done()]
                if not told and over.done():
                    # Tells the client when to reconnect; it knows its last number.
                    yield _RETRY
                    return
                if not told:
                    yield _PING
                for each in told:
                    place = pending.pop(each)
                    try:
                        event = each.result()
                    except TaskNotFound:
                        # The response has begun, so the status cannot report it.
                        yield place, None
                        continue
                    if event is None:
                        continue
                    yield place, event
                    if not event.is_terminal:
                        pending[asyncio.ensure_future(_next_of_stream(watches[place]))] = place
        finally:
            for each in pending:
                each.cancel()


async def _next(watch: Any) -> TaskEvent | None:
    # An asyncio task cannot raise StopAsyncIteration.
    async for event in watch:
        found: TaskEvent = event
        return found
    return None


async def _next_of_stream(watch: Any) -> TaskEvent | None:
    # A stream has begun its response, so it waits for a database that is away.
    with _request.serving(None):
        return await _next(watch)


# --------------------------------------------------------------------------------------------------------- the server


class _Closing:
    """The open streams of one event loop, which end when its server stops.

    uvicorn waits for open responses before it notifies the application, so its flag is polled while there are streams. With
    other servers, the lifespan or :func:`close_streams` ends them.
    """

    EVERY = 0.2

    def __init__(self) -> None:
        self.streams: set[asyncio.Future[None]] = set()
        self._looking: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def stream(self) -> Any:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.streams.add(over)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look())
        try:
            yield over
        finally:
            self.streams.discard(over)
            over.cancel()

    def close(self) -> None:
        for over in list(self.streams):
            if not over.done():
                over.set_result(None)

    async def _look(self) -> None:
        server = _server()
        while self.streams and server is not None:
            if server.should_exit:
                self.close()
            await asyncio.sleep(self.EVERY)


def _server() -> Any:
    """Returns uvicorn's server on this loop, found by its running coroutine; None for other servers."""
    for task in asyncio.all_tasks():
        local = getattr(getattr(task.get_coro(), "cr_frame", None), "f_locals", None) or {}
        for name in ("self", "server"):
            found = local.get(name)
            # uvicorn's helpers also have the first of these flags.
            if all(isinstance(getattr(found, flag, None), bool) for flag in ("should_exit", "force_exit")):
                return found
    return None


_all: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Closing] = weakref.WeakKeyDictionary()


def _closing() -> _Closing:
    return _all.setdefault(asyncio.get_running_loop(), _Closing())


def until_closing() -> contextlib.AbstractContextManager[asyncio.Future[None]]:
    """Yields a future that is done once the server of the running event loop stops."""
    found: contextlib.AbstractContextManager[asyncio.Future[None]] = _closing().stream()
    return found


def close_streams() -> None:
    """Ends the streams of the running event loop. Their clients reconnect."""
    _closing().close()


# --------------------------------------------------------------------------------------------------------- the routes

#: Decides whether the caller (the framework's request, or the ASGI scope) may see and cancel the task with this id.
Allow = Callable[[Any, str], "bool | Awaitable[bool]"]


@dataclasses.dataclass
class Answer:
    """A response, independent of the framework that sends it."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    #: The body of a stream, in place of ``body``.
    stream: AsyncIterator[bytes] | None = None

    @property
    def content(self) -> bytes:
        """The encoded body."""
        return b"" if self.body is None else json.dumps(self.body, ensure_ascii=False).encode()

    def all_headers(self) -> dict[str, str]:
        """Returns the headers including the content type."""
        kind = {} if self.body is None else {"Content-Type": "application/json"}
        return {**kind, "Cache-Control": "no-store", **self.headers}


#: Message for a change that is requested by a page of another origin.
CROSS_SITE = "this request comes from a page of another origin"
NOT_YOURS = "this task is not yours"


def status_of(error: TaskyardError) -> int:
    """Returns the HTTP status for an error about one task."""
    if isinstance(error, (TaskNotFound, InvalidArgument)):
        return 404
    if isinstance(error, (WrongState, UniqueKeyHeld)):
        return 409
    return 503 if isinstance(error, _request.UNAVAILABLE) else 500


def is_cross_site(headers: Mapping[str, Any], origins: Sequence[str] = ()) -> bool:
    """Whether a browser sends this request for a page of an origin other than the application's and those listed. Clients
    other than browsers send neither an origin nor a site, and are accepted."""
    given = {_text(name).lower(): _text(value) for name, value in headers.items()}
    origin = given.get("origin")
    if origin is not None and origin in origins:
        return False
    if (site := given.get("sec-fetch-site")) is not None:
        return site not in ("same-origin", "none")
    if origin is None:
        return False
    scheme, _, host = origin.lower().partition("://")  # `urlsplit` raises for `http://[::1`.
    port = {"http": ":80", "https": ":443"}.get(scheme, "")
    return not (scheme and host) or host.removesuffix(port) != given.get("host", "").lower().removesuffix(port)


def check_allow(what: str, allow: Allow | None, allow_anyone: bool) -> None:
    """Raises ``InvalidArgument`` unless exactly one of ``allow`` and ``allow_anyone=True`` is given."""
    if (allow is not None) == (allow_anyone is True):
        raise InvalidArgument(
            f"{what}: specify who may see and cancel tasks",
            hint="allow=may_see (a function of the request and the id), or allow_anyone=True, not both",
        )


def stored_id(id: str) -> str:
    """Returns an id in its stored form, so that ``allow`` checks the id that is looked up. Raises ``TaskNotFound`` for
    other texts."""
    try:
        return str(uuid.UUID(id))
    except ValueError:
        raise TaskNotFound("there is no such task") from None


async def is_allowed(allow: Allow | None, asker: Any, id: str) -> bool:
    """Calls ``allow`` with a stored id. Without ``allow``, everyone is allowed.

    Raises ``TypeError`` for a result that is neither a bool nor None (= no): a coroutine that was not awaited, and a
    response that refuses, are truthy as well.
    """
    if allow is None:
        return True
    allowed: Any = allow(asker, id)
    if inspect.isawaitable(allowed):
        allowed = await allowed
    if allowed is not None and not isinstance(allowed, bool):
        raise TypeError(f"`allow` must return True or False, not {type(allowed).__name__}")
    return allowed is True


class TaskRoutes:
    """HTTP endpoints for tasks, as an ASGI application: ``GET /task/{id}``, ``GET /task/{id}/progress``, ``GET
    /task/{id}/events``, ``POST /task/{id}/cancel`` and ``GET /tasks/events?ids=A,B``, relative to where it is mounted.

    Responds with 404 for an unknown task, 410 for an id so old that its task may have been removed, 403 where ``allow``
    returns False and for a cancel by a page of another origin that is not in ``origins`` (``"https://app.example.com"``),
    409 for a cancel that comes too late, and 503 if the database is unavailable. Raises ``InvalidArgument`` without either
    ``allow`` or ``allow_anyone=True``.
    """

    def __init__(
        self,
        tasks: QueuedTasks,
        allow: Allow | None = None,
        ping: float | dt.timedelta = PING,
        origins: Sequence[str] = (),
        *,
        allow_anyone: bool = False,
    ) -> None:
        check_allow("TaskRoutes", allow, allow_anyone)
        self.tasks = tasks
        self.allow = allow
        self.ping = seconds("ping", ping)
        self.origins = tuple(origins)

    async def task(self, asker: Any, id: str, headers: Mapping[str, Any], query: Mapping[str, Any]) -> Answer:
        """Responds with ``{task_id, status, result, error, attempt, seq}``; ``?wait=30&since=seq`` waits for news."""

        async def found(id: str) -> Answer:
            now = await self._now(id, query)
            etag = f'"{now.seq}"'
            known = [_text(value) for name, value in headers.items() if _text(name).lower() == "if-none-match"]
            if known and etag in [tag.strip().removeprefix("W/") for tag in known[-1].split(",")]:
                return Answer(304, headers={"ETag": etag, "Cache-Control": "no-cache"})
            result = None
            if now.status == "completed":
                # In the stored encoding, which only Python decodes.
                result = (await _loops.answer(self.tasks.get(id)._port.ask(ClientRequest.record(id))))["result"]
            body = {
                "task_id": now.task_id,
                "status": now.status,
                "result": result,
                "error": None if now.error is None else now.error["message"],
                "attempt": now.attempt,
                "seq": now.seq,
            }
            return Answer(200, body, {"ETag": etag, "Cache-Control": "no-cache"})

        return await self._answered(asker, id, found)

    async def progress(self, asker: Any, id: str, headers: Mapping[str, Any], query: Mapping[str, Any]) -> Answer:
        """Responds with ``{task_id, status, progress, seq}``; ``progress`` is that of an event."""

        async def found(id: str) -> Answer:
            now = await self._now(id, query)
            told = now.to_dict()
            return Answer(200, {name: told[name] for name in ("task_id", "status", "progress", "seq")})

        return await self._answered(asker, id, found)

    async def events(self, asker: Any, id: str, headers: Mapping[str, Any], query: Mapping[str, Any]) -> Answer:
        """Responds with the stream, or with 204 if the client has the end already, which stops an ``EventSource``."""

        async def found(id: str) -> Answer:
            since = last_event_id(headers, query)
            now = await self._first(id)
            # The number of a final snapshot is one below that of the end.
            if now.state.is_final and since == now.seq + 1:
                return Answer(204)
            return Answer(200, headers=dict(HEADERS), stream=sse(self.tasks, id, since, self.ping))

        return await self._answered(asker, id, found)

    async def many(self, asker: Any, headers: Mapping[str, Any], query: Mapping[str, Any]) -> Answer:
        """Responds with one stream of several tasks (``?ids=A,B``), or with 204 if the client has all their ends."""
        ids = list(dict.fromkeys(id for id in _text(query.get("ids") or "").split(",") if id))
        if not 0 < len(ids) <= MANY_MAX:
            return Answer(422, {"detail": f"ids: name 1 to {MANY_MAX} tasks, separated by commas"})
        last = _text(_last_event_id(headers, query) or "")
        known = _positions(last, len(ids))
        ended = []
        for id, since in zip(ids, known, strict=True):

            async def found(id: str, since: int | None = since) -> Answer:
                now = await self._first(id)
                ended.append(now.state.is_final and since == now.seq + 1)
                return Answer(200)

            answer = await self._answered(asker, id, found)
            if answer.status == 410 and since is not None:
                # The task ended and was removed since; the others continue.
                ended.append(True)
                continue
            if answer.status != 200:
                # Names the task.
                return dataclasses.replace(answer, body={**answer.body, "task_id": id})
        if all(ended):
            return Answer(204)
        return Answer(
            200, headers=dict(HEADERS), stream=sse_many(self.tasks, [stored_id(id) for id in ids], last, self.ping)
        )

    async def cancel(self, asker: Any, id: str, headers: Mapping[str, Any], query: Mapping[str, Any]) -> Answer:
        """Cancels the task, or requests it of its worker, and responds with 202."""
        if is_cross_site(headers, self.origins):
            return Answer(403, {"detail": CROSS_SITE})

        async def found(id: str) -> Answer:
            port = self.tasks.get(id)._port
            try:
                said = await _loops.answer(port.ask(ClientRequest.cancel(id)))
            except WrongState:
                now = await self._first(id)
                return Answer(409, {"cancelled": False, "status": now.status})
            status = "cancelling" if said == "requested" else "cancelled"
            return Answer(202, {"cancelled": True, "status": status})

        return await self._answered(asker, id, found)

    async def _first(self, id: str, waited: float = 0.0) -> TaskEvent:
        # A watch waits for a database that is away, but the current state must be known at once.
        found = await _loops.within(None, _next(self.tasks.watch(id)), waited)
        assert found is not None, "a watch begins with a snapshot"
        return found

    async def _now(self, id: str, query: Mapping[str, Any]) -> TaskEvent:
        """Returns the current state; with `wait`, once something has happened after `since`, or the time is over."""
        since, wait = _number(query.get("since")), _seconds(query.get("wait"))
        silence = 0.0
        if since is not None and wait > 0:
            began = time.monotonic()
            try:
                await asyncio.wait_for(self._after(id, since), wait)
            except asyncio.TimeoutError:
                # The database may not have answered meanwhile: that time counts, too.
                silence = _loops.silence(_port.plain(self.tasks._via), began)
        found = await self._first(id, silence)
        return dataclasses.replace(found, seq=found.seq + 1) if found.state.is_final else found

    async def _after(self, id: str, since: int) -> None:
        async for event in self.tasks.watch(id, since):
            # A progress event without a time of its own repeats the known number.
            if event.seq != since:
                return

    async def _answered(self, asker: Any, id: str, found: Callable[[str], Awaitable[Answer]]) -> Answer:
        # In every framework, a database that is away leads to a 503, not to a response that never comes.
        request = _request.of(None) or _request.Request(is_http=False)
        try:
            id = stored_id(id)
            # `allow` may query the queue itself, so it runs under the same time limit.
            with _request.serving(request):
                if not await is_allowed(self.allow, asker, id):
                    return Answer(403, {"detail": NOT_YOURS})
                return await found(id)
        except TaskyardError as error:
            if (status := status_of(error)) != 404:
                return Answer(status, {"detail": error.message})
            if _may_be_removed(id):
                return Answer(410, {"detail": f"task {id} was removed, or there never was one"})
            return Answer(404, {"detail": "there is no such task"})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("TaskRoutes serves HTTP only: mount it below a path")
        path = scope["path"].removeprefix(scope.get("root_path", "")).strip("/").split("/")
        verb = path[2] if len(path) > 2 else ""
        route = {
            ("GET", ""): self.task,
            ("GET", "progress"): self.progress,
            ("GET", "events"): self.events,
            ("POST", "cancel"): self.cancel,
        }.get((scope["method"], verb))
        headers = {_text(name): _text(value) for name, value in scope["headers"]}
        query = dict(urllib.parse.parse_qsl(scope["query_string"].decode("latin-1")))
        if scope["method"] == "GET" and path == ["tasks", "events"]:
            answer = await self.many(scope, headers, query)
        elif route is None or path[0] != "task" or len(path) not in (2, 3):
            answer = Answer(404, {"detail": "there is nothing here"})
        else:
            answer = await route(scope, path[1], headers, query)
        await send_answer(answer, receive, send)


async def send_answer(answer: Answer, receive: Any, send: Any) -> None:
    """Sends an answer as ASGI messages. A client that disconnects ends the stream, and nothing else."""
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.all_headers().items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.stream is None:
        await send({"type": "http.response.body", "body": answer.content})
        return
    stream = answer.stream

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def tell() -> None:
        async for piece in stream:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    telling, leaving = asyncio.ensure_future(tell()), asyncio.ensure_future(left())
    try:
        await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            with contextlib.suppress(OSError):
                telling.result()
    finally:
        for task in (telling, leaving):
            task.cancel()
        await asyncio.wait({telling, leaving})
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


def _seconds(value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return 0.0
    return min(seconds, WAIT_MAX) if seconds > 0 else 0.0


def _may_be_removed(id: str) -> bool:
    """Whether an id is so old that its task may have been removed. Ids contain the time of their creation."""
    try:
        found = uuid.UUID(id)
    except ValueError:
        return False
    made = (found.int >> 80) / 1000
    # No id was created before 2020.
    return found.version == 7 and 1_577_836_800 < made < time.time() - REMOVED_AFTER
