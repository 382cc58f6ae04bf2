"""``BackgroundTask``: a function with its arguments as an object that can be awaited, executed, or enqueued."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Callable, Generator
from typing import Any

from .. import _codec, _resolve
from .._worker._threads import Threads
from ..errors import InvalidArgument
from .base import Task

__all__ = ["BackgroundTask"]

_threads = Threads()


class BackgroundTask(Task):
    """A function with its arguments: ``BackgroundTask(send, "ada", subject="hello")``. A sync function runs on a
    thread.

    ``await task()`` runs it immediately, as Starlette's does; ``await queue.enqueue(task)`` adds it as a task of the
    function itself, exactly as ``QueuedTasks.add_task`` would. Raises ``InvalidArgument`` for a function that is not
    callable.
    """

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        if not callable(func):
            raise InvalidArgument(f"BackgroundTask: {func!r} is not callable", hint="BackgroundTask(send, address)")
        self.func = func
        self.args = args
        self.kwargs = kwargs

    @classmethod
    def seen(cls, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> BackgroundTask:
        """Returns the object of a stored or claimed task of a function."""
        made = object.__new__(cls)
        made.func, made.args, made.kwargs = function, tuple(args), kwargs
        return made

    @classmethod
    def seen_plain(cls, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> BackgroundTask:
        """Returns the object of a task whose payload is plain JSON. Arguments that a worker would refuse can be read,
        and ``execute`` raises."""
        from .._worker import _validation

        try:
            return cls.seen(function, *_validation.arguments(function, _codec.Payload(args, kwargs, False, None)))
        except Exception as error:
            made = cls.seen(function, args, kwargs)
            object.__setattr__(made, "_refused", error)
            return made

    def __call__(self) -> _Call:
        return _Call(self)

    async def execute(self) -> Any:
        """Runs the function and returns its result. Nothing is injected here, as it would be in a worker."""
        if (why := self.__dict__.get("_refused")) is not None:
            raise why
        missing = set(_resolve.injected(self.func)) - self.kwargs.keys()
        if missing:
            _resolve.refuse_injection(self.func, f"{self.func!r}, which is executed by hand,")
        if inspect.iscoroutinefunction(self.func):
            return await self.func(*self.args, **self.kwargs)
        import asyncio

        context = contextvars.copy_context()
        result = await _threads.run(asyncio.get_running_loop(), lambda: context.run(self.func, *self.args, **self.kwargs))
        return await result if inspect.isawaitable(result) else result


class _Call:
    """A run of a background task, to be awaited."""

    def __init__(self, task: BackgroundTask) -> None:
        self._task = task

    def __await__(self) -> Generator[Any, None, Any]:
        return BackgroundTask.execute(self._task).__await__()
