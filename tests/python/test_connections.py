"""``connection=`` accepts connections with any configuration: row factories, cursors, codecs, pools and proxies are the
application's."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from psycopg import rows
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool
from taskyard import InvalidArgument, QueuedTasks, TaskNotFound, Unique
from taskyard._worker import Embedded
from taskyard.errors import DatabaseError
from taskyard.queued_task import complete_in


async def echo(value: Any) -> Any:
    return value


@pytest.fixture
async def tasks(postgres: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=postgres) as tasks:
        yield tasks


async def is_stored(tasks: QueuedTasks, id: str) -> bool:
    try:
        await tasks.get(id).record()
    except TaskNotFound:
        return False
    return True


#: Options that use every type of the statement: ids of parents, instants, lists, numbers, texts.
def options(parent: str) -> dict[str, Any]:
    return {
        "parents": [parent],
        "run_at": dt.datetime(2030, 1, 1, tzinfo=dt.timezone.utc),
        "expires": dt.timedelta(days=400),
        "tags": ["a", 'b"c'],
        "unique": Unique(uuid.uuid4().hex, hold=dt.timedelta(days=1)),
        "context": {"n": 1},
        "name": "grüße",
    }


async def check(tasks: QueuedTasks, id: str) -> None:
    record = await tasks.get(id).record()
    assert (
        record["tags"] == ["a", 'b"c'] and record["name"] == "grüße" and record["run_at"].startswith("2030-01-01T00:00:00")
    )
    assert await tasks.get(id).get_context() == {"n": 1}


@dataclasses.dataclass
class Person:
    name: str


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("a row of taskyard's is made by the application")


def broken_factory(*_: Any) -> Any:
    return broken


class OwnCursor(psycopg.Cursor[Any]):
    def fetchone(self) -> Any:
        return broken()


class OwnAsyncCursor(psycopg.AsyncCursor[Any]):
    async def fetchone(self) -> Any:
        return broken()


class Loader(psycopg.adapt.Loader):
    def load(self, data: Any) -> Any:
        return broken()


class Dumper(psycopg.adapt.Dumper):
    def dump(self, obj: Any) -> Any:
        return broken()


def configured(connection: Any) -> None:
    for name in ("uuid", "timestamptz", "json", "jsonb"):
        connection.adapters.register_loader(name, Loader)
    for cls in (uuid.UUID, dt.datetime, dict):
        connection.adapters.register_dumper(cls, Dumper)


PSYCOPG: dict[str, tuple[dict[str, Any], Callable[[Any], None] | None]] = {
    "dict_row": ({"row_factory": rows.dict_row}, None),
    "namedtuple_row": ({"row_factory": rows.namedtuple_row}, None),
    "class_row": ({"row_factory": rows.class_row(Person)}, None),
    "scalar_row": ({"row_factory": rows.scalar_row}, None),
    "broken rows": ({"row_factory": broken_factory}, None),
    "client cursor": ({"cursor_factory": (psycopg.ClientCursor, psycopg.AsyncClientCursor)}, None),
    "raw cursor": ({"cursor_factory": (psycopg.RawCursor, psycopg.AsyncRawCursor)}, None),
    "own cursor": ({"cursor_factory": (OwnCursor, OwnAsyncCursor)}, None),
    "adapters": ({}, configured),
    "always prepared": ({"prepare_threshold": 0}, None),
    "ASCII": ({"client_encoding": "SQL_ASCII"}, None),
    "set later": ({}, lambda connection: setattr(connection, "row_factory", rows.dict_row)),
}


@pytest.mark.parametrize("how", PSYCOPG)
async def test_psycopg_as_it_is_configured(tasks: QueuedTasks, postgres: str, how: str) -> None:
    given, then = PSYCOPG[how]
    parent = await tasks.add_task(echo, 0).get_task_id()
    cursors = given.get("cursor_factory", (None, None))
    given = {name: value for name, value in given.items() if name != "cursor_factory"}
    with psycopg.connect(postgres, cursor_factory=cursors[0], **given) as connection:
        if then is not None:
            then(connection)
        before = (connection.row_factory, connection.cursor_factory)
        kept = tasks.add_task(echo, 1, connection=connection, **(options(parent) if how != "ASCII" else {}))
        connection.commit()
        lost = tasks.add_task(echo, 2, connection=connection)
        connection.rollback()
        assert (connection.row_factory, connection.cursor_factory) == before
    if how != "ASCII":
        await check(tasks, kept.id)
    assert await is_stored(tasks, kept.id) and not await is_stored(tasks, lost.id)
    async with await psycopg.AsyncConnection.connect(postgres, cursor_factory=cursors[1], **given) as other:
        if then is not None:
            then(other)
        kept = await tasks.add_task(echo, 1, connection=other)
        await other.commit()
        lost = await tasks.add_task(echo, 2, connection=other)
        await other.rollback()
    assert await is_stored(tasks, kept.id) and not await is_stored(tasks, lost.id)


class OwnRecord(asyncpg.Record):
    def __getitem__(self, name: Any) -> Any:
        return broken()


class OwnConnection(asyncpg.Connection):
    async def fetchval(self, *_: Any, **__: Any) -> Any:
        return broken()


async def set_codecs(connection: Any) -> None:
    for name in ("uuid", "timestamptz", "json", "jsonb"):
        await connection.set_type_codec(name, encoder=broken, decoder=broken, schema="pg_catalog")


@pytest.mark.parametrize("how", ["record class", "connection class", "codecs", "no statement cache", "lent", "pool"])
async def test_asyncpg_as_it_is_configured(tasks: QueuedTasks, postgres: str, how: str) -> None:
    parent = await tasks.add_task(echo, 0).get_task_id()
    given: dict[str, Any] = {
        "record class": {"record_class": OwnRecord},
        "connection class": {"connection_class": OwnConnection},
        "no statement cache": {"statement_cache_size": 0},
    }.get(how, {})
    async with asyncpg.create_pool(postgres, min_size=1, max_size=2, record_class=OwnRecord) as pool:
        if how == "pool":
            # A pool has no transaction: the addition is a transaction of its own.
            await check(tasks, (await tasks.add_task(echo, 1, connection=pool, **options(parent))).id)
            return
        connection = await (pool.acquire() if how == "lent" else asyncpg.connect(postgres, **given))
        try:
            if how == "codecs":
                await set_codecs(connection)
            async with connection.transaction():
                kept = await tasks.add_task(echo, 1, connection=connection, **options(parent))
            with contextlib.suppress(ZeroDivisionError):
                async with connection.transaction():
                    lost = await tasks.add_task(echo, 2, connection=connection)
                    raise ZeroDivisionError
        finally:
            await (pool.release(connection) if how == "lent" else connection.close())
    await check(tasks, kept.id)
    assert not await is_stored(tasks, lost.id)


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)


@contextlib.contextmanager
def engine_of(postgres: str, **given: Any) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"), **given)
    try:
        yield engine
    finally:
        engine.dispose()


SQLALCHEMY: dict[str, Callable[[sa.Engine], Any]] = {
    "connection": lambda engine: engine.connect(),
    "session": lambda engine: Session(engine),
    "session of a maker": lambda engine: sessionmaker(engine, expire_on_commit=False)(),
    "scoped session": lambda engine: scoped_session(sessionmaker(engine)),
    "session's connection": lambda engine: Session(binds={Order: engine}).connection(bind_arguments={"mapper": Order}),
    "pool's connection": lambda engine: engine.raw_connection(),
    "streaming": lambda engine: engine.execution_options(stream_results=True).connect(),
    "yielding": lambda engine: engine.execution_options(yield_per=10).connect(),
    "streaming session": lambda engine: Session(engine.execution_options(stream_results=True, yield_per=10)),
}


@pytest.mark.parametrize("how", SQLALCHEMY)
async def test_sqlalchemy_as_it_is_configured(tasks: QueuedTasks, postgres: str, how: str) -> None:
    parent = await tasks.add_task(echo, 0).get_task_id()
    with engine_of(postgres, poolclass=NullPool if how == "connection" else None) as engine:
        connection = SQLALCHEMY[how](engine)
        kept = tasks.add_task(echo, 1, connection=connection, **options(parent))
        connection.commit()
        lost = tasks.add_task(echo, 2, connection=connection)
        connection.rollback()
        connection.close()
    await check(tasks, kept.id)
    assert not await is_stored(tasks, lost.id)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_async_sqlalchemy_as_it_is_configured(tasks: QueuedTasks, postgres: str, driver: str) -> None:
    parent = await tasks.add_task(echo, 0).get_task_id()
    engine = create_async_engine(postgres.replace("postgresql:", f"postgresql+{driver}:"))
    streaming = engine.execution_options(stream_results=True, yield_per=10)
    scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
    try:
        async with (
            streaming.connect() as first,
            AsyncSession(streaming) as second,
            AsyncSession(binds={Order: engine}) as third,
        ):
            bound = await third.connection(bind_arguments={"mapper": Order})
            for connection in (first, second, scoped, bound):
                kept = await tasks.add_task(echo, 1, connection=connection, **options(parent))
                await connection.commit()
                await check(tasks, kept.id)
                left = tasks.add_task(echo, 1, connection=connection)
                await connection.commit()
                assert await is_stored(tasks, left.id), "the commit writes what was not awaited"
                lost = await tasks.add_task(echo, 2, connection=connection)
                await connection.rollback()
                assert not await is_stored(tasks, lost.id)
            raw = (await first.get_raw_connection()).driver_connection
            assert raw is not None
            kept = await tasks.add_task(echo, 1, connection=raw)
            await raw.execute("COMMIT")
            assert await is_stored(tasks, kept.id)
    finally:
        await scoped.remove()
        await engine.dispose()


class Delegating:
    """A delegating proxy, as in tracing and lazy connections."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class Counting(Delegating):
    """A proxy with an `execute` of its own."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        return broken()


class Wrapping:
    """A proxy like wrapt's: `__wrapped__` is the object behind it."""

    def __init__(self, connection: Any) -> None:
        self.__wrapped__ = connection

    def execute(self, *args: Any) -> Any:
        return broken()


