"""Names by which stored values refer to their classes. Names are looked up in loaded modules; nothing is ever imported.

A class at the top of a module is stored as ``module:qualname``. A parametrised pydantic model (``Page[Item]``), which
may be created anywhere, is stored as its origin with its arguments, and is parametrised again when it is restored. A
``NewType`` and a type alias are arguments by their own names. A model with an argument that has no name
(``Page[Annotated[int, ...]]``) is refused: the names that pydantic gives to models leave out modules, metadata and the
names of ``NewType``, so that several models of a module may share one.
"""

from __future__ import annotations

import functools
import operator
import sys
import types
import typing
from typing import Any

__all__ = [
    "NotFindable",
    "NotRestorable",
    "class_name",
    "find_class",
    "parts_of",
    "restored",
    "restored_type",
    "stored",
    "stored_type",
]


def class_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def find_class(name: str) -> type | None:
    """Returns the loaded class with this name, or None."""
    found = _find(name)
    return found if isinstance(found, type) and class_name(found) == name else None


def _find(name: str) -> Any:
    """Returns the object with this name, at the top of a module or in a class there, or None."""
    module, _, qualname = name.partition(":")
    top: Any = getattr(sys.modules.get(module), "__dict__", {})
    # The name of a parametrised model may have dots within its brackets.
    found: Any = top.get(qualname)
    if found is None:
        first, *parts = qualname.split(".")
        found = top.get(first)
        for part in parts:
            found = getattr(found, "__dict__", {}).get(part)
    return found


class NotFindable(Exception):
    """Raised for a class that other processes could not find. The message is the reason, written as the end of a
    sentence."""

    #: The hint of the resulting error.
    hint = "define the class at the top of a module"


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
    return _stored_parts(cls, *parts)


def _stored_parts(cls: type, origin: Any, arguments: tuple[Any, ...]) -> Any:
    shown = origin.__qualname__
    try:
        found = {"origin": stored(origin), "args": [_stored_type(argument) for argument in arguments]}
        try:
            is_same = restored(found) is cls
        except NotRestorable:
            is_same = False
        if not is_same:
            raise NotFindable("one that it does not return again for the same arguments")
    except NotFindable as error:
        refused = NotFindable(f"a parametrised `{shown}`: `{shown}` or an argument of it is {error}")
        name = origin.__name__
        refused.hint = f"store a subclass that is defined at the top of a module: class My{name}({name}[...]): ..."
        raise refused from None
    return found


class NotRestorable(Exception):
    """Raised for a parametrised model whose origin does not accept the stored arguments. The message is the reason."""


def restored(name: Any) -> Any:
    """Returns the class for a stored form, or None if it is not loaded. Raises ``NotRestorable``."""
    if isinstance(name, str):
        return find_class(name)
    try:
        origin = restored(name["origin"])
        if origin is None:
            return None
        if "__pydantic_generic_metadata__" not in origin.__dict__:
            raise NotRestorable(f"`{class_name(origin)}` is not a model of pydantic")
        arguments = tuple(_restored_type(argument) for argument in name["args"])
        return None if _MISSING in arguments else origin[arguments]
    except NotRestorable:
        raise
    except Exception as error:
        raise NotRestorable(f"{type(error).__name__}: {error}") from error


_MISSING = object()


def stored_type(hint: Any) -> Any:
    """Returns the stored form of a type with its arguments, such as ``list[int]``. Raises ``NotFindable``."""
    return _stored_type(hint)


def restored_type(name: Any) -> Any:
    """Returns the type for a stored form, or None if a part of it is not loaded. Raises ``NotRestorable``."""
    try:
        found = _restored_type(name)
    except NotRestorable:
        raise
    except Exception as error:
        raise NotRestorable(f"{type(error).__name__}: {error}") from error
    return None if found is _MISSING else found


def _stored_type(hint: Any) -> Any:
    if hint is None or hint is type(None):
        return None
    if hint is ...:
        return {"typing": "..."}
    if hint is Any:
        return {"typing": "Any"}
    if _has_name(hint):
        name = f"{hint.__module__}:{getattr(hint, '__qualname__', None) or hint.__name__}"
        if _find(name) is not hint:
            raise NotFindable(f"`{hint!r}`, which a worker could not find by its name")
        return {"name": name}
    if isinstance(hint, list):
        # The arguments of a `Callable`.
        return [_stored_type(argument) for argument in hint]
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
    # Pydantic treats `X | Y` and `Union[X, Y]` as different arguments.
    if origin is typing.Union or origin is types.UnionType:
        return {"typing": "Union" if origin is typing.Union else "|", "args": inner}
    if type(hint).__module__ == "typing" and hint._name is not None:
        # `typing.List` itself has no arguments; `typing.Tuple[()]` has none either.
        return {"typing": hint._name} if hint is _of_typing(hint._name) else {"typing": hint._name, "args": inner}
    if not isinstance(origin, type):
        raise NotFindable(f"`{hint!r}`, which has no name to be found by")
    return {"origin": stored(origin), "args": inner}


def _has_name(hint: Any) -> bool:
    """Whether this is a ``NewType`` or a type alias (``type X = ...``)."""
    cls = type(hint)
    return isinstance(hint, typing.NewType) or (
        cls.__name__ == "TypeAliasType" and cls.__module__ in ("typing", "typing_extensions")
    )


def _restored_type(name: Any) -> Any:
    if name is None:
        return type(None)
    if isinstance(name, str):
        found = find_class(name)
        return _MISSING if found is None else found
    if isinstance(name, list):
        arguments = [_restored_type(argument) for argument in name]
        return _MISSING if _MISSING in arguments else arguments
    if "name" in name:
        found = _find(name["name"])
        if found is not None and not _has_name(found):
            raise NotRestorable(f"`{name['name']}` is not a NewType or an alias of a type")
        return _MISSING if found is None else found
    if "origin" in name:
        origin = restored(name["origin"])
        if origin is None:
            return _MISSING
        if "__pydantic_generic_metadata__" in origin.__dict__:
            found = restored(name)
            return _MISSING if found is None else found
        if not _is_generic(origin):
            raise NotRestorable(f"`{class_name(origin)}` has no parameters")
        generic: Any = origin
    elif name["typing"] == "...":
        return ...
    elif "args" not in name:
        return _of_typing(name["typing"])
    elif name["typing"] == "Literal":
        return typing.Literal[tuple(name["args"])]
    elif name["typing"] == "|":
        generic = None
    else:
        generic = _of_typing(name["typing"])
    given = tuple(_restored_type(argument) for argument in name["args"])
    if _MISSING in given:
        return _MISSING
    return functools.reduce(operator.or_, given) if generic is None else generic[given]


def _of_typing(name: str) -> Any:
    """Returns the object of this name in ``typing``. Raises ``NotRestorable``."""
    found = vars(typing).get(name)
    if getattr(found, "__module__", None) != "typing":
        raise NotRestorable(f"`typing.{name}` does not exist")
    return found


def _is_generic(cls: Any) -> bool:
    """Whether a class takes type parameters. Other classes may accept anything in brackets: an enum takes the names of
    its members."""
    getter = getattr(cls, "__class_getitem__", None)
    return (
        issubclass(cls, typing.Generic)
        or isinstance(getter, types.BuiltinMethodType)
        or (isinstance(alias := getattr(getter, "__func__", None), type) and issubclass(alias, types.GenericAlias))
    )
