"""Queues: pause, resume, limit, rate, ageing, drain, purge, and their figures, as in ``taskyard queue``.

    queues = tasks.queues
    await queues.pause("mail")
    await queues.ageing("reports", every=600)  # up by one priority every ten minutes
    drained = await queues.drain("mail", timeout=30)

Every method returns an answer that is awaited or, in code without an event loop, waited for with ``.result()``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from . import _identity, _port
from ._core import ClientRequest, TaskFilter
from ._loops import Answer, Probe
from ._options import count, instant, optional_seconds, optional_text, text

if TYPE_CHECKING:
    from .queued_tasks import QueuedTasks

__all__ = ["Queue", "Queues"]


@dataclasses.dataclass(frozen=True)
class Queue:
    """The settings and figures of a queue. Times are seconds."""

    name: str
    paused: bool
    #: Maximum number of its tasks that run at once, over all servers; None = no limit.
    running_max: int | None
    #: Maximum number of its tasks that start per time, over all servers, as ``"100/m"``; None = no limit.
    rate: str | None
    #: A task gains one priority each time that it has been runnable for this long; None = never.
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
) -> TaskFilter:
    """Converts a filter of tasks for the engine. Raises ``InvalidArgument`` for values of the wrong type."""
    from ._options import error_name

    kind = _identity.kind_given(function, namespace)
    return TaskFilter(
        queue=optional_text("queue", queue),
        kind=kind,
        tag=optional_text("tag", tag),
        error=None if error is None else error_name(error, "error"),
        message=optional_text("message", message),
        before=None if before is None else instant("before", before),
        after=None if after is None else instant("after", after),
        states=[str(state) for state in ((states,) if isinstance(states, str) else states)],
        limit=count("limit", limit),
    )


class Queues:
    """The queues of a database: ``tasks.queues``."""

    def __init__(self, tasks: QueuedTasks) -> None:
        self._tasks = tasks

    def list(self) -> Answer[list[Queue]]:
        """Returns all queues that are configured or have open tasks, by name.

        Example::

            tasks.add_task(send_welcome, "ada@example.org", queue="mail")
            await tasks.flush()
            mail = (await tasks.queues.list())[0]
            assert (mail.name, mail.enqueued, mail.paused) == ("mail", 1, False)
        """
        return Answer(
            self._tasks._via.ask(ClientRequest.list_queues()),
            lambda found: [Queue(**one) for one in found],
            port=self._tasks._via,
        )

    def pause(self, name: str) -> Answer[None]:
        """Pauses a queue: running tasks continue, and no other task of it starts on any server.

        Example::

            tasks.add_task(send_welcome, "ada@example.org", queue="mail")
            await tasks.queues.pause("mail")
            assert [queue.paused for queue in await tasks.queues.list()] == [True]
            await tasks.queues.resume("mail")
            assert await tasks.drain() == 1
        """
        return self._set(ClientRequest.pause_queue(text("name", name)))

    def resume(self, name: str) -> Answer[None]:
        """Resumes a paused queue."""
        return self._set(ClientRequest.resume_queue(text("name", name)))

    def limit(self, name: str, running_max: int | None) -> Answer[None]:
        """Sets the maximum number of a queue's tasks that run at once, over all servers; None removes the limit.

        Example::

            await tasks.queues.limit("reports", 2)
            assert (await tasks.queues.list())[0].running_max == 2
        """
        most = None if running_max is None else count("running_max", running_max, 1)
        return self._set(ClientRequest.limit_queue(text("name", name), most))

    def rate(self, name: str, rate: str | None) -> Answer[None]:
        """Sets the maximum number of a queue's tasks that start per time, over all servers: ``"100/m"``, ``"5/s"``,
        ``"20/10m"``; None removes the limit.

        Up to that many start at once, and another one whenever its share of the time has passed. Setting the current
        rate again changes nothing.

        Example::

            await tasks.queues.rate("mail", "100/m")
            assert (await tasks.queues.list())[0].rate == "100/m"
        """
        return self._set(ClientRequest.rate_queue(text("name", name), optional_text("rate", rate)))

    def ageing(self, name: str, every: float | dt.timedelta | None) -> Answer[None]:
        """Raises the priority of a task by one each time that it has been runnable for ``every`` (seconds or
        timedelta), so that no task is starved; None disables that. A task's record keeps its original priority.

        Example::

            await tasks.queues.ageing("reports", every=600)
            assert (await tasks.queues.list())[0].ageing_seconds == 600
        """
        return self._set(ClientRequest.age_queue(text("name", name), optional_seconds("every", every)))

    def drain(self, name: str, timeout: float | dt.timedelta | None = None) -> Answer[bool]:
        """Pauses a queue and waits until its running tasks have ended. Returns whether they did within ``timeout``
        (seconds or timedelta; default: no limit); the queue stays paused either way.

        Raises ``UnknownQueue``. A task that drains its own queue waits for itself.

        Example::

            await tasks.add_task(send_welcome, "ada@example.org", queue="mail").get_task_id()
            assert await tasks.queues.drain("mail", timeout=30)  # none was running
        """
        port = self._tasks._via
        probe = Probe(_port.plain(port), lambda: port.ask(ClientRequest.list_queues()))
        request = ClientRequest.drain_queue(text("name", name), optional_seconds("timeout", timeout))
        return Answer(port.ask(request), bool, probe)

    def purge(
        self,
        name: str | None = None,
        *,
        states: Iterable[str] = ("done", "cancelled"),
        function: Callable[..., Any] | str | None = None,
        tag: str | None = None,
        before: dt.datetime | None = None,
    ) -> Answer[int]:
        """Deletes finished tasks, and returns their number.

        Without ``name``, tasks of all queues; with ``before`` (an aware datetime), those that ended before it.
        ``states`` defaults to ``done`` and ``cancelled``. A parent is deleted only once its children are final.

        Example::

            tasks.add_task(send_welcome, "ada@example.org", queue="mail")
            await tasks.drain()
            assert await tasks.queues.purge("mail") == 1
        """
        namespace = self._tasks._via.defaults.get("namespace")
        filter = task_filter(namespace, queue=name, states=states, function=function, tag=tag, before=before)
        return Answer(self._tasks._via.ask(ClientRequest.purge(filter)), int, port=self._tasks._via)

    def _set(self, request: ClientRequest) -> Answer[None]:
        return Answer(self._tasks._via.ask(request), lambda _: None, port=self._tasks._via)
