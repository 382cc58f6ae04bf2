"""A Nexios application whose pages follow their tasks: ``taskyard serve nexios_progress:app --workers 1``.

``curl -X POST localhost:8000/process?steps=20``, then ``curl -N localhost:8000/task/ID/events``.
"""

from __future__ import annotations

import asyncio

from nexios import NexiosApp
from nexios.http import Request, Response
from taskyard import QueuedTasks
from taskyard.errors import InvalidArgument, TaskNotFound
from taskyard.events import CONTENT_TYPE, HEADERS, last_event_id, sse
from taskyard.queued_task import set_context

tasks = QueuedTasks()
app = NexiosApp(lifespan=tasks.lifespan())


async def process(steps: int) -> int:
    for step in range(steps):
        set_context("progress", {"total": steps, "completed": step + 1, "message": f"step {step + 1}"})
        await asyncio.sleep(0.05)
    return steps


@app.post("/process")
async def begin(request: Request, response: Response) -> Response:
    ref = tasks.add_task(process, int(request.query_params.get("steps", "20")))
    # Wait until the task is durable before the client learns its id.
    id = await ref.get_task_id()
    return response.json({"task_id": id, "status": "queued"}, status_code=202, headers={"Location": f"/task/{id}"})


@app.get("/task/{id}/events")
async def events(request: Request, response: Response, id: str) -> Response:
    try:
        await tasks.get(id).get_state()
    except (TaskNotFound, InvalidArgument):
        return response.json({"detail": "there is no such task"}, status_code=404)
    since = last_event_id(request.headers, request.query_params)
    return response.stream(sse(tasks, id, since), content_type=CONTENT_TYPE, headers=HEADERS)


@app.post("/task/{id}/cancel")
async def cancel(request: Request, response: Response, id: str) -> Response:
    tasks.get(id).cancel()
    return response.json({"cancelled": True}, status_code=202)
