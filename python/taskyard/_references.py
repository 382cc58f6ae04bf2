"""References to tasks' results within arguments, and their positions in a payload."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

__all__ = ["Entry", "Field", "Items", "Reference", "Step", "is_reference", "places", "reference"]


class Reference:
    """The base of objects that stand for a task's result as an argument."""

    __slots__ = ()


def is_reference(value: Any) -> bool:
    """Whether a value is a task, which as an argument stands for its result."""
    return issubclass(type(value), Reference)


def reference(value: Any) -> dict[str, str]:
    """Returns the encoded form of a reference to a task's result."""
    return {"$result": value.id}


class Entry(NamedTuple):
    """A step to the value of an entry, by its number, in a dict whose keys are not strings."""

    number: int


class Field(NamedTuple):
    """A step to a field of an object, by the name under which it was stored."""

    name: str


class Items(NamedTuple):
    """A step to the items of a set, which have no positions."""


Step = int | str | Entry | Field | Items


def places(value: Any, results: frozenset[str], path: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    """Yields the paths of these results in encoded arguments: by themselves, in containers and in fields.

    Models of pydantic, which are validated when they are restored, and values of serializers are not searched.
    """
    if type(value) is dict and path and list(value) == ["$result"]:
        if value["$result"] in results:
            yield path
        return
    for step, item in _inner(value, bool(path)):
        found = places(item, results, (*path, step))
        if isinstance(step, Items):
            # All items are converted, once.
            yield from [(*path, step)] if any(found) else []
        else:
            yield from found


def _inner(value: Any, may_be_tagged: bool) -> Iterator[tuple[Step, Any]]:
    """Returns the parts of an encoded value, each with the step to it."""
    if type(value) is list:
        yield from enumerate(value)
    elif type(value) is dict:
        tag = next(iter(value)) if len(value) == 1 and may_be_tagged else ""
        yield from _TAGGED[tag](value[tag]) if tag in _TAGGED else () if tag.startswith("$") else value.items()


def _of_named_tuple(item: Any) -> Iterator[tuple[Step, Any]]:
    # Older payloads store no names with the values, which are identified by position.
    names = item[2] if len(item) > 2 else ()
    for place, value in enumerate(item[1]):
        yield Field(names[place]) if place < len(names) else place, value


_TAGGED: dict[str, Callable[[Any], Iterable[tuple[Step, Any]]]] = {
    "$tuple": enumerate,
    "$dict": lambda item: ((Entry(number), value) for number, (_, value) in enumerate(item)),
    "$set": lambda item: [(Items(), item)],
    "$frozenset": lambda item: [(Items(), item)],
    "$dataclass": lambda item: ((Field(name), value) for name, value in item[1].items()),
    "$namedtuple": _of_named_tuple,
}
