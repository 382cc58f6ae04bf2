"""Converts JSON values to types: with pydantic where it is installed, else by the rules below.

Strings become bytes by base64 wherever an annotation names bytes (for the fields of a class pydantic's own rule
applies, which is UTF-8). A value that cannot be checked is refused.
"""

from __future__ import annotations

import base64
import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import math
import pathlib
import sys
import types
import typing
import uuid
import warnings
from collections.abc import Callable
from typing import Any

from .. import _hints

__all__ = ["inner", "reader", "with_default"]

#: Containers whose inner types are converted.
_CONTAINERS = {
    list,
    set,
    frozenset,
    tuple,
    dict,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
    collections.abc.Set,
    collections.abc.MutableSet,
    collections.abc.Mapping,
    collections.abc.MutableMapping,
}
_ITERATORS = {collections.abc.Iterator, collections.abc.Generator}
_LAZY = {collections.abc.Iterable, collections.abc.Collection, *_ITERATORS}


def reader(hint: Any) -> Callable[[Any], Any]:
    """Returns a function that converts a JSON value to this type and raises if it does not fit. Raises for a type that
    cannot be checked."""
    if _takes_all(hint):
        return lambda value: value
    try:
        import pydantic
        from pydantic.warnings import ArbitraryTypeWarning
    except ImportError:
        return lambda value: convert(hint, value)
    hint = _prepared(hint)
    with warnings.catch_warnings():
        # An annotation that is not a type would accept every value.
        warnings.simplefilter("error", ArbitraryTypeWarning)
        try:
            adapter = pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True))
        except pydantic.PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            adapter = pydantic.TypeAdapter(hint)  # a model has a configuration of its own
    _refuse_calls(adapter.core_schema)
    return adapter.validate_python


def _refuse_calls(schema: Any) -> None:
    """Raises ``TypeError`` for an annotation that is a function, at any depth of a type: pydantic would call it with
    the value."""
    if isinstance(schema, dict):
        if schema.get("type") == "call" and not isinstance(schema.get("function"), type):
            name = getattr(schema.get("function"), "__qualname__", schema.get("function"))
            raise TypeError(f"`{name}` is a function, not a type (a check is Annotated[..., AfterValidator({name})])")
        for key, inner in schema.items():
            if key not in _DATA_OF_SCHEMAS:
                _refuse_calls(inner)
    elif isinstance(schema, (list, tuple)):
        for inner in schema:
            _refuse_calls(inner)


#: Keys of pydantic's schemas that hold values, not further schemas.
_DATA_OF_SCHEMAS = frozenset({"default", "expected", "metadata", "config", "serialization", "members"})


def with_default(hint: Any, default: Any) -> Any:
    """Returns an annotation with the limits of the default: ``n: int = Field(ge=1)``."""
    # If this module is not loaded, there is no such default. (Pydantic loads its modules when they are first used.)
    fields = sys.modules.get("pydantic.fields")
    if fields is None or not isinstance(default, fields.FieldInfo) or isinstance(hint, _hints.Unresolved):
        return hint
    return typing.Annotated[Any if hint is None else hint, default]


def inner(hint: Any, step: int | str) -> Any:
    """Returns the type of an item of a list, or of a value of an object; Any if the type does not define it."""
    hint = _hints.unaliased(hint)
    while typing.get_origin(hint) is typing.Annotated:
        hint = _hints.unaliased(hint.__origin__)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:
        found = {id(each): each for each in (inner(one, step) for one in args) if each is not Any}
        return next(iter(found.values())) if len(found) == 1 else Any
    if isinstance(step, str) and _is_typed_dict(hint):
        return _field_hints(hint).get(step, Any)
    if origin not in _CONTAINERS or issubclass(origin, collections.abc.Mapping) is not isinstance(step, str):
        return Any
    if origin is tuple and isinstance(step, int) and not (len(args) == 2 and args[1] is Ellipsis):
        return args[step] if step < len(args) else Any
    return args[1] if isinstance(step, str) else args[0]


def _is_typed_dict(hint: Any) -> bool:
    return isinstance(hint, type) and hasattr(hint, "__required_keys__") and hasattr(hint, "__total__")


def _takes_all(hint: Any) -> bool:
    return hint is Any or hint is object or isinstance(hint, (typing.ParamSpecArgs, typing.ParamSpecKwargs))


# ------------------------------------------------------------------------------------------------------- with pydantic


