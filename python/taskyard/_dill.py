"""Serialises values with dill so that classes with rules of their own are restored by these rules.

pickle, and dill with it, sets the attributes of an object as they were, even if its class has changed since. Objects of
pydantic models, dataclasses, named tuples, enums, attrs classes and classes with a registered serializer are therefore
written by their fields, and restored by the same code as arguments: the class sets new fields, and a field that was
removed is an error that names it. Left to dill are classes that define how they are pickled, those with instrumented
fields (mapped classes of SQLAlchemy), those that are serialised together with the function (of ``__main__``, or local
ones), and plain classes, which have no rules.

Stored payloads refer to the functions ``restore_*`` by name: do not rename them. dill recognises a pickler as its own
by the word ``dill`` in the name of the pickler's module.
"""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import inspect
import io
import sys
import weakref
from collections.abc import Callable
from typing import Any

from . import _classes, _dataclasses, _enums, _refusals, _restore, _serializers
from .errors import InvalidArgument, NotSerializable

__all__ = ["dumps", "loads"]

Reduced = tuple[Any, ...]
_rules: weakref.WeakKeyDictionary[type, Callable[[Any], Any] | None] = weakref.WeakKeyDictionary()
#: Methods by which a class defines how it is pickled, and the packages that generate such methods for their classes.
_METHODS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")
_GENERATED = ("dataclasses", "attr", "pydantic")
#: Attribute in which attrs caches a hash, which differs between processes.
_HASH = "_attrs_cached_hash"


def dumps(value: Any, recurse: bool | None = None) -> bytes:
    """Serialises a value with dill. Raises ``ImportError`` if dill is not installed."""
    import dill

    file = io.BytesIO()
    _pickler()(file, dill.settings["protocol"], byref=None, fmode=None, recurse=recurse).dump(value)
    return file.getvalue()


def loads(body: bytes) -> Any:
    import dill

    return dill.loads(body)


@functools.cache
def _pickler() -> Any:
    import dill

    class Pickler(dill.Pickler):  # type: ignore[misc]
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, type):
                parts = _classes.parts_of(value)
                return NotImplemented if parts is None else (restore_parametrised, parts)
            cls = type(value)
            if cls.__module__ == "builtins":
                return NotImplemented
            if cls not in _rules:
                _rules[cls] = _rule(cls)
            rule = _rules[cls]
            return NotImplemented if rule is None else rule(value)

    return Pickler


def _rule(cls: type) -> Callable[[Any], Any] | None:
    """Returns the function that writes objects of a class, or None to leave them to dill."""
    from . import _codec

    if _refusals.is_secret(cls) and not _serializers.has_serializer(cls):
        return _refuse_secret
    parts = _classes.parts_of(cls)
    named = cls if parts is None else parts[0]
    if named.__module__ == "__main__" or _classes.find_class(_classes.class_name(named)) is not named:
        return None
    if cls in _serializers.by_class:
        return _serialized
    if issubclass(cls, enum.Enum):
        return _member if getattr(cls.__reduce_ex__, "__module__", "enum") == "enum" else None
    if hasattr(cls, "_fields") and cls.__bases__ == (tuple,):
        return _named_tuple
    if _pickles_itself(cls) or _is_instrumented(cls) or not _dataclasses.is_whole(cls):
        return None
    if _codec._is_pydantic(cls):
        return _model
    if dataclasses.is_dataclass(cls):
        return _dataclass
    return _attrs if "__attrs_attrs__" in cls.__dict__ and "attr" in sys.modules else None


def _pickles_itself(cls: type) -> bool:
    for name in _METHODS:
        found = getattr(cls, name, None)
        if found is None or found is getattr(object, name, None):
            continue
        if (getattr(found, "__module__", None) or "").split(".")[0] not in _GENERATED:
            return True
    return cls in copyreg.dispatch_table


def _is_instrumented(cls: type) -> bool:
    """Whether another library reads and writes a field through a descriptor and keeps state of its own in the object,
    as in mapped classes of SQLAlchemy."""
    if hasattr(cls, "_sa_class_manager"):
        return True
    names = [*getattr(cls, "__dataclass_fields__", ()), *(field.name for field in getattr(cls, "__attrs_attrs__", ()))]
    # A slot is a descriptor of Python's own.
    found = [inspect.getattr_static(cls, name, None) for name in names]
    return any(hasattr(type(each), "__set__") and not inspect.ismemberdescriptor(each) for each in found)


# ------------------------------------------------------------------------------------------------------------ writing


def _refuse_secret(value: Any) -> Any:
    raise NotSerializable(f"it holds a {type(value).__qualname__}, which would be stored in clear", hint=_refusals.SECRET)


def _member(value: enum.Enum) -> Reduced:
    cls = type(value)
    return restore_member, (cls, _classes.class_name(cls), _enums.stored(value, lambda number: number))


def _named_tuple(value: Any) -> Reduced:
    cls: Any = type(value)
    return restore_named_tuple, (cls, _classes.class_name(cls), list(value), list(cls._fields))


