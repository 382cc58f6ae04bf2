"""Checks that the application adds its tasks to the database that this worker serves: tasks that are added elsewhere
never run here.

Different addresses may lead to one database (through a pooler, a socket, another host name). Where addresses differ,
the identities that the databases return are compared.
"""

from __future__ import annotations

import logging
import os

from .. import _core, _json, _port
from ..errors import TaskyardError

__all__ = ["OtherDatabase", "check", "collect"]

log = logging.getLogger("queued_task")

#: Seconds that a database has to return its identity.
ANSWER_MAX = 5.0


class OtherDatabase(TaskyardError):
    """The application adds its tasks to a database that this worker does not serve."""

    code = "other_database"


def collect() -> None:
    """Starts to collect the queues that are created. Called before the application is loaded."""
    _port.made = []


def check() -> None:
    """Raises ``OtherDatabase`` if no queue of the loaded application is on the database that is served.

    The application's endpoints use the queue whose lifespan it has. Without a lifespan any queue counts; one without a
    database of its own is on the served database.
    """
    queues = [queue for queue in _port.made or () if not queue._is_of_task_queue]
    leading = [queue for queue in queues if queue._has_lifespan] or queues
    engines = [queue._own for queue in leading if isinstance(queue._own, _port.Engine)]
    if len(engines) < len(leading) or not engines or any(engine.names_served() for engine in engines):
        return
    served = _port.Engine()
    here = _identity_of(served)
    there = [_identity_of(engine) for engine in engines]
    if here is not None and here in there:
        return
    theirs, ours = _shown(engines[0]), _shown(served)
    if here is None or None in there:
        log.warning(
            "the application adds its tasks to %s and this worker serves %s; whether these are one database is not known, "
            "because one of them does not respond",
            theirs,
            ours,
        )
        return
    raise OtherDatabase(
        f"the application adds its tasks to {theirs}, and this worker serves {ours}: none of them would ever run",
        hint="start the worker with the application's address (--database, or TASKYARD_DATABASE_URL for both); an application "
        "that adds to several databases on purpose also makes a QueuedTasks() without one",
    )


def _identity_of(engine: _port.Engine) -> str | None:
    """Returns the identity of a database, which is the same for all of its addresses; None if it does not answer."""
    core: _core.Queue = engine.core()
    try:
        reply = core.identity()
        identity: str | None = _json.loads(reply.take()) if reply.block(ANSWER_MAX) else None
    except Exception as error:
        log.debug("the identity of %s is not known: %s", _shown(engine), error)
        identity = None
    finally:
        core.close(0.0).block(1.0)
    return identity


def _shown(engine: _port.Engine) -> str:
    """Returns an engine's address for messages, without a password."""
    database = str(engine.defaults["database"])
    return database if ":" in database or "=" in database else os.path.abspath(database)
