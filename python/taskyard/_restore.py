"""Stored values of classes that may have changed since: fields by their names, new ones as the class says."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any

from .errors import InvalidArgument

ALIAS = "taskyard.register_aliases(cls, {'old name': 'new name'}) says what it is called now"
_aliases: dict[type, dict[str, str]] = {}


def aliases_of(cls: type) -> dict[str, str]:
    """What fields of a class that were renamed are called now."""
    return _aliases.get(cls, {})


def register_aliases(cls: type, names: dict[str, str]) -> None:
    """Says what fields of a class (or members of an enum) that were renamed are called now: ``{"old": "new"}``, for values
    that were stored before. Models of pydantic may say it by a field's alias, dataclasses by ``metadata={"alias": "old"}``.
    """
    _aliases.setdefault(cls, {}).update(names)


def by_field(
    cls: type, name: str, given: dict[str, Any], fields: Any, further: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Stored values by the fields that the class has now; raises for one that it has no more. ``further`` are names by which
    the class itself knows fields."""
    if given.keys() <= set(fields):
        return given
    renamed = dict(aliases_of(cls))
    if dataclasses.is_dataclass(cls):
        renamed.update(
            {field.metadata["alias"]: field.name for field in dataclasses.fields(cls) if "alias" in field.metadata}
        )
    found: dict[str, Any] = {}
    for stored, value in given.items():
        field = stored if stored in fields else renamed.get(stored, stored)
        if field not in fields and field not in further:
            raise InvalidArgument(f"a stored `{name}` has the field `{stored}`, which its class has no more", hint=ALIAS)
        found.setdefault(field, value)
    return found


def missing(name: str, field: str) -> InvalidArgument:
    return InvalidArgument(
        f"a stored `{name}` has no field `{field}`, which its class wants now", hint="give the field a default"
    )


def filled(name: str, field: str, stored: dict[str, Any], defaults: dict[str, Any]) -> Any:
    if field in stored:
        return stored[field]
    if field not in defaults:
        raise missing(name, field)
    return defaults[field]


def is_cached(cls: type, name: str) -> bool:
    return any(isinstance(base.__dict__.get(name), functools.cached_property) for base in cls.__mro__)


def pydantic_names(cls: Any) -> frozenset[str]:
    """Names other than its fields' by which a model takes values."""
    names: set[str] = set()
    for field in cls.model_fields.values():
        alias = field.validation_alias
        names.update(choice for choice in getattr(alias, "choices", (alias,)) if isinstance(choice, str))
    return frozenset(names)


def validated(cls: Any, values: dict[str, Any]) -> Any:
    """A model made of values by its fields' names, by its own rules."""
    import pydantic

    if issubclass(cls, pydantic.RootModel):
        return cls.model_validate(values["root"])
    if "by_name" in inspect.signature(cls.model_validate).parameters:
        return cls.model_validate(values, by_name=True, by_alias=True)
    # Before pydantic 2.11 a field with an alias is only known by it.
    for name, field in cls.model_fields.items():
        alias = field.validation_alias
        if name in values and alias is not None and not cls.model_config.get("populate_by_name"):
            first = getattr(alias, "choices", (alias,))[0]
            values[first if isinstance(first, str) else name] = values.pop(name)
    return cls.model_validate(values)


def named_tuple(cls: Any, name: str, values: list[Any], stored_names: list[list[str]]) -> Any:
    """A named tuple of stored values. Before names were stored with them, new fields could only be told by their number."""
    fields: tuple[str, ...] = cls._fields
    names = stored_names[0] if stored_names else fields[: len(values)]
    if len(values) > len(names):
        raise InvalidArgument(f"a stored `{name}` has {len(values)} values, and its class has the fields {fields}")
    stored = by_field(cls, name, dict(zip(names, values, strict=False)), fields)
    return tuple.__new__(cls, [filled(name, field, stored, cls._field_defaults) for field in fields])
