"""The serializers that the application registers for classes of its own, by class and by stored name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ._classes import class_name
from .errors import InvalidArgument

__all__ = ["Serializer", "by_class", "has_serializer", "register_serializer", "serializer_named"]


class Serializer(NamedTuple):
    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


by_class: dict[type, Serializer] = {}
by_name: dict[str, tuple[type, Serializer]] = {}


def register_serializer(
    cls: type, encode: Callable[[Any], Any], decode: Callable[[Any], Any], *, name: str | None = None
) -> None:
    """Registers how values of a class are stored in arguments, results and contexts. Subclasses are not included.

    ``encode(value)`` returns a value that can be stored, which may contain other registered classes; ``decode`` takes
    that value and returns the object. Register it in every process, in a module that all of them import. ``name`` is
    the stored name of the class (default ``module:qualname``); keep it when the class moves::

        register_serializer(Money, lambda value: [value.amount, value.currency], lambda item: Money(*item))
    """
    serializer = Serializer(name or class_name(cls), encode, decode)
    by_class[cls] = serializer
    by_name[serializer.name] = (cls, serializer)


def has_serializer(cls: type) -> bool:
    """Whether the application has registered a serializer for this very class."""
    return cls in by_class


def serializer_named(name: str) -> Serializer:
    """Returns the serializer with this stored name. Raises ``InvalidArgument`` if there is none."""
    found = by_name.get(name)
    if found is None:
        raise InvalidArgument(
            f"a stored value is of `{name}`, for which this process has no serializer",
            hint="call taskyard.register_serializer in a module that every process imports",
        )
    return found[1]
