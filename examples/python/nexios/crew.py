"""Custom workers: a ``Worker`` subclass, a pool of them, and a program that runs the pool.

``python crew.py`` runs tasks until SIGTERM or Ctrl-C. Then running tasks may finish, and the remaining ones are given back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from mail import EmailTask, queue
from taskyard.tasks import Task
from taskyard.workers import Worker, WorkerPool

log = logging.getLogger("crew")


class CountingWorker(Worker):
    """Counts and logs each task after the base class has run it."""

    done: Counter[str] = Counter()

    async def process(self, task: Task) -> None:
        await super().process(task)
        self.done[type(task).__name__] += 1
        log.info("%s %s, attempt %d", type(task).__name__, task.status, task.attempt)


pool = WorkerPool(queue, num_workers=4, worker_class=CountingWorker)


async def main() -> None:
    print("the crew takes", EmailTask.__name__, flush=True)
    await pool.run()
    print("the crew has done", dict(CountingWorker.done), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(main())
