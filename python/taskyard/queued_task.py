"""Functions for the code of a task: its context, its log, its identity, its parents. Also exports hooks, settings and
states.

The functions work alike in async code, in ``asyncio.gather`` branches and in sync functions on their threads. Outside
of a task they raise ``NotInTask``.
"""

from __future__ import annotations

import logging
from typing import Any

from . import _codec, _loggers, _loops, _running
from ._config import QueuedTaskConfig
from ._core import ClientRequest
from ._hooks import (
    on_death,
    on_post_create,
    on_post_run,
    on_pre_create,
    on_pre_run,
    on_worker_start,
    on_worker_stop,
)
from ._running import Running, parent_result
from ._state import QueuedTaskState
from .errors import Fail, Retry, Snooze

__all__ = [
    "Fail",
    "QueuedTaskConfig",
    "QueuedTaskState",
    "Retry",
    "Snooze",
    "TaskContext",
    "check_cancelled",
    "clear_context",
    "complete_in",
    "getLogger",
    "get_context",
    "get_current_task",
    "get_full_context",
    "get_parent_results",
    "is_cancelled",
    "on_death",
    "on_post_create",
    "on_post_run",
    "on_pre_create",
    "on_pre_run",
    "on_worker_start",
    "on_worker_stop",
    "save_context",
    "set_context",
    "set_full_context",
]


def get_current_task() -> Running:
    """Returns the running task: ``id``, ``attempt``, ``name``, ``queue``, ``context`` (a dict), ``idempotency_key``.

    Raises ``NotInTask`` outside of a task.

    Example::

        async def pay(cents: int) -> str:
            task = get_current_task()
            # The payment provider ignores a second request with the same key.
            return f"POST /payments amount={cents} key={task.idempotency_key}"

        ref = tasks.add_task(pay, 500)
        await tasks.drain()
        assert (await ref).endswith(ref.id)
    """
    return _running.require()


def set_context(path: str, value: Any, auto_commit: bool = True) -> None:
    """Sets a value of the running task's context at a dotted path.

    The context is stored soon, in the order of the calls, and at the latest with the task's end; with
    ``auto_commit=False`` only with the next committing call, :func:`save_context`, or the end. Raises
    ``NotSerializable`` or ``OverLimit`` for a value that cannot be stored, and ``InvalidArgument`` for an invalid
    path.

    Example::

        async def import_file() -> None:
            set_context("rows.read", 200)
            set_context("rows.last", "ada@example.org")

        ref = tasks.add_task(import_file)
        await tasks.drain()
        assert await ref.get_context() == {"rows": {"read": 200, "last": "ada@example.org"}}
    """
    _running.require().set(path, value, auto_commit)


def get_context(path: str, default: Any = None) -> Any:
    """Returns the value at a dotted path of the running task's context, or ``default`` if there is none.

    Example::

        async def import_file() -> int:
            set_context("rows.read", 200)
            return get_context("rows.read", 0)

        ref = tasks.add_task(import_file)
        await tasks.drain()
        assert await ref == 200
        assert await ref.get_context() == {"rows": {"read": 200}}
    """
    return _running.require().get(path, default)


def get_full_context() -> dict[str, Any]:
    """Returns a copy of the running task's whole context."""
    running = _running.require()
    encoder = _codec.Encoder("the context of a task")
    return {name: _codec.decode(encoder.value(value, name, 1)) for name, value in running.context.items()}


def set_full_context(context: dict[str, Any], auto_commit: bool = True) -> None:
    """Replaces the running task's whole context, a dict with string keys. Raises as :func:`set_context`."""
    _running.require().replace(context, auto_commit)


def clear_context(auto_commit: bool = True) -> None:
    """Empties the running task's context."""
    _running.require().replace({}, auto_commit)


def save_context() -> _Waiter:
    """Stores the context now. ``await save_context()`` returns when it is durable; in a sync task the call itself
    waits.

    Example::

        async def import_file() -> None:
            set_context("file", "rows-7.csv")
            await save_context()  # the next attempt reads it, even if this process is killed now

        ref = tasks.add_task(import_file)
        await tasks.drain()
        assert await ref.get_context() == {"file": "rows-7.csv"}
    """
    running = _running.require()
    running.require_worker()
    worker = running.worker
    if worker is None:
        return _Waiter(None)
    running.note()
    reply = worker.channel.saved(running.slot)
    if not _loops.is_in_loop():
        _loops.answer_now(reply)
        return _Waiter(None)
    return _Waiter(reply)