class Local:
    """A proxy like werkzeug's."""

    def __init__(self, connection: Any) -> None:
        self._get_current_object = lambda: connection


@pytest.mark.parametrize("proxy", [Delegating, Counting, Wrapping, Local])
async def test_proxies_stand_for_their_connections(tasks: QueuedTasks, postgres: str, proxy: Any) -> None:
    with psycopg.connect(postgres, row_factory=rows.dict_row) as connection, engine_of(postgres) as engine:
        ref = tasks.add_task(echo, 1, connection=proxy(proxy(connection)))
        assert not await is_stored(tasks, ref.id)
        connection.commit()
        assert await is_stored(tasks, ref.id)
        with Session(engine) as session:
            ref = tasks.bind(proxy(session)).add_task(echo, 1)
            session.commit()
        assert await is_stored(tasks, ref.id)
    other = await asyncpg.connect(postgres)
    async with await psycopg.AsyncConnection.connect(postgres) as asynchronous:
        async with other.transaction():
            ref = await tasks.add_task(echo, 1, connection=proxy(other))
        assert await is_stored(tasks, ref.id)
        left = tasks.add_task(echo, 1, connection=proxy(asynchronous))
        with pytest.raises(Exception, match="never awaited"):
            await asynchronous.commit()
        del left
    await other.close()


