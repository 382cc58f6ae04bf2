"""Workers on an event loop of your own: ``Worker`` takes tasks and runs them, ``WorkerPool`` keeps several alive.

    pool = WorkerPool(TaskQueue(), num_workers=4)
    app = FastAPI(lifespan=pool.lifespan)

or, as a program of its own: ``asyncio.run(WorkerPool(TaskQueue()).run())``. They run task objects and functions alike, in
this very process; ``taskyard queue start`` runs them in processes that can be killed.
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

from ._tasks import held
from ._tasks.base import Task
from ._tasks.queue import TaskQueue
from .errors import InvalidArgument, WrongState, seconds

log = logging.getLogger("queued_task")

#: A worker that waits for a task looks so often whether it is still to run, in seconds.
LOOK = 1.0
#: The pause after an error of the queue, and after a worker broke: at first, and at most, in seconds.
PAUSE = 0.1
PAUSE_MAX = 5.0
#: A worker that has lived so long begins with the first pause again, in seconds.
STEADY = 10.0
#: How long what was given back may take to end, in seconds.
END_MAX = 6.0


class Worker:
    """Takes tasks of a queue, one after the other, and runs them.

    A subclass may override ``start`` (to take tasks in its own way) or ``process`` (to do something around each), and
    need not call ``super().__init__()``.
    """

    #: The queue to take from; the project's own if none was given.
    queue: TaskQueue | None = None
    #: Whether it goes on. Setting it to False ends it after the current task.
    running: bool = True
    #: What it runs now.
    current_task: Task | None = None

    _waiting: asyncio.Task[Any] | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _started: asyncio.Task[Any] | None = None

    def __init__(self, queue: TaskQueue | None = None) -> None:
        self.queue = queue

    async def start(self) -> None:
        """Runs until ``running`` is False. An error of a task ends that task's attempt; one of the queue is logged."""
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
        """The next task; None after a while, or when it is to end."""
        taking = self._waiting = asyncio.ensure_future(queue.dequeue(timeout=LOOK))
        try:
            await asyncio.wait({taking})
        except asyncio.CancelledError:
            if not taking.cancel() and not taking.cancelled() and taking.exception() is None:
                # It came in the same moment.
                if (task := taking.result()) is not None:
                    _spawn(queue.requeue_task(task))
            raise
        finally:
            self._waiting = None
        task = None if taking.cancelled() else taking.result()
        if task is not None:
            # Taken in a task of the loop's own: what this worker leaves behind is its own.
            queue.adopt(task)
        return task

    async def process(self, task: Task) -> None:
        """Runs one task to its end."""
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
        """For a signal handler: takes nothing more, and ends after the current task. A second call gives that back."""
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
        """Takes nothing more; waits so long (seconds or timedelta) for the current task, then gives it back."""
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
    """Runs it on this loop, kept until its end."""
    task = asyncio.get_running_loop().create_task(coroutine)
    _kept.add(task)
    task.add_done_callback(_kept.discard)


async def _give_back(worker: Any, started: asyncio.Task[Any]) -> bool:
    """Gives back what a worker runs, and ends it. Whether there was something."""
    task, queue = getattr(worker, "current_task", None), getattr(worker, "queue", None)
    given = isinstance(task, Task) and isinstance(queue, TaskQueue) and await queue.requeue_task(task)
    if not started.done():
        await asyncio.wait({started}, timeout=END_MAX if given else 0)
    if not started.done():
        # What it has taken without saying so is given back behind it.
        started.cancel()
        await asyncio.wait({started}, timeout=END_MAX)
    return bool(given)


class WorkerPool:
    """Several workers on the running loop.

    :param queue: what they take from.
    :param num_workers: how many.
    :param worker_class: a ``Worker`` subclass, or anything that is made by ``worker_class(queue)`` and has ``start()`` and
        ``running``.
    :param handle_signals: while it runs, SIGINT and SIGTERM stop it (a second one at once): for a program that has
        nothing else to do. Only on the main thread; one handler serves all pools of the process.
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
        #: The workers that run now.
        self.workers: list[Any] = []
        #: Workers that broke and were replaced.
        self.restarts = 0
        self._keepers: list[asyncio.Task[None]] = []
        self._runs: dict[int, asyncio.Task[Any]] = {}
        self._is_stopping = False
        self._hurry: asyncio.Event | None = None
        self._over: asyncio.Event | None = None

    async def start(self) -> None:
        """Starts the workers, and returns once they run; raises if the database cannot be reached. Again: nothing."""
        if self._keepers:
            return
        self._is_stopping = False
        self._hurry, self._over = asyncio.Event(), asyncio.Event()
        if self.handle_signals:
            _Signals.add(self)
        try:
            await held.of(self.queue._engine("WorkerPool.start"))
            self.workers = [self.worker_class(self.queue) for _ in range(self.num_workers)]
            self._keepers = [asyncio.create_task(self._keep(place)) for place in range(self.num_workers)]
        except BaseException:
            _Signals.discard(self)
            raise
        # Each has taken its first step when this returns.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _keep(self, place: int) -> None:
        """One worker after the other, as long as they break."""
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
        """Takes nothing more, waits so long (seconds or timedelta) for what runs, then gives the rest back; how many that
        were."""
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
            # One that waits before the next start.
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
        """For a signal handler on the loop: stops the pool in the background; the second time without waiting."""
        if self._is_stopping:
            if self._hurry is not None:
                self._hurry.set()
            return
        self._is_stopping = True
        _spawn(self.stop())

    async def run(self) -> None:
        """A program's main: starts, stops on SIGINT or SIGTERM, and returns when all has ended."""
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
        """The workers' life is the application's: ``FastAPI(lifespan=pool.lifespan)``, or within a lifespan of yours."""
        async with self:
            yield


class _Signals:
    """The one handler of the process."""

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
