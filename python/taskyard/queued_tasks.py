"""``QueuedTasks``: adds tasks, and returns references to them.

``add_task`` returns a reference at once; results are awaited on it, or waited for by ``ref.result()`` in code without an
event loop. Read next: ``_calls.py``, ``_port.py``, ``_refs.py``.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import datetime as dt
import inspect
import logging
import os
from collections.abc import Iterable
from typing import Any

from . import _additions, _core, _create_hooks, _exit_code, _graphs, _hooks, _loops, _port, _request
from ._calls import Call, as_tasks, id_text, prepare, split_options
from ._create_hooks import NewTask
from ._graphs import Group
from ._loops import Answer, awaited
from ._options import RetryPolicy, Unique, check_names, count, merge, optional_seconds, text
from ._refs import Outcome, QueuedTaskRef
from ._uncommitted import Unbound
from .dead import Dead
from .errors import InvalidArgument, QueueUnavailable, TaskyardError, seconds
from .queues import Queues, task_filter
from .records import TaskRecord
from .schedules import Schedules
from .watching import Watch

__all__ = ["Call", "NewTask", "Outcome", "QueuedTaskRef", "QueuedTasks", "RetryPolicy", "Unique"]

log = logging.getLogger("queued_task")


def _address(database: Any) -> str | None:
    """Returns the database's address for the engine. Raises ``InvalidArgument`` for anything but a text, a path or None."""
    if isinstance(database, os.PathLike):
        database = os.fspath(database)
    if database is None or (isinstance(database, str) and database.strip()):
        return database
    # The message never contains the value: an address may contain a password.
    what = (
        "an empty text"
        if database == ""
        else "blank"
        if isinstance(database, str)
        else f"of the type {type(database).__name__}"
    )
    raise InvalidArgument(
        f"database: it is {what}, and neither an address nor a file",
        hint="give a text or a path; a SQLAlchemy URL as url.render_as_string(hide_password=False), a pydantic address as "
        "str(address); without `database` it is the project's own",
    )


