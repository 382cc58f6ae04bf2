"""``TaskQueue``: adds task objects, reads them, and dequeues them for programs that run tasks themselves."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar, overload

from .. import _codec, _loops, _port
from .._calls import Call, id_text, not_yet
from .._core import ClientRequest
from .._options import RetryPolicy, Unique, merge, optional_text, text
from .._options import count as whole
from .._options import seconds as _seconds
from ..errors import InvalidArgument, TaskNotFound, WrongState
from ..queued_tasks import QueuedTasks
from . import pull_server
from .background import BackgroundTask
from .base import Known, Task, known_of
from .claim import Claim, taken
from .status import TaskError, TaskStatus, of_record
from .task_codec import looked_at

log = logging.getLogger("queued_task")
R = TypeVar("R")


class TaskQueue:
    """A queue of task objects. It can be created without an event loop.

    ``TaskQueue()`` uses the project's own database and all its queues: ``dequeue`` takes from every queue, ``enqueue``
    adds to ``default``. ``TaskQueue("mail")`` adds to that queue, and takes from it only::

        queue = TaskQueue("mail", max_retries=5)
        id = await queue.enqueue(EmailTask("ada@example.org"))

    :param name: the queue.
    :param url: another database: ``postgresql://...``, or the path of an SQLite file.
    :param tasks: a ``QueuedTasks`` whose database it shares; instead of ``url``.
    :param retry: a ``RetryPolicy`` for tasks whose class and call name none.
    :param max_retries: retries after the first failure (default: the setting, 3).
    :param timeout: the longest one attempt may take, in seconds or as a timedelta; 0 = no limit (default: the setting,
        300).
    :param priority: higher first (default 0).
    :param limit: the most of the queue's tasks that run at once, over all servers and programs (default: no limit).
    :param rate: the most of them that start per time, over all servers: ``"100/m"``, ``"5/s"`` (default: no limit).
        Both limits are stored in the database on first use, as ``tasks.queues`` stores them, and persist; for a queue
        without a name they apply to ``default``.
    :param settings: further settings by their names, for its own database: ``retention_done="14d"``.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        url: str | None = None,
        tasks: QueuedTasks | None = None,
        retry: RetryPolicy | None = None,
        max_retries: int | None = None,
        timeout: float | dt.timedelta | None = None,
        priority: int | None = None,
        limit: int | None = None,
        rate: str | None = None,
        **settings: Any,
    ) -> None:
        if tasks is not None and (url is not None or settings):
            raise InvalidArgument("TaskQueue: tasks= has a database and settings already: give url= and settings there")
        self.name = name
        self._tasks = tasks if tasks is not None else QueuedTasks(database=url, **settings)
        self._tasks._is_of_task_queue = tasks is None
        given = {"queue": name, "retry": retry, "max_retries": max_retries, "timeout": timeout, "priority": priority}
        self._options = {option: value for option, value in given.items() if value is not None}
        #: Limits that are not stored in the database yet.
        self._limits: dict[str, Any] = {}
        if limit is not None:
            self._limits["limit"] = whole("limit", limit, 1)
        if rate is not None:
            self._limits["rate"] = text("rate", rate)

    def __repr__(self) -> str:
        return f"<TaskQueue {self.name or 'of all queues'}>"

    @property
    def tasks(self) -> QueuedTasks:
        """A ``QueuedTasks`` on this database, for functions: ``queue.tasks.add_task(f, ...)``;
        ``lifespan=queue.tasks.lifespan()``."""
        return self._tasks

    # -------------------------------------------------------------------------------------------------------- adding

    async def enqueue(
        self,
        task: Any,
        *,
        queue: str | None = None,
        priority: int | None = None,
        delay: float | dt.timedelta | None = None,
        run_at: dt.datetime | None = None,
        expires: float | dt.timedelta | None = None,
        retry: RetryPolicy | None = None,
        max_retries: int | None = None,
        timeout: float | dt.timedelta | None = None,
        unique: str | Unique | None = None,
        parents: Iterable[Any] | None = None,
        on_parent_failure: str | None = None,
        tags: str | Iterable[str] | None = None,
        name: str | None = None,
        context: dict[str, Any] | None = None,
        auto_remove: bool | None = None,
        at_most_once: bool | None = None,
        serializer: str | None = None,
    ) -> str:
        """Adds a task, and returns its id once it is durable.

        ``task`` is an object of a ``Task`` subclass, a ``BackgroundTask``, or a function without arguments. Options are
        those of ``QueuedTasks.add_task``: ``delay``, ``expires`` and ``timeout`` are seconds or a timedelta, ``run_at``
        an aware datetime, ``parents`` ids, references or tasks. Options that are not given come from the class, then
        from the queue. With ``unique`` the id may be that of the task that holds the key.

        Raises ``NotSerializable`` (a ``TypeError``) with the name of an attribute that cannot be stored, ``OverLimit``,
        ``FunctionRefused`` for a class that no worker could find, ``WrongState`` for an object that was added before,
        and ``QueueUnavailable``.

        Example::

            from taskyard.tasks import Task, TaskQueue

            class Email(Task):
                def __init__(self, to: str) -> None:
                    self.to = to

                async def execute(self) -> str:
                    return f"sent to {self.to}"

            queue = TaskQueue(tasks=tasks)
            id = await queue.enqueue(Email("ada@example.org"), priority=5)
            await tasks.drain()
            email = await queue.get_task(id)
            assert (email.to, email.result) == ("ada@example.org", "sent to ada@example.org")
        """
        parameters = dict(locals())  # before any other variable
        await self._keep_limits()
        given = {name: value for name, value in parameters.items() if name not in ("self", "task") and value is not None}
        if parents is not None:
            given["parents"] = _parents(parents)
        if not isinstance(task, Task):
            if not callable(task) or isinstance(task, type):
                raise InvalidArgument(
                    f"enqueue: {task!r} is neither an object of a Task subclass nor a function",
                    hint="enqueue(EmailTask(...)), or enqueue(BackgroundTask(function, argument))",
                )
            task = BackgroundTask(task)
        known = not_yet(task)
        # The class's own options are merged when a task object is added.
        declared = type(task).__taskyard_options__
        options = merge({name: value for name, value in self._options.items() if name not in declared}, given)
        call = Call(task, (), {}, options)
        if isinstance(task, BackgroundTask):
            call = Call(task.func, task.args, task.kwargs, options)
            known.is_queued = True
        try:
            ref = self._tasks._push([call])[0]
            id: str = await ref.get_task_id()
        except Exception:
            known.is_queued, known.id = False, None
            raise
        options = merge(declared, options)
        known.id, known.queue, known.priority = id, options.get("queue", "default"), options.get("priority", 0)
        known.status = _first_status(options)
        return id

    # ------------------------------------------------------------------------------------------------------- reading

    async def get_task(self, id: Any) -> Task | None:
        """Returns the current state of a task: an object of its class with its attributes, ``status``, ``result``,
        ``error``, ``errors``, times, and the progress that its run has stored. None if the task does not exist (any
        more), or if ``id`` is not an id.

        The object does not change by itself; call again for news. If the class is not loaded here, it is a plain
        ``Task`` with the same attributes; for a function's task it is a ``BackgroundTask``.

        Example::

            from taskyard.tasks import TaskQueue, TaskStatus

            queue = TaskQueue(tasks=tasks)
            id = await queue.enqueue(report)
            await tasks.drain()
            task = await queue.get_task(id)
            assert (task.status, task.result) == (TaskStatus.COMPLETED, "42 sold")
        """
        port = self._tasks._via
        try:
            record = await _loops.answer(port.ask(ClientRequest.record(id_text(id))))
            context = None
            if record["attempt"]:
                context = await _loops.answer(port.ask(ClientRequest.context(record["id"])))
            attempts = []
            if record["failures"] or record["lost"] or record["crashes"]:
                attempts = await _loops.answer(port.ask(ClientRequest.attempts(record["id"])))
        except (TaskNotFound, InvalidArgument):
            return None
        task = looked_at(record, _context(context), port.defaults.get("namespace"))
        _tell(known_of(task), record, attempts)
        return task

    # ----------------------------------------------------------------------------------------------------- dequeuing

    @overload
    async def dequeue(
        self, timeout: float | dt.timedelta | None = 0, *, queues: Iterable[str] | None = None, count: None = None
    ) -> Task | None: ...

    @overload
    async def dequeue(
        self, timeout: float | dt.timedelta | None = 0, *, queues: Iterable[str] | None = None, count: int
    ) -> list[Task]: ...

    async def dequeue(
        self,
        timeout: float | dt.timedelta | None = 0,
        *,
        queues: Iterable[str] | None = None,
        count: int | None = None,
    ) -> Task | list[Task] | None:
        """Claims the next task to run it here: by priority, then by age. Exactly one caller of all processes gets it.

        ``timeout`` is how long to wait for one, in seconds or as a timedelta; 0 (default) returns at once, None waits
        without a limit. ``queues`` are the queues to take from (default: the queue's own, or all). With ``count`` it
        claims up to that many, and returns a list.

        The task is RUNNING under a lease that this process extends for as long as it lives: end it by
        ``complete_task``, ``fail_task`` or ``requeue_task``. ``await task.execute()`` runs it; if it is cancelled,
        stopped, or out of time, that raises ``TaskInterrupted``. Tasks that are not ended are given back when the
        asyncio task that claimed them is cancelled, when the loop ends and, if the process dies, once the lease is
        over. Raises ``WrongState`` in a worker of ``taskyard queue start``::

            task = await queue.dequeue(timeout=30)
            if task is not None:
                await queue.complete_task(task, await task.execute())
        """
        await self._keep_limits()
        engine = self._engine("dequeue")
        wait = 1e9 if timeout is None else _seconds("timeout", timeout)
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise InvalidArgument(f"dequeue: count: {count!r} is not a whole number, 1 or more")
        chosen = [queues] if isinstance(queues, str) else None if queues is None else [str(queue) for queue in queues]
        if chosen is None and self.name is not None:
            chosen = [self.name]
        claims = await (await pull_server.of(engine)).take(count or 1, chosen, wait)
        for claim in claims:
            await self._look_up(claim)
        if count is not None:
            return [claim.task for claim in claims]
        return claims[0].task if claims else None

    async def _keep_limits(self) -> None:
        """Stores the limits that were given to the constructor in the database."""
        if not self._limits:
            return
        queues, name = self._tasks.queues, self.name or "default"
        if (limit := self._limits.get("limit")) is not None:
            await queues.limit(name, limit)
        if (rate := self._limits.get("rate")) is not None:
            await queues.rate(name, rate)
        self._limits = {}

    async def _look_up(self, claim: Claim) -> None:
        """Sets the attributes that are only in the task's record."""
        try:
            record = await _loops.answer(self._tasks._via.ask(ClientRequest.record(claim.id)))
        except Exception as error:
            # The task runs nevertheless.
            log.warning("task %s was taken, and its record could not be read: %s", claim.id, error)
            return
        known = known_of(claim.task)
        known.priority, known.worker = record["priority"], record["server"]
        known.created_at, known.max_attempts = _time(record["created_at"]), record["retry"]["max_retries"] + 1

    def adopt(self, task: Task) -> None:
        """Makes the calling asyncio task the owner of a task that another one claimed: if the owner is cancelled or
        fails, unended tasks are given back or failed. Raises ``WrongState`` for a task that was not claimed by
        ``dequeue``."""
        claim = known_of(task).claim
        if claim is None:
            raise WrongState(f"{task!r} was not taken by dequeue()")
        claim.worker.pull_server.own(claim)

    def _engine(self, what: str) -> _port.Engine:
        port = self._tasks._via
        if not isinstance(port, _port.Engine):
            raise WrongState(
                f"{what}: a worker of `taskyard queue start` runs the tasks that its server assigns, and cannot take tasks itself",
                hint=f"call {what} in a process of your own",
            )
        return port

    def _claim(self, task: Any) -> Claim | None:
        """Returns the claim for a task: the object's own, the one of this context, or this process's."""
        if isinstance(task, Task) and (claim := known_of(task).claim) is not None:
            return claim
        id = id_text(task)
        mine = taken.get().get(id)
        port = self._tasks._via
        if mine is not None and mine.worker.pull_server.engine is port:
            return mine
        return pull_server.claim_of(port, id) if isinstance(port, _port.Engine) else None

    async def complete_task(self, id: Any, result: Any = None) -> bool:
        """Ends a task as COMPLETED with this result. ``id`` is the id, or the task itself.

        Returns True if that was written, also if it is called again; False if it came too late: the task was given
        back, cancelled, or has lost its lease, and nothing was changed. Raises ``NotSerializable`` or ``OverLimit`` for
        a result that cannot be stored; the task is still running then, and can be failed.
        """
        claim = self._claim(id)
        return claim is not None and await _there(claim, claim.complete(result))

    async def fail_task(self, id: Any, error: str | BaseException = "", *, retry: bool = True) -> bool:
        """Records that this attempt has failed; the retry policy decides whether the task is RETRYING or FAILED.

        ``error`` is the exception or its text. The text of the exception that ``execute()`` has just raised stands for
        that exception, with its traceback and, for a ``Retry``, ``Fail`` or ``Snooze``, its directive. ``retry=False``
        fails the task for good. Returns True if the end was written (a task that was cancelled meanwhile is CANCELLED);
        False if it came too late. Raises ``InvalidArgument`` for any other type of ``error``.
        """
        if not isinstance(error, (str, BaseException)):
            raise InvalidArgument(f"fail_task: {error!r} is neither a string nor an exception")
        claim = self._claim(id)
        return claim is not None and await _there(claim, claim.fail(error, retry))

    async def requeue_task(self, id: Any) -> bool:
        """Gives a task back.

        A task that this process runs goes back to QUEUED, at the front of its priority and without a charged attempt;
        its running body is interrupted first. A FAILED, CANCELLED or STOPPED task is queued again with its counters at
        zero. Returns False for any other task.
        """
        claim = self._claim(id)
        if claim is not None and not claim.has_ended_otherwise("requeue"):
            return await _there(claim, claim.requeue())
        # A claim that has lost its lease must not affect what happened to the task since.
        return not (claim is not None and claim.was_lost) and await self._control(ClientRequest.retry(id_text(id)))

    async def cancel_task(self, id: Any, reason: str | None = None) -> bool:
        """Cancels a task: at once if it is not running, else its body is interrupted, in any process.

        Returns True if that was accepted; False if there is nothing to cancel. ``reason`` is stored:
        ``task.cancel_reason``. Raises ``OverLimit`` for a reason that is longer than a log line may be.
        """
        return await self._control(ClientRequest.cancel(id_text(id), optional_text("reason", reason)))

    async def _control(self, request: ClientRequest) -> bool:
        try:
            await _loops.answer(self._tasks._via.ask(request))
        except (TaskNotFound, WrongState, InvalidArgument):
            return False
        return True

    # --------------------------------------------------------------------------------------------------- lifecycle

    async def close(self) -> None:
        """Gives back the claims of this loop, writes pending additions, and closes the database, which opens again on
        the next use. The end of the loop does the same."""
        await self._tasks.__aexit__(None, None, None)

    async def __aenter__(self) -> TaskQueue:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._tasks.__aexit__(*error)


