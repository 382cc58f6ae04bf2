"""Measures additions in an asyncio process: the rate with 100 callers that await their tasks, the caller's CPU time per
`add_task`, and the longest time for which the event loop was blocked.

usage: enqueue.py DATABASE [TASKS]
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from taskyard import QueuedTasks


async def noop() -> None: ...


async def measure(database: str, count: int) -> dict[str, float]:
    async with QueuedTasks(database=database) as tasks:
        await tasks.add_task(noop).get_task_id()
        held = 0.0
        watching = True

        async def watch() -> None:
            nonlocal held
            last = time.perf_counter()
            while watching:
                await asyncio.sleep(0)
                now = time.perf_counter()
                held = max(held, now - last)
                last = now

        async def caller(each: int) -> None:
            for _ in range(each):
                await tasks.add_task(noop).get_task_id()

        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(caller(count // 100) for _ in range(100)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu

        watcher = asyncio.create_task(watch())
        await asyncio.gather(*(caller(count // 500) for _ in range(100)))
        watching = False
        await watcher

        burst = 5_000
        thread = time.thread_time()
        for _ in range(burst):
            tasks.add_task(noop)
        thread = time.thread_time() - thread
        await tasks.flush()
        return {
            "per_second_100_callers": round(count / seconds),
            "process_cpu_us": round(cpu / count * 1e6, 1),
            "add_task_caller_cpu_us": round(thread / burst * 1e6, 1),
            "loop_held_ms_max": round(held * 1e3, 2),
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 50_000))))
