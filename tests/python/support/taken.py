"""Shared code of the tests of dequeued tasks: small tasks, and helpers to inspect them."""

from __future__ import annotations

import asyncio
from typing import Any

from taskyard import Fail, Retry, Snooze
from taskyard.progress import ProgressTracker
from taskyard.queued_task import set_context
from taskyard.tasks import Task, TaskQueue


class Echo(Task):
    def __init__(self, value: Any = None) -> None:
        self.value = value

    async def execute(self) -> Any:
        return self.value


class Raising(Task):
    def __init__(self, what: str) -> None:
        self.what = what

    async def execute(self) -> Any:
        raise {
            "text": ValueError("broken"),
            "empty": ValueError(),
            "fail": Fail("for good"),
            "retry": Retry(after=300),
            "snooze": Snooze(300),
            "exit": SystemExit(3),
            "cancelled": asyncio.CancelledError(),
        }[self.what]


class Waiting(Task):
    """Runs until it is ended, and records in its context that it began, and how it ended."""

    def __init__(self) -> None:
        self.progress = ProgressTracker(total=2)

    async def execute(self) -> str:
        self.progress.advance()
        set_context("began", True)
        try:
            await gates["go"].wait()
        finally:
            gates["cleaned"].set()
        return "went"


#: ``Waiting`` continues when ``go`` is set; it sets ``cleaned`` at its end.
gates: dict[str, asyncio.Event] = {}


def fresh_gates() -> None:
    """Creates the events for the running loop."""
    gates.update(go=asyncio.Event(), cleaned=asyncio.Event())


async def seen(queue: TaskQueue, id: str | None) -> Task:
    found = await queue.get_task(id)
    assert found is not None
    return found


async def run(queue: TaskQueue, task: Task, **options: Any) -> Task:
    """Runs a task and ends it; passes only the text of an error to ``fail_task``."""
    id = await queue.enqueue(task, **options)
    got = await queue.dequeue()
    assert got is not None and got.id == id
    try:
        result = await got.execute()
        await queue.complete_task(got.id, result)
    except Exception as error:
        assert await queue.fail_task(got.id, str(error)) is True
    return await seen(queue, id)


async def begun(queue: TaskQueue, id: str) -> bool:
    return bool((await queue.tasks.get(id).get_context()).get("began"))


async def is_true(value: Any) -> bool:
    return bool(value)
