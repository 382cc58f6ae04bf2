"""Runs the application's code in a worker process before its first task and after its last: lifespans that were given
with ``in_workers=True``, and the hooks ``on_worker_start`` and ``on_worker_stop``.

Lifespans are entered before the first hook and exited after the last, each in the asyncio task that entered it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .. import _core, _hooks, _identity
from ..errors import InvalidArgument
from ._loop_worker import Worker

__all__ = ["Life", "ProcessWorker", "check", "collect"]

log = logging.getLogger("queued_task")


def collect() -> None:
    """Starts to collect the lifespans that run in workers. Called before the application is loaded."""
    _hooks.lifespans = []


def check(app: Any, name: str | None) -> None:
    """Raises ``InvalidArgument`` if lifespans run in workers but ``--app`` does not name the application that they
    take."""
    if _hooks.lifespans and (app is None or isinstance(app, ModuleType)):
        raise InvalidArgument(
            "queue.lifespan(..., in_workers=True) runs in each worker and takes the application, of which only "
            + (f"the module `{name}` is named" if name else "included modules are named"),
            hint="name the application itself: --app module:attribute",
        )


class Life:
    """The lifespans and hooks of one worker process."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Enters the lifespans and runs the start hooks. Exits the entered lifespans and raises if one of these fails."""
        try:
            for tasks, lifespan in list(_hooks.lifespans or ()):
                # As in the web process.
                with contextlib.suppress(AttributeError):
                    self._app.state.tasks = tasks
                await self._stack.enter_async_context(lifespan(self._app))
            await _hooks.run_worker_start()
        except BaseException:
            await self._leave()
            raise

    async def stop(self) -> None:
        """Runs the stop hooks and exits the lifespans. Errors are logged."""
        try:
            await _hooks.run_worker_stop(is_process=True)
        finally:
            await self._leave()

    async def _leave(self) -> None:
        try:
            await self._stack.aclose()
        except BaseException:
            log.exception("a lifespan failed on the stop of the worker")


class ProcessWorker(Worker):
    """The worker of a worker process, whose owner decides when it takes tasks and when it ends.

    ``on_over`` is called when the last task has ended after the server requested that it leaves, or when the server has
    ended (:attr:`is_cut_off`). Until :meth:`end` requests can be sent to the server.
    """

    def __init__(self, channel: _core.Channel, app: Any, on_over: Callable[[], None]) -> None:
        #: Set when the server has sent its settings.
        self.has_begun = asyncio.Event()
        self._settings: dict[str, Any] = {}
        self._is_up = False
        self._is_leaving_now = False
        self._on_over = on_over
        super().__init__(channel, _identity.FUNCTIONS, app, on_over)

    @property
    def is_cut_off(self) -> bool:
        """Whether its server has ended."""
        return self._ended

    def come_up(self) -> None:
        """Takes tasks from now on, each in a copy of the caller's context. Call it after ``has_begun`` is set."""
        self._context = contextvars.copy_context()
        self._is_up = True
        if not self._ended:
            super()._on_begin(self._settings)
            self._leave_if_done()

    def end(self) -> None:
        """Disconnects from the server."""
        self._end()

    def _on_begin(self, settings: dict[str, Any]) -> None:
        self.settings.update(settings)
        self._settings = settings
        self.has_begun.set()

    def _leave_if_done(self) -> None:
        if not self._is_up:
            return
        self._is_leaving_now = True
        try:
            super()._leave_if_done()
        finally:
            self._is_leaving_now = False

    def _end(self) -> None:
        if self._is_leaving_now:
            self._on_over()
        else:
            super()._end()
