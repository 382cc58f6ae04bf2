"""Dependencies of task functions, resolved by the worker: ``Depends(...)`` and ``Inject(...)``, defaults or ``Annotated``.

Nested, cached for one attempt, with ``yield`` (closed at the attempt's end), sync ones on a thread, and with the
application's ``dependency_overrides``. What only a request has cannot be had in a task, and is refused by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import typing
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from .errors import FunctionRefused


class Dependency(NamedTuple):
    """One injected parameter."""

    name: str
    provide: Callable[..., Any]
    use_cache: bool


#: Providers of services that are got without a request, each with its class: these very functions, and none around them.
SERVICES: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

#: What only a request has, by the names of Starlette's and FastAPI's classes.
_OF_REQUESTS = {"Request", "HTTPConnection", "WebSocket", "Response", "BackgroundTasks", "SecurityScopes"}
_OF_PARAMS = {"Header", "Cookie", "Query", "Path", "Body", "Form", "File", "UploadFile"}


class Injected:
    """``Inject(Service)`` where FastAPI is not installed: the same as its ``Depends``."""

    def __init__(self, dependency: Callable[..., Any] | None = None, *, use_cache: bool = True) -> None:
        self.dependency = dependency
        self.use_cache = use_cache


def _marker(value: Any) -> Any:
    """A value that marks an injected parameter, or None."""
    if isinstance(value, Injected):
        return value
    # FastAPI's Depends and Security, without importing FastAPI.
    if type(value).__module__ == "fastapi.params" and hasattr(value, "dependency") and hasattr(value, "use_cache"):
        return value
    return None


class _InjectedValue:
    def __repr__(self) -> str:
        return "INJECTED"


#: The default to write for a parameter that ``Annotated[..., Depends(...)]`` fills.
INJECTED: Any = _InjectedValue()


_found: weakref.WeakKeyDictionary[Any, tuple[Dependency, ...]] = weakref.WeakKeyDictionary()


def injected(function: Any) -> tuple[str, ...]:
    """The names of a function's injected parameters."""
    return tuple(dependency.name for dependency in dependencies(function))


def dependencies(function: Any) -> tuple[Dependency, ...]:
    """A function's injected parameters."""
    try:
        found = _found.get(function)
    except TypeError:
        return tuple(_find(function))
    if found is None:
        found = _found[function] = tuple(_find(function))
    return found


def _find(function: Any) -> list[Dependency]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return []
    parameters = signature.parameters.values()
    annotated = any("Annotated" in str(p.annotation) or isinstance(p.annotation, str) for p in parameters)
    marked = any(_marker(p.default) is not None for p in parameters)
    if not annotated and not marked:
        return []
    hints = _hints(function)
    found = []
    for parameter in signature.parameters.values():
        hint = hints.get(parameter.name, parameter.annotation)
        marker = _marker(parameter.default)
        cls: Any = hint
        if typing.get_origin(hint) is typing.Annotated:
            cls = typing.get_args(hint)[0]
            marker = marker or next((m for m in map(_marker, hint.__metadata__) if m is not None), None)
        if marker is not None:
            provide = marker.dependency if marker.dependency is not None else cls
            found.append(Dependency(parameter.name, provide, marker.use_cache))
    return found


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        return dict(getattr(function, "__annotations__", {}))


def refuse_requests(function: Any, path: str, seen: frozenset[Any] = frozenset()) -> None:
    """Raises ``FunctionRefused`` if something below needs a request, with the way to it."""
    if function in seen:
        raise FunctionRefused(f"{path} depends on itself")
    for dependency in dependencies(function):
        provide = dependency.provide
        where = f"{path} -> {dependency.name}"
        if provide is None or not callable(provide):
            raise FunctionRefused(f"{where}: there is nothing to provide it")
        if _service(provide) is not None:
            continue
        hints = _hints(provide)
        try:
            parameters = inspect.signature(provide).parameters.values()
        except (TypeError, ValueError):
            continue
        nested = set(injected(provide))
        for parameter in parameters:
            hint = hints.get(parameter.name, parameter.annotation)
            metadata = getattr(hint, "__metadata__", ())
            names = {getattr(hint, "__name__", ""), type(parameter.default).__name__, *(type(m).__name__ for m in metadata)}
            if names & (_OF_REQUESTS | _OF_PARAMS):
                raise FunctionRefused(
                    f"{where}: `{parameter.name}` is of a request, and a task has none",
                    hint="pass what the task needs as an argument",
                )
            if (
                parameter.name not in nested
                and parameter.default is parameter.empty
                and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            ):
                raise FunctionRefused(
                    f"{where}: `{parameter.name}` would come from a request, and a task has none",
                    hint="give it a default, or pass what the task needs as an argument",
                )
        refuse_requests(provide, where, seen | {function})


def _service(provide: Any) -> Any:
    """The class of a service of ours that has another provider for requests; None of others."""
    from .queued_tasks import QueuedTasks

    if inspect.isclass(provide) and issubclass(provide, QueuedTasks):
        return provide
    try:
        return SERVICES.get(provide)
    except TypeError:
        return None  # what cannot be referred to weakly is none of ours


class Resolver:
    """Resolves the dependencies of one attempt; ``overrides`` are the application's."""

    def __init__(self, overrides: Any, run_sync: Callable[[Callable[[], Any]], Any]) -> None:
        self._overrides = overrides or {}
        self._run_sync = run_sync
        self._cache: dict[Any, Any] = {}
        self.stack = contextlib.AsyncExitStack()

    async def resolve(self, function: Any) -> dict[str, Any]:
        """Values for the injected parameters of a function."""
        return {dependency.name: await self._one(dependency) for dependency in dependencies(function)}

    async def _one(self, dependency: Dependency) -> Any:
        original = dependency.provide
        provide = self._overrides.get(original, original)
        if dependency.use_cache and provide in self._cache:
            return self._cache[provide]
        service = _service(provide)
        if service is not None:
            from .dependencies import get_service

            value = get_service(service)
        else:
            value = await self._call(provide, await self.resolve(provide))
        if dependency.use_cache:
            self._cache[provide] = value
        return value

    async def _call(self, provide: Any, values: dict[str, Any]) -> Any:
        # An object that is called like a function.
        called = type(provide).__call__ if not inspect.isclass(provide) else provide
        if inspect.isasyncgenfunction(provide) or inspect.isasyncgenfunction(called):
            return await self.stack.enter_async_context(contextlib.asynccontextmanager(provide)(**values))
        if inspect.isgeneratorfunction(provide) or inspect.isgeneratorfunction(called):
            return await self.stack.enter_async_context(self._on_thread(contextlib.contextmanager(provide)(**values)))
        if inspect.iscoroutinefunction(provide) or inspect.iscoroutinefunction(called):
            return await provide(**values)
        if inspect.isclass(provide):
            return provide(**values)
        value = await self._run_sync(lambda: provide(**values))
        return await value if inspect.isawaitable(value) else value

    @contextlib.asynccontextmanager
    async def _on_thread(self, manager: Any) -> Any:
        value = await self._run_sync(manager.__enter__)
        try:
            yield value
        except BaseException as error:
            leave = functools.partial(manager.__exit__, type(error), error, error.__traceback__)
            handled = await asyncio.shield(self._run_sync(leave))
            if not handled:
                raise
        else:
            await self._run_sync(lambda: manager.__exit__(None, None, None))
