"""Requests the results of parents that the arguments of a waiting task refer to.

They are requested before the attempt is reported as begun: a database error at that point is not charged to the
attempt, and its time limit has not started.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from typing import TYPE_CHECKING, Any

from .. import _codec, _loops
from .._core import ClientRequest

if TYPE_CHECKING:
    from ._loop_worker import Worker

__all__ = ["Parents"]

log = logging.getLogger("queued_task")

_ASKED = object()
#: Error codes that concern the task and not the database.
OWN_CODES = frozenset({"invalid_argument", "over_limit", "not_representable", "not_storable"})
#: Seconds that a recalled task waits for the reply.
ANSWER_MAX = 10.0
#: Seconds after which a task whose parents' results cannot be read is given back.
GIVE_BACK_AFTER = 0.5
#: Seconds after which a request that something on the loop has cancelled is sent again.
ASK_AGAIN_AFTER = 0.02


class Parents:
    """The results of parents for the tasks that wait in a worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        #: By slot: the reply, an error of the attempt itself, or a mark that it was requested.
        self._known: dict[int, Any] = {}
        self._asking: set[asyncio.Task[None]] = set()
        #: Slots that the server has recalled while a reply is pending.
        self._recalled: set[int] = set()
        self._context = contextvars.copy_context()

    def are_here(self, run: tuple[Any, ...]) -> bool:
        """Returns whether this task can begin. If not, sends the request, and the worker checks again when the reply
        arrives."""
        slot = run[0]
        if slot in self._known:
            return self._known[slot] is not _ASKED
        if not run[9] or not _codec.may_refer(run[5]):
            return True
        if len(self._known) < self._worker.settings["concurrency"]:
            self._known[slot] = _ASKED
            asking = self._context.copy().run(self._worker.loop.create_task, self._ask(slot, run[1]))
            self._asking.add(asking)
            asking.add_done_callback(functools.partial(self._asked, slot))
        return False

    def take(self, slot: int) -> Any:
        """Removes and returns the reply for a task that begins or is given back; None if there was no request."""
        self._recalled.discard(slot)
        return self._known.pop(slot, None)

    def recall(self, slot: int) -> bool:
        """Handles a recall by the server. Returns whether the task stays until the reply arrives: with a slow database
        it would otherwise be given back and claimed again endlessly."""
        if self._known.get(slot) is not _ASKED:
            return False
        self._recalled.add(slot)
        self._worker.loop.call_later(ANSWER_MAX, self._worker.give_back, slot)
        return True

    def _asked(self, slot: int, asking: asyncio.Task[None]) -> None:
        self._asking.discard(asking)
        if asking.cancelled():
            # For example, by a body that cancels every asyncio task of the loop. Delayed because the loop itself may be
            # ending.
            self._worker.loop.call_later(ASK_AGAIN_AFTER, self._ask_again, slot)

    def _ask_again(self, slot: int) -> None:
        if not self._worker._ended and self._known.get(slot) is _ASKED:
            del self._known[slot]
            self._worker._start()

    async def _ask(self, slot: int, id: str) -> None:
        worker = self._worker
        try:
            found: Any = await _loops.answer(worker.channel.ask(ClientRequest.parent_results(id)))
        except Exception as error:
            found = error
        if worker._ended or self._known.get(slot) is not _ASKED:
            return
        if isinstance(found, Exception) and getattr(found, "code", None) not in OWN_CODES:
            log.warning("task %s is given back: the results of its parents cannot be read: %s", id, found)
            # Delayed because it may be assigned to this worker again at once.
            worker.loop.call_later(GIVE_BACK_AFTER, worker.give_back, slot)
            return
        self._known[slot] = found
        worker._start()
        if slot in self._recalled:
            worker.give_back(slot)
