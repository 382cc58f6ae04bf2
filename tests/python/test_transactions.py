"""Additions and ends of tasks in the caller's own transaction: they take effect if and only if it commits."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from taskyard import (
    InvalidArgument,
    LeaseLost,
    NotAwaited,
    OverLimit,
    QueuedTasks,
    TaskFailed,
    TaskNotFound,
    TasksDep,
    _hooks,
    _port,
    get_current_task,
)
from taskyard._worker import Embedded
from taskyard.queued_task import complete_in, on_pre_create, set_context


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


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_the_commit_of_an_async_session_writes_what_was_not_awaited(
    tasks: QueuedTasks, postgres: str, driver: str
) -> None:
    engine = create_async_engine(postgres.replace("postgresql", f"postgresql+{driver}"))
    hooked = []

    @on_pre_create
    async def hook(task: Any) -> None:
        await asyncio.sleep(0)
        hooked.append(task.id)

    try:
        async with AsyncSession(engine) as session:
            parent = tasks.add_task(echo, 1, connection=session, **OPTIONS)
            child = tasks.bind(session).add_task(echo, 2, parent=parent)
            async with session.begin_nested() as savepoint:
                undone = tasks.add_task(echo, 3, connection=session)
                await savepoint.rollback()
            async with session.begin_nested():
                nested = tasks.add_task(echo, 4, connection=session)
            again = tasks.add_task(echo, 5, connection=session, unique="one")
            twice = tasks.add_task(echo, 5, connection=session, unique="one")
            await session.commit()
            assert twice.id == again.id and twice.existing
            lost = tasks.add_task(echo, 6, connection=session)
            await session.rollback()
            second = tasks.add_task(echo, 7, connection=session)
            await session.commit()
            left = tasks.add_task(echo, 8, connection=session)
            await session.execute(sa.text("SELECT 1"))
        async with async_sessionmaker(engine).begin() as session:
            third = tasks.add_task(echo, 9, connection=session)
        registry: Any = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
        fourth = tasks.add_task(echo, 10, connection=registry)
        await registry.commit()
        await registry.remove()
    finally:
        _hooks.clear()
        await engine.dispose()
    written = {1: parent, 2: child, 4: nested, 5: again, 7: second, 9: third, 10: fourth}
    for value, ref in written.items():
        assert await ref.wait(20) == value
    await check_options(tasks, parent.id)
    for ref in (undone, lost, left):
        with pytest.raises(NotAwaited, match="without a commit"):
            await ref
        assert not await exists(tasks, ref.id)
    assert hooked == [*(ref.id for ref in (parent, child, nested, again)), hooked[4], second.id, third.id, fourth.id]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_the_commit_of_an_async_connection_writes_what_was_not_awaited(
    tasks: QueuedTasks, postgres: str, driver: str
) -> None:
    engine = create_async_engine(postgres.replace("postgresql", f"postgresql+{driver}"))
    try:
        async with engine.begin() as connection:
            first = tasks.add_task(echo, 1, connection=connection)
            savepoint = await connection.begin_nested()
            undone = tasks.add_task(echo, 2, connection=connection)
            await savepoint.rollback()
            async with connection.begin_nested():
                second = tasks.add_task(echo, 3, connection=connection)
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
            lost = tasks.add_task(echo, 4, connection=connection)
    finally:
        await engine.dispose()
    assert (await first.wait(20), await second.wait(20)) == (1, 3)
    for ref in (undone, lost):
        with pytest.raises(NotAwaited, match="without a commit"):
            await ref
        assert not await exists(tasks, ref.id)


async def test_what_the_database_refuses_fails_the_commit(tasks: QueuedTasks, postgres: str) -> None:
    engine = create_async_engine(postgres.replace("postgresql", "postgresql+asyncpg"))
    try:
        async with AsyncSession(engine) as session:
            await session.execute(sa.text("CREATE TABLE kept (value integer)"))
            refused = tasks.add_task(echo, 1, connection=session)
            await session.execute(sa.text("DROP FUNCTION taskyard.enqueue_payload CASCADE"))
            with pytest.raises(sa.exc.DBAPIError, match="enqueue_payload"):
                await session.commit()
            await session.rollback()
            assert (await session.execute(sa.text("SELECT to_regclass('kept')"))).scalar() is None
    finally:
        await engine.dispose()
    assert not await exists(tasks, refused.id)


async def test_psycopg_refuses_to_commit_without_what_was_not_awaited(tasks: QueuedTasks, postgres: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres) as connection:
        await connection.execute("CREATE TABLE kept (value integer)")
        ref = tasks.add_task(echo, 1, connection=connection)
        with pytest.raises(NotAwaited, match=f"task {ref.id} .*echo.* never awaited"):
            await connection.commit()
        with pytest.raises(NotAwaited):
            await ref
        await connection.rollback()
        awaited = tasks.add_task(echo, 2, connection=connection)
        await awaited
        await connection.commit()
        undone = tasks.add_task(echo, 3, connection=connection)
        await connection.rollback()
        await connection.execute("CREATE TABLE kept (value integer)")
        await connection.commit()
    with pytest.raises(NotAwaited):
        async with await psycopg.AsyncConnection.connect(postgres) as connection:
            last = tasks.add_task(echo, 4, connection=connection)
    assert await awaited.wait(20) == 2
    for left_out in (ref, undone, last):
        assert not await exists(tasks, left_out.id)


async def leaves_one_out(how: str) -> str:
    if how == "asyncpg":
        connection = await asyncpg.connect(address)
        async with connection.transaction():
            id = QueuedTasks().add_task(echo, 1, connection=connection).id
        await connection.close()
    else:
        async with await psycopg.AsyncConnection.connect(address, autocommit=True) as other, other.transaction():
            id = QueuedTasks().add_task(echo, 1, connection=other).id
    return id


@pytest.mark.parametrize("how", ["asyncpg", "psycopg"])
async def test_a_body_that_leaves_one_out_fails(tasks: QueuedTasks, postgres: str, how: str) -> None:
    global address
    address = postgres
    before = _port.use(tasks._own)
    try:
        with pytest.raises(TaskFailed, match="NotAwaited.*never awaited"):
            await tasks.add_task(leaves_one_out, how, max_retries=0).wait(20)
    finally:
        _port.use(before)


def application(tasks: QueuedTasks, postgres: str) -> FastAPI:
    app = FastAPI(lifespan=tasks.lifespan())
    engine = create_async_engine(postgres.replace("postgresql", "postgresql+asyncpg"), poolclass=sa.pool.NullPool)
    queue = tasks

    @app.post("/session", status_code=201)
    async def session(tasks: TasksDep) -> str:
        async with AsyncSession(engine) as session:
            ref = tasks.add_task(echo, 1, connection=session)
            await session.commit()
            return ref.id

    async def get_session() -> AsyncIterator[AsyncSession]:
        # Commits after the response, as many applications do.
        async with AsyncSession(engine) as session:
            yield session
            await session.commit()

    @app.post("/depends", status_code=201)
    async def depends(tasks: TasksDep, session: AsyncSession = Depends(get_session)) -> str:
        return tasks.add_task(echo, 1, connection=session).id

    async def add(tasks: QueuedTasks, awaits: bool = False, fails: bool = False) -> str:
        connection = await asyncpg.connect(postgres)
        try:
            async with connection.transaction():
                ref = tasks.add_task(echo, 1, connection=connection)
                if awaits:
                    await ref
                if fails:
                    raise HTTPException(404, "fails")
        finally:
            await connection.close()
        return ref.id

    @app.post("/asyncpg", status_code=201)
    async def by_dependency(tasks: TasksDep, awaits: bool = False, fails: bool = False, nowait: bool = False) -> str:
        return await add(tasks.nowait if nowait else tasks, awaits, fails)

    @app.post("/module", status_code=201)
    async def by_module() -> str:
        return await add(queue)

    return app


def test_no_request_leaves_one_out_in_silence(postgres: str) -> None:
    tasks = QueuedTasks(database=postgres)
    with TestClient(application(tasks, postgres)) as client:
        assert client.portal is not None
        for path in ("/session", "/depends", "/asyncpg?awaits=true"):
            answer = client.post(path)
            assert answer.status_code == 201, answer.text
            assert client.portal.call(exists, tasks, answer.json()), path
        for path in ("/asyncpg", "/asyncpg?nowait=true", "/module"):
            answer = client.post(path)
            assert answer.status_code == 503, path
            assert "never awaited" in answer.json()["detail"], path
        assert client.post("/asyncpg?fails=true").status_code == 404
        assert len(client.portal.call(tasks.list)) == 3


async def adds_one(tasks: QueuedTasks, engine: Any, how: str) -> str:
    """Adds a task without awaiting it, and returns its id."""
    if how.startswith("autocommit"):
        engine = engine.execution_options(isolation_level="AUTOCOMMIT")
    if how in ("connection", "again", "raw commit", "autocommit connection"):
        async with engine.connect() as connection:
            if how != "connection":
                await connection.execute(sa.text("SELECT 1"))
            if how == "again":
                await connection.commit()
            ref = tasks.add_task(echo, 1, connection=connection)
            if how == "raw commit":
                await connection.execute(sa.text("COMMIT"))
            elif how != "autocommit connection":
                await connection.commit()
    elif how in ("joined", "joined and left open"):
        async with engine.begin() as connection:
            session = AsyncSession(connection)
            await session.execute(sa.text("SELECT 1"))
            ref = tasks.add_task(echo, 1, connection=session)
            await session.flush()
            if how == "joined":
                await session.close()
        left_open.append(session)
    else:
        async with AsyncSession(engine) as session:
            await session.execute(sa.text("SELECT 1"))
            if how == "after a commit":
                await session.commit()
            if how == "rolled back":
                await session.rollback()
            ref = tasks.add_task(echo, 1, connection=session)
            if how == "nested":
                with contextlib.suppress(ZeroDivisionError):
                    async with session.begin_nested():
                        async with session.begin_nested():
                            await session.execute(sa.text("SELECT 1"))
                        raise ZeroDivisionError
                await session.commit()
            if how == "rolled back":
                await session.rollback()
    return ref.id


left_open: list[Any] = []

STORED = ("connection", "again", "nested")
LEFT_OUT = (
    "raw commit",
    "autocommit connection",
    "autocommit session",
    "joined",
    "joined and left open",
    "after a commit",
)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_no_way_to_end_a_transaction_loses_a_task_behind_a_success(postgres: str, driver: str) -> None:
    tasks = QueuedTasks(database=postgres)
    app = FastAPI(lifespan=tasks.lifespan())
    address = postgres.replace("postgresql", f"postgresql+{driver}")
    engine = create_async_engine(address, poolclass=sa.pool.NullPool)

    @app.post("/{how}")
    async def add(how: str, tasks: TasksDep) -> str:
        return await adds_one(tasks, engine, how)

    with TestClient(app) as client:
        assert client.portal is not None
        for how in STORED:
            answer = client.post(f"/{how}")
            assert answer.status_code == 200, (how, answer.text)
            assert client.portal.call(exists, tasks, answer.json()), how
        for how in LEFT_OUT:
            answer = client.post(f"/{how}")
            assert answer.status_code == 503, (how, answer.text)
            assert "never awaited" in answer.json()["detail"], how
        assert client.post("/rolled back").status_code == 200
        assert len(client.portal.call(tasks.list)) == len(STORED)


async def leaves_one_out_of(how: str) -> str:
    engine = create_async_engine(address.replace("postgresql", "postgresql+asyncpg"), poolclass=sa.pool.NullPool)
    return await adds_one(QueuedTasks(), engine, how)


async def test_a_body_fails_whose_transaction_ended_without_its_task(tasks: QueuedTasks, postgres: str) -> None:
    global address
    address = postgres
    before = _port.use(tasks._own)
    try:
        for how in LEFT_OUT:
            with pytest.raises(TaskFailed, match="NotAwaited.*never awaited"):
                await tasks.add_task(leaves_one_out_of, how, max_retries=0).wait(20)
        assert await exists(tasks, await tasks.add_task(leaves_one_out_of, "nested").wait(20))
    finally:
        _port.use(before)


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

    with pytest.raises(InvalidArgument, match="psycopg 3, asyncpg or SQLAlchemy"):
        tasks.add_task(echo, 1, connection=object())
    engine = sa.create_engine("sqlite://")
    with Session(engine) as session, engine.connect() as connection:
        for given in (session, connection, orm.scoped_session(lambda: session), sqlite3.connect(":memory:")):
            with pytest.raises(InvalidArgument, match="a sqlite database(.|\n)*without connection="):
                tasks.add_task(echo, 1, connection=given)
            with pytest.raises(InvalidArgument, match="a sqlite database"):
                tasks.bind(given).add_task(echo, 1)


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


async def test_a_limit_of_the_settings_holds_in_a_transaction_too(postgres: str) -> None:
    async with QueuedTasks(database=postgres, arguments_bytes_max=4_000_000, name_bytes_max=400) as tasks:
        await tasks.add_task(echo, 1).get_task_id()
        with psycopg.connect(postgres) as connection:
            ref = tasks.add_task(echo, "x" * 2_000_000, connection=connection, name="n" * 300)
            with pytest.raises(OverLimit, match="arguments_bytes_max"):
                tasks.add_task(echo, "x" * 5_000_000, connection=connection)
            connection.commit()
        assert (await ref.record())["name"] == "n" * 300
