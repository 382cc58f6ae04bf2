"""Adds a task, or ends the running one, inside the caller's own transaction.

Each is one statement on the caller's connection, so that it takes effect if and only if the transaction commits. Read
next: ``_commits.py``, ``_uncommitted.py``.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import types
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from . import _codec, _commits, _core, _hooks, _loops, _port, _request, _running
from ._calls import Call, as_tasks, encode_context, prepare
from ._refs import QueuedTaskRef
from ._uncommitted import Transaction, Unbound
from .errors import DatabaseError, InvalidArgument, LeaseLost, NotAwaited

if TYPE_CHECKING:
    from .queued_tasks import QueuedTasks

__all__ = ["PendingRef", "add", "complete_in"]

log = logging.getLogger("taskyard")

_TYPES = (
    "uuid text bytea bytea smallint text text integer text bigint bigint timestamptz bigint uuid[] smallint text "
    "smallint bigint text[] boolean boolean smallint"
).split()
#: Sent as text: an application may have registered other codecs for these types on its connection.
_AS_TEXT = {"uuid": "text::uuid", "uuid[]": "text[]::uuid[]", "timestamptz": "text::timestamptz"}


def _call(function: str, types: Iterable[str], placeholder: str) -> str:
    values = ", ".join(f"{placeholder.format(n)}::{_AS_TEXT.get(cls, cls)}" for n, cls in enumerate(types, 1))
    return f"SELECT taskyard.{function}({values})::text"


#: Packages that define the classes of drivers.
_PACKAGES = {"psycopg": "psycopg", "asyncpg": "asyncpg", "sqlalchemy": "sqlalchemy", "sqlmodel": "sqlalchemy"}
#: Layers of proxies that are searched.
_PROXIES_MAX = 10


def _package(connection: Any) -> str | None:
    """Returns the driver that defines an object's class, or None. Drivers are never imported for this."""
    for cls in type(connection).__mro__:
        package = _PACKAGES.get(cls.__module__.split(".")[0])
        if package is not None:
            return package
    return None


def _kind(connection: Any) -> str:
    """Returns the driver of a connection."""
    package = _package(connection)
    assert package is not None, "it is what `_of_driver` returned"
    return package


def _of_driver(connection: Any) -> Any:
    """Returns the driver's own connection or session for an application's object: a proxy of it, a connection that
    SQLAlchemy's pool lends, or a scoped session. Raises ``InvalidArgument`` for anything else."""
    found = connection
    for _ in range(_PROXIES_MAX):
        package = _package(found)
        if package is None:
            if type(found).__module__.split(".")[0] in ("sqlite3", "aiosqlite"):
                raise _not_postgresql("sqlite")
            found = _behind(found)
        elif package == "sqlalchemy" and hasattr(found, "driver_connection"):
            found = found.driver_connection
        elif hasattr(found, "registry"):
            # A scoped session depends on the current asyncio task, and the statement may run in another one.
            found = found()
        else:
            # Cursors, engines and pools have some of these, but not all.
            needs = {
                "psycopg": ("execute", "commit"),
                "asyncpg": ("fetchrow",),
                "sqlalchemy": ("execute", "in_transaction"),
            }
            if not all(hasattr(found, name) for name in needs[package]):
                break
            if package == "sqlalchemy":
                _check_dialect(found := _bound(found) if hasattr(found, "get_bind") else found)
            return found
        if found is None:
            break
    raise InvalidArgument(
        f"connection: a {type(connection).__module__}.{type(connection).__qualname__} is neither a connection of psycopg 3, "
        "asyncpg or SQLAlchemy nor a session",
        hint="pass a connection: of an engine or a pool, one that it opens (`with engine.begin() as connection`, `with "
        "pool.connection() as connection`). With other drivers call the SQL function taskyard.enqueue(...)",
    )


def _not_postgresql(dialect: str) -> InvalidArgument:
    return InvalidArgument(
        f"connection: it is of a {dialect} database, and tasks are added in transactions of PostgreSQL only",
        hint="add the task without connection=, once the transaction is committed",
    )


