"""The application's own logging configuration applies in workers and web processes, and does not silence the tasks'
logs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.ports import free_port
from support.project import Project
from support.waiting import eventually

TASKS = """
    import logging
    from taskyard import getLogger

    log = getLogger(__name__)
    plain = logging.getLogger("plain")

    async def works():
        log.info("from the task's log")
        plain.info("from a plain logger")

    async def fails():
        raise ValueError("no luck")
"""

DICT = """
    import logging.config

    logging.config.dictConfig({{
        "version": 1,
        "disable_existing_loggers": True,
        "formatters": {{"mine": {{"format": "MINE %(levelname)s %(name)s: %(message)s"}}}},
        "handlers": {{"console": {{"class": "logging.StreamHandler", "formatter": "mine"}}}},
        {loggers}
    }})
"""

#: The loggers that are configured: all, the package that contains the module, or the module's logger itself.
LOGGERS = {
    "root": '"root": {"level": "INFO", "handlers": ["console"]}',
    "parent": '"loggers": {"jobs": {"level": "INFO", "handlers": ["console"], "propagate": False}}, "root": {"handlers": ["console"]}',
    "named": '"loggers": {"jobs.work": {"level": "INFO", "handlers": ["console"], "propagate": False}}, "root": {"handlers": ["console"]}',
    "file": "",
}


def stored(project: Project, id: str) -> list[Any]:
    """Returns the task's log in the database."""
    return [json.loads(line) for line in project.run("--json", "task", "logs", id).splitlines()]


@pytest.mark.parametrize("configured", LOGGERS)
def test_a_configuration_that_disables_loggers_leaves_the_log_of_tasks(sqlite_project: Project, configured: str) -> None:
    project = sqlite_project
    project.write("jobs/__init__.py", "")
    project.write("jobs/work.py", TASKS)
    if configured == "file":
        project.write("log.ini", INI)
        text = "import logging.config\nimport jobs.work as work\nlogging.config.fileConfig('log.ini')\n"
        project.write("app.py", text)
    else:
        # The configuration follows the imports, as in most applications.
        project.write("app.py", "    import jobs.work as work\n" + DICT.format(loggers=LOGGERS[configured]))
    works, fails = project.add("app.work.works", "app.work.fails, max_retries=0")
    server = project.server("--workers=1", app="app")
    for id in (works, fails):
        project.ended(id)
    (line,) = stored(project, works)
    assert (line["logger"], line["message"]) == ("jobs.work", "from the task's log")
    eventually(lambda: "has failed for good" in server.output, 10)
    lines = server.output.splitlines()
    assert [line for line in lines if "from the task's log" in line] == ["MINE INFO jobs.work: from the task's log"]
    (error,) = [line for line in lines if fails in line]
    assert error.startswith("MINE ERROR queued_task: task ")


INI = """
    [loggers]
    keys=root
    [handlers]
    keys=console
    [formatters]
    keys=mine
    [logger_root]
    level=INFO
    handlers=console
    [handler_console]
    class=StreamHandler
    formatter=mine
    args=()
    [formatter_mine]
    format=MINE %(levelname)s %(name)s: %(message)s
"""


@pytest.mark.parametrize("when", ["loaded", "running"])
def test_basic_config_of_the_application_counts_in_workers(sqlite_project: Project, when: str) -> None:
    basic = 'logging.basicConfig(level=logging.DEBUG, format="MINE %(levelname)s %(name)s: %(message)s")\n'
    configure = f"\n    async def configures():\n        {basic}"
    sqlite_project.write("app.py", TASKS + configure + (f"\n    {basic}" if when == "loaded" else ""))
    server = sqlite_project.server("--workers=1", app="app")
    (id,) = sqlite_project.add("app.configures")
    sqlite_project.ended(id)
    works, fails = sqlite_project.add("app.works", "app.fails, max_retries=0")
    for id in (works, fails):
        sqlite_project.ended(id)
    eventually(lambda: "has failed for good" in server.output, 10)
    lines = [line for line in server.output.splitlines() if "from " in line or fails in line]
    wanted = ["MINE INFO app: from the task's log", "MINE INFO plain: from a plain logger"]
    assert [line for line in lines if "from " in line] == wanted
    assert [line.split(":")[0] for line in lines if fails in line and "failed" in line] == ["MINE ERROR queued_task"]


