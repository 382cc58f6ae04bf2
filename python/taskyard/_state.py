"""The words for where a task is in its life."""

from __future__ import annotations

import enum


class QueuedTaskState(str, enum.Enum):
    """Where a task is in its life; equal to its word (``state == "done"``)."""

    waiting = "waiting"
    enqueued = "enqueued"
    doing = "doing"
    stopped = "stopped"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing but a person's retry leaves it."""
        return self.value in ("stopped", "done", "failed", "cancelled")

    def __str__(self) -> str:
        return self.value
