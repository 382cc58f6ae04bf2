"""Restores stored values of classes that may have changed since: fields by their names, new fields as the class sets
them.

Handles models of pydantic and named tuples; dataclasses are in ``_dataclasses``, enums in ``_enums``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import inspect
import typing
import weakref
from collections.abc import Callable
from typing import Any

from .errors import InvalidArgument

__all__ = [
    "ALIAS",
    "aliases_of",
    "by_field",
    "dataclass",
    "is_cached",
    "is_pydantic_dataclass",
    "missing",
    "named_tuple",
    "register_aliases",
    "renamed",
    "restored_model",
]

ALIAS = "taskyard.register_aliases(cls, {'old name': 'new name'}) says what it is called now"
_aliases: dict[type, dict[str, str]] = {}


def aliases_of(cls: type) -> dict[str, str]:
    """Returns the current names of a class's renamed fields, by their old names."""
    return _aliases.get(cls, {})


def register_aliases(cls: type, names: dict[str, str]) -> None:
    """Registers the new names of a class's renamed fields (or of an enum's renamed members), ``{"old": "new"}``, for
    values that were stored before the change.

    Pydantic models may use a field's alias instead, dataclasses ``metadata={"alias": "old"}``::

        register_aliases(Order, {"mail": "email"})
    """
    _aliases.setdefault(cls, {}).update(names)


def renamed(cls: type) -> dict[str, str]:
    """Like :func:`aliases_of`, with the aliases in the metadata of a dataclass's fields."""
    found = dict(aliases_of(cls))
    if dataclasses.is_dataclass(cls):
        found.update(
            {field.metadata["alias"]: field.name for field in dataclasses.fields(cls) if "alias" in field.metadata}
        )
    return found