def test_without_a_configuration_info_and_above_is_shown_once(sqlite_project: Project) -> None:
    sqlite_project.write("app.py", TASKS)
    (id,) = sqlite_project.add("app.works")
    server = sqlite_project.server("--workers=1", app="app")
    sqlite_project.ended(id)
    eventually(lambda: "a plain logger" in server.output, 10)
    lines = [line.partition(" ")[2].lstrip() for line in server.output.splitlines() if "from " in line]
    assert lines == ["INFO app: from the task's log", "INFO plain: from a plain logger"]


def test_messages_of_the_event_loop_have_their_own_lines(sqlite_project: Project) -> None:
    loses = "\n    import asyncio\n\n    async def loses():\n        asyncio.ensure_future(fails())\n        await asyncio.sleep(0)\n"
    sqlite_project.write("app.py", TASKS + loses)
    (id,) = sqlite_project.add("app.loses")
    server = sqlite_project.server("--workers=1", app="app")
    sqlite_project.ended(id)
    assert server.stop() == 0
    (first,) = [line for line in server.lines if line.endswith(" ERROR asyncio: Task exception was never retrieved")]
    below = server.lines[server.lines.index(first) + 1 :]
    assert below[0].startswith("  future: <Task finished") and "  ValueError: no luck" in below


def test_a_level_that_the_application_sets_alone_counts(sqlite_project: Project) -> None:
    sqlite_project.write("app.py", TASKS + "\n    logging.getLogger().setLevel(logging.ERROR)\n")
    (id,) = sqlite_project.add("app.works")
    server = sqlite_project.server("--workers=1", app="app")
    sqlite_project.ended(id)
    (fails,) = sqlite_project.add("app.fails, max_retries=0")
    sqlite_project.ended(fails)
    eventually(lambda: "has failed for good" in server.output, 10)
    assert "a plain logger" not in server.output


def test_a_logger_that_the_application_disables_itself_is_silent(sqlite_project: Project) -> None:
    sqlite_project.write("app.py", TASKS + "\n    log.disabled = True\n")
    (id,) = sqlite_project.add("app.works")
    sqlite_project.server("--workers=1", app="app")
    sqlite_project.ended(id)
    assert stored(sqlite_project, id) == []


def test_the_log_configuration_of_uvicorn_silences_no_task(sqlite_project: Project) -> None:
    web = """
    from fastapi import FastAPI
    from taskyard import QueuedTasks, TasksDep

    queue = QueuedTasks()
    api = FastAPI(lifespan=queue.lifespan(workers=1))

    @api.get("/")
    async def start(tasks: TasksDep):
        return [tasks.add_task(works).id, tasks.add_task(fails, max_retries=0).id]
    """
    sqlite_project.write("app.py", TASKS + web)
    configuration = {
        "version": 1,
        "disable_existing_loggers": True,
        "formatters": {"web": {"format": "WEB %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "web"}},
        "loggers": {"uvicorn": {"level": "INFO"}},
        "root": {"level": "INFO", "handlers": ["console"]},
    }
    sqlite_project.write("log.json", json.dumps(configuration))
    port = free_port()
    web_process = sqlite_project.start("serve", "app:api", f"--port={port}", "--", "--log-config", "log.json")
    web_process.says("startup complete")
    import httpx

    works, fails = httpx.get(f"http://127.0.0.1:{port}/").json()
    for id in (works, fails):
        sqlite_project.ended(id)
    (line,) = stored(sqlite_project, works)
    assert line["message"] == "from the task's log"
    eventually(lambda: "has failed for good" in web_process.output, 10)
    assert [line.split(":")[0] for line in web_process.output.splitlines() if fails in line] == ["WEB ERROR queued_task"]
