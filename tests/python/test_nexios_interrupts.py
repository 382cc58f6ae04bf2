"""Dequeued tasks that are interrupted: cancelled, stopped, out of time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.taken import Echo, Waiting, begun, fresh_gates, gates, is_true, run, seen
from support.waiting import eventually_async
from taskyard import queued_task
from taskyard.errors import TaskInterrupted
from taskyard.tasks import Task, TaskQueue, TaskStatus


@pytest.fixture
async def queue(database: str) -> AsyncIterator[TaskQueue]:
    fresh_gates()
    async with TaskQueue(url=database) as queue:
        yield queue


async def test_a_cancel_from_elsewhere_interrupts_within_a_second(queue: TaskQueue, database: str) -> None:
    id = await queue.enqueue(Waiting())
    task = await queue.dequeue()
    assert task is not None
    running = asyncio.ensure_future(task.execute())
    await eventually_async(lambda: begun(queue, id))
    async with TaskQueue(url=database) as other:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        assert await other.cancel_task(id) is True
        with pytest.raises(TaskInterrupted, match="cancelled"):
            await running
        assert loop.time() - asked < 1.0
        assert gates["cleaned"].is_set()
        # A worker's loop continues and reports that the attempt failed. Nothing is retried.
        assert await queue.fail_task(id, "whatever") is True
        found = await seen(other, id)
        assert found.status is TaskStatus.CANCELLED
        progress: Any = found
        assert progress.progress.current == 1
        assert await other.cancel_task(id) is False


async def test_a_cancel_beats_a_completion_that_was_not_written(queue: TaskQueue) -> None:
    id = await queue.enqueue(Echo(1))
    task = await queue.dequeue()
    assert task is not None
    result = await task.execute()
    assert await queue.cancel_task(id) is True

    async def is_known() -> bool:
        return get_running(task) is not None

    await eventually_async(is_known)
    assert await queue.complete_task(id, result) is False
    assert (await seen(queue, id)).status is TaskStatus.CANCELLED


def get_running(task: Task) -> str | None:
    claim = task._taskyard.claim
    assert claim is not None
    return claim.running.interrupted


async def test_a_time_limit_interrupts(queue: TaskQueue) -> None:
    found = await run(queue, Waiting(), timeout=0.2, max_retries=0)
    assert found.status is TaskStatus.FAILED and found.error and found.error.type == "TimeoutError"
    assert gates["cleaned"].is_set()


class OnThread(Task):
    def execute(self) -> Any:
        begun_on_thread.set()
        while not queued_task.is_cancelled():
            time.sleep(0.005)
        queued_task.check_cancelled()


begun_on_thread = threading.Event()


async def test_a_sync_body_is_asked(queue: TaskQueue) -> None:
    begun_on_thread.clear()
    id = await queue.enqueue(OnThread())
    task = await queue.dequeue()
    assert task is not None
    running = asyncio.ensure_future(task.execute())
    await eventually_async(lambda: is_true(begun_on_thread.is_set()))
    await queue.cancel_task(id)
    with pytest.raises(TaskInterrupted):
        await running
    assert await queue.fail_task(id, "") is True
    assert (await seen(queue, id)).status is TaskStatus.CANCELLED


def asked_on_a_thread() -> None:
    begun_on_thread.set()
    while not queued_task.is_cancelled():
        time.sleep(0.005)
    ended_on_thread.set()


ended_on_thread = threading.Event()


async def test_the_end_of_a_taken_sync_function_waits_for_its_thread(queue: TaskQueue) -> None:
    begun_on_thread.clear()
    ended_on_thread.clear()
    ref = queue.tasks.add_task(asked_on_a_thread)
    await ref.get_task_id()
    task = await queue.dequeue()
    assert task is not None
    running = asyncio.ensure_future(task.execute())
    await eventually_async(lambda: is_true(begun_on_thread.is_set()))
    assert await queue.requeue_task(task.id) is True
    assert ended_on_thread.is_set()
    await asyncio.wait({running})


class CallsAThread(Task):
    async def execute(self) -> None:
        await asyncio.to_thread(slow_call)


def slow_call() -> None:
    time.sleep(2)
    ended_on_thread.set()


async def test_an_attempt_is_over_when_its_executor_calls_are(queue: TaskQueue) -> None:
    ended_on_thread.clear()
    found = await run(queue, CallsAThread(), timeout=0.2, max_retries=0)
    assert ended_on_thread.is_set(), "the call still runs although its attempt has ended"
    assert found.status is TaskStatus.FAILED and found.error and found.error.type == "TimeoutError"


async def test_a_cancel_right_at_the_claim_is_not_lost(queue: TaskQueue) -> None:
    for _ in range(10):
        id = await queue.enqueue(Waiting())
        taking = asyncio.ensure_future(queue.dequeue(timeout=0.5))
        await asyncio.sleep(0)
        assert await queue.cancel_task(id) is True
        task = await taking
        if task is None:
            assert (await seen(queue, id)).status is TaskStatus.CANCELLED
            continue
        assert task.id == id
        with pytest.raises(TaskInterrupted):
            await asyncio.wait_for(task.execute(), 10)
        assert await queue.fail_task(id, "") is True
        assert (await seen(queue, id)).status is TaskStatus.CANCELLED


async def test_a_stop_keeps_the_task_for_a_retry(queue: TaskQueue) -> None:
    id = await queue.enqueue(Waiting())
    task = await queue.dequeue()
    assert task is not None
    running = asyncio.ensure_future(task.execute())
    await eventually_async(lambda: begun(queue, id))
    stopping = queue.tasks.get(id).stop()
    with pytest.raises(TaskInterrupted):
        await running
    assert await queue.fail_task(id, "") is True
    assert await stopping == "stopped"
    assert (await seen(queue, id)).status is TaskStatus.STOPPED
    assert await queue.requeue_task(id) is True
    again = await queue.dequeue()
    assert again is not None and again.id == id
