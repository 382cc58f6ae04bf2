"""Nested functions, lambdas and closures as tasks: they are serialised and signed without any setup."""

from __future__ import annotations

from taskyard import QueuedTaskRef, QueuedTasks


def add_dynamic_tasks(tasks: QueuedTasks, encrypt: bool) -> list[QueuedTaskRef[object]]:
    def encrypted(item: int) -> int:
        return item * 1000

    async def dynamic_processing(items: list[int]) -> list[int]:
        # `encrypt` and `encrypted` are serialised with the function.
        return [encrypted(item) if encrypt else item for item in items]

    return [tasks.add_task(dynamic_processing, [1, 2, 3]), tasks.add_task(lambda: "from a lambda")]
