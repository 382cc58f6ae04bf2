"""Keeps a commit from leaving out a task that was added on an async connection and not awaited.

``add_task(..., connection=...)`` runs its statement when its reference is awaited. If it is not awaited:

- SQLAlchemy's sessions and connections have events before a commit and a savepoint's release: the statement runs there.
- psycopg's async connections have none. While a task is pending, ``commit`` of that one connection is replaced and raises
  ``NotAwaited``.
- asyncpg's connections can be neither asked nor replaced. There, and in a ``connection.transaction()`` block of psycopg,
  the end of the request (503) or of the task's body raises ``NotAwaited``; see ``fastapi.py`` and ``worker``. In any other
  code the end of the queue does (``async with tasks``, ``close()``); see ``_uncommitted.Unbound``.

What is pending when its transaction is rolled back, or a savepoint within which it was added, is dropped with it: SQLAlchemy has
events for that too. Of asyncpg (0.29 and newer) and psycopg, ``_Rollback`` sees the statements that their own transaction blocks
send, and of asyncpg those of the caller. A transaction that ends otherwise, a ``ROLLBACK`` that is sent by psycopg's ``execute``, and
autocommit leave it out: the end of the request or of the task's body raises ``NotAwaited``, too.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from ._uncommitted import Transaction

if TYPE_CHECKING:
    from ._transaction import PendingRef

#: Where the pending tasks of a connection or session are kept: on the object itself, so that they end with it.
_PENDING = "_taskyard_pending"

_ROLLED_BACK = "its transaction ended without a commit"


def watch(kind: str, connection: Any, ref: PendingRef) -> bool:
    """Makes the connection's commit write ``ref``, or refuse; whether it writes."""
    if kind == "sqlalchemy":
        return _watch_sqlalchemy(connection, ref)
    if kind == "psycopg":
        _refuse_commit(connection, ref)
    elif Transaction(kind, connection).is_open():
        _watch_asyncpg(connection, ref)
    return False


def _watch_sqlalchemy(connection: Any, ref: PendingRef) -> bool:
    session = getattr(connection, "sync_session", None)
    if session is not None:
        bind = session.get_bind()
        if _is_autocommit(bind):
            return False
        if not session.in_transaction():
            if not session.autobegin:
                return False
            # As `session.add` does: without one, a rollback would not be noticed.
            session.begin()
        _pending_of_session(session).append((ref, session.get_nested_transaction() or session.get_transaction()))
        # The transaction of a session on a connection ends with the connection's, whose commit the session does not see.
        return not hasattr(bind, "in_transaction")
    sync = getattr(connection, "sync_connection", None)
    if sync is None or _is_autocommit(sync):
        # If it was not started, awaiting the reference says so.
        return False
    if not sync.in_transaction():
        # As its first statement does: a commit without a transaction has no event. It sends nothing.
        sync.begin()
    _pending_of_connection(sync).append(ref)
    return True


def _is_autocommit(bind: Any) -> bool:
    """Whether there is no transaction whose commit could be noticed."""
    level = bind.get_execution_options().get("isolation_level")
    if level is None:
        level = getattr(bind.dialect, "_on_connect_isolation_level", None)
    return str(level).upper() == "AUTOCOMMIT"


def _write(ref: PendingRef) -> None:
    """Runs the statement within the greenlet of a commit."""
    from sqlalchemy import util

    # Its name since SQLAlchemy 2.1, and before.
    wait: Any = getattr(util, "await_", None) or util.await_only
    wait(ref._durable())


def _pending_of_session(session: Any) -> list[tuple[PendingRef, Any]]:
    found: list[tuple[PendingRef, Any]] | None = getattr(session, _PENDING, None)
    if found is not None:
        return found
    from sqlalchemy import event

    pending: list[tuple[PendingRef, Any]] = []

    def before_commit(_: Any) -> None:
        while pending:
            _write(pending.pop(0)[0])

    def after_transaction_create(_: Any, made: Any) -> None:
        # Before a savepoint begins, so that its rollback takes nothing with it that was added outside.
        if made.nested and pending:
            from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

            found = made.parent.connection(None)
            outer = AsyncConnection(AsyncEngine(found.engine), found)
            while pending:
                ref, _within = pending.pop(0)
                ref._connection = outer
                _write(ref)

    def drop(ended: Any, rolled_back: bool) -> None:
        for entry in list(pending):
            ref, within = entry
            if _is_within(within, ended):
                pending.remove(entry)
                ref._drop(_ROLLED_BACK, rolled_back)

    def after_rollback(_: Any) -> None:
        drop(session.get_nested_transaction() or session.get_transaction(), True)

    def after_transaction_end(_: Any, ended: Any) -> None:
        drop(ended, False)

    event.listen(session, "before_commit", before_commit)
    event.listen(session, "after_transaction_create", after_transaction_create)
    event.listen(session, "after_rollback", after_rollback)
    event.listen(session, "after_transaction_end", after_transaction_end)
    setattr(session, _PENDING, pending)
    return pending


def _is_within(transaction: Any, ended: Any) -> bool:
    """Whether what was added in ``transaction`` ends with ``ended``."""
    while transaction is not None:
        if transaction is ended:
            return True
        transaction = transaction.parent
    return False


