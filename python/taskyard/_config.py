"""Settings that can be changed while running: of this process, never of another server."""

from __future__ import annotations

import datetime as dt
import sys
import weakref
from typing import Any

from .errors import SECONDS_MIN, InvalidArgument

_NUMBERS = {
    "max_workers": (1, int),
    "worker_idle_timeout": (0, float),
    "polling_interval": (0.01, float),
    "fallback_polling_interval": (0.01, float),
    "task_timeout": (0, float),
    "max_retries": (0, int),
}


class QueuedTaskConfig:
    """The settings of this process, as ``get_service(QueuedTaskConfig)`` gives them.

    ``max_workers``, ``worker_idle_timeout``, ``polling_interval`` and ``fallback_polling_interval`` (seconds or timedelta)
    are those of servers in this process; ``task_timeout`` (seconds, 0 = no limit) and ``max_retries`` the defaults of
    tasks added from it. A change counts at once. ``use_postgresql_notify``, ``notify_channel`` and ``namespace`` can only be
    read: they are decided when the database is opened.
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
            raise AttributeError(f"the setting `{name}` is decided at the start; it cannot be changed while running")
        least, cls = _NUMBERS[name]
        if isinstance(value, dt.timedelta) and cls is float:
            value = value.total_seconds()
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not least <= value <= sys.float_info.max
            or cls(value) != value
        ):
            raise InvalidArgument(f"{name}: {value!r} is no {'whole ' if cls is int else ''}number from {least} up")
        self._values[name] = max(float(value), SECONDS_MIN) if cls is float and value > 0 else cls(value)
        for listener in list(self._listeners):
            listener.configured(self, name)

    def __dir__(self) -> list[str]:
        return sorted(self._values)

    def __repr__(self) -> str:
        return f"QueuedTaskConfig({', '.join(f'{name}={value!r}' for name, value in sorted(self._values.items()))})"

    def listen(self, listener: Any) -> None:
        """``listener.configured(self, name)`` is called at each change, as long as it lives."""
        self._listeners.add(listener)
