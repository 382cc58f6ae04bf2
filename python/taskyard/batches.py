"""Processes large data in parts: ranges of ids for the tasks of a group, and cursors that continue where the last
attempt ended.

    tasks.add_fan_in([tasks.call(load, first, stop) for first, stop in id_ranges(0, 100_000, 1_000)], report)

    async def load_all():
        cursor = Cursor("rows")
        async for first, stop in cursor.ranges(0, 100_000, 1_000):
            ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from . import _running
from ._options import count
from .errors import InvalidArgument
from .queued_task import save_context


def id_ranges(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Returns the ranges ``(first, stop)`` of ``size`` ids from ``start`` up to and not including ``stop``. The last
    one may be shorter. Raises ``InvalidArgument`` for a size below 1.

    Example::

        assert list(id_ranges(0, 25, 10)) == [(0, 10), (10, 20), (20, 25)]
    """
    count("size", size, 1)
    return ((first, min(first + size, stop)) for first in range(start, stop, size))


class Cursor:
    """The position of the running task in its data, under a name; kept over attempts, however the last one ended.

    The position is stored in the task's context under ``cursors.NAME`` and may be any value that the context can hold.
    It is durable when saving returns; the write is fenced, so that an attempt that has lost its lease changes nothing.
    Work since the last saved position is repeated by the next attempt: make it idempotent, or write it in one
    transaction with a record that it is done. Raises ``InvalidArgument`` for a name that is empty, contains a dot or
    begins with ``$``.

    Example::

        async def import_all() -> int:
            cursor = Cursor("rows")
            async for first, stop in cursor.ranges(0, 25, 10):
                print(f"rows {first} to {stop - 1}")
            return cursor.position

        ref = tasks.add_task(import_all)
        await tasks.drain()
        assert await ref == 25
    """

    def __init__(self, name: str) -> None:
        if not name or "." in name or name.startswith("$"):
            raise InvalidArgument(f"cursor: {name!r} is not a name: it is empty, has a dot or begins with `$`")
        self._path = f"cursors.{name}"

    @property
    def position(self) -> Any:
        """The saved position; None if there is none yet. Raises ``NotInTask`` outside of a task."""
        return _running.require().get(self._path, None)

    def save(self, position: Any) -> Any:
        """Saves a position. ``await cursor.save(...)`` returns when it is durable; in a sync function the call itself
        waits."""
        _running.require().set(self._path, position, auto_commit=False)
        return save_context()

    async def ranges(self, start: int, stop: int, size: int) -> AsyncIterator[tuple[int, int]]:
        """Yields the ranges of :func:`id_ranges` that are left. Advancing to the next range saves that the previous one
        is done, durably."""
        for first, last in id_ranges(self._from(start), stop, size):
            yield first, last
            await self.save(last)

    def ranges_sync(self, start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
        """Like :meth:`ranges`, for sync functions."""
        for first, last in id_ranges(self._from(start), stop, size):
            yield first, last
            self.save(last)

    def _from(self, start: int) -> int:
        position = self.position
        return start if position is None else max(start, position)


__all__ = ["Cursor", "id_ranges"]
