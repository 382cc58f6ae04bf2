"""Waiting for a thing, with a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], seconds: float = 20.0, what: str = "") -> T:
    """What ``look`` gives once that is true; fails with ``what`` after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds} s for {what or look}")
        time.sleep(0.01)


async def eventually_async(look: Callable[[], Awaitable[T]], seconds: float = 20.0, what: str = "") -> T:
    """The same on an event loop, with a ``look`` that is awaited."""
    until = time.monotonic() + seconds
    while True:
        found = await look()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds} s for {what or look}")
        await asyncio.sleep(0.01)
