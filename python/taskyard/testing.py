"""Utilities for tests of applications: a queue for each test, tasks that run in place or on demand, assertions, a
clock.

The pytest plugin provides these as fixtures: ``queued_tasks``, ``task_queue``, ``queue_worker``, ``queue_clock``.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import _codec, _core, _identity, _loops, _port
from ._worker import Embedded
from .errors import seconds as _seconds
from .queued_tasks import QueuedTasks
from .records import TaskRecord

#: Maximum number of records that assertions read.
LIST_MAX = 10_000


@contextmanager
def as_default(tasks: QueuedTasks) -> Iterator[QueuedTasks]:
    """Makes a queue the process's queue, as returned by ``QueuedTasks()``, ``Inject(QueuedTasks)`` and ``TasksDep``,
    and closes it at the end.

    It also replaces queues of the application that have a database or settings of their own, so that nothing reaches
    another database than the test's; their settings do not apply meanwhile::

        with as_default(ManualTasks(database=address)) as queue: ...
    """
    own = tasks._own
    assert isinstance(own, _port.Engine), "a test's queue has a database of its own"
    before = _port.use(own)
    _port.of_tests.append(own)
    try:
        yield tasks
    finally:
        tasks.close()
        _port.of_tests.remove(own)
        _port.use(before)


class WorkerThread:
    """A worker in a thread with an event loop of its own, as in a server's worker process."""

    def __init__(self, tasks: QueuedTasks, concurrency: int = 10) -> None:
        self._tasks = tasks
        self._concurrency = concurrency
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._running = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="taskyard-test-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._running.wait(30)
        if self._error is not None:
            raise self._error

    def _live(self) -> None:
        async def live() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            try:
                async with Embedded(self._tasks, 1, self._concurrency):
                    self._running.set()
                    await self._stop.wait()
            except BaseException as error:
                self._error = error
                self._running.set()

        _loops.run(live())

    def stop(self) -> None:
        """Stops the worker. Running tasks may end first."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(60)


class InlineTasks(QueuedTasks):
    """A queue whose tasks run at once: ``await ref.get_task_id()`` returns when the task has ended.

    A response of an application under test that waits for its tasks does so, too. A failure is not raised there; as
    usual, it is in ``await ref.outcome()``. Requires a worker, as the fixture ``queued_tasks`` has one::

        async def test_registering(queued_tasks):
            ref = queued_tasks.add_task(send_welcome, "ada@example.org")
            assert await ref.wait() == "sent to ada@example.org"
    """

    def __init__(self, database: str) -> None:
        super().__init__(database=database)
        engine = self._own
        assert isinstance(engine, _port.Engine)
        engine.inline = True


class ManualTasks(QueuedTasks):
    """A queue whose tasks run when the test calls ``await tasks.drain()``.

    The fixture ``task_queue`` provides one::

        async def test_registering(task_queue, client):
            await client.post("/users", params={"email": "ada@example.org"})
            assert_enqueued(send_welcome, "ada@example.org")
            assert await task_queue.drain() == 1
    """

    def drain(self, timeout: float | dt.timedelta = 60.0) -> Any:
        """Runs all runnable tasks, and those that they add, until none is left. Returns the number of tasks that ended.

        Awaited in async code; in sync code the call itself blocks. Tasks whose time has not come are left. Raises
        ``asyncio.TimeoutError`` after ``timeout`` (seconds or timedelta, default 60).

        Example::

            ref = tasks.add_task(send_welcome, "ada@example.org")
            assert await tasks.drain(timeout=10) == 1
            assert await ref == "sent to ada@example.org"
        """
        timeout = _seconds("timeout", timeout)
        if _loops.is_in_loop():
            return asyncio.wait_for(self._drain(), timeout)
        return asyncio.run(asyncio.wait_for(self._drain(), timeout))

    async def _drain(self) -> int:
        before = await self._ended()
        async with Embedded(self):
            while await self._is_busy() or await self._is_busy_with_additions():
                await asyncio.sleep(0.005)
        return await self._ended() - before

    async def _is_busy(self) -> bool:
        # A single request, because a task may change its state at any time.
        unfinished = await self.list(states=("waiting", "enqueued", "doing"), limit=LIST_MAX)
        now = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=getattr(self._via, "clock", 0.0))

        def is_about_to_run(task: dict[str, Any]) -> bool:
            if task["state"] != "waiting":
                return True
            # The server is about to enqueue a task that has come due.
            return bool(task["run_at"]) and task["wait_reason"] in DUE and _codec.instant(task["run_at"]) <= now

        return any(is_about_to_run(task) for task in unfinished)

    async def _is_busy_with_additions(self) -> bool:
        # Tasks that the sub-tasks of a body added after its end may not be stored yet.
        await self.flush()
        return await self._is_busy()

    async def _ended(self) -> int:
        return len(await self.list(states=("done", "failed", "cancelled", "stopped"), limit=LIST_MAX))


#: Reasons for waiting that end at a time.
DUE = ("time", "retry")


class Clock:
    """The database's clock, for tests: delayed tasks, retries and expiries come due when it is advanced.

    The fixture ``queue_clock`` provides one::

        queue_clock.advance(3600)
        await task_queue.drain()
    """

    def __init__(self, tasks: QueuedTasks) -> None:
        self._tasks = tasks
        self._seconds = 0.0

    def advance(self, seconds: float | dt.timedelta) -> None:
        """Advances the clock (seconds or timedelta), with immediate effect for everything that uses the database's
        time.

        Example::

            ref = tasks.add_task(send_welcome, "ada@example.org", delay=3600)
            assert await tasks.drain() == 0
            queue_clock.advance(3600)
            assert await tasks.drain() == 1
        """
        self._set(self._seconds + _seconds("seconds", seconds, signed=True))

    def reset(self) -> None:
        """Resets the clock to the host's time."""
        self._set(0.0)

    def _set(self, offset: float) -> None:
        engine = self._tasks._via
        assert isinstance(engine, _port.Engine)
        self._seconds = engine.clock = offset
        _loops.answer_now(engine.core().set_clock(offset), 30, "the clock")


