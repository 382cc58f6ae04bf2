"""What lies between a claim and a body's first step: a fault of the database there is not held against the task."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from taskyard import QueuedTasks, TaskFailed
from taskyard.worker import Embedded

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
        # They are due once nobody can read who their parents are. Their time limit is shorter than that.
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
                    # Whoever waits for the lock loses its connection: a fault of the transport.
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
