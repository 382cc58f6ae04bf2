"""The results of parents that a waiting task's arguments name.

They are asked for before the attempt is said to have begun: a fault of the database on the way there is not held against
it, nor does its time run.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from typing import TYPE_CHECKING, Any

from .. import _codec, _loops

if TYPE_CHECKING:
    from . import Worker

log = logging.getLogger("queued_task")

_ASKED = object()
#: Errors of the question that are about the task and not about the database.
OWN_CODES = frozenset({"invalid_argument", "over_limit", "not_representable", "not_storable"})
#: The longest that a task that is asked back waits for the answer, in seconds.
ANSWER_MAX = 10.0
#: How long a task whose parents' results cannot be read is kept before it is given back, in seconds.
GIVE_BACK_AFTER = 0.5
#: The time after which a question that something on the loop has cancelled is asked again, in seconds.
ASK_AGAIN_AFTER = 0.02


class Parents:
    """What is known of the parents of the tasks that wait in a worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        #: By slot: the answer, an error that is the attempt's own, or that it is asked for.
        self._known: dict[int, Any] = {}
        self._asking: set[asyncio.Task[None]] = set()
        #: Those that the server has asked back while the answer was awaited.
        self._recalled: set[int] = set()
        self._context = contextvars.copy_context()

    def are_here(self, run: tuple[Any, ...]) -> bool:
        """Whether this task can begin. If not, what it needs is asked for, and the worker looks again when it is there."""
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
        """The answer, for a task that begins or goes; none if nothing was asked."""
        self._recalled.discard(slot)
        return self._known.pop(slot, None)

    def recall(self, slot: int) -> bool:
        """The server asks a task back: whether it stays for the answer. A database that answers slowly would have it given
        back and claimed again for ever."""
        if self._known.get(slot) is not _ASKED:
            return False
        self._recalled.add(slot)
        self._worker.loop.call_later(ANSWER_MAX, self._worker.give_back, slot)
        return True

    def _asked(self, slot: int, asking: asyncio.Task[None]) -> None:
        self._asking.discard(asking)
        if asking.cancelled():
            # By a body that cancels every task of the loop, for example. Not at once: the loop itself may be ending.
            self._worker.loop.call_later(ASK_AGAIN_AFTER, self._ask_again, slot)

    def _ask_again(self, slot: int) -> None:
        if not self._worker._ended and self._known.get(slot) is _ASKED:
            del self._known[slot]
            self._worker._start()

    async def _ask(self, slot: int, id: str) -> None:
        worker = self._worker
        try:
            found: Any = await _loops.answer(worker.channel.ask("parent_results", id))
        except Exception as error:
            found = error
        if worker._ended or self._known.get(slot) is not _ASKED:
            return
        if isinstance(found, Exception) and getattr(found, "code", None) not in OWN_CODES:
            log.warning("task %s is given back: the results of its parents cannot be read: %s", id, found)
            # Not at once, for it may come back at once.
            worker.loop.call_later(GIVE_BACK_AFTER, worker.give_back, slot)
            return
        self._known[slot] = found
        worker._start()
        if slot in self._recalled:
            worker.give_back(slot)