def enqueued(function: Any = None, *args: Any, tasks: QueuedTasks | None = None, **filters: Any) -> list[TaskRecord]:
    """Returns the records of added tasks, oldest first: of this function, with these arguments, with these properties.

    ``filters`` are fields of the record (``queue``, ``priority``, ``state``, ``tags``, ...); ``kwargs`` are the keyword
    arguments of the call. ``tasks`` defaults to the process's queue. Works in sync and in async tests.

    Example::

        tasks.add_task(send_welcome, "ada@example.org", queue="mail")
        assert [record.queue for record in enqueued(send_welcome)] == ["mail"]
    """
    tasks = tasks or QueuedTasks()
    port = tasks._via
    _loops.answer_now(port.ask(_core.ClientRequest.flush()), 30, "the writing of what was added")
    kwargs = filters.pop("kwargs", None)
    kind = _identity.kind_given(function, port.defaults.get("namespace"))
    added = _core.TaskFilter(kind=kind, limit=LIST_MAX)
    found = _loops.answer_now(port.ask(_core.ClientRequest.list(added)), 30, "the list of tasks")
    return [TaskRecord(record) for record in reversed(found) if _fits(record, args, kwargs, filters)]


def _fits(record: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None, filters: dict[str, Any]) -> bool:
    payload, encoded = record["payload"], record["payload_encoded"]
    if args and [_codec.decode(value, encoded) for value in payload["args"]] != list(args):
        return False
    if kwargs is not None and {name: _codec.decode(value, encoded) for name, value in payload["kwargs"].items()} != kwargs:
        return False
    return all(record.get(name) == value for name, value in filters.items())


def assert_enqueued(function: Any, *args: Any, **filters: Any) -> TaskRecord:
    """Raises ``AssertionError`` unless such a task was added, and returns its record. Arguments as in :func:`enqueued`.

    Example::

        tasks.add_task(send_welcome, "ada@example.org", queue="mail")
        assert_enqueued(send_welcome, "ada@example.org", queue="mail")
    """
    found = enqueued(function, *args, **filters)
    if not found:
        there = "\n".join(f"  {each['kind']} {each['payload']} {each['queue']} {each['state']}" for each in enqueued())
        raise AssertionError(f"no task {function!r} {args} {filters or ''} was added; there are:\n{there or '  none'}")
    return found[0]


def refute_enqueued(function: Any, *args: Any, **filters: Any) -> None:
    """Raises ``AssertionError`` if such a task was added.

    Example::

        tasks.add_task(send_welcome, "ada@example.org")
        refute_enqueued(send_welcome, "grace@example.org")
    """
    found = enqueued(function, *args, **filters)
    if found:
        raise AssertionError(f"{len(found)} tasks {function!r} {args} {filters or ''} were added: {found[0]}")


__all__ = [
    "Clock",
    "InlineTasks",
    "ManualTasks",
    "WorkerThread",
    "as_default",
    "assert_enqueued",
    "enqueued",
    "refute_enqueued",
]
