"""An application and its workers on different databases: the worker refuses to start, because its tasks would never
run."""

from __future__ import annotations

import time

import pytest
from support.postgres import Cluster
from support.project import Process, Project
from support.waiting import eventually

APP = """
    import os
    from fastapi import FastAPI
    from taskyard import QueuedTasks

    queue = QueuedTasks(database=os.environ["QUEUE_OF_MINE"])
    web = FastAPI(lifespan=queue.lifespan())

    async def work():
        return "done"
"""
REFUSED = "none of them would ever run"


def refused(project: Project, app: str = "app:web", **env: str) -> Process:
    """Starts a server that does not start because of the databases."""
    server = project.start("queue", "start", "--app", app, "--workers=1", **env)
    assert server.wait() == 2, server.output
    assert REFUSED in server.output, server.output
    assert "start the worker with the application's address (--database" in server.output
    assert "Traceback" not in server.output
    return server


def test_a_worker_on_the_default_file_refuses_an_application_on_another_one(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", APP)
    server = refused(project, QUEUE_OF_MINE="jobs.db")
    assert f"adds its tasks to {project.directory / 'jobs.db'}" in server.output
    assert f"serves {project.directory / '.taskyard/queue.db'}" in server.output
    assert not (project.directory / "jobs.db").exists(), "nothing is made"
    assert project.start("serve", "app:web", "--workers=1", QUEUE_OF_MINE="jobs.db").wait() == 2

    server = project.server("--workers=1", "--database", "sqlite:jobs.db", app="app:web", QUEUE_OF_MINE="jobs.db")
    assert server.stop() == 0


def test_a_worker_on_another_server_names_both_addresses_without_passwords(
    sqlite_project: Project, cluster: Cluster, postgres: str
) -> None:
    project = sqlite_project
    project.write("app.py", APP)
    theirs = postgres.replace("postgres@", "postgres:s3cret@")
    server = refused(project, QUEUE_OF_MINE=theirs)
    assert f"127.0.0.1:{cluster.port}" in server.output
    ours = cluster.create("ours_of_workers").replace("postgres@", "postgres:hidden@")
    try:
        server = refused(project, QUEUE_OF_MINE=theirs, TASKYARD_DATABASE_URL=ours)
        assert "ours_of_workers" in server.output
    finally:
        cluster.drop("ours_of_workers")
    for secret in ("s3cret", "hidden"):
        assert secret not in server.output


def test_another_address_of_one_database_is_not_another_database(
    sqlite_project: Project, cluster: Cluster, postgres: str
) -> None:
    project = sqlite_project
    project.write("app.py", APP)
    name = postgres.rpartition("/")[2]
    by_socket = f"postgresql://postgres@/{name}?host={cluster.home}&port={cluster.port}"
    server = project.server("--workers=1", app="app:web", QUEUE_OF_MINE=by_socket, TASKYARD_DATABASE_URL=postgres)
    assert server.stop() == 0


@pytest.mark.parametrize("further", ["audit = QueuedTasks()", "main = QueuedTasks(max_retries=1)"])
def test_an_application_on_several_databases_has_one_that_is_served(sqlite_project: Project, further: str) -> None:
    project = sqlite_project
    text = APP.replace("lifespan=queue.lifespan()", "")
    project.write("app.py", text)
    refused(project, QUEUE_OF_MINE="jobs.db")
    project.write("app.py", text + f"    {further}\n")
    server = project.server("--workers=1", app="app:web", QUEUE_OF_MINE="jobs.db")
    assert server.stop() == 0
    # Endpoints use the queue whose lifespan the application has.
    project.write("app.py", APP + f"    {further}\n")
    refused(project, QUEUE_OF_MINE="jobs.db")


def test_a_database_that_does_not_say_who_it_is_keeps_no_worker_from_its_work(
    sqlite_project: Project, postgres: str
) -> None:
    project = sqlite_project
    project.write("app.py", APP)
    server = project.server(
        "--workers=1",
        app="app:web",
        QUEUE_OF_MINE="postgresql://postgres:s3cret@127.0.0.1:1/away",
        TASKYARD_DATABASE_URL=postgres,
    )
    assert "whether these are one database is not known" in server.output
    assert "s3cret" not in server.output
    assert server.stop() == 0


UNSERVED = """
    from fastapi import FastAPI
    from taskyard import QueuedTasks, TasksDep
    app = FastAPI(lifespan=QueuedTasks().lifespan(LIFESPAN))
    async def work():
        return "done"
    @app.get("/")
    async def add(tasks: TasksDep):
        return await tasks.add_task(work).get_task_id()
"""
WAITING = "tasks wait, and no server runs on"


def serve(project: Project, lifespan: str) -> Process:
    """Starts the application under uvicorn alone, and waits until it has added a task."""
    import httpx
    from support.ports import free_port

    project.write("app.py", UNSERVED.replace("LIFESPAN", lifespan))
    project.write("run.py", "import sys\nfrom uvicorn.main import main\nmain()\n")
    port = free_port()
    web = project.program("run.py", "app:app", "--port", str(port))
    web.says("Uvicorn running")
    for _ in range(3):
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
    return web


def test_an_application_without_any_server_says_once_that_tasks_wait(project: Project) -> None:
    web = serve(project, "")
    web.says(WAITING, 30)
    (line,) = [line for line in web.lines if WAITING in line]
    assert "WARNING queued_task: " in line
    for part in ("taskyard queue start --app module:app", "taskyard serve module:app --workers 2", "lifespan(workers=1)"):
        assert part in line
    web.stop()


@pytest.mark.parametrize("lifespan", ["workers=1", ""])
def test_nothing_is_said_where_tasks_run(sqlite_project: Project, lifespan: str) -> None:
    project = sqlite_project
    if not lifespan:
        project.write("app.py", UNSERVED.replace("LIFESPAN", ""))
        project.server("--workers=1", app="app:app")
    web = serve(project, lifespan)
    began = time.monotonic()
    # Longer than the process waits before its check.
    eventually(lambda: time.monotonic() - began > 7, 10)
    assert WAITING not in web.output
