"""Watching tasks from the same process, from inside a task, and from another process: its cost and its latency."""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.project import Project
from taskyard import QueuedTasks, RetryPolicy, TaskNotFound, get_current_task
from taskyard._worker import Embedded
from taskyard.queued_task import save_context, set_context
from taskyard.watching import TaskEvent


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    """A queue with a worker in this process."""
    async with QueuedTasks(database=database) as tasks, Embedded(tasks):
        yield tasks


gates: dict[str, asyncio.Event] = {}


async def steps() -> str:
    for step in (1, 2):
        set_context("progress", {"total": 4, "completed": step, "message": f"step {step}"})
        await save_context()
        gates[f"saved {step}"].set()
        await gates[f"go {step}"].wait()
    return "through"


async def follow(watch: Any, seconds: float = 30.0) -> list[TaskEvent]:
    async def all() -> list[TaskEvent]:
        return [event async for event in watch]

    return await asyncio.wait_for(all(), seconds)


async def test_a_task_is_followed_to_its_end(tasks: QueuedTasks) -> None:
    gates.update({name: asyncio.Event() for name in ("saved 1", "go 1", "saved 2", "go 2")})
    ref = tasks.add_task(steps, name="steps")
    watch = ref.watch()
    first = await asyncio.wait_for(watch.__anext__(), 20)
    assert first.type == "snapshot" and first.task_id == ref.id
    told = [first]
    for step in (1, 2):
        await asyncio.wait_for(gates[f"saved {step}"].wait(), 20)
        while told[-1].progress is None or told[-1].progress.completed != step:
            told.append(await asyncio.wait_for(watch.__anext__(), 20))
        gates[f"go {step}"].set()
    rest = await follow(watch)
    assert rest[-1].type == "completed" and rest[-1].status == "completed" and rest[-1].state == "done"
    told += rest
    progress = told[-1].progress
    assert progress is not None
    assert (progress.completed, progress.total, progress.percentage, progress.message) == (2, 4, 50.0, "step 2")
    assert all(after.seq >= before.seq for before, after in zip(told, told[1:], strict=False))
    shown = told[-1].to_dict()
    assert json.loads(json.dumps(shown)) == shown and shown["seq"] == told[-1].seq
    # From any event on, exactly the later ones; from the end on, none.
    assert [event.type for event in await follow(tasks.watch(ref.id, told[-1].seq))] == []
    late = await follow(tasks.watch(ref.id))
    assert [event.type for event in late] == ["snapshot", "completed"]


async def flaky() -> str:
    if get_current_task().attempt < 3:
        raise ValueError(f"attempt {get_current_task().attempt}")
    return "at last"


QUICK = RetryPolicy(backoff=0.05, jitter=False)


async def test_retries_are_told_each_with_its_error(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(flaky, retry=QUICK)
    told = await follow(ref.watch())
    retries = [event for event in told if event.type == "retry"]
    assert [(event.attempt, event.error) for event in retries] == [
        (1, {"type": "ValueError", "message": "attempt 1"}),
        (2, {"type": "ValueError", "message": "attempt 2"}),
    ]
    assert told[-1].type == "completed" and told[-1].attempt == 3
    # A watcher that has seen only the first event receives all later ones that are stored.
    again = await follow(tasks.watch(ref.id, retries[0].seq))
    assert [(event.type, event.attempt) for event in again] == [
        ("status", 2),
        ("retry", 2),
        ("status", 3),
        ("completed", 3),
    ]


async def fails() -> None:
    raise ValueError("for good")


async def test_every_end_has_its_event(tasks: QueuedTasks) -> None:
    failed = await follow(tasks.add_task(fails, max_retries=0).watch())
    assert failed[-1].type == "failed" and failed[-1].error == {"type": "ValueError", "message": "for good"}
    late = tasks.add_task(fails, delay=3600)
    watch = late.watch()
    assert (await watch.__anext__()).status == "scheduled"
    await late.cancel()
    assert [event.type for event in await follow(watch)] == ["cancelled"]
    with pytest.raises(TaskNotFound):
        await follow(tasks.watch("01890000-0000-7000-8000-000000000000"))


async def test_a_thread_without_a_loop_watches(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(flaky, retry=QUICK)
    await ref.get_task_id()
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.extend(event.type for event in ref.watch()))
    thread.start()
    await asyncio.to_thread(thread.join, 30)
    assert told[0] == "snapshot" and told[-1] == "completed"


async def test_a_thousand_watchers_and_one_who_does_not_take(tasks: QueuedTasks) -> None:
    gates.update({name: asyncio.Event() for name in ("saved 1", "go 1", "saved 2", "go 2")})
    ref = tasks.add_task(steps)
    stalled = ref.watch()
    await stalled.__anext__()
    all = [asyncio.ensure_future(follow(ref.watch(), 60)) for _ in range(1_000)]
    for step in (1, 2):
        await asyncio.wait_for(gates[f"saved {step}"].wait(), 20)
        gates[f"go {step}"].set()
    assert await ref.wait(30) == "through"
    told = await asyncio.gather(*all)
    assert {events[-1].type for events in told} == {"completed"}
    rest = await follow(stalled)
    assert rest[-1].type == "completed"


APP = """
    import asyncio, time
    from taskyard import QueuedTasks
    from taskyard.queued_task import set_context

    async def ticks(count: int, every: float) -> None:
        for number in range(count):
            set_context("progress", {"completed": number, "total": count, "at": time.time(), "message": repr(time.time())})
            await asyncio.sleep(every)

    async def watches(id: str) -> list[str]:
        return [event.type async for event in QueuedTasks().watch(id)]
"""


async def test_a_task_in_a_worker_process_watches_another(project: Project) -> None:
    project.write("app.py", APP)
    project.server("--workers=1", app="app")
    async with QueuedTasks(database=project.database) as tasks:
        other = tasks.add_task("app:ticks", 10, 0.05)
        told = await tasks.add_task("app:watches", await other.get_task_id()).wait(30)
    assert told[0] == "snapshot" and "progress" in told and told[-1] == "completed"


async def test_progress_in_a_worker_process_reaches_a_watcher_in_another(project: Project) -> None:
    """From a worker process through its server and the database to this process: half a second at the median,
    generously."""
    project.write("app.py", APP)
    server = project.server("--workers=1", app="app")
    async with QueuedTasks(database=project.database) as tasks:
        ref = tasks.add_task("app:ticks", 20, 0.15)
        delays = []
        async for event in ref.watch():
            if event.type == "progress" and event.progress is not None:
                delays.append(time.time() - float(event.progress.message or 0))
            assert event.type not in ("failed", "retry"), event
    assert 15 <= len(delays) <= 21, "each once, but what came too fast"
    print(f"median {statistics.median(delays) * 1000:.0f} ms, worst {max(delays) * 1000:.0f} ms")
    assert statistics.median(delays) < 0.5, delays
    assert server.process.poll() is None
