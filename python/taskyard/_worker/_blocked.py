"""Logs which task blocks a worker's event loop.

The channel detects that the loop is blocked (see `blocked.rs`) and wakes a thread that waits for it; there is no cost
per task. The thread needs Python's interpreter lock: while a C function holds it, the warning is delayed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import sys
import sysconfig
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from .. import _port
from .._running import Running, current

if TYPE_CHECKING:
    from ._loop_worker import Worker

__all__ = ["watch"]

log = logging.getLogger("queued_task")


def watch(worker: Worker) -> None:
    """Watches the loop of this worker until the worker ends."""
    worker.channel.watch()
    threading.Thread(target=_live, args=(worker,), name="taskyard-blocked", daemon=True).start()


def _live(worker: Worker) -> None:
    while worker.channel.blocked():
        with contextlib.suppress(Exception):
            _name(worker)


def _name(worker: Worker) -> None:
    frame = sys._current_frames().get(worker.thread)
    running = _blocking(worker, frame)
    if running is not None and running.worker is not None:
        if running.worker is worker:
            log.warning(
                "task %s (%s) has blocked its worker's event loop for over a second, %s: use await there, or run the blocking call "
                "by asyncio.to_thread()",
                running.id,
                running.kind,
                _place(frame),
                extra={"task_id": running.id, "task_kind": running.kind},
            )
    # Otherwise the loop, and the code that blocks it, belong to the application.
    elif _port.in_worker:
        kinds = ", ".join(sorted({running.kind for running in list(worker._running.values())}))
        log.warning(
            "the event loop of a worker has been blocked for over a second, %s, by none of its tasks (running: %s), or by one "
            "that holds the interpreter in a thread",
            _place(frame),
            kinds or "none",
        )


def _blocking(worker: Worker, frame: FrameType | None) -> Running | None:
    """Returns the attempt whose code runs on the loop's thread."""
    task: Any = asyncio.current_task(worker.loop)
    if task is not None:
        for running in list(worker._running.values()):
            if running.task is task:
                return running
        if hasattr(task, "get_context"):
            found: Running | None = task.get_context().get(current)
            return found
    # A callback, or a sub-task before Python 3.12: asyncio runs both in the context in which they were created.
    while frame is not None:
        handle = frame.f_locals.get("self") if frame.f_code.co_name == "_run" else None
        if isinstance(handle, asyncio.Handle):
            context: Any = getattr(handle, "_context", None)
            return None if context is None else context.get(current)
        frame = frame.f_back
    return None


def _place(frame: FrameType | None) -> str:
    """Returns the innermost line, and the innermost line of the application's own code if that is another one."""
    if frame is None:
        return "at an unknown place"
    place = _shown(frame)
    own: FrameType | None = frame
    while own is not None and _is_library(own.f_code.co_filename):
        own = own.f_back
    return place if own is None or own is frame else f"{place}, called {_shown(own)}"


def _shown(frame: FrameType) -> str:
    return f"at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name}"


@functools.cache
def _libraries() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({f"{paths[name]}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def _is_library(file: str) -> bool:
    return file.startswith(("<frozen", *_libraries()))
