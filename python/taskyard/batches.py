"""Large data in parts: ranges of ids for tasks of a group, and cursors that go on where the last attempt was.

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
    """The ranges ``(first, stop)`` of ``size`` ids that make up ``start`` to ``stop``, which is not in it; the last one may
    be shorter. Raises ``InvalidArgument`` for a size below 1."""
    count("size", size, 1)
    return ((first, min(first + size, stop)) for first in range(start, stop, size))


class Cursor:
    """How far the running task has come, by a name of yours; kept over attempts, whatever ended the last one.

    The position lives in the task's context under ``cursors.NAME`` and may be anything that the context can hold. It is
    durable when saving returns; the write is fenced, so that an attempt that has lost its lease moves nothing. What was
    done since the last saved position is done again by the next attempt: let it be harmless, or write it in one
    transaction with what tells that it is done.
    """

    def __init__(self, name: str) -> None:
        if not name or "." in name or name.startswith("$"):
            raise InvalidArgument(f"cursor: {name!r} is not a name: it is empty, has a dot or begins with `$`")
        self._path = f"cursors.{name}"

    @property
    def position(self) -> Any:
        """Where it stands; None if nothing was saved yet."""
        return _running.require().get(self._path, None)

    def save(self, position: Any) -> Any:
        """Moves it. ``await cursor.save(...)`` returns when that is durable; in a sync function it waits by itself."""
        _running.require().set(self._path, position, auto_commit=False)
        return save_context()

    async def ranges(self, start: int, stop: int, size: int) -> AsyncIterator[tuple[int, int]]:
        """The ranges of :func:`id_ranges` that are left. Going on to the next one says that the one before is done, and
        makes that durable."""
        for first, last in id_ranges(self._from(start), stop, size):
            yield first, last
            await self.save(last)

    def ranges_sync(self, start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
        """The same in a sync function."""
        for first, last in id_ranges(self._from(start), stop, size):
            yield first, last
            self.save(last)

    def _from(self, start: int) -> int:
        position = self.position
        return start if position is None else max(start, position)


__all__ = ["Cursor", "id_ranges"]
