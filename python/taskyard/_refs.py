"""References to tasks: reading their state, waiting for their end, and controlling them."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import math
import time
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from . import _codec, _core, _json, _loops, _port, _progress, _request, _running
from ._loops import Answer, Question, awaited
from ._options import optional_seconds, optional_text, priority_number
from ._progress import PLACE, Progress
from ._references import Reference
from ._state import QueuedTaskState
from ._uncommitted import Transaction
from .errors import ParentTaskFailed, QueueUnavailable, TaskCancelled, TaskFailed, TaskStopped, WaitTimeout
from .records import Attempt, LogLine, TaskRecord
from .watching import Watch

__all__ = ["Outcome", "QueuedTaskRef"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

#: Seconds for which an expired wait looks up the task's state for its error message.
FOUND_MAX = 1.0


class Outcome(Generic[R_co]):
    """The end of a task: ``state``, ``result`` if it is done, ``error`` if it failed."""

    def __init__(self, id: str, state: QueuedTaskState, result: R_co | None, error: BaseException | None) -> None:
        self.id = id
        self.state = state
        self.result = result
        self.error = error

    @property
    def ok(self) -> bool:
        return self.state is QueuedTaskState.done

    def __repr__(self) -> str:
        return f"<outcome of {self.id}: {self.state}>"


class Control(Answer[QueuedTaskState]):
    """The reply to a cancel, stop, retry or change of priority that was requested.

    Awaiting it returns the resulting state; for a running task that is cancelled or stopped, once its body has ended.
    An error that is not awaited is logged.
    """

    def __init__(self, port: _port.Port, id: str, reply: Any) -> None:
        self._port = port
        self._id = id
        self._reply = reply

    async def _wait(self) -> QueuedTaskState:
        reply = await self._reply if inspect.isawaitable(self._reply) else self._reply
        answer = await _loops.answer(reply)
        if answer == "requested":
            with _running.released_slot():
                return QueuedTaskState((await _ended(self._port, self._id))["state"])
        return QueuedTaskState(answer["applied"])

    def _wait_now(self, timeout: float | None) -> QueuedTaskState:
        answer = _loops.answer_now(self._reply, timeout, "the answer", self._port)
        if answer == "requested":
            with _running.released_slot():
                found = _ended_now(self._port, self._id, timeout)
            return QueuedTaskState(found["state"])
        return QueuedTaskState(answer["applied"])


class QueuedTaskRef(Reference, Generic[R_co]):
    """A reference to a task that was added, or is known by its id. ``await ref`` is ``await ref.wait()``.

    Its methods return answers, which are awaited or, in code without an event loop, waited for with
    ``.result(timeout)``: ``ref.get_state().result(5)``. As an argument of another task a reference stands for the
    result, and the other task becomes a child of this one::

        ref = tasks.add_task(resize, "cat.png")
        id = await ref.get_task_id()  # stored
        size = await ref.wait(timeout=30)  # done
    """

    #: The request or attempt that waits until this reference is settled.
    _settled_by: _request.Request | _running.Running | None = None

    def __init__(
        self,
        port: _port.Port,
        id: str,
        addition: _core.Addition | None = None,
        place: int = 0,
        pending: asyncio.Task[None] | None = None,
    ) -> None:
        self._port = port
        self._id = id
        self._addition = addition
        self._place = place
        #: Async hooks that run before the addition.
        self._pending = pending
        self._existing = False
        #: Why the addition was withdrawn.
        self._withdrawn: BaseException | None = None
        #: Whether the error that it could not be stored was raised to its caller.
        self._is_reported = False
        #: The caller's transaction in which it was added, until the task was seen after its commit.
        self._transaction: Transaction | None = None
        self._known = addition is None and pending is None

    @property
    def id(self) -> str:
        """The id (UUIDv7), available at once. For a duplicate of a unique key it changes to the existing task's id once
        that is known."""
        self._peek()
        return self._id

    @property
    def existing(self) -> bool:
        """Whether a unique key led to an existing task. False until the addition is written."""
        self._peek()
        return self._existing

    def __repr__(self) -> str:
        return f"<QueuedTaskRef {self._id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QueuedTaskRef) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self._id)

    def _peek(self) -> None:
        if self._known or self._addition is None:
            return
        reply = self._addition.reply()
        if reply.done():
            try:
                self._learn(_json.loads(reply.take()))
            except Exception:
                pass  # `get_task_id()` raises it

    def _learn(self, added: list[list[Any]]) -> None:
        self._id, self._existing = added[self._place]
        self._known = True

    @awaited
    def get_task_id(self) -> Answer[str]:
        """Returns the id once the task is durable.

        Raises the error that prevented it from being stored: ``QueueUnavailable`` if the database does not answer in
        time, or what the engine refused (``OverLimit``, ``UnknownParent``, ``InvalidArgument`` and such).

        Example::

            id = await tasks.add_task(send_welcome, "ada@example.org").get_task_id()
        """
        return Question("get_task_id()", self._task_id, self._id_now)

    async def _task_id(self) -> str:
        await self._durable()
        if getattr(self._port, "inline", False):
            await self._inline_end()
        if self._settled_by is not None:
            self._is_settled()
        return self._id

    def _is_settled(self) -> None:
        holder, self._settled_by = self._settled_by, None
        if holder is not None:
            holder.settled(self)

    async def _durable(self) -> None:
        """Returns once the task is stored. Raises the error to the caller, and records that it was raised."""
        if self._known:
            return
        try:
            await self._stored()
        except Exception:
            self._is_reported = True
            raise

    async def _stored(self) -> None:
        if self._known:
            return
        if self._withdrawn is not None:
            raise self._withdrawn
        try:
            if self._pending is not None:
                await _loops.within(getattr(self._port, "request", None), asyncio.shield(self._pending))
            if self._addition is not None:
                self._learn(await _loops.answer(self._addition.reply()))
        except QueueUnavailable as error:
            self._give_up(error)
            raise

    def _give_up(self, error: Exception) -> None:
        """Withdraws the addition after a request's time limit, so that its caller may try again."""
        if getattr(error, "given_up", False):
            self._withdraw(error)

    async def _before_response(self, failed: bool = False) -> None:
        """Returns once the response may be sent. ``failed``: the response reports an error."""
        if self._withdrawn is None:
            # A withdrawal was raised in the endpoint.
            await self._stored()

    def _source(self) -> int:
        """Identifies the addition, which is common to all tasks that were added together."""
        return id(self._addition or self._pending or self)

    def _withdraw(self, error: BaseException) -> None:
        """Withdraws the addition after its caller has received an error.

        An addition that is not on its way to the database is not sent; one that is, is cancelled right after it. From
        here on the reference raises ``error``.
        """
        if self._known or self._withdrawn is not None:
            return
        self._withdrawn = error
        if self._addition is not None:
            self._addition.withdraw()
            engine = _port.plain(self._port)
            if isinstance(engine, _port.Engine):
                engine.withdrew()
        elif self._pending is not None:
            self._pending.cancel()

    async def _inline_end(self) -> None:
        """In the inline mode of tests, returns once the task has run, or waits for its time or a parent."""
        if not getattr(self._port, "inline", False) or _running.current.get() is not None:
            return
        while (await _loops.answer(self._port.ask(_core.ClientRequest.record(self._id))))["state"] in ("enqueued", "doing"):
            await asyncio.sleep(0.002)

    def _id_now(self, timeout: float | None = None) -> str:
        if self._withdrawn is not None:
            raise self._withdrawn
        if not self._known and self._addition is not None:
            try:
                what = f"the confirmation that task {self._id} is stored"
                self._learn(_loops.answer_now(self._addition.reply(), timeout, what, self._port))
            except WaitTimeout:
                raise
            except Exception as error:
                is_away = getattr(error, "given_up", False) and _request.of(getattr(self._port, "request", None)) is None
                lost = (
                    _loops.away(self._port, f"task {self._id} is not known to be stored, and is withdrawn")
                    if is_away
                    else error
                )
                self._is_reported = True
                self._give_up(lost)
                raise lost from None
        return self._id

    def _question(self, what: str, request: Callable[[str], _core.ClientRequest], made_of: Callable[[Any], T]) -> Answer[T]:
        """Returns an answer whose request about the task is sent once the task is stored."""

        async def ask() -> T:
            return made_of(await _loops.answer(self._port.ask(request(await self._task_id()))))

        def ask_now(timeout: float | None) -> T:
            until = math.inf if timeout is None else time.monotonic() + timeout
            id = self._id_now(timeout)
            left = None if timeout is None else max(0.0, until - time.monotonic())
            return made_of(_loops.answer_now(self._port.ask(request(id)), left, f"the answer about task {id}", self._port))

        return Question(what, ask, ask_now)

    async def _end(self) -> Any:
        id = await self._task_id()
        if self._transaction is None:
            return await _ended(self._port, id)
        request = _request.of(getattr(self._port, "request", None))
        found = await self._transaction.wait(id, lambda: _ended(self._port, id), request)
        self._transaction = None
        return found

    def _end_now(self, id: str, timeout: float | None) -> Any:
        if self._transaction is None:
            return _ended_now(self._port, id, timeout)
        found = self._transaction.wait_now(id, lambda left: _ended_now(self._port, id, left), timeout)
        self._transaction = None
        return found

    @awaited
    def record(self) -> Answer[TaskRecord]:
        """Returns everything that is stored of the task, as a :class:`taskyard.records.TaskRecord`: a dict of plain
        values whose fields are attributes, too. Raises ``TaskNotFound`` if it was removed.

        Example::

            ref = tasks.add_task(send_welcome, "ada@example.org", tags=["welcome"])
            record = await ref.record()
            assert (record.queue, record.tags) == ("default", ["welcome"])
        """
        return self._question("record()", _core.ClientRequest.record, TaskRecord)

    @awaited
    def get_state(self) -> Answer[QueuedTaskState]:
        """Returns the state, a string enum (``"done"`` and such). Raises ``TaskNotFound`` if the task was removed.

        Example::

            ref = tasks.add_task(send_welcome, "ada@example.org", delay=60)
            assert await ref.get_state() == "waiting"
        """
        return self._question("get_state()", _core.ClientRequest.record, lambda found: QueuedTaskState(found["state"]))

    @awaited
    def get_context(self) -> Answer[dict[str, Any]]:
        """Returns the context as a dict, also while the task runs. Raises ``TaskNotFound`` if the task was removed.

        Example::

            ref = tasks.add_task(send_welcome, "ada@example.org", context={"tenant": 7})
            assert await ref.get_context() == {"tenant": 7}
        """
        return self._question("get_context()", _core.ClientRequest.context, _context)

    @awaited
    def get_progress(self) -> Answer[Progress | None]:
        """Returns the progress that the task last recorded, or None if it recorded none.

        The progress is a :class:`taskyard.Progress`.

        Example::

            ref = tasks.add_task(import_rows, 200)  # counts the rows
            assert await ref.get_progress() is None
            await tasks.drain()
            assert (await ref.get_progress()).percentage == 100.0
        """
        return self._question(
            "get_progress()", _core.ClientRequest.context, lambda found: _progress.of_entry(_context(found).get(PLACE))
        )

    def watch(self, since: int | None = None) -> Watch:
        """Watches the task: ``async for event in ref.watch()`` (or ``for``, without an event loop).

        The iteration ends with the task. ``since`` is the ``seq`` of the last known event; no later state change is
        missed.

        Example::

            ref = tasks.add_task(send_welcome, "ada@example.org")
            await tasks.drain()
            types = [event.type async for event in ref.watch()]
            assert types == ["snapshot", "completed"]
        """
        return Watch(self, since)

    @awaited
    def get_logs(self) -> Answer[list[LogLine]]:
        """Returns the log lines, oldest first, as dicts with ``level``, ``logger``, ``message``, ``fields``,
        ``traceback``, ``created_at``, which are attributes, too (:class:`taskyard.records.LogLine`).

        Example::

            ref = tasks.add_task(import_rows, 200)  # logs a line
            await tasks.drain()
            assert [line.message for line in await ref.get_logs()] == ["200 rows"]
        """
        return self._question("get_logs()", _core.ClientRequest.logs, lambda found: [LogLine(line) for line in found])

    @awaited
    def get_attempts(self) -> Answer[list[Attempt]]:
        """Returns the attempts, oldest first, each with its outcome and error (:class:`taskyard.records.Attempt`).

        Example::

            ref = tasks.add_task(send_welcome, "ada@example.org")
            await tasks.drain()
            assert [attempt.outcome for attempt in await ref.get_attempts()] == ["done"]
        """
        return self._question("get_attempts()", _core.ClientRequest.attempts, lambda found: [Attempt(one) for one in found])

    @awaited
    def outcome(self, timeout: float | dt.timedelta | None = None) -> Answer[Outcome[R_co]]:
        """Waits until the task has ended, and returns how. A failure is in the outcome and is not raised.

        ``timeout`` is in seconds, or a timedelta (default: no limit). Raises the error that prevented the task from
        being stored, and ``WaitTimeout``, which does not end the task. A task that waits for another one leaves its
        slot in its worker to others meanwhile. A task that was added with ``connection=`` can be waited for before the
        commit; ``TaskNotFound`` means that it was rolled back.

        Example::

            ref = tasks.add_task(divide, 6, 0, max_retries=0)
            await tasks.drain()
            outcome = await ref.outcome(timeout=10)
            assert not outcome.ok and outcome.state == "failed"
        """
        bound = optional_seconds("timeout", timeout)

        async def ended() -> Outcome[R_co]:
            try:
                with _running.released_slot():
                    found = await (self._end() if bound is None else asyncio.wait_for(self._end(), bound))
                return self._outcome(found)
            except asyncio.TimeoutError:
                raise WaitTimeout(_not_ended(self._id, bound, await self._found())) from None

        def ended_now(given: float | None) -> Outcome[R_co]:
            least = min((each for each in (bound, given) if each is not None), default=None)
            until = math.inf if least is None else time.monotonic() + least
            id = self._id_now(least)
            try:
                with _running.released_slot():
                    found = self._end_now(id, None if least is None else max(0.0, until - time.monotonic()))
            except WaitTimeout:
                raise WaitTimeout(_not_ended(id, least, self._found_now())) from None
            return self._outcome(found)

        return Question("outcome()", ended, ended_now)

    @awaited
    def wait(self, timeout: float | dt.timedelta | None = None) -> Answer[R_co]:
        """Waits until the task has ended, and returns its result. ``timeout`` is in seconds, or a timedelta (default:
        no limit).

        Raises ``TaskFailed`` with the original error's type name, message and traceback, ``ParentTaskFailed`` if an
        ancestor failed, ``TaskCancelled`` (an ``asyncio.CancelledError``), ``TaskStopped``, and ``WaitTimeout``, which
        does not end the task.

        Example::

            good, bad = tasks.add_tasks([tasks.call(divide, 6, n, max_retries=0) for n in (3, 0)])
            await tasks.drain()
            assert await good.wait(timeout=10) == 2
            try:
                await bad
            except TaskFailed as error:
                print(error)  # ZeroDivisionError: division by zero
        """
        timeout = optional_seconds("timeout", timeout)

        async def wait() -> R_co:
            return _result(await self.outcome(timeout))

        return Question("wait()", wait, lambda given: _result(self.outcome(timeout).result(given)))

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.wait().__await__()

    def result(self, timeout: float | dt.timedelta | None = None) -> R_co:
        """Like :meth:`wait`, for a thread without an event loop: blocks until the task has ended, and returns its
        result.

        ``timeout`` is in seconds, or a timedelta. Raises in addition ``QueueUnavailable`` once the database has not
        answered for 30 seconds, and ``RuntimeError`` on an event loop::

            total = tasks.add_task(add, 1, 2).result(timeout=10)
        """
        if _loops.is_in_loop():
            raise RuntimeError("result() would block the event loop: use `await ref.wait()` here")
        return self.wait(timeout).result()

    async def _found(self) -> dict[str, Any] | None:
        """Returns the task's record, or None if the database does not return it soon."""
        try:
            found: dict[str, Any] = await asyncio.wait_for(
                _loops.answer(self._port.ask(_core.ClientRequest.record(self._id))), FOUND_MAX
            )
            return found
        except Exception:
            return None

    def _found_now(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = _loops.answer_now(self._port.ask(_core.ClientRequest.record(self._id)), FOUND_MAX)
            return found
        except Exception:
            return None

    def _outcome(self, found: dict[str, Any]) -> Outcome[R_co]:
        state, id = QueuedTaskState(found["state"]), found["id"]
        if state is QueuedTaskState.done:
            return Outcome(id, state, _codec.decode(found["result"]), None)
        error: BaseException
        if state is QueuedTaskState.cancelled:
            error = TaskCancelled(id)
        elif state is QueuedTaskState.stopped:
            error = TaskStopped(id)
        else:
            why = found["error"] or {"type": "Unknown", "message": "the error was not stored", "traceback": None}
            cls = ParentTaskFailed if why["type"] == "ParentTaskFailed" else TaskFailed
            error = cls(id, why["type"], why["message"], why["traceback"])
        return Outcome(id, state, None, error)

    def _control(self, request: Callable[[str], _core.ClientRequest]) -> Control:
        if self._pending is not None and not self._pending.done():
            return Control(self._port, self._id, asyncio.ensure_future(self._after_pending(request)))
        id = self.id
        return Control(self._port, id, self._port.ask(request(id)))

    async def _after_pending(self, request: Callable[[str], _core.ClientRequest]) -> _core.Reply:
        await self._stored()
        await self._inline_end()
        return self._port.ask(request(self._id))

    def cancel(self, reason: str | None = None) -> Control:
        """Cancels the task: at once if it is not running, else its body is interrupted.

        Carried out after the task's own addition, whether the answer is awaited or not. ``reason`` is stored in its
        record (``cancel_reason``) until it is retried. The answer raises ``OverLimit`` for a reason that is longer than
        a log line may be.

        Example::

            ref = tasks.add_task(send_welcome, "ada@example.org")
            assert await ref.cancel("the account was deleted") == "cancelled"
            assert (await ref.record()).cancel_reason == "the account was deleted"
        """
        reason = optional_text("reason", reason)
        return self._control(lambda id: _core.ClientRequest.cancel(id, reason))

    def stop(self) -> Control:
        """Stops the running task; it can be retried. The answer raises ``WrongState`` for one that is not running.

        Example::

            ref = tasks.add_task(send_welcome, "ada@example.org")
            try:
                await ref.stop()
            except WrongState:
                await ref.cancel()  # it does not run yet
        """
        return self._control(_core.ClientRequest.stop)

    def retry(self) -> Control:
        """Runs a failed, cancelled or stopped task again, with the same row and id.

        Example::

            ref = tasks.add_task(send_welcome, "ada@example.org")
            await ref.cancel()
            await ref.retry()
            await tasks.drain()
            assert await ref == "sent to ada@example.org"
        """
        return self._control(_core.ClientRequest.retry)

    def set_priority(self, priority: int) -> Control:
        """Changes the priority of a task that is waiting or enqueued: higher ones run first, negative ones are allowed.
        Its position in the queue follows at once. The answer raises ``WrongState`` for a task that has started.

        Example::

            ref = tasks.add_task(send_welcome, "ada@example.org")
            await ref.set_priority(10)
            assert (await ref.record()).priority == 10
        """
        number = priority_number(priority)
        return self._control(lambda id: _core.ClientRequest.set_priority(id, number))


def _not_ended(id: str, timeout: float | None, found: dict[str, Any] | None) -> str:
    """Returns the message of an expired wait, with the state in which the task was found."""
    text = f"task {id} did not end within {timeout} s"
    if found is None:
        return text
    if found["wait_reason"] == "parked":
        return (
            f"{text} (it is parked, and no running server can run it: {found['waiting_for']}; `taskyard queue status` shows all "
            "such reasons)"
        )
    return f"{text} (it is {found['state']})"


async def _ended(port: _port.Port, id: str) -> Any:
    return await _loops.answer_probing(port.ask(_core.ClientRequest.wait(id)), _probe(port, id))


def _ended_now(port: _port.Port, id: str, timeout: float | None) -> Any:
    what = f"the end of task {id}"
    return _loops.answer_now_probing(port.ask(_core.ClientRequest.wait(id)), _probe(port, id), timeout, what)


def _probe(port: _port.Port, id: str) -> _loops.Probe:
    """Returns a probe of the database for a wait for the end of a task."""
    return _loops.Probe(_port.plain(port), lambda: port.ask(_core.ClientRequest.attempts(id)))


def _context(found: dict[str, Any]) -> dict[str, Any]:
    return {name: _codec.shown(value) for name, value in found.items()}


def _result(outcome: Outcome[R]) -> R:
    if outcome.error is not None:
        raise outcome.error
    return outcome.result  # type: ignore[return-value]
