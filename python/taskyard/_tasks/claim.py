"""A task that this process has claimed by ``dequeue``: its lease, its run, and its end.

A claim is ended once. Requesting the same end again returns the outcome of the first; any other end comes too late.
Read next: ``pull_server.py``.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .. import _additions, _codec, _forks, _hooks, _running
from .._worker import _ends, _executor
from ..errors import Fail, Retry, Snooze, TaskInterrupted, WrongState
from .base import Task, known_of
from .status import TaskError, TaskStatus, of_state

if TYPE_CHECKING:
    from .pull_server import PullWorker

__all__ = ["END_MAX", "Claim", "quietly", "remember", "taken"]

log = logging.getLogger("queued_task")

#: Seconds that an interrupted body has to end before its task is given back in any case.
END_MAX = 5.0
#: The claims of this context by the task's id. The id alone would not distinguish an older claim of the same task from
#: a newer one.
taken: ContextVar[dict[str, Claim]] = ContextVar("taskyard_taken", default={})  # noqa: B039 - never changed in place

_WHY = {
    "asked": "was cancelled or stopped",
    "release": "was given back: this process stops, or has lost its lease",
    "timeout": "did not end within its timeout",
}


def remember(claim: Claim) -> None:
    """Makes this the claim that the code of this context, and what it starts, refers to by the task's id."""
    still = {id: other for id, other in taken.get().items() if not other.is_over}
    taken.set({**still, claim.id: claim})