async def _there(claim: Claim, ending: Any) -> bool:
    """Ends a claim on the loop that holds it."""
    ended: Awaitable[bool] = ending
    if asyncio.get_running_loop() is not claim.worker.loop:
        ended = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ending, claim.worker.loop))
    return await asyncio.shield(asyncio.ensure_future(ended))


def _parents(given: Iterable[Any]) -> list[Any]:
    if isinstance(given, (str, Task)):
        return [given]
    parents = list(given)
    for parent in parents:
        if isinstance(parent, Task) and parent.id is None:
            raise InvalidArgument(f"parents: {parent!r} was not added yet", hint="enqueue the parent first")
    return parents


def _first_status(options: dict[str, Any]) -> TaskStatus:
    if options.get("parents"):
        return TaskStatus.WAITING
    return TaskStatus.SCHEDULED if options.get("delay") or options.get("run_at") else TaskStatus.QUEUED


def _context(found: dict[str, Any] | None) -> dict[str, Any]:
    decoded = {}
    for name, value in (found or {}).items():
        try:
            decoded[name] = _codec.shown(value)
        except Exception:
            continue
    return decoded


def _time(text: str | None) -> float | None:
    return None if text is None else _codec.instant(text).timestamp()


def _tell(known: Known, record: dict[str, Any], attempts: list[dict[str, Any]]) -> None:
    known.id, known.is_queued, known.status = record["id"], True, of_record(record)
    known.queue, known.priority, known.worker = record["queue"], record["priority"], record["server"]
    known.attempt, known.max_attempts = record["attempt"], record["retry"]["max_retries"] + 1
    known.created_at, known.finished_at = _time(record["created_at"]), _time(record["finished_at"])
    known.start_time, known.cancel_reason = _time(record["started_at"]), record["cancel_reason"]
    if known.status is TaskStatus.COMPLETED and record["result"] is not None:
        known.result = _codec.shown(record["result"], record["result_encoded"])
    known.errors = [
        TaskError(
            each["error"]["message"],
            each["error"]["type"],
            each["error"]["traceback"],
            each["number"],
            _time(each["ended_at"]),
        )
        for each in attempts
        if each["error"] is not None
    ]
    error = record["error"]
    if error is not None and known.status is not TaskStatus.COMPLETED:
        at = known.finished_at or (known.errors[-1].at if known.errors else None)
        known.error = TaskError(error["message"], error["type"], error["traceback"], known.attempt or None, at)


__all__ = ["TaskQueue"]
