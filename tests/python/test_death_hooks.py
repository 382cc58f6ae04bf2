"""Hooks on death: their argument, the process that calls them, and the number of calls."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from support.project import Project
from support.waiting import eventually, eventually_async
from taskyard import QueuedTasks, RetryPolicy, _hooks, on_death
from taskyard._worker import Embedded
from taskyard.tasks import Task, TaskQueue
from taskyard.testing import ManualTasks

told: list[Any] = []


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    told.clear()
    yield
    _hooks.clear()


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=database) as tasks:
        yield tasks


async def told_is(look: Callable[[], bool]) -> None:
    async def look_again() -> bool:
        return look()

    await eventually_async(look_again)


async def breaks(value: int) -> None:
    raise ValueError(f"broken {value}")


async def note(text: str) -> str:
    told.append(("a task of the hook's", text))
    return text


async def test_sync_and_async_ones_are_called_once_with_the_record(
    tasks: QueuedTasks, caplog: pytest.LogCaptureFixture
) -> None:
    loop_thread = threading.get_ident()

    @on_death
    async def first(dead: dict[str, Any]) -> None:
        told.append(("async", dead["id"]))
        dead["id"] = "changed by the first"
        tasks.add_task(note, dead["error"]["message"])

    @on_death
    def fails(dead: dict[str, Any]) -> None:
        raise RuntimeError("in the hook")

    @on_death
    def sync(dead: dict[str, Any]) -> None:
        told.append(("sync", dead["id"], dead["kind"], dead["state"], dead["error"]["type"]))
        assert threading.get_ident() != loop_thread

    async with Embedded(tasks):
        ref = tasks.add_task(breaks, 7, max_retries=0)
        await told_is(lambda: len(told) == 3)
    assert sorted(told) == [
        ("a task of the hook's", "broken 7"),
        ("async", ref.id),
        ("sync", ref.id, f"{__name__}:breaks", "failed", "ValueError"),
    ]
    assert "in the hook" in caplog.text and ref.id in caplog.text


async def test_a_retried_failure_is_not_a_death_and_a_second_death_is_one(tasks: QueuedTasks) -> None:
    @on_death
    async def hook(dead: dict[str, Any]) -> None:
        told.append((dead["id"], dead["attempt"]))

    async with Embedded(tasks):
        ref = tasks.using(retry=RetryPolicy(max_retries=1, backoff=0)).add_task(breaks, 1)
        await told_is(lambda: told == [(ref.id, 2)])
        await tasks.dead.retry(ref.id)
        await told_is(lambda: len(told) == 2)
    assert told == [(ref.id, 2), (ref.id, 4)]


async def test_a_drain_in_a_test_tells(database: str) -> None:
    @on_death
    def hook(dead: dict[str, Any]) -> None:
        told.append(dead["id"])

    async with ManualTasks(database=database) as tasks:
        refs = [tasks.add_task(breaks, number, max_retries=0) for number in range(5)]
        assert await tasks.drain() == 5
        assert sorted(told) == sorted(ref.id for ref in refs)


class Breaking(Task):
    async def execute(self) -> None:
        raise ValueError("no")


async def test_who_takes_tasks_by_himself_is_told_too(database: str) -> None:
    @on_death
    async def hook(dead: dict[str, Any]) -> None:
        told.append(dead["id"])

    async with TaskQueue(url=database) as queue:
        id = await queue.enqueue(Breaking())
        task = await queue.dequeue(timeout=20)
        assert task is not None and await queue.fail_task(id, "it is of no use", retry=False)
        await told_is(lambda: told == [id])


def test_a_worker_that_is_killed_by_its_task(project: Project) -> None:
    """The hooks run in the next worker process, and once even though two servers run."""
    project.write(
        "app.py",
        """
        import os, pathlib
        from taskyard import QueuedTasks, on_death

        tasks = QueuedTasks()

        def poison():
            os.abort()

        @on_death
        def alert(dead):
            with open("deaths", "a") as file:
                print(dead["id"], dead["error"]["type"], os.getpid(), file=file)
        """,
    )
    servers = [project.server(app="app:tasks") for _ in range(2)]
    [added] = project.add("poison, at_most_once=True")
    deaths = project.directory / "deaths"
    eventually(lambda: deaths.exists() and deaths.read_text().endswith("\n"))
    for server in servers:
        server.stop()
    [line] = deaths.read_text().splitlines()
    id, error, pid = line.split()
    assert id == added and error == "WorkerDied" and int(pid) != os.getpid()


async def test_a_hook_that_waits_keeps_no_worker_from_its_tasks(tasks: QueuedTasks) -> None:
    gate = asyncio.Event()

    @on_death
    async def waits(dead: dict[str, Any]) -> None:
        told.append("waiting")
        await gate.wait()

    async with Embedded(tasks, concurrency=1):
        tasks.add_task(breaks, 1, max_retries=0)
        await told_is(lambda: told == ["waiting"])
        assert await tasks.add_task(note, "meanwhile").wait(20) == "meanwhile"
        gate.set()
