"""Workers on the application's own event loop: ``Worker`` dequeues tasks and runs them, ``WorkerPool`` runs several.

    pool = WorkerPool(TaskQueue(), num_workers=4)
    app = FastAPI(lifespan=pool.lifespan)

or, as a program: ``asyncio.run(WorkerPool(TaskQueue()).run())``. They run task objects and functions alike, in this
very process; ``taskyard queue start`` runs them in processes that can be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from ._tasks import pull_server
from ._tasks.base import Task
from ._tasks.queue import TaskQueue
from .errors import InvalidArgument, WrongState, seconds

log = logging.getLogger("queued_task")

#: Interval at which a waiting worker checks whether it is to stop, in seconds.
LOOK = 1.0
#: The first and the longest pause after an error of the queue, and after a worker failed, in seconds.
PAUSE = 0.1
PAUSE_MAX = 5.0
#: Seconds of running after which a worker's next pause is the first one again.
STEADY = 10.0
#: Seconds that a task that was given back has to end.
END_MAX = 6.0


class Worker:
    """Dequeues tasks of a queue, one after another, and runs them.

    A subclass may override ``start`` (to dequeue in its own way) or ``process`` (to add behaviour around each task),
    and need not call ``super().__init__()``.
    """

    #: The queue to take from (default: the project's own).
    queue: TaskQueue | None = None
    #: Whether the worker continues. Setting it to False ends it after the current task.
    running: bool = True
    #: The task that it runs now.
    current_task: Task | None = None

    _waiting: asyncio.Task[Any] | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _started: asyncio.Task[Any] | None = None

    def __init__(self, queue: TaskQueue | None = None) -> None:
        self.queue = queue

    async def start(self) -> None:
        """Runs until ``running`` is False. An error of a task fails the attempt; one of the queue is logged. Raises
        ``WrongState`` if the worker is running already."""
        if self._started is not None and not self._started.done():
            raise WrongState("this worker runs already")
        self._loop, self._started = asyncio.get_running_loop(), asyncio.current_task()
        if self.queue is None:
            self.queue = TaskQueue()
        pause = PAUSE
        while self.running:
            try:
                task = await self._next(self.queue)
            except Exception as error:
                log.error("a worker cannot take tasks: %s; trying again", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_MAX)
                continue
            pause = PAUSE
            if task is None:
                continue
            self.current_task = task
            try:
                await self.process(task)
            finally:
                self.current_task = None

    async def _next(self, queue: TaskQueue) -> Task | None:
        """Returns the next task; None after :data:`LOOK` seconds, or when the worker is to stop."""
        taking = self._waiting = asyncio.ensure_future(queue.dequeue(timeout=LOOK))
        try:
            await asyncio.wait({taking})
        except asyncio.CancelledError:
            if not taking.cancel() and not taking.cancelled() and taking.exception() is None:
                # A task arrived at the same moment.
                if (task := taking.result()) is not None:
                    _spawn(queue.requeue_task(task))
            raise
        finally:
            self._waiting = None
        task = None if taking.cancelled() else taking.result()
        if task is not None:
            # Claimed by another asyncio task: this one becomes the owner.
            queue.adopt(task)
        return task

    async def process(self, task: Task) -> None:
        """Runs a task and ends it: completed, failed or, if the worker is cancelled, given back."""
        queue = self.queue
        assert queue is not None
        try:
            result = await task.execute()
            await queue.complete_task(task, result)
        except Exception as error:
            await queue.fail_task(task, error)
        except asyncio.CancelledError:
            await queue.requeue_task(task)
            raise

    def handle_shutdown(self, signum: int | None = None, frame: Any = None) -> None:
        """Stops the worker after the current task; to be called from a signal handler. A second call gives the current
        task back."""
        again, self.running = not self.running, False
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        loop.call_soon_threadsafe(self._hasten if again else self._wake)

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def _hasten(self) -> None:
        task, queue = self.current_task, self.queue
        if task is not None and queue is not None:
            _spawn(queue.requeue_task(task))

    async def stop(self, timeout: float | dt.timedelta = 30.0) -> None:
        """Stops the worker: waits up to ``timeout`` (seconds or timedelta, default 30) for the current task, then gives
        it back."""
        timeout = seconds("timeout", timeout)
        self.running = False
        self._wake()
        started = self._started
        if started is None or started.done() or started is asyncio.current_task():
            return
        await asyncio.wait({started}, timeout=timeout)
        if not started.done():
            await _give_back(self, started)


_kept: set[asyncio.Task[Any]] = set()


def _spawn(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Runs a coroutine on this loop, with a reference until its end."""
    task = asyncio.get_running_loop().create_task(coroutine)
    _kept.add(task)
    task.add_done_callback(_kept.discard)


