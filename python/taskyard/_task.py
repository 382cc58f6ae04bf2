"""The decorator ``@task``, which declares a function with the options of its tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ._identity import FUNCTIONS, Declared, refuse, unwrap
from ._options import check_names, merge

__all__ = ["Task", "task"]


class Task(Declared):
    """A function declared by ``@task``. Calling it runs it directly; ``send.enqueue(to)`` adds a task,
    ``send.using(delay=5)`` sets options."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        # Copied first, so that no copied attribute replaces this object's own.
        functools.update_wrapper(self, function)
        self.__qualname__: str = function.__qualname__
        self.function = function
        self.options = options

    def __repr__(self) -> str:
        return f"<task {self.__module__}:{self.__qualname__}>"

    def using(self, **options: Any) -> Task:
        """Returns the same function with further options for its tasks. Raises ``InvalidArgument`` for an unknown
        option.

        Example::

            @task(queue="mail")
            async def remind(to: str) -> str:
                return f"reminded {to}"

            ref = remind.using(priority=10).enqueue("ada@example.org")
            record = await ref.record()
            assert (record.queue, record.priority) == ("mail", 10)
        """
        return Task(unwrap(self), merge(self.options, _checked(options)))

    def enqueue(self, *args: Any, **kwargs: Any) -> Any:
        """Adds a task to the process's queue and returns its reference at once. Raises as ``QueuedTasks.add_task``.

        Example::

            @task(max_retries=0)
            async def double(number: int) -> int:
                return number * 2

            ref = double.enqueue(21)
            await tasks.drain()
            assert await ref == 42
        """
        from .dependencies import get_service
        from .queued_tasks import QueuedTasks

        return get_service(QueuedTasks).using(**self.options).add_task(unwrap(self), *args, **kwargs)


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    check_names(options, "@task: ")
    return options


def task(function: Any = None, /, **options: Any) -> Any:
    """Declares a function as a task, with default options for its tasks: ``@task`` or ``@task(queue="mail",
    max_retries=5)``.

    Functions can be queued without the decorator; a declared one may run in every process that has imported its module.
    Options are those of ``QueuedTasks.add_task``. Raises ``InvalidArgument`` for an unknown option, and
    ``FunctionRefused`` for an object that is not callable.

    Example::

        @task(queue="mail", max_retries=5, timeout=30)
        async def send_welcome(to: str) -> str:
            return f"sent to {to}"

        ref = send_welcome.enqueue("ada@example.org")
    """
    _checked(options)

    def decorate(function: Callable[..., Any]) -> Task:
        # A function that is declared a second time: the inner function is the one that runs.
        function = unwrap(function)
        if not callable(function):
            raise refuse(function, "it is not callable", '@task is given options by name: @task(queue="mail")')
        made = Task(function, options)
        if "<" not in function.__qualname__:
            FUNCTIONS.declare(function, made)
        return made

    return decorate(function) if function is not None else decorate
