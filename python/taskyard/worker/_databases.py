"""Whether the application adds its tasks to the database that this worker serves: what is added elsewhere never runs here.

Addresses differ for one database: a pooler's, a socket's, a name's. So where they differ, the identities of the databases
are compared, which the databases themselves return.
"""

from __future__ import annotations

import logging
import os

from .. import _core, _json, _port
from ..errors import TaskyardError

log = logging.getLogger("queued_task")

#: How long a database has to return its identity, in seconds.
ANSWER_MAX = 5.0


class OtherDatabase(TaskyardError):
    """The application adds its tasks to a database that this worker does not serve."""

    code = "other_database"


def collect() -> None:
    """From now on this process notes the queues that are made; called before the application is loaded."""
    _port.made = []


def check() -> None:
    """Raises ``OtherDatabase`` if no queue of the loaded application is on the database that is served.

    The queue whose lifespan the application has is the one that its endpoints get. Without a lifespan it is any that was
    made; one without a database of its own is the served one.
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
    """The same text for two addresses of one database; None if the database does not answer."""
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
    """Its address for people, without a password."""
    database = str(engine.defaults["database"])
    return database if ":" in database or "=" in database else os.path.abspath(database)
