"""Lists of tasks: at most the requested number, newest first, and never too large for a process."""

from __future__ import annotations

import pytest
from taskyard import OverLimit, QueuedTasks


def holds(_: object) -> None:
    pass


async def test_a_list_is_whole_over_many_pages(database: str) -> None:
    async with QueuedTasks(database=database) as tasks:
        refs = tasks.add_tasks([tasks.call(holds, number) for number in range(150)])
        await refs[0].get_task_id()
        newest_first = sorted((ref.id for ref in refs), reverse=True)
        for limit in (1, 64, 65, 149, 150, 1_000):
            assert [task["id"] for task in await tasks.list(limit=limit)] == newest_first[:limit]
        assert len(await tasks.list()) == 50


async def test_a_list_of_large_tasks_is_refused_and_a_shorter_one_is_not(database: str) -> None:
    async with QueuedTasks(database=database) as tasks:
        for _ in range(3):
            await tasks.add_tasks([tasks.call(holds, "x" * 1_000_000) for _ in range(20)])[0].get_task_id()
        with pytest.raises(OverLimit, match="fewer tasks"):
            await tasks.list(limit=100)
        assert len(await tasks.list(limit=10)) == 10
