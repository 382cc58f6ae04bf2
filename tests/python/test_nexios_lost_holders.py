"""Holders of dequeued tasks that vanish: no task is lost, and none is ended twice."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.project import Process, Project
from support.taken import Echo, Waiting, begun, fresh_gates, gates, seen
from support.waiting import eventually_async
from taskyard import _core
from taskyard._tasks import claim as claims
from taskyard._tasks import pull_server
from taskyard.errors import DatabaseError
from taskyard.tasks import TaskQueue, TaskStatus


@pytest.fixture
async def queue(database: str) -> AsyncIterator[TaskQueue]:
    fresh_gates()
    async with TaskQueue(url=database) as queue:
        yield queue


async def test_trap_09_a_cancelled_worker_leaves_nothing_behind(queue: TaskQueue) -> None:
    id = await queue.enqueue(Waiting())

    async def worker() -> None:
        while True:
            task = await queue.dequeue()
            assert task is not None
            try:
                await task.execute()
            except Exception as error:
                await queue.fail_task(task.id, str(error))

    running = asyncio.ensure_future(worker())
    await eventually_async(lambda: begun(queue, id))
    running.cancel()
    await asyncio.wait({running})

    async def is_back() -> bool:
        return (await seen(queue, id)).status is TaskStatus.QUEUED

    await eventually_async(is_back)
    assert (await seen(queue, id)).attempt == 0


async def test_callers_that_find_the_server_ended_share_the_next_one(queue: TaskQueue) -> None:
    assert await queue.dequeue(timeout=0) is None
    engine, loop = next((engine, loop) for engine, by_loop in pull_server._servers.items() for loop in by_loop)
    ended = pull_server._servers[engine][loop]
    assert ended._server is not None and ended._keeper is not None
    # The end of the task waits until the gate opens.
    gate, is_closed = asyncio.Event(), asyncio.Event()

    async def keep() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await ended._close()
            is_closed.set()
            await gate.wait()

    ended._keeper.cancel()
    await asyncio.wait({ended._keeper})
    ended._is_closed = False
    pull_server._servers[engine][loop] = ended
    ended._keeper = asyncio.create_task(keep())
    await asyncio.sleep(0)
    first = asyncio.create_task(pull_server.of(engine))
    await asyncio.wait_for(is_closed.wait(), 20)
    second = await pull_server.of(engine)
    gate.set()
    assert await first is second is not ended
    assert pull_server._servers[engine][loop] is second


async def test_a_server_that_ends_before_its_worker_is_ready_ends_the_wait(queue: TaskQueue) -> None:
    assert await queue.dequeue(timeout=0) is None
    (found,) = (found for by_loop in pull_server._servers.values() for found in by_loop.values())
    ours, theirs = socket.socketpair()
    with theirs:
        found.worker = pull_server.PullWorker(_core.Channel(ours.detach()), found)
        waiting = asyncio.create_task(found.ready())
        await asyncio.sleep(0)
        assert found._server is not None
        found._server.stop(0.0)
        with pytest.raises(DatabaseError, match="has ended by itself"):
            await asyncio.wait_for(waiting, 20)


async def test_a_worker_that_breaks_fails_its_attempt(queue: TaskQueue) -> None:
    id = await queue.enqueue(Echo(1), max_retries=0)

    async def worker() -> None:
        await queue.dequeue()
        raise RuntimeError("a bug of the worker")

    running = asyncio.ensure_future(worker())
    await asyncio.wait({running})

    async def has_failed() -> bool:
        return (await seen(queue, id)).status is TaskStatus.FAILED

    await eventually_async(has_failed)
    assert str((await seen(queue, id)).error) == "a bug of the worker"
    assert isinstance(running.exception(), RuntimeError)


async def test_one_may_take_and_another_end(queue: TaskQueue) -> None:
    """As in an application that hands out tasks in one request and receives results in another."""
    id = await queue.enqueue(Echo(1))

    async def hand_out() -> str | None:
        task = await queue.dequeue()
        return task.id if task is not None else None

    assert await asyncio.ensure_future(hand_out()) == id
    # If it was given back, it would be the next one.
    later = await queue.enqueue(Echo(2))
    assert await asyncio.ensure_future(hand_out()) == later
    assert (await seen(queue, id)).status is TaskStatus.RUNNING
    assert await asyncio.ensure_future(queue.complete_task(id, "r")) is True


def test_the_end_of_a_loop_gives_back(database: str) -> None:
    async def leave() -> str:
        fresh_gates()
        queue = TaskQueue(url=database)
        id = await queue.enqueue(Waiting())
        task = await queue.dequeue()
        assert task is not None
        running = asyncio.ensure_future(task.execute())
        await eventually_async(lambda: begun(queue, id))
        assert not running.done()
        return id

    id = asyncio.run(leave())

    async def look() -> Any:
        async with TaskQueue(url=database) as queue:
            task = await seen(queue, id)
            return task.status, task.attempt

    assert asyncio.run(look()) == (TaskStatus.QUEUED, 0)


HOLDER = """
    import asyncio
    from taskyard.tasks import Task, TaskQueue

    class Long(Task):
        async def execute(self):
            print("begun", flush=True)
            await asyncio.sleep(600)

    async def main():
        queue = TaskQueue()
        task = await queue.dequeue(timeout=30)
        try:
            await task.execute()
        except Exception as error:
            print("interrupted:", type(error).__name__, flush=True)
            print("written:", await queue.fail_task(task.id, str(error)), flush=True)

    if __name__ == "__main__":
        asyncio.run(main())
