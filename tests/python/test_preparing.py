"""The time between a claim and a body's first step: a database error there is not charged to the task."""

from __future__ import annotations

import asyncio
import types
from typing import Any

import psycopg
import pytest
from taskyard import QueuedTasks, TaskFailed, _loops
from taskyard._worker import Embedded, _parents

started: list[str] = []


async def one() -> int:
    return 1


async def add(left: Any, right: Any) -> Any:
    started.append("add")
    return left + right


def add_sync(left: Any, right: Any) -> Any:
    started.append("add_sync")
    return left + right


async def plain(value: int) -> int:
    return value


async def test_a_database_that_cannot_be_asked_for_parents_costs_no_attempt(postgres: str) -> None:
    started.clear()
    async with QueuedTasks(database=postgres, max_retries=0) as tasks:
        first = tasks.add_task(one)
        # They come due when their parents cannot be read any more. Their time limit is shorter than that.
        children = [
            tasks.add_task(add, first, 10, delay=1.5, timeout=1),
            tasks.add_task(add_sync, first, 20, delay=1.5, timeout=1),
        ]
        grandchild = tasks.add_task(plain, children[0])
        await tasks.flush()
        async with Embedded(tasks, 1, 10):
            assert await first == 1
            with psycopg.connect(postgres, autocommit=True) as watching, psycopg.connect(postgres) as locking:
                locking.execute("LOCK TABLE taskyard.edge IN ACCESS EXCLUSIVE MODE")
                broken = 0
                for _ in range(400):
                    # Connections that wait for the lock are terminated: a transport error.
                    broken += len(
                        watching.execute(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                            "WHERE wait_event_type = 'Lock' AND query LIKE '%edge%' AND datname = current_database()"
                        ).fetchall()
                    )
                    if broken >= 6:
                        break
                    await asyncio.sleep(0.05)
                assert broken >= 6
                assert not started
                locking.rollback()
            assert await children[0] == 11
            assert await children[1] == 21
            assert await grandchild == 11
        for child in children:
            record = await child.record()
            assert (record["attempt"], record["failures"], record["lost"], record["crashes"]) == (1, 0, 0, 0)
    assert sorted(started) == ["add", "add_sync"]


async def test_what_cannot_be_read_is_the_attempts_own(postgres: str) -> None:
    async with QueuedTasks(database=postgres, max_retries=3) as tasks:
        first = tasks.add_task(one)
        child = tasks.add_task(add, first, 1, delay=1)
        await tasks.flush()
        async with Embedded(tasks, 1, 10):
            assert await first == 1
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute("UPDATE taskyard.task SET result = '{\"$date\": 1}' WHERE id = %s", [first.id])
            try:
                await child
            except TaskFailed:
                pass
            else:
                raise AssertionError("it cannot have run")
        assert (await child.record())["attempt"] == 1


async def test_a_question_for_parents_that_is_cancelled_is_asked_again(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []

    async def answer(reply: Any) -> Any:
        asked.append(None)
        if len(asked) <= 2:
            # Like a body that cancels every asyncio task of the loop.
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        return await _loops.answer(reply)

    monkeypatch.setattr(_parents, "_loops", types.SimpleNamespace(answer=answer))
    async with QueuedTasks(database=database, max_retries=0) as tasks, Embedded(tasks):
        first = tasks.add_task(one)
        child = tasks.add_task(add, first, 10)
        assert await child.wait(5) == 11
        record = await child.record()
        assert len(asked) == 3 and (record["attempt"], record["failures"], record["lost"]) == (1, 0, 0)
