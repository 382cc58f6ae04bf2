"""Tracks the executor calls of a task's body: ``asyncio.to_thread`` and ``loop.run_in_executor``.

A call that runs on a thread cannot be ended, and continues when the body that awaited it was cancelled. It is part of
the attempt: an attempt that does not succeed is over only when its calls are, so that none of them runs beside the next
attempt. A call that does not end in time ends with the process, as a sync function does. Calls that a library passes to
threads of its own are not tracked, nor are the loop's own name look-ups.

A sub-task that outlives its failed attempt would run beside the next one. The first executor call that it makes within
``REFUSE_MAX`` seconds of the failure is refused with ``WrongState``, which ends a sub-task that does not handle it, and
a warning is logged. Only the first one: a client that a body created on first use may have started the sub-task for the
whole process, and it inherits the attempt's context permanently. Such a sub-task loses at most one call if it handles
errors.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from .. import _forks
from .._running import Running, current
from ..errors import WrongState

__all__ = ["ended", "watch"]

log = logging.getLogger("queued_task")

_WATCHED = "_taskyard_executor_calls"


class _Recording:
    """An executor that records its calls in the attempt that makes them."""

    def __init__(self, executor: Any, running: Running) -> None:
        self._executor = executor
        self._running = running

    def submit(self, function: Callable[..., Any], *args: Any) -> concurrent.futures.Future[Any]:
        if self._running.failed_at is not None:
            _refuse_once(self._running, self._running.failed_at)
        if isinstance(self._executor, concurrent.futures.ThreadPoolExecutor):
            function, args = _forks.call, (function, *args)
        call: concurrent.futures.Future[Any] = self._executor.submit(function, *args)
        self._running.calls.add(call)
        call.add_done_callback(self._running.calls.discard)
        return call


#: Seconds after its failure during which an attempt refuses calls of its sub-tasks.
REFUSE_MAX = 30.0
#: Sub-tasks, and threads without a loop, that were refused a call.
_refused: weakref.WeakSet[Any] = weakref.WeakSet()


def _refuse_once(running: Running, failed_at: float) -> None:
    caller: Any
    try:
        caller = asyncio.current_task()
    except RuntimeError:
        # A thread without a loop, in the attempt's context, submits a call to the loop of another thread.
        caller = threading.current_thread()
    if caller in _refused or time.monotonic() - failed_at > REFUSE_MAX:
        return
    if caller is not None:
        _refused.add(caller)
    error = WrongState(
        f"task {running.id}: its attempt {running.attempt} has failed, and an executor call of a sub-task that it left is refused",
        hint="await sub-tasks, or use a TaskGroup; start what belongs to the whole process in a context of its own, with "
        "contextvars.Context().run(asyncio.create_task, ...)",
    )
    log.warning("%s (%r)", error, caller)
    raise error


def watch(loop: asyncio.AbstractEventLoop) -> None:
    """Records executor calls on this loop that are made by bodies of tasks; all others are passed through."""
    if getattr(loop, _WATCHED, False):
        return
    run_in_executor, set_default_executor = loop.run_in_executor, loop.set_default_executor
    default: Any = getattr(loop, "_default_executor", None)

    def set_default(executor: Any) -> None:
        nonlocal default
        set_default_executor(executor)
        default = executor

    def run(executor: Any, function: Callable[..., Any], *args: Any) -> Any:
        running = current.get()
        if running is None or running.worker is None or _is_lookup(function):
            return run_in_executor(executor, function, *args)
        if executor is None:
            if default is None:
                set_default(concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio"))
            executor = default
        return run_in_executor(_Recording(executor, running), function, *args)  # type: ignore[arg-type]

    for name, value in (("run_in_executor", run), ("set_default_executor", set_default), (_WATCHED, True)):
        setattr(loop, name, value)


def _is_lookup(function: Any) -> bool:
    return function in (socket.getaddrinfo, socket.getnameinfo) or getattr(function, "__name__", "") == "_getaddrinfo_debug"


async def ended(running: Running, is_over: Callable[[], bool]) -> None:
    """Returns when the attempt's calls have ended, even if the worker interrupts it meanwhile; or when ``is_over``
    returns True, or when something else cancels the wait, as the end of a loop does."""
    loop = asyncio.get_running_loop()
    while running.calls and not is_over():
        one: asyncio.Future[None] = loop.create_future()

        def settle(_: Any, one: asyncio.Future[None] = one) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_settle, one)

        for call in list(running.calls):
            call.add_done_callback(settle)
        interrupts = running.interrupts
        try:
            await one
        except asyncio.CancelledError:
            if running.interrupts == interrupts:
                return


def _settle(one: asyncio.Future[None]) -> None:
    if not one.done():
        one.set_result(None)
