"""Workers inside the application's process: for tests, development, and small applications."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
from collections.abc import AsyncIterator
from typing import Any

from .. import _config, _core, _hooks, _identity, _loops, _port
from ..errors import InvalidArgument
from . import _blocked, _exits
from ._loop_worker import Worker

__all__ = ["Embedded"]

#: Interval of the check for a second request to stop, in seconds.
LOOK = 0.2
#: Seconds that the end of a process waits for running tasks to be given back.
END_MAX = 3.0


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
        self._stack = contextlib.AsyncExitStack()
        #: The context after the start hooks; each task runs in a copy of it.
        self._context: contextvars.Context | None = None
        self._token = 0
        self._process = os.getpid()
        #: Seconds that running tasks have to end.
        self.grace: float = engine.defaults["shutdown_grace"]
        _identity.FUNCTIONS.add_root(os.getcwd())
        _identity.FUNCTIONS.include += tuple(engine.defaults.get("include") or ())

    async def __aenter__(self) -> Embedded:
        await self._stack.enter_async_context(self.hooks())
        try:
            await self.start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    @contextlib.asynccontextmanager
    async def hooks(self) -> AsyncIterator[None]:
        """Runs the ``on_worker_start`` hooks before the workers start, and the ``on_worker_stop`` hooks after they have
        ended, in the caller's task."""
        await _hooks.run_worker_start()
        self._context = contextvars.copy_context()
        try:
            yield
        finally:
            await _hooks.run_worker_stop()

    async def start(self) -> None:
        """Starts the server and its workers. Raises if the database cannot be used."""
        _exits.guard(asyncio.get_running_loop())
        box = _loops.box()
        self._token = box.on(self._wanted)
        from ..dependencies import get_service
        from ..queued_task import QueuedTaskConfig

        try:
            self._server = _core.Server(self._engine.core(), box.core, self._token, self._count, self._concurrency)
            await _loops.answer(self._server.started())
            _port.before_exit.append(self._end_with_process)
            config = get_service(QueuedTaskConfig)
            config.listen(self)
            # Settings that were changed before the start; `max_workers` was passed to the server.
            if _config.changed.keys() - {"max_workers"}:
                self.configured(config, "")
            _config.changed.clear()
        except BaseException:
            await self.stop()
            raise

    @property
    def has_server(self) -> bool:
        return self._server is not None and not self._server.has_ended()

    def configured(self, config: Any, name: str) -> None:
        """Applies a changed setting of this process to the server."""
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
            # Adds tasks through the engine of this process.
            worker.port = self._engine
            # Context variables of the start hooks are visible to every task.
            worker._context = self._context or worker._context
            self._workers.append(worker)
            _blocked.watch(worker)

    async def __aexit__(self, *_: Any) -> None:
        try:
            await self.stop()
        finally:
            await self._stack.aclose()

    async def stop(self) -> None:
        """Stops the server and waits for running tasks, up to ``grace`` seconds."""
        try:
            if self._server is not None:
                await self._stop_server(self._server)
        finally:
            _loops.box().off(self._token)

    async def _stop_server(self, server: _core.Server) -> None:
        hastening = asyncio.ensure_future(self._hasten(server))
        try:
            await _loops.answer(server.stop(self.grace))
        finally:
            hastening.cancel()
            if self._end_with_process in _port.before_exit:
                _port.before_exit.remove(self._end_with_process)

    async def _hasten(self, server: _core.Server) -> None:
        """Ends running tasks at once after a second Ctrl-C, when uvicorn waits only for this."""
        from ..events import _server

        web = _server()
        while web is not None:
            if web.force_exit:
                server.hasten()
                return
            await asyncio.sleep(LOOK)

    def _end_with_process(self) -> None:
        """Gives back running tasks, without charging an attempt, if the process ends without the end of the lifespan."""
        if self._server is not None and os.getpid() == self._process:
            self._server.stop(0.0).block(END_MAX)
