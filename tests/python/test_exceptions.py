"""Every exception that a body raises ends its attempt, including one that cannot be described."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.waiting import eventually_async
from taskyard import QueuedTasks, Retry, Snooze
from taskyard._worker import Embedded
from taskyard.tasks import Task, TaskQueue, TaskStatus


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=database) as tasks, Embedded(tasks):
        yield tasks


class Quota(Snooze):
    def __init__(self) -> None:
        Exception.__init__(self, "quota")


class Busy(Retry):
    def __init__(self, why: str) -> None:
        Exception.__init__(self, why)


class Unreadable(Retry):
    @property
    def after(self) -> Any:
        raise RuntimeError("no pause")

    @after.setter
    def after(self, value: Any) -> None:
        pass


class Hostile(Snooze):
    """An exception whose pause is an object that raises whenever it is used."""

    def __init__(self) -> None:
        Exception.__init__(self, "hostile")

    @property
    def seconds(self) -> Any:
        class Nothing:
            def __repr__(self) -> str:
                raise ZeroDivisionError

        return Nothing()

    @seconds.setter
    def seconds(self, value: Any) -> None:
        pass


async def quota() -> None:
    raise Quota


async def busy() -> None:
    raise Busy("the disk is full")


async def unreadable() -> None:
    raise Unreadable("x")


async def hostile() -> None:
    raise Hostile


async def exits() -> None:
    sys.exit("file \udce9.txt")


async def from_a_strange_module() -> None:
    raise type("Strange", (Exception,), {"__module__": "m\udce9"})("file \udce9.txt")


ENDS = [
    (quota, "InvalidArgument", "Snooze(...): None is not a time"),
    (busy, "Retry", "the disk is full"),
    (unreadable, "InvalidArgument", "`after` of the raised Unreadable cannot be read: RuntimeError"),
    (hostile, "Hostile", "this Hostile cannot be described: ZeroDivisionError"),
    (exits, "SystemExit", "the task called sys.exit(file ?.txt)"),
    (from_a_strange_module, "m?.Strange", "file ?.txt"),
]


@pytest.mark.parametrize("function,type,message", ENDS, ids=[end[0].__name__ for end in ENDS])
async def test_an_attempt_ends_whatever_it_raises(tasks: QueuedTasks, function: Any, type: str, message: str) -> None:
    outcome = await tasks.using(max_retries=0).add_task(function).outcome(20)
    assert outcome.state == "failed" and outcome.error is not None
    assert outcome.error.error_type.endswith(type) and message in outcome.error.message, outcome.error


class Raises(Task):
    async def execute(self) -> None:
        raise Hostile


async def test_a_taken_task_ends_whatever_it_raises(database: str) -> None:
    async with TaskQueue(url=database) as queue:
        id = await queue.enqueue(Raises(), max_retries=0)
        task = await queue.dequeue()
        assert task is not None
        with pytest.raises(Hostile) as raised:
            await task.execute()
        assert await queue.fail_task(id, raised.value) is True
        found = await queue.get_task(id)
        assert found is not None and found.status is TaskStatus.FAILED


_shared: asyncio.Future[str] | None = None


async def refresh() -> str:
    await asyncio.sleep(3)
    return "token"


async def first() -> str:
    global _shared
    _shared = asyncio.ensure_future(refresh())
    return await _shared


async def second() -> str:
    global _shared
    if _shared is None:
        # Once more, with nothing running beside it.
        _shared = asyncio.ensure_future(asyncio.sleep(0, "token"))
    try:
        return await _shared
    finally:
        _shared = None


async def test_a_shared_task_that_another_bodys_timeout_cancels(tasks: QueuedTasks) -> None:
    limited = tasks.add_task(first, max_retries=0, timeout=1)
    await limited.get_task_id()

    async def has_begun() -> bool:
        return _shared is not None

    await eventually_async(has_begun)
    other = tasks.using(max_retries=0).add_task(second)
    outcome = await limited.outcome(20)
    assert outcome.error is not None and outcome.error.error_type == "TimeoutError"
    outcome = await other.outcome(20)
    assert (outcome.state, outcome.result) == ("done", "token"), outcome.error
    record = await tasks.get(outcome.id).record()
    assert (record["failures"], record["crashes"], record["lost"]) == (0, 0, 0)
