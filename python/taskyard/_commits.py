"""Prevents a commit from leaving out a task that was added on an async connection and not awaited.

``add_task(..., connection=...)`` runs its statement when its reference is awaited. If it is not awaited:

- SQLAlchemy's sessions and connections have events before a commit and before a savepoint's release: the statement runs
  there.
- psycopg's async connections have no such events. While a task is pending, ``commit`` of that one connection is
  replaced and raises ``NotAwaited``.
- asyncpg's connections offer no events, and their commit cannot be replaced. There, and in a
  ``connection.transaction()`` block of psycopg, the end of the request (503) or of the task's body raises
  ``NotAwaited``; see ``fastapi.py`` and ``worker``. In any other code the end of the queue does (``async with tasks``,
  ``close()``); see ``_uncommitted.Unbound``.

A pending task whose transaction is rolled back, or a savepoint within which it was added, is dropped with it:
SQLAlchemy has events for that too; the statements of asyncpg and psycopg are observed by ``_rollbacks.py``. If the
transaction ends in another way (a ``ROLLBACK`` sent by psycopg's ``execute``, autocommit), the end of the request or of
the task's body raises ``NotAwaited``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._rollbacks import ROLLED_BACK, watch_asyncpg, watch_psycopg

if TYPE_CHECKING:
    from ._transaction import PendingRef

__all__ = ["watch"]

#: Attribute of SQLAlchemy's connection or session that holds its pending tasks, so that they end with the object.
_PENDING = "_taskyard_pending"


def watch(kind: str, connection: Any, ref: PendingRef) -> bool:
    """Makes the connection's commit write ``ref``, or refuse to commit. Returns whether it writes."""
    if kind == "sqlalchemy":
        return _watch_sqlalchemy(connection, ref)
    if kind == "psycopg":
        watch_psycopg(connection, ref)
    else:
        watch_asyncpg(connection, ref)
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
            # As `session.add` does: without a transaction, a rollback would not be noticed.
            session.begin()
        _pending_of_session(session).append((ref, session.get_nested_transaction() or session.get_transaction()))
        # The transaction of a session on a connection ends with the connection's, whose commit the session does not see.
        return not hasattr(bind, "in_transaction")
    sync = getattr(connection, "sync_connection", None)
    if sync is None or _is_autocommit(sync):
        # For a connection that was not started, awaiting the reference raises.
        return False
    if not sync.in_transaction():
        # As its first statement would: a commit without a transaction has no event. Nothing is sent.
        sync.begin()
    _pending_of_connection(sync).append(ref)
    return True


def _is_autocommit(bind: Any) -> bool:
    """Whether the connection is in autocommit mode, so that there is no commit to observe."""
    level = bind.get_execution_options().get("isolation_level")
    if level is None:
        level = getattr(bind.dialect, "_on_connect_isolation_level", None)
    return str(level).upper() == "AUTOCOMMIT"


def _write(ref: PendingRef) -> None:
    """Runs the statement within the greenlet of a commit."""
    from sqlalchemy import util

    # The name since SQLAlchemy 2.1, and the one before.
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
        # Written before a savepoint begins, so that its rollback does not take tasks with it that were added outside.
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
                ref._drop(ROLLED_BACK, rolled_back)

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
    """Whether ``ended`` is this transaction or one that contains it."""
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

    # Written when a savepoint begins and when it is released, so that all of these belong to the innermost savepoint.
    pending: list[PendingRef] = []

    def write(*_: Any) -> None:
        while pending:
            _write(pending.pop(0))

    def drop(rolled_back: bool = True) -> None:
        while pending:
            pending.pop(0)._drop(ROLLED_BACK, rolled_back)

    end = connection.close

    def close() -> None:
        # This rollback is not the caller's, whose code may have sent COMMIT as a statement.
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
