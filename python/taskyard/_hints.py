"""Resolves the annotations of parameters and attributes, each on its own.

An annotation that cannot be resolved (a name that only type checkers import, or a misspelt one) becomes
:class:`Unresolved` and does not affect the others. The caller decides what follows from it: injection (``_resolve``)
refuses one that may have been meant as a dependency, conversion (``_worker/_validation``) refuses a value that cannot be
checked.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from . import _signatures

__all__ = ["Cache", "Hints", "Unresolved", "is_alias", "namespace", "of", "of_class", "signature", "unaliased", "unpacked"]

T = TypeVar("T")


class Unresolved(NamedTuple):
    """An annotation that cannot be evaluated at run time."""

    #: The text in the source, as far as there is one.
    text: str
    why: str
    #: The annotation itself, if it is an object and not a string.
    object: Any = None

    def __str__(self) -> str:
        return f"its annotation `{self.text}` cannot be resolved ({self.why})"


class Hints(NamedTuple):
    """A function's parameters with their resolved annotations."""

    parameters: tuple[inspect.Parameter, ...]
    #: By the name of the parameter; parameters without an annotation are missing.
    hints: dict[str, Any]

    @property
    def are_settled(self) -> bool:
        return not any(isinstance(hint, Unresolved) for hint in self.hints.values())


def of(function: Any) -> Hints:
    """Returns the parameters and annotations of a callable: a function, a class, or an object. Raises ``TypeError`` or
    ``ValueError`` if it has no signature."""
    found = _signatures.parameters(function)
    scopes: dict[int, _Scope] = {}
    hints: dict[str, Any] = {}
    for parameter, source in found:
        if parameter.annotation is parameter.empty:
            continue
        scope = scopes.get(id(source))
        if scope is None:
            scope = scopes[id(source)] = _scope(source)
        hints[parameter.name] = _resolved(parameter.annotation, scope.names, scope.local, scope.generic)
    return Hints(tuple(parameter for parameter, _ in found), hints)


class _Scope(NamedTuple):
    """The names that a function's annotations can refer to."""

    names: dict[str, Any]
    local: dict[str, Any]
    generic: Any


def _scope(source: Any) -> _Scope:
    local = dict(_class_scope(source))
    for name, cell in zip(_free(source), getattr(source, "__closure__", None) or (), strict=False):
        try:
            local[name] = cell.cell_contents
        except ValueError:
            continue  # not set yet
    return _Scope(namespace(source), local, getattr(source, "__type_params__", ()))


signature = _signatures.signature


def of_class(cls: type) -> dict[str, Any]:
    """Returns the annotations of a class and its bases by name. The nearest class wins for a name that several
    annotate."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        module = sys.modules.get(base.__module__)
        for name, annotation in _own_annotations(base).items():
            generic = getattr(base, "__type_params__", ())
            # Names of the module come first, as for `typing.get_type_hints`: an attribute may have its type's name.
            found[name] = _resolved(annotation, dict(vars(base)), getattr(module, "__dict__", {}), generic, True)
    return found


def _own_annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    given = cls.__dict__.get("__annotations__", {})
    return given if isinstance(given, dict) else {}


def namespace(function: Any) -> dict[str, Any]:
    """Returns the global names that a function's annotations can refer to."""
    source = _signatures.source(function)
    found = getattr(source, "__globals__", None)
    if found is None:
        found = getattr(sys.modules.get(getattr(source, "__module__", None) or ""), "__dict__", {})
    return found


def _class_scope(function: Any) -> dict[str, Any]:
    """Returns the names of the class that contains a function, which its annotations can refer to."""
    scope = sys.modules.get(getattr(function, "__module__", None) or "")
    *outer, _ = (getattr(function, "__qualname__", None) or "").split(".")
    for part in outer if isinstance(function, types.FunctionType) else ():
        scope = getattr(scope, "__dict__", {}).get(part)
    return vars(scope) if isinstance(scope, type) else {}


def _free(function: Any) -> tuple[str, ...]:
    return getattr(getattr(function, "__code__", None), "co_freevars", ())


def _resolved(
    annotation: Any, names: dict[str, Any], local: dict[str, Any], generic: Any = (), is_class: bool = False
) -> Any:
    shim: Any
    if is_class:
        shim = type("shim", (), {"__annotations__": {"it": annotation}})
    else:

        def shim() -> None: ...

        shim.__annotations__ = {"it": annotation}
    try:
        if generic:
            local = {**{each.__name__: each for each in generic}, **local}
        hint = typing.get_type_hints(shim, names, local, include_extras=True)["it"]
        unaliased(hint)  # an alias may refer to something that cannot be resolved
        return hint
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        if isinstance(annotation, str):
            return Unresolved(annotation, why)
        if isinstance(annotation, typing.ForwardRef):
            return Unresolved(annotation.__forward_arg__, why)
        return Unresolved(str(annotation), why, annotation)


def is_alias(hint: Any) -> bool:
    """Whether a type was made by a ``type X = ...`` statement."""
    return type(hint).__name__ == "TypeAliasType" and hasattr(hint, "__value__")


def unaliased(hint: Any) -> Any:
    """Returns the type that an alias refers to, and any other type unchanged."""
    while is_alias(hint):
        hint = hint.__value__
    return hint


def unpacked(hint: Any) -> Any:
    """Returns the type inside ``*args: Unpack[...]`` or ``**kwargs: Unpack[...]``; None for anything else."""
    if getattr(hint, "__unpacked__", False):
        return tuple.__class_getitem__(typing.get_args(hint))
    if getattr(typing.get_origin(hint), "__name__", getattr(typing.get_origin(hint), "_name", "")) == "Unpack":
        return typing.get_args(hint)[0]
    return None


class Cache(Generic[T]):
    """Caches a value computed from a function's annotations.

    While some annotations of a function cannot be resolved, the value is computed again whenever its module has new
    names: the module may still be loading.
    """

    def __init__(self, make: Callable[[Any], tuple[T, bool]]) -> None:
        self._make = make
        self.settled: weakref.WeakKeyDictionary[Any, T] = weakref.WeakKeyDictionary()
        self._for_now: weakref.WeakKeyDictionary[Any, tuple[int, T]] = weakref.WeakKeyDictionary()

    def __call__(self, function: Any) -> T:
        try:
            found = self.settled.get(function)
        except TypeError:
            return self._make(function)[0]  # no weak reference to it is possible
        if found is not None:
            return found
        size = len(namespace(function))
        kept = self._for_now.get(function)
        if kept is not None and kept[0] == size:
            return kept[1]
        made, is_settled = self._make(function)
        if is_settled:
            self.settled[function] = made
        else:
            self._for_now[function] = (size, made)
        return made
