"""Inside the caller's own transaction: adding a task, and ending the running one.

Both are one statement on the caller's connection, so they happen if and only if its transaction commits.
"""

from __future__ import annotations

import inspect
import logging
import uuid
from typing import TYPE_CHECKING, Any

from . import _codec, _commits, _core, _hooks, _loops, _port, _request, _running
from ._calls import Call, as_tasks, encode_context, prepare
from ._refs import QueuedTaskRef
from ._uncommitted import Transaction, Unbound
from .errors import InvalidArgument, LeaseLost, NotAwaited

if TYPE_CHECKING:
    from .queued_tasks import QueuedTasks

log = logging.getLogger("taskyard")

_TYPES = (
    "uuid text bytea bytea smallint text text integer text bigint bigint timestamptz bigint uuid[] smallint text "
    "smallint bigint text[] boolean boolean smallint"
).split()


def _statement(placeholder: str) -> str:
    values = ", ".join(f"{placeholder.format(n)}::{cls}" for n, cls in enumerate(_TYPES, 1))
    return f"SELECT taskyard.enqueue_payload({values})"


def _kind(connection: Any) -> str:
    """Which driver a connection is of; drivers are never imported here."""
    for cls in type(connection).__mro__:
        package = cls.__module__.split(".")[0]
        if package in ("psycopg", "asyncpg", "sqlalchemy"):
            return package
        if package == "sqlmodel":
            return "sqlalchemy"
    raise InvalidArgument(
        f"connection: a {type(connection).__module__}.{type(connection).__qualname__} is none of psycopg 3, asyncpg, "
        "SQLAlchemy",
        hint="on other connections call the SQL function taskyard.enqueue(...)",
    )


def _run(connection: Any, statement: Any, values: tuple[Any, ...]) -> Any:
    """Runs one statement; answers the first value, or an awaitable of it."""
    kind = _kind(connection)
    if kind == "asyncpg":
        text = statement("${}")
        return connection.fetchval(text, *_native(values))
    if kind == "psycopg":
        return _psycopg(connection, statement("%s"), values)
    from sqlalchemy import text as sql

    return _sqlalchemy(connection, sql, statement, {f"v{n}": value for n, value in enumerate(values, 1)})


def _sqlalchemy(connection: Any, sql: Any, statement: Any, named: dict[str, Any]) -> Any:
    driver = _driver(connection)
    text = statement(":v{}").replace("::", "\\:\\:")
    if driver == "asyncpg":
        named = dict(zip(named, _native(tuple(named.values())), strict=True))
    done = connection.execute(sql(text), named)
    if not inspect.isawaitable(done):
        return done.scalar()

    async def scalar() -> Any:
        return (await done).scalar()

    return scalar()


def _driver(connection: Any) -> str:
    bind = connection.get_bind() if hasattr(connection, "get_bind") else connection
    return str(getattr(getattr(bind, "dialect", None), "driver", ""))


def _psycopg(connection: Any, text: str, values: tuple[Any, ...]) -> Any:
    done = connection.execute(text, values)
    if not inspect.isawaitable(done):
        return done.fetchone()[0]

    async def first() -> Any:
        return (await (await done).fetchone())[0]

    return first()


def _native(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """asyncpg takes instants as datetimes, and no text for them."""
    if len(values) != len(_TYPES):
        return values
    return tuple(
        _codec.instant(value) if cls == "timestamptz" and value is not None else value
        for cls, value in zip(_TYPES, values, strict=True)
    )


class PendingRef(QueuedTaskRef[Any]):
    """A task in a transaction of an async connection; its statement runs when it, or ``get_task_id()``, is awaited.

    What becomes of one that is not awaited before the commit is said in ``_commits.py``.
    """

    def __init__(self, port: _port.Port, id: str, kind: str, connection: Any, adding: Any) -> None:
        super().__init__(port, id)
        self._kind = kind
        self._adding = adding
        #: Where the statement runs.
        self._connection = connection
        self._error: BaseException | None = None
        #: Its connection's commit runs the statement.
        self._written_at_commit = False
        #: It was dropped, but not by a rollback: the caller does not know.
        self._left_out = False
        #: The queue that says so at its end, where no request and no task's body does.
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
        """Raises ``NotAwaited`` if the statement has not run and its transaction was not rolled back, unless an error is
        reported in any case. If the transaction is open still (some applications commit behind the response), it runs now.
        """
        if not self._is_pending() or not self._written_at_commit:
            self._before_end(failed)
        elif not failed:
            try:
                await self._durable()
            except Exception as error:
                raise self._not_awaited() from error

    def _before_end(self, failed: bool = False) -> None:
        """The same where no commit can follow."""
        if self._is_pending():
            self._refuse()
            self._left_out = True
        if self._left_out and not failed:
            raise self._not_awaited()

    def _withdraw(self, error: BaseException) -> None:
        """It ends with its transaction."""

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


def add(tasks: QueuedTasks, call: Call) -> QueuedTaskRef[Any]:
    """Adds a task in the transaction of ``call.options["connection"]``."""
    from .queued_tasks import NewTask

    options = dict(call.options)
    connection = options.pop("connection")
    port = tasks._via
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
        return _run(connection, _statement, _core.enqueue_values(core, draft))

    if _is_async(connection):
        if hasattr(connection, "registry"):
            # A scoped session stands for the one of this task; the statement may run in another.
            connection = connection()

        async def adding() -> Any:
            await _hooks.run(hooks, seen)
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
    """In a worker: the project's settings, for checks. It opens nothing."""
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
    running.note()
    reply = running.worker.channel.token(running.slot)

    def statement(placeholder: str) -> str:
        values = ", ".join(f"{placeholder.format(n)}::{cls}" for n, cls in enumerate(("uuid", "uuid", "bytea"), 1))
        return f"SELECT taskyard.complete_in_payload({values})"

    def values(token: str) -> tuple[Any, ...]:
        return (uuid.UUID(running.id), uuid.UUID(token), data)

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
    """What the database says of a lost lease, as ours; other errors as they are."""
    if "taskyard: lease lost" in str(error):
        return LeaseLost(
            f"this attempt of task {running.id} has lost its lease; its write changed nothing", hint="roll back"
        )
    return error
