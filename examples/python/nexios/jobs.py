"""Scheduled jobs in FastAPI: declared in code, and added and removed at run time.

``uvicorn jobs:app``
"""

from __future__ import annotations

from datetime import timedelta

from fastapi import FastAPI, HTTPException
from taskyard import CronError
from taskyard.scheduler import CronJob, Scheduler

scheduler = Scheduler(timezone="Europe/Berlin")
app = FastAPI(lifespan=scheduler.lifespan)


@scheduler.schedule(delay=timedelta(seconds=0.2))
async def cleanup_old_files() -> str:
    """Runs once, however often the application starts."""
    return "clean"


@scheduler.schedule(cron="0 0 * * *")
async def daily_report() -> str:
    """Runs every midnight in Berlin."""
    return "reported"


class BackupJob(CronJob):
    """Saves a path."""

    def __init__(self, backup_path: str) -> None:
        self.backup_path = backup_path

    async def execute(self) -> str:
        return f"saved {self.backup_path}"


@app.post("/schedule-backup", status_code=201)
async def schedule_backup(path: str, schedule: str) -> dict[str, str]:
    try:
        job_id = await scheduler.add_job(BackupJob(path), schedule)
    except CronError as error:
        raise HTTPException(422, str(error)) from None
    return {"job_id": job_id, "schedule": schedule}


@app.get("/jobs/{job_id}")
async def show_job(job_id: str) -> dict[str, object]:
    job = await scheduler.get_job(job_id)
    if job is None:
        raise HTTPException(404, "there is no such job")
    return {"next_run": job.next_run, "last_status": job.last_status, "run_count": job.run_count}


@app.delete("/jobs/{job_id}")
async def cancel_job(job_id: str) -> dict[str, str]:
    if not await scheduler.remove_job(job_id):
        raise HTTPException(404, "there is no such job")
    return {"message": "Job cancelled"}
