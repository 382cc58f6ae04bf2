"""Queues: pause, resume, limit, rate, ageing, drain, purge, and their figures. The same words as the command's.

    queues = tasks.queues
    await queues.pause("mail")
    await queues.ageing("reports", every=600)  # up by one priority every ten minutes
    drained = await queues.drain("mail", timeout=30)

Every method answers something that is awaited, or, in code without an event loop, asked with ``.result()``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from . import _identity, _port
from ._loops import Answer, Probe
from ._options import count, instant, optional_text, seconds, text

if TYPE_CHECKING:
    from .queued_tasks import QueuedTasks


@dataclasses.dataclass(frozen=True)
class Queue:
    """A queue as it stands. Times are seconds."""

    name: str
    paused: bool
    #: How many of its tasks run at once over all servers at most; None = any number.
    running_max: int | None
    #: How many of its tasks start in some time over all servers, as ``"100/m"``; None = any number.
    rate: str | None
    #: A task that has been runnable for so long counts as one priority higher, and so on; None = never.
    ageing_seconds: float | None
    enqueued: int
    waiting: int
    doing: int
    oldest_enqueued_seconds: float | None


def task_filter(
    namespace: str | None,
    *,
    queue: str | None = None,
    function: Callable[..., Any] | str | None = None,
    tag: str | None = None,
    error: str | type[BaseException] | None = None,
    message: str | None = None,
    before: dt.datetime | None = None,
    after: dt.datetime | None = None,
    states: Iterable[str] = (),
    limit: int = 0,
) -> dict[str, Any]:
    """What is meant, as the engine takes it."""
    from ._options import error_name

    kind = _identity.kind_given(function, namespace)
    return {
        "queue": optional_text("queue", queue),
        "kind": kind,
        "tag": optional_text("tag", tag),
        "error": None if error is None else error_name(error, "error"),
        "message": optional_text("message", message),
        "before": None if before is None else instant("before", before),
        "after": None if after is None else instant("after", after),
        "states": [str(state) for state in ((states,) if isinstance(states, str) else states)],
        "limit": count("limit", limit),
    }


class Queues:
    """The queues of a database: ``tasks.queues``."""

    def __init__(self, tasks: QueuedTasks) -> None:
        self._tasks = tasks

    def list(self) -> Answer[list[Queue]]:
        """All queues that are configured or have open tasks, by name."""
        return Answer(self._tasks._via.ask("queues"), lambda found: [Queue(**one) for one in found], port=self._tasks._via)

    def pause(self, name: str) -> Answer[None]:
        """What runs goes on, nothing else of it starts, on any server."""
        return self._set("queue_pause", name)

    def resume(self, name: str) -> Answer[None]:
        """Lets a paused queue go on."""
        return self._set("queue_resume", name)

    def limit(self, name: str, running_max: int | None) -> Answer[None]:
        """How many of its tasks run at once over all servers at most; None lifts it."""
        most = None if running_max is None else count("running_max", running_max, 1)
        return self._set("queue_limit", name, {"running_max": most})

    def rate(self, name: str, rate: str | None) -> Answer[None]:
        """How many of its tasks start in some time over all servers: ``"100/m"``, ``"5/s"``, ``"20/10m"``; None lifts it. Up to
        that many start at once, and one more each time that its part of the time has passed. Setting the rate that it has
        changes nothing."""
        return self._set("queue_rate", name, {"rate": None if rate is None else text("rate", rate)})

    def ageing(self, name: str, every: float | dt.timedelta | None) -> Answer[None]:
        """Moves a task up by one priority each time that it has been runnable for ``every`` (seconds or timedelta), so that
        none is starved; None ends that. Its record keeps the priority that it was given."""
        return self._set("queue_ageing", name, {"every": None if every is None else seconds("every", every)})

    def drain(self, name: str, timeout: float | dt.timedelta | None = None) -> Answer[bool]:
        """Pauses it and waits until what runs of it has ended. Whether that came within ``timeout``; it stays paused either
        way. Raises ``UnknownQueue``. A task that drains its own queue waits for itself."""
        bound = {"timeout": None if timeout is None else seconds("timeout", timeout)}
        port = self._tasks._via
        probe = Probe(_port.plain(port), lambda: port.ask("queues"))
        return Answer(port.ask("queue_drain", text("name", name), bound), bool, probe)

    def purge(
        self,
        name: str | None = None,
        *,
        states: Iterable[str] = ("done", "cancelled"),
        function: Callable[..., Any] | str | None = None,
        tag: str | None = None,
        before: dt.datetime | None = None,
    ) -> Answer[int]:
        """Deletes finished tasks, of all queues without a name, and of those that ended before an instant if one is given;
        how many. A parent goes only once its children are final."""
        namespace = self._tasks._via.defaults.get("namespace")
        filter = task_filter(namespace, queue=name, states=states, function=function, tag=tag, before=before)
        return Answer(self._tasks._via.ask("queue_purge", None, filter), int, port=self._tasks._via)

    def _set(self, verb: str, name: str, given: dict[str, Any] | None = None) -> Answer[None]:
        return Answer(self._tasks._via.ask(verb, text("name", name), given), lambda _: None, port=self._tasks._via)
