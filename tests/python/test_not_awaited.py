"""Tasks that a script adds on an async connection and never awaits: an error at the end of the queue."""

from __future__ import annotations

import asyncio
import contextlib
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
    # Raised once, and everything else is stored.
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
async def test_what_was_awaited_is_not_an_error(postgres: str, kind: str) -> None:
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


@asynccontextmanager
async def connected(kind: str, address: str) -> AsyncIterator[Any]:
    connect: Any = asyncpg.connect if kind == "asyncpg" else psycopg.AsyncConnection.connect
    connection = await connect(address)
    try:
        yield connection
    finally:
        await connection.close()


@KINDS
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "dropped"])
async def test_a_retry_loop_whose_first_try_is_rolled_back_is_not_an_error(postgres: str, kind: str, is_kept: bool) -> None:
    refs = []
    async with QueuedTasks(database=postgres) as tasks, connected(kind, postgres) as connection:
        for fails in (True, False):
            with contextlib.suppress(ZeroDivisionError):
                async with connection.transaction():
                    ref = tasks.add_task(echo, 2, connection=connection)
                    if is_kept:
                        refs.append(ref)
                    if fails:
                        del ref
                        raise ZeroDivisionError
                    await ref
    assert await stored(postgres) == [ref.id]
    for lost in refs[:-1]:
        with pytest.raises(NotAwaited, match="ended without a commit"):
            await lost


@KINDS
async def test_a_savepoint_takes_what_was_added_within_it(postgres: str, kind: str) -> None:
    async with QueuedTasks(database=postgres) as tasks, connected(kind, postgres) as connection:
        async with connection.transaction():
            with contextlib.suppress(ZeroDivisionError):
                async with connection.transaction():
                    _ = tasks.add_task(echo, 1, connection=connection)
                    async with connection.transaction():
                        pass
                    raise ZeroDivisionError
            ref = await tasks.add_task(echo, 2, connection=connection)
    assert await stored(postgres) == [ref.id]


@KINDS
async def test_a_later_savepoint_takes_nothing_with_it(postgres: str, kind: str) -> None:
    with pytest.raises(NotAwaited):
        async with QueuedTasks(database=postgres) as tasks, transaction(kind, postgres) as connection:
            _ = tasks.add_task(echo, 1, connection=connection)
            with contextlib.suppress(ZeroDivisionError):
                async with connection.transaction():
                    raise ZeroDivisionError


@KINDS
async def test_a_rollback_before_or_behind_its_transaction_is_another_one(postgres: str, kind: str) -> None:
    with pytest.raises(NotAwaited):
        async with QueuedTasks(database=postgres) as tasks, connected(kind, postgres) as connection:
            async with connection.transaction():
                _ = tasks.add_task(echo, 1, connection=connection)
            with contextlib.suppress(ZeroDivisionError):
                async with connection.transaction():
                    raise ZeroDivisionError


@KINDS
async def test_a_commit_that_fails_is_a_rollback(postgres: str, kind: str) -> None:
    async with connected("asyncpg", postgres) as connection:
        await connection.execute("CREATE TABLE once (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    async with QueuedTasks(database=postgres) as tasks:
        with pytest.raises((asyncpg.UniqueViolationError, psycopg.errors.UniqueViolation)):
            async with transaction(kind, postgres) as connection:
                _ = tasks.add_task(echo, 1, connection=connection)
                await connection.execute("INSERT INTO once VALUES (1), (1)")


async def test_a_rollback_on_a_connection_of_a_pool(postgres: str) -> None:
    async with asyncpg.create_pool(postgres, min_size=1, max_size=1) as pool, QueuedTasks(database=postgres) as tasks:
        async with pool.acquire() as connection:
            await connection.execute("BEGIN")
            _ = tasks.add_task(echo, 1, connection=connection)
            await connection.execute("rollback;")
        async with pool.acquire() as connection, connection.transaction():
            ref = await tasks.add_task(echo, 2, connection=connection)
    assert await stored(postgres) == [ref.id]