async def test_what_is_not_a_connection_is_refused_with_what_is(tasks: QueuedTasks, postgres: str) -> None:
    with engine_of(postgres) as engine, psycopg.connect(postgres) as connection, Session(engine) as session:
        asynchronous = create_async_engine(postgres.replace("postgresql:", "postgresql+asyncpg:"))
        for given in (
            engine, asynchronous, sessionmaker(engine), session.begin(), connection.cursor(), engine.pool, "conn", object(), 5,
            Delegating(engine), Wrapping(None), Delegating, psycopg,
        ):  # fmt: skip
            with pytest.raises(InvalidArgument, match="neither a connection of psycopg 3, asyncpg or SQLAlchemy"):
                tasks.add_task(echo, 1, connection=given)
        with pytest.raises(InvalidArgument, match="a database for each of its models") as refused:
            tasks.add_task(echo, 1, connection=Session(binds={Order: engine}))
        assert "bind_arguments" in str(refused.value.hint)
        await asynchronous.dispose()


async def ends_in(address: str, how: str) -> str:
    if how == "asyncpg":
        connection = await asyncpg.connect(address, record_class=OwnRecord)
        await set_codecs(connection)
        async with connection.transaction():
            await complete_in(Delegating(connection), how)
        await connection.close()
    else:
        factory = {"dict_row": rows.dict_row, "broken": broken_factory}[how]
        async with await psycopg.AsyncConnection.connect(address, row_factory=factory) as other:
            configured(other)
            await complete_in(other, how)
    return "returned"


def ends_in_sync(address: str) -> str:
    with psycopg.connect(address, row_factory=rows.dict_row, cursor_factory=psycopg.RawCursor) as connection:
        complete_in(Wrapping(connection), "sync")
    return "returned"


async def test_complete_in_reads_no_row_through_them_either(tasks: QueuedTasks, postgres: str) -> None:
    async with Embedded(tasks):
        for how in ("asyncpg", "dict_row", "broken"):
            assert await tasks.add_task(ends_in, postgres, how).wait(20) == how
        assert await tasks.add_task(ends_in_sync, postgres).wait(20) == "sync"


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg", "sqlalchemy", "sqlalchemy async"])
async def test_a_database_in_which_no_queue_was_opened_is_named(postgres: str, driver: str) -> None:
    tasks = QueuedTasks(database=postgres)
    with pytest.raises(DatabaseError, match=r"no queue in the connection's database yet\n.*taskyard db migrate"):
        match driver:
            case "psycopg":
                with psycopg.connect(postgres) as connection:
                    tasks.add_task(echo, 1, connection=connection)
            case "asyncpg":
                asyncpg_connection = await asyncpg.connect(postgres)
                try:
                    await tasks.add_task(echo, 1, connection=asyncpg_connection)
                finally:
                    await asyncpg_connection.close()
            case "sqlalchemy":
                engine = sa.create_engine(postgres.replace("postgresql", "postgresql+psycopg", 1), poolclass=NullPool)
                with Session(engine) as session:
                    tasks.add_task(echo, 1, connection=session)
            case "sqlalchemy async":
                address = postgres.replace("postgresql", "postgresql+asyncpg", 1)
                async with AsyncSession(create_async_engine(address, poolclass=NullPool)) as async_session:
                    await tasks.add_task(echo, 1, connection=async_session)
