"""Waits for tasks that were added in a caller's transaction (``add_task(..., connection=...)``) that is still open.

Until the commit such a task is invisible to other connections: a request for it raises ``TaskNotFound``. A wait by the
reference that ``add_task`` returned asks again for as long as the driver reports the transaction as open. After its end
the task exists, or it was rolled back. ``_commits.py`` ensures that the statement runs at all.

``Unbound`` holds the tasks whose statement may never have run, for the end of their queue.

A transaction whose connection was lost is detected by its socket (psycopg) or by asyncpg; SQLAlchemy's counts as open
until its next statement. A psycopg or asyncpg connection that is in its next transaction whenever it is checked counts
as open.
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

__all__ = ["Transaction", "Unbound", "reported"]

log = logging.getLogger("taskyard")

#: The pauses between two requests, in seconds: the first, and the longest.
PAUSE, PAUSE_MAX = 0.02, 0.5
#: Seconds after which a wait for an open transaction is logged: it may be waiting for itself.
LONG = 10.0


class Transaction:
    """The caller's transaction in which a statement of this package ran, on a connection of this kind."""

    def __init__(self, kind: str, connection: Any) -> None:
        look = {"psycopg": _psycopg, "asyncpg": _asyncpg, "sqlalchemy": _sqlalchemy}[kind]
        self._is_open: Callable[[], bool] = look(connection)

    async def wait(self, id: str, ask: Callable[[], Awaitable[Any]], request: _request.Request | None) -> Any:
        """Returns the result of ``ask`` once the task exists. Raises ``TaskNotFound`` if the transaction ends without
        it."""
        asking = _Asking(self, id)
        while True:
            try:
                return await ask()
            except TaskNotFound as error:
                pause = asking.pause(error)
            sleeping = asyncio.sleep(pause)
            await (sleeping if request is None else _loops.unless_stopping(request, sleeping, "the wait"))

    def wait_now(self, id: str, ask: Callable[[float | None], Any], timeout: float | None) -> Any:
        """Like :meth:`wait`, blocking this thread for ``timeout`` seconds at most. Raises ``WaitTimeout`` after that."""
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
        """Whether the transaction may still commit."""
        return self._is_open()


class Unbound:
    """The tasks that a queue added on async connections outside of requests and of tasks' bodies.

    Tasks that were never awaited are an error at the end of the queue, the first point where the program can receive
    it.
    """

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
        """Like :meth:`check`, after the drivers have reported how transactions ended."""
        await reported(self._refs)
        self.check(failed)

    def check(self, failed: bool) -> None:
        """Raises ``NotAwaited`` for the first of these tasks, unless another error is being raised (``failed``). Each
        is reported once.

        The commit of an open SQLAlchemy session may follow and writes its tasks; a session that was closed has
        committed nothing.
        """
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
    """Returns once the outcome of earlier statements is known for these tasks: asyncpg reports a statement when the
    event loop runs next."""
    if any(ref._is_pending() for ref in refs):
        await asyncio.sleep(0)


class _Asking:
    """The pauses between requests for a task that is not visible yet."""

    def __init__(self, transaction: Transaction, id: str) -> None:
        self._transaction = transaction
        self._id = id
        self._is_over = False
        self._pause = PAUSE
        self._waited = 0.0

    def pause(self, error: TaskNotFound) -> float:
        """Returns the seconds until the next request after the task was not found. Raises ``TaskNotFound`` if there is
        nothing to wait for."""
        if isinstance(error, TaskRemoved):
            raise error
        if self._is_over:
            raise TaskNotFound(
                f"task {self._id} does not exist: the transaction it was added in was rolled back, or the task was removed since"
            ) from None
        self._is_over = not self._transaction.is_open()
        if self._is_over:
            # The commit may have come right after the request.
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
    """Whether the server has closed a connection from which nothing reads at the moment."""
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
            # The connection was released to its pool, which ends its transaction.
            return False

    return is_open


def _sqlalchemy(connection: Any) -> Callable[[], bool]:
    found = getattr(connection, "sync_session", None) or getattr(connection, "sync_connection", None) or connection
    # The transaction of a session on a connection ends with that of the connection.
    bind = found.get_bind() if hasattr(found, "get_bind") else None
    holders: list[Any] = [holder for holder in (found, bind) if hasattr(holder, "get_transaction")]
    transactions = [each for holder in holders if (each := holder.get_transaction()) is not None]
    return lambda: any(each.is_active for each in transactions)