class _Meta(type):
    """Adds two parameters for FastAPI that do not appear in OpenAPI: the connection, and the response, which only FastAPI
    passes while it resolves dependencies. Calling the class returns a registered service in place of a new object."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("connection") is not None:
            from .dependencies import get_service, is_registered

            if is_registered(cls):
                return get_service(cls)
            if kwargs.pop("response", None) is not None:
                from . import _response

                _response.before_response(kwargs["connection"], by_framework=True)
        return super().__call__(*args, **kwargs)

    @property
    def __signature__(cls) -> inspect.Signature:
        try:
            return inspect.Signature(_request.framework_parameters())
        except ImportError:
            return inspect.Signature()


class QueuedTasks(metaclass=_Meta):
    """Adds tasks to a queue, and gives access to tasks, queues, schedules and dead letters: ``tasks =
    QueuedTasks(database="queue.db")``.

    ``QueuedTasks()`` is the process's own queue: the database of the project's settings or, in a worker, that of its
    server. Others have a ``database`` (an address, or the path of an SQLite file) or settings by their names
    (``max_retries=5``; ``None`` counts as not given).

    ``namespace`` separates applications on one database whose modules share a name: with ``namespace="shop"`` a function is
    added, served and filtered by as ``shop/app:report``. A kind that is given as a text may name another namespace
    (``"bank/app:report"``) or none (``"/app:report"``). Raises ``SettingError`` for one that is not letters of ASCII,
    digits, ``_``, ``-`` and ``.``, at most 63 of them. A worker has the namespace of its server's settings.

    In FastAPI it is a dependency: ``tasks: QueuedTasks = Inject(QueuedTasks)``, ``tasks: TasksDep``, or
    ``Annotated[QueuedTasks, Depends()]``. No response is sent before the request's additions are durable; if they cannot be
    stored, the response is a 503. Where nothing would make the response wait, adding raises ``InvalidArgument`` (see
    ``taskyard.fastapi.FlushMiddleware``). ``tasks.nowait`` opts out.

    Example::

        with QueuedTasks(database="queue.db") as own:
            id = own.add_task(send_welcome, "ada@example.org").id
        assert id
    """

    #: Whether an application has its lifespan.
    _has_lifespan = False
    #: Whether it belongs to a ``TaskQueue``, from which the application may dequeue tasks itself.
    _is_of_task_queue = False

    def __init__(
        self, *, connection: Any = None, database: str | None = None, namespace: str | None = None, **settings: Any
    ) -> None:
        self._own: _port.Port | None = None
        if namespace is not None:
            settings["namespace"] = text("namespace", namespace)
        if database is not None or settings:
            self._own = _port.Engine(_address(database), settings)
        if _port.made is not None and connection is None:
            _port.made.append(self)
        self._defaults: dict[str, Any] = {}
        self._has_using = False
        #: Tasks that were added on async connections and may have been left out.
        self._unbound = Unbound()
        #: The request whose response waits until additions are durable.
        self._waits: _request.Request | None = None
        #: The request that this object was created for, also with ``nowait``.
        self._request: _request.Request | None = None
        if connection is not None:
            from . import _response

            self._request = _response.before_response(connection)
            # A websocket has no response that could wait or become an error, so its additions wait without a limit.
            self._waits = self._request if self._request.is_http else None

    @property
    def _via(self) -> _port.Port:
        own = self._own
        if own is None:
            own = _port.default()
        elif _port.of_tests and own not in _port.of_tests:
            own = _port.of_tests[-1]
        elif _port.in_worker and isinstance(own, _port.Engine) and own.is_of_server():
            own = _port.in_namespace(_port.default(), own.defaults["namespace"])
        return own if self._request is None else _port.Requested(own, self._request)

    @property
    def _stands_for_tests(self) -> bool:
        """Whether the running test's queue replaces this one. That queue stays open when this one is closed."""
        port = _port.plain(self._via)
        return port in _port.of_tests and port is not self._own

    def _like(self, **changes: Any) -> QueuedTasks:
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.__dict__.update(changes)
        return made

    def __getstate__(self) -> dict[str, Any]:
        """The constructor's arguments, for ``pickle``. Requests and references stay in this process."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_unbound", "_waits", "_request")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _unbound=Unbound(), _waits=None, _request=None)

    def __copy__(self) -> QueuedTasks:
        """Returns a copy that belongs to the same request."""
        return self._like()

    def __deepcopy__(self, memo: dict[int, Any]) -> QueuedTasks:
        """Returns a shallow copy: databases, connections and requests are not copied."""
        return self._like()

    @property
    def nowait(self) -> QueuedTasks:
        """A handle of this queue whose additions do not make a response wait."""
        return self._like(_waits=None)

    def using(self, **options: Any) -> QueuedTasks:
        """Returns a handle of this queue with options for its additions: ``tasks.using(delay=60).add_task(f, x)``. All
        keywords of its ``add_task`` belong to the function, also those with the names of options. Raises
        ``InvalidArgument`` for an unknown option.

        Example::

            ref = tasks.using(queue="mail", priority=5).add_task(send_welcome, "ada@example.org")
            record = await ref.record()
            assert (record.queue, record.priority) == ("mail", 5)
        """
        check_names(options)
        return self._like(_defaults=merge(self._defaults, options), _has_using=True)

    def bind(self, connection: Any) -> QueuedTasks:
        """Returns a handle that adds in the transaction of this connection or session (psycopg 3, asyncpg, SQLAlchemy): a
        task exists if and only if it commits. Proxies of connections, and those that pools lend, are accepted, too; row and
        cursor factories, record classes, codecs and result options do not matter. On an async connection await the
        reference before the commit::

            async with AsyncSession(engine) as session:
                session.add(user)
                ref = await tasks.bind(session).add_task(send_welcome, user.email)
                await session.commit()

        A reference that is not awaited is written by the commit of a SQLAlchemy session or connection, in the order of the
        calls. With psycopg and asyncpg, which offer no way to do so, it is an error, ``NotAwaited``: raised by psycopg's
        ``commit()``, and with either at the end of the request (a 503), of the task's body, or of the queue (``async with
        tasks``, ``close()``). With an asyncpg pool the addition is a transaction of its own.
        """
        return self._like(_defaults={**self._defaults, "connection": connection})

    @property
    def schedules(self) -> Schedules:
        """The schedules, which enqueue tasks at times: add, list, pause, remove."""
        return Schedules(self)

    @property
    def queues(self) -> Queues:
        """The queues: pause, resume, limit, rate, ageing, drain, purge, and their figures."""
        return Queues(self)

    @property
    def dead(self) -> Dead:
        """The dead letters: list, count, show, edit, retry, purge."""
        return Dead(self)

    # --------------------------------------------------------------------------------------------------- adding

    def add_task(self, function: Any, /, *args: Any, **kwargs: Any) -> QueuedTaskRef[Any]:
        """Adds a task that runs ``function(*args, **kwargs)``, and returns a reference to it at once.

        Options may be among the keywords, unless the function has a parameter of that name or takes any keyword
        (``**data``): then the call raises ``OptionConflict``, and ``tasks.using(...)`` takes the options. They are

        - ``queue``: the queue (default ``"default"``)
        - ``priority``: higher first (default 0)
        - ``delay``: the earliest start, from now on
        - ``run_at``: the earliest start, an aware datetime
        - ``expires``: cancels the task if it has not started this long after it was added
        - ``max_retries``: retries after the first failure (default: the setting, 3)
        - ``retry``: the pauses between retries, and which errors are retried
        - ``timeout``: the longest an attempt may take (default: the setting, 300 s; 0 = no limit)
        - ``unique``: a key; while it is held, adding another task with it returns a reference to the existing one
        - ``parent``: a task that must be done first: a reference, a call or an id
        - ``parents``: several of them
        - ``on_parent_failure``: ``"fail"`` (default), ``"run"`` or ``"wait"``
        - ``at_most_once``: makes the first crash or loss a dead letter instead of another run
        - ``auto_remove``: deletes the task 60 s after it finished and its children ended
        - ``context``: the initial context
        - ``name``: a label for users (default: the name of the function)
        - ``tags``: labels to filter by
        - ``serializer``: ``"dill"`` stores arguments that JSON cannot hold, too (default ``"json"``)
        - ``runtime``: ``"python"`` or ``"rust"``, for a function that is given by its name
        - ``connection``: adds the task in the transaction of this connection or session (see ``bind``)

        Times are seconds or timedeltas.

        Example::

            ref = tasks.add_task(send_welcome, "ada@example.org", queue="mail", delay=60)
            id = await ref.get_task_id()  # stored; raises the errors of the database

        Raises at once for a task that can never be stored (``NotSerializable``, ``OverLimit``, ``FunctionRefused``,
        ``InvalidArgument``, ``TypeError`` for arguments that do not fit), and ``QueueUnavailable`` when too much (10,000
        additions, or 64 MiB) waits for a database that is away, or that has written or opened nothing for five seconds.
        While it is writing, a full buffer only slows this call down: it blocks its thread, and in a coroutine the event
        loop, until there is room. A loop that awaits ``get_task_id()`` regularly never reaches that.

        In a task's body the reference need not be awaited: the success of the attempt is stored only once the task is, and
        what the database refuses fails the attempt.
        """
        options = self._defaults
        if kwargs:
            kwargs, given = split_options(function, kwargs, self._has_using)
            if given:
                options = merge(options, given)
        call = Call(function, args, kwargs, options)
        if "connection" in options:
            from . import _transaction

            return _transaction.add(self, call)
        return self._push([call])[0]

    def add_tasks(self, calls: Iterable[Any]) -> list[QueuedTaskRef[Any]]:
        """Adds all of these or none, in one write; each is ``tasks.call(f, ...)`` or ``(f, arg, ...)``. Raises as
        ``add_task``.

        Example::

            first = tasks.call(send_welcome, "ada@example.org")
            second = tasks.call(send_welcome, "grace@example.org", parent=first)
            refs = tasks.add_tasks([first, second])
            await tasks.drain()
            assert [await ref for ref in refs] == ["sent to ada@example.org", "sent to grace@example.org"]
        """
        made: list[Call] = []
        ids: set[str] = set()
        for given in calls:
            call = _graphs.made(given, "add_tasks")
            call.options = merge(self._defaults, call.options)
            if "connection" in call.options:
                raise InvalidArgument("add_tasks writes a transaction of its own; use add_task(..., connection=...)")
            if call.id in ids:
                raise InvalidArgument(f"add_tasks: the same call of {call.function!r} is given twice")
            ids.add(call.id)
            made.append(call)
        return self._push(made)

    def add_group(self, calls: Iterable[Any], then: Any) -> Group[Any]:
        """Adds all of these tasks and ``then``, or none. ``then`` runs once, when all of them have ended, however they
        ended. Its first argument is the list of their results, with a ``TaskFailed`` for one that has none. Calls and
        ``then`` are ``tasks.call(f, ...)``, ``(f, argument, ...)`` or a function without further arguments.

        Example::

            group = tasks.add_group([(add, 1, 2), (add, 3, 4)], then=total)
            await tasks.drain()
            assert await group.then == 10
        """
        return _graphs.add_before(self, calls, then, "run", "add_group")

    def add_fan_in(self, calls: Iterable[Any], then: Any) -> Group[Any]:
        """Like :meth:`add_group`, but ``then`` runs only if all are done, and fails with the first that fails for good.

        Example::

            group = tasks.add_fan_in([(add, 1, 2), (add, 3, 4)], then=total)
            await tasks.drain()
            assert await group.then == 10
        """
        return _graphs.add_before(self, calls, then, None, "add_fan_in")

    def add_chain(self, calls: Iterable[Any]) -> list[QueuedTaskRef[Any]]:
        """Adds all of these tasks or none. The first argument of each is the result of the one before it.

        Example::

            first, second = tasks.add_chain([(add, 1, 2), (add, 10)])
            await tasks.drain()
            assert await second == 13
        """
        return _graphs.add_chain(self, calls)

    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Call:
        """Returns a call for ``add_tasks``, with options as in :meth:`add_task`; it can be a parent before it is added."""
        kwargs, options = split_options(function, kwargs, self._has_using)
        return Call(function, args, kwargs, options)

    def _push(self, calls: list[Call]) -> list[QueuedTaskRef[Any]]:
        if not calls:
            return []
        if self._waits is not None:
            self._waits.check()
        port = self._via
        with as_tasks(calls), _request.answering(self._request):
            if _hooks.pre_create or _hooks.post_create or any(_create_hooks.pending_of(call) for call in calls):
                refs = _create_hooks.push(port, calls)
            else:
                drafts = [prepare(port, call) for call in calls]
                addition = port.add(drafts)
                refs = [QueuedTaskRef(port, call.id, addition, place) for place, call in enumerate(calls)]
                _additions.note(refs, drafts[0]["kind"])
        if log.isEnabledFor(logging.DEBUG):
            for call in calls:
                log.debug("added task %s: %s", call.id, getattr(call.function, "__qualname__", call.function))
        if self._waits is not None:
            self._waits.expect(refs)
        return refs

    # --------------------------------------------------------------------------------------------------- reading

    def get(self, id: Any) -> QueuedTaskRef[Any]:
        """Returns a reference to a task by its id. Its methods raise ``TaskNotFound`` if there is no such task.

        Example::

            id = await tasks.add_task(send_welcome, "ada@example.org").get_task_id()
            assert await tasks.get(id).get_state() == "enqueued"
        """
        return QueuedTaskRef(self._via, id_text(id))

    def watch(self, id: Any, since: int | None = None) -> Watch:
        """Watches a task; see :meth:`QueuedTaskRef.watch`."""
        return self.get(id).watch(since)

    @awaited
    def list(
        self,
        *,
        states: Iterable[str] = (),
        queue: str | None = None,
        function: Any = None,
        limit: int = 50,
    ) -> Answer[builtins.list[TaskRecord]]:
        """Returns the records of tasks, newest first, at most ``limit`` (default 50, maximum 10,000). Awaited or, without an
        event loop, waited for with ``.result()``.

        Example::

            tasks.add_task(send_welcome, "ada@example.org", queue="mail")
            await tasks.flush()
            records = await tasks.list(queue="mail", states=["waiting", "enqueued"], limit=10)
            assert [record.state for record in records] == ["enqueued"]
        """
        filter = task_filter(
            self._via.defaults.get("namespace"), states=states, queue=queue, function=function, limit=limit
        )
        reply = self._via.ask(_core.ClientRequest.list(filter))
        return Answer(reply, lambda found: [TaskRecord(each) for each in found], port=self._via)

    def flush(self, timeout: float | dt.timedelta | None = None) -> Answer[None]:
        """Waits until everything added before is written: ``await tasks.flush()``. Without an event loop the call itself
        blocks. ``timeout`` is in seconds, or a timedelta (default: no limit).

        Example::

            for name in ("ada", "grace"):
                tasks.add_task(send_welcome, f"{name}@example.org")
            await tasks.flush(timeout=10)  # both are stored
        """
        timeout = optional_seconds("timeout", timeout)
        flushing = _Flush(self, timeout)
        if not _loops.is_in_loop():
            flushing.result(timeout)
        return flushing

    # ------------------------------------------------------------------------------------------------- lifecycle

    async def _open(self) -> None:
        """Returns once the database is open, without a time limit."""
        if isinstance(_port.plain(self._via), _port.Engine):
            await _loops.answer(self._via.core().open())

    async def __aenter__(self) -> QueuedTasks:
        """Opens the database. Raises ``QueueUnavailable`` if it does not answer within 30 seconds."""
        engine = _port.plain(self._via)
        if isinstance(engine, _port.Engine):
            reply = engine.core().open()
            try:
                await asyncio.wait_for(_loops.answer(reply), _loops.AWAY_MAX)
            except asyncio.TimeoutError:
                engine.give_up(reply)
                raise _loops.away(engine, "the queue was not opened") from None
        return self

    async def __aexit__(self, error: Any = None, *_: Any) -> None:
        """Writes pending additions, and closes the database. Raises ``QueueUnavailable`` for those that could not be
        written in five seconds, and ``NotAwaited`` for a task that was added on an async connection and left out of its
        transaction."""
        engine = _port.plain(self._via)
        if isinstance(engine, _port.Engine):
            try:
                await asyncio.wait_for(_create_hooks.created(), _port.CLOSE_MAX)
            except asyncio.TimeoutError:
                log.error(
                    "%d additions still wait for their on_pre_create hooks and are not made", len(_create_hooks.creating)
                )
            if self._stands_for_tests:
                await _loops.answer(self._via.ask(_core.ClientRequest.flush()))
            else:
                for first in engine.before_close:
                    await first(engine)
                reply = engine.close()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(_loops.box().wait(reply), _port.CLOSE_MAX + _port.CLOSE_SLACK)
                _take_closed(engine, reply, error)
        await self._unbound.settle(error is not None)

    def __enter__(self) -> QueuedTasks:
        """Opens the database. Raises ``QueueUnavailable`` if it does not answer within 30 seconds."""
        engine = _port.plain(self._via)
        if isinstance(engine, _port.Engine):
            reply = engine.core().open()
            try:
                _loops.answer_now(reply, None, "the opening", engine)
            except QueueUnavailable:
                engine.give_up(reply)
                raise _loops.away(engine, "the queue was not opened") from None
        return self

    def __exit__(self, error: Any = None, *_: Any) -> None:
        self._close(_port.CLOSE_MAX, error)
        self._unbound.check(error is not None)

    def close(self, timeout: float | dt.timedelta = 5.0) -> None:
        """Writes pending additions, for ``timeout`` at most (seconds or timedelta), and closes the database; for code
        without a loop. Raises ``QueueUnavailable`` for those that are not written by then, and ``NotAwaited`` for a task
        that was added on an async connection and left out of its transaction. In a coroutine use ``async with tasks``: a
        rollback on asyncpg is known only when the event loop has run again, and ``close()`` right after it raises
        ``NotAwaited`` for a task that was rolled back."""
        self._close(seconds("timeout", timeout))
        self._unbound.check(False)

    def _close(self, timeout: float, error: Any = None) -> None:
        engine = _port.plain(self._via)
        if isinstance(engine, _port.Engine):
            if self._stands_for_tests:
                _loops.answer_now(engine.ask(_core.ClientRequest.flush()), timeout, "the writing of what was added")
                return
            for first in engine.before_close_now:
                first(engine)
            reply = engine.close(timeout)
            reply.block(timeout + _port.CLOSE_SLACK)
            _take_closed(engine, reply, error)

    def lifespan(
        self, inner: Any = None, *, workers: int = 0, concurrency: int | None = None, in_workers: bool = False
    ) -> Any:
        """Returns a lifespan for FastAPI and Starlette that opens the queue at the start and writes pending additions at
        the end.

        ``inner`` is the application's own lifespan. With ``workers`` (default 0) this process also runs tasks, on its own
        event loop, each worker up to ``concurrency`` at once: for development, tests and small applications, as in
        ``FastAPI(lifespan=queue.lifespan(workers=1))``. With ``in_workers=True`` each worker process also runs ``inner``,
        before its first task and after its last, with the application that it has loaded; the state that ``inner`` yields
        is for requests only. Workers within this process share the ``inner`` of the application, which is entered before
        they start. Raises ``InvalidArgument`` for an ``inner`` that is not callable or missing.
        """
        from . import fastapi

        count("workers", workers)
        if concurrency is not None:
            count("concurrency", concurrency, 1)
        if inner is not None and not callable(inner):
            raise InvalidArgument(
                f"lifespan: {inner!r} is not a function that returns a context manager",
                hint="pass your lifespan itself: queue.lifespan(life)",
            )
        self._has_lifespan = True
        if in_workers:
            if inner is None:
                raise InvalidArgument(
                    "lifespan: in_workers=True runs your own lifespan in each worker, but no lifespan is given"
                )
            if _hooks.lifespans is not None and all(noted is not inner for _, noted in _hooks.lifespans):
                _hooks.lifespans.append((self, inner))
        return fastapi.lifespan(self, inner, workers, concurrency, in_workers)


def _take_closed(engine: _port.Engine, reply: _core.Reply, error: Any) -> None:
    """Raises ``QueueUnavailable`` if additions may be lost, or logs it if another error is being raised."""
    try:
        engine.closed(reply)
    except TaskyardError as lost:
        if error is None:
            raise
        _exit_code.fail()
        log.error("closing the queue failed: %s", lost.message)


class _Flush(Answer[None]):
    def __init__(self, tasks: QueuedTasks, timeout: float | None) -> None:
        self._tasks: QueuedTasks | None = tasks
        self._timeout = timeout

    async def _wait(self) -> None:
        if self._tasks is not None:
            await asyncio.wait_for(_flush(self._tasks), self._timeout)

    def _wait_now(self, timeout: float | None) -> None:
        if self._tasks is not None:
            port = self._tasks._via
            _loops.answer_now(port.ask(_core.ClientRequest.flush()), timeout, "the writing of what was added", port)
            self._tasks = None


async def _flush(tasks: QueuedTasks) -> None:
    await _loops.within(tasks._request, _create_hooks.created())
    await _loops.answer(tasks._via.ask(_core.ClientRequest.flush()))
