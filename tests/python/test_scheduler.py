"""``taskyard.scheduler``: declared jobs, jobs added at run time, restarts, several processes, and refused values."""

from __future__ import annotations

import asyncio
import datetime as dt
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from support.project import Project
from support.waiting import eventually, eventually_async
from taskyard import CronError, DuplicateSchedule, InvalidArgument, NotSerializable, QueuedTasks, UnknownSchedule
from taskyard.scheduler import CronJob, Scheduler
from taskyard.tasks import TaskQueue, TaskStatus

ran: list[Any] = []


async def tick() -> str:
    ran.append("tick")
    return "tick"


def tock() -> None:
    ran.append("tock")


async def breaks() -> None:
    raise ValueError("broken")


class BackupJob(CronJob, max_retries=0):
    def __init__(self, path: str) -> None:
        self.path = path

    async def execute(self) -> str:
        ran.append(self.path)
        return f"saved {self.path}"


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    ran.clear()
    async with QueuedTasks(database=database) as tasks:
        yield tasks


async def test_declared_jobs_run_from_start_to_stop(tasks: QueuedTasks) -> None:
    scheduler = Scheduler("Europe/Berlin", tasks=tasks)
    declared = scheduler.schedule(every=1)(tick)
    assert declared is tick and declared.job_id == "test_scheduler:tick"  # type: ignore[attr-defined]
    assert scheduler.schedule(delay=dt.timedelta(seconds=0.3), id="once")(tock) is tock
    scheduler.schedule(cron="0 0 * * *", id="midnight")(breaks)
    assert await tick() == "tick" and ran.pop() == "tick", "a declared function is called as before"
    async with scheduler:
        await scheduler.start()
        await eventually_async(_has(lambda: {"tick", "tock"} <= set(ran)))
        midnight = await scheduler.get_job("midnight")
        assert midnight is not None and midnight.next_run is not None
        assert midnight.next_run.astimezone(ZoneInfo("Europe/Berlin")).time() == dt.time(0)
        assert {job.id for job in await scheduler.list_jobs()} == {"test_scheduler:tick", "once", "midnight"}
    await scheduler.stop()
    count = len(ran)
    # Nothing runs any more, and a job that ran once does not run again after a restart.
    async with scheduler:
        await eventually_async(_has(lambda: ran[count:].count("tick") >= 2))
    assert ran.count("tock") == 1
    once = await scheduler.get_job("once")
    assert once is not None and (once.state, once.run_count) == ("ended", 1)


