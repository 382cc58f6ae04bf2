"""The slots for sync functions, which a function that waits for other tasks releases.

Threads request a slot through the loop, which alone counts; a thread that continues after a wait requests one again, so
that a worker never runs two sync functions at once.
"""

from __future__ import annotations

import asyncio
import collections
import threading

__all__ = ["SlotPool"]

#: Sync functions that one worker runs at once.
SYNC_MAX = 1


class SlotPool:
    """Counts the slots. Used on the loop's thread only."""

    def __init__(self) -> None:
        self._taken = 0
        self._waiting: collections.deque[threading.Event | asyncio.Future[None]] = collections.deque()

    def is_free(self) -> bool:
        """Whether a slot is free and nothing is waiting for it."""
        return self._taken < SYNC_MAX and not self._waiting

    def take(self) -> None:
        self._taken += 1

    def wait(self, waiter: threading.Event | asyncio.Future[None]) -> None:
        """Sets ``waiter`` when it has a slot."""
        self._waiting.append(waiter)
        self._serve()

    def leave(self) -> None:
        self._taken -= 1
        self._serve()

    def end(self) -> None:
        """Releases all waiting threads."""
        for waiter in self._waiting:
            if isinstance(waiter, threading.Event):
                waiter.set()
        self._waiting.clear()

    def _serve(self) -> None:
        while self._taken < SYNC_MAX and self._waiting:
            waiter = self._waiting.popleft()
            if isinstance(waiter, threading.Event):
                self._taken += 1
                waiter.set()
            elif not waiter.done():
                self._taken += 1
                waiter.set_result(None)
