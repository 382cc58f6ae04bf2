"""A Nexios application with the same tasks: ``pip install nexios``, then ``uvicorn nexios_app:app``.

The queue and its workers start and stop with the application.
"""

from __future__ import annotations

from typing import Any

from files import StepTask
from jobs import BackupJob
from mail import EmailTask
from nexios import NexiosApp
from nexios.http import Request, Response
from taskyard import CronError
from taskyard.scheduler import Scheduler
from taskyard.tasks import TaskQueue, TaskStatus
from taskyard.workers import WorkerPool

app = NexiosApp(title="Tasks")
queue = TaskQueue()
pool = WorkerPool(queue, num_workers=2)
# The pool runs the tasks that the jobs add.
scheduler = Scheduler(queue=queue, workers=0)


@app.on_startup
async def start_workers() -> None:
    await pool.start()
    await scheduler.start()


@app.on_shutdown
async def stop_workers() -> None:
    await scheduler.stop()
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


@app.post("/schedule-backup")
async def schedule_backup(request: Request, response: Response) -> Any:
    data = await request.json
    try:
        job_id = await scheduler.add_job(BackupJob(data["path"]), data["schedule"])
    except CronError as error:
        return response.json({"error": str(error)}, status_code=422)
    return response.json({"job_id": job_id, "schedule": data["schedule"]}, status_code=202)


@app.delete("/jobs/{job_id}")
async def cancel_job(request: Request, response: Response, job_id: str) -> Any:
    if not await scheduler.remove_job(job_id):
        return response.json({"error": "Job not found"}, status_code=404)
    return response.json({"message": "Job cancelled"})


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
