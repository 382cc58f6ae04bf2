"""The application that the command serves and runs: factories, included modules, and reloading when its files change."""

from __future__ import annotations

import pathlib
from typing import Any

import httpx
import pytest
from support.ports import free_port
from support.project import Project
from support.waiting import eventually

FACTORY = """
    import contextlib, logging.config
    from fastapi import FastAPI
    from taskyard import QueuedTasks
    import jobs

    queue = QueuedTasks()

    @contextlib.asynccontextmanager
    async def life(app):
        jobs.found["state"] = app.state.made
        yield

    def create_app():
        logging.config.dictConfig({
            "version": 1,
            "formatters": {"own": {"format": "OWN %(name)s %(message)s"}},
            "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
            "root": {"handlers": ["own"], "level": "INFO"},
        })
        app = FastAPI(lifespan=queue.lifespan(life, in_workers=True))
        app.state.made = "by the factory"
        @app.get("/")
        async def root():
            return app.state.made
        return app
"""
JOBS = """
    import logging
    found = {}
    async def work():
        logging.getLogger("jobs").info("at work")
        return found["state"]
"""


@pytest.mark.parametrize(
    "command",
    [
        ("queue", "start", "--app", "app:create_app()"),
        ("serve", "app:create_app()", "--no-http"),
        ("serve", "app:create_app()"),
        ("serve", "app:create_app", "--", "--factory"),
    ],
)
def test_an_application_that_a_call_makes(sqlite_project: Project, command: tuple[str, ...]) -> None:
    project = sqlite_project
    project.write("app.py", FACTORY)
    project.write("jobs.py", JOBS)
    port = free_port()
    options = ["--workers=1"] + (["--port", str(port)] if command[0] == "serve" else [])
    server = project.start(*command[:2], *options, *command[2:])
    server.says("the server runs")
    assert "application: app:create_app()" in server.output
    (id,) = project.add("app.work", module="jobs")
    found = project.ended(id)
    assert (found["state"], found["result"]) == ("done", "by the factory"), found["error"]
    server.says("OWN jobs at work")
    if command[0] == "serve" and "--no-http" not in command:
        assert eventually(lambda: get(port), 60, "the web application") == "by the factory"
    assert server.stop() == 0, server.output


def get(port: int) -> Any:
    """Returns the response of the application at this port, or None while there is none."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/").json()
    except httpx.TransportError:
        return None


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("app:make", "write app:make()"),
        ("app:late()", "the function is async"),
        ("app:number()", "cannot be called"),
        ("module", "name the application itself: --app module:attribute"),
    ],
)
def test_what_is_not_an_application_is_refused_with_what_to_write(sqlite_project: Project, app: str, said: str) -> None:
    project = sqlite_project
    project.write("app.py", "number = 7\ndef make():\n    return object()\nasync def late():\n    return object()\n")
    project.write(
        "module.py",
        """
        import contextlib
        from fastapi import FastAPI
        from taskyard import QueuedTasks
        @contextlib.asynccontextmanager
        async def life(app):
            yield
        web = FastAPI(lifespan=QueuedTasks().lifespan(life, in_workers=True))
        """,
    )
    failed = project.start("queue", "start", "--app", app, "--workers=1")
    assert failed.wait() == 1
    assert said in failed.output, failed.output


@pytest.mark.parametrize("command", ["start", "serve"])
def test_modules_are_included_by_an_option(sqlite_project: Project, command: str) -> None:
    project = sqlite_project
    project.write("app.py", "app = None\n")
    project.write("one.py", "def work():\n    return 1\n")
    project.write("two/__init__.py", "")
    project.write("two/tasks.py", "def work():\n    return 2\n")
    chosen = ["serve", "app:app", "--no-http"] if command == "serve" else ["queue", "start", "--app", "app:app"]
    server = project.start(*chosen, "--workers=1", "--include", "one,two.tasks")
    server.says("the server runs")
    for module, result in (("one", 1), ("two.tasks", 2)):
        (id,) = project.add("app.work", module=module)
        assert project.ended(id)["result"] == result
    assert server.stop() == 0


WEB = """
    from fastapi import FastAPI
    from taskyard import QueuedTasks, TasksDep
    from jobs import work
    app = FastAPI(lifespan=QueuedTasks().lifespan())
    @app.get("/")
    async def root(tasks: TasksDep):
        return [VERSION, await tasks.add_task(work).wait(60)]
