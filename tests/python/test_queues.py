"""Queues, priorities and dead letters from Python, outside of tasks and within one, and refused values."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.waiting import eventually_async
from taskyard import (
    InvalidArgument,
    NotSerializable,
    QueuedTasks,
    TaskFailed,
    TaskNotFound,
    UniqueKeyHeld,
    UnknownQueue,
    WrongState,
)
from taskyard._worker import Embedded
from taskyard.tasks import TaskQueue

order: list[str] = []
release = asyncio.Event()


async def note(name: str) -> None:
    order.append(name)


async def greet(name: str, when: dt.date | None = None) -> str:
    if name == "nobody":
        raise ValueError(f"there is no user {name}")
    return f"hello {name} {when}"


async def held() -> None:
    await release.wait()


async def manage() -> dict[str, Any]:
    """Sends the same requests from within a task, through its server."""
    tasks = QueuedTasks()
    await tasks.queues.pause("held")
    waits = tasks.using(queue="held").add_task(note, "never")
    await waits.set_priority(-4)
    drained = await tasks.queues.drain("held", timeout=5)
    return {
        "drained": drained,
        "priority": (await waits.record())["priority"],
        "paused": [queue.name for queue in await tasks.queues.list() if queue.paused],
        "dead": await tasks.dead.count(),
    }


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    global release
    order.clear()
    release = asyncio.Event()
    async with QueuedTasks(database=database, max_retries=0) as tasks:
        yield tasks


async def test_a_new_priority_moves_the_place(tasks: QueuedTasks) -> None:
    refs = [tasks.add_task(note, name) for name in "abc"]
    assert await refs[2].set_priority(2**31 - 1) == "enqueued"
    assert await refs[0].set_priority(-1) == "enqueued"
    async with Embedded(tasks, 1, 1):
        for ref in refs:
            await ref
    assert order == ["c", "b", "a"]
    with pytest.raises(WrongState, match="not started"):
        await refs[0].set_priority(1)
    for wrong in (2**31, -(2**31) - 1, 1.5, "high", True, None):
        with pytest.raises(InvalidArgument, match="priority"):
            refs[0].set_priority(wrong)  # type: ignore[arg-type]


async def test_queues_are_paused_limited_aged_and_purged(tasks: QueuedTasks) -> None:
    queues = tasks.queues
    await queues.pause("mail")
    await queues.limit("mail", 3)
    await queues.ageing("mail", dt.timedelta(minutes=10))
    waits = tasks.using(queue="mail").add_task(greet, "ada")
    await waits.get_task_id()
    [mail] = [queue for queue in await queues.list() if queue.name == "mail"]
    assert (mail.paused, mail.running_max, mail.ageing_seconds, mail.enqueued) == (True, 3, 600.0, 1)
    async with Embedded(tasks, 1, 10):
        await tasks.add_task(greet, "other")
        assert await waits.get_state() == "enqueued"
        assert await queues.drain("mail", timeout=10)
        await queues.resume("mail")
        await queues.limit("mail", None)
        await queues.ageing("mail", None)
        assert await waits == "hello ada None"
    assert await queues.purge("mail") == 1
    with pytest.raises(TaskNotFound):
        await waits.record()
    assert await queues.purge() == 1
    with pytest.raises(InvalidArgument, match="running_max"):
        queues.limit("mail", 0)
    with pytest.raises(InvalidArgument, match="every"):
        queues.ageing("mail", -1)
    with pytest.raises(InvalidArgument, match="under a second"):
        await queues.ageing("mail", 0.1)
    with pytest.raises(InvalidArgument, match="never deleted"):
        await queues.purge("mail", states=["doing"])
    with pytest.raises(UnknownQueue):
        await queues.drain("nowhere")


async def test_a_rate_is_kept_and_what_is_none_is_refused(tasks: QueuedTasks) -> None:
    await tasks.queues.rate("mail", "3/h")
    [mail] = await tasks.queues.list()
    assert (mail.name, mail.rate) == ("mail", "3/h")
    refs = [tasks.using(queue="mail").add_task(note, name) for name in "abcde"]
    async with Embedded(tasks):
        for ref in refs[:3]:
            await ref.wait(20)
        assert await tasks.add_task(greet, "ada").wait(20) == "hello ada None"
    assert order == ["a", "b", "c"]
    for wrong in ("3", "3/x", "0/s", "-1/s", "3/0s"):
        with pytest.raises(InvalidArgument, match="rate"):
            await tasks.queues.rate("mail", wrong)
    await tasks.queues.rate("mail", None)
    assert [queue.rate for queue in await tasks.queues.list()] == [None]


async def test_a_task_queue_says_its_limits_with_its_first_use(database: str) -> None:
    queue = TaskQueue("mail", url=database, limit=2, rate="100/m")
    async with queue:
        assert await queue.dequeue() is None
        [mail] = await queue.tasks.queues.list()
        assert (mail.name, mail.running_max, mail.rate) == ("mail", 2, "100/m")
        wrong = TaskQueue("mail", tasks=queue.tasks, rate="often")
        for _ in range(2):
            with pytest.raises(InvalidArgument, match="often"):
                await wrong.dequeue()
        with pytest.raises(InvalidArgument, match="limit"):
            TaskQueue("mail", limit=0)


async def test_a_drain_says_that_something_still_runs(tasks: QueuedTasks) -> None:
    async with Embedded(tasks, 1, 10):
        ref = tasks.using(queue="slow").add_task(held)

        async def runs() -> bool:
            return await ref.get_state() == "doing"

        await eventually_async(runs)
        assert not await tasks.queues.drain("slow", timeout=0.1)
        release.set()
        assert await tasks.queues.drain("slow", timeout=30)
        await asyncio.wait_for(ref.wait(), 10)


async def test_dead_letters_are_found_edited_and_retried(tasks: QueuedTasks) -> None:
    dead = tasks.dead
    before = dt.datetime.now(dt.timezone.utc) - dt.timedelta(minutes=1)
    async with Embedded(tasks, 1, 10):
        one = tasks.add_task(greet, "nobody", dt.date(2026, 1, 2))
        two = tasks.using(queue="mail", tags=["night"]).add_task(greet, "nobody")
        for ref in (one, two):
            with pytest.raises(TaskFailed):
                await ref
        assert await dead.count() == 2
        assert await dead.count(error=ValueError, message="no user", after=before, function=greet) == 2
        assert await dead.count(before=before) == await dead.count(error="KeyError") == 0
        assert [record["id"] for record in await dead.list(tag="night")] == [two.id]
        assert {record["id"] for record in await dead.list()} == {two.id, one.id}
        shown = await dead.show(one)
        assert (shown["task"]["state"], shown["attempts"][0]["outcome"]) == ("failed", "failed")

        # Exact values as in an addition; values that are not given are unchanged.
        assert await dead.retry(one, args=["ada", dt.date(2026, 3, 4)]) == 1
        assert await one == "hello ada 2026-03-04"
        await dead.edit(two, kwargs={"name": "bob"}, args=(), queue="other", priority=-2, max_retries=5)
        record = await two.record()
        assert (record["state"], record["queue"], record["priority"], record["retry"]["max_retries"]) == (
            "failed",
            "other",
            -2,
            5,
        )
        assert await dead.retry(queue="mail") == 0
        assert await dead.retry(queue="other") == 1
        assert await two == "hello bob None"
        assert await dead.count() == 0

        three = tasks.add_task(greet, "nobody")
        with pytest.raises(TaskFailed):
            await three
        assert await dead.purge(message="nothing like it") == 0
        assert await dead.purge(queue="default") == 1


async def test_edits_that_cannot_be_are_refused(tasks: QueuedTasks) -> None:
    async with Embedded(tasks, 1, 10):
        done = tasks.add_task(greet, "ada")
        await done

        def local() -> None:
            raise ValueError("broken")

        signed = tasks.add_task(local)
        with pytest.raises(TaskFailed):
            await signed
        with pytest.raises(WrongState):
            await tasks.dead.edit(done, args=["x"])
        with pytest.raises(InvalidArgument, match="signed"):
            await tasks.dead.edit(signed, args=[1])
        await tasks.dead.edit(signed, priority=3)  # the signature does not cover that
    with pytest.raises(TaskNotFound):
        await tasks.dead.edit("01890000-0000-7000-8000-000000000000", priority=1)
    for wrong in (object(), lambda: None):
        with pytest.raises(NotSerializable):
            tasks.dead.edit(done, args=[wrong])
    with pytest.raises(TypeError, match="something to change"):
        tasks.dead.edit(done)
    with pytest.raises(TypeError, match="give its id"):
        tasks.dead.retry(args=[1])
    with pytest.raises(TypeError, match="no filter colour"):
        tasks.dead.list(colour="red")


async def test_a_task_asks_through_its_server(tasks: QueuedTasks) -> None:
    async with Embedded(tasks, 1, 10):
        assert await tasks.add_task(manage) == {"drained": True, "priority": -4, "paused": ["held"], "dead": 0}


def test_without_a_loop(database: str) -> None:
    with QueuedTasks(database=database) as tasks:
        ref = tasks.add_task(greet, "ada")
        tasks.flush()
        assert ref.set_priority(4).result() == "enqueued"
        tasks.queues.pause("default").result()
        assert [queue.paused for queue in tasks.queues.list().result()] == [True]
        assert tasks.dead.count().result() == 0


async def test_a_retry_is_refused_while_another_task_holds_its_unique_key(tasks: QueuedTasks) -> None:
    async with Embedded(tasks, 1, 10):
        first = tasks.add_task(greet, "nobody", unique="key")
        with pytest.raises(TaskFailed):
            await first.wait(20)
    second = tasks.add_task(greet, "ada", unique="key")
    assert await second.get_task_id() != first.id
    with pytest.raises(UniqueKeyHeld, match=second.id):
        await first.retry()
    with pytest.raises(UniqueKeyHeld, match=second.id):
        await tasks.dead.retry(first)
    assert await tasks.dead.retry() == 0
    assert await first.get_state() == "failed"
    await second.cancel()
    assert await tasks.dead.retry(first) == 1
