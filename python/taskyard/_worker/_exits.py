"""Prevents an exit in code that a body has started from ending the application's event loop.

asyncio lets SystemExit and KeyboardInterrupt from any sub-task or callback leave ``run_forever``. In a worker process
the loop is run again (``_loops.run``), but an application's loop is run by the application. There, the callbacks that
are scheduled in a body's context are guarded, including the steps of its sub-tasks: everything that a body starts
inherits its contextvars. The sub-task, and the body that awaits it, still get the error. Callbacks of the application
itself are scheduled unchanged.

Not covered: callbacks that a transport or a protocol calls, signal handlers, and ``loop.stop()``.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any

from .. import _forks
from .._running import Running, current

__all__ = ["guard"]

log = logging.getLogger("queued_task")

_GUARDED = "_taskyard_exits_guarded"


class _Guard:
    """A callback of a body. An exit in it ends only the callback."""

    __slots__ = ("_callback", "_running")

    def __init__(self, callback: Callable[..., Any], running: Running) -> None:
        self._callback = callback
        self._running = running

    def __call__(self, *args: Any) -> None:
        try:
            self._callback(*args)
        except (SystemExit, KeyboardInterrupt) as error:
            if self._running.is_forked:
                _forks.end(error)
            said = f"{type(error).__name__}({error})"
            log.exception("task %s: %s in something that it has started; the application goes on", self._running.id, said)

    def __repr__(self) -> str:
        return repr(self._callback)


def guard(loop: asyncio.AbstractEventLoop) -> None:
    """Guards the callbacks that bodies of tasks schedule on this loop from now on."""
    if getattr(loop, _GUARDED, False):
        return
    for name in ("call_soon", "call_soon_threadsafe"):
        setattr(loop, name, _without_delay(getattr(loop, name)))
    for name in ("call_later", "call_at"):
        setattr(loop, name, _with_delay(getattr(loop, name)))
    for name in ("add_reader", "add_writer"):
        setattr(loop, name, _of_file(getattr(loop, name)))
    setattr(loop, _GUARDED, True)


def _without_delay(schedule: Callable[..., Any]) -> Callable[..., Any]:
    def scheduled(callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None) -> Any:
        running = current.get() if context is None else context.get(current)
        return schedule(callback if running is None else _guarded(callback, running), *args, context=context)

    return scheduled


def _with_delay(schedule: Callable[..., Any]) -> Callable[..., Any]:
    def scheduled(when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None) -> Any:
        running = current.get() if context is None else context.get(current)
        return schedule(when, callback if running is None else _guarded(callback, running), *args, context=context)

    return scheduled


def _of_file(add: Callable[..., Any]) -> Callable[..., Any]:
    def added(fd: Any, callback: Callable[..., Any], *args: Any) -> Any:
        running = current.get()
        return add(fd, callback if running is None else _guarded(callback, running), *args)

    return added


def _guarded(callback: Callable[..., Any], running: Running) -> Callable[..., Any]:
    # asyncio's own `call_later` calls `call_at`.
    return callback if isinstance(callback, _Guard) else _Guard(callback, running)
