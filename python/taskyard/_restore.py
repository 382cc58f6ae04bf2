"""Stored values of classes that may have changed since: fields by their names, new ones as the class says."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import inspect
import typing
import weakref
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


def model(cls: Any, stored: dict[str, Any], extra: dict[str, Any], was_set: set[str], given: frozenset[str]) -> Any:
    """A model made of stored values; no validator runs for what fits already.

    Values were validated when they were made, and a validator may take the text only that they were made of, or compare with
    the clock. Fields that are new, or that have another type or other limits now, are validated by their own rules.
    ``given`` are the names by which the values were stored.
    """
    values = _by_fields(cls, stored)
    for name in [name for name in extra if name in cls.model_fields]:
        values.setdefault(name, extra[name])
    further = {name: value for name, value in extra.items() if name not in cls.model_fields}
    allows = cls.model_config.get("extra")
    if further and allows == "forbid":
        raise ValueError(f"it allows no further values, and has {', '.join(sorted(further))}")
    names = {name for name in values if name in was_set or name not in given}
    names |= {name for name in further if allows == "allow" and name in was_set}
    fits = {name for name, value in values.items() if _fits(cls, name, value, name in names)}
    own = values
    if len(fits) < len(cls.model_fields):
        own, more = _refreshed(cls, values, further, fits)
        names |= more - values.keys()
    made = cls.__new__(cls)
    made.__dict__.update({name: own[name] for name in cls.model_fields if name in own})
    object.__setattr__(made, "__pydantic_fields_set__", set(names))
    object.__setattr__(made, "__pydantic_extra__", further if allows == "allow" else None)
    object.__setattr__(made, "__pydantic_private__", None)
    if cls.__private_attributes__:
        made.model_post_init(None)  # sets private attributes, and may change fields: these are put back
        made.__dict__.update({name: own[name] for name in cls.model_fields if name in own})
    return made


def _refreshed(
    cls: Any, values: dict[str, Any], further: dict[str, Any], fits: set[str]
) -> tuple[dict[str, Any], set[str]]:
    """The fields of a class that changed, and which of them its rules set."""
    import pydantic

    try:
        if issubclass(cls, pydantic.RootModel):
            return validated(cls, values).__dict__, set()
        own, names = _validated_fields(cls, values, fits)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # A validator of the whole model may know how to read what was stored. Other versions of pydantic may describe models in
        # another way: then the whole model is validated, too.
        try:
            made = validated(cls, {**further, **values})
        except ValueError:
            raise error from None
        own, names = made.__dict__, made.__pydantic_fields_set__
    return {**own, **{name: values[name] for name in fits}}, names


def _by_fields(cls: Any, values: dict[str, Any]) -> dict[str, Any]:
    aliases: dict[str, str] = {}
    for name, field in cls.model_fields.items():
        alias = field.validation_alias
        aliases.update({each: name for each in getattr(alias, "choices", (alias,)) if isinstance(each, str)})
    found = {name: value for name, value in values.items() if name in cls.model_fields}
    for name, value in values.items():
        if name not in cls.model_fields:
            found.setdefault(aliases[name], value)
    return found


_adapters: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()


def _fits(cls: Any, name: str, value: Any, was_set: bool) -> bool:
    """Whether a stored value is one of the field's annotation as it stands, with its limits and without its functions."""
    import pydantic

    field = cls.model_fields[name]
    adapters = _adapters.setdefault(cls, {})
    try:
        if name not in adapters:
            decorated = [
                each.info.mode
                for each in cls.__pydantic_decorators__.field_validators.values()
                if {name, "*"} & {*each.info.fields}
            ]
            hint = Any if "plain" in decorated else _bare(field.annotation, tuple(field.metadata), bool(decorated))
            adapters[name] = _adapter(hint)
        return type(adapters[name].validate_python(value, strict=True)) is type(value)
    except (ValueError, TypeError, LookupError, AttributeError, pydantic.PydanticUserError):
        # Defaults are not validated.
        return not was_set and type(field.default) is type(value) and bool(field.default == value)


def _adapter(hint: Any) -> Any:
    import pydantic

    try:
        return pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True))
    except pydantic.PydanticUserError:
        return pydantic.TypeAdapter(hint)  # a model has a configuration of its own


def _bare(hint: Any, metadata: tuple[Any, ...] = (), functions: bool = False) -> Any:
    """An annotation without its functions, and without the limits of what these take."""
    import annotated_types
    import pydantic

    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _bare(inner[0], (*hint.__metadata__, *metadata), functions)
    flat: list[Any] = []
    for each in metadata:
        flat.extend(each.metadata if isinstance(each, pydantic.fields.FieldInfo) else (each,))
    limits = [
        each
        for each in flat
        if isinstance(each, (annotated_types.BaseMetadata, annotated_types.GroupedMetadata))
        and not isinstance(each, annotated_types.Predicate)
    ]
    others = [each for each in flat if each not in limits and hasattr(each, "__get_pydantic_core_schema__")]
    if any(isinstance(each, pydantic.PlainValidator) or "SkipValidation" in type(each).__name__ for each in others):
        return Any
    if functions or others:
        limits = []
    if isinstance(hint, type) and not inner:
        if hint in (pydantic.Json, pydantic.ImportString):
            hint = Any
        elif hint in (pydantic.FutureDatetime, pydantic.PastDatetime):
            hint = dt.datetime
        elif hint in (pydantic.FutureDate, pydantic.PastDate):
            hint = dt.date
        elif hasattr(hint, "_fields") or (
            hasattr(hint, "__get_pydantic_core_schema__") and not issubclass(hint, pydantic.BaseModel)
        ):
            hint = pydantic.InstanceOf[hint]  # type: ignore[misc]
    elif inner and origin is not typing.Literal:
        bare = tuple(_bare(each) if not isinstance(each, list) else each for each in inner)
        if any(new is not old for new, old in zip(bare, inner, strict=True)):
            if origin is typing.Union or isinstance(hint, _UNION):
                hint = typing.Union[bare]  # noqa: UP007
            else:
                hint = origin[bare]
    return typing.Annotated[(hint, *limits)] if limits else hint


_UNION = type(int | None)


def _validated_fields(cls: Any, values: dict[str, Any], fits: set[str]) -> tuple[dict[str, Any], set[str]]:
    """Fields by their own rules, of which those that fit already have none; no rule of the whole model runs."""
    from pydantic_core import SchemaValidator

    cls.model_rebuild()
    schema: Any = cls.__pydantic_core_schema__
    definitions: dict[str, Any] = {}
    config: Any = None
    while schema["type"] != "model-fields":
        if schema["type"] == "definitions":
            definitions.update({each["ref"]: each for each in schema["definitions"]})
        if schema["type"] == "model":
            config = schema.get("config")
        schema = definitions[schema["schema_ref"]] if schema["type"] == "definition-ref" else schema["schema"]
    fields = {}
    for name, field in schema["fields"].items():
        own = {key: value for key, value in field.items() if key not in ("validation_alias", "frozen")}
        fields[name] = {**own, "schema": {"type": "any"}} if name in fits else own
    wanted: Any = {"type": "model-fields", "fields": fields, "model_name": cls.__name__}
    if definitions:
        wanted = {"type": "definitions", "schema": wanted, "definitions": list(definitions.values())}
    found, _, names = SchemaValidator(wanted, config).validate_python(values)
    return found, names


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
