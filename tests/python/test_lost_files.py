"""The SQLite file is deleted while a process has it open: waits end, workers in the process end, the application
continues."""

from __future__ import annotations

import asyncio
import pathlib

import pytest
from support.waiting import eventually_async
from taskyard import QueuedTasks, _core
from taskyard.errors import DatabaseError
from taskyard.tasks import TaskQueue


def nothing() -> None: ...


async def test_a_wait_that_began_before_ends(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "queue.db"
    tasks = QueuedTasks(database=str(file))
    ref = tasks.add_task(nothing, delay=3600)
    await ref.get_task_id()
    before = _core.open_questions()
    waits = [asyncio.ensure_future(ref.wait()), asyncio.ensure_future(tasks.get(ref.id).wait(600))]

    async def both_wait() -> bool:
        return _core.open_questions() >= before + 2

    await eventually_async(both_wait)
    file.unlink()
    for wait in waits:
        with pytest.raises(DatabaseError, match="moved, deleted or replaced"):
            await asyncio.wait_for(wait, 30)
    with pytest.raises(DatabaseError):
        await tasks.add_task(nothing).get_task_id()


async def test_workers_end_and_the_application_goes_on(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "queue.db"
    tasks = QueuedTasks(database=str(file))
    async with tasks.lifespan(workers=1)(None):
        assert await tasks.add_task(nothing).wait(60) is None
        file.rename(tmp_path / "elsewhere.db")

        async def is_logged() -> bool:
            return any(
                record.levelname == "ERROR" and "the database is lost" in record.getMessage() for record in caplog.records
            )

        await eventually_async(is_logged, 30)
        # The application's loop continues: nothing follows that could be waited for.
        await asyncio.sleep(0.1)


async def test_taking_raises(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "queue.db"
    async with TaskQueue(url=str(file)) as queue:
        assert await queue.dequeue() is None
        taking = asyncio.ensure_future(queue.dequeue(timeout=None))
        # That it has begun to wait does not show.
        await asyncio.sleep(0.2)
        file.unlink()
        # The pending call ends, with no result or with the error.
        try:
            assert await asyncio.wait_for(taking, 30) is None
        except DatabaseError:
            pass
        with pytest.raises(DatabaseError):
            await asyncio.wait_for(queue.dequeue(timeout=None), 30)
        with pytest.raises(DatabaseError, match="moved, deleted or replaced"):
            await asyncio.wait_for(queue.dequeue(), 30)
