"""The application's code in workers before the first task and after the last: hooks, lifespans, factories, logging."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import pathlib
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from support.ports import free_port
from support.project import Project
from support.waiting import eventually
from taskyard import QueuedTasks, TasksDep, _hooks, on_worker_start, on_worker_stop
from taskyard.errors import InvalidArgument
from taskyard.testing import ManualTasks

#: Records what happens, each line with its process.
APP = """
    import asyncio, contextlib, contextvars, logging, os, pathlib, time
    from fastapi import FastAPI
    from taskyard import QueuedTasks, on_worker_start, on_worker_stop

    queue = QueuedTasks()
    seen = contextvars.ContextVar("seen", default=None)

    def note(what):
        with open("notes", "a") as file:
            file.write(f"{os.getpid()} {what}\\n")

    async def work(value):
        note("work")
        return [value, web.state.pool, seen.get(), os.getpid()]

    @contextlib.asynccontextmanager
    async def life(app):
        app.state.pool = "open"
        note("enter")
        try:
            yield {"pool": "of requests"}
        finally:
            note("leave")

    @on_worker_start
    def first():
        seen.set("by the hook")
        note("first")

    @on_worker_start
    async def second():
        await queue.list(limit=1)
        note("second")

    @on_worker_stop
    async def last():
        await queue.list(limit=1)
        note("last")

    @on_worker_stop
    def broken():
        raise ValueError("a stop that fails")

    web = FastAPI(lifespan=queue.lifespan(life, in_workers=True))
