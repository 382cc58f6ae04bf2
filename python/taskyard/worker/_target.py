"""What runs the tasks of a kind: a function, and what must be known to run it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import _identity, _resolve
from . import _fit


class Target(NamedTuple):
    """The function of a kind, and what must be known to run it. Of a local function there is none yet."""

    function: Callable[..., Any] | None
    is_sync: bool

    @property
    def injects(self) -> bool:
        """Whether parameters of it are injected; raises ``FunctionRefused`` if that cannot be told."""
        return bool(_resolve.dependencies(self.function))


LOCAL = Target(None, False)


def target_of(function: Callable[..., Any]) -> Target:
    """How this function, or this class of tasks, is run."""
    if _identity.is_task_class(function):
        from .._tasks.travel import runner

        run = runner(function)  # type: ignore[arg-type]
        _fit.CLASSES[run] = function
        return Target(run, not inspect.iscoroutinefunction(run))
    # By the function itself: what it is wrapped around does not tell how it runs. One that hands out a coroutine is awaited.
    return Target(function, not inspect.iscoroutinefunction(function))
