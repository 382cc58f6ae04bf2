"""Restores stored objects of dataclasses.

An object whose class still has exactly the stored fields is restored without calling the class. Otherwise the class has
changed: its constructor is called with the stored values, so that defaults, factories and ``__post_init__`` decide
about the new fields, and the stored fields are then set to their stored values.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from . import _hints, _restore
from .errors import InvalidArgument

__all__ = ["is_whole", "restored"]

#: Hint for a class whose constructor does not accept the stored values.
DEFAULTS = "give new fields, and InitVar fields, defaults; or store such values with taskyard.register_serializer"


def is_whole(cls: type) -> bool:
    """Whether the fields of this dataclass are all that its objects hold. A dict, a list or an exception has further
    contents."""
    try:
        object.__new__(cls)
    except TypeError:
        return False
    return True


def restored(cls: Any, name: str, stored: dict[str, Any], fields: dict[str, Any]) -> Any:
    """Returns an object of the class. ``stored`` maps the names of stored fields to their values. Raises
    ``InvalidArgument`` for a new field that the class sets no value for."""
    if len(stored) == len(fields):
        made = object.__new__(cls)
        for field_name, value in stored.items():
            object.__setattr__(made, field_name, value)
        return made
    missing = [field for field in fields.values() if field.name not in stored]
    for field in missing:
        if field.init and cls.__dataclass_params__.init and not _has_default(field):
            raise _restore.missing(name, field.name)
    made, stored = _made(cls, name, stored, fields)
    for field_name, value in stored.items():
        object.__setattr__(made, field_name, value)
    for field in missing:
        _settle(made, name, field)
    return made


def _has_default(field: Any) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _made(cls: Any, name: str, stored: dict[str, Any], fields: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Calls the class with the stored fields. Returns the object, and the fields that are to be set to their stored
    values."""
    given = {each: value for each, value in stored.items() if fields[each].init}
    try:
        if _restore.is_pydantic_dataclass(cls):
            made, fits = _restore.dataclass(cls, given)
            return made, {each: value for each, value in stored.items() if each in fits or each not in given}
        return cls(**{each: given[each] for each in _taken(cls, given)}), stored
    except Exception as error:
        new = ", ".join(f"`{each}`" for each in fields if each not in stored)
        raise InvalidArgument(
            f"a stored `{name}` has no field {new}, and its class cannot be made of the fields it has: "
            f"{type(error).__name__}: {error}",
            hint=DEFAULTS,
        ) from error


def _taken(cls: Any, given: dict[str, Any]) -> list[str]:
    """Returns the fields that the constructor accepts, since a class may define its own."""
    try:
        parameters = _hints.signature(cls).parameters
    except (TypeError, ValueError):
        return list(given)
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return list(given)
    return [each for each in given if each in parameters]


def _settle(made: Any, name: str, field: Any) -> None:
    """Gives a new field its default where the class's own constructor did not set it."""
    if hasattr(made, field.name):
        return
    if field.default is not dataclasses.MISSING:
        object.__setattr__(made, field.name, field.default)
    elif field.default_factory is not dataclasses.MISSING:
        object.__setattr__(made, field.name, field.default_factory())
    else:
        raise _restore.missing(name, field.name)
