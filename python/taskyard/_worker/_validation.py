"""Converts plain JSON (from SQL, HTTP, or another language) by the annotations of a function or a task class.

Every value is checked: one that its annotation does not allow is refused with the name of the parameter, and so is one
whose annotation cannot be resolved. A parameter without an annotation accepts any value. Values that the Python client
encoded are exact and are not converted, except results of other tasks that were not encoded so. Read next:
``_convert.py``.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
import typing
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

from .. import _hints, _identity, _resolve, _restore, _signatures
from .._references import Entry, Field, Items, Step
from ..errors import FunctionRefused, InvalidArgument
from . import _convert

__all__ = ["CLASSES", "arguments", "attributes", "class_attributes"]

#: The task class of each runner.
CLASSES: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def arguments(function: Any, payload: Any) -> tuple[list[Any], dict[str, Any]]:
    """Returns the arguments of a payload as the function takes them.

    Raises ``InvalidArgument`` for arguments that a caller must not or cannot pass, and ``FunctionRefused`` for a
    function that cannot run as it is meant.
    """
    args, kwargs = payload.args, payload.kwargs
    if (cls := CLASSES.get(function)) is not None:
        return [], class_attributes(cls, payload)
    injected = _identity.shape(function).injected
    if not injected.isdisjoint(kwargs):
        raise InvalidArgument(f"{_names(injected.intersection(kwargs))}: the worker provides it, and no caller can give it")
    if not payload.ours:
        _check_call(function, args, kwargs)
        return fit(function, args, kwargs)
    for path in payload.foreign:
        _fit_result(function, args, kwargs, path)
    return args, kwargs


def class_attributes(cls: Any, payload: Any) -> dict[str, Any]:
    """Returns the attributes for an object of a task class from a payload. Raises ``InvalidArgument`` for those that do
    not fit."""
    if payload.args:
        raise InvalidArgument(f"{cls.__qualname__} is a class of tasks: its payload has arguments without names")
    _resolve.refuse_injection(cls.execute, f"{cls.__qualname__}.execute")
    kwargs: dict[str, Any] = payload.kwargs
    return _newer().current(cls, kwargs, payload.fields) if payload.ours else attributes(cls, kwargs)


@functools.cache
def _newer() -> Any:
    """Returns the module ``newer``, which is imported with the first task of a class: workers of functions do not need
    it."""
    from .._tasks import class_changes

    return class_changes


def _names(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


# ---------------------------------------------------------------------------------------------------------- functions


class _Place:
    """The target of a value: its description in errors, and its annotation."""

    __slots__ = ("_read", "hint", "what")

    def __init__(self, what: str, hint: Any) -> None:
        self.what = what
        self.hint = hint
        self._read: Any = None

    def fit(self, value: Any) -> Any:
        if isinstance(self.hint, _hints.Unresolved):
            raise InvalidArgument(f"{self.what} cannot be checked: {self.hint}", hint=_resolve.RESOLVE)
        try:
            if self._read is None:
                self._read = _convert.reader(self.hint)
            return self._read(value)
        except Exception as error:
            raise InvalidArgument(f"{self.what} does not fit {_shown(self.hint)}: {error}") from error


def _shown(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


class _Places:
    """The parameters of a function, each with its annotation."""

    def __init__(self, function: Any) -> None:
        try:
            parameters, hints = found = _hints.of(function)
        except (TypeError, ValueError) as error:
            if getattr(function, "__annotations__", None):
                raise FunctionRefused(f"the annotations of {function!r} cannot be read: {error}") from error
            parameters, hints = found = _hints.Hints((), {})
        if getattr(function, "__no_type_check__", False):
            # `@typing.no_type_check`: the annotations are not types.
            hints = {}
        self.is_settled = found.are_settled
        own = set(_resolve.injected(function))
        self.positions: list[str] = []
        self.by_name: dict[str, Any] = {}
        self.rest = self.further = ""
        for parameter in parameters:
            name = parameter.name
            if name in own:
                continue
            key = name
            if parameter.kind is parameter.VAR_POSITIONAL:
                key = self.rest = f"*{name}"
            elif parameter.kind is parameter.VAR_KEYWORD:
                key = self.further = f"**{name}"
            elif parameter.kind is not parameter.KEYWORD_ONLY:
                self.positions.append(name)
            hint = _convert.with_default(hints.get(name), parameter.default)
            self.by_name[key] = None if hint is None else _Place(f"argument `{name}`", hint)
        # Keywords of ``**kwargs`` may have the same names.
        self.positional_only = {p.name for p in parameters if p.kind is p.POSITIONAL_ONLY}
        self.signature = _identity.shape(function).signature
        #: For a wrapper that may provide later parameters: the number of positional parameters of its own.
        self.own_places = next((at for at, name in enumerate(self.positions) if name in _provided(parameters)), sys.maxsize)

    def of_position(self, number: int) -> str:
        return self.positions[number] if number < len(self.positions) else self.rest

    def of_name(self, name: str) -> str:
        known = name in self.by_name and name not in self.positional_only and not name.startswith("*")
        return name if known else self.further


def _provided(parameters: Iterable[inspect.Parameter]) -> set[str]:
    """Returns the names of parameters that the function within requires and its wrapper may provide."""
    return {parameter.name for parameter in parameters if parameter.default is _signatures.PROVIDED}


def _places(function: Any) -> tuple[_Places, bool]:
    made = _Places(function)
    return made, made.is_settled


_known = _hints.Cache(_places)


def fit(function: Any, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Converts arguments by the function's annotations. Raises ``InvalidArgument`` with the name of one that does not
    fit."""
    places = _known(function)
    if not places.by_name:
        return args, kwargs
    whole_args = _unpacked(places.by_name.get(places.rest))
    whole_kwargs = _unpacked(places.by_name.get(places.further))
    fitted: list[Any] = []
    for number, value in enumerate(args):
        at = places.of_position(number)
        if at == places.rest and whole_args is not None:
            fitted.extend(_Place(f"arguments `{places.rest}`", whole_args).fit(args[number:]))
            break
        fitted.append(_one(places, at, number, value))
    names = {name: places.of_name(name) for name in kwargs}
    if whole_kwargs is None:
        return fitted, {name: _one(places, names[name], name, value) for name, value in kwargs.items()}
    named = {
        name: _one(places, names[name], name, value) for name, value in kwargs.items() if names[name] != places.further
    }
    named.update(
        _further(places.further, whole_kwargs, {name: value for name, value in kwargs.items() if name not in named})
    )
    return fitted, named


