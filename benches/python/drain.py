"""Adds tasks that do nothing, drains them with a server of two workers, and prints the rate in tasks per second.

usage: drain.py URL TASKS, with an interpreter that has Taskyard and asyncpg
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import asyncpg
from nothing import nothing
from taskyard import QueuedTasks

COMMAND = os.path.join(os.path.dirname(sys.executable), "taskyard")


async def main(url: str, count: int) -> None:
    subprocess.run([COMMAND, "--database", url, "db", "migrate"], check=True, stdout=subprocess.DEVNULL)
    async with QueuedTasks(database=url) as tasks:
        refs = tasks.add_tasks([(nothing, number) for number in range(count)])
        await refs[-1].get_task_id()
    server = subprocess.Popen(
        [COMMAND, "--database", url, "queue", "start", "--app", "nothing", "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    connection = await asyncpg.connect(url)
    try:
        while await connection.fetchval("select exists (select from queued_tasks where state <> 'done')"):
            await asyncio.sleep(0.5)
        query = "select extract(epoch from max(date_done) - min(date_started))::float8 from queued_tasks"
        print(count / await connection.fetchval(query))
    finally:
        await connection.close()
        server.terminate()
        server.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
