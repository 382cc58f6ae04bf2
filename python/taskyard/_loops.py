"""Waits for the engine's replies, on event loops and on threads.

Each event loop has one mailbox, which wakes it once for many replies. Within a request every wait is bounded
(``_request.WAIT_MAX``); outside, waits in threads end when the database has not answered for ``AWAY_MAX`` seconds. A
pending request to the engine is withdrawn with the last reference to its reply: functions here delete theirs before
they raise. Read next: ``_port.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import inspect
import logging
import math
import os
import threading
import time
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any, TypeVar

from . import _core, _json, _request
from .errors import DatabaseError, QueueUnavailable, ShutDown, TaskyardError, WaitTimeout, seconds

__all__ = [
    "AWAY_MAX",
    "Answer",
    "Probe",
    "Question",
    "answer",
    "answer_now",
    "answer_now_probing",
    "answer_probing",
    "awaited",
    "away",
    "box",
    "forget",
    "is_in_loop",
    "run",
    "silence",
    "unless_stopping",
    "within",
]

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
        """Registers ``handler`` to be called whenever the returned token arrives."""
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
    """Returns the mailbox of the running loop."""
    loop = asyncio.get_running_loop()
    found = _boxes.get(loop)
    if found is None:
        found = _boxes[loop] = Box(loop)
    return found


def forget() -> None:
    """Drops the mailboxes after a fork: the parent's loops do not run in this process."""
    _boxes.clear()


def _taken(reply: _core.Reply) -> Any:
    request = _request.of(getattr(reply, "request", None))
    try:
        return _json.loads(reply.take())
    except _request.ANSWERED as error:
        if request is None:
            raise
        raise request.as_answer(error) from None
    finally:
        # The engine withdraws a request with the last reference to its reply, and a stored error's traceback would hold
        # one.
        del reply


async def answer(reply: _core.Reply) -> Any:
    """Waits for a reply and returns its value. Raises the error of a refused request.

    Within a request, raises ``QueueUnavailable`` after ``_request.WAIT_MAX`` seconds.
    """
    try:
        if not reply.done():
            request = _request.of(getattr(reply, "request", None))
            if request is None:
                await box().wait(reply)
            elif not await _comes(reply, _request.WAIT_MAX):
                raise request.unavailable()
        return _taken(reply)
    finally:
        del reply


async def _comes(reply: _core.Reply, timeout: float) -> bool:
    """Whether the reply arrives within ``timeout`` seconds."""
    try:
        await asyncio.wait_for(box().wait(reply), timeout)
    except asyncio.TimeoutError:
        # A loop that was blocked sees the timeout and the reply at the same time.
        return reply.done()
    finally:
        del reply
    return True


async def within(request: Any, waits: Awaitable[T], waited: float = 0.0) -> T:
    """Awaits with the time limit of the request, if there is one, of which ``waited`` seconds have passed. Raises
    ``QueueUnavailable`` when it is over."""
    request = _request.of(request)
    if request is None:
        return await waits
    try:
        return await asyncio.wait_for(waits, max(0.0, _request.WAIT_MAX - waited))
    except asyncio.TimeoutError:
        raise request.unavailable() from None


#: When the database of a port last answered a probe (`time.monotonic`), so that concurrent requests share one probe.
_answered_at: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()

#: Part of ``_request.WAIT_MAX`` after which a request that waits for something else probes the database; the rest is
#: for the reply.
_SILENCE = 0.2


def silence(port: Any, since: float) -> float:
    """Returns the seconds since the database of a plain port last answered a probe, or since the wait began if that is
    later."""
    return max(0.0, time.monotonic() - max(since, _answered_at.get(port, since)))


