"""Dead letters: failed tasks that have no retries left.

    dead = tasks.dead
    for record in await dead.list(queue="mail", error=ConnectionError):
        ...
    await dead.retry(id, args=["ada@example.org"])  # with other arguments
    await dead.retry(error="SmtpError", after=last_night)  # all of these

Every method returns an answer that is awaited or, in code without an event loop, waited for with ``.result()``.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import _codec
from ._calls import id_text
from ._core import ClientRequest, DeadEdit, TaskFilter
from ._loops import Answer
from ._options import count, optional_text, priority_number, text
from .errors import InvalidArgument
from .queues import task_filter
from .records import DeadLetter, TaskRecord

if TYPE_CHECKING:
    from .queued_tasks import QueuedTasks

__all__ = ["Dead"]

#: Filters: the queue, the function, a tag, the error's type, a text in its message, and the time of death.
_FILTERS = ("queue", "function", "tag", "error", "message", "before", "after")


class Dead:
    """The dead letters of a database: ``tasks.dead``.

    Filters are ``queue``, ``function`` (or its kind), ``tag``, ``error`` (a class or its name), ``message`` (a part of
    it), ``before`` and ``after`` (aware datetimes: when the task died). Every method with filters raises ``TypeError``
    for an unknown one.
    """

    def __init__(self, tasks: QueuedTasks) -> None:
        self._tasks = tasks

    def list(self, *, limit: int = 50, **filters: Any) -> Answer[builtins.list[TaskRecord]]:
        """Returns the records, newest first. ``limit`` is their maximum number (default 50, at most 10,000).

        Example::

            tasks.add_task(divide, 6, 0, max_retries=0)
            await tasks.drain()
            dead = await tasks.dead.list(error=ZeroDivisionError, limit=10)
            assert [record.state for record in dead] == ["failed"]
            assert await tasks.dead.count(function=divide) == 1
        """
        reply = self._tasks._via.ask(ClientRequest.list_dead(self._filter(filters, limit)))
        return Answer(reply, lambda found: [TaskRecord(each) for each in found], port=self._tasks._via)

    def count(self, **filters: Any) -> Answer[int]:
        """Returns the number of dead letters."""
        return Answer(self._tasks._via.ask(ClientRequest.count_dead(self._filter(filters))), int, port=self._tasks._via)

    def show(self, id: Any) -> Answer[DeadLetter]:
        """Returns ``{"task": record with its arguments, "attempts": all attempts, oldest first}``. Raises
        ``TaskNotFound``.

        Example::

            ref = tasks.add_task(divide, 6, 0, max_retries=0)
            await tasks.drain()
            letter = await tasks.dead.show(ref.id)
            assert [attempt.outcome for attempt in letter.attempts] == ["failed"]
        """
        return Answer(self._tasks._via.ask(ClientRequest.show_dead(_id(id))), DeadLetter, port=self._tasks._via)

    def edit(
        self,
        id: Any,
        *,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        priority: int | None = None,
        max_retries: int | None = None,
    ) -> Answer[None]:
        """Changes a dead letter (or a cancelled or stopped task) without retrying it.

        The call raises for values that can never be stored. The answer raises ``WrongState``, ``EditedMeanwhile``, and
        ``InvalidArgument`` for arguments that are signed, which can only be retried unchanged. Without a change, raises
        ``TypeError``.

        Example::

            ref = tasks.add_task(divide, 6, 0, max_retries=0)
            await tasks.drain()
            await tasks.dead.edit(ref.id, args=[6, 3])
            await ref.retry()
            await tasks.drain()
            assert await ref == 2
        """
        edit = self._edit(args, kwargs, queue, priority, max_retries)
        if edit.is_empty():
            raise TypeError("an edit needs something to change: args, kwargs, queue, priority or max_retries")
        return Answer(self._tasks._via.ask(ClientRequest.edit_dead(_id(id), edit)), lambda _: None, port=self._tasks._via)

    def retry(
        self,
        id: Any = None,
        *,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        priority: int | None = None,
        max_retries: int | None = None,
        **filters: Any,
    ) -> Answer[int]:
        """Runs dead letters again, with the same row and id, and returns their number.

        With ``id``, this one, which may be edited at the same time; else all that match the filters, in bounded
        batches. Raises as :meth:`edit`, and ``UniqueKeyHeld`` if another task holds the unique key; with filters, such
        tasks are left out.

        Example::

            await tasks.dead.retry(queue="mail", error=ConnectionError)
        """
        edit = self._edit(args, kwargs, None, priority, max_retries)
        if id is None:
            if not edit.is_empty():
                raise TypeError("only a single task can be edited: give its id")
            return Answer(
                self._tasks._via.ask(ClientRequest.retry_all_dead(self._filter(filters))), int, port=self._tasks._via
            )
        if filters:
            raise TypeError("give an id or filters, not both")
        return Answer(self._tasks._via.ask(ClientRequest.retry_dead(_id(id), edit)), lambda _: 1, port=self._tasks._via)

    def purge(self, **filters: Any) -> Answer[int]:
        """Deletes all dead letters that match the filters (without a filter: all of them), and returns their number.

        Example::

            tasks.add_task(divide, 6, 0, max_retries=0)
            await tasks.drain()
            assert await tasks.dead.purge(message="division") == 1
        """
        return Answer(self._tasks._via.ask(ClientRequest.purge_dead(self._filter(filters))), int, port=self._tasks._via)

    def _filter(self, filters: dict[str, Any], limit: int = 0) -> TaskFilter:
        unknown = [name for name in filters if name not in _FILTERS]
        if unknown:
            raise TypeError(f"there is no filter {', '.join(unknown)}; there are {', '.join(_FILTERS)}")
        return task_filter(self._tasks._via.defaults.get("namespace"), limit=limit, **filters)

    def _edit(self, args: Any, kwargs: Any, queue: Any, priority: Any, max_retries: Any) -> DeadEdit:
        return DeadEdit(
            args=None if args is None else self._encode(list(args), "args"),
            kwargs=None if kwargs is None else self._encode(dict(kwargs), "kwargs"),
            language=None if args is None and kwargs is None else "python",
            queue=optional_text("queue", queue),
            priority=None if priority is None else priority_number(priority),
            max_retries=None if max_retries is None else count("max_retries", max_retries),
        )

    def _encode(self, value: Any, what: str) -> str:
        nesting_max = self._tasks._via.defaults["nesting_max"]
        args, kwargs = (tuple(value), {}) if what == "args" else ((), value)
        if any(not isinstance(name, str) for name in kwargs):
            raise InvalidArgument("kwargs: the name of an argument must be a string")
        payload, blobs, references = _codec.encode_call(args, kwargs, (), nesting_max=nesting_max)
        if blobs or references:
            raise InvalidArgument(f"{what}: a serialised value, or another task's result, cannot be inserted by an edit")
        return json.dumps(json.loads(payload)[what])


def _id(id: Any) -> str:
    found = id_text(id)
    return text("id", found)