"""


def hold(project: Project) -> tuple[str, Process]:
    """Starts a process that dequeues and runs a task."""

    project.write("holder.py", HOLDER)
    id = project.python("""
        import asyncio, holder
        async def main():
            async with holder.TaskQueue() as queue:
                print(await queue.enqueue(holder.Long()))
        asyncio.run(main())
    """).strip()
    env = {**project.env, "TASKYARD_LEASE": "3", "TASKYARD_HEARTBEAT_INTERVAL": "1", "TASKYARD_RESCUE_INTERVAL": "0.5"}
    process = Process([sys.executable, "holder.py"], project.directory, env)
    project._started.append(process)
    process.says("begun")
    return id, process


def test_kill_9_of_the_holder_runs_it_elsewhere(project: Project) -> None:
    id, holder = hold(project)
    assert project.task(id)["state"] == "doing"
    holder.signal(signal.SIGKILL)
    holder.wait()
    fast = {"TASKYARD_LEASE": "3", "TASKYARD_HEARTBEAT_INTERVAL": "1", "TASKYARD_RESCUE_INTERVAL": "0.5"}
    server = project.server("--workers=1", app="holder", **fast)
    server.says("begun", 60)
    found = project.task(id)
    assert (found["state"], found["attempt"], found["lost"]) == ("doing", 2, 1)


def test_a_cancel_from_another_process_is_there_within_a_second(project: Project) -> None:
    id, holder = hold(project)
    project.run("task", "cancel", id)
    asked = time.monotonic()
    holder.says("interrupted: TaskInterrupted", 10)
    assert time.monotonic() - asked < 1.0
    holder.says("written: True")
    assert holder.wait() == 0
    assert project.task(id)["state"] == "cancelled"


def test_sigint_of_the_holder_gives_back_at_once(project: Project) -> None:
    id, holder = hold(project)
    holder.signal(signal.SIGINT)
    holder.wait()
    found = project.task(id)
    assert (found["state"], found["attempt"], found["lost"]) == ("enqueued", 0, 0)


async def test_a_lost_lease_ends_the_run_and_refuses_its_end(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    fresh_gates()
    for name, value in (("TASKYARD_LEASE", "3"), ("TASKYARD_HEARTBEAT_INTERVAL", "1")):
        monkeypatch.setenv(name, value)
    async with TaskQueue(url=database) as queue:
        id = await queue.enqueue(Waiting())
        task = await queue.dequeue()
        assert task is not None
        running = asyncio.ensure_future(task.execute())
        await eventually_async(lambda: begun(queue, id))
        # The task is retried as if its server were dead: the row has another token, or none.
        await steal(database, id)
        gates["go"].set()
        result = await running
        assert await queue.complete_task(id, result) is False
        assert (await seen(queue, id)).status is TaskStatus.RUNNING
        # Nor can the old holder change what happened to the task since.
        await steal(database, id, state=6)
        assert await queue.requeue_task(id) is False
        assert (await seen(queue, id)).status is TaskStatus.CANCELLED


async def steal(database: str, id: str, state: int = 2) -> None:
    """Puts another token on the row, as after a rescue and another claim, and optionally its final state."""
    if database.startswith("postgres"):
        import psycopg

        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute(
                "update taskyard.task set token = gen_random_uuid(), state = %s where id = %s", [state, id]
            )
    else:
        import sqlite3
        import uuid

        # Other handles to the file are unsupported in general; the test uses one while nothing else writes.
        with sqlite3.connect(database) as connection:
            connection.execute(
                "update ty_task set token = ?, state = ? where id = ?", [os.urandom(16), state, uuid.UUID(id).bytes]
            )


async def test_a_holder_remembers_only_what_it_holds(queue: TaskQueue) -> None:
    for number in range(20):
        await queue.enqueue(Echo(number))
    first = await queue.dequeue()
    assert first is not None
    while (task := await queue.dequeue()) is not None:
        await queue.complete_task(task.id, await task.execute())
    pull_server = first._taskyard.claim.worker.pull_server  # type: ignore[union-attr]
    assert sum(len(owned) for owned in pull_server._owned.values()) <= 2 and len(claims.taken.get()) <= 2
    assert len(pull_server.worker.claims) == 1 and not pull_server.worker.arrived  # type: ignore[union-attr]


def test_closing_without_a_loop_gives_back(database: str) -> None:
    queue = TaskQueue(url=database)
    loop = asyncio.new_event_loop()

    async def take() -> str:
        id = await queue.enqueue(Echo(1))
        assert await queue.dequeue() is not None
        return id

    id = loop.run_until_complete(take())
    # The tasks that are left on the loop are not cancelled.
    queue.tasks.close()

    async def look() -> Any:
        async with TaskQueue(url=database) as other:
            return (await seen(other, id)).status

    assert asyncio.run(look()) is TaskStatus.QUEUED
    loop.close()


def test_a_loop_that_was_just_closed_is_noticed(database: str) -> None:
    queue = TaskQueue(url=database)
    loop = asyncio.new_event_loop()

    async def take() -> str:
        id = await queue.enqueue(Echo(1))
        assert await queue.dequeue() is not None
        return id

    id = loop.run_until_complete(take())
    loop.close()

    async def again() -> Any:
        task = await queue.dequeue(timeout=10)
        assert task is not None
        return task.id, task.attempt, await queue.complete_task(task, 1)

    assert asyncio.run(again()) == (id, 1, True)
