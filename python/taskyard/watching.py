"""Watches a task from any process: an event for each of its changes.

    async for event in ref.watch():
        print(event.type, event.status, event.progress)

The first event is a ``snapshot``, followed by ``status``, ``retry`` and ``progress``, and last one of ``completed``,
``failed``, ``cancelled`` and ``stopped``. Stored state changes are never lost, even when ``ref.watch(since=event.seq)``
continues in another process; of progress only the latest is reported. A failed task is a dead letter, without a further
event for that. All watchers of one process share one read of the database every 30 ms.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

from . import _codec, _core, _loops, _port, _progress, _request, _running
from ._progress import Progress
from ._state import QueuedTaskState

if TYPE_CHECKING:
    from ._refs import QueuedTaskRef

__all__ = ["TERMINAL", "Progress", "TaskEvent", "Watch"]

#: The types of final events.
TERMINAL = frozenset({"completed", "failed", "cancelled", "stopped"})

#: Milliseconds that one request waits for news before it is repeated.
WAIT_MS = 10_000


@dataclasses.dataclass(frozen=True)
class TaskEvent:
    """A change of a task."""

    #: ``snapshot``, ``status``, ``retry``, ``progress``, ``completed``, ``failed``, ``cancelled`` or ``stopped``.
    type: str
    task_id: str
    #: The position among the task's events, increasing and the same in every process. ``watch(since=seq)`` continues
    #: after it.
    seq: int
    #: The status for users: ``queued``, ``scheduled``, ``waiting``, ``retrying``, ``running``, ``completed``,
    #: ``failed``, ``cancelled``, ``expired``, ``stopped``.
    status: str
    #: The stored state.
    state: QueuedTaskState
    attempt: int
    #: None if the task recorded none.
    progress: Progress | None
    #: ``type`` and ``message`` of the error.
    error: dict[str, str] | None
    #: When it happened.
    ts: dt.datetime
    #: The earliest start of the next attempt.
    run_at: dt.datetime | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether this is the last event."""
        return self.type in TERMINAL

    def to_dict(self) -> dict[str, Any]:
        """Returns a dict for JSON, as sent in streams."""
        return {
            "type": self.type,
            "task_id": self.task_id,
            "seq": self.seq,
            "status": self.status,
            "attempt": self.attempt,
            "progress": None if self.progress is None else self.progress.to_dict(),
            "error": self.error,
            "run_at": None if self.run_at is None else self.run_at.isoformat(),
            "ts": self.ts.isoformat(),
        }


def event(found: dict[str, Any]) -> TaskEvent:
    """Converts an event of the engine."""
    error = found["error"]
    return TaskEvent(
        type=found["type"],
        task_id=found["task_id"],
        seq=found["seq"],
        status=found["status"],
        state=QueuedTaskState(found["state"]),
        attempt=found["attempt"],
        progress=_progress.of_entry(found["progress"]),
        error=None if error is None else {"type": error["type"], "message": error["message"]},
        ts=_codec.instant(found["ts"]),
        run_at=None if found["run_at"] is None else _codec.instant(found["run_at"]),
    )


class Watch:
    """The events of one task: ``async for`` or, in code without an event loop, ``for``. Leaving the loop ends the
    watch; the task is not affected. Raises ``TaskNotFound`` for a task that does not exist, and for one that is removed
    meanwhile."""

    def __init__(self, ref: QueuedTaskRef[Any], since: int | None) -> None:
        self._ref = ref
        #: The number of the last event that was received.
        self.since = since
        self._seen: int | None = None
        self._events: collections.deque[TaskEvent] = collections.deque()
        self._ended = False

    def _ask(self, id: str) -> _core.Reply:
        return self._ref._port.ask(_core.ClientRequest.watch(id, self.since, self._seen, WAIT_MS))

    def _learn(self, found: dict[str, Any]) -> None:
        self._seen, self._ended = found["seen"], found["ended"]
        self._events.extend(event(one) for one in found["events"])
        if self._events:
            # Received events are not requested again, even if they are never read.
            self.since = self._events[-1].seq

    async def _answer(self) -> Any:
        request = self._request()
        if request is None:
            return await _loops.answer(self._ask(self._ref.id))
        with _request.serving(request):
            reply = self._ask(self._ref.id)
            # The first reply comes at once; later ones may take any time, if the database answers probes meanwhile.
            wait = _loops.answer_probing(reply, self._probe()) if self._may_take_long() else _loops.answer(reply)
            del reply
            return await _loops.unless_stopping(request, wait, "the watch")

    def _answer_now(self, id: str) -> Any:
        if self._may_take_long():
            return _loops.answer_now_probing(self._ask(id), self._probe(), None, "the next event")
        return _loops.answer_now(self._ask(id), None, "the first event", self._ref._port)

    def _may_take_long(self) -> bool:
        """Whether the reply comes only once there is news."""
        return self._seen is not None or self.since is not None

    def _probe(self) -> _loops.Probe:
        port = self._ref._port
        return _loops.Probe(_port.plain(port), lambda: port.ask(_core.ClientRequest.attempts(self._ref.id)))

    def _request(self) -> _request.Request | None:
        return _request.of(getattr(self._ref._port, "request", None))

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> TaskEvent:
        if not self._events and not self._ended:
            await self._ref._durable()
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            with _running.released_slot():
                found = await self._answer()
            self._learn(found)
            # Lets other asyncio tasks run if events arrive without a pause.
            await asyncio.sleep(0)
        return self._events.popleft()

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> TaskEvent:
        if _loops.is_in_loop():
            raise RuntimeError("`for` would block the event loop: use `async for event in ref.watch()` here")
        while not self._events:
            if self._ended:
                raise StopIteration
            with _running.released_slot():
                found = self._answer_now(self._ref._id_now())
            self._learn(found)
        return self._events.popleft()