def by_field(
    cls: type, name: str, given: dict[str, Any], fields: Any, further: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Returns stored values by the names of the fields that the class has now.

    Raises ``InvalidArgument`` for a field that was removed. ``further`` are additional names by which the class itself
    accepts fields.
    """
    if given.keys() <= set(fields):
        return given
    aliases = renamed(cls)
    found: dict[str, Any] = {}
    for stored, value in given.items():
        field = stored if stored in fields else aliases.get(stored, stored)
        if field not in fields and field not in further:
            raise InvalidArgument(f"a stored `{name}` has the field `{stored}`, which its class no longer has", hint=ALIAS)
        found.setdefault(field, value)
    return found


def missing(name: str, field: str) -> InvalidArgument:
    return InvalidArgument(
        f"a stored `{name}` has no field `{field}`, which its class requires now", hint="give the field a default"
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
    """Returns the aliases by which a model accepts values."""
    names: set[str] = set()
    for field in cls.model_fields.values():
        alias = field.validation_alias
        names.update(choice for choice in getattr(alias, "choices", (alias,)) if isinstance(choice, str))
    return frozenset(names)


def restored_model(cls: Any, name: str, given: dict[str, Any], extra: dict[str, Any], was_set: set[str]) -> Any:
    """Restores a model from stored values, by the names that its fields had. Raises ``InvalidArgument`` for a field
    that was removed, and for values that do not fit the model any more."""
    fields, names = cls.model_fields, frozenset(given)
    # Values of cached properties are not fields.
    kept = {each: given.pop(each) for each in list(given) if each not in fields and is_cached(cls, each)}
    stored = by_field(cls, name, given, fields, pydantic_names(cls))
    try:
        made = model(cls, stored, extra, was_set, names)
    except ValueError as error:
        raise InvalidArgument(f"a stored value does not fit the model `{name}` any more: {error}") from error
    made.__dict__.update(kept)
    return made


def model(cls: Any, stored: dict[str, Any], extra: dict[str, Any], was_set: set[str], given: frozenset[str]) -> Any:
    """Creates a model from stored values. No validator runs for values that fit already.

    Values were validated when they were created, and a validator may accept only the text from which they were parsed,
    or compare with the clock. Fields that are new, or that have another type or other limits now, are validated by
    their own rules. If there are new fields, the rules of the whole model run, too (``model_validator``,
    ``model_post_init``), because they may set these. ``given`` are the names by which the values were stored.
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
    if values.keys() != cls.model_fields.keys():
        made = _by_rules(cls, values, further, fits)
        # Stored values are set again: the rules of the whole model may have changed them.
        made.__dict__.update({name: values[name] for name in fits})
        names |= made.__pydantic_fields_set__ - values.keys() - further.keys()
        further = {**(made.__pydantic_extra__ or {}), **further}
    else:
        own = values
        if len(fits) < len(values):
            own, more = _refreshed(cls, values, further, fits)
            names |= more - values.keys()
        made = cls.__new__(cls)
        made.__dict__.update(own)
        object.__setattr__(made, "__pydantic_private__", None)
        if cls.__private_attributes__:
            made.model_post_init(None)  # sets private attributes, and may change fields: these are put back
            made.__dict__.update(own)
    object.__setattr__(made, "__pydantic_fields_set__", set(names))
    object.__setattr__(made, "__pydantic_extra__", further if allows == "allow" else None)
    return made


def _refreshed(
    cls: Any, values: dict[str, Any], further: dict[str, Any], fits: set[str]
) -> tuple[dict[str, Any], set[str]]:
    """Validates the stored fields of a class whose types or limits have changed. Returns the fields, and the names that
    its rules set."""
    import pydantic

    try:
        if issubclass(cls, pydantic.RootModel):
            return validated(cls, values).__dict__, set()
        own, _, names = _Rules(cls, fits).of_fields().validate_python(values)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # A validator of the whole model may accept the stored form. Other versions of pydantic may describe models
        # differently; then the whole model is validated as well.
        try:
            made = validated(cls, {**further, **values})
        except ValueError:
            raise error from None
        own, names = made.__dict__, made.__pydantic_fields_set__
    return {**own, **{name: values[name] for name in fits}}, names


def _by_rules(cls: Any, values: dict[str, Any], further: dict[str, Any], fits: set[str]) -> Any:
    """Creates a model that has new fields by all its rules except those of stored fields that fit."""
    import pydantic

    given = {**further, **values}
    if issubclass(cls, pydantic.RootModel):
        raise ValueError("it has no value")
    try:
        rules = _Rules(cls, fits).of_all()
    except (ValueError, TypeError, LookupError, AttributeError):
        return validated(cls, given)  # other versions of pydantic may describe models differently
    return rules.validate_python(given)


def is_pydantic_dataclass(cls: type) -> bool:
    """Whether pydantic created this very dataclass, and not only its base."""
    return "__pydantic_validator__" in cls.__dict__


def dataclass(cls: Any, stored: dict[str, Any]) -> tuple[Any, set[str]]:
    """Creates an object of a pydantic dataclass that has new fields, by all its rules except those of stored fields
    that fit. Returns it with the names of these."""
    from pydantic_core import ArgsKwargs

    fits = {name for name, value in stored.items() if _fits(cls, name, value, True)}
    try:
        rules = _Rules(cls, fits).of_all()
    except (ValueError, TypeError, LookupError, AttributeError):
        return cls(**stored), fits  # other versions of pydantic may describe dataclasses differently
    return rules.validate_python(ArgsKwargs((), stored)), fits


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


def _fields(cls: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(cls, "__pydantic_fields__" if dataclasses.is_dataclass(cls) else "model_fields")
    return found


_adapters: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()


def _fits(cls: Any, name: str, value: Any, was_set: bool) -> bool:
    """Whether a stored value conforms to the field's annotation with its limits, but without its functions."""
    import pydantic

    adapters = _adapters.setdefault(cls, {})
    try:
        if name not in adapters:
            field = _fields(cls)[name]
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
        default = _fields(cls)[name].default
        return not was_set and type(default) is type(value) and bool(default == value)


def _adapter(hint: Any) -> Any:
    import pydantic

    try:
        return pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True))
    except pydantic.PydanticUserError:
        return pydantic.TypeAdapter(hint)  # a model has a configuration of its own


def _bare(hint: Any, metadata: tuple[Any, ...] = (), functions: bool = False) -> Any:
    """Returns an annotation without its functions, and without the limits on the input of these functions."""
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


