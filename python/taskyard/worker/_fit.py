"""Fits plain JSON (from SQL, HTTP, or another language) to a function's annotations."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import pathlib
import types
import typing
import uuid
import weakref
from typing import Any

from .. import _resolve
from ..errors import InvalidArgument

#: The class of tasks that each of its runners is for.
CLASSES: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def arguments(function: Any, payload: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a payload as the function takes them; raises ``InvalidArgument`` for what its caller may not give."""
    args, kwargs = payload.args, payload.kwargs
    taken = set(_resolve.injected(function)).intersection(kwargs)
    if taken:
        raise InvalidArgument(f"{_names(taken)}: the worker provides it, and no caller can give it")
    if payload.ours:
        return args, kwargs
    cls = CLASSES.get(function)
    return (args, attributes(cls, kwargs)) if cls is not None else fit(function, args, kwargs)


def attributes(cls: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Attributes of a task of this class, from plain JSON, as the class's annotations say."""
    own = [name for name in given if name.startswith("__") or name == "_taskyard" or callable(getattr(cls, name, None))]
    if own:
        raise InvalidArgument(f"{_names(own)}: the class {cls.__qualname__} has its own, which no payload can replace")
    try:
        hints = typing.get_type_hints(cls)
    except Exception:
        hints = {}
    return {name: _one(hints.get(name), f"attribute `{name}`", value) for name, value in given.items()}


def _names(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _one(hint: Any, what: str, value: Any) -> Any:
    if hint is None or hint is Any:
        return value
    try:
        return convert(hint, value)
    except Exception as error:
        raise InvalidArgument(f"{what} does not fit {hint}: {error}") from error


def fit(function: Any, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments as the function's annotations say; raises ``InvalidArgument`` naming the one that does not fit."""
    try:
        hints = typing.get_type_hints(function)
        parameters = list(inspect.signature(function).parameters.values())
    except Exception:
        return args, kwargs
    if not hints:
        return args, kwargs
    rest = next((p for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]

    def one(name: str, value: Any) -> Any:
        return _one(hints.get(name), f"argument `{name}`", value)

    fitted = [
        one(names[place] if place < len(names) else rest.name if rest else "", value) for place, value in enumerate(args)
    ]
    return fitted, {name: one(name, value) for name, value in kwargs.items()}


def convert(hint: Any, value: Any) -> Any:
    """A JSON value as this type."""
    try:
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticSchemaGenerationError
    except ImportError:
        return _convert(hint, value)
    if hint is bytes:
        return _convert(hint, value)
    try:
        adapter = TypeAdapter(hint)
    except PydanticSchemaGenerationError:
        return value
    return adapter.validate_python(value)


def _convert(hint: Any, value: Any) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _convert(inner[0], value)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        for each in inner:
            try:
                return _convert(each, value)
            except (TypeError, ValueError, KeyError):
                continue
        raise TypeError(f"{value!r} is none of them")
    if origin in (list, set, frozenset):
        return origin(_convert(inner[0], item) for item in value)
    if origin is tuple:
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_convert(inner[0], item) for item in value)
        return tuple(_convert(each, item) for each, item in zip(inner, value, strict=True))
    if origin is dict:
        return {_convert(inner[0], key): _convert(inner[1], item) for key, item in value.items()}
    if not isinstance(hint, type) or isinstance(value, hint):
        return value
    if hint is float and type(value) is int:
        return float(value)
    if hint is bytes and isinstance(value, str):
        return base64.b64decode(value, validate=True)
    if hint in (dt.datetime, dt.date, dt.time):
        return hint.fromisoformat(value)
    if hint is dt.timedelta:
        return dt.timedelta(seconds=value)
    if hint in (tuple, set, frozenset) and isinstance(value, list):
        return hint(value)
    if hint in (uuid.UUID, decimal.Decimal) or issubclass(hint, (pathlib.PurePath, enum.Enum)):
        return hint(value)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        hints = typing.get_type_hints(hint)
        return hint(**{name: _convert(hints.get(name, Any), item) for name, item in value.items()})
    raise TypeError(f"{value!r} is no {hint.__name__}")
