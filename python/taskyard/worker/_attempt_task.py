"""The asyncio task of an attempt: started in a context of its own, and asked afterwards whether it was cancelled."""

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

    class _Cancellable(asyncio.Task):  # type: ignore[type-arg]
        """Knows whether it was cancelled."""

        was_cancelled = False

        def cancel(self, msg: Any = None) -> bool:
            self.was_cancelled = True
            return super().cancel(msg)

    def begin(loop: asyncio.AbstractEventLoop, coroutine: Any, context: contextvars.Context) -> asyncio.Task[None]:
        """Starts it; its first step is taken at once where Python can do that."""
        return context.run(_Cancellable, coroutine, loop=loop)


def is_cancelled() -> bool:
    """Whether the running asyncio task itself was cancelled, rather than something that it waited for."""
    task: Any = asyncio.current_task()
    if sys.version_info >= (3, 11):
        return task is not None and task.cancelling() > 0
    return getattr(task, "was_cancelled", False)
