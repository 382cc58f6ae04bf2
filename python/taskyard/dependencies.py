"""Services by their class: ``Inject`` in signatures, ``get_service`` in code; registered permanently, or for a test."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast
from unittest import mock

from . import _port, _request
from ._config import QueuedTaskConfig
from ._resolve import INJECTED, SERVICES, Injected
from .errors import InvalidArgument, ServiceNotFound
from .queued_tasks import QueuedTasks

__all__ = ["INJECTED", "Inject", "get_service", "register_service", "unregister_service"]

T = TypeVar("T")

_services: dict[Any, Any] = {}
_factories: dict[Any, Callable[[], Any]] = {}
_lock = threading.RLock()


def _config() -> QueuedTaskConfig:
    port = _port.default()
    names = (
        "max_workers",
        "worker_idle_timeout",
        "polling_interval",
        "fallback_polling_interval",
        "task_timeout",
        "max_retries",
        "use_postgresql_notify",
        "notify_channel",
    )
    config = QueuedTaskConfig({name: port.defaults[name] for name in names if name in port.defaults})
    defaults = _Defaults()
    config.listen(defaults)
    # Referenced here because the configuration holds listeners weakly.
    object.__setattr__(config, "_defaults", defaults)
    return config


class _Defaults:
    """Makes changed settings the defaults of tasks that this process adds."""

    has_server = False

    def configured(self, config: QueuedTaskConfig, name: str) -> None:
        if name in ("max_retries", "task_timeout"):
            _port.default().defaults[name] = getattr(config, name)


_BUILT_IN: dict[Any, Callable[[], Any]] = {QueuedTasks: QueuedTasks, QueuedTaskConfig: _config}


def register_service(service: Any, cls: Any = None, *, force: bool = False) -> None:
    """Registers ``service`` as what ``Inject(cls)`` and ``get_service(cls)`` return. ``cls`` defaults to its class.

    A function or class in place of an instance is called on first use. Raises ``InvalidArgument`` if a service is
    registered for ``cls`` already, unless ``force=True``. A bare ``Mock`` or ``AsyncMock`` gets plain methods where the
    class has them, so that ``mock.add_task(...)`` returns at once, as the real one does::

        register_service(SmtpMailer(), Mailer)
    """
    key = cls if cls is not None else type(service)
    with _lock:
        if not force and (key in _services or key in _factories):
            raise InvalidArgument(
                f"a service is registered for {_name(key)} already", hint="register_service(..., force=True) replaces it"
            )
        _services.pop(key, None)
        _factories.pop(key, None)
        if isinstance(service, mock.NonCallableMock):
            _services[key] = _plain_methods(service, key)
        elif inspect.isclass(service) or inspect.isfunction(service):
            _factories[key] = service
        else:
            _services[key] = service


def _plain_methods(double: Any, cls: Any) -> Any:
    """Replaces methods of a double that returns a coroutine for every call by plain mocks where the class has a plain
    function."""
    if not inspect.isclass(cls):
        return double
    for name, function in inspect.getmembers(cls, inspect.isfunction):
        # The second condition: before Python 3.12, `inspect` does not see marked functions.
        is_async = inspect.iscoroutinefunction(function) or hasattr(function, "_is_coroutine")
        if name.startswith("_") or is_async:
            continue
        child = getattr(double, name, None)
        if isinstance(child, mock.AsyncMock):
            plain = mock.MagicMock(name=name, return_value=child.return_value, side_effect=child.side_effect)
            setattr(double, name, plain)
    return double


def unregister_service(cls: Any) -> None:
    """Removes a registered service; a built-in service becomes available again. Does nothing for a class that is not
    registered."""
    with _lock:
        _services.pop(cls, None)
        _factories.pop(cls, None)


def get_service(cls: type[T] | Callable[..., T]) -> T:
    """Returns the service of a class: the registered one, else the process's ``QueuedTasks`` or ``QueuedTaskConfig``.
    Raises ``ServiceNotFound`` if there is none::

        get_service(QueuedTasks).add_task(send_welcome, "ada@example.org")
    """
    with _lock:
        if cls in _services:
            return cast("T", _services[cls])
        factory = _factories.get(cls) or _BUILT_IN.get(cls)
        if factory is None:
            raise ServiceNotFound(
                f"no service is registered for {_name(cls)}", hint="register_service(instance, cls) at the start"
            )
        service = factory()
        # The queue of a process may change (a test's, a worker's), so its handle is created anew each time.
        if cls is not QueuedTasks or cls in _factories:
            _services[cls] = service
        return cast("T", service)


def _name(cls: Any) -> str:
    return getattr(cls, "__qualname__", None) or repr(cls)


def is_registered(cls: Any) -> bool:
    """Whether a service is registered in place of a built-in one."""
    return cls in _services or cls in _factories


def Inject(cls: Any, *, use_cache: bool = True) -> Any:
    """Returns a parameter default that is replaced by a service: ``tasks: QueuedTasks = Inject(QueuedTasks)``.

    In FastAPI endpoints it is a ``Depends``; in task functions the worker injects it. A function in place of a class is
    called as with ``Depends``, with its own dependencies. ``use_cache=False`` provides a new value for each parameter::

        async def notify(user: int, mailer: Mailer = Inject(Mailer)) -> None: ...
    """
    provide = _provider(cls)
    try:
        from fastapi import Depends
    except ImportError:
        return Injected(provide, use_cache=use_cache)
    return Depends(provide, use_cache=use_cache)


@functools.cache
def _provider(cls: Any) -> Callable[..., Any]:
    """Returns the function that provides a service: one for each class, so that it is provided once and can be
    overridden."""
    if inspect.isclass(cls) and issubclass(cls, QueuedTasks):
        return _tasks_provider(cls)
    if inspect.isclass(cls):

        def provide() -> Any:
            return get_service(cls)

        provide.__name__ = f"inject_{cls.__name__}"
        return provide
    return cast("Callable[..., Any]", cls)


def _tasks_provider(cls: Any) -> Callable[..., Any]:
    def provide(connection: Any = None, response: Any = None) -> Any:
        if is_registered(cls) or connection is None:
            return get_service(cls)
        return cls(connection=connection, response=response)

    try:
        provide.__signature__ = inspect.Signature(_request.framework_parameters())  # type: ignore[attr-defined]
    except ImportError:
        return provide
    SERVICES[provide] = cls
    return provide
