"""Background tasks for web applications, in the database the application already has.

    from fastapi import FastAPI
    from taskyard import QueuedTasks, TasksDep

    queue = QueuedTasks()
    app = FastAPI(lifespan=queue.lifespan())

    async def send_welcome(to: str) -> str:
        return f"sent to {to}"

    @app.post("/users")
    async def register(email: str, tasks: TasksDep) -> dict[str, str]:
        return {"task": await tasks.add_task(send_welcome, email).get_task_id()}

``taskyard serve main:app --workers 2`` runs the application and its tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._core import __version__
from ._options import RetryPolicy, Unique
from ._progress import Progress
from ._restore import register_aliases
from ._serializers import register_serializer
from ._task import Task, task
from .dependencies import INJECTED, Inject, get_service, register_service, unregister_service
from .errors import (
    CronError,
    DuplicateSchedule,
    EditedMeanwhile,
    Fail,
    FunctionRefused,
    InvalidArgument,
    LeaseLost,
    NotAwaited,
    NotSerializable,
    OverLimit,
    ParentTaskFailed,
    QueueUnavailable,
    Retry,
    Snooze,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskRemoved,
    TaskStopped,
    TaskyardError,
    UniqueKeyHeld,
    UnknownQueue,
    UnknownSchedule,
    WaitTimeout,
    WrongState,
)
from .queued_task import (
    QueuedTaskConfig,
    QueuedTaskState,
    get_current_task,
    getLogger,
    on_death,
    on_post_create,
    on_post_run,
    on_pre_create,
    on_pre_run,
    on_worker_start,
    on_worker_stop,
)
from .queued_tasks import Call, Outcome, QueuedTaskRef, QueuedTasks

if TYPE_CHECKING:
    from .fastapi import TasksDep


def __getattr__(name: str) -> Any:
    if name == "TasksDep":
        from .fastapi import TasksDep

        return TasksDep
    raise AttributeError(f"module `taskyard` has no `{name}`")


__all__ = [
    "INJECTED",
    "Call",
    "CronError",
    "DuplicateSchedule",
    "EditedMeanwhile",
    "Fail",
    "FunctionRefused",
    "Inject",
    "InvalidArgument",
    "LeaseLost",
    "NotAwaited",
    "NotSerializable",
    "Outcome",
    "OverLimit",
    "ParentTaskFailed",
    "Progress",
    "QueueUnavailable",
    "QueuedTaskConfig",
    "QueuedTaskRef",
    "QueuedTaskState",
    "QueuedTasks",
    "Retry",
    "RetryPolicy",
    "Snooze",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskNotFound",
    "TaskRemoved",
    "TaskStopped",
    "TaskyardError",
    "TasksDep",
    "Unique",
    "UniqueKeyHeld",
    "UnknownQueue",
    "UnknownSchedule",
    "WaitTimeout",
    "WrongState",
    "__version__",
    "getLogger",
    "get_current_task",
    "get_service",
    "on_death",
    "on_post_create",
    "on_post_run",
    "on_pre_create",
    "on_pre_run",
    "on_worker_start",
    "on_worker_stop",
    "register_aliases",
    "register_serializer",
    "register_service",
    "task",
    "unregister_service",
]
