"""References: read a task's state, wait for it, cancel it."""

from __future__ import annotations

import asyncio

from taskyard import QueuedTasks, TaskFailed, WaitTimeout


async def long_running_process(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "whole"


def breaks() -> None:
    raise LookupError("nothing there")


async def manage(tasks: QueuedTasks) -> list[object]:
    seen: list[object] = []
    quick = tasks.add_task(long_running_process, 0.01)
    seen.append(await quick.wait())
    seen.append(str(await quick.get_state()))

    slow = tasks.add_task(long_running_process, 60)
    try:
        await slow.wait(timeout=0.1)
    except WaitTimeout:
        seen.append("still at it")
    slow.cancel()
    try:
        await slow.wait()
    except asyncio.CancelledError:
        seen.append("cancelled")

    try:
        await tasks.add_task(breaks, max_retries=0).wait()
    except TaskFailed as error:
        seen.append(f"{error.error_type}: {error.error}")

    # Within a TaskGroup a CancelledError would be swallowed: `outcome` never raises it.
    outcome = await slow.outcome()
    seen.append((str(outcome.state), outcome.ok))
    return seen
