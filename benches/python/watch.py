"""Measures the delay of progress updates from a worker process to a watcher in another process: median, p99 and worst.

usage: watch.py DATABASE [UPDATES] [PAUSE]
  DATABASE  an address with a migrated schema. A server with one worker process is started on it, and stopped at the end.
  PAUSE     seconds between two updates (0.15); below 0.1 updates are combined
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import statistics
import subprocess
import sys
import time

from taskyard import QueuedTasks
from taskyard.queued_task import set_context


async def ticks(count: int, pause: float) -> None:
    for number in range(count):
        set_context("progress", {"completed": number, "total": count, "message": repr(time.time())})
        await asyncio.sleep(pause)


async def main(database: str, updates: int, pause: float) -> None:
    here = pathlib.Path(__file__)
    command = [
        str(pathlib.Path(sys.executable).parent / "taskyard"),
        "queue",
        "start",
        "--app",
        here.stem,
        "--workers",
        "1",
    ]
    server = subprocess.Popen(command, cwd=here.parent, env={**os.environ, "TASKYARD_DATABASE_URL": database})
    delays: list[float] = []
    try:
        async with QueuedTasks(database=database) as tasks:
            async for event in tasks.add_task("watch:ticks", updates, pause).watch():
                if event.type == "progress" and event.progress is not None:
                    delays.append(time.time() - float(event.progress["message"]))
    finally:
        server.terminate()
        server.wait()
    delays.sort()
    p99 = delays[min(len(delays) - 1, int(len(delays) * 0.99))]
    print(
        f"RESULT {len(delays)} of {updates} updates received; median {statistics.median(delays) * 1000:.1f} ms, "
        f"p99 {p99 * 1000:.1f} ms, worst {delays[-1] * 1000:.1f} ms"
    )


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(main(given[0], int(given[1]) if len(given) > 1 else 200, float(given[2]) if len(given) > 2 else 0.15))