def _check_dialect(connection: Any) -> None:
    """Raises ``InvalidArgument`` for a connection or session of SQLAlchemy that is not of PostgreSQL."""
    dialect = getattr(_bind(connection), "dialect", None)
    if dialect is not None and dialect.name != "postgresql":
        raise _not_postgresql(dialect.name)


def _bind(connection: Any) -> Any:
    return connection.get_bind() if hasattr(connection, "get_bind") else connection


def _behind(proxy: Any) -> Any:
    """Returns the object behind a proxy of wrapt or werkzeug, or the object whose bound methods another proxy exposes."""
    if (found := getattr(proxy, "__wrapped__", None)) is not None:
        return found
    if callable(get := getattr(proxy, "_get_current_object", None)):
        return get()
    for name in ("execute", "commit", "fetchrow", "close"):
        found = getattr(getattr(proxy, name, None), "__self__", None)
        if found is not None and found is not proxy and not isinstance(found, types.ModuleType):
            return found
    return None


def _bound(session: Any) -> Any:
    """Returns a session if it has a database for statements without a model. Raises ``InvalidArgument`` otherwise."""
    from sqlalchemy.exc import UnboundExecutionError

    try:
        session.get_bind()
    except UnboundExecutionError as error:
        raise InvalidArgument(
            f"connection: this session has a database for each of its models, and none for other statements: {error}",
            hint='give one of its connections: session.connection(bind_arguments={"mapper": Model})',
        ) from None
    return session


def _run(connection: Any, statement: Any, values: tuple[Any, ...]) -> Any:
    """Runs one statement, and returns the first value as a string, or an awaitable of it.

    Settings of the application for its own rows do not apply (row and cursor factories, record classes, result
    options).
    """
    kind = _kind(connection)
    if kind == "asyncpg":
        return _asyncpg(connection, statement("${}"), values)
    if kind == "psycopg":
        return _psycopg(connection, statement("%s"), values)
    return _sqlalchemy(connection, statement(":v{}"), {f"v{n}": value for n, value in enumerate(values, 1)})


def _sqlalchemy(connection: Any, statement: str, named: dict[str, Any]) -> Any:
    from sqlalchemy import text

    # A server-side cursor would run the statement when its row is read, and is refused by async connections.
    options = {"stream_results": False, "yield_per": None}
    done = connection.execute(text(statement.replace("::", "\\:\\:")), named, execution_options=options)
    if not inspect.isawaitable(done):
        return done.scalar()

    async def scalar() -> Any:
        return (await done).scalar()

    return scalar()


async def _asyncpg(connection: Any, statement: str, values: tuple[Any, ...]) -> Any:
    from asyncpg import Record

    return (await connection.fetchrow(statement, *values, record_class=Record))[0]


def _psycopg(connection: Any, statement: str, values: tuple[Any, ...]) -> Any:
    import psycopg
    from psycopg.rows import tuple_row

    if not isinstance(connection, psycopg.AsyncConnection):
        with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
            return _as_text(cursor.execute(statement, values).fetchone())

    async def first() -> Any:
        async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(statement, values)
            return _as_text(await cursor.fetchone())

    return first()


def _as_text(row: Any) -> Any:
    # Strings are returned as bytes where the client's encoding is SQL_ASCII.
    return row[0].decode() if isinstance(row[0], bytes) else row[0]


