"""The parameters of a call, each with the function in which it is written.

A decorator's wrapper (``functools.wraps``) is called by its own parameters. Its ``*args`` and ``**kwargs`` stand for
the parameters of the function within, except those that are its own. A wrapper may also provide some of these itself,
so none of them is required (:data:`PROVIDED`). A ``__signature__`` that the wrapper sets replaces all of this.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from typing import Any, NamedTuple

__all__ = ["PROVIDED", "WRAPPERS_MAX", "is_required", "parameters", "passes_on", "signature", "source", "within"]

#: Number of wrappers around a function that are unwrapped.
WRAPPERS_MAX = 100


class _Provided:
    def __repr__(self) -> str:
        return "..."


#: The default for a parameter without one that a wrapper passes on with its ``*args`` or ``**kwargs``, or provides.
PROVIDED: Any = _Provided()


class Written(NamedTuple):
    """A parameter of a call."""

    parameter: inspect.Parameter
    #: The function, or another callable, in whose scope its annotation is written.
    source: Any


def is_required(parameter: inspect.Parameter) -> bool:
    """Whether the function itself has no default for it."""
    return parameter.default is parameter.empty or parameter.default is PROVIDED


def parameters(function: Any, depth: int = 0) -> list[Written]:
    """Returns the parameters of a callable. Raises ``TypeError`` or ``ValueError`` if it has no signature."""
    if isinstance(function, types.MethodType) and within(function) is not None:
        found = parameters(function.__func__, depth)
        return found if found and found[0].parameter.kind in _FURTHER else found[1:]
    inner = within(function)
    if inner is None or depth >= WRAPPERS_MAX or _has_own_signature(function, inner):
        return [Written(each, source(function)) for each in _signature(function).parameters.values()]
    if isinstance(function, staticmethod):
        return parameters(inner, depth + 1)
    try:
        own = _own(function, inner)
    except (TypeError, ValueError):
        return parameters(inner, depth + 1)  # written in C: `functools.lru_cache`
    kinds = {each.parameter.kind for each in own}
    if not kinds & _FURTHER:
        return own
    return _filled(own, parameters(inner, depth + 1), kinds)


_FURTHER = frozenset({inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD})


def signature(function: Any) -> inspect.Signature:
    """Returns the parameters of a callable as a signature."""
    return inspect.Signature([each.parameter for each in parameters(function)], __validate_parameters__=False)


def within(function: Any) -> Any:
    """Returns the function that a wrapper wraps; None if the callable is not a wrapper."""
    return None if isinstance(function, type) else getattr(function, "__wrapped__", None)


def passes_on(function: Any) -> bool:
    """Whether a callable is a wrapper that accepts arguments of the function within by ``*args`` or ``**kwargs``."""
    inner = within(function)
    if inner is None or _has_own_signature(function, inner):
        return False
    try:
        return any(each.parameter.kind in _FURTHER for each in _own(function, inner))
    except (TypeError, ValueError):
        return False


def _has_own_signature(function: Any, inner: Any) -> bool:
    # `functools.wraps` also copies the attribute from the function within.
    stated = getattr(function, "__signature__", None)
    return stated is not None and stated is not getattr(inner, "__signature__", None)


def _own(function: Any, inner: Any) -> list[Written]:
    """Returns the parameters of the wrapper itself."""
    if not isinstance(function, types.FunctionType):
        found, at = _signature(function, follow_wrapped=False), inspect.getattr_static(type(function), "__call__", function)
    else:
        # `functools.wraps` copies annotations: they belong to the scope of the function within.
        at = source(inner) if _has_copied_annotations(function, inner) else function
        found = _signature(_without_signature(function), follow_wrapped=False)
    return [Written(each, at) for each in found.parameters.values()]


def _has_copied_annotations(function: Any, inner: Any) -> bool:
    if sys.version_info >= (3, 14):
        return function.__annotate__ is not None and function.__annotate__ is getattr(inner, "__annotate__", None)
    return bool(function.__annotations__ == getattr(inner, "__annotations__", None))


def _without_signature(function: types.FunctionType) -> types.FunctionType:
    """Returns a function without the ``__signature__`` that was copied to it."""
    if not hasattr(function, "__signature__"):
        return function
    made = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    if sys.version_info >= (3, 14):
        made.__annotate__ = function.__annotate__
    else:
        made.__annotations__ = function.__annotations__
    return made


def _signature(function: Any, *, follow_wrapped: bool = True) -> inspect.Signature:
    """Like ``inspect.signature``, but tolerates annotations that cannot be resolved."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return inspect.signature(function, follow_wrapped=follow_wrapped, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function, follow_wrapped=follow_wrapped)


def _filled(own: list[Written], inner: list[Written], kinds: set[Any]) -> list[Written]:
    """Returns a wrapper's parameters with those of the function within in place of ``*args`` and ``**kwargs``."""
    P = inspect.Parameter
    has_args, has_kwargs = P.VAR_POSITIONAL in kinds, P.VAR_KEYWORD in kinds
    mine = [each for each in own if each.parameter.kind not in _FURTHER]
    names = {each.parameter.name for each in mine}
    # Positional-only parameters would precede those that may be passed by name.
    has_names = any(each.parameter.kind is P.POSITIONAL_OR_KEYWORD for each in own)
    passed: list[Written] = []
    for parameter, at in inner:
        kind: Any = parameter.kind
        name = parameter.name
        if name in names:
            if kind not in _FURTHER:
                continue
            name = f"_{name}"  # the name is free in `*args` and `**kwargs`
        if kind is P.POSITIONAL_OR_KEYWORD and not (has_args and has_kwargs):
            kind = P.POSITIONAL_ONLY if has_args else P.KEYWORD_ONLY
        by_place = kind in (P.POSITIONAL_ONLY, P.VAR_POSITIONAL)
        if kind is not P.POSITIONAL_OR_KEYWORD and not (has_args if by_place else has_kwargs):
            continue
        if kind is P.POSITIONAL_ONLY and has_names:
            kind = P.POSITIONAL_OR_KEYWORD
        default = PROVIDED if parameter.default is P.empty and kind not in _FURTHER else parameter.default
        passed.append(Written(parameter.replace(name=name, kind=kind, default=default), at))
    # In the order of their kinds; within one, the wrapper's own come first.
    return sorted([*mine, *passed], key=lambda each: each.parameter.kind)


def source(called: Any) -> Any:
    """Returns the function in whose scope the annotations of a callable are written."""
    for _ in range(WRAPPERS_MAX):
        if hasattr(called, "__wrapped__") and not isinstance(called, type):
            called = called.__wrapped__
        elif isinstance(called, functools.partial):
            called = called.func
        elif isinstance(called, types.MethodType):
            called = called.__func__
        elif isinstance(called, type):
            made = [inspect.getattr_static(called, name) for name in ("__init__", "__new__")]
            made = [each.__func__ if isinstance(each, staticmethod) else each for each in made]
            written = [each for each in made if isinstance(each, types.FunctionType)]
            if not written:
                return called
            called = written[0]
        else:
            call = inspect.getattr_static(type(called), "__call__", None)
            if hasattr(called, "__globals__") or not isinstance(call, types.FunctionType):
                return called
            called = call
    return called