def _one(places: _Places, at: str, key: int | str, value: Any) -> Any:
    place = places.by_name.get(at)
    if place is None:
        return value
    return place.fit(value) if at not in (places.rest, places.further) else _each(place, key, value)


def _fit_result(function: Any, args: list[Any], kwargs: dict[str, Any], path: tuple[Any, ...]) -> None:
    """Converts a plain JSON result within arguments that are otherwise exact."""
    places = _known(function)
    first, *further = path
    place = places.by_name.get(places.of_position(first) if isinstance(first, int) else places.of_name(first))
    # Without an annotation, the classes of objects in the path may define the type.
    named = f"argument {first + 1}" if isinstance(first, int) else f"argument `{first}`"
    hint, what = (place.hint, place.what) if place is not None else (Any, named)
    if (unpacked := _unpacked(place)) is not None:
        hint = _convert.inner(unpacked, first - len(places.positions) if isinstance(first, int) else first)
    holder: Any = args if isinstance(first, int) else kwargs
    holder[first] = _replaced(holder[first], further, hint, what)


def _replaced(value: Any, path: Sequence[Step], hint: Any, what: str) -> Any:
    """Returns the value with the part at this path converted."""
    if not path:
        return _Place(what, hint).fit(value)
    step, *further = path
    if isinstance(step, Field):
        return _with_field(value, step.name, further, what)
    if isinstance(step, int) and hasattr(value, "_fields"):
        return _with_field(value, value._fields[step], further, what)
    if isinstance(step, Items):
        within = _within(hint, 0)
        return type(value)(_Place(f"an item of {what}", within).fit(item) for item in value)
    key = list(value)[step.number] if isinstance(step, Entry) else step
    # The type of a value does not depend on a key that is not a string.
    within = _within(hint, "" if isinstance(step, Entry) and not isinstance(key, str) else key)
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = _replaced(copy[key], further, within, f"{what}[{key!r}]")
    return tuple(copy) if isinstance(value, tuple) else copy


def _within(hint: Any, step: int | str) -> Any:
    return hint if isinstance(hint, _hints.Unresolved) else _convert.inner(hint, step)


def _with_field(value: Any, stored: str, path: Sequence[Step], what: str) -> Any:
    """Converts a field of an object by the annotation of its class. The object was created for this attempt, and is
    changed in place."""
    cls = type(value)
    name = stored if hasattr(value, stored) else _restore.renamed(cls).get(stored, stored)
    hint = _plain(_hints.of_class(cls).get(name, Any))
    fitted = _replaced(getattr(value, name), path, hint, f"{what}.{name}")
    if isinstance(value, tuple):
        return value._replace(**{name: fitted})  # type: ignore[attr-defined]
    object.__setattr__(value, name, fitted)
    return value


def _each(place: _Place, key: int | str, value: Any) -> Any:
    """Converts a value that ``*args`` or ``**kwargs`` receives, with its own name in errors."""
    try:
        return place.fit(value)
    except InvalidArgument as error:
        if isinstance(key, str):
            error.message = f"argument `{key}`: {error.message}"
        raise


def _unpacked(place: _Place | None) -> Any:
    return None if place is None else _hints.unpacked(place.hint)


def _further(what: str, hint: Any, values: dict[str, Any]) -> dict[str, Any]:
    fields = _hints.of_class(hint) if isinstance(hint, type) else {}
    unknown = values.keys() - fields.keys()
    if unknown:
        raise InvalidArgument(f"{_names(unknown)}: the function has no such argument")
    found: dict[str, Any] = _Place(f"arguments `{what}`", hint).fit(values)
    return found