class PendingRef(QueuedTaskRef[Any]):
    """A task in a transaction of an async connection. Its statement runs when the reference, or its ``get_task_id()``,
    is awaited.

    ``_commits.py`` describes what happens to one that is not awaited before the commit.
    """

    def __init__(self, port: _port.Port, id: str, kind: str, connection: Any, adding: Any) -> None:
        super().__init__(port, id)
        self._kind = kind
        self._adding = adding
        #: The connection on which the statement runs.
        self._connection = connection
        self._error: BaseException | None = None
        #: Whether its connection's commit runs the statement.
        self._written_at_commit = False
        #: Whether it was dropped other than by a rollback, so that the caller does not know.
        self._left_out = False
        #: The record of its queue, which reports it at the end of the queue where neither a request nor a task's body
        #: does.
        self._unbound: Unbound | None = None

    async def _durable(self) -> None:
        """Runs the statement if it has not run. The task exists once the transaction commits."""
        adding, self._adding = self._adding, None
        if adding is not None:
            try:
                found = str(await adding)
            except BaseException as error:
                self._error = error
                raise
            finally:
                self._is_settled()
            self._existing = found != self._id
            self._id = found
            self._transaction = Transaction(_kind(self._connection), self._connection)
        if self._error is not None:
            raise self._error

    def _id_now(self, timeout: float | None = None) -> str:
        if self._adding is not None:
            raise self._not_awaited()
        if self._error is not None:
            raise self._error
        return self._id

    async def _before_response(self, failed: bool = False) -> None:
        """Raises ``NotAwaited`` if the statement has not run and its transaction was not rolled back, unless an error
        is reported in any case.

        If the transaction is still open (some applications commit after the response), the statement runs now.
        """
        if not self._is_pending() or not self._written_at_commit:
            self._before_end(failed)
        elif not failed:
            try:
                await self._durable()
            except Exception as error:
                raise self._not_awaited() from error

    def _before_end(self, failed: bool = False) -> None:
        """Like :meth:`_before_response`, where no commit can follow."""
        if self._is_pending():
            self._refuse()
            self._left_out = True
        if self._left_out and not failed:
            raise self._not_awaited()

    def _withdraw(self, error: BaseException) -> None:
        """Does nothing: the task ends with its transaction."""

    def _is_pending(self) -> bool:
        return self._adding is not None

    def _refuse(self) -> None:
        self._end_with(self._not_awaited())

    def _drop(self, why: str, rolled_back: bool) -> None:
        self._left_out = self._is_pending() and not rolled_back
        self._end_with(NotAwaited(f"task {self._id} ({self._kind}) was not added: {why}"))

    def _end_with(self, error: NotAwaited) -> None:
        adding, self._adding = self._adding, None
        if adding is not None:
            adding.close()
            self._error = error
            if not self._left_out:
                self._is_settled()

    def _not_awaited(self) -> NotAwaited:
        return NotAwaited(
            f"task {self._id} ({self._kind}) was added on an async connection and never awaited: it is not in the "
            "transaction",
            hint="ref = await tasks.add_task(..., connection=connection), before the commit",
        )

    def __await__(self) -> Any:
        async def added() -> PendingRef:
            await self._task_id()
            return self

        return added().__await__()

    def __del__(self) -> None:
        if getattr(self, "_adding", None) is not None:
            self._adding.close()
            error = self._not_awaited()
            log.error("%s", error)
            if self._unbound is not None:
                self._unbound.leave_out(error)


#: SQLSTATE of a schema that does not exist.
_NO_SCHEMA = "3F000"


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Raises ``DatabaseError`` with a hint if the queue was never opened in the connection's database."""
    try:
        yield
    except Exception as error:
        # SQLAlchemy's errors have the driver's error as `orig`.
        if getattr(getattr(error, "orig", error), "sqlstate", None) != _NO_SCHEMA:
            raise
        raise DatabaseError(
            "the task was not added: there is no queue in the connection's database yet",
            hint="run `taskyard db migrate` once, or open the queue first (`with QueuedTasks()`, or its lifespan); a server does so, too",
        ) from error


def _check_queue(port: _port.Port) -> None:
    """Raises ``InvalidArgument`` for a queue in an SQLite file: nothing that serves it would run the task."""
    if not isinstance(port, _port.Engine) or port.defaults["database"].startswith("postgresql:"):
        return
    if port in _port.of_tests:
        hint = (
            "give the test a queue in the connection's database, by a fixture: "
            "`with taskyard.testing.as_default(ManualTasks(database=...)) as task_queue: yield task_queue`"
        )
    else:
        hint = "set TASKYARD_DATABASE_URL to the address of the connection's database, or leave connection= out"
    raise InvalidArgument(
        f"connection= adds the task in a PostgreSQL database, and this queue is the SQLite file {port.defaults['database']}",
        hint=hint,
    )


