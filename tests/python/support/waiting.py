"""Waits for conditions, with a time limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], seconds: float = 60.0, what: str = "") -> T:
    """Returns the value of ``look`` once it is true. Fails with ``what`` after ``seconds``."""
    until = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds} s for {what or look}")
        time.sleep(_pause(began))


async def eventually_async(look: Callable[[], Awaitable[T]], seconds: float = 60.0, what: str = "") -> T:
    """Like :func:`eventually` on an event loop, with a ``look`` that is awaited."""
    until = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        found = await look()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds} s for {what or look}")
        await asyncio.sleep(_pause(began))


def _pause(began: float) -> float:
    """Returns a pause as long as the check took: a check that starts a process leaves half of the time to the system
    under test."""
    return max(0.01, time.monotonic() - began)
