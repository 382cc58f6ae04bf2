"""Warns once in a process that adds tasks while no server runs: an application under uvicorn alone seems to work, while
its tasks wait."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from . import _json

if TYPE_CHECKING:
    from ._port import Engine

__all__ = ["look_later"]

log = logging.getLogger("queued_task")

#: Seconds after its first addition at which a process looks for servers: one may be starting beside it.
LOOK_AFTER = 5.0
#: Seconds to wait for the reply.
ANSWER_MAX = 10.0

#: Id of the process that looks or has looked.
_looked = -1


def look_later(engine: Engine) -> None:
    """Looks for servers on the engine's database after :data:`LOOK_AFTER` seconds. Only the first call in a process has
    an effect."""
    global _looked
    process = os.getpid()
    if _looked == process:
        return
    _looked = process
    # A process that is ending cannot start a thread, and needs no warning.
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=_look, args=(engine,), name="taskyard-unserved", daemon=True).start()


def _look(engine: Engine) -> None:
    global _looked
    time.sleep(LOOK_AFTER)
    if not engine._has_added:
        # The engine was closed, and is not opened for this. The next addition looks again.
        _looked = -1
        return
    try:
        reply = engine.core().live_servers()
        if not reply.block(ANSWER_MAX) or _json.loads(reply.take()) > 0:
            return
    except Exception as error:
        # A database that fails is reported where it is needed.
        log.debug("looking for servers failed: %s", error)
        return
    app = engine.defaults["app"] or "module:app"
    log.warning(
        "tasks wait, and no server runs on %s: start `taskyard queue start --app %s` beside this process, or "
        "`taskyard serve %s --workers 2` in its place; queue.lifespan(workers=1) runs them in this process",
        engine.defaults["database"],
        app,
        app,
    )
