"""Services: what endpoints and tasks are given by their class, and another one in tests."""

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
    """A task: its services are filled in by the worker."""
    return mailer.send(to)


def configure() -> None:
    """Settings of this process, while it runs."""
    config = get_service(QueuedTaskConfig)
    config.max_workers = 8
    config.task_timeout = 600
