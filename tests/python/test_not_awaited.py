"""Tasks that a script adds on an async connection and never awaits: an error at the end of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from taskyard import NotAwaited, QueuedTasks
from taskyard.tasks import TaskQueue


async def echo(value: Any) -> Any:
    return value


@asynccontextmanager
async def transaction(kind: str, address: str) -> AsyncIterator[Any]:
    connect: Any = asyncpg.connect if kind == "asyncpg" else psycopg.AsyncConnection.connect
    connection = await connect(address)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


async def stored(address: str) -> list[str]:
    async with QueuedTasks(database=address) as tasks:
        return [task["id"] for task in await tasks.list()]


KINDS = pytest.mark.parametrize("kind", ["asyncpg", "psycopg"])


@KINDS
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "dropped"])
async def test_the_end_of_the_queue_says_what_was_left_out(postgres: str, kind: str, is_kept: bool) -> None:
    kept = []
    with pytest.raises(NotAwaited, match="echo.* never awaited") as found:
        async with QueuedTasks(database=postgres) as tasks:
            other = tasks.add_task(echo, 1)
            async with transaction(kind, postgres) as connection:
                ref = tasks.using(priority=3).bind(connection).add_task(echo, 2)
                id = ref.id
                if is_kept:
                    kept.append(ref)
                del ref
    assert id in str(found.value)
    # Said once, and all else is stored.
    await tasks.__aexit__(None, None, None)
    assert await stored(postgres) == [other.id]


@KINDS
async def test_a_queue_of_tasks_says_it_too(postgres: str, kind: str) -> None:
    with pytest.raises(NotAwaited):
        async with TaskQueue(tasks=QueuedTasks(database=postgres)) as queue:
            async with transaction(kind, postgres) as connection:
                ref = queue.tasks.add_task(echo, 2, connection=connection)
    with pytest.raises(NotAwaited):
        await ref


@KINDS
async def test_close_says_it_too(postgres: str, kind: str) -> None:
    tasks = QueuedTasks(database=postgres)
    async with transaction(kind, postgres) as connection:
        ref = tasks.add_task(echo, 2, connection=connection)
    with pytest.raises(NotAwaited, match=ref.id):
        await asyncio.to_thread(tasks.close)
    await asyncio.to_thread(tasks.close)


@KINDS
async def test_an_error_on_its_way_is_the_one_that_is_raised(postgres: str, kind: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with QueuedTasks(database=postgres) as tasks:
            async with transaction(kind, postgres) as connection:
                _ = tasks.add_task(echo, 2, connection=connection)
            raise ZeroDivisionError
    await tasks.__aexit__(None, None, None)


@KINDS
async def test_what_was_awaited_is_no_error(postgres: str, kind: str) -> None:
    async with QueuedTasks(database=postgres) as tasks, transaction(kind, postgres) as connection:
        ref = await tasks.add_task(echo, 2, connection=connection)
    assert await stored(postgres) == [ref.id]


async def test_the_commit_of_a_session_may_follow(postgres: str) -> None:
    engine = create_async_engine(postgres.replace("postgresql", "postgresql+asyncpg"))
    try:
        async with AsyncSession(engine) as session:
            async with QueuedTasks(database=postgres) as tasks:
                ref = tasks.add_task(echo, 2, connection=session)
            await session.commit()
    finally:
        await engine.dispose()
    assert await stored(postgres) == [ref.id]