def _has(look: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def answer() -> bool:
        return look()

    return answer


async def test_jobs_are_added_changed_and_removed_while_all_runs(tasks: QueuedTasks) -> None:
    async with Scheduler(queue=TaskQueue("jobs", tasks=tasks)) as scheduler:
        job = BackupJob("/data")
        job_id = await scheduler.add_job(job, "0 4 * * *", timezone=ZoneInfo("Asia/Tokyo"))
        other = await scheduler.add_job(BackupJob("/mail"), dt.timedelta(seconds=1))
        assert job_id != other and job.id == job_id
        assert (job.schedule, job.timezone, job.run_count, job.last_status) == ("0 4 * * *", "Asia/Tokyo", 0, None)
        assert job.next_run.astimezone(ZoneInfo("Asia/Tokyo")).hour == 4
        await eventually_async(_has(lambda: "/mail" in ran))
        assert await scheduler.remove_job(other) is True
        assert await scheduler.remove_job(other) is False and await scheduler.remove_job(None) is False
        task_id = await scheduler.trigger_job(job_id)
        assert await tasks.get(task_id) == "saved /data"
        assert (await tasks.get(task_id).record())["queue"] == "jobs"

        async def has_ended() -> bool:
            found = await scheduler.get_job(job_id)
            return found is not None and found.last_status is TaskStatus.COMPLETED

        await eventually_async(has_ended)
        assert await scheduler.pause_job(job_id)
        assert await scheduler.next_runs(job_id) == []
        assert await scheduler.resume_job(job_id)
        next_run = await scheduler.reschedule_job(job_id, "30 5 * * *")
        assert next_run is not None and next_run.astimezone(ZoneInfo("Asia/Tokyo")).time() == dt.time(5, 30)
        assert [run - next_run for run in await scheduler.next_runs(job_id, 3)] == [dt.timedelta(days=n) for n in range(3)]
        found = await scheduler.get_job(job_id)
        assert found is not None and found.history[0].manual and found.schedule == "30 5 * * *"
        with pytest.raises(DuplicateSchedule):
            await scheduler.add_job(tick, "@daily", id=job_id)
        assert await scheduler.add_job(tick, "@daily", id=job_id, replace=True) == job_id
        assert await scheduler.get_job("nothing") is None
        for asked in (scheduler.trigger_job, scheduler.next_runs, lambda id: scheduler.reschedule_job(id, "@daily")):
            with pytest.raises(UnknownSchedule):
                await asked("nothing")


async def test_a_removed_job_may_take_its_run_with_it(tasks: QueuedTasks) -> None:
    async with Scheduler(tasks=tasks) as scheduler:
        job_id = await scheduler.add_job(sleeps, "@yearly")
        task_id = await scheduler.trigger_job(job_id)
        assert await scheduler.remove_job(job_id, cancel_running=True)
        with pytest.raises(asyncio.CancelledError):
            await tasks.get(task_id)


async def sleeps() -> None:
    await asyncio.sleep(600)


async def test_a_failing_job_goes_on(tasks: QueuedTasks) -> None:
    scheduler = Scheduler(tasks=tasks)
    scheduler.schedule(every=1, max_retries=0, id="breaks")(breaks)
    async with scheduler:

        async def has_failed_twice() -> bool:
            job = await scheduler.get_job("breaks")
            return job is not None and job.failures >= 2

        await eventually_async(has_failed_twice)
        job = await scheduler.get_job("breaks")
        assert job is not None and job.state == "active" and job.last_status is TaskStatus.FAILED
        assert "ValueError: broken" in [run.error for run in job.history]


async def test_what_is_refused(tasks: QueuedTasks) -> None:
    scheduler = Scheduler(tasks=tasks)
    for arguments, error in [
        ({"cron": "61 * * * *"}, CronError),
        ({"cron": ","}, CronError),
        ({"cron": "0 0 30 2 *"}, CronError),
        ({"cron": "@daily", "every": 5}, TypeError),
        ({}, TypeError),
        ({"at": dt.datetime(2030, 1, 1)}, InvalidArgument),
        ({"delay": dt.timedelta(days=40_000)}, CronError),
        ({"delay": -1}, InvalidArgument),
        ({"cron": "@daily", "timezone": "Mars/Base"}, InvalidArgument),
        ({"cron": "@daily", "colour": "red"}, InvalidArgument),
    ]:
        with pytest.raises(error):
            scheduler.schedule(**arguments)(tick)
        with pytest.raises(error):
            await scheduler.add_job(tick, **arguments)
    scheduler.schedule(every=5)(tick)
    with pytest.raises(InvalidArgument, match="twice"):
        scheduler.schedule(every=5)(tick)
    with pytest.raises(NotSerializable, match="path"):
        await scheduler.add_job(BackupJob(object()), "@daily")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        Scheduler("Mars/Base")
    assert await scheduler.list_jobs() == []


def test_several_processes_run_each_time_once(project: Project, tmp_path: pathlib.Path) -> None:
    project.write(
        "app.py",
        """
        import asyncio, contextlib, datetime, os, sys
        from taskyard.queued_task import get_context
        from taskyard.scheduler import Scheduler

        scheduler = Scheduler()

        @scheduler.schedule(cron="0 0 1 1 *")
        async def new_year():
            pass

        @scheduler.schedule(every=1, id="each second", overlap="allow")
        async def each_second():
            with open("ran.txt", "a") as file:
                file.write(f"{get_context('schedule.fire_at')} {os.getpid()}\\n")

        @scheduler.schedule(delay=datetime.timedelta(seconds=0.5), id="once")
        async def once():
            with open("once.txt", "a") as file:
                file.write("once\\n")

        async def main():
            async with scheduler:
                print("started", flush=True)
                await asyncio.sleep(600)

        if __name__ == "__main__":
            asyncio.run(main())
        """,
    )
    processes = [project.program("app.py") for _ in range(3)]
    for process in processes:
        process.says("started")
    ran = project.directory / "ran.txt"

    def times() -> list[str]:
        return [line.split()[0] for line in ran.read_text().splitlines()] if ran.exists() else []

    eventually(lambda: len(times()) >= 3, 60)
    processes[0].kill()
    processes[1].kill()
    count = len(times())
    eventually(lambda: len(times()) >= count + 3, 60)
    assert len(times()) == len(set(times())), times()
    assert (project.directory / "once.txt").read_text() == "once\n"
    assert project.json("schedule", "show", "app:new_year")["kind"] == "app:new_year"
    history = project.json("schedule", "show", "each second")["history"]
    assert len({run["fire_at"] for run in history}) == len(history)