def _prepared(hint: Any, is_field: bool = False, seen: tuple[Any, ...] = ()) -> Any:
    """Adapts a type for pydantic. ``is_field``: it is inside a class, whose bytes pydantic decodes by its own rule."""
    import pydantic

    def prepared(inner: Any) -> Any:
        return inner if inner is Ellipsis else _prepared(inner, is_field, seen)

    if hint is bytes and not is_field:
        return typing.Annotated[bytes, pydantic.BeforeValidator(_from_base64)]
    if _is_typed_dict(hint) and sys.version_info < (3, 12):
        return _typed_dict(hint)
    if _hints.is_alias(hint) and not any(hint is each for each in seen):
        seen = (*seen, hint)
        return prepared(hint.__value__)
    if hasattr(hint, "__supertype__"):
        return prepared(hint.__supertype__)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        if any(isinstance(each, pydantic.EncodedBytes) for each in hint.__metadata__):
            return hint
        return typing.Annotated[(prepared(inner[0]), *hint.__metadata__)]
    if origin is typing.Union or origin is types.UnionType:
        return typing.Union[tuple(map(prepared, inner))]  # noqa: UP007
    made: Any
    lazy = origin or (hint if isinstance(hint, type) else None)
    if lazy in _LAZY:
        # Pydantic would check the items only when the body iterates.
        made = list.__class_getitem__(prepared(inner[0]) if inner else Any)
        return typing.Annotated[made, pydantic.AfterValidator(iter)] if lazy in _ITERATORS else made
    if origin in _CONTAINERS:
        made = tuple(map(prepared, inner))
        if any(new is not old for new, old in zip(made, inner, strict=True)):
            return origin[made]
    return hint


def _typed_dict(hint: Any) -> Any:
    # Before Python 3.12 pydantic supports only those of typing_extensions, on which it depends.
    import typing_extensions

    if type(hint).__module__ == "typing_extensions":
        return hint
    required = _required_keys(hint)
    fields = {
        name: (typing_extensions.Required if name in required else typing_extensions.NotRequired)[_prepared(each, True)]
        for name, each in _field_hints(hint).items()
    }
    make: Any = typing_extensions.TypedDict
    made = make(hint.__name__, fields)
    if hasattr(hint, "__pydantic_config__"):
        made.__pydantic_config__ = hint.__pydantic_config__
    return made


def _from_base64(value: Any) -> Any:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def _field_hints(cls: Any) -> dict[str, Any]:
    """Returns the types of the fields of a class, without ``Required`` and such."""
    found = _hints.of_class(cls)
    for name, hint in found.items():
        if isinstance(hint, _hints.Unresolved):
            raise TypeError(f"`{name}` of {cls.__name__}: {hint}")
        while _form(hint) in ("Required", "NotRequired", "ReadOnly"):
            hint = found[name] = typing.get_args(hint)[0]
    return found


def _required_keys(cls: Any) -> set[str]:
    # The class itself does not evaluate annotations that are strings.
    forms = {name: _form(hint) for name, hint in _hints.of_class(cls).items()}
    own = {name for name in forms if name in cls.__required_keys__}
    return {name for name, form in forms.items() if form == "Required" or (form != "NotRequired" and name in own)}


def _form(hint: Any) -> str:
    return getattr(typing.get_origin(hint), "_name", None) or ""


# ---------------------------------------------------------------------------------------------------- without pydantic


def convert(hint: Any, value: Any) -> Any:
    """Converts a JSON value to this type without pydantic. Raises ``TypeError`` or ``ValueError`` if it does not fit."""
    if _takes_all(hint):
        return value
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        converted = convert(inner[0], value)
        for limit in hint.__metadata__:
            _check_limit(limit, converted)
        return converted
    if origin in (typing.Union, types.UnionType):
        return _one_of(inner, value)
    if origin is typing.Literal:
        for each in inner:
            if type(each) is type(value) and each == value:
                return value
            if isinstance(each, enum.Enum) and each.value == value:
                return each
        raise TypeError(f"{value!r} is not one of {', '.join(map(repr, inner))}")
    if origin is not None:
        return _container(hint, origin, inner, value)
    if hint is None or hint is type(None):
        if value is not None:
            raise TypeError(f"{value!r} is not null")
        return None
    if isinstance(hint, typing.TypeVar):
        return convert(typing.Union[hint.__constraints__] if hint.__constraints__ else hint.__bound__ or Any, value)  # noqa: UP007
    if hasattr(hint, "__supertype__"):
        return convert(hint.__supertype__, value)
    if _hints.is_alias(hint):
        return convert(hint.__value__, value)
    if not isinstance(hint, type):
        raise TypeError(
            f"{hint!r} is not a type that can be checked (pydantic, which supports more types, is not installed)"
        )
    if _is_typed_dict(hint):
        return _fields(hint, value, _required_keys(hint), dict)
    return _plain(hint, value)