def add(tasks: QueuedTasks, call: Call) -> QueuedTaskRef[Any]:
    """Adds a task in the transaction of ``call.options["connection"]``."""
    from ._create_hooks import NewTask

    options = dict(call.options)
    connection = _of_driver(options.pop("connection"))
    port = tasks._via
    _check_queue(_port.plain(port))
    call = _with(call, options)
    with as_tasks([call]):
        draft = prepare(port, call)
    engine = _port.plain(port)
    core = engine.core() if isinstance(engine, _port.Engine) else _settings_only()
    seen = NewTask(call.id, draft["kind"], draft.get("name"), options, call.function)
    hooks = list(_hooks.pre_create)

    def store(connection: Any) -> Any:
        if seen.context:
            draft["context"] = encode_context(port, seen.context)
        return _run(connection, lambda mark: _call("enqueue_payload", _TYPES, mark), _core.enqueue_values(core, draft))

    if _is_async(connection):

        async def adding() -> Any:
            await _hooks.run(hooks, seen)
            with _explained():
                return await store(ref._connection)

        ref = PendingRef(port, call.id, draft["kind"], connection, adding())
        ref._written_at_commit = _commits.watch(_kind(connection), connection, ref)
        if (running := _running.current.get()) is not None:
            running.bound[id(ref)] = ref
            ref._settled_by = running
        elif (request := _request.of(tasks._request)) is not None:
            request.expect([ref])
        else:
            tasks._unbound.expect(ref)
        return ref
    if any(inspect.iscoroutinefunction(hook) for hook in hooks) and _loops.is_in_loop():
        raise InvalidArgument(
            "an async on_pre_create hook cannot run before a statement on a sync connection in an event loop",
            hint="use an async connection here, or a sync hook",
        )
    _hooks.begin(hooks, seen)
    with _explained():
        done = store(connection)
    added: QueuedTaskRef[Any] = QueuedTaskRef(port, str(done))
    added._existing = str(done) != call.id
    added._transaction = Transaction(_kind(connection), connection)
    return added


def _is_async(connection: Any) -> bool:
    if _kind(connection) == "asyncpg":
        return True
    return inspect.iscoroutinefunction(inspect.unwrap(type(connection).execute))


def _with(call: Call, options: dict[str, Any]) -> Call:
    made = call.copy()
    made.options = options
    return made


_core_of_worker: _core.Queue | None = None


def _settings_only() -> _core.Queue:
    """Returns the project's settings for checks in a worker. Opens nothing."""
    global _core_of_worker
    if _core_of_worker is None:
        _core_of_worker = _core.Queue()
    return _core_of_worker


def complete_in(connection: Any, result: Any) -> Any:
    """See :func:`taskyard.queued_task.complete_in`."""
    running = _running.require()
    running.require_worker()
    if running.worker is None:
        raise InvalidArgument("complete_in: this task runs without a database")
    data = _codec.encode_result(result, bytes_max=running.limits["result_bytes_max"])
    connection = _of_driver(connection)
    running.note()
    reply = running.worker.channel.token(running.slot)

    def statement(placeholder: str) -> str:
        return _call("complete_in_payload", ("uuid", "uuid", "bytea"), placeholder)

    def values(token: str) -> tuple[Any, ...]:
        return (running.id, token, data)

    if not _loops.is_in_loop():
        return _lease(running, lambda: _run(connection, statement, values(_loops.answer_now(reply))))

    async def complete() -> None:
        token = await _loops.answer(reply)
        try:
            done = _run(connection, statement, values(token))
            if inspect.isawaitable(done):
                await done
        except Exception as error:
            raise _lost(running, error) from error

    return complete()


def _lease(running: Any, run: Any) -> None:
    try:
        run()
    except Exception as error:
        raise _lost(running, error) from error


def _lost(running: Any, error: Exception) -> Exception:
    """Returns ``LeaseLost`` for the database's error about a lost lease, and other errors unchanged."""
    if "taskyard: lease lost" in str(error):
        return LeaseLost(
            f"this attempt of task {running.id} has lost its lease; its write changed nothing", hint="roll back"
        )
    return error
