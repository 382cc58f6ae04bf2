"""Resolves dependencies of task functions in the worker: ``Depends(...)`` and ``Inject(...)``, as defaults or in
``Annotated``.

Dependencies may be nested, are cached for one attempt, may ``yield`` (closed at the attempt's end), run on a thread if
they are sync, and follow the application's ``dependency_overrides``. A dependency that only a request could provide is
refused with its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import re
import sys
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from . import _hints, _signatures
from .errors import FunctionRefused

__all__ = [
    "INJECTED",
    "RESOLVE",
    "SERVICES",
    "Injected",
    "Resolver",
    "dependencies",
    "holds_marker",
    "injected",
    "is_settled",
    "marker_of",
    "refuse_injection",
    "refuse_requests",
    "unfilled",
]


class Dependency(NamedTuple):
    """An injected parameter."""

    name: str
    provide: Callable[..., Any]
    use_cache: bool


#: Providers of services that exist without a request, with their classes. Compared by identity: wrappers do not count.
SERVICES: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

#: Names of Starlette's and FastAPI's classes whose objects only a request can provide.
_OF_REQUESTS = {"Request", "HTTPConnection", "WebSocket", "Response", "BackgroundTasks", "SecurityScopes"}
_OF_PARAMS = {"Header", "Cookie", "Query", "Path", "Body", "Form", "File", "UploadFile"}


class Injected:
    """The marker of ``Inject(Service)`` where FastAPI is not installed, in place of its ``Depends``."""

    def __init__(self, dependency: Callable[..., Any] | None = None, *, use_cache: bool = True) -> None:
        self.dependency = dependency
        self.use_cache = use_cache


def marker_of(value: Any) -> Any:
    """Returns a value if it marks an injected parameter, else None."""
    if isinstance(value, Injected):
        return value
    # FastAPI's Depends and Security, and classes derived from them, without importing FastAPI.
    for cls in type(value).__mro__:
        if cls.__module__ == "fastapi.params" and cls.__name__ == "Depends":
            return value
    return None


class _InjectedValue:
    def __repr__(self) -> str:
        return "INJECTED"

    def __reduce__(self) -> str:
        # Unpickled as the same object in every process.
        return "INJECTED"


#: The default to write for a parameter that ``Annotated[..., Depends(...)]`` fills.
INJECTED: Any = _InjectedValue()


def injected(function: Any) -> tuple[str, ...]:
    """Returns the names of a function's injected parameters."""
    return tuple(dependency.name for dependency in dependencies(function))


def dependencies(function: Any) -> tuple[Dependency, ...]:
    """Returns a function's injected parameters.

    Raises ``FunctionRefused`` if a parameter seems meant to be injected and cannot be: the function would run with a
    caller's value, or without one.
    """
    return _dependencies(function)


def is_settled(function: Any) -> bool:
    """Whether all annotations of a function are resolved, so that its dependencies do not change any more."""
    return function in _dependencies.settled


def _find(function: Any) -> tuple[tuple[Dependency, ...], bool]:
    try:
        parameters, hints = found = _hints.of(function)
    except (TypeError, ValueError):
        return (), True
    _refuse_kept(function, {parameter.name for parameter in parameters})
    made = (_dependency(function, parameter, hints.get(parameter.name)) for parameter in parameters)
    return tuple(dependency for dependency in made if dependency is not None), found.are_settled


_dependencies = _hints.Cache(_find)


def _refuse_kept(function: Any, names: set[str]) -> None:
    """Raises ``FunctionRefused`` for a wrapper that does not accept a dependency of the function within, which would
    run with its default."""
    inner = _signatures.within(function)
    kept = [] if inner is None else [name for name in injected(inner) if name not in names]
    if kept:
        raise FunctionRefused(
            f"{getattr(function, '__qualname__', repr(function))}: the wrapper around it does not take "
            f"{', '.join(f'`{name}`' for name in kept)}, which would be injected",
            hint="let the wrapper take **kwargs and pass them on; if it provides the value itself, remove the dependency",
        )


def unfilled(function: Any) -> tuple[tuple[int, str], ...]:
    """Returns the parameters whose default only marks that they are injected, each with its position (a large number
    for keyword-only ones)."""
    try:
        parameters = [each.parameter for each in _signatures.parameters(function)]
    except (TypeError, ValueError):
        return ()
    return tuple(
        (sys.maxsize if each.kind is each.KEYWORD_ONLY else place, each.name)
        for place, each in enumerate(parameters)
        if each.default is INJECTED or marker_of(each.default) is not None
    )


def _dependency(function: Any, parameter: inspect.Parameter, hint: Any) -> Dependency | None:
    path = f"{getattr(function, '__qualname__', repr(function))}: `{parameter.name}`"
    marker = marker_of(parameter.default)
    # The provider may be known even if the type in the annotation cannot be resolved.
    cls = hint.object if isinstance(hint, _hints.Unresolved) and hint.object is not None else _hints.unaliased(hint)
    if typing.get_origin(cls) is typing.Annotated:
        marker = marker or next((m for m in map(marker_of, cls.__metadata__) if m is not None), None)
        cls = cls.__origin__
    if marker is None:
        _refuse_unclear(path, parameter, hint, function)
        return None
    provide = marker.dependency if marker.dependency is not None else cls
    if isinstance(provide, _hints.Unresolved):
        raise FunctionRefused(f"{path}: there is nothing to provide it: {provide}", hint=RESOLVE)
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise FunctionRefused(
            f"{path} cannot be injected: that is done by name, and it is {parameter.kind.description}",
            hint="make it a parameter that can be given by its name",
        )
    return Dependency(parameter.name, provide, marker.use_cache)


