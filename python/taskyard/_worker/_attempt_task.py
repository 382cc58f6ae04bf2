"""The asyncio task of an attempt, started in a context of its own."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._running import Running

__all__ = ["begin", "report_unbegun"]

if sys.version_info >= (3, 12):

    def begin(loop: asyncio.AbstractEventLoop, coroutine: Any, context: contextvars.Context) -> asyncio.Task[None]:
        """Starts a coroutine as an asyncio task. Its first step is taken at once where Python supports it."""
        return asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)

elif sys.version_info >= (3, 11):

    def begin(loop: asyncio.AbstractEventLoop, coroutine: Any, context: contextvars.Context) -> asyncio.Task[None]:
        """Starts a coroutine as an asyncio task. Its first step is taken at once where Python supports it."""
        return loop.create_task(coroutine, context=context)

else:

    def begin(loop: asyncio.AbstractEventLoop, coroutine: Any, context: contextvars.Context) -> asyncio.Task[None]:
        """Starts a coroutine as an asyncio task. Its first step is taken at once where Python supports it."""
        return context.run(loop.create_task, coroutine)


def report_unbegun(running: Running, report: Callable[[BaseException, str], None]) -> None:
    """Reports an attempt whose asyncio task is cancelled before its first step, as when another body cancels every task of
    the loop."""
    if running.has_begun:
        return
    assert running.task is not None
    running.task.add_done_callback(lambda _: None if running.has_begun else report(asyncio.CancelledError(), "running"))
