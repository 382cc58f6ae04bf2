"""What runs the tasks of a kind: a function, and what must be known to run it."""

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
from . import _fit


@dataclass(eq=False, slots=True)
class Target:
    """The function of a kind, and what must be known to run it. Of a local function there is none yet."""

    function: Callable[..., Any] | None
    is_sync: bool
    _is_simple: bool = False

    @property
    def is_simple(self) -> bool:
        """Whether it takes the arguments of this package's payloads as they stand: it is no class of tasks, nothing is
        injected, and its annotations are settled, so that this stays so."""
        if not self._is_simple and self.function is not None and self.function not in _fit.CLASSES:
            injected = _identity.shape(self.function).injected
            self._is_simple = not injected and _resolve.is_settled(self.function)
        return self._is_simple

    @property
    def injects(self) -> bool:
        """Whether parameters of it are injected; raises ``FunctionRefused`` if that cannot be told."""
        return bool(_resolve.dependencies(self.function))


LOCAL = Target(None, False)


def target_of(function: Callable[..., Any]) -> Target:
    """How this function, or this class of tasks, is run."""
    if _identity.is_task_class(function):
        from .._tasks.travel import runner

        run = runner(function)  # type: ignore[arg-type]
        _fit.CLASSES[run] = function
        return Target(run, not inspect.iscoroutinefunction(run))
    return Target(function, not _is_async(function))


def _is_async(function: Any) -> bool:
    """Whether its own body is a coroutine's. Neither what it is wrapped around tells that, nor a mark that is copied from there
    (``inspect.markcoroutinefunction``). A sync function that hands out a coroutine runs on a thread, and the coroutine is awaited."""
    if not isinstance(function, types.FunctionType):
        # An object that is called like a function.
        function = inspect.getattr_static(type(function), "__call__", function)
    code = getattr(function, "__code__", None)
    return bool(code.co_flags & inspect.CO_COROUTINE) if code is not None else inspect.iscoroutinefunction(function)


def load(app: str) -> Any:
    """The application at ``module:attribute``, what ``module:function()`` makes, or the module itself."""
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
    """What an application's factory makes."""
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
    """A caller's arguments with those that are injected, which may stand before them."""
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
    """The local function that came with its task, exactly as it was signed: the server has verified it."""
    given = payload.function
    if type(given) is not dict or list(given) != ["$dill"]:
        raise InvalidArgument(f"task {running.kind} came without its function")
    function = _codec.Decoder(running.opened).value(given)
    if not callable(function):
        raise InvalidArgument(f"task {running.kind} came with something else than a function")
    return target_of(function)