"""
#: The records of one worker process.
WHOLE = ["enter", "first", "second", "work", "last", "leave"]


@pytest.fixture(autouse=True)
def no_hooks() -> Iterator[None]:
    _hooks.clear()
    yield
    _hooks.clear()


def notes(project: Project) -> dict[int, list[str]]:
    """Returns the records by process."""
    file, found = project.directory / "notes", dict[int, list[str]]()
    for line in file.read_text().splitlines() if file.exists() else ():
        pid, what = line.split()
        found.setdefault(int(pid), []).append(what)
    return found


def test_each_worker_starts_and_stops_with_the_application(project: Project) -> None:
    project.write("app.py", APP)
    server = project.server("--workers=1", app="app:web")
    (id,) = project.add("app.work, 7")
    found = project.ended(id)
    assert found["state"] == "done", found["error"]
    *result, pid = found["result"]
    assert result == [7, "open", "by the hook"]
    assert server.stop() == 0, server.output
    assert notes(project) == {pid: WHOLE}, server.output
    assert "the hook 'broken' failed on the stop of the worker" in server.output
    assert "a stop that fails" in server.output


def test_a_stop_hook_that_is_cancelled_keeps_nothing_else_from_stopping(sqlite_project: Project) -> None:
    project = sqlite_project
    first = "    @on_worker_stop\n    def given_up():\n        raise asyncio.CancelledError('given up')\n\n"
    project.write("app.py", APP.replace("    @on_worker_stop\n", first + "    @on_worker_stop\n", 1))
    server = project.server("--workers=1", app="app:web")
    (id,) = project.add("app.work, 7")
    assert project.ended(id)["state"] == "done"
    assert server.stop() == 0, server.output
    assert list(notes(project).values()) == [WHOLE], server.output
    assert "the hook 'given_up' failed on the stop of the worker" in server.output


def test_a_lifespan_in_workers_has_the_queue_that_the_application_has(project: Project) -> None:
    project.write("app.py", APP.replace('"open"', "len(await app.state.tasks.list(limit=5))", 1))
    (id,) = project.add("app.work, 7")
    server = project.server("--workers=1", app="app:web")
    found = project.ended(id)
    assert found["state"] == "done", found["error"]
    assert found["result"][1] == 1, "the lifespan has listed the task"
    assert server.stop() == 0, server.output


def test_a_worker_that_is_not_needed_any_more_stops_with_the_application(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", APP)
    server = project.server("--workers=1", app="app:web", QUEUE_WORKER_IDLE_TIMEOUT="1")
    for number in (1, 2):
        (id,) = project.add("app.work, 7")
        assert project.ended(id)["state"] == "done"
        eventually(lambda: not server.children(), 30, "the idle worker to leave")
        assert list(notes(project).values()) == [WHOLE] * number
    assert server.stop() == 0


def test_the_second_signal_waits_for_no_stop(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write(
        "app.py",
        """
        import asyncio
        from taskyard import on_worker_stop
        async def work():
            pass
        @on_worker_stop
        async def slow():
            print("stopping slowly", flush=True)
            await asyncio.sleep(60)
        """,
    )
    server = project.server("--workers=1", app="app")
    (id,) = project.add("app.work")
    assert project.ended(id)["state"] == "done"
    server.signal(signal.SIGTERM)
    server.says("stopping slowly")
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait(20) == 0
    assert time.monotonic() - began < 5


def test_a_start_that_fails_ends_the_worker_and_is_tried_again_with_pauses(project: Project) -> None:
    project.write(
        "app.py",
        """
        import pathlib
        from taskyard import on_worker_start
        async def work():
            return "done"
        @on_worker_start
        async def connect():
            with open("tries", "a") as file:
                file.write("x")
            if not pathlib.Path("mended").exists():
                raise ConnectionError("the mail server is away")
        """,
    )
    tries = project.directory / "tries"
    server = project.server("--workers=2", app="app")
    (id,) = project.add("app.work")
    server.says("the hook 'connect' failed on the start of a worker")
    server.says("its start failed: ConnectionError: the mail server is away")
    server.says("a child process did not start: the application's start failed in it")
    eventually(lambda: len(tries.read_text()) >= 3, 60, "three tries")
    began, before = time.monotonic(), len(tries.read_text())
    eventually(lambda: len(tries.read_text()) > before + 1, 60, "two more tries")
    assert time.monotonic() - began > 1.0, "the pauses grow"
    assert project.task(id)["state"] == "enqueued"
    (project.directory / "mended").touch()
    found = project.ended(id, 90)
    assert (found["state"], found["attempt"]) == ("done", 1)
    assert server.stop() == 0


def test_lines_of_web_and_workers_look_alike(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write(
        "app.py",
        """
        import logging
        from fastapi import FastAPI
        from taskyard import QueuedTasks, TasksDep
        app = FastAPI(lifespan=QueuedTasks().lifespan())
        async def work():
            logging.getLogger("shop").warning("of the worker")
        @app.get("/")
        async def add(tasks: TasksDep):
            logging.getLogger("shop").warning("of the web application")
            return {"task": await tasks.add_task(work).get_task_id()}
        @app.get("/broken")
        async def broken():
            raise ValueError("a fault of the application")
        """,
    )
    port = free_port()
    server = project.start("serve", "app:app", "--workers=1", "--port", str(port))
    server.says("Uvicorn running")
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
    server.says("of the worker")
    line = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z +(INFO|WARNING) [\w.:]+: ")
    for text in (
        "the server runs",
        "Uvicorn running on",
        '"GET / HTTP/1.1" 200',
        "shop: of the worker",
        "shop: of the web application",
    ):
        server.says(text)
        (found,) = [said for said in server.lines if text in said]
        assert line.match(found), found
    assert httpx.get(f"http://127.0.0.1:{port}/broken").status_code == 500
    server.says("a fault of the application")
    (found,) = [said for said in server.lines if "Exception in ASGI application" in said]
    assert found.endswith("ERROR uvicorn.error: Exception in ASGI application"), found
    assert server.stop() == 0


def test_workers_within_the_application_share_its_lifespan(sqlite_project: Project, tmp_path: pathlib.Path) -> None:
    done: list[str] = []
    queue = QueuedTasks(database=str(tmp_path / "queue.db"))

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        done.append("enter")
        app.state.pool = "open"
        yield {"pool": "open"}
        done.append("leave")

    on_worker_start(lambda: done.append("start"))
    on_worker_stop(lambda: done.append("stop"))
    app = FastAPI(lifespan=queue.lifespan(life, in_workers=True, workers=2))

    @app.get("/")
    async def wait(tasks: TasksDep) -> Any:
        return await tasks.add_task(note, "work").wait(30)

    NOTED.clear()
    with TestClient(app) as client:
        assert client.get("/").json() == "work"
    assert done == ["enter", "start", "stop", "leave"]
    assert NOTED == ["work"]


@pytest.mark.parametrize("is_async", [True, False])
def test_an_application_starts_once_a_slow_start_of_its_workers_is_over(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    """The limit of five seconds applies only to a database that is away."""
    app = FastAPI(lifespan=QueuedTasks(database=str(tmp_path / "queue.db")).lifespan(workers=1))
    seconds = 5.5

    @app.get("/")
    async def wait(tasks: TasksDep) -> Any:
        return await tasks.add_task(seen_by_task).wait(30)

    async def connect() -> None:
        await asyncio.sleep(seconds)
        SEEN.set("by the hook")

    def connect_and_block() -> None:
        time.sleep(seconds)
        SEEN.set("by the hook")

    on_worker_start(connect if is_async else connect_and_block)
    began = time.monotonic()
    with TestClient(app) as client:
        assert time.monotonic() - began > seconds
        assert client.get("/").json() == "by the hook"
    assert "not open yet" not in caplog.text


SEEN: contextvars.ContextVar[str | None] = contextvars.ContextVar("seen", default=None)


async def seen_by_task() -> str | None:
    return SEEN.get()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not tell whose cancellation it is")
def test_a_stop_hook_that_is_cancelled_within_the_application_ends_nothing_else(tmp_path: pathlib.Path) -> None:
    stopped: list[str] = []

    async def given_up() -> None:
        raise asyncio.CancelledError("given up")

    on_worker_stop(given_up)
    on_worker_stop(lambda: stopped.append("last"))

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        stopped.append("leave")

    queue = QueuedTasks(database=str(tmp_path / "queue.db"))
    with TestClient(FastAPI(lifespan=queue.lifespan(life, in_workers=True, workers=1))):
        pass
    assert stopped == ["last", "leave"]


NOTED: list[str] = []


async def note(what: str) -> str:
    NOTED.append(what)
    return what


def test_a_start_that_fails_within_the_application_is_its_own_failure(tmp_path: pathlib.Path) -> None:
    @on_worker_start
    async def connect() -> None:
        raise ConnectionError("away")

    app = FastAPI(lifespan=QueuedTasks(database=str(tmp_path / "queue.db")).lifespan(workers=1))
    with pytest.raises(ConnectionError, match="away"), TestClient(app):
        pass


def test_hooks_run_where_tests_run_tasks(task_queue: ManualTasks) -> None:
    on_worker_start(lambda: NOTED.append("start"))
    on_worker_stop(lambda: NOTED.append("stop"))
    NOTED.clear()
    task_queue.add_task(note, "work")
    assert task_queue.drain() == 1
    assert NOTED == ["start", "work", "stop"]


def test_what_cannot_be_a_hook_or_a_lifespan_of_workers_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InvalidArgument, match="takes app; a hook of a worker is called without arguments"):

        @on_worker_start
        def connect(app: FastAPI) -> None:
            pass

    with pytest.raises(InvalidArgument, match="runs your own lifespan in each worker, but no lifespan is given"):
        QueuedTasks(database=str(tmp_path / "queue.db")).lifespan(in_workers=True)
