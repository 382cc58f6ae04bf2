"""Threads for sync functions: as many as are needed at once, ended when idle, never waited for at the end."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from .. import _forks

__all__ = ["Threads"]

#: Seconds after which an idle thread ends.
IDLE = 30.0


Work = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class Threads:
    """Runs calls on daemon threads, so that one that hangs does not delay the end of the process."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._idle = 0
        self._lock = threading.Lock()

    def run(self, loop: asyncio.AbstractEventLoop, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """Runs a call on a thread, and returns a future of its result."""
        future: asyncio.Future[Any] = loop.create_future()
        work = (loop, future, call)
        with self._lock:
            wanted = self._idle == 0
            if not wanted:
                self._idle -= 1
        if wanted:
            # The thread is created with its first call: if no thread can be started, no call is left in the queue.
            threading.Thread(target=self._live, args=(work,), name="taskyard-sync", daemon=True).start()
        else:
            self._calls.put(work)
        return future

    def _live(self, work: Work | None) -> None:
        while True:
            if work is None:
                try:
                    work = self._calls.get(timeout=IDLE)
                except queue.Empty:
                    with self._lock:
                        # A caller may just have reserved this thread.
                        if self._idle > 0:
                            self._idle -= 1
                            return
                    continue
            loop, future, call = work
            process = os.getpid()
            try:
                result, error = call(), None
            except BaseException as raised:
                result, error = None, raised
            if os.getpid() != process:
                _forks.end(error)
            with self._lock:
                self._idle += 1
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                return  # the loop is closed
            work = None
            del loop, future, call, result, error


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):
        # A future does not accept StopIteration.
        future.set_exception(RuntimeError(f"the function raised StopIteration: {error}"))
    else:
        future.set_exception(error)
