"""Tasks that a program dequeues and ends itself: each has one holder and one end."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.taken import Echo, Raising, Waiting, begun, fresh_gates, gates, is_true, run, seen
from support.waiting import eventually_async
from taskyard import Fail
from taskyard.errors import InvalidArgument, NotSerializable, OverLimit, WrongState
from taskyard.tasks import Task, TaskQueue, TaskStatus


@pytest.fixture
async def queue(database: str) -> AsyncIterator[TaskQueue]:
    fresh_gates()
    async with TaskQueue(url=database) as queue:
        yield queue


async def test_a_task_is_taken_run_and_completed(queue: TaskQueue) -> None:
    assert await queue.dequeue() is None
    id = await queue.enqueue(Echo({"a": (1, 2)}))
    task = await queue.dequeue()
    assert isinstance(task, Echo) and task.id == id and task.status is TaskStatus.RUNNING and task.attempt == 1
    assert task.priority == 0 and task.max_attempts == 4 and task.created_at is not None and task.worker is not None
    assert (await seen(queue, id)).status is TaskStatus.RUNNING
    assert await queue.dequeue() is None
    result = await task.execute()
    assert await queue.complete_task(task.id, result) is True
    done = await seen(queue, id)
    assert done.status is TaskStatus.COMPLETED and done.result == {"a": (1, 2)} and done.worker == task.worker
    assert task.status is TaskStatus.COMPLETED and task.result == {"a": (1, 2)}
    # Repeating the same end succeeds; any other end comes too late.
    assert await queue.complete_task(id, "other") is True
    assert await queue.fail_task(id, "x") is False and await queue.requeue_task(id) is False
    assert (await seen(queue, id)).result == {"a": (1, 2)}


async def test_trap_05_the_start_time_is_there_in_execute(queue: TaskQueue) -> None:
    class_task = Rate()
    await queue.enqueue(class_task)
    before = time.time()
    task = await queue.dequeue()
    assert task is not None and task.start_time is not None and before <= task.start_time <= time.time()
    assert isinstance(await task.execute(), float)


class Rate(Task):
    async def execute(self) -> float:
        assert self.start_time is not None
        return 1.0 / (time.time() - self.start_time + 1e-9)


async def test_priority_then_age_then_queues(queue: TaskQueue) -> None:
    for value, priority in ((1, 0), (2, 0), (3, 5)):
        await queue.enqueue(Echo(value), priority=priority)
    await queue.enqueue(Echo(4), queue="mail")
    await queue.enqueue(Echo(5), queue="mail")
    only = await queue.dequeue(queues=["mail"])
    assert isinstance(only, Echo) and only.value == 4 and only.queue == "mail"
    rest = await queue.dequeue(count=10)
    assert [task.value for task in rest if isinstance(task, Echo)] == [3, 1, 2, 5]
    assert await queue.dequeue(count=2) == []
    for wrong in (0, -1, True, 1.5):
        with pytest.raises(InvalidArgument):
            await queue.dequeue(count=wrong)  # type: ignore[call-overload]
    with pytest.raises(InvalidArgument):
        await queue.dequeue(timeout=-1)


async def test_trap_12_polling_is_not_needed(queue: TaskQueue, database: str) -> None:
    loop = asyncio.get_running_loop()
    assert await queue.dequeue() is None
    began = loop.time()
    for _ in range(5):
        assert await queue.dequeue() is None
    assert loop.time() - began < 5.0, "it does not wait"
    began = loop.time()
    assert await queue.dequeue(timeout=0.2) is None
    assert loop.time() - began >= 0.2
    # A waiting caller is woken by an addition, also from the engine of another process.
    async with TaskQueue(url=database) as other:
        taking = asyncio.ensure_future(queue.dequeue(timeout=30))
        await asyncio.sleep(0)
        began = loop.time()
        await other.enqueue(Echo(1))
        task = await taking
        assert isinstance(task, Echo) and loop.time() - began < 10.0


async def test_each_task_has_one_taker(queue: TaskQueue, database: str) -> None:
    async with TaskQueue(url=database) as other:
        for value in range(40):
            await queue.enqueue(Echo(value))

        async def drain(mine: TaskQueue) -> list[Any]:
            got = []
            while (task := await mine.dequeue()) is not None:
                assert isinstance(task, Echo)
                got.append(task.value)
                assert await mine.complete_task(task.id, await task.execute()) is True
            return got

        parts = await asyncio.gather(*(drain(mine) for mine in (queue, other, queue, other)))
        assert sorted(sum(parts, [])) == list(range(40))


async def test_an_abandoned_wait_takes_nothing_with_it(queue: TaskQueue) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(queue.dequeue(timeout=30), 0.1)
    id = await queue.enqueue(Echo(1))

    async def got() -> Task | None:
        return await queue.dequeue()

    task = await eventually_async(got)
    assert task is not None and task.id == id and task.attempt == 1


async def test_errors_keep_their_type_and_traceback_by_their_text(queue: TaskQueue) -> None:
    found = await run(queue, Raising("text"), max_retries=0)
    assert found.status is TaskStatus.FAILED and found.error and found.error.type == "ValueError"
    assert str(found.error) == "broken" and "raise {" in (found.error.traceback or "")
    assert "_tasks" not in (found.error.traceback or "")
    found = await run(queue, Raising("empty"), max_retries=0)
    assert found.error and str(found.error) == "" and found.error.type == "ValueError"
    found = await run(queue, Raising("text"))
    assert found.status is TaskStatus.RETRYING and found.error and len(found.errors) == 1


async def test_wishes_survive_the_text(queue: TaskQueue) -> None:
    found = await run(queue, Raising("fail"))
    assert found.status is TaskStatus.FAILED and found.error and found.error.type == "Fail"
    found = await run(queue, Raising("snooze"))
    assert found.errors == [] and found.attempt == 1 and found.status is TaskStatus.SCHEDULED
    found = await run(queue, Raising("retry"))
    assert [error.type for error in found.errors] == ["Retry"] and found.status is TaskStatus.RETRYING


async def test_no_error_of_a_body_ends_its_worker(queue: TaskQueue) -> None:
    found = await run(queue, Raising("exit"), max_retries=0)
    assert found.status is TaskStatus.FAILED and found.error and found.error.type == "SystemExit"
    found = await run(queue, Raising("cancelled"), max_retries=0)
    assert found.status is TaskStatus.FAILED and found.error and found.error.type == "asyncio.exceptions.CancelledError"


async def test_fail_with_a_text_or_an_exception_of_the_callers_own(queue: TaskQueue) -> None:
    ids = [await queue.enqueue(Echo(number)) for number in range(3)]
    tasks = await queue.dequeue(count=3)
    assert await queue.fail_task(ids[0], "my words \ud800" + "x" * 10_000, retry=False) is True
    assert await queue.fail_task(tasks[1], KeyError("k"), retry=False) is True
    assert await queue.fail_task(ids[2], Fail("no")) is True
    found = [await seen(queue, id) for id in ids]
    assert all(task.status is TaskStatus.FAILED for task in found)
    assert str(found[0].error).startswith("my words ?xxx") and len(str(found[0].error)) < 5_000
    assert [str(task.error) for task in found[1:]] == ["'k'", "no"]
    assert found[1].error is not None and found[1].error.type == "KeyError"
    with pytest.raises(InvalidArgument):
        await queue.fail_task(ids[0], 5)  # type: ignore[arg-type]


async def test_trap_10_a_result_that_cannot_be_stored_raises(queue: TaskQueue) -> None:
    found = await run(queue, Echo(None))
    assert found.status is TaskStatus.COMPLETED
    id = await queue.enqueue(Echo(1))
    task = await queue.dequeue()
    assert task is not None
    with pytest.raises(NotSerializable) as raised:
        await queue.complete_task(task.id, object())
    # The task is still running, and the text of that error refers to the error, which a retry would not mend.
    assert (await seen(queue, id)).status is TaskStatus.RUNNING
    assert await queue.fail_task(task.id, str(raised.value)) is True
    found = await seen(queue, id)
    assert found.status is TaskStatus.FAILED and found.error and "NotSerializable" in found.error.type
    id = await queue.enqueue(Echo(1))
    task = await queue.dequeue()
    with pytest.raises(OverLimit):
        await queue.complete_task(id, "x" * 2_000_000)
    assert await queue.complete_task(id, "short") is True


async def test_trap_07_a_requeued_task_is_not_completed_by_its_old_run(queue: TaskQueue) -> None:
    id = await queue.enqueue(Waiting())
    await queue.enqueue(Echo("behind"))

    async def worker() -> tuple[str, bool]:
        task = await queue.dequeue()
        assert task is not None
        try:
            result = await task.execute()
            return "complete", await queue.complete_task(task.id, result)
        except Exception as error:
            return "fail", await queue.fail_task(task.id, str(error))

    first = asyncio.ensure_future(worker())
    await eventually_async(lambda: begun(queue, id))
    # A signal handler has only the id, and runs in a context of its own.
    given = contextvars.Context().run(asyncio.ensure_future, queue.requeue_task(id))
    assert await given is True
    assert gates["cleaned"].is_set()
    verb, answer = await first
    assert (verb, answer) == ("fail", False)
    found = await seen(queue, id)
    assert found.status is TaskStatus.QUEUED and found.attempt == 0 and found.errors == []
    # In front of later tasks, and as a first attempt again.
    again = await queue.dequeue()
    assert again is not None and again.id == id and again.attempt == 1
    gates["go"].set()
    result = await again.execute()
    # The old holder, which has only the id, cannot affect the new run.
    assert await queue.complete_task(id, result) is True
    assert (await seen(queue, id)).result == "went"


async def test_the_end_of_an_older_claim_does_not_touch_a_newer_one(queue: TaskQueue) -> None:
    id = await queue.enqueue(Echo(1))
    told: list[Any] = []
    go = asyncio.Event()

    async def old() -> None:
        task = await queue.dequeue()
        assert task is not None
        assert await queue.requeue_task(id) is True
        told.append("back")
        await go.wait()
        # The newer claim of the same id is in this very process.
        told.append(await queue.complete_task(id, "old"))
        told.append(await queue.fail_task(task, "old"))

    first = asyncio.ensure_future(old())
    await eventually_async(lambda: is_true(told))
    task = await queue.dequeue()
    assert task is not None and task.id == id
    go.set()
    await first
    assert told == ["back", False, False]
    assert (await seen(queue, id)).status is TaskStatus.RUNNING
    assert await queue.complete_task(task, "new") is True
    assert (await seen(queue, id)).result == "new"


async def test_only_the_holder_ends_a_task(queue: TaskQueue, database: str) -> None:
    id = await queue.enqueue(Echo(1))
    async with TaskQueue(url=database) as other:
        task = await queue.dequeue()
        assert task is not None
        assert await other.complete_task(id, 2) is False and await other.fail_task(id, "x") is False
        assert await other.requeue_task(id) is False
        assert (await seen(other, id)).status is TaskStatus.RUNNING
        assert await queue.complete_task(id, 1) is True


async def test_execute_runs_once_at_a_time(queue: TaskQueue) -> None:
    await queue.enqueue(Waiting())
    task = await queue.dequeue()
    assert task is not None
    first = asyncio.ensure_future(task.execute())
    await asyncio.sleep(0)
    with pytest.raises(WrongState, match="already"):
        await task.execute()
    gates["go"].set()
    assert await first == "went"
