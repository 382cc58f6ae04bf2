"""Mails as tasks: a class, a queue, and two routes.

``taskyard serve mail:app --workers 2`` runs the application and its tasks in processes of their own.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from typing import Any

from fastapi import FastAPI, HTTPException, Response
from taskyard.tasks import Task, TaskQueue, TaskStatus

queue = TaskQueue()
app = FastAPI(lifespan=queue.tasks.lifespan())


class EmailTask(Task, queue="mail", max_retries=5):
    """Sends a mail. The instance's attributes are stored with the task."""

    def __init__(self, to: str, subject: str, body: str, attachments: list[str] | None = None) -> None:
        self.to = to
        self.subject = subject
        self.body = body
        self.attachments = attachments or []

    async def execute(self) -> dict[str, Any]:
        await asyncio.sleep(0.05)
        if "@" not in self.to:
            raise ValueError(f"{self.to!r} is not an address")
        return {"to": self.to, "subject": self.subject, "sent_at": datetime.now(timezone.utc).isoformat()}


@app.post("/send-email", status_code=202)
async def send_email(to: str, subject: str, body: str, response: Response) -> dict[str, Any]:
    task = EmailTask(to, subject, body)
    task_id = await queue.enqueue(task, priority=5 if subject.startswith("!") else 0)
    response.headers["Location"] = f"/task/{task_id}"
    return {"task_id": task_id, "status": task.status}


@app.get("/task/{task_id}")
async def get_task_status(task_id: str) -> dict[str, Any]:
    task = await queue.get_task(task_id)
    if task is None:
        raise HTTPException(404, "Task not found")
    return {
        "task_id": task_id,
        "status": task.status,
        "result": task.result if task.status == TaskStatus.COMPLETED else None,
        "error": str(task.error) if task.error else None,
    }


@app.post("/task/{task_id}/cancel", status_code=202)
async def cancel_task(task_id: str) -> dict[str, Any]:
    if not await queue.cancel_task(task_id):
        raise HTTPException(409, "There is nothing to cancel")
    return {"cancelled": True}