def _one_of(choices: tuple[Any, ...], value: Any) -> Any:
    # An exact type match takes precedence over a conversion.
    for each in choices:
        if isinstance(each, type) and type(value) is each:
            return value
    errors = []
    for each in choices:
        try:
            return convert(each, value)
        except (TypeError, ValueError, KeyError, ArithmeticError) as error:
            errors.append(str(error))
    raise TypeError("; ".join(errors))


def _container(hint: Any, origin: Any, inner: tuple[Any, ...], value: Any) -> Any:
    if origin not in _CONTAINERS:
        raise TypeError(
            f"{hint!r} is not a type that can be checked (pydantic, which supports more types, is not installed)"
        )
    if issubclass(origin, collections.abc.Mapping):
        _require(isinstance(value, dict), value, hint)
        return {convert(inner[0], key): convert(inner[1], item) for key, item in value.items()}
    _require(isinstance(value, (list, tuple, set, frozenset)), value, hint)
    if origin is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        _require(len(value) == len(inner), value, hint)
        return tuple(convert(each, item) for each, item in zip(inner, value, strict=True))
    items = [convert(inner[0], item) for item in value]
    if origin in (set, frozenset, tuple):
        return origin(items)
    return set(items) if issubclass(origin, collections.abc.Set) else items


def _plain(hint: type, value: Any) -> Any:
    if hint in (int, float, complex) and isinstance(value, bool):
        raise TypeError(f"{value!r} is not a {hint.__name__}")
    if isinstance(value, hint):
        return value
    if hint is float and type(value) is int:
        return float(value)
    if hint is bytes and isinstance(value, str):
        return _from_base64(value)
    if hint in (dt.datetime, dt.date, dt.time) and isinstance(value, str):
        return hint.fromisoformat(value)
    if hint is dt.timedelta and isinstance(value, (int, float)) and not isinstance(value, bool):
        return dt.timedelta(seconds=value)
    if hint in (tuple, set, frozenset) and isinstance(value, list):
        return hint(value)
    if hint is decimal.Decimal and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return decimal.Decimal(str(value))
    if isinstance(value, str) and (hint is uuid.UUID or issubclass(hint, pathlib.PurePath)):
        return hint(value)
    if issubclass(hint, enum.Enum):
        return hint(value)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        fields = [field for field in dataclasses.fields(hint) if field.init]
        missing = (dataclasses.MISSING, dataclasses.MISSING)
        needed = {field.name for field in fields if (field.default, field.default_factory) == missing}
        return _fields(hint, value, needed, hint, {field.name for field in fields})
    if issubclass(hint, tuple) and hasattr(hint, "_fields"):
        if isinstance(value, list):
            _require(len(value) <= len(hint._fields), value, hint)
            value = dict(zip(hint._fields, value, strict=False))
        return _fields(hint, value, set(hint._fields) - set(hint._field_defaults), hint)  # type: ignore[attr-defined]
    raise TypeError(f"{value!r} is not a {hint.__name__}")


def _fields(cls: Any, value: Any, needed: Any, make: Any, known: set[str] | None = None) -> Any:
    _require(isinstance(value, dict), value, cls)
    hints = {name: hint for name, hint in _field_hints(cls).items() if known is None or name in known}
    for name in needed - value.keys():
        raise TypeError(f"a {cls.__name__} wants `{name}`")
    for name in value.keys() - hints.keys():
        raise TypeError(f"a {cls.__name__} has no `{name}`")
    return make(**{name: convert(hints[name], item) for name, item in value.items()})


def _require(holds: bool, value: Any, hint: Any) -> None:
    if not holds:
        raise TypeError(f"{value!r} is not a {hint}")


#: Checks of limits, by the names that ``annotated_types`` and most others use.
_LIMITS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, limit: value > limit,
    "ge": lambda value, limit: value >= limit,
    "lt": lambda value, limit: value < limit,
    "le": lambda value, limit: value <= limit,
    "multiple_of": lambda value, limit: math.remainder(value, limit) == 0,
    "min_length": lambda value, limit: len(value) >= limit,
    "max_length": lambda value, limit: len(value) <= limit,
}


def _check_limit(limit: Any, value: Any) -> None:
    module = type(limit).__module__.partition(".")[0]
    known = [(name, getattr(limit, name)) for name in _LIMITS if getattr(limit, name, None) is not None]
    for name, bound in known:
        if not _LIMITS[name](value, bound):
            raise ValueError(f"{value!r} is beyond its limit {name}={bound!r}")
    if module == "annotated_types" and hasattr(limit, "func"):
        if not limit.func(value):
            raise ValueError(f"{value!r} does not fulfil {limit!r}")
    elif module == "annotated_types" and not known and type(limit).__name__ not in ("DocInfo", "Unit"):
        raise TypeError(f"the limit {limit!r} cannot be checked (pydantic, which supports more limits, is not installed)")
