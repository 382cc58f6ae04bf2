"""Services: objects that are injected into endpoints and tasks by their class, and can be replaced in tests."""

from __future__ import annotations

from taskyard import Inject, QueuedTasks, get_service, register_service
from taskyard.queued_task import QueuedTaskConfig


class Mailer:
    def __init__(self, host: str) -> None:
        self.host = host

    def send(self, to: str) -> str:
        return f"{to} by {self.host}"


register_service(Mailer("localhost"), force=True)


async def send(to: str, mailer: Mailer = Inject(Mailer), tasks: QueuedTasks = Inject(QueuedTasks)) -> str:
    """A task whose services are injected by the worker."""
    return mailer.send(to)


def configure() -> None:
    """Changes settings of this process at run time."""
    config = get_service(QueuedTaskConfig)
    config.max_workers = 8
    config.task_timeout = 600