class Probe:
    """Probes the database during a wait without a time limit.

    The wait fails once the database has not answered for ``_request.WAIT_MAX`` seconds.
    """

    def __init__(self, port: Any, ask: Callable[[], _core.Reply]) -> None:
        self.port = port
        self._ask = ask
        self._since = 0.0

    def begin(self) -> None:
        """Records the start of the wait."""
        self._since = time.monotonic()

    def pause(self) -> float:
        """Returns the seconds until the next probe is due; 0 if it is due now."""
        return max(0.0, _SILENCE * _request.WAIT_MAX - silence(self.port, self._since))

    async def check(self, request: _request.Request) -> None:
        """Raises ``QueueUnavailable`` if the database does not answer in time."""
        reply = self._ask()
        if await _comes(reply, (1 - _SILENCE) * _request.WAIT_MAX):
            self._learn(reply)
        elif not request.is_over:
            raise request.unavailable()

    def check_now(self, request: _request.Request) -> None:
        """Like :meth:`check`, blocking this thread."""
        reply = self._ask()
        if reply.block((1 - _SILENCE) * _request.WAIT_MAX):
            self._learn(reply)
        elif not request.is_over:
            raise request.unavailable()

    def _learn(self, reply: _core.Reply) -> None:
        _taken(reply)
        _answered_at[self.port] = time.monotonic()


async def answer_probing(reply: _core.Reply, probe: Probe) -> Any:
    """Like :func:`answer`, for a reply that may take any time.

    Within a request ``probe`` asks the database at intervals, and only the probes must be answered in time. The wait
    ends with ``QueueUnavailable`` when the server of the event loop stops.
    """
    probe.begin()
    request = _request.of(getattr(reply, "request", None))
    try:
        if request is None:
            return await answer(reply)
        # A reply that comes soon needs no task that watches the server.
        if not reply.done() and not await _comes(reply, probe.pause()):
            await unless_stopping(request, _probed(reply, probe, request), "the wait")
        return _taken(reply)
    finally:
        del reply


async def _probed(reply: _core.Reply, probe: Probe, request: _request.Request) -> None:
    try:
        while not reply.done():
            if request.is_over:
                await box().wait(reply)
            elif not await _comes(reply, probe.pause()) and probe.pause() == 0.0:
                await probe.check(request)
    finally:
        del reply