RESOLVE = "import what it names where the function is defined, at run time too (not only under TYPE_CHECKING)"

#: Words in an annotation that show that its parameter is to be injected.
_WORDS = re.compile(r"Depends|\bInject(ed)?\b|\bSecurity\b")


def _refuse_unclear(path: str, parameter: inspect.Parameter, hint: Any, function: Any) -> None:
    """Raises ``FunctionRefused`` for a parameter that is not injected but was meant to be."""
    if isinstance(hint, _hints.Unresolved) and _speaks_of_injection(hint.text, function):
        raise FunctionRefused(f"{path} cannot be injected: {hint}", hint=RESOLVE)
    if not isinstance(hint, _hints.Unresolved) and holds_marker(hint):
        raise FunctionRefused(
            f"{path} would not be injected: its dependency is inside its type",
            hint="write it around the whole type: Annotated[Optional[User], Depends(get_user)]",
        )
    if parameter.default is INJECTED:
        raise FunctionRefused(
            f"{path} is to be injected, and {hint if isinstance(hint, _hints.Unresolved) else 'its annotation does not name a dependency'}",
            hint="annotate it as Annotated[User, Depends(get_user)]",
        )


def _speaks_of_injection(text: str, function: Any) -> bool:
    """Whether an annotation that cannot be resolved contains a dependency, judged by its words and by the objects that
    its names refer to."""
    if _WORDS.search(text):
        return True
    names = _hints.namespace(function)
    for word in re.findall(r"[\w.]+", text):
        first, *further = word.split(".")
        found = names.get(first)
        for part in further:
            found = getattr(found, "__dict__", {}).get(part)
        if found is None:
            continue
        if marker_of(found) is not None or holds_marker(found) or getattr(found, "__name__", "") in ("Depends", "Security"):
            return True
        if isinstance(found, types.FunctionType) and found.__module__ == "taskyard.dependencies":
            return True
    return False


def holds_marker(hint: Any, seen: tuple[Any, ...] = ()) -> bool:
    """Whether a type contains a dependency marker at any depth."""
    if any(hint is each for each in seen):
        return False
    alias = next((each for each in (hint, typing.get_origin(hint)) if _hints.is_alias(each)), None)
    if alias is not None:
        try:
            return holds_marker(alias.__value__, (*seen, hint, alias))
        except Exception:
            return False  # the type cannot be evaluated, and a value for it is refused
    inner: tuple[Any, ...] = typing.get_args(hint)
    metadata: tuple[Any, ...] = ()
    if typing.get_origin(hint) is typing.Annotated:
        inner, metadata = inner[:1], inner[1:]
    return any(marker_of(each) is not None for each in metadata) or any(holds_marker(each, (*seen, hint)) for each in inner)


def refuse_injection(function: Any, what: str) -> None:
    """Raises ``FunctionRefused`` if a callable has injected parameters in a place where nothing is injected."""
    if names := injected(function):
        raise FunctionRefused(
            f"{what} cannot be given {', '.join(f'`{name}`' for name in names)}: nothing is injected there",
            hint="call taskyard.dependencies.get_service(...) within it",
        )


def refuse_requests(function: Any, path: str, seen: frozenset[Any] = frozenset()) -> None:
    """Raises ``FunctionRefused`` if a dependency at any depth needs a request; the message names the path to it."""
    if function in seen:
        raise FunctionRefused(f"{path} depends on itself")
    for dependency in dependencies(function):
        provide = dependency.provide
        where = f"{path} -> {dependency.name}"
        if provide is None or not callable(provide):
            raise FunctionRefused(f"{where}: there is nothing to provide it")
        if _service(provide) is not None:
            continue
        try:
            parameters, hints = _hints.of(provide)
        except (TypeError, ValueError):
            continue
        nested = set(injected(provide))
        for parameter in parameters:
            hint = hints.get(parameter.name, parameter.annotation)
            metadata = getattr(hint, "__metadata__", ())
            names = {getattr(hint, "__name__", ""), type(parameter.default).__name__, *(type(m).__name__ for m in metadata)}
            if isinstance(hint, _hints.Unresolved):
                names |= _OF_REQUESTS.intersection(re.findall(r"\w+", hint.text))
            if names & (_OF_REQUESTS | _OF_PARAMS):
                raise FunctionRefused(
                    f"{where}: `{parameter.name}` belongs to a request, and a task has none",
                    hint="pass what the task needs as an argument",
                )
            if (
                parameter.name not in nested
                and _signatures.is_required(parameter)
                and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            ):
                raise FunctionRefused(
                    f"{where}: `{parameter.name}` would come from a request, and a task has none",
                    hint="give it a default, or pass what the task needs as an argument",
                )
        refuse_requests(provide, where, seen | {function})


def _service(provide: Any) -> Any:
    """Returns the class of a service of this package that has another provider for requests; None for other providers."""
    from .queued_tasks import QueuedTasks

    if inspect.isclass(provide) and issubclass(provide, QueuedTasks):
        return provide
    try:
        return SERVICES.get(provide)
    except TypeError:
        return None  # providers of this package support weak references


class Resolver:
    """Resolves the dependencies of one attempt; ``overrides`` are the application's."""

    def __init__(self, overrides: Any, run_sync: Callable[[Callable[[], Any]], Any]) -> None:
        self._overrides = overrides or {}
        self._run_sync = run_sync
        self._cache: dict[Any, Any] = {}
        self.stack = contextlib.AsyncExitStack()

    async def resolve(self, function: Any) -> dict[str, Any]:
        """Returns the values for the injected parameters of a function, by name."""
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
        # An object with `__call__`.
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
