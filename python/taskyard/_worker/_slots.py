"""The concurrency slots of a worker: a body that waits for other tasks releases its slot, and takes it again.

Sync functions have a second limit, whose slots are counted by ``_slot_pool.py``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .._running import Running
from ._slot_pool import SlotPool

if TYPE_CHECKING:
    from ._loop_worker import Worker

__all__ = ["Slots"]


class Slots:
    """The slots of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        #: Number of running tasks that wait for other tasks.
        self.released = 0
        #: The slots for sync functions.
        self.pool = SlotPool()

    def release(self, running: Running) -> None:
        """Releases the slot of a body that begins to wait for another task."""
        if threading.get_ident() == self._worker.thread:
            self._rest(running)
            return
        try:
            self._worker.loop.call_soon_threadsafe(self._rest, running)
        except RuntimeError:
            pass  # the loop is closed

    def resume(self, running: Running) -> None:
        """Takes the slot again after a wait. On a thread, blocks until no other sync function runs."""
        if threading.get_ident() == self._worker.thread:
            self._resume(running, None)
        else:
            granted = threading.Event()
            try:
                self._worker.loop.call_soon_threadsafe(self._resume, running, granted)
            except RuntimeError:
                return  # the loop is closed
            granted.wait()

    def leave(self, running: Running) -> None:
        """Frees the slot for sync functions of an attempt that holds one."""
        if running.has_seat:
            running.has_seat = False
            self.pool.leave()

    def _rest(self, running: Running) -> None:
        running.rests += 1
        if running.rests > 1 or running.slot not in self._worker._running:
            return
        self.released += 1
        if running.has_seat:
            # Requested again after the wait.
            running.has_seat = False
            running.had_seat = True
            self.pool.leave()
        self._worker.channel.rests(running.slot, True)
        self._worker._flush()

    def _resume(self, running: Running, granted: threading.Event | None) -> None:
        running.rests -= 1
        if running.rests > 0 or running.slot not in self._worker._running:
            if granted is not None:
                granted.set()
            return
        self.released -= 1
        self._worker.channel.rests(running.slot, False)
        self._worker._flush()
        if granted is None:
            return
        if running.had_seat:
            running.has_seat, running.had_seat = True, False
            self.pool.wait(granted)
        else:
            granted.set()
