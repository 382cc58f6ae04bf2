"""Runs attempts: decodes the arguments, resolves dependencies, calls the body, and reports how it ended.

Async bodies run on the worker's loop, sync ones on a thread, in a copied context. Read next: ``_target.py`` (what runs),
``_validation.py`` (arguments), ``_ends.py`` (failures).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import _additions, _codec, _forks, _hooks, _resolve
from .._running import Filled, Running, current
from ..errors import Fail, Retry, Snooze
from . import _ends, _executor, _validation
from ._target import Target, local_target, placed

if TYPE_CHECKING:
    from ._loop_worker import Worker

__all__ = ["Attempts"]

log = logging.getLogger("queued_task")

#: No parent with a plain JSON result.
NONE_PLAIN: frozenset[str] = frozenset()


class Attempts:
    """The attempts of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def run(self, running: Running, target: Target) -> None:
        """Runs an attempt from its first step to its report."""
        worker = self._worker
        current.set(running)
        running.has_begun = True
        if not worker.channel.begins(running.slot):
            worker._drop(running)
            return
        if log.isEnabledFor(logging.DEBUG):
            log.debug("started task %s: %s, attempt %d", running.id, running.kind, running.attempt)
        result, data, error, stage = None, b"null", None, "reading"
        try:
            self._check(running)
            running.load_context()
            results, plain = None, NONE_PLAIN
            parents, running.parents = running.parents, None
            if isinstance(parents, Exception):
                raise parents
            if parents is not None:
                filled = Filled(len(running.payload), worker.settings["arguments_filled_bytes_max"])
                results = {parent["id"]: functools.partial(filled.result, parent) for parent in parents}
                plain = frozenset(parent["id"] for parent in parents if parent["plain"])
            payload = _codec.decode_call(running.payload, running.opened, results, plain)
            local = target.function is None
            if local:
                target = local_target(running, payload)
                if target.is_sync:
                    worker.kinds.note_local(running.kind)
            stage = "running"
            if _hooks.pre_run:
                await _hooks.run(_hooks.pre_run, running)
            stage = "reading"
            if payload.ours and not payload.foreign and target.is_simple:
                args, kwargs, injects = payload.args, payload.kwargs, False
            else:
                args, kwargs = _validation.arguments(target.function, payload)
                injects = target.injects
            stage = "running"
            if injects:
                result = await self.inject(running, target, args, kwargs)
            else:
                result = await self.call(running, target, args, kwargs, local)
            if running.bound:
                await running.check_bound()
            if isinstance(result, (Retry, Fail, Snooze)):
                # Returning one of these is the same as raising it.
                raise result
            stage = "result"
            if result is not None:
                data = _codec.encode_result(
                    result, bytes_max=worker.settings["result_bytes_max"], nesting_max=worker.settings["nesting_max"]
                )
        except BaseException as raised:
            error = raised
        if worker.is_forked:
            _forks.end(error)
        if running.additions is not None:
            error, stage = await self._settled(running, error, stage)
        if _hooks.post_run:
            try:
                await _hooks.run_after(running, None if error is not None else result, error)
            except BaseException as raised:
                if error is None:
                    error = raised
            if running.additions is not None:
                error, stage = await self._settled(running, error, stage)
        running.has_returned = True
        if error is not None and running.calls:
            await _executor.ended(running, lambda: worker._ended)
        self.report(running, target, data, error, stage)

    async def _settled(self, running: Running, error: BaseException | None, stage: str) -> tuple[BaseException | None, str]:
        """Waits for the additions of a body; returns how the attempt ends, and the stage of that."""
        # Its thread is free, and is not needed again.
        self._worker.slots.leave(running)
        self._worker._flush()
        after = await _additions.outcome(running, error)
        if after is error:
            return error, stage
        return after, "settling" if isinstance(after, asyncio.CancelledError) else "running"

    async def inject(self, running: Running, target: Target, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Calls the body with the values of its dependencies, which are entered before it and exited after it."""
        assert target.function is not None
        overrides = getattr(self._worker._app, "dependency_overrides", None)
        resolver = _resolve.Resolver(overrides, lambda call: self.on_thread(running, call))
        result, error = None, None
        try:
            values = await resolver.resolve(target.function)
            self._check(running)
            args, kwargs = placed(target.function, args, kwargs, values)
            result = await self.call(running, target, args, kwargs, False)
        except BaseException as raised:
            error = raised
        if self._worker.is_forked:
            # Before the exit of dependencies, whose connections belong to the parent.
            _forks.end(error)
        try:
            await resolver.stack.__aexit__(type(error) if error else None, error, error.__traceback__ if error else None)
        except BaseException as raised:
            error = raised
        # A dependency that handles the body's error does not make it a success.
        if error is not None:
            raise error
        return result

    async def call(self, running: Running, target: Target, args: list[Any], kwargs: dict[str, Any], local: bool) -> Any:
        """Calls the body with its arguments: on the loop if it is async, on a thread if it is sync."""
        worker = self._worker
        function = target.function
        assert function is not None
        if not target.is_sync:
            return await function(*args, **kwargs)
        if local:
            # Only known to be sync once it was decoded.
            place: asyncio.Future[None] = worker.loop.create_future()
            worker.slots.pool.wait(place)
            try:
                await place
            except asyncio.CancelledError:
                # The slot may have been assigned at the same moment.
                if not place.cancelled():
                    worker.slots.pool.leave()
                raise
            running.has_seat = True
        result = await self.on_thread(running, lambda: function(*args, **kwargs))
        if not inspect.isawaitable(result):
            return result
        # A sync callable may return a coroutine, which is the task from here on and needs no thread.
        worker.slots.leave(running)
        self._check(running, result)
        return await result

    def _check(self, running: Running, unbegun: Any = None) -> None:
        """Raises ``CancelledError`` if the attempt was interrupted during code on a thread, which cannot be interrupted."""
        if running.interrupted is not None:
            if inspect.iscoroutine(unbegun):
                unbegun.close()
            raise asyncio.CancelledError

    async def on_thread(self, running: Running, call: Callable[[], Any]) -> Any:
        """Runs a call on a thread, in a copy of the caller's context."""
        context = contextvars.copy_context()
        running.on_thread = True
        try:
            return await self._worker._threads.run(self._worker.loop, lambda: context.run(call))
        finally:
            running.on_thread = False

    def report(self, running: Running, target: Target, data: bytes, error: BaseException | None, stage: str) -> None:
        """Reports the end of an attempt to the server, once."""
        worker = self._worker
        slot, channel = running.slot, worker.channel
        if worker._running.pop(slot, None) is None:
            return
        if running.rests > 0:
            worker.slots.released -= 1
        worker.slots.leave(running)
        if worker._ended:
            return
        worker.notes.finish(running)
        running.over = True
        running.failed_at = None if error is None else time.monotonic()
        if error is None:
            channel.returned(slot, data)
        elif running.interrupted is not None and isinstance(error, asyncio.CancelledError):
            if stage == "settling" and running.interrupted == "timeout":
                # The server cannot tell a wait from a body.
                self.fail(running, _ends.timed_out_settling(running.timeout), None)
            else:
                channel.interrupted(slot)
        else:
            self.fail(running, _ends.describe(error, stage, cancelled=True), error)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("finished task %s: %s", running.id, "done" if error is None else type(error).__name__)
        worker._flush()

    def fail(self, running: Running, told: tuple[Any, ...], error: BaseException | None) -> None:
        """Records the failure of an attempt for the server and the log; ``told`` is the value of ``_ends.describe``."""
        if told[4] != "snooze":
            self._worker.failures.add(running, told, error)
        self._worker.channel.raised(running.slot, *told)
