"""The port of a worker process: sends additions and requests through the worker's socket."""

from __future__ import annotations

from typing import Any

from .. import _core, _port

__all__ = ["WorkerPort"]


class WorkerPort:
    """Sends the additions and requests of a task through the socket."""

    def __init__(self, channel: _core.Channel, defaults: dict[str, Any]) -> None:
        #: None in a process that a body has forked, which has an engine of its own.
        self.channel: _core.Channel | None = channel
        self.defaults = defaults

    def add(self, tasks: list[dict[str, Any]]) -> _core.Addition:
        return (self.channel or _port.default()).add(tasks)

    def ask(self, request: _core.ClientRequest) -> _core.Reply:
        return (self.channel or _port.default()).ask(request)
