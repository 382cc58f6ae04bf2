"""Waiting for a thing, with a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], seconds: float = 60.0, what: str = "") -> T:
    """What ``look`` gives once that is true; fails with ``what`` after so many seconds."""
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
    """The same on an event loop, with a ``look`` that is awaited."""
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
    """As long as the look took: one that starts a process leaves half of the time to what it waits for."""
    return max(0.01, time.monotonic() - began)
