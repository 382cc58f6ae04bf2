"""Workers within a process of one's own: for tests, development, and small applications."""

from __future__ import annotations

import functools
import os
from typing import Any

from .. import _core, _identity, _loops, _port
from ..errors import InvalidArgument
from . import Worker


class Embedded:
    """A server within this process, whose workers run on this loop: ``async with Embedded(tasks, workers=1): ...``"""

    def __init__(self, tasks: Any, workers: int = 1, concurrency: int | None = None, app: Any = None) -> None:
        engine = tasks._via
        if not isinstance(engine, _port.Engine):
            raise InvalidArgument("workers within a worker: start them by `taskyard queue start`")
        self._engine = engine
        self._tasks = tasks
        self._count = workers
        self._concurrency = concurrency or engine.defaults["concurrency"]
        self._app = app
        self._workers: list[Worker] = []
        self._server: _core.Server | None = None
        self._token = 0
        #: The longest that running tasks have to end, in seconds.
        self.grace: float = engine.defaults["shutdown_grace"]
        _identity.FUNCTIONS.add_root(os.getcwd())
        _identity.FUNCTIONS.include += tuple(engine.defaults.get("include") or ())

    async def __aenter__(self) -> Embedded:
        box = _loops.box()
        self._token = box.on(self._wanted)
        self._server = _core.Server(self._engine.core(), box.core, self._token, self._count, self._concurrency)
        from ..dependencies import get_service
        from ..queued_task import QueuedTaskConfig

        try:
            await _loops.answer(self._server.started())
            get_service(QueuedTaskConfig).listen(self)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    def configured(self, config: Any, name: str) -> None:
        """A setting of this process was changed."""
        if name == "max_workers":
            self._count = config.max_workers
        if self._server is not None:
            self._server.configure(
                self._count, config.worker_idle_timeout, config.polling_interval, config.fallback_polling_interval
            )

    def _wanted(self) -> None:
        assert self._server is not None
        for descriptor in self._server.take_sockets():
            channel = _core.Channel(descriptor)
            worker = Worker(channel, _identity.FUNCTIONS, self._app)
            worker._on_end = functools.partial(self._workers.remove, worker)
            # It adds by the engine that is here.
            worker.port = self._engine
            self._workers.append(worker)

    async def __aexit__(self, *_: Any) -> None:
        assert self._server is not None
        await _loops.answer(self._server.stop(self.grace))
        _loops.box().off(self._token)