def _serialized(value: Any) -> Reduced:
    serializer = _serializers.by_class[type(value)]
    # The class is included because importing its module registers the serializer.
    return restore_serialized, (type(value), serializer.name, serializer.encode(value))


def _dataclass(value: Any) -> Any:
    return _by_fields(value, [field.name for field in dataclasses.fields(value)], restore_dataclass)


def _attrs(value: Any) -> Any:
    return _by_fields(value, [field.name for field in type(value).__attrs_attrs__], restore_attrs)


def _by_fields(value: Any, names: list[str], restore: Callable[[Any, Any], None]) -> Any:
    cls = type(value)
    if not all(hasattr(value, name) for name in names):
        return NotImplemented
    further = {name: item for name, item in _held(value).items() if name not in names and name != _HASH}
    state = (_classes.class_name(cls), {name: getattr(value, name) for name in names}, further)
    # In two steps, so that the object may contain itself.
    return restore_empty, (cls,), state, None, None, restore


def _model(value: Any) -> Any:
    cls = type(value)
    fields = cls.model_fields
    if not fields.keys() <= value.__dict__.keys():
        return NotImplemented
    given: dict[str, Any] = {}
    further: dict[str, Any] = {}
    for name, item in value.__dict__.items():
        (given if name in fields or _restore.is_cached(cls, name) else further)[name] = item
    state = (
        _classes.class_name(cls),
        given,
        further,
        sorted(value.__pydantic_fields_set__),
        value.__pydantic_extra__,
        value.__pydantic_private__,
    )
    return restore_empty, (cls,), state, None, None, restore_model


# ---------------------------------------------------------------------------------------------------------- restoring


def restore_parametrised(origin: Any, arguments: tuple[Any, ...]) -> Any:
    return origin[arguments]


def restore_member(cls: Any, name: str, item: Any) -> Any:
    return _enums.restored(cls, name, item, lambda number: number)


def restore_named_tuple(cls: Any, name: str, values: list[Any], fields: list[str]) -> Any:
    return _restore.named_tuple(cls, name, values, [fields])


def restore_serialized(_: type, name: str, item: Any) -> Any:
    return _serializers.serializer_named(name).decode(item)


def restore_empty(cls: Any) -> Any:
    """Returns an object without fields; a later step sets them."""
    return object.__new__(cls)


def restore_dataclass(made: Any, state: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    name, given, further = state
    cls = type(made)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    found = _dataclasses.restored(cls, name, _restore.by_field(cls, name, given, fields), fields)
    _put(made, {**_held(found), **further})


def restore_attrs(made: Any, state: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    name, given, further = state
    cls = type(made)
    fields = {field.name: field for field in cls.__attrs_attrs__}
    stored = _restore.by_field(cls, name, given, fields)
    held = stored
    if len(stored) < len(fields):
        held = {**_held(_made_by_attrs(cls, name, stored, fields)), **stored}
    _put(made, {**held, **further})
    if _HASH in copyreg._slotnames(cls) or hasattr(cls, _HASH) or _HASH in held:  # type: ignore[attr-defined]
        object.__setattr__(made, _HASH, None)


def _made_by_attrs(cls: Any, name: str, stored: dict[str, Any], fields: dict[str, Any]) -> Any:
    """Calls an attrs class that has new fields. Raises ``InvalidArgument`` if it cannot be called with the stored ones."""
    import attr

    for field in fields.values():
        if field.name not in stored and field.init and field.default is attr.NOTHING:
            raise _restore.missing(name, field.name)
    # attrs before 22.2 does not store the name under which `__init__` takes a field.
    given = {
        getattr(field, "alias", None) or field.name.lstrip("_"): stored[field.name]
        for field in fields.values()
        if field.init and field.name in stored
    }
    try:
        return cls(**given)
    except Exception as error:
        new = ", ".join(f"`{each}`" for each in fields if each not in stored)
        raise InvalidArgument(
            f"a stored `{name}` has no field {new}, and its class cannot be made of the fields it has: "
            f"{type(error).__name__}: {error}",
            hint="give new fields defaults; or store such values with taskyard.register_serializer",
        ) from error


def restore_model(made: Any, state: tuple[Any, ...]) -> None:
    name, given, further, was_set, extra, private = state
    cls = type(made)
    found = _restore.restored_model(cls, name, dict(given), dict(extra or {}), set(was_set))
    made.__dict__.update({**found.__dict__, **further})
    own = found.__pydantic_private__
    if own is not None and private:
        own.update({each: item for each, item in private.items() if each in cls.__private_attributes__})
    for each in ("fields_set", "extra", "private"):
        object.__setattr__(made, f"__pydantic_{each}__", getattr(found, f"__pydantic_{each}__"))


def _held(value: Any) -> dict[str, Any]:
    slots = [name for name in copyreg._slotnames(type(value)) if hasattr(value, name)]  # type: ignore[attr-defined]
    return {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in slots}}


def _put(made: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        object.__setattr__(made, name, value)
