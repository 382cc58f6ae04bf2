"""Detaches processes that a task's body forks from the worker: a forked process is not a worker.

A forked process inherits the worker's socket, its running tasks and its event loop, which shares the parent's selector.
``_in_child`` removes all three, so that nothing the process does reaches the server. References to the parent's
coroutines are held for the life of the process, because collecting them would run their ``finally`` blocks. The body
may use the process as any other: run a program in it, end it by ``os._exit``, or add tasks through an engine of its
own. Where the body returns, raises or calls ``sys.exit`` there, or returns to the event loop, the process ends with the
exit code that a program would have.

Covers async bodies and their sub-tasks, sync bodies, and executor calls. A thread that a body starts by itself ends on
its own. Read next: ``_worker/_loop_worker.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import traceback
import types
import weakref
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NoReturn

from . import _additions, _core, _escape, _port, _running

if TYPE_CHECKING:
    from ._worker._loop_worker import Worker

__all__ = ["call", "came_back", "end", "steps", "watch"]

_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


def watch(worker: Worker) -> None:
    """Detaches this worker from every process that is forked from now on."""
    _workers.add(worker)


def _in_child() -> None:
    _additions.forked()
    running = _running.current.get()
    loops: dict[int, Any] = {}
    workers = list(_workers)
    for worker in workers:
        _keep(worker)
    for worker in workers:
        _replace(worker.channel.fileno())
        _forget(worker)
        loop = worker.loop
        # An application that forks its own process decides what runs in it.
        if (_port.in_worker or running is not None) and worker.thread == threading.get_ident() and loop.is_running():
            loops[id(loop)] = loop
    for loop in loops.values():
        _end_before_next(loop)
    _workers.clear()
    if _port.in_worker:
        _port.in_worker = False
        _port.use(None)


def _keep(worker: Worker) -> None:
    """Holds references to everything that the loop of this worker runs or has ready, for bodies and for the
    application. A task that waits for another thread or for a socket may have no other reference in this process."""
    loop: Any = worker.loop
    _core.keep([worker, *worker._running.values(), *asyncio.all_tasks(loop), *getattr(loop, "_ready", ())])


def _forget(worker: Worker) -> None:
    """Clears the worker's tasks and disconnects it from its server."""
    worker.is_forked = worker._ended = True
    port: Any = worker.port
    if hasattr(port, "channel"):
        port.channel = None
    for running in worker._running.values():
        running.forget()
    worker._running.clear()
    worker._waiting.clear()
    worker.notes.forget()


def _replace(descriptor: int) -> None:
    """Points a descriptor to ``/dev/null`` and keeps its number, because the object that owns it will close that number
    later."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
    except OSError:
        os.close(descriptor)
        return
    os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


def _end_before_next(loop: Any) -> None:
    """Makes the loop end this process before it runs anything else. uvloop has no list that could be changed: there
    ``steps`` notices when the body returns to the loop."""
    ready = getattr(loop, "_ready", None)
    if ready is not None:
        ready.clear()
        ready.append(asyncio.Handle(came_back, (), loop))


def came_back() -> NoReturn:
    """Ends this forked process, because its code awaits something that only the parent's event loop could provide."""
    running = _running.current.get()
    whose = "a task" if running is None else f"task {running.id}"
    print(
        f"taskyard: the process {os.getpid()}, which {whose} has forked, awaits on the event loop of its parent and ends; "
        "asyncio.run(...) gives it a loop of its own",
        file=sys.stderr,
    )
    _end(1)


def end(error: BaseException | None = None) -> NoReturn:
    """Ends this forked process with the exit code of a program that returned, or that ``error`` ended."""
    code = 0
    with contextlib.suppress(BaseException):
        code = _exit_code(error)
    _end(code)


def _end(code: int) -> NoReturn:
    try:
        _port.close_engines()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
    finally:
        os._exit(code)


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        print(_escape.lines("".join(traceback.format_exception(error))), file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(_escape.lines(str(error.code)), file=sys.stderr)
    return 1


def call(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function. In a process that the function has forked, the end of the call ends the process."""
    process = os.getpid()
    try:
        result = function(*args)
    except BaseException as error:
        if os.getpid() != process:
            end(error)
        raise
    if os.getpid() != process:
        end()
    return result


def steps(worker: Worker, coroutine: Any) -> Any:
    """Wraps a body's coroutine so that a forked process ends where the coroutine returns to a loop that is not its own."""
    return coroutine if hasattr(worker.loop, "_ready") else _awaited(worker, coroutine)


async def _awaited(worker: Worker, coroutine: Any) -> Any:
    return await _steps(worker, coroutine)


@types.coroutine
def _steps(worker: Worker, coroutine: Any) -> Generator[Any, Any, Any]:
    try:
        yielded = coroutine.send(None)
        while True:
            if worker.is_forked:
                came_back()
            error: BaseException | None = None
            try:
                given = yield yielded
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as raised:
                error = raised
            if worker.is_forked:
                # Something else on the loop has forked: this body belongs to the parent.
                came_back()
            yielded = coroutine.send(given) if error is None else coroutine.throw(error)
    except StopIteration as stop:
        return stop.value


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
