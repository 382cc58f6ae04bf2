"""The worker on a running event loop: the messages of its server, the tasks that wait, and their beginning.

The worker is connected to its server by a socket (``_core.Channel``) and never accesses the database. Async functions
run on its event loop, up to the server's concurrency; sync ones on a thread, one at a time. It reports that a body
begins before the body begins, so that a task that kills the process can be identified. Read next: ``_kinds.py`` (which
tasks can run), ``_attempts.py`` (their run), ``_slots.py`` (waits for other tasks), ``_notes.py`` (contexts and
progress), ``_life.py`` (worker processes).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

from .. import _core, _forks, _hooks, _identity, _port
from .._running import DEFAULT_LIMITS, Running
from . import _executor
from ._attempt_task import begin, report_unbegun
from ._attempts import Attempts
from ._failures import Failures
from ._kinds import Kinds
from ._notes import Notes
from ._parents import Parents
from ._slots import Slots
from ._target import Target
from ._threads import Threads
from ._worker_port import WorkerPort

__all__ = ["Worker"]

log = logging.getLogger("queued_task")


class Worker:
    """A worker on the running loop."""

    def __init__(
        self,
        channel: _core.Channel,
        functions: _identity.Functions,
        app: Any = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self.channel = channel
        self.functions = functions
        self.settings: dict[str, Any] = dict(DEFAULT_LIMITS)
        self.port: _port.Port = WorkerPort(channel, self.settings)
        self.loop = asyncio.get_running_loop()
        self._app = app
        self._on_end = on_end
        self.thread = threading.get_ident()
        # Those that the application set when it was loaded apply to every task; those that a task sets do not.
        self._context = contextvars.copy_context()
        self._threads = Threads()
        self.kinds = Kinds(self)
        self.attempts = Attempts(self)
        self._waiting: dict[int, tuple[Any, ...]] = {}
        self._parents = Parents(self)
        self.failures = Failures()
        self.notes = Notes(self)
        self._running: dict[int, Running] = {}
        self.slots = Slots(self)
        #: Running deliveries of dead letters to hooks.
        self._hook_calls: set[asyncio.Task[None]] = set()
        self._flushing = False
        self._leaving = False
        self._ended = False
        #: Whether this is a process that a body has forked, so that the worker is its parent's.
        self.is_forked = False
        _forks.watch(self)
        _executor.watch(self.loop)
        self.loop.add_reader(channel.fileno(), self._read)

    # ------------------------------------------------------------------------------------------- messages of the server

    def _read(self) -> None:
        try:
            for word, value in self.channel.receive():
                getattr(self, f"_on_{word}")(value)
        except (EOFError, OSError, ValueError) as error:
            if not isinstance(error, EOFError):
                log.error("the worker's socket failed: %s", error)
            self._end()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self.loop.remove_reader(self.channel.fileno())
        self.channel.unwatch()
        self.slots.pool.end()
        self.failures.end()
        for running in list(self._running.values()):
            running.interrupted = running.interrupted or "release"
            if running.can_be_cancelled():
                running.cancel()
        if self._on_end is not None:
            self._on_end()

    def _on_begin(self, settings: dict[str, Any]) -> None:
        self.settings.update(settings)
        self.channel.ready(bool(_hooks.death), self.functions.fingerprint(self.settings.get("namespace")))

    def _on_run(self, runs: list[tuple[Any, ...]]) -> None:
        for run in runs:
            self._waiting[run[0]] = run
            if not self.kinds.is_found(run[2]):
                # Reported to the server before any of them begins, so that it assigns the rest to other workers.
                self.kinds.find(run)
            if log.isEnabledFor(logging.DEBUG):
                log.debug("claimed task %s: %s", run[1], run[2])
        self._start()

    def _on_recall(self, slots: list[int]) -> None:
        for slot in slots:
            if not self._parents.recall(slot):
                self.give_back(slot)

    def give_back(self, slot: int) -> None:
        """Gives back a task that has not begun; does nothing for any other."""
        if self._waiting.pop(slot, None) is not None:
            self._parents.take(slot)
            self.channel.recalled(slot)
            self._flush()

    def _on_interrupt(self, slots: list[tuple[int, str]]) -> None:
        for slot, why in slots:
            # A thread cannot be interrupted: its function may check, or its process is ended.
            if (running := self._running.get(slot)) is not None:
                running.interrupt(why)

    def _on_knows(self, reasons: list[str]) -> None:
        self.channel.known(self.kinds.not_parked(reasons))

    def _on_death(self, death: tuple[int, bytes]) -> None:
        hook_call = self._context.copy().run(self.loop.create_task, self._call_death_hooks(*death))
        self._hook_calls.add(hook_call)
        hook_call.add_done_callback(self._hook_calls.discard)

    async def _call_death_hooks(self, number: int, dead: bytes) -> None:
        context = contextvars.copy_context()
        self.channel.tells(number)
        try:
            await _hooks.run_death(dead, lambda call: self._threads.run(self.loop, lambda: context.run(call)))
        finally:
            if not self._ended:
                self.channel.told(number)
                # After the callback that removes this delivery.
                self.loop.call_soon(self._flush)

    def _on_failures(self, answers: list[tuple[int, str, float]]) -> None:
        self.failures.settle(answers)
        self._leave_if_done()

    def _on_leave(self, _: Any) -> None:
        self._leaving = True
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._leaving and not (self._running or self._waiting or self._hook_calls or self.failures):
            self._write()
            self._end()

    # ------------------------------------------------------------------------------------------------- beginning

    def _runs_singly(self, kind: str) -> None:
        self.channel.singles([kind])

    def _start(self) -> None:
        """Begins as many waiting tasks as there are free slots."""
        free = self.settings["concurrency"] - (len(self._running) - self.slots.released)
        begun: list[tuple[Running, Target]] = []
        gone: list[int] = []
        for slot, run in self._waiting.items():
            if len(begun) >= free:
                break
            target = self.kinds.find(run)
            if isinstance(target, str):
                gone.append(slot)
                self.channel.parked(slot, target)
                self._flush()
                continue
            if target.is_sync and not self.slots.pool.is_free():
                continue
            # Few have parents.
            if run[9] and not self._parents.are_here(run):
                continue
            gone.append(slot)
            running = Running(self, run)
            if run[9]:
                running.parents = self._parents.take(slot)
            if target.is_sync:
                self.slots.pool.take()
                running.has_seat = True
            self._running[slot] = running
            begun.append((running, target))
        for slot in gone:
            del self._waiting[slot]
        if not begun:
            return
        # Sent before any of them begins, whatever they do.
        may_begin = set(self.channel.started([running.slot for running, _ in begun]))
        for running, target in begun:
            if running.slot not in may_begin:
                self._drop(running)
                continue
            self._begin(self.attempts.run(running, target), running)
            report_unbegun(running, functools.partial(self.attempts.report, running, target, b"null"))

    def _drop(self, running: Running) -> None:
        """Drops a task that was given back while the loop was blocked. Others may be waiting behind it."""
        running.over = True
        if self._running.pop(running.slot, None) is not None:
            self.slots.leave(running)
            self._flush()

    def _begin(self, coroutine: Any, running: Running) -> None:
        running.task = begin(self.loop, _forks.steps(self, coroutine), self._context.copy())
        if self.is_forked:
            # With eager start, the first step has already been taken.
            _forks.came_back()

    # --------------------------------------------------------------------------------------------------- writing

    def _flush(self) -> None:
        """Schedules one write at the end of this iteration of the loop, for everything that ended in it."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._turn_ended)

    def _turn_ended(self) -> None:
        self._flushing = False
        self._write()
        if not self._ended:
            self._start()
            self._leave_if_done()

    def _write(self) -> None:
        try:
            self.channel.flush()
        except OSError:
            self._end()
