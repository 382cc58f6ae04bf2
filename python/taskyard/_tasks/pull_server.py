"""A server in this process that claims only the tasks that ``dequeue`` requests, and the claims of this process.

In all other respects it is the engine's server: one lease that its heartbeat extends, requests to cancel, time limits,
rescue of other servers' tasks. Tasks that this process holds when it dies are rescued when the lease is over; those
that it holds when its loop ends, or when the asyncio task that dequeued them is cancelled or fails, are given back.
Read next: ``claim.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import os
from collections.abc import Callable
from typing import Any

from .. import _codec, _core, _identity, _loops, _port
from .._running import Running
from .._worker import Worker, _ends, _exits, _validation
from .._worker._target import Target, local_target
from ..errors import DatabaseError, TaskyardError
from .background import BackgroundTask
from .base import Task
from .claim import END_MAX, Claim, quietly, remember
from .task_codec import bind, rebuilt

__all__ = ["PullWorker", "claim_of", "of"]

log = logging.getLogger("queued_task")

#: Seconds that one request for a task waits; longer waits send another request.
ASK_MAX = 30.0
#: Interval at which a call that waits for the worker checks whether the server has ended, in seconds.
END_EVERY = 1.0
#: Seconds that an ending server waits for pending writes.
STOP_MAX = 5.0
#: Context variables that the application set when it was loaded apply to every task; those that a task or a request
#: sets do not.
_CONTEXT = contextvars.copy_context()


class Asking:
    """A call of ``dequeue`` that waits for tasks."""

    def __init__(self) -> None:
        #: Number of the pending request.
        self.number: int | None = None
        self.is_over = False


class PullWorker(Worker):
    """The worker of such a server, on the running loop. It starts no task by itself."""

    def __init__(self, channel: _core.Channel, pull_server: PullServer) -> None:
        super().__init__(channel, _identity.FUNCTIONS)
        self.pull_server = pull_server
        self.port = pull_server.engine
        self._context = _CONTEXT
        self.arrived: dict[str, tuple[Any, ...]] = {}
        self.claims: dict[int, Claim] = {}
        self._asked = 0
        self._early: dict[int, str] = {}
        #: Whether it may request tasks.
        self.is_ready = False
        self.has_ended = asyncio.Event()
        self._on_end = self.has_ended.set

    def _on_begin(self, settings: dict[str, Any]) -> None:
        super()._on_begin(settings)
        self.is_ready = True
        self.pull_server.has_changed.set()

    def _on_run(self, runs: list[tuple[Any, ...]]) -> None:
        # The reply to the caller follows immediately. No task waits for a slot here.
        self.channel.started([run[0] for run in runs])
        for run in runs:
            self.arrived[run[1]] = run

    def _on_interrupt(self, slots: list[tuple[int, str]]) -> None:
        for slot, why in slots:
            if (claim := self.claims.get(slot)) is not None:
                claim.interrupt(why)
            elif any(run[0] == slot for run in self.arrived.values()):
                # The caller has not received the task yet.
                self._early[slot] = why

    def _runs_singly(self, kind: str) -> None:
        """Does nothing: sync functions are not limited to one thread here."""

    def _start(self) -> None:
        """Does nothing: no task starts by itself."""

    def _end(self) -> None:
        if not self._ended:
            for claim in list(self.claims.values()):
                claim.interrupt("release")
        super()._end()

    def begin(self, coroutine: Any, running: Running) -> None:
        """Runs a body as an asyncio task in a clean context."""
        self._begin(coroutine, running)

    async def on_thread(self, running: Running, call: Callable[[], Any]) -> Any:
        return await self.attempts.on_thread(running, call)

    # ------------------------------------------------------------------------------------------------------ claiming

    def waive(self, asking: Asking) -> None:
        """Withdraws a request for tasks. Tasks that were claimed for it meanwhile still arrive."""
        asking.is_over = True
        if asking.number is not None and not self._ended:
            with contextlib.suppress(OSError):
                self.channel.waive(asking.number)

    async def take(self, asking: Asking, limit: int, queues: list[str] | None, wait: float) -> list[Claim]:
        """Claims up to ``limit`` tasks, waiting up to ``wait`` seconds for the first."""
        until = self.loop.time() + wait
        while not self._ended and not asking.is_over:
            left = until - self.loop.time()
            asking.number, self._asked = self._asked, self._asked + 1
            reply = self.channel.take(asking.number, limit, queues, min(max(left, 0.0), ASK_MAX))
            ids = await self._answer(reply) or []
            asking.number = None
            claims = [claim for id in ids if (claim := self._claim(id)) is not None]
            # Tasks that could not be decoded or belong elsewhere no longer block the queue: there may be more behind
            # them.
            if claims or (not ids and left <= ASK_MAX):
                return claims
        return []

    def _claim(self, id: str) -> Claim | None:
        run = self.arrived.pop(id, None)
        if run is None:
            # The server has refused it: an invalid signature, or it had expired.
            return None
        found = self.kinds.find(run)
        if isinstance(found, str):
            self.channel.parked(run[0], found)
            self._flush()
            return None
        running = Running(self, run)
        try:
            running.load_context()
            task = self._task(running, found)
        except BaseException as error:
            self.attempts.fail(running, _ends.describe(error, "reading"), error)
            self._flush()
            return None
        claim = Claim(self, running, task)
        self.claims[running.slot] = claim
        self._running[running.slot] = running
        bind(task, running)
        claim.guard()
        if (why := self._early.pop(running.slot, None)) is not None:
            claim.interrupt(why)
        return claim

    def _task(self, running: Running, target: Target) -> Task:
        payload = _codec.decode_call(running.payload, running.opened)
        name = self.kinds.name(running.kind)
        cls: Any = None if name is None else self.functions.find(name)
        if _identity.is_task_class(cls):
            return rebuilt(cls, _validation.class_attributes(cls, payload))
        if target.function is None:
            target = local_target(running, payload)
        assert target.function is not None
        args, kwargs = _validation.arguments(target.function, payload)
        run = self.attempts.inject if target.injects else functools.partial(self.attempts.call, local=False)

        async def execute() -> Any:
            return await run(running, target, args, kwargs)

        task = BackgroundTask.seen(target.function, args, kwargs)
        object.__setattr__(task, "execute", execute)
        return task

    # -------------------------------------------------------------------------------------------------------- ending

    async def end(self, claim: Claim, say: Callable[[int], None]) -> str | None:
        """Reports the end of an attempt through ``say``. Returns the state that was written, or None if the lease was
        over."""
        running = claim.running
        self.claims.pop(running.slot, None)
        if self._running.pop(running.slot, None) is None or self._ended:
            return None
        self.notes.finish(running)
        running.over = True
        say(running.slot)
        try:
            reply = self.channel.ended(running.slot)
        except OSError:
            return None
        state: str | None = await self._answer(reply)
        return state

    async def _answer(self, reply: _core.Reply) -> Any:
        """Waits for a reply. Returns None if the server has ended."""
        answer = asyncio.ensure_future(_loops.answer(reply))
        gone = asyncio.ensure_future(self.has_ended.wait())
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            gone.cancel()
            answer.cancel()


class PullServer:
    """The server and the claims of one event loop on one engine's database."""

    def __init__(self, engine: _port.Engine) -> None:
        self.engine = engine
        self.loop = asyncio.get_running_loop()
        self.worker: PullWorker | None = None
        self._server: _core.Server | None = None
        self._token = 0
        self._keeper: asyncio.Task[None] | None = None
        self._spawned: set[asyncio.Task[Any]] = set()
        #: The claims of each asyncio task.
        self._owned: dict[asyncio.Task[Any], list[Claim]] = {}
        #: Set when there is another worker, or the current one is ready.
        self.has_changed = asyncio.Event()
        self._is_closed = False
        _identity.FUNCTIONS.add_root(os.getcwd())
        known = _identity.FUNCTIONS.include
        _identity.FUNCTIONS.include += tuple(name for name in engine.defaults.get("include") or () if name not in known)

    async def open(self) -> None:
        _exits.guard(self.loop)
        box = _loops.box()
        self._token = box.on(self._wanted)
        self._keeper = _CONTEXT.copy().run(self.loop.create_task, self._keep())
        self._server = _core.Server(self.engine.core(), box.core, self._token, 1, 1, True)
        await _loops.answer(self._server.started())

    def _wanted(self) -> None:
        assert self._server is not None
        for descriptor in self._server.take_sockets():
            self.worker = PullWorker(_core.Channel(descriptor), self)
            self.has_changed.set()

    async def ready(self) -> PullWorker:
        """Returns the worker once it may request tasks. Raises ``DatabaseError`` if the server has ended."""
        while (worker := self.worker) is None or not worker.is_ready or worker.has_ended.is_set():
            self.has_changed.clear()
            if self.has_ended():
                raise DatabaseError("the server in this process has ended by itself; the log says why")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.has_changed.wait(), END_EVERY)
        return worker

    def has_ended(self) -> bool:
        """Whether its server has ended by itself, as it does when its database is lost."""
        return self._server is not None and self._server.has_ended()

    async def take(self, limit: int, queues: list[str] | None, wait: float) -> list[Claim]:
        """Claims tasks for the calling asyncio task. If the call is cancelled meanwhile, claimed tasks are given back."""
        asking = Asking()
        taking = self.loop.create_task(self._take(asking, limit, queues, wait))
        self._spawned.add(taking)
        taking.add_done_callback(self._spawned.discard)
        try:
            claims = await asyncio.shield(taking)
        except asyncio.CancelledError:
            asking.is_over = True
            if self.worker is not None:
                self.worker.waive(asking)
            taking.add_done_callback(self._give_back)
            raise
        for claim in claims:
            self.own(claim)
        return claims

    def own(self, claim: Claim) -> None:
        """Makes the calling asyncio task the owner of a claim."""
        remember(claim)
        owner = asyncio.current_task()
        if owner is None:
            return
        owned = self._owned.get(owner)
        if owned is None:
            owned = self._owned[owner] = []
            owner.add_done_callback(self._owner_ended)
        owned[:] = [other for other in owned if not other.is_over]
        owned.append(claim)

    async def _take(self, asking: Asking, limit: int, queues: list[str] | None, wait: float) -> list[Claim]:
        worker = await self.ready()
        return await worker.take(asking, limit, queues, wait)

    def _give_back(self, taking: asyncio.Task[list[Claim]]) -> None:
        if not taking.cancelled() and taking.exception() is None:
            for claim in taking.result():
                quietly(claim.requeue(), self.loop, self._spawned)

    def _owner_ended(self, owner: asyncio.Task[Any]) -> None:
        """Handles the end of an owner. One that returned may have passed its claims on; if it was cancelled or failed,
        they are given back or failed, because nothing else would end them."""
        owned = self._owned.pop(owner, [])
        if self._is_closed or self.loop.is_closed() or (not owner.cancelled() and owner.exception() is None):
            return
        for claim in owned:
            if claim.is_over:
                continue
            if owner.cancelled():
                log.warning("task %s is given back: the worker that took it was cancelled", claim.id)
                quietly(claim.requeue(), self.loop, self._spawned)
            else:
                error = owner.exception()
                assert error is not None
                log.error("task %s has failed: the worker that took it failed: %s", claim.id, error)
                quietly(claim.fail(error), self.loop, self._spawned)

    # ------------------------------------------------------------------------------------------------------- closing

    async def _keep(self) -> None:
        """Runs for as long as the loop: the end of a loop cancels all tasks that are left on it, including this one."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._close()

    async def close(self) -> None:
        """Gives back the remaining claims, and ends the server."""
        if self._keeper is not None and not self._keeper.done():
            self._keeper.cancel()
            await asyncio.wait({self._keeper}, timeout=END_MAX + STOP_MAX)
        # A task that had not taken its first step does nothing when it is cancelled.
        await self._close()

    async def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if _servers.get(self.engine, {}).get(self.loop) is self:
            del _servers[self.engine][self.loop]
        worker, server = self.worker, self._server
        try:
            if worker is not None and not worker.has_ended.is_set() and worker.claims:
                back = [asyncio.ensure_future(claim.requeue()) for claim in list(worker.claims.values())]
                await asyncio.wait(back, timeout=END_MAX)
            if server is not None:
                # Only hooks on death may still run.
                await asyncio.wait_for(_loops.answer(server.stop(STOP_MAX - 2.0)), STOP_MAX)
        except (asyncio.TimeoutError, TaskyardError) as error:
            log.error(
                "tasks taken by this process could not be given back: %s; they run again when its lease has expired", error
            )
        finally:
            _loops.box().off(self._token)

    def abandon(self) -> None:
        """Stops the server at once, which gives everything back, when the loop is gone or the process ends."""
        if self._server is not None and not self._is_closed:
            self._is_closed = True
            self._server.stop(0.0).block(STOP_MAX)


#: The open objects by engine and loop.
_servers: dict[_port.Engine, dict[asyncio.AbstractEventLoop, PullServer]] = {}
_opening: dict[tuple[_port.Engine, asyncio.AbstractEventLoop], asyncio.Future[PullServer]] = {}


async def of(engine: _port.Engine) -> PullServer:
    """Returns the object of the running loop, which is opened by the first call."""
    loop = asyncio.get_running_loop()
    for other in [other for other in _servers.get(engine, {}) if other.is_closed()]:
        _servers[engine].pop(other).abandon()
    while (found := _servers.get(engine, {}).get(loop)) is not None:
        if not found.has_ended():
            return found
        # A new one replaces it, which another caller may open meanwhile. If the database is lost, starting it raises
        # the reason.
        await found.close()
    opening = _opening.get((engine, loop))
    if opening is None:
        opening = loop.create_task(_open(engine, loop))
        _opening[engine, loop] = opening
        opening.add_done_callback(lambda _: _opening.pop((engine, loop), None))
    return await asyncio.shield(opening)


async def _open(engine: _port.Engine, loop: asyncio.AbstractEventLoop) -> PullServer:
    pull_server = PullServer(engine)
    try:
        await pull_server.open()
    except BaseException:
        await pull_server.close()
        raise
    _servers.setdefault(engine, {})[loop] = pull_server
    if _close not in engine.before_close:
        engine.before_close.append(_close)
        engine.before_close_now.append(_abandon)
    return pull_server


async def _close(engine: _port.Engine) -> None:
    """Gives back the claims of the running loop before its engine is closed."""
    pull_server = _servers.get(engine, {}).get(asyncio.get_running_loop())
    if pull_server is not None:
        await pull_server.close()


def _abandon(engine: _port.Engine) -> None:
    """Stops the servers of all loops before their engine is closed by code without a loop."""
    for pull_server in list(_servers.pop(engine, {}).values()):
        pull_server.abandon()


def claim_of(engine: _port.Engine, id: str) -> Claim | None:
    """Returns this process's claim of a task, or None."""
    for pull_server in list(_servers.get(engine, {}).values()):
        if pull_server.worker is not None:
            for claim in list(pull_server.worker.claims.values()):
                if claim.id == id:
                    return claim
    return None


def _at_exit() -> None:
    for engine in list(_servers):
        try:
            _abandon(engine)
        except Exception as error:  # the process ends in any case
            log.error("giving back the tasks taken by this process failed: %s", error)


def _forked() -> None:
    _servers.clear()
    _opening.clear()


_port.before_exit.append(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
