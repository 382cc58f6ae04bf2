"""Tasks that process files and report progress: an upload is stored under a generated name and read in chunks.

The workers run in the application's own process.
"""

from __future__ import annotations

import asyncio
import pathlib
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException, UploadFile
from taskyard.progress import ProgressTracker
from taskyard.tasks import Task, TaskQueue
from taskyard.workers import WorkerPool

CHUNK = 8192
UPLOADS = pathlib.Path("uploads")

queue = TaskQueue("files")
pool = WorkerPool(queue, num_workers=2)
app = FastAPI(lifespan=pool.lifespan)


class StepTask(Task):
    """Runs some steps and reports each."""

    def __init__(self, steps: int = 10) -> None:
        self.steps = steps
        self.progress = ProgressTracker(total=steps)

    async def execute(self) -> dict[str, str]:
        for step in range(self.steps):
            await asyncio.sleep(0.05)
            self.progress.advance(1)
            self.progress.set_message(f"Processing step {step + 1}/{self.steps}")
        return {"status": "completed"}


class FileProcessor(Task):
    """Reads a file in chunks. The total is set first: one that grew with the bytes read would always show 100 %."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.progress = ProgressTracker()

    async def chunks(self) -> AsyncIterator[bytes]:
        with open(self.path, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk

    async def execute(self) -> dict[str, int]:
        self.progress.set_total(pathlib.Path(self.path).stat().st_size)
        processed = checksum = 0
        async for chunk in self.chunks():
            checksum = (checksum + sum(chunk)) % 65_536
            processed += len(chunk)
            self.progress.update(processed)
            assert self.start_time is not None
            rate = processed / max(time.time() - self.start_time, 1e-3)
            self.progress.set_message(f"Processing at {rate:.0f} bytes/sec")
        return {"bytes_processed": processed, "checksum": checksum}


@app.post("/process-file", status_code=202)
async def process_file(file: UploadFile) -> dict[str, str]:
    UPLOADS.mkdir(exist_ok=True)
    # Never use the client's file name as a path: it may be `../../etc/passwd`.
    path = UPLOADS / uuid.uuid4().hex
    path.write_bytes(await file.read())
    return {"task_id": await queue.enqueue(FileProcessor(str(path))), "status": "queued"}


@app.post("/steps", status_code=202)
async def steps() -> dict[str, str]:
    return {"task_id": await queue.enqueue(StepTask()), "status": "queued"}


@app.get("/task/{task_id}/progress")
async def get_task_progress(task_id: str) -> dict[str, Any]:
    task = await queue.get_task(task_id)
    if task is None:
        raise HTTPException(404, "Task not found")
    if not hasattr(task, "progress"):
        raise HTTPException(409, "Task doesn't support progress tracking")
    return {"task_id": task_id, "status": task.status, "result": task.result, "progress": task.progress.to_dict()}