class _Waiter:
    """An awaitable that may be dropped without a warning."""

    def __init__(self, reply: Any) -> None:
        self._reply = reply

    def __await__(self) -> Any:
        async def wait() -> None:
            if self._reply is not None:
                await _loops.answer(self._reply)

        return wait().__await__()


class TaskContext:
    """The running task's context as an object: ``ctx["a.b"] = 1``, ``ctx.get("a.b")``."""

    def __getitem__(self, path: str) -> Any:
        missing = object()
        found = get_context(path, missing)
        if found is missing:
            raise KeyError(path)
        return found

    def __setitem__(self, path: str, value: Any) -> None:
        set_context(path, value)

    def __contains__(self, path: object) -> bool:
        missing = object()
        return isinstance(path, str) and get_context(path, missing) is not missing

    def get(self, path: str, default: Any = None) -> Any:
        return get_context(path, default)

    def set(self, path: str, value: Any, auto_commit: bool = True) -> None:
        set_context(path, value, auto_commit)

    def to_dict(self) -> dict[str, Any]:
        return get_full_context()

    def clear(self) -> None:
        clear_context()


def is_cancelled() -> bool:
    """Returns whether the running task was interrupted: cancelled, stopped, out of time, or its server stops."""
    return _running.require().is_cancelled()


def check_cancelled() -> None:
    """Raises ``TaskCancelled`` if the running task was interrupted; for sync functions with long loops.

    Example::

        def sum_rows(rows: list[int]) -> int:
            total = 0
            for row in rows:
                check_cancelled()
                total += row
            return total

        ref = tasks.add_task(sum_rows, [1, 2, 3])
        await tasks.drain()
        assert await ref == 6
    """
    _running.require().check_cancelled()


def get_parent_results() -> Any:
    """Returns the results of the running task's parents, in the order given.

    ``await get_parent_results()`` in async code; in a sync function the call itself returns the list. The entry of a
    parent that failed (with ``on_parent_failure="run"``) is the ``TaskFailed`` that awaiting it would raise.

    Example::

        async def sum_of_parents() -> int:
            return sum(await get_parent_results())

        parents = [tasks.add_task(add, 1, 2), tasks.add_task(add, 3, 4)]
        ref = tasks.add_task(sum_of_parents, parents=parents)
        await tasks.drain()
        assert await ref == 10
    """
    running = _running.require()
    running.require_worker()
    worker = running.worker if running.has_parents else None
    reply = worker.channel.ask(ClientRequest.parent_results(running.id)) if worker is not None else None
    if not _loops.is_in_loop():
        return [] if reply is None else [parent_result(parent) for parent in _loops.answer_now(reply)]

    async def wait() -> list[Any]:
        return [] if reply is None else [parent_result(parent) for parent in await _loops.answer(reply)]

    return wait()


def complete_in(connection: Any, result: Any = None) -> Any:
    """Ends the running task inside the caller's transaction on the queue's PostgreSQL database.

    The task is done if and only if that transaction commits, so that its effects there happen exactly once. Call it
    last, commit, and return; the function's return value is ignored then. ``connection`` is a connection of psycopg 3,
    asyncpg or SQLAlchemy; await the call for async ones. Raises ``LeaseLost`` if another attempt may be running
    already: roll back then::

        async with pool.connection() as connection:
            await connection.execute("UPDATE account SET balance = balance - 1 WHERE id = %s", [id])
            await complete_in(connection, "paid")
    """
    from . import _transaction

    return _transaction.complete_in(connection, result)


def getLogger(name: str | None = None) -> logging.Logger:
    """Returns a logger whose records go to the console and, inside a task, to the task's log in the database.

    ``name`` defaults to ``queued_task``. The level is INFO unless the logger or the application's configuration sets
    another one.

    Example::

        log = getLogger(__name__)

        async def import_file() -> None:
            log.info("read %d rows", 200)

        ref = tasks.add_task(import_file)
        await tasks.drain()
        assert [line.message for line in await ref.get_logs()] == ["read 200 rows"]
    """
    logger = logging.getLogger(name or "queued_task")
    if _running.HANDLER not in logger.handlers:
        _loggers.keep(logger, _running.HANDLER)
    if logger.level == logging.NOTSET and not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    return logger
