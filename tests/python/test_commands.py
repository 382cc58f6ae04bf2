"""Every documented command and setting, with its effect in a running server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from support.project import Project
from support.waiting import eventually
from taskyard import QueuedTasks, get_service
from taskyard._worker import Embedded
from taskyard.dependencies import unregister_service
from taskyard.errors import InvalidArgument
from taskyard.queued_task import QueuedTaskConfig

APP = """
    import asyncio, os, pathlib, time

    async def echo(value):
        return value

    def breaks():
        if os.path.exists("mended"):
            return "mended"
        raise ValueError("broken")

    async def sleeps():
        await asyncio.sleep(60)

    def block_until(path):
        pathlib.Path(f"{path}.{os.getpid()}").touch()
        while not pathlib.Path(path).exists():
            time.sleep(0.005)
        return os.getpid()
"""


@pytest.fixture
def pg(tmp_path: Any, postgres: str) -> Iterator[Project]:
    with Project(tmp_path, postgres) as project:
        project.write("app.py", APP)
        yield project


def test_the_documents_commands(project: Project) -> None:
    project.write("app.py", APP)
    assert "migrations ship with Taskyard" in project.run("db", "makemigrations", "-m", "Add queued task system")
    project.run("db", "migrate")
    assert "no server is alive" in project.run("queue", "status", code=1)
    failed, waiting, enqueued = project.add(
        "app.breaks, max_retries=0", "app.echo, 1, delay=3600", "app.echo, 2, queue='unserved'"
    )
    server = project.server("-w", "4", "--queues", "default")
    assert project.ended(failed)["state"] == "failed"
    project.run("queue", "status")
    stats = {queue["name"]: queue for queue in project.json("queue", "stats")}
    assert stats["unserved"]["enqueued"] == 1
    (listed,) = project.json("queue", "servers")
    assert listed["workers_max"] == 4, listed
    (project.directory / "mended").touch()
    project.run("queue", "retry", "--yes")
    eventually(lambda: project.task(failed)["state"] == "done", 60, "the retry")
    assert "1 done" in project.run("queue", "stats")
    project.run("queue", "clear", "--yes")
    for id in (waiting, enqueued):
        assert project.task(id)["state"] == "cancelled", "nothing is deleted"
    assert server.stop() == 0


def test_serve_without_http_runs_workers_only(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", APP)
    served = project.start("serve", "app", "--workers=3", "--no-http")
    served.says("the server runs")
    (id,) = project.add("app.echo, 5")
    assert project.ended(id)["result"] == 5
    assert "Uvicorn" not in served.output
    assert served.stop() == 0


def test_a_web_application_that_ends_takes_the_workers_with_it(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", APP + "\n    app = None\n")
    project.write("web.py", "import sys\nif 'taskyard._web' in ' '.join(sys.orig_argv): sys.exit(7)\napp = 1\n")
    served = project.start("serve", "web:app", "--workers=1")
    assert served.wait() == 7, served.output


def test_the_application_is_found(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("main.py", APP)
    server = project.server("--workers=1")
    assert "application: main" in server.output
    (id,) = project.add("app.echo, 5", module="main")
    assert project.ended(id)["result"] == 5
    assert server.stop() == 0
    project.write("pyproject.toml", '[tool.taskyard]\napp = "shop.tasks"\n')
    project.write("shop/__init__.py", "")
    project.write("shop/tasks.py", "from .mails import mail\n")
    project.write("shop/mails.py", "def mail(to):\n    return to\n")
    server = project.server("--workers=1")
    assert "application: shop.tasks" in server.output
    (id,) = project.add("app.mail, 'ada'", module="shop.mails")
    assert project.ended(id)["result"] == "ada"


def test_max_workers(project: Project) -> None:
    project.write("app.py", APP)
    server = project.server(app="app", QUEUE_MAX_WORKERS="2")
    ids = project.add(*["app.block_until, 'go'"] * 5)
    began = eventually(lambda: len(found := list(project.directory.glob("go.*"))) >= 2 and found, 60, "two to run")
    # A third one would have begun before a later task has ended.
    project.ended(project.add("app.echo, 1")[0])
    assert len(began) == len(list(project.directory.glob("go.*"))) == 2, "one sync function in each worker"
    assert len(server.children()) == 2
    (project.directory / "go").touch()
    for id in ids:
        assert project.ended(id)["state"] == "done"


def test_min_workers_stay(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", APP)
    server = project.server("--workers=2", app="app", QUEUE_WORKER_IDLE_TIMEOUT="0.5", QUEUE_MIN_WORKERS="1")
    project.ended(project.add("app.echo, 1")[0])
    # Three times the idle timeout: nothing else ends the last worker.
    time.sleep(1.5)
    assert len(server.children()) == 1


def test_task_timeout_and_max_retries_of_who_adds(project: Project) -> None:
    project.write("app.py", APP)
    project.server("--workers=1", app="app")
    project.env.update(QUEUE_TASK_TIMEOUT="0.5", QUEUE_MAX_RETRIES="0")
    slow, broken = project.add("app.sleeps", "app.breaks")
    found = project.ended(slow)
    assert found["error"]["type"] == "TimeoutError" and found["timeout_ms"] == 500
    assert project.ended(broken)["failures"] == 1


def picked_up_within(project: Project, id: str, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if project.task(id)["state"] == "done":
            return True
    return False


def test_notify_wakes_and_without_it_polling_does(pg: Project) -> None:
    patient = {"QUEUE_POLLING_INTERVAL": "60", "QUEUE_FALLBACK_POLLING_INTERVAL": "60"}
    server = pg.server("--workers=1", app="app", **patient)
    assert picked_up_within(pg, pg.add("app.echo, 1")[0], 10), "woken"
    assert server.stop() == 0
    server = pg.server("--workers=1", app="app", QUEUE_USE_POSTGRESQL_NOTIFY="false", **patient)
    (id,) = pg.add("app.echo, 2")
    assert not picked_up_within(pg, id, 2), "nothing says so, and it looks once a minute"
    assert server.stop() == 0
    pg.server("--workers=1", app="app", QUEUE_USE_POSTGRESQL_NOTIFY="false", QUEUE_POLLING_INTERVAL="0.2")
    assert picked_up_within(pg, id, 10)
    assert picked_up_within(pg, pg.add("app.echo, 3")[0], 10), "looks often"


def test_fallback_polling_is_the_net_under_lost_notifications(pg: Project) -> None:
    # This process notifies on a channel to which the server does not listen.
    lost = {"QUEUE_NOTIFY_CHANNEL": "another_channel"}
    server = pg.server("--workers=1", app="app", QUEUE_FALLBACK_POLLING_INTERVAL="60", QUEUE_POLLING_INTERVAL="0.2")
    pg.env.update(lost)
    (id,) = pg.add("app.echo, 1")
    assert not picked_up_within(pg, id, 2)
    assert server.stop() == 0
    del pg.env["QUEUE_NOTIFY_CHANNEL"]
    pg.server("--workers=1", app="app", QUEUE_FALLBACK_POLLING_INTERVAL="0.3", QUEUE_POLLING_INTERVAL="60")
    assert picked_up_within(pg, id, 10)
    pg.env.update(lost)
    assert picked_up_within(pg, pg.add("app.echo, 2")[0], 10)


def test_notify_channel(pg: Project) -> None:
    pg.run("db", "migrate")
    assert pg.database is not None
    with psycopg.connect(pg.database, autocommit=True) as connection:
        connection.execute("LISTEN my_channel")
        pg.env["QUEUE_NOTIFY_CHANNEL"] = "my_channel"
        pg.add("app.echo, 1")
        assert list(connection.notifies(timeout=10, stop_after=1))


async def test_config_at_run_time(database: str) -> None:
    from taskyard import _port

    tasks = QueuedTasks(database=database)
    before = _port.use(tasks._own)
    unregister_service(QueuedTaskConfig)
    try:
        async with tasks, Embedded(tasks):
            config = get_service(QueuedTaskConfig)
            assert get_service(QueuedTaskConfig) is config
            assert (config.max_retries, config.task_timeout, config.polling_interval) == (3, 300, 2)
            config.max_workers = 8
            config.worker_idle_timeout = 120
            config.task_timeout = 600
            config.max_retries = 1
            record = await tasks.add_task(given_up).record()
            assert (record["timeout_ms"], record["retry"]["max_retries"]) == (600_000, 1)
            for name, value in [("max_retries", -1), ("max_retries", "3"), ("max_workers", 0), ("task_timeout", None)]:
                with pytest.raises(InvalidArgument, match=name):
                    setattr(config, name, value)
            with pytest.raises(AttributeError, match="no setting"):
                config.max_wokers = 3
            with pytest.raises(AttributeError, match="at the start"):
                config.notify_channel = "other"
    finally:
        unregister_service(QueuedTaskConfig)
        _port.use(before)


async def given_up() -> None: ...


def test_children_see_the_applications_environment(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", "import os\ndef look():\n    return [os.environ['DATABASE_URL'], os.getcwd()]\n")
    project.server("--workers=1", app="app", DATABASE_URL="sqlite:///mine.db")
    (id,) = project.add("app.look")
    assert project.ended(id)["result"] == ["sqlite:///mine.db", os.path.realpath(project.directory)]


def test_bench_measures_with_a_second_process_of_the_package(project: Project) -> None:
    figures = project.json("bench", "--only", "pickup", "--samples", "3")
    assert figures["pickup"]["samples"] == 3


def test_settings_of_a_server_that_the_application_changes(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write(
        "app.py",
        """
        from fastapi import FastAPI
        from taskyard import QueuedTaskConfig, QueuedTasks, get_service

        config = get_service(QueuedTaskConfig)
        config.max_workers = 8
        tasks = QueuedTasks()
        web = FastAPI(lifespan=tasks.lifespan())

        def look() -> int:
            get_service(QueuedTaskConfig).polling_interval = 0.5
            return get_service(QueuedTaskConfig).max_workers
        """,
    )
    # `queue start` logs it once, not in each worker.
    server = project.server("--workers=2", app="app")
    for id in project.add("app.look", "app.look"):
        project.ended(id)
    said = [line for line in server.lines if "max_workers = 8 has no effect" in line]
    assert len(said) == 1 and "--workers, QUEUE_MAX_WORKERS, or max_workers in taskyard.toml" in said[0], server.output
    server.says("QueuedTaskConfig.polling_interval = 0.5 has no effect: the server of this worker is a process of its own")
    server.stop()
    # A web process without workers, and one with workers.
    program = """
        import asyncio, logging, sys
        logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(message)s")
        import app
        from taskyard import QueuedTaskConfig, get_service
        async def main():
            async with app.tasks.lifespan(workers=WORKERS)(app.web):
                get_service(QueuedTaskConfig).polling_interval = 3
        asyncio.run(main())
    """
    said = project.python(program.replace("WORKERS", "0")).splitlines()
    assert [line.split(".", 1)[1].split(". ")[0] for line in said] == [
        "max_workers = 8 has no effect: no worker runs in this process",
        "polling_interval = 3 has no effect: no worker runs in this process",
    ]
    assert project.python(program.replace("WORKERS", "1")) == ""


def test_a_schedule_says_when_the_application_has_no_such_function(project: Project) -> None:
    project.write("app.py", APP)
    project.server("-w", "1")
    for added in (
        ["schedule", "add", "nightly", "0 3 * * *", "app:ecko"],
        ["task", "add", "app:ecko", "--delay", "1h"],
    ):
        said = project.run(*added)
        assert "warning: the project's application has no function `app:ecko`" in said, said
    said = project.run("schedule", "add", "daily", "@daily", "app:echo", "--args", "[1]")
    assert "warning" not in said, said
    # A kind that a server has found to be unknown.
    (id,) = project.run("task", "add", "app:eccho").splitlines()[:1]
    eventually(lambda: project.task(id)["wait_reason"] == "parked", 30, "it is parked")
    said = project.run("schedule", "add", "weekly", "@weekly", "app:eccho")
    assert "no running server has `app:eccho`" in said, said
