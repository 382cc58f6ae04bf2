"""What stands for a task's result as an argument, and where such stand in a payload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Reference:
    """The base of what stands for a task's result as an argument."""

    __slots__ = ()


def is_reference(value: Any) -> bool:
    """Whether a value is a task, which as an argument stands for its result."""
    return issubclass(type(value), Reference)


def reference(value: Any) -> dict[str, str]:
    """What stands for a task's result."""
    return {"$result": value.id}


def places(value: Any, results: frozenset[str], path: tuple[int | str, ...] = ()) -> Iterator[tuple[int | str, ...]]:
    """Where these results stand, by themselves or in lists, tuples and objects."""
    if type(value) is dict and path:
        if list(value) == ["$result"]:
            if value["$result"] in results:
                yield path
            return
        if list(value) == ["$tuple"]:
            value = value["$tuple"]
        elif any(key.startswith("$") for key in value):
            return  # an object of a class
    inner = enumerate(value) if type(value) is list else value.items() if type(value) is dict else ()
    for step, item in inner:
        yield from places(item, results, (*path, step))
