"""Sends what running tasks change, their contexts, progress and log lines, to the server in batches."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from .._running import PROGRESS_EVERY, Running

if TYPE_CHECKING:
    from ._loop_worker import Worker

__all__ = ["Notes"]

log = logging.getLogger("queued_task")

#: Minimum time between two writes of contexts and log lines, in seconds; the server batches further.
NOTES_EVERY = 0.05


class Notes:
    """The tasks of one worker whose changes were not sent yet."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._loop = worker.loop
        #: By slot.
        self._pending: dict[int, Running] = {}
        self._lock = threading.Lock()
        self._timer: Any = None
        self._noted_at = 0.0

    def request(self, running: Running) -> None:
        """Requests that changes of a running task are stored. May be called from any thread."""
        with self._lock:
            if running.slot in self._pending:
                return
            self._pending[running.slot] = running
        if threading.get_ident() == self._worker.thread:
            self._send_soon()
        else:
            try:
                self._loop.call_soon_threadsafe(self._send_soon)
            except RuntimeError:
                pass  # the loop is closed

    def request_progress(self, running: Running) -> None:
        """Like :meth:`request`, but only once the last progress of this task is old enough."""
        if threading.get_ident() == self._worker.thread:
            self._progress_soon(running)
        else:
            try:
                self._loop.call_soon_threadsafe(self._progress_soon, running)
            except RuntimeError:
                pass  # the loop is closed

    def finish(self, running: Running) -> None:
        """Sends the last changes of an attempt that ends."""
        try:
            if running.touched():
                with self._lock:
                    self._pending.pop(running.slot, None)
                running.note()
        except Exception:
            log.exception("the data of task %s could not be stored", running.id)

    def forget(self) -> None:
        """Clears everything, in a process that a body has forked."""
        self._pending.clear()
        # Another thread of the parent may have held the lock.
        self._lock = threading.Lock()

    def _progress_soon(self, running: Running) -> None:
        rest = running.progressed_at + PROGRESS_EVERY - self._loop.time()
        if rest > 0:
            self._loop.call_later(rest, self.request, running)
        else:
            self.request(running)

    def _send_soon(self) -> None:
        if self._timer is not None or self._worker._ended:
            return
        rest = self._noted_at + NOTES_EVERY - self._loop.time()
        self._timer = self._loop.call_later(rest, self._send) if rest > 0 else self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._timer = None
        self._noted_at = self._loop.time()
        with self._lock:
            pending, self._pending = self._pending, {}
        for running in pending.values():
            if running.over:
                continue
            try:
                running.note()
            except Exception:
                # The end of the task tries again, and logs another failure.
                log.exception("the data of task %s cannot be stored yet", running.id)
        self._worker._write()
