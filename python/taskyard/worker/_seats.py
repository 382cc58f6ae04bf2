"""The few places for sync functions, which a function that waits for other tasks leaves to others.

Threads ask for a place through the loop, which alone counts; one that goes on after a wait waits for a place again, so
that no two sync functions of a worker run at once.
"""

from __future__ import annotations

import asyncio
import collections
import threading

#: Sync functions that one worker runs at once.
SYNC_MAX = 1


class Seats:
    """Counts the places; on the loop's thread only."""

    def __init__(self) -> None:
        self._taken = 0
        self._waiting: collections.deque[threading.Event | asyncio.Future[None]] = collections.deque()

    def is_free(self) -> bool:
        """Whether one may be taken, by somebody who would not be served before others."""
        return self._taken < SYNC_MAX and not self._waiting

    def take(self) -> None:
        self._taken += 1

    def wait(self, waiter: threading.Event | asyncio.Future[None]) -> None:
        """Tells ``waiter`` when it has a place."""
        self._waiting.append(waiter)
        self._serve()

    def leave(self) -> None:
        self._taken -= 1
        self._serve()

    def end(self) -> None:
        """Keeps no thread waiting any more."""
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
