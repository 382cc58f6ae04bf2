"""A page that follows its tasks: FastAPI routes for states, progress and server-sent events.

``taskyard serve following:app --workers 1``, then ``curl -N localhost:8000/task/ID/events``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI, Request
from taskyard import QueuedTasks, TasksDep
from taskyard.fastapi import task_router
from taskyard.progress import ProgressTracker

queue = QueuedTasks()
app = FastAPI(lifespan=queue.lifespan())


async def may_see(request: Request, id: str) -> bool:
    """Returns whether the request may see the task: here always, except for the user ``nobody``."""
    return request.headers.get("x-user") != "nobody"


# GET /task/{id}, /task/{id}/progress, /task/{id}/events, /tasks/events?ids=A,B; POST /task/{id}/cancel
app.include_router(task_router(queue, allow=may_see))


async def count_to(number: int) -> int:
    progress = ProgressTracker.of_task()
    progress.set_total(number)
    for _ in range(number):
        await asyncio.sleep(0.05)
        progress.advance()
    return number


@app.post("/counts", status_code=202)
async def add(number: int, tasks: TasksDep) -> dict[str, Any]:
    return {"task_id": tasks.add_task(count_to, number).id, "status": "queued"}


async def follow(tasks: QueuedTasks, number: int) -> list[str]:
    """Follows a task without HTTP, which works from any process."""
    seen: list[str] = []
    async for event in tasks.add_task(count_to, number).watch():
        if event.type not in seen:
            seen.append(event.type)
    return seen