"""


def write(project: Project, number: Any) -> None:
    """Writes a version of the application, whose web side and task return its number."""
    project.write("jobs.py", f"async def work():\n    return {number}\n")
    project.write("app.py", WEB.replace("VERSION", str(number)))


def test_web_and_workers_are_started_anew_when_a_file_changes(sqlite_project: Project) -> None:
    project = sqlite_project
    write(project, 1)
    port = free_port()
    server = project.start("serve", "app:app", "--workers=1", "--reload", "--port", str(port))
    eventually(lambda: get(port) == [1, 1], 60, "the first version")
    (old,) = server.children()
    write(project, 2)
    eventually(lambda: get(port) == [2, 2], 60, "the second version")
    assert "reloading" in server.output and "jobs.py" in server.output
    eventually(lambda: not old.is_running(), 30, "the old worker to leave")

    project.write("jobs.py", "async def work(:\n")
    server.says("the application cannot be loaded; the running processes continue until the next change")
    assert "SyntaxError" in server.output
    assert get(port) == [2, 2]
    write(project, 3)
    eventually(lambda: get(port) == [3, 3], 60, "the third version")
    assert server.stop() == 0, server.output


def test_what_runs_ends_in_the_worker_of_before(sqlite_project: Project) -> None:
    project = sqlite_project
    body = """
    import asyncio, pathlib
    async def work():
        pathlib.Path("began").touch()
        while not pathlib.Path("go").exists():
            await asyncio.sleep(0.01)
        return {number}
    """
    project.write("app.py", body.format(number=1))
    server = project.server("--workers=1", "--reload", app="app")
    (first,) = project.add("app.work")
    eventually((project.directory / "began").exists, 60, "it to begin")
    project.write("app.py", body.format(number=2))
    server.says("reloading")
    eventually(lambda: len(server.children()) == 2, 60, "the new worker")
    (project.directory / "go").touch()
    assert project.ended(first)["result"] == 1
    (second,) = project.add("app.work")
    assert project.ended(second)["result"] == 2
    assert server.stop() == 0, server.output


def test_an_application_that_is_broken_at_the_start_is_waited_for(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", "async def work(:\n")
    server = project.start("queue", "start", "--app", "app", "--workers=1", "--reload")
    server.says("it is loaded again when a file changes")
    project.write("app.py", "async def work():\n    return 1\n")
    server.says("the server runs")
    (id,) = project.add("app.work")
    assert project.ended(id)["result"] == 1
    assert server.stop() == 0, server.output


def test_a_web_application_that_breaks_starts_again_with_the_next_change(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", "1 / 0\n")
    port = free_port()
    server = project.start("serve", "app:app", "--reload", "--port", str(port))
    server.says("the web application has ended; it starts again when a file changes")
    write(project, 1)
    project.write("app.py", "from fastapi import FastAPI\napp = FastAPI()\n@app.get('/')\ndef root():\n    return 1\n")
    eventually(lambda: get(port) == 1, 60, "the web application")
    assert server.stop() == 0, server.output


def test_a_response_that_does_not_end_keeps_no_newer_version_away(sqlite_project: Project) -> None:
    project = sqlite_project
    text = """
    import asyncio
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse
    app = FastAPI()
    @app.get("/")
    def root():
        return {number}
    @app.get("/endless")
    async def endless():
        async def parts():
            while True:
                yield "part"
                await asyncio.sleep(0.1)
        return StreamingResponse(parts())
    """
    project.write("app.py", text.format(number=1))
    port = free_port()
    server = project.start("serve", "app:app", "--reload", "--port", str(port))
    eventually(lambda: get(port) == 1, 60, "the first version")
    with httpx.stream("GET", f"http://127.0.0.1:{port}/endless") as endless:
        assert next(endless.iter_text())
        project.write("app.py", text.format(number=2))
        eventually(lambda: get(port) == 2, 60, "the second version")
    assert server.stop() == 0, server.output


def test_without_watchfiles_reloading_says_what_to_install(sqlite_project: Project, tmp_path: pathlib.Path) -> None:
    project = sqlite_project
    project.write("app.py", "app = None\n")
    project.write("hidden/watchfiles.py", "raise ImportError('not here')\n")
    failed = project.start("queue", "start", "--app", "app", "--reload", PYTHONPATH=str(tmp_path / "hidden"))
    assert failed.wait() == 2
    assert "--reload needs the Python package `watchfiles`" in failed.output
    assert "pip install watchfiles" in failed.output
