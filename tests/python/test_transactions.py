"""Tasks in the caller's own transaction, and ends in one: they exist if and only if it commits."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from taskyard import InvalidArgument, LeaseLost, QueuedTasks, TaskNotFound, get_current_task
from taskyard.queued_task import complete_in, set_context
from taskyard.worker import Embedded


async def echo(value: Any) -> Any:
    return value


@pytest.fixture
async def tasks(postgres: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=postgres) as tasks, Embedded(tasks):
        yield tasks


async def exists(tasks: QueuedTasks, id: str) -> bool:
    try:
        await tasks.get(id).record()
    except TaskNotFound:
        return False
    return True


OPTIONS: dict[str, Any] = {"priority": 5, "queue": "mail", "tags": ["a", "b"], "max_retries": 1, "name": "a label"}


async def check_options(tasks: QueuedTasks, id: str) -> None:
    record = await tasks.get(id).record()
    assert {name: record[name] for name in ("priority", "queue", "tags", "name")} == {
        name: OPTIONS[name] for name in ("priority", "queue", "tags", "name")
    }
    assert record["retry"]["max_retries"] == 1


async def test_psycopg(tasks: QueuedTasks, postgres: str) -> None:
    with psycopg.connect(postgres) as connection:
        kept = tasks.add_task(echo, (1, "a"), connection=connection, **OPTIONS)
        assert not await exists(tasks, kept.id), "not before the commit"
        connection.commit()
        lost = tasks.add_task(echo, 2, connection=connection)
        connection.rollback()
    assert await kept.wait(20) == (1, "a")
    await check_options(tasks, kept.id)
    assert not await exists(tasks, lost.id)


async def test_async_psycopg(tasks: QueuedTasks, postgres: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres) as connection:
        kept = await tasks.add_task(echo, 1, connection=connection, **OPTIONS)
        await connection.commit()
        lost = tasks.add_task(echo, 2, connection=connection)
        assert await lost.get_task_id() == lost.id
        await connection.rollback()
    assert await kept.wait(20) == 1
    await check_options(tasks, kept.id)
    assert not await exists(tasks, lost.id)


async def test_asyncpg(tasks: QueuedTasks, postgres: str) -> None:
    connection = await asyncpg.connect(postgres)
    try:
        async with connection.transaction():
            soon = dt.datetime.now(dt.timezone.utc) + dt.timedelta(milliseconds=10)
            kept = await tasks.bind(connection).add_task(echo, 1, run_at=soon, **OPTIONS)
            parent = await tasks.add_task(echo, "parent", connection=connection, delay=0.01)
            child = await tasks.add_task(echo, "child", connection=connection, parent=parent)
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                lost = await tasks.add_task(echo, 2, connection=connection)
                raise ZeroDivisionError
    finally:
        await connection.close()
    assert await kept.wait(20) == 1
    assert await child.wait(20) == "child"
    await check_options(tasks, kept.id)
    assert not await exists(tasks, lost.id)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_async_sqlalchemy(tasks: QueuedTasks, postgres: str, driver: str) -> None:
    engine = create_async_engine(postgres.replace("postgresql", f"postgresql+{driver}"))
    try:
        async with engine.begin() as connection:
            kept = await tasks.add_task(echo, 1, connection=connection, **OPTIONS)
        async with AsyncSession(engine) as session:
            second = await tasks.add_task(echo, 2, connection=session, delay=0.01)
            await session.commit()
            lost = await tasks.add_task(echo, 3, connection=session)
            await session.rollback()
    finally:
        await engine.dispose()
    assert await kept.wait(20) == 1
    assert await second.wait(20) == 2
    await check_options(tasks, kept.id)
    assert not await exists(tasks, lost.id)


async def test_sqlalchemy(tasks: QueuedTasks, postgres: str) -> None:
    engine = sa.create_engine(postgres.replace("postgresql", "postgresql+psycopg"))
    with engine.begin() as connection:
        kept = tasks.add_task(echo, 1, connection=connection, **OPTIONS)
    with Session(engine) as session:
        second = tasks.add_task(echo, 2, connection=session, unique="once")
        again = tasks.add_task(echo, 2, connection=session, unique="once")
        session.commit()
        lost = tasks.add_task(echo, 3, connection=session)
        session.rollback()
    engine.dispose()
    assert again.id == second.id and again.existing and not second.existing
    assert await kept.wait(20) == 1
    assert await second.wait(20) == 2
    await check_options(tasks, kept.id)
    assert not await exists(tasks, lost.id)


async def test_other_connections_are_refused_with_what_to_do(tasks: QueuedTasks) -> None:
    import sqlite3

    with pytest.raises(InvalidArgument, match="psycopg 3, asyncpg, SQLAlchemy"):
        tasks.add_task(echo, 1, connection=sqlite3.connect(":memory:"))


address: str = ""
rolled_back = asyncio.Event()


async def exactly_once(steal: bool) -> str:
    set_context("step", "before")
    connection = await asyncpg.connect(address)
    try:
        async with connection.transaction():
            await connection.execute("INSERT INTO effects VALUES ($1)", get_current_task().attempt)
            if steal:
                other = await asyncpg.connect(address)
                await other.execute(
                    "UPDATE taskyard.task SET token = gen_random_uuid() WHERE id = $1", get_current_task().id
                )
                await other.close()
            await complete_in(connection, {"sent": 1})
    except LeaseLost:
        rolled_back.set()
        raise
    finally:
        await connection.close()
    return "what the function returns does not count"


def exactly_once_sync() -> None:
    with psycopg.connect(address) as connection:
        connection.execute("INSERT INTO effects VALUES (7)")
        complete_in(connection, "in the transaction")


async def test_complete_in(tasks: QueuedTasks, postgres: str) -> None:
    global address
    address = postgres
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE effects (attempt integer)")
        ref = tasks.add_task(exactly_once, False)
        assert await ref.wait(20) == {"sent": 1}
        assert await ref.get_context() == {"step": "before"}
        assert await tasks.add_task(exactly_once_sync).wait(20) == "in the transaction"
        assert connection.execute("SELECT attempt FROM effects ORDER BY 1").fetchall() == [(1,), (7,)]


async def test_a_lost_lease_rolls_the_effect_back(tasks: QueuedTasks, postgres: str) -> None:
    global address
    address = postgres
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE effects (attempt integer)")
        tasks.add_task(exactly_once, True, max_retries=0)
        await asyncio.wait_for(rolled_back.wait(), 20)
        assert connection.execute("SELECT count(*) FROM effects").fetchone() == (0,)
