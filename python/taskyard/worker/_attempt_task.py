"""The asyncio task of an attempt, started in a context of its own."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any

if sys.version_info >= (3, 12):

    def begin(loop: asyncio.AbstractEventLoop, coroutine: Any, context: contextvars.Context) -> asyncio.Task[None]:
        """Starts it; its first step is taken at once where Python can do that."""
        return asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)

elif sys.version_info >= (3, 11):

    def begin(loop: asyncio.AbstractEventLoop, coroutine: Any, context: contextvars.Context) -> asyncio.Task[None]:
        """Starts it; its first step is taken at once where Python can do that."""
        return loop.create_task(coroutine, context=context)

else:

    def begin(loop: asyncio.AbstractEventLoop, coroutine: Any, context: contextvars.Context) -> asyncio.Task[None]:
        """Starts it; its first step is taken at once where Python can do that."""
        return context.run(loop.create_task, coroutine)