def _check_call(function: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Raises ``InvalidArgument`` if the function cannot be called with these arguments, because a retry could not
    succeed."""
    places = _known(function)
    if places.signature is None:
        return
    try:
        given = places.signature.bind(*args, **kwargs).arguments
        missing = _provided(places.signature.parameters.values()) - given.keys()
        if missing and len(args) > places.own_places:
            # If a wrapper provides some of them, it is ambiguous to which parameter an argument without a name belongs.
            raise TypeError(f"missing a required argument: {_names(missing)}")
    except TypeError as error:
        name = getattr(function, "__qualname__", function)
        hint = f"{_identity.DECORATED}; one that provides arguments is given the others by name"
        raise InvalidArgument(f"{name}: {error}", hint=hint if _signatures.passes_on(function) else None) from None


# ---------------------------------------------------------------------------------------------------- classes of tasks


class _Attributes:
    """The attributes that plain JSON may set on an object of a task class: those that it annotates, and the parameters
    of its ``__init__``, except those that the class provides itself."""

    def __init__(self, cls: Any) -> None:
        self.places: dict[str, tuple[_Place, ...]] = {}
        #: Required fields.
        self.wanted: set[str] = set()
        hints = _hints.of_class(cls)
        withheld = {name for name, hint in hints.items() if _is_of_class(cls, name, hint)}
        if dataclasses.is_dataclass(cls):
            withheld |= {field.name for field in dataclasses.fields(cls) if not field.init}
            self.wanted = {
                field.name
                for field in dataclasses.fields(cls)
                if field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            }
        further: dict[str, Any] = {}
        try:
            parameters, of_init = _hints.of(cls.__init__)
        except (TypeError, ValueError):
            parameters, of_init = (), {}
        injected = _resolve.injected(cls.__init__)
        for parameter in parameters[1:]:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in injected:
                continue
            further[parameter.name] = _convert.with_default(of_init.get(parameter.name), parameter.default)
        self.is_settled = not any(isinstance(hint, _hints.Unresolved) for hint in (*hints.values(), *of_init.values()))
        for name in (hints.keys() | further.keys()) - withheld:
            if name.startswith("_") or _provides(cls, name):
                continue
            # Converted by the parameter's annotation first, then by the attribute's, so that the limits of both apply.
            both = [further.get(name)]
            if name in hints:
                both.append(_convert.with_default(_plain(hints[name]), inspect.getattr_static(cls, name, None)))
            different = [hint for place, hint in enumerate(both) if hint is not None and hint not in both[:place]]
            self.places[name] = tuple(_Place(f"attribute `{name}`", hint) for hint in different)

    def fit(self, name: str, value: Any) -> Any:
        for place in self.places[name]:
            value = place.fit(value)
        return value


def _plain(hint: Any) -> Any:
    """Returns a type without ``Final``, which does not affect the value."""
    while typing.get_origin(hint) is typing.Final:
        hint = typing.get_args(hint)[0]
    return Any if hint is typing.Final else hint


def _is_of_class(cls: Any, name: str, hint: Any) -> bool:
    """Whether an annotation belongs to a constant of the class, to a name that objects do not have, or to a dependency."""
    if _resolve.holds_marker(hint) or _resolve.marker_of(inspect.getattr_static(cls, name, None)) is not None:
        return True
    while typing.get_origin(hint) is typing.Annotated:
        hint = hint.__origin__
    if hint is typing.ClassVar or typing.get_origin(hint) is typing.ClassVar:
        return True
    if hint is dataclasses.InitVar or isinstance(hint, dataclasses.InitVar):
        return True
    is_final = hint is typing.Final or typing.get_origin(hint) is typing.Final
    return is_final and hasattr(cls, name) and not dataclasses.is_dataclass(cls)


def _provides(cls: Any, name: str) -> bool:
    """Whether a class has a method, property or another descriptor of this name, which must not be replaced, and whose
    setter might run code. (Slots only hold values.)"""
    own = inspect.getattr_static(cls, name, None)
    return not isinstance(own, types.MemberDescriptorType) and any(
        hasattr(type(own), method) for method in ("__get__", "__set__", "__delete__")
    )


def _attributes(cls: Any) -> tuple[_Attributes, bool]:
    made = _Attributes(cls)
    return made, made.is_settled


_known_classes = _hints.Cache(_attributes)


def attributes(cls: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Converts plain JSON to attributes of a task class by its annotations. Raises ``InvalidArgument`` with the names
    of those that do not fit, and of those that a payload must not set."""
    known = _known_classes(cls)
    own = [name for name in given if name.startswith("_") or _provides(cls, name)]
    if own:
        raise InvalidArgument(f"{_names(own)}: the class {cls.__qualname__} has its own, which no payload can replace")
    unknown = given.keys() - known.places.keys()
    if unknown:
        raise InvalidArgument(
            f"{_names(unknown)}: the class {cls.__qualname__} takes no such attribute from plain JSON",
            hint="annotate it in the class (not as ClassVar), or make it a parameter of __init__",
        )
    missing = known.wanted - given.keys()
    if missing:
        raise InvalidArgument(f"{_names(missing)}: the class {cls.__qualname__} has no default for it")
    return {name: known.fit(name, value) for name, value in given.items()}
