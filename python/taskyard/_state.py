"""The states of a task."""

from __future__ import annotations

import enum

__all__ = ["QueuedTaskState"]


class QueuedTaskState(str, enum.Enum):
    """The state of a task, a string enum (``state == "done"``).

    - ``waiting``: for its time, a parent, a retry, or a server that knows its function
    - ``enqueued``: can run now
    - ``doing``: runs
    - ``stopped``, ``done``, ``failed``, ``cancelled``: final
    """

    waiting = "waiting"
    enqueued = "enqueued"
    doing = "doing"
    stopped = "stopped"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the state is final: only an explicit retry leaves it."""
        return self.value in ("stopped", "done", "failed", "cancelled")

    def __str__(self) -> str:
        return self.value
