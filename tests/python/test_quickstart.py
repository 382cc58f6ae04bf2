"""The README's FastAPI quickstart, as a new user would try it."""

from __future__ import annotations

import pathlib
import re
import shlex
import time
import uuid

import httpx
import psutil
from support.environment import Environment, run, wheel
from support.ports import free_port
from support.project import Process, Project
from support.waiting import eventually

README = pathlib.Path(__file__).parents[2] / "README.md"


def quickstart() -> str:
    """Returns the first sample in the README that creates a FastAPI application; another one shows the lifespan in
    workers."""
    samples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    sample = next(sample for sample in samples if "FastAPI(lifespan" in sample)
    assert len(sample.splitlines()) < 30
    return str(sample)


def commands(port: int) -> list[list[str]]:
    """Returns the command lines beside that sample, with another port."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    block = next(block for block in blocks if "taskyard serve app:app" in block and "curl" in block)
    lines = [shlex.split(line.replace("localhost:8000", f"127.0.0.1:{port}"), comments=True) for line in block.splitlines()]
    serve, curl, show = (line for line in lines if line)
    return [[*serve, "--port", str(port)], curl, show]


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


def test_the_first_task_is_done_within_a_minute_of_the_install(tmp_path: pathlib.Path) -> None:
    """With only the wheel and the packages that the README names, so that a package of the tests cannot hide a missing
    dependency."""
    environment = Environment(tmp_path / "venv")
    environment.install(wheel(), "fastapi", "uvicorn")
    until = time.monotonic() + 60
    project, port = tmp_path / "project", free_port()
    project.mkdir()
    (project / "app.py").write_text(quickstart())
    serve, curl, show = commands(port)
    served = Process(serve, project, environment.env)
    try:
        eventually(lambda: answers(port, "/docs"), until - time.monotonic(), "the application")
        *option, url = curl
        assert option == ["curl", "-X", "POST"]
        id = httpx.post(f"http://{url}").raise_for_status().json()["task"]
        task = f"http://127.0.0.1:{port}/tasks/{id}"
        eventually(lambda: httpx.get(task).json()["state"] == "done", until - time.monotonic(), "the end of the task")
        assert [*show[:3], "ID"] == show
        shown = run([*show[:3], id], project, environment.env)
        assert "done" in shown and "ada@example.org" in shown, shown
        assert served.stop() == 0, served.output
    finally:
        served.kill()
        served.wait()


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
