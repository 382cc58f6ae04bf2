"""The output of a server for failed attempts and parked tasks, and their records in ``logging``."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from support.project import Project
from support.waiting import eventually, eventually_async
from taskyard import QueuedTasks, WaitTimeout
from taskyard._worker import Embedded
from taskyard.tasks import Task, TaskQueue
from taskyard.workers import WorkerPool

APP = """
    import asyncio, json, logging, os, pathlib, time
    from taskyard import Retry, Snooze

    HERE = pathlib.Path(__file__).parent

    def fails(what):
        raise ValueError(f"no such {what}\\n\\x1b[31min two lines")

    async def fails_later():
        raise Retry("busy", after=0.05)

    async def sleeps():
        await asyncio.sleep(60)

    async def snoozes():
        if not (HERE / "slept").exists():
            (HERE / "slept").touch()
            raise Snooze(0.05)

    def dies():
        os._exit(3)

    def too_large():
        return "x" * 2_000_000
"""

#: The records as an error reporter or a JSON formatter receives them.
REPORTER = """
    class Reporter(logging.Handler):
        def emit(self, record):
            said = {
                "level": record.levelname,
                "logger": record.name,
                "text": record.getMessage(),
                "raised": record.exc_info and record.exc_info[0].__name__,
                "function": record.exc_info and record.exc_info[2].tb_frame.f_code.co_name,
                **{name: value for name, value in record.__dict__.items() if name.startswith("task_")},
            }
            with open(HERE / "reports", "a") as file:
                print(json.dumps(said), file=file)

    logging.getLogger().addHandler(Reporter())
