"""Settings of this process that can be changed at run time. Settings of other servers are not reachable from here."""

from __future__ import annotations

import datetime as dt
import logging
import sys
import weakref
from typing import Any

from .errors import SECONDS_MIN, InvalidArgument

__all__ = ["QueuedTaskConfig", "changed", "have_no_effect"]

log = logging.getLogger("taskyard")

_NUMBERS = {
    "max_workers": (1, int),
    "worker_idle_timeout": (0, float),
    "polling_interval": (0.01, float),
    "fallback_polling_interval": (0.01, float),
    "task_timeout": (0, float),
    "max_retries": (0, int),
}

#: Settings of servers, which have no effect in a process without one.
OF_SERVERS = frozenset({"max_workers", "worker_idle_timeout", "polling_interval", "fallback_polling_interval"})
#: Settings of servers that were changed before a server of this process started, with their values.
changed: dict[str, Any] = {}


#: Why settings of servers have no effect in this process, once that is known.
unused: str | None = None


def have_no_effect(why: str | None) -> None:
    """Warns about each setting of servers that was changed so far, and from now on about each one that is changed."""
    global unused
    unused = why
    while why is not None and changed:
        name, value = changed.popitem()
        log.warning(
            "QueuedTaskConfig.%s = %s has no effect: %s. For the server of `queue start` or `serve` give %sQUEUE_%s, or %s in "
            "taskyard.toml",
            name,
            value,
            why,
            "--workers, " if name == "max_workers" else "",
            name.upper(),
            name,
        )


class QueuedTaskConfig:
    """The settings of this process, as returned by ``get_service(QueuedTaskConfig)``.

    ``max_workers``, ``worker_idle_timeout``, ``polling_interval`` and ``fallback_polling_interval`` (the last three in
    seconds, or a timedelta) apply to servers in this process: those of ``queue.lifespan(workers=...)``, which starts
    that many workers whatever ``max_workers`` was before. The server of ``queue start`` and ``serve`` is another
    process with settings of its own (``--workers``, ``QUEUE_MAX_WORKERS``, ``taskyard.toml``); it warns about an
    application that changes them here.

    ``task_timeout`` (seconds, 0 = no limit) and ``max_retries`` are the defaults of tasks added from this process. A
    change takes effect at once. ``use_postgresql_notify``, ``notify_channel`` and ``namespace`` are read-only: they are
    decided when the database is opened.

    Raises ``AttributeError`` for an unknown or read-only setting, and ``InvalidArgument`` for a value out of range::

        get_service(QueuedTaskConfig).max_retries = 5
    """

    def __init__(self, values: dict[str, Any]) -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_listeners", weakref.WeakSet())

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"there is no setting `{name}`") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._values:
            raise AttributeError(f"there is no setting `{name}`")
        if name not in _NUMBERS:
            raise AttributeError(f"the setting `{name}` is fixed at the start and cannot be changed while running")
        least, cls = _NUMBERS[name]
        if isinstance(value, dt.timedelta) and cls is float:
            value = value.total_seconds()
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not least <= value <= sys.float_info.max
            or cls(value) != value
        ):
            raise InvalidArgument(f"{name}: {value!r} is not a {'whole ' if cls is int else ''}number, {least} or more")
        self._values[name] = max(float(value), SECONDS_MIN) if cls is float and value > 0 else cls(value)
        for listener in list(self._listeners):
            listener.configured(self, name)
        if name in OF_SERVERS and not any(listener.has_server for listener in list(self._listeners)):
            changed[name] = value
            have_no_effect(unused)

    def __dir__(self) -> list[str]:
        return sorted(self._values)

    def __repr__(self) -> str:
        return f"QueuedTaskConfig({', '.join(f'{name}={value!r}' for name, value in sorted(self._values.items()))})"

    def listen(self, listener: Any) -> None:
        """Calls ``listener.configured(self, name)`` at each change for as long as the listener exists. Its attribute
        ``has_server`` says whether a change reaches a server."""
        self._listeners.add(listener)