async def unless_stopping(request: _request.Request, waits: Awaitable[T], what: str) -> T:
    """Awaits, but raises ``QueueUnavailable`` when the server of this event loop stops, so that the request ends."""
    from . import events

    with events.until_closing() as over:
        waiting: asyncio.Future[Any] = asyncio.ensure_future(waits)
        try:
            await asyncio.wait({waiting, over}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise request.as_answer(QueueUnavailable(f"the server stops: {what} has ended"))
            result: T = waiting.result()
            return result
        finally:
            waiting.cancel()


#: Seconds that code without an event loop, outside of requests, waits for a database that does not answer: longer than
#: most restarts of a database.
AWAY_MAX = 30.0
#: Interval at which such a wait checks its probe, in seconds.
_LOOK = 0.5


def away(port: Any, what: str) -> QueueUnavailable:
    """Returns the error for such a wait."""
    error = QueueUnavailable(
        f"the queue's database has not answered for {AWAY_MAX:g} s ({port.defaults['database']}): {what}",
        hint="check that the database runs and that the address is right",
    )
    error.given_up = True
    return error


def _block(reply: _core.Reply, port: Any, timeout: float | None, what: str) -> None:
    """Blocks until the reply arrives.

    Raises ``WaitTimeout`` after ``timeout`` seconds, and ``QueueUnavailable`` if the database of ``port`` does not
    answer. A wait for a lock or for a task is not limited otherwise, because the database answers probes meanwhile.
    """
    is_bound = not hasattr(port, "probe") or (timeout is not None and timeout <= AWAY_MAX)
    until = math.inf if timeout is None else time.monotonic() + timeout
    silence, asked = 0.0, None
    try:
        while True:
            began = time.monotonic()
            if reply.block(timeout if is_bound else min(_LOOK, max(0.0, until - began))):
                return
            now = time.monotonic()
            if is_bound or now >= until:
                raise WaitTimeout(f"{what} did not come within {timeout} s")
            # Limited, because a process that was suspended meanwhile could not receive a reply.
            silence += min(now - began, 2 * _LOOK)
            if asked is None and silence >= _SILENCE * AWAY_MAX:
                asked = port.probe()
            elif asked is not None and asked.done():
                silence, asked = 0.0 if _has_answered(asked) else silence, None
            if silence >= AWAY_MAX:
                raise away(port, f"{what} did not come")
    finally:
        # See `_taken`.
        del reply, asked


def _has_answered(asked: _core.Reply) -> bool:
    """Whether a probe was answered by the database."""
    try:
        asked.take()
    except (QueueUnavailable, DatabaseError, ShutDown):
        return False
    except TaskyardError:
        return True
    return True


def answer_now(reply: _core.Reply, timeout: float | None = None, what: str = "the answer", port: Any = None) -> Any:
    """Blocks this thread for a reply and returns its value, with the time limit of :func:`answer`.

    Outside of requests, raises ``QueueUnavailable`` once the database of ``port`` has not answered for ``AWAY_MAX``
    seconds.
    """
    request = _request.of(getattr(reply, "request", None))
    try:
        if request is None or (timeout is not None and timeout <= _request.WAIT_MAX):
            _block(reply, port, timeout, what)
        elif not reply.block(_request.WAIT_MAX):
            raise request.unavailable()
        return _taken(reply)
    finally:
        del reply


def answer_now_probing(reply: _core.Reply, probe: Probe, timeout: float | None, what: str) -> Any:
    """Like :func:`answer_probing`, blocking this thread, for ``timeout`` seconds at most."""
    until = math.inf if timeout is None else time.monotonic() + timeout
    probe.begin()
    request = _request.of(getattr(reply, "request", None))
    try:
        if request is None:
            return answer_now(reply, timeout, what, probe.port)
        with contextlib.ExitStack() as at_end:
            stop: threading.Event | None = None
            while not reply.done():
                left, pause = max(0.0, until - time.monotonic()), probe.pause()
                if request.is_over:
                    return answer_now(reply, None if timeout is None else left, what, probe.port)
                if reply.block(min(left, pause)):
                    break
                if left <= pause:
                    raise WaitTimeout(f"{what} did not come within {timeout} s")
                stop = stop or at_end.enter_context(_stop_of(request))
                if stop.is_set():
                    raise request.as_answer(QueueUnavailable(f"the server stops: the wait for {what} has ended"))
                if probe.pause() == 0.0:
                    probe.check_now(request)
        return _taken(reply)
    finally:
        del reply


@contextlib.contextmanager
def _stop_of(request: _request.Request) -> Iterator[threading.Event]:
    """Yields an event for a thread that is set once the server of this request stops."""
    stop = threading.Event()
    if request.loop is None:
        yield stop
        return

    async def look() -> None:
        from . import events

        with events.until_closing() as over:
            await asyncio.wait([over])
            stop.set()

    looking = asyncio.run_coroutine_threadsafe(look(), request.loop)
    try:
        yield stop
    finally:
        looking.cancel()


F = TypeVar("F", bound=Callable[..., Any])


def awaited(function: F) -> F:
    """Marks a function that returns an :class:`Answer` as a coroutine function, so that doubles of its class
    (``create_autospec``, ``AsyncMock(spec=...)``) return an awaitable."""
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:
        mark(function)
    else:
        # Before Python 3.12.
        function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return function


class Answer(Coroutine[Any, Any, T]):
    """The reply to a request that was sent: awaited or, in code without an event loop, waited for with :meth:`result`.

    The request is carried out whether its reply is awaited or not. ``probe`` is given for requests that may take any
    time; ``port`` is where the request was sent. An answer is a coroutine, so that ``asyncio.run`` and ``create_task``
    accept it; unlike other coroutines, it can be awaited again.
    """

    #: The coroutines that `send` and `throw` run, by the asyncio task that drives them.
    _running: dict[asyncio.Task[Any] | None, Coroutine[Any, Any, T]] | None = None

    def __init__(
        self, reply: _core.Reply, made_of: Callable[[Any], T], probe: Probe | None = None, *, port: Any = None
    ) -> None:
        self._reply = reply
        self._made_of = made_of
        self._probe = probe
        self._asked_of = port

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait().__await__()

    def send(self, value: Any) -> Any:
        return self._drive(lambda running: running.send(value))

    def throw(self, *error: Any) -> Any:
        return self._drive(lambda running: running.throw(*error))

    def _drive(self, step: Callable[[Coroutine[Any, Any, T]], Any]) -> Any:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        if self._running is None:
            self._running = {}
        if task not in self._running:
            self._running[task] = self._wait()
        try:
            return step(self._running[task])
        except BaseException:
            # This coroutine has ended; the next await starts another one.
            del self._running[task]
            raise

    def close(self) -> None:
        running, self._running = self._running, None
        for each in (running or {}).values():
            each.close()

    async def _wait(self) -> T:
        probe = self._probe
        return self._made_of(await (answer(self._reply) if probe is None else answer_probing(self._reply, probe)))

    def result(self, timeout: float | dt.timedelta | None = None) -> T:
        """Blocks this thread until the reply arrives, and returns its value. ``timeout`` is in seconds, or a timedelta
        (default: no limit).

        Raises ``WaitTimeout`` after ``timeout``, ``QueueUnavailable`` once the database has not answered for 30
        seconds, and ``RuntimeError`` on an event loop, which it would block.
        """
        bound = None if timeout is None else seconds("timeout", timeout)
        if is_in_loop():
            raise RuntimeError("result() would block the event loop: await it here")
        return self._wait_now(bound)

    def _wait_now(self, timeout: float | None) -> T:
        if self._probe is None:
            return self._made_of(answer_now(self._reply, timeout, port=self._asked_of))
        return self._made_of(answer_now_probing(self._reply, self._probe, timeout, "the answer"))


class Question(Answer[T]):
    """An :class:`Answer` whose request is sent only when it is waited for. ``what`` names the call that made it, for
    the warning if that never happens."""

    # Slots because one is created for each addition that is awaited.
    __slots__ = ("_ask", "_ask_now", "_what")

    def __init__(
        self, what: str, wait: Callable[[], Coroutine[Any, Any, T]], wait_now: Callable[[float | None], T]
    ) -> None:
        self._what: str | None = what
        self._ask = wait
        self._ask_now = wait_now

    def __await__(self) -> Generator[Any, None, T]:
        self._what = None
        return self._ask().__await__()

    async def _wait(self) -> T:
        return await self

    def throw(self, *error: Any) -> Any:
        self._what = None
        return super().throw(*error)

    def close(self) -> None:
        self._what = None
        super().close()

    def _wait_now(self, timeout: float | None) -> T:
        self._what = None
        return self._ask_now(timeout)

    def __del__(self) -> None:
        if self._what is not None:
            warnings.warn(f"{self._what} was never awaited, nor its result() called", RuntimeWarning, stacklevel=2)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs ``main`` to its end on an event loop of its own, as ``asyncio.run`` does.

    Unlike there, ``sys.exit()`` and the like in a callback, or in a task that something on the loop has started, do not
    stop the loop. The asyncio task that raised has its error all the same.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    running = loop.create_task(main)
    process = os.getpid()
    try:
        while True:
            try:
                return loop.run_until_complete(running)
            except (KeyboardInterrupt, SystemExit, RuntimeError) as error:
                if os.getpid() != process:
                    from . import _forks

                    _forks.end(error)
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
