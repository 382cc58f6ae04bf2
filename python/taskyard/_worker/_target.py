"""The function that runs the tasks of a kind, and what is needed to run it."""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import _codec, _hints, _identity, _resolve
from .._running import Running
from ..errors import InvalidArgument
from . import _validation

__all__ = ["LOCAL", "Target", "load", "local_target", "placed", "target_of"]


@dataclass(eq=False, slots=True)
class Target:
    """The function of a kind, and how to run it. ``function`` is None for local functions, which arrive with each task."""

    function: Callable[..., Any] | None
    is_sync: bool
    _is_simple: bool = False

    @property
    def is_simple(self) -> bool:
        """Whether the function takes decoded arguments unchanged: it is not a task class, nothing is injected, and its
        annotations are resolved, so that this cannot change."""
        if not self._is_simple and self.function is not None and self.function not in _validation.CLASSES:
            injected = _identity.shape(self.function).injected
            self._is_simple = not injected and _resolve.is_settled(self.function)
        return self._is_simple

    @property
    def injects(self) -> bool:
        """Whether it has injected parameters. Raises ``FunctionRefused`` if that is unclear."""
        return bool(_resolve.dependencies(self.function))


LOCAL = Target(None, False)


def target_of(function: Callable[..., Any]) -> Target:
    """Returns the target for a function or a task class."""
    if _identity.is_task_class(function):
        from .._tasks.task_codec import runner

        run = runner(function)  # type: ignore[arg-type]
        _validation.CLASSES[run] = function
        return Target(run, not inspect.iscoroutinefunction(run))
    return Target(function, not _is_async(function))


def _is_async(function: Any) -> bool:
    """Whether the function itself is a coroutine function.

    Neither the function that it wraps nor a mark that is copied from there (``inspect.markcoroutinefunction``) decides
    that. A sync function that returns a coroutine runs on a thread, and the coroutine is awaited.
    """
    if not isinstance(function, types.FunctionType):
        # An object with `__call__`.
        function = inspect.getattr_static(type(function), "__call__", function)
    code = getattr(function, "__code__", None)
    return bool(code.co_flags & inspect.CO_COROUTINE) if code is not None else inspect.iscoroutinefunction(function)


def load(app: str) -> Any:
    """Loads the application at ``module:attribute``, the return value of ``module:function()``, or the module itself.
    Raises ``InvalidArgument`` if there is no such attribute, and errors of the import."""
    name, _, path = app.partition(":")
    attribute = path.removesuffix("()")
    module = importlib.import_module(name)
    found: Any = module
    for part in attribute.split(".") if attribute else ():
        try:
            found = getattr(found, part)
        except AttributeError:
            raise InvalidArgument(f"--app {app}: the module `{name}` has no `{attribute}`") from None
    if attribute != path:
        return _made(app, found)
    if inspect.isfunction(found) and not inspect.signature(found).parameters:
        raise InvalidArgument(
            f"--app {app}: `{attribute}` is a function without parameters, and not an application; if it makes one, "
            f"write {app}()"
        )
    return found


def _made(app: str, function: Any) -> Any:
    """Calls an application's factory, and returns the application."""
    if not callable(function):
        raise InvalidArgument(f"--app {app}: {function!r} cannot be called")
    made = function()
    if inspect.isawaitable(made):
        if inspect.iscoroutine(made):
            made.close()
        raise InvalidArgument(f"--app {app}: the function is async; one that makes an application is not")
    return made


def placed(
    function: Any, args: list[Any], kwargs: dict[str, Any], values: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Combines a caller's arguments with injected values, whose parameters may precede them."""
    signature = _identity.shape(function).signature
    if not args or signature is None:
        return args, {**kwargs, **values}
    bound = dict(signature.bind(*args, **kwargs).arguments)
    parameters = signature.parameters.values()
    if any(p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL) for p in parameters):
        whole = _hints.signature(function)
        given = {**bound, **values}
        made = inspect.BoundArguments(whole, {name: given[name] for name in whole.parameters if name in given})
        return list(made.args), made.kwargs
    further: dict[str, Any] = next((bound.pop(p.name, {}) for p in parameters if p.kind is p.VAR_KEYWORD), {})
    return [], {**further, **bound, **values}


def local_target(running: Running, payload: _codec.Payload) -> Target:
    """Returns the target for the local function in a task's payload, whose signature the server has verified."""
    given = payload.function
    if type(given) is not dict or list(given) != ["$dill"]:
        raise InvalidArgument(f"task {running.kind} came without its function")
    function = _codec.Decoder(running.opened).value(given)
    if not callable(function):
        raise InvalidArgument(f"task {running.kind} came with something else than a function")
    return target_of(function)
