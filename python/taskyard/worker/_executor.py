"""Knows the executor calls of a task's body: ``asyncio.to_thread`` and ``loop.run_in_executor``.

A call that runs on a thread cannot be ended, and goes on when the body that awaited it was cancelled. It is part of the
attempt: an attempt that does not end with a success is over only when its calls are, so that none runs on beside the next
attempt. What does not end in time ends with the process, as a sync function does. A call that a sub-task makes once its
attempt has failed is refused: it would run beside the next one. Calls that a library hands to threads
of its own are not seen here, nor are the loop's own look-ups of names.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from .. import _forks
from .._running import Running, current

_WATCHED = "_taskyard_executor_calls"


class _Recording:
    """An executor whose calls are noted with the attempt that makes them."""

    def __init__(self, executor: Any, running: Running) -> None:
        self._executor = executor
        self._running = running

    def submit(self, function: Callable[..., Any], *args: Any) -> concurrent.futures.Future[Any]:
        if self._running.has_failed:
            # The sub-task that makes it ends as one that is cancelled.
            raise asyncio.CancelledError(f"task {self._running.id}: this attempt is over")
        if isinstance(self._executor, concurrent.futures.ThreadPoolExecutor):
            function, args = _forks.call, (function, *args)
        call: concurrent.futures.Future[Any] = self._executor.submit(function, *args)
        self._running.calls.add(call)
        call.add_done_callback(self._running.calls.discard)
        return call


def watch(loop: asyncio.AbstractEventLoop) -> None:
    """Notes executor calls on this loop that are made by bodies of tasks; all others go their way."""
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
    """Returns when the attempt's calls have ended, however often it is interrupted meanwhile; or when ``is_over``, or when
    somebody else cancels it, as the end of a loop does."""
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