"""


def about(output: str, id: str) -> list[str]:
    """Returns the lines that name a task, without their times."""
    return [line.partition(" ")[2].lstrip() for line in output.splitlines() if id in line]


def test_each_failed_attempt_is_one_line_and_the_last_one_an_error_with_its_traceback(project: Project) -> None:
    project.write("app.py", APP)
    retries = "retry=RetryPolicy(max_retries=2, backoff=0.05)"
    calls = (
        f"app.fails, 'address', {retries}",
        "app.fails_later, max_retries=1",
        "app.snoozes",
        "app.too_large, max_retries=0",
    )
    first, later, snoozed, large = project.add(*calls)
    server = project.server("--workers=1", app="app")
    for id in (first, later, snoozed, large):
        project.ended(id)
    eventually(lambda: len(about(server.output, first)) == 3, 10, "three lines")
    *warnings, error = about(server.output, first)
    for number, line in enumerate(warnings, 1):
        assert line.startswith(
            f"WARNING queued_task: task {first} (app:fails): attempt {number} failed, and the next one starts at 20"
        )
        assert line.endswith("ValueError: no such address\\n\\u{1b}[31min two lines")
    assert error.startswith(
        f"ERROR queued_task: task {first} (app:fails) has failed for good, in attempt 3: ValueError: no such"
    )
    behind = server.output[server.output.index(error) :].splitlines()
    assert behind[1] == "  Traceback (most recent call last):" and behind[2].startswith(
        f'    File "{project.directory}/app.py"'
    )
    assert [line.split()[0] for line in about(server.output, later)] == ["WARNING", "ERROR"]
    assert about(server.output, snoozed) == []
    # The error occurred in the worker, not in the body.
    (line,) = about(server.output, large)
    assert line.startswith("ERROR queued_task:") and "ResultTooLarge" in line
    assert server.stop() == 0


def test_handlers_of_the_application_get_the_exception_and_the_fields(sqlite_project: Project) -> None:
    sqlite_project.write("app.py", APP + REPORTER)
    (id,) = sqlite_project.add("app.fails, 'x', retry=RetryPolicy(max_retries=1, backoff=0.05)")
    server = sqlite_project.server("--workers=1", app="app")
    sqlite_project.ended(id)
    file = sqlite_project.directory / "reports"
    first, second = eventually(lambda: len(lines := file.read_text().splitlines()) == 2 and lines, 10)
    warning, error = json.loads(first), json.loads(second)
    assert (warning["level"], warning["logger"], warning["raised"]) == ("WARNING", "queued_task", None)
    assert (error["level"], error["raised"], error["function"]) == ("ERROR", "ValueError", "fails")
    for number, said in enumerate((warning, error), 1):
        assert (said["task_id"], said["task_kind"], said["task_attempt"]) == (id, "app:fails", number)
    assert warning["task_next_run"].startswith("20") and error["task_next_run"] is None
    assert about(server.output, id) == []


def test_ends_that_no_body_sees_are_logged_once_by_the_server(project: Project) -> None:
    project.write("app.py", APP)
    late, dead, once = project.add(
        "app.sleeps, timeout=0.3, max_retries=0", "app.dies, queue='alone'", "app.dies, queue='alone', at_most_once=True"
    )
    server = project.server("--workers=1", "--concurrency=1", app="app")
    for id in (late, dead, once):
        assert project.ended(id)["state"] == "failed"
    eventually(lambda: len(about(server.output, dead)) == 3, 10, "three lines")
    (line,) = about(server.output, late)
    assert "ERROR" in line and "timeout of 0.3 s" in line and "app:sleeps" in line
    lines = about(server.output, dead)
    assert all("WorkerDied" in line and "app:dies" in line for line in lines)
    assert [word for line in lines for word in ("WARN ", "ERROR ") if word in line] == ["WARN ", "WARN ", "ERROR "]
    (line,) = about(server.output, once)
    assert "ERROR" in line


def test_parking_is_logged_once_for_each_reason_and_named_to_waiting_callers(project: Project) -> None:
    project.write("app.py", APP)
    project.write("other.py", "def unknown(): ...\ndef rare(): ...\n")
    *unknown, rare = project.add(*["app.unknown"] * 5, "app.rare", module="other")
    server = project.server("--workers=2", app="app")
    for id in (*unknown, rare):
        eventually(lambda id=id: project.task(id)["waiting_for"], 60, "parking")
    for kind in ("other:unknown", "other:rare"):
        (line,) = [line for line in server.output.splitlines() if kind in line]
        assert " WARN " in line and "--include" in line
    status = project.json("queue", "status", code=1)
    assert status["parked_reasons"] == [
        {"reason": "kind `other:unknown`", "count": 5},
        {"reason": "kind `other:rare`", "count": 1},
    ]
    shown = project.run("queue", "status", code=1)
    assert "6 tasks are parked that no server can run: kind `other:unknown` (5), kind `other:rare`" in shown
    said = project.python(
        f"""
        import asyncio
        from taskyard import QueuedTasks, WaitTimeout

        async def awaited():
            async with QueuedTasks() as tasks:
                try:
                    await tasks.get("{rare}").wait(timeout=0.1)
                except WaitTimeout as error:
                    print(error)

        asyncio.run(awaited())
        with QueuedTasks() as tasks:
            try:
                tasks.get("{rare}").result(timeout=0.1)
            except WaitTimeout as error:
                print(error)
        """
    )
    assert said.count("did not end within 0.1 s (it is parked, and no running server can run it: kind `other:rare`;") == 2
    waited = project.run("task", "wait", rare, "--timeout=0.1s", code=1)
    assert "it is parked, and no running server can run it: kind `other:rare`" in waited
    # The suggested remedy works.
    project.server("--workers=1", "--set=include=other", app="app")
    for id in (*unknown, rare):
        assert project.ended(id)["state"] == "done"


async def broken(what: str) -> None:
    raise LookupError(f"no {what}")


async def test_workers_within_the_application_log_through_its_logging(
    queue: QueuedTasks, caplog: pytest.LogCaptureFixture
) -> None:
    async with Embedded(queue):
        ref = queue.add_task(broken, "luck", max_retries=0)
        assert (await ref.outcome(timeout=30)).error is not None
        (record,) = await eventually_async(lambda: reported(caplog, ref.id), 10)
    assert (record.levelno, record.name) == (logging.ERROR, "queued_task")
    assert record.exc_info and record.exc_info[0] is LookupError
    delayed = queue.add_task(broken, "luck", delay=60)
    await delayed.get_task_id()
    with pytest.raises(WaitTimeout, match=r"within 0.01 s \(it is waiting\)"):
        await delayed.wait(timeout=0.01)


class Breaks(Task):
    async def execute(self) -> None:
        raise LookupError("no luck")


async def test_tasks_that_the_application_takes_itself_are_logged_too(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with TaskQueue(url=database) as queue:
        id = await queue.enqueue(Breaks())
        async with WorkerPool(queue, num_workers=1):
            (record,) = await eventually_async(lambda: reported(caplog, id), 30)
    assert record.levelno == logging.WARNING and "attempt 1 failed" in record.getMessage()
    assert "LookupError: no luck" in record.getMessage()


def of(caplog: pytest.LogCaptureFixture, id: str) -> list[Any]:
    return [record for record in caplog.records if getattr(record, "task_id", None) == id]


async def reported(caplog: pytest.LogCaptureFixture, id: str) -> list[Any]:
    return of(caplog, id)
