"""Waits for tasks that were added in a caller's transaction (``add_task(..., connection=...)``) which is still open.

Until its commit such a task is in no other connection's sight: a question for it is refused with ``TaskNotFound``. A wait by
the reference that ``add_task`` returned asks again for as long as the transaction is open, as its driver says. Behind its end
the task is there, or it was rolled back. ``_commits.py`` sees that the statement runs at all.

``Unbound`` holds the tasks whose statement may never have run, for the end of their queue.

A transaction that was cut off is seen by its socket (psycopg) or by asyncpg; SQLAlchemy's is open until its next statement.
A psycopg or asyncpg connection that is in its next transaction whenever it is looked at counts as open.
"""

from __future__ import annotations

import asyncio
import logging
import math
import select
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from . import _loops, _request
from .errors import NotAwaited, TaskNotFound, TaskRemoved, WaitTimeout

if TYPE_CHECKING:
    from ._transaction import PendingRef

log = logging.getLogger("taskyard")

#: The pauses between two questions, in seconds: the first, and the longest.
PAUSE, PAUSE_MAX = 0.02, 0.5
#: A wait for a transaction that is open so long, in seconds, is logged: it may be waiting for itself.
LONG = 10.0


class Transaction:
    """The transaction that a statement of ours ran in, on a connection of this kind."""

    def __init__(self, kind: str, connection: Any) -> None:
        look = {"psycopg": _psycopg, "asyncpg": _asyncpg, "sqlalchemy": _sqlalchemy}[kind]
        self._is_open: Callable[[], bool] = look(connection)

    async def wait(self, id: str, ask: Callable[[], Awaitable[Any]], request: _request.Request | None) -> Any:
        """What ``ask`` answers once the task is there. Raises ``TaskNotFound`` if the transaction ends without it."""
        asking = _Asking(self, id)
        while True:
            try:
                return await ask()
            except TaskNotFound as error:
                pause = asking.pause(error)
            sleeping = asyncio.sleep(pause)
            await (sleeping if request is None else _loops.unless_stopping(request, sleeping, "the wait"))

    def wait_now(self, id: str, ask: Callable[[float | None], Any], timeout: float | None) -> Any:
        """The same in this thread, for ``timeout`` seconds at most."""
        asking, until = _Asking(self, id), math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = until - time.monotonic()
            if left < 0:
                raise WaitTimeout(f"the end of task {id} did not come within {timeout} s")
            try:
                return ask(None if timeout is None else left)
            except TaskNotFound as error:
                pause = asking.pause(error)
            time.sleep(min(pause, max(0.0, until - time.monotonic())))

    def is_open(self) -> bool:
        """Whether it may still commit."""
        return self._is_open()


class Unbound:
    """The tasks that a queue added on async connections outside of requests and of tasks' bodies. Those that were never
    awaited are an error at the end of the queue, which is the first moment at which the program can hear of it."""

    def __init__(self) -> None:
        self._refs: weakref.WeakSet[PendingRef] = weakref.WeakSet()
        #: The first error of a task whose reference was dropped.
        self._left_out: NotAwaited | None = None

    def expect(self, ref: PendingRef) -> None:
        ref._unbound = self
        self._refs.add(ref)

    def leave_out(self, error: NotAwaited) -> None:
        self._left_out = self._left_out or error

    async def settle(self, failed: bool) -> None:
        """The same as ``check``, once the drivers have reported how transactions ended."""
        await reported(self._refs)
        self.check(failed)

    def check(self, failed: bool) -> None:
        """Raises ``NotAwaited`` for the first of them, unless an error is on its way (``failed``). Each is reported once. The
        commit of an open SQLAlchemy session may follow, and writes its tasks; one that is closed has committed nothing."""
        error, self._left_out = self._left_out, None
        for ref in sorted(self._refs, key=lambda ref: ref._id):
            self._refs.discard(ref)
            if not ref._is_pending() or ref._written_at_commit:
                continue
            try:
                ref._before_end()
            except NotAwaited as refused:
                error = error or refused
        if error is not None and not failed:
            raise error


async def reported(refs: Iterable[PendingRef]) -> None:
    """Returns once it is known of these how the statements ended that ran before: asyncpg reports a statement when the event
    loop runs next."""
    if any(ref._is_pending() for ref in refs):
        await asyncio.sleep(0)


class _Asking:
    """How often a task that is not there yet is asked for."""

    def __init__(self, transaction: Transaction, id: str) -> None:
        self._transaction = transaction
        self._id = id
        self._is_over = False
        self._pause = PAUSE
        self._waited = 0.0

    def pause(self, error: TaskNotFound) -> float:
        """The task was not found: the time until the next question. Raises if there is nothing to wait for."""
        if isinstance(error, TaskRemoved):
            raise error
        if self._is_over:
            raise TaskNotFound(
                f"task {self._id} does not exist: the transaction it was added in was rolled back, or the task was removed since"
            ) from None
        self._is_over = not self._transaction.is_open()
        if self._is_over:
            # The commit may have come right behind the question.
            return 0.0
        pause, self._pause = self._pause, min(self._pause * 2, PAUSE_MAX)
        if self._waited < LONG <= self._waited + pause:
            log.warning("task %s is waited for, and the transaction it was added in is not committed yet", self._id)
        self._waited += pause
        return pause


def _psycopg(connection: Any) -> Callable[[], bool]:
    def is_open() -> bool:
        # 0: no transaction; 4: no connection.
        return connection.info.transaction_status not in (0, 4) and not _is_cut_off(connection.fileno())

    return is_open


def _is_cut_off(socket: int) -> bool:
    """Whether the other side has closed a connection that nobody reads from now."""
    poll = select.poll()
    poll.register(socket, getattr(select, "POLLRDHUP", 0))
    return bool(poll.poll(0))


def _asyncpg(connection: Any) -> Callable[[], bool]:
    import asyncpg

    if not hasattr(connection, "is_in_transaction"):
        # A pool: the statement was a transaction of its own.
        return lambda: False

    def is_open() -> bool:
        try:
            return not connection.is_closed() and bool(connection.is_in_transaction())
        except asyncpg.InterfaceError:
            # It went back to its pool, which ends its transaction.
            return False

    return is_open


def _sqlalchemy(connection: Any) -> Callable[[], bool]:
    found = getattr(connection, "sync_session", None) or getattr(connection, "sync_connection", None) or connection
    # The transaction of a session on a connection is over with the connection's.
    bind = found.get_bind() if hasattr(found, "get_bind") else None
    holders: list[Any] = [holder for holder in (found, bind) if hasattr(holder, "get_transaction")]
    transactions = [each for holder in holders if (each := holder.get_transaction()) is not None]
    return lambda: any(each.is_active for each in transactions)
