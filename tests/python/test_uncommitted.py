"""Waits for tasks of a transaction that is still open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from taskyard import QueuedTasks, TaskNotFound, WaitTimeout
from taskyard._worker import Embedded


async def echo(value: Any) -> Any:
    return value


@pytest.fixture
async def tasks(postgres: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=postgres) as tasks, Embedded(tasks):
        yield tasks


async def a_later_task_ends(tasks: QueuedTasks) -> None:
    """Waits for another task: all waits of a client share its queries."""
    assert await tasks.add_task(echo, "later").wait(20) == "later"


class Connection:
    """A connection or session of one kind, with the calls that begin and end its transaction."""

    def __init__(self, kind: str, address: str) -> None:
        self.kind = kind
        self.address = address
        self.inner: Any = None
        self.engine: Any = None
        self.transaction: Any = None

    async def __aenter__(self) -> Connection:
        if self.kind == "psycopg":
            self.inner = psycopg.connect(self.address)
        elif self.kind == "async psycopg":
            self.inner = await psycopg.AsyncConnection.connect(self.address)
        elif self.kind == "asyncpg":
            self.inner = await asyncpg.connect(self.address)
        elif self.kind == "session":
            self.engine = sa.create_engine(self.address.replace("postgresql", "postgresql+psycopg"))
            self.inner = Session(self.engine)
        elif self.kind == "session on a connection":
            self.engine = sa.create_engine(self.address.replace("postgresql", "postgresql+psycopg"))
            self.transaction = self.engine.connect()
            self.transaction.begin()
            self.inner = Session(self.transaction)
        elif self.kind == "async session":
            self.engine = create_async_engine(self.address.replace("postgresql", "postgresql+asyncpg"))
            self.inner = AsyncSession(self.engine)
        else:
            self.engine = create_async_engine(self.address.replace("postgresql", "postgresql+psycopg"))
            self.inner = await self.engine.connect()
        return self

    async def begin(self) -> None:
        if self.kind == "asyncpg":
            self.transaction = self.inner.transaction()
            await self.transaction.start()
        elif self.kind == "session on a connection" and not self.transaction.in_transaction():
            self.transaction.begin()

    async def end(self, how: str) -> None:
        if self.kind == "session on a connection":
            self.inner.commit()
        ended = getattr(self.transaction or self.inner, how)()
        if asyncio.iscoroutine(ended):
            await ended

    async def __aexit__(self, *_: object) -> None:
        for each in (self.inner, self.transaction if self.kind == "session on a connection" else None):
            closed = None if each is None else each.close()
            if asyncio.iscoroutine(closed):
                await closed
        disposed = None if self.engine is None else self.engine.dispose()
        if asyncio.iscoroutine(disposed):
            await disposed


KINDS = [
    "psycopg", "async psycopg", "asyncpg", "session", "session on a connection", "async session", "async connection",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wait_before_the_commit_goes_on(tasks: QueuedTasks, postgres: str, kind: str) -> None:
    async with Connection(kind, postgres) as connection:
        await connection.begin()
        ref = tasks.add_task(echo, 1, connection=connection.inner)
        await ref.get_task_id()
        with pytest.raises(WaitTimeout):
            await ref.wait(0.2)
        waits = [
            asyncio.ensure_future(ref.wait()),
            asyncio.ensure_future(asyncio.to_thread(ref.result, 30)),
        ]
        with pytest.raises(TaskNotFound):
            await tasks.get(ref.id).wait()
        await a_later_task_ends(tasks)
        assert not any(wait.done() for wait in waits)
        await connection.end("commit")
        assert await asyncio.wait_for(asyncio.gather(*waits), 20) == [1, 1]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wait_ends_with_the_rollback(tasks: QueuedTasks, postgres: str, kind: str) -> None:
    async with Connection(kind, postgres) as connection:
        await connection.begin()
        ref = tasks.add_task(echo, 1, connection=connection.inner)
        await ref.get_task_id()
        waits = [
            asyncio.ensure_future(ref.wait()),
            asyncio.ensure_future(asyncio.to_thread(ref.result)),
        ]
        await a_later_task_ends(tasks)
        assert not any(wait.done() for wait in waits)
        await connection.end("rollback")
        for wait in waits:
            with pytest.raises(TaskNotFound, match="rolled back"):
                await asyncio.wait_for(wait, 20)
        # The next transaction of the same connection is another one.
        await connection.begin()
        second = tasks.add_task(echo, 2, connection=connection.inner)
        await second.get_task_id()
        await connection.end("commit")
        assert await second.wait(20) == 2


@pytest.mark.parametrize("kind", ["psycopg", "async psycopg", "asyncpg"])
async def test_a_wait_ends_with_a_transaction_that_is_cut_off(tasks: QueuedTasks, postgres: str, kind: str) -> None:
    async with Connection(kind, postgres) as connection:
        await connection.begin()
        ref = tasks.add_task(echo, 1, connection=connection.inner)
        await ref.get_task_id()
        wait = asyncio.ensure_future(ref.wait())
        await a_later_task_ends(tasks)
        assert not wait.done()
        with psycopg.connect(postgres, autocommit=True) as other:
            other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and state = 'idle in transaction'"
            )
        with pytest.raises(TaskNotFound, match="rolled back"):
            await asyncio.wait_for(wait, 20)


async def test_a_thread_waits_no_longer_than_it_says(tasks: QueuedTasks, postgres: str) -> None:
    with psycopg.connect(postgres) as connection:
        ref = tasks.add_task(echo, 1, connection=connection)
        begun = time.monotonic()
        with pytest.raises(WaitTimeout, match=ref.id):
            await asyncio.to_thread(ref.result, 0.5)
        assert 0.5 <= time.monotonic() - begun < 5
