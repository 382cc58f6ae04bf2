"""``@task``: a function with the options of its tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ._identity import FUNCTIONS, Declared, refuse, unwrap
from ._options import check_names, merge


class Task(Declared):
    """A function that is called as before, and knows how to be queued: ``send.enqueue(to)``, ``send.using(delay=5)``."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        # First what is copied, so that none of it stands for what is this object's own.
        functools.update_wrapper(self, function)
        self.__qualname__: str = function.__qualname__
        self.function = function
        self.options = options

    def __repr__(self) -> str:
        return f"<task {self.__module__}:{self.__qualname__}>"

    def using(self, **options: Any) -> Task:
        """The same function with further options for its tasks."""
        return Task(unwrap(self), merge(self.options, _checked(options)))

    def enqueue(self, *args: Any, **kwargs: Any) -> Any:
        """Adds a task to the process's queue; answers its reference at once."""
        from .dependencies import get_service
        from .queued_tasks import QueuedTasks

        return get_service(QueuedTasks).using(**self.options).add_task(unwrap(self), *args, **kwargs)


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    check_names(options, "@task: ")
    return options


def task(function: Any = None, /, **options: Any) -> Any:
    """``@task`` or ``@task(queue="mail", max_retries=5)``: defaults for the tasks of a function.

    A function needs no decorator to be queued; one that has it may run wherever its module was imported.
    """
    _checked(options)

    def decorate(function: Callable[..., Any]) -> Task:
        # A task declared anew: its function is what runs.
        function = unwrap(function)
        if not callable(function):
            raise refuse(function, "it is not callable", '@task is given options by name: @task(queue="mail")')
        made = Task(function, options)
        if "<" not in function.__qualname__:
            FUNCTIONS.declare(function, made)
        return made

    return decorate(function) if function is not None else decorate
