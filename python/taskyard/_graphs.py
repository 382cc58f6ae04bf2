"""Tasks that depend on each other: groups with the task that follows them, and chains."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._calls import Call, parents_of
from ._refs import QueuedTaskRef
from .errors import InvalidArgument

if TYPE_CHECKING:
    from .queued_tasks import QueuedTasks

__all__ = ["Group", "add_before", "add_chain", "arguments_of", "made"]

R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Group(Generic[R]):
    """Tasks that were added together, and the task that runs after all of them. ``await group`` is ``await
    group.then``."""

    tasks: list[QueuedTaskRef[Any]]
    then: QueuedTaskRef[R]

    def __await__(self) -> Any:
        return self.then.__await__()


def made(call: Any, what: str) -> Call:
    """Converts an item of ``add_tasks``, ``add_fan_in`` and such into a call: a call, a function, or ``(function,
    argument, ...)``. Raises ``InvalidArgument`` for anything else."""
    if callable(call) and not isinstance(call, Call):
        call = (call,)
    if isinstance(call, (tuple, list)) and call:
        call = Call(call[0], tuple(call[1:]), {})
    if not isinstance(call, Call):
        raise InvalidArgument(f"{what}: {call!r} is neither tasks.call(f, ...) nor (f, argument, ...)")
    return call.copy()


def add_before(tasks: QueuedTasks, calls: Iterable[Any], then: Any, policy: str | None, what: str) -> Group[Any]:
    """Adds calls and ``then``, whose first argument is the list of their results."""
    befores = [made(call, what) for call in calls]
    after = made(then, what)
    # An empty group has no results that would make its tasks parents.
    after.args = (list(befores), *after.args)
    if policy is not None:
        after.options = {**after.options, "on_parent_failure": policy}
    refs = tasks.add_tasks([*befores, after])
    return Group(refs[:-1], refs[-1])


def add_chain(tasks: QueuedTasks, calls: Iterable[Any]) -> list[QueuedTaskRef[Any]]:
    """Adds calls, each of which receives the result of the one before it as its first argument."""
    steps = [made(call, "add_chain") for call in calls]
    for before, after in zip(steps, steps[1:], strict=False):
        after.args = (before, *after.args)
    return tasks.add_tasks(steps)


def arguments_of(call: Call) -> Iterable[Any]:
    """Returns the values that may name a task that is not stored yet: parents, arguments, and the items of lists among
    them."""
    for value in (*parents_of(call.options), *call.args, *call.kwargs.values()):
        if isinstance(value, (list, tuple)):
            yield from value
        else:
            yield value
