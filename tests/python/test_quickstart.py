"""The README's FastAPI quickstart, as a new user would try it."""

from __future__ import annotations

import pathlib
import re
import uuid

import httpx
import psutil
from support.ports import free_port
from support.project import Project
from support.waiting import eventually

README = pathlib.Path(__file__).parents[2] / "README.md"


def quickstart() -> str:
    """The first sample in the README that makes a FastAPI application; another one shows the lifespan in workers."""
    samples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    sample = next(sample for sample in samples if "FastAPI(lifespan" in sample)
    assert len(sample.splitlines()) < 30
    return str(sample)


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def answers(port: int, path: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}").status_code < 500
    except httpx.TransportError:
        return False


def check_over_http(project: Project, port: int) -> None:
    eventually(lambda: answers(port, "/docs"), 60, "the web application")
    answer = httpx.post(f"http://127.0.0.1:{port}/users", params={"email": "ada@example.org"})
    assert answer.status_code == 200, answer.text
    id = answer.json()["task"]
    found = project.ended(id)
    assert found["state"] == "done", found
    shown = project.run("task", "show", id)
    assert "done" in shown and "100" in shown and "ada@example.org" in shown, shown
    found = httpx.get(f"http://127.0.0.1:{port}/tasks/{id}").json()
    assert found["state"] == "done" and found["progress"]["percentage"] == 100
    assert found["progress"]["completed"] is found["progress"]["total"] is found["progress"]["message"] is None
    for unknown in (str(uuid.uuid4()), "nonsense"):
        assert httpx.get(f"http://127.0.0.1:{port}/tasks/{unknown}").status_code == 404


def test_one_command_serves_the_application_and_its_tasks(project: Project) -> None:
    project.write("app.py", quickstart())
    port = free_port()
    served = project.start("serve", "app:app", "--workers", "2", "--port", str(port))
    check_over_http(project, port)
    assert served.stop() == 0, served.output


def test_web_process_and_worker_server_apart(project: Project) -> None:
    project.write("app.py", quickstart())
    port = free_port()
    web = project.start("serve", "app:app", "--port", str(port))
    server = project.server("--workers=1")
    check_over_http(project, port)
    assert server.stop() == 0, server.output
    assert web.stop() == 0, web.output


def test_nothing_of_serve_outlives_it(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", quickstart())
    port = free_port()
    served = project.start("serve", "app:app", "--workers", "1", "--port", str(port))
    eventually(lambda: answers(port, "/docs"), 60, "the web application")
    below = psutil.Process(served.pid).children()
    assert below
    served.kill()
    eventually(lambda: not any(alive(process) for process in below), 10, "all of it to end")


def test_the_import_lines_of_the_documents(sqlite_project: Project) -> None:
    sqlite_project.python(
        """
        from taskyard.dependencies import Inject, get_service, register_service, unregister_service
        from taskyard.queued_tasks import QueuedTasks, QueuedTaskRef
        from taskyard.queued_task import set_context, get_context, clear_context, get_full_context, set_full_context
        from taskyard.queued_task import TaskContext, getLogger, get_current_task, QueuedTaskConfig, QueuedTaskState
        from taskyard.queued_task import on_pre_create, on_post_create, on_pre_run, on_post_run
        from taskyard import context
        from taskyard.http import Request
        context.set_request(Request({"type": "http", "method": "POST", "path": "/task"}))
        assert context.get_request().method == "POST"
        """
    )
