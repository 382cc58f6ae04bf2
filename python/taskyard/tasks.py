"""Tasks as objects: classes with ``execute``, a queue that takes their objects, and their statuses.

    from taskyard.tasks import Task, TaskQueue, TaskStatus

    queue = TaskQueue()

    class EmailTask(Task):
        def __init__(self, to: str) -> None:
            self.to = to

        async def execute(self) -> str:
            return f"sent to {self.to}"

    id = await queue.enqueue(EmailTask("ada@example.com"))
    task = await queue.get_task(id)

They run in the same workers as functions (``taskyard queue start --app main:app``, ``taskyard serve --workers``,
``QueuedTasks.lifespan(workers=1)``), and in programs that dequeue them (``queue.dequeue()``, ``taskyard.workers``).
"""

from __future__ import annotations

from ._tasks.background import BackgroundTask
from ._tasks.base import Task
from ._tasks.queue import TaskQueue
from ._tasks.status import TaskError, TaskStatus
from .errors import Fail, Retry, Snooze, TaskInterrupted
from .progress import ProgressTracker

__all__ = [
    "BackgroundTask",
    "Fail",
    "ProgressTracker",
    "Retry",
    "Snooze",
    "Task",
    "TaskError",
    "TaskInterrupted",
    "TaskQueue",
    "TaskStatus",
]
