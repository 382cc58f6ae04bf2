"""Driver of Taskyard for the harness of the other drivers: `setup`, `enqueue1`, `bulk`, `drain`, `latency`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import asyncpg
from harness import Peer, main
from noop import noop, noop_sync
from taskyard import QueuedTasks

DSN = os.environ["BENCH_DSN"]
TASK = noop_sync if os.environ.get("BENCH_SYNC") else noop
COMMAND = os.path.join(os.path.dirname(sys.executable), "taskyard")


class Taskyard(Peer):  # type: ignore[misc]
    def setup(self) -> None:
        subprocess.run([COMMAND, "--database", DSN, "db", "migrate"], check=True, stdout=subprocess.DEVNULL)

    async def open(self) -> None:
        self.tasks = await QueuedTasks(database=DSN).__aenter__()
        self.connection = await asyncpg.connect(DSN)

    async def close(self) -> None:
        await self.tasks.__aexit__()
        await self.connection.close()

    async def send(self, number: int) -> None:
        await self.tasks.add_task(TASK, number).get_task_id()

    async def send_many(self, numbers: Iterable[int]) -> None:
        refs = self.tasks.add_tasks([(TASK, number) for number in numbers])
        await refs[-1].get_task_id()

    def worker(self, mode: str) -> None:
        workers = os.environ.get("BENCH_WORKERS", "2")
        os.execv(COMMAND, [COMMAND, "--database", DSN, "queue", "start", "--app", "noop", "--workers", workers])

    async def left(self) -> Any:
        return await self.connection.fetchval("select count(*) from queued_tasks where state <> 'done'")

    async def done_rows(self) -> Any:
        return await self.connection.fetchval("select count(*) from queued_tasks where state = 'done'")


if __name__ == "__main__":
    main(Taskyard())
