"""The same in a Nexios application: ``pip install nexios``, then ``uvicorn nexios_app:app``.

The queue and its workers begin and end with the application.
"""

from __future__ import annotations

from typing import Any

from files import StepTask
from mail import EmailTask
from nexios import NexiosApp
from nexios.http import Request, Response
from taskyard.tasks import TaskQueue, TaskStatus
from taskyard.workers import WorkerPool

app = NexiosApp(title="Tasks")
queue = TaskQueue()
pool = WorkerPool(queue, num_workers=2)


@app.on_startup
async def start_workers() -> None:
    await pool.start()


@app.on_shutdown
async def stop_workers() -> None:
    await pool.stop()
    await queue.close()


@app.post("/send-email")
async def send_email(request: Request, response: Response) -> Any:
    data = await request.json
    task_id = await queue.enqueue(EmailTask(data["to"], data["subject"], data["body"]))
    return response.json({"task_id": task_id, "status": "queued"}, status_code=202)


@app.post("/steps")
async def steps(request: Request, response: Response) -> Any:
    return response.json({"task_id": await queue.enqueue(StepTask()), "status": "queued"}, status_code=202)


@app.get("/task/{task_id}")
async def get_task_status(request: Request, response: Response, task_id: str) -> Any:
    task = await queue.get_task(task_id)
    if task is None:
        return response.json({"error": "Task not found"}, status_code=404)
    return response.json(
        {
            "task_id": task_id,
            "status": task.status,
            "result": task.result if task.status == TaskStatus.COMPLETED else None,
            "error": str(task.error) if task.error else None,
        }
    )


@app.get("/task/{task_id}/progress")
async def get_task_progress(request: Request, response: Response, task_id: str) -> Any:
    task = await queue.get_task(task_id)
    if task is None or not hasattr(task, "progress"):
        return response.json({"error": "Task not found, or without progress"}, status_code=404)
    return response.json({"task_id": task_id, "status": task.status, "progress": task.progress.to_dict()})
