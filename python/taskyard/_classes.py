"""Names by which stored values refer to their classes, in modules that are loaded; nothing is ever imported.

A class at the top of a module is its ``module:qualname``. A parametrised model of pydantic (``Page[Item]``), which may be made
anywhere, is its origin with its arguments, and is parametrised again where it is restored.
"""

from __future__ import annotations

import functools
import operator
import sys
import types
import typing
from typing import Any


def class_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def find_class(name: str) -> type | None:
    """A class by its name."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found if isinstance(found, type) and class_name(found) == name else None


class NotFindable(Exception):
    """A class that no other process could find; the text is the reason, as the end of a sentence."""


def parts_of(cls: type) -> tuple[Any, tuple[Any, ...]] | None:
    """The origin and the arguments of a parametrised model of pydantic; None for any other class."""
    metadata = cls.__dict__.get("__pydantic_generic_metadata__")
    return (metadata["origin"], metadata["args"]) if metadata and metadata["origin"] is not None else None


def stored(cls: type) -> Any:
    """Returns the stored form of a class: a text, or an object if it is parametrised. Raises ``NotFindable``."""
    parts = parts_of(cls)
    if parts is None:
        if "<locals>" in cls.__qualname__ or find_class(class_name(cls)) is not cls:
            raise NotFindable("a class that a worker could not find by its name")
        return class_name(cls)
    origin, arguments = parts
    try:
        found = {"origin": stored(origin), "args": [_stored_type(argument) for argument in arguments]}
    except NotFindable as error:
        shown = origin.__qualname__
        raise NotFindable(f"a parametrised `{shown}`: `{shown}` or an argument of it is {error}") from None
    if restored(found) is not cls:
        raise NotFindable("a parametrised model that its origin does not give again for the same arguments")
    return found


def restored(name: Any) -> Any:
    """The class that was stored so; None if it is not loaded. Raises ``TypeError`` for arguments that its origin does not
    take any more."""
    if isinstance(name, str):
        return find_class(name)
    origin = restored(name["origin"])
    arguments = tuple(_restored_type(argument) for argument in name["args"])
    return None if origin is None or _MISSING in arguments else origin[arguments]


_MISSING = object()


def _stored_type(hint: Any) -> Any:
    if hint is None or hint is type(None):
        return None
    if hint is ...:
        return {"typing": "..."}
    if hint is Any:
        return {"typing": "Any"}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is None:
        if isinstance(hint, type):
            return stored(hint)
        raise NotFindable(f"`{hint!r}`, which has no name to be found by")
    if origin is typing.Literal:
        if not all(type(argument) in (str, int, bool, type(None)) for argument in arguments):
            raise NotFindable(f"`{hint!r}`, whose values have no names to be found by")
        return {"typing": "Literal", "args": list(arguments)}
    if origin is typing.Annotated:
        raise NotFindable(f"`{hint!r}`, whose annotation has no name to be found by")
    inner = [_stored_type(argument) for argument in arguments]
    # Pydantic takes `X | Y` and `Union[X, Y]` for two arguments.
    if origin is typing.Union or origin is types.UnionType:
        return {"typing": "Union" if origin is typing.Union else "|", "args": inner}
    if type(hint).__module__ == "typing":
        return {"typing": hint._name, "args": inner}
    return {"origin": stored(origin), "args": inner}


def _restored_type(name: Any) -> Any:
    if name is None:
        return type(None)
    if isinstance(name, str) or "origin" in name:
        found = restored(name)
        return _MISSING if found is None else found
    if name["typing"] == "...":
        return ...
    if "args" not in name:
        return getattr(typing, name["typing"])
    if name["typing"] == "Literal":
        return typing.Literal[tuple(name["args"])]
    arguments = tuple(_restored_type(argument) for argument in name["args"])
    if _MISSING in arguments:
        return _MISSING
    return (
        functools.reduce(operator.or_, arguments) if name["typing"] == "|" else getattr(typing, name["typing"])[arguments]
    )