class Claim:
    """A task under a lease of this process."""

    def __init__(self, worker: PullWorker, running: _running.Running, task: Task) -> None:
        self.worker = worker
        self.running = running
        self.task = task
        self.id: str = running.id
        known_of(task).claim = self
        #: The error that ``execute`` raised, and the stage: while it ran, or when its result was encoded.
        self.raised: BaseException | None = None
        self.stage = "running"
        #: The error's text as the caller of ``execute`` received it.
        self.shown: str | None = None
        #: The traceback in the task's own code, without the frames that raise it again here.
        self._trace: TracebackType | None = None
        self._body: asyncio.Task[Any] | None = None
        self._verb: str | None = None
        self._written: asyncio.Future[str | None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether its end was requested."""
        return self._verb is not None

    def has_ended_otherwise(self, verb: str) -> bool:
        """Whether another end than this one was requested and is written."""
        return self._verb not in (None, verb) and self._written is not None and self._written.done()

    @property
    def was_lost(self) -> bool:
        """Whether its end came too late."""
        return self._written is not None and self._written.done() and self._written.result() is None

    # ------------------------------------------------------------------------------------------------------- running

    def guard(self) -> None:
        """Makes ``task.execute()`` run in an asyncio task of its own, which a request from elsewhere can end."""
        call = self.task.execute

        async def execute() -> Any:
            return await self.run(call)

        object.__setattr__(self.task, "execute", execute)

    async def run(self, call: Callable[[], Any]) -> Any:
        """Runs the body and returns its result. Raises the body's error, and ``TaskInterrupted`` in place of a
        ``CancelledError`` that was not the caller's own."""
        if self._body is not None and not self._body.done():
            raise WrongState(f"task {self.id} is being executed already")
        if asyncio.get_running_loop() is not self.worker.loop:
            raise WrongState(f"task {self.id} was taken on another event loop", hint="execute it where it was dequeued")
        remember(self)
        self.worker.begin(self._run(call), self.running)
        body = self._body = self.running.task
        assert body is not None
        try:
            await asyncio.wait({body})
        except asyncio.CancelledError:
            # The caller is cancelled, and with it the body.
            await _ended(body)
            raise
        result, error = body.result() if not body.cancelled() else (None, asyncio.CancelledError())
        if error is None:
            return result
        if not isinstance(error, Exception):
            shown = TaskInterrupted(self.id, self._why(error))
            self._raise(error, shown)
            raise shown from error
        self._raise(error, error)
        raise error

    def _why(self, error: BaseException) -> str:
        if isinstance(error, asyncio.CancelledError):
            return _WHY.get(self.running.interrupted or "", "was cancelled by its own code")
        return f"raised {type(error).__name__}: {error}"

    def _raise(self, error: BaseException, shown: BaseException, stage: str = "running") -> None:
        self.raised, self.stage, self._trace = error, stage, error.__traceback__
        try:
            self.shown = str(shown)
        except Exception:
            self.shown = None

    async def _run(self, call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
        """Runs the body with its hooks. Returns its error instead of raising it, so that no error of a task can end the
        loop."""
        running = self.running
        _running.current.set(running)
        remember(self)
        running.has_begun = True
        result, error = None, None
        try:
            if running.interrupted is not None or self.is_over:
                raise asyncio.CancelledError
            if _hooks.pre_run:
                await _hooks.run(_hooks.pre_run, running)
            if inspect.iscoroutinefunction(call):
                result = await call()
            else:
                result = await self.worker.on_thread(running, call)
                if inspect.isawaitable(result):
                    result = await result
            if running.bound:
                await running.check_bound()
            if isinstance(result, (Retry, Fail, Snooze)):
                raise result
        except BaseException as raised:
            error = raised
        if running.is_forked:
            _forks.end(error)
        if running.additions is not None:
            error = await _additions.outcome(running, error)
        if _hooks.post_run:
            try:
                await _hooks.run_after(running, None if error is not None else result, error)
            except BaseException as raised:
                error = error or raised
            if running.additions is not None:
                error = await _additions.outcome(running, error)
        running.has_returned = True
        # A caller that was cancelled itself does not wait for threads.
        if running.calls and (isinstance(error, Exception) or (error is not None and running.interrupted is not None)):
            await _executor.ended(running, lambda: self.worker.has_ended.is_set())
        running.failed_at = None if error is None else time.monotonic()
        return result, error

    def interrupt(self, why: str) -> None:
        """Interrupts the body; see :meth:`Running.interrupt`."""
        self.running.interrupt(why)

    # -------------------------------------------------------------------------------------------------------- ending

    async def complete(self, result: Any) -> bool:
        """Ends the task with this result. Returns whether this claim did so. Raises ``NotSerializable`` or
        ``OverLimit`` for a result that cannot be stored."""
        if self._verb is None:
            settings = self.worker.settings
            try:
                data = _codec.encode_result(
                    result, bytes_max=settings["result_bytes_max"], nesting_max=settings["nesting_max"]
                )
            except Exception as error:
                # A later `fail` with its text refers to this error.
                self._raise(error, error, "result")
                raise
            state = await self._end("complete", lambda slot: self.worker.channel.returned(slot, data))
            if state == "done":
                known_of(self.task).result = result
            return state == "done"
        return await self._again("complete") == "done"

    async def fail(self, error: str | BaseException, retry: bool = True) -> bool:
        """Records the attempt's failure. Returns whether it was written by this claim."""
        if self._verb is None:
            raised, stage = self._meant(error)
            if isinstance(raised, asyncio.CancelledError) and self.running.interrupted is not None and retry:
                return await self._end("fail", self.worker.channel.interrupted) is not None
            if raised is not None and raised is self.raised:
                raised = raised.with_traceback(self._trace)
            told: tuple[Any, ...] = (TOLD, [], _ends.clean(str(error), _ends.MESSAGE_MAX), None, "policy", 0.0)
            if raised is not None:
                told = _ends.describe(raised, stage)
            if not retry:
                told = (*told[:4], "never", 0.0)
            state = await self._end("fail", lambda _: self.worker.attempts.fail(self.running, told, raised))
            if state is not None:
                known = known_of(self.task)
                known.error = TaskError(told[2], told[0], told[3], self.running.attempt)
                known.errors = [*known.errors, known.error]
                if told[4] == "snooze" and state == "waiting":
                    known.status = TaskStatus.SCHEDULED
            return state is not None
        return await self._again("fail") is not None

    def _meant(self, error: str | BaseException) -> tuple[BaseException | None, str]:
        """Returns the exception for an error, and its stage: the exception that `execute` raised, if the error is its
        text."""
        if isinstance(error, BaseException):
            if isinstance(error, TaskInterrupted) and error.__cause__ is not None:
                error = error.__cause__
            return error, self.stage if error is self.raised else "running"
        if self.raised is not None and self.shown == error:
            return self.raised, self.stage
        return None, "running"

    async def requeue(self) -> bool:
        """Gives the task back without charging an attempt, after its running body was interrupted. Returns whether this
        claim did so."""
        if self._verb is None:
            self._open("requeue")
            body = self._body
            if body is not None and not body.done() and _running.current.get() is not self.running:
                self.interrupt("release")
                await asyncio.wait({body}, timeout=END_MAX)
            return await self._end("requeue", self.worker.channel.recalled) in BACK
        return await self._again("requeue") in BACK

    def _open(self, verb: str) -> asyncio.Future[str | None]:
        self._verb = verb
        if self._written is None:
            self._written = self.worker.loop.create_future()
        return self._written

    async def _again(self, verb: str) -> str | None:
        """Waits for the end that was requested first, and returns its outcome; None if it was another end."""
        assert self._written is not None
        if _running.current.get() is self.running and not self._written.done():
            # Called by the body itself, for which that end waits.
            return None
        state = await asyncio.shield(self._written)
        return state if verb == self._verb else None

    async def _end(self, verb: str, say: Callable[[int], None]) -> str | None:
        """Writes the end. Returns the resulting state, or None if it was too late."""
        written, state = self._open(verb), None
        try:
            state = await self.worker.end(self, say)
        finally:
            if not written.done():
                written.set_result(state)
        if state is not None:
            known_of(self.task).status = TaskStatus.RETRYING if state == "waiting" else of_state(state)
        return state


async def _ended(body: asyncio.Task[Any]) -> None:
    """Cancels a body and waits for it, even if the wait itself is cancelled repeatedly."""
    body.cancel()
    while not body.done():
        try:
            await asyncio.wait({body})
        except asyncio.CancelledError:
            body.cancel()


def quietly(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop, keep: set[asyncio.Task[Any]]) -> None:
    """Runs a coroutine on the loop and keeps a reference until its end. Errors are logged."""
    task = loop.create_task(coroutine)
    keep.add(task)

    def over(ended: asyncio.Task[Any]) -> None:
        keep.discard(ended)
        if not ended.cancelled() and ended.exception() is not None:
            log.error("giving a task back failed: %s", ended.exception())

    task.add_done_callback(over)


#: The type of an error of which only the text was given.
TOLD = "TaskError"
#: The states of a task that was given back.
BACK = ("enqueued", "waiting")