async def _give_back(worker: Any, started: asyncio.Task[Any]) -> bool:
    """Gives back the current task of a worker, and ends the worker. Returns whether there was a task."""
    task, queue = getattr(worker, "current_task", None), getattr(worker, "queue", None)
    given = isinstance(task, Task) and isinstance(queue, TaskQueue) and await queue.requeue_task(task)
    if not started.done():
        await asyncio.wait({started}, timeout=END_MAX if given else 0)
    if not started.done():
        # Claims that are not in `current_task` are given back with the asyncio task.
        started.cancel()
        await asyncio.wait({started}, timeout=END_MAX)
    return bool(given)


class WorkerPool:
    """Several workers on the running loop. Those that fail are replaced.

    :param queue: the queue to take from (default: the project's own).
    :param num_workers: the number of workers (default 4).
    :param worker_class: a ``Worker`` subclass, or a factory ``worker_class(queue)`` of objects with ``start()`` and
        ``running``.
    :param handle_signals: SIGINT and SIGTERM stop the pool while it runs (a second one at once), for a program that has
        nothing else to do. Main thread only; one handler serves all pools of the process.
    """

    def __init__(
        self,
        queue: TaskQueue | None = None,
        num_workers: int = 4,
        worker_class: Callable[[TaskQueue], Any] = Worker,
        *,
        handle_signals: bool = False,
    ) -> None:
        if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 1:
            raise InvalidArgument(f"WorkerPool: num_workers: {num_workers!r} is not a whole number, 1 or more")
        self.queue = queue if queue is not None else TaskQueue()
        self.num_workers = num_workers
        self.worker_class = worker_class
        self.handle_signals = handle_signals
        #: The current workers.
        self.workers: list[Any] = []
        #: Number of workers that failed and were replaced.
        self.restarts = 0
        self._keepers: list[asyncio.Task[None]] = []
        self._runs: dict[int, asyncio.Task[Any]] = {}
        self._is_stopping = False
        self._hurry: asyncio.Event | None = None
        self._over: asyncio.Event | None = None

    async def start(self) -> None:
        """Starts the workers, and returns once they run. A second call does nothing. Raises if the database cannot be
        reached."""
        if self._keepers:
            return
        self._is_stopping = False
        self._hurry, self._over = asyncio.Event(), asyncio.Event()
        if self.handle_signals:
            _Signals.add(self)
        try:
            await pull_server.of(self.queue._engine("WorkerPool.start"))
            self.workers = [self.worker_class(self.queue) for _ in range(self.num_workers)]
            self._keepers = [asyncio.create_task(self._keep(place)) for place in range(self.num_workers)]
        except BaseException:
            _Signals.discard(self)
            raise
        # Each worker has taken its first step when this returns.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _keep(self, place: int) -> None:
        """Runs a worker, and replaces it whenever it fails."""
        loop, pause = asyncio.get_running_loop(), PAUSE
        while not self._is_stopping:
            worker, began = self.workers[place], loop.time()
            run = self._runs[place] = asyncio.ensure_future(worker.start())
            try:
                await asyncio.wait({run})
            except asyncio.CancelledError:
                run.cancel()
                await asyncio.wait({run}, timeout=END_MAX)
                raise
            error = None if run.cancelled() else run.exception()
            if self._is_stopping or not getattr(worker, "running", True):
                if error is not None:
                    log.error("a worker failed as it ended: %s: %s", type(error).__name__, error)
                return
            why = (
                f"{type(error).__name__}: {error}"
                if error is not None
                else "it was cancelled"
                if run.cancelled()
                else "it ended"
            )
            log.error("a worker failed (%s); it is replaced", why)
            self.restarts += 1
            if loop.time() - began >= STEADY:
                pause = PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_MAX)
            if not self._is_stopping:
                self.workers[place] = self.worker_class(self.queue)

    async def stop(self, timeout: float | dt.timedelta = 30.0) -> int:
        """Stops the workers: waits up to ``timeout`` (seconds or timedelta, default 30) for running tasks, then gives
        the rest back. Returns the number of tasks that were given back."""
        timeout = seconds("timeout", timeout)
        keepers, self._is_stopping = self._keepers, True
        if not keepers:
            return 0
        assert self._hurry is not None and self._over is not None
        for worker in self.workers:
            worker.running = False
            if isinstance(worker, Worker):
                worker._wake()
        hurry = asyncio.ensure_future(self._hurry.wait())
        ended = asyncio.ensure_future(asyncio.wait(keepers))
        try:
            await asyncio.wait({hurry, ended}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()
            ended.cancel()
        left = [(self.workers[place], run) for place, run in self._runs.items() if not run.done()]
        given = sum(await asyncio.gather(*(_give_back(worker, run) for worker, run in left)))
        for keeper in keepers:
            # This worker is waiting for its next start.
            if not keeper.done():
                keeper.cancel()
        await asyncio.wait(keepers, timeout=END_MAX)
        self._keepers, self._runs = [], {}
        _Signals.discard(self)
        self._over.set()
        if given:
            log.info("%d tasks that had not ended were given back", given)
        return given

    def shut_down(self) -> None:
        """Stops the pool in the background, for a signal handler on the loop; a second call stops it without waiting."""
        if self._is_stopping:
            if self._hurry is not None:
                self._hurry.set()
            return
        self._is_stopping = True
        _spawn(self.stop())

    async def run(self) -> None:
        """Runs the pool as a program's main: starts it, stops it on SIGINT or SIGTERM, and returns when all workers
        have ended."""
        self.handle_signals = True
        async with self:
            assert self._over is not None
            await self._over.wait()

    async def __aenter__(self) -> WorkerPool:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """The pool as a lifespan: ``FastAPI(lifespan=pool.lifespan)``, or inside the application's own lifespan."""
        async with self:
            yield


class _Signals:
    """The signal handler of the process, shared by all pools."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM)
    pools: list[WorkerPool] = []
    before: dict[int, Any] = {}
    loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def add(cls, pool: WorkerPool) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise WrongState(
                "signals can be handled on the main thread only", hint="leave handle_signals off, and call stop() yourself"
            )
        loop = asyncio.get_running_loop()
        if cls.loop is not None and cls.loop is not loop and not cls.loop.is_closed():
            raise WrongState("another event loop of this process handles the signals")
        if not cls.pools or cls.loop is not loop:
            cls.loop = loop
            for number in cls.NUMBERS:
                cls.before[number] = signal.getsignal(number)
                loop.add_signal_handler(number, cls.heard)
        if pool not in cls.pools:
            cls.pools.append(pool)

    @classmethod
    def heard(cls) -> None:
        for pool in list(cls.pools):
            pool.shut_down()

    @classmethod
    def discard(cls, pool: WorkerPool) -> None:
        if pool not in cls.pools:
            return
        cls.pools.remove(pool)
        if not cls.pools and cls.loop is not None and not cls.loop.is_closed():
            for number in cls.NUMBERS:
                cls.loop.remove_signal_handler(number)
                before = cls.before.pop(number, None)
                if before is not None:
                    signal.signal(number, before)
            cls.loop = None


def _forked() -> None:
    _Signals.pools, _Signals.loop = [], None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

__all__ = ["Worker", "WorkerPool"]
