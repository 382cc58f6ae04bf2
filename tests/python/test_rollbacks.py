"""Ends of asyncpg's and psycopg's transactions in which tasks were added and not awaited: a rollback drops them, and
nothing else is taken for a rollback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
from taskyard import NotAwaited, QueuedTasks, _port
from taskyard._rollbacks import Statement, read
from taskyard._worker import Embedded


async def echo(value: Any) -> Any:
    return value


@asynccontextmanager
async def connected(kind: str, address: str, **options: Any) -> AsyncIterator[Any]:
    connect: Any = asyncpg.connect if kind == "asyncpg" else psycopg.AsyncConnection.connect
    connection = await connect(address, **options)
    try:
        yield connection
    finally:
        await connection.close()


async def is_dropped(address: str, adds: Callable[[QueuedTasks], Awaitable[None]]) -> bool:
    """Returns whether the queue knows that the task that ``adds`` added without awaiting was rolled back; otherwise it
    is reported."""
    async with QueuedTasks(database=address) as tasks:
        await adds(tasks)
        try:
            await tasks.__aexit__()
        except NotAwaited:
            return False
    return True


KINDS = pytest.mark.parametrize("kind", ["asyncpg", "psycopg"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECT 'COMMIT'", None),
        ("SELECT CASE WHEN true THEN 1 END", None),
        ("SELECT 1; SELECT 2 -- commit", None),
        ("PREPARE mine AS SELECT 1", None),
        ("SELECT $$; COMMIT; $$", None),
        ("SELECT $a$; $$ COMMIT; $a$, \"end;\"", None),
        ("/* first */ BEGIN ISOLATION LEVEL SERIALIZABLE; -- and last", Statement("BEGIN")),
        ("start transaction read only", Statement("BEGIN")),
        ("/* a comment */ COMMIT; -- another", Statement("COMMIT")),
        ("end work and no chain", Statement("COMMIT")),
        ("COMMIT AND CHAIN", Statement("COMMIT")),
        ("ABORT;;", Statement("ROLLBACK")),
        ("rollback transaction and chain", Statement("ROLLBACK")),
        ("SAVEPOINT Mine", Statement("SAVEPOINT", "mine")),
        ('SAVEPOINT"Mine"', Statement("SAVEPOINT", "Mine")),
        ('RELEASE "a ""quoted"" one"', Statement("RELEASE", 'a "quoted" one')),
        ("ROLLBACK WORK TO SAVEPOINT Ä", Statement("ROLLBACK TO", "Ä")),
        ("ROLLBACK TO release", Statement("ROLLBACK TO", "release")),
        ("PREPARE TRANSACTION 'mine'", Statement("OTHER")),
        ("COMMIT PREPARED 'mine'", Statement("OTHER")),
        ("ROLLBACK PREPARED 'mine'", Statement("OTHER")),
        ("COMMIT; BEGIN", Statement("OTHER")),
        ("INSERT INTO a VALUES (1); COMMIT", Statement("OTHER")),
        ("SAVEPOINT U&\"a\"", Statement("OTHER")),
        # The literal ends elsewhere if `standard_conforming_strings` is off.
        (r"SELECT '\''; COMMIT; SELECT '", Statement("OTHER")),
        ("/* /* nested */ */ COMMIT", Statement("OTHER")),
    ],
)  # fmt: skip
def test_what_a_text_does_to_transactions(text: str, found: Statement | None) -> None:
    assert read(text) == found


#: Statements that commit a transaction and begin another one, which is rolled back.
COMMITS = {
    "chain": ["COMMIT AND CHAIN"],
    "several": ["COMMIT; BEGIN"],
    "comments": ["/* mine */ COMMIT -- is over", "BEGIN"],
    "plain": ["COMMIT", "BEGIN"],
    "end": ["END TRANSACTION AND CHAIN"],
}


@KINDS
@pytest.mark.parametrize("how", COMMITS)
async def test_a_commit_in_other_words_is_not_a_rollback(postgres: str, kind: str, how: str) -> None:
    autocommit = {"autocommit": True} if kind == "psycopg" else {}
    async with connected(kind, postgres, **autocommit) as connection:

        async def adds(tasks: QueuedTasks) -> None:
            await connection.execute("CREATE TABLE kept ()")
            await connection.execute("BEGIN")
            tasks.add_task(echo, 1, connection=connection)
            for statement in COMMITS[how]:
                await connection.execute(statement)
            await (connection.rollback() if kind == "psycopg" else connection.execute("ROLLBACK"))

        assert not await is_dropped(postgres, adds)


async def test_a_prepared_transaction_is_not_rolled_back(postgres: str) -> None:
    for kind in ("asyncpg", "psycopg"):
        async with connected(kind, postgres) as connection:

            async def adds(tasks: QueuedTasks, kind: str = kind, connection: Any = connection) -> None:
                if kind == "psycopg":
                    await connection.tpc_begin("mine")
                    tasks.add_task(echo, 1, connection=connection)
                    # Refused by a server without prepared transactions, which rolls back.
                    with contextlib.suppress(psycopg.Error):
                        await connection.tpc_prepare()
                else:
                    await connection.execute("BEGIN")
                    tasks.add_task(echo, 1, connection=connection)
                    with contextlib.suppress(asyncpg.PostgresError):
                        await connection.execute("PREPARE TRANSACTION 'mine'")

            assert not await is_dropped(postgres, adds)


async def test_a_commit_by_a_prepared_statement_is_over_with_the_next_begin(postgres: str) -> None:
    async with connected("asyncpg", postgres) as connection:

        async def adds(tasks: QueuedTasks) -> None:
            await connection.execute("BEGIN")
            tasks.add_task(echo, 1, connection=connection)
            # Prepared statements are not reported.
            await (await connection.prepare("COMMIT")).fetch()
            with contextlib.suppress(ZeroDivisionError):
                async with connection.transaction():
                    raise ZeroDivisionError

        assert not await is_dropped(postgres, adds)


@pytest.mark.parametrize("is_in_transaction", [True, False], ids=["within", "before"])
async def test_a_rollback_of_psycopg_that_its_execute_sends_is_another_transaction(
    postgres: str, is_in_transaction: bool
) -> None:
    async with connected("psycopg", postgres) as connection:

        async def adds(tasks: QueuedTasks) -> None:
            if is_in_transaction:
                await connection.execute("SELECT 1")
            tasks.add_task(echo, 1, connection=connection)
            await connection.execute("CREATE TABLE kept ()")
            cursor = psycopg.AsyncClientCursor(connection)
            await cursor.execute("COMMIT")
            await connection.execute("SELECT 1")
            await connection.rollback()

        assert not await is_dropped(postgres, adds)


async def test_leaving_a_connection_of_psycopg_by_an_error_drops_nothing_that_was_committed(postgres: str) -> None:
    async with QueuedTasks(database=postgres) as tasks:
        with pytest.raises(ZeroDivisionError):
            async with await psycopg.AsyncConnection.connect(postgres) as connection:
                async with connection.transaction():
                    await connection.execute("CREATE TABLE kept ()")
                    _ = tasks.add_task(echo, 1, connection=connection)
                raise ZeroDivisionError
        with pytest.raises(NotAwaited):
            await tasks.__aexit__()


@pytest.mark.parametrize("begins", [True, False])
async def test_leaving_a_connection_of_psycopg_by_an_error_drops_what_was_open(postgres: str, begins: bool) -> None:
    async with QueuedTasks(database=postgres) as tasks:
        with pytest.raises(ZeroDivisionError):
            async with await psycopg.AsyncConnection.connect(postgres) as connection:
                if begins:
                    await connection.execute("CREATE TABLE gone ()")
                ref = tasks.add_task(echo, 1, connection=connection)
                if not begins:
                    await connection.execute("CREATE TABLE gone ()")
                raise ZeroDivisionError
        with pytest.raises(NotAwaited, match="ended without a commit"):
            await ref


async def test_a_rollback_that_psycopg_refuses_drops_nothing(postgres: str) -> None:
    async with connected("psycopg", postgres) as connection, QueuedTasks(database=postgres) as tasks:
        await connection.execute("SELECT 1")
        async with connection.transaction():
            ref = tasks.add_task(echo, 1, connection=connection)
            with pytest.raises(psycopg.ProgrammingError, match="forbidden"):
                await connection.rollback()
        with pytest.raises(NotAwaited, match=f"{ref.id}.* never awaited"):
            await connection.commit()
        await connection.commit()


async def test_a_savepoint_is_compared_as_the_database_does(postgres: str) -> None:
    async with connected("asyncpg", postgres) as connection:

        async def adds_before(tasks: QueuedTasks) -> None:
            await connection.execute("BEGIN")
            tasks.add_task(echo, 1, connection=connection)
            await connection.execute("SAVEPOINT Later")
            await connection.execute('ROLLBACK TO "later"')
            await connection.execute("COMMIT")

        assert not await is_dropped(postgres, adds_before)

        async def adds_within(tasks: QueuedTasks) -> None:
            await connection.execute("BEGIN")
            await connection.execute("SAVEPOINT Earlier")
            tasks.add_task(echo, 1, connection=connection)
            await connection.execute("SAVEPOINT later")
            await connection.execute("SAVEPOINT LATER")
            await connection.execute("RELEASE later")
            await connection.execute("ROLLBACK TO later")
            await connection.execute("ROLLBACK TO SAVEPOINT earlier")
            await connection.execute("COMMIT")

        assert await is_dropped(postgres, adds_within)


async def test_a_savepoint_that_was_not_understood_drops_nothing(postgres: str) -> None:
    async with connected("asyncpg", postgres) as connection:

        async def adds(tasks: QueuedTasks) -> None:
            await connection.execute("BEGIN")
            tasks.add_task(echo, 1, connection=connection)
            await connection.execute('SAVEPOINT U&"later"')
            await connection.execute("ROLLBACK TO later")
            await connection.execute("COMMIT")

        assert not await is_dropped(postgres, adds)


async def test_the_commit_of_a_transaction_that_has_failed_is_a_rollback(postgres: str) -> None:
    async with connected("psycopg", postgres) as connection:

        async def adds(tasks: QueuedTasks) -> None:
            async with connection.transaction():
                tasks.add_task(echo, 1, connection=connection)
                with contextlib.suppress(psycopg.Error):
                    await connection.execute("SELECT 1/0")

        assert await is_dropped(postgres, adds)


COMMIT_WAITS = """
    CREATE TABLE waits (id int);
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON waits DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait();
"""


# psycopg has no time limit of its own, and waits for the outcome when it is cancelled.
@pytest.mark.parametrize(("kind", "how"), [("asyncpg", "lost"), ("asyncpg", "time limit"), ("psycopg", "lost")])
async def test_a_commit_of_an_unknown_outcome_is_not_a_rollback(postgres: str, kind: str, how: str) -> None:
    async with connected("asyncpg", postgres) as other, connected(kind, postgres) as connection:
        await other.execute(COMMIT_WAITS)
        await other.execute("SELECT pg_advisory_lock(7)")

        async def commits(tasks: QueuedTasks) -> None:
            transaction = connection.transaction()
            if kind == "asyncpg":
                await transaction.start()
            else:
                await transaction.__aenter__()
            tasks.add_task(echo, 1, connection=connection)
            await connection.execute("INSERT INTO waits VALUES (1)")
            if how == "time limit":
                await connection.execute("COMMIT", timeout=0.05)
            else:
                await (transaction.commit() if kind == "asyncpg" else transaction.__aexit__(None, None, None))

        async def adds(tasks: QueuedTasks) -> None:
            ended = asyncio.ensure_future(commits(tasks))
            if how == "lost":
                ends = (
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'"
                )
                while not await other.fetch(ends):
                    assert not ended.done()
            with pytest.raises((asyncpg.PostgresError, psycopg.Error, asyncio.TimeoutError, OSError)):
                await ended

        assert not await is_dropped(postgres, adds)


async def skips(how: str) -> str:
    connection = await asyncpg.connect(address)
    try:
        async with connection.transaction():
            QueuedTasks().add_task(echo, 1, connection=connection)
            raise ZeroDivisionError
    except ZeroDivisionError:
        return how
    finally:
        connection.terminate()


async def test_a_body_that_rolls_back_and_returns_at_once_is_done(postgres: str) -> None:
    global address
    address = postgres
    async with QueuedTasks(database=postgres) as tasks, Embedded(tasks):
        before = _port.use(tasks._own)
        try:
            assert await tasks.add_task(skips, "skipped", max_retries=0).wait(20) == "skipped"
        finally:
            _port.use(before)


async def test_a_queue_that_ends_right_behind_a_rollback(postgres: str) -> None:
    async with connected("asyncpg", postgres) as connection:
        tasks = QueuedTasks(database=postgres)
        with contextlib.suppress(ZeroDivisionError):
            async with connection.transaction():
                ref = tasks.add_task(echo, 1, connection=connection)
                raise ZeroDivisionError
        await tasks._unbound.settle(False)
        with pytest.raises(NotAwaited, match="ended without a commit"):
            await ref


async def test_a_pool_of_asyncpg_is_a_connection_without_a_transaction(postgres: str) -> None:
    async with asyncpg.create_pool(postgres, min_size=1, max_size=1) as pool:
        async with QueuedTasks(database=postgres) as tasks, Embedded(tasks):
            ref = await tasks.add_task(echo, 1, connection=pool)
            assert await ref.wait(20) == 1
            _ = tasks.add_task(echo, 2, connection=pool)
            with pytest.raises(NotAwaited):
                await tasks._unbound.settle(False)


async def test_a_connection_of_psycopg_keeps_no_task_that_was_written(postgres: str) -> None:
    async with connected("psycopg", postgres, autocommit=True) as connection, QueuedTasks(database=postgres) as tasks:
        for number in range(100):
            await tasks.add_task(echo, number, connection=connection)
        assert len(connection._taskyard_pending._added) <= 20
        await connection.rollback()
        assert "commit" not in vars(connection) and "maybe_add_to_cache" not in vars(connection._prepared)
