"""How an event loop waits for the engine's answers: one mailbox for each loop, which wakes it once for many."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from . import _core, _request
from .errors import QueueUnavailable, WaitTimeout, seconds

T = TypeVar("T")

log = logging.getLogger("taskyard")


class Box:
    """The mailbox of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.core = _core.Mailbox()
        self._loop = weakref.ref(loop)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._handlers: dict[int, Any] = {}
        self._last = 0
        loop.add_reader(self.core.fileno(), self._drain)

    def token(self) -> int:
        self._last += 1
        return self._last

    def on(self, handler: Any) -> int:
        """A token that calls ``handler`` each time it arrives."""
        token = self.token()
        self._handlers[token] = handler
        return token

    def off(self, token: int) -> None:
        self._handlers.pop(token, None)

    def _drain(self) -> None:
        for token in self.core.drain():
            future = self._waiting.pop(token, None)
            if future is not None:
                if not future.done():
                    future.set_result(None)
            elif token in self._handlers:
                self._handlers[token]()

    async def wait(self, reply: _core.Reply) -> None:
        loop = self._loop()
        assert loop is not None, "the loop that runs this exists"
        future: asyncio.Future[None] = loop.create_future()
        token = self.token()
        self._waiting[token] = future
        try:
            if reply.notify(self.core, token):
                await future
        finally:
            self._waiting.pop(token, None)
            del reply


_boxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Box] = weakref.WeakKeyDictionary()


def box() -> Box:
    """The mailbox of the running loop."""
    loop = asyncio.get_running_loop()
    found = _boxes.get(loop)
    if found is None:
        found = _boxes[loop] = Box(loop)
    return found


def forget() -> None:
    """After a fork: the loops of the parent are not this process's."""
    _boxes.clear()


def _taken(reply: _core.Reply) -> Any:
    request = _request.of(getattr(reply, "request", None))
    try:
        return json.loads(reply.take())
    except QueueUnavailable as error:
        if request is None:
            raise
        raise request.as_answer(error) from None
    finally:
        # A question is withdrawn with its last reference: the traceback of an error, which may be kept, holds none.
        del reply


async def answer(reply: _core.Reply, patience: float = 0.0) -> Any:
    """The answer, once it is there; raises what was refused. Within a request it comes within ``patience`` seconds, for what
    takes its time, and ``_request.WAIT_MAX``, or ``QueueUnavailable`` is raised."""
    try:
        if not reply.done():
            request = _request.of(getattr(reply, "request", None))
            if request is None:
                await box().wait(reply)
            else:
                try:
                    await asyncio.wait_for(box().wait(reply), patience + _request.WAIT_MAX)
                except asyncio.TimeoutError:
                    raise request.unavailable() from None
        return _taken(reply)
    finally:
        del reply


async def within(request: Any, waits: Awaitable[T]) -> T:
    """Waits with the bound of the request, if there is one."""
    request = _request.of(request)
    if request is None:
        return await waits
    try:
        return await asyncio.wait_for(waits, _request.WAIT_MAX)
    except asyncio.TimeoutError:
        raise request.unavailable() from None


async def answer_probing(reply: _core.Reply, probe: Callable[[], _core.Reply]) -> Any:
    """The same for an answer that may take for ever. Within a request the database is asked ``probe`` now and then: only
    that must be answered in time."""
    try:
        while not reply.done():
            if _request.of(getattr(reply, "request", None)) is None:
                await box().wait(reply)
                break
            try:
                await asyncio.wait_for(box().wait(reply), _request.WAIT_MAX)
            except asyncio.TimeoutError:
                await answer(probe())
        return _taken(reply)
    finally:
        del reply


def answer_now(reply: _core.Reply, timeout: float | None = None, what: str = "the answer", patience: float = 0.0) -> Any:
    """The answer, waited for by this thread, with the bound of :func:`answer`."""
    request = _request.of(getattr(reply, "request", None))
    bound = None if request is None else patience + _request.WAIT_MAX
    try:
        if request is None or bound is None or (timeout is not None and timeout <= bound):
            if not reply.block(timeout):
                raise WaitTimeout(f"{what} did not come within {timeout} s")
        elif not reply.block(bound):
            raise request.unavailable()
        return _taken(reply)
    finally:
        del reply


def answer_now_probing(reply: _core.Reply, probe: Callable[[], _core.Reply], timeout: float | None, what: str) -> Any:
    """:func:`answer_probing` in this thread, for ``timeout`` seconds at most."""
    until = None if timeout is None else time.monotonic() + timeout
    try:
        while not reply.done():
            left = None if until is None else max(0.0, until - time.monotonic())
            if _request.of(getattr(reply, "request", None)) is None or (left is not None and left <= _request.WAIT_MAX):
                if not reply.block(left):
                    raise WaitTimeout(f"{what} did not come within {timeout} s")
                break
            if not reply.block(_request.WAIT_MAX):
                answer_now(probe())
        return _taken(reply)
    finally:
        del reply


class Answer(Generic[T]):
    """Something that was asked: awaited, or, in code without an event loop, waited for with :meth:`result`. It is carried
    out whether anybody waits or not."""

    def __init__(self, reply: _core.Reply, made_of: Callable[[Any], T], patience: float = 0.0) -> None:
        self._reply = reply
        self._made_of = made_of
        self._patience = patience

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait().__await__()

    async def _wait(self) -> T:
        return self._made_of(await answer(self._reply, self._patience))

    def result(self, timeout: float | dt.timedelta | None = None) -> T:
        """Waits in this thread, for ``timeout`` (seconds or timedelta) at most (``WaitTimeout``)."""
        bound = None if timeout is None else seconds("timeout", timeout)
        if is_in_loop():
            raise RuntimeError("result() would block the event loop: await it here")
        return self._made_of(answer_now(self._reply, bound, patience=self._patience))


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs ``main`` on an event loop of its own, as ``asyncio.run`` does, but to its own end: ``sys.exit()`` and the like in
    a callback, or in a task that something on the loop has started, do not stop the loop for all others. The task that
    raised has its error all the same."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    running = loop.create_task(main)
    try:
        while True:
            try:
                return loop.run_until_complete(running)
            except (KeyboardInterrupt, SystemExit, RuntimeError) as error:
                # A RuntimeError: something has called `loop.stop()`.
                if running.done() or loop.is_closed():
                    raise
                log.exception("%s outside of a task's own function, in what it has started; the loop goes on", _said(error))
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, RuntimeError) else f"{type(error).__name__}({error})"


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


def is_in_loop() -> bool:
    """Whether the calling code runs on an event loop, which must not be blocked."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