class _Rules:
    """Pydantic's schema of a model or dataclass without the rules of stored fields that fit already."""

    def __init__(self, cls: Any, fits: set[str]) -> None:
        import pydantic

        if dataclasses.is_dataclass(cls):
            pydantic.dataclasses.rebuild_dataclass(cls)  # type: ignore[arg-type]
        else:
            cls.model_rebuild()
        self._cls = cls
        self._fits = fits
        self._definitions: dict[str, Any] = {}
        self._config: Any = None

    def of_fields(self) -> Any:
        """Returns a validator of the fields alone; no rule of the whole model runs."""
        schema = self._walked(self._cls.__pydantic_core_schema__, lambda schema, inner: inner)
        return self._validator({**schema, "model_name": self._cls.__name__})

    def of_all(self) -> Any:
        """Returns a validator that creates an object by all rules of the class."""
        return self._validator(self._walked(self._cls.__pydantic_core_schema__, self._whole))

    def _validator(self, schema: Any) -> Any:
        from pydantic_core import SchemaValidator

        if self._definitions:
            schema = {"type": "definitions", "schema": schema, "definitions": list(self._definitions.values())}
        return SchemaValidator(schema, self._config)

    def _walked(self, schema: Any, around: Callable[[Any, Any], Any]) -> Any:
        """Returns the schema of the fields, with each surrounding schema transformed by ``around``."""
        kind = schema["type"]
        if kind == "definitions":
            self._definitions.update({each["ref"]: each for each in schema["definitions"]})
            return self._walked(schema["schema"], around)
        if kind == "definition-ref":
            return self._walked(self._definitions[schema["schema_ref"]], around)
        if kind == "model-fields":
            fields = {name: self._field(name, field) for name, field in schema["fields"].items()}
            return {**_without(schema, "ref"), "fields": fields}
        if kind == "dataclass-args":
            return {**_without(schema, "ref"), "fields": [self._field(field["name"], field) for field in schema["fields"]]}
        if kind in ("model", "dataclass"):
            self._config = schema.get("config")
        return around(schema, self._walked(schema["schema"], around))

    def _field(self, name: str, field: Any) -> Any:
        own = _without(field, "validation_alias", "frozen")
        return {**own, "schema": {"type": "any"}} if name in self._fits else own

    def _whole(self, schema: Any, inner: Any) -> Any:
        # For a complete class pydantic uses the finished validator and ignores the schema's fields, so the object is
        # created here.
        if schema["type"] == "model":
            if schema.get("custom_init"):
                return schema  # its own `__init__` creates such objects
            return _after(inner, functools.partial(_model_of, self._cls, schema))
        if schema["type"] == "dataclass":
            return _after(inner, functools.partial(_dataclass_of, self._cls, schema))
        return {**_without(schema, "ref"), "schema": inner}


def _without(schema: Any, *keys: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in keys}


def _after(schema: Any, function: Callable[[Any], Any]) -> Any:
    return {"type": "function-after", "schema": schema, "function": {"type": "no-info", "function": function}}


def _model_of(cls: Any, schema: Any, found: Any) -> Any:
    fields, extra, names = found
    made = cls.__new__(cls)
    made.__dict__.update(fields)
    object.__setattr__(made, "__pydantic_fields_set__", names)
    object.__setattr__(made, "__pydantic_extra__", extra)
    object.__setattr__(made, "__pydantic_private__", None)
    if schema.get("post_init"):
        getattr(made, schema["post_init"])(None)
    return made


def _dataclass_of(cls: Any, schema: Any, found: Any) -> Any:
    fields, only_for_init = found
    made = cls.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    if schema.get("post_init"):
        made.__post_init__(*(only_for_init or ()))
    return made


def validated(cls: Any, values: dict[str, Any]) -> Any:
    """Validates a model from values by the names of its fields."""
    import pydantic

    if issubclass(cls, pydantic.RootModel):
        return cls.model_validate(values["root"])
    if "by_name" in inspect.signature(cls.model_validate).parameters:
        return cls.model_validate(values, by_name=True, by_alias=True)
    # Before pydantic 2.11 a field with an alias is accepted under the alias only.
    for name, field in cls.model_fields.items():
        alias = field.validation_alias
        if name in values and alias is not None and not cls.model_config.get("populate_by_name"):
            first = getattr(alias, "choices", (alias,))[0]
            values[first if isinstance(first, str) else name] = values.pop(name)
    return cls.model_validate(values)


def named_tuple(cls: Any, name: str, values: list[Any], stored_names: list[list[str]]) -> Any:
    """Restores a named tuple. Older payloads store no field names; there, new fields are recognised by the number of
    values only."""
    fields: tuple[str, ...] = cls._fields
    names = stored_names[0] if stored_names else fields[: len(values)]
    if len(values) > len(names):
        raise InvalidArgument(f"a stored `{name}` has {len(values)} values, and its class has the fields {fields}")
    stored = by_field(cls, name, dict(zip(names, values, strict=False)), fields)
    return tuple.__new__(cls, [filled(name, field, stored, cls._field_defaults) for field in fields])