def _pending_of_connection(connection: Any) -> list[PendingRef]:
    found: list[PendingRef] | None = getattr(connection, _PENDING, None)
    if found is not None:
        return found
    from sqlalchemy import event

    # Written when a savepoint begins and when it is released, so that all of it belongs to the innermost one.
    pending: list[PendingRef] = []

    def write(*_: Any) -> None:
        while pending:
            _write(pending.pop(0))

    def drop(rolled_back: bool = True) -> None:
        while pending:
            pending.pop(0)._drop(_ROLLED_BACK, rolled_back)

    end = connection.close

    def close() -> None:
        # Its rollback is not the caller's, who may have sent COMMIT as a statement.
        drop(False)
        end()

    def savepoint(conn: Any, name: Any) -> None:
        write()

    def release_savepoint(conn: Any, name: Any, context: Any) -> None:
        write()

    def rollback_savepoint(conn: Any, name: Any, context: Any) -> None:
        drop()

    def commit(conn: Any) -> None:
        write()

    def rollback(conn: Any) -> None:
        drop()

    for listener in (savepoint, release_savepoint, rollback_savepoint, commit, rollback):
        event.listen(connection, listener.__name__, listener)
    connection.close = close
    setattr(connection, _PENDING, pending)
    return pending


class _Rollback:
    """Drops a task that was added in a transaction when that is rolled back, or a savepoint of before the task."""

    _SAVEPOINT = re.compile(
        r"\s*(SAVEPOINT|RELEASE(?=\s)(?:\s+SAVEPOINT)?|ROLLBACK(?:\s+WORK|\s+TRANSACTION)?\s+TO(?:\s+SAVEPOINT)?)\s+(\S+?)\s*;?\s*",
        re.IGNORECASE,
    )
    _END = re.compile(r"\s*(ROLLBACK|ABORT|COMMIT|END)(?:\s+WORK|\s+TRANSACTION)?\s*;?\s*", re.IGNORECASE)

    def __init__(self, ref: PendingRef) -> None:
        self._ref = ref
        #: The savepoints that were made since the task was added.
        self._later: list[str] = []
        #: Whether the transaction is over, or the task dropped or written.
        self.is_over = False

    def saw(self, statement: str, has_failed: bool) -> None:
        """A statement has ended."""
        if self.is_over or not self._ref._is_pending():
            self.is_over = True
        elif (end := self._END.fullmatch(statement)) is not None:
            # A commit that failed is a rollback.
            if has_failed or end[1].upper() in ("ROLLBACK", "ABORT"):
                self._ref._drop(_ROLLED_BACK, True)
            self.is_over = True
        elif (at := self._SAVEPOINT.fullmatch(statement)) is not None and not has_failed:
            verb, name = at[1].split()[0].upper(), at[2].strip('"')
            if verb == "SAVEPOINT":
                self._later.append(name)
            elif name not in self._later:
                if verb == "ROLLBACK":
                    self._ref._drop(_ROLLED_BACK, True)
                    self.is_over = True
            elif verb == "RELEASE":
                self._later.remove(name)


def _watch_asyncpg(connection: Any, ref: PendingRef) -> None:
    # A connection of a pool goes back to it by another way than the caller's object.
    connection = getattr(connection, "_con", None) or connection
    if not hasattr(connection, "add_query_logger"):
        return
    rollback = _Rollback(ref)

    def saw(query: Any) -> None:
        rollback.saw(query.query, isinstance(query.exception, Exception))
        if rollback.is_over:
            connection.remove_query_logger(saw)

    connection.add_query_logger(saw)


def _watch_psycopg(connection: Any, rollbacks: list[_Rollback]) -> None:
    """psycopg has no event for its own statements; a connection without this method is not watched."""
    execute = getattr(connection, "_exec_command", None)
    if execute is None:
        return

    def seen(command: Any, *args: Any, **options: Any) -> Generator[Any, Any, Any]:
        has_failed = False
        try:
            return (yield from execute(command, *args, **options))
        except Exception:
            has_failed = True
            raise
        finally:
            if isinstance(command, bytes):
                for rollback in rollbacks:
                    rollback.saw(command.decode(errors="replace"), has_failed)
                rollbacks[:] = [rollback for rollback in rollbacks if not rollback.is_over]

    connection._exec_command = seen


def _refuse_commit(connection: Any, ref: PendingRef) -> None:
    found: tuple[list[PendingRef], list[_Rollback]] | None = getattr(connection, _PENDING, None)
    pending, rollbacks = found or ([], [])
    pending.append(ref)
    # 0: no transaction. One that begins later is not the task's.
    if connection.info.transaction_status != 0:
        rollbacks.append(_Rollback(ref))
    if found is not None:
        return

    def restore() -> list[PendingRef]:
        for name in ("commit", "rollback", "_exec_command", _PENDING):
            vars(connection).pop(name, None)
        return [ref for ref in pending if ref._is_pending()]

    async def commit() -> None:
        unwritten = restore()
        for each in unwritten:
            each._refuse()
        if unwritten:
            raise unwritten[0]._not_awaited()
        await connection.commit()

    async def rollback() -> None:
        for each in restore():
            each._drop(_ROLLED_BACK, True)
        await connection.rollback()

    connection.commit, connection.rollback = commit, rollback
    _watch_psycopg(connection, rollbacks)
    setattr(connection, _PENDING, (pending, rollbacks))
