"""A dequeued task runs as in every worker: functions, context, log, hooks, tasks that cannot run."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.project import Project
from support.taken import Echo, fresh_gates, run, seen
from support.waiting import eventually_async
from taskyard import Inject, queued_task
from taskyard._worker import Embedded
from taskyard.queued_task import get_current_task, getLogger, set_context
from taskyard.tasks import BackgroundTask, Task, TaskQueue, TaskStatus


@pytest.fixture
async def queue(database: str) -> AsyncIterator[TaskQueue]:
    fresh_gates()
    async with TaskQueue(url=database) as queue:
        yield queue


async def test_functions_are_taken_too(queue: TaskQueue) -> None:
    ref = queue.tasks.add_task(double, 4)
    await ref.get_task_id()
    task = await queue.dequeue()
    assert isinstance(task, BackgroundTask) and task.func is double and task.args == (4,)
    assert await queue.complete_task(task.id, await task.execute()) is True
    assert await ref.wait(20) == 8
    ref = queue.tasks.add_task(lambda: "local")
    await ref.get_task_id()
    task = await queue.dequeue()
    assert task is not None
    assert await queue.complete_task(task.id, await task.execute()) is True
    assert await ref.wait(20) == "local"


def double(number: int) -> int:
    return number * 2


class Talking(Task):
    async def execute(self) -> Any:
        leaked = leaking.get()
        leaking.set("set by a task")
        getLogger("talking").info("hello")
        set_context("a.b", 1)
        current = get_current_task()
        return [current.id == self.id, current.attempt, leaked]


leaking: contextvars.ContextVar[str] = contextvars.ContextVar("leaking", default="clean")


async def test_inside_it_is_as_in_a_worker(queue: TaskQueue) -> None:
    leaking.set("of the worker")
    told: list[Any] = []

    async def after(task: Any, result: Any = None, error: Any = None) -> None:
        told.append((task.id, result))

    queued_task.on_post_run(after)
    try:
        found = await run(queue, Talking())
    finally:
        from taskyard import _hooks

        _hooks.clear()
    assert found.result == [True, 1, "clean"] and leaking.get() == "of the worker"
    ref = queue.tasks.get(found.id)
    assert [line["message"] for line in await ref.get_logs()] == ["hello"]
    assert await ref.get_context() == {"a": {"b": 1}}
    assert told == [(found.id, [True, 1, "clean"])]


async def test_what_is_not_known_here_is_parked_and_what_is_behind_it_comes(queue: TaskQueue) -> None:
    unknown = queue.tasks.add_task("elsewhere:Nothing")
    await unknown.get_task_id()
    id = await queue.enqueue(Echo(1))
    task = await queue.dequeue()
    assert task is not None and task.id == id

    async def is_parked() -> bool:
        return (await unknown.record())["wait_reason"] == "parked"

    await eventually_async(is_parked)


async def test_what_cannot_be_read_fails_for_good(queue: TaskQueue) -> None:
    bad = queue.tasks.add_task(f"{Strict.__module__}:Strict")
    await bad.get_task_id()
    id = await queue.enqueue(Echo(1))
    task = await queue.dequeue()
    assert task is not None and task.id == id
    outcome = await bad.outcome(20)
    assert outcome.state == "failed" and "needs" in str(outcome.error)


class Strict(Task):
    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> Strict:
        raise ValueError("it needs more")

    async def execute(self) -> None:
        pass


async def test_beside_ordinary_workers(queue: TaskQueue) -> None:
    async with Embedded(queue.tasks):
        ids = [await queue.enqueue(Echo(number)) for number in range(20)]
        while (task := await queue.dequeue()) is not None:
            await queue.complete_task(task.id, await task.execute())

        async def are_done() -> bool:
            return all([(await seen(queue, id)).status is TaskStatus.COMPLETED for id in ids])

        await eventually_async(are_done)


async def test_a_queue_may_be_used_from_several_loops(queue: TaskQueue) -> None:
    await queue.enqueue(Echo("there"))

    def elsewhere() -> Any:
        async def take() -> Any:
            task = await queue.dequeue(timeout=5)
            assert task is not None
            return await queue.complete_task(task.id, await task.execute())

        return asyncio.run(take())

    assert await asyncio.to_thread(elsewhere) is True
    # A claim may be ended from another loop than the one that holds it.
    id = await queue.enqueue(Echo("here"))
    task = await queue.dequeue()
    assert task is not None
    assert await asyncio.to_thread(lambda: asyncio.run(queue.complete_task(task, 1))) is True
    assert (await seen(queue, id)).status is TaskStatus.COMPLETED


def test_not_within_a_worker_process(project: Project) -> None:
    project.write(
        "app.py",
        """
        from taskyard.tasks import Task, TaskQueue
        class Taking(Task):
            async def execute(self):
                return await TaskQueue().dequeue()
        """,
    )
    project.server("--workers=1", app="app")
    out = project.python("""
        import asyncio, app
        async def main():
            async with app.TaskQueue() as queue:
                id = await queue.enqueue(app.Taking(), max_retries=0)
                while not (task := await queue.get_task(id)).status.is_terminal:
                    await asyncio.sleep(0.02)
                print(task.error)
        asyncio.run(main())
    """)
    assert "cannot take tasks itself" in out


class Supplied:
    """A dependency of a function."""

    word = "supplied"


def provide_supplied() -> Supplied:
    return Supplied()


async def injected(number: int, supplied: Supplied = Inject(provide_supplied)) -> str:
    return f"{supplied.word} {number}"


async def test_functions_that_are_taken_get_their_dependencies(queue: TaskQueue) -> None:
    ref = queue.tasks.add_task(injected, 3)
    await ref.get_task_id()
    task = await queue.dequeue()
    assert task is not None
    assert await queue.complete_task(task.id, await task.execute()) is True
    assert await ref.wait(20) == "supplied 3"
